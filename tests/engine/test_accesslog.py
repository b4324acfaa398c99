"""The access log: whole lines, nothing secret, nothing waits, nothing is lost without being counted."""

import errno
import json
import os
import select
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.usage import Usage
from engine import accesslog
from engine.accesslog import AccessLog, AttemptEntry, Entry, FileSink, encode, open_log, pieces
from engine.config import AccessLog as Target


def entry(number: int = 0, *, path: str = "/v1/chat/completions", model: str | None = "model-a") -> Entry:
    return Entry(
        time=1_700_000_000.25,
        request_id=f"req_{number}",
        key="team-a",
        method="POST",
        path=path,
        surface="chat",
        model=model,
        provider="provider-a",
        upstream_model="model-a-2024",
        status=200,
        outcome="ok",
        bytes_in=120,
        bytes_out=3400,
        stream=True,
        usage=Usage(input_tokens=10, output_tokens=7),
        ttft_ms=41.5,
        duration_ms=812.125,
        attempts=[AttemptEntry("provider-a", "model-a-2024", "ok", 200, reused=True, offset_ms=0.0, duration_ms=811.0)],
    )


class Kept:
    """A writer that keeps what it is given, and does first what it is told."""

    def __init__(self) -> None:
        self.written = b""
        self.batches = 0
        self.errors: list[OSError] = []

    def __call__(self, lines: bytes) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.batches += 1
        self.written += lines

    @property
    def ids(self) -> list[str]:
        return [json.loads(line)["request_id"] for line in self.written.splitlines()]


async def written(log: AccessLog) -> None:
    """Let the log's task and its threads do what they have to do; virtual time, so nothing is waited for."""
    while log.statistics().waiting:
        await trio.sleep(accesslog.WRITE_SECONDS)


# -- lines -------------------------------------------------------------------------------------------------------------


def test_a_line_tells_everything_about_a_request() -> None:
    line = encode(entry(7))
    assert line is not None
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "request_id": "req_7",
        "key": "team-a",
        "method": "POST",
        "path": "/v1/chat/completions",
        "surface": "chat",
        "model": "model-a",
        "provider": "provider-a",
        "upstream_model": "model-a-2024",
        "status": 200,
        "outcome": "ok",
        "bytes_in": 120,
        "bytes_out": 3400,
        "stream": True,
        "usage": {"input_tokens": 10, "output_tokens": 7},
        "ttft_ms": 41.5,
        "duration_ms": 812.125,
        "attempts": [
            {
                "provider": "provider-a",
                "model": "model-a-2024",
                "outcome": "ok",
                "status": 200,
                "reused": True,
                "offset_ms": 0.0,
                "duration_ms": 811.0,
            }
        ],
    }


@given(milliseconds=st.integers(0, 4_000_000_000_000))
@settings(deadline=None)
def test_times_are_those_of_the_standard_library(milliseconds: int) -> None:
    text = accesslog.timestamp(milliseconds / 1000 + 0.0004)
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    assert text == expected.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("query", ["?key=sk-secret", "?a=secret?key=sk-secret", "?" + "secret" * 1000])
def test_query_strings_are_never_written(query: str) -> None:
    line = encode(entry(path="/v1/models" + query))
    assert line is not None
    assert json.loads(line)["path"] == "/v1/models"
    assert b"secret" not in line


@settings(deadline=None)
@given(text=st.text())
def test_no_text_breaks_a_line(text: str) -> None:
    line = encode(entry(path=text, model=text))
    if any("\ud800" <= character <= "\udfff" for character in text[: accesslog.TEXT_LENGTH_MAX]):
        assert line is None
    else:
        assert line is not None
        assert line.count(b"\n") == 1
        assert json.loads(line)["model"] == text[: accesslog.TEXT_LENGTH_MAX]


def test_long_texts_are_cut_so_that_a_pipe_takes_a_line_whole() -> None:
    line = encode(entry(path="/" * 8000, model="m" * 8000))
    assert line is not None
    assert len(line) < 4096


@settings(deadline=None)
@given(lines=st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"") + b"\n")), size=st.integers(1, 60))
def test_pieces_are_whole_lines_and_short_ones_fit(lines: list[bytes], size: int) -> None:
    cut = list(pieces(b"".join(lines), size))
    assert b"".join(cut) == b"".join(lines)
    for piece in cut:
        assert piece.endswith(b"\n")
        assert len(piece) <= size or piece.count(b"\n") == 1


# -- the queue ---------------------------------------------------------------------------------------------------------


async def test_entries_are_written_in_order_and_in_batches(nursery: trio.Nursery, autojump_clock: object) -> None:
    kept = Kept()
    log = AccessLog(kept, entries_max=10_000)
    nursery.start_soon(log.run)
    for number in range(2500):
        log.record(entry(number))
    await written(log)
    nursery.cancel_scope.cancel()
    assert kept.ids == [f"req_{number}" for number in range(2500)]
    assert kept.batches == 3


async def test_an_idle_log_does_not_wake_up(autojump_clock: object) -> None:
    log = AccessLog(Kept(), entries_max=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
        log.record(entry())
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline <= accesslog.WRITE_SECONDS
        nursery.cancel_scope.cancel()


async def test_what_is_left_is_written_when_the_worker_ends() -> None:
    kept = Kept()
    log = AccessLog(kept, entries_max=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(5):
            log.record(entry(number))
        nursery.cancel_scope.cancel()
    assert kept.ids == [f"req_{number}" for number in range(5)]
    assert log.statistics() == accesslog.AccessLogStatistics(0, 5, 0, 0)


def test_a_full_queue_drops_the_newest_and_counts() -> None:
    log = AccessLog(Kept(), entries_max=3)
    for number in range(5):
        log.record(entry(number))
    assert log.statistics() == accesslog.AccessLogStatistics(3, 0, 2, 0)


def test_a_log_that_is_switched_off_keeps_nothing() -> None:
    log = AccessLog(None, entries_max=3)
    for number in range(5):
        log.record(entry(number))
    assert log.statistics() == accesslog.AccessLogStatistics(0, 0, 0, 0)


async def test_a_failed_write_is_counted_and_survived(nursery: trio.Nursery, autojump_clock: object) -> None:
    kept = Kept()
    kept.errors = [OSError(errno.ENOSPC, "no space")]
    log = AccessLog(kept, entries_max=100)
    nursery.start_soon(log.run)
    log.record(entry(0))
    log.record(entry(1))
    await written(log)
    log.record(entry(2))
    await written(log)
    nursery.cancel_scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert kept.ids == ["req_2"]
    assert log.statistics() == accesslog.AccessLogStatistics(0, 1, 2, 1)


async def test_an_entry_that_cannot_be_encoded_costs_only_itself(nursery: trio.Nursery, autojump_clock: object) -> None:
    kept = Kept()
    log = AccessLog(kept, entries_max=100)
    nursery.start_soon(log.run)
    for number, model in enumerate(["a", "\ud800", "b"]):
        log.record(entry(number, model=model))
    await written(log)
    nursery.cancel_scope.cancel()
    assert kept.ids == ["req_0", "req_2"]
    assert log.statistics().dropped_total == 1


class Stalled(Kept):
    """A writer whose first write blocks until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.began = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, lines: bytes) -> None:
        if not self.began.is_set():
            self.began.set()
            self.let_go.wait()
        super().__call__(lines)


@pytest.fixture
def stalled() -> Iterator[Stalled]:
    stalled = Stalled()
    yield stalled
    stalled.let_go.set()


async def test_a_stalled_writer_holds_nobody_back_and_the_end_is_bounded(
    stalled: Stalled, mock_clock: trio.testing.MockClock
) -> None:
    log = AccessLog(stalled, entries_max=4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        await trio.testing.wait_all_tasks_blocked()
        log.record(entry(0))
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(accesslog.WRITE_SECONDS)
        await trio.to_thread.run_sync(stalled.began.wait)
        for number in range(1, 7):
            log.record(entry(number))
        nursery.cancel_scope.cancel()
        mock_clock.autojump_threshold = 0
    assert log.statistics().dropped_total == 6


async def test_a_write_under_way_at_the_end_is_not_overtaken(stalled: Stalled) -> None:
    log = AccessLog(stalled, entries_max=100)

    async def let_go() -> None:
        await trio.testing.wait_all_tasks_blocked()
        stalled.let_go.set()

    async with trio.open_nursery() as outer, trio.open_nursery() as worker:
        worker.start_soon(log.run)
        await trio.testing.wait_all_tasks_blocked()
        log.record(entry(0))
        await trio.to_thread.run_sync(stalled.began.wait)
        log.record(entry(1))
        worker.cancel_scope.cancel()
        outer.start_soon(let_go)
    assert stalled.ids == ["req_0", "req_1"]


# -- sinks -------------------------------------------------------------------------------------------------------------


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for line in (b"one\n", b"two\n"):
        sink = FileSink(path)
        sink.write(line)
        sink.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = FileSink(path)
    open_files = len(os.listdir("/dev/fd"))
    sink.write(b"one\n")
    path.rename(tmp_path / "access.log.1")
    sink.write(b"two\n")
    path.unlink()
    sink.write(b"three\n")
    assert len(os.listdir("/dev/fd")) == open_files
    sink.close()
    assert (tmp_path / "access.log.1").read_bytes() == b"one\n"
    assert path.read_bytes() == b"three\n"


def test_a_directory_that_vanished_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    sink = FileSink(directory / "access.log")
    (directory / "access.log").unlink()
    directory.rmdir()
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            sink.write(b"lost\n")
    directory.mkdir()
    sink.write(b"kept\n")
    sink.close()
    assert (directory / "access.log").read_bytes() == b"kept\n"


def test_after_a_write_that_was_cut_the_next_starts_on_its_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "access.log"
    sink = FileSink(path)
    really_write = os.write

    def full_disk(descriptor: int, content: bytes) -> int:
        if len(content) <= 6:
            raise OSError(errno.ENOSPC, "no space")
        return really_write(descriptor, content[:6])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_disk)
        with pytest.raises(OSError, match="no space"):
            sink.write(b'{"a":1}\n')
    sink.write(b'{"b":2}\n')
    sink.close()
    assert path.read_bytes() == b'{"a":1\n{"b":2}\n'


def test_a_pipe_gets_pieces_it_does_not_mix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sink = FileSink(fifo)
    sizes: list[int] = []
    really_write = os.write

    def note(descriptor: int, content: bytes) -> int:
        sizes.append(len(content))
        return really_write(descriptor, content)

    monkeypatch.setattr(os, "write", note)
    lines = b"".join(b"%04d" % number + b"x" * 95 + b"\n" for number in range(100))
    sink.write(lines)
    sink.close()
    assert os.read(reader, 1 << 20) == lines
    os.close(reader)
    assert len(sizes) > 1
    assert max(sizes) <= select.PIPE_BUF


def test_a_pipe_that_nobody_empties_is_an_error_not_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sink = FileSink(fifo)
    os.set_blocking(sink._descriptor, False)
    monkeypatch.setattr(accesslog, "WRITABLE_SECONDS_MAX", 0)
    with pytest.raises(BlockingIOError):
        sink.write(b"x" * 99 + b"\n" * 100_000)
    sink.close()
    os.close(reader)


def test_the_configuration_names_the_sink(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for target in (Target.NONE, Target.STDOUT, tmp_path / "access.log"):
        log = open_log(target, entries_max=10)
        log.record(entry())
        if log.statistics().waiting:
            log._write_batch()
    assert json.loads(capfd.readouterr().out)["request_id"] == "req_0"
    assert json.loads((tmp_path / "access.log").read_bytes())["request_id"] == "req_0"
    with pytest.raises(FileNotFoundError):
        open_log(tmp_path / "missing" / "access.log", entries_max=10)
