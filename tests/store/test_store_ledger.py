"""Tests of what both stores promise of credits, settlements and refunds."""

import pytest
from msgspec.structs import replace

from store.interface import ConflictError, Store
from store.rows import (
    CASH,
    GRANTS,
    NO_WINDOW,
    REVENUE,
    Position,
    Return,
    Settlement,
    Team,
    Transfer,
    TransferKind,
    wallet_of,
)
from tests.store.samples import (
    NOW,
    START,
    THIS_MONTH,
    TODAY,
    account,
    day_slot,
    day_want,
    key,
    month_slot,
    settlement,
    spend,
    top_up,
    wallet_want,
    with_account,
    with_holder,
)

WALLET_1 = wallet_of("acc_1")


async def balance_of(store: Store, account: str = "acc_1") -> int:
    return (await store.balance(account)).balance_nanos


async def held_by(store: Store, holder: str, budget: str = WALLET_1) -> int:
    return sum(lease.amount for lease in await store.leases() if (lease.holder, lease.budget) == (holder, budget))


async def settle(store: Store, *settlements: Settlement, start: int = 0) -> int:
    """Book for w1 what its journal holds from `start` to the position after it."""
    return await store.settle("w1", settlements, Position(1, start), Position(1, start + 1))


# -- credits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "source"), [(TransferKind.TOP_UP, CASH), (TransferKind.GRANT, GRANTS)])
async def test_a_credit_fills_the_wallet(store: Store, kind: TransferKind, source: str) -> None:
    await with_account(store)
    transfer = await store.credit("acc_1", 10**18, kind, id="c1", now=NOW, reference="invoice 7", note="thanks")
    assert transfer == Transfer(
        id="c1",
        time=NOW,
        kind=kind.value,
        debit=source,
        credit=WALLET_1,
        amount_nanos=10**18,
        account="acc_1",
        reference="invoice 7",
        note="thanks",
    )
    assert await store.transfer("c1") == transfer
    assert await store.transfers() == [transfer]
    assert await balance_of(store) == 10**18
    assert await store.used([day_slot("account", "acc_1")]) == [0]


async def test_a_credit_of_the_same_id_is_booked_once(store: Store) -> None:
    await with_account(store)
    first = await top_up(store, 70, "c1")
    again = await store.credit("acc_1", 70, TransferKind.TOP_UP, id="c1", now=NOW + 99)
    assert again == first
    assert again.time == NOW
    assert await balance_of(store) == 70
    assert await store.transfers() == [first]


async def test_an_id_that_stands_for_something_else_is_refused(store: Store) -> None:
    await with_account(store)
    await with_account(store, id="acc_2")
    await top_up(store, 70, "c1")
    with pytest.raises(ConflictError):
        await top_up(store, 71, "c1")
    with pytest.raises(ConflictError):
        await top_up(store, 70, "c1", "acc_2")
    with pytest.raises(ConflictError):
        await store.credit("acc_1", 70, TransferKind.GRANT, id="c1", now=NOW)
    assert (await balance_of(store), await balance_of(store, "acc_2")) == (70, 0)


async def test_the_id_of_a_settlement_is_no_credits(store: Store) -> None:
    await with_account(store, 100)
    await spend(store, settlement("set_1", 70))
    with pytest.raises(ConflictError):
        await top_up(store, 70, "set_1")
    assert await balance_of(store) == 30


@pytest.mark.parametrize("amount", [0, -1])
async def test_a_credit_is_positive(store: Store, amount: int) -> None:
    await with_account(store)
    with pytest.raises(ConflictError):
        await top_up(store, amount, "c1")
    assert await store.transfers() == []


@pytest.mark.parametrize("kind", [TransferKind.SETTLEMENT, TransferKind.REFUND])
async def test_a_credit_is_a_top_up_or_a_grant(store: Store, kind: TransferKind) -> None:
    await with_account(store)
    with pytest.raises(ConflictError):
        await store.credit("acc_1", 5, kind, id="c1", now=NOW)
    assert await store.transfers() == []


async def test_who_is_unknown_has_no_wallet(store: Store) -> None:
    with pytest.raises(ConflictError):
        await top_up(store, 5, "c1")
    with pytest.raises(ConflictError):
        await store.balance("acc_1")
    assert await store.transfer("c1") is None
    assert await store.transfers("acc_1") == []


async def test_a_wallet_is_empty_at_first(store: Store) -> None:
    await with_account(store)
    balance = await store.balance("acc_1")
    assert (balance.balance_nanos, balance.leased_nanos) == (0, 0)


# -- settlements -------------------------------------------------------------------------------------------------------


async def test_a_settlement_becomes_a_row_of_the_ledger(store: Store) -> None:
    await store.put_team(Team(id="team_1", name="Ops"))
    await with_account(store, 1_000, team="team_1")
    await with_holder(store, "w1", 500)
    one = settlement("set_1", 120, team="team_1", time=NOW + 3, cost_nanos=100, uncollected_nanos=7, detail='{"a":1}')
    assert await settle(store, one) == 1
    assert await store.transfer("set_1") == Transfer(
        id="set_1",
        time=NOW + 3,
        kind=TransferKind.SETTLEMENT.value,
        debit=WALLET_1,
        credit=REVENUE,
        amount_nanos=120,
        account="acc_1",
        key="key_1",
        team="team_1",
        day=TODAY,
        month=THIS_MONTH,
        cost_nanos=100,
        uncollected_nanos=7,
        detail='{"a":1}',
    )
    balance = await store.balance("acc_1")
    assert (balance.balance_nanos, balance.leased_nanos) == (880, 380)


async def test_a_settlement_is_taken_from_each_of_its_leases(store: Store) -> None:
    await with_account(store, 1_000)
    await with_holder(store, "w1", 500)
    await store.lease("w1", [day_want(300, 300, 400), day_want(40, 40, 400, key="other")], [], NOW)
    await settle(store, settlement("set_1", 120, leases=(day_slot("key", "key_1"),)))
    assert await held_by(store, "w1") == 380
    assert await held_by(store, "w1", day_slot("key", "key_1")[0]) == 180
    assert await held_by(store, "w1", day_slot("key", "other")[0]) == 40
    [grant] = await store.lease("w1", [day_want(100, 100, 400)], [], NOW)  # 120 used, 180 held, of 400
    assert (grant.granted, grant.available, grant.used) == (100, 0, 120)


async def test_a_lease_is_gone_when_all_of_it_is_spent(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 100)
    await settle(store, settlement(amount_nanos=100))
    assert await store.leases() == []
    assert await balance_of(store) == 0
    assert await store.check() == []


async def test_spend_is_counted_by_day_and_month_for_key_account_and_team(store: Store) -> None:
    await store.put_team(Team(id="team_1", name="Ops"))
    await with_account(store, 1_000, team="team_1")
    await store.put_key(key("key_2"))
    await spend(
        store,
        settlement("set_1", 100, team="team_1"),
        settlement("set_2", 10, team="team_1", key="key_2"),
        settlement("set_3", 5, team="team_1", day=TODAY + 1),
        settlement("set_4", 2, team="team_1", day=TODAY + 31, month=THIS_MONTH + 1),
    )
    days = [TODAY, TODAY + 1, TODAY + 31, TODAY + 2]
    assert await store.used([day_slot("key", "key_1", day) for day in days]) == [100, 5, 2, 0]
    assert await store.used([day_slot("key", "key_2", day) for day in days]) == [10, 0, 0, 0]
    assert await store.used([day_slot("account", "acc_1", day) for day in days]) == [110, 5, 2, 0]
    assert await store.used([day_slot("team", "team_1", day) for day in days]) == [110, 5, 2, 0]
    months = [THIS_MONTH, THIS_MONTH + 1, THIS_MONTH + 2]
    assert await store.used([month_slot("key", "key_1", month) for month in months]) == [105, 2, 0]
    assert await store.used([month_slot("account", "acc_1", month) for month in months]) == [115, 2, 0]
    assert await store.used([month_slot("team", "team_1", month) for month in months]) == [115, 2, 0]
    assert await store.used([]) == []
    assert await store.check() == []


async def test_who_has_no_team_is_counted_for_none(store: Store) -> None:
    await with_account(store, 100)
    await spend(store, settlement(amount_nanos=60))
    assert await store.used([day_slot("account", "acc_1"), day_slot("team", "None"), day_slot("team", "")]) == [
        60,
        0,
        0,
    ]
    row = await store.transfer("set_1")
    assert row is not None
    assert row.team is None


async def test_a_settlement_of_nothing_needs_no_lease_and_leaves_a_row(store: Store) -> None:
    await with_account(store)
    await with_holder(store, "w1")
    assert await settle(store, settlement("set_1", 0, uncollected_nanos=9, leases=(day_slot("key", "key_1"),))) == 1
    row = await store.transfer("set_1")
    assert row is not None
    assert (row.amount_nanos, row.uncollected_nanos) == (0, 9)
    assert await store.used([day_slot("key", "key_1")]) == [0]
    assert await store.leases() == []
    assert await store.check() == []


async def test_the_same_part_of_a_journal_is_booked_once(store: Store) -> None:
    await with_account(store, 1_000)
    await with_holder(store, "w1", 500)
    batch = [settlement("set_1", 100), settlement("set_2", 50)]
    assert await store.settle("w1", batch, START, Position(1, 80)) == 2
    assert await store.settle("w1", batch, START, Position(1, 80)) == 0
    assert await store.settle("w1", [settlement("set_3", 1)], Position(1, 79), Position(1, 90)) == 0
    assert await store.settle("w1", [settlement("set_3", 1)], Position(0, 999), Position(1, 90)) == 0
    assert await balance_of(store) == 850
    assert await held_by(store, "w1") == 350
    assert [holder.position for holder in await store.holders()] == [Position(1, 80)]
    assert await store.settle("w1", [settlement("set_3", 1)], Position(1, 80), Position(2, 4)) == 1
    assert await store.settle("w1", [settlement("set_4", 1)], Position(1, 999), Position(2, 9)) == 0
    assert await store.settle("w1", [settlement("set_4", 1)], Position(2, 4), Position(2, 9)) == 1
    assert [holder.position for holder in await store.holders()] == [Position(2, 9)]
    assert await store.check() == []


async def test_an_id_is_booked_once_wherever_it_stands(store: Store) -> None:
    await with_account(store, 1_000)
    await with_holder(store, "w1", 500)
    await with_holder(store, "w2", 500)
    assert await settle(store, settlement("set_1", 100), settlement("set_1", 100)) == 1
    assert await settle(store, settlement("set_1", 100), settlement("set_2", 1), start=1) == 1
    assert await store.settle("w2", [settlement("set_1", 100), settlement("set_3", 1)], START, Position(1, 1)) == 1
    assert (await held_by(store, "w1"), await held_by(store, "w2")) == (399, 499)
    assert await balance_of(store) == 898
    assert await store.used([day_slot("key", "key_1")]) == [102]


async def test_a_position_moves_on_without_settlements(store: Store) -> None:
    await store.enter("w1", NOW)
    assert await store.settle("w1", [], START, Position(1, 40)) == 0
    assert [holder.position for holder in await store.holders()] == [Position(1, 40)]


async def test_a_holder_hears_up_to_where_its_own_journal_is_booked(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 60)
    await with_holder(store, "w2", 40)
    version = (await store.news(None, 0)).version

    async def booked(holder: str | None, since: int = version) -> Position:
        news = await store.news(holder, since)
        assert (news.accounts == ()) is (since == version)
        return news.booked

    assert await booked("w1") == Position()
    await store.settle("w1", [settlement("set_1", 10)], START, Position(1, 80))
    await store.settle("w2", [settlement("set_2", 10)], START, Position(3, 7))
    assert (await booked("w1"), await booked("w2")) == (Position(1, 80), Position(3, 7))
    assert await booked("w1", since=0) == Position(1, 80), "beside other news too"
    assert await store.settle("w1", [], START, Position(1, 20)) == 0
    assert await booked("w1") == Position(1, 80), "nothing was booked"
    with pytest.raises(ConflictError):
        await store.settle("w1", [settlement("set_3", 1_000)], Position(1, 80), Position(2, 5))
    assert await booked("w1") == Position(1, 80)
    await store.settle("w1", [], Position(1, 80), Position(2, 0))
    assert await booked("w1") == Position(2, 0)


async def test_of_who_is_no_holder_nothing_is_booked(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 60)
    await store.settle("w1", [settlement("set_1", 10)], START, Position(1, 80))
    assert (await store.news(None, 0)).booked == (await store.news("w2", 0)).booked == Position()
    await store.leave("w1")
    assert (await store.news("w1", 0)).booked == Position()


async def test_who_is_unknown_settles_nothing(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 100)
    with pytest.raises(ConflictError):
        await store.settle("w2", [settlement()], START, Position(1, 1))
    await store.leave("w1")
    with pytest.raises(ConflictError):
        await settle(store, settlement())
    assert await balance_of(store) == 100


@pytest.mark.parametrize(
    "uncovered",
    [
        [settlement("set_2", 101)],
        [settlement("set_2", 60), settlement("set_3", 41)],
        [settlement("set_2", 31, leases=(day_slot("key", "key_1"),))],
        [
            settlement("set_2", 20, leases=(day_slot("key", "key_1"),)),
            settlement("set_3", 11, leases=(day_slot("key", "key_1"),)),
        ],
        [settlement("set_2", 1, leases=(day_slot("key", "key_1", TODAY + 1),))],
        [settlement("set_2", 1, account="acc_2", key="key_2")],
    ],
)
async def test_what_leases_do_not_cover_is_refused_whole(store: Store, uncovered: list[Settlement]) -> None:
    await with_account(store, 1_000)
    await with_account(store, 1_000, "acc_2")
    await with_holder(store, "w1", 100)
    await store.lease("w1", [day_want(30, 30, 900)], [], NOW)
    await with_holder(store, "w2", 800)
    before = (await store.leases(), await store.holders(), await store.transfers())
    with pytest.raises(ConflictError):
        await settle(store, settlement("set_1", 1), *uncovered)
    assert (await store.leases(), await store.holders(), await store.transfers()) == before
    assert await store.used([day_slot("key", "key_1")]) == [0]
    assert await settle(store, settlement("set_1", 1)) == 1
    assert await store.check() == []


async def test_a_settlement_may_come_after_its_day(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 50)
    await store.lease("w1", [day_want(50, 50, 50)], [], NOW)
    await store.lease("w1", [day_want(50, 50, 50, day=TODAY + 1)], [], NOW + 86_400)
    await store.forget(NOW + 86_400)
    assert await settle(store, settlement("set_1", 20, leases=(day_slot("key", "key_1"),), time=NOW + 86_401)) == 1
    assert await store.used([day_slot("key", "key_1"), day_slot("key", "key_1", TODAY + 1)]) == [20, 0]
    await store.lease("w1", [], [Return(*day_slot("key", "key_1"), 30)], NOW + 86_402)
    assert [(lease.window, lease.amount) for lease in await store.leases()] == [(TODAY + 1, 50), (NO_WINDOW, 30)]


async def test_a_large_batch_is_booked(store: Store) -> None:
    for number in range(7):
        await with_account(store, 10_000, f"acc_{number}")
    await store.enter("w1", NOW)
    slot = day_slot("team", "all")
    wants = [wallet_want(5_000, 5_000, f"acc_{number}") for number in range(7)]
    team = replace(day_want(50_000, 50_000, 50_000), budget=slot[0])
    await store.lease("w1", [*wants, team], [], NOW)
    batch = [
        settlement(f"set_{n}", n % 10, account=f"acc_{n % 7}", key=f"key_{n % 7}", team=None, leases=(slot,))
        for n in range(3_000)
    ]
    assert await settle(store, *batch[:1_500]) == 1_500
    assert await settle(store, *batch[1_000:], start=1) == 1_500
    for number in range(7):
        expected = sum(n % 10 for n in range(3_000) if n % 7 == number)
        assert await balance_of(store, f"acc_{number}") == 10_000 - expected
        assert await store.used([day_slot("key", f"key_{number}")]) == [expected]
    assert await held_by(store, "w1", slot[0]) == 50_000 - 13_500
    assert await store.check() == []


# -- refunds -----------------------------------------------------------------------------------------------------------


async def test_a_refund_goes_back_and_no_longer_counts_in_the_windows_of_its_charge(store: Store) -> None:
    await store.put_team(Team(id="team_1", name="Ops"))
    await with_account(store, 1_000, team="team_1")
    await spend(store, settlement("set_1", 100, team="team_1"), settlement("set_2", 10, team="team_1"))
    later = NOW + 40 * 86_400
    refund = await store.refund("set_1", 30, id="r1", now=later, note="sorry")
    assert refund == Transfer(
        id="r1",
        time=later,
        kind=TransferKind.REFUND.value,
        debit=REVENUE,
        credit=WALLET_1,
        amount_nanos=30,
        account="acc_1",
        key="key_1",
        team="team_1",
        day=TODAY,
        month=THIS_MONTH,
        reference="set_1",
        note="sorry",
    )
    assert await store.transfer("r1") == refund
    assert await balance_of(store) == 920
    slots = [("key", "key_1"), ("account", "acc_1"), ("team", "team_1")]
    assert await store.used([day_slot(*slot) for slot in slots]) == [80, 80, 80]
    assert await store.used([month_slot(*slot) for slot in slots]) == [80, 80, 80]
    assert await store.check() == []


async def test_what_is_left_of_a_charge_is_refunded(store: Store) -> None:
    await with_account(store, 1_000)
    await spend(store, settlement("set_1", 100))
    await store.refund("set_1", 30, id="r1", now=NOW)
    rest = await store.refund("set_1", None, id="r2", now=NOW)
    assert rest.amount_nanos == 70
    assert await balance_of(store) == 1_000
    assert await store.used([day_slot("key", "key_1"), month_slot("account", "acc_1")]) == [0, 0]
    for amount in (None, 1):
        with pytest.raises(ConflictError):
            await store.refund("set_1", amount, id="r3", now=NOW)
    assert await store.check() == []


async def test_refunds_never_exceed_their_charge(store: Store) -> None:
    await with_account(store, 1_000)
    await spend(store, settlement("set_1", 100), settlement("set_2", 500))
    with pytest.raises(ConflictError):
        await store.refund("set_1", 101, id="r1", now=NOW)
    await store.refund("set_1", 60, id="r1", now=NOW)
    with pytest.raises(ConflictError):
        await store.refund("set_1", 41, id="r2", now=NOW)
    await store.refund("set_1", 40, id="r2", now=NOW)
    assert await balance_of(store) == 500


async def test_a_refund_of_the_same_id_is_booked_once(store: Store) -> None:
    await with_account(store, 1_000)
    await spend(store, settlement("set_1", 100), settlement("set_2", 100))
    first = await store.refund("set_1", 70, id="r1", now=NOW)
    assert await store.refund("set_1", 70, id="r1", now=NOW + 5) == first
    whole = await store.refund("set_2", None, id="r2", now=NOW)
    assert await store.refund("set_2", None, id="r2", now=NOW + 5) == whole
    assert whole.amount_nanos == 100
    assert await balance_of(store) == 970
    with pytest.raises(ConflictError):
        await store.refund("set_1", 71, id="r1", now=NOW)
    with pytest.raises(ConflictError):
        await store.refund("set_2", 70, id="r1", now=NOW)
    with pytest.raises(ConflictError):
        await store.refund("set_1", 10, id="set_2", now=NOW)
    assert await balance_of(store) == 970


@pytest.mark.parametrize("amount", [0, -5])
async def test_a_refund_is_positive(store: Store, amount: int) -> None:
    await with_account(store, 1_000)
    await spend(store, settlement("set_1", 100))
    with pytest.raises(ConflictError):
        await store.refund("set_1", amount, id="r1", now=NOW)
    assert await balance_of(store) == 900


async def test_only_settlements_are_refunded(store: Store) -> None:
    await with_account(store, 1_000)
    await spend(store, settlement("set_1", 100))
    await store.refund("set_1", 50, id="r1", now=NOW)
    for id_ in ("nothing", "first of acc_1", "r1"):
        with pytest.raises(ConflictError):
            await store.refund(id_, 10, id="r2", now=NOW)
    assert await balance_of(store) == 950


async def test_what_was_refunded_can_be_spent_again(store: Store) -> None:
    await with_account(store, 100)
    await with_holder(store, "w1", 100)
    await store.lease("w1", [day_want(100, 100, 100)], [], NOW)
    await settle(store, settlement("set_1", 100, leases=(day_slot("key", "key_1"),)))
    assert (await store.lease("w1", [day_want(1, 1, 100), wallet_want(1, 1)], [], NOW))[0].granted == 0
    await store.refund("set_1", 40, id="r1", now=NOW)
    grants = await store.lease("w1", [day_want(40, 40, 100), wallet_want(40, 40)], [], NOW)
    assert [grant.granted for grant in grants] == [40, 40]
    assert await store.check() == []


# -- what is shown -----------------------------------------------------------------------------------------------------


async def test_transfers_are_shown_the_newest_first(store: Store) -> None:
    await with_account(store)
    await store.put_account(account("acc_2"))
    rows = [await top_up(store, 1, f"c{n}", f"acc_{1 + n % 2}", now=NOW + n) for n in range(6)]
    rows.reverse()
    assert await store.transfers() == rows
    assert await store.transfers("acc_1") == [row for row in rows if row.account == "acc_1"]
    assert await store.transfers(limit=2) == rows[:2]
    assert await store.transfers(limit=2, offset=3) == rows[3:5]
    assert await store.transfers("acc_2", limit=9, offset=2) == [row for row in rows if row.account == "acc_2"][2:]
    assert await store.transfers("acc_9") == []


async def test_counts_go_up_with_what_is_done(store: Store) -> None:
    before = store.statistics()
    await with_account(store, 5)
    after = store.statistics()
    assert after.calls > before.calls
    assert after.transactions > before.transactions
    assert after.failures == before.failures == 0
