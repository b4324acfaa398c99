"""WebSocket frames (RFC 6455, section 5), sans-IO: bytes in, whole messages out, in the form trio-websocket drives.

`Framing` stands where trio-websocket expects a `wsproto.WSConnection`, and differs from it where a relay must not take
its ways over:

- A broken rule of the protocol is answered with a Close frame that says which; wsproto reports it without one, after
  which trio-websocket reads on into a buffer that nobody empties.
- The limit on a message is in bytes, is known at a frame's header, and holds however small the fragments are;
  trio-websocket counts characters and keeps a list with an entry per fragment.
- A ping is noted for whoever answers it (`pong_owed`, the latest only, as section 5.5.3 allows) and never holds up the
  reading; trio-websocket answers inside its reader, and fails on a ping behind its own Close frame (python-trio/
  trio-websocket#184).
- Nothing is sent in a state that forbids it, instead of an exception out of a background task.

Extensions were not offered, so a reserved bit is an error. A frame is parsed in a third of wsproto's time. Nothing here
knows of streams or of time; a message's text is never looked at.
"""

import os
from collections.abc import Callable, Iterator
from typing import Final

from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import XorMaskerSimple

from engine.websocket_codes import INVALID_PAYLOAD, NO_CODE, PROTOCOL_ERROR, TOO_BIG, fitting, is_code, sendable

__all__ = ["FRAME_BYTES_MAX", "Framing"]

FRAME_BYTES_MAX: Final = 16 << 20
"""The largest message by default, in bytes of its payload, fragments together."""

CONTROL_BYTES_MAX: Final = 125
MASK_AT_ONCE_BYTES_MAX: Final = 2048
"""Up to here one big integer unmasks faster than wsproto's four translations; at 64 KB it takes twice their time."""

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
FIN: Final = 0x80
RESERVED_BITS: Final = 0x70


# Bound once: on Python 3.11 a look-up of a member in its class takes ten times as long as one in the module.
_OPEN, _LOCAL_CLOSING = ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING
_REMOTE_CLOSING, _CLOSED = ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED


class _Fault(Exception):  # noqa: N818 - the peer's, on its way to its Close frame
    """The peer broke a rule: the code and the reason to close with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def _nobody() -> None:
    """Stand for who is told of pings, once nobody is."""


class Framing:
    """One side of an established WebSocket. Not concurrent; all methods are synchronous.

        OPEN ──> LOCAL_CLOSING ──> CLOSED    a Close frame was sent, then one came
          └────> REMOTE_CLOSING ─> CLOSED    one came, or the peer broke a rule; then ours was sent

    Memory is one message of at most `frame_bytes_max` and what one read left unparsed.
    """

    __slots__ = (
        "_buffer",
        "_final",
        "_key",
        "_left",
        "_masker",
        "_message",
        "_on_ping",
        "_opcode",
        "bytes_received",
        "bytes_sent",
        "client",
        "fault",
        "frame_bytes_max",
        "masks",
        "messages_received",
        "messages_sent",
        "pong_owed",
        "state",
    )

    def __init__(self, *, masks: bool, frame_bytes_max: int, on_ping: Callable[[], None]) -> None:
        """Begin behind the handshake. `masks`: this is the client's side; `on_ping` is told of a new `pong_owed`."""
        self.client = False
        """What trio-websocket asks: a client's side would make its own handshake, and never close after the peer."""
        self.masks = masks
        self.frame_bytes_max = frame_bytes_max
        self.state = _OPEN
        self.fault = False
        """Whether the peer broke the protocol or its limit, so that it may still be sending when this side is through.
        """
        self.pong_owed: bytes | None = None
        self.messages_received = 0
        self.messages_sent = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self._on_ping = on_ping
        self._buffer = bytearray()
        self._opcode = 0
        """Of the message under way; 0 when there is none."""
        self._message = bytearray()
        self._left = 0
        """Bytes of the current frame that are still to come, once its header was taken out of the buffer."""
        self._final = False
        self._masker: XorMaskerSimple | None = None

    def forget(self) -> None:
        """Let go of who is told of pings: there will be none."""
        self._on_ping = _nobody

    def __repr__(self) -> str:
        return f"<Framing {self.state.name} {len(self._message)} bytes under way>"

    def receive_data(self, data: bytes) -> None:
        """Take in one read; behind a Close frame it is dropped."""
        if self.state is _OPEN or self.state is _LOCAL_CLOSING:
            self._buffer += data

    def events(self) -> Iterator[Event]:
        """Yield the whole messages that have arrived, and the end: the peer's Close frame, or the one it is to get."""
        while self.state is _OPEN or self.state is _LOCAL_CLOSING:
            try:
                event = self._next_event()
            except _Fault as fault:
                event = CloseConnection(code=fault.code, reason=fault.reason)
                self.fault = True
            if event is None:
                return
            if type(event) is CloseConnection:
                self.state = _CLOSED if self.state is _LOCAL_CLOSING else _REMOTE_CLOSING
                self._buffer = self._message = bytearray()
            yield event

    def send(self, event: Event) -> bytes:
        """Return the frame of `event`, b"" when it is too late for it. Raises UnicodeEncodeError on half a surrogate
        pair, which no JSON parser makes and no frame ever held.
        """
        kind = type(event)
        if kind is TextMessage or kind is BytesMessage:
            assert self.state is _OPEN, repr(self)
            text = kind is TextMessage
            payload: bytes = event.data.encode() if text else event.data  # type: ignore[attr-defined]
            self.messages_sent += 1
            self.bytes_sent += len(payload)
            return self._frame(TEXT if text else BINARY, payload)
        if isinstance(event, CloseConnection):
            return self._close_frame(event)
        if isinstance(event, Ping | Pong) and self.state is _OPEN:
            return self._frame(PING if isinstance(event, Ping) else PONG, bytes(event.payload))
        return b""

    def _close_frame(self, event: CloseConnection) -> bytes:
        if self.state is _OPEN:
            self.state = _LOCAL_CLOSING
        elif self.state is _REMOTE_CLOSING:
            self.state = _CLOSED
        else:
            return b""
        if event.code == NO_CODE:
            return self._frame(CLOSE, b"")
        return self._frame(CLOSE, sendable(event.code).to_bytes(2, "big") + fitting(event.reason or "").encode())

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        length = len(payload)
        bit = 0x80 if self.masks else 0
        if length <= CONTROL_BYTES_MAX:
            header = bytes((FIN | opcode, bit | length))
        elif length < 1 << 16:
            header = bytes((FIN | opcode, bit | 126)) + length.to_bytes(2, "big")
        else:
            header = bytes((FIN | opcode, bit | 127)) + length.to_bytes(8, "big")
        if not self.masks:
            return header + payload
        # Unpredictable, so that nobody chooses the bytes on the wire: RFC 6455, section 5.3.
        key = os.urandom(4)
        return b"".join((header, key, _masked(payload, key)))

    def _next_event(self) -> Event | None:
        """Parse on to the next event; None when more bytes are needed. Raises _Fault."""
        while True:
            if self._left:
                if not self._take_payload():
                    return None
            else:
                header = self._read_header()
                if header is None:
                    return None
                first, at, length = header
                if first & 0x0F >= CLOSE:
                    if len(self._buffer) < at + length:
                        return None
                    event = self._control(first & 0x0F, self._whole_payload(at, length))
                    if event is None:
                        continue
                    return event
                if first & FIN and not self._opcode and len(self._buffer) >= at + length:
                    return self._finished(first & 0x0F, self._whole_payload(at, length))
                self._begin_frame(first, at, length)
            if self._final and not self._left:
                opcode, message = self._opcode, self._message
                self._opcode, self._message, self._final = 0, bytearray(), False
                return self._finished(opcode, message)

    def _read_header(self) -> tuple[int, int, int] | None:
        """Return the first byte of the next frame, where its payload begins, and its length; None when not yet all
        there. Raises _Fault.
        """
        buffer = self._buffer
        have = len(buffer)
        if have < 2:
            return None
        first, second = buffer[0], buffer[1]
        at, length = 2, second & 0x7F
        if length == 126:
            at, length = 4, int.from_bytes(buffer[2:4], "big")
        elif length == 127:
            at, length = 10, int.from_bytes(buffer[2:10], "big")
        # Before the rest of the header has come: with neither side's patience tried, nor a byte kept in vain.
        self._check_bits(first, second)
        if have < at:
            return None
        if at > 2 and length <= (CONTROL_BYTES_MAX if at == 4 else 0xFFFF):
            raise _Fault(PROTOCOL_ERROR, "a length is not written in the fewest bytes")
        if len(self._message) + length > self.frame_bytes_max:
            raise _Fault(TOO_BIG, f"a message may have {self.frame_bytes_max} bytes")
        if not self.masks:
            at += 4
        return (first, at, length) if have >= at else None

    def _check_bits(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & RESERVED_BITS:
            raise _Fault(PROTOCOL_ERROR, "a reserved bit is set, and no extension was agreed on")
        if bool(second & 0x80) is self.masks:
            raise _Fault(PROTOCOL_ERROR, "a server masks nothing" if self.masks else "a client masks every frame")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise _Fault(PROTOCOL_ERROR, "the opcode is not defined")
            if not first & FIN or second & 0x7F > CONTROL_BYTES_MAX:
                raise _Fault(PROTOCOL_ERROR, "a control frame is fragmented or too long")
        elif opcode > BINARY:
            raise _Fault(PROTOCOL_ERROR, "the opcode is not defined")
        elif bool(opcode) is bool(self._opcode):
            raise _Fault(PROTOCOL_ERROR, "a fragmented message is not continued, or one that was not begun is")

    def _whole_payload(self, at: int, length: int) -> bytearray:
        """Take a frame out of the buffer that is all there, its payload from `at`."""
        buffer = self._buffer
        payload = buffer[at : at + length]
        if not self.masks:
            payload = _masked(payload, bytes(buffer[at - 4 : at]))
        del buffer[: at + length]
        return payload

    def _begin_frame(self, first: int, at: int, length: int) -> None:
        """Take in the header of a frame that is a fragment or not all there yet, and of its payload what is."""
        self._masker = None if self.masks else XorMaskerSimple(bytes(self._buffer[at - 4 : at]))
        del self._buffer[:at]
        self._opcode = self._opcode or first & 0x0F
        self._final = bool(first & FIN)
        self._left = length
        self._take_payload()

    def _take_payload(self) -> bool:
        """Move what has come of the current frame's payload to the message; tell whether that was all of it."""
        part = self._buffer[: self._left]
        del self._buffer[: len(part)]
        self._left -= len(part)
        self._message += part if self._masker is None else self._masker.process(part)
        return not self._left

    def _finished(self, opcode: int, message: bytearray) -> Event:
        self.messages_received += 1
        self.bytes_received += len(message)
        if opcode == BINARY:
            return BytesMessage(data=bytes(message))
        return TextMessage(data=_decoded(message))

    def _control(self, opcode: int, payload: bytearray) -> CloseConnection | None:
        if opcode == PING:
            if self.state is _OPEN:
                self.pong_owed = bytes(payload)
                self._on_ping()
            return None
        if opcode == PONG:
            return None
        if not payload:
            return CloseConnection(code=NO_CODE, reason="")
        code = int.from_bytes(payload[:2], "big")
        if len(payload) < 2 or not is_code(code):
            raise _Fault(PROTOCOL_ERROR, "a Close frame has no valid code")
        return CloseConnection(code=code, reason=_decoded(payload[2:]))


def _decoded(payload: bytearray) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise _Fault(INVALID_PAYLOAD, "a text is not UTF-8") from None


def _masked(payload: bytes | bytearray, key: bytes) -> bytearray:
    """Apply a mask, or take it off: the same operation (RFC 6455, section 5.3)."""
    length = len(payload)
    if length > MASK_AT_ONCE_BYTES_MAX:
        return XorMaskerSimple(key).process(bytearray(payload))
    mask = int.from_bytes((key * (length + 3 >> 2))[:length], "little")
    return bytearray((int.from_bytes(payload, "little") ^ mask).to_bytes(length, "little"))
