"""The proof that everything adds up: the sums kept beside the ledger against the ledger itself, row by row.

Reads all of it in one snapshot, so workers may go on meanwhile. What it finds is a mistake in this program or a hand in
the file; nothing here repairs it. A function of a connection inside a transaction.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator

from store.ledger import SOURCES, windows
from store.rows import REVENUE, WALLET, Finding, TransferKind

SETTLEMENT, REFUND = TransferKind.SETTLEMENT.value, TransferKind.REFUND.value


def check(connection: sqlite3.Connection) -> list[Finding]:
    """Return what does not add up, see `Store.check`."""
    return [
        *_balances(connection),
        *_wallets(connection),
        *_spent(connection),
        *_leases(connection),
        *_refunds(connection),
        *_sides(connection),
    ]


def _balances(connection: sqlite3.Connection) -> Iterator[Finding]:
    (total,) = connection.execute("SELECT coalesce(sum(balance_nanos), 0) FROM balances").fetchone()
    if total:
        yield Finding("balances", f"They sum to {total} and not to zero.")
    rows = connection.execute(
        """
        SELECT name, sum(balance_nanos), sum(moved_nanos) FROM (
            SELECT name, balance_nanos, 0 AS moved_nanos FROM balances
            UNION ALL SELECT credit, 0, amount_nanos FROM transfers
            UNION ALL SELECT debit, 0, -amount_nanos FROM transfers
        ) AS both_sides GROUP BY name HAVING sum(balance_nanos) <> sum(moved_nanos) ORDER BY name
        """
    )
    for name, balance, moved in rows:
        yield Finding(name, f"The balance is {balance}, its transfers sum to {moved}.")


def _wallets(connection: sqlite3.Connection) -> Iterator[Finding]:
    rows = connection.execute(
        """
        SELECT name, sum(balance_nanos), sum(leased_nanos) FROM (
            SELECT name, balance_nanos, 0 AS leased_nanos FROM balances
            UNION ALL SELECT budget, 0, amount FROM leases
        ) AS both_sums WHERE name >= ? AND name < ? GROUP BY name
        HAVING sum(balance_nanos) < 0 OR sum(balance_nanos) < sum(leased_nanos) ORDER BY name
        """,
        (f"{WALLET}:", f"{WALLET};"),  # the character after the colon
    )
    for name, balance, leased in rows:
        yield Finding(name, f"The balance is {balance}, {leased} of it are leased.")


def _spent(connection: sqlite3.Connection) -> Iterator[Finding]:
    expected: Counter[tuple[str, int]] = Counter()
    rows = connection.execute(
        """
        SELECT key, account, team, day, month, sum(CASE WHEN kind = ? THEN amount_nanos ELSE -amount_nanos END)
        FROM transfers WHERE kind IN (?, ?) GROUP BY key, account, team, day, month
        """,
        (SETTLEMENT, SETTLEMENT, REFUND),
    )
    for key, account, team, day, month, amount in rows:
        for slot in windows(key, account, team, day, month):
            expected[slot] += amount
    counted = Counter(
        {
            (budget, window): amount
            for budget, window, amount in connection.execute(
                "SELECT budget, window_number, amount FROM spent WHERE counted = 0"
            )
        }
    )
    for budget, window in sorted({*expected, *counted}):
        found, wanted = counted[budget, window], expected[budget, window]
        if found != wanted:
            yield Finding(budget, f"{found} are counted in window {window}, its transfers sum to {wanted}.")


def _leases(connection: sqlite3.Connection) -> Iterator[Finding]:
    rows = connection.execute(
        """
        SELECT leases.holder, leases.budget, leases.window_number, leases.amount, holders.id IS NULL FROM leases
        LEFT JOIN holders ON holders.id = leases.holder WHERE leases.amount <= 0 OR holders.id IS NULL
        ORDER BY leases.holder, leases.budget, leases.window_number
        """
    )
    for holder, budget, window, amount, unknown in rows:
        who = f"{holder}, which is no holder," if unknown else holder
        yield Finding(budget, f"{who} leases {amount} of window {window}.")


def _refunds(connection: sqlite3.Connection) -> Iterator[Finding]:
    rows = connection.execute(
        """
        SELECT refunds.reference, sum(refunds.amount_nanos), min(charges.amount_nanos) FROM transfers AS refunds
        LEFT JOIN transfers AS charges ON charges.id = refunds.reference AND charges.kind = ?
        WHERE refunds.kind = ? GROUP BY refunds.reference
        HAVING min(charges.amount_nanos) IS NULL OR sum(refunds.amount_nanos) > min(charges.amount_nanos)
        ORDER BY refunds.reference
        """,
        (SETTLEMENT, REFUND),
    )
    for settlement, refunded, charged in rows:
        took = "which is no settlement" if charged is None else f"which took {charged}"
        yield Finding(settlement or "", f"{refunded} are refunded of it, {took}.")


def _sides(connection: sqlite3.Connection) -> Iterator[Finding]:
    sides = (
        *((kind.value, source, None) for kind, source in SOURCES.items()),
        (SETTLEMENT, None, REVENUE),
        (REFUND, REVENUE, None),
    )
    for kind, debit, credit in sides:  # None: the wallet of the account
        rows = connection.execute(
            """
            SELECT id, debit, credit FROM transfers WHERE kind = ? AND (
                debit <> coalesce(?, ? || account) OR credit <> coalesce(?, ? || account) OR amount_nanos < 0)
            ORDER BY number
            """,
            (kind, debit, f"{WALLET}:", credit, f"{WALLET}:"),
        )
        for id, taken_from, given_to in rows:  # noqa: A001 - what it is in the row
            yield Finding(id, f"A {kind} from {taken_from} to {given_to}.")
    known = [kind for kind, _, _ in sides]
    rows = connection.execute("SELECT id, kind FROM transfers WHERE kind NOT IN (?, ?, ?, ?) ORDER BY number", known)
    for id, kind in rows:  # noqa: A001
        yield Finding(id, f"There is no such kind of transfer: {kind}.")
