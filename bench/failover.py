"""`python -m bench.failover`: what clients see when upstreams fail, stall or vanish, and what the race costs.

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
begins. A request that failed makes the run fail; a missed target is shown. `--quick` takes less than a minute, a full
run less than four.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from bench import failover_sheet as sheets
from bench import faults
from bench.attempts import AccessLog, Line
from bench.faults import Faults, Pace, Upstream
from bench.jobs import AnyJob, Arrivals, Numbered, Paced, Report
from bench.machine import describe, revision
from bench.perform import perform
from bench.process import Cores, busy_share, cores, raise_open_files
from bench.subjects import KEY, Served, Subject, canned, fetch, serving

_LISTEN_SECONDS = 1.0
_PIPED_COLUMNS = 150
_QUIET_SHARE_MAX = 0.05
_ANSWER_SECONDS_MAX = 5.0
_QUIET_SECONDS = 1.0
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


QUICK = Settings(attempt_seconds=6.0, warmup_s=1.5, faults_s=10.0, outage_s=3.0, rounds=4, round_s=0.4)
FULL = Settings(attempt_seconds=30.0, warmup_s=3.0, faults_s=60.0, outage_s=10.0, rounds=7, round_s=1.5)


class Scenario:
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
        self.results = sheets.Results()
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
            opened = openings(metrics, name).get(upstream, 0)
            self.results.add_outage(name, report, lines, upstream, opened, quiet_s=_QUIET_SECONDS)

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


def measure(settings: Settings, placement: Cores, console: Console) -> sheets.Results:
    """Start everything and run all parts; raises RuntimeError when something does not start."""

    def performed(job: AnyJob) -> Report:
        return perform(job, placement)

    with contextlib.ExitStack() as stack:
        status = stack.enter_context(console.status("starting"))
        upstream = stack.enter_context(canned(placement))
        running = stack.enter_context(faults.upstreams(settings.pace, settings.seed, placement))
        ports = {name: each.port for name, each in running.items()}
        text = faults.configuration(ports, upstream.port, settings.attempt_seconds)
        served = stack.enter_context(serving(text, placement))
        scenario = Scenario(settings, served, running, perform=performed, say=status.update)
        scenario.faults()
        scenario.outages()
        scenario.machinery(upstream)
        scenario.explain()
    return scenario.results


def remarks(settings: Settings, others_share: float) -> list[str]:
    """Say what the reader must know to believe the figures."""
    pace, wrong = settings.pace, settings.faults
    law = f"log-normal, median {pace.median_ms:g} ms, sigma {pace.sigma:g}, at most {pace.ms_max:g} ms"
    kinds = f"{wrong.refusals:.0%} 503, {wrong.stalls:.0%} silent for {wrong.stall_seconds:g} s, "
    kinds += f"{wrong.cuts:.0%} cut before content"
    load = f"{settings.rate_per_s} requests a second for {settings.faults_s:g} s, all four at once"
    outage = f"{settings.outage_rate_per_s} a second for {settings.outage_s:g} s"
    stream = f"a stream of {settings.machinery_events} events each {settings.machinery_stream_period_us:,} us"
    said = [
        f"Healthy time to first token: {law}. Faults of one upstream of three: {kinds}; seed {settings.seed}.",
        f"Each route gets {load}; in an outage {outage}. Open loop, latency from the intended start.",
        f"An attempt without content is replaced after {settings.attempt_seconds:g} s; else the race is as it comes.",
        "The hedge delay in the target is the p95 that clients saw without faults, or the floor of 200 ms.",
        f"Where nothing fails: a unary request each {settings.machinery_unary_period_us:,} us; {stream}.",
    ]
    if others_share > _QUIET_SHARE_MAX:
        said.append(f"The machine was not quiet: others used {others_share:.0%} of its cores before the run.")
    return said


def main() -> int:
    """Run the scenario; exit status 1 when a request failed or something did not start."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description="What clients see of failures.")
    parser.add_argument("--quick", action="store_true", help="less of everything, under a minute")
    parser.add_argument("--seed", type=int, default=1, help="decides which requests fail, and every pause")
    parser.add_argument("--json", type=Path, help="write the run to this file")
    arguments = parser.parse_args()
    placement, others_share = cores(), busy_share(_LISTEN_SECONDS)
    console = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
    settings = (QUICK if arguments.quick else FULL)._replace(seed=arguments.seed)
    raise_open_files()
    started_s = time.monotonic()
    try:
        results = measure(settings, placement, console)
    except RuntimeError as exc:
        console.print(str(exc), style="red", markup=False)
        return 1
    notes = remarks(settings, others_share)
    for table in sheets.tables(results):
        console.print(table)
    for note in notes:
        console.print(note, markup=False)
    for problem in results.problems:
        console.print(problem, style="red", markup=False)
    console.print(f"{time.monotonic() - started_s:.0f} s")
    if arguments.json:
        where = {
            "commit": revision(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": msgspec.to_builtins(describe(placement, others_share)),
            "settings": sheets.plain(settings),
            "remarks": notes,
        }
        arguments.json.write_text(json.dumps(where | sheets.document(results), indent=1) + "\n")
    return 1 if results.problems else 0


if __name__ == "__main__":
    sys.exit(main())
