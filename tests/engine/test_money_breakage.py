"""A full disk, a locked database, a damaged journal, a file that is no database: said clearly, and nothing is lost."""

import errno
import resource
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from bench.process import raise_open_files
from engine.keys import digest_of
from store.journal import RECORD_BYTES_MAX, STEP_BYTES, JournalFullError
from store.journal_format import MARK
from store.memory import MemoryStore
from store.rows import Key
from tests.engine.accounts import DOLLAR, TOKEN, error_of, shop
from tests.engine.money_fire import Fire, Told, ask, audit, fire, request_of, settlements

OTHER_TOKEN = TOKEN[:-1] + "0"
MEGABYTE = 1024 * 1024
SLOTS = STEP_BYTES // RECORD_BYTES_MAX
"""That a journal has before it has to grow."""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of a running process are Linux's")


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Keep every other writer out of the database, as a backup or an operator's shell would."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def wait_booked(target: Fire, count: int) -> None:
    with trio.fail_after(30):
        while len(await settlements(target.store)) < count:
            await trio.sleep(0.02)


async def asked(target: Fire, name: str, count: int) -> list[Told]:
    """Ask one after the other; all are answered."""
    told = [await ask(target.port, Told(f"{name}-{number}", stream=number % 2 == 0)) for number in range(count)]
    assert all(each.is_sold for each in told), [each for each in told if not each.is_sold]
    return told


# -- no space ------------------------------------------------------------------------------------------------------


async def test_a_full_disk_refuses_before_the_upstream_is_asked_and_lets_answers_under_way_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    answers: list[httpx.Response] = []
    async with shop(MemoryStore(), tmp_path) as made:
        treasury = made.live.gateway.treasury
        assert treasury is not None
        made.server.enqueue([{"wait": "go"}])

        async def keep() -> None:
            answers.append(await made.ask())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep)
            await made.server.wait_request(0)
            monkeypatch.setattr("store.journal.allocate", no_space)
            slots = 0
            with suppress(JournalFullError):
                while True:
                    treasury.journal.book()
                    slots += 1
            for stream in (False, True):
                refused = await made.ask(stream=stream)
                assert refused.status_code == 503
                assert error_of(refused)["code"] == "journal_full"
                assert refused.headers["retry-after"] == "2"
            assert len(made.server.log) == 1
            made.server.gate("go").set()
        assert [answer.status_code for answer in answers] == [200]
        monkeypatch.undo()
        assert (await made.ask()).status_code == 200
        for _ in range(slots):
            treasury.journal.unbook()
        assert len(await made.booked()) == 2


@on_linux
async def test_a_worker_whose_journal_cannot_grow_settles_what_it_began_and_recovers(tmp_path: Path) -> None:
    raise_open_files()
    beyond = 40
    async with fire(tmp_path) as target:
        upstream = target.upstream
        upstream.set_default([{"wait": "go"}, {"answer": True}])
        await target.start()
        (pid,) = target.pids("engine.worker")
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (MEGABYTE, hard))
        told = [Told(f"c{number}", stream=number % 2 == 0) for number in range(SLOTS + beyond)]
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for each in told:
                    nursery.start_soon(ask, target.port, each)
                while len(upstream.reached) + sum(each.status is not None for each in told) < len(told):
                    await trio.sleep(0.02)
                refused = [each for each in told if each.status is not None]
                assert {(each.status, each.code) for each in refused} == {(503, "journal_full")}
                assert len(refused) == beyond
                assert not upstream.reached & {each.id for each in refused}

                resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
                told.append(Told("afterwards"))
                nursery.start_soon(ask, target.port, told[-1])
                while "afterwards" not in upstream.reached:
                    await trio.sleep(0.02)
                upstream.gate("go").set()
        await target.stop()
        totals = await audit(target, told)
        assert totals["complete, charged"] == SLOTS + 1
        assert totals["answered 503 journal_full"] == beyond


async def test_a_server_without_space_for_a_journal_says_so_and_does_not_start(tmp_path: Path) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (STEP_BYTES // 2, STEP_BYTES // 2))

    async with fire(tmp_path) as target:
        process = await target.launch(small)
        with trio.fail_after(30):
            assert await process.wait() == 1
        (said,) = [line for line in target.log.splitlines() if line.startswith("hedgerow worker:")]
        assert "File too large" in said
        assert str(target.journal) in said
        assert "Traceback" not in target.log
        assert await target.store.holders() == ()


# -- a locked database -----------------------------------------------------------------------------------------------


async def test_a_locked_database_stops_only_those_who_need_it(tmp_path: Path) -> None:
    async with fire(tmp_path) as target:
        target.upstream.is_steady = True
        # A cap of its own, of which nobody has leased anything; the wallet's lease would do.
        digest = digest_of(OTHER_TOKEN.encode())
        capped = Key(id="key_2", account="acc_1", name="capped", digest=digest, cap_month_nanos=DOLLAR)
        await target.store.put_key(capped)
        await target.start()
        told = await asked(target, "before", 3)
        await wait_booked(target, 3)
        with_nothing_leased = Told("without-a-lease")
        with locked(target.database), trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(ask, target.port, with_nothing_leased, token=OTHER_TOKEN))
                told += await asked(target, "meanwhile", 10)
            assert (with_nothing_leased.status, with_nothing_leased.code) == (503, "store_unavailable")
            assert with_nothing_leased.headers is not None
            assert with_nothing_leased.headers[b"retry-after"] == b"2"
            assert len(await settlements(target.store)) == 3
        told.append(with_nothing_leased)
        with trio.fail_after(30):
            told.append(await ask(target.port, Told("afterwards"), token=OTHER_TOKEN))
        await target.stop()
        totals = await audit(target, told)
        assert totals["complete, charged"] == 14


# -- a damaged journal ---------------------------------------------------------------------------------------------


def _flip(journal: bytearray, begin: int, end: int) -> bytearray:
    journal[(begin + end) // 2] ^= 0xFF
    return journal


def _cut(journal: bytearray, begin: int, end: int) -> bytearray:
    return journal[: (begin + end) // 2]


def _unmark(journal: bytearray, begin: int, end: int) -> bytearray:
    del end
    journal[begin] = 0
    return journal


Damage = Callable[[bytearray, int, int], bytearray]


@pytest.mark.parametrize(
    ("damage", "record"), [(_flip, -1), (_cut, -1), (_unmark, -3)], ids=["flipped", "cut", "unmarked"]
)
async def test_a_damaged_record_is_reported_and_all_others_are_booked(
    tmp_path: Path, damage: Damage, record: int
) -> None:
    async with fire(tmp_path) as target:
        target.upstream.is_steady = True
        await target.start()
        told = await asked(target, "booked", 3)
        await wait_booked(target, 3)
        with locked(target.database):
            told += await asked(target, "journaled", 5)
            await target.kill_all()
        assert len(await settlements(target.store)) == 3
        (path,) = target.journal.glob("*.journal")
        content = path.read_bytes()
        begins = [at for at in range(len(content)) if content.startswith(MARK, at)]
        assert len(begins) == len(told)
        bounds = [*begins, len(content.rstrip(b"\0"))]
        victim = len(told) + record
        path.write_bytes(damage(bytearray(content), bounds[victim], bounds[victim + 1]))

        await target.start()
        await target.wait_buried()
        told += await asked(target, "afterwards", 1)
        assert "is damaged, what is whole is booked" in target.log
        await target.stop()
        lost = told.pop(victim)
        assert lost.id not in {request_of(each) for each in await settlements(target.store)}
        (kept,) = target.journal.iterdir()
        assert bytes(content[bounds[victim] + 20 : bounds[victim] + 60]) in kept.read_bytes()
        kept.unlink()
        assert (await audit(target, told))["complete, charged"] == len(told)


async def test_a_journal_that_has_lost_what_is_booked_stays_until_it_is_removed_and_stops_nobody(
    tmp_path: Path,
) -> None:
    async with fire(tmp_path) as target:
        target.upstream.is_steady = True
        await target.start()
        told = await asked(target, "booked", 3)
        await wait_booked(target, 3)
        await target.kill_all()
        (path,) = target.journal.glob("*.journal")
        path.write_bytes(path.read_bytes()[:100])
        await target.start()
        with trio.fail_after(30):
            while "cannot be read" not in target.log:
                await trio.sleep(0.02)
        told += await asked(target, "afterwards", 3)
        assert path.exists()
        assert any(path.name.startswith(lease.holder) for lease in await target.store.leases())
        path.unlink()
        await target.wait_buried()
        await target.stop()
        assert (await audit(target, told))["complete, charged"] == len(told)


# -- no database ---------------------------------------------------------------------------------------------------


async def test_a_file_that_is_no_database_is_refused_in_one_sentence_and_left_alone(tmp_path: Path) -> None:
    async with fire(tmp_path) as target:
        (tmp_path / "other").mkdir()
        other = Fire(tmp_path / "other", target.upstream, target.store, workers=1)
        other.data.mkdir()
        garbage = b"not a database at all, but long enough to be looked at\n" * 100
        other.database.write_bytes(garbage)
        process = await other.launch()
        with trio.fail_after(30):
            assert await process.wait() == 1
        (line,) = other.log.splitlines()
        assert line.startswith(f"hedgerow: The store {other.database} cannot be used: its file is no database.")
        assert "--data DIR" in line
        assert other.database.read_bytes() == garbage
