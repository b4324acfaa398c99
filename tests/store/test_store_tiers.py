"""Tests of what both stores promise of the spend of 30 days and the markup that goes with it."""

import pytest
import trio

from store.interface import Store
from store.rows import Account
from tests.store.samples import NOW, TODAY, settlement, spend, with_account

DAY = 86_400
HOURS_6 = 6 * 3_600
TIERS = ((0, 400_000), (50, 300_000), (200, 200_000))


async def found(store: Store, name: str = "acc_1") -> Account:
    account = await store.account(name)
    assert account is not None
    return account


@pytest.mark.parametrize(
    ("spent", "markup_ppm"),
    [(0, 400_000), (49, 400_000), (50, 300_000), (199, 300_000), (200, 200_000), (5_000, 200_000)],
)
async def test_the_markup_goes_with_the_spend(store: Store, spent: int, markup_ppm: int) -> None:
    await with_account(store, 9_999)
    await spend(store, settlement(amount_nanos=spent))
    assert await store.retier(TIERS, now=NOW + 7, every_seconds=HOURS_6) == 1
    account = await found(store)
    assert (account.rolling_nanos, account.markup_ppm) == (spent, markup_ppm)


async def test_what_changed_is_news_and_nothing_else(store: Store) -> None:
    first = await with_account(store, 1_000)
    await with_account(store, 1_000, "acc_2", disabled=True, group="g", cap_day_nanos=7)
    before = (await store.news(None, 0)).version
    assert await store.retier(TIERS, now=NOW, every_seconds=HOURS_6) == 2  # from no markup to the first one
    news = await store.news(None, before)
    assert {account.id for account in news.accounts} == {"acc_1", "acc_2"}
    assert len({account.version for account in news.accounts} | {before}) == 3
    await spend(store, settlement(amount_nanos=60))
    assert await store.retier(TIERS, now=NOW + HOURS_6, every_seconds=HOURS_6) == 1
    later = await store.news(None, news.version)
    assert [account.id for account in later.accounts] == ["acc_1"]
    assert later.keys == ()
    second = await found(store, "acc_2")
    assert (second.disabled, second.group, second.cap_day_nanos, second.created) == (True, "g", 7, NOW)
    assert (await found(store)).created == first.created
    assert await store.retier(TIERS, now=NOW + 2 * HOURS_6, every_seconds=HOURS_6) == 0
    assert (await store.news(None, 0)).version == later.version


async def test_a_spend_that_changes_no_markup_is_noted(store: Store) -> None:
    await with_account(store, 1_000)
    await store.retier(TIERS, now=NOW, every_seconds=HOURS_6)
    await spend(store, settlement(amount_nanos=20))
    assert await store.retier(TIERS, now=NOW + HOURS_6, every_seconds=HOURS_6) == 1
    account = await found(store)
    assert (account.rolling_nanos, account.markup_ppm) == (20, 400_000)


async def test_only_30_days_count_of_all_keys(store: Store) -> None:
    await with_account(store, 1_000)
    await spend(
        store,
        settlement("today", 1),
        settlement("of another key", 2, key="key_2"),
        settlement("28 days ago", 4, day=TODAY - 28),
        settlement("31 days ago", 8, day=TODAY - 31),
        settlement("tomorrow", 16, day=TODAY + 1),
    )
    await store.retier(TIERS, now=NOW, every_seconds=HOURS_6)
    assert (await found(store)).rolling_nanos == 7
    await store.retier(TIERS, now=NOW + 40 * DAY, every_seconds=HOURS_6)
    assert (await found(store)).rolling_nanos == 0


async def test_a_refund_counts_against_the_spend(store: Store) -> None:
    await with_account(store, 1_000)
    await spend(store, settlement("set_1", 60))
    await store.refund("set_1", 20, id="r1", now=NOW)
    await store.retier(TIERS, now=NOW, every_seconds=HOURS_6)
    account = await found(store)
    assert (account.rolling_nanos, account.markup_ppm) == (40, 400_000)


async def test_accounts_are_told_apart(store: Store) -> None:
    for number, amount in enumerate((0, 60, 300)):
        await with_account(store, 1_000, f"acc_{number}")
        await spend(store, settlement(f"set_{number}", amount, account=f"acc_{number}", key=f"key_{number}"))
    await store.retier(TIERS, now=NOW, every_seconds=HOURS_6)
    assert [(await found(store, f"acc_{n}")).markup_ppm for n in range(3)] == [400_000, 300_000, 200_000]


async def test_other_tiers_change_the_markup_of_the_same_spend(store: Store) -> None:
    await with_account(store)
    await store.retier(TIERS, now=NOW, every_seconds=HOURS_6)
    assert await store.retier([(0, 0)], now=NOW + HOURS_6, every_seconds=HOURS_6) == 1
    assert (await found(store)).markup_ppm == 0


async def test_it_is_done_once_in_six_hours(store: Store) -> None:
    await with_account(store)
    assert await store.retier(TIERS, now=NOW, every_seconds=HOURS_6) == 1
    for now in (NOW, NOW + 1, NOW + HOURS_6 - 1):
        assert await store.retier(TIERS, now=now, every_seconds=HOURS_6) is None
    assert await store.retier(TIERS, now=NOW + HOURS_6, every_seconds=HOURS_6) == 0
    assert await store.retier(TIERS, now=NOW + HOURS_6 + 1, every_seconds=HOURS_6) is None


async def test_of_many_that_ask_one_does_it(store: Store) -> None:
    await with_account(store)
    answers: list[int | None] = []

    async def ask() -> None:
        answers.append(await store.retier(TIERS, now=NOW, every_seconds=HOURS_6))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(ask)
    assert sorted(answers, key=str) == [1, None, None, None, None, None]
