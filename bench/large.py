"""Prompts of megabytes: requests that no socket's buffer holds, sent as fast as they are taken, beside small streams.

An upload goes out in pieces, one at each turn of the loop, so that it is neither held up by the streams beside it nor
holds them up in here. Memory is read every few milliseconds: between the last byte of a prompt and the first of its
answer, where it is at its highest, nothing happens on the client's side that could remind one to look.
"""

import selectors
from collections.abc import Callable
from time import perf_counter

from bench.client import Connection, State, chat_request, headers_for, request_bytes
from bench.jobs import Large, Report
from bench.loop import Loop, Window
from bench.plan import LAST_CHUNK
from bench.process import rss_bytes

_PIECE_BYTES = 262_144
_LOOK_SECONDS = 0.002
_LINGER_SECONDS_MAX = 60.0
_OPENING = b'"content": "'
_FILLER = b"The quick brown fox jumps over the lazy dog, and nobody knows how often it has done so by now.\\n"
_BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE


def large_request(job: Large) -> bytes:
    """Give a unary request, of which the last prompt is so many bytes longer than usual."""
    _, body = chat_request(key=job.key, model=job.model, canned=None)
    at = body.rindex(_OPENING) + len(_OPENING)
    filler = _FILLER * (job.prompt_bytes // len(_FILLER) + 1)
    # Cut in front of an escape, and never within one.
    body = body[:at] + filler[: job.prompt_bytes].rstrip(b"\\") + body[at:]
    return request_bytes(headers_for(job.key, body) | job.headers, body, job.path)


class Upload(Connection):
    """A connection whose request does not fit a socket's buffer."""

    __slots__ = ("_sent",)

    def _send(self) -> None:
        self.state = State.WAITING
        self._head = self._tail = b""
        self._left = None
        self._sent = 0
        self._selector.modify(self._socket, _BOTH, self._either)
        self._piece()

    def _either(self, mask: int) -> None:
        """Read first: who answers before it was told everything has refused, and reads no further."""
        if mask & selectors.EVENT_READ:
            self._readable(mask)
        if mask & selectors.EVENT_WRITE and self.state is State.WAITING:
            self._piece()

    def _piece(self) -> None:
        view = memoryview(self._request)
        try:
            self._sent += self._socket.send(view[self._sent : self._sent + _PIECE_BYTES])
        except BlockingIOError:
            return
        except OSError as exc:
            self._fail(f"send: {type(exc).__name__}")
            return
        if self._sent == len(view):
            self._selector.modify(self._socket, selectors.EVENT_READ, self._readable)

    def _first(self, data: bytes) -> None:
        """Read the answer, which peers may frame in chunks."""
        super()._first(data)
        if self.state is State.WAITING and self._left is None and self._head.endswith(LAST_CHUNK):
            self._done()


class _Uploads:
    """So many connections that ask again as soon as they are answered, for as long as they may."""

    def __init__(self, job: Large, loop: Loop) -> None:
        self.rss_peak_bytes = 0
        self._job = job
        self._loop = loop
        self._asking = True
        request = large_request(job)
        loop.observer.on_done = self._again
        self._connections = [Upload(loop.selector, job.port, request, loop.observer) for _ in range(job.uploads)]
        loop.connections += self._connections

    @property
    def busy(self) -> int:
        """How many are not answered yet."""
        return sum(connection.state in {State.CONNECTING, State.WAITING} for connection in self._connections)

    def run(self, seconds: float) -> None:
        """Ask again and again for so long, then wait for what is under way."""
        self._asking = True
        for connection in self._connections:
            if connection.state in {State.IDLE, State.CONNECTING}:
                connection.ask(perf_counter())
        until_s = perf_counter() + seconds
        self._turn(until_s, lambda: False)
        self._asking = False
        self._turn(perf_counter() + _LINGER_SECONDS_MAX, lambda: not self.busy)

    def _turn(self, until_s: float, finished: Callable[[], bool]) -> None:
        while not finished():
            now_s = perf_counter()
            if now_s >= until_s:
                return
            self._loop.run_until(min(until_s, now_s + _LOOK_SECONDS), finished)
            self.rss_peak_bytes = max(self.rss_peak_bytes, rss_bytes(self._job.subject))

    def _again(self, connection: Connection) -> None:
        if self._asking:
            connection.ask(perf_counter())


def run_large(job: Large, loop: Loop) -> Report:
    """Open the streams, send uploads for the warm-up, if there is one, and then for the window, each at least once.

    Only whole requests are in the window, and so its length is what they took. `body_bytes` is what prompts carried.
    """
    before = rss_bytes(job.subject)
    opened = loop.open_streams(job.streams)
    uploads = _Uploads(job, loop)
    if job.warmup_s:
        uploads.run(job.warmup_s)
    loop.observer.record = True
    window = Window(job)
    uploads.run(job.seconds)
    report = loop.report()
    window.close(report)
    loop.observer.record = False
    report.opened, report.requests_in_window = opened, report.requests
    report.body_bytes = report.requests * job.prompt_bytes
    report.fail("unanswered at the end", uploads.busy)
    loop.run_until(perf_counter() + job.idle_seconds)
    report.rss_before_bytes, report.rss_after_bytes = before, rss_bytes(job.subject)
    report.rss_peak_bytes = max(uploads.rss_peak_bytes, before, report.rss_after_bytes)
    return report
