"""The slow reader: one client that takes a long stream in bursts, and what the subject's memory does meanwhile.

The upstream has the whole stream ready and writes whenever it is let, so that whatever the subject does not refuse to
take piles up in it. Between two bursts nothing is read, and the receive buffer is small: with the kernel's usual one of
several megabytes a whole burst would wait there, and the subject would hardly ever be blocked. A blocking socket, since
nothing else happens here. Memory is read before the request, at both ends of each pause, and after the stream.
"""

import socket
import time
from time import perf_counter

from bench.client import chat_request, request_bytes
from bench.jobs import Report, SlowReader
from bench.plan import LAST_CHUNK, events_in
from bench.process import rss_bytes

_READ_BYTES = 65_536
_RECEIVE_BUFFER_BYTES = 262_144
_SILENCE_SECONDS_MAX = 10.0
_WHOLE_SHARE = 0.9  # of the bytes asked for: whoever passes the stream on may frame it more tightly


class _Answer:
    """One answer, read without looking into it but for its status and its end."""

    def __init__(self, client: socket.socket) -> None:
        self.received = 0
        self.start = b""
        self._client = client
        self._tail = b""

    def burst(self, bytes_max: int, deadline_s: float) -> bool:
        """Read so many bytes; say whether more will come. Raises OSError when the peer is silent or has gone."""
        wanted = self.received + bytes_max
        while self.received < wanted and perf_counter() < deadline_s:
            data = self._client.recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError("closed before the end of the stream")
            self.start = self.start or data[:12]
            self.received += len(data)
            self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
            if self._tail == LAST_CHUNK or self.start != b"HTTP/1.1 200":
                return False
        return perf_counter() < deadline_s


def run_slow_reader(job: SlowReader) -> Report:
    """Ask for the stream and read it slowly, to its end or to the job's; a stream cut short is counted as failed."""
    canned = {"events": events_in(job.total_bytes)}
    headers, body = chat_request(key=job.key, model=job.model, canned=canned, more=job.headers)
    request = request_bytes(headers, body, job.path)
    readings = [rss_bytes(job.subject)]
    report, started_s = Report(rss_before_bytes=readings[0]), perf_counter()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        client.settimeout(_SILENCE_SECONDS_MAX)
        answer = _Answer(client)
        try:
            client.connect(("127.0.0.1", job.port))
            client.sendall(request)
            while answer.burst(job.burst_bytes, started_s + job.seconds):
                readings.append(rss_bytes(job.subject))
                time.sleep(job.pause_ms / 1000)
                readings.append(rss_bytes(job.subject))
        except OSError as exc:
            report.fail(f"{type(exc).__name__}: {exc}", 1)
    report.seconds = perf_counter() - started_s
    report.body_bytes = answer.received
    if answer.start and answer.start != b"HTTP/1.1 200":
        report.fail(f"status {answer.start[9:].decode('latin-1')}", 1)
    elif answer.start:
        report.opened = 1
        _judge(report, job)
    report.rss_after_bytes = rss_bytes(job.subject)
    report.rss_peak_bytes = max(*readings, report.rss_after_bytes)
    return report


def _judge(report: Report, job: SlowReader) -> None:
    """Count a stream that ended by itself as answered if it was whole; one that ran out of time is neither."""
    if report.errors or report.seconds >= job.seconds:
        return
    if report.body_bytes < job.total_bytes * _WHOLE_SHARE:
        report.fail("ended early", 1)
    else:
        report.requests = report.requests_in_window = 1
