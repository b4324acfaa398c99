"""The order of a comparison: rounds, jobs within a round, and the samples they leave.

Rules: subjects take turns within each kind of job, and who begins rotates, so that a machine that slows down slows all
of them; the first pass of every job is thrown away (it also tells how much load is half of the gateway's); memory is
read from a fresh process, since a heap does not shrink back. A sample is one number of one round; medians are
`bench.report`'s business.

CPU per unary request is measured twice, and held against nginx's where all subjects answer at one rate. In the closed
loop each runs at its own: requests always wait, so a subject hardly ever sleeps, and takes several whenever it looks;
but nginx keeps the other core about twice as busy as the gateway does, and so finds it awake more often. That compares
different conditions. The open loop sends to all at the same fixed times, half as often as the gateway could answer:
each request finds its subject and its peers asleep, as most requests of a service below saturation do, and each subject
sleeps and wakes about twice for it. On a virtual machine that was seen to add some 40 us to nginx's 20, and about as
much to the gateway's: a cost of the machine on both sides, which brings the quotient down and is no merit of the
gateway. So the rate is printed, it is said who did not keep up with it, and the closed loop's quotient stands beside.
"""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import msgspec

from bench.jobs import AnyJob, Arrivals, Hold, Paced, Report, SlowReader, Streams, Unary
from bench.process import Cores, placed
from bench.subjects import Subject

_JOB_SECONDS_MAX = 150.0
_PERIOD_US_MIN = 1000
_UNARY_PERIOD_US_MIN = 250  # nginx alone would be asked for more than one Python client can send on time
Start = Callable[[], AbstractContextManager[Subject]]


class Settings(NamedTuple):
    """How long and how often; `held` are the numbers of streams held open, `slow_mb` what the slow reader reads."""

    rounds: int
    seconds: float
    held: tuple[int, ...]
    held_rounds: int
    held_seconds: float
    slow_mb: int
    warmup_s: float = 0.3
    connections: int = 32
    streams: int = 100
    stream_interval_ms: float = 12.5
    arrival_events: int = 20
    arrival_interval_ms: float = 20.0
    open_load: float = 0.5
    slow_burst_mb: int = 5
    slow_pause_ms: float = 100.0
    slow_seconds_max: float = 60.0


QUICK = Settings(rounds=3, seconds=0.5, held=(1000,), held_rounds=1, held_seconds=0.5, slow_mb=100, warmup_s=0.15)
FULL = Settings(rounds=5, seconds=3.5, held=(1000, 10_000), held_rounds=2, held_seconds=2.0, slow_mb=1000)


class Samples:
    """Numbers by measure and subject, one per round in order, and every request that failed."""

    def __init__(self) -> None:
        self.values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.problems: list[str] = []
        self.period_us = 0
        self.unary_period_us = 0

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
        for subject in proxies:
            self._paced(subject)
            self._arrivals(subject)
        self.samples.clear()
        for number in range(self._settings.rounds):
            say(f"round {number + 1} of {self._settings.rounds}")
            for job, competitors in (
                (self._unary, subjects),
                (self._paced, subjects),
                (self._streams, proxies),
                (self._arrivals, subjects),
            ):
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

    def slow_reader(self, starts: Sequence[Start], say: Callable[[str], None]) -> None:
        """Let one client read a long stream slowly through a fresh instance of each subject."""
        for start in starts:
            with start() as subject:
                say(f"a slow reader of {self._settings.slow_mb:,} MB, {subject.name}")
                self._slow_reader(subject)

    def _find_half_load(self, subject: Subject) -> None:
        """Derive the open loops' periods from the measured costs: half of what the subject could do with all its core.

        From costs and not from the closed loop's rate, which is the neighbours' too where the machine is not quiet.
        """
        settings, values = self._settings, self.samples.values
        unary_us = values["unary_cpu_us"][subject.name][-1]
        stream_us = unary_us + values["event_cpu_us"][subject.name][-1] * settings.arrival_events
        self.samples.unary_period_us = max(_UNARY_PERIOD_US_MIN, round(unary_us / settings.open_load))
        self.samples.period_us = max(_PERIOD_US_MIN, round(stream_us / settings.open_load))

    def _unary(self, subject: Subject) -> None:
        job = Unary(
            **self._common(subject),
            seconds=self._settings.seconds,
            connections=self._settings.connections,
            tool=self._wrk,
        )
        report = self._ask(subject, job)
        if subject != self._upstream:
            self._add(subject, "unary_cpu_us", report.subject_cpu_s * 1e6, report.requests_in_window)
        self._add(subject, "unary_per_s", report.requests_in_window, report.seconds)
        self._shares(subject, "unary", report)
        if report.latency_ms is not None:
            self.samples.add("unary_p99_ms", subject.name, report.latency_ms.p99)

    def _paced(self, subject: Subject) -> None:
        job = Paced(**self._common(subject), seconds=self._settings.seconds, period_us=self.samples.unary_period_us)
        report = self._ask(subject, job)
        if subject != self._upstream:
            self._add(subject, "paced_cpu_us", report.subject_cpu_s * 1e6, report.requests_in_window)
        intended = report.seconds * 1e6 / job.period_us
        self._add(subject, "paced_served_share", report.requests_in_window, intended)
        self._shares(subject, "paced", report)
        if report.latency_ms is not None:
            self.samples.add("paced_p50_ms", subject.name, report.latency_ms.p50)
            self.samples.add("paced_p99_ms", subject.name, report.latency_ms.p99)

    def _streams(self, subject: Subject) -> None:
        job = Streams(
            **self._common(subject),
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
            **self._common(subject),
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
            **self._common(subject),
            seconds=self._settings.held_seconds,
            streams=count,
        )
        report = self._ask(subject, job)
        self.samples.add(f"held_{count}_mb", subject.name, report.rss_after_bytes / 1e6)
        grown_kb = (report.rss_after_bytes - report.rss_before_bytes) / 1e3
        self._add(subject, f"held_{count}_kb_each", grown_kb, report.opened)

    def _slow_reader(self, subject: Subject) -> None:
        settings = self._settings
        job = SlowReader(
            **self._common(subject),
            seconds=settings.slow_seconds_max,
            total_bytes=settings.slow_mb * 1_000_000,
            burst_bytes=settings.slow_burst_mb * 1_000_000,
            pause_ms=settings.slow_pause_ms,
        )
        report = self._ask(subject, job)
        self.samples.add("slow_before_mb", subject.name, report.rss_before_bytes / 1e6)
        self.samples.add("slow_peak_mb", subject.name, report.rss_peak_bytes / 1e6)
        self.samples.add("slow_after_mb", subject.name, report.rss_after_bytes / 1e6)
        self.samples.add("slow_grown_mb", subject.name, (report.rss_peak_bytes - report.rss_before_bytes) / 1e6)
        self.samples.add("slow_read_mb", subject.name, report.body_bytes / 1e6)
        self.samples.add("slow_read_s", subject.name, report.seconds)

    def _common(self, subject: Subject) -> dict[str, Any]:
        """Give what every job is told: whom to ask, and whose CPU time and memory to read."""
        return subject.told() | {
            "upstream": list(self._upstream.pids),
            "warmup_s": self._settings.warmup_s,
        }

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
