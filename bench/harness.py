"""The bench measures what is known: delays, failures, a stall and intervals that the null gateway puts there.

Rules: a figure says by how much what was found differs from what was put there, and is taken within one round, between
neighbours in time. Delays are found as the difference to the null gateway without one, as what a gateway adds is found
as the difference to none. What is exact whatever the machine does (which requests failed, and how many) is a problem
where it differs; what the machine has a part in is a figure.

A median is found to some microseconds, so every delay is held against its own size there. A p99 is not. It is the
fourth longest of a round's three hundred times, made by the machine's few worst moments, and those do not cancel in a
difference: either side met others, and a request that is held meets them twice, when it comes and when it is let go. By
how much it is off is a time and no share of the delay: about a millisecond where the machine is shared, of 2 ms as well
as of 100 ms, and counting how long requests were held in truth takes nothing of it away. 5 % of 2 ms cannot be told
from that. So a tail is judged by delays beside which that is small, from `tail_delay_ms` on; for the shorter ones it
stands there without a bound, with what the machine adds to a p99 by itself. No p99 of an added latency is known better.

The stall shows what an open loop is for. Each request that was intended in it waits until its end, the first ones for
all of it, the last ones hardly: with fixed arrivals half of them wait for half of it or more. The stall begins half a
period after an intended start, so that no wait lies close to that half, and arrivals are rare enough for the null
gateway to have answered those that piled up before a wait could get there. A closed loop asks nobody meanwhile, and so
sees one long wait for each of its connections and thousands of short ones.

How fast the load can be is measured against the upstream itself, with which it shares a core, as it does in every
scenario. An open loop is on time while 99 of 100 requests are sent within a millisecond of their intended start.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from math import sqrt
from typing import Any, NamedTuple

import msgspec

from bench.jobs import AnyJob, Arrivals, Numbered, Paced, Quantiles, Report, Streams, Unary
from bench.measure import taking_turns
from bench.null import NOTHING, REFUSAL_STATUS, SEEN, Options, Seen, failing
from bench.process import Cores, announcement, running
from bench.samples import Samples
from bench.subjects import Subject, fetch

NULL = "null gateway"
LATE_MS_MAX = 1.0
_SHARE_MIN = 1 / 32
"""Of the closed loop's rate: an open loop is asked for more."""

UNARY, FIRST = "unary", "first token"
_REFUSED = f"status {REFUSAL_STATUS}"


class Settings(NamedTuple):
    """How long and how often, and what is put there. `closed` shows the stall to a closed loop too.

    Delays from `tail_delay_ms` on are judged at their p99 too.
    """

    rounds: int
    seconds: float
    stall_ms: float
    failing_requests: int
    ceiling_s: float
    ceiling_steps: int
    closed: bool = True
    warmup_s: float = 0.1
    delays_ms: tuple[float, ...] = (2.0, 20.0, 100.0)
    tail_delay_ms: float = 100.0
    period_us: int = 2500
    error_share: float = 0.1
    failing_period_us: int = 1000
    stall_after_ms: float = 200.0
    stall_before_end_ms: float = 200.0
    stall_period_ms: float = 20.0
    streams: int = 20
    interval_ms: float = 20.0
    connections: int = 32
    seed: int = 1

    @property
    def stall(self) -> Options:
        """The null gateway that stalls, half a period after an intended start."""
        whole_periods = round(self.stall_after_ms / self.stall_period_ms)
        return Options(stall_at_s=(whole_periods + 0.5) * self.stall_period_ms / 1000, stall_ms=self.stall_ms)

    @property
    def stall_requests(self) -> int:
        """How many requests are begun before, in and after the stall."""
        lasts_ms = self.stall_after_ms + self.stall_ms + self.stall_before_end_ms
        return round(lasts_ms / self.stall_period_ms)


QUICK = Settings(
    rounds=1,
    seconds=0.15,
    warmup_s=0.05,
    stall_ms=500.0,
    stall_period_ms=12.5,
    stall_after_ms=50.0,
    stall_before_end_ms=50.0,
    failing_requests=200,
    ceiling_s=0.15,
    ceiling_steps=2,
    closed=False,
)
FULL = Settings(rounds=5, seconds=0.8, stall_ms=1000.0, failing_requests=500, ceiling_s=0.4, ceiling_steps=4)


@contextmanager
def null(upstream_port: int, cores: Cores, options: Options = NOTHING, *, name: str = NULL) -> Iterator[Subject]:
    """Run a null gateway in front of an upstream, where a gateway would run."""
    asked = [
        word for key, value in options._asdict().items() for word in (f"--{key.replace('_', '-')}", f"{value:.17g}")
    ]
    command = [sys.executable, "-m", "bench.null", "--follow-stdin", "--upstream", str(upstream_port), *asked]
    with running(command, on=cores.subject, piped=True) as process:
        yield Subject(name, announcement(process)["port"], (process.pid,))


def seen(subject: Subject) -> Seen:
    """Ask a running one what it saw; raises RuntimeError when it does not say."""
    status, body = fetch(subject.port, SEEN)
    if status != 200:
        raise RuntimeError(f"{subject.name} does not say what it saw: status {status}")
    return msgspec.json.decode(body, type=Seen)


def delayed(delay_ms: float) -> str:
    """Name the null gateway that holds requests for so long."""
    return f"delay of {delay_ms:g} ms"


class Harness:
    """Puts known things before the load, and collects by how much it was wrong. `perform` runs one job.

    `start` runs a null gateway with options and a name. `waits_ms` are the open loop's across all stalls.
    """

    def __init__(
        self,
        settings: Settings,
        upstream: Subject,
        *,
        start: Callable[[Options, str], AbstractContextManager[Subject]],
        perform: Callable[[AnyJob], Report],
    ) -> None:
        self.samples = Samples()
        self.waits_ms: list[float] = []
        self._settings = settings
        self._upstream = upstream
        self._start = start
        self._perform = perform

    def run(self, say: Callable[[str], None]) -> None:
        """Measure every round; raises RuntimeError when a null gateway does not start."""
        with ExitStack() as stack:
            delays = [(Options(delay_ms=delay_ms), delayed(delay_ms)) for delay_ms in self._settings.delays_ms]
            started = [stack.enter_context(self._start(options, name)) for options, name in ((NOTHING, NULL), *delays)]
            for number in range(self._settings.rounds):
                name = f"round {number + 1} of {self._settings.rounds}"
                say(f"known delays, {name}")
                self.delays(taking_turns([self._upstream, *started], number))
                say(f"known failures, {name}")
                self.failures(self._settings.seed + number)
                say(f"a stall, {name}")
                self.stall()
                say(f"known intervals, {name}")
                self.intervals(started[0])
                say(f"how fast the load can be, {name}")
                self.ceiling()

    def delays(self, subjects: Sequence[Subject]) -> None:
        """Ask all of them at one rate, for unary answers and for short streams."""
        settings, add = self._settings, self.samples.add
        for subject in subjects:
            told = self._told(subject, settings.seconds)
            report = self._ask(subject, Paced(**told, period_us=settings.period_us))
            if report.requests_in_window:
                add("cpu_us", subject.name, report.subject_cpu_s * 1e6 / report.requests_in_window)
            self._add_quantiles(UNARY, subject, report.latency_ms)
        for subject in subjects:
            told = self._told(subject, settings.seconds)
            job = Arrivals(**told, period_us=settings.period_us, events=3, interval_ms=0.0)
            self._add_quantiles(FIRST, subject, self._ask(subject, job).ttft_ms)

    def failures(self, seed: int) -> None:
        """Let a share of requests fail, and compare what the load counts with what was answered and drawn."""
        settings = self._settings
        requests = settings.failing_requests
        with self._start(Options(error_share=settings.error_share, seed=seed), "known failures") as subject:
            job = Numbered(**subject.told(), requests=requests, period_us=settings.failing_period_us)
            report = self._ask(subject, job, expected=_REFUSED)
            found = seen(subject)
        counted, answered = report.errors.get(_REFUSED, 0), len(found.failed)
        drawn = failing(settings.error_share, seed, requests)
        self.samples.add("failures", "", answered)
        self.samples.add("failures_off", "", abs(counted - answered))
        self.samples.add("failures_undrawn", "", len(set(found.failed) ^ set(drawn)))
        if counted != answered:
            self.samples.problems.append(f"the load counted {counted} failures, where {answered} were answered")
        if found.requests != requests or found.failed != drawn:
            self.samples.problems.append(f"of {found.requests} requests failed {found.failed}, and not {drawn}")

    def stall(self) -> None:
        """Stall under an open loop, and under a closed one that asks for as long."""
        settings, add = self._settings, self.samples.add
        with self._start(settings.stall, "stall") as subject:
            period_us = round(settings.stall_period_ms * 1000)
            job = Numbered(**subject.told(), requests=settings.stall_requests, period_us=period_us)
            waits_ms = self._ask(subject, job).first_contents_ms
            stalled_ms = seen(subject).stalled_ms
        if not stalled_ms or len(waits_ms) != settings.stall_requests:
            self.samples.problems.append(f"{len(waits_ms)} waits were kept, across a stall of {stalled_ms:g} ms")
            return
        half_ms = stalled_ms / 2
        waited = sum(wait_ms > half_ms for wait_ms in waits_ms)
        add("stall_waited_off", "", off_percent(waited, half_ms / settings.stall_period_ms))
        add("stall_longest_off", "", off_percent(max(waits_ms), stalled_ms))
        add("stall_waited_share", "open loop", waited / len(waits_ms) * 100)
        self.waits_ms.extend(waits_ms)
        if not settings.closed:
            return
        with self._start(settings.stall, "stall") as subject:
            seconds = settings.stall_requests * settings.stall_period_ms / 1000
            told = subject.told() | {"seconds": seconds, "warmup_s": 0.0}
            report = self._ask(subject, Unary(**told, connections=settings.connections))
        if report.latency_ms is not None:
            add("stall_closed_p99_ms", "", report.latency_ms.p99)
            add("stall_closed_max_ms", "", report.latency_ms.max)
            add("stall_closed_requests", "", report.latency_ms.count)

    def intervals(self, subject: Subject) -> None:
        """Hold streams of one interval open through a null gateway, and compare their gaps with it."""
        settings = self._settings
        told = self._told(subject, settings.seconds)
        report = self._ask(subject, Streams(**told, streams=settings.streams, interval_ms=settings.interval_ms))
        if report.gap_ms is not None:
            self.samples.add("interval_off", "", off_percent(report.gap_ms.p50, settings.interval_ms))
        if report.opened < settings.streams:
            self.samples.problems.append(f"{subject.name}: {report.opened} of {settings.streams} streams began")

    def ceiling(self) -> None:
        """Find the most that the load sends in a closed loop, and the highest rate at which an open one is on time."""
        settings, add = self._settings, self.samples.add
        told = self._told(self._upstream, settings.ceiling_s)
        report = self._ask(self._upstream, Unary(**told, connections=settings.connections))
        if not report.requests_in_window:
            return
        per_s = report.requests_in_window / report.seconds
        add("closed_per_s", "", per_s)
        add("closed_load_share", "", report.load_cpu_s / report.seconds * 100)
        add("closed_upstream_share", "", report.upstream_cpu_s / report.seconds * 100)
        low, high, best = _SHARE_MIN, 1.0, 0.0
        for _ in range(settings.ceiling_steps):
            share = sqrt(low * high)
            found = self._perform(Paced(**told, period_us=round(1e6 / (per_s * share))))
            # One that was asked for more than it can send may have run out of connections: that is an answer too.
            if not found.errors and found.late_ms is not None and found.late_ms.p99 < LATE_MS_MAX:
                low = best = share
            else:
                high = share
        add("on_time_per_s", "", per_s * best)

    def _told(self, subject: Subject, seconds: float) -> dict[str, Any]:
        return subject.told() | {
            "upstream": list(self._upstream.pids),
            "seconds": seconds,
            "warmup_s": self._settings.warmup_s,
        }

    def _add_quantiles(self, kind: str, subject: Subject, found: Quantiles | None) -> None:
        if found is not None:
            self.samples.add(f"{kind}, p50", subject.name, found.p50)
            self.samples.add(f"{kind}, p99", subject.name, found.p99)

    def _ask(self, subject: Subject, job: AnyJob, *, expected: str = "") -> Report:
        """Run one job, and keep what failed in it but for what was to."""
        report = self._perform(job)
        kind = type(job).__name__.lower()
        self.samples.problems.extend(
            f"{subject.name}, {kind}: {count} x {reason}"
            for reason, count in report.errors.items()
            if reason != expected
        )
        if not (report.requests or report.events or (isinstance(job, Streams) and report.opened)):
            self.samples.problems.append(f"{subject.name}, {kind}: nothing was answered")
        return report


def off_percent(found: float, put_there: float) -> float:
    """Say by how many percent what was found differs from what was put there, either way."""
    return abs(found / put_there - 1) * 100
