"""What a clerk must not do: rest for nobody, complain about nothing, come back in a circle, hang unseen, go early."""

import errno
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.attendant import SILENCE_SECONDS_MAX
from engine.bookkeeper import BOOK_SECONDS, Books
from engine.clerk import Clerk
from engine.config import load_text
from engine.console.status import read_status
from engine.control import BEAT_SECONDS, Channel, Event, Message, Order
from engine.supervisor import Supervisor
from store import journal, spool
from store.interface import UnavailableError
from store.journal_format import lock_path
from store.memory import MemoryStore
from store.rows import LogRow, Position, Settlement
from tests.engine.test_attendant import Life, Theatre, theatre
from tests.engine.test_bookkeeper import Town
from tests.engine.test_clerk import PATIENCE_SECONDS, Office, Shelves, _closed, office, paired
from tests.store.samples import log_row

__all__ = ["_closed", "office", "theatre"]

SERVED = "[server]\nlisten = ['127.0.0.1:0']\n"


class Busy(MemoryStore):
    """While anything is booked, the first worker settles again: it serves all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.again: Callable[[], None] = lambda: None

    async def settle(self, holder: str, settlements: Sequence[Settlement], before: Position, after: Position) -> int:
        self.again()
        return await super().settle(holder, settlements, before, after)


async def test_a_worker_that_never_rests_does_not_keep_the_clerk_from_the_others(tmp_path: Path) -> None:
    store = Busy()
    town = Town(tmp_path / "journal", store)
    await town.open()
    with town.cleanup:
        busy, calm = await town.worker("busy"), await town.worker("calm")
        town.spend(busy)
        town.spend(calm)
        store.again = lambda: town.spend(busy)
        with trio.fail_after(5):
            assert await Books(store, town.directory).book_the_living()
        assert {each.id: each.position for each in await store.holders()}["calm"] == calm.position


async def test_a_journal_trimmed_under_a_reader_that_lags_is_no_failure(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    town, read = office.town, journal.read
    own = await town.worker("w", file_bytes_max=2_048)
    town.spend(own, 100)

    def trimmed(*arguments: object, **options: object) -> journal.Batch:
        """Another clerk books it all, and the worker hears of that, before this one reads."""
        monkeypatch.setattr(journal, "read", read)
        trio.from_thread.run(Books(office.store, town.directory).book_the_living)
        own.remove_before(own.position)
        return read(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(journal, "read", trimmed)
    assert await Books(office.store, town.directory).book_the_living()
    assert caplog.text == ""


async def test_a_clerk_that_fails_while_the_server_drains_is_not_started_in_a_circle(
    theatre: Theatre, autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    supervisor = Supervisor(load_text(SERVED, None, {}), SERVED, data=tmp_path)
    async with trio.open_nursery() as nursery:

        def play(life: Life) -> None:
            life.exit(1)
            if len(theatre.lives) >= 6:
                nursery.cancel_scope.cancel()

        theatre.plays = play
        supervisor.draining = True
        supervisor.drained.set()
        began = trio.current_time()
        nursery.start_soon(supervisor.clerk.keep)
    assert trio.current_time() - began > 5


async def test_while_there_is_no_clerk_the_status_says_so(
    theatre: Theatre, autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    supervisor = Supervisor(load_text(SERVED, None, {}), SERVED, data=tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.clerk.keep)
        life = await theatre.wait_lives(1)
        status = read_status(supervisor.runtime)
        assert status is not None
        assert status.clerk == supervisor.clerk.incarnation != ""
        life.exit(1)
        await wait_all_tasks_blocked()
        status = read_status(supervisor.runtime)
        assert status is not None
        assert status.clerk == ""
        nursery.cancel_scope.cancel()


async def test_a_worker_whose_rows_cannot_be_spooled_leaves_all_the_same(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("engine.treasury.FAREWELL_SECONDS", 1.0)
    async with paired(office) as pair:
        await pair.spend(3)
        monkeypatch.setattr(spool, "write", full)
        pair.treasury.log.record(log_row("a"))
        await pair.treasury.say_farewell()
    assert (await office.town.booked(), await office.town.holders()) == (3, set())
    assert list(office.town.directory.iterdir()) == []


# -- signs of life -----------------------------------------------------------------------------------------------------


class Hanging(Shelves):
    """A store of which a kind of call may never return."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = ""

    async def settle(self, holder: str, settlements: Sequence[Settlement], before: Position, after: Position) -> int:
        await self._hang("settle")
        return await super().settle(holder, settlements, before, after)

    async def log(self, rows: Sequence[LogRow]) -> None:
        await self._hang("log")
        await super().log(rows)

    async def _hang(self, call: str) -> None:
        if call == self.hangs:
            await trio.sleep_forever()


@pytest.mark.parametrize("hangs", ["", "settle", "log"])
async def test_signs_of_life_end_when_either_work_hangs(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery, hangs: str
) -> None:
    store = Hanging()
    town = Town(tmp_path / "journal", store)
    await town.open()
    ours, theirs = socket.socketpair()
    supervisor, channel = Channel(ours, Message), Channel(theirs, Order)
    signs = 0

    async def count() -> None:
        nonlocal signs
        while await supervisor.receive() == Message(Event.ALIVE):
            signs += 1

    with town.cleanup:
        clerk = Clerk(store, town.directory, tmp_path / "rows", days=1)
        for task in (clerk.run, count):
            nursery.start_soon(task)
        nursery.start_soon(clerk.vouch_on, channel)
        await trio.sleep(10 * BEAT_SECONDS)
        assert signs > 2, "also without any work"
        store.hangs = hangs
        town.spend(await town.worker("w"), 3)
        spool.write(tmp_path / "rows", "w-1", [log_row("a")])
        await trio.sleep(10 * BEAT_SECONDS)
        before = signs
        await trio.sleep(10 * BEAT_SECONDS)
        assert (signs == before) is bool(hangs)
        await supervisor.aclose()
        await channel.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("trouble", ["a store that is away", "a store that is slow"])
async def test_trouble_is_no_hanging(
    office: Office, autojump_clock: MockClock, nursery: trio.Nursery, trouble: str
) -> None:
    town = office.town
    for number in range(10):
        town.spend(await town.worker(f"w-{number}"), 3)
        office.leave(f"row-{number}")
    if trouble == "a store that is away":
        office.store.fail(UnavailableError("away"))
    office.store.delay_seconds = 5.0  # for so long SQLite's lock is waited for
    ours, theirs = socket.socketpair()
    supervisor, channel = Channel(ours, Message), Channel(theirs, Order)
    nursery.start_soon(office.clerk.run)
    nursery.start_soon(office.clerk.vouch_on, channel)
    for _ in range(20):
        with trio.fail_after(SILENCE_SECONDS_MAX / 2):
            assert await supervisor.receive() == Message(Event.ALIVE)
    await supervisor.aclose()
    await channel.aclose()
    nursery.cancel_scope.cancel()


# -- without a supervisor ----------------------------------------------------------------------------------------------


async def test_who_asks_for_the_end_of_all_workers_waits_for_the_last(
    office: Office, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    town = office.town
    await office.clerk.wait_workers()
    workers = [await town.worker(name) for name in ("one", "two")]
    has_ended = trio.Event()

    async def wait() -> None:
        await office.clerk.wait_workers()
        has_ended.set()

    nursery.start_soon(wait)
    for own in workers:
        await trio.sleep(10 * BOOK_SECONDS)
        assert not has_ended.is_set()
        own.close()
    with trio.fail_after(PATIENCE_SECONDS):
        await has_ended.wait()


async def test_journals_that_cannot_be_looked_at_are_not_waited_for(
    office: Office, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await office.town.worker("w")
    path = lock_path(office.town.directory, "w")
    path.unlink()
    path.symlink_to(path)
    await office.clerk.wait_workers()
    assert "whoever is left" in caplog.text
