"""Tests that `check` of both stores finds what does not add up, whoever brought it in, and nothing else."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import astuple, replace

from store.interface import Store
from store.memory import MemoryStore
from store.rows import CASH, GRANTS, NO_WINDOW, REVENUE, Lease, Team, Transfer, TransferKind, wallet_of
from tests.store.samples import (
    NOW,
    TODAY,
    day_slot,
    day_want,
    settlement,
    spend,
    wallet_want,
    with_account,
    with_holder,
)

WALLET_1, WALLET_2 = wallet_of("acc_1"), wallet_of("acc_2")


class Hand(ABC):
    """Changes a store behind its back."""

    @abstractmethod
    def add(self, transfer: Transfer) -> None:
        """Add a row to the ledger and nothing to the sums."""

    @abstractmethod
    def remove(self, id: str) -> None:  # noqa: A002
        """Remove a row of the ledger."""

    @abstractmethod
    def balance(self, name: str, change: int) -> None:
        """Change a balance."""

    @abstractmethod
    def spent(self, budget: str, window: int, change: int) -> None:
        """Change what is counted."""

    @abstractmethod
    def lease(self, lease: Lease) -> None:
        """Add a lease, or change the one of the same holder and window."""

    def move(self, transfer: Transfer) -> None:
        """Add a row and change its balances accordingly."""
        self.add(transfer)
        self.balance(transfer.debit, -transfer.amount_nanos)
        self.balance(transfer.credit, transfer.amount_nanos)

    def count(self, transfer: Transfer, change: int) -> None:
        """Count for the key and the account of a row."""
        for period, window in (("day", transfer.day), ("month", transfer.month)):
            self.spent(f"{period}:key:{transfer.key}", window, change)
            self.spent(f"{period}:account:{transfer.account}", window, change)


class HandInMemory(Hand):
    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    def add(self, transfer: Transfer) -> None:
        self.store.money.transfers[transfer.id] = transfer

    def remove(self, id: str) -> None:  # noqa: A002
        del self.store.money.transfers[id]

    def balance(self, name: str, change: int) -> None:
        self.store.money.balances[name] += change

    def spent(self, budget: str, window: int, change: int) -> None:
        self.store.money.spent[budget, window] += change

    def lease(self, lease: Lease) -> None:
        self.store.lent.held[lease.holder, lease.budget, lease.window] = lease


class HandInFile(Hand):
    """On a connection that keeps no constraint, after the triggers were dropped."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.execute("PRAGMA ignore_check_constraints = ON")
        for (name,) in self.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            self.execute(f'DROP TRIGGER "{name}"')

    def add(self, transfer: Transfer) -> None:
        columns = ", ".join(Transfer.__struct_fields__)
        marks = ", ".join("?" * len(Transfer.__struct_fields__))
        self.execute(f"INSERT INTO transfers ({columns}) VALUES ({marks})", astuple(transfer))

    def remove(self, id: str) -> None:  # noqa: A002
        assert self.execute("DELETE FROM transfers WHERE id = ?", (id,)).rowcount == 1

    def balance(self, name: str, change: int) -> None:
        self.execute(
            """
            INSERT INTO balances (name, balance_nanos) VALUES (?, ?)
            ON CONFLICT (name) DO UPDATE SET balance_nanos = balance_nanos + excluded.balance_nanos
            """,
            (name, change),
        )

    def spent(self, budget: str, window: int, change: int) -> None:
        self.execute(
            """
            INSERT INTO spent (budget, window_number, amount, ends, counted) VALUES (?, ?, ?, 0, 0)
            ON CONFLICT (budget, window_number) DO UPDATE SET amount = amount + excluded.amount
            """,
            (budget, window, change),
        )

    def lease(self, lease: Lease) -> None:
        self.execute(
            """
            INSERT INTO leases (holder, budget, window_number, amount, ends, counted) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (budget, window_number, holder) DO UPDATE SET amount = excluded.amount
            """,
            astuple(lease),
        )


@pytest.fixture
async def hand(store: Store, database: Path) -> AsyncIterator[Hand]:
    """A hand in a store where everything adds up, and everything that can be there is."""
    await store.put_team(Team(id="team_1", name="Ops"))
    await with_account(store, 1_000, team="team_1")
    await with_account(store, 500, "acc_2")
    await store.credit("acc_2", 50, TransferKind.GRANT, id="g", now=NOW)
    await spend(store, settlement("set_1", 100, team="team_1"), settlement("set_2", 40, account="acc_2", key="key_2"))
    await store.refund("set_1", 30, id="r1", now=NOW)
    await with_holder(store, "w1", 200)
    rate = replace(day_want(5, 5, 10), budget="requests:key_1", counted=True)
    await store.lease("w1", [day_want(60, 60, 900), rate], [], NOW)
    await with_holder(store, "w2")
    await store.lease("w2", [rate, wallet_want(9, 9, "acc_2")], [], NOW)
    await store.leave("w2")
    assert await store.check() == []
    if isinstance(store, MemoryStore):
        yield HandInMemory(store)
        return
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        yield HandInFile(connection)


PAYMENT = Transfer(
    id="planted",
    time=NOW,
    kind=TransferKind.SETTLEMENT.value,
    debit=WALLET_1,
    credit=REVENUE,
    amount_nanos=10,
    account="acc_1",
    key="key_1",
    day=TODAY,
    month=2030 * 12,
)
REPAYMENT = replace(
    PAYMENT, kind=TransferKind.REFUND.value, debit=REVENUE, credit=WALLET_1, amount_nanos=1, reference="set_1"
)
LEASE = Lease(holder="w1", budget=WALLET_1, window=NO_WINDOW, amount=200, ends=0, counted=False)
KEY_DAY, KEY_DAY_WINDOW = day_slot("key", "key_1")


def add_and_count(hand: Hand, transfer: Transfer, sign: int = 1) -> None:
    hand.move(transfer)
    hand.count(transfer, sign * transfer.amount_nanos)


def moved_without_a_transfer(hand: Hand) -> None:
    hand.balance(WALLET_1, -1)
    hand.balance(WALLET_2, 1)


def counted_but_not_moved(hand: Hand) -> None:
    hand.add(PAYMENT)
    hand.count(PAYMENT, 10)


def too_much_refunded(hand: Hand) -> None:
    add_and_count(hand, replace(REPAYMENT, id="p1", amount_nanos=70), -1)
    add_and_count(hand, replace(REPAYMENT, id="p2", amount_nanos=1), -1)


def everything_spent_and_more(hand: Hand) -> None:
    add_and_count(hand, replace(PAYMENT, amount_nanos=931))
    hand.lease(replace(LEASE, amount=1))


def amount_changed(hand: Hand) -> None:
    hand.remove("first of acc_2")
    row = Transfer(
        id="first of acc_2",
        time=NOW,
        kind=TransferKind.TOP_UP.value,
        debit=CASH,
        credit=WALLET_2,
        amount_nanos=501,
        account="acc_2",
    )
    hand.add(row)


Plant = Callable[[Hand], None]

PLANTED: dict[str, tuple[Plant, set[str]]] = {
    "a balance that is too high": (lambda hand: hand.balance(WALLET_1, 1), {"balances", WALLET_1}),
    "a balance that is too low": (lambda hand: hand.balance(CASH, -1), {"balances", CASH}),
    "money moved without a transfer": (
        moved_without_a_transfer,
        {WALLET_1, WALLET_2},
    ),
    "a balance of nobody": (lambda hand: hand.balance("nobody", 5), {"balances", "nobody"}),
    "a transfer that moved nothing": (
        counted_but_not_moved,
        {WALLET_1, REVENUE},
    ),
    "a transfer that is lost": (lambda hand: hand.remove("g"), {GRANTS, WALLET_2}),
    "a refund that is lost": (
        lambda hand: hand.remove("r1"),
        {
            *(REVENUE, WALLET_1, KEY_DAY, "day:account:acc_1", "day:team:team_1"),
            *("month:key:key_1", "month:account:acc_1", "month:team:team_1"),
        },
    ),
    "an amount that was changed": (amount_changed, {CASH, WALLET_2}),
    "a wallet below zero": (everything_spent_and_more, {WALLET_1}),
    "a wallet below what is leased of it": (lambda hand: hand.lease(replace(LEASE, amount=931)), {WALLET_1}),
    "a lease on a wallet of nobody": (
        lambda hand: hand.lease(replace(LEASE, budget=wallet_of("acc_9"), amount=1)),
        {wallet_of("acc_9")},
    ),
    "too much counted": (lambda hand: hand.spent(KEY_DAY, KEY_DAY_WINDOW, 1), {KEY_DAY}),
    "too little counted": (lambda hand: hand.spent("month:team:team_1", 2030 * 12, -1), {"month:team:team_1"}),
    "counted where nobody spent": (lambda hand: hand.spent(KEY_DAY, KEY_DAY_WINDOW + 1, 1), {KEY_DAY}),
    "a settlement that is not counted": (
        lambda hand: hand.move(PAYMENT),
        {KEY_DAY, "month:key:key_1", "day:account:acc_1", "month:account:acc_1"},
    ),
    "a lease of nothing": (lambda hand: hand.lease(replace(LEASE, budget="places:key_1", amount=0)), {"places:key_1"}),
    "a lease of less than nothing": (lambda hand: hand.lease(replace(LEASE, amount=-1)), {WALLET_1}),
    "a lease of who has left": (lambda hand: hand.lease(replace(LEASE, holder="w2", amount=1)), {WALLET_1}),
    "more refunded than was taken": (too_much_refunded, {"set_1"}),
    "a refund of what is no settlement": (
        lambda hand: add_and_count(hand, replace(REPAYMENT, reference="first of acc_1"), -1),
        {"first of acc_1"},
    ),
    "a refund of what is not there": (
        lambda hand: add_and_count(hand, replace(REPAYMENT, reference="set_9"), -1),
        {"set_9"},
    ),
    "a settlement from another's wallet": (
        lambda hand: add_and_count(hand, replace(PAYMENT, debit=WALLET_2)),
        {"planted"},
    ),
    "a settlement to cash": (lambda hand: add_and_count(hand, replace(PAYMENT, credit=CASH)), {"planted"}),
    "a refund from cash": (lambda hand: add_and_count(hand, replace(REPAYMENT, debit=CASH), -1), {"planted"}),
    "a refund to another's wallet": (
        lambda hand: add_and_count(hand, replace(REPAYMENT, credit=WALLET_2), -1),
        {"planted"},
    ),
    "a top-up from grants": (
        lambda hand: hand.move(
            replace(PAYMENT, kind=TransferKind.TOP_UP.value, debit=GRANTS, credit=WALLET_1, key=None)
        ),
        {"planted"},
    ),
    "a grant from cash": (
        lambda hand: hand.move(replace(PAYMENT, kind=TransferKind.GRANT.value, debit=CASH, credit=WALLET_1, key=None)),
        {"planted"},
    ),
    "a transfer of no known kind": (
        lambda hand: hand.move(replace(PAYMENT, kind="present", debit=CASH, credit=WALLET_1)),
        {"planted"},
    ),
    "a settlement of less than nothing": (
        lambda hand: add_and_count(hand, replace(PAYMENT, amount_nanos=-1)),
        {"planted"},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
async def test_what_is_planted_is_found_and_nothing_else(store: Store, hand: Hand, name: str) -> None:
    plant, places = PLANTED[name]
    plant(hand)
    findings = await store.check()
    assert {finding.where for finding in findings} == places, findings
    assert all(finding.message.endswith(".") for finding in findings)


async def test_a_hand_that_does_everything_right_is_not_found(store: Store, hand: Hand) -> None:
    add_and_count(hand, PAYMENT)
    add_and_count(hand, replace(REPAYMENT, id="other", reference="planted", amount_nanos=10), -1)
    hand.lease(replace(LEASE, amount=930))
    assert await store.check() == []


async def test_findings_are_gone_once_it_adds_up_again(store: Store, hand: Hand) -> None:
    hand.balance(WALLET_1, 1)
    assert len(await store.check()) == 2
    hand.balance(WALLET_1, -1)
    assert await store.check() == []
