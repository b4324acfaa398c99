"""Teams, accounts and keys in SQLite: adding, changing and reading them, and what changed since a version.

Everything here is a function of a connection inside a transaction; `db` says in which. Every change takes the next
number of one counter, so what is newer than a number is what its reader has not seen: transactions that write follow
one another, a smaller number is never committed after a larger one.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

from msgspec import json

from store.interface import CHANGED, ConflictError
from store.rows import DAY, Account, Key, News, Position, Role, Team, cap_budget, day_of, wallet_of

ROLLING_DAYS = 30


def put_team(connection: sqlite3.Connection, team: Team) -> Team:
    """Add or change a team."""
    _check_version(connection, "SELECT version FROM teams WHERE id = ?", team)
    values = (team.id, team.name, team.cap_day_nanos, team.cap_month_nanos, team.created, _next_version(connection))
    connection.execute(
        """
        INSERT INTO teams (id, name, cap_day_nanos, cap_month_nanos, created, version) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, cap_day_nanos = excluded.cap_day_nanos,
            cap_month_nanos = excluded.cap_month_nanos, version = excluded.version
        """,
        values,
    )
    return _teams(connection.execute(f"{TEAMS} WHERE id = ?", (team.id,)))[0]


def put_account(connection: sqlite3.Connection, account: Account) -> Account:
    """Add or change an account; a new one gets an empty wallet."""
    _check_version(connection, "SELECT version FROM accounts WHERE id = ?", account)
    if account.team is not None and not _there(connection, "SELECT 1 FROM teams WHERE id = ?", account.team):
        raise ConflictError(f"There is no team {account.team}.")
    if _there(connection, "SELECT 1 FROM accounts WHERE name = ? AND id <> ?", account.name, account.id):
        raise ConflictError(f"Another account is named {account.name}.")
    connection.execute(
        """
        INSERT INTO accounts (id, name, role, team, group_name, disabled, cap_day_nanos, cap_month_nanos, markup_ppm,
            rolling_nanos, created, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, role = excluded.role, team = excluded.team,
            group_name = excluded.group_name, disabled = excluded.disabled, cap_day_nanos = excluded.cap_day_nanos,
            cap_month_nanos = excluded.cap_month_nanos, markup_ppm = excluded.markup_ppm,
            rolling_nanos = excluded.rolling_nanos, version = excluded.version
        """,
        (
            *(account.id, account.name, account.role.value, account.team, account.group, account.disabled),
            *(account.cap_day_nanos, account.cap_month_nanos, account.markup_ppm, account.rolling_nanos),
            *(account.created, _next_version(connection)),
        ),
    )
    connection.execute(
        "INSERT INTO balances (name, balance_nanos) VALUES (?, 0) ON CONFLICT (name) DO NOTHING",
        (wallet_of(account.id),),
    )
    return _accounts(connection.execute(f"{ACCOUNTS} WHERE id = ?", (account.id,)))[0]


def put_key(connection: sqlite3.Connection, key: Key) -> Key:
    """Add or change a key."""
    _check_version(connection, "SELECT version FROM keys WHERE id = ?", key)
    if not _there(connection, "SELECT 1 FROM accounts WHERE id = ?", key.account):
        raise ConflictError(f"There is no account {key.account}.")
    if _there(connection, "SELECT 1 FROM keys WHERE digest = ? AND id <> ?", key.digest, key.id):
        raise ConflictError("Another key has the same digest.")
    if _there(
        connection, "SELECT 1 FROM keys WHERE account = ? AND name = ? AND id <> ?", key.account, key.name, key.id
    ):
        raise ConflictError(f"Another key of the account is named {key.name}.")
    connection.execute(
        """
        INSERT INTO keys (id, account, name, digest, shown, surfaces, models, addresses, group_name, expires, disabled,
            cap_day_nanos, cap_month_nanos, requests_per_minute, tokens_per_minute, in_flight_max, created, version)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET account = excluded.account, name = excluded.name, digest = excluded.digest,
            shown = excluded.shown, surfaces = excluded.surfaces, models = excluded.models,
            addresses = excluded.addresses, group_name = excluded.group_name, expires = excluded.expires,
            disabled = excluded.disabled, cap_day_nanos = excluded.cap_day_nanos,
            cap_month_nanos = excluded.cap_month_nanos, requests_per_minute = excluded.requests_per_minute,
            tokens_per_minute = excluded.tokens_per_minute, in_flight_max = excluded.in_flight_max,
            version = excluded.version
        """,
        (
            *(key.id, key.account, key.name, key.digest, key.shown),
            *(_listed(key.surfaces), _listed(key.models), _listed(key.addresses)),
            *(key.group, key.expires, key.disabled, key.cap_day_nanos, key.cap_month_nanos),
            *(key.requests_per_minute, key.tokens_per_minute, key.in_flight_max),
            *(key.created, _next_version(connection)),
        ),
    )
    return _keys(connection.execute(f"{KEYS} WHERE id = ?", (key.id,)))[0]


def _check_version(connection: sqlite3.Connection, statement: str, row: Team | Account | Key) -> None:
    """Refuse to write over what somebody else has written since `row` was read."""
    stored = connection.execute(statement, (row.id,)).fetchone()
    if stored is not None and stored[0] != row.version:
        raise ConflictError(CHANGED.format(row.id))


def account(connection: sqlite3.Connection, name: str) -> Account | None:
    """Return the account of that id, or else of that name."""
    found = _accounts(connection.execute(f"{ACCOUNTS} WHERE id = ?", (name,)))
    found = found or _accounts(connection.execute(f"{ACCOUNTS} WHERE name = ?", (name,)))
    return found[0] if found else None


def news(connection: sqlite3.Connection, holder: str | None, since: int) -> News:
    """Return what is newer than `since`; the leases of `holder` that others are short of, and what of it is booked."""
    (version,) = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    recalled: list[tuple[str, int]] = []
    booked = Position()
    if holder is not None:
        known = connection.execute(
            "SELECT journal_file, journal_offset FROM holders WHERE id = ?", (holder,)
        ).fetchone()
        booked = booked if known is None else Position(*known)
        recalled = connection.execute(
            """
            SELECT DISTINCT leases.budget, leases.window_number FROM shortages
            JOIN leases ON leases.budget = shortages.budget AND leases.window_number = shortages.window_number
            WHERE leases.holder = ? AND shortages.holder <> leases.holder
            ORDER BY leases.budget, leases.window_number
            """,
            (holder,),
        ).fetchall()
    if version <= since:  # what most calls end with: workers ask several times a second
        return News(version=version, recalled=tuple(recalled), booked=booked)
    return News(
        version=version,
        teams=tuple(_teams(connection.execute(f"{TEAMS} WHERE version > ? ORDER BY version", (since,)))),
        accounts=tuple(_accounts(connection.execute(f"{ACCOUNTS} WHERE version > ? ORDER BY version", (since,)))),
        keys=tuple(_keys(connection.execute(f"{KEYS} WHERE version > ? ORDER BY version", (since,)))),
        recalled=tuple(recalled),
        booked=booked,
    )


def retier(
    connection: sqlite3.Connection, tiers: Sequence[tuple[int, int]], now: int, every_seconds: int
) -> int | None:
    """Set every account's spend of the last 30 days, today among them, and its markup; return how many changed."""
    done = connection.execute("SELECT value FROM meta WHERE name = 'retiered'").fetchone()
    if done is not None and now - done[0] < every_seconds:
        return None
    connection.execute(
        """
        INSERT INTO meta (name, value) VALUES ('retiered', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
        """,
        (now,),
    )
    today, prefix = day_of(now), cap_budget(DAY, "account", "")
    spent = dict(
        connection.execute(
            """
            SELECT budget, sum(amount) FROM spent
            WHERE budget >= ? AND budget < ? AND window_number BETWEEN ? AND ? GROUP BY budget
            """,
            (prefix, prefix + "\U0010ffff", today - ROLLING_DAYS + 1, today),
        ).fetchall()
    )
    changed = []
    for id, markup_ppm, rolling_nanos in connection.execute(  # noqa: A001 - what it is in the row
        "SELECT id, markup_ppm, rolling_nanos FROM accounts"
    ).fetchall():
        rolling = spent.get(prefix + id, 0)
        markup = next((markup for least, markup in reversed(tiers) if rolling >= least), 0)
        if (markup, rolling) != (markup_ppm, rolling_nanos):
            changed.append((markup, rolling, _next_version(connection), id))
    connection.executemany("UPDATE accounts SET markup_ppm = ?, rolling_nanos = ?, version = ? WHERE id = ?", changed)
    return len(changed)


# -- rows and values ---------------------------------------------------------------------------------------------------

TEAMS = "SELECT id, name, cap_day_nanos, cap_month_nanos, created, version FROM teams"

ACCOUNTS = """
    SELECT id, name, role, team, group_name, disabled, cap_day_nanos, cap_month_nanos, markup_ppm, rolling_nanos,
        created, version
    FROM accounts"""

KEYS = """
    SELECT id, account, name, digest, shown, surfaces, models, addresses, group_name, expires, disabled,
        cap_day_nanos, cap_month_nanos, requests_per_minute, tokens_per_minute, in_flight_max, created, version
    FROM keys"""


def _teams(rows: sqlite3.Cursor) -> list[Team]:
    return [
        Team(id=row[0], name=row[1], cap_day_nanos=row[2], cap_month_nanos=row[3], created=row[4], version=row[5])
        for row in rows
    ]


def _accounts(rows: sqlite3.Cursor) -> list[Account]:
    return [
        Account(
            id=row[0],
            name=row[1],
            role=Role(row[2]),
            team=row[3],
            group=row[4],
            disabled=bool(row[5]),
            cap_day_nanos=row[6],
            cap_month_nanos=row[7],
            markup_ppm=row[8],
            rolling_nanos=row[9],
            created=row[10],
            version=row[11],
        )
        for row in rows
    ]


def _keys(rows: sqlite3.Cursor) -> list[Key]:
    return [
        Key(
            id=row[0],
            account=row[1],
            name=row[2],
            digest=row[3],
            shown=row[4],
            surfaces=_unlisted(row[5]),
            models=_unlisted(row[6]),
            addresses=_unlisted(row[7]),
            group=row[8],
            expires=row[9],
            disabled=bool(row[10]),
            cap_day_nanos=row[11],
            cap_month_nanos=row[12],
            requests_per_minute=row[13],
            tokens_per_minute=row[14],
            in_flight_max=row[15],
            created=row[16],
            version=row[17],
        )
        for row in rows
    ]


_LIST = json.Decoder(tuple[str, ...])


def _listed(values: tuple[str, ...]) -> str:
    return json.encode(values).decode()


def _unlisted(text: str) -> tuple[str, ...]:
    return () if text == "[]" else _LIST.decode(text)


def _there(connection: sqlite3.Connection, query: str, *parameters: Any) -> bool:
    return connection.execute(query, parameters).fetchone() is not None


def _next_version(connection: sqlite3.Connection) -> int:
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'version'")
    (version,) = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    return int(version)
