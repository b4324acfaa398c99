"""Tests of the tables: made once by whoever comes first, whole or not at all, and what they refuse by themselves."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from store import migrations
from store.interface import StoreError
from store.migrations import APPLICATION_ID, STEPS, migrate, version_of
from store.opening import connect


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hedgerow.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(path, isolation_level=None)
    opened.execute("PRAGMA foreign_keys = ON")
    yield opened
    opened.close()


def tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_an_empty_file_becomes_one_of_ours(connection: sqlite3.Connection) -> None:
    assert version_of(connection, "x") == 0
    migrate(connection, "x")
    assert version_of(connection, "x") == len(STEPS)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert {"accounts", "keys", "teams", "transfers", "leases", "requests"} <= tables(connection)
    assert not connection.in_transaction


def test_migrating_again_does_nothing(connection: sqlite3.Connection) -> None:
    migrate(connection, "x")
    before = connection.total_changes
    migrate(connection, "x")
    assert connection.total_changes == before


def test_only_missing_steps_are_done(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(connection, "x")

    def second(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE teams ADD COLUMN colour TEXT")

    monkeypatch.setattr(migrations, "STEPS", (*STEPS, second))
    migrate(connection, "x")
    assert version_of(connection, "x") == len(STEPS) + 1
    connection.execute("SELECT colour FROM teams")


def test_a_step_that_fails_leaves_nothing_behind(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (name TEXT)")
        raise KeyError("a bug")

    monkeypatch.setattr(migrations, "STEPS", (*STEPS, broken))
    with pytest.raises(KeyError):
        migrate(connection, "x")
    assert tables(connection) == set()
    assert version_of(connection, "x") == 0
    assert not connection.in_transaction


def test_a_newer_file_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, "x")
    connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    with pytest.raises(StoreError, match="newer release"):
        migrate(connection, "x")


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE mine (x TEXT)", "PRAGMA user_version = 1", "PRAGMA application_id = 7"]
)
def test_another_programs_file_is_refused_and_left_alone(connection: sqlite3.Connection, statement: str) -> None:
    connection.execute(statement)
    before = tables(connection)
    with pytest.raises(StoreError, match="another program"):
        migrate(connection, "x")
    assert tables(connection) == before


def test_many_connections_make_a_new_file_at_once(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: connect(path, power=False), range(8)))
    try:
        for connection in opened:
            assert version_of(connection, "x") == len(STEPS)
            assert connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone() == (0,)
    finally:
        for connection in opened:
            connection.close()


TRANSFER = """
    INSERT INTO transfers (id, time, kind, debit, credit, amount_nanos, account, day, month, cost_nanos,
        uncollected_nanos, note, detail)
    VALUES ('t', 1, ?, ?, ?, ?, ?, 0, 0, 0, 0, '', '')"""


@pytest.fixture
def filled(connection: sqlite3.Connection) -> sqlite3.Connection:
    migrate(connection, "x")
    connection.execute(
        """
        INSERT INTO accounts (id, name, role, group_name, disabled, rolling_nanos, created, version)
        VALUES ('a', 'a', 'user', 'default', 0, 0, 0, 1)
        """
    )
    connection.execute("INSERT INTO balances (name, balance_nanos) VALUES ('wallet:a', 0)")
    connection.execute("INSERT INTO holders (id, since, journal_file, journal_offset) VALUES ('h', 0, 0, 0)")
    return connection


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transfers SET amount_nanos = 2",
        "UPDATE transfers SET note = 'other'",
        "DELETE FROM transfers",
        "DELETE FROM transfers WHERE id = 't'",
    ],
)
def test_the_ledger_only_grows(filled: sqlite3.Connection, statement: str) -> None:
    filled.execute(TRANSFER, ("top_up", "cash", "wallet:a", 1, "a"))
    with pytest.raises(sqlite3.IntegrityError, match="only grows"):
        filled.execute(statement)
    assert filled.execute("SELECT amount_nanos, note FROM transfers").fetchall() == [(1, "")]


@pytest.mark.parametrize(
    "values",
    [
        ("top_up", "cash", "wallet:a", -1, "a"),
        ("top_up", "cash", "wallet:a", 4 * 10**18 + 1, "a"),
        ("top_up", "cash", "cash", 1, "a"),
        ("gift", "cash", "wallet:a", 1, "a"),
        ("top_up", "cash", "wallet:a", 1, "nobody"),
    ],
)
def test_a_transfer_that_makes_no_sense_is_refused(filled: sqlite3.Connection, values: tuple[object, ...]) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        filled.execute(TRANSFER, values)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE balances SET balance_nanos = -1 WHERE name = 'wallet:a'",
        "UPDATE balances SET balance_nanos = -1 WHERE name = 'revenue'",
        "UPDATE balances SET balance_nanos = 9000000000000000001 WHERE name = 'wallet:a'",
        "UPDATE balances SET balance_nanos = 9223372036854775807 + 1 WHERE name = 'wallet:a'",
        "INSERT INTO spent (budget, window_number, amount, ends, counted) VALUES ('b', 1, -1, 0, 0)",
        "INSERT INTO leases (holder, budget, window_number, amount, ends, counted) VALUES ('h', 'b', 1, 0, 0, 0)",
        "INSERT INTO leases (holder, budget, window_number, amount, ends, counted) VALUES ('who', 'b', 1, 1, 0, 0)",
        "UPDATE accounts SET team = 'none'",
        "UPDATE accounts SET role = 'king'",
    ],
)
def test_the_tables_refuse_by_themselves(filled: sqlite3.Connection, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        filled.execute(statement)


def test_money_comes_from_somewhere(filled: sqlite3.Connection) -> None:
    filled.execute("UPDATE balances SET balance_nanos = -1 WHERE name IN ('cash', 'grants')")
