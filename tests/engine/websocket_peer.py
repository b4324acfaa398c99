"""The other end of a WebSocket under test: wsproto over a stream, which also says what no proper peer says."""

import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Message, Ping, Pong
from wsproto.utilities import generate_accept_token

from engine.config import Limits
from engine.http1 import Request, RequestParser
from engine.net import Broken, Stream
from engine.websocket import DEFAULTS, Socket, Terms, accept, connect

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"GET /v1/realtime?model=m HTTP/1.1\r\nhost: gateway\r\nupgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: " + KEY + b"\r\n"
)


def pair(buffer_bytes: int | None = None) -> tuple[Stream, Stream]:
    """Return two connected streams, with kernel buffers of about `buffer_bytes`."""
    ends = sockets.socketpair()
    for end in ends:
        if buffer_bytes is not None:
            end.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, buffer_bytes)
            end.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, buffer_bytes)
    return Stream(ends[0]), Stream(ends[1])


def request(fields: bytes = b"") -> Request:
    """Return a client's handshake with more `fields`."""
    parser = RequestParser(Limits())
    parser.feed(UPGRADE + fields + b"\r\n")
    parsed = parser.pop()
    assert parsed is not None
    return parsed


class Peer:
    """wsproto's side of the connection; `messages` are those that came whole, `pongs` the payloads of pongs."""

    def __init__(self, stream: Stream, kind: ConnectionType) -> None:
        self.stream = stream
        self.protocol = Connection(kind)
        self.pongs: list[bytes] = []
        self.pings = 0
        self.answers_pings = False
        self._parts: list[str | bytes] = []

    async def send(self, *events: Event) -> None:
        """Send all of `events` at once."""
        await self.stream.send(b"".join(self.protocol.send(event) for event in events))

    async def next(self) -> str | bytes | CloseConnection | None:
        """Return the next message or the Close frame, None at the end or after a reset. Answers nothing, but pings if
        `answers_pings` says so.
        """
        while True:
            for event in self.protocol.events():
                if isinstance(event, Ping):
                    self.pings += 1
                    if self.answers_pings:
                        await self.send(event.response())
                elif isinstance(event, Pong):
                    self.pongs.append(bytes(event.payload))
                elif isinstance(event, CloseConnection):
                    return event
                elif isinstance(event, Message):
                    self._parts.append(event.data)
                    if event.message_finished:
                        parts, self._parts = self._parts, []
                        return parts[0][:0].join(parts)  # type: ignore[arg-type]
            try:
                data = await self.stream.receive()
            except Broken:
                return None
            if not data:
                return None
            self.protocol.receive_data(data)

    async def answer_close(self) -> CloseConnection:
        """Read to the Close frame, answer it, and return it."""
        while True:
            event = await self.next()
            assert event is not None, "the connection ended without a Close frame"
            if isinstance(event, CloseConnection):
                await self.send(event.response())
                self.stream.close()
                return event

    async def grant(self, fields: bytes = b"", leftover: bytes = b"") -> bytes:
        """Answer the handshake of `connect`; return its head."""
        head = await self.head()
        key = next(line for line in head.split(b"\r\n") if line.startswith(b"sec-websocket-key: "))[19:]
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        answer += b"Sec-WebSocket-Accept: " + generate_accept_token(key) + b"\r\n" + fields + b"\r\n"
        await self.stream.send(answer + leftover)
        return head

    async def head(self) -> bytes:
        """Read one head, and keep what follows."""
        head = b""
        while b"\r\n\r\n" not in head:
            data = await self.stream.receive()
            assert data, head
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        if rest:
            self.protocol.receive_data(rest)
        return head


@asynccontextmanager
async def opened(
    role: str, *, terms: Terms = DEFAULTS, buffer_bytes: int | None = None
) -> AsyncIterator[tuple[Socket, Peer]]:
    """Open a `Socket` in the role of a `server` or a `client`, with a wsproto peer in the other one."""
    ours, theirs = pair(buffer_bytes)
    try:
        if role == "server":
            peer = Peer(theirs, ConnectionType.CLIENT)
            async with accept(ours, request(), terms=terms) as socket:
                await peer.head()
                yield socket, peer
        else:
            peer = Peer(theirs, ConnectionType.SERVER)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.grant)
                async with connect(ours, host="upstream", resource="/", terms=terms) as socket:
                    yield socket, peer
    finally:
        theirs.close()
