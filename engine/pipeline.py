"""The order of the layers around every exchange, readable on one screen.

    authenticate -> admit (generations and sessions) -> the surface's action -> record

Recording stands in a `finally` and is synchronous, so every exchange is recorded once, whatever happened and whoever
cancelled it. This is also the outermost layer: it decides whose fault a failure is, and it is the one place that
catches every exception, answers 500 and logs it as a bug.
"""

import logging
from collections.abc import Awaitable, Callable

import trio

from adapters import registry
from adapters.errors import ClientError, Failure, GatewayError, Kind
from adapters.retry_hints import with_retry_hints
from engine import answers
from engine.downstream import ClientGone, Downstream, Reply
from engine.exchange import Exchange, Outcome
from engine.gateway import Gateway
from engine.generate import generate
from engine.headers import answer_headers, race_headers
from engine.http1 import Request
from engine.layers.authenticate import authenticate
from engine.layers.record import record
from engine.routes import Action, Match
from engine.sessions.secrets import client_secret
from engine.sessions.serving import serve_session

logger = logging.getLogger(__name__)

ACTIONS: dict[Action, Callable[[Gateway, Exchange, Downstream], Awaitable[None]]] = {
    Action.MODEL_LIST: answers.model_list,
    Action.MODEL: answers.model,
    Action.HEALTH: answers.health,
    Action.READY: answers.ready,
    Action.PREFLIGHT: answers.preflight,
    Action.PROBE: answers.probe,
    Action.UNKNOWN: answers.unknown,
    Action.WRONG_METHOD: answers.wrong_method,
    Action.CLIENT_SECRET: client_secret,
}

BOUNDED: dict[Action, Callable[[Gateway, Exchange, Downstream], Awaitable[None]]] = {
    Action.GENERATE: generate,
    Action.SESSION: serve_session,
}
"""What takes one of the places of the exchanges in flight."""


async def serve_exchange(gateway: Gateway, request: Request, match: Match, downstream: Downstream) -> None:
    """Serve one request on a data route.

    Never raises for a failing exchange: what went wrong has been answered, or `downstream.reply` shows that it could
    not be. Cancelled (the client is gone, or a drain ran out): nothing more is sent, the exchange is recorded,
    Cancelled goes on.
    """
    exchange = Exchange(request, match, gateway.now(), downstream.peer)
    gateway.metrics.request_started(match.surface.name)
    try:
        authenticate(gateway.keys, exchange)
        action = match.surface.action
        bounded = BOUNDED.get(action)
        if bounded is None:
            await ACTIONS[action](gateway, exchange, downstream)
            return
        gateway.admission.enter()
        try:
            await bounded(gateway, exchange, downstream)
        finally:
            gateway.admission.leave()
    except GatewayError as exc:
        exchange.outcome = Outcome.CLIENT_ERROR if isinstance(exc, ClientError) else Outcome.UPSTREAM_ERROR
        await refuse(gateway, exchange, downstream, exc.failure)
    except ClientGone:
        exchange.outcome = Outcome.CLIENT_GONE
    except trio.Cancelled:
        # A stream that has its outcome is all with the client, who may hang up before the upstream's last chunk.
        if not exchange.stream or exchange.outcome is None:
            # While draining it is more likely our own patience that ended than the client's.
            exchange.outcome = Outcome.INCOMPLETE if gateway.draining else Outcome.CLIENT_GONE
        raise
    except Exception:
        logger.exception("bug in exchange %s", exchange.request_id.decode())
        exchange.outcome = Outcome.INTERNAL_ERROR
        failure = Failure(500, Kind.INTERNAL, "the gateway failed; its log has the details", code="internal_error")
        await refuse(gateway, exchange, downstream, failure)
    finally:
        record(gateway, exchange, downstream)


async def refuse(gateway: Gateway, exchange: Exchange, downstream: Downstream, failure: Failure) -> None:
    """Answer with an error in the client's dialect; a stream already begun gets it in-band, then its end or a cut."""
    dialect = registry.dialect(exchange.surface.dialect)
    failure = with_retry_hints(failure)
    try:
        if downstream.reply is Reply.NOTHING:
            exchange.status = status = dialect.error_status(failure)
            headers = [
                (b"content-type", b"application/json"),
                *answer_headers(exchange, dialect, gateway.config.server.cors_origins),
                *(race_headers(len(exchange.attempts), hedged=exchange.hedged) if exchange.attempts else ()),
                *failure.headers,
            ]
            body = dialect.refusal_body(failure, exchange.argument, exchange.request.query)
            await downstream.answer(status, headers, body)
        elif downstream.reply is Reply.STREAMING:
            message = downstream.frame(dialect.error_event(failure))
            if not dialect.ABORT_AFTER_ERROR:
                message += downstream.end_of_stream()
            await downstream.send(message)
    except ClientGone:
        exchange.outcome = Outcome.CLIENT_GONE
