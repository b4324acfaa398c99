"""Rows to put into a store, with what does not matter filled in."""

from typing import Any

from msgspec.structs import replace

from store.interface import Store
from store.rows import (
    DAY,
    MONTH,
    NO_WINDOW,
    Account,
    Key,
    LogRow,
    Position,
    Settlement,
    Transfer,
    TransferKind,
    Want,
    cap_budget,
    day_of,
    wallet_of,
)

NOW = 1_893_456_000
"""A midnight (UTC), and the first of a month: 1 January 2030."""

TODAY = day_of(NOW)
THIS_MONTH = 2030 * 12
"""`NOW`'s month, as windows count them."""

START = Position()


def account(id: str = "acc_1", **fields: Any) -> Account:  # noqa: A002 - what it is in the row
    return Account(id=id, **{"name": f"name of {id}", "created": NOW, **fields})


def key(id: str = "key_1", account: str = "acc_1", **fields: Any) -> Key:  # noqa: A002
    return Key(
        id=id,
        account=account,
        **{"name": f"name of {id}", "digest": id.encode().ljust(32, b"."), "created": NOW, **fields},
    )


def wallet_want(need: int, want: int, account: str = "acc_1") -> Want:
    return Want(wallet_of(account), NO_WINDOW, None, need, want)


def day_want(need: int, want: int, limit: int, key: str = "key_1", day: int = TODAY) -> Want:
    return Want(cap_budget(DAY, "key", key), day, limit, need, want, ends=(day + 1) * 86_400)


def settlement(id: str = "set_1", amount_nanos: int = 100, **fields: Any) -> Settlement:  # noqa: A002
    """One of `acc_1` and `key_1`, of no team, today, from no lease but the wallet's."""
    one = Settlement(
        id=id,
        time=NOW,
        account="acc_1",
        key="key_1",
        team=None,
        day=TODAY,
        month=THIS_MONTH,
        amount_nanos=amount_nanos,
        cost_nanos=amount_nanos // 2,
        uncollected_nanos=0,
        leases=(),
        detail='{"model":"m"}',
    )
    return replace(one, **fields)


def day_slot(scope: str, id: str, day: int = TODAY) -> tuple[str, int]:  # noqa: A002
    return cap_budget(DAY, scope, id), day


def month_slot(scope: str, id: str, month: int = THIS_MONTH) -> tuple[str, int]:  # noqa: A002
    return cap_budget(MONTH, scope, id), month


def log_row(id: str = "log_1", **fields: Any) -> LogRow:  # noqa: A002
    row = LogRow(
        id=id,
        time=float(NOW),
        request_id=f"req of {id}",
        account="acc_1",
        key="key_1",
        surface="chat",
        model="m",
        provider="p",
        upstream_model="um",
        dialect="chat",
        upstream_dialect="chat",
        stream=True,
        status=200,
        outcome="completed",
        input_tokens=10,
        output_tokens=20,
        cached_tokens=1,
        cache_write_tokens=2,
        reasoning_tokens=3,
        audio_tokens=4,
        estimated=False,
        cost_nanos=50,
        amount_nanos=100,
        waste_nanos=0,
        attempts=1,
        hedged=False,
        ttft_ms=12.5,
        duration_ms=34.25,
        address="192.0.2.1",
    )
    return replace(row, **fields)


async def with_account(store: Store, amount_nanos: int = 0, id: str = "acc_1", **fields: Any) -> Account:  # noqa: A002
    """Put an account with a key `key_N` of the same number, its wallet filled."""
    put = await store.put_account(account(id, **fields))
    await store.put_key(key(id.replace("acc", "key"), id))
    if amount_nanos:
        await top_up(store, amount_nanos, f"first of {id}", id)
    return put


async def top_up(store: Store, amount_nanos: int, id: str, account: str = "acc_1", now: int = NOW) -> Transfer:  # noqa: A002
    return await store.credit(account, amount_nanos, TransferKind.TOP_UP, id=id, now=now)


async def with_holder(store: Store, holder: str = "w1", leased_nanos: int = 0) -> None:
    """Let a holder enter and lease so much of `acc_1`'s wallet."""
    await store.enter(holder, NOW)
    if leased_nanos:
        [grant] = await store.lease(holder, [wallet_want(leased_nanos, leased_nanos)], [], NOW)
        assert grant.granted == leased_nanos


async def spend(store: Store, *settlements: Settlement, holder: str = "spender") -> int:
    """Let a new holder lease exactly what the settlements need of wallets, book them and leave."""
    await store.enter(holder, NOW)
    for one in settlements:
        wants = [wallet_want(one.amount_nanos, one.amount_nanos, one.account)]
        await store.lease(holder, wants if one.amount_nanos else [], [], NOW)
    booked = await store.settle(holder, settlements, START, Position(1, 1))
    await store.leave(holder)
    return booked
