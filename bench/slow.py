"""Slow readers: clients that take a long stream in bursts, and what the subject's memory does meanwhile.

The upstream has the whole stream ready and writes whenever it is let, so that whatever the subject does not refuse to
take piles up in it. Between two bursts nothing is read, and the receive buffer is small: with the kernel's usual one of
several megabytes a whole burst would wait there, and the subject would hardly ever be blocked. Each reader pauses for
itself, and all are read by one thread. Memory is read before the requests, at both ends of each pause, and after the
streams.
"""

import selectors
import socket
from time import perf_counter

from bench.client import chat_request, request_bytes
from bench.jobs import Report, SlowReader
from bench.plan import LAST_CHUNK, events_in
from bench.process import rss_bytes

_READ_BYTES = 65_536
_RECEIVE_BUFFER_BYTES = 262_144
_SILENCE_SECONDS_MAX = 10.0
_WHOLE_SHARE = 0.9  # of the bytes asked for: whoever passes the stream on may frame it more tightly
_OK = b"HTTP/1.1 200"


class _Reader:
    """One answer, read without looking into it but for its status and its end."""

    def __init__(self, job: SlowReader, request: bytes) -> None:
        self.received = 0
        self.start = b""
        self.failure: str | None = None
        self.over = False
        self.resumes_s: float | None = None
        """When its pause ends; None while it reads."""
        self.socket = socket.socket()
        self._burst_bytes = self._wanted = job.burst_bytes
        self._heard_s = perf_counter()
        self._tail = b""
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            self.socket.settimeout(_SILENCE_SECONDS_MAX)
            self.socket.connect(("127.0.0.1", job.port))
            self.socket.sendall(request)
            self.socket.setblocking(False)
        except OSError as exc:
            self._fail(f"{type(exc).__name__}: {exc}")

    def read(self) -> bool:
        """Read what is there; say whether that ended a burst, and so begins a pause."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as exc:
            self._fail(f"{type(exc).__name__}: {exc}")
            return False
        if not data:
            self._fail("closed before the end of the stream")
            return False
        self._heard_s = perf_counter()
        self.start = self.start or data[: len(_OK)]
        self.received += len(data)
        self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
        if self.start != _OK:
            self._fail(f"status {self.start[9:].decode('latin-1')}")
        elif self._tail == LAST_CHUNK:
            self.over = True
        return not self.over and self.received >= self._wanted

    def resume(self) -> None:
        """Begin the next burst."""
        self.resumes_s = None
        self._wanted = self.received + self._burst_bytes
        self._heard_s = perf_counter()

    def silent(self, now_s: float) -> bool:
        """End, and say so, when nothing came for too long in a burst."""
        if not self.over and self.resumes_s is None and now_s - self._heard_s > _SILENCE_SECONDS_MAX:
            self._fail(f"nothing came for {_SILENCE_SECONDS_MAX:g} s")
            return True
        return False

    def _fail(self, reason: str) -> None:
        self.failure, self.over = reason, True


class _Readers:
    """All of them on one selector; each is registered while it reads."""

    def __init__(self, job: SlowReader) -> None:
        canned = {"events": events_in(job.total_bytes)}
        headers, body = chat_request(key=job.key, model=job.model, canned=canned, more=job.headers)
        self.readings = [rss_bytes(job.subject)]
        self._job = job
        self._selector = selectors.DefaultSelector()
        self.all: list[_Reader] = []
        request = request_bytes(headers, body, job.path)
        for _ in range(job.readers):
            reader = _Reader(job, request)
            self.all.append(reader)
            if not reader.over:
                self._selector.register(reader.socket, selectors.EVENT_READ, reader)

    def run(self, until_s: float) -> None:
        """Read until all are over, or that moment has come."""
        while not all(reader.over for reader in self.all) and (now_s := perf_counter()) < until_s:
            paused = [reader for reader in self.all if reader.resumes_s is not None and not reader.over]
            waits_s = (
                min((reader.resumes_s or now_s for reader in paused), default=now_s + _SILENCE_SECONDS_MAX) - now_s
            )
            for key, _ in self._selector.select(max(0.0, min(waits_s, until_s - now_s))):
                self._turn(key.data)
            now_s = perf_counter()
            for reader in paused:
                if reader.resumes_s is not None and reader.resumes_s <= now_s:
                    self.readings.append(rss_bytes(self._job.subject))
                    reader.resume()
                    self._selector.register(reader.socket, selectors.EVENT_READ, reader)
            for reader in self.all:
                if reader.silent(now_s):
                    self._selector.unregister(reader.socket)

    def close(self) -> None:
        """Close every connection."""
        self._selector.close()
        for reader in self.all:
            reader.socket.close()

    def _turn(self, reader: _Reader) -> None:
        pauses = reader.read()
        if pauses:
            self.readings.append(rss_bytes(self._job.subject))
            reader.resumes_s = perf_counter() + self._job.pause_ms / 1000
        if pauses or reader.over:
            self._selector.unregister(reader.socket)


def run_slow_reader(job: SlowReader) -> Report:
    """Ask for the streams and read them slowly, to their ends or to the job's; one cut short is counted as failed."""
    started_s = perf_counter()
    readers = _Readers(job)
    report = Report(rss_before_bytes=readers.readings[0])
    try:
        readers.run(started_s + job.seconds)
        report.seconds = perf_counter() - started_s
        for reader in readers.all:
            report.body_bytes += reader.received
            report.opened += reader.start == _OK
            _judge(report, job, reader)
    finally:
        readers.close()
    report.rss_after_bytes = rss_bytes(job.subject)
    report.rss_peak_bytes = max(*readers.readings, report.rss_after_bytes)
    return report


def _judge(report: Report, job: SlowReader, reader: _Reader) -> None:
    """Count a stream that ended by itself as answered if it was whole; one that ran out of time is neither."""
    if reader.failure is not None:
        report.fail(reader.failure, 1)
    elif reader.over and reader.received < job.total_bytes * _WHOLE_SHARE:
        report.fail("ended early", 1)
    elif reader.over:
        report.requests += 1
        report.requests_in_window += 1
