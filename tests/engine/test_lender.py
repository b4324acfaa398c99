"""The lender in virtual time: who waits for how long, who is refused when, and where every nano-dollar is meanwhile."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

import pytest
import trio
import trio.lowlevel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.budgets.allowance import Budget, Unit
from engine.budgets.lender import AGAIN_SECONDS, IDLE_SECONDS, PATIENCE_SECONDS, WANTS_MAX, Lender, ShortageError
from engine.budgets.periods import Period
from engine.budgets.reservation import Reservation, Standing, reserve
from engine.budgets.standings import KEPT_SECONDS, Standings
from engine.config import load_document
from engine.principal import Principal
from engine.treasury import NEWS_SECONDS
from store.interface import ConflictError, StoreError, UnavailableError
from store.memory import MemoryStore
from store.rows import Account, Grant, Key, Return, TransferKind, Want, wallet_of
from tests.engine.live import document

NOON = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp())
WALLET = Budget(wallet_of("a"), Unit.MONEY, Period.ALWAYS, None, "balance")


def cap(limit: int, name: str = "day:key:k") -> Budget:
    return Budget(name, Unit.MONEY, Period.DAY, limit, "daily cap of the key")


def rate(limit: int) -> Budget:
    return Budget("rpm:key:k", Unit.REQUESTS, Period.MINUTE, limit, "requests per minute of this key")


def places(limit: int) -> Budget:
    return Budget("places:key:k", Unit.PLACES, Period.ALWAYS, limit, "requests at a time of this key")


class House:
    """A store with one account, and the lenders of its workers, who hear its news."""

    def __init__(self, store: MemoryStore, nursery: trio.Nursery, *, starts: int) -> None:
        self.store = store
        self.lenders: list[Lender] = []
        self._nursery = nursery
        self._starts = starts - trio.current_time()

    def clock(self) -> float:
        return self._starts + trio.current_time()

    async def lender(self, *, hears: bool = True) -> Lender:
        """Begin a worker's lender. `hears`: it is told what others are short of."""
        holder = f"w{len(self.lenders)}"
        await self.store.enter(holder, 0)
        lender = Lender(self.store, holder, clock=self.clock)
        self.lenders.append(lender)
        self._nursery.start_soon(lender.run)
        if hears:
            self._nursery.start_soon(self._hear, holder, lender)
        return lender

    async def _hear(self, holder: str, lender: Lender) -> None:
        while True:
            await trio.sleep(NEWS_SECONDS)
            try:
                news = await self.store.news(holder, 0)
            except StoreError:
                continue
            for budget, window in news.recalled:
                lender.recall(budget, window)

    async def take(self, lender: Lender, amount: int, *budgets: Budget) -> Reservation:
        """Reserve as a request does."""
        while True:
            now = self.clock()
            standing = Standing([lender.allowance(each, now) for each in budgets or (WALLET,)], day=1, month=1, ends=0)
            outcome = reserve(standing, amount, 0, now)
            if isinstance(outcome, Reservation):
                lender.top_up(standing)
                return outcome
            await lender.replenish(outcome)

    async def leased(self) -> int:
        return sum(lease.amount for lease in await self.store.leases())

    def free(self, lender: Lender) -> int:
        """Return what is free of the wallet, without looking like a request."""
        allowance = lender._allowances.get((WALLET.id, 0))
        return 0 if allowance is None else allowance.free


@asynccontextmanager
async def house(
    balance: int, *, store: MemoryStore | None = None, delay_seconds: float = 0.0, starts: int = NOON
) -> AsyncIterator[House]:
    store = store or MemoryStore()
    await store.put_account(Account(id="a", name="a"))
    if balance:
        await store.credit("a", balance, TransferKind.TOP_UP, id="t", now=1)
    store.delay_seconds = delay_seconds
    async with trio.open_nursery() as nursery:
        yield House(store, nursery, starts=starts)
        nursery.cancel_scope.cancel()
    store.delay_seconds = 0.0
    assert await store.check() == []


@asynccontextmanager
async def lasting(least: float, most: float | None = None) -> AsyncIterator[None]:
    """Check how long the block takes, in virtual seconds."""
    began = trio.current_time()
    yield
    seconds = trio.current_time() - began
    assert least - 1e-9 <= seconds <= (least if most is None else most) + 1e-9, seconds


# -- waiting for a lease -----------------------------------------------------------------------------------------------


async def test_all_who_wait_go_into_one_exchange(autojump_clock: MockClock) -> None:
    async with house(10**9, delay_seconds=0.5) as made:
        lender = await made.lender()
        async with lasting(0.5), trio.open_nursery() as nursery:
            for _ in range(1_000):
                nursery.start_soon(made.take, lender, 10)
        statistics = lender.statistics()
        assert (statistics.waited_total, statistics.exchanges_total) == (1_000, 1)
        assert made.free(lender) == await made.leased() - 10_000


async def test_to_the_last_nano_dollar_nobody_is_refused_or_waits_for_nothing(autojump_clock: MockClock) -> None:
    async with house(10_000) as made:
        lender = await made.lender()
        async with lasting(0), trio.open_nursery() as nursery:
            for _ in range(1_000):
                nursery.start_soon(made.take, lender, 10)
        assert await made.leased() == 10_000
        async with lasting(0):
            with pytest.raises(ShortageError):
                await made.take(lender, 1)


async def test_a_shortage_is_told_at_once_when_nobody_else_holds_anything(autojump_clock: MockClock) -> None:
    async with house(100) as made:
        lender = await made.lender()
        async with lasting(0):
            with pytest.raises(ShortageError) as caught:
                await made.take(lender, 101)
        assert caught.value.lack.amount == 101
        assert caught.value.lack.allowance.budget is WALLET
        await made.take(lender, 100)


async def test_the_budget_that_is_short_is_the_one_that_is_named(autojump_clock: MockClock) -> None:
    async with house(1_000) as made:
        lender = await made.lender()
        tight = cap(10)
        with pytest.raises(ShortageError) as caught:
            await made.take(lender, 11, WALLET, tight)
        assert caught.value.lack.allowance.budget is tight
        reservation = await made.take(lender, 10, WALLET, tight)
        reservation.void()


async def test_what_others_use_is_waited_for_with_patience_and_no_longer(autojump_clock: MockClock) -> None:
    async with house(100) as made:
        first, second = await made.lender(), await made.lender()
        await made.take(first, 95)
        async with lasting(PATIENCE_SECONDS, PATIENCE_SECONDS + AGAIN_SECONDS):
            with pytest.raises(ShortageError):
                await made.take(second, 50)


async def test_patience_begins_when_the_store_has_answered(autojump_clock: MockClock) -> None:
    async with house(100) as made:
        first, second = await made.lender(), await made.lender()
        reservation = await made.take(first, 95)
        reservation.void()
        made.store.delay_seconds = 0.5
        async with lasting(PATIENCE_SECONDS, 2):
            await made.take(second, 50)


async def test_what_others_do_not_use_comes_within_two_looks_at_the_news(autojump_clock: MockClock) -> None:
    async with house(1_000) as made:
        lenders = [await made.lender() for _ in range(4)]
        for lender in lenders:
            await made.take(lender, 60)
        assert await made.leased() > 900, "most of it lies with workers that do not need it"
        async with lasting(0.1, 2 * NEWS_SECONDS + AGAIN_SECONDS):
            await made.take(lenders[3], 760)
        assert await made.leased() == 1_000


async def test_that_it_runs_low_does_not_hide_what_somebody_lacks(autojump_clock: MockClock) -> None:
    async with house(1_000) as made:
        lender = await made.lender()
        await made.take(lender, 100)
        assert made.free(lender) == 400, "a half of it was leased"
        async with lasting(0):
            await made.take(lender, 200)  # which asks for more in the background
            await made.take(lender, 600)
        assert lender.statistics().exchanges_total == 2


async def test_of_several_who_lack_some_are_served_when_there_is_not_enough_for_all(autojump_clock: MockClock) -> None:
    async with house(100) as made:
        lender = await made.lender()
        taken, refused = [], []

        async def ask(amount: int) -> None:
            try:
                await made.take(lender, amount)
            except ShortageError:
                refused.append(amount)
            else:
                taken.append(amount)

        async with lasting(0), trio.open_nursery() as nursery:
            for amount in (30, 60, 200, 40, 50):
                nursery.start_soon(ask, amount)
        assert taken
        assert 100 - sum(taken) < min(refused)


@pytest.mark.parametrize("amount", [1, 50])
async def test_a_load_that_begins_at_once_waits_once(autojump_clock: MockClock, amount: int) -> None:
    """A thousand requests a second, of which each is charged a fiftieth of what it reserves, or all of it."""
    async with house(10**12, delay_seconds=0.4) as made:
        lender = await made.lender()
        first = await made.take(lender, 50, WALLET, rate(600_000))
        for number in range(4_000):
            (await made.take(lender, 50, WALLET, rate(600_000))).settle(amount, 0)
            await trio.sleep(0.001)
            if number == 1_000:
                begun = lender.statistics().waited_total
        first.void()
        assert begun <= (1 if amount == 1 else 2)
        assert lender.statistics().waited_total == begun


async def test_who_pauses_for_less_than_minutes_does_not_wait_again(autojump_clock: MockClock) -> None:
    async with house(10**9, delay_seconds=0.2) as made:
        lender = await made.lender()
        async with lasting(0.2):
            (await made.take(lender, 10, WALLET, cap(10**9))).void()
        for _ in range(5):
            await trio.sleep(IDLE_SECONDS - 5)
            async with lasting(0):
                (await made.take(lender, 10, WALLET, cap(10**9))).void()


async def test_what_lacks_is_waited_for_where_it_is_asked_for_already(autojump_clock: MockClock) -> None:
    async with house(10**6, delay_seconds=0.5) as made:
        lender = await made.lender()
        await made.take(lender, 10)
        await made.take(lender, made.free(lender) - 5)
        await trio.sleep(0.3)
        async with lasting(0.2):
            await made.take(lender, 10)
        assert lender.statistics().exchanges_total == 2


async def test_money_that_comes_while_more_is_asked_for_is_there_for_who_asks_after_it(
    autojump_clock: MockClock,
) -> None:
    async with house(100) as made:
        lender = await made.lender()
        await made.take(lender, 40)
        made.store.delay_seconds = 0.5
        standing = Standing([lender.allowance(WALLET, made.clock())], day=1, month=1, ends=0)
        standing.is_low, standing.money[0].low = True, 10**6
        lender.top_up(standing)
        await trio.sleep(0.25)
        async with trio.open_nursery() as nursery:
            # It is there before the request is, and after the exchange that the request finds under way.
            nursery.start_soon(partial(made.store.credit, "a", 1_000, TransferKind.TOP_UP, id="more", now=1))
            await trio.lowlevel.checkpoint()
            await made.take(lender, 500)


async def test_a_steady_load_never_waits_after_its_beginning(autojump_clock: MockClock) -> None:
    async with house(10**9, delay_seconds=0.05) as made:
        lender = await made.lender()
        for second in range(20):
            for _ in range(100):
                await made.take(lender, 100)
                await trio.sleep(0.01)
            if second == 0:
                waited = lender.statistics().waited_total
        assert waited <= 3
        assert lender.statistics().waited_total == waited
        assert lender.statistics().exchanges_total < 200


# -- windows -----------------------------------------------------------------------------------------------------------


async def test_a_minute_that_ends_while_a_request_is_patient_lets_it_into_the_next(autojump_clock: MockClock) -> None:
    async with house(0, starts=NOON + 59) as made:
        first, second = await made.lender(), await made.lender()
        budget = rate(2)
        await made.take(first, 0, budget)
        await made.take(first, 0, budget)
        await trio.sleep(0.5)
        await made.take(second, 0, rate(3))  # the third, under a limit that was raised
        async with lasting(0.5, 0.5 + AGAIN_SECONDS):
            await made.take(second, 0, budget)
        assert made.clock() >= NOON + 60


async def test_a_lease_that_comes_too_late_for_its_minute_is_asked_for_the_next_one(autojump_clock: MockClock) -> None:
    async with house(0, starts=NOON + 59) as made:
        lender = await made.lender()
        made.store.delay_seconds = 2.0
        async with lasting(4):
            await made.take(lender, 0, rate(1))
        (lease,) = [each for each in await made.store.leases() if each.window == (NOON + 60) // 60]
        assert lease.amount == 1


async def test_a_shortage_of_a_minute_that_is_over_is_nobodys(autojump_clock: MockClock) -> None:
    async with house(0, starts=NOON + 59) as made:
        lender = await made.lender()
        await made.take(lender, 0, rate(1))
        made.store.delay_seconds = 2.0
        async with lasting(4):
            await made.take(lender, 0, rate(1))


@pytest.mark.parametrize(("starts", "budget"), [(NOON + 40, rate(60_000)), (NOON + 12 * 3600 - 20, cap(10**9))])
async def test_who_is_busy_when_a_window_ends_does_not_wait_for_the_next(
    autojump_clock: MockClock, starts: int, budget: Budget
) -> None:
    async with house(10**12, starts=starts, delay_seconds=0.2) as made:
        lender = await made.lender()
        for _ in range(4_000):
            (await made.take(lender, 10, WALLET, budget)).settle(7, 0)
            await trio.sleep(0.01)
        assert made.clock() > starts + 40
        assert lender.statistics().waited_total == 1, "only the first one did"


async def test_of_a_limit_that_is_nearly_all_taken_ahead_everybody_gets_what_is_his(autojump_clock: MockClock) -> None:
    async with house(0, starts=NOON + 45) as made:
        lenders = [await made.lender() for _ in range(4)]
        budget = rate(12)
        for lender in lenders:
            await made.take(lender, 0, budget)
        await trio.sleep(20)
        (ahead,) = {each.window for each in await made.store.leases() if each.ends > made.clock()}
        assert ahead == (NOON + 60) // 60
        for _ in range(12):
            await made.take(lenders[3], 0, budget)
        for lender in lenders:
            with pytest.raises(ShortageError):
                await made.take(lender, 0, budget)


async def test_what_is_not_in_use_is_not_leased_ahead(autojump_clock: MockClock) -> None:
    async with house(1_000, starts=NOON + 11 * 3600) as made:
        lender = await made.lender()
        (await made.take(lender, 10, WALLET, cap(500), rate(10))).void()
        await trio.sleep(2 * 3600)
        assert [each for each in await made.store.leases() if not each.counted] == []
        assert lender.statistics().exchanges_total <= 3, "one for all, one for the next minute, one back"


async def test_a_limit_that_changes_holds_for_what_was_leased_ahead(autojump_clock: MockClock) -> None:
    async with house(0, starts=NOON + 55) as made:
        lender = await made.lender()
        await made.take(lender, 0, rate(600))
        await trio.sleep(6)
        lowered = rate(2)
        await made.take(lender, 0, lowered)
        await trio.testing.wait_all_tasks_blocked()
        await made.take(lender, 0, lowered)
        with pytest.raises(ShortageError):
            await made.take(lender, 0, lowered)


async def test_windows_are_leased_ahead_a_transaction_at_a_time(autojump_clock: MockClock) -> None:
    async with house(0, starts=NOON + 45) as made:
        lender = await made.lender()
        async with trio.open_nursery() as nursery:
            for number in range(2 * WANTS_MAX):
                name = f"rpm:key:{number}"
                nursery.start_soon(made.take, lender, 0, Budget(name, Unit.REQUESTS, Period.MINUTE, 100, name))
        known = []
        await trio.sleep(0.5)
        for _ in range(10):
            known.append(lender.statistics().allowances)
            await trio.sleep(1)
        assert {after - before for before, after in pairwise(known)} == {0, WANTS_MAX}
        assert known[-1] == 4 * WANTS_MAX


# -- giving back -------------------------------------------------------------------------------------------------------


async def test_what_nobody_uses_goes_back(autojump_clock: MockClock) -> None:
    async with house(1_000) as made:
        lender = await made.lender()
        reservation = await made.take(lender, 100)
        await trio.sleep(IDLE_SECONDS - 1)
        assert await made.leased() > 100
        await trio.sleep(3)
        assert await made.leased() == 100, "what is reserved stays"
        reservation.void()
        await trio.sleep(2)
        assert await made.store.leases() == []


async def test_what_is_left_of_a_day_goes_back_when_it_ends(autojump_clock: MockClock) -> None:
    async with house(1_000, starts=NOON + 12 * 3600 - 3) as made:
        lender = await made.lender()
        late, day = await made.take(lender, 10, WALLET, cap(500)), (NOON + 12 * 3600 - 3) // 86_400
        await trio.sleep(5)
        (lease,) = [each for each in await made.store.leases() if each.window == day]
        assert lease.amount == 10, "what is reserved of yesterday stays yesterday's"
        late.settle(4, 0)
        await trio.sleep(2)
        (lease,) = [each for each in await made.store.leases() if each.window == day]
        assert lease.amount == 4, "what will be booked"


async def test_a_minute_is_forgotten_with_what_was_leased_of_it(autojump_clock: MockClock) -> None:
    async with house(0) as made:
        lender = await made.lender()
        for _ in range(5):
            await made.take(lender, 0, rate(10))
            await trio.sleep(60)
        assert lender.statistics().allowances <= 2, "the present one and the next"
        await trio.sleep(120)
        assert lender.statistics().allowances == 0


async def test_recall_gives_back_what_is_free_and_nothing_of_what_is_not_known(autojump_clock: MockClock) -> None:
    async with house(1_000) as made:
        lender = await made.lender()
        await made.take(lender, 100)
        lender.recall(WALLET.id, 0)
        lender.recall(WALLET.id, 1)
        lender.recall("day:key:nobody", 0)
        await trio.testing.wait_all_tasks_blocked()
        assert (await made.leased(), made.free(lender)) == (100, 0)


async def test_a_lowered_limit_of_places_holds_in_all_workers_once_they_have_heard(autojump_clock: MockClock) -> None:
    async with house(0) as made:
        lenders = [await made.lender(), await made.lender()]
        under_way = [await made.take(lender, 0, places(8)) for lender in lenders for _ in range(4)]
        lowered = places(2)
        for lender in lenders:
            with pytest.raises(ShortageError):
                await made.take(lender, 0, lowered)
        for reservation in under_way[2:]:
            # A busy worker would take the place at once.
            reservation.void()
            with pytest.raises(ShortageError):
                await made.take(lenders[0], 0, lowered)
        under_way[1].void()
        await trio.sleep(2)
        await made.take(lenders[1], 0, lowered)
        with pytest.raises(ShortageError):
            await made.take(lenders[0], 0, lowered)


async def test_places_that_are_owed_stay_so_while_the_store_is_away(autojump_clock: MockClock) -> None:
    async with house(0) as made:
        lender = await made.lender()
        under_way = [await made.take(lender, 0, places(4)) for _ in range(4)]
        lowered = places(1)
        with pytest.raises(ShortageError):
            await made.take(lender, 0, lowered)
        made.store.fail(UnavailableError("away"))
        for reservation in under_way[1:]:
            reservation.void()
        await trio.sleep(5)
        with pytest.raises(UnavailableError):
            await made.take(lender, 0, lowered)
        made.store.heal()
        await trio.sleep(2)
        assert await made.leased() == 1
        under_way[0].void()


async def test_a_lowered_cap_calls_back_what_is_free(autojump_clock: MockClock) -> None:
    async with house(10_000) as made:
        lender = await made.lender()
        await made.take(lender, 100, WALLET, cap(5_000))
        await made.take(lender, 10, WALLET, cap(100))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ShortageError):
            await made.take(lender, 10, WALLET, cap(100))


async def test_an_allowance_is_not_forgotten_as_long_as_a_standing_draws_on_it(autojump_clock: MockClock) -> None:
    async with house(1_000) as made:
        lender = await made.lender(hears=False)
        standings = Standings(lender, load_document(document("http://127.0.0.1:9"), {}))
        keys = [
            Principal(name, key=Key(id=name, account="a", name=name, digest=b""), account=Account(id="a", name="a"))
            for name in ("one", "two")
        ]

        async def ask(principal: Principal) -> None:
            while isinstance(outcome := reserve(standings.of(principal, "m", made.clock()), 5, 0, made.clock()), list):
                await lender.replenish(outcome)
            outcome.void()

        for hours in (0.8, 2.1):
            await ask(keys[0])
            await trio.sleep(KEPT_SECONDS * hours)
            await ask(keys[1])
            await trio.sleep(IDLE_SECONDS + 3)
            assert await made.store.leases() == [], "no lease is with an allowance that nobody looks after"
        assert lender.statistics().allowances == 1


async def test_a_place_that_is_taken_for_hours_comes_back(autojump_clock: MockClock) -> None:
    async with house(0) as made:
        lender = await made.lender(hears=False)
        reservation = await made.take(lender, 0, places(1))
        await trio.sleep(2.1 * 3600)
        reservation.void()
        await trio.sleep(2)
        assert await made.store.leases() == []


# -- the store away ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [UnavailableError("away"), StoreError("damaged")])
async def test_without_the_store_who_lacks_is_told_and_who_has_goes_on(
    autojump_clock: MockClock, error: StoreError
) -> None:
    async with house(1_000) as made:
        lender = await made.lender()
        await made.take(lender, 10)
        made.store.fail(error)
        free = made.free(lender)
        async with lasting(0):
            await made.take(lender, free)
            with pytest.raises(UnavailableError):
                await made.take(lender, 1)
        made.store.heal()
        await made.take(lender, 1)
        assert lender.statistics().failed_total >= 1


async def test_what_cannot_be_given_back_is_not_lost(autojump_clock: MockClock) -> None:
    async with house(1_000) as made:
        lender = await made.lender()
        (await made.take(lender, 100)).void()
        made.store.fail(UnavailableError("away"))
        lender.recall(WALLET.id, 0)
        await trio.sleep(IDLE_SECONDS + 5)
        assert made.free(lender) == 500
        made.store.heal()
        await trio.sleep(2)
        assert await made.store.leases() == []
        assert made.free(lender) == 0


async def test_what_cannot_be_given_back_for_hours_is_not_lost(autojump_clock: MockClock) -> None:
    async with house(1_000) as made:
        lender = await made.lender(hears=False)
        (await made.take(lender, 100)).void()
        # A call takes its time and fails, so that it is most of the time with the store, and with nobody.
        made.store.fail(UnavailableError("away"))
        made.store.delay_seconds = 4.9
        await trio.sleep(2.1 * 3600)
        made.store.delay_seconds = 0.0
        made.store.heal()
        await trio.sleep(10)
        assert await made.store.leases() == []


async def test_a_store_that_contradicts_ends_the_worker(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    lender = Lender(store, "unknown", clock=lambda: NOON)
    lacking = reserve(Standing([lender.allowance(WALLET, NOON)], day=1, month=1, ends=0), 5, 0, NOON)
    assert isinstance(lacking, list)
    with pytest.RaisesGroup(ConflictError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lender.run)
            nursery.start_soon(lender.replenish, lacking)


class Second(MemoryStore):
    """A store that cannot be had in the second transaction with leases."""

    exchanges = 0

    async def lease(self, holder: str, wants: Sequence[Want], returns: Sequence[Return], now: int) -> list[Grant]:
        self.exchanges += 1
        if self.exchanges == 2:
            raise UnavailableError("away")
        return await super().lease(holder, wants, returns, now)


async def test_of_more_than_one_transaction_holds_each_has_its_own_end(autojump_clock: MockClock) -> None:
    async with house(0, store=Second()) as made:
        lender = await made.lender()
        served, refused = [], []

        async def ask(number: int) -> None:
            try:
                await made.take(lender, 1, cap(10, f"day:key:{number}"))
            except UnavailableError:
                refused.append(number)
            else:
                served.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(WANTS_MAX + 100):
                nursery.start_soon(ask, number)
        assert (len(served), len(refused)) == (WANTS_MAX, 100)


# -- cancellation, and many workers ------------------------------------------------------------------------------------


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(st.tuples(st.integers(1, 400), st.integers(0, 9), st.integers(0, 30)), min_size=1, max_size=8),
    delay=st.sampled_from([0.0, 0.1, 0.7]),
)
def test_a_waiter_may_be_cancelled_at_any_moment(asked: list[tuple[int, int, int]], delay: float) -> None:
    """Amount, when it is asked and for how long, in tenths of a second."""

    async def main() -> None:
        async with house(1_000, delay_seconds=delay) as made:
            lenders = [await made.lender(), await made.lender()]
            taken: list[Reservation] = []

            async def ask(number: int, amount: int, at: int, patience: int) -> None:
                await trio.sleep(at / 10)
                with trio.move_on_after(patience / 10):
                    try:
                        taken.append(await made.take(lenders[number % 2], amount))
                    except ShortageError:
                        return

            async with trio.open_nursery() as nursery:
                for number, row in enumerate(asked):
                    nursery.start_soon(ask, number, *row)
            await trio.sleep(5 * delay + 0.01)
            reserved = sum(each.nanos for each in taken)
            assert await made.leased() == reserved + sum(made.free(each) for each in lenders) <= 1_000
            for each in taken:
                each.void()
            await trio.sleep(IDLE_SECONDS + 3 + 5 * delay)
            assert await made.store.leases() == []

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("seed", range(6))
async def test_workers_spend_a_wallet_together_to_its_end_and_never_beyond(
    autojump_clock: MockClock, workers: int, seed: int
) -> None:
    dice = random.Random(seed)
    async with house(1_000, delay_seconds=0.01) as made:
        lenders = [await made.lender() for _ in range(workers)]
        charged, refused = [], []

        async def ask(lender: Lender) -> None:
            await trio.sleep(dice.random())
            amount = dice.randint(1, 12)
            try:
                reservation = await made.take(lender, amount)
            except ShortageError:
                refused.append(amount)
                return
            await trio.sleep(dice.random() / 10)
            nanos = dice.randint(0, amount + 3)
            charge = reservation.charge(nanos)
            reservation.settle(charge.amount_nanos, 0)
            charged.append(charge.amount_nanos)
            assert sum(charged) <= 1_000

        async with trio.open_nursery() as nursery:
            for _ in range(100 * workers):
                nursery.start_soon(ask, dice.choice(lenders))
        left = 1_000 - sum(charged)
        assert left >= 0
        if left:
            # All that is left can be had by anybody, wherever it lies.
            await made.take(dice.choice(lenders), left)
        with pytest.raises(ShortageError):
            await made.take(lenders[0], 1)
        assert not refused or left < 200


async def test_exactly_as_many_are_served_as_there_is_money_for(autojump_clock: MockClock) -> None:
    async with house(600) as made:
        lenders = [await made.lender() for _ in range(4)]
        served, refused = [], []

        async def ask(lender: Lender) -> None:
            try:
                served.append(await made.take(lender, 10))
            except ShortageError:
                refused.append(lender)

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, lenders[number % 4])
        assert (len(served), len(refused)) == (60, 40)
