"""The answering half of one downstream connection: heads, framing, and what was already said.

Decides how an answer is framed (content-length, chunked, or closed at the end for HTTP/1.0) and holds the one fact that
every error path asks for: has the head gone out? Sends are one `send` per call. A client that takes no byte for
`send_seconds_max` is treated as gone. This module knows no dialect and no upstream.
"""

from collections.abc import Iterable
from enum import IntEnum
from math import inf

import trio

from engine import http1
from engine.net import Broken, Stream
from engine.stream import Bytes


class Reply(IntEnum):
    """How much of the current answer has been sent."""

    NOTHING = 0
    STREAMING = 1
    ENDED = 2
    TAKEN = 3
    """Somebody speaks another protocol on the connection; nothing is answered on it any more."""


# Bound once: on Python 3.11 a look-up of a member in its class takes ten times as long as one in the module.
_NOTHING, _STREAMING, _ENDED, _TAKEN = Reply

TRANSITIONS: dict[Reply, frozenset[Reply]] = {
    Reply.NOTHING: frozenset({Reply.STREAMING, Reply.ENDED, Reply.TAKEN}),
    Reply.STREAMING: frozenset({Reply.ENDED}),
    Reply.ENDED: frozenset({Reply.NOTHING}),
    Reply.TAKEN: frozenset(),
}


class ClientGone(Exception):  # noqa: N818 - a fact about the client, not an error of ours
    """The client closed, reset, or stopped reading for `send_seconds_max`."""


class Downstream:
    """Answers requests on one accepted connection, one at a time, in order.

    Not concurrent: exactly one task answers. After `ClientGone` or a cancelled send the connection must be closed,
    since part of an answer may be on the wire; `reply` then never reached ENDED.
    """

    __slots__ = (
        "bytes_out",
        "chunked",
        "deadline",
        "head_only",
        "keep_alive",
        "leftover",
        "overdue",
        "peer",
        "reply",
        "send_seconds_max",
        "stream",
    )

    def __init__(self, stream: Stream, *, send_seconds_max: float, peer: str = "") -> None:
        self.stream = stream
        self.peer = peer
        """The client's address."""
        self.leftover = b""
        """What came behind a request for an upgrade."""
        self.send_seconds_max = send_seconds_max
        self.reply = _ENDED
        self.keep_alive = True
        self.chunked = True
        self.head_only = False
        self.bytes_out = 0
        self.deadline = inf
        """When the connection's owner cancels what it is doing; see `engine.serve`."""
        self.overdue = False
        """Whether the deadline is the reason of a cancellation."""

    def begin(self, request: http1.Request) -> None:
        """Take the next request: its version and method decide the framing of its answer."""
        self._become(_NOTHING)
        self.keep_alive = request.keep_alive
        self.chunked = request.version == "1.1"
        self.head_only = request.method == "HEAD"
        self.bytes_out = 0

    async def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer. Raises `ClientGone`. Cancelled: the connection must be closed."""
        self._become(_ENDED)
        fields = headers
        if not self.keep_alive:
            fields = [*headers, (b"connection", b"close")]
        elif not self.chunked:
            # HTTP/1.0 closes unless both sides say otherwise (RFC 9112, section 9.3).
            fields = [*headers, (b"connection", b"keep-alive")]
        message = http1.render_response(status, fields, body)
        if self.head_only:
            message = message[: len(message) - len(body)]
        await self.send(message)

    def stream_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return the head of a streamed answer; the caller sends it together with the first bytes."""
        self._become(_STREAMING)
        fields = list(headers)
        if self.chunked:
            fields.append((b"transfer-encoding", b"chunked"))
        else:
            self.keep_alive = False
        if not self.keep_alive:
            fields.append((b"connection", b"close"))
        return http1.render_head(status, fields)

    def take(self) -> Stream:
        """Give the connection over to another protocol: who takes it also closes it."""
        self._become(_TAKEN)
        return self.stream

    def frame(self, data: bytes) -> bytes:
        """Frame stream bytes for the wire; empty stays empty, since an empty chunk would end the stream."""
        return http1.chunk(data) if self.chunked and data else data

    def end_of_stream(self) -> bytes:
        """Return the bytes that end a streamed answer."""
        self._become(_ENDED)
        return http1.LAST_CHUNK if self.chunked else b""

    async def send(self, message: Bytes) -> None:
        """Send all of `message`; waits for a slow client. Raises `ClientGone`."""
        try:
            sent = self.stream.send_nowait(message)
            if sent < len(message):
                with trio.fail_after(self.send_seconds_max):
                    await self.stream.send(memoryview(message)[sent:])
        except (Broken, trio.TooSlowError) as exc:
            raise ClientGone from exc
        self.bytes_out += len(message)

    def _become(self, reply: Reply) -> None:
        assert reply in TRANSITIONS[self.reply], f"{self.reply} -> {reply}"
        self.reply = reply
