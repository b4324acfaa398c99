"""Answers that are read on without a client: up to a bound, for a time, and charged by what was learnt of them."""

import errno
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from adapters.errors import Failure, GatewayError, Kind, UpstreamError
from adapters.usage import Usage
from engine.drains import Drains

EVENT = b'data: {"delta":"x"}\n\n'
COUNTED = Usage(10, 5)


@dataclass
class Attempt:
    """An answer of rows (seconds after the one before, bytes or an error); it ends with the last, or hangs."""

    rows: list[tuple[float, bytes | GatewayError]]
    hangs: bool = False
    tap: Any = field(default_factory=lambda: SimpleNamespace(usage=None, failure=None))

    def streaming(self) -> bool:
        return bool(self.rows) or self.hangs

    async def receive(self) -> bytes:
        if not self.rows:
            await trio.sleep_forever()
        seconds, what = self.rows[0]
        await trio.sleep(seconds)
        if isinstance(what, GatewayError):
            raise what
        self.rows.pop(0)
        if not self.rows and not self.hangs:
            self.tap.usage = COUNTED
        return what


@dataclass
class Left:
    """An answer whose client left: stands in for its entrant, its meter and its exchange, and notes what they hear."""

    attempt: Attempt
    candidate: str = "candidate"
    id: str = "x-1"
    broken: list[GatewayError] = field(default_factory=list)
    settled: list[tuple[Usage | None, int, int, bool]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    failure: OSError | None = None

    def tell_broken(self, error: GatewayError) -> None:
        self.broken.append(error)

    def settle_stream(self, usage: Usage | None, candidate: str, *, events: int, bytes_out: int, whole: bool) -> None:
        assert candidate == self.candidate
        if self.failure is not None:
            raise self.failure
        self.settled.append((usage, events, bytes_out, whole))

    def close(self) -> None:
        self.closed.append("closed")


def answer(*seconds: float, hangs: bool = False) -> Left:
    return Left(Attempt([(each, EVENT) for each in seconds], hangs=hangs))


class Yard:
    """Drains that run, with what was logged."""

    def __init__(self, *, answers_max: int = 10, seconds_max: float = 60) -> None:
        self.logged: list[object] = []
        self.drains = Drains(self.logged.append)
        self.drains.answers_max = answers_max
        self.drains.seconds_max = seconds_max

    def adopt(self, left: Left, *, events: int = 2) -> bool:
        stands_in: Any = left
        return self.drains.adopt(stands_in, stands_in, stands_in, events=events, bytes_out=100)

    @property
    def counts(self) -> tuple[int, int, int]:
        statistics = self.drains.statistics()
        return statistics.open, statistics.finished_total, statistics.cut_total


async def test_an_answer_is_read_to_its_end_and_its_own_count_is_charged(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    yard, left = Yard(), answer(1, 1, 1)
    await nursery.start(yard.drains.run)
    assert yard.adopt(left)
    assert (yard.counts, left.settled) == ((1, 0, 0), [])
    await yard.drains.wait_idle()
    assert trio.current_time() == 3
    assert left.settled == [(COUNTED, 2 + 3, 100 + 3 * len(EVENT), True)]
    assert (yard.counts, yard.logged) == ((0, 1, 0), [left])
    assert left.closed == ["closed", "closed"], "the entrant and the meter"


async def test_what_takes_too_long_is_cut_and_estimated(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    yard, left = Yard(seconds_max=10), answer(1, hangs=True)
    await nursery.start(yard.drains.run)
    assert yard.adopt(left)
    await yard.drains.wait_idle()
    assert trio.current_time() == 10
    assert left.settled == [(None, 3, 100 + len(EVENT), False)]
    assert (yard.counts, yard.logged) == ((0, 0, 1), [left])


async def test_what_breaks_is_cut_and_its_candidate_hears_of_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    error = UpstreamError(Failure(502, Kind.UPSTREAM, "cut"), cause="reset", retryable=True)
    yard, left = Yard(), answer(1)
    left.attempt.rows.append((1, error))
    await nursery.start(yard.drains.run)
    assert yard.adopt(left)
    await yard.drains.wait_idle()
    assert (left.broken, left.settled) == ([error], [(None, 3, 100 + len(EVENT), False)])
    assert yard.counts == (0, 0, 1)


async def test_an_error_in_the_stream_is_no_whole_answer(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    yard, left = Yard(), answer(1)
    left.attempt.tap.failure = Failure(500, Kind.UPSTREAM, "because")
    await nursery.start(yard.drains.run)
    assert yard.adopt(left)
    await yard.drains.wait_idle()
    assert [row[3] for row in left.settled] == [False]
    assert yard.counts == (0, 0, 1)


async def test_so_many_are_adopted_and_no_more(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    yard = Yard(answers_max=2)
    await nursery.start(yard.drains.run)
    lefts = [answer(seconds) for seconds in (1, 2, 3)]
    assert [yard.adopt(left) for left in lefts] == [True, True, False]
    assert (lefts[2].settled, lefts[2].closed) == ([], []), "it is still the caller's"
    await trio.sleep(1.5)
    assert yard.adopt(lefts[2]), "there is room again"
    await yard.drains.wait_idle()
    assert yard.counts == (0, 3, 0)


async def test_none_is_adopted_before_it_runs_or_after(autojump_clock: MockClock) -> None:
    yard = Yard()
    assert not yard.adopt(answer(1))
    async with trio.open_nursery() as nursery:
        await nursery.start(yard.drains.run)
        nursery.cancel_scope.cancel()
    assert not yard.adopt(answer(1))
    await yard.drains.wait_idle()


@pytest.mark.parametrize("started", [True, False])
async def test_the_end_of_the_worker_cuts_and_settles_all(autojump_clock: MockClock, started: bool) -> None:
    yard, left = Yard(), answer(1, hangs=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(yard.drains.run)
        assert yard.adopt(left)
        if started:
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert left.settled == [(None, 2, 100, False)]
    assert (yard.counts, yard.logged, left.closed) == ((0, 0, 1), [left], ["closed", "closed"])


async def test_a_journal_that_fails_costs_neither_the_worker_nor_a_connection(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    yard, left, other = Yard(), answer(1), answer(2)
    left.failure = OSError(errno.EIO, "Input/output error")
    await nursery.start(yard.drains.run)
    assert yard.adopt(left)
    assert yard.adopt(other)
    await yard.drains.wait_idle()
    assert left.closed == ["closed", "closed"], "closing the meter voids what was reserved"
    assert (yard.counts, yard.logged) == ((0, 2, 0), [left, other])
    assert "x-1 cost cannot be written down" in caplog.text
    assert len(other.settled) == 1
