"""Fakes for the engine's tests under the autojump clock: a scripted peer instead of a socket, a provider instead of a
vendor.

A `Line` is what a peer does, as rows of (virtual seconds from the connection's start, what arrives): bytes, `EOF`, or
`RESET`. What is sent to it is kept with its virtual time, so that tests can assert on exact times.
"""

from collections.abc import Iterable, Sequence
from math import inf
from types import SimpleNamespace
from typing import Any

import msgspec
import trio

from adapters import registry
from adapters.dialects import chat
from adapters.errors import Failure, UpstreamError, kind_of_status
from engine.config import Timeouts
from engine.downstream import Downstream
from engine.entrant import Entrant
from engine.exchange import Exchange
from engine.health import Health
from engine.hedge import Budget, Policy, Race
from engine.http1 import Request
from engine.net import Broken, Origin
from engine.passage import Passage, Whole
from engine.pool import Pool
from engine.relay import Relay
from engine.routes import CHAT, Match
from engine.upstream import Attempt

EOF = b""
RESET = Broken("reset", "connection reset by peer")
ORIGIN = Origin("http", "upstream.test", 80)

Row = tuple[float, bytes | Broken]


class Line:
    """A stream whose peer follows a script. `window` bytes are taken at once; the rest after `drain()`."""

    def __init__(self, *rows: Row, window: float = inf) -> None:
        self.rows = list(rows)
        self.opened = trio.current_time()
        self.sent: list[tuple[float, bytes]] = []
        self.window = window
        self.room = trio.Event()
        self.closed = False

    def __repr__(self) -> str:
        return f"<Line {len(self.rows)} rows left{' closed' if self.closed else ''}>"

    @property
    def text(self) -> bytes:
        """Everything that was sent to the peer."""
        return b"".join(data for _, data in self.sent)

    async def receive(self, bytes_max: int = 65536) -> bytes:
        assert not self.closed
        if not self.rows:
            await trio.sleep_forever()
        at, what = self.rows[0]
        await trio.sleep_until(self.opened + at)
        self.rows.pop(0)
        if isinstance(what, Broken):
            raise what
        return what

    def is_silent(self) -> bool:
        return not self.rows or self.opened + self.rows[0][0] > trio.current_time()

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self.closed:
            raise Broken("closed", "closed")
        taken = int(min(self.window, len(data)))
        self.window -= taken
        if taken:
            self.sent.append((trio.current_time(), bytes(data[:taken])))
        return taken

    async def send(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest := rest[self.send_nowait(rest) :]:
            await self.wait_writable()

    async def wait_writable(self) -> None:
        await self.room.wait()

    def drain(self) -> None:
        """The peer reads on: from here everything is taken."""
        self.window = inf
        self.room.set()
        self.room = trio.Event()

    def close(self) -> None:
        self.closed = True


class FakeEndpoint:
    """A provider whose connections are `Line`s, taken in order; a `trio.Event`-free stand-in for `engine.endpoint`."""

    name = "fake"
    config = SimpleNamespace(provider=registry.provider("compatible"))

    def __init__(self, *lines: "Line | Exception | Sequence[Row]") -> None:
        self.lines = list(lines)
        self.opened: list[Line] = []
        self.origin = ORIGIN
        self.pool = Pool(
            self._connect,  # type: ignore[arg-type]
            connections_per_origin_max=10,
            idle_per_origin_max=10,
            idle_seconds_max=60,
            lifetime_seconds_max=600,
        )

    async def _connect(self, origin: Origin) -> Line:
        await trio.lowlevel.checkpoint()
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        if not isinstance(line, Line):
            line = Line(*line)
        line.opened = trio.current_time()
        self.opened.append(line)
        return line

    def judge(self, failure: Failure) -> tuple[Failure, bool]:
        return failure, self.config.provider.retryable(failure)

    def classify(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> tuple[Failure, bool]:
        return Failure(status, kind_of_status(status), body.decode()), status >= 500


class FakeCandidate:
    """A candidate of a `FakeEndpoint`."""

    provider = "fake"
    kind = "compatible"
    model = "fake-1"

    def __init__(self, endpoint: FakeEndpoint, timeouts: Timeouts) -> None:
        self.endpoint = endpoint
        self.timeouts = timeouts
        self.health = Health(trio.current_time())


def sse(*payloads: object) -> bytes:
    """Return payloads as events; strings stand for themselves."""
    return b"".join(
        b"data: " + (payload.encode() if isinstance(payload, str) else msgspec.json.encode(payload)) + b"\n\n"
        for payload in payloads
    )


def delta(text: str) -> dict[str, object]:
    """A chunk with content."""
    return {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}


ROLE = {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
FINISH = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunked(data: bytes) -> bytes:
    """Frame one chunk as an upstream would."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def unchunk(message: bytes) -> tuple[bytes, bytes, bool]:
    """Split an answer into head, decoded body and whether its last chunk came."""
    head, _, rest = message.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        if not length:
            return head, body, rest == b"\r\n"
        rest = rest[length + 2 :]
    return head, body, False


def _no_answer(body: bytes) -> Whole:
    raise AssertionError("not unary")


def _no_headers(answer: object) -> list[tuple[bytes, bytes]]:
    return []


def _nobody() -> UpstreamError:
    raise AssertionError("there is one")


NO_RACE = Policy(1, inf, Budget(0, tokens_max=0), Budget(0, tokens_max=0))


class Run:
    """One streamed exchange over fakes: `client` is the client's line, `result` what the relay returned."""

    def __init__(
        self, endpoint: FakeEndpoint, *, client: Line | None = None, keepalive_seconds: float = 15.0, **timeouts: Any
    ) -> None:
        self.endpoint = endpoint
        self.client = client or Line()
        request = Request("POST", b"/v1/chat/completions", b"/v1/chat/completions", b"", [(b"host", b"test")])
        self.exchange = Exchange(request, Match(CHAT), trio.current_time())
        self.downstream = Downstream(self.client, send_seconds_max=60)  # type: ignore[arg-type]
        self.downstream.begin(request)
        candidate = FakeCandidate(endpoint, Timeouts(**timeouts))
        self.attempt = Attempt(
            candidate,  # type: ignore[arg-type]
            b"POST /v1/chat/completions HTTP/1.1\r\n\r\n",
            head_bytes_max=65536,
            tap=chat.Tap(strip_usage=True, event_bytes_max=1 << 20),
        )
        passage = Passage("", b"", [], self.attempt.tap, _no_answer, _no_headers, "chat")
        self.entrant = Entrant(
            candidate,  # type: ignore[arg-type]
            passage,
            self.attempt,
            hedge_seconds=inf,
            answer_bytes_max=1 << 20,
        )
        self.exchange.provider = candidate.provider
        self.race = Race(self._enter, NO_RACE, trio.current_time, nobody=_nobody)
        self.relay = Relay(
            self.exchange,
            self.race,
            self.downstream,
            registry.dialect("chat"),
            headers=lambda: [(b"content-type", b"text/event-stream")],
            keepalive_seconds=keepalive_seconds,
            timeouts=candidate.timeouts,
        )

    def _enter(self) -> Entrant:
        assert self.entrant.candidate.health.begin(trio.current_time())
        return self.entrant

    async def stream(self) -> Failure | None:
        """Run the relay as `engine.generate` does."""
        try:
            failure = await self.relay.run()
            await self.attempt.settle()
        finally:
            self.race.close()
            self.entrant.close()
        return failure

    @property
    def answer(self) -> tuple[bytes, bytes, bool]:
        """What the client got: head, body, whether it ended."""
        return unchunk(self.client.text)
