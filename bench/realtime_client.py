"""The load's side of a realtime session: cheap framing, and what it saw of each frame's way.

One selector, callbacks, no tasks, as in `bench.client`. A frame that the kernel does not take whole ends its session:
seconds of sound are unread by then, and a latency would mean nothing. Every end that the load did not want is counted.
"""

import selectors
import socket
from collections import Counter
from collections.abc import Callable
from enum import Enum
from math import inf
from time import monotonic_ns

from bench.jobs import Job
from bench.realtime_frames import CLOSE, ECHO, PING, PONG, TEXT, Frames, append_frame, masked_frame, read_answer

_READ_BYTES = 16_384
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_NORMAL = (1000).to_bytes(2, "big")


class State(Enum):
    """Where a session is."""

    CONNECTING = "connecting"
    ASKING = "asking"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Witness:
    """What all sessions saw. Times count of frames that were sent between `from_ns` and `until_ns`."""

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.up_ns: list[int] = []
        self.down_ns: list[int] = []
        self.late_s: list[float] = []
        self.opened = self.sent = self.answers = self.pings = 0
        self.from_ns = self.until_ns = inf
        self.on_open: Callable[[], None] = lambda: None

    @property
    def counts(self) -> bool:
        """Whether the window is open."""
        return self.from_ns <= monotonic_ns() < self.until_ns


class Session:
    """One session's connection; it begins at once."""

    __slots__ = ("_frames", "_head", "_request", "_selector", "_sent_ns", "_socket", "_witness", "said", "state")

    def __init__(self, selector: selectors.BaseSelector, job: Job, witness: Witness) -> None:
        self.state = State.CONNECTING
        self.said = 0
        self._selector = selector
        self._witness = witness
        self._request = handshake(job.key, job.model)
        self._frames = Frames()
        self._head = b""
        self._sent_ns: dict[int, int] = {}
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex(("127.0.0.1", job.port))
        selector.register(self._socket, _WRITE, self._ready)

    @property
    def waits(self) -> bool:
        """Whether an answer is to come."""
        return self.state is State.OPEN and bool(self._sent_ns)

    def say(self, word: bytes) -> None:
        """Send a frame, of which the answer is timed when there is to be one; nothing on a session that is lost."""
        if self.state is not State.OPEN:
            return
        frame = append_frame(word, self.said)
        if word is ECHO:
            self._sent_ns[self.said] = monotonic_ns()
        self.said += 1
        self._witness.sent += 1
        self._send(frame)

    def leave(self) -> None:
        """Close as a well-behaved client does; one that is not open yet, at once."""
        if self.state is State.OPEN:
            self.state = State.CLOSING
            self._send(masked_frame(CLOSE, _NORMAL))
        elif self.state is not State.CLOSING:
            self.close()

    def close(self) -> None:
        """Close the connection; harmless on a closed one."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._selector.unregister(self._socket)
            self._socket.close()

    def _ready(self, _: int) -> None:
        if self.state is State.CONNECTING:
            self.state = State.ASKING
            self._selector.modify(self._socket, _READ, self._ready)
            self._send(self._request)
            return
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        read_ns = monotonic_ns()
        if not data:
            self._end("the connection ended")
        elif self.state is State.ASKING:
            self._head += data
            self._read_head(read_ns)
        else:
            self._hear(data, read_ns)

    def _read_head(self, read_ns: int) -> None:
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        status = head.split(b" ", 2)[1].decode()
        if status != "101":
            self._end(f"status {status}")
            return
        self.state = State.OPEN
        self._head = b""
        self._witness.opened += 1
        self._witness.on_open()
        self._hear(rest, read_ns)

    def _hear(self, data: bytes, read_ns: int) -> None:
        for opcode, payload in self._frames.take(data):
            if opcode == TEXT:
                self._read_text(payload, read_ns)
            elif opcode == PING:
                self._witness.pings += 1
                self._send(masked_frame(PONG, payload))
            elif opcode == CLOSE:
                if self.state is State.CLOSING:
                    self.close()
                else:
                    self._end(f"closed with {int.from_bytes(payload[:2], 'big')}")
                return

    def _read_text(self, payload: bytes, read_ns: int) -> None:
        answer = read_answer(payload)
        if answer is None:
            return
        witness, sent_ns = self._witness, self._sent_ns.pop(answer.number, None)
        if sent_ns is None or answer.heard != answer.number + 1:
            witness.errors["a frame was lost, or came twice"] += 1
            return
        witness.answers += 1
        if witness.from_ns <= sent_ns < witness.until_ns:
            witness.up_ns.append(answer.came_ns - sent_ns)
            witness.down_ns.append(read_ns - answer.went_ns)

    def _send(self, data: bytes) -> None:
        if self.state is State.CLOSED:
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end("the connection ended")
            return
        if sent != len(data):
            self._end("the subject reads too slowly")

    def _end(self, reason: str) -> None:
        if self.state is not State.CLOSING:
            self._witness.errors[reason] += 1
        self.close()


def handshake(key: str, model: str) -> bytes:
    """Give the request for a session, as the official SDK makes it."""
    lines = [
        f"GET /v1/realtime?model={model} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: aGVkZ2Vyb3ctYmVuY2gtMA==",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Bearer {key}",
        "User-Agent: bench/1.0",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
