"""`python -m bench.money`: what it costs a request that somebody pays for it, and how fast the ledger takes it.

Two parts, in one run:

- CPU of the worker per unary request, three ways: without a store, with one and a key of the configuration (a row of
  the request log, no money), and with an account's key that has everything a key can have (wallet, caps of a day and a
  month, rates). All at one rate (`bench.measure` says why), who begins taking turns; beside it in a closed loop, each
  at its own rate. What was added is taken within each round. Where the system tells the threads of a process apart,
  it is shown how much is the worker's own thread: the rest is SQLite's and the journal's reader's, and no request
  waits for it;
- settlements (`bench.settlements`): how many a second the ledger takes.

The data directories are temporary ones. What only the engine can tell (the path of a request alone, the index of keys,
a slow disk) is measured by `python -m tests.engine.money_figures`. A request that failed makes the run fail, a missed
target is shown. `--quick` takes less than a minute, a full run about two.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.account import TOKEN, open_account
from bench.jobs import AnyJob, Paced, Report, Unary
from bench.machine import describe, revision
from bench.perform import perform
from bench.process import Cores, busy_share, cores, raise_open_files
from bench.samples import Samples, Spread, Verdict, spread
from bench.settlements import Load, settle
from bench.subjects import KEY, Subject, canned, priced, serving

ADDED_US_MAX = 40.0
SETTLEMENTS_PER_S_MIN = 20_000.0

PLAIN, LOGGED, CHARGED = WAYS = ("no store", "a store", "an account's key")

_WITHOUT_STORE = "[store]\nenabled = false\n"

_OPEN_LOAD = 0.5
_PERIOD_US_MIN = 250
_LISTEN_SECONDS = 1.0
_PIPED_COLUMNS = 120
_QUIET_SHARE_MAX = 0.05


class Settings(NamedTuple):
    """How long and how often."""

    rounds: int
    seconds: float
    settlements: Load
    warmup_s: float = 0.5
    connections: int = 32


QUICK = Settings(rounds=3, seconds=1.0, settlements=Load(rounds=3, batches=2))
FULL = Settings(rounds=7, seconds=2.5, settlements=Load(rounds=7, batches=5))


class Check(NamedTuple):
    """One figure; a target of None is none."""

    what: str
    unit: str
    figure: Spread
    target: str
    verdict: Verdict


# -- requests ----------------------------------------------------------------------------------------------------------


class Requests:
    """Loads two gateways three ways. `samples` hold CPU in us per request, latencies in ms."""

    def __init__(
        self,
        settings: Settings,
        gateways: tuple[Subject, Subject],
        upstream: Subject,
        *,
        perform: Callable[[AnyJob], Report],
        say: Callable[[str], None],
    ) -> None:
        """`gateways` are one without a store, and one with."""
        self.samples = Samples()
        self._settings = settings
        without, booking = gateways
        self._asked = {PLAIN: (without, KEY), LOGGED: (booking, KEY), CHARGED: (booking, TOKEN)}
        self._upstream = upstream
        self._perform = perform
        self._say = say

    def run(self) -> None:
        """Measure every round, after one that is not counted; the rate is half of what a worker can the dearest way."""
        self._say("first pass, not counted")
        for way in WAYS:
            self._closed(way)
        unary_us = max(values[-1] for values in self.samples.values["closed_cpu_us"].values())
        self.samples.unary_period_us = max(_PERIOD_US_MIN, round(unary_us / _OPEN_LOAD))
        for way in WAYS:
            self._paced(way)
        self.samples.clear()
        for number in range(self._settings.rounds):
            self._say(f"requests, round {number + 1} of {self._settings.rounds}")
            turn = number % len(WAYS)
            order = (*WAYS[turn:], *WAYS[:turn])
            for way in order:
                self._paced(way)
            for way in order:
                self._closed(way)

    def _paced(self, way: str) -> None:
        job = Paced(**self._common(way), period_us=self.samples.unary_period_us)
        subject = self._asked[way][0]
        before = own_seconds(subject.pids), all_seconds(subject.pids)
        report = self._ask(way, "paced", job)
        after = own_seconds(subject.pids), all_seconds(subject.pids)
        if before[0] is not None and after[0] is not None and after[1] > before[1]:
            share = (after[0] - before[0]) / (after[1] - before[1])
            self.samples.add("own_cpu_us", way, self.samples.values["paced_cpu_us"][way][-1] * share)
        if report.latency_ms is not None:
            self.samples.add("paced_p50_ms", way, report.latency_ms.p50)
            self.samples.add("paced_p99_ms", way, report.latency_ms.p99)

    def _closed(self, way: str) -> None:
        report = self._ask(way, "closed", Unary(**self._common(way), connections=self._settings.connections))
        if report.seconds:
            self.samples.add("closed_per_s", way, report.requests_in_window / report.seconds)

    def _ask(self, way: str, kind: str, job: AnyJob) -> Report:
        report = self._perform(job)
        self.samples.problems.extend(f"{way}, {kind}: {count} x {reason}" for reason, count in report.errors.items())
        if not report.requests_in_window:
            raise RuntimeError(f"{way}, {kind}: nothing was answered: {report.errors}")
        self.samples.add(f"{kind}_cpu_us", way, report.subject_cpu_s * 1e6 / report.requests_in_window)
        return report

    def _common(self, way: str) -> dict[str, Any]:
        subject, key = self._asked[way]
        return {
            "port": subject.port,
            "key": key,
            "subject": list(subject.pids),
            "upstream": list(self._upstream.pids),
            "seconds": self._settings.seconds,
            "warmup_s": self._settings.warmup_s,
        }


def own_seconds(pids: Sequence[int]) -> float | None:
    """Give the CPU time of the first threads of these processes; None where the system does not tell threads apart."""
    return _scheduled_seconds([f"/proc/{pid}/task/{pid}" for pid in pids])


def all_seconds(pids: Sequence[int]) -> float:
    """Give the CPU time of all their threads that live; 0 where the system does not tell threads apart."""
    tasks = [str(task) for pid in pids for task in Path(f"/proc/{pid}/task").glob("*")]
    return _scheduled_seconds(tasks) or 0.0


def _scheduled_seconds(tasks: Sequence[str]) -> float | None:
    """Sum the first field of `schedstat`: ns on a core, https://docs.kernel.org/scheduler/sched-stats.html."""
    total_ns = 0
    for task in tasks:
        try:
            total_ns += int(Path(task, "schedstat").read_text().split()[0])
        except OSError:
            return None
    return total_ns / 1e9


# -- the run -----------------------------------------------------------------------------------------------------------


def measure(settings: Settings, placement: Cores, console: Console) -> Samples:
    """Run both parts; raises RuntimeError when something does not start or nothing is answered."""
    with contextlib.ExitStack() as stack:
        status = stack.enter_context(console.status("starting"))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-money-")))
        data = directory / "data"
        trio.run(open_account, data)
        with contextlib.ExitStack() as running:
            upstream = running.enter_context(canned(placement))
            provider = priced(upstream.port)
            without = running.enter_context(serving(_WITHOUT_STORE + provider, placement)).subject
            booking = running.enter_context(serving(provider, placement, data=data)).subject
            asking = partial(perform, cores=placement)
            requests = Requests(settings, (without, booking), upstream, perform=asking, say=status.update)
            requests.run()
        trio.run(settle, settings.settlements, directory / "ledger.db", requests.samples, status.update)
    return requests.samples


def checks(samples: Samples) -> list[Check]:
    """Give every figure in the order in which they are read; what was not measured is left out."""
    found: list[Check] = []

    def add(what: str, unit: str, values: Sequence[float], target: str = "", kept: bool | None = None) -> None:
        figure = spread(values)
        if figure is not None:
            verdict = Verdict.UNKNOWN if kept is None else Verdict.OK if kept else Verdict.OVER
            found.append(Check(what, unit, figure, target, verdict))

    for measure_, title in (
        ("paced_cpu_us", "CPU per request, same rate"),
        ("own_cpu_us", "  of it the worker's own thread"),
        ("closed_cpu_us", "CPU per request, closed loop"),
    ):
        by_way = samples.values[measure_]
        for way in WAYS:
            add(f"{title}, {way}", "us", by_way[way])
        for way in (LOGGED, CHARGED):
            added = [ours - plain for ours, plain in zip(by_way[way], by_way[PLAIN], strict=False)]
            median = spread(added)
            judged = way == CHARGED and measure_ == "paced_cpu_us" and median is not None
            kept = median.median <= ADDED_US_MAX if judged and median is not None else None
            add(f"    added by {way}", "us", added, f"<= {ADDED_US_MAX:g} us" if judged else "", kept)
    for measure_, title in (("paced_p50_ms", "latency at that rate p50"), ("paced_p99_ms", "latency at that rate p99")):
        for way in WAYS:
            add(f"{title}, {way}", "ms", samples.values[measure_][way])
    settled = samples.values["settled_per_s"][""]
    rate = spread(settled)
    kept = rate.median >= SETTLEMENTS_PER_S_MIN if rate is not None else None
    add("settlements", "/s", settled, f">= {SETTLEMENTS_PER_S_MIN:,.0f} /s", kept)
    add("  per second of CPU", "/s", samples.values["settled_per_cpu_s"][""])
    return found


def table(found: Sequence[Check], title: str) -> Table:
    """Lay the figures out for a terminal."""
    shown = Table(title=title, title_justify="left")
    for column, justify in (("what", "left"), ("", "left"), ("figure", "right"), ("target", "left"), ("", "left")):
        shown.add_column(column, justify="right" if justify == "right" else "left", no_wrap=True)
    style = {Verdict.OK: "green", Verdict.OVER: "bold red", Verdict.UNKNOWN: ""}
    for what, unit, figure, target, verdict in found:
        digits = 0 if unit == "/s" else 2 if unit == "ms" else 1
        shown.add_row(what, unit, figure.text(digits), target, Text(verdict.value, style=style[verdict]))
    return shown


def main() -> int:
    """Run it; exit status 1 when a request failed or something did not start."""
    parser = argparse.ArgumentParser(prog="python -m bench.money", description="What accounts cost.")
    parser.add_argument("--quick", action="store_true", help="less of everything, under a minute")
    parser.add_argument("--json", type=Path, help="write the run to this file")
    arguments = parser.parse_args()
    placement, others_share = cores(), busy_share(_LISTEN_SECONDS)
    console = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
    settings = QUICK if arguments.quick else FULL
    raise_open_files()
    started_s = time.monotonic()
    try:
        samples = measure(settings, placement, console)
    except RuntimeError as exc:
        console.print(str(exc), style="red", markup=False)
        return 1
    found = checks(samples)
    console.print(table(found, f"{settings.rounds} rounds, median (lowest-highest)"))
    notes = [f"Same rate: a request each {samples.unary_period_us:,} us, open loop."]
    if others_share > _QUIET_SHARE_MAX:
        notes.append(f"The machine was not quiet: others used {others_share:.0%} of its cores before the run.")
    for note in notes:
        console.print(note, markup=False)
    for problem in samples.problems:
        console.print(problem, style="red", markup=False)
    console.print(f"{time.monotonic() - started_s:.0f} s")
    if arguments.json:
        document = {
            "commit": revision(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": msgspec.to_builtins(describe(placement, others_share)),
            "settings": settings._asdict()
            | {"settlements": settings.settlements._asdict(), "period_us": samples.unary_period_us},
            "figures": [
                check._asdict() | {"figure": check.figure._asdict(), "verdict": check.verdict.value} for check in found
            ],
            "remarks": notes,
            "problems": samples.problems,
            "samples": samples.values,
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if samples.problems else 0


if __name__ == "__main__":
    sys.exit(main())
