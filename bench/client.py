"""The load's side of a connection: cheap HTTP reading for answers that the bench itself wrote.

One selector, callbacks, no tasks: what a client spends per event is spent on the core where it measures. An answer's
end is found by its Content-Length or by the last chunk's bytes, its first content by a mark that only content carries;
a stream that ends without its last event has failed.
This trusts the far end to be correct HTTP; correctness is tested elsewhere.
"""

import json
import selectors
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from time import perf_counter
from types import MappingProxyType
from typing import Any, NamedTuple

from bench.plan import CARRIER, CONTENT_MARK, EVENT_MARK, FIELD, LAST_CHUNK, STREAM_END

_READ_BYTES = 16_384  # larger buffers are mapped and unmapped by malloc at each read
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


def chat_request(
    *,
    key: str,
    model: str,
    canned: dict[str, Any] | None,
    number: int | None = None,
    more: Mapping[str, str] = MappingProxyType({}),
) -> tuple[dict[str, str], bytes]:
    """Give headers, as an official SDK sends them and `more`, and body of a chat request; `canned` asks for a stream.

    One with a `number` asks for a stream too, and belongs to a conversation of its own.
    """
    messages = [
        {"role": "system", "content": "You are a terse assistant. Answer in one short paragraph, without lists."},
        {"role": "user", "content": "Why does a gateway that streams have to stop reading when its client is slow?"},
    ]
    fields: dict[str, Any] = {"model": model, "messages": messages, "temperature": 0.2, "max_tokens": 256}
    if canned is not None:
        fields |= {"stream": True, CARRIER: json.dumps({FIELD: canned})}
    if number is not None:
        messages[1]["content"] += f" This is question {number}."
        fields |= {"stream": True, "seed": number}
    body = json.dumps(fields).encode()
    return headers_for(key, body) | dict(more), body


def headers_for(key: str, body: bytes) -> dict[str, str]:
    """Give the headers of a request with this body, as an official SDK sends them."""
    return {
        "Host": "127.0.0.1",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "User-Agent": "bench/1.0",
        "X-Stainless-Lang": "python",
        "X-Stainless-Package-Version": "3.54.0",
        "X-Stainless-OS": "Linux",
        "X-Stainless-Arch": "x64",
        "X-Stainless-Runtime": "CPython",
        "X-Stainless-Runtime-Version": "3.11.7",
        "X-Stainless-Async": "false",
        "X-Stainless-Retry-Count": "0",
        "X-Stainless-Read-Timeout": "600",
        "Authorization": f"Bearer {key}",
        "Content-Length": str(len(body)),
    }


def request_bytes(headers: dict[str, str], body: bytes, path: str = "/v1/chat/completions") -> bytes:
    """Render such a request for the wire."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


class Marks(NamedTuple):
    """What is looked for in a stream: what only its first content carries, and how it ends as a whole."""

    content: bytes = CONTENT_MARK
    end: bytes = STREAM_END


CANNED_MARKS = Marks()
"""Those of the canned upstream's streams."""


class State(Enum):
    """Where a connection is with its request."""

    CONNECTING = "connecting"
    IDLE = "idle"
    WAITING = "request sent, no content yet"
    STREAMING = "content has come"
    CLOSED = "closed"


class Observer:
    """What the connections of one job report to; the lists hold seconds. `record` is off outside the window."""

    __slots__ = (
        "errors",
        "events",
        "first_contents",
        "gaps",
        "latencies",
        "lates",
        "on_content",
        "on_done",
        "record",
        "requests",
    )

    def __init__(self) -> None:
        self.record = False
        self.requests = 0
        self.events = 0
        self.latencies: list[float] = []
        self.first_contents: list[float] = []
        self.gaps: list[float] = []
        self.lates: list[float] = []
        self.errors: Counter[str] = Counter()
        self.on_content: Callable[[Connection], None] | None = None
        self.on_done: Callable[[Connection], None] | None = None


class Connection:
    """One keep-alive connection; each `ask` ends in the observer's `on_done`, unless the connection fails.

    A failure is counted by reason and closes the connection; the job sees its state. `intended_s` is the time from
    which latency counts.
    """

    __slots__ = (
        "_head",
        "_last_s",
        "_left",
        "_marks",
        "_observer",
        "_request",
        "_selector",
        "_socket",
        "_tail",
        "intended_s",
        "state",
    )

    def __init__(
        self,
        selector: selectors.BaseSelector,
        port: int,
        request: bytes,
        observer: Observer,
        marks: Marks = CANNED_MARKS,
    ) -> None:
        self.state = State.CONNECTING
        self.intended_s = 0.0
        self._selector = selector
        self._observer = observer
        self._request = request
        self._marks = marks
        self._head = b""
        self._tail = b""
        self._left: int | None = None
        self._last_s = 0.0
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex(("127.0.0.1", port))
        selector.register(self._socket, _WRITE, self._connected)

    def ask(self, intended_s: float, request: bytes | None = None) -> None:
        """Send the request, or another one; on a connection still connecting, as soon as it is there."""
        self.intended_s = intended_s
        if request is not None:
            self._request = request
        if self.state is not State.CONNECTING:
            self._send()

    def close(self) -> None:
        """Close at once; idempotent."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._selector.unregister(self._socket)
            self._socket.close()

    def _connected(self, _: int) -> None:
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._fail(f"connect: errno {error}")
            return
        self._selector.modify(self._socket, _READ, self._readable)
        self.state = State.IDLE
        if self.intended_s:
            self._send()

    def _send(self) -> None:
        self.state = State.WAITING
        self._head = self._tail = b""
        self._left = None
        try:
            sent = self._socket.send(self._request)
        except OSError as exc:
            self._fail(f"send: {type(exc).__name__}")
            return
        if sent != len(self._request):
            self._fail("send: short")  # a request is far below any socket buffer

    def _readable(self, _: int) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            if self.state is not State.CLOSED:  # by another one's callback, when both were ready in the same turn
                self._fail(f"receive: {type(exc).__name__}")
            return
        if not data:
            self._fail(f"closed while {self.state.value}")
        elif self.state is State.STREAMING:
            self._event(data)
        elif self.state is State.WAITING:
            self._first(data)
        else:
            self._fail("bytes nobody asked for")

    def _event(self, data: bytes) -> None:
        observer = self._observer
        if observer.record:
            now_s = perf_counter()
            observer.events += data.count(EVENT_MARK)
            observer.gaps.append(now_s - self._last_s)
            self._last_s = now_s
        else:
            self._last_s = perf_counter()
        self._tail = (self._tail + data)[-len(self._marks.end) :]
        if self._tail.endswith(LAST_CHUNK):
            self._ended()

    def _first(self, data: bytes) -> None:
        """Read up to the first content of a stream, or the whole of a unary answer."""
        self._head += data
        if self._left is None:
            head_end = self._head.find(b"\r\n\r\n")
            if head_end < 0:
                return
            if not self._head.startswith(b"HTTP/1.1 200"):
                self._fail(f"status {self._head[9:12].decode('latin-1')}")
                return
            head = self._head[:head_end].lower()
            at = head.find(b"\r\ncontent-length:")
            if at >= 0:
                stop = head.find(b"\r\n", at + 17)
                self._left = head_end + 4 + int(head[at + 17 : stop if stop >= 0 else None])
        if self._left is not None:
            if len(self._head) >= self._left:
                self._done()
        elif self._marks.content in self._head:
            self._content()

    def _content(self) -> None:
        observer = self._observer
        self.state = State.STREAMING
        self._last_s = perf_counter()
        if observer.record:
            observer.first_contents.append(self._last_s - self.intended_s)
            observer.events += self._head.count(EVENT_MARK)
        self._tail = self._head[-len(self._marks.end) :]
        self._head = b""
        if observer.on_content is not None:
            observer.on_content(self)
        if self._tail.endswith(LAST_CHUNK):
            self._ended()

    def _ended(self) -> None:
        if self._tail == self._marks.end:
            self._done()
        else:
            self._fail("a stream without its last event")

    def _done(self) -> None:
        observer = self._observer
        self.state = State.IDLE
        if observer.record:
            observer.requests += 1
            observer.latencies.append(perf_counter() - self.intended_s)
        if observer.on_done is not None:
            observer.on_done(self)

    def _fail(self, reason: str) -> None:
        self._observer.errors[reason] += 1
        self.close()
