"""Listeners, the top nursery, one task per connection.

Decides how a client connection lives: TLS first when there is a certificate, then requests in order, each answered
before the next is looked at; how long it may take over a head, a body or an idle pause; what a request that is not HTTP
is told; and how everything ends in a drain. What a request means is `engine.pipeline`'s business, pages go down
`engine.tunnel`.

A connection's deadlines (head, body, idle, and the answer that is not streamed) are one attribute that one sweep a
second looks at, not cancel scopes: a scope costs 18 us a request and a moved deadline 6, an assignment nothing, and
neither a slowloris nor a ten-minute limit minds the second. The connection's one cancel scope is what the sweep, the
hang-up monitor and a drain cancel.
"""

import contextlib
import logging
import socket
import ssl
from collections.abc import Iterable
from enum import IntEnum
from math import inf

import trio

from adapters import registry
from adapters.errors import ClientError, Failure, Kind, kind_of_status
from engine import http1, net
from engine.downstream import ClientGone, Downstream, Reply
from engine.exchange import request_id
from engine.gateway import Gateway
from engine.http1 import ProtocolError, Request, RequestParser
from engine.layers.authenticate import identify, is_from_loopback
from engine.layers.record import record_refusal
from engine.net import Broken, Stream, TlsStream, accept_tls
from engine.pipeline import serve_exchange
from engine.routes import PAGE, UNKNOWN, Action, Match, resolve, spoken
from engine.tunnel import tunnel

logger = logging.getLogger(__name__)

ACCEPT_BATCH_MAX = 64
"""Connections taken per wake-up, so that a burst of them cannot starve streams."""

ACCEPT_PAUSE_SECONDS = 0.1
COMPLAINT_SECONDS = 60.0
SWEEP_SECONDS = 1.0
LINGER_SECONDS_MAX = 2.0
LINGER_BYTES_MAX = 1 << 20
"""After a refusal the rest of what the client sends is read for a while: closing with unread bytes resets the
connection, and the reset can overtake the refusal (RFC 9112, section 9.6).
"""


class Phase(IntEnum):
    """What a connection is doing; what its deadline means."""

    HANDSHAKE = 0
    IDLE = 1
    HEAD = 2
    BODY = 3
    EXCHANGE = 4
    LINGER = 5


# Bound once: on Python 3.11 a look-up of a member in its class takes ten times as long as one in the module.
_HANDSHAKE, _IDLE, _HEAD, _BODY, _EXCHANGE, _LINGER = Phase
_ENDED = Reply.ENDED
_GENERATE = Action.GENERATE


class Connection:
    """One accepted client connection."""

    __slots__ = ("began", "downstream", "gateway", "parser", "peer", "phase", "scope", "stream")

    def __init__(self, gateway: Gateway, stream: Stream, peer: str) -> None:
        limits = gateway.config.limits
        self.gateway = gateway
        self.stream = stream
        self.peer = peer
        self.parser = RequestParser(limits)
        self.downstream = Downstream(stream, send_seconds_max=limits.send_seconds_max, peer=peer)
        self.scope = trio.CancelScope()
        self.phase = _HANDSHAKE
        self.began = gateway.now()
        self.downstream.deadline = self.began + limits.head_seconds_max

    def __repr__(self) -> str:
        return f"<Connection {self.peer} {self.phase.name} {self.downstream.reply.name}>"

    def secure(self, stream: Stream) -> None:
        """Go on over TLS."""
        self.stream = self.downstream.stream = stream

    async def serve(self) -> None:
        """Serve requests until either side is done; answer what is not a request. Cancelled: nothing more is sent."""
        try:
            try:
                await self._requests()
            except ProtocolError as exc:
                await self._refuse(exc)
        except (Broken, ClientGone):
            logger.debug("%r ended by its client", self)

    async def _requests(self) -> None:
        downstream = self.downstream
        while True:
            request = await self._next_request()
            if request is None:
                return
            self.phase, downstream.deadline = _EXCHANGE, inf
            downstream.begin(request)
            downstream.keep_alive = request.keep_alive and not self.gateway.draining
            match = resolve(request.method, request.path)
            if match is None:
                if self.gateway.console_path is not None and not self._is_foreign(request):
                    await self._tunnel(request, self.gateway.console_path)
                    return
                match = Match(PAGE)
            if request.upgrade:
                downstream.leftover = self.parser.leftover
            if match.surface.action is not _GENERATE:
                # Only lists of models share their routes; to ask for it here spares a generation 4,000 instructions.
                match = spoken(match, request)
            await serve_exchange(self.gateway, request, match, downstream)
            if downstream.reply is not _ENDED or not downstream.keep_alive or self.gateway.draining:
                return
            del request, match  # a body may be large, and the next request far away

    async def _next_request(self) -> Request | None:
        """Read until a whole request is there; None when the client closed between requests."""
        parser = self.parser
        request = parser.pop()
        if request is not None:
            # Pipelined: without this, a read full of requests that need no upstream would hold up every other task.
            await trio.lowlevel.checkpoint()
            return request
        while True:
            awaited = parser.awaiting_body
            if awaited is None:
                self._await_head()
            elif self.phase is not _BODY and not await self._await_body(awaited):
                return None
            data = await self.stream.receive()
            if not data:
                return None
            parser.feed(data)
            request = parser.pop()
            if request is not None:
                return request

    def _await_head(self) -> None:
        """Set the deadline of a head, or of its first byte."""
        phase = _IDLE if self.parser.idle else _HEAD
        if self.phase is not phase:
            limits = self.gateway.config.limits
            # A client that connected while the gateway was leaving may still ask once, but not take its time.
            patient = phase is _IDLE and not self.gateway.draining
            self._enter(phase, limits.idle_seconds_max if patient else limits.head_seconds_max)

    async def _await_body(self, request: Request) -> bool:
        """Set the deadline of a body whose head is there; False: it is not wanted."""
        self._enter(_BODY, self.gateway.config.limits.body_seconds_max)
        if await self._refused_by_its_head(request):
            return False
        if request.expect_continue:
            await self.downstream.send(http1.CONTINUE)
        return True

    async def _refused_by_its_head(self, request: Request) -> bool:
        """Answer a request that will be refused whatever its body: nobody without a key makes us keep 32 MB."""
        match = resolve(request.method, request.path)
        if match is None or match.surface.public:
            return False
        try:
            identify(self.gateway.keys, request, self.peer)
        except ClientError:
            self.downstream.begin(request)
            self.downstream.keep_alive = False
            await serve_exchange(self.gateway, request, match, self.downstream)
            await self._linger()
            return True
        return False

    def _is_foreign(self, request: Request) -> bool:
        """Whether a page that is not the user's own may be asking a gateway without keys."""
        return not self.gateway.keys.required and not is_from_loopback(request)

    async def _tunnel(self, request: Request, console_path: str) -> None:
        # A page's client may close its sending half and still read: the tunnel itself looks for its end.
        self.gateway.hangups.unwatch(self.stream.fileno())
        await tunnel(
            self.stream,
            request,
            self.parser.leftover,
            socket_path=console_path,
            client_address=self.peer,
            secure=isinstance(self.stream, TlsStream),
            request_id=request_id(request),
        )

    def _enter(self, phase: Phase, seconds: float) -> None:
        now = self.gateway.now()
        if self.phase is _EXCHANGE or self.phase is _HANDSHAKE:
            self.began = now
        self.phase = phase
        self.downstream.deadline = now + seconds

    def expire(self) -> None:
        """End a connection whose deadline passed. A client in the middle of its request is told 408 first; an exchange
        finds out by `overdue` why it is cancelled and speaks for itself.
        """
        self.downstream.overdue = True
        self.downstream.keep_alive = False
        if self.phase in {_HEAD, _BODY}:
            record_refusal(self.gateway, 408, seconds=self.gateway.now() - self.began)
            try:
                self.stream.send_nowait(refusal(408, f"the {self.phase.name.lower()} of the request took too long"))
            except Broken:
                logger.debug("%r was gone when it timed out", self)
        self.scope.cancel()

    def drain(self) -> None:
        """Let the exchange under way finish; anything else ends now."""
        if self.phase is not _EXCHANGE:
            self.scope.cancel()

    async def _refuse(self, error: ProtocolError) -> None:
        """Answer bytes that are not a request we serve, and close without cutting the answer off."""
        record_refusal(self.gateway, error.status, seconds=self.gateway.now() - self.began)
        await self.stream.send(refusal(error.status, error.message))
        await self._linger()

    async def _linger(self) -> None:
        """Read what a refused client still sends, for a while, so that it gets to read the refusal."""
        self._enter(_LINGER, LINGER_SECONDS_MAX)
        self.stream.send_eof()
        length = 0
        while length < LINGER_BYTES_MAX:
            data = await self.stream.receive()
            if not data:
                return
            length += len(data)


def refusal(status: int, message: str) -> bytes:
    """Return a whole answer to a client whose dialect is not known, since its request could not be read."""
    failure = Failure(status, kind_of_status(status), message)
    body = registry.dialect(UNKNOWN.dialect).error_body(failure)
    return http1.render_response(status, [(b"content-type", b"application/json"), (b"connection", b"close")], body)


class Server:
    """The listeners and connections of one worker.

    `run()` serves until `drain()` was called and the last connection ended, or until cancelled, which ends every
    connection at once. It leaves no task, no socket and no registration behind, whichever way it ends.
    """

    __slots__ = ("_accepting", "_complained_at", "connections", "gateway", "sockets", "tls")

    def __init__(
        self, gateway: Gateway, sockets: Iterable[socket.socket], *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.gateway = gateway
        self.sockets = list(sockets)
        self.tls = tls
        self.connections: set[Connection] = set()
        self._complained_at = -inf
        self._accepting = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Server {len(self.sockets)} listeners, {len(self.connections)} connections>"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve. `started` once every listener accepts."""
        async with trio.open_nursery() as upkeep:
            upkeep.start_soon(self.gateway.hangups.run)
            upkeep.start_soon(self.gateway.alarms.run)
            upkeep.start_soon(self._sweep)
            async with trio.open_nursery() as nursery:
                try:
                    with self._accepting:
                        async with trio.open_nursery() as listeners:
                            for sock in self.sockets:
                                listeners.start_soon(self._accept, sock, nursery)
                            task_status.started()
                finally:
                    self._close_listeners(nursery)
            upkeep.cancel_scope.cancel()

    def drain(self) -> None:
        """Stop accepting and close idle connections, let exchanges under way end; `run()` returns after the last."""
        self.gateway.draining = True
        self._accepting.cancel()
        for session in list(self.gateway.sessions):
            session.drain()
        for connection in list(self.connections):
            connection.drain()

    def _close_listeners(self, nursery: trio.Nursery) -> None:
        """Close the listeners once nobody waits on them; who is in their queues by then is still served."""
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                self._accept_batch(sock, nursery, net.BACKLOG)
            sock.close()

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                self._accept_batch(listener, nursery, ACCEPT_BATCH_MAX)
            except OSError as exc:
                self._complain(exc)
                await trio.sleep(ACCEPT_PAUSE_SECONDS)

    def _accept_batch(self, listener: socket.socket, nursery: trio.Nursery, connections_max: int) -> None:
        """Take what is queued. Raises OSError when the process is out of descriptors or memory."""
        for _ in range(connections_max):
            sock = net.accept_nowait(listener)
            if sock is None:
                return
            if len(self.connections) >= self.gateway.config.limits.connections_max:
                record_refusal(self.gateway, 503, seconds=0.0)
                refuse_full(sock, plain=self.tls is None)
            else:
                nursery.start_soon(self._serve, sock)

    def _complain(self, exc: OSError) -> None:
        """Log that descriptors ran out, once per shortage: however often it comes and goes within a minute."""
        now = self.gateway.now()
        if now - self._complained_at > COMPLAINT_SECONDS:
            logger.error("out of descriptors or memory, new connections wait: %s", exc)
        self._complained_at = now

    async def _serve(self, sock: socket.socket) -> None:
        stream = Stream(sock)
        peer = stream.peer_host or "unix"
        connection = Connection(self.gateway, stream, peer)
        self.connections.add(connection)
        fileno = sock.fileno()
        try:
            self.gateway.hangups.watch(fileno, connection.scope.cancel)
            with connection.scope:
                if self.tls is not None and sock.family != socket.AF_UNIX:
                    connection.secure(await accept_tls(sock, self.tls))
                await connection.serve()
        except Broken as exc:
            logger.debug("TLS handshake with %s: %s", peer, exc)
        except Exception:
            logger.exception("bug in the connection of %s", peer)
        finally:
            self.gateway.hangups.unwatch(fileno)
            connection.stream.close()
            self.connections.discard(connection)

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_SECONDS)
            now = self.gateway.now()
            for connection in list(self.connections):
                if connection.downstream.deadline <= now:
                    connection.downstream.deadline = inf
                    connection.expire()
            self.gateway.router.expire()


def refuse_full(sock: socket.socket, *, plain: bool) -> None:
    """Tell a client that there is no place for it, without waiting; before a TLS handshake nothing can be told."""
    if not plain:
        sock.close()
        return
    failure = Failure(503, Kind.OVERLOADED, "the gateway is at its limit of connections", code="gateway_overloaded")
    body = registry.dialect(UNKNOWN.dialect).error_body(failure)
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"1"), (b"connection", b"close")]
    with sock, contextlib.suppress(OSError):
        sock.send(http1.render_response(503, headers, body))
        sock.shutdown(socket.SHUT_WR)
