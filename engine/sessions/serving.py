"""Serving a session: the order of checking, reserving, connecting, accepting, relaying, and of giving everything back.

A realtime session names its model in the handshake, so everything is decided before that is answered. Responses over a
socket name theirs in the first frame: that client is accepted first, if there is anybody to ask at all, and told in an
`error` event what would have been a status.
"""

from contextlib import AsyncExitStack

import msgspec
import trio

from adapters import registry
from adapters.errors import ClientError, Failure, GatewayError, Kind
from adapters.sessions import FREE, Frame, Policy, Session
from adapters.sessions.realtime import RealtimeSession
from adapters.sessions.socketed import SocketedSession
from engine.downstream import ClientGone, Downstream
from engine.exchange import Exchange, Outcome, fresh_id
from engine.gateway import Gateway
from engine.headers import answer_headers
from engine.http1 import ProtocolError
from engine.net import Broken
from engine.sessions.opening import (
    ANSWERED_PROTOCOL,
    REALTIME,
    SWITCHING,
    TRANSCRIPTION,
    Opened,
    open_upstream,
    query_of,
    seek,
)
from engine.sessions.purse import Purse
from engine.sessions.relaying import GOING_AWAY, INTERNAL, POLICY, PROPER, RESTARTS, Relaying
from engine.ungrouped import ungrouped
from engine.websocket import Closed, Socket, Terms, accept, check_upgrade, offered_subprotocols, sendable

UPGRADE_REQUIRED = 426
UPGRADE = ((b"upgrade", b"websocket"), (b"sec-websocket-version", b"13"))
"""What a 426 says is asked for (RFC 9110, section 15.5.22; RFC 6455, section 4.4)."""


async def serve_session(gateway: Gateway, exchange: Exchange, downstream: Downstream) -> None:
    """Serve GET with an upgrade on a surface of sessions. Raises `ClientError` and `UpstreamError` before the handshake
    is answered; afterwards the client is told in the session.
    """
    request, surface = exchange.request, exchange.surface
    if surface.name != REALTIME and not _has_sessions(gateway, surface.dialect):
        # First of all: agents that try a socket first go over to POST at once on this, and on nothing else.
        message = "no provider here has this over a WebSocket: use POST"
        raise ClientError(Failure(426, Kind.INVALID_REQUEST, message, code="upgrade_not_served"))
    try:
        check_upgrade(request)
    except ProtocolError as exc:
        headers = UPGRADE if exc.status == UPGRADE_REQUIRED else ()
        failure = Failure(exc.status, Kind.INVALID_REQUEST, exc.message, code="bad_handshake", headers=headers)
        raise ClientError(failure) from exc
    options = gateway.config.realtime
    if not options.enabled:
        message = "sessions over WebSockets are switched off here"
        raise ClientError(Failure(501, Kind.INVALID_REQUEST, message, code="realtime_disabled"))
    exchange.stream = True
    if gateway.treasury is not None:
        exchange.id = gateway.treasury.fresh_id()
    purse = Purse(gateway.treasury, exchange, registry.dialect(exchange.surface.dialect), options)
    async with ungrouped(), AsyncExitStack() as stack:
        stack.callback(purse.close)
        if exchange.surface.name == REALTIME:
            await _serve_realtime(gateway, exchange, downstream, stack, purse)
        else:
            await _serve_socketed(gateway, exchange, downstream, stack, purse)


async def _serve_realtime(
    gateway: Gateway, exchange: Exchange, downstream: Downstream, stack: AsyncExitStack, purse: Purse
) -> None:
    ephemeral = exchange.principal.ephemeral
    query = query_of(exchange)
    exchange.model = query.get("model") or (ephemeral.model if ephemeral is not None else None)
    if exchange.model is None:
        raise _no_model("name a model: ?model=...")
    opened = await _open(gateway, exchange, stack, purse, REALTIME)
    session = RealtimeSession()
    policy = _policy(gateway, exchange, opened)
    opening: Frame | None = None
    if ephemeral is not None and ephemeral.session:
        settings = msgspec.json.decode(ephemeral.session, type=dict[str, object])
        opening = session.opening_frame(settings, policy)
    elif policy.output_tokens_max is not None and query.get("intent") != TRANSCRIPTION:
        # A client that sets no limit has none, unless somebody sets one for it.
        opening = session.opening_frame({}, policy)
    offered = offered_subprotocols(exchange.request)
    protocol = ANSWERED_PROTOCOL if ANSWERED_PROTOCOL in offered else None
    client = await _accept(gateway, exchange, downstream, stack, protocol)
    await _relay(gateway, exchange, downstream, client, opened, session, policy, purse, opening)


async def _serve_socketed(
    gateway: Gateway, exchange: Exchange, downstream: Downstream, stack: AsyncExitStack, purse: Purse
) -> None:
    client = await _accept(gateway, exchange, downstream, stack, None)
    session = SocketedSession()
    try:
        frame = await _first_frame(gateway, client)
        if frame is None:
            exchange.outcome = Outcome.OK
            await client.close(*(RESTARTS if gateway.draining else (GOING_AWAY, "session_idle")))
            return
        try:
            session.read_client(frame, FREE)
            exchange.model = session.model
            if not session.model:
                raise _no_model("the first event is a response.create that names a model")
            opened = await _open(gateway, exchange, stack, purse, exchange.surface.dialect)
            policy = _policy(gateway, exchange, opened)
            opening = session.read_client(frame, policy)
        except GatewayError as exc:
            exchange.outcome = Outcome.CLIENT_ERROR if isinstance(exc, ClientError) else Outcome.UPSTREAM_ERROR
            await client.send(session.error_frame(exc.failure, f"event_{fresh_id()}"))
            await client.close(POLICY if isinstance(exc, ClientError) else INTERNAL, exc.failure.code or "")
            return
    except Closed as exc:
        proper = Outcome.OK if exc.code in PROPER else Outcome.CLIENT_GONE
        exchange.outcome = exchange.outcome or proper
        await client.close(sendable(exc.code), exc.reason)
        return
    await _relay(gateway, exchange, downstream, client, opened, session, policy, purse, opening)


def _has_sessions(gateway: Gateway, kind: str) -> bool:
    return any(endpoint.session_path(kind) is not None for endpoint in gateway.router.endpoints.values())


class _Waiting:
    """A client that has not said yet what it wants, as a drain sees it."""

    def __init__(self, seconds: float) -> None:
        self.scope = trio.CancelScope(deadline=trio.current_time() + seconds)

    def drain(self) -> None:
        """Wait no longer."""
        self.scope.cancel()


async def _first_frame(gateway: Gateway, client: Socket) -> Frame | None:
    """Return what the client says first, None when it says nothing for too long. Raises `Closed`."""
    waiting = _Waiting(gateway.config.realtime.idle_seconds)
    gateway.sessions.add(waiting)
    try:
        if gateway.draining:
            waiting.drain()
        with waiting.scope:
            return await client.receive()
        return None
    finally:
        gateway.sessions.discard(waiting)


async def _open(gateway: Gateway, exchange: Exchange, stack: AsyncExitStack, purse: Purse, kind: str) -> Opened:
    """Hold what the session needs of its budgets, then find an upstream: who cannot pay is not asked for."""
    sought = seek(gateway, exchange, kind)
    await purse.open(sought.able)
    return await open_upstream(gateway, exchange, stack, sought, _terms(gateway))


async def _accept(
    gateway: Gateway, exchange: Exchange, downstream: Downstream, stack: AsyncExitStack, protocol: str | None
) -> Socket:
    """Answer the client's handshake; from here on the connection is a WebSocket. Raises `ClientGone`."""
    dialect = registry.dialect(exchange.surface.dialect)
    headers = answer_headers(exchange, dialect, gateway.config.server.cors_origins)
    stream = downstream.take()
    # Its own reader sees the client leave, and bytes that wait there are no sign of that.
    gateway.hangups.unwatch(stream.fileno())
    exchange.status = SWITCHING
    opening = accept(
        stream, exchange.request, downstream.leftover, subprotocol=protocol, headers=headers, terms=_terms(gateway)
    )
    try:
        return await stack.enter_async_context(opening)
    except Broken as exc:
        raise ClientGone from exc


async def _relay(  # noqa: PLR0917 - the parts of a session
    gateway: Gateway,
    exchange: Exchange,
    downstream: Downstream,
    client: Socket,
    opened: Opened,
    session: Session,
    policy: Policy,
    purse: Purse,
    opening: Frame | None,
) -> None:
    relaying = Relaying(
        exchange,
        client=client,
        upstream=opened.socket,
        candidate=opened.candidate,
        session=session,
        policy=policy,
        purse=purse,
        options=gateway.config.realtime,
        opening=opening,
        # There an event is a token of text; here most are sound.
        estimates=exchange.surface.name != REALTIME,
        charges_incomplete=gateway.config.billing.on_incomplete == "estimate",
    )
    gateway.sessions.add(relaying)
    try:
        if gateway.draining:
            relaying.drain()
        await relaying.run()
    finally:
        gateway.sessions.discard(relaying)
        downstream.bytes_out += client.statistics().bytes_sent


def _terms(gateway: Gateway) -> Terms:
    options = gateway.config.realtime
    return Terms(options.frame_bytes_max, options.ping_seconds)


def _policy(gateway: Gateway, exchange: Exchange, opened: Opened) -> Policy:
    """Return what the client's frames may say: only the model that was opened, by the name its upstream has for it."""
    options, principal = gateway.config.realtime, exchange.principal
    pinned = options.pin_model or principal.account is not None or principal.ephemeral is not None
    also = frozenset({exchange.model}) if exchange.model is not None else frozenset()
    return Policy(opened.candidate.model if pinned else None, options.output_tokens_max or None, also)


def _no_model(message: str) -> ClientError:
    return ClientError(Failure(400, Kind.INVALID_REQUEST, message, code="missing_required_parameter", param="model"))
