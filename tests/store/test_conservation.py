"""Money is conserved whatever workers, operators and the clock do, in whatever order, and wherever a worker dies.

A machine does any sequence of steps with a store and with simulated workers, each with allowances in memory and a
journal, and keeps a model of its own beside them: sums that are added up as a child would. After every step the store
says what the model says. In the end every journal is booked to its end, and the ledger holds what stood in journals
once, the credits and the refunds, and nothing else.
"""

import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import Struct

from store.db import open_store
from store.interface import ConflictError, Store
from store.memory import MemoryStore
from store.memory_ledger import transfer_of
from store.rows import (
    DAY,
    DAY_SECONDS,
    MONTH,
    NO_WINDOW,
    Position,
    Return,
    Settlement,
    Team,
    TransferKind,
    Want,
    cap_budget,
    day_of,
    wallet_of,
)
from tests.store.samples import NOW, account, key

T = TypeVar("T")
Slot = tuple[str, int]

TEAM_OF = {"acc_1": "team_1", "acc_2": None}
ACCOUNT_OF = {"key_1": "acc_1", "key_2": "acc_1", "key_3": "acc_2"}
CAPS = (
    cap_budget(DAY, "key", "key_1"),
    cap_budget(MONTH, "key", "key_3"),
    cap_budget(DAY, "account", "acc_1"),
    cap_budget(MONTH, "account", "acc_1"),
    cap_budget(DAY, "team", "team_1"),
)
RATE, RATE_LIMIT = "requests:key_1", 20

AMOUNTS = st.integers(1, 60)
COSTS = st.lists(st.tuples(st.sampled_from(sorted(ACCOUNT_OF)), AMOUNTS), min_size=1, max_size=8)
"""With which key is asked, and what it costs."""

PICKS = st.integers(0, 1_000)
"""Which one of however many there are."""


class Lodging:
    """A store that lives on a thread with a loop of its own, to be called from outside of any loop."""

    def __init__(self, opened: AbstractAsyncContextManager[Store]) -> None:
        self._opened = opened
        self._ready: Future[tuple[Store, trio.lowlevel.TrioToken, trio.Event]] = Future()
        self._thread = threading.Thread(target=trio.run, args=(self._live,))
        self._thread.start()
        self.store, self._token, self._leave = self._ready.result()

    async def _live(self) -> None:
        try:
            async with self._opened as store:
                leave = trio.Event()
                self._ready.set_result((store, trio.lowlevel.current_trio_token(), leave))
                await leave.wait()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        return trio.from_thread.run(function, *args, trio_token=self._token)

    def close(self) -> None:
        trio.from_thread.run_sync(self._leave.set, trio_token=self._token)
        self._thread.join()


class Reservation(Struct, frozen=True):
    """What an exchange under way may cost, and in which windows it counts."""

    key: str
    amount: int
    day: int
    month: int
    capped: tuple[Slot, ...]

    @property
    def slots(self) -> tuple[Slot, ...]:
        return ((wallet_of(ACCOUNT_OF[self.key]), NO_WINDOW), *self.capped)


class Worker:
    """One worker's memory (what it holds, and what of that is spoken for), and its journal, which survives it."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self.held: Counter[Slot] = Counter()
        self.rates: Counter[Slot] = Counter()
        self.unbooked: Counter[Slot] = Counter()
        self.reservations: list[Reservation] = []
        self.journal: list[Settlement] = []
        self.booked = 0

    def free(self, slot: Slot) -> int:
        reserved = sum(each.amount for each in self.reservations if slot in each.slots)
        return self.held[slot] - reserved - self.unbooked[slot]

    def part(self, count: int) -> tuple[list[Settlement], Position, Position]:
        """Return the next records of the journal that are not booked, and the positions around them."""
        records = self.journal[self.booked : self.booked + count]
        return records, Position(1, self.booked), Position(1, self.booked + len(records))


def slots_of(each: Settlement) -> tuple[Slot, ...]:
    return ((wallet_of(each.account), NO_WINDOW), *each.leases)


def one_of(these: list[T], pick: int) -> T:
    return these[pick % len(these)]


class Conservation(RuleBasedStateMachine):
    """Steps of workers (alive and dead), of operators and of the clock."""

    @staticmethod
    def opened(directory: Path) -> AbstractAsyncContextManager[Store]:
        """Open the store to be tried, in a directory of its own."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.lodging = Lodging(self.opened(Path(self.directory.name)))
        self.store = self.lodging.store
        self.call = self.lodging.call
        self.now = NOW
        self.alive: list[Worker] = []
        self.dead: list[Worker] = []
        self.wallets: Counter[str] = Counter()
        self.spent: Counter[Slot] = Counter()
        self.rates_used: Counter[Slot] = Counter()
        self.credits: dict[str, tuple[str, int, TransferKind]] = {}
        self.journaled: dict[str, Settlement] = {}
        self.charges: dict[str, Settlement] = {}
        self.refunds: Counter[str] = Counter()
        self.refunds_made = 0
        self.caps: dict[str, int | None] = dict.fromkeys(CAPS)
        self.highest: dict[Slot, int | None] = {}
        self.ids = 0

    @initialize(cap=st.sampled_from([None, 200, 1_000]))
    def begin(self, cap: int | None) -> None:
        self.call(self.store.put_team, Team(id="team_1", name="Ops"))
        for name, team in TEAM_OF.items():
            self.call(self.store.put_account, account(name, team=team))
        for name, owner in ACCOUNT_OF.items():
            self.call(self.store.put_key, key(name, owner))
        self.caps = dict.fromkeys(CAPS, cap)
        self.enter()
        self.enter()
        self.credit("acc_1", 1_000, TransferKind.TOP_UP, 100)
        self.credit("acc_2", 200, TransferKind.GRANT, 101)
        self.answer(0, [("key_1", 40), ("key_2", 30), ("key_3", 20)], 2, 0)

    # -- operators and the clock ---------------------------------------------------------------------------------------

    @rule(
        owner=st.sampled_from(sorted(TEAM_OF)),
        amount=st.sampled_from([1, 100, 300]),
        kind=st.sampled_from([TransferKind.TOP_UP, TransferKind.GRANT]),
        number=st.integers(0, 9),
    )
    def credit(self, owner: str, amount: int, kind: TransferKind, number: int) -> None:
        id_, meaning = f"credit_{number}", (owner, amount, kind)

        async def credit() -> None:
            await self.store.credit(*meaning, id=id_, now=self.now)

        if self.credits.get(id_, meaning) != meaning:
            with pytest.raises(ConflictError):
                self.call(credit)
        else:
            self.call(credit)
            self.wallets[owner] += 0 if id_ in self.credits else amount
            self.credits[id_] = meaning

    @precondition(lambda self: self.charges)
    @rule(pick=PICKS, amount=st.one_of(st.none(), AMOUNTS))
    def refund(self, pick: int, amount: int | None) -> None:
        charge = one_of(list(self.charges.values()), pick)
        left = charge.amount_nanos - self.refunds[charge.id]
        given = left if amount is None else amount
        self.refunds_made += 1

        async def refund() -> int:
            id_ = f"refund_{self.refunds_made}"
            await self.store.refund(charge.id, amount, id=id_, now=self.now)
            return (await self.store.refund(charge.id, amount, id=id_, now=self.now)).amount_nanos

        if 0 < given <= left:
            assert self.call(refund) == given
            self.refunds[charge.id] += given
            self.count(charge, -given)
        else:
            with pytest.raises(ConflictError):
                self.call(refund)
            self.refunds_made -= 1

    @rule(budget=st.sampled_from(CAPS), cap=st.one_of(st.none(), st.integers(0, 400)))
    def change_a_cap(self, budget: str, cap: int | None) -> None:
        self.caps[budget] = cap

    @rule(seconds=st.sampled_from([20, 60, DAY_SECONDS, DAY_SECONDS, 31 * DAY_SECONDS]))
    def let_time_pass(self, seconds: int) -> None:
        self.now += seconds

    # -- workers -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.alive) < 2)
    @rule()
    def enter(self) -> None:
        self.ids += 1
        worker = Worker(f"w{self.ids}")
        self.call(self.store.enter, worker.holder, self.now)
        self.alive.append(worker)

    @precondition(lambda self: self.alive)
    @rule(pick=PICKS, key=st.sampled_from(sorted(ACCOUNT_OF)), amount=AMOUNTS, more=st.integers(1, 8))
    def reserve(self, pick: int, key: str, amount: int, more: int) -> None:
        worker = one_of(self.alive, pick)
        limits = {budget: cap for budget, cap in self.caps.items() if cap is not None and self.concerns(budget, key)}
        capped = tuple((budget, self.window(budget)) for budget in limits)
        wanted = Reservation(key, amount, day_of(self.now), self.month, capped)
        wants = [
            Want(budget, window, limits.get(budget), amount - free, (amount - free) * more)
            for budget, window in wanted.slots
            if (free := worker.free((budget, window))) < amount
        ]
        self.lease(worker, wants)
        if all(worker.free(slot) >= amount for slot in wanted.slots):
            worker.reservations.append(wanted)

    @precondition(lambda self: self.alive)
    @rule(pick=PICKS, costs=COSTS, booked=st.integers(0, 6), back=st.integers(0, 3))
    def answer(self, pick: int, costs: list[tuple[str, int]], booked: int, back: int) -> None:
        """Exchanges from their beginning to their end; what is reserved is what they cost, and some more or less."""
        for asked_with, cost in costs:
            self.reserve(pick, asked_with, cost + cost % 3 - 1, 2)
            if any(worker.reservations for worker in self.alive):
                self.settle(pick, pick, cost)
        worker = one_of(self.alive, pick)
        self.book_of(worker, booked)
        if back and worker.booked:
            self.book_again_of(worker, back)

    @precondition(lambda self: any(worker.reservations for worker in self.alive))
    @rule(pick=PICKS, which=PICKS, cost=st.integers(0, 80))
    def settle(self, pick: int, which: int, cost: int) -> None:
        """An answer ends: what it cost is in the journal, never more than was reserved for it."""
        worker = one_of([worker for worker in self.alive if worker.reservations], pick)
        ended = worker.reservations.pop(which % len(worker.reservations))
        self.ids += 1
        owner = ACCOUNT_OF[ended.key]
        charged = Settlement(
            id=f"set_{self.ids}",
            time=self.now,
            account=owner,
            key=ended.key,
            team=TEAM_OF[owner],
            day=ended.day,
            month=ended.month,
            amount_nanos=min(cost, ended.amount),
            cost_nanos=cost,
            uncollected_nanos=max(0, cost - ended.amount),
            leases=ended.capped,
            detail="",
        )
        worker.journal.append(charged)
        self.journaled[charged.id] = charged
        for slot in slots_of(charged):
            worker.unbooked[slot] += charged.amount_nanos

    @precondition(lambda self: any(worker.reservations for worker in self.alive))
    @rule(pick=PICKS, which=PICKS)
    def void(self, pick: int, which: int) -> None:
        worker = one_of([worker for worker in self.alive if worker.reservations], pick)
        worker.reservations.pop(which % len(worker.reservations))

    @precondition(lambda self: self.behind())
    @rule(pick=PICKS, count=st.integers(0, 5))
    def book(self, pick: int, count: int) -> None:
        self.book_of(one_of(self.behind(), pick), count)

    @precondition(lambda self: self.behind())
    @rule(pick=PICKS, count=st.integers(1, 5))
    def book_and_be_cancelled(self, pick: int, count: int) -> None:
        worker = one_of(self.behind(), pick)
        records, before, after = worker.part(count)

        async def cancelled() -> list[Position]:
            with trio.CancelScope() as scope:
                scope.cancel()
                await self.store.settle(worker.holder, records, before, after)
            await self.store.lease(worker.holder, [], [], self.now)  # behind what may still be under way
            return [holder.position for holder in await self.store.holders() if holder.id == worker.holder]

        [reached] = self.call(cancelled)
        if reached == after:
            self.was_booked(worker, records)
        else:
            assert reached.offset == before.offset

    @precondition(lambda self: any(worker.booked for worker in (*self.alive, *self.dead)))
    @rule(pick=PICKS, back=st.integers(1, 6))
    def book_again(self, pick: int, back: int) -> None:
        self.book_again_of(one_of([worker for worker in (*self.alive, *self.dead) if worker.booked], pick), back)

    @precondition(lambda self: self.alive)
    @rule(pick=PICKS, which=PICKS, keep=st.integers(0, 20))
    def return_surplus(self, pick: int, which: int, keep: int) -> None:
        worker = one_of(self.alive, pick)
        slots = sorted(+worker.held)
        if slots:
            slot = slots[which % len(slots)]
            surplus = max(0, worker.free(slot) - keep)
            self.lease(worker, [], [Return(*slot, surplus)])

    @precondition(lambda self: self.alive)
    @rule(pick=PICKS, need=st.integers(1, 5), more=st.integers(1, 4), unused=st.integers(0, 3))
    def pass_a_rate(self, pick: int, need: int, more: int, unused: int) -> None:
        worker, minute = one_of(self.alive, pick), self.now // 60
        want = Want(RATE, minute, RATE_LIMIT, need, need * more, ends=(minute + 1) * 60, counted=True)
        self.lease(worker, [want])
        back = min(unused, worker.rates[RATE, minute])
        self.lease(worker, [], [Return(RATE, minute, back)])

    @precondition(lambda self: self.alive)
    @rule(pick=PICKS, key=st.sampled_from(sorted(ACCOUNT_OF)), beyond=AMOUNTS)
    def overdraw(self, pick: int, key: str, beyond: int) -> None:
        """A worker with a mistake returns or settles what it does not hold: it is refused, and nothing of it done."""
        worker, owner = one_of(self.alive, pick), ACCOUNT_OF[key]
        amount = worker.held[wallet_of(owner), NO_WINDOW] + beyond
        false = Settlement("false", self.now, owner, key, None, day_of(self.now), self.month, amount, amount, 0, (), "")
        records, before, after = worker.part(3)
        with pytest.raises(ConflictError):
            self.call(self.store.settle, worker.holder, [*records, false], before, after)
        with pytest.raises(ConflictError):
            self.call(self.store.lease, worker.holder, [], [Return(wallet_of(owner), NO_WINDOW, amount)], self.now)

    @precondition(lambda self: self.alive and len(self.dead) < 3)
    @rule(pick=PICKS)
    def crash(self, pick: int) -> None:
        """What a worker reserved is gone with it; what it leased and its journal are not."""
        worker = one_of(self.alive, pick)
        self.alive.remove(worker)
        worker.reservations.clear()
        self.dead.append(worker)

    @precondition(lambda self: self.dead)
    @rule(pick=PICKS, batch=st.integers(1, 4))
    def bury(self, pick: int, batch: int) -> None:
        worker = one_of(self.dead, pick)
        while worker.booked < len(worker.journal):
            self.book_of(worker, batch)
        money = sum(amount for (budget, _), amount in worker.held.items() if budget.startswith("wallet:"))
        assert self.call(self.store.leave, worker.holder) == money
        assert self.call(self.store.leave, worker.holder) == 0
        self.rates_used.update(worker.rates)
        self.dead.remove(worker)

    # -- the model -----------------------------------------------------------------------------------------------------

    @property
    def month(self) -> int:
        """Months of 31 days, so that no calendar is needed here."""
        return day_of(self.now) // 31

    def window(self, budget: str) -> int:
        return day_of(self.now) if budget.startswith(DAY) else self.month

    def concerns(self, budget: str, key: str) -> bool:
        owner = ACCOUNT_OF[key]
        return budget.split(":", 1)[1] in {f"key:{key}", f"account:{owner}", f"team:{TEAM_OF[owner]}"}

    def behind(self) -> list[Worker]:
        """Who lives and has settlements in its journal that are not booked."""
        return [worker for worker in self.alive if worker.booked < len(worker.journal)]

    def is_kept(self, slot: Slot) -> bool:
        """Whether the store must still know it: of a rate's minute only for some time."""
        return slot[0] != RATE or (slot[1] + 1) * 60 > self.now - 3_600

    def leased(self, slot: Slot) -> int:
        return sum(worker.held[slot] + worker.rates[slot] for worker in (*self.alive, *self.dead))

    def lease(self, worker: Worker, wants: list[Want], returns: list[Return] | None = None) -> None:
        grants = self.call(self.store.lease, worker.holder, wants, returns or [], self.now)
        for back in returns or []:
            (worker.rates if back.budget == RATE else worker.held)[back.budget, back.window] -= back.amount
        assert len(grants) == len(wants)
        for want, grant in zip(wants, grants, strict=True):
            slot = (want.budget, want.window)
            there = self.wallets[want.budget.removeprefix("wallet:")] if want.limit is None else want.limit
            available = there - self.spent[slot] - self.rates_used[slot] - self.leased(slot)
            if available < want.need:
                assert grant.granted == 0
            else:
                assert want.need <= grant.granted <= max(want.need, min(want.want, available // 2))
            assert grant.available == max(0, available - grant.granted)
            assert grant.used == self.spent[slot] + self.rates_used[slot]
            (worker.rates if want.counted else worker.held)[slot] += grant.granted

    def book_of(self, worker: Worker, count: int) -> None:
        records, before, after = worker.part(count)
        assert self.call(self.store.settle, worker.holder, records, before, after) == len(records)
        self.was_booked(worker, records)

    def book_again_of(self, worker: Worker, back: int) -> None:
        """Hand over once more what was booked: from an old position, and then among what is new."""
        start = max(0, worker.booked - back)
        again = (Position(1, start), Position(1, len(worker.journal)))
        assert self.call(self.store.settle, worker.holder, worker.journal[start:], *again) == 0
        records, before, after = worker.part(2)
        old = worker.journal[start : worker.booked]
        assert self.call(self.store.settle, worker.holder, [*old, *records, *old], before, after) == len(records)
        self.was_booked(worker, records)

    def was_booked(self, worker: Worker, records: list[Settlement]) -> None:
        worker.booked += len(records)
        for each in records:
            assert each.id not in self.charges
            self.charges[each.id] = each
            self.count(each, each.amount_nanos)
            for slot in slots_of(each):
                worker.held[slot] -= each.amount_nanos
                worker.unbooked[slot] -= each.amount_nanos

    def count(self, charge: Settlement, amount: int) -> None:
        self.wallets[charge.account] -= amount
        for scope, id_ in (("key", charge.key), ("account", charge.account), ("team", charge.team)):
            if id_ is not None:
                self.spent[cap_budget(DAY, scope, id_), charge.day] += amount
                self.spent[cap_budget(MONTH, scope, id_), charge.month] += amount

    # -- what always holds ---------------------------------------------------------------------------------------------

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        slots = sorted(filter(self.is_kept, {*self.spent, *self.rates_used}))

        async def read() -> tuple[Any, ...]:
            balances = {name: await self.store.balance(name) for name in TEAM_OF}
            used = await self.store.used(slots)
            return await self.store.check(), balances, used, await self.store.leases()

        findings, balances, used, leases = self.call(read)
        assert findings == []
        assert used == [self.spent[slot] + self.rates_used[slot] for slot in slots]
        leased = {
            (lease.holder, lease.budget, lease.window): lease.amount
            for lease in leases
            if self.is_kept((lease.budget, lease.window))
        }
        assert leased == {
            (worker.holder, *slot): amount
            for worker in (*self.alive, *self.dead)
            for slot, amount in (worker.held + worker.rates).items()
            if self.is_kept(slot)
        }
        for name, balance in balances.items():
            of_wallet = self.leased((wallet_of(name), NO_WINDOW))
            assert (balance.balance_nanos, balance.leased_nanos) == (self.wallets[name], of_wallet)
            assert 0 <= of_wallet <= balance.balance_nanos

    @invariant()
    def no_worker_has_spoken_for_more_than_it_holds(self) -> None:
        for worker in (*self.alive, *self.dead):
            assert all(worker.free(slot) >= 0 for slot in worker.held)

    @invariant()
    def no_cap_was_exceeded(self) -> None:
        """Against the highest limit that was in force in a window: a lowered one only ends further leases."""
        for budget, cap in self.caps.items():
            slot = (budget, self.window(budget))
            before = self.highest.get(slot, 0)
            self.highest[slot] = None if cap is None or before is None else max(before, cap)
        for slot, limit in self.highest.items():
            assert limit is None or self.spent[slot] + self.leased(slot) <= limit
        for slot in {slot for worker in (*self.alive, *self.dead) for slot in worker.rates} | {*self.rates_used}:
            assert self.rates_used[slot] + self.leased(slot) <= RATE_LIMIT

    def teardown(self) -> None:
        try:
            while self.alive:
                self.crash(0)
            while self.dead:
                self.bury(0, 3)
            self.the_store_says_what_the_model_says()
            transfers = self.call(self.everything)
            booked = {row.id: row for row in transfers if row.kind == TransferKind.SETTLEMENT}
            assert booked == {id_: transfer_of(each) for id_, each in self.journaled.items()}
            assert len(transfers) == len(booked) + len(self.credits) + self.refunds_made
            assert self.call(self.store.holders) == ()
            assert self.call(self.store.leases) == []
        finally:
            self.lodging.close()
            self.directory.cleanup()

    async def everything(self) -> list[Any]:
        return await self.store.transfers(limit=100_000)


@asynccontextmanager
async def memory_store() -> AsyncIterator[Store]:
    yield MemoryStore()


class InMemory(Conservation):
    """The steps with the store in memory."""

    @staticmethod
    def opened(directory: Path) -> AbstractAsyncContextManager[Store]:
        return memory_store()


class InSqlite(Conservation):
    """The steps with the store in SQLite."""

    @staticmethod
    def opened(directory: Path) -> AbstractAsyncContextManager[Store]:
        return open_store(directory / "hedgerow.db")


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

InMemory.TestCase.settings = settings(max_examples=80, stateful_step_count=80, suppress_health_check=QUIET)
InSqlite.TestCase.settings = settings(max_examples=20, stateful_step_count=60, suppress_health_check=QUIET)

TestInMemory = InMemory.TestCase
TestInSqlite = InSqlite.TestCase
