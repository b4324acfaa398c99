"""What ours fails at is a problem, what a peer fails at is a remark, and figures stand beside the right ones."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import psutil
import pytest

from bench import quiet
from bench.jobs import AnyJob, Report, Unary
from bench.measure import taking_turns
from bench.peers import PeerError
from bench.scenarios.trial import Shown, Trial
from bench.subjects import DIRECT, GATEWAY, NGINX, Subject

UPSTREAM, OURS, PEER = Subject(DIRECT, 1, (11,)), Subject(GATEWAY, 2, (12,)), Subject("peer", 3, ())
JOB = Unary(port=1)
FINE = Report(seconds=1.0, requests=5)


def trial(report: Report = FINE) -> Trial:
    return Trial(UPSTREAM, lambda _: report)


@contextmanager
def starts(subject: Subject | None) -> Iterator[Subject]:
    """Stand in for a process; None is one that does not start."""
    if subject is None:
        raise PeerError("peer does not start")
    yield subject


def raising(error: subprocess.SubprocessError) -> Callable[[AnyJob], Report]:
    def perform(_: AnyJob) -> Report:
        raise error

    return perform


def test_a_report_is_given_and_nothing_said() -> None:
    found = trial()
    assert found.ask(OURS, JOB, "job") is FINE
    assert (found.samples.problems, found.said()) == ([], [])


def test_a_job_is_told_whom_to_ask_and_whose_time_to_read() -> None:
    told = trial().told(OURS)
    assert (told["port"], told["subject"], told["upstream"]) == (2, [12], [11])


def test_failures_are_problems_of_ours_and_remarks_of_others() -> None:
    found = trial(Report(requests=1, errors={"status 503": 1200}))
    found.ask(OURS, JOB, "job")
    found.ask(UPSTREAM, JOB, "job")
    found.ask(PEER, JOB, "job")
    found.ask(PEER, JOB, "job")
    assert found.samples.problems == ["gateway, job: 1,200 x status 503", "direct, job: 1,200 x status 503"]
    assert found.said() == ["peer, job: 1,200 x status 503"]


def test_nothing_answered_is_no_report() -> None:
    found = trial(Report(seconds=1.0))
    assert found.ask(OURS, JOB, "job") is None
    assert found.samples.problems == ["gateway, job: nothing was answered"]


@pytest.mark.parametrize(
    "error", [subprocess.CalledProcessError(1, ["load"]), subprocess.TimeoutExpired(["load"], timeout=1)]
)
def test_a_load_that_dies_or_hangs_is_the_end_but_for_a_peer(error: subprocess.SubprocessError) -> None:
    found = Trial(UPSTREAM, raising(error))
    assert found.ask(PEER, JOB, "job") is None
    assert found.said() == ["peer, job: the load did not end well"]
    with pytest.raises(RuntimeError, match="gateway, job: the load did not end well"):
        found.ask(OURS, JOB, "job")


def test_a_load_that_was_the_limit_is_said_once_with_its_worst_round() -> None:
    reports = [Report(seconds=1.0, requests=1, load_cpu_s=used) for used in (0.92, 0.97, 0.5)]
    found = Trial(UPSTREAM, lambda _: reports.pop(0))
    for _ in range(3):
        found.ask(OURS, JOB, "job")
    assert found.said() == ["gateway, job: the load used 97% of its core, so it was the limit."]


BUSY = Subject("peer", 3, (13, 14))


def resting(
    outcome: bool | psutil.Error, perform: Callable[[AnyJob], Report] = lambda _: FINE
) -> tuple[Trial, list[Sequence[int]]]:
    """Give a trial whose peers rest or not, and who is waited for."""
    waited: list[Sequence[int]] = []

    def rest(pids: Sequence[int]) -> bool:
        waited.append(pids)
        if isinstance(outcome, psutil.Error):
            raise outcome
        return outcome

    return Trial(UPSTREAM, perform, rest), waited


def test_a_peer_is_waited_for_and_ours_are_not() -> None:
    found, waited = resting(True)
    for subject in (OURS, UPSTREAM, PEER, Subject(NGINX, 4, (15,)), BUSY):
        assert found.ask(subject, JOB, "job") is FINE
    assert waited == [(13, 14)], "of the peer whose processes are known, and that is not nginx"
    assert found.said() == []


def test_a_peer_that_does_not_rest_is_told_of() -> None:
    found, waited = resting(False, lambda _: Report(seconds=1.0))
    assert found.ask(BUSY, JOB, "job") is None
    busy, unanswered = found.said()
    assert busy == "peer, job: still busy 10 s later, at the cost of who was asked next"
    assert unanswered == "peer, job: nothing was answered"
    assert (len(waited), found.samples.problems) == (1, [])


def test_a_peer_that_hung_is_waited_for_too() -> None:
    found, waited = resting(True, perform=raising(subprocess.TimeoutExpired(["load"], timeout=1)))
    assert found.ask(BUSY, JOB, "job") is None
    assert waited == [(13, 14)]


def test_a_peer_that_died_is_told_of() -> None:
    found, _ = resting(psutil.NoSuchProcess(13))
    assert found.ask(BUSY, JOB, "job") is FINE
    assert found.said() == ["peer, job: a process of it has ended"]


@pytest.mark.parametrize(
    ("busy_seconds", "share", "rests", "lasts_s"),
    [(0.0, 0.0, True, 0.2), (1.0, 1.0, True, 1.2), (60.0, 0.5, False, 10.0), (60.0, 0.01, True, 0.2)],
)
def test_rest_is_two_percent_of_a_core(busy_seconds: float, share: float, rests: bool, lasts_s: float) -> None:
    now_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    def used_s(pids: Sequence[int]) -> float:
        assert pids == (13,)
        return min(now_s, busy_seconds) * share

    assert quiet.rest((13,), used_s=used_s, clock=lambda: now_s, sleep=sleep) is rests
    assert now_s == pytest.approx(lasts_s, abs=0.21)


def test_a_peer_that_does_not_start_is_left_out() -> None:
    found, used = trial(), list[Subject]()
    found.fresh([lambda: starts(OURS), lambda: starts(None), lambda: starts(UPSTREAM)], used.append)
    with ExitStack() as running:
        assert found.started([lambda: starts(None), lambda: starts(OURS)], running) == [OURS]
    assert used == [OURS, UPSTREAM]
    assert found.said() == ["peer does not start"]


def test_a_gateway_that_does_not_start_is_the_end() -> None:
    def broken() -> AbstractContextManager[Subject]:
        raise RuntimeError("was not ready")

    with pytest.raises(RuntimeError, match="was not ready"):
        trial().fresh([broken], lambda _: None)


def test_nothing_per_nothing_is_no_number() -> None:
    found = trial()
    found.add("m", OURS, 3.0, 0.0)
    found.add("m", OURS, 3.0, 2.0)
    assert found.samples.values["m"][GATEWAY] == [1.5]


def test_a_figure_stands_beside_nginx_where_both_have_as_many_rounds() -> None:
    found = trial()
    for name, values in ((GATEWAY, [6.0, 8.0]), (NGINX, [2.0, 2.0]), ("peer", [9.0])):
        for value in values:
            found.samples.add("m", name, value)
    ours, floor, peer = found.figures([Shown("m", "cost", "us", target=7.0)])
    assert (ours.name, ours.samples, ours.beside, ours.foreign) == ("cost", [6.0, 8.0], "cost: nginx", False)
    assert (floor.name, floor.foreign, peer.name, peer.foreign) == ("cost: nginx", True, "cost: peer", True)
    found.samples.add("m", NGINX, 2.0)
    assert found.figures([Shown("m", "cost", "us")])[0].beside is None


def test_what_is_added_is_a_difference_within_each_round_and_no_ratio() -> None:
    found = trial()
    for name, values in ((GATEWAY, [6.0, 8.0]), (NGINX, [2.0, 5.0]), (DIRECT, [1.0, 2.0])):
        for value in values:
            found.samples.add("m", name, value)
    figures = found.figures([Shown("m", "added", "ms", added=True)])
    assert {figure.name: figure.samples for figure in figures} == {"added": [5.0, 6.0], "added: nginx": [1.0, 3.0]}
    assert all(figure.beside is None for figure in figures)


def test_what_was_not_measured_is_no_figure() -> None:
    assert trial().figures([Shown("m", "cost", "us")]) == []


def test_everybody_begins_once() -> None:
    assert [taking_turns("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
