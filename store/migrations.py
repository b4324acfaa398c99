"""The tables, and how a file of an older version becomes one of this.

A file's version is the number of steps that were done with it (`PRAGMA user_version`); `application_id` says that it is
one of ours. `migrate` does the steps that are missing in one transaction, so that of many processes that open a new
file one makes the tables and the others find them. A step is never changed once it was released: another one follows.

Amounts are whole nano-dollars in 64 bits, truth is 0 or 1, time is unix seconds. What SQLite alone can say is kept to
the triggers and pragmas, for the day on which a store of many nodes keeps the same tables.
"""

import sqlite3
from collections.abc import Callable

from store.interface import StoreError

APPLICATION_ID = 0x48656467
"""`Hedg`, in the header of every file of ours: https://www.sqlite.org/pragma.html#pragma_application_id."""

ACCOUNTS = (
    """
    CREATE TABLE meta (
        name TEXT NOT NULL PRIMARY KEY,
        value INTEGER NOT NULL
    )""",
    "INSERT INTO meta (name, value) VALUES ('version', 0)",
    """
    CREATE TABLE teams (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        cap_day_nanos INTEGER CHECK (cap_day_nanos >= 0),
        cap_month_nanos INTEGER CHECK (cap_month_nanos >= 0),
        created INTEGER NOT NULL,
        version INTEGER NOT NULL
    )""",
    "CREATE INDEX teams_by_version ON teams (version)",
    """
    CREATE TABLE accounts (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        role TEXT NOT NULL CHECK (role IN ('user', 'admin')),
        team TEXT REFERENCES teams (id),
        group_name TEXT NOT NULL,
        disabled INTEGER NOT NULL CHECK (disabled IN (0, 1)),
        cap_day_nanos INTEGER CHECK (cap_day_nanos >= 0),
        cap_month_nanos INTEGER CHECK (cap_month_nanos >= 0),
        markup_ppm INTEGER CHECK (markup_ppm >= 0),
        rolling_nanos INTEGER NOT NULL,
        created INTEGER NOT NULL,
        version INTEGER NOT NULL
    )""",
    "CREATE INDEX accounts_by_version ON accounts (version)",
    """
    CREATE TABLE keys (
        id TEXT NOT NULL PRIMARY KEY,
        account TEXT NOT NULL REFERENCES accounts (id),
        name TEXT NOT NULL,
        digest BLOB NOT NULL UNIQUE,
        shown TEXT NOT NULL,
        surfaces TEXT NOT NULL,
        models TEXT NOT NULL,
        addresses TEXT NOT NULL,
        group_name TEXT,
        expires INTEGER,
        disabled INTEGER NOT NULL CHECK (disabled IN (0, 1)),
        cap_day_nanos INTEGER CHECK (cap_day_nanos >= 0),
        cap_month_nanos INTEGER CHECK (cap_month_nanos >= 0),
        requests_per_minute INTEGER CHECK (requests_per_minute >= 0),
        tokens_per_minute INTEGER CHECK (tokens_per_minute >= 0),
        in_flight_max INTEGER CHECK (in_flight_max >= 0),
        created INTEGER NOT NULL,
        version INTEGER NOT NULL,
        UNIQUE (account, name)
    )""",
    "CREATE INDEX keys_by_version ON keys (version)",
)
"""Who may ask and who pays. The `version` of `meta` is the newest of all rows here."""

MONEY = (
    """
    CREATE TABLE transfers (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        time INTEGER NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('top_up', 'grant', 'settlement', 'refund')),
        debit TEXT NOT NULL,
        credit TEXT NOT NULL CHECK (credit <> debit),
        amount_nanos INTEGER NOT NULL CHECK (amount_nanos BETWEEN 0 AND 4000000000000000000),
        account TEXT NOT NULL REFERENCES accounts (id),
        key TEXT,
        team TEXT,
        day INTEGER NOT NULL,
        month INTEGER NOT NULL,
        cost_nanos INTEGER NOT NULL CHECK (cost_nanos >= 0),
        uncollected_nanos INTEGER NOT NULL CHECK (uncollected_nanos >= 0),
        reference TEXT,
        note TEXT NOT NULL,
        detail TEXT NOT NULL
    )""",
    "CREATE INDEX transfers_by_account ON transfers (account, time)",
    "CREATE INDEX transfers_by_time ON transfers (time)",
    "CREATE INDEX transfers_by_reference ON transfers (reference) WHERE reference IS NOT NULL",
    """
    CREATE TRIGGER transfers_stay BEFORE UPDATE ON transfers
    BEGIN SELECT RAISE (ABORT, 'the ledger only grows'); END""",
    """
    CREATE TRIGGER transfers_remain BEFORE DELETE ON transfers
    BEGIN SELECT RAISE (ABORT, 'the ledger only grows'); END""",
    # A sum beyond 64 bits would become a REAL, which holds no exact amount; the bound refuses it before.
    """
    CREATE TABLE balances (
        name TEXT NOT NULL PRIMARY KEY,
        balance_nanos INTEGER NOT NULL CHECK (balance_nanos BETWEEN -9000000000000000000 AND 9000000000000000000),
        CHECK (balance_nanos >= 0 OR name IN ('cash', 'grants'))
    )""",
    "INSERT INTO balances (name, balance_nanos) VALUES ('cash', 0), ('grants', 0), ('revenue', 0)",
    """
    CREATE TABLE spent (
        budget TEXT NOT NULL,
        window_number INTEGER NOT NULL,
        amount INTEGER NOT NULL CHECK (amount BETWEEN 0 AND 9000000000000000000),
        ends INTEGER NOT NULL,
        counted INTEGER NOT NULL CHECK (counted IN (0, 1)),
        PRIMARY KEY (budget, window_number)
    )""",
    "CREATE INDEX spent_rates ON spent (ends) WHERE counted = 1",
)
"""The ledger, and the sums that are kept beside it. `cash` and `grants` are where money comes from: never above 0."""

LEASES = (
    """
    CREATE TABLE holders (
        id TEXT NOT NULL PRIMARY KEY,
        since INTEGER NOT NULL,
        journal_file INTEGER NOT NULL,
        journal_offset INTEGER NOT NULL
    )""",
    """
    CREATE TABLE leases (
        holder TEXT NOT NULL REFERENCES holders (id),
        budget TEXT NOT NULL,
        window_number INTEGER NOT NULL,
        amount INTEGER NOT NULL CHECK (amount BETWEEN 1 AND 9000000000000000000),
        ends INTEGER NOT NULL,
        counted INTEGER NOT NULL CHECK (counted IN (0, 1)),
        PRIMARY KEY (budget, window_number, holder)
    )""",
    "CREATE INDEX leases_by_holder ON leases (holder)",
    "CREATE INDEX leases_rates ON leases (ends) WHERE counted = 1",
    """
    CREATE TABLE shortages (
        budget TEXT NOT NULL,
        window_number INTEGER NOT NULL,
        holder TEXT NOT NULL REFERENCES holders (id),
        until INTEGER NOT NULL,
        PRIMARY KEY (budget, window_number, holder)
    )""",
)

REQUESTS = (
    """
    CREATE TABLE requests (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        time REAL NOT NULL,
        day INTEGER NOT NULL,
        request_id TEXT NOT NULL,
        account TEXT,
        key TEXT,
        surface TEXT NOT NULL,
        model TEXT,
        provider TEXT,
        upstream_model TEXT,
        dialect TEXT NOT NULL,
        upstream_dialect TEXT,
        stream INTEGER NOT NULL,
        status INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL,
        cache_write_tokens INTEGER NOT NULL,
        reasoning_tokens INTEGER NOT NULL,
        audio_tokens INTEGER NOT NULL,
        estimated INTEGER NOT NULL,
        cost_nanos INTEGER,
        amount_nanos INTEGER NOT NULL,
        waste_nanos INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        hedged INTEGER NOT NULL,
        ttft_ms REAL,
        duration_ms REAL NOT NULL,
        address TEXT NOT NULL
    )""",
    "CREATE INDEX requests_by_time ON requests (time)",
    "CREATE INDEX requests_by_account ON requests (account, time)",
)


def first_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of the first version."""
    for statement in (*ACCOUNTS, *MONEY, *LEASES, *REQUESTS):
        connection.execute(statement)


STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (first_tables,)
"""From each version to the next."""


def version_of(connection: sqlite3.Connection, place: str) -> int:
    """Return how many of `STEPS` were done with the file.

    Raises `StoreError` for a file of somebody else's, or of a version that this one does not know.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (tables or version or application):
        raise StoreError(f"The store {place} cannot be used: its file is another program's database.")
    if version > len(STEPS):
        raise StoreError(
            f"The store {place} cannot be used: it was written by a newer release (its version is {version}, "
            f"this release knows {len(STEPS)})."
        )
    return int(version)


def migrate(connection: sqlite3.Connection, place: str) -> None:
    """Bring the file to this version, whole or not at all. Safe against other processes that do the same.

    Raises `StoreError` as `version_of` does.
    """
    # In a transaction, or another process could make the file its own between two questions.
    connection.execute("BEGIN")
    try:
        version = version_of(connection, place)
    finally:
        connection.rollback()
    if version == len(STEPS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in STEPS[version_of(connection, place) :]:
            step(connection)
        # A pragma takes no parameters; both are numbers of ours.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        connection.execute(f"PRAGMA user_version = {len(STEPS):d}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
