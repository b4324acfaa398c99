"""The slow reader reads all it asked for, sees memory grow, and tells a stream that was cut from a whole one."""

from collections.abc import Iterator
from functools import partial

import pytest
import trio

from bench import slow, upstream
from bench.jobs import AnyJob, Report, SlowReader
from bench.load import run
from bench.plan import events_in, plan_for
from bench.process import Cores, free_port
from bench.samples import Verdict
from bench.scenarios import slow_reader
from bench.scenarios.trial import Trial
from bench.subjects import DIRECT, GATEWAY, Subject, canned

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


def test_memory_is_read_at_both_ends_of_a_pause(direct: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([10, 11, 40, 12])
    monkeypatch.setattr(slow, "rss_bytes", lambda _: next(readings))
    report = read(direct, burst_bytes=2_000_000)
    assert (report.rss_before_bytes, report.rss_peak_bytes, report.rss_after_bytes) == (10, 40, 12)


@pytest.mark.parametrize(
    ("script", "reasons"),
    [
        ([{"status": 503}], {"status 503": 1}),
        (
            [{"event": {"choices": []}}, {"close": True}],
            {"closed before the end of the stream": 1},
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


def test_many_readers_each_get_the_whole_stream(direct: Subject) -> None:
    report = read(direct, readers=7, total_bytes=500_000, burst_bytes=100_000)
    assert (report.errors, report.opened, report.requests) == ({}, 7, 7)
    assert 7 * 490_000 < report.body_bytes < 7 * 510_000


def test_a_pause_of_one_does_not_hold_up_the_others(direct: Subject) -> None:
    report = read(direct, readers=2, total_bytes=200_000, burst_bytes=100_000, pause_ms=60_000.0, seconds=0.2)
    assert (report.errors, report.requests) == ({}, 0)
    assert report.body_bytes >= 200_000, "both have read their first burst"


async def test_silence_in_a_burst_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "_SILENCE_SECONDS_MAX", 0.05)
    with trio.fail_after(10):
        async with upstream.running(script=[{"event": {"choices": []}}, {"stall": True}]) as server:
            report = await trio.to_thread.run_sync(partial(read, Subject("scripted", server.port, ()), readers=2))
    assert report.errors == {"nothing came for 0.05 s": 2}


# -- the scenario ------------------------------------------------------------------------------------------------------


def grown(megabytes: float, **fields: object) -> Report:
    usual = {"seconds": 2.0, "opened": 1, "requests": 50, "rss_before_bytes": 40_000_000, "body_bytes": 100_000_000}
    return Report(rss_peak_bytes=40_000_000 + round(megabytes * 1e6), **(usual | fields))  # type: ignore[arg-type]


def test_growth_is_of_one_reader_and_of_each_of_many() -> None:
    def perform(job: AnyJob) -> Report:
        assert isinstance(job, SlowReader)
        return grown(6.0 if job.readers == 1 else 10.0)

    trial = Trial(Subject(DIRECT, 1, (11,)), perform)
    reading, gateway = slow_reader.Reading(trial, slow_reader.FULL), Subject(GATEWAY, 2, (12,))
    reading.one(gateway)
    reading.many(gateway)
    found = slow_reader.scenario(trial, slow_reader.FULL, {})
    figures = {figure.name: figure for figure in found.figures}
    one = figures["growth while a slow client reads"]
    assert (one.samples, found.verdict(one)) == ([6.0], Verdict.OVER)
    assert figures["growth per client while 50 slow clients read"].samples == [200.0]
    assert figures["one slow client was served"].samples == [50.0]


def test_who_does_not_finish_is_not_asked_again_and_whose_memory_is_unknown_never() -> None:
    jobs: list[AnyJob] = []

    def perform(job: AnyJob) -> Report:
        jobs.append(job)
        return grown(1.0, requests=0)

    trial = Trial(Subject(DIRECT, 1, (11,)), perform)
    reading = slow_reader.Reading(trial, slow_reader.FULL)
    for peer in (Subject("peer", 3, (13,)), Subject("unknown", 4, ())):
        reading.one(peer)
        reading.one(peer)
    assert [job.port for job in jobs] == [3]
    assert trial.said() == ["peer, 1 slow reader: 100 MB in 2 s, and no end."]
