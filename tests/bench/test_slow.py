"""The slow reader reads all it asked for, sees memory grow, and tells a stream that was cut from a whole one."""

from collections.abc import Iterator

import pytest
import trio

from bench import slow, upstream
from bench.jobs import Report, SlowReader
from bench.load import run
from bench.plan import events_in, plan_for
from bench.process import Cores, free_port
from bench.subjects import Subject, canned

ANYWHERE = Cores(frozenset(), frozenset())


@pytest.fixture(scope="module")
def direct() -> Iterator[Subject]:
    with canned(ANYWHERE) as subject:
        yield subject


def read(subject: Subject, **fields: float) -> Report:
    brief = {"total_bytes": 3_000_000, "burst_bytes": 1_000_000, "pause_ms": 1.0} | fields
    return run(SlowReader(port=subject.port, subject=list(subject.pids), **brief))  # type: ignore[arg-type]


def test_events_for_so_many_bytes() -> None:
    event_bytes = len(plan_for(b'{"stream": true}').event)
    assert events_in(1) == 1
    assert events_in(1_000_000) * event_bytes <= 1_000_000 < (events_in(1_000_000) + 1) * event_bytes


def test_the_whole_stream_is_read(direct: Subject) -> None:
    report = read(direct)
    assert (report.errors, report.opened, report.requests) == ({}, 1, 1)
    assert 2_990_000 < report.body_bytes < 3_010_000
    assert report.rss_peak_bytes >= max(report.rss_before_bytes, report.rss_after_bytes) > 0


def test_a_reader_out_of_time_is_no_failure(direct: Subject) -> None:
    report = read(direct, seconds=0.0)
    assert (report.errors, report.requests) == ({}, 0)
    assert report.body_bytes < 3_000_000


def test_the_peak_is_what_was_seen_between_bursts(direct: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([10, 11, 40, *[12] * 50])
    monkeypatch.setattr(slow, "rss_bytes", lambda _: next(readings))
    report = read(direct)
    assert (report.rss_before_bytes, report.rss_peak_bytes, report.rss_after_bytes) == (10, 40, 12)


@pytest.mark.parametrize(
    ("script", "reasons"),
    [
        ([{"status": 503}], {"status 503": 1}),
        (
            [{"event": {"choices": []}}, {"close": True}],
            {"ConnectionResetError: closed before the end of the stream": 1},
        ),
        ([{"event": {"choices": []}}, {"done": True}], {"ended early": 1}),
    ],
)
async def test_what_is_not_the_whole_stream_is_a_failure(script: object, reasons: dict[str, int]) -> None:
    with trio.fail_after(10):
        async with upstream.running(script=script) as server:
            report = await trio.to_thread.run_sync(read, Subject("scripted", server.port, ()))
    assert report.errors == reasons
    assert report.requests == 0


def test_nobody_listens() -> None:
    report = read(Subject("nobody", free_port(), ()))
    assert (report.opened, len(report.errors)) == (0, 1)
