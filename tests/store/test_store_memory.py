"""Tests of what the store in memory alone can do: fail and be slow when it is told to."""

import pytest
import trio
from trio.testing import MockClock

from store.interface import ConflictError, Store, UnavailableError
from store.memory import MemoryStore
from store.rows import LogFilter, Position
from tests.store.samples import NOW, START, account, settlement, top_up, with_account, with_holder


async def test_it_is_a_store() -> None:
    store: Store = MemoryStore()
    assert await store.check() == []


async def test_it_fails_until_it_is_healed_and_does_nothing_meanwhile() -> None:
    store = MemoryStore()
    await with_account(store, 100)
    await with_holder(store, "w1", 50)
    broken = UnavailableError("no space left")
    store.fail(broken)
    for _ in range(2):
        with pytest.raises(UnavailableError) as raised:
            await store.settle("w1", [settlement(amount_nanos=10)], START, Position(1, 1))
        assert raised.value is broken
    with pytest.raises(UnavailableError):
        await top_up(store, 5, "c1")
    with pytest.raises(UnavailableError):
        await store.balance("acc_1")
    store.heal()
    assert (await store.balance("acc_1")).balance_nanos == 100
    assert await store.settle("w1", [settlement(amount_nanos=10)], START, Position(1, 1)) == 1
    assert store.statistics().failures == 4


async def test_only_calls_that_write_are_slow(autojump_clock: MockClock) -> None:
    store = MemoryStore(delay_seconds=2)
    await store.put_account(account())
    assert trio.current_time() == 2
    await store.news(None, 0)
    await store.logs(LogFilter())
    await store.check()
    assert trio.current_time() == 2
    await store.enter("w1", NOW)
    assert trio.current_time() == 4
    store.delay_seconds = 0
    await store.lease("w1", [], [], NOW)
    assert trio.current_time() == 4


async def test_who_is_cancelled_while_it_is_slow_has_done_nothing(autojump_clock: MockClock) -> None:
    store = MemoryStore(delay_seconds=2)
    with trio.move_on_after(1) as scope:
        await store.put_account(account())
    assert scope.cancelled_caught
    assert store.accounts == {}


async def test_a_conflict_is_no_failure() -> None:
    store = MemoryStore()
    with pytest.raises(ConflictError):
        await store.balance("acc_1")
    assert store.statistics().failures == 0
    assert repr(store) == "<MemoryStore 0 accounts, 0 transfers, 0 leases>"
