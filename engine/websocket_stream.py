"""One of our streams as trio-websocket wants it: a `trio.abc.Stream`, and the facts by which a dead peer is known.

Gives back first what was already read. The rules beyond that:

- A failed send is kept to itself (`broken`), since what the peer said last, a Close frame or the figures of a response,
  may still be unread: the reader finds the end behind it.
- A cancelled send may leave half a frame on the wire, and no frame can follow: it cuts the connection.
- Closing waits for what is being sent: trio-websocket's reader closes when it has both Close frames, of which ours may
  still wait for its turn with the sender's task.
- Once the peer broke the protocol, closing reads on for a while: a connection closed with unread bytes is reset, and
  the reset can overtake our Close frame (as RFC 9112, section 9.6, has it for HTTP).

What the bytes mean is `engine.websocket_frames`' business.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from engine.net import RECEIVE_BYTES, Broken, Stream

LINGER_SECONDS_MAX: Final = 2.0
LINGER_BYTES_MAX: Final = 64 << 20
"""A few messages of the largest size."""


async def _settled() -> bool:
    """Stand for who is asked, once nobody is: there is nothing to linger for."""
    return False


class ReplayedStream(trio.abc.Stream):
    """A stream that first gives back `leftover`. It owns `stream` from now on.

    `settled` is awaited before closing: it returns once nothing is being sent, and whether the peer may still send.
    """

    __slots__ = ("_alive_at", "_leftover", "_listening", "_settled", "_stream", "_taken_at", "broken", "cut_for")

    def __init__(self, stream: Stream, leftover: bytes, *, settled: Callable[[], Awaitable[bool]]) -> None:
        self._stream = stream
        self._leftover = leftover
        self._settled = settled
        self._alive_at = trio.current_time()
        self._listening = False
        self._taken_at: float | None = None
        self.broken = False
        """Whether a send failed: nothing more goes out, and what comes in is coming to its end."""
        self.cut_for: str | None = None
        """Why the connection was cut here, if it was."""

    def forget(self) -> None:
        """Let go of who is asked whether to linger: nothing is received any more."""
        self._settled = _settled

    def __repr__(self) -> str:
        return f"<ReplayedStream {self._stream!r}>"

    def silent_since(self) -> float:
        """Return when the peer last gave a sign of life; now, while nobody listens: then its silence means nothing."""
        return self._alive_at if self._listening else trio.current_time()

    def stuck_since(self) -> float:
        """Return since when the peer has taken nothing of what is being sent; now, when nothing waits."""
        return trio.current_time() if self._taken_at is None else self._taken_at

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`. Raises trio.ClosedResourceError once closed here; a connection that broke takes it all.

        Cancelled while it waits: the connection is cut.
        """
        if self.broken or not data:
            return
        try:
            sent = self._stream.send_nowait(data)
            if sent < len(data):
                await self._send_rest(memoryview(data)[sent:])
        except Broken:
            self.broken = True

    async def _send_rest(self, rest: memoryview) -> None:
        self._taken_at = trio.current_time()
        try:
            while rest:
                await self._stream.wait_writable()
                self._taken_at = self._alive_at = trio.current_time()
                rest = rest[self._stream.send_nowait(rest) :]
        except trio.Cancelled:
            self.cut("a frame was given up half sent")
            raise
        finally:
            self._taken_at = None

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the kernel takes more. Raises trio.ClosedResourceError."""
        await self._stream.wait_writable()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has come, b"" at the proper end. Raises trio.BrokenResourceError, trio.ClosedResourceError."""
        bytes_max = max_bytes or RECEIVE_BYTES
        if self._leftover:
            data, self._leftover = self._leftover[:bytes_max], self._leftover[bytes_max:]
            await trio.lowlevel.checkpoint()
            return data
        # The silence of a peer that nobody listened to begins now.
        self._alive_at = trio.current_time()
        self._listening = True
        try:
            return await self._stream.receive(bytes_max)
        except Broken as exc:
            raise trio.BrokenResourceError(exc.reason) from exc
        finally:
            self._listening = False

    async def aclose(self) -> None:
        """Close behind what is being sent, within `LINGER_SECONDS_MAX`; at once when cancelled."""
        try:
            with trio.move_on_after(LINGER_SECONDS_MAX), suppress(Broken, trio.ClosedResourceError):
                if await self._settled() and not self.broken:
                    await self._linger()
        finally:
            self._stream.close()

    async def _linger(self) -> None:
        self._stream.send_eof()
        length = 0
        while length < LINGER_BYTES_MAX and (data := await self._stream.receive()):
            length += len(data)

    def close(self) -> None:
        """Close without waiting: for a connection that has ended."""
        self._stream.close()

    def cut(self, reason: str) -> None:
        """Reset the connection; whoever waits on it gets trio.ClosedResourceError."""
        self.cut_for = self.cut_for or reason
        self._stream.abort()
