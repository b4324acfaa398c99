"""A gateway with everything but sockets, under virtual time: real configuration, routes and layers, scripted peers.

Each provider is given what its connections do, in the order they are opened: rows of a `Line`, an exception for one
that fails, `NEVER` for one that does not come about. `Exchanged` is one request and all that the client saw of it.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from engine.config import load_document
from engine.downstream import Downstream
from engine.gateway import Gateway
from engine.hangup import HangupMonitor
from engine.http1 import Request
from engine.metrics import Metrics
from engine.net import Origin
from engine.pipeline import serve_exchange
from engine.pool import Pool
from engine.routes import resolve
from tests.engine.fakes import END, FINISH, HEAD, ROLE, Line, Row, chunked, delta, sse, unchunk
from tests.engine.live import KEY, KeptLog

NEVER = None
"""A connection that is never established."""

Play = Sequence[Row] | Exception | None

SAY: list[dict[str, str]] = [{"role": "user", "content": "Say hello"}]
PROVIDERS = ("a", "b", "c")


def stream_of(text: str, at: float, *, end: float | None = None) -> list[Row]:
    """Return a stream whose head and role come at once, its content `at`, and the rest at `end`."""
    end = at if end is None else end
    return [
        (0.0, HEAD),
        (0.0, chunked(sse(ROLE))),
        (at, chunked(sse(delta(text)))),
        (end, chunked(sse(FINISH, "[DONE]")) + END),
    ]


def answer_of(text: str, at: float) -> list[Row]:
    """Return a whole answer, `at` once."""
    body = {"id": "c", "choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    return status_of(200, at, {**body, "usage": usage})


def status_of(status: int, at: float, body: object = None, *headers: bytes) -> list[Row]:
    """Return an answer with a status."""
    data = msgspec.json.encode(body or {"error": {"message": "because"}})
    lines = [b"HTTP/1.1 %d X" % status, b"content-type: application/json", b"content-length: %d" % len(data), *headers]
    return [(at, b"\r\n".join([*lines, b"", data]))]


class Ground:
    """The gateway and its peers. `lines` are the connections of each provider so far."""

    def __init__(self, gateway: Gateway, log: KeptLog) -> None:
        self.gateway = gateway
        self.log = log
        self.plays: dict[str, list[Play]] = {}
        self.lines: dict[str, list[Line]] = {name: [] for name in gateway.router.endpoints}
        self.opened: list[tuple[str, float]] = []
        """Who was connected to, and when."""
        self._began = trio.current_time()
        for name, endpoint in gateway.router.endpoints.items():
            endpoint.pool = self._pool(name)

    def play(self, **plays: Iterable[Play]) -> None:
        """Say what the next connections to each provider do."""
        self.plays = {name: list(each) for name, each in plays.items()}
        self.opened.clear()
        self._began = trio.current_time()

    def all_lines(self) -> list[Line]:
        """Return all connections so far."""
        return [line for lines in self.lines.values() for line in lines]

    def is_clean(self) -> bool:
        """Whether nothing is in use."""
        candidates = self.gateway.router.statistics(trio.current_time())
        pools = [endpoint.pool.statistics() for endpoint in self.gateway.router.endpoints.values()]
        return (
            not any(candidate.health.in_flight for candidate in candidates)
            and not any(pool.leased or pool.connecting for pool in pools)
            and not self.gateway.admission.in_flight
            and sum(not line.closed for line in self.all_lines()) == sum(pool.idle for pool in pools)
        )

    def _pool(self, name: str) -> Pool:
        async def connect(_: Origin) -> Line:
            self.opened.append((name, trio.current_time() - self._began))
            await trio.lowlevel.checkpoint()
            play = self.plays[name].pop(0)
            if play is NEVER:
                await trio.sleep_forever()
            if isinstance(play, Exception):
                raise play
            assert play is not None
            line = Line(*play)
            self.lines[name].append(line)
            return line

        return Pool(
            connect,  # type: ignore[arg-type]
            connections_per_origin_max=100,
            idle_per_origin_max=0,
            idle_seconds_max=60,
            lifetime_seconds_max=600,
        )


class Exchanged:
    """One request to the model `fast`, as a client sees it. `at_first_byte` are the connections still open then."""

    def __init__(
        self, ground: Ground, *, stream: bool = True, path: bytes = b"/v1/chat/completions", **more: Any
    ) -> None:
        self.ground = ground
        body = msgspec.json.encode({"model": "fast", "messages": SAY, "stream": stream, **more})
        headers = [(b"host", b"gateway"), (b"authorization", b"Bearer " + KEY.encode())]
        self.request = Request("POST", path, path, b"", headers, body=body)
        self.client = Watched(ground)
        self.began = trio.current_time()

    async def run(self) -> "Exchanged":
        """Serve it to its end. Cancelled, as a client that leaves makes it, it leaves nothing behind."""
        match = resolve("POST", self.request.path)
        assert match is not None
        downstream = Downstream(self.client, send_seconds_max=60)  # type: ignore[arg-type]
        downstream.begin(self.request)
        gateway = self.ground.gateway
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._expire, downstream, nursery.cancel_scope)
                await serve_exchange(gateway, self.request, match, downstream)
                nursery.cancel_scope.cancel()
        finally:
            assert self.ground.is_clean()
        return self

    async def _expire(self, downstream: Downstream, scope: trio.CancelScope) -> None:
        """Do what `engine.serve` does about a deadline, to the tick."""
        while True:
            await trio.sleep(1 / 64)
            if downstream.deadline <= trio.current_time():
                downstream.overdue = True
                scope.cancel()
                return

    @property
    def head(self) -> dict[str, str]:
        """The answer's headers; `:status` is its status."""
        first, *lines = self.client.text.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        return {":status": first.split(" ")[1]} | dict(line.split(": ", 1) for line in lines)

    @property
    def body(self) -> bytes:
        """The answer's body."""
        if self.head.get("transfer-encoding") == "chunked":
            return unchunk(self.client.text)[1]
        return self.client.text.partition(b"\r\n\r\n")[2]

    @property
    def sent_at(self) -> list[float]:
        """When the client got something, from the request on."""
        return [at - self.began for at, _ in self.client.sent]


class Watched(Line):
    """A client's line that notes which upstream connections are open when it gets its first byte."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.ground = ground
        self.open_at_first_byte: list[str] | None = None

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self.open_at_first_byte is None:
            self.open_at_first_byte = [
                name for name, lines in self.ground.lines.items() for line in lines if not line.closed
            ]
        return super().send_nowait(data)


@asynccontextmanager
async def racing(race: dict[str, Any] | None = None, **more: Any) -> AsyncIterator[Ground]:
    """Give a gateway whose model `fast` has the providers a, b and c, in this order; `more` adds sections."""
    models = {
        "fast": {
            "race": race or {},
            "timeouts": more.pop("timeouts", {}),
            "candidates": [
                {"provider": name, "model": f"{name}-1", "tier": tier} for tier, name in enumerate(PROVIDERS, 1)
            ],
        }
    }
    document: dict[str, Any] = {
        "server": {"environment_providers": False, "console": False},
        "keys": {"test": {"value": KEY}},
        "models": models,
        "providers": {
            name: {"kind": "compatible", "base_url": f"http://{name}.test/v1", "key": f"sk-{name}", "proxy": "none"}
            for name in PROVIDERS
        },
    }
    for name, section in more.items():
        document[name] = section if name == "models" else {**document.get(name, {}), **section}
    log = KeptLog()
    hangups = HangupMonitor()
    metrics = Metrics(incarnation="test", slot=0)
    config = load_document(document, {})
    gateway = Gateway(config, metrics=metrics, access_log=log, hangups=hangups, console_path=None)
    try:
        ground = Ground(gateway, log)
        yield ground
        assert ground.is_clean()
    finally:
        gateway.close()
        hangups.close()
