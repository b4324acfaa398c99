"""What a clerk must not do: rest for nobody, complain about nothing, or come back in a circle."""

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.bookkeeper import Books
from engine.config import load_text
from engine.console.status import read_status
from engine.supervisor import Supervisor
from store import journal, spool
from store.memory import MemoryStore
from store.rows import Position, Settlement
from tests.engine.test_attendant import Life, Theatre, theatre
from tests.engine.test_bookkeeper import Town
from tests.engine.test_clerk import Office, _closed, office, paired
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
