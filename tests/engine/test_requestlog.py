"""The request log: never waited for, bounded, written in batches, and forgotten in time."""

import time
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from adapters.usage import TOKENS_MAX, Usage
from engine.config import load_document
from engine.exchange import AttemptRecord, Exchange, Outcome
from engine.http1 import Request
from engine.layers.charge import ANSWER_NANOS_MAX
from engine.requestlog import AWAY_SECONDS, BATCH_ROWS_MAX, FORGET_SECONDS, WRITE_SECONDS, RequestLog, forget_on, row_of
from engine.routes import CHAT, Match
from engine.tariff import Tariff
from store.interface import UnavailableError
from store.memory import MemoryStore
from store.rows import DAY_SECONDS, LogFilter, LogRow
from tests.engine.live import document
from tests.store.samples import log_row


class Counting(MemoryStore):
    """A store that notes how many rows came at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    async def log(self, rows: Sequence[LogRow]) -> None:
        await super().log(rows)
        self.batches.append(len(rows))


def row(number: int, at: float | None = None) -> LogRow:
    return log_row(str(number), time=time.time() if at is None else at)


async def test_rows_are_written_in_batches_and_in_their_order(autojump_clock: MockClock) -> None:
    store = Counting()
    log = RequestLog(store, days=1)
    for number in range(2 * BATCH_ROWS_MAX + 5):
        log.record(row(number))
    assert await log.flush()
    assert store.batches == [BATCH_ROWS_MAX, BATCH_ROWS_MAX, 5]
    assert log.statistics().waiting == 0
    assert log.statistics().written_total == 2 * BATCH_ROWS_MAX + 5


async def test_beyond_the_bound_rows_are_dropped_and_counted(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    log = RequestLog(store, days=1, rows_max=3)
    for number in range(5):
        log.record(row(number))
    assert (log.statistics().waiting, log.statistics().dropped_total) == (3, 2)
    await log.flush()
    assert {each.id for each in await store.logs(LogFilter())} == {"0", "1", "2"}
    log.record(row(6))
    assert (log.statistics().waiting, log.statistics().dropped_total) == (1, 2)


async def test_without_days_nothing_is_kept(autojump_clock: MockClock) -> None:
    log = RequestLog(MemoryStore(), days=0)
    log.record(row(1))
    assert log.statistics().waiting == 0


async def test_rows_wait_while_the_store_is_away(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    log = RequestLog(store, days=1)
    nursery.start_soon(log.run)
    store.fail(UnavailableError("away"))
    log.record(row(1))
    await trio.sleep(10 * AWAY_SECONDS)
    assert log.statistics().waiting == 1
    assert sum("cannot be written" in each.message for each in caplog.records) == 1, "said once"
    store.heal()
    await trio.sleep(AWAY_SECONDS + WRITE_SECONDS)
    assert log.statistics().waiting == 0
    assert await store.log_count(LogFilter()) == 1


async def test_two_who_flush_at_once_write_every_row_once(autojump_clock: MockClock) -> None:
    store = Counting()
    store.delay_seconds = 1.0
    log = RequestLog(store, days=1)
    for number in range(5):
        log.record(row(number))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.flush)
        nursery.start_soon(log.flush)
        await trio.sleep(0.5)
        log.record(row(5))
    assert sum(store.batches) == await store.log_count(LogFilter()) == 6
    assert log.statistics().written_total == 6


async def test_a_flush_that_is_cancelled_loses_nothing(autojump_clock: MockClock) -> None:
    store = MemoryStore(delay_seconds=1.0)
    log = RequestLog(store, days=1)
    log.record(row(1))
    with trio.move_on_after(0.5):
        await log.flush()
    assert await log.flush()
    assert await store.log_count(LogFilter()) == 1


async def test_old_rows_are_forgotten_once_an_hour(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    store = MemoryStore()
    now = time.time()
    await store.log([row(1, now - 3 * DAY_SECONDS), row(2, now - DAY_SECONDS)])
    days = 2
    nursery.start_soon(forget_on, store, lambda: days)
    await trio.sleep(1)
    assert [each.id for each in await store.logs(LogFilter())] == ["2"]
    store.fail(UnavailableError("away"))
    await trio.sleep(FORGET_SECONDS)
    store.heal()
    days = 0
    await trio.sleep(FORGET_SECONDS)
    assert await store.log_count(LogFilter()) == 0, "what is kept no longer goes too"


def test_what_losers_cost_is_waste_and_bounded() -> None:
    exchange = Exchange(Request("POST", b"/", b"/", b"", []), Match(CHAT), 0.0, "10.0.0.1")
    for tokens in (3, TOKENS_MAX):
        lost = AttemptRecord("scripted-1", "scripted", "compatible")
        lost.usage = Usage(input_tokens=tokens)
        exchange.attempts.append(lost)
    exchange.attempts.append(AttemptRecord("scripted-1", "unpriced", "compatible"))
    prices = {"scripted": {"input": 1_000, "output": 2_000}}
    tariff = Tariff(load_document(document("http://127.0.0.1:9", prices=prices), {}))
    made = row_of(exchange, tariff, time=1.0, duration_seconds=0.5)
    assert made.waste_nanos == 3 * 1_000_000 + ANSWER_NANOS_MAX
    assert (made.attempts, made.status, made.outcome) == (3, 499, Outcome.INTERNAL_ERROR)
    assert made.cost_nanos is None
