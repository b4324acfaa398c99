"""Opening a session: who asks, for which model, and who accepts.

Every refusal is an HTTP status on the handshake: 400 without a model, 401 to 404 and 429 as everywhere, 402 before an
upstream is asked, 426 for a request that is no handshake, 501 when sessions are switched off, 502 when no upstream
accepts, whyever. Candidates are asked one after the other, each in the time its connection may take; the first that
accepts has the session, and from then on there is no other.
"""

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode

import trio

from adapters import registry
from adapters.errors import ClientError, Failure, Kind, UpstreamError
from engine.exchange import AttemptRecord, Exchange
from engine.gateway import Gateway
from engine.headers import upstream_headers
from engine.http1 import ProtocolError
from engine.net import Broken, ConnectError
from engine.pool import PoolFull
from engine.retry_after import retry_after_seconds
from engine.route import Candidate, Route
from engine.router import no_such_model
from engine.upstream_failures import broken, no_connection
from engine.websocket import Refused, Socket, Terms, connect

REALTIME = "realtime"
"""The surface, and the kind of session; of a dialect over a socket the kind is the dialect's name."""

PASSED_ON = ("call_id", "intent")
"""What of a client's query an upstream gets, beside the model."""

TRANSCRIPTION = "transcription"
"""The intent of a session that only listens. Its upstream refuses to be told a model in the query: the settings do."""

SWITCHING = 101
BAD_GATEWAY = 502
ANSWERED_PROTOCOL = "realtime"
"""The one that is answered: never the one that holds a key, nor a version that servers have stopped to know."""


class Opened(NamedTuple):
    """An upstream that accepted."""

    candidate: Candidate
    socket: Socket


class Sought(NamedTuple):
    """A route, who of it has the kind of session that is wanted, and that kind."""

    route: Route
    able: list[Candidate]
    kind: str


def seek(gateway: Gateway, exchange: Exchange, kind: str) -> Sought:
    """Return who may serve a session with the exchange's model. Raises `ClientError` 404."""
    assert exchange.model is not None
    if not exchange.principal.may_use(exchange.model):
        raise no_such_model(exchange.model)
    route = gateway.router.resolve(exchange.model)
    able = [candidate for candidate in route.candidates if candidate.endpoint.session_path(kind) is not None]
    if not able:
        message = f"the model {exchange.model!r} is served by nobody who has {kind} sessions"
        raise ClientError(Failure(404, Kind.NOT_FOUND, message, code="model_not_found", param="model"))
    return Sought(route, able, kind)


async def open_upstream(
    gateway: Gateway, exchange: Exchange, stack: AsyncExitStack, sought: Sought, terms: Terms
) -> Opened:
    """Connect one of the candidates; the stack closes it. Raises `UpstreamError` when nobody accepts, and `ClientError`
    when the request is at fault.
    """
    route = sought.route
    tried = [candidate for candidate in route.candidates if candidate not in sought.able]
    error: UpstreamError | None = None
    while len(exchange.attempts) < route.race.attempts_max:
        candidate = route.pick(gateway.now(), tried, None)
        if candidate is None:
            break
        tried.append(candidate)
        if not candidate.health.begin(gateway.now()):
            continue
        async with AsyncExitStack() as attempt:
            attempt.callback(candidate.health.end)
            try:
                socket = await _connect(gateway, exchange, attempt, candidate, sought.kind, terms)
            except UpstreamError as exc:
                seconds = retry_after_seconds(exc.failure.headers)
                candidate.health.failed(exc, gateway.now(), retry_after_seconds=seconds)
                error = exc
                continue
            except trio.Cancelled:
                candidate.health.abandoned()
                raise
            except ClientError:
                candidate.health.judged(gateway.now())
                raise
            candidate.health.judged(gateway.now())
            await stack.enter_async_context(attempt.pop_all())
            return Opened(candidate, socket)
    if error is not None:
        if error.failure.status >= 500:
            error.failure = replace(error.failure, status=BAD_GATEWAY)
        raise error
    message = f"every upstream of the model {route.name!r} is failing"
    failure = Failure(BAD_GATEWAY, Kind.UPSTREAM, message, code="no_candidate_available")
    raise UpstreamError(failure, cause="no_candidate", retryable=True)


async def _connect(  # noqa: PLR0917 - one attempt's parts
    gateway: Gateway, exchange: Exchange, attempt: AsyncExitStack, candidate: Candidate, kind: str, terms: Terms
) -> Socket:
    endpoint, timeouts = candidate.endpoint, candidate.timeouts
    path = endpoint.session_path(kind)
    assert path is not None
    record = AttemptRecord(candidate.provider, candidate.model, candidate.kind)
    exchange.attempts.append(record)
    exchange.provider, exchange.upstream_model = candidate.provider, candidate.model
    began = gateway.now()
    record.offset_seconds = began - exchange.started
    try:
        with trio.fail_after(timeouts.connect_seconds):
            lease = await endpoint.pool.open(endpoint.origin)
        attempt.callback(lease.close)
        opening = connect(
            lease.stream,
            host=endpoint.authority,
            resource=resource(path, exchange, candidate),
            headers=signed(exchange, candidate, kind),
            terms=terms,
            opening_seconds_max=timeouts.connect_seconds,
        )
        socket = await attempt.enter_async_context(opening)
    except Refused as exc:
        record.cause, record.status = "status", exc.status
        failure, retryable = endpoint.classify(exc.status, exc.headers, exc.body)
        if retryable or failure.status >= 500:
            raise UpstreamError(failure, cause="status", retryable=True) from exc
        raise ClientError(failure) from exc
    except (PoolFull, ConnectError, trio.TooSlowError) as exc:
        failure, record.cause = no_connection(candidate.provider, exc, timeouts.connect_seconds)
        raise UpstreamError(failure, cause=record.cause, retryable=True) from exc
    except (Broken, ProtocolError) as exc:
        failure, record.cause = broken(candidate.provider, exc, answered=isinstance(exc, ProtocolError), cut=False)
        raise UpstreamError(failure, cause=record.cause, retryable=True) from exc
    finally:
        record.seconds = gateway.now() - began
    record.cause, record.status = "ok", SWITCHING
    return socket


def signed(exchange: Exchange, candidate: Candidate, kind: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of a handshake with an upstream.

    Of the client's it gets those that change how a dialect is read. A realtime session has none of them: what clients
    of its beta send makes an upstream refuse.
    """
    headers = candidate.endpoint.session_headers(candidate.credential)
    if kind == REALTIME:
        return headers
    ours = {name for name, _ in headers}
    theirs = upstream_headers(exchange.request, registry.dialect(exchange.surface.dialect))
    return headers + [header for header in theirs if header[0] not in ours]


def query_of(exchange: Exchange) -> dict[str, str]:
    """Return the parameters of a handshake, the first of each name."""
    asked = parse_qs(exchange.request.query.decode("latin-1"))
    return {name: values[0] for name, values in asked.items()}


def resource(path: str, exchange: Exchange, candidate: Candidate) -> str:
    """Return what is asked of an upstream: its model's name, and what of the client's query it is to know."""
    asked = query_of(exchange)
    query = [(name, asked[name]) for name in PASSED_ON if name in asked]
    if exchange.surface.name == REALTIME and asked.get("intent") != TRANSCRIPTION:
        query.insert(0, ("model", candidate.model))
    return f"{path}?{urlencode(query)}" if query else path
