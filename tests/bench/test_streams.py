"""Streams held open: memory is per stream, a lost one counts, and who is too slow at opening them is not waited for."""

from collections.abc import Iterator

import pytest

from bench.jobs import AnyJob, Hold, Quantiles, Report
from bench.load import run
from bench.process import Cores
from bench.samples import Verdict
from bench.scenarios import streams
from bench.scenarios.trial import Trial
from bench.subjects import DIRECT, GATEWAY, Subject, canned

UPSTREAM, OURS, PEER = Subject(DIRECT, 1, (11,)), Subject(GATEWAY, 2, (12,)), Subject("peer", 3, (13,))
ANYWHERE = Cores(frozenset(), frozenset())


@pytest.fixture(scope="module")
def direct() -> Iterator[Subject]:
    with canned(ANYWHERE) as subject:
        yield subject


def test_how_long_it_took_to_open_them_is_told(direct: Subject) -> None:
    report = run(Hold(port=direct.port, subject=list(direct.pids), streams=50, seconds=0.0, warmup_s=0.0))
    assert (report.opened, report.errors) == (50, {})
    assert report.open_seconds > 0


def held(opened: int, **fields: object) -> Report:
    usual = {
        "seconds": 2.0,
        "opened": opened,
        "open_seconds": 0.5,
        "subject_cpu_s": 0.1,
        "gap_ms": Quantiles(count=9, p50=3000.0, p99=3004.0, max=3010.0),
        "rss_before_bytes": 40_000_000,
        "rss_after_bytes": 60_000_000,
    }
    return Report(**(usual | fields))  # type: ignore[arg-type]


def test_figures_are_per_stream() -> None:
    trial = Trial(UPSTREAM, lambda job: held(1000 if job.port == 2 else 999))
    holding = streams.Holding(trial, streams.FULL, 1000)
    for subject in (UPSTREAM, OURS):
        holding.hold(subject)
    found = streams.scenario(trial, streams.FULL, {}, ["said"])
    figures = {figure.name: figure for figure in found.figures}
    memory = figures["memory per stream, 1,000 open"]
    assert (memory.samples, found.verdict(memory)) == ([20.0], Verdict.OK)
    assert figures["CPU while held, 1,000 open"].samples == [5.0]
    assert figures["streams opened per second, 1,000 open"].samples == [2000.0]
    assert figures["gap between events over the interval, p99, 1,000 open"].samples == [4.0]
    assert figures["streams lost, 1,000 open: direct"].samples == [1.0]
    assert "memory per stream, 1,000 open: direct" not in figures
    assert not any("10,000" in name for name in figures), "what was not measured is left out"
    assert found.remarks[0] == "said"


def test_only_gaps_count_that_are_a_whole_interval() -> None:
    jobs: list[AnyJob] = []

    def perform(job: AnyJob) -> Report:
        jobs.append(job)
        return held(1000)

    streams.Holding(Trial(UPSTREAM, perform), streams.FULL, 1000).hold(OURS)
    (job,) = jobs
    assert isinstance(job, Hold)
    assert job.warmup_s * 1000 == job.interval_ms
    assert job.seconds * 1000 >= job.interval_ms, "every stream has one in the window"


def test_a_lost_stream_is_over_the_target_and_a_problem() -> None:
    trial = Trial(UPSTREAM, lambda _: held(998, errors={"lost while held": 2}))
    streams.Holding(trial, streams.FULL, 1000).hold(OURS)
    found = streams.scenario(trial, streams.FULL, {}, [])
    lost = found.figure("streams lost, 1,000 open")
    assert lost is not None
    assert (lost.samples, found.verdict(lost)) == ([2.0], Verdict.OVER)
    assert found.problems == ["gateway, 1,000 streams: 2 x lost while held"]


def test_who_opens_too_slowly_is_not_asked_for_more() -> None:
    jobs: list[AnyJob] = []

    def perform(job: AnyJob) -> Report:
        assert isinstance(job, Hold)
        jobs.append(job)
        return held(job.streams, open_seconds=40.0 if job.port == 3 else 1.0)

    trial = Trial(UPSTREAM, perform)
    for count in streams.FULL.held:
        holding = streams.Holding(trial, streams.FULL, count)
        for _ in range(2):
            holding.hold(OURS)
            holding.hold(PEER)
    asked = [(job.port, job.streams) for job in jobs if isinstance(job, Hold)]
    assert asked == [(2, 1000), (3, 1000)] * 2 + [(2, 10_000)] * 2
    assert trial.said() == ["peer opened 25 streams a second: too slow to be asked for 10,000."]


def test_who_opened_less_than_half_is_not_asked_again() -> None:
    jobs: list[AnyJob] = []

    def perform(job: AnyJob) -> Report:
        jobs.append(job)
        return held(10, errors={"status 503": 990})

    trial = Trial(UPSTREAM, perform)
    holding = streams.Holding(trial, streams.FULL, 1000)
    holding.hold(PEER)
    holding.hold(PEER)
    assert len(jobs) == 1
    assert trial.said() == ["peer, 1,000 streams: 990 x status 503"]


@pytest.mark.parametrize(("files_max", "held_", "said"), [(30_000, (1_000, 10_000), 0), (4_256, (1_000, 2_000), 1)])
def test_a_limit_of_open_files_bounds_the_streams(files_max: int, held_: tuple[int, ...], said: int) -> None:
    settings, remarks = streams.within_limits(streams.FULL, files_max)
    assert settings.held == held_
    assert len(remarks) == said
