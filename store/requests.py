"""The request log in SQLite: keeping rows, finding them, summing them up, deleting old ones.

Functions of a connection inside a transaction. Rows say what people look up; no amount is charged by what stands here,
and nothing of an exchange's content is kept. A row's `day` is its UTC day, put beside its time so that sums by day need
no calendar in SQL.
"""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import astuple

from store.leases import forget_rates
from store.rows import DAY_SECONDS, LogFilter, LogRow, UsageRow, day_of

REQUESTS = """
    SELECT id, time, request_id, account, key, surface, model, provider, upstream_model, dialect, upstream_dialect,
        stream, status, outcome, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens,
        audio_tokens, estimated, cost_nanos, amount_nanos, waste_nanos, attempts, hedged, ttft_ms, duration_ms, address
    FROM requests"""

ADD_REQUEST = """
    INSERT INTO requests (id, time, request_id, account, key, surface, model, provider, upstream_model, dialect,
        upstream_dialect, stream, status, outcome, input_tokens, output_tokens, cached_tokens, cache_write_tokens,
        reasoning_tokens, audio_tokens, estimated, cost_nanos, amount_nanos, waste_nanos, attempts, hedged, ttft_ms,
        duration_ms, address, day)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING"""

GROUPS = {"day": "day", "model": "model", "provider": "provider", "key": "key", "account": "account"}
"""What sums can be grouped by, and the column of it."""


def log(connection: sqlite3.Connection, rows: Sequence[LogRow]) -> None:
    """Keep rows whose id is not there."""
    connection.executemany(ADD_REQUEST, [(*astuple(row), day_of(row.time)) for row in rows])


def logs(connection: sqlite3.Connection, which: LogFilter, limit: int, offset: int) -> list[LogRow]:
    """Return rows, the newest first; of one time, the last kept first."""
    condition, values = _condition(which)
    query = f"{REQUESTS} WHERE {condition} ORDER BY time DESC, number DESC LIMIT ? OFFSET ?"
    return [_row(row) for row in connection.execute(query, (*values, limit, offset))]


def log_count(connection: sqlite3.Connection, which: LogFilter) -> int:
    """Return how many rows there are."""
    condition, values = _condition(which)
    (count,) = connection.execute(f"SELECT count(*) FROM requests WHERE {condition}", values).fetchone()  # noqa: S608
    return int(count)


def usage(connection: sqlite3.Connection, which: LogFilter, by: str) -> list[UsageRow]:
    """Return sums by one of `GROUPS`; rows without a value there are summed under the empty name.

    Raises `ValueError` for what there are no sums by.
    """
    if by not in GROUPS:
        raise ValueError(f"there is no sum by {by}")
    condition, values = _condition(which)
    order = "name" if by == "day" else "sum(amount_nanos) DESC, name"
    query = f"""
        SELECT coalesce({GROUPS[by]}, '') AS name, count(*), sum(input_tokens), sum(output_tokens),
            coalesce(sum(cost_nanos), 0), sum(amount_nanos)
        FROM requests WHERE {condition} GROUP BY coalesce({GROUPS[by]}, '') ORDER BY {order}
    """  # noqa: S608 - columns and conditions are ours
    return [
        UsageRow(
            name=_date(row[0]) if by == "day" else row[0],
            requests=row[1],
            input_tokens=row[2],
            output_tokens=row[3],
            cost_nanos=row[4],
            amount_nanos=row[5],
        )
        for row in connection.execute(query, values)
    ]


def forget(connection: sqlite3.Connection, before: float, limit: int) -> int:
    """Delete at most `limit` rows older than `before`, the oldest first, and windows of rates that were over then."""
    forget_rates(connection, before)
    return connection.execute(
        "DELETE FROM requests WHERE number IN (SELECT number FROM requests WHERE time < ? ORDER BY time LIMIT ?)",
        (before, limit),
    ).rowcount


def _condition(which: LogFilter) -> tuple[str, list[Any]]:
    """Return the condition and its values; every word of the condition stands here."""
    given = [
        (condition, value)
        for condition, value in (
            ("account = ?", which.account),
            ("key = ?", which.key),
            ("model = ?", which.model),
            ("time >= ?", which.since),
            ("time < ?", which.until),
        )
        if value is not None
    ]
    return " AND ".join(condition for condition, _ in given) or "1 = 1", [value for _, value in given]


def _row(row: tuple[Any, ...]) -> LogRow:
    values = list(row)
    for index in _BOOLEANS:
        values[index] = bool(values[index])
    return LogRow(*values)


_BOOLEANS = tuple(LogRow.__struct_fields__.index(name) for name in ("stream", "estimated", "hedged"))


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat()
