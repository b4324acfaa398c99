"""One JSON line per request, written off the hot path.

A finished request appends an `Entry` to a bounded queue: that is all it pays. A thread encodes what has gathered and
writes it, at most every `WRITE_SECONDS`; nothing wakes up while nothing is logged. When the writer cannot keep up (a
full disk, a stalled pipe) the newest entries are dropped and counted; requests are never held back and memory stays
bounded.

Rules of a line: one whole JSON object, never split by another worker's, no secrets (a key is its id), no query string,
long values cut. Several workers may share one file or pipe: a write is a batch of whole lines in one system call, which
appends atomically to a file, and to a pipe in pieces of at most PIPE_BUF (4096 bytes on Linux), which it does not mix.
"""

import errno
import os
import select
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from math import floor
from pathlib import Path

import msgspec
import trio

from adapters.usage import Usage
from engine.config import AccessLog as Target

WRITE_SECONDS = 0.1
BATCH_ENTRIES_MAX = 1000
"""How many lines one write may hold, which bounds the encoder's memory."""

TEXT_LENGTH_MAX = 512
"""Longer paths and names are cut, so that a line with a few attempts fits a pipe's PIPE_BUF."""

FLUSH_SECONDS_MAX = 2.0
"""How long a stopping worker waits for a stalled log before it gives up what is left."""

WRITABLE_SECONDS_MAX = 5.0

Write = Callable[[bytes], None]


def nowhere(_lines: bytes) -> None:
    """Write nothing: the log that is switched off."""


class AttemptEntry(msgspec.Struct, omit_defaults=True, gc=False):
    """One upstream attempt of a request: how long after the request it began, how long it took.

    `usage` is what one that lost has cost: its tokens are in nobody's bill.
    """

    provider: str
    model: str
    outcome: str
    status: int | None
    reused: bool
    offset_ms: float
    duration_ms: float
    usage: Usage | None = None


class Entry(msgspec.Struct, gc=False):
    """One request. `record` takes it over: it is not to be changed afterwards. `time` is in seconds since 1970.

    `model` is what the client asked for, `upstream_model` what the provider was asked for; None when the request did
    not get that far. `path` is without its query.
    """

    time: float | str
    request_id: str
    key: str | None
    method: str
    path: str
    surface: str
    model: str | None
    provider: str | None
    upstream_model: str | None
    status: int
    outcome: str
    bytes_in: int
    bytes_out: int
    stream: bool
    usage: Usage | None
    ttft_ms: float | None
    duration_ms: float
    attempts: list[AttemptEntry] = []


@dataclass(frozen=True, slots=True)
class AccessLogStatistics:
    """What became of the entries: written, dropped (never or not wholly written), still waiting."""

    waiting: int
    written_total: int
    dropped_total: int
    write_errors_total: int


class AccessLog:
    """A bounded queue of entries and the task that writes them. With `write=None` nothing is kept.

    `record` belongs to the worker's loop; the thread only takes from the other end of the deque.
    """

    __slots__ = ("_dropped", "_entries", "_entries_max", "_errors", "_limiter", "_lost", "_wake", "_write", "_written")

    def __init__(self, write: Write | None, *, entries_max: int) -> None:
        self._write = write or nowhere
        self._entries: deque[Entry] = deque()
        self._entries_max = entries_max
        self._limiter = trio.CapacityLimiter(1)
        self._wake: trio.Event | None = None
        self._dropped = 0
        # Counted by the thread; the two above by the loop, so no count is shared.
        self._written = 0
        self._lost = 0
        self._errors = 0

    def __repr__(self) -> str:
        return f"<AccessLog {self.statistics()}>"

    def record(self, entry: Entry) -> None:
        """Queue one entry, or count it as dropped when `entries_max` are waiting."""
        if self._write is nowhere:
            return
        if len(self._entries) >= self._entries_max:
            self._dropped += 1
            return
        self._entries.append(entry)
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def run(self) -> None:
        """Write what is recorded until cancelled; then write what is left, for at most `FLUSH_SECONDS_MAX`."""
        try:
            while True:
                if not self._entries:
                    self._wake = trio.Event()
                    await self._wake.wait()
                await trio.sleep(WRITE_SECONDS)
                await self._flush()
        finally:
            self._wake = None
            with trio.CancelScope(shield=True, deadline=trio.current_time() + FLUSH_SECONDS_MAX):
                await self._flush()
            self._dropped += len(self._entries)
            self._entries.clear()

    def statistics(self) -> AccessLogStatistics:
        """Return what became of the entries."""
        return AccessLogStatistics(
            waiting=len(self._entries),
            written_total=self._written,
            dropped_total=self._dropped + self._lost,
            write_errors_total=self._errors,
        )

    async def _flush(self) -> None:
        # A cancelled wait leaves the thread to finish its batch; the limiter keeps the next one behind it.
        while self._entries:
            await trio.to_thread.run_sync(self._write_batch, abandon_on_cancel=True, limiter=self._limiter)

    def _write_batch(self) -> None:
        entries = self._entries
        lines: list[bytes] = []
        while entries and len(lines) < BATCH_ENTRIES_MAX:
            line = encode(entries.popleft())
            if line is None:
                self._lost += 1
            else:
                lines.append(line)
        try:
            self._write(b"".join(lines))
        except OSError:
            self._errors += 1
            self._lost += len(lines)
        else:
            self._written += len(lines)


_encoder = msgspec.json.Encoder()


def encode(entry: Entry) -> bytes | None:
    """Return the line of an entry with its newline; None for text that JSON cannot hold (half a surrogate pair)."""
    if not isinstance(entry.time, str):
        entry.time = timestamp(entry.time)
    path, model = entry.path, entry.model
    if "?" in path or len(path) > TEXT_LENGTH_MAX:
        entry.path = path.partition("?")[0][:TEXT_LENGTH_MAX]
    if model is not None and len(model) > TEXT_LENGTH_MAX:
        entry.model = model[:TEXT_LENGTH_MAX]
    try:
        return _encoder.encode(entry) + b"\n"
    except UnicodeEncodeError:
        return None


def timestamp(seconds: float) -> str:
    """Return a moment as RFC 3339 in UTC with milliseconds: "2026-01-31T12:00:00.250Z"."""
    whole = floor(seconds)
    return _second(whole) + _FRACTIONS[floor((seconds - whole) * 1000)]


_FRACTIONS = tuple(f".{milliseconds:03d}Z" for milliseconds in range(1000))
"""The ends of all moments; filling digits up with zeros takes as long as the rest of a line."""


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    # Formatting a date takes longer than encoding a whole entry; a batch has few different seconds.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class FileSink:
    """Where lines go: a file, appended to, or standard output. Blocking; one thread at a time.

    A file that was renamed or removed (log rotation) is opened anew at the next write. After a write that failed half
    way the next one starts on a line of its own.
    """

    __slots__ = ("_descriptor", "_path", "_piece_bytes_max", "_torn")

    def __init__(self, path: Path | None) -> None:
        """Open `path`, or take standard output for None. Raises OSError."""
        self._path = path
        self._descriptor = -1
        self._piece_bytes_max = 0
        self._torn = False
        self._open()

    def write(self, lines: bytes) -> None:
        """Write whole lines. Raises OSError; then some may have been written, and none is written twice."""
        if self._path is not None:
            self._follow_rotation(self._path)
        if self._torn:
            self._write_all(b"\n")
            self._torn = False
        if not self._piece_bytes_max:
            self._write_all(lines)
            return
        for piece in pieces(lines, self._piece_bytes_max):
            self._write_all(piece)

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._path is not None and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        if self._path is None:
            if sys.stdout is None:
                raise OSError(errno.EBADF, "standard output is closed, and the access log should go there")
            self._descriptor = sys.stdout.fileno()
        else:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o640)
        whole = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._piece_bytes_max = 0 if whole else select.PIPE_BUF

    def _follow_rotation(self, path: Path) -> None:
        try:
            there = path.stat()
        except FileNotFoundError:
            there = None
        if self._descriptor >= 0:
            ours = os.fstat(self._descriptor)
            if there is not None and os.path.samestat(there, ours):
                return
            self.close()
        self._open()
        self._torn = False

    def _write_all(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                # Standard output may have been made non-blocking by whoever shares it.
                if not select.select([], [self._descriptor], [], WRITABLE_SECONDS_MAX)[1]:
                    self._torn = len(view) < len(content)
                    raise
            except OSError:
                self._torn = len(view) < len(content)
                raise


def pieces(lines: bytes, bytes_max: int) -> Iterator[bytes]:
    """Cut whole lines into pieces of whole lines, each as long as fits `bytes_max`; a longer line is a piece alone."""
    start = 0
    while len(lines) - start > bytes_max:
        end = lines.rfind(b"\n", start, start + bytes_max) + 1
        if not end:
            end = lines.find(b"\n", start) + 1
        if not end:
            break
        yield lines[start:end]
        start = end
    if start < len(lines):
        yield lines[start:]


def open_log(target: Target | Path, *, entries_max: int) -> AccessLog:
    """Return the log that the configuration asks for. Raises OSError when its file cannot be opened."""
    if target is Target.NONE:
        return AccessLog(None, entries_max=entries_max)
    return AccessLog(FileSink(target if isinstance(target, Path) else None).write, entries_max=entries_max)
