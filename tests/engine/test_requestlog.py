"""The request log: never waited for, bounded, written in batches, and forgotten in time."""

import errno
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from adapters.usage import TOKENS_MAX, Usage
from engine.config import load_document
from engine.exchange import AttemptRecord, Exchange, Outcome
from engine.http1 import Request
from engine.layers.charge import ANSWER_NANOS_MAX
from engine.requestlog import (
    AWAY_SECONDS,
    BATCH_ROWS_MAX,
    FORGET_SECONDS,
    WRITE_SECONDS,
    RequestLog,
    Spool,
    forget_on,
    row_of,
)
from engine.routes import CHAT, Match
from engine.tariff import Tariff
from store import spool
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


# -- the spool ---------------------------------------------------------------------------------------------------------


def spooled(directory: Path) -> list[list[str]]:
    """Return the ids in each batch that waits."""
    return [[each.id for each in spool.read(batch)] for batch in spool.batches(directory)]


class Disk:
    """Stands in for `spool.write`: the disk is full until there is space."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = True
        self._write = spool.write
        monkeypatch.setattr(spool, "write", self.write)

    def write(self, directory: Path, name: str, rows: Sequence[LogRow]) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._write(directory, name, rows)


async def test_rows_go_to_the_spool_in_batches_whose_names_are_in_their_order(tmp_path: Path) -> None:
    shelf = Spool(tmp_path, "0-abc")
    log = RequestLog(shelf, days=1)
    for number in range(11):
        log.record(row(number))
        assert await log.flush()
    assert spooled(tmp_path) == [[str(number)] for number in range(11)]
    assert [path.name for path in spool.batches(tmp_path)][-1] == "0-abc-0000000010.rows"
    assert repr(shelf) == "<Spool 0-abc 11 batches written>"


async def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    await Spool(tmp_path, "0-abc").log([row(1)])
    await Spool(tmp_path, "1-abc").log([row(2)])
    assert spooled(tmp_path) == [["1"], ["2"]]


async def test_rows_wait_while_the_disk_is_full_and_come_later_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(monkeypatch)
    log = RequestLog(Spool(tmp_path, "w"), days=1)
    for number in range(BATCH_ROWS_MAX + 1):
        log.record(row(number))
    assert not await log.flush()
    assert not await log.flush()
    assert (log.statistics().waiting, log.statistics().written_total) == (BATCH_ROWS_MAX + 1, 0)
    (said,) = [each.getMessage() for each in caplog.records]
    assert said.endswith(f"rows wait: The spool {tmp_path} cannot be written: No space left on device.")
    disk.is_full = False
    assert await log.flush()
    assert log.statistics().waiting == 0
    assert [len(batch) for batch in spooled(tmp_path)] == [BATCH_ROWS_MAX, 1]


async def test_a_full_spool_takes_nothing_until_somebody_took_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.requestlog.SPOOLED_BATCHES_MAX", 2)
    monkeypatch.setattr("engine.requestlog.LOOK_EVERY_BATCHES", 1)
    mine, others = Spool(tmp_path, "mine"), Spool(tmp_path, "other")
    await mine.log([row(1)])
    await others.log([row(2)])
    for shelf in (mine, others):
        with pytest.raises(UnavailableError, match="is full: nobody takes from it"):
            await shelf.log([row(3)])
    spool.remove(spool.batches(tmp_path)[0])
    await mine.log([row(3)])
    assert spooled(tmp_path) == [["3"], ["2"]]


async def test_a_flush_to_the_spool_that_is_cancelled_loses_nothing_and_writes_nothing_twice(tmp_path: Path) -> None:
    log = RequestLog(Spool(tmp_path, "w"), days=1)
    log.record(row(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await log.flush()
    assert log.statistics().waiting == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.flush)
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert log.statistics().waiting + len(spooled(tmp_path)) == 1
    assert await log.flush()
    assert spooled(tmp_path) == [["1"]]


def test_what_losers_cost_is_waste_and_bounded() -> None:
    exchange = Exchange(Request("POST", b"/", b"/", b"", []), Match(CHAT), 0.0, "10.0.0.1")
    for tokens in (3, TOKENS_MAX):
        lost = AttemptRecord("scripted-1", "scripted", "compatible")
        lost.usage = Usage(input_tokens=tokens)
        exchange.attempts.append(lost)
    exchange.attempts.append(AttemptRecord("scripted-1", "unpriced", "compatible"))
    prices = {"scripted": {"input": 1_000, "output": 2_000}}
    tariff = Tariff(load_document(document("http://127.0.0.1:9", prices=prices), {}))
    made = row_of(exchange, tariff, 1.0, None, 500.0)
    assert made.waste_nanos == 3 * 1_000_000 + ANSWER_NANOS_MAX
    assert (made.attempts, made.status, made.outcome) == (3, 499, Outcome.INTERNAL_ERROR)
    assert made.cost_nanos is None
