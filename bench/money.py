"""What it costs a request that somebody pays for it, and how fast the ledger takes it: the parts of scenario money.

Two parts, in one run:

- CPU of the worker per unary request, three ways: without a store, with one and a key of the configuration (a row of
  the request log, no money), and with an account's key that has everything a key can have (wallet, caps of a day and a
  month, rates). All at one rate (`bench.measure` says why), who begins taking turns; beside it in a closed loop, each
  at its own rate. Where the system tells the threads of a process apart, it is told how much is the worker's own
  thread: the rest is SQLite's and the journal's reader's, and no request waits for it;
- settlements (`bench.settlements`): how many a second the ledger takes.

The data directories are temporary ones. What only the engine can tell (the path of a request alone, the index of keys,
a slow disk) is measured by `python -m tests.engine.money_figures`.
"""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import trio

from bench.account import TOKEN, open_account
from bench.jobs import AnyJob, Paced, Report, Unary
from bench.measure import taking_turns
from bench.perform import perform
from bench.process import Cores
from bench.samples import Samples
from bench.settlements import Load, settle
from bench.subjects import KEY, Subject, canned, priced, serving

PLAIN, LOGGED, CHARGED = WAYS = ("no store", "a store", "an account's key")

_WITHOUT_STORE = "[store]\nenabled = false\n"
_OPEN_LOAD = 0.5
_PERIOD_US_MIN = 250


class Settings(NamedTuple):
    """How long and how often."""

    rounds: int
    seconds: float
    settlements: Load
    warmup_s: float = 0.5
    connections: int = 32


QUICK = Settings(rounds=1, seconds=0.1, warmup_s=0.05, settlements=Load(rounds=1, batches=1))
FULL = Settings(rounds=7, seconds=2.5, settlements=Load(rounds=7, batches=5))


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
            order = taking_turns(WAYS, number)
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


def measure(settings: Settings, placement: Cores, say: Callable[[str], None]) -> Samples:
    """Run both parts; raises RuntimeError when something does not start or nothing is answered."""
    say("starting")
    with tempfile.TemporaryDirectory(prefix="bench-money-") as temporary:
        directory = Path(temporary)
        data = directory / "data"
        trio.run(open_account, data)
        with contextlib.ExitStack() as running:
            upstream = running.enter_context(canned(placement))
            provider = priced(upstream.port)
            without = running.enter_context(serving(_WITHOUT_STORE + provider, placement)).subject
            booking = running.enter_context(serving(provider, placement, data=data)).subject
            asking = partial(perform, cores=placement)
            requests = Requests(settings, (without, booking), upstream, perform=asking, say=say)
            requests.run()
        trio.run(settle, settings.settlements, directory / "ledger.db", requests.samples, say)
    return requests.samples
