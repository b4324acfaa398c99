"""The clerk as an operator has it: a process of a server, killed, orphaned, drained, with rows and money under way."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import trio

from engine import datadir
from engine.clerk import NAME, NICE
from engine.console.status import Status, read_status
from engine.exposition import render
from store import spool
from store.rows import LogFilter
from tests.engine.money_fire import GUARD_SECONDS, Fire, Load, Told, ask, audit, fire, settlements
from tests.store.samples import log_row

CLERK = "engine.clerk"


def rows_waiting(target: Fire) -> list[Path]:
    return spool.batches(datadir.spool(target.data))


def runtime(tmp_path: Path) -> Path:
    """Return the directory that the processes of the server share."""
    (found,) = (tmp_path / "scratch").glob("hedgerow-*")
    return found


def told_status(tmp_path: Path) -> Status:
    status = read_status(runtime(tmp_path))
    assert status is not None
    return status


def sample(tmp_path: Path, line: str) -> float | None:
    """Return the value that /metrics shows behind a name and its labels, None when it does not show it."""
    content, _ = render(runtime(tmp_path), told_status(tmp_path), "")
    values = [each.rpartition(" ")[2] for each in content.decode().splitlines() if each.startswith(f"{line} ")]
    return float(values[0]) if values else None


async def until(condition: Callable[[], object]) -> None:
    """Wait for what must come."""
    with trio.fail_after(GUARD_SECONDS):
        while not condition():
            await trio.sleep(0.02)


async def clerk_of(target: Fire) -> psutil.Process:
    """Return the clerk, when there is one and no other."""
    found: list[int] = []

    def is_found() -> bool:
        with suppress(psutil.NoSuchProcess):
            found[:] = target.pids(CLERK)
        return len(found) == 1

    await until(is_found)
    return psutil.Process(found[0])


async def shelved(target: Fire, count: int) -> None:
    """Wait until so many rows are in the log, and none waits."""
    with trio.fail_after(GUARD_SECONDS):
        while await target.store.log_count(LogFilter()) < count or rows_waiting(target):
            await trio.sleep(0.02)


async def booked(target: Fire, count: int) -> None:
    with trio.fail_after(GUARD_SECONDS):
        while len(await settlements(target.store)) < count:
            await trio.sleep(0.02)


async def proved(target: Fire) -> None:
    """Let the command that operators have look at the ledger."""
    command = [sys.executable, "-m", "engine", "ledger", "check", "--data", str(target.data)]
    result = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert (result.returncode, result.stderr) == (0, b""), result.stdout


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """Let a process do nothing for the length of the block."""
    process.suspend()
    yield
    with suppress(psutil.NoSuchProcess):
        process.resume()


async def test_settlements_and_rows_arrive_and_who_brought_them_is_shown(tmp_path: Path) -> None:
    async with fire(tmp_path, workers=2) as target:
        target.upstream.is_steady = True
        await target.start()
        told = [await ask(target.port, Told(f"c{number}", stream=number % 2 == 0)) for number in range(10)]
        await booked(target, 10)
        await shelved(target, 10)
        assert {row.request_id for row in await target.store.logs(LogFilter())} == {each.id for each in told}
        assert (datadir.spool(target.data).stat().st_mode & 0o777) == 0o700

        clerk, status = await clerk_of(target), told_status(tmp_path)
        assert status.clerk.startswith(f"{NAME}-")
        assert status.clerk in clerk.cmdline()
        assert status.clerk not in {worker.incarnation for worker in status.workers}
        assert clerk.nice() == NICE
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            clerk.send_signal(number)  # who stops a whole group of processes must not stop it before the workers
        await until(lambda: sample(tmp_path, "hedgerow_settlements_booked_total") == 10)
        for name in ("resident_memory_bytes", "cpu_seconds_total", "loop_lag_seconds"):
            assert sample(tmp_path, f'hedgerow_worker_{name}{{worker="{NAME}"}}') is not None

        await target.stop()
        assert "the clerk ended" not in target.log
        assert list(datadir.spool(target.data).iterdir()) == []
        assert (await audit(target, told))["complete, charged"] == 10
        await proved(target)


async def test_a_clerk_that_is_killed_under_load_is_replaced_and_all_is_booked_once(tmp_path: Path) -> None:
    async with fire(tmp_path, workers=2) as target:
        await target.start()
        load = Load(target, target.upstream._chance, clients=8)
        lives = set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load.run)
            for _ in range(3):
                clerk = await clerk_of(target)
                lives.add(told_status(tmp_path).clerk)
                await load.wait_sold(30)
                clerk.kill()
                await load.wait_sold(30)
                assert await target.store.check() == []
            await until(lambda: told_status(tmp_path).clerk not in lives)
            load.stop()
        assert f"the clerk ended with code -{signal.SIGKILL.value}; another starts" in target.log
        count = len(load.told)
        await clerk_of(target)
        # A client that left before its request had arrived has no row.
        with trio.fail_after(GUARD_SECONDS):
            while rows_waiting(target) or await target.store.log_count(LogFilter()) < load.sold:
                await trio.sleep(0.02)
        await until(lambda: (sample(tmp_path, "hedgerow_settlements_booked_total") or 0) > 0)
        await target.stop()
        assert "Traceback" not in target.log, target.log
        rows = [row.request_id for row in await target.store.logs(LogFilter(), limit=10 * count)]
        assert len(set(rows)) == len(rows) <= count
        assert {each.id for each in load.told if each.is_sold} <= set(rows)
        assert (await audit(target, load.told))["complete, charged"] >= 150
        assert list(datadir.spool(target.data).iterdir()) == []
        await proved(target)


async def test_while_there_is_no_clerk_all_is_served_and_a_drain_still_books(tmp_path: Path) -> None:
    async with fire(tmp_path) as target:
        target.upstream.is_steady = True
        await target.start()
        told = [await ask(target.port, Told("before"))]
        await booked(target, 1)
        with stopped(await clerk_of(target)):
            told += [await ask(target.port, Told(f"c{number}")) for number in range(5)]
            assert all(each.is_sold for each in told)
            await until(lambda: rows_waiting(target))
            assert len(await settlements(target.store)) == 1
            await target.stop()
        assert (await audit(target, told))["complete, charged"] == 6
        assert await target.store.log_count(LogFilter()) + sum(len(spool.read(p)) for p in rows_waiting(target)) == 6
        # What it could not do the next one does.
        await target.start()
        await shelved(target, 6)
        await target.stop()


async def test_a_worker_that_is_killed_just_before_the_end_leaves_nothing_behind(tmp_path: Path) -> None:
    async with fire(tmp_path) as target:
        target.upstream.is_steady = True
        await target.start()
        clerk = await clerk_of(target)
        told = [await ask(target.port, Told("before"))]
        with stopped(clerk):
            told += [await ask(target.port, Told(f"c{number}")) for number in range(5)]
            (pid,) = target.pids("engine.worker")
            process = target._supervisor
            assert process is not None
            process.terminate()
            os.kill(pid, signal.SIGKILL)
        await target.stop()
        assert (await audit(target, told))["complete, charged"] == 6


async def test_a_clerk_whose_supervisor_is_killed_does_what_is_left_and_ends(tmp_path: Path) -> None:
    async with fire(tmp_path) as target:
        target.upstream.is_steady = True
        await target.start()
        clerk = await clerk_of(target)
        told = [await ask(target.port, Told(f"c{number}")) for number in range(5)]
        await target.kill_supervisor()
        await until(lambda: not clerk.is_running())
        await until(lambda: not target.pids())
        assert (await audit(target, told))["complete, charged"] == 5


async def test_a_clerk_whose_supervisor_is_killed_waits_for_the_streams_of_its_workers(tmp_path: Path) -> None:
    async with fire(tmp_path, workers=2) as target:
        target.upstream.is_steady = True
        await target.start()
        told = [await ask(target.port, Told("before"))]
        target.upstream.set_default([{"wait": "go"}, {"answer": True}])
        late = Told("late", stream=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, target.port, late)
            await until(lambda: "late" in target.upstream.reached)
            await target.kill_supervisor()
            while True:  # the workers have noticed when nobody is let in any more
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", target.port)).aclose()
                except OSError:
                    break
                await trio.sleep(0.02)
            for serial in range(3):
                spool.write(datadir.spool(target.data), f"w-{serial}", [log_row(f"meanwhile-{serial}")])
                await until(lambda: not rows_waiting(target))
            target.upstream.gate("go").set()
        assert late.is_sold
        await until(lambda: not target.pids())
        assert {"before", "late"} <= {row.request_id for row in await target.store.logs(LogFilter())}
        assert (await audit(target, [*told, late]))["complete, charged"] == 2
        assert list(datadir.spool(target.data).iterdir()) == []


async def test_two_servers_on_one_directory_keep_the_same_books(tmp_path: Path) -> None:
    async with fire(tmp_path) as target:
        target.upstream.is_steady = True
        await target.start()
        (tmp_path / "other").mkdir()
        other = Fire(tmp_path / "other", target.upstream, target.store, workers=1)
        other.data = target.data
        try:
            await other.start()
            told = [
                await ask(port, Told(f"{name}{number}", stream=number % 2 == 0))
                for number in range(15)
                for name, port in (("a", target.port), ("b", other.port))
            ]
            await shelved(target, 30)
            assert other._supervisor is not None
            other._supervisor.terminate()
            with trio.fail_after(GUARD_SECONDS):
                assert await other._supervisor.wait() == 0
            other._supervisor = None
            assert "has not ended" not in other.log, "its clerk waits for no other server's workers"
            told += [await ask(target.port, Told(f"c{number}")) for number in range(5)]
            await shelved(target, 35)
        finally:
            with trio.CancelScope(shield=True):
                await other.kill_supervisor()
        await target.stop()
        rows = [row.request_id for row in await target.store.logs(LogFilter())]
        assert sorted(rows) == sorted(each.id for each in told)
        assert (await audit(target, told))["complete, charged"] == 35


@pytest.mark.parametrize("what", ["a channel that ends", "a store that is none"])
async def test_a_clerk_that_cannot_begin_says_why_in_one_sentence(tmp_path: Path, what: str) -> None:
    ours, theirs = socket.socketpair()
    words = ["--incarnation", "clerk-0", "--runtime", str(tmp_path), "--data", str(tmp_path)]
    if what == "a store that is none":
        datadir.database(tmp_path).write_bytes(b"not a database at all, but long enough to be looked at\n" * 100)
        ours.sendall(b'{"command":"configure"}\n')
    else:
        ours.shutdown(socket.SHUT_WR)
    with ours, theirs, trio.fail_after(GUARD_SECONDS):
        result = await trio.run_process(
            [sys.executable, "-m", CLERK, *words, "--control-fd", str(theirs.fileno())],
            capture_stderr=True,
            check=False,
            pass_fds=(theirs.fileno(),),
        )
    (line,) = result.stderr.decode().splitlines()
    assert result.returncode == 1
    assert line.startswith("hedgerow clerk: ")
    assert ("the supervisor is gone" in line) is (what == "a channel that ends")
