"""One worker of the gateway, and two: what a request costs, how many are answered, how evenly the two are asked.

Nothing is pinned, for neither: two workers, upstream and load share all cores, so rates show what this machine does as
a whole, and not what a second worker is worth where it has a core for itself. Both are asked at one rate, at which one
worker uses half of a core, and in a closed loop. Which worker answered, no log and no metric tells: shares are those of
the workers' CPU time.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

from bench.jobs import AnyJob, Arrivals, Paced, Report, Unary
from bench.measure import Part, find_load, rounds
from bench.perform import perform
from bench.process import Cores, cores, cpu_seconds, raise_open_files
from bench.runs import Figure, Scenario
from bench.scenarios import Profile, Say, differences, present
from bench.scenarios.trial import Trial
from bench.subjects import DIRECT, GATEWAY, Subject, canned, gateway

METHOD = (
    "One gateway worker and two, in turns; workers, upstream and load on all cores as the system places them. "
    "Unary requests in a closed loop and at one rate for both; short streams at one rate, beside going straight."
)
ONE, TWO = WAYS = ("one worker", "two workers")
CLOSED, PACED, STREAMS = "unary, closed loop", "unary, same rate", "short streams, same rate"
_HALF = 0.5
_FIRST_PERIOD_US = 1000.0


class Settings(NamedTuple):
    """How long and how often."""

    rounds: int
    seconds: float
    warmup_s: float
    tries: int
    connections: int = 32
    events: int = 5
    interval_ms: float = 5.0


QUICK = Settings(rounds=1, seconds=0.2, warmup_s=0.1, tries=1)
FULL = Settings(rounds=5, seconds=0.8, warmup_s=0.2, tries=4)


class Workers:
    """Asks both, and collects samples by way: CPU in us, rates per second, times in ms, shares of the busier worker."""

    def __init__(self, trial: Trial, settings: Settings, running: dict[str, Subject]) -> None:
        self.trial = trial
        self.unary_us = self.stream_us = 0
        self._settings = settings
        self._running = {way: subject._replace(name=way) for way, subject in running.items()}

    def run(self, say: Say) -> None:
        """Find the rates, and measure every round."""
        one = self._running[ONE]
        say("half of what one worker can do")
        for subject in self._running.values():
            self._closed(subject)
        self.unary_us = self._half(partial(self._paced, one), _FIRST_PERIOD_US)
        self.stream_us = self._half(partial(self._streams, one), self.unary_us * 2)
        self.trial.samples.clear()
        both = list(self._running.values())
        parts = (
            Part(CLOSED, self._closed, both),
            Part(PACED, lambda subject: self._paced(subject, self.unary_us), both),
            Part(STREAMS, lambda subject: self._streams(subject, self.stream_us), [self.trial.upstream, *both]),
        )
        rounds(parts, self._settings.rounds, say)

    def _half(self, ask: Callable[[int], Report | None], first_us: float) -> int:
        return find_load(ask, _HALF, first_us, tries=self._settings.tries).period_us

    def _closed(self, subject: Subject) -> None:
        job = Unary(**self._told(subject), connections=self._settings.connections)
        report = self._ask(subject, job, CLOSED)
        if report is not None:
            self.trial.add("closed_cpu_us", subject, report.subject_cpu_s * 1e6, report.requests_in_window)
            self.trial.add("closed_per_s", subject, report.requests_in_window, report.seconds)

    def _paced(self, subject: Subject, period_us: int) -> Report | None:
        report = self._ask(subject, Paced(**self._told(subject), period_us=period_us), PACED)
        if report is not None:
            self.trial.add("paced_cpu_us", subject, report.subject_cpu_s * 1e6, report.requests_in_window)
            self.trial.add("paced_beside_us", subject, report.beside_cpu_s * 1e6, report.requests_in_window)
        return report

    def _streams(self, subject: Subject, period_us: int) -> Report | None:
        settings = self._settings
        job = Arrivals(
            **self._told(subject), period_us=period_us, events=settings.events, interval_ms=settings.interval_ms
        )
        report = self._put(subject, job, STREAMS)
        if report is not None and report.ttft_ms is not None:
            self.trial.add("ttft_p50_ms", subject, report.ttft_ms.p50)
            self.trial.add("ttft_p99_ms", subject, report.ttft_ms.p99)
        return report

    def _ask(self, subject: Subject, job: Unary | Paced, what: str) -> Report | None:
        """Ask, and note how much of the CPU time the busier worker used."""
        before = [cpu_seconds([pid]) for pid in subject.pids]
        report = self._put(subject, job, what)
        used = [cpu_seconds([pid]) - was for pid, was in zip(subject.pids, before, strict=True)]
        if report is not None and len(used) > 1:
            self.trial.add(f"{what}: busier", subject, max(used) * 100, sum(used))
        return report

    def _put(self, subject: Subject, job: AnyJob, what: str) -> Report | None:
        """Run a job; whatever fails with one worker or with two is the gateway's failure."""
        if subject.name == DIRECT:
            return self.trial.ask(subject, job, what)
        return self.trial.ask(subject._replace(name=GATEWAY), job, f"{subject.name}, {what}")

    def _told(self, subject: Subject) -> dict[str, Any]:
        return self.trial.told(subject) | {"seconds": self._settings.seconds, "warmup_s": self._settings.warmup_s}


def run(profile: Profile, say: Say) -> Scenario:
    """Measure both; raises RuntimeError when one does not start."""
    settings = QUICK if profile.quick else FULL
    settings = settings._replace(rounds=profile.rounds or settings.rounds)
    raise_open_files()
    pinned = cores()
    everywhere = pinned.subject | pinned.others
    anywhere = Cores(everywhere, everywhere)
    say("starting")
    with ExitStack() as stack:
        upstream = stack.enter_context(canned(anywhere, port=profile.upstream_port, seed=profile.seed))
        # Most of the start is imports, on a core each. What a thread has started ends with it: the threads stay.
        pool = stack.enter_context(ThreadPoolExecutor(len(WAYS)))
        starts = [gateway(upstream.port, anywhere, workers=number) for number, _ in enumerate(WAYS, start=1)]
        running = dict(zip(WAYS, pool.map(stack.enter_context, starts), strict=True))
        workers = Workers(Trial(upstream, partial(perform, cores=anywhere)), settings, running)
        workers.run(say)
    return scenario(workers, settings)


def scenario(workers: Workers, settings: Settings) -> Scenario:
    """Give what was found."""
    rates = f"{1e6 / workers.unary_us:,.0f} unary requests, {1e6 / workers.stream_us:,.0f} streams a second"
    return Scenario(
        name="workers",
        method=METHOD,
        settings=settings._asdict() | {"unary_period_us": workers.unary_us, "stream_period_us": workers.stream_us},
        figures=present(figures(workers.trial)),
        remarks=[*workers.trial.said(), f"Same rate: {rates}."],
        problems=list(workers.trial.samples.problems),
    )


def figures(trial: Trial) -> list[Figure]:
    """Give two workers beside one, and how the load fell on the two."""
    found = []
    values = trial.samples.values
    for measure, title, unit in (
        ("closed_per_s", "requests per second, closed loop", "/s"),
        ("closed_cpu_us", "CPU per unary request, closed loop", "us"),
        ("paced_cpu_us", "CPU per unary request, same rate", "us"),
        ("paced_beside_us", "CPU of the other processes per unary request, same rate", "us"),
    ):
        found += [
            Figure(
                name=f"{title}, {way}",
                unit=unit,
                samples=list(values[measure][way]),
                better="higher" if unit == "/s" else "lower",
                beside=f"{title}, {ONE}" if way == TWO else None,
                headline=way == TWO and measure in {"closed_per_s", "paced_cpu_us"},
            )
            for way in (TWO, ONE)
        ]
    for quantile in ("p50", "p99"):
        by_way = values[f"ttft_{quantile}_ms"]
        for way in (TWO, ONE):
            added = differences(by_way[way], by_way[DIRECT])
            found.append(Figure(name=f"time to first token added, {quantile}, {way}", unit="ms", samples=added))
    for what in (CLOSED, PACED):
        busier = list(values[f"{what}: busier"][TWO])
        found.append(Figure(name=f"share of the busier of two workers, {what}", unit="%", samples=busier))
    return found
