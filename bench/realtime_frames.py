"""The words of realtime's load and of its echo: their frames, and the marks by which a frame's way is timed.

Frames are whole and short, and what is trusted is each other and the gateway: correctness is tested elsewhere. A client
masks with one key for good, which costs whoever unmasks as much as any other. Times are of the machine's monotonic
clock, the same in every process, so that each direction is timed by itself.

    client      {"type":"input_audio_buffer.append","event_id":"echo_7","audio":"..."}
    upstream    {"type":"response.output_audio.delta","event_id":"event_7",...,"delta":"echo_7 8 1700... 1700..."}

An answer says which frame it answers, how many frames came so far, and when that one came and the answer went, in
nanoseconds. A frame that begins with another word than "echo" is counted, and not answered.
"""

from base64 import b64encode
from random import Random
from typing import NamedTuple

from bench.realtime_wire import frame_bytes

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
CREATED = b'{"type":"session.created","event_id":"event_0","session":{"type":"realtime","object":"realtime.session"}}'
ECHO, QUIET = b"echo", b"quiet"

AUDIO_MS, AUDIO_BYTES_PER_S = 20, 48_000
"""Of 24 kHz PCM16, the interface's usual format."""

_KEY = bytes((0xA5, 0xC3, 0x5A, 0x3C))
_MASKED = 0x80
_AUDIO = b64encode(Random(0).randbytes(AUDIO_BYTES_PER_S * AUDIO_MS // 1000))
_APPEND = b'{"type":"input_audio_buffer.append","event_id":"%b_%d","audio":"' + _AUDIO + b'"}'
_ID, _DELTA = b'"event_id":"', b'"delta":"'
_ANSWER = (
    b'{"type":"response.output_audio.delta","event_id":"event_%d","response_id":"resp_0000_1","item_id":"item_0000_1",'
    b'"output_index":0,"content_index":0,' + _DELTA + b'%b %d %d %d"}'
)


class Answered(NamedTuple):
    """What an answer tells: the number of the frame, how many came before it and with it, when, and when it went."""

    number: int
    heard: int
    came_ns: int
    went_ns: int


def append_frame(word: bytes, number: int) -> bytes:
    """Give a client's frame of 20 ms of sound."""
    return masked_frame(TEXT, _APPEND % (word, number))


def answer_frame(payload: bytes, heard: int, came_ns: int, went_ns: int) -> bytes | None:
    """Give the answer to a client's frame, None for one that wants none."""
    at = payload.find(_ID) + len(_ID)
    name = payload[at : payload.index(b'"', at)]
    if not name.startswith(ECHO):
        return None
    return frame_bytes(TEXT, _ANSWER % (heard, name, heard, came_ns, went_ns))


def read_answer(payload: bytes) -> Answered | None:
    """Read what came from the upstream; None when it is no answer."""
    at = payload.find(_DELTA)
    if at < 0:
        return None
    name, heard, came_ns, went_ns = payload[at + len(_DELTA) : payload.index(b'"', at + len(_DELTA))].split()
    return Answered(int(name.rpartition(b"_")[2]), int(heard), int(came_ns), int(went_ns))


def masked_frame(opcode: int, payload: bytes) -> bytes:
    """Give a client's frame."""
    frame = frame_bytes(opcode, payload)
    at = len(frame) - len(payload)
    return frame[:1] + bytes((frame[1] | _MASKED,)) + frame[2:at] + _KEY + _applied(_KEY, payload)


def _applied(key: bytes, payload: bytes) -> bytes:
    length = len(payload)
    mask = int.from_bytes((key * (length + 3 >> 2))[:length], "little")
    return (int.from_bytes(payload, "little") ^ mask).to_bytes(length, "little")


class Frames:
    """What one side has received, taken apart: the opcode and the payload of every frame that is all there."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def take(self, data: bytes) -> list[tuple[int, bytes]]:
        """Give the frames that are complete with `data`."""
        buffer = self._buffer + data if self._buffer else data
        found: list[tuple[int, bytes]] = []
        start = 0
        while len(buffer) - start >= 2:
            first, length = buffer[start], buffer[start + 1] & 0x7F
            wide = {126: 2, 127: 8}.get(length, 0)
            at = start + 2 + wide
            if wide:
                length = int.from_bytes(buffer[start + 2 : at], "big")
            masked = buffer[start + 1] & _MASKED
            if masked:
                at += 4
            if len(buffer) < at + length:
                break
            payload = buffer[at : at + length]
            found.append((first & 0x0F, _applied(buffer[at - 4 : at], payload) if masked else payload))
            start = at + length
        self._buffer = buffer[start:]
        return found
