"""The load generator's machinery: one selector, the window in which things count, the clock of an open loop.

What a job reports is taken between two readings of a window; connections report to an observer that counts only while
the window is open. Everything here ends by a deadline.
"""

import selectors
import signal
import socket
import time
from collections.abc import Callable
from time import perf_counter

from bench import asking
from bench.client import CANNED_MARKS, Connection, Observer, chat_request, request_bytes
from bench.jobs import Job, Report, quantiles
from bench.process import cpu_seconds

_OPEN_SECONDS_MAX = 60.0
_LINGER_SECONDS_MAX = 5.0
_OPENING_MAX = 200
_WINDOWED = ("seconds", "requests_in_window", "subject_cpu_s", "beside_cpu_s", "upstream_cpu_s", "load_cpu_s")


class Window:
    """CPU time of everybody between two readings."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._started_s = perf_counter()
        self._before = self._read()

    def _read(self) -> tuple[float, float, float, float]:
        pids = (self._job.subject, self._job.beside, self._job.upstream)
        subject, beside, upstream = map(cpu_seconds, pids)
        return subject, beside, upstream, time.process_time()

    def close(self, report: Report) -> None:
        """Take the second reading, into the report."""
        after = self._read()
        report.seconds = perf_counter() - self._started_s
        report.subject_cpu_s, report.beside_cpu_s, report.upstream_cpu_s, report.load_cpu_s = (
            now - before for now, before in zip(after, self._before, strict=True)
        )


class Loop:
    """The selector, the job's connections, and the observer they report to."""

    def __init__(self, job: Job, canned: dict[str, object] | None) -> None:
        self.selector = selectors.DefaultSelector()
        self.observer = Observer()
        self.connections: list[Connection] = []
        self._port = job.port
        if job.client is None:
            headers, body = chat_request(key=job.key, model=job.model, canned=canned, more=job.headers)
            self._request = request_bytes(headers, body, job.path)
            self._marks = CANNED_MARKS
        else:
            stream = canned is not None
            self._request = asking.wire(job.client, key=job.key, model=job.model, stream=stream)
            self._marks = asking.marks(job.client)

    def connect(self) -> Connection:
        """Begin a connection."""
        connection = Connection(self.selector, self._port, self._request, self.observer, self._marks)
        self.connections.append(connection)
        return connection

    def run_until(self, deadline_s: float, finished: Callable[[], bool] = lambda: False) -> bool:
        """Serve callbacks until `finished`, or the deadline; say whether it was finished."""
        while not finished():
            left_s = deadline_s - perf_counter()
            for key, mask in self.selector.select(max(0.0, left_s)):
                key.data(mask)
            if left_s <= 0:
                return finished()
        return True

    def open_streams(self, count: int) -> int:
        """Open so many streams, a bounded number at a time, each up to its first content; return how many did."""
        content = 0
        pending = count

        def opened(_: Connection) -> None:
            nonlocal content
            content += 1
            open_more()

        def open_more() -> None:
            nonlocal pending
            while pending and count - pending - content - self.observer.errors.total() < _OPENING_MAX:
                pending -= 1
                self.connect().ask(perf_counter())

        self.observer.on_content = opened
        open_more()
        self.run_until(perf_counter() + _OPEN_SECONDS_MAX, lambda: content + self.observer.errors.total() >= count)
        self.observer.on_content = None
        return content

    def report(self) -> Report:
        """Give what the observer has seen."""
        observer = self.observer
        return Report(
            requests=observer.requests,
            events=observer.events,
            errors=dict(observer.errors),
            latency_ms=quantiles(observer.latencies),
            ttft_ms=quantiles(observer.first_contents),
            gap_ms=quantiles(observer.gaps),
            late_ms=quantiles(observer.lates),
        )

    def close(self) -> None:
        """Close every connection at once."""
        for connection in self.connections:
            connection.close()
        self.selector.close()

    def measure(
        self, job: Job, *, linger: Callable[[], bool] | None = None, linger_seconds_max: float = _LINGER_SECONDS_MAX
    ) -> Report:
        """Run the warm-up and the window; `linger` is waited for, unmeasured, after it."""
        self.run_until(perf_counter() + job.warmup_s)
        self.observer.record = True
        window = Window(job)
        self.run_until(perf_counter() + job.seconds)
        closing = Report(requests_in_window=self.observer.requests)
        window.close(closing)
        if linger is not None:
            self.run_until(perf_counter() + linger_seconds_max, linger)
        self.observer.record = False
        report = self.report()
        for name in _WINDOWED:
            setattr(report, name, getattr(closing, name))
        return report


class Metronome:
    """Calls `beat` with each intended time, a fixed period apart, until stopped; late beats are caught up, not skipped.

    A selector's timeout is rounded up to a millisecond, which would be most of what is measured: the beat comes from
    the interval timer, whose signal makes the wake-up socket readable.
    """

    def __init__(self, loop: Loop, period_us: int, beat: Callable[[float], None]) -> None:
        self._beat = beat
        self._period_s = period_us / 1e6
        self._running = True
        self._wakeup, sender = socket.socketpair()
        for end in (self._wakeup, sender):
            end.setblocking(False)
        self._sender = sender
        self._selector = loop.selector
        self._observer = loop.observer
        loop.selector.register(self._wakeup, selectors.EVENT_READ, self._tick)
        self._handler_before = signal.signal(signal.SIGALRM, lambda *_: None)
        signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        self._next_s = perf_counter() + self._period_s
        signal.setitimer(signal.ITIMER_REAL, self._period_s, self._period_s)

    def stop(self) -> None:
        """Beat no more; idempotent."""
        self._running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(-1)

    def close(self) -> None:
        """Stop, and leave the process's signals and the selector as they were."""
        self.stop()
        signal.signal(signal.SIGALRM, self._handler_before)
        self._selector.unregister(self._wakeup)
        self._wakeup.close()
        self._sender.close()

    def _tick(self, _: int) -> None:
        self._wakeup.recv(4096)
        now_s = perf_counter()
        while self._running and self._next_s <= now_s:
            if self._observer.record:
                self._observer.lates.append(perf_counter() - self._next_s)
            self._beat(self._next_s)
            self._next_s += self._period_s
