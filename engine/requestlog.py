"""The request log: one row per request, for people to look up; written in batches, never waited for.

A finished request puts a row into a bounded queue, a task takes what has gathered to the spool, from where the clerk
(`engine.clerk`) brings it into the store: an insertion by a thread of this process would take 45 us of each request,
and with it the interpreter at the wrong moments. Where there is no clerk, rows go to the store itself. While that is
away rows wait; beyond the bound the newest are dropped and counted. No money depends on it: what is charged is in the
ledger.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

import trio
from msgspec import Struct

from adapters.usage import Usage
from engine.exchange import CLIENT_CLOSED_REQUEST, Exchange, Outcome
from engine.layers.charge import ANSWER_NANOS_MAX
from engine.tariff import Tariff
from store import spool
from store.interface import Store, StoreError, UnavailableError
from store.rows import DAY_SECONDS, LogRow

logger = logging.getLogger(__name__)

ROWS_MAX = 50_000
BATCH_ROWS_MAX = 1_000
WRITE_SECONDS = 0.5
AWAY_SECONDS = 2.0
FORGET_SECONDS = 3600.0
FORGET_ROWS_MAX = 10_000
SPOOLED_BATCHES_MAX = 20_000
"""Some hours of one worker, less of many, while no clerk comes."""

LOOK_EVERY_BATCHES = 100
"""How often a writer counts what waits: of that many it takes 60 ms."""

NO_USAGE = Usage()


class Shelf(Protocol):
    """What takes rows: the store, or the spool before it."""

    async def log(self, rows: Sequence[LogRow]) -> None:
        """Keep rows. Raises `StoreError`, and then none is kept."""
        ...


class Spool:
    """The spool of one writer: each call leaves a batch for the clerk."""

    def __init__(self, directory: Path, writer: str) -> None:
        """`writer` is an id that no other process has or had."""
        self._directory = directory
        self._writer = writer
        self._batches = 0
        self._is_full = False

    def __repr__(self) -> str:
        return f"<Spool {self._writer} {self._batches} batches written>"

    async def log(self, rows: Sequence[LogRow]) -> None:
        """Leave a batch. Raises `UnavailableError` when it cannot be written or too many wait."""
        try:
            await trio.to_thread.run_sync(self._write, f"{self._writer}-{self._batches:010}", rows)
        except OSError as exc:
            raise UnavailableError(f"The spool {self._directory} cannot be written: {exc.strerror}.") from exc
        self._batches += 1

    def _write(self, name: str, rows: Sequence[LogRow]) -> None:
        look = self._is_full or self._batches % LOOK_EVERY_BATCHES == 0
        self._is_full = look and len(spool.batches(self._directory)) >= SPOOLED_BATCHES_MAX
        if self._is_full:
            raise UnavailableError(f"The spool {self._directory} is full: nobody takes from it.")
        spool.write(self._directory, name, rows)


class RequestLogStatistics(Struct, frozen=True):
    """Rows that wait, were written, and were dropped."""

    waiting: int
    written_total: int
    dropped_total: int


class RequestLog:
    """A queue of rows and the task that writes them. `days` is how long they are kept, 0: none is."""

    def __init__(self, shelf: Shelf, *, days: int, rows_max: int = ROWS_MAX) -> None:
        self._shelf = shelf
        self.days = days
        self._rows: deque[LogRow] = deque()
        self._rows_max = rows_max
        self._written = self._dropped = 0
        self._away = False
        self._flushing = trio.Lock()

    def __repr__(self) -> str:
        return f"<RequestLog {len(self._rows)} rows wait>"

    def statistics(self) -> RequestLogStatistics:
        """Return what became of the rows."""
        return RequestLogStatistics(len(self._rows), self._written, self._dropped)

    def record(self, row: LogRow) -> None:
        """Keep a row, or drop and count it when too many wait."""
        if not self.days:
            return
        if len(self._rows) >= self._rows_max:
            self._dropped += 1
            return
        self._rows.append(row)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:  # noqa: ASYNC110 - it is time that is waited for
            await trio.sleep(WRITE_SECONDS if await self.flush() else AWAY_SECONDS)

    async def flush(self) -> bool:
        """Write what waits; False when nobody took it, and then nothing is lost."""
        async with self._flushing:
            return await self._write()

    async def _write(self) -> bool:
        while self._rows:
            batch = list(islice(self._rows, BATCH_ROWS_MAX))
            try:
                await self._shelf.log(batch)
            except StoreError as exc:
                if not self._away:
                    logger.error("the request log cannot be written, rows wait: %s", exc)  # noqa: TRY400 - no traceback
                self._away = True
                return False
            self._away = False
            self._written += len(batch)
            for _ in batch:
                self._rows.popleft()
        return True


async def forget_on(store: Store, days: Callable[[], int]) -> None:
    """Delete rows that are older than they are kept, in small portions, now and then until cancelled."""
    while True:
        try:
            before = time.time() - days() * DAY_SECONDS
            while await store.forget(before, limit=FORGET_ROWS_MAX) >= FORGET_ROWS_MAX:
                pass
        except StoreError:
            logger.exception("old rows of the request log stay")
        await trio.sleep(FORGET_SECONDS)


def row_of(exchange: Exchange, tariff: Tariff, time: float, ttft_ms: float | None, duration_ms: float) -> LogRow:
    """Return the row of an exchange that began at `time` (unix seconds). What attempts that lost cost is its waste."""
    usage = exchange.usage or NO_USAGE
    waste_nanos = 0
    for attempt in exchange.attempts:
        if attempt.usage is not None:
            lost_nanos = tariff.cost_nanos(attempt.provider, attempt.kind, attempt.model, attempt.usage) or 0
            waste_nanos += min(lost_nanos, ANSWER_NANOS_MAX)
    cost_nanos = exchange.cost_nanos
    if cost_nanos is None and exchange.usage is not None:
        # Of who pays nothing there was no meter; what it would have cost is worth to know.
        cost_nanos = _unmetered_nanos(exchange, tariff, exchange.usage)
    account = exchange.principal.account
    return LogRow(
        exchange.id,
        time,
        exchange.request_id.decode(),
        None if account is None else account.id,
        exchange.principal.id,
        exchange.surface.name,
        exchange.model,
        exchange.provider,
        exchange.upstream_model,
        exchange.surface.dialect,
        exchange.upstream_dialect,
        exchange.stream,
        exchange.status or CLIENT_CLOSED_REQUEST,
        exchange.outcome or Outcome.INTERNAL_ERROR,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
        usage.input_audio_tokens + usage.output_audio_tokens,
        usage.estimated,
        cost_nanos,
        exchange.amount_nanos,
        waste_nanos,
        len(exchange.attempts),
        exchange.hedged,
        ttft_ms,
        duration_ms,
        exchange.address,
    )


def _unmetered_nanos(exchange: Exchange, tariff: Tariff, usage: Usage) -> int | None:
    """Return what an answer cost by the attempt that gave it, None when it has no price."""
    for attempt in exchange.attempts:
        if attempt.provider == exchange.provider and attempt.model == exchange.upstream_model:
            return tariff.cost_nanos(attempt.provider, attempt.kind, attempt.model, usage)
    return None
