"""The race, under virtual time: rows of (delay, result), exact starts, exact winners, every loser closed."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import ClientError, Failure, GatewayError, Kind, UpstreamError
from engine.alarms import Due
from engine.hedge import Budget, Policy, Race

OK = "content"


def refused(status: int = 500) -> UpstreamError:
    return UpstreamError(Failure(status, Kind.UPSTREAM, f"{status}"), cause="status", retryable=True)


def at_fault() -> ClientError:
    return ClientError(Failure(400, Kind.INVALID_REQUEST, "no"))


@dataclass
class Runner:
    """An attempt that says `result` after `delay` seconds, however often it is asked meanwhile."""

    delay: float
    result: str | GatewayError
    started: float = field(default_factory=trio.current_time)
    hedge_seconds: float = 1.0
    closed_at: float | None = None
    error: UpstreamError | None = None
    said: bool = False
    on_content: Callable[[], None] = lambda: None

    async def wait(self, until: float = inf) -> None:
        assert self.closed_at is None
        assert not (self.said and isinstance(self.result, GatewayError)), "asked again after it failed"
        says_at = self.started + self.delay
        await trio.sleep_until(min(says_at, until))
        if until < says_at:
            raise Due
        self.said = True
        self.on_content()
        if isinstance(self.result, GatewayError):
            raise self.result

    def lose(self, error: UpstreamError | None = None) -> None:
        if self.closed_at is None:
            self.closed_at, self.error = trio.current_time(), error

    def close(self) -> None:
        self.lose()


class Scenario:
    """One race over rows of (delay, result)."""

    def __init__(
        self, *rows: tuple[float, str | GatewayError], hedge_seconds: float = 1.0, budgets: float = 10, **policy: Any
    ) -> None:
        self.hedge_seconds = hedge_seconds
        self.rows = list(rows)
        self.entered: list[Runner] = []
        values: dict[str, Any] = {
            "attempts_max": 3,
            "attempt_seconds": inf,
            "hedge_budget": Budget(0.1, tokens_max=budgets),
            "retry_budget": Budget(0.1, tokens_max=budgets),
            **policy,
        }
        self.policy = Policy(**values)
        self.race = Race(self.enter, self.policy, trio.current_time, nobody=lambda: refused(503))
        self.began = trio.current_time()

    def enter(self) -> Runner | None:
        if not self.rows:
            return None
        self.entered.append(Runner(*self.rows.pop(0), hedge_seconds=self.hedge_seconds))
        return self.entered[-1]

    async def run(self, keepalive_seconds: float = inf) -> int:
        """Race to the end as the engine does; return the number of the winner."""
        race = self.race
        try:
            race.start()
            while True:
                with contextlib.suppress(Due):
                    await race.wait(min(race.next_at, trio.current_time() + keepalive_seconds))
                    return self.entered.index(race.winner)  # type: ignore[arg-type]
                if trio.current_time() >= race.next_at:
                    race.start_next()
        finally:
            race.close()

    @property
    def starts(self) -> list[float]:
        return [runner.started - self.began for runner in self.entered]

    def losers_are_closed(self, winner: int) -> bool:
        return all((runner.closed_at is None) is (i == winner) for i, runner in enumerate(self.entered))


async def test_a_healthy_first_candidate_runs_alone(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((0.5, OK), (0, OK))
    assert await scenario.run() == 0
    assert scenario.starts == [0]
    assert not scenario.race.hedged
    assert trio.current_time() - scenario.began == 0.5


async def test_a_slow_one_gets_company_after_the_hedge_delay(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((10, OK), (0.25, OK), (0, OK))
    assert await scenario.run() == 1
    assert scenario.starts == [0, 1.0]
    assert scenario.race.hedged
    assert scenario.losers_are_closed(1)
    assert scenario.entered[0].closed_at == scenario.began + 1.25


async def test_the_slow_one_may_still_win(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((1.5, OK), (2, OK))
    assert await scenario.run() == 0
    assert scenario.starts == [0, 1.0]
    assert scenario.losers_are_closed(0)


async def test_each_hedge_has_its_own_delay_and_there_are_so_many(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((10, OK), (10, OK), (10, OK), (0, OK))
    assert await scenario.run() == 0
    assert scenario.starts == [0, 1.0, 2.0]


async def test_a_failure_starts_the_next_at_once(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((0.25, refused()), (0.5, refused()), (0.125, OK))
    assert await scenario.run() == 2
    assert scenario.starts == [0, 0.25, 0.75]
    assert not scenario.race.hedged
    assert scenario.losers_are_closed(2)


async def test_a_failure_of_one_of_two_leaves_the_other_and_starts_a_third(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scenario = Scenario((4, OK), (0.5, refused()), (5, OK))
    assert await scenario.run() == 0
    assert scenario.starts == [0, 1.0, 1.5]
    assert trio.current_time() - scenario.began == 4


async def test_a_request_at_fault_ends_the_race(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((10, OK), (0.5, at_fault()), (0, OK))
    with pytest.raises(ClientError):
        await scenario.run()
    assert scenario.starts == [0, 1.0]
    assert trio.current_time() - scenario.began == 1.5
    assert scenario.losers_are_closed(-1)


async def test_a_model_that_one_does_not_know_is_asked_of_the_next(autojump_clock: trio.testing.MockClock) -> None:
    unknown = ClientError(Failure(404, Kind.NOT_FOUND, "no such model"))
    scenario = Scenario((0.5, unknown), (0.5, OK))
    assert await scenario.run() == 1
    assert scenario.starts == [0, 0.5]
    scenario = Scenario((0.5, unknown))
    with pytest.raises(ClientError) as failed:
        await scenario.run()
    assert failed.value is unknown


async def test_a_failure_that_nobody_can_cure_starts_nothing(autojump_clock: trio.testing.MockClock) -> None:
    final = UpstreamError(Failure(502, Kind.UPSTREAM, "x"), cause="status", retryable=False)
    scenario = Scenario((0, final), (0, OK))
    with pytest.raises(UpstreamError) as failed:
        await scenario.run()
    assert failed.value is final
    assert scenario.starts == [0]


async def test_when_all_fail_the_failure_that_says_when_to_come_back_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scenario = Scenario((0, refused(429)), (0, refused(502)), (0, refused(500)))
    with pytest.raises(UpstreamError) as failed:
        await scenario.run()
    assert failed.value.failure.status == 429
    assert isinstance(failed.value.__cause__, ExceptionGroup)
    assert len(failed.value.__cause__.exceptions) == 3


async def test_without_such_a_failure_the_last_one_is_told(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((0, refused(502)), (0, refused(500)))
    with pytest.raises(UpstreamError) as failed:
        await scenario.run()
    assert failed.value.failure.status == 500


async def test_one_that_has_had_its_time_is_replaced(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((inf, OK), (0.5, OK), hedge_seconds=inf, attempt_seconds=3)
    assert await scenario.run() == 1
    assert scenario.starts == [0, 3]
    assert not scenario.race.hedged
    stalled = scenario.entered[0]
    assert stalled.closed_at == scenario.began + 3
    assert stalled.error is not None
    assert stalled.error.cause == "timeout"


async def test_the_last_one_goes_on_beyond_its_time(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((9, OK), hedge_seconds=1, attempt_seconds=3)
    assert await scenario.run() == 0
    assert trio.current_time() - scenario.began == 9


async def test_two_in_one_tick_have_one_winner(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((1.5, OK), (0.5, OK))
    winner = await scenario.run()
    assert trio.current_time() - scenario.began == 1.5
    assert scenario.losers_are_closed(winner)


async def test_a_winner_and_a_failure_in_one_tick(autojump_clock: trio.testing.MockClock) -> None:
    for rows in (((1.5, refused()), (0.5, OK)), ((1.5, OK), (0.5, refused()))):
        scenario = Scenario(*rows, (9, OK))
        winner = await scenario.run()
        assert scenario.entered[winner].result is OK
        assert trio.current_time() - scenario.began == 1.5
        assert scenario.losers_are_closed(winner)


@pytest.mark.parametrize("attempt_seconds", [inf, 2.0])
async def test_content_in_the_tick_in_which_the_next_is_due(
    autojump_clock: trio.testing.MockClock, attempt_seconds: float
) -> None:
    scenario = Scenario((2, OK), (9, OK), (0, OK), attempt_seconds=attempt_seconds)
    race = scenario.race
    race.start()
    await trio.sleep(1)
    race.start_next()
    with trio.CancelScope() as due:
        # The caller's deadline passes while the first one is on its way to say that it has content.
        scenario.entered[0].on_content = due.cancel
        await race.wait()
    assert due.cancelled_caught
    assert trio.current_time() == race.next_at == scenario.began + 2
    race.start_next()
    await race.wait()
    assert race.winner is scenario.entered[0]
    assert scenario.starts == [0, 1], "what has content is neither hedged nor replaced"
    assert scenario.losers_are_closed(0)


async def test_without_candidates_it_is_said_at_once(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario()
    with pytest.raises(UpstreamError) as failed:
        await scenario.run()
    assert failed.value.failure.status == 503


async def test_the_hedge_budget_bounds_the_extra_load(autojump_clock: trio.testing.MockClock) -> None:
    budget = Budget(0.1, tokens_max=2)
    hedged = 0
    for _ in range(100):
        scenario = Scenario((1.5, OK), (0.1, OK), hedge_budget=budget)
        await scenario.run()
        hedged += scenario.race.hedged
    assert 2 + 9 <= hedged <= 2 + 10


async def test_the_retry_budget_bounds_retries_in_an_outage(autojump_clock: trio.testing.MockClock) -> None:
    budget = Budget(0.1, tokens_max=5)
    attempts = 0
    for _ in range(100):
        scenario = Scenario(*[(0.0, refused())] * 3, retry_budget=budget)
        with pytest.raises(UpstreamError):
            await scenario.run()
        attempts += len(scenario.entered)
    assert 100 + 5 + 9 <= attempts <= 100 + 5 + 10


async def test_a_hedge_that_the_budget_refused_is_asked_for_again(autojump_clock: trio.testing.MockClock) -> None:
    budget = Budget(1, tokens_max=1)
    budget.tokens = 0
    scenario = Scenario((10, OK), (0.5, OK), hedge_budget=budget)
    assert budget.withdraw()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_fill_at, 3.5, budget)
        assert await scenario.run() == 1
    assert scenario.starts == [0, 4.0]


async def _fill_at(time: float, budget: Budget) -> None:
    await trio.sleep_until(time)
    budget.deposit()


async def test_a_share_of_nothing_never_hedges(autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((5, OK), (0, OK), hedge_budget=Budget(0, tokens_max=10))
    assert await scenario.run() == 0
    assert scenario.starts == [0]


@pytest.mark.parametrize("keepalive_seconds", [0.1, 0.3, 0.5, 1.0, 1.5])
async def test_interruptions_change_nothing(keepalive_seconds: float, autojump_clock: trio.testing.MockClock) -> None:
    scenario = Scenario((0.9, refused()), (5, OK), (0.6, OK))
    assert await scenario.run(keepalive_seconds) == 2
    assert scenario.starts == [0, 0.9, 1.9]
    assert trio.current_time() - scenario.began == pytest.approx(2.5)
    assert scenario.losers_are_closed(2)


ROWS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0]), st.sampled_from(["ok", "failed", "at fault"])),
    min_size=1,
    max_size=5,
)
RESULTS: dict[str, Callable[[], str | GatewayError]] = {"ok": lambda: OK, "failed": refused, "at fault": at_fault}


@given(ROWS, st.sampled_from([0.25, 0.5, 0.75, 1.0, inf]), st.sampled_from([0.0, 0.5, 1.25, 2.0, inf]))
def test_any_race_cancelled_at_any_time_leaves_nothing_open(
    rows: list[tuple[float, str]], keepalive_seconds: float, cancelled_after: float
) -> None:
    async def main() -> None:
        scenario = Scenario(*[(delay, RESULTS[result]()) for delay, result in rows], attempt_seconds=2.5)
        winner = -1
        with trio.move_on_after(cancelled_after) as scope:
            try:
                winner = await scenario.run(keepalive_seconds)
            except GatewayError:
                assert all(runner.result is not OK for runner in scenario.entered if runner.said)
        assert scenario.losers_are_closed(winner)
        assert scenario.race.started == len(scenario.entered) <= 3
        if winner < 0 and not scope.cancelled_caught:
            assert any(runner.result is not OK for runner in scenario.entered)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
