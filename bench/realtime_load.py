"""The load of realtime: sessions that send 20 ms of sound every 20 ms, or nothing. One job a process, from stdin.

    echo '{"kind": "cadence", "port": 8080, "key": "sk-bench", "sessions": 20}' | python -m bench.realtime_load

The rules are `bench.load`'s: loopback only, every job ends by itself, the subject's CPU time is read with the counts it
is divided by, whatever failed is counted. A frame's way is timed from the moment it is written to the moment it is read
at the other end, in each direction; how late the load itself was is told beside it.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic_ns, perf_counter

import msgspec

from bench.jobs import Job, Quantiles, Report, quantiles
from bench.loop import Loop, Metronome, Window
from bench.process import cpu_seconds, raise_open_files, rss_bytes
from bench.realtime_client import Session, State, Witness
from bench.realtime_frames import ECHO, QUIET

_OPENING_MAX = 100
_OPEN_SECONDS_MAX = 60.0
_LINGER_SECONDS_MAX = 10.0
_ANSWER_PERIOD_US = 2_000


class Cadence(Job, tag="cadence", frozen=True):
    """So many sessions, each sending a frame every interval. Unless `answered`, only the last one of each is."""

    sessions: int = 20
    interval_ms: float = 20.0
    answered: bool = True


class Idle(Job, tag="idle", frozen=True):
    """So many sessions that say nothing for the length of the window, and then one frame each."""

    sessions: int = 1_000


AnyRealtimeJob = Cadence | Idle


class RealtimeReport(Report, kw_only=True):
    """What sessions saw. `up_ms` are the ways to the upstream, `down_ms` those back, `late_ms` the load's own delays.

    `frames` are those sent in the window. Memory is read before the first session, open and idle, after a frame of each
    (`rss_peak_bytes`), and when all are closed.
    """

    frames: int = 0
    answers: int = 0
    pings: int = 0
    up_ms: Quantiles | None = None
    down_ms: Quantiles | None = None
    late_ms: Quantiles | None = None
    opening_s: float = 0.0
    opening_cpu_s: float = 0.0
    rss_closed_bytes: int = 0


class Load:
    """One job's sessions."""

    def __init__(self, job: Cadence | Idle) -> None:
        self.witness = Witness()
        self.sessions: list[Session] = []
        self._job = job
        self._loop = Loop(job, None)

    def run(self) -> RealtimeReport:
        """Do it; then every session is closed."""
        job, report = (
            self._job,
            RealtimeReport(tool="bench.realtime_load", rss_before_bytes=rss_bytes(self._job.subject)),
        )
        try:
            self._open(report)
            if isinstance(job, Cadence):
                self._speak(job, report)
            else:
                self._hold(job, report)
            self._leave(report)
        finally:
            for session in self.sessions:
                session.close()
            self._loop.close()
        witness = self.witness
        report.answers, report.pings = witness.answers, witness.pings
        report.up_ms, report.down_ms = (
            quantiles([each / 1e9 for each in times]) for times in (witness.up_ns, witness.down_ns)
        )
        report.late_ms = quantiles(witness.late_s)
        for reason, count in witness.errors.items():
            report.fail(reason, count)
        return report

    def _open(self, report: RealtimeReport) -> None:
        witness, wanted = self.witness, self._job.sessions

        def open_more() -> None:
            while (
                len(self.sessions) < wanted
                and len(self.sessions) - witness.opened - witness.errors.total() < _OPENING_MAX
            ):
                self.sessions.append(Session(self._loop.selector, self._job, witness))

        began_s, cpu_s = perf_counter(), cpu_seconds(self._job.subject)
        witness.on_open = open_more
        open_more()
        done = began_s + _OPEN_SECONDS_MAX
        self._loop.run_until(done, lambda: witness.opened + witness.errors.total() >= wanted)
        report.opened = witness.opened
        report.opening_s, report.opening_cpu_s = perf_counter() - began_s, cpu_seconds(self._job.subject) - cpu_s
        report.fail("not opened", wanted - witness.opened - witness.errors.total())

    @contextmanager
    def _window(self, report: RealtimeReport) -> Iterator[None]:
        """Count what happens in the block."""
        witness = self.witness
        sent = witness.sent
        window = Window(self._job)
        witness.from_ns = monotonic_ns()
        yield
        witness.until_ns = monotonic_ns()
        window.close(report)
        report.frames = witness.sent - sent

    def _speak(self, job: Cadence, report: RealtimeReport) -> None:
        word = ECHO if job.answered else QUIET
        with self._beating(round(job.interval_ms * 1000 / job.sessions), lambda: word):
            self._loop.run_until(perf_counter() + job.warmup_s)
            with self._window(report):
                self._loop.run_until(perf_counter() + job.seconds)
        if not job.answered:
            for session in self.sessions:
                session.say(ECHO)
        self._await_answers(report)

    def _hold(self, job: Idle, report: RealtimeReport) -> None:
        self._loop.run_until(perf_counter() + job.warmup_s)
        with self._window(report):
            self._loop.run_until(perf_counter() + job.seconds)
        report.rss_after_bytes = rss_bytes(job.subject)
        before = self.witness.sent
        with self._beating(
            _ANSWER_PERIOD_US, lambda: ECHO if self.witness.sent - before < len(self.sessions) else None
        ):
            lasts_s = len(self.sessions) * _ANSWER_PERIOD_US / 1e6
            self._loop.run_until(
                perf_counter() + lasts_s + _LINGER_SECONDS_MAX,
                lambda: self.witness.answers + self.witness.errors.total() >= len(self.sessions),
            )
        self._await_answers(report)
        report.rss_peak_bytes = rss_bytes(job.subject)

    @contextmanager
    def _beating(self, period_us: int, word: Callable[[], bytes | None]) -> Iterator[None]:
        """Let the sessions take turns, each speaking when the word is given at its beat."""
        turn = 0

        def beat(intended_s: float) -> None:
            nonlocal turn
            said = word()
            if said is None:
                return
            if self.witness.counts:
                self.witness.late_s.append(perf_counter() - intended_s)
            self.sessions[turn % len(self.sessions)].say(said)
            turn += 1

        metronome = Metronome(self._loop, period_us, beat)
        try:
            yield
        finally:
            metronome.close()

    def _await_answers(self, report: RealtimeReport) -> None:
        def answered() -> bool:
            return not any(session.waits for session in self.sessions)

        self._loop.run_until(perf_counter() + _LINGER_SECONDS_MAX, answered)
        report.fail("not answered at the end", sum(session.waits for session in self.sessions))

    def _leave(self, report: RealtimeReport) -> None:
        for session in self.sessions:
            session.leave()

        def left() -> bool:
            return all(session.state is State.CLOSED for session in self.sessions)

        self._loop.run_until(perf_counter() + _LINGER_SECONDS_MAX, left)
        report.fail("not closed at the end", sum(session.state is not State.CLOSED for session in self.sessions))
        if isinstance(self._job, Idle):
            time.sleep(min(1.0, self._job.seconds))  # the subject's other halves close behind ours
            report.rss_closed_bytes = rss_bytes(self._job.subject)


def main() -> None:
    """Run the job on stdin."""
    raise_open_files()
    gc.disable()  # its pauses would count as the subject's
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=AnyRealtimeJob)
    sys.stdout.buffer.write(msgspec.json.encode(Load(job).run()) + b"\n")


if __name__ == "__main__":
    main()
