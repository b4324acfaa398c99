"""The soak accounts for every request, tells growth from a jump, and sees what is not given back."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import cast

import pytest
import trio

from bench import upstream
from bench.client import Connection, Observer, State
from bench.jobs import Reading, Report, Soak
from bench.loop import Loop
from bench.perform import perform
from bench.process import Cores, free_port
from bench.samples import Verdict
from bench.scenarios import soak
from bench.scenarios.trial import Trial
from bench.soak import ERRORS, ROUND, Kind, _Mix, wire
from bench.subjects import DIRECT, GATEWAY, Subject, canned

ANYWHERE = Cores(frozenset(), frozenset())
GATEWAY_HERE = Subject(GATEWAY, 1, (os.getpid(),))
IDLE_ONLY = {"exchanges open": 0.0, "leased connections": 0.0, "client connections open": 0.0}
METRICS = """
# HELP hedgerow_requests_in_flight Requests being served now.
# TYPE hedgerow_requests_in_flight gauge
hedgerow_requests_in_flight{surface="a"} 2
hedgerow_requests_in_flight{surface="b"} 3
# HELP hedgerow_upstream_connections Open upstream connections.
# TYPE hedgerow_upstream_connections gauge
hedgerow_upstream_connections{state="idle"} 7
hedgerow_upstream_connections{state="leased"} 4
# HELP hedgerow_downstream_connections Open client connections.
# TYPE hedgerow_downstream_connections gauge
hedgerow_downstream_connections 6
"""


@pytest.fixture(scope="module")
def direct() -> Iterator[Subject]:
    with canned(ANYWHERE) as subject:
        yield subject


def job(subject: Subject, **fields: object) -> Soak:
    usual = {"period_us": 500, "seconds": 0.2, "interval_ms": 1.0, "look_seconds": 0.05}
    return Soak(port=subject.port, subject=list(subject.pids), **(usual | fields))  # type: ignore[arg-type]


def test_a_round_has_every_kind_and_never_two_errors_in_a_row() -> None:
    assert len(ROUND) == 20
    assert set(ROUND) == set(Kind)
    assert Counter(kind in ERRORS for kind in ROUND)[True] == 2
    assert not any(a in ERRORS and b in ERRORS for a, b in pairwise([*ROUND, ROUND[0]]))


class Line:
    """A connection that is answered when the test says so."""

    def __init__(self) -> None:
        self.state = State.IDLE
        self.asked: list[bytes] = []

    def ask(self, _: float, request: bytes) -> None:
        self.asked.append(request)
        self.state = State.WAITING

    def close(self) -> None:
        self.state = State.CLOSED


class Lines:
    """A loop without sockets."""

    def __init__(self) -> None:
        self.observer = Observer()
        self.connections: list[Line] = []

    def connect(self) -> Line:
        self.connections.append(Line())
        return self.connections[-1]

    def answer(self) -> None:
        for line in self.connections:
            if line.state is State.WAITING:
                line.state = State.IDLE
                assert self.observer.on_done is not None
                self.observer.on_done(cast(Connection, line))


def test_some_requests_have_a_connection_of_their_own_and_others_share() -> None:
    asked, loop = job(Subject("nobody", 1, ())), Lines()
    mix = _Mix(asked, cast(Loop, loop))
    for number in range(len(ROUND)):
        mix.beat(float(number))
        loop.answer()
    once = wire(asked)[Kind.ONCE]
    # An answer is asked for in the same words on both kinds of connection.
    alone = [line for line in loop.connections if line.asked == [once] and line.state is State.CLOSED]
    assert len(alone) >= ROUND.count(Kind.ONCE)
    assert max(len(line.asked) for line in loop.connections) > 1
    assert mix.open == 0


def test_everything_ends_as_its_kind_does(direct: Subject) -> None:
    report = perform(job(direct), ANYWHERE)
    assert report.errors == {}
    assert report.requests >= len(ROUND)
    assert report.course[0].requests == 0
    assert report.course[-1].requests == report.requests
    assert all(reading.rss_bytes > 0 and reading.open_files > 0 for reading in report.course)
    assert [reading.at_s for reading in report.course] == sorted(reading.at_s for reading in report.course)


async def test_an_upstreams_error_that_does_not_arrive_is_a_failure() -> None:
    with trio.fail_after(20):
        async with upstream.running(script=[{"answer": {"content": " token token"}}]) as server:
            asked = job(Subject("scripted", server.port, ()), seconds=0.1, period_us=4000)
            report = await trio.to_thread.run_sync(perform, asked, ANYWHERE)
    assert set(report.errors) == {f"{kind.value}, and was not told" for kind in ERRORS}


async def test_an_error_that_nobody_asked_for_is_a_failure() -> None:
    with trio.fail_after(20):
        async with upstream.running(script=[{"status": 503}]) as server:
            asked = job(Subject("scripted", server.port, ()), seconds=0.1, period_us=4000)
            report = await trio.to_thread.run_sync(perform, asked, ANYWHERE)
    assert report.errors["status 503"] > 0
    assert sum(report.errors.values()) <= report.requests + ROUND.count(Kind.REFUSED) * report.requests


def test_nobody_listens() -> None:
    report = perform(job(Subject("nobody", free_port(), ())), ANYWHERE)
    refused = sum(count for reason, count in report.errors.items() if reason.startswith("connect"))
    assert refused == report.requests > 0


# -- the scenario ------------------------------------------------------------------------------------------------------


def course(kilobytes: Sequence[float]) -> list[Reading]:
    return [
        Reading(at_s=float(at), requests=at * 500, rss_bytes=round(each * 1000), open_files=30)
        for at, each in enumerate(kilobytes)
    ]


def test_growth_is_the_slope_behind_the_warm_up() -> None:
    warming = [1000.0 + 500 * at for at in range(20)]
    found = soak.slope(course([*warming, *(50_000 + 5.0 * at for at in range(40))]))
    assert found is not None
    assert found.kilobytes == pytest.approx(10.0)
    assert found.low == found.high == pytest.approx(10.0)


def test_one_jump_is_no_growth() -> None:
    found = soak.slope(course([1000.0] * 45 + [3000.0] * 15))
    assert found is not None
    assert found.kilobytes == 0.0


def test_too_few_readings_have_no_slope() -> None:
    assert soak.slope(course([1.0] * 5)) is None


def test_what_is_held_is_asked_of_metrics_and_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "fetch", lambda *_: (200, METRICS.encode()))
    found = soak.held(GATEWAY_HERE)
    assert found.open == {"exchanges open": 5.0, "leased connections": 4.0, "client connections open": 6.0}
    assert found.idle == 7.0
    assert found.left_over == found.files - 7


def test_a_gateway_that_does_not_tell_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "fetch", lambda *_: (0, b""))
    with pytest.raises(RuntimeError, match="/metrics answered 0"):
        soak.held(GATEWAY_HERE)


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def settle(monkeypatch: pytest.MonkeyPatch, readings: Sequence[soak.Held]) -> tuple[soak.Held, float]:
    """Give what is believed, and how long it took; the last reading stays."""
    clock, left = Clock(), list(readings)
    monkeypatch.setattr(soak, "time", clock)
    monkeypatch.setattr(soak, "held", lambda _: left.pop(0) if len(left) > 1 else left[0])
    return soak.settled(GATEWAY_HERE), clock.now_s


def test_a_count_is_believed_when_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = soak.Held(40, 5.0, IDLE_ONLY | {"exchanges open": 3.0})
    closing, quiet = soak.Held(38, 5.0, IDLE_ONLY), soak.Held(36, 5.0, IDLE_ONLY)
    found, seconds = settle(monkeypatch, [busy, busy, closing, quiet])
    assert found == quiet
    assert seconds < soak._SETTLE_SECONDS_MAX


def test_a_file_that_is_open_for_a_moment_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, writing = soak.Held(27, 6.0, IDLE_ONLY), soak.Held(29, 6.0, IDLE_ONLY)
    found, seconds = settle(monkeypatch, [writing, quiet, writing, quiet, *[writing] * 40])
    assert found == quiet
    assert seconds < soak._SETTLE_SECONDS_MAX


def test_what_is_never_given_back_is_told_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    leaking = soak.Held(40, 5.0, IDLE_ONLY | {"leased connections": 1.0})
    found, seconds = settle(monkeypatch, [leaking])
    assert found == leaking
    assert seconds >= soak._SETTLE_SECONDS_MAX


def test_what_is_left_over_is_over_its_target() -> None:
    trial = Trial(Subject(DIRECT, 1, ()), lambda _: Report())
    report = Report(seconds=60.0, requests=30_000, subject_cpu_s=15.0, course=course([50_000.0] * 60))
    before = soak.Held(30, 5.0, IDLE_ONLY)
    after = soak.Held(40, 12.0, IDLE_ONLY | {"exchanges open": 1.0})
    found = soak.scenario(trial, soak.FULL, report, before=before, after=after, kept_mb=1.5)
    figures = {figure.name: figure for figure in found.figures}
    files = figures["open files left over when all have left"]
    assert (files.samples, found.verdict(files)) == ([3.0], Verdict.OVER)
    assert found.verdict(figures["exchanges open when all have left"]) is Verdict.OVER
    assert found.verdict(figures["leased connections when all have left"]) is Verdict.OK
    assert found.verdict(figures["requests lost"]) is Verdict.OK
    assert figures["CPU of the worker"].samples == [25.0]
    assert [curve.name for curve in found.curves] == ["memory of the worker", "open files of the worker"]
    assert len(found.curves[0].lines["resident"]) == 60


def test_a_gateway_that_answers_nothing_is_an_error() -> None:
    trial = Trial(Subject(DIRECT, 1, ()), lambda _: Report(errors={"connect: errno 111": 4}))
    with pytest.raises(RuntimeError, match="nothing was answered"):
        soak._mix(trial, GATEWAY_HERE, soak.QUICK)
