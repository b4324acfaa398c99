"""The ledger in SQLite: money that moves, the sums kept beside it, and what of a journal is already here.

Every transfer is one row that stays, an amount taken from one balance and added to another, and, where somebody spent,
counted by day and month (`spent`). All of that in the transaction of the call: the sums can never say anything else
than the rows. Settlements come by thousands; theirs are summed up before a single statement is run, for the same
wallets, leases and windows turn up in most of them.

Functions of a connection inside a transaction. It grants no leases, it only takes from them what a settlement used.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from store.interface import ConflictError
from store.leases import position, take
from store.rows import (
    CASH,
    DAY,
    GRANTS,
    MONTH,
    NO_WINDOW,
    REVENUE,
    Balance,
    Position,
    Settlement,
    Transfer,
    TransferKind,
    cap_budget,
    wallet_of,
)

SOURCES = {TransferKind.TOP_UP: CASH, TransferKind.GRANT: GRANTS}
"""Where what comes into a wallet comes from."""

AMOUNT_NANOS_MAX = 10**18
"""A billion dollars: sums of a few such amounts still fit into 64 bits."""

_IDS_PER_QUERY = 500
"""Below the number of parameters that any SQLite takes: https://www.sqlite.org/limits.html#max_variable_number."""

TRANSFERS = """
    SELECT id, time, kind, debit, credit, amount_nanos, account, key, team, day, month, cost_nanos, uncollected_nanos,
        reference, note, detail
    FROM transfers"""

ADD_TRANSFER = """
    INSERT INTO transfers (id, time, kind, debit, credit, amount_nanos, account, key, team, day, month, cost_nanos,
        uncollected_nanos, reference, note, detail)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


def settle(
    connection: sqlite3.Connection, holder: str, settlements: Sequence[Settlement], before: Position, after: Position
) -> int:
    """Book what stands in a journal between two positions; return how many settlements were new."""
    booked = position(connection, holder)
    if (booked.file, booked.offset) > (before.file, before.offset):
        return 0
    known = _known(connection, [settlement.id for settlement in settlements])
    new: dict[str, Settlement] = {}
    for settlement in settlements:
        if settlement.id not in known:
            new.setdefault(settlement.id, settlement)
    if new:
        _book_settlements(connection, holder, list(new.values()))
    connection.execute(
        "UPDATE holders SET journal_file = ?, journal_offset = ? WHERE id = ?", (after.file, after.offset, holder)
    )
    return len(new)


def _known(connection: sqlite3.Connection, ids: list[str]) -> set[str]:
    known: set[str] = set()
    for start in range(0, len(ids), _IDS_PER_QUERY):
        some = ids[start : start + _IDS_PER_QUERY]
        places = ", ".join("?" * len(some))
        rows = connection.execute(f"SELECT id FROM transfers WHERE id IN ({places})", some)  # noqa: S608 - only marks
        known.update(id for (id,) in rows)  # noqa: A001 - what it is in the row
    return known


def _book_settlements(connection: sqlite3.Connection, holder: str, settlements: list[Settlement]) -> None:
    wallets: Counter[str] = Counter()
    leased: Counter[tuple[str, int]] = Counter()
    spenders: Counter[tuple[str, str, str | None, int, int]] = Counter()
    rows = []
    for each in settlements:
        wallet, amount = wallet_of(each.account), each.amount_nanos
        wallets[wallet] += amount
        for slot in each.leases:
            leased[slot] += amount
        spenders[each.key, each.account, each.team, each.day, each.month] += amount
        rows.append(
            (
                *(each.id, each.time, TransferKind.SETTLEMENT.value, wallet, REVENUE, amount, each.account, each.key),
                *(each.team, each.day, each.month, each.cost_nanos, each.uncollected_nanos, None, "", each.detail),
            )
        )
    for wallet, amount in wallets.items():
        leased[wallet, NO_WINDOW] += amount
    take(connection, holder, [(*slot, amount) for slot, amount in sorted(leased.items())])
    moved = connection.executemany(
        "UPDATE balances SET balance_nanos = balance_nanos - ? WHERE name = ?",
        [(amount, wallet) for wallet, amount in sorted(wallets.items())],
    ).rowcount
    if moved != len(wallets):
        raise ConflictError(f"{holder} settles for an account that does not exist.")
    _move(connection, REVENUE, sum(wallets.values()))
    spent: Counter[tuple[str, int]] = Counter()
    for (key, account, team, day, month), amount in spenders.items():
        for slot in windows(key, account, team, day, month):
            spent[slot] += amount
    _count(connection, spent)
    connection.executemany(ADD_TRANSFER, rows)


class Credit(Struct, frozen=True):
    """What is asked of `credit`."""

    account: str
    amount_nanos: int
    kind: TransferKind
    id: str
    time: int
    reference: str | None
    note: str


class Refund(Struct, frozen=True):
    """What is asked of `refund`."""

    settlement: str
    amount_nanos: int | None
    id: str
    time: int
    note: str


def credit(connection: sqlite3.Connection, order: Credit) -> Transfer:
    """Book a top-up or a grant."""
    balance(connection, order.account)
    if order.kind not in SOURCES or not 0 < order.amount_nanos <= AMOUNT_NANOS_MAX:
        raise ConflictError(
            "A wallet is credited by a top-up or a grant, with more than nothing and a billion dollars at most."
        )
    wanted = Transfer(
        id=order.id,
        time=order.time,
        kind=order.kind.value,
        debit=SOURCES[order.kind],
        credit=wallet_of(order.account),
        amount_nanos=order.amount_nanos,
        account=order.account,
        reference=order.reference,
        note=order.note,
    )
    return _same(connection, wanted, order.amount_nanos) or _booked(connection, wanted)


def refund(connection: sqlite3.Connection, order: Refund) -> Transfer:
    """Book a refund, which counts in the windows of its settlement."""
    charge = transfer(connection, order.settlement)
    if charge is None or charge.kind != TransferKind.SETTLEMENT:
        raise ConflictError(f"There is no settlement {order.settlement}.")
    wanted = replace(
        charge,
        id=order.id,
        time=order.time,
        kind=TransferKind.REFUND.value,
        debit=charge.credit,
        credit=charge.debit,
        amount_nanos=0,  # decided below
        cost_nanos=0,
        uncollected_nanos=0,
        reference=charge.id,
        note=order.note,
        detail="",
    )
    before = _same(connection, wanted, order.amount_nanos)
    if before is not None:
        return before
    (refunded,) = connection.execute(
        "SELECT coalesce(sum(amount_nanos), 0) FROM transfers WHERE reference = ? AND kind = ?",
        (charge.id, wanted.kind),
    ).fetchone()
    left = charge.amount_nanos - refunded
    amount = left if order.amount_nanos is None else order.amount_nanos
    if not 0 < amount <= left:
        raise ConflictError(f"Of settlement {charge.id} {left} nano-dollars are left to refund.")
    connection.executemany(
        "UPDATE spent SET amount = amount - ? WHERE budget = ? AND window_number = ?",
        [(amount, *slot) for slot in windows(charge.key, charge.account, charge.team, charge.day, charge.month)],
    )
    return _booked(connection, replace(wanted, amount_nanos=amount))


def balance(connection: sqlite3.Connection, account: str) -> Balance:
    """Return what is in a wallet. Raises `ConflictError` when there is no such account."""
    wallet = wallet_of(account)
    row = connection.execute("SELECT balance_nanos FROM balances WHERE name = ?", (wallet,)).fetchone()
    if row is None:
        raise ConflictError(f"There is no account {account}.")
    (leased,) = connection.execute(
        "SELECT coalesce(sum(amount), 0) FROM leases WHERE budget = ? AND window_number = ?", (wallet, NO_WINDOW)
    ).fetchone()
    return Balance(balance_nanos=row[0], leased_nanos=leased)


def used(connection: sqlite3.Connection, budgets: Sequence[tuple[str, int]]) -> list[int]:
    """Return what is spent of each budget's window."""
    query = "SELECT amount FROM spent WHERE budget = ? AND window_number = ?"
    rows = (connection.execute(query, slot).fetchone() for slot in budgets)
    return [row[0] if row is not None else 0 for row in rows]


def transfer(connection: sqlite3.Connection, id: str) -> Transfer | None:  # noqa: A002
    """Return one row."""
    found = _transfers(connection.execute(f"{TRANSFERS} WHERE id = ?", (id,)))
    return found[0] if found else None


def transfers(connection: sqlite3.Connection, account: str | None, limit: int, offset: int) -> list[Transfer]:
    """Return rows, the newest first; of one time, the last booked first."""
    newest = "ORDER BY time DESC, number DESC LIMIT ? OFFSET ?"
    if account is None:
        return _transfers(connection.execute(f"{TRANSFERS} {newest}", (limit, offset)))
    return _transfers(connection.execute(f"{TRANSFERS} WHERE account = ? {newest}", (account, limit, offset)))


def _booked(connection: sqlite3.Connection, wanted: Transfer) -> Transfer:
    _move(connection, wanted.debit, -wanted.amount_nanos)
    _move(connection, wanted.credit, wanted.amount_nanos)
    connection.execute(ADD_TRANSFER, [getattr(wanted, name) for name in Transfer.__struct_fields__])
    return wanted


def _same(connection: sqlite3.Connection, wanted: Transfer, amount_nanos: int | None) -> Transfer | None:
    """Return the transfer of that id, None if there is none. Raises `ConflictError` if it means something else.

    An amount of None stands for any. The reference of a top-up is a remark, that of a refund is what it gives back.
    """
    before = transfer(connection, wanted.id)
    if before is None:
        return None
    same = (before.kind, before.account) == (wanted.kind, wanted.account)
    if wanted.kind == TransferKind.REFUND:
        same = same and before.reference == wanted.reference
    if not same or amount_nanos not in {None, before.amount_nanos}:
        raise ConflictError(f"The id {wanted.id} stands for another transfer.")
    return before


def _move(connection: sqlite3.Connection, name: str, amount_nanos: int) -> None:
    connection.execute("UPDATE balances SET balance_nanos = balance_nanos + ? WHERE name = ?", (amount_nanos, name))


def _count(connection: sqlite3.Connection, spent: Counter[tuple[str, int]]) -> None:
    connection.executemany(
        """
        INSERT INTO spent (budget, window_number, amount, ends, counted) VALUES (?, ?, ?, 0, 0)
        ON CONFLICT (budget, window_number) DO UPDATE SET amount = spent.amount + excluded.amount
        """,
        [(budget, window, amount) for (budget, window), amount in sorted(spent.items()) if amount],
    )


def windows(key: str | None, account: str, team: str | None, day: int, month: int) -> list[tuple[str, int]]:
    """Return the budgets and windows in which it counts what somebody spends."""
    spenders = (("key", key), ("account", account), ("team", team))
    return [
        (cap_budget(period, scope, id), window)
        for scope, id in spenders  # noqa: A001 - what it is in the row
        if id is not None
        for period, window in ((DAY, day), (MONTH, month))
    ]


def _transfers(rows: sqlite3.Cursor) -> list[Transfer]:
    return [
        Transfer(
            id=row[0],
            time=row[1],
            kind=row[2],
            debit=row[3],
            credit=row[4],
            amount_nanos=row[5],
            account=row[6],
            key=row[7],
            team=row[8],
            day=row[9],
            month=row[10],
            cost_nanos=row[11],
            uncollected_nanos=row[12],
            reference=row[13],
            note=row[14],
            detail=row[15],
        )
        for row in rows
    ]
