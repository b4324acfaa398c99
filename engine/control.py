"""The channel between the supervisor and one of its processes: JSON lines over a socket pair.

Downwards go orders, upwards what the supervisor must know. The first order is CONFIGURE: a worker runs on the text that
the supervisor accepted, not on what the file holds by then, so that a half-written file cannot reach a restarted
worker. The end of the channel is a message too: a worker whose supervisor is gone drains and exits, so that no worker
outlives its supervisor for longer than its streams.

The clerk gets the same orders, and DRAIN says to it that no worker is left. What it and the console send are signs of
life, which mean only that they come (`engine.attendant`).
"""

import contextlib
import socket
from enum import Enum

import msgspec
import trio

LINE_BYTES_MAX = 32 << 20
"""The longest line is a configuration of 4 MiB, escaped; a channel that sends more is treated as closed."""


BEAT_SECONDS = 1.0
"""How often a process beside the workers gives a sign of life, when it is well."""


class Command(Enum):
    """What a supervisor asks of a worker, or of the clerk."""

    CONFIGURE = "configure"
    DRAIN = "drain"
    RELOAD = "reload"


class Event(Enum):
    """What a worker tells its supervisor; ALIVE is the clerk's."""

    READY = "ready"
    RELOADED = "reloaded"
    REJECTED = "rejected"
    MODELS = "models"
    ALIVE = "alive"


class Message(msgspec.Struct, frozen=True):
    """One line upwards; `models` only with MODELS."""

    event: Event
    models: list[str] = []


class Order(msgspec.Struct, frozen=True):
    """One line downwards; `config`, the text of the configuration file, only with CONFIGURE and RELOAD.

    `secret` comes with CONFIGURE: all workers of a server sign ephemeral keys with it. It goes no other way, since
    arguments and variables of a process can be seen by others.
    """

    command: Command
    config: str = ""
    secret: bytes = b""

    def __repr__(self) -> str:
        return f"Order({self.command.value})"


class Channel:
    """One end: sends one kind of message and receives the other. `receive` is for one task, `send` for any number."""

    def __init__(self, sock: socket.socket, kind: type[Message] | type[Order], received: bytes = b"") -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._sending = trio.Lock()
        self._decoder = msgspec.json.Decoder(kind)
        self._buffer = bytearray(received)

    async def send(self, message: Message | Order) -> None:
        """Send one message; one that nobody reads any more is dropped."""
        async with self._sending:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_all(msgspec.json.encode(message) + b"\n")

    async def receive(self) -> Message | Order | None:
        """Return the next message, None when the other side is gone."""
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                return self._decoder.decode(line)
            data = await self._read()
            if not data or len(self._buffer) > LINE_BYTES_MAX:
                return None
            self._buffer += data

    async def hear(self) -> bool:
        """Wait until the other side says anything, whatever it is; False when it is gone. Instead of `receive`."""
        return bool(await self._read())

    async def _read(self) -> bytes | bytearray:
        try:
            return await self._stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def aclose(self) -> None:
        """Close this end."""
        await self._stream.aclose()


def receive_first(sock: socket.socket) -> tuple[Order, bytes]:
    """Return a worker's first order, and what came behind it, before there is a loop: blocks. Raises EOFError."""
    received = b""
    while b"\n" not in received:
        data = sock.recv(65536)
        if not data:
            raise EOFError("the supervisor is gone")
        received += data
    line, _, rest = received.partition(b"\n")
    return msgspec.json.decode(line, type=Order), rest
