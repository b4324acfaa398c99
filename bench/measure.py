"""The order of a comparison: rounds, jobs within a round, and the samples they leave.

Rules: subjects take turns within each kind of job, and who begins rotates, so that a machine that slows down slows all
of them; the first pass of every job is thrown away (it also tells how much load is half of the gateway's); memory is
read from a fresh process, since a heap does not shrink back. A sample is one number of one round; medians are
`bench.report`'s business.
"""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import msgspec

from bench.jobs import AnyJob, Arrivals, Hold, Report, Streams, Unary
from bench.process import Cores, placed
from bench.subjects import KEY, Subject

_JOB_SECONDS_MAX = 150.0
_PERIOD_US_MIN = 1000
Start = Callable[[], AbstractContextManager[Subject]]


class Settings(NamedTuple):
    """How long and how often; `held` are the numbers of streams held open."""

    rounds: int
    seconds: float
    held: tuple[int, ...]
    held_rounds: int
    held_seconds: float
    warmup_s: float = 0.3
    connections: int = 32
    streams: int = 100
    stream_interval_ms: float = 12.5
    arrival_events: int = 20
    arrival_interval_ms: float = 20.0
    arrival_load: float = 0.5


QUICK = Settings(rounds=3, seconds=0.8, held=(1000,), held_rounds=1, held_seconds=0.5, warmup_s=0.2)
FULL = Settings(rounds=5, seconds=4.0, held=(1000, 10_000), held_rounds=2, held_seconds=2.0)


class Samples:
    """Numbers by measure and subject, one per round in order, and every request that failed."""

    def __init__(self) -> None:
        self.values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.problems: list[str] = []
        self.period_us = 0

    def add(self, measure: str, subject: str, value: float) -> None:
        """Add one round's number."""
        self.values[measure][subject].append(value)

    def clear(self) -> None:
        """Forget the numbers of the first pass, but not its failures."""
        self.values.clear()


def perform(job: AnyJob, cores: Cores) -> Report:
    """Run one job in a process of its own; raises subprocess.TimeoutExpired when it does not end by itself."""
    with placed(cores.others):
        ended = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            input=msgspec.json.encode(job),
            stdout=subprocess.PIPE,
            check=True,
            timeout=_JOB_SECONDS_MAX,
        )
    return msgspec.json.decode(ended.stdout, type=Report)


class Bench:
    """Gives jobs to `perform` against subjects and collects their samples."""

    def __init__(
        self, settings: Settings, upstream: Subject, *, wrk: str | None, perform: Callable[[AnyJob], Report]
    ) -> None:
        self.samples = Samples()
        self._settings = settings
        self._perform = perform
        self._upstream = upstream
        self._wrk = wrk

    def run(self, subjects: Sequence[Subject], say: Callable[[str], None]) -> None:
        """Measure running subjects, the upstream itself among them as `direct`."""
        proxies = [subject for subject in subjects if subject.name != self._upstream.name]
        if not proxies:
            return
        say("first pass, not counted")
        for subject in proxies:
            self._unary(subject)
            self._streams(subject)
        self._find_half_load(proxies[-1])
        for subject in subjects:
            self._arrivals(subject)
        self.samples.clear()
        for number in range(self._settings.rounds):
            say(f"round {number + 1} of {self._settings.rounds}")
            for job, competitors in ((self._unary, subjects), (self._streams, proxies), (self._arrivals, subjects)):
                turn = number % len(competitors)
                for subject in [*competitors[turn:], *competitors[:turn]]:
                    job(subject)

    def hold(self, starts: Sequence[Start], count: int, say: Callable[[str], None]) -> None:
        """Hold so many streams open through a fresh instance of each subject."""
        for number in range(self._settings.held_rounds):
            for start in starts:
                with start() as subject:
                    say(f"{count:,} open streams, {subject.name} ({number + 1} of {self._settings.held_rounds})")
                    self._hold(subject, count)

    def _find_half_load(self, subject: Subject) -> None:
        """Derive the arrivals' period from the measured costs, so that the subject's CPU is half used."""
        settings, values = self._settings, self.samples.values
        cost_us = values["unary_cpu_us"][subject.name][-1]
        cost_us += values["event_cpu_us"][subject.name][-1] * settings.arrival_events
        self.samples.period_us = max(_PERIOD_US_MIN, round(cost_us / settings.arrival_load))

    def _unary(self, subject: Subject) -> None:
        job = Unary(
            port=subject.port,
            key=KEY,
            subject=list(subject.pids),
            upstream=list(self._upstream.pids),
            warmup_s=self._settings.warmup_s,
            seconds=self._settings.seconds,
            connections=self._settings.connections,
            tool=self._wrk,
        )
        report = self._ask(subject, job)
        if subject != self._upstream:
            self._add(subject, "unary_cpu_us", report.subject_cpu_s * 1e6, report.requests)
        self._add(subject, "unary_per_s", report.requests, report.seconds)
        self._shares(subject, "unary", report)
        if report.latency_ms is not None:
            self.samples.add("unary_p99_ms", subject.name, report.latency_ms.p99)

    def _streams(self, subject: Subject) -> None:
        job = Streams(
            port=subject.port,
            key=KEY,
            subject=list(subject.pids),
            upstream=list(self._upstream.pids),
            warmup_s=self._settings.warmup_s,
            seconds=self._settings.seconds,
            streams=self._settings.streams,
            interval_ms=self._settings.stream_interval_ms,
        )
        report = self._ask(subject, job)
        self._add(subject, "event_cpu_us", report.subject_cpu_s * 1e6, report.events)
        self._shares(subject, "event", report)
        if report.gap_ms is not None:
            self.samples.add("gap_p99_ms", subject.name, report.gap_ms.p99)

    def _arrivals(self, subject: Subject) -> None:
        job = Arrivals(
            port=subject.port,
            key=KEY,
            subject=list(subject.pids),
            upstream=list(self._upstream.pids),
            warmup_s=self._settings.warmup_s,
            seconds=self._settings.seconds,
            period_us=self.samples.period_us,
            events=self._settings.arrival_events,
            interval_ms=self._settings.arrival_interval_ms,
        )
        report = self._ask(subject, job)
        self._shares(subject, "arrivals", report)
        if report.ttft_ms is not None:
            self.samples.add("ttft_p50_ms", subject.name, report.ttft_ms.p50)
            self.samples.add("ttft_p99_ms", subject.name, report.ttft_ms.p99)

    def _hold(self, subject: Subject, count: int) -> None:
        job = Hold(
            port=subject.port,
            key=KEY,
            subject=list(subject.pids),
            upstream=list(self._upstream.pids),
            warmup_s=self._settings.warmup_s,
            seconds=self._settings.held_seconds,
            streams=count,
        )
        report = self._ask(subject, job)
        self.samples.add(f"held_{count}_mb", subject.name, report.rss_after_bytes / 1e6)
        grown_kb = (report.rss_after_bytes - report.rss_before_bytes) / 1e3
        self._add(subject, f"held_{count}_kb_each", grown_kb, report.opened)

    def _shares(self, subject: Subject, job: str, report: Report) -> None:
        """Note how much of both cores was used; the upstream's own time, when it is the subject, counts once."""
        if subject != self._upstream:
            self._add(subject, f"{job}_cpu_share", report.subject_cpu_s, report.seconds)
        self._add(subject, f"{job}_bench_share", report.upstream_cpu_s + report.load_cpu_s, report.seconds)

    def _add(self, subject: Subject, measure: str, amount: float, per: float) -> None:
        if per:
            self.samples.add(measure, subject.name, amount / per)

    def _ask(self, subject: Subject, job: AnyJob) -> Report:
        """Run one job, and keep what failed in it."""
        report = self._perform(job)
        kind = type(job).__name__.lower()
        self.samples.problems.extend(
            f"{subject.name}, {kind}: {count} x {reason}" for reason, count in report.errors.items()
        )
        if not (report.requests or report.events or report.opened):
            self.samples.problems.append(f"{subject.name}, {kind}: nothing was answered")
        return report
