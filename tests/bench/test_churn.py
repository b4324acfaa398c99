"""A connection for each request: each is a new one, none is forgotten, and there are never more than there may be."""

import errno

import pytest
import trio

from bench import upstream
from bench.churn import run_churn
from bench.client import State
from bench.jobs import AnyJob, Churn, Quantiles, Report
from bench.load import run
from bench.loop import Loop
from bench.perform import perform
from bench.process import Cores, free_port
from bench.samples import Samples, Verdict
from bench.scenarios import churn
from bench.scenarios.trial import Trial
from bench.subjects import DIRECT, GATEWAY, NGINX, Subject

ANYWHERE = Cores(frozenset(), frozenset())
UPSTREAM = Subject(DIRECT, 1, (11,))


def job(port: int, **fields: object) -> Churn:
    return Churn(port=port, **({"seconds": 5.0, "warmup_s": 0.0} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", [{"connections": 3}, {"period_us": 500}], ids=["closed loop", "one rate"])
async def test_every_request_has_a_connection_of_its_own(asked: dict[str, int]) -> None:
    with trio.fail_after(10):
        async with upstream.running() as server:
            asked_of = job(server.port, connections_max=9, **asked)
            report = await trio.to_thread.run_sync(perform, asked_of, ANYWHERE)
            log = list(server.log)
    assert (report.errors, report.requests, report.opened) == ({}, 9, 9)
    assert {record.connection_request for record in log} == {0}
    assert len({record.connection for record in log}) == 9
    assert report.latency_ms is not None
    assert report.latency_ms.count == 9


async def test_a_client_closes_when_it_has_its_answer() -> None:
    def left_open(port: int) -> list[State]:
        asked = job(port, connections=2, connections_max=6)
        loop = Loop(asked, None)
        try:
            run_churn(asked, loop)
            return [connection.state for connection in loop.connections]
        finally:
            loop.close()

    with trio.fail_after(10):
        async with upstream.running() as server:
            assert await trio.to_thread.run_sync(left_open, server.port) == [State.CLOSED] * 6


async def test_a_job_that_has_made_its_connections_ends_before_its_time() -> None:
    with trio.fail_after(10):
        async with upstream.running() as server:
            report = await trio.to_thread.run_sync(run, job(server.port, connections_max=4, seconds=600.0))
    assert report.opened == 4
    assert report.seconds < 600


@pytest.mark.parametrize(
    ("script", "reason"),
    [([{"status": 503}], "status 503"), ([{"close": True}], "closed while request sent, no content yet")],
)
async def test_failures_make_room_for_the_next_and_are_counted(script: object, reason: str) -> None:
    with trio.fail_after(10):
        async with upstream.running(script=script) as server:
            asked = job(server.port, connections=2, connections_max=5)
            report = await trio.to_thread.run_sync(run, asked)
    assert (report.errors, report.requests) == ({reason: 5}, 0)


async def test_what_never_answers_is_unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.churn._LINGER_SECONDS_MAX", 0.0)
    with trio.fail_after(10):
        async with upstream.running(script=[{"stall": True}]) as server:
            report = await trio.to_thread.run_sync(run, job(server.port, connections=2, seconds=0.0))
    assert report.errors == {"unanswered at the end": report.opened}


def test_nobody_listens() -> None:
    report = run(job(free_port(), connections=2, connections_max=6))
    assert report.errors == {f"connect: errno {errno.ECONNREFUSED}": 6}


# -- the scenario ------------------------------------------------------------------------------------------------------


def answered(**fields: object) -> Report:
    quantiles = Quantiles(count=100, p50=1.0, p99=2.0, max=3.0)
    usual = {"seconds": 1.0, "requests": 100, "requests_in_window": 100, "subject_cpu_s": 0.03}
    return Report(latency_ms=quantiles, **(usual | fields))  # type: ignore[arg-type]


def test_the_rate_is_half_of_what_the_gateway_can_and_slow_peers_are_not_asked_at_it() -> None:
    jobs: list[AnyJob] = []

    def answers(asked: AnyJob) -> Report:
        jobs.append(asked)
        return answered(requests_in_window=10) if asked.port == 3 else answered(subject_cpu_s=0.1, seconds=0.01)

    trial = Trial(UPSTREAM, answers)
    gateway, slow = Subject(GATEWAY, 2, (12,)), Subject("slow", 3, (13,))
    asking = churn.Asking(trial, churn.FULL)
    for subject in (gateway, slow):
        asking.closed(subject)
    asking.find_rate([UPSTREAM, gateway, slow])
    assert asking.period_us == 2000, "a request takes 1,000 us of its core"
    jobs.clear()
    asking.round(gateway)
    asking.round(slow)
    assert [getattr(each, "period_us", None) for each in jobs] == [None, None, 2000, 2000, None, None]
    assert "slow cannot follow the common rate, and was not asked at it." in trial.said()


def test_a_gateway_that_waits_for_its_core_is_asked_all_the_same() -> None:
    trial = Trial(UPSTREAM, lambda _: answered(seconds=10.0))
    asking, gateway = churn.Asking(trial, churn.FULL), Subject(GATEWAY, 2, (12,))
    asking.closed(gateway)
    asking.find_rate([gateway])
    asking.round(gateway)
    assert trial.samples.values["churn_paced_cpu_us"][GATEWAY] == [300.0]


def test_without_an_answer_of_the_gateway_there_is_no_rate() -> None:
    trial = Trial(UPSTREAM, lambda _: Report(errors={"status 503": 3}))
    asking = churn.Asking(trial, churn.FULL)
    gateway = Subject(GATEWAY, 2, (12,))
    asking.closed(gateway)
    with pytest.raises(RuntimeError, match="status 503"):
        asking.find_rate([gateway])


def test_figures_are_what_a_connection_adds_round_by_round() -> None:
    trial = Trial(UPSTREAM, lambda _: Report())
    trial.samples = Samples()
    for name, cost in ((GATEWAY, 300.0), (NGINX, 60.0)):
        for number in range(2):
            trial.samples.add("churn_paced_cpu_us", name, cost + number)
            trial.samples.add("kept_paced_cpu_us", name, cost / 2)
    trial.samples.add("failed", GATEWAY, 1)
    found = churn.scenario(trial, churn.FULL, 600, {})
    figures = {figure.name: figure for figure in found.figures}
    assert figures["CPU that a connection adds to its request, same rate"].samples == [150.0, 151.0]
    assert found.ratios(figures["CPU per request, a connection each, same rate"])[0] == 5.0
    assert found.verdict(figures["requests that failed, a connection each"]) is Verdict.OVER
    assert found.remarks[0] == "Same rate: a request each 600 us."
