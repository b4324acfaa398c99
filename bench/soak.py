"""The soak: everything that clients do, mixed, for a while at a moderate rate; and a look at whether anything is kept.

The mix is a fixed round of twenty requests: answers and streams on kept connections, streams whose client leaves after
their first tokens, connections for one request, and errors of the upstream, of the client's kind and of the server's.
Twice in a round, and never twice in a row: so no breaker opens, which would keep the rest from where it is meant to go.

The rule: every request that was begun has to end as its kind does, and every other end is a failure. What is kept shows
in the subject's memory and open files, which are read now and then; what they mean is for whoever draws the line.
"""

from collections import Counter, deque
from enum import Enum
from time import perf_counter

import psutil

from bench.client import Connection, State, chat_request, request_bytes
from bench.jobs import Reading, Report, Soak
from bench.loop import Loop, Metronome
from bench.process import rss_bytes

_LINGER_SECONDS_MAX = 10.0
_CONNECTIONS_MAX = 2000
_LEAVES_AFTER_EVENTS = 3


class Kind(Enum):
    """What a client wants, and how that ends."""

    UNARY = "an answer"
    STREAM = "a stream, read to its end"
    LEAVES = "a stream, left in its middle"
    ONCE = "an answer, on a connection of its own"
    REFUSED = "an error that is the client's"
    FAILED = "an error that is the upstream's"


ERRORS = {Kind.REFUSED: 400, Kind.FAILED: 503}

ROUND = (
    *(Kind.UNARY, Kind.STREAM, Kind.ONCE, Kind.UNARY, Kind.LEAVES, Kind.UNARY, Kind.REFUSED, Kind.UNARY, Kind.STREAM),
    *(Kind.UNARY, Kind.ONCE, Kind.LEAVES, Kind.UNARY, Kind.FAILED, Kind.UNARY, Kind.STREAM, Kind.UNARY, Kind.ONCE),
    *(Kind.LEAVES, Kind.UNARY),
)


def wire(job: Soak) -> dict[Kind, bytes]:
    """Give the request of each kind; those for errors ask for streams too."""
    stream: dict[str, object] = {"events": job.events, "interval_ms": job.interval_ms, "spread": True}
    asked: dict[Kind, dict[str, object] | None] = {
        Kind.UNARY: None,
        Kind.ONCE: None,
        Kind.STREAM: stream,
        Kind.LEAVES: stream,
        **{kind: {"status": status} for kind, status in ERRORS.items()},
    }
    found = {}
    for kind, canned in asked.items():
        headers, body = chat_request(key=job.key, model=job.model, canned=canned, more=job.headers)
        found[kind] = request_bytes(headers, body, job.path)
    return found


class _Mix:
    """Begins requests, one a beat, and keeps an account of how each has ended."""

    def __init__(self, job: Soak, loop: Loop) -> None:
        self.begun: Counter[Kind] = Counter()
        self.ended: Counter[Kind] = Counter()
        self.course: list[Reading] = []
        self._job = job
        self._loop = loop
        self._wire = wire(job)
        self._kinds: dict[Connection, Kind] = {}
        self._idle: list[Connection] = []
        self._leaving: deque[tuple[float, Connection]] = deque()
        self._leaves_after_s = _LEAVES_AFTER_EVENTS * job.interval_ms / 1000
        self._processes = [psutil.Process(pid) for pid in job.subject]
        self._started_s = perf_counter()
        loop.observer.on_done = self._done
        loop.observer.on_content = self._content

    @property
    def open(self) -> int:
        """How many requests have not ended, in whatever way."""
        return self.begun.total() - self.ended.total() - self._loop.observer.errors.total()

    def beat(self, intended_s: float) -> None:
        """Begin the next one of the round, and do what else has become due."""
        kind = ROUND[self.begun.total() % len(ROUND)]
        self.begun[kind] += 1
        connection = None if kind is Kind.ONCE else self._kept()
        if connection is None:
            if len(self._kinds) >= _CONNECTIONS_MAX:
                self._loop.observer.errors["no connection left"] += 1
                return
            connection = self._loop.connect()
        self._kinds[connection] = kind
        connection.ask(intended_s, self._wire[kind])
        self.leave(intended_s)
        if intended_s - self._started_s >= len(self.course) * self._job.look_seconds:
            self.look()

    def look(self) -> None:
        """Read what the subject has."""
        self._kinds = {each: kind for each, kind in self._kinds.items() if each.state is not State.CLOSED}
        self._loop.connections[:] = self._kinds
        self.course.append(
            Reading(
                at_s=round(perf_counter() - self._started_s, 3),
                requests=self.begun.total(),
                rss_bytes=rss_bytes(self._job.subject),
                open_files=sum(process.num_fds() for process in self._processes),
            )
        )

    def leave(self, now_s: float) -> None:
        """Close the streams whose clients leave now."""
        while self._leaving and self._leaving[0][0] <= now_s:
            _, connection = self._leaving.popleft()
            if connection.state is State.STREAMING:
                self.ended[Kind.LEAVES] += 1
                connection.close()

    def settled(self) -> bool:
        """Let whoever leaves do so; say whether nothing is under way any more."""
        self.leave(perf_counter())
        return self.open == 0

    def account(self, report: Report) -> None:
        """Count as failed what did not end as its kind does."""
        for kind, status in ERRORS.items():
            reason = f"status {status}"
            got = report.errors.pop(reason, 0)
            report.fail(reason, max(0, got - self.begun[kind]))
            report.fail(f"{kind.value}, and was not told", max(0, self.begun[kind] - got))
        report.fail("unanswered at the end", self.open)

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.state is State.IDLE:
                return connection
        return None

    def _content(self, connection: Connection) -> None:
        if self._kinds[connection] is Kind.LEAVES:
            self._leaving.append((perf_counter() + self._leaves_after_s, connection))

    def _done(self, connection: Connection) -> None:
        kind = self._kinds[connection]
        self.ended[kind] += 1
        if kind in {Kind.ONCE, Kind.LEAVES}:
            connection.close()
        else:
            self._idle.append(connection)


def run_soak(job: Soak, loop: Loop) -> Report:
    """Mix for the job's seconds, then wait for what is under way, and leave: `course` ends before its clients do."""
    mix = _Mix(job, loop)
    mix.look()
    metronome = Metronome(loop, job.period_us, mix.beat)

    def settled() -> bool:
        metronome.stop()
        return mix.settled()

    try:
        report = loop.measure(job, linger=settled, linger_seconds_max=_LINGER_SECONDS_MAX)
    finally:
        metronome.close()
    mix.look()
    report.requests, report.course = mix.begun.total(), mix.course
    report.opened = len(loop.connections)
    mix.account(report)
    return report
