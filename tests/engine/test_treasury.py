"""One worker's dealings with the store as a whole: what it learns and when, how it begins, changes and ends."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from engine.budgets.lender import IDLE_SECONDS
from engine.budgets.reservation import Reservation, reserve
from engine.config import Config, load_document
from engine.keyring import Keyring
from engine.keys import digest_of
from engine.treasury import FAREWELL_SECONDS, NEWS_SECONDS, TIERS_LOOK_SECONDS, TIERS_SECONDS, Treasury, enter
from store import journal
from store.interface import ConflictError, UnavailableError
from store.memory import MemoryStore
from store.rows import Account, Key, LogFilter, Position, Settlement, Transfer, TransferKind
from tests.engine.live import document
from tests.store.samples import log_row

TOKEN = b"sk-hr-one"
KEY = Key(id="key_1", account="acc_1", name="first", digest=digest_of(TOKEN))
NOON = 1_795_348_800


def configured(**sections: Any) -> Config:
    return load_document(document("http://127.0.0.1:9", **sections), {})


class Begun:
    """A treasury that runs, with its store."""

    def __init__(self, treasury: Treasury, store: MemoryStore, keys: Keyring) -> None:
        self.treasury = treasury
        self.store = store
        self.keys = keys
        self._ids = 0

    async def reserve(self, nanos: int) -> Reservation:
        """Reserve as a request of the key does."""
        treasury = self.treasury
        principal = self.keys.authenticate(TOKEN)
        assert principal is not None
        while True:
            standing = treasury.standings.of(principal, "fast", treasury.clock())
            outcome = reserve(standing, nanos, 0, treasury.clock())
            if isinstance(outcome, Reservation):
                treasury.journal.book()
                return outcome
            await treasury.lender.replenish(outcome)

    def settle(self, reservation: Reservation, nanos: int) -> None:
        """Settle as a meter does."""
        self._ids += 1
        made = Settlement(
            self.treasury.fresh_id(),
            NOON,
            "acc_1",
            "key_1",
            None,
            1,
            1,
            nanos,
            nanos,
            0,
            reservation.standing.leases,
            "",
        )
        self.treasury.note(made)
        reservation.settle(nanos, 0)

    async def settlements(self) -> list[Transfer]:
        rows = await self.store.transfers(limit=1_000)
        return [each for each in rows if each.kind == TransferKind.SETTLEMENT]


@asynccontextmanager
async def begun(directory: Path, *, store: MemoryStore | None = None, **sections: Any) -> AsyncIterator[Begun]:
    store = store or MemoryStore()
    if not store.accounts:
        await store.put_account(Account(id="acc_1", name="anna"))
        await store.credit("acc_1", 1_000_000, TransferKind.TOP_UP, id="t", now=1)
        await store.put_key(KEY)
    config = configured(**sections)
    keys = Keyring(config)
    treasury = await enter(store, directory, keys, config, slot=0, clock=lambda: NOON + trio.current_time())
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(treasury.run)
            yield Begun(treasury, store, keys)
            nursery.cancel_scope.cancel()
    finally:
        treasury.journal.close()


# -- its beginning and what it learns ----------------------------------------------------------------------------------


async def test_before_it_serves_it_knows_every_key(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with begun(tmp_path) as made:
        principal = made.keys.authenticate(TOKEN)
        assert principal is not None
        assert principal.id == "key_1"
        (holder,) = await made.store.holders()
        assert holder.id == made.treasury.journal.holder
        assert journal.is_held(tmp_path, holder.id)


@pytest.mark.parametrize("call", ["enter", "news"])
async def test_without_the_store_it_does_not_begin_and_frees_its_lock(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise UnavailableError("away")

    store, config = MemoryStore(), configured()
    monkeypatch.setattr(store, call, fail)
    with pytest.raises(UnavailableError):
        await enter(store, tmp_path, Keyring(config), config, slot=0)
    (holder,) = journal.holders(tmp_path)
    assert not journal.is_held(tmp_path, holder), "another worker clears it away"


async def test_a_new_key_works_and_a_disabled_one_does_not_after_one_look(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with begun(tmp_path) as made:
        other = b"sk-hr-two"
        await made.store.put_key(replace(KEY, id="key_2", name="second", digest=digest_of(other)))
        await made.store.put_key(replace(made.store.keys["key_1"], disabled=True))
        began = trio.current_time()
        while made.keys.authenticate(other) is None:
            await trio.sleep(0.01)
        assert trio.current_time() - began <= NEWS_SECONDS + 0.02
        principal = made.keys.authenticate(TOKEN)
        assert principal is not None
        assert principal.key is not None
        assert principal.key.disabled


async def test_while_the_store_is_away_it_says_so_and_keys_stay(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with begun(tmp_path) as made:
        made.store.fail(UnavailableError("away"))
        await trio.sleep(NEWS_SECONDS + 0.01)
        assert made.treasury.is_store_away
        assert made.keys.authenticate(TOKEN) is not None
        assert made.treasury.statistics().failed_total >= 1
        made.store.heal()
        await trio.sleep(NEWS_SECONDS + 0.01)
        states = [made.treasury.is_store_away]
        assert states == [False]


async def test_what_another_worker_is_short_of_is_given_back(tmp_path: Path, autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with begun(tmp_path, store=store) as one, begun(tmp_path, store=store) as two:
        reservation = await one.reserve(200_000)
        reservation.void()
        await trio.sleep(5)
        began = trio.current_time()
        (await two.reserve(1_000_000)).void()
        assert 0 < trio.current_time() - began <= 2 * NEWS_SECONDS + 0.2


# -- changes -----------------------------------------------------------------------------------------------------------


async def test_a_reload_takes_effect_for_what_comes_and_not_for_what_is_under_way(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    rates = {"*": {"in_flight_max": 1}}
    async with begun(tmp_path, rates=rates) as made:
        before = await made.reserve(1_000)
        waiting: list[Reservation] = []

        async def wait() -> None:
            waiting.append(await made.reserve(1_000_000 - 1_000))

        async with trio.open_nursery() as nursery:
            made.store.delay_seconds = 1.0
            made.treasury.configure(configured())
            nursery.start_soon(wait)
            await trio.sleep(0.5)
            made.treasury.configure(configured(rates={"*": {"in_flight_max": 2}}))
            made.keys.configure(configured())
        limits = [each.standing.places[0].budget.limit for each in waiting]
        assert limits == [2], "who waited for a lease reserves by what holds when it has it"
        assert len(before.standing.places) == 1
        made.store.delay_seconds = 0.0
        made.settle(before, 1_000)
        waiting[0].void()
        made.treasury.journal.unbook()
        after = await made.reserve(5)
        assert after.standing.places[0].budget.limit == 2
        after.void()
        made.treasury.journal.unbook()
        await trio.sleep(IDLE_SECONDS + 5)
        assert [each for each in await made.store.leases() if each.budget.startswith("places")] == []


async def test_tiers_are_counted_at_once_and_then_every_six_hours(tmp_path: Path, autojump_clock: MockClock) -> None:
    class Counting(MemoryStore):
        counted = 0

        async def retier(self, tiers: Sequence[tuple[int, int]], *, now: int, every_seconds: int) -> int | None:
            changed = await super().retier(tiers, now=now, every_seconds=every_seconds)
            self.counted += changed is not None
            return changed

    store = Counting()
    billing = {"tiers": [{"spend": 0, "markup": 0.4}]}
    async with begun(tmp_path, store=store, billing=billing) as made, begun(tmp_path, store=store, billing=billing):
        await trio.sleep(1)
        assert store.counted == 1, "by one of the two"
        principal = made.keys.authenticate(TOKEN)
        assert principal is not None
        assert principal.ratios[0] == 1_400_000
        assert principal.account is not None
        assert principal.account.markup_ppm == 400_000
        store.fail(UnavailableError("away"))
        await trio.sleep(2 * TIERS_LOOK_SECONDS)
        store.heal()
        store._retiered = NOON - TIERS_SECONDS  # as if it were long ago
        await trio.sleep(TIERS_LOOK_SECONDS + 1)
        assert store.counted == 2


def test_ids_are_not_used_twice(tmp_path: Path) -> None:
    async def main() -> set[str]:
        async with begun(tmp_path) as one, begun(tmp_path, store=one.store) as two:
            return {each.treasury.fresh_id() for each in (one, two) for _ in range(100)}

    assert len(trio.run(main)) == 200


# -- its end -----------------------------------------------------------------------------------------------------------


async def test_at_the_farewell_everything_is_booked_and_nothing_is_left(tmp_path: Path) -> None:
    async with begun(tmp_path) as made:
        made.settle(await made.reserve(500), 300)
        made.treasury.log.record(log_row("1"))
        await made.treasury.say_farewell()
        assert [each.amount_nanos for each in await made.settlements()] == [300]
        assert await made.store.log_count(LogFilter()) == 1
        assert await made.store.holders() == ()
        assert await made.store.leases() == []
        assert await made.store.check() == []
        assert list(tmp_path.iterdir()) == []


async def test_a_farewell_without_the_store_ends_in_time_and_leaves_the_journal(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with begun(tmp_path) as made:
        made.settle(await made.reserve(500), 300)
        made.store.fail(UnavailableError("away"))
        began = trio.current_time()
        await made.treasury.say_farewell()
        assert trio.current_time() - began <= 2 * FAREWELL_SECONDS + 1
        holder = made.treasury.journal.holder
    made.store.heal()
    assert {each.id for each in await made.store.holders()} == {holder}
    async with begun(tmp_path, store=made.store) as heir:
        while {each.id for each in await made.store.holders()} != {heir.treasury.journal.holder}:
            await trio.sleep(1)
        assert [each.amount_nanos for each in await made.settlements()] == [300]
        assert await made.store.check() == []


async def test_a_holder_that_leaves_does_not_lease_any_more(tmp_path: Path, autojump_clock: MockClock) -> None:
    class Slow(MemoryStore):
        """Leaving takes longer than what is idle stays leased."""

        async def leave(self, holder: str) -> int:
            money = await super().leave(holder)
            await trio.sleep(8)
            return money

    async with begun(tmp_path, store=Slow()) as made:
        (await made.reserve(500)).void()
        await trio.sleep(5)
        await made.treasury.say_farewell()
        await trio.sleep(30)
        with pytest.raises(ConflictError):
            await made.store.lease(made.treasury.journal.holder, [], [], 1)


async def test_what_is_cut_at_the_end_is_booked_although_a_booking_was_under_way(tmp_path: Path) -> None:
    class Unheard(MemoryStore):
        """The first settlement is booked, and nobody hears of it, for it is cancelled."""

        heard = False

        async def settle(
            self, holder: str, settlements: Sequence[Settlement], before: Position, after: Position
        ) -> int:
            booked = await super().settle(holder, settlements, before, after)
            if not self.heard:
                self.heard = True
                await trio.sleep_forever()
            return booked

    async with begun(tmp_path, store=Unheard()) as made:
        late = await made.reserve(500)
        made.settle(await made.reserve(500), 300)
        while not await made.settlements():
            await trio.sleep(0.01)
        made.settle(late, 7)
        await made.treasury.say_farewell()
        assert sorted(each.amount_nanos for each in await made.settlements()) == [7, 300]
        assert await made.store.check() == []
        assert await made.store.holders() == ()


async def test_another_worker_may_find_the_files_first(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with begun(tmp_path) as made:
        holder = made.treasury.journal.holder
        locks = []
        remove = journal.remove

        def found(directory: Path, holder: str) -> None:
            lock = journal.take(directory, holder)
            assert lock is not None
            locks.append(lock)
            remove(directory, holder)

        monkeypatch.setattr(journal, "remove", found)
        await made.treasury.say_farewell()
        assert journal.holders(tmp_path) == [holder], "who has the lock removes them"
        locks[0].remove()
