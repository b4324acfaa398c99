"""The clerk: every worker's journal is in the ledger and every row in the log, once, whoever fails meanwhile."""

import argparse
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine import clerk as clerk_module
from engine import datadir
from engine.bookkeeper import AWAY_SECONDS, BATCH_RECORDS_MAX, BOOK_SECONDS, BURY_SECONDS, COMPLAIN_SECONDS, Books
from engine.clerk import (
    FAREWELL_SECONDS_MAX,
    FINISH_SECONDS_MAX,
    SHELVE_ROWS_MAX,
    SHELVE_SECONDS,
    Clerk,
    ClerkStatistics,
)
from engine.config import load_document
from engine.control import Channel, Command, Message, Order
from engine.keyring import Keyring
from engine.snapshots import file_of
from engine.treasury import NEWS_SECONDS, Treasury, enter
from store import journal, spool
from store.db import open_store
from store.interface import ConflictError, Store, UnavailableError
from store.journal_format import MARK, file_numbers, file_path
from store.memory import MemoryStore
from store.rows import DAY_SECONDS, NO_WINDOW, LogFilter, LogRow, Position, Settlement, Want, wallet_of
from tests.engine.live import document
from tests.engine.test_bookkeeper import LEASED, Town
from tests.store.samples import NOW, log_row, settlement, with_account, with_holder

PATIENCE_SECONDS = 1_000.0
"""Of virtual time."""

FINISHED_SECONDS = 1.0
"""Of virtual time: more than a call of the store takes."""


class Shelves(MemoryStore):
    """A store that notes which rows came together."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions: list[list[str]] = []

    async def log(self, rows: Sequence[LogRow]) -> None:
        await super().log(rows)
        self.transactions.append([row.id for row in rows])

    @property
    def ids(self) -> list[str]:
        """The rows that are there, in the order in which they came."""
        return list(self.requests.rows)


class Office:
    """A town whose workers leave rows too, and clerks to employ."""

    def __init__(self, directory: Path) -> None:
        self.store = Shelves()
        self.town = Town(directory / "journal", self.store)
        self.spool = directory / "spool"
        self.clerk = self.another()
        self._batches = 0

    def another(self, store: MemoryStore | None = None) -> Clerk:
        return Clerk(store or self.store, self.town.directory, self.spool, days=1)

    def leave(self, *ids: str) -> Path:
        """Leave a batch in the spool."""
        self._batches += 1
        name = f"w-{self._batches:04}"
        spool.write(self.spool, name, [log_row(id) for id in ids])  # noqa: A001 - what it is in the row
        return self.spool / f"{name}.rows"

    def waiting(self) -> list[str]:
        """Return the names of the batches that wait."""
        return [path.stem for path in spool.batches(self.spool)]


@pytest.fixture
async def office(tmp_path: Path) -> Office:
    made = Office(tmp_path)
    await made.town.open()
    return made


@pytest.fixture(autouse=True)
def _closed(office: Office) -> Iterator[None]:
    with office.town.cleanup:
        yield


# -- many journals -----------------------------------------------------------------------------------------------------


async def test_what_all_workers_journaled_is_booked_once(office: Office) -> None:
    town, books = office.town, Books(office.store, office.town.directory)
    workers = [await town.worker(f"w-{number}", file_bytes_max=2_048) for number in range(4)]
    for times, own in enumerate(workers):
        town.spend(own, 20 * times)
    assert await books.book_the_living()
    assert await books.book_the_living()
    assert await town.booked() == books.statistics().booked_total == 20 + 40 + 60
    assert {holder.id: holder.position for holder in await town.store.holders() if holder.id != "w-0"} == {
        own.holder: own.position for own in workers[1:]
    }
    assert (await town.store.balance("a")).leased_nanos == 4 * LEASED - 120
    assert file_numbers(town.directory, "w-3")[0] == 1, "the files are their writer's to remove"


async def test_much_of_one_worker_is_booked_in_batches(office: Office) -> None:
    own = await office.town.worker("w")
    office.town.spend(own, 2 * BATCH_RECORDS_MAX + 1)
    assert await Books(office.store, office.town.directory).book_the_living()
    assert await office.town.booked() == 2 * BATCH_RECORDS_MAX + 1


async def test_one_journal_that_cannot_be_booked_keeps_no_other_from_it(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    town = office.town
    bad = await town.worker("bad", leased=1)
    town.spend(bad, 2)
    town.spend(await town.worker("good"), 3)
    books = Books(office.store, town.directory)
    assert not await books.book_the_living()
    assert await town.booked() == 3
    assert "the journal of bad stays, the ledger contradicts it" in caplog.text
    assert books.statistics().failed_total == 1
    await town.store.lease("bad", [Want(wallet_of("a"), NO_WINDOW, None, 1, 1)], [], 1)
    assert await books.book_the_living()
    assert await town.booked() == 5


async def test_without_the_store_nothing_is_booked_and_that_is_said(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    town = office.town
    town.spend(await town.worker("w"), 3)
    office.store.fail(UnavailableError("away"))
    books = Books(office.store, town.directory)
    assert not await books.book_the_living()
    assert "the journal of every worker stays, the ledger cannot be had: away" in caplog.text
    office.store.heal()
    assert await books.book_the_living()
    assert await town.booked() == 3


@pytest.mark.parametrize("how", ["its journal is gone", "the ledger does not know it"])
async def test_a_worker_that_leaves_while_it_is_booked_is_no_failure(
    office: Office, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    town, read = office.town, journal.read
    own = await town.worker("w")
    town.spend(own)
    away = trio.from_thread.run

    def left(directory: Path, holder: str, *arguments: Any, **options: Any) -> journal.Batch:
        found = read(directory, holder, *arguments, **options)
        away(town.store.leave, holder)
        if how == "its journal is gone":
            own.close()
            journal.remove(directory, holder)
            return read(directory, holder, *arguments, **options)
        return found

    monkeypatch.setattr(journal, "read", left)
    books = Books(office.store, town.directory)
    assert await books.book_the_living()
    assert (caplog.text, books.statistics().failed_total) == ("", 0)


async def test_a_worker_that_cannot_be_read_and_has_not_left_is_a_failure(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    own = await office.town.worker("w")
    office.town.spend(own)
    file_path(office.town.directory, "w", 1).rename(office.town.directory / "elsewhere")
    assert not await Books(office.store, office.town.directory).book_the_living()
    assert "the journal of w stays, it cannot be read" in caplog.text


# -- the clerk at work -------------------------------------------------------------------------------------------------


async def test_the_living_are_booked_the_dead_are_buried_and_rows_are_shelved(
    office: Office, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    town = office.town
    one, two = await town.worker("one"), await town.worker("two")
    nursery.start_soon(office.clerk.run)
    for own in (one, two):
        town.spend(own, 5)
    office.leave("a", "b")
    with trio.fail_after(PATIENCE_SECONDS):
        while await town.booked() < 10 or office.waiting():
            await trio.sleep(BOOK_SECONDS)
    town.spend(one, 2)
    one.close()
    with trio.fail_after(PATIENCE_SECONDS):
        while await town.holders() != {"two"}:
            await trio.sleep(BURY_SECONDS)
    assert await town.booked() == 12
    town.spend(two, 1)
    office.leave("c")
    with trio.fail_after(PATIENCE_SECONDS):
        while await town.booked() < 13 or office.waiting():
            await trio.sleep(SHELVE_SECONDS)
    assert office.store.ids == ["a", "b", "c"]
    assert office.clerk.statistics() == ClerkStatistics(booked_total=13, shelved_total=3, failed_total=0)
    assert repr(office.clerk) == f"<Clerk {office.clerk.statistics()}>"
    assert journal.holders(town.directory) == ["two"]


async def test_while_the_store_is_away_everything_waits_and_then_comes(
    office: Office, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    town, store = office.town, office.store
    own, dead = await town.worker("w"), await town.worker("dead")
    nursery.start_soon(office.clerk.run)
    await trio.sleep(AWAY_SECONDS)
    store.fail(UnavailableError("away"))
    town.spend(own, 3)
    town.spend(dead, 2)
    dead.close()
    for name in "abc":
        office.leave(name)
    began = trio.current_time()
    with trio.fail_after(PATIENCE_SECONDS):
        while office.clerk.statistics().failed_total < 20:
            await trio.sleep(AWAY_SECONDS)
    minutes = (trio.current_time() - began) / COMPLAIN_SECONDS
    for said in ("rows of the request log wait in the spool: away", "the ledger cannot be had: away"):
        assert 1 <= sum(said in each.getMessage() for each in caplog.records) <= 1 + minutes
    assert len(office.waiting()) == 3
    store.heal()
    with trio.fail_after(PATIENCE_SECONDS):
        while await town.booked() < 5 or office.waiting() or await town.holders() != {"w"}:
            await trio.sleep(BOOK_SECONDS)
    assert store.ids == ["a", "b", "c"]


async def test_what_is_damaged_in_a_living_journal_is_said_and_kept(
    office: Office, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    town = office.town
    own = await town.worker("w")
    town.spend(own, 3)
    path = file_path(town.directory, "w", 1)
    content = bytearray(path.read_bytes())
    second = content.index(MARK, 1)
    content[(second + content.index(MARK, second + 1)) // 2] ^= 0xFF
    path.write_bytes(content)
    nursery.start_soon(office.clerk.run)
    with trio.fail_after(PATIENCE_SECONDS):
        while await town.booked() < 2:
            await trio.sleep(BOOK_SECONDS)
    assert "the journal of w is damaged, what is whole is booked" in caplog.text
    town.spend(own, 1)
    with trio.fail_after(PATIENCE_SECONDS):
        while await town.booked() < 3:
            await trio.sleep(BOOK_SECONDS)
    assert path.with_suffix(".damaged").read_bytes() == path.read_bytes()


async def test_two_clerks_of_one_directory_book_and_shelve_once(
    office: Office, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    town = office.town
    workers = [await town.worker(f"w-{number}") for number in range(3)]
    clerks = [office.clerk, office.another()]
    office.store.delay_seconds = 0.01
    for each in clerks:
        nursery.start_soon(each.run)
    for serial in range(30):
        for own in workers:
            town.spend(own)
        office.leave(f"row-{serial}")
        await trio.sleep(BOOK_SECONDS / 4)
    workers[0].close()
    with trio.fail_after(PATIENCE_SECONDS):
        while await town.booked() < 90 or office.waiting() or await town.holders() != {"w-1", "w-2"}:
            await trio.sleep(BOOK_SECONDS)
    assert sum(each.statistics().booked_total for each in clerks) == 90
    assert office.store.ids == [f"row-{serial}" for serial in range(30)]


class Unheard(Shelves):
    """A store whose first answer to each kind of call does not come, though what was asked is done."""

    def __init__(self) -> None:
        super().__init__()
        self.unheard: set[str] = set()

    async def settle(self, holder: str, settlements: Sequence[Settlement], before: Position, after: Position) -> int:
        booked = await super().settle(holder, settlements, before, after)
        await self._silence("settle")
        return booked

    async def log(self, rows: Sequence[LogRow]) -> None:
        await super().log(rows)
        await self._silence("log")

    async def _silence(self, call: str) -> None:
        if call not in self.unheard:
            self.unheard.add(call)
            await trio.sleep_forever()


async def test_what_a_clerk_did_before_it_died_its_successor_does_not_do_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    store = Unheard()
    town = Town(tmp_path / "unheard", store)
    await town.open()
    with town.cleanup:
        own = await town.worker("w")
        town.spend(own, 3)
        directory = tmp_path / "rows"
        spool.write(directory, "w-1", [log_row("a")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Clerk(store, town.directory, directory, days=1).run)
            with trio.fail_after(PATIENCE_SECONDS):
                while store.unheard != {"settle", "log"}:
                    await trio.sleep(BOOK_SECONDS)
            nursery.cancel_scope.cancel()
        assert len(spool.batches(directory)) == 1, "nobody heard that it is in the store"
        town.spend(own, 4)
        spool.write(directory, "w-2", [log_row("b")])
        successor = Clerk(store, town.directory, directory, days=1)
        await successor.finish()
        assert (await town.booked(), store.ids, spool.batches(directory)) == (7, ["a", "b"], [])
        assert successor.statistics().booked_total == 4
        assert (await store.balance("a")).leased_nanos == LEASED - 7


async def test_what_was_begun_and_never_finished_is_swept_now_and_then(
    office: Office, autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clerk_module, "SWEEP_SECONDS", 10 * SHELVE_SECONDS)
    path = office.leave("a")
    begun = path.with_suffix(spool.BEGUN)
    nursery.start_soon(office.clerk.run)
    with trio.fail_after(PATIENCE_SECONDS):
        while office.waiting():
            await trio.sleep(SHELVE_SECONDS)
    begun.touch()
    os.utime(begun, (1, 1))
    with trio.fail_after(PATIENCE_SECONDS):
        while begun.exists():
            await trio.sleep(SHELVE_SECONDS)


async def test_a_spool_that_cannot_be_looked_at_stops_nothing_else(
    office: Office, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    office.spool.write_text("a file where a directory should be")
    town = office.town
    town.spend(await town.worker("w"), 3)
    nursery.start_soon(office.clerk.run)
    with trio.fail_after(PATIENCE_SECONDS):
        while await town.booked() < 3 or office.clerk.statistics().failed_total < 3:
            await trio.sleep(AWAY_SECONDS)
    assert "rows of the request log wait in the spool: [Errno 20] Not a directory" in caplog.text
    office.spool.unlink()
    office.leave("a")
    with trio.fail_after(PATIENCE_SECONDS):
        while office.waiting():
            await trio.sleep(AWAY_SECONDS)
    assert office.store.ids == ["a"]


async def test_rows_are_kept_as_long_as_the_configuration_says_by_now(
    office: Office, autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.requestlog.time.time", lambda: float(NOW))
    monkeypatch.setattr("engine.requestlog.FORGET_SECONDS", 10.0)
    await office.store.log([log_row("old", time=NOW - 3 * DAY_SECONDS), log_row("new", time=NOW - DAY_SECONDS / 2)])
    nursery.start_soon(office.clerk.run)
    with trio.fail_after(PATIENCE_SECONDS):
        while len(office.store.ids) == 2:
            await trio.sleep(FINISHED_SECONDS)
    assert office.store.ids == ["new"]
    office.clerk.days = 0
    await trio.sleep(10.0 + FINISHED_SECONDS)
    assert office.store.ids == []


# -- shelving ----------------------------------------------------------------------------------------------------------


async def test_batches_are_shelved_in_their_order_many_in_one_transaction(office: Office) -> None:
    for number in range(25):
        office.leave(f"{number}-a", f"{number}-b")
    assert await office.clerk.shelve()
    assert office.store.transactions == [[f"{number}-{part}" for number in range(25) for part in "ab"]]
    assert (office.waiting(), office.clerk.statistics().shelved_total) == ([], 50)
    assert await office.clerk.shelve()
    assert len(office.store.transactions) == 1, "without rows there is nothing to do"


async def test_one_transaction_takes_no_more_batches_than_it_must(office: Office) -> None:
    share = SHELVE_ROWS_MAX // 4
    for number in range(9):
        office.leave(*(f"{number}-{row}" for row in range(share)))
    assert await office.clerk.shelve()
    assert [len(ids) for ids in office.store.transactions] == [4 * share, 4 * share, share]
    assert [ids[0] for ids in office.store.transactions] == ["0-0", "4-0", "8-0"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_batch_that_could_not_be_removed_is_shelved_again_and_is_there_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def shelved(store: Store) -> None:
        clerk = Clerk(store, tmp_path / "journal", tmp_path / "rows", days=1)
        spool.write(tmp_path / "rows", "w-1", [log_row("a"), log_row("b")])

        def remove(_: Path) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        with monkeypatch.context() as patched:
            patched.setattr(spool, "remove", remove)
            assert not await clerk.shelve()
        assert "rows of the request log wait in the spool: [Errno 30] Read-only" in caplog.text
        assert await clerk.shelve()
        assert sorted(row.id for row in await store.logs(LogFilter())) == ["a", "b"]
        assert spool.batches(tmp_path / "rows") == []
        assert clerk.statistics().failed_total == 1

    if kind == "memory":
        await shelved(MemoryStore())
    else:
        async with open_store(tmp_path / "hedgerow.db") as store:
            await shelved(store)


@pytest.mark.parametrize("garbage", [b"no rows at all\n", b"\xff\xfe[", b"[" * 100_000, b"[]\n"])
async def test_garbage_is_put_aside_and_said_and_all_else_is_shelved(
    office: Office, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    office.leave("a")
    bad = office.leave("lost")
    bad.write_bytes(garbage)
    office.leave("b")
    assert await office.clerk.shelve()
    assert office.store.ids == ["a", "b"]
    (said,) = caplog.records
    assert said.levelno == logging.ERROR
    assert "rows of the request log are lost, their file is kept: w-0002.rows is no batch" in said.getMessage()
    assert [path.name for path in office.spool.iterdir()] == ["w-0002.damaged"]
    assert (office.spool / "w-0002.damaged").read_bytes() == garbage


async def test_of_an_empty_batch_as_a_power_cut_leaves_one_nothing_is_shelved(office: Office) -> None:
    office.leave()
    office.leave().write_bytes(b"")
    assert await office.clerk.shelve()
    assert (office.store.transactions, list(office.spool.iterdir())) == ([], [])


async def test_a_number_that_no_store_has_does_not_keep_the_rest_from_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(tmp_path / "hedgerow.db") as store:
        clerk = Clerk(store, tmp_path / "journal", tmp_path, days=1)
        spool.write(tmp_path, "w-1", [log_row("a", input_tokens=2**63)])
        spool.write(tmp_path, "w-2", [log_row("b", time=1e30)])
        spool.write(tmp_path, "w-3", [log_row("c")])
        assert await clerk.shelve()
        assert [row.id for row in await store.logs(LogFilter())] == ["c"]
        assert len(caplog.records) == 2


async def test_one_batch_that_cannot_be_read_stays_and_keeps_no_other(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.leave("a")
    (office.spool / "w-0001b.rows").mkdir()
    office.leave("b")
    assert not await office.clerk.shelve()
    assert not await office.clerk.shelve()
    assert (office.store.ids, office.waiting()) == (["a", "b"], ["w-0001b"])
    (said,) = caplog.records
    assert "Is a directory" in said.getMessage(), "said once, for it stays as it is"
    assert "w-0001b.rows" in said.getMessage()
    assert office.clerk.statistics() == ClerkStatistics(booked_total=0, shelved_total=2, failed_total=2)


async def test_what_another_clerk_took_meanwhile_is_passed_by(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clerk_module, "SHELVE_ROWS_MAX", 1)
    _, taken, _ = [office.leave(name) for name in "abc"]
    shelve = office.store.log

    async def log(rows: Sequence[LogRow]) -> None:
        taken.unlink(missing_ok=True)
        await shelve(rows)

    monkeypatch.setattr(office.store, "log", log)
    assert await office.clerk.shelve()
    assert office.store.transactions == [["a"], ["c"]]
    assert (office.waiting(), caplog.text) == ([], "")


async def test_what_the_store_refuses_stays_in_its_order(office: Office) -> None:
    for name in "abc":
        office.leave(name)
    office.store.fail(ConflictError("no"))
    assert not await office.clerk.shelve()
    assert len(office.waiting()) == 3
    office.store.heal()
    assert await office.clerk.shelve()
    assert office.store.ids == ["a", "b", "c"]


# -- its end -----------------------------------------------------------------------------------------------------------


async def test_at_its_end_it_does_what_is_left(office: Office) -> None:
    town = office.town
    own, dead = await town.worker("w"), await town.worker("dead")
    for each in (own, dead):
        town.spend(each, 3)
    dead.close()
    office.leave("a")
    await office.clerk.finish()
    assert (await town.booked(), await town.holders()) == (6, {"w"}), "who died last has nobody else"
    assert (office.store.ids, office.waiting()) == (["a"], [])


async def test_without_the_store_its_end_is_soon_and_nothing_is_lost(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    town = office.town
    dead = await town.worker("dead")
    town.spend(dead, 3)
    dead.close()
    office.leave("a")
    office.store.fail(UnavailableError("away"))
    await office.clerk.finish()
    assert office.clerk.statistics().failed_total == 3
    assert "cannot be had" in caplog.text
    assert office.waiting() == ["w-0001"]
    office.store.heal()
    await office.another().finish()
    assert (await town.booked(), await town.holders(), office.store.ids) == (3, set(), ["a"])


async def test_a_slow_store_holds_up_its_end_for_so_long_and_no_longer(
    office: Office, autojump_clock: MockClock
) -> None:
    own = await office.town.worker("w")
    office.town.spend(own, 3)
    office.store.delay_seconds = 100 * FINISH_SECONDS_MAX
    began = trio.current_time()
    await office.clerk.finish()
    assert trio.current_time() - began == pytest.approx(FINISH_SECONDS_MAX)


async def test_a_process_whose_channel_has_ended_does_what_is_left_and_ends(tmp_path: Path) -> None:
    data = tmp_path / "data"
    ours, theirs = socket.socketpair()
    ours.close()
    options = argparse.Namespace(config=None, data=data, runtime=tmp_path, incarnation="clerk-1")
    async with open_store(datadir.database(data)) as store:
        await with_account(store, 100)
        await with_holder(store, "w", 60)
        own = journal.Journal.create(datadir.journal(data), "w", step_bytes=4_096)
        own.book()
        own.append(settlement(amount_nanos=7))
        own.close()
        spool.write(datadir.spool(data), "w-1", [log_row("a")])
        with theirs, trio.fail_after(20):
            await clerk_module.run(load_document(document("http://127.0.0.1:9"), {}), options, theirs, b"")
        assert (await store.balance("acc_1")).balance_nanos == 93
        assert await store.holders() == ()
        assert [row.id for row in await store.logs(LogFilter())] == ["a"]
        assert spool.batches(datadir.spool(data)) == []
        assert journal.holders(datadir.journal(data)) == []
    assert file_of(tmp_path, "clerk-1").exists()


@pytest.mark.parametrize("end", ["it is told so", "its supervisor is gone"])
async def test_a_worker_that_does_not_end_holds_a_process_up_only_so_long(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clerk_module, "FAREWELL_SECONDS_MAX", 0.0 if end == "its supervisor is gone" else 1_000.0)
    data = tmp_path / "data"
    ours, theirs = socket.socketpair()
    if end == "it is told so":
        ours.sendall(b'{"command":"drain"}\n')
    else:
        ours.close()
    options = argparse.Namespace(config=None, data=data, runtime=tmp_path, incarnation="clerk-1")
    config = load_document(document("http://127.0.0.1:9", server={"drain_seconds": 0.1}), {})
    async with open_store(datadir.database(data)) as store:
        await with_account(store, 100)
        await with_holder(store, "w", 60)
        own = journal.Journal.create(datadir.journal(data), "w", step_bytes=4_096)
        own.book()
        own.append(settlement(amount_nanos=7))
        with ours, theirs, trio.fail_after(20):
            await clerk_module.run(config, options, theirs, b"")
        own.close()
        assert (await store.balance("acc_1")).balance_nanos == 93


# -- what it is told ---------------------------------------------------------------------------------------------------


async def test_a_reload_changes_how_long_rows_are_kept_and_a_bad_one_changes_nothing(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = socket.socketpair()
    options = argparse.Namespace(config=None)
    days: list[int] = []
    seconds: list[float] = []
    config = load_document(document("http://127.0.0.1:9"), {})

    async def obey() -> None:
        seconds.append(await clerk_module._obey(office.clerk, config, options, Channel(theirs, Order)))

    async with trio.open_nursery() as nursery:
        supervisor = Channel(ours, Message)
        nursery.start_soon(obey)
        for text in (
            "[store]\nlog_days = 7\n[server]\ndrain_seconds = 100\n",
            "[store]\nlog_days = false\n[server]\ndrain_seconds = 200\n",
            "[store]\nlog_days = 3\n[server]\ndrain_seconds = 300\n",
        ):
            await supervisor.send(Order(Command.RELOAD, text))
            await trio.testing.wait_all_tasks_blocked()
            days.append(office.clerk.days)
        await supervisor.aclose()
    assert days == [7, 7, 3]
    assert seconds == [300 + FAREWELL_SECONDS_MAX], "how long workers may be there without a supervisor"
    (said,) = caplog.records
    assert "is not valid here, the old one stays" in said.getMessage()
    theirs.close()


# -- a worker beside a clerk -------------------------------------------------------------------------------------------


class Pair:
    """A worker's treasury and the office where its clerk works, or does not."""

    def __init__(self, treasury: Treasury, office: Office) -> None:
        self.treasury = treasury
        self.office = office

    async def spend(self, times: int) -> None:
        """Lease and journal so many nano-dollars."""
        holder = self.treasury.journal.holder
        await self.office.store.lease(holder, [Want(wallet_of("a"), NO_WINDOW, None, times, times)], [], 1)
        self.office.town.spend(self.treasury.journal, times)


@asynccontextmanager
async def paired(office: Office) -> AsyncIterator[Pair]:
    config = load_document(document("http://127.0.0.1:9"), {})
    keys, directory = Keyring(config), office.town.directory
    treasury = await enter(
        office.store, directory, keys, config, slot=0, clock=lambda: NOW + trio.current_time(), spool=office.spool
    )
    office.town.cleanup.callback(treasury.journal.close)
    async with trio.open_nursery() as nursery:
        await nursery.start(treasury.run)
        yield Pair(treasury, office)
        nursery.cancel_scope.cancel()


async def test_beside_a_clerk_a_worker_brings_nothing_into_the_store_itself(
    office: Office, autojump_clock: MockClock
) -> None:
    dead = await office.town.worker("dead")
    office.town.spend(dead, 2)
    dead.close()
    await office.store.log([log_row("ancient", time=1.0)])
    async with paired(office) as pair:
        await pair.spend(3)
        pair.treasury.log.record(log_row("a"))
        with trio.fail_after(PATIENCE_SECONDS):
            while not office.waiting():
                await trio.sleep(BURY_SECONDS)
        assert [row.id for path in spool.batches(office.spool) for row in spool.read(path)] == ["a"]
        assert await office.town.booked() == 0
        assert "dead" in await office.town.holders()
        assert office.store.ids == ["ancient"]
        await office.clerk.finish()
        assert (await office.town.booked(), office.store.ids) == (5, ["ancient", "a"])
        assert pair.treasury.bookkeeper.statistics().booked_total == 0


async def test_a_worker_beside_a_clerk_has_no_task_that_books_buries_or_forgets(
    office: Office, autojump_clock: MockClock
) -> None:
    def tasks(nursery: trio.Nursery) -> set[str]:
        found = set()
        for task in nursery.child_tasks:
            found.add(task.name)
            for child in task.child_nurseries:
                found |= tasks(child)
        return {name.removeprefix("engine.") for name in found}

    async with trio.open_nursery() as nursery:
        config = load_document(document("http://127.0.0.1:9"), {})
        seen = []
        for rows in (office.spool, None):
            treasury = await enter(office.store, office.town.directory, Keyring(config), config, slot=0, spool=rows)
            office.town.cleanup.callback(treasury.journal.close)
            await nursery.start(treasury.run)
            await trio.testing.wait_all_tasks_blocked()
            seen.append(tasks(nursery))
        beside, alone = seen
        assert {name.rpartition(".")[2] for name in alone - beside} == {"run", "forget_on", "bury_on"}
        nursery.cancel_scope.cancel()


async def test_what_the_clerk_booked_a_worker_trims_from_its_journal(office: Office) -> None:
    async with paired(office) as pair:
        own = pair.treasury.journal
        own._file_bytes_max = 2_048  # files as they would be after hours
        await pair.spend(200)
        await pair.treasury.learn()
        assert file_numbers(own.directory, own.holder) == list(range(1, own.position.file + 1))
        assert own.position.file > 3
        await office.clerk.finish()
        with trio.fail_after(20):
            while file_numbers(own.directory, own.holder) != [own.position.file]:
                await trio.sleep(NEWS_SECONDS / 10)
        assert pair.treasury.bookkeeper.is_up_to_date
        assert pair.treasury.bookkeeper.statistics().booked_total == 0
        await pair.spend(50)
        assert [pair.treasury.bookkeeper.is_up_to_date] == [False]
        await office.clerk.finish()
        assert await office.town.booked() == 250


async def test_news_that_come_late_do_not_turn_it_back(office: Office) -> None:
    async with paired(office) as pair:
        await pair.spend(3)
        await office.clerk.finish()
        await pair.treasury.learn()
        for late in (Position(), Position(1, 1)):
            pair.treasury.bookkeeper.learn(late)
            assert pair.treasury.bookkeeper.is_up_to_date


async def test_files_that_cannot_be_trimmed_cost_a_warning(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def remove_before(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    async with paired(office) as pair:
        await pair.spend(3)
        monkeypatch.setattr(journal.Journal, "remove_before", remove_before)
        await office.clerk.finish()
        await pair.treasury.learn()
        assert "files of the journal that are booked stay: [Errno 30] Read-only file system" in caplog.text
        assert not pair.treasury.is_store_away


@pytest.mark.parametrize("booked_before", [0, 100])
async def test_at_its_farewell_a_worker_books_what_is_left_though_the_clerk_is_dead(
    office: Office, booked_before: int
) -> None:
    async with paired(office) as pair:
        pair.treasury.journal._file_bytes_max = 2_048
        await pair.spend(booked_before)
        await office.clerk.finish()
        await pair.treasury.learn()
        await pair.spend(100)
        pair.treasury.log.record(log_row("a"))
        await pair.treasury.say_farewell()
    assert (await office.town.booked(), await office.town.holders()) == (booked_before + 100, set())
    assert pair.treasury.bookkeeper.statistics().booked_total == 100
    assert await office.store.leases() == []
    assert list(office.town.directory.iterdir()) == []
    assert (office.store.ids, len(office.waiting())) == ([], 1), "rows wait for the next clerk"
    await office.another().finish()
    assert office.store.ids == ["a"]


async def test_a_farewell_beside_clerks_that_book_the_same_books_it_once(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.store.delay_seconds = 0.005
    async with paired(office) as pair, trio.open_nursery() as nursery:
        await pair.spend(4 * BATCH_RECORDS_MAX)
        for each in (office.clerk, office.another()):
            nursery.start_soon(each.run)
        await pair.treasury.say_farewell()
        assert (await office.town.booked(), await office.town.holders()) == (4 * BATCH_RECORDS_MAX, set())
        assert list(office.town.directory.iterdir()) == []
        nursery.cancel_scope.cancel()
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []
