"""Connections that are made for one request: what a client pays that keeps none, and whoever serves it.

Latency counts from before the connection is begun, so that it includes the handshake. The client closes first, as one
does that has what it wanted: the ports that wait for a while afterwards are the client's, and not the subject's. They
are what bounds a job: there are some 16,000 to 28,000, and a system gives one back after a second (Linux, on loopback)
or half a minute (macOS, twice `net.inet.tcp.msl`).
"""

from time import perf_counter

from bench.client import Connection
from bench.jobs import Churn, Report
from bench.loop import Loop, Metronome, Window

_LINGER_SECONDS_MAX = 5.0


class _Turnover:
    """Counts what was begun and what has ended; whatever fails closes its own connection."""

    def __init__(self, job: Churn, loop: Loop) -> None:
        self.begun = 0
        self.answered = 0
        self._job = job
        self._loop = loop
        loop.observer.on_done = self._close

    @property
    def spent(self) -> bool:
        """Whether no further connection may be made."""
        return self.begun >= self._job.connections_max

    @property
    def open(self) -> int:
        """How many are connecting, or wait for their answer."""
        return self.begun - self.answered - self._loop.observer.errors.total()

    def begin(self, intended_s: float) -> None:
        """Connect and ask, unless the job has had its share of connections."""
        if not self.spent:
            self.begun += 1
            self._loop.connect().ask(intended_s)

    def top_up(self) -> bool:
        """Begin as many as have ended; say whether that is over."""
        while self.open < self._job.connections and not self.spent:
            self.begin(perf_counter())
        return self.spent

    def _close(self, connection: Connection) -> None:
        self.answered += 1
        connection.close()


def run_churn(job: Churn, loop: Loop) -> Report:
    """Make connections for the window, or until there were as many as there may be; wait for those under way.

    `opened` is how many were made in all, also before the window and behind it.
    """
    turnover = _Turnover(job, loop)
    if job.period_us is None:
        report = _measure(job, loop, turnover)
    else:
        metronome = Metronome(loop, job.period_us, turnover.begin)
        try:
            report = _measure(job, loop, turnover, metronome)
        finally:
            metronome.close()
    report.opened = turnover.begun
    report.fail("unanswered at the end", turnover.open)
    return report


def _measure(job: Churn, loop: Loop, turnover: _Turnover, metronome: Metronome | None = None) -> Report:
    going_on = turnover.top_up if metronome is None else lambda: turnover.spent
    loop.run_until(perf_counter() + job.warmup_s, going_on)
    loop.observer.record = True
    window, before = Window(job), turnover.answered
    loop.run_until(perf_counter() + job.seconds, going_on)
    report = Report(requests_in_window=turnover.answered - before)
    window.close(report)
    if metronome is not None:
        metronome.stop()
    loop.run_until(perf_counter() + _LINGER_SECONDS_MAX, lambda: turnover.open == 0)
    loop.observer.record = False
    counted = loop.report()
    report.requests, report.errors = counted.requests, counted.errors
    report.latency_ms, report.late_ms = counted.latency_ms, counted.late_ms
    return report
