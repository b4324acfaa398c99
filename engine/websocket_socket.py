"""One WebSocket while it is open, either side of it, on trio-websocket.

Decides what a relay sees of a connection: whole messages as they came, text as `str` and binary as `bytes`, and one
exception for every way it ends. trio-websocket has the reader, the queue, the lock of the senders and the closing
handshake.

The rules:

- Memory is bounded: one message waits for `receive`, one is under way behind it, and then nothing more is read, so that
  a slow reader at one end of a relay holds up the sender at the other. A message is at most `frame_bytes_max` bytes,
  and as a `str` four times that in the worst case.
- A peer is dead when it answers `pings_missed_max` pings in a row with no byte of any kind, or takes nothing of what is
  sent to it for as long. Time in which nobody listened to it, because its messages had nowhere to go, does not count.
- Pings are answered whatever the messages wait for, as soon as they are read.

What messages mean and how long a session may last is not known here.
"""

from math import inf
from typing import NamedTuple, cast

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto import WSConnection
from wsproto.events import Ping, Pong

from engine.net import RECEIVE_BYTES, Stream
from engine.websocket_codes import NO_CLOSE_FRAME, NORMAL, fitting, sendable
from engine.websocket_frames import FRAME_BYTES_MAX, Framing
from engine.websocket_handshake import Granted
from engine.websocket_stream import ReplayedStream

__all__ = ["DEFAULTS", "Closed", "Socket", "Statistics", "Terms"]

CLOSE_SECONDS_MAX = 5.0
"""How long a peer may take over the closing handshake."""

LAST_WORDS_SECONDS_MAX = 2.0
"""How long a failed send waits for what the peer said last: the code with which it closed."""


class Terms(NamedTuple):
    """What a connection may cost: the size of a message, and how long a peer may be silent."""

    frame_bytes_max: int = FRAME_BYTES_MAX
    ping_seconds: float = 20.0
    """A peer silent for this long is sent a ping."""
    pings_missed_max: int = 2


DEFAULTS = Terms()


class Closed(Exception):  # noqa: N818 - how a connection ended, which it always does
    """The connection has ended, or is ending.

    `code` is the peer's; the one given to `close` when this side closed first; what was found when the peer broke the
    protocol (1002, 1007, 1009); 1005 when its Close frame had none; 1006 when there was none. `sendable` makes of it
    what another connection can be closed with.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Statistics(NamedTuple):
    """What went over a connection: whole messages and the bytes of their payloads, and pings sent."""

    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    pings_sent: int


class Socket:
    """An open WebSocket. One task may receive while others send; made and run by `engine.websocket`."""

    __slots__ = (
        "__weakref__",
        "_chores",
        "_connection",
        "_ended",
        "_framing",
        "_pings_owed",
        "_pings_sent",
        "_stream",
        "_terms",
        "_verdict",
        "headers",
        "subprotocol",
    )

    def __init__(self, stream: Stream, granted: Granted, *, masks: bool, terms: Terms) -> None:
        self.subprotocol = granted.subprotocol
        """What both sides agreed on, if anything."""
        self.headers = granted.headers
        """The upstream's answer without the fields of the handshake; empty for a client's connection."""
        self._terms = terms
        self._chores = trio.Event()
        self._ended = trio.Event()
        self._verdict: Closed | None = None
        self._pings_owed = 0
        self._pings_sent = 0
        self._framing = Framing(masks=masks, frame_bytes_max=terms.frame_bytes_max, on_ping=self._wake)
        self._stream = ReplayedStream(stream, granted.leftover, settled=self._settled)
        self._connection = WebSocketConnection(
            self._stream,
            cast("WSConnection", self._framing),
            message_queue_size=1,
            max_message_size=terms.frame_bytes_max,
            receive_buffer_size=RECEIVE_BYTES,
        )

    def __repr__(self) -> str:
        return f"<Socket {self._framing!r} {self._stream!r}>"

    def statistics(self) -> Statistics:
        """Return what has gone over the connection so far."""
        framing = self._framing
        return Statistics(
            framing.messages_received,
            framing.messages_sent,
            framing.bytes_received,
            framing.bytes_sent,
            self._pings_sent,
        )

    async def receive(self) -> str | bytes:
        """Wait for the next message; those that came before the end come before `Closed`. Cancelled: none is lost."""
        try:
            return await self._connection.get_message()
        except ConnectionClosed:
            raise self._closed() from None

    async def send(self, frame: str | bytes) -> None:
        """Send one message as one frame, waiting for a slow peer; always a checkpoint. Raises `Closed`.

        Cancelled while the peer takes nothing: half a frame may be on the wire, so the connection is cut.
        """
        try:
            await self._connection.send_message(frame)
        except ConnectionClosed:
            raise self._closed() from None
        if self._stream.broken:
            with trio.move_on_after(LAST_WORDS_SECONDS_MAX):
                await self._ended.wait()
            raise self._closed()

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close with what `sendable` and the length of a frame make of `code` and `reason`; whatever else was received
        is dropped. After `CLOSE_SECONDS_MAX`, or when cancelled, the connection is cut. Harmless on a closed one.
        """
        code, reason = sendable(code), fitting(reason)
        if self._verdict is None and self._connection.closed is None:
            self._verdict = Closed(code, reason)
        try:
            with trio.move_on_after(CLOSE_SECONDS_MAX):
                await self._connection.aclose(code, reason or None)
                await self._ended.wait()
        finally:
            if not self._ended.is_set():
                self._stream.cut("the closing handshake took too long")

    def _closed(self) -> Closed:
        """Return how the connection ended: by this side's doing, or by what trio-websocket knows of the peer's."""
        if self._verdict is not None:
            return Closed(self._verdict.code, self._verdict.reason)
        reason = self._connection.closed
        if reason is None or reason.code == NO_CLOSE_FRAME:
            return Closed(NO_CLOSE_FRAME, self._stream.cut_for or "the connection ended without a Close frame")
        return Closed(int(reason.code), reason.reason or "")

    async def run(self) -> None:
        """Read, answer pings and watch the peer until the connection has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._do_chores)
            nursery.start_soon(self._watch)
            try:
                await self._connection._reader_task()
            finally:
                self._stream.close()
                self._ended.set()
                # They know this socket's methods: without this each session would stay until a collection, which with
                # the thresholds of a worker is for hours.
                self._framing.forget()
                self._stream.forget()
            nursery.cancel_scope.cancel()

    async def _do_chores(self) -> None:
        """Send the pongs and pings that are owed. Not the reader's business: with a peer that does the same, two full
        buffers would each wait for the other's reader for ever.
        """
        framing, connection = self._framing, self._connection
        while True:
            await self._chores.wait()
            self._chores = trio.Event()
            owed, framing.pong_owed = framing.pong_owed, None
            pings, self._pings_owed = self._pings_owed, 0
            try:
                if owed is not None:
                    await connection._send(Pong(payload=owed))
                if pings:
                    # Not `ping`, which waits for its pong: any byte of the peer's is as good.
                    await connection._send(Ping())
                    self._pings_sent += 1
            except ConnectionClosed:
                return

    def _wake(self) -> None:
        self._chores.set()

    async def _settled(self) -> bool:
        """Wait until no frame is being sent; tell whether the peer broke the protocol, and may go on sending."""
        async with self._connection._stream_lock:
            return self._framing.fault

    async def _watch(self) -> None:
        """Have a silent peer pinged, and cut the connection of a dead one."""
        seconds, misses_max = self._terms.ping_seconds, self._terms.pings_missed_max
        missed, pinged = 0, -inf
        while True:
            now = trio.current_time()
            if now - self._stream.stuck_since() >= seconds * (misses_max + 1):
                self._stream.cut("the peer takes nothing")
                return
            alive = self._stream.silent_since()
            if alive >= pinged:
                # Also when that was as long ago as a ping is due: an answer that came at once is one.
                missed = 0
            if alive + seconds > now:
                await trio.sleep_until(alive + seconds)
                continue
            if missed == misses_max:
                self._stream.cut("the peer answers no ping")
                return
            missed, pinged = missed + 1, now
            self._pings_owed = 1
            self._wake()
            await trio.sleep(seconds)
