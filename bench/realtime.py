"""What the gateway adds to a realtime session, and what a thousand of them hold: the parts of scenario realtime.

Three parts, in one run. Sessions go straight to an upstream that answers each frame of sound with a small one
(`bench.realtime_echo`), through the gateway with a key of its configuration, and with an account's key, taking turns:

- one-way latency of frames at the cadence of speech, a frame of 20 ms every 20 ms in each session, both directions for
  themselves;
- CPU of the worker per frame in that time: of one that is relayed to the upstream together with its answer, and, where
  none is answered, of the first alone;
- a thousand sessions that say nothing, in a fresh gateway: memory of each, CPU of all while they idle, and whether each
  still has its frame answered at the end.

The subject has one core for itself where there are two; upstream and load share the other, and how busy they were is
kept, and how long the subject waited for its core, so that it can be said when latencies are not to be believed. The
data directories are temporary ones.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trio

from bench.account import TOKEN, open_account
from bench.measure import taking_turns
from bench.process import Cores, announcement, placed, running
from bench.realtime_load import AnyRealtimeJob, Cadence, Idle, RealtimeReport
from bench.samples import Samples
from bench.subjects import DIRECT, KEY, Subject, serving

LOGGED, CHARGED = RELAYED = ("a key of the file", "an account's key")
WAYS = (DIRECT, *RELAYED)

_PROVIDER = """
[providers.canned]
base_url = "http://127.0.0.1:{port}/v1"
models = ["canned"]
sessions = ["realtime"]

[prices.canned]
input = 1
output = 2
"""
_FILES_SPARE = 256
_JOB_SECONDS_SPARE = 120.0

Perform = Callable[[AnyRealtimeJob], RealtimeReport]


class Settings(NamedTuple):
    """How much, how long and how often. `idle_seconds` of a full run see every peer pinged once."""

    rounds: int
    seconds: float
    idle_rounds: int
    idle_seconds: float
    sessions: int = 20
    idle_sessions: int = 1_000
    interval_ms: float = 20.0
    warmup_s: float = 0.3
    idle_ways: tuple[str, ...] = RELAYED
    unanswered: bool = True


QUICK = Settings(
    rounds=1,
    seconds=0.15,
    warmup_s=0.05,
    idle_rounds=1,
    idle_seconds=0.2,
    idle_sessions=100,
    idle_ways=(CHARGED,),
    unanswered=False,
)
FULL = Settings(rounds=7, seconds=4.0, idle_rounds=2, idle_seconds=25.0)


def perform(job: AnyRealtimeJob, cores: Cores) -> RealtimeReport:
    """Run one job in a process of its own; raises subprocess.TimeoutExpired when it does not end by itself."""
    with placed(cores.others):
        ended = subprocess.run(
            [sys.executable, "-m", "bench.realtime_load"],
            input=msgspec.json.encode(job),
            stdout=subprocess.PIPE,
            check=True,
            timeout=job.seconds + _JOB_SECONDS_SPARE,
        )
    return msgspec.json.decode(ended.stdout, type=RealtimeReport)


@contextmanager
def echo(cores: Cores) -> Iterator[Subject]:
    """Run the upstream; going straight to it is what `direct` means."""
    command = [sys.executable, "-m", "bench.realtime_echo", "--follow-stdin"]
    with running(command, on=cores.others, piped=True) as process:
        yield Subject(DIRECT, announcement(process)["port"], (process.pid,))


@contextmanager
def relaying(upstream: Subject, cores: Cores) -> Iterator[Subject]:
    """Run a gateway in front of it, with an account of its own; raises RuntimeError as `serving` does."""
    with tempfile.TemporaryDirectory(prefix="bench-realtime-") as directory:
        data = Path(directory) / "data"
        trio.run(open_account, data)
        with serving(_PROVIDER.format(port=upstream.port), cores, data=data) as served:
            yield served.subject


def waited_seconds(pids: Sequence[int]) -> float:
    """Give how long these processes were ready to run and others had their core; 0 where the system does not tell.

    The second field of `schedstat`, https://docs.kernel.org/scheduler/sched-stats.html, of the first threads.
    """
    total_ns = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total_ns += int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    return total_ns / 1e9


def within_limits(settings: Settings, files_max: int, say: Callable[[str], None]) -> Settings:
    """Hold no more sessions than a gateway, with two sockets each, may open here."""
    most = (files_max - _FILES_SPARE) // 2
    if settings.idle_sessions <= most:
        return settings
    say(f"The limit of {files_max:,} open files allows {most:,} sessions: holding those instead.")
    return settings._replace(idle_sessions=most)


class Sessions:
    """Measures sessions the three ways. `samples` hold latencies in ms, CPU in us per frame, memory in KB a session."""

    def __init__(
        self, settings: Settings, upstream: Subject, *, perform: Perform, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.samples = Samples()
        self._settings = settings
        self._upstream = upstream
        self._perform = perform
        self._say = say

    def speak(self, gateway: Subject) -> None:
        """Measure every round at the cadence of speech, after one that is not counted."""
        self._say("first pass, not counted")
        for way in WAYS:
            self._answered(gateway, way)
        if self._settings.unanswered:
            self._unanswered(gateway)
        self.samples.clear()
        for number in range(self._settings.rounds):
            self._say(f"speech, round {number + 1} of {self._settings.rounds}")
            for way in taking_turns(WAYS, number):
                self._answered(gateway, way)
            if self._settings.unanswered:
                self._unanswered(gateway)

    def idle(self, start: Callable[[], contextlib.AbstractContextManager[Subject]]) -> None:
        """Hold sessions open through a fresh gateway each time: a heap does not shrink back."""
        for number in range(self._settings.idle_rounds):
            for way in self._settings.idle_ways:
                self._say(f"idle sessions with {way}, {number + 1} of {self._settings.idle_rounds}")
                with start() as gateway:
                    self._idle(gateway, way)

    def _answered(self, gateway: Subject, way: str) -> None:
        job = self._cadence(gateway, way, answered=True)
        report = self._ask(way, "speech", job)
        for name, times in (("up", report.up_ms), ("down", report.down_ms)):
            if times is None:
                raise RuntimeError(f"{way}: no frame was answered: {report.errors}")
            self.samples.add(f"{name}_p50_ms", way, times.p50)
            self.samples.add(f"{name}_p99_ms", way, times.p99)
        self._pressed(way, report)
        if way != DIRECT:
            self.samples.add("pair_cpu_us", way, report.subject_cpu_s * 1e6 / report.frames)
            self.samples.add("cpu_share", way, report.subject_cpu_s / report.seconds)

    def _unanswered(self, gateway: Subject) -> None:
        report = self._ask(LOGGED, "speech, unanswered", self._cadence(gateway, LOGGED, answered=False))
        if not report.frames:
            raise RuntimeError(f"{LOGGED}: no frame was sent: {report.errors}")
        self.samples.add("up_cpu_us", LOGGED, report.subject_cpu_s * 1e6 / report.frames)

    def _idle(self, gateway: Subject, way: str) -> None:
        settings = self._settings
        job = Idle(**self._common(gateway, way), sessions=settings.idle_sessions, seconds=settings.idle_seconds)
        report = self._ask(way, "idle", job)
        if not report.opened:
            raise RuntimeError(f"{way}: no session was opened: {report.errors}")
        grown = (report.rss_after_bytes, report.rss_peak_bytes, report.rss_closed_bytes)
        for name, resident in zip(("idle", "spoken", "closed"), grown, strict=True):
            self.samples.add(f"{name}_kb", way, (resident - report.rss_before_bytes) / 1e3 / report.opened)
        self.samples.add("before_mb", way, report.rss_before_bytes / 1e6)
        self.samples.add("opening_cpu_us", way, report.opening_cpu_s * 1e6 / report.opened)
        self.samples.add("opening_per_s", way, report.opened / report.opening_s)
        self.samples.add("idle_cpu_share", way, report.subject_cpu_s / report.seconds)
        self.samples.add("idle_answers", way, report.answers)
        self.samples.add("idle_pings", way, report.pings)

    def _cadence(self, gateway: Subject, way: str, *, answered: bool) -> Cadence:
        settings = self._settings
        return Cadence(
            **self._common(gateway, way),
            sessions=settings.sessions,
            interval_ms=settings.interval_ms,
            seconds=settings.seconds,
            answered=answered,
        )

    def _common(self, gateway: Subject, way: str) -> dict[str, Any]:
        subject = self._upstream if way == DIRECT else gateway
        return {
            "port": subject.port,
            "key": TOKEN if way == CHARGED else KEY,
            "subject": list(subject.pids),
            "upstream": [] if way == DIRECT else list(self._upstream.pids),
            "warmup_s": self._settings.warmup_s,
        }

    def _ask(self, way: str, kind: str, job: AnyRealtimeJob) -> RealtimeReport:
        waited_s = waited_seconds(job.subject)
        report = self._perform(job)
        if isinstance(job, Cadence) and report.seconds:
            self.samples.add("waited_share", way, (waited_seconds(job.subject) - waited_s) / report.seconds)
        self.samples.problems.extend(f"{way}, {kind}: {count} x {reason}" for reason, count in report.errors.items())
        return report

    def _pressed(self, way: str, report: RealtimeReport) -> None:
        """Note how hard the bench itself had to work; going direct, the upstream is the subject."""
        own_s = report.load_cpu_s + (report.subject_cpu_s if way == DIRECT else report.upstream_cpu_s)
        self.samples.add("bench_share", way, own_s / report.seconds)
        if report.late_ms is not None:
            self.samples.add("late_p99_ms", way, report.late_ms.p99)


def measure(settings: Settings, placement: Cores, say: Callable[[str], None]) -> Samples:
    """Run all parts; raises RuntimeError when something does not start or nothing is answered."""
    say("starting")
    with echo(placement) as upstream:
        sessions = Sessions(settings, upstream, perform=partial(perform, cores=placement), say=say)
        start = partial(relaying, upstream, placement)
        with start() as gateway:
            sessions.speak(gateway)
        sessions.idle(start)
    return sessions.samples
