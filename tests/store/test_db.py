"""Tests of what is special to the store in SQLite: its file, its locks, its processes, its end."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from store import writer as writer_module
from store.db import open_store
from store.interface import ConflictError, StoreError, UnavailableError
from store.migrations import STEPS
from store.rows import LogFilter, Position, TransferKind, Want, wallet_of
from tests.store.samples import NOW, START, account, log_row, settlement, top_up, wallet_want, with_account, with_holder

ROOT = Path(__file__).parents[2]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_umask")
async def test_the_file_is_for_its_owner_alone(database: Path) -> None:
    async with open_store(database) as store:
        await store.put_account(account())
        assert mode(database.parent) == 0o700
        for suffix in ("", "-wal", "-shm"):
            assert mode(Path(f"{database}{suffix}")) == 0o600


async def test_a_file_open_to_others_is_closed_to_them(database: Path) -> None:
    async with open_store(database):
        pass
    database.chmod(0o644)
    async with open_store(database) as store:
        await store.put_account(account())
        assert mode(database) == 0o600
        assert mode(Path(f"{database}-wal")) == 0o600


async def test_a_directory_that_is_there_keeps_its_rights(database: Path) -> None:
    database.parent.mkdir()
    database.parent.chmod(0o750)
    async with open_store(database):
        assert mode(database.parent) == 0o750


async def test_closing_leaves_one_file(database: Path) -> None:
    async with open_store(database) as store:
        await store.put_account(account())
    assert os.listdir(database.parent) == [database.name]


async def test_what_was_stored_is_there_when_opened_again(database: Path) -> None:
    async with open_store(database) as store:
        put = await store.put_account(account())
    async with open_store(database) as store:
        assert await store.account("acc_1") == put
        assert str(database) in repr(store)


async def test_power_makes_every_commit_reach_the_disk(database: Path) -> None:
    def synchronous(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA synchronous").fetchone()[0])

    async with open_store(database) as store:
        assert await store.writer.call(synchronous) == 1
    async with open_store(database, power=True) as store:
        assert await store.writer.call(synchronous) == 2


def no_database(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x TEXT)")


def of_a_newer_release(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {0x48656467}")
        connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_database, "no database"),
        (of_another_program, "another program"),
        (of_a_newer_release, "newer release"),
    ],
)
async def test_a_file_that_is_not_ours_is_refused_and_left_alone(
    database: Path, make: Callable[[Path], None], words: str
) -> None:
    database.parent.mkdir()
    make(database)
    before = database.read_bytes()
    with pytest.raises(StoreError, match=words) as caught:
        async with open_store(database):
            pytest.fail("was opened")
    assert not isinstance(caught.value, UnavailableError)  # waiting would not help
    assert str(database) in str(caught.value)
    assert database.read_bytes() == before


async def test_a_directory_in_place_of_the_file_is_unavailable(database: Path) -> None:
    database.mkdir(parents=True)
    with pytest.raises(UnavailableError, match="cannot be opened"):
        async with open_store(database):
            pytest.fail("was opened")


async def test_a_place_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnavailableError, match="cannot be made"):
        async with open_store(tmp_path / "file" / "hedgerow.db"):
            pytest.fail("was opened")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_directory_that_is_not_writable_is_unavailable(database: Path) -> None:
    database.parent.mkdir(mode=0o500)
    with pytest.raises(UnavailableError, match="Permission denied"):
        async with open_store(database):
            pytest.fail("was opened")


# -- locks and space ---------------------------------------------------------------------------------------------------


async def test_a_lock_makes_it_unavailable_and_it_works_again_after(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "BUSY_SECONDS_MAX", 0.02)
    async with open_store(database) as store:
        await with_account(store, 100)
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(UnavailableError, match="locked"):
                await top_up(store, 1, "t")
            assert (await store.balance("acc_1")).balance_nanos == 100  # readers do not wait
            assert store.statistics().failures == 1
        await top_up(store, 1, "t")
        assert (await store.balance("acc_1")).balance_nanos == 101


async def test_a_full_disk_makes_it_unavailable_and_nothing_is_half_done(database: Path) -> None:
    def limit_pages(pages: int) -> Callable[[sqlite3.Connection], None]:
        return lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").close()

    async with open_store(database) as store:
        await with_account(store, 1_000)
        await with_holder(store, "w", 500)
        await store.writer.call(limit_pages(1))  # as many as there are
        many = [settlement(f"set_{number}", 1, detail="x" * 2_000) for number in range(100)]
        with pytest.raises(UnavailableError, match="no space left"):
            await store.settle("w", many, START, Position(0, 10))
        assert await store.check() == []
        assert (await store.balance("acc_1")).leased_nanos == 500
        assert (await store.holders())[0].position == START
        await store.writer.call(limit_pages(100_000))
        assert await store.settle("w", many, START, Position(0, 10)) == 100
        assert await store.check() == []


async def test_an_error_while_reading_is_translated_too(database: Path) -> None:
    async with open_store(database) as store:
        await store.log([log_row()])
        with pytest.raises(ValueError, match="no sum by"):
            await store.usage(LogFilter(), "weather")
        assert await store.log_count(LogFilter()) == 1


async def test_amounts_that_do_not_fit_are_refused(database: Path) -> None:
    async with open_store(database) as store:
        await with_account(store)
        with pytest.raises(ConflictError):
            await top_up(store, 10**18 + 1, "too much")
        for number in range(9):
            await top_up(store, 10**18, f"t{number}")
        with pytest.raises(ConflictError):
            await top_up(store, 10**18, "one too many")
        assert (await store.balance("acc_1")).balance_nanos == 9 * 10**18
        assert await store.check() == []


# -- several of them ---------------------------------------------------------------------------------------------------


async def test_two_stores_on_one_file_see_the_same(database: Path) -> None:
    async with open_store(database) as one, open_store(database) as two:
        await with_account(one, 100)
        assert (await two.balance("acc_1")).balance_nanos == 100
        await with_holder(one, "w1", 60)
        await two.enter("w2", NOW)
        [grant] = await two.lease("w2", [wallet_want(50, 50)], [], NOW)
        assert (grant.granted, grant.available, grant.elsewhere) == (0, 40, 60)
        assert (await one.news("w1", 10**9)).recalled == ((wallet_of("acc_1"), 0),)
        assert [holder.id for holder in await one.holders()] == ["w1", "w2"]


async def test_calls_from_tasks_started_before_the_store_was_opened(database: Path) -> None:
    """The bridge to asyncio finds its loop by context, which such a task has not."""
    async with trio.open_nursery() as nursery, open_store(database) as one, open_store(database) as two:
        await one.put_account(account())

        async def look(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            assert await one.account("acc_1") is not None
            assert await two.account("acc_1") is not None
            task_status.started()

        await nursery.start(look)


OPENER = """
import sys, trio
from pathlib import Path
from store.db import open_store
from store.rows import Account

async def main():
    async with open_store(Path(sys.argv[1])) as store:
        await store.put_account(Account(id=sys.argv[2], name=sys.argv[2]))
        print("put", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)

trio.run(main)
"""


def start_opener(database: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", OPENER, str(database), name]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def test_many_processes_open_a_new_file_at_once(database: Path) -> None:
    processes = [start_opener(database, f"acc_{number}") for number in range(4)]
    said = [process.communicate("\n")[0] for process in processes]
    assert said == ["put\n"] * 4
    assert [process.returncode for process in processes] == [0] * 4
    async with open_store(database) as store:
        assert sorted(found.id for found in (await store.news(None, 0)).accounts) == [f"acc_{n}" for n in range(4)]
        assert (await store.news(None, 0)).version == 4


async def test_what_was_reported_done_survives_a_kill(database: Path) -> None:
    with start_opener(database, "acc_1") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "put\n"
        process.send_signal(signal.SIGKILL)
    async with open_store(database) as store:
        assert await store.account("acc_1") is not None
        assert await store.check() == []


async def test_holders_in_two_stores_never_lease_more_than_there_is(database: Path) -> None:
    async with open_store(database) as one, open_store(database) as two:
        await with_account(one, 1_000)
        await one.enter("w1", NOW)
        await two.enter("w2", NOW)
        granted: list[int] = []

        async def lease(holder: str, need: int) -> None:
            store = one if holder == "w1" else two
            wants = [Want(wallet_of("acc_1"), 0, None, need, need + 50), wallet_want(0, 20)]
            granted.extend(grant.granted for grant in await store.lease(holder, wants, [], NOW))

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(lease, f"w{number % 2 + 1}", number)
        balance = await one.balance("acc_1")
        assert sum(granted) == balance.leased_nanos <= 1_000
        assert balance.leased_nanos > 900
        assert await two.check() == []


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_what_the_block_raises_comes_out_as_it_is(database: Path) -> None:
    with pytest.raises(ConflictError):
        async with open_store(database) as store:
            await store.balance("nobody")
    with pytest.raises(KeyError):
        async with open_store(database):
            raise KeyError("mine")


async def test_a_closed_store_is_unavailable(database: Path) -> None:
    async with open_store(database) as store:
        pass
    with pytest.raises(UnavailableError, match="closing"):
        await store.news(None, 0)
    with pytest.raises(UnavailableError, match="closing"):
        await store.put_account(account())


async def test_a_cancelled_block_closes_the_store(database: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_store(database) as store:
            await store.put_account(account())
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert os.listdir(database.parent) == [database.name]


async def test_cancelled_calls_are_done_whole_or_not_at_all(database: Path) -> None:
    async with open_store(database) as store:
        await with_account(store)
        for number in range(60):
            with trio.move_on_after(number / 20_000):  # some before, some in, some after the transaction
                await top_up(store, 7, f"t{number}")
        booked = await store.transfers()
        assert {row.kind for row in booked} <= {TransferKind.TOP_UP.value}
        assert (await store.balance("acc_1")).balance_nanos == 7 * len(booked)
        assert await store.check() == []


async def test_a_call_that_waits_for_a_slow_disk_can_be_cancelled(database: Path) -> None:
    async with open_store(database, commit_seconds=0.05) as store:
        with trio.move_on_after(0) as scope:
            await with_account(store)
        assert scope.cancelled_caught
        await with_account(store, 5)
        assert (await store.balance("acc_1")).balance_nanos == 5


async def test_statistics_count(database: Path) -> None:
    async with open_store(database) as store:
        await with_account(store, 100)
        await with_holder(store, "w", 50)
        await store.settle("w", [settlement("a", 10), settlement("b", 10)], START, Position(0, 1))
        with pytest.raises(ConflictError):
            await store.enter("w", NOW)
        statistics = store.statistics()
        assert (statistics.calls, statistics.failures, statistics.settled, statistics.waiting) == (7, 1, 2, 0)
        assert statistics.transactions == 7
