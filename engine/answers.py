"""The surfaces a worker answers from memory: model lists, health and probes.

`/health` says only that this process serves; `/health/ready` says whether it can do its job. An unreachable provider
never makes a gateway unready (all replicas would leave the load balancer at once); having nothing to serve makes it
"degraded".
"""

from urllib.parse import unquote

import msgspec

from adapters import registry
from adapters.errors import ClientError, Failure, Kind
from engine.downstream import Downstream
from engine.exchange import Exchange, Outcome
from engine.gateway import Gateway
from engine.headers import answer_headers, preflight_headers
from engine.router import no_such_model

JSON = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")


async def model_list(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """GET /v1/models and its like: every alias and every catalogue's models, as far as the key may use them."""
    dialect = registry.dialect(exchange.surface.dialect)
    may_use = exchange.principal.may_use
    models = [entry for entry in gateway.router.models() if may_use(entry.id)]
    body = dialect.models_body(models, exchange.request.query)
    await _answer(gateway, exchange, downstream, body)


async def model(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """GET /v1/models/{model}: one of them; names may hold slashes. Raises `ClientError` 404."""
    dialect = registry.dialect(exchange.surface.dialect)
    name = unquote(exchange.argument.decode("ascii", "replace"))
    for entry in gateway.router.models():
        if entry.id == name and exchange.principal.may_use(name):
            await _answer(gateway, exchange, downstream, dialect.model_body(entry))
            return
    raise no_such_model(name)


async def health(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """GET /health: 200 as long as this process answers, draining or not."""
    await _answer(gateway, exchange, downstream, b'{"status":"ok"}', NO_STORE)


async def ready(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """GET /health/ready: 200 while new work is welcome, 503 during a drain."""
    models = "ok" if gateway.router.can_serve else "down"
    components = {"worker": "draining" if gateway.draining else "ok", "models": models}
    if gateway.treasury is not None:
        components["storage"] = "down" if gateway.treasury.is_store_away else "ok"
    status = "not_ready" if gateway.draining else "degraded" if "down" in components.values() else "ready"
    body = msgspec.json.encode({"status": status, "components": components})
    await _answer(gateway, exchange, downstream, body, NO_STORE, status=503 if gateway.draining else 200)


async def probe(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """HEAD where agents look whether anybody is there, before they have a key in hand: 200 that tells nothing."""
    await _answer(gateway, exchange, downstream, b"", NO_STORE)


async def preflight(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """OPTIONS on a data route: the allowed methods, and CORS for origins that may ask."""
    exchange.status = 200
    exchange.outcome = Outcome.OK
    headers = preflight_headers(exchange.request, gateway.config.server.cors_origins, exchange.argument)
    await downstream.answer(200, [(b"x-request-id", exchange.request_id), *headers], b"")


async def unknown(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """A path below an API prefix that nothing serves. Raises `ClientError` 404."""
    method, path = exchange.request.method, exchange.request.path.decode("ascii", "replace")
    raise ClientError(Failure(404, Kind.NOT_FOUND, f"unknown route: {method} {path}", code="unknown_url"))


async def wrong_method(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """A path that exists, asked with a method it has not. Raises `ClientError` 405 with Allow."""
    method, path = exchange.request.method, exchange.request.path.decode("ascii", "replace")
    if exchange.request.upgrade:
        # Agents that try a WebSocket first go over to POST at once on 426; on 404 or 405 they try again for seconds.
        message = f"{path} is served over plain HTTP only"
        raise ClientError(Failure(426, Kind.INVALID_REQUEST, message, code="upgrade_not_served"))
    message = f"{path} does not serve {method}, only {exchange.argument.decode()}"
    failure = Failure(
        405, Kind.INVALID_REQUEST, message, code="method_not_allowed", headers=((b"allow", exchange.argument),)
    )
    raise ClientError(failure)


async def _answer(
    gateway: Gateway,
    exchange: Exchange,
    downstream: Downstream,
    body: bytes,
    *headers: tuple[bytes, bytes],
    status: int = 200,
) -> None:
    exchange.status = status
    exchange.outcome = Outcome.OK
    dialect = registry.dialect(exchange.surface.dialect)
    ours = answer_headers(exchange, dialect, gateway.config.server.cors_origins)
    await downstream.answer(status, [JSON, *headers, *ours], body)
