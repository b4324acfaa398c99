"""The harness finds what was put there, and tells when the load did not. No figure of the machine's is asserted."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import msgspec
import pytest

from bench import load
from bench.harness import FIRST, FULL, NULL, QUICK, UNARY, Harness, Settings, delayed, null, off_percent
from bench.jobs import AnyJob, Arrivals, Paced, Quantiles, Report, Unary
from bench.null import Options
from bench.process import Cores
from bench.runs import Scenario
from bench.samples import Verdict
from bench.scenarios.harness import scenario
from bench.subjects import DIRECT, Subject, canned

ANYWHERE = Cores(frozenset(), frozenset())
BRIEF = Settings(
    rounds=1,
    seconds=0.15,
    stall_ms=200.0,
    failing_requests=40,
    ceiling_s=0.05,
    ceiling_steps=1,
    warmup_s=0.0,
    delays_ms=(5.0, 60.0),
    tail_delay_ms=60.0,
    stall_after_ms=50.0,
    stall_before_end_ms=50.0,
    stall_period_ms=10.0,
    streams=3,
    interval_ms=5.0,
    connections=4,
)


@pytest.fixture(scope="module")
def direct() -> Iterator[Subject]:
    with canned(ANYWHERE) as subject:
        yield subject


class Bench(Harness):
    """A harness whose null gateways are real, and whose load can be made to lie."""

    def __init__(self, upstream: Subject, settings: Settings = BRIEF) -> None:
        def start(options: Options, name: str) -> AbstractContextManager[Subject]:
            return null(upstream.port, ANYWHERE, options, name=name)

        super().__init__(settings, upstream, start=start, perform=self.performed)
        self.upstream = upstream

    def performed(self, job: AnyJob) -> Report:
        return load.run(job)


def of(found: Scenario, name: str) -> list[float]:
    figure = found.figure(name)
    assert figure is not None, name
    return figure.samples


def test_a_run_with_real_processes_has_no_problems(direct: Subject) -> None:
    bench = Bench(direct)
    said: list[str] = []
    bench.run(said.append)
    found = scenario(bench, BRIEF)
    assert found.problems == []
    assert of(found, "known failures, counted wrong") == of(found, "known failures, not those drawn") == [0]
    assert {len(figure.samples) for figure in found.figures} == {1}
    assert [figure.name for figure in found.figures if figure.target == 5.0] == [
        "delay of 5 ms, off by, unary, p50",
        "delay of 5 ms, off by, first token, p50",
        "delay of 60 ms, off by, unary, p50",
        "delay of 60 ms, off by, unary, p99",
        "delay of 60 ms, off by, first token, p50",
        "delay of 60 ms, off by, first token, p99",
        "stall of 200 ms, requests that waited for half of it, off by",
        "stall of 200 ms, longest wait, off by",
        "interval of 5 ms between events, off by",
    ]
    assert len(bench.waits_ms) == BRIEF.stall_requests == 30
    assert sum(wait_ms > 100 for wait_ms in bench.waits_ms) >= 9
    assert bench.samples.values[f"{UNARY}, p50"][delayed(5)][0] >= 5
    assert bench.samples.values[f"{FIRST}, p50"][delayed(5)][0] >= 5
    assert any("A closed loop of 4 connections" in remark for remark in found.remarks)
    assert len(said) == 5
    assert msgspec.json.decode(msgspec.json.encode(found), type=Scenario).figures == found.figures


def test_a_load_that_loses_a_failure_is_caught(direct: Subject) -> None:
    class Careless(Bench):
        def performed(self, job: AnyJob) -> Report:
            report = load.run(job)
            report.errors["status 500"] -= 1
            return report

    bench = Careless(direct)
    bench.failures(seed=3)
    assert bench.samples.values["failures_off"][""] == [1]
    assert bench.samples.values["failures_undrawn"][""] == [0]
    assert len(bench.samples.problems) == 1


def test_a_failure_that_nobody_put_there_is_a_problem(direct: Subject) -> None:
    class Broken(Bench):
        def performed(self, job: AnyJob) -> Report:
            report = load.run(job)
            report.fail("closed while idle", 2)
            return report

    bench = Broken(direct)
    bench.failures(seed=3)
    assert bench.samples.problems == ["known failures, numbered: 2 x closed while idle"]


def test_failures_that_were_not_drawn_are_caught(direct: Subject) -> None:
    def start(options: Options, name: str) -> AbstractContextManager[Subject]:
        return null(direct.port, ANYWHERE, options._replace(seed=options.seed + 1), name=name)

    bench = Harness(BRIEF, direct, start=start, perform=load.run)
    bench.failures(seed=3)
    assert bench.samples.values["failures_off"][""] == [0]
    assert bench.samples.values["failures_undrawn"][""][0] > 0
    assert len(bench.samples.problems) == 1


def test_a_load_that_counts_from_when_it_got_to_send_is_caught(direct: Subject) -> None:
    class Naive(Bench):
        def performed(self, job: AnyJob) -> Report:
            report = load.run(job)
            slowest_ms = max(report.first_contents_ms)
            report.first_contents_ms = [0.3 for _ in report.first_contents_ms[1:]] + [slowest_ms]
            return report

    bench = Naive(direct, BRIEF._replace(closed=False))
    bench.stall()
    assert bench.samples.problems == []
    assert bench.samples.values["stall_waited_off"][""][0] > 80


def test_a_wait_that_is_missing_is_a_problem(direct: Subject) -> None:
    class Forgetful(Bench):
        def performed(self, job: AnyJob) -> Report:
            report = load.run(job)
            report.first_contents_ms.pop()
            return report

    bench = Forgetful(direct)
    bench.stall()
    assert len(bench.samples.problems) == 1
    assert "29 waits were kept" in bench.samples.problems[0]


def times(median_ms: float) -> Quantiles:
    return Quantiles(count=100, p50=median_ms, p99=median_ms * 2, max=median_ms * 2)


def test_delays_are_differences_to_the_null_gateway_without_one() -> None:
    took_ms = {1: 0.2, 2: 0.3, 3: 5.8, 4: 61.3}

    def perform(job: AnyJob) -> Report:
        assert isinstance(job, Paced | Arrivals)
        found = times(took_ms[job.port])
        return Report(requests=100, requests_in_window=100, subject_cpu_s=0.01, latency_ms=found, ttft_ms=found)

    direct = Subject(DIRECT, 1, ())
    bench = Harness(BRIEF, direct, start=lambda *_: null(1, ANYWHERE), perform=perform)
    bench.delays([direct, Subject(NULL, 2, (7,)), Subject(delayed(5), 3, ()), Subject(delayed(60), 4, ())])
    found = scenario(bench, BRIEF)
    assert of(found, "added by a null gateway, unary, p50") == pytest.approx([0.1])
    assert of(found, "CPU per unary request, null gateway") == pytest.approx([100])
    assert of(found, "delay of 5 ms, off by, unary, p50") == pytest.approx([10])
    assert of(found, "delay of 5 ms, off by, first token, p99") == pytest.approx([120])
    assert of(found, "delay of 60 ms, off by, unary, p99") == pytest.approx([100 * (122.6 - 0.6 - 60) / 60])
    assert of(found, "p99 above p50 of a null gateway, unary") == pytest.approx([0.3])
    verdicts = {figure.name: found.verdict(figure) for figure in found.figures}
    assert verdicts["delay of 5 ms, off by, unary, p50"] is Verdict.OVER
    assert verdicts["delay of 5 ms, off by, unary, p99"] is Verdict.UNKNOWN, "the machine's tail, and not the load's"
    assert verdicts["delay of 60 ms, off by, unary, p50"] is Verdict.OK
    assert verdicts["delay of 60 ms, off by, unary, p99"] is Verdict.OVER


@pytest.mark.parametrize(
    ("late_ms", "best"), [((0.1, 0.1, 0.1), 64.8), ((5.0, 5.0, 5.0), 0.0), ((0.1, 5.0, 0.1), 27.3)]
)
def test_the_highest_rate_that_is_on_time_is_searched(late_ms: tuple[float, ...], best: float) -> None:
    left = list(late_ms)

    def perform(job: AnyJob) -> Report:
        if isinstance(job, Unary):
            return Report(requests=100, requests_in_window=100, seconds=1.0, load_cpu_s=0.5, upstream_cpu_s=0.25)
        return Report(requests=100, late_ms=times(left.pop(0) / 2))

    bench = Harness(
        BRIEF._replace(ceiling_steps=3), Subject(DIRECT, 1, ()), start=lambda *_: null(1, ANYWHERE), perform=perform
    )
    bench.ceiling()
    values = bench.samples.values
    assert values["on_time_per_s"][""] == pytest.approx([best], abs=0.1)
    assert (values["closed_load_share"][""], values["closed_upstream_share"][""]) == ([50], [25])


def test_what_is_not_answered_is_a_problem() -> None:
    subject = Subject(NULL, 1, ())
    bench = Harness(BRIEF, subject, start=lambda *_: null(1, ANYWHERE), perform=lambda _: Report())
    bench.intervals(subject)
    assert bench.samples.problems == [
        "null gateway, streams: nothing was answered",
        "null gateway: 0 of 3 streams began",
    ]


@pytest.mark.parametrize("settings", [QUICK, FULL])
def test_some_delay_is_judged_at_its_tail(settings: Settings) -> None:
    assert max(settings.delays_ms) >= settings.tail_delay_ms > min(settings.delays_ms)


@pytest.mark.parametrize("settings", [QUICK, FULL, BRIEF])
def test_no_wait_lies_close_to_half_of_the_stall(settings: Settings) -> None:
    at_ms, period_ms = settings.stall.stall_at_s * 1000, settings.stall_period_ms
    waits_ms = [at_ms + settings.stall_ms - number * period_ms for number in range(settings.stall_requests)]
    kept = [wait_ms for wait_ms in waits_ms if 0 < wait_ms < settings.stall_ms]
    assert sum(wait_ms > settings.stall_ms / 2 for wait_ms in kept) == settings.stall_ms / 2 / period_ms
    assert min(abs(wait_ms - settings.stall_ms / 2) for wait_ms in kept) == pytest.approx(period_ms / 2)
    assert waits_ms[0] > settings.stall_ms
    assert waits_ms[-1] < 0


def test_either_way_is_off() -> None:
    assert off_percent(2.1, 2.0) == pytest.approx(5)
    assert off_percent(1.9, 2.0) == pytest.approx(5)
