"""Tests of what both stores promise of holders, leases, returns and recalls."""

import pytest
import trio

from store.interface import ConflictError, Store
from store.rows import NO_WINDOW, Grant, Holder, Lease, Position, Return, Want, wallet_of
from tests.store.samples import (
    NOW,
    START,
    THIS_MONTH,
    TODAY,
    day_slot,
    day_want,
    key,
    month_slot,
    settlement,
    spend,
    wallet_want,
    with_account,
    with_holder,
)

MINUTE = NOW // 60
RATE = "requests:key_1"


def rate_want(need: int, want: int, limit: int = 10, window: int = MINUTE) -> Want:
    return Want(RATE, window, limit, need, want, ends=(window + 1) * 60, counted=True)


async def lease_one(store: Store, holder: str, want: Want, now: int = NOW) -> Grant:
    [grant] = await store.lease(holder, [want], [], now)
    return grant


# -- holders -----------------------------------------------------------------------------------------------------------


async def test_a_holder_enters_once_and_leaves(store: Store) -> None:
    assert await store.holders() == ()
    await store.enter("w1", NOW)
    await store.enter("w2", NOW + 1)
    with pytest.raises(ConflictError):
        await store.enter("w1", NOW + 2)
    assert set(await store.holders()) == {
        Holder(id="w1", since=NOW, position=START),
        Holder(id="w2", since=NOW + 1, position=START),
    }
    assert await store.leave("w1") == 0
    assert [holder.id for holder in await store.holders()] == ["w2"]


async def test_who_is_unknown_has_left_already(store: Store) -> None:
    assert await store.leave("w1") == 0
    await store.enter("w1", NOW)
    await store.leave("w1")
    assert await store.leave("w1") == 0


async def test_who_has_not_entered_leases_nothing(store: Store) -> None:
    await with_account(store, 100)
    with pytest.raises(ConflictError):
        await store.lease("w1", [wallet_want(1, 1)], [], NOW)
    assert await store.leases() == []


# -- what is granted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("available", "need", "want", "granted"),
    [
        (100, 10, 10, 10),
        (100, 10, 30, 30),
        (100, 10, 50, 50),
        (100, 10, 51, 50),  # a half and no more
        (100, 10, 1_000, 50),
        (101, 10, 1_000, 50),
        (100, 60, 1_000, 60),  # but what is needed is given
        (100, 100, 100, 100),
        (100, 100, 1_000, 100),
        (100, 101, 1_000, 0),
        (100, 0, 1_000, 50),
        (100, 0, 7, 7),
        (100, 0, 0, 0),
        (0, 0, 10, 0),
        (0, 1, 10, 0),
        (1, 1, 10, 1),
        (3, 1, 10, 1),
    ],
)
async def test_a_grant_of_a_cap(store: Store, available: int, need: int, want: int, granted: int) -> None:
    await store.enter("w1", NOW)
    grant = await lease_one(store, "w1", day_want(need, want, available))
    assert grant == Grant(*day_slot("key", "key_1"), granted, available - granted, 0, 0)
    assert sum(lease.amount for lease in await store.leases()) == granted


@pytest.mark.parametrize(
    ("need", "want", "granted"), [(10, 1_000, 50), (60, 1_000, 60), (101, 200, 0), (100, 100, 100)]
)
async def test_a_wallets_limit_is_its_balance(store: Store, need: int, want: int, granted: int) -> None:
    await with_account(store, 100)
    await store.enter("w1", NOW)
    grant = await lease_one(store, "w1", wallet_want(need, want))
    assert grant == Grant(wallet_of("acc_1"), NO_WINDOW, granted, 100 - granted, 0, 0)
    balance = await store.balance("acc_1")
    assert (balance.balance_nanos, balance.leased_nanos) == (100, granted)


async def test_of_a_wallet_that_nobody_filled_nothing_is_granted(store: Store) -> None:
    await with_account(store)
    await store.enter("w1", NOW)
    assert (await lease_one(store, "w1", wallet_want(1, 1))).granted == 0
    assert (await lease_one(store, "w1", wallet_want(1, 1, "acc_9"))).granted == 0
    assert await store.leases() == []


async def test_the_half_is_of_what_nobody_holds(store: Store) -> None:
    await with_account(store, 800)
    await store.enter("w1", NOW)
    grants = [await lease_one(store, "w1", wallet_want(1, 1_000)) for _ in range(4)]
    assert [grant.granted for grant in grants] == [400, 200, 100, 50]
    assert [grant.available for grant in grants] == [400, 200, 100, 50]
    [lease] = await store.leases()
    assert lease.amount == 750


async def test_what_others_hold_and_what_is_used_is_told(store: Store) -> None:
    await with_account(store, 1_000)
    await spend(store, settlement(amount_nanos=30))
    for holder, amount in (("w1", 20), ("w2", 15), ("w3", 5)):
        await store.enter(holder, NOW)
        assert (await lease_one(store, holder, day_want(amount, amount, 100))).granted == amount
    grant = await lease_one(store, "w1", day_want(1, 1, 100))
    assert grant == Grant(*day_slot("key", "key_1"), 1, 29, 20, 30)


async def test_of_a_wallet_nothing_counts_as_used(store: Store) -> None:
    await with_account(store, 1_000)
    await spend(store, settlement(amount_nanos=300))
    await with_holder(store, "w1", 40)
    await store.enter("w2", NOW)
    assert await lease_one(store, "w2", wallet_want(10, 10)) == Grant(wallet_of("acc_1"), NO_WINDOW, 10, 650, 40, 0)


async def test_each_want_has_its_grant_in_order_and_sees_the_ones_before(store: Store) -> None:
    await with_account(store, 100)
    await store.enter("w1", NOW)
    wants = [day_want(60, 60, 100), wallet_want(70, 70), day_want(60, 60, 100), wallet_want(30, 30)]
    grants = await store.lease("w1", wants, [], NOW)
    assert [(grant.budget, grant.granted) for grant in grants] == [
        (day_slot("key", "key_1")[0], 60),
        (wallet_of("acc_1"), 70),
        (day_slot("key", "key_1")[0], 0),
        (wallet_of("acc_1"), 30),
    ]
    assert await store.lease("w1", [], [], NOW) == []


async def test_budgets_windows_and_holders_are_told_apart(store: Store) -> None:
    await with_account(store, 100)
    await store.enter("w1", NOW)
    await store.enter("w2", NOW)
    assert (await lease_one(store, "w1", day_want(10, 10, 10))).granted == 10
    assert (await lease_one(store, "w1", day_want(10, 10, 10))).granted == 0
    assert (await lease_one(store, "w1", day_want(10, 10, 10, day=TODAY + 1))).granted == 10
    assert (await lease_one(store, "w1", day_want(10, 10, 10, key="key_2"))).granted == 10
    assert (await lease_one(store, "w2", day_want(10, 10, 10))).granted == 0
    assert (await lease_one(store, "w2", day_want(3, 3, 20))).granted == 3


async def test_leases_are_shown_by_holder_and_budget(store: Store) -> None:
    await with_account(store, 100)
    await store.enter("w2", NOW)
    await store.enter("w1", NOW)
    await store.lease("w2", [wallet_want(5, 5)], [], NOW)
    await store.lease("w1", [wallet_want(7, 7), day_want(6, 6, 100), rate_want(2, 2)], [], NOW)
    budget, window = day_slot("key", "key_1")
    assert await store.leases() == [
        Lease(holder="w1", budget=budget, window=window, amount=6, ends=NOW + 86_400, counted=False),
        Lease(holder="w1", budget=RATE, window=MINUTE, amount=2, ends=NOW + 60, counted=True),
        Lease(holder="w1", budget=wallet_of("acc_1"), window=NO_WINDOW, amount=7, ends=0, counted=False),
        Lease(holder="w2", budget=wallet_of("acc_1"), window=NO_WINDOW, amount=5, ends=0, counted=False),
    ]


async def test_a_lowered_cap_only_ends_further_leases(store: Store) -> None:
    await store.enter("w1", NOW)
    assert (await lease_one(store, "w1", day_want(50, 50, 100))).granted == 50
    lowered = await lease_one(store, "w1", day_want(0, 10, 20))
    assert (lowered.granted, lowered.available) == (0, 0)
    assert (await lease_one(store, "w1", day_want(1, 10, 20))).granted == 0
    assert (await lease_one(store, "w1", day_want(10, 10, 60))).granted == 10
    [lease] = await store.leases()
    assert lease.amount == 60


async def test_many_at_once_never_lease_more_than_there_is(store: Store) -> None:
    await with_account(store, 1_000)
    granted: list[int] = []

    async def greedy(holder: str) -> None:
        await store.enter(holder, NOW)
        for _ in range(5):
            grants = await store.lease(holder, [wallet_want(37, 61), day_want(11, 99, 500)], [], NOW)
            granted.append(grants[0].granted)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(greedy, f"w{number}")
    leases = await store.leases()
    of_wallet = sum(lease.amount for lease in leases if lease.budget == wallet_of("acc_1"))
    assert of_wallet == sum(granted)
    assert 1_000 - 37 < of_wallet <= 1_000
    assert 500 - 11 < sum(lease.amount for lease in leases if lease.window == TODAY) <= 500
    assert await store.check() == []


# -- what comes back ---------------------------------------------------------------------------------------------------


async def test_what_is_returned_can_be_had_again_even_in_the_same_call(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 100)
    wallet = wallet_of("acc_1")
    [grant] = await store.lease("w1", [wallet_want(30, 30)], [Return(wallet, NO_WINDOW, 40)], NOW)
    assert grant == Grant(wallet, NO_WINDOW, 30, 10, 0, 0)
    await store.lease("w1", [], [Return(wallet, NO_WINDOW, 90)], NOW)
    assert await store.leases() == []
    assert (await store.balance("acc_1")).leased_nanos == 0


async def test_more_than_is_held_cannot_be_returned(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 60)
    await with_holder(store, "w2", 40)
    wallet = wallet_of("acc_1")
    for returns in (
        [Return(wallet, NO_WINDOW, 61)],
        [Return(wallet, NO_WINDOW, 40), Return(wallet, NO_WINDOW, 40)],
        [Return(wallet, TODAY, 1)],
        [Return(wallet, NO_WINDOW, 10), Return("no such budget", NO_WINDOW, 1)],
    ):
        with pytest.raises(ConflictError):
            await store.lease("w1", [day_want(5, 5, 10)], returns, NOW)
    assert [(lease.holder, lease.amount) for lease in await store.leases()] == [("w1", 60), ("w2", 40)]


async def test_several_returns_of_one_lease_add_up(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 60)
    await store.lease("w1", [], [Return(wallet_of("acc_1"), NO_WINDOW, 20)] * 3, NOW)
    assert await store.leases() == []


async def test_who_leaves_gives_everything_back(store: Store) -> None:
    await with_account(store, 100)
    await with_account(store, 50, "acc_2")
    await with_holder(store, "w1", 60)
    await with_holder(store, "w2", 5)
    places = Want("places:key_1", NO_WINDOW, 8, 4, 4)
    await store.lease("w1", [wallet_want(7, 7, "acc_2"), day_want(30, 30, 40), places], [], NOW)
    assert await store.leave("w1") == 67  # of wallets: the cap's is the same money, and places are none
    assert [lease.holder for lease in await store.leases()] == ["w2"]
    grants = await store.lease("w2", [wallet_want(95, 95), day_want(40, 40, 40), places], [], NOW)
    assert [grant.granted for grant in grants] == [95, 40, 4]
    assert await store.used([day_slot("key", "key_1")]) == [0]


# -- rates and places --------------------------------------------------------------------------------------------------


async def test_a_rates_slice_that_is_not_returned_is_used_when_its_holder_leaves(store: Store) -> None:
    await store.enter("w1", NOW)
    await store.enter("w2", NOW)
    assert (await lease_one(store, "w1", rate_want(7, 7))).granted == 7
    await store.lease("w1", [], [Return(RATE, MINUTE, 2)], NOW)
    assert await store.used([(RATE, MINUTE)]) == [0]
    assert await store.leave("w1") == 0
    assert await store.used([(RATE, MINUTE)]) == [5]
    assert await lease_one(store, "w2", rate_want(6, 6)) == Grant(RATE, MINUTE, 0, 5, 0, 5)
    assert await lease_one(store, "w2", rate_want(5, 5)) == Grant(RATE, MINUTE, 5, 0, 0, 5)
    assert await store.leave("w2") == 0
    assert await store.used([(RATE, MINUTE), (RATE, MINUTE + 1)]) == [10, 0]
    assert await store.check() == []


async def test_a_new_minute_has_its_whole_rate(store: Store) -> None:
    await store.enter("w1", NOW)
    assert (await lease_one(store, "w1", rate_want(10, 10))).granted == 10
    assert (await lease_one(store, "w1", rate_want(1, 1))).granted == 0
    assert (await lease_one(store, "w1", rate_want(10, 10, window=MINUTE + 1), NOW + 60)).granted == 10


async def test_windows_of_rates_that_are_over_are_forgotten(store: Store) -> None:
    await store.enter("w1", NOW)
    await store.lease("w1", [rate_want(6, 6)], [], NOW)
    await store.leave("w1")
    await store.enter("w2", NOW)
    await store.lease("w2", [rate_want(5, 5, window=MINUTE + 2)], [], NOW + 120)
    await store.leave("w2")
    assert await store.forget(NOW + 120) == 0
    assert await store.used([(RATE, MINUTE), (RATE, MINUTE + 2)]) == [0, 5]
    assert await store.check() == []


async def test_rates_that_were_over_long_ago_do_not_pile_up(store: Store) -> None:
    await store.enter("w1", NOW)
    await store.enter("w2", NOW)
    await store.lease("w1", [rate_want(6, 6), day_want(5, 5, 9)], [], NOW)
    await store.lease("w2", [rate_want(3, 3)], [], NOW)
    await store.leave("w2")
    await store.lease("w1", [], [], NOW + 70)
    assert await store.used([(RATE, MINUTE)]) == [3]
    assert len(await store.leases()) == 2
    await store.lease("w1", [], [], NOW + 2 * 86_400)
    assert await store.used([(RATE, MINUTE)]) == [0]
    assert [lease.budget for lease in await store.leases()] == [day_slot("key", "key_1")[0]]


async def test_what_money_was_spent_is_not_forgotten(store: Store) -> None:
    await with_account(store, 100)
    await spend(store, settlement(amount_nanos=30))
    await store.forget(NOW + 400 * 86_400)
    assert await store.used([day_slot("key", "key_1"), month_slot("account", "acc_1")]) == [30, 30]
    assert await store.check() == []


# -- recalls -----------------------------------------------------------------------------------------------------------


async def recalled(store: Store, holder: str) -> tuple[tuple[str, int], ...]:
    return (await store.news(holder, 0)).recalled


async def test_who_holds_what_another_needs_is_told_so(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 60)
    await with_holder(store, "w2", 30)
    await with_holder(store, "w3")
    wallet = (wallet_of("acc_1"), NO_WINDOW)
    assert await recalled(store, "w1") == ()
    assert await lease_one(store, "w3", wallet_want(80, 80)) == Grant(*wallet, 0, 10, 90, 0)
    assert await recalled(store, "w1") == (wallet,)
    assert await recalled(store, "w2") == (wallet,)
    assert await recalled(store, "w3") == ()
    assert (await store.news(None, 0)).recalled == ()


async def test_who_was_short_gets_what_was_returned(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 100)
    await with_holder(store, "w2")
    await lease_one(store, "w2", wallet_want(40, 80))
    [slot] = await recalled(store, "w1")
    await store.lease("w1", [], [Return(*slot, 100)], NOW)
    assert await recalled(store, "w1") == ()  # it holds nothing of it now
    assert (await lease_one(store, "w2", wallet_want(40, 80))).granted == 50


async def test_only_the_window_that_is_short_is_recalled(store: Store) -> None:
    await store.enter("w1", NOW)
    await store.enter("w2", NOW)
    await store.lease("w1", [day_want(9, 9, 10), day_want(9, 9, 10, day=TODAY + 1), rate_want(9, 9)], [], NOW)
    await store.lease("w2", [day_want(5, 5, 10), rate_want(1, 1)], [], NOW)
    assert await recalled(store, "w1") == (day_slot("key", "key_1"),)


async def test_what_nobody_could_give_is_not_recalled(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 60)
    await with_holder(store, "w2")
    await lease_one(store, "w2", wallet_want(101, 101))
    assert await recalled(store, "w1") == ()
    await lease_one(store, "w2", wallet_want(0, 1_000))
    assert await recalled(store, "w1") == ()


async def test_who_is_short_itself_is_not_told(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 60)
    await with_holder(store, "w2", 30)
    slot = (wallet_of("acc_1"), NO_WINDOW)
    assert (await lease_one(store, "w2", wallet_want(50, 50))).granted == 0
    assert (await recalled(store, "w1"), await recalled(store, "w2")) == ((slot,), ())
    assert (await lease_one(store, "w1", wallet_want(20, 20))).granted == 0
    assert (await recalled(store, "w1"), await recalled(store, "w2")) == ((slot,), (slot,))


async def test_a_shortage_is_remembered_for_seconds_only(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 100)
    await with_holder(store, "w2")
    await lease_one(store, "w2", wallet_want(10, 10))
    await lease_one(store, "w1", day_want(1, 1, 5), NOW + 1)
    assert await recalled(store, "w1") == ((wallet_of("acc_1"), NO_WINDOW),)
    await lease_one(store, "w1", day_want(1, 1, 5), NOW + 60)
    assert await recalled(store, "w1") == ()


# -- cancellation ------------------------------------------------------------------------------------------------------


async def test_a_call_that_is_cancelled_happens_whole_or_not_at_all(store: Store) -> None:
    await with_account(store, 1_000)
    await with_holder(store, "w1", 100)
    await store.lease("w1", [day_want(100, 100, 1_000)], [], NOW)
    slot = day_slot("key", "key_1")
    for number in range(6):
        with trio.CancelScope() as scope:
            scope.cancel()
            one = settlement(f"set_{number}", 10, leases=(slot,))
            await store.settle("w1", [one], Position(1, number), Position(1, number + 1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.lease("w1", [wallet_want(10, 10), day_want(10, 10, 1_000)], [], NOW)
    await store.lease("w1", [], [], NOW)  # behind whatever of the others is still under way
    leases = {lease.budget: lease.amount for lease in await store.leases()}
    booked = {row.id for row in await store.transfers("acc_1") if row.key is not None}
    [holder] = await store.holders()
    assert leases[wallet_of("acc_1")] == leases[slot[0]]
    assert await store.used([slot]) == [10 * len(booked)]
    assert (await store.balance("acc_1")).balance_nanos == 1_000 - 10 * len(booked)
    assert holder.position == START or f"set_{holder.position.offset - 1}" in booked
    assert await store.check() == []


def test_the_samples_are_what_they_say() -> None:
    assert NOW % 86_400 == 0
    assert divmod(THIS_MONTH, 12) == (2030, 0)
    assert len(key().digest) == 32
