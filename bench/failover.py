"""What clients see when upstreams fail, stall or vanish, and what the race costs: the parts of the failover scenario.

Three parts, in one run, against one gateway process with scripted upstreams (`bench.faults`):

- one of three upstreams answers some requests with a 5xx, stalls on some, cuts some before content. Four routes take
  the same load at the same time: with and without the faults, with and without hedging; so what the machine does to one
  it does to all, and the figures stand beside each other;
- a whole upstream goes down, once so that connections are refused and once so that it accepts and is silent. How soon
  it is left alone is read from the access log, to the gap between two of its requests: the breaker's gauge in /metrics
  is renewed once a second, and only has to agree;
- nothing fails: CPU of the gateway per request on a route with one candidate, and on one with three and hedging on,
  interleaved in rounds, against the canned upstream.

Load is open loop at a fixed rate and latency counts from the intended start. Every route is warmed up by healthy
traffic first, since a percentile needs samples: what is shown is an upstream that begins to fail, not a gateway that
begins. A request that failed is a problem, and so is one that is missing in the log. What is kept of it all is
`bench.outcomes`'.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from bench import faults
from bench.attempts import AccessLog, Line
from bench.faults import Faults, Pace, Upstream
from bench.jobs import AnyJob, Arrivals, Numbered, Paced, Report
from bench.outcomes import Results
from bench.perform import perform
from bench.process import Cores
from bench.subjects import KEY, Served, Subject, canned, fetch, serving

_ANSWER_SECONDS_MAX = 5.0
_SAID_MAX = 4000


class Settings(NamedTuple):
    """How long and how often. Rates are per route; `attempt_seconds` is the gateway's patience with one attempt.

    The gateway renews its /metrics within `publish_s`. Routes are warmed up before each part, or, with `warm_once`,
    all of them before the first.
    """

    attempt_seconds: float
    warmup_s: float
    faults_s: float
    outage_s: float
    rounds: int
    round_s: float
    rate_per_s: int = 50
    outage_rate_per_s: int = 100
    machinery_unary_period_us: int = 1000
    machinery_stream_period_us: int = 1250
    machinery_events: int = 2
    round_warmup_s: float = 0.2
    publish_s: float = 1.2
    warm_once: bool = False
    seed: int = 1
    pace: Pace = Pace()
    faults: Faults = Faults()


QUICK = Settings(
    attempt_seconds=0.8,
    warmup_s=0.6,
    publish_s=0.0,  # an outage goes on for longer once its breaker is open
    warm_once=True,
    faults_s=1.5,
    outage_s=2.2,
    rounds=1,
    round_s=0.1,
    round_warmup_s=0.05,
)
FULL = Settings(attempt_seconds=30.0, warmup_s=3.0, faults_s=60.0, outage_s=10.0, rounds=7, round_s=1.5)


class Failover:
    """Runs the parts against running processes, and keeps what came of them.

    `perform` runs one job in a process of its own; jobs that belong together are run at the same time.
    """

    def __init__(
        self,
        settings: Settings,
        served: Served,
        upstreams: Mapping[str, Upstream],
        *,
        perform: Callable[[AnyJob], Report],
        say: Callable[[str], None],
    ) -> None:
        self.results = Results()
        self._settings = settings
        self._gateway = served.subject
        self._log = AccessLog(served.access_log)
        self._said = served.log
        self._upstreams = upstreams
        self._perform = perform
        self._say = say
        self._asked = 0

    def faults(self) -> None:
        """Let one of three upstreams fail now and then, and load the four routes at the same time."""
        settings, names = self._settings, [route.name for route in faults.ROUTES[:4]]
        warmed = [*names, faults.REFUSED, faults.STALLED] if settings.warm_once else names
        self._warm(warmed, settings.rate_per_s)
        self._upstreams[faults.TROUBLED].play(faults.faulty(settings.pace, settings.faults))
        self._say(f"one of three upstreams fails ({settings.faults_s:g} s and what is still open)")
        came = self._load(names, settings.rate_per_s, settings.faults_s)
        metrics = self._metrics()
        for name, (report, lines) in came.items():
            self.results.add_route(name, report, lines, openings(metrics, name))
        self._upstreams[faults.TROUBLED].play(faults.healthy(settings.pace))

    def outages(self) -> None:
        """Take one upstream away from under each route: connections refused, then silence."""
        stop, silence = self._upstreams[faults.STOPPED].stop, self._upstreams[faults.TROUBLED]
        came = [
            (faults.REFUSED, faults.STOPPED, *self._outage(faults.REFUSED, stop)),
            (faults.STALLED, faults.TROUBLED, *self._outage(faults.STALLED, lambda: silence.play(faults.stalled()))),
        ]
        metrics = self._metrics()
        for name, upstream, report, lines in came:
            self.results.add_outage(name, report, lines, openings(metrics, name), upstream)

    def machinery(self, upstream: Subject) -> None:
        """Compare the CPU per request of a plain route and a raced one, who begins taking turns."""
        names = (faults.PLAIN, faults.RACED)
        for number in range(-1, self._settings.rounds):
            self._say(f"nothing fails, round {number + 1} of {self._settings.rounds}")
            for kind in ("unary", "stream"):
                for name in names if number % 2 else names[::-1]:
                    report = self._perform(self._machinery_job(kind, name, upstream))
                    self._fail(f"{name}, {kind}", report)
                    if number >= 0 and report.requests_in_window:
                        cpu_us = report.subject_cpu_s * 1e6 / report.requests_in_window
                        self.results.cpu_us[kind][name].append(cpu_us)

    def _outage(self, name: str, begin: Callable[[], object]) -> tuple[Report, list[Line]]:
        settings = self._settings
        if not settings.warm_once:
            self._warm([name], settings.outage_rate_per_s)
        begin()
        self._say(f"an upstream is down: {name} ({settings.outage_s:g} s and what is still open)")
        return self._load([name], settings.outage_rate_per_s, settings.outage_s)[name]

    def _warm(self, names: Sequence[str], rate_per_s: int) -> None:
        self._say("warming up")
        self._load(names, rate_per_s, self._settings.warmup_s)

    def _load(self, names: Sequence[str], rate_per_s: int, seconds: float) -> dict[str, tuple[Report, list[Line]]]:
        """Load routes at the same time, each with the same numbers; give each one's report and log."""
        settings, requests = self._settings, round(rate_per_s * seconds)
        jobs = [
            Numbered(
                port=self._gateway.port,
                key=KEY,
                model=name,
                subject=list(self._gateway.pids),
                period_us=round(1e6 / rate_per_s),
                requests=requests,
                first=self._asked,
                linger_s=2 * settings.attempt_seconds + _ANSWER_SECONDS_MAX,
            )
            for name in names
        ]
        self._asked += requests
        with ThreadPoolExecutor(len(jobs)) as pool:
            reports = list(pool.map(self._perform, jobs))
        lines = self._log.take(dict.fromkeys(names, requests))
        for name, report in zip(names, reports, strict=True):
            self._fail(name, report)
            if len(lines[name]) != requests:
                self.results.problems.append(f"{name}: {len(lines[name])} of {requests} requests are in the access log")
        return {name: (report, lines[name]) for name, report in zip(names, reports, strict=True)}

    def _fail(self, name: str, report: Report) -> None:
        self.results.problems.extend(f"{name}: {count} x {reason}" for reason, count in report.errors.items())
        if not report.requests:
            self.results.problems.append(f"{name}: nothing was answered")

    def explain(self) -> None:
        """Where there were problems, add the end of what the gateway said, which may be a traceback."""
        if self.results.problems:
            self.results.problems.append(self._said.read_text(errors="replace")[-_SAID_MAX:])

    def _metrics(self) -> str:
        """Get /metrics as it is when all that has happened is in it."""
        time.sleep(self._settings.publish_s)
        return fetch(self._gateway.port, "/metrics")[1].decode()

    def _machinery_job(self, kind: str, name: str, upstream: Subject) -> AnyJob:
        settings = self._settings
        common: dict[str, Any] = {
            "port": self._gateway.port,
            "key": KEY,
            "model": name,
            "subject": list(self._gateway.pids),
            "upstream": list(upstream.pids),
            "seconds": settings.round_s,
            "warmup_s": settings.round_warmup_s,
        }
        if kind == "unary":
            return Paced(**common, period_us=settings.machinery_unary_period_us)
        period_us, events = settings.machinery_stream_period_us, settings.machinery_events
        return Arrivals(**common, period_us=period_us, events=events, interval_ms=0.0)


def openings(metrics: str, model: str) -> dict[str, int]:
    """Read from an exposition how often the breakers of a model's candidates have opened, by provider."""
    return {
        sample.labels["provider"]: int(sample.value)
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "hedgerow_candidate_breaker_openings_total" and sample.labels["model"] == model
    }


def measure(settings: Settings, placement: Cores, say: Callable[[str], None]) -> Results:
    """Start everything and run all parts; raises RuntimeError when something does not start."""
    say("starting")
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(canned(placement, seed=settings.seed))
        running = stack.enter_context(faults.upstreams(settings.pace, settings.seed, placement))
        ports = {name: each.port for name, each in running.items()}
        text = faults.configuration(ports, upstream.port, settings.attempt_seconds)
        served = stack.enter_context(serving(text, placement))
        parts = Failover(settings, served, running, perform=partial(perform, cores=placement), say=say)
        parts.faults()
        parts.outages()
        parts.machinery(upstream)
        parts.explain()
    return parts.results
