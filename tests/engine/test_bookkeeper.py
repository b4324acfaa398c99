"""The bookkeeper: what is in a journal is in the ledger once, whoever dies, is cancelled, or is away meanwhile."""

import errno
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.bookkeeper import AWAY_SECONDS, BATCH_RECORDS_MAX, BOOK_SECONDS, BURY_SECONDS, COMPLAIN_SECONDS, Bookkeeper
from store import journal
from store.interface import UnavailableError
from store.journal import Journal
from store.journal_format import file_numbers, file_path, lock_path
from store.memory import MemoryStore
from store.rows import NO_WINDOW, Account, Position, Settlement, TransferKind, Want, wallet_of

LEASED = 100_000


class Town:
    """A store with one account, and workers with a journal and a lease each."""

    def __init__(self, directory: Path, store: MemoryStore | None = None) -> None:
        self.directory = directory
        self.store = store or MemoryStore()
        self.cleanup = ExitStack()
        self._ids = 0

    async def open(self) -> None:
        await self.store.put_account(Account(id="a", name="a"))
        await self.store.credit("a", 100 * LEASED, TransferKind.TOP_UP, id="t", now=1)

    async def worker(self, holder: str, *, file_bytes_max: int = 65_536, leased: int = LEASED) -> Journal:
        """Begin the journal of a worker that holds a lease."""
        own = Journal.create(self.directory, holder, file_bytes_max=file_bytes_max, step_bytes=4_096)
        self.cleanup.callback(own.close)
        await self.store.enter(holder, 1)
        await self.store.lease(holder, [Want(wallet_of("a"), NO_WINDOW, None, leased, leased)], [], 1)
        return own

    def spend(self, own: Journal, times: int = 1) -> None:
        """Note so many settlements of a nano-dollar."""
        for _ in range(times):
            self._ids += 1
            own.book()
            own.append(Settlement(f"{own.holder}-{self._ids}", 1, "a", "k", None, 1, 1, 1, 1, 0, (), "{}"))

    async def booked(self) -> int:
        """Return how many settlements are in the ledger; it must add up."""
        assert await self.store.check() == []
        rows = await self.store.transfers(limit=100_000)
        return sum(each.kind == TransferKind.SETTLEMENT for each in rows)

    async def holders(self) -> set[str]:
        return {each.id for each in await self.store.holders()}


@pytest.fixture
async def town(tmp_path: Path) -> Town:
    made = Town(tmp_path / "journal")
    await made.open()
    return made


@pytest.fixture(autouse=True)
def _closed(town: Town) -> Iterator[None]:
    with town.cleanup:
        yield


def keeper(town: Town, own: Journal, *, durable: bool = False) -> Bookkeeper:
    return Bookkeeper(town.store, own, durable=durable)


# -- one's own journal -------------------------------------------------------------------------------------------------


async def test_what_is_journaled_is_booked_once(town: Town) -> None:
    own = await town.worker("w")
    books = keeper(town, own)
    town.spend(own, 3)
    assert not books.is_up_to_date
    assert books.waiting_bytes == own.position.offset > 0
    assert await books.book()
    assert books.waiting_bytes == 0
    assert await books.book()
    assert await town.booked() == books.statistics().booked_total == 3
    assert (await town.store.balance("a")).leased_nanos == LEASED - 3


async def test_much_is_booked_in_batches(town: Town) -> None:
    own = await town.worker("w")
    town.spend(own, 2 * BATCH_RECORDS_MAX + 1)
    calls = town.store.statistics().calls
    assert await keeper(town, own).book()
    assert town.store.statistics().calls == calls + 3
    assert await town.booked() == 2 * BATCH_RECORDS_MAX + 1


async def test_it_is_booked_soon_and_while_the_store_is_away_it_waits(
    town: Town, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    own = await town.worker("w")
    books = keeper(town, own)
    nursery.start_soon(books.run)
    town.spend(own)
    while await town.booked() < 1:
        await trio.sleep(BOOK_SECONDS)
    town.store.fail(UnavailableError("away"))
    town.spend(own, 2)
    began = trio.current_time()
    while books.statistics().failed_total < 5:
        await trio.sleep(AWAY_SECONDS)
    minutes = (trio.current_time() - began) / COMPLAIN_SECONDS
    assert 1 <= sum("cannot be had" in each.message for each in caplog.records) <= 1 + minutes
    town.store.heal()
    while await town.booked() < 3:
        await trio.sleep(BOOK_SECONDS)


async def test_files_that_are_booked_are_removed(town: Town) -> None:
    own = await town.worker("w", file_bytes_max=2_048)
    books = keeper(town, own)
    town.spend(own, 200)
    assert len(file_numbers(town.directory, "w")) > 2
    assert await books.book()
    assert file_numbers(town.directory, "w") == [own.position.file]
    town.spend(own, 50)
    assert await books.book()
    assert await town.booked() == 250


async def test_two_who_book_at_once_pass_over_nothing(town: Town, autojump_clock: MockClock) -> None:
    own = await town.worker("w", file_bytes_max=2_048)
    books = keeper(town, own)
    town.spend(own, 5)
    town.store.delay_seconds = 1.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(books.book)
        await wait_all_tasks_blocked()
        town.spend(own, 20)
        nursery.start_soon(books.book)
    assert await books.book()
    assert await town.booked() == 25
    assert books.is_up_to_date


class Unheard(MemoryStore):
    """A store that books and whose first answer does not come, as when who waits for it is cancelled."""

    heard = False

    async def settle(self, holder: str, settlements: Sequence[Settlement], before: Position, after: Position) -> int:
        booked = await super().settle(holder, settlements, before, after)
        if not self.heard:
            self.heard = True
            await trio.sleep_forever()
        return booked


async def test_what_comes_after_a_call_that_was_cancelled_and_done_is_booked(tmp_path: Path) -> None:
    town = Town(tmp_path / "unheard", Unheard())
    await town.open()
    with town.cleanup:
        own = await town.worker("w")
        books = keeper(town, own)
        town.spend(own, 3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(books.book)
            while not await town.booked():
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        town.spend(own, 4)
        assert await books.book()
        assert await town.booked() == 7
        assert (await town.store.balance("a")).leased_nanos == LEASED - 7


async def test_a_journal_that_cannot_be_read_for_the_moment_is_read_later(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = await town.worker("w")
    books = keeper(town, own)
    town.spend(own)

    def read(*_: object, **__: object) -> journal.Batch:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "read", read)
        assert not await books.book()
    assert await books.book()
    assert await town.booked() == 1


async def test_a_ledger_that_contradicts_is_complained_about_and_nothing_is_lost(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    own = await town.worker("w", leased=1)
    books = keeper(town, own)
    town.spend(own, 2)
    assert not await books.book()
    assert "the journal of w stays, the ledger contradicts it" in caplog.text
    await town.store.lease("w", [Want(wallet_of("a"), NO_WINDOW, None, 1, 1)], [], 1)
    assert await books.book()
    assert await town.booked() == 2


# -- the dead ----------------------------------------------------------------------------------------------------------


async def test_a_dead_workers_journal_is_booked_to_its_end_and_its_lease_is_free(town: Town) -> None:
    dead = await town.worker("dead", file_bytes_max=2_048)
    town.spend(dead, 30)
    books = keeper(town, await town.worker("w"))
    await books.bury_the_dead()
    assert (await town.booked(), await town.holders()) == (0, {"dead", "w"}), "it lives"
    dead.close()
    await books.bury_the_dead()
    assert (await town.booked(), await town.holders()) == (30, {"w"})
    assert (await town.store.balance("a")).leased_nanos == LEASED
    assert journal.holders(town.directory) == ["w"]
    assert books.statistics().buried_total == 1
    await books.bury_the_dead()
    assert books.statistics().buried_total == 1


async def test_what_the_dead_had_booked_itself_is_not_booked_again(town: Town) -> None:
    dead = await town.worker("dead")
    town.spend(dead, 3)
    assert await keeper(town, dead).book()
    town.spend(dead, 2)
    dead.close()
    await keeper(town, await town.worker("w")).bury_the_dead()
    assert await town.booked() == 5


async def test_two_who_bury_at_once_bury_once(town: Town, autojump_clock: MockClock) -> None:
    for number in range(4):
        dead = await town.worker(f"dead-{number}")
        town.spend(dead, 5)
        dead.close()
    keepers = [keeper(town, await town.worker(f"w-{number}")) for number in range(2)]
    town.store.delay_seconds = 0.1
    async with trio.open_nursery() as nursery:
        for books in keepers:
            nursery.start_soon(books.bury_the_dead)
    for books in keepers:
        await books.bury_the_dead()
    assert (await town.booked(), await town.holders()) == (20, {"w-0", "w-1"})
    assert sum(books.statistics().buried_total for books in keepers) == 4
    assert journal.holders(town.directory) == ["w-0", "w-1"]


async def test_a_burial_that_is_cut_short_is_finished_by_another(town: Town, autojump_clock: MockClock) -> None:
    dead = await town.worker("dead")
    town.spend(dead, 2 * BATCH_RECORDS_MAX)
    dead.close()
    first, second = [keeper(town, await town.worker(f"w-{number}")) for number in range(2)]
    town.store.delay_seconds = 1.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.bury_the_dead)
        while not await town.booked():
            await trio.sleep(0.25)
        nursery.cancel_scope.cancel()
    town.store.delay_seconds = 0.0
    assert await town.booked() == BATCH_RECORDS_MAX
    await second.bury_the_dead()
    assert (await town.booked(), await town.holders()) == (2 * BATCH_RECORDS_MAX, {"w-0", "w-1"})


async def test_who_never_got_into_the_store_is_only_cleared_away(town: Town) -> None:
    Journal.create(town.directory, "early", step_bytes=4_096).close()
    books = keeper(town, await town.worker("w"))
    await books.bury_the_dead()
    assert journal.holders(town.directory) == ["w"]
    assert books.statistics().buried_total == 0


@pytest.mark.parametrize("what", ["all of its files", "all but its lock"])
async def test_a_holder_without_files_leaves(town: Town, what: str) -> None:
    dead = await town.worker("dead")
    dead.close()
    file_path(town.directory, "dead", 1).unlink()
    if what == "all of its files":
        lock_path(town.directory, "dead").unlink()
    await keeper(town, await town.worker("w")).bury_the_dead()
    assert await town.holders() == {"w"}
    assert journal.holders(town.directory) == ["w"]


@pytest.mark.parametrize("why", ["contradiction", "no beginning"])
async def test_one_that_cannot_be_buried_keeps_nobody_from_it(
    town: Town, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad = await town.worker("bad", leased=1, file_bytes_max=2_048)
    town.spend(bad, 100)
    bad.close()
    if why == "no beginning":
        file_path(town.directory, "bad", 1).unlink()
    good = await town.worker("good")
    town.spend(good, 3)
    good.close()
    await keeper(town, await town.worker("w")).bury_the_dead()
    assert (await town.booked(), await town.holders()) == (3, {"bad", "w"})
    assert "of bad" in caplog.text
    assert "bad" in journal.holders(town.directory), "it is kept for people to look at"


async def test_the_dead_are_looked_for_now_and_then(
    town: Town, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    dead = await town.worker("dead")
    town.spend(dead)
    books = keeper(town, await town.worker("w"))
    nursery.start_soon(books.run)
    await trio.sleep(BURY_SECONDS)
    town.store.fail(UnavailableError("away"))
    dead.close()
    while books.statistics().failed_total < 3:
        await trio.sleep(BURY_SECONDS)
    town.store.heal()
    while await town.holders() != {"w"}:
        await trio.sleep(BURY_SECONDS)
    assert await town.booked() == 1


# -- durability --------------------------------------------------------------------------------------------------------


class Disk:
    """A journal whose device is slow: each `sync` waits to be let through."""

    directory = Path("nowhere")
    holder = "w"

    def __init__(self) -> None:
        self.position = Position(1, 0)
        self.synced = Position(1, 0)
        self.syncs = 0
        self.failure: OSError | None = None
        self.gate = threading.Semaphore(0)

    def write(self) -> Position:
        self.position = Position(self.position.file, self.position.offset + 1)
        return self.position

    def sync(self) -> Position:
        position = self.position
        self.syncs += 1
        self.gate.acquire()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self.synced = position
        return position


class Hardening:
    """Tasks that write a record each and wait until it is safe."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.disk = Disk()
        self.books = Bookkeeper(MemoryStore(), self.disk, durable=True)  # type: ignore[arg-type]
        self.safe: list[int] = []
        self.failed: list[OSError] = []
        self._nursery = nursery

    def write(self) -> trio.CancelScope:
        scope, written = trio.CancelScope(), self.disk.write()

        async def harden() -> None:
            with scope:
                try:
                    await self.books.harden()
                except OSError as exc:
                    self.failed.append(exc)
                    return
                assert self.disk.synced.offset >= written.offset
                self.safe.append(written.offset)

        self._nursery.start_soon(harden)
        return scope

    async def let_through(self, syncs: int) -> None:
        """Let a sync end, and return when so many have begun."""
        self.disk.gate.release()
        while self.disk.syncs < syncs:
            await trio.lowlevel.checkpoint()


async def begun(disk: Disk, syncs: int) -> None:
    while disk.syncs < syncs:
        await trio.lowlevel.checkpoint()


async def test_many_answers_share_one_sync_and_none_ends_before_its_own() -> None:
    async with trio.open_nursery() as nursery:
        made = Hardening(nursery)
        made.write()
        await begun(made.disk, 1)
        for _ in range(50):
            made.write()
        await made.let_through(2)
        assert made.safe == [1], "who came during a sync is not safe by it"
        made.disk.gate.release()
    assert sorted(made.safe) == list(range(1, 52))
    assert made.disk.syncs == 2


async def test_an_answer_that_is_cancelled_while_it_syncs_holds_up_nobody() -> None:
    async with trio.open_nursery() as nursery:
        made = Hardening(nursery)
        scope = made.write()
        await begun(made.disk, 1)
        made.write()
        scope.cancel()
        made.disk.gate.release(2)
    assert 2 in made.safe


async def test_a_sync_that_fails_is_an_error_for_who_asked_and_another_try_for_the_others() -> None:
    async with trio.open_nursery() as nursery:
        made = Hardening(nursery)
        made.disk.failure = OSError(errno.EIO, "Input/output error")
        made.write()
        await begun(made.disk, 1)
        made.write()
        await made.let_through(2)
        made.disk.gate.release()
    assert [exc.errno for exc in made.failed] == [errno.EIO]
    assert made.safe == [2]


async def test_what_is_safe_already_is_not_synced_again() -> None:
    disk = Disk()
    books = Bookkeeper(MemoryStore(), disk, durable=True)  # type: ignore[arg-type]
    await books.harden()
    assert disk.syncs == 0, "nothing was written"
    disk.write()
    disk.gate.release()
    await books.harden()
    await books.harden()
    assert disk.syncs == 1


async def test_without_power_nobody_waits_for_the_disk() -> None:
    disk = Disk()
    disk.write()
    await Bookkeeper(MemoryStore(), disk, durable=False).harden()  # type: ignore[arg-type]
    assert disk.syncs == 0
