"""The request log of the store in memory: rows by id, found and summed by walking through all of them."""

from collections.abc import Iterable
from datetime import UTC, datetime

from store.rows import LogFilter, LogRow, UsageRow


class MemoryLog:
    """Rows by id. Nothing waits here."""

    def __init__(self) -> None:
        self.rows: dict[str, LogRow] = {}

    def add(self, rows: Iterable[LogRow]) -> None:
        """Keep rows whose id is not there yet."""
        for row in rows:
            self.rows.setdefault(row.id, row)

    def newest(self, which: LogFilter) -> list[LogRow]:
        """Return the rows that fit, the newest first."""
        rows = sorted(self.rows.values(), key=lambda row: row.time)
        return [row for row in reversed(rows) if _fits(row, which)]

    def usage(self, which: LogFilter, by: str) -> list[UsageRow]:
        """Return sums by one of the columns; what has no value there is summed under the empty name.

        Raises `ValueError` for a column that there is no sum by.
        """
        if by not in {"day", "model", "provider", "key", "account"}:
            raise ValueError(f"there is no sum by {by}")
        groups: dict[str, list[LogRow]] = {}
        for row in self.newest(which):
            name = datetime.fromtimestamp(row.time, UTC).date().isoformat() if by == "day" else getattr(row, by)
            groups.setdefault(name or "", []).append(row)
        sums = [
            UsageRow(
                name=name,
                requests=len(rows),
                input_tokens=sum(row.input_tokens for row in rows),
                output_tokens=sum(row.output_tokens for row in rows),
                cost_nanos=sum(row.cost_nanos or 0 for row in rows),
                amount_nanos=sum(row.amount_nanos for row in rows),
            )
            for name, rows in sorted(groups.items())
        ]
        return sums if by == "day" else sorted(sums, key=lambda row: -row.amount_nanos)

    def forget(self, before: float, limit: int) -> int:
        """Delete at most `limit` rows older than `before`, the oldest first; return how many."""
        old = [row for row in self.rows.values() if row.time < before]
        old.sort(key=lambda row: row.time)
        for row in old[:limit]:
            del self.rows[row.id]
        return len(old[:limit])


def _fits(row: LogRow, which: LogFilter) -> bool:
    return (
        (which.account is None or row.account == which.account)
        and (which.key is None or row.key == which.key)
        and (which.model is None or row.model == which.model)
        and (which.since is None or row.time >= which.since)
        and (which.until is None or row.time < which.until)
    )
