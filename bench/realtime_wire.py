"""The bytes under the scripted realtime server: a connection's head, raw frames, and a stream that goes deaf.

The rule: what is correct is left to trio-websocket; what is not, which it rightly refuses to write, is made here and
written beside it, between two of its frames. `Wire` is the stream that both use: it gives back bytes read too early,
stops reading when told, and after a Close frame of ours lets no other byte follow it (RFC 6455, section 5.5.1).
"""

import sys
from collections.abc import Iterable, Iterator
from http import HTTPStatus

import trio

HEAD_BYTES_MAX = 1 << 16
_READ_BYTES = 65536
_TEXT, _BINARY, _CLOSE = 0x1, 0x2, 0x8
_FINAL = 0x80
_CLOSE_BYTE = bytes([_FINAL | _CLOSE])


def frame_bytes(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """Give a server's frame, which is not masked."""
    length = len(payload)
    first = bytes([opcode | (_FINAL if final else 0)])
    if length < 126:
        return first + bytes([length]) + payload
    if length < 1 << 16:
        return first + bytes([126]) + length.to_bytes(2) + payload
    return first + bytes([127]) + length.to_bytes(8) + payload


def close_frame(code: int | None, reason: str) -> bytes:
    """Give a Close frame with any code, also one that must not be sent; None sends no code at all."""
    return frame_bytes(_CLOSE, b"" if code is None else code.to_bytes(2) + reason.encode())


def message_frames(message: str | bytes, fragments: int = 1) -> Iterator[bytes]:
    """Give a message in so many frames, cut anywhere, also within a character; short ones end with empty frames."""
    payload = message.encode() if isinstance(message, str) else message
    size = -(-len(payload) // fragments)
    for number in range(fragments):
        opcode = 0 if number else _TEXT if isinstance(message, str) else _BINARY
        yield frame_bytes(opcode, payload[number * size : (number + 1) * size], final=number == fragments - 1)


class Head:
    """The head of a request: its request line, and its headers with names in lower case."""

    def __init__(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        _, _, rest = first.partition(" ")
        self.target = rest.rpartition(" ")[0]
        pairs = [line.partition(":") for line in lines if line]
        self.headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]

    def values(self, name: str) -> list[str]:
        """Give a header's values, those of a list one by one."""
        return [part.strip() for key, value in self.headers if key == name for part in value.split(",")]

    @property
    def is_upgrade(self) -> bool:
        """Whether it asks for a WebSocket."""
        return "websocket" in map(str.lower, self.values("upgrade"))


async def read_head(stream: trio.abc.Stream) -> bytes:
    """Read until a request's head is there, and give all that was read; b"" when the peer leaves before.

    Raises trio.BrokenResourceError when the peer resets. A head over the limit is given as far as it came.
    """
    received = b""
    while b"\r\n\r\n" not in received and len(received) < HEAD_BYTES_MAX:
        data = await stream.receive_some(_READ_BYTES)
        if not data:
            return b""
        received += data
    return received


def refusal(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """Give a whole response that ends its connection."""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    lines += [f"content-length: {len(body)}", "connection: close"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Wire(trio.abc.Stream):
    """A stream that gives `received` before anything else.

    `deaf` holds what is read from then on until its event is set. `left` is set when the peer has ended the connection.
    """

    def __init__(self, stream: trio.abc.Stream, received: bytes = b"") -> None:
        self._stream = stream
        self._received = received
        self._sending = trio.Lock()
        self._closing = False
        self.deaf: trio.Event | None = None
        self.left = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio.abc.ReceiveStream."""
        if self._received:
            taken = len(self._received) if max_bytes is None else max_bytes
            data, self._received = self._received[:taken], self._received[taken:]
        else:
            try:
                data = bytes(await self._stream.receive_some(max_bytes))
            except trio.BrokenResourceError:
                self.left.set()
                raise
            if not data:
                self.left.set()
        if self.deaf is not None:
            await self.deaf.wait()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream. It is trio-websocket that writes here, whole frames: after a Close, nothing."""
        async with self._sending:
            if not self._closing:
                self._closing = data[:1] == _CLOSE_BYTE
                await self._stream.send_all(data)

    async def send_frames(self, frames: Iterable[bytes]) -> None:
        """Write frames of ours, with no other between them; raises trio.ClosedResourceError after a Close."""
        async with self._sending:
            for frame in frames:
                if self._closing:
                    raise trio.ClosedResourceError
                await self._stream.send_all(frame)

    async def send_close(self, code: int | None, reason: str) -> None:
        """Write a Close frame, the last thing to be written."""
        async with self._sending:
            if not self._closing:
                self._closing = True
                await self._stream.send_all(close_frame(code, reason))

    async def leave(self) -> None:
        """End the connection with a FIN, as far as writing goes: closing what was not read yet would reset it."""
        async with self._sending:
            self._closing = True
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            else:
                await self._stream.aclose()

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """See trio.abc.AsyncResource."""
        await self._stream.aclose()

    async def abort(self) -> None:
        """End the connection with an RST (SO_LINGER 0), where the stream has one; what was not sent is lost."""
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if isinstance(stream, trio.SocketStream):
            linger = (1).to_bytes(4, sys.byteorder) + (0).to_bytes(4, sys.byteorder)
            stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
        await trio.aclose_forcefully(self._stream)
