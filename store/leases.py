"""Holders and what they lease, in SQLite: granting, taking back, telling who is short of what others hold.

The rule that nothing here breaks: of a budget's window, what is spent and what all holders lease never exceed its limit
(of a wallet: its balance) by a grant. Transactions that write follow one another, so what is read here holds until the
commit. Limits come with the wants: a lowered one takes nothing back, it only stops further grants.

Functions of a connection inside a transaction. Nothing here reads a clock: time is what callers say, and a shortage is
forgotten by the next `lease` after its time.
"""

import sqlite3
from collections.abc import Iterable, Sequence

from store.interface import ConflictError
from store.rows import WALLET, Grant, Holder, Lease, Position, Return, Want

SHORTAGE_SECONDS = 5
"""How long it is remembered that somebody is short of what others hold: they look several times a second."""

RATE_KEPT_SECONDS = 3_600
"""What is leased and used of a rate is dropped so long after its window: each minute leaves rows for each key."""


def enter(connection: sqlite3.Connection, holder: str, now: int) -> None:
    """Make `holder` known."""
    if connection.execute("SELECT 1 FROM holders WHERE id = ?", (holder,)).fetchone() is not None:
        raise ConflictError(f"There is a holder {holder} already.")
    start = Position()
    connection.execute(
        "INSERT INTO holders (id, since, journal_file, journal_offset) VALUES (?, ?, ?, ?)",
        (holder, now, start.file, start.offset),
    )


def holders(connection: sqlite3.Connection) -> tuple[Holder, ...]:
    """Return all holders, the oldest first."""
    rows = connection.execute("SELECT id, since, journal_file, journal_offset FROM holders ORDER BY since, id")
    return tuple(Holder(id=row[0], since=row[1], position=Position(row[2], row[3])) for row in rows)


def position(connection: sqlite3.Connection, holder: str) -> Position:
    """Return up to where the journal of `holder` is booked. Raises `ConflictError` when there is no such holder."""
    row = connection.execute("SELECT journal_file, journal_offset FROM holders WHERE id = ?", (holder,)).fetchone()
    if row is None:
        raise ConflictError(f"There is no holder {holder}.")
    return Position(*row)


def leave(connection: sqlite3.Connection, holder: str) -> int:
    """Forget `holder` and what it holds; return how much of that came back to wallets."""
    (money,) = connection.execute(
        "SELECT coalesce(sum(amount), 0) FROM leases WHERE holder = ? AND budget >= ? AND budget < ?",
        (holder, f"{WALLET}:", f"{WALLET};"),  # the character after the colon
    ).fetchone()
    connection.execute(
        """
        INSERT INTO spent (budget, window_number, amount, ends, counted)
        SELECT budget, window_number, amount, ends, 1 FROM leases WHERE holder = ? AND counted = 1
        ON CONFLICT (budget, window_number) DO UPDATE SET amount = spent.amount + excluded.amount
        """,
        (holder,),
    )
    connection.execute("DELETE FROM leases WHERE holder = ?", (holder,))
    connection.execute("DELETE FROM shortages WHERE holder = ?", (holder,))
    connection.execute("DELETE FROM holders WHERE id = ?", (holder,))
    return int(money)


def lease(
    connection: sqlite3.Connection, holder: str, wants: Sequence[Want], returns: Sequence[Return], now: int
) -> list[Grant]:
    """Take back `returns`, then grant `wants` one after the other."""
    position(connection, holder)
    connection.execute("DELETE FROM shortages WHERE until <= ?", (now,))
    forget_rates(connection, now - RATE_KEPT_SECONDS)
    take(connection, holder, ((back.budget, back.window, back.amount) for back in returns))
    return [_grant(connection, holder, want, now) for want in wants]


def leases(connection: sqlite3.Connection) -> list[Lease]:
    """Return all leases, by holder and budget."""
    rows = connection.execute(
        """
        SELECT holder, budget, window_number, amount, ends, counted FROM leases
        ORDER BY holder, budget, window_number
        """
    )
    return [
        Lease(holder=row[0], budget=row[1], window=row[2], amount=row[3], ends=row[4], counted=bool(row[5]))
        for row in rows
    ]


def forget_rates(connection: sqlite3.Connection, before: float) -> None:
    """Drop what is leased and used of rates whose window was over at `before`."""
    connection.execute("DELETE FROM leases WHERE counted = 1 AND ends > 0 AND ends <= ?", (before,))
    connection.execute("DELETE FROM spent WHERE counted = 1 AND ends > 0 AND ends <= ?", (before,))


def take(connection: sqlite3.Connection, holder: str, parts: Iterable[tuple[str, int, int]]) -> None:
    """Take (budget, window, amount) from what `holder` holds. Raises `ConflictError` when it holds less."""
    for budget, window, amount in parts:
        slot = (budget, window, holder)
        taken = amount == 0 or (
            amount > 0
            and connection.execute(
                """
                UPDATE leases SET amount = amount - ?
                WHERE budget = ? AND window_number = ? AND holder = ? AND amount > ?
                """,
                (amount, *slot, amount),
            ).rowcount
        )
        # A lease is never of nothing: one that is used up goes.
        if (
            not taken
            and not connection.execute(
                "DELETE FROM leases WHERE budget = ? AND window_number = ? AND holder = ? AND amount = ?",
                (*slot, amount),
            ).rowcount
        ):
            raise ConflictError(f"{holder} holds less than {amount} of {budget} in window {window}.")


def _grant(connection: sqlite3.Connection, holder: str, want: Want, now: int) -> Grant:
    slot = (want.budget, want.window)
    own, elsewhere = connection.execute(
        """
        SELECT coalesce(sum(CASE WHEN holder = ? THEN amount END), 0),
            coalesce(sum(CASE WHEN holder <> ? THEN amount END), 0)
        FROM leases WHERE budget = ? AND window_number = ?
        """,
        (holder, holder, *slot),
    ).fetchone()
    row = connection.execute("SELECT amount FROM spent WHERE budget = ? AND window_number = ?", slot).fetchone()
    used = row[0] if row is not None else 0
    limit = want.limit if want.limit is not None else _balance(connection, want.budget)
    available = limit - used - own - elsewhere
    # As much as is granted stays for others, or a first asker would starve them; a need is met if it can be.
    granted = max(want.need, min(want.want, available // 2)) if available >= want.need else 0
    if granted > 0:
        connection.execute(
            """
            INSERT INTO leases (holder, budget, window_number, amount, ends, counted) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (budget, window_number, holder) DO UPDATE
            SET amount = leases.amount + excluded.amount, ends = excluded.ends, counted = excluded.counted
            """,
            (holder, *slot, granted, want.ends, want.counted),
        )
        connection.execute(
            "DELETE FROM shortages WHERE budget = ? AND window_number = ? AND holder = ?", (*slot, holder)
        )
    elif available < want.need <= available + elsewhere:
        connection.execute(
            """
            INSERT INTO shortages (budget, window_number, holder, until) VALUES (?, ?, ?, ?)
            ON CONFLICT (budget, window_number, holder) DO UPDATE SET until = excluded.until
            """,
            (*slot, holder, now + SHORTAGE_SECONDS),
        )
    return Grant(want.budget, want.window, granted, max(0, available - granted), elsewhere, used)


def _balance(connection: sqlite3.Connection, budget: str) -> int:
    row = connection.execute("SELECT balance_nanos FROM balances WHERE name = ?", (budget,)).fetchone()
    return int(row[0]) if row is not None else 0
