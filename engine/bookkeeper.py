"""The bookkeeper: brings what journals say into the ledger, those of workers that live and of workers that died.

What was settled is in the journal before the client sees the end of its answer; here it is booked, in batches, as often
as it takes and once in effect. While the store is away journals grow, and nothing else happens. A journal whose lock is
free belongs to a worker that is gone: it is booked to its end, then its holder leaves, and its leases are free again.
What is damaged in a journal is logged and left out; the file is kept.

`Books` does that for any holder: in the clerk's process for all of them (`engine.clerk`). `Bookkeeper` is a worker's
own: it keeps the books where there is no clerk, and at its end; it trims the journal of what is booked, by whomever.
"""

import logging
from pathlib import Path

import trio
from msgspec import Struct

from store import journal
from store.interface import ConflictError, Store, StoreError
from store.journal import Journal, JournalError
from store.journal_format import file_numbers, file_path
from store.rows import Holder, Position

logger = logging.getLogger(__name__)

BOOK_SECONDS = 0.2
BATCH_RECORDS_MAX = 250
"""Of one transaction: larger ones hold the store, and this process, for too long at a time."""
AWAY_SECONDS = 1.0
"""How long a store that is away, or a ledger that contradicts the journal, is left alone."""

BURY_SECONDS = 2.0
COMPLAIN_SECONDS = 60.0

DAMAGED = ".damaged"
"""What a damaged file's second name ends with; nothing reads it but people."""


BEGINNING = Position(1, 0)
"""Of a journal in which there is nothing yet."""


class BookkeeperStatistics(Struct, frozen=True):
    """Settlements booked, batches that failed, dead workers' journals closed."""

    booked_total: int
    failed_total: int
    buried_total: int


class Books:
    """A directory of journals and the ledger they belong to. Any number of processes may keep the same books."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._store = store
        self._directory = directory
        self._booked_total = self._failed_total = self._buried_total = 0
        self._complained_at = -COMPLAIN_SECONDS

    def __repr__(self) -> str:
        return f"<Books {self._directory.name} {self.statistics()}>"

    def statistics(self) -> BookkeeperStatistics:
        """Return what was done so far."""
        return BookkeeperStatistics(self._booked_total, self._failed_total, self._buried_total)

    async def book_the_living(self) -> bool:
        """Book what every journal holds by now; False when the store did not take it, or one cannot be read."""
        try:
            holders = await self._store.holders()
        except StoreError as exc:
            self.complain(exc, "every worker")
            return False
        return all([await self._book(holder) for holder in holders])

    async def _book(self, holder: Holder) -> bool:
        after = holder.position
        try:
            while True:
                before, booked_total = after, self._booked_total
                after = await self.advance(holder.id, before)
                # The next batch would be of what came meanwhile, and so on while it serves: others wait too.
                if after == before or self._booked_total - booked_total < BATCH_RECORDS_MAX:
                    return True
        except (StoreError, JournalError, OSError) as exc:
            if await self._is_elsewhere(holder.id, after):
                return True
            self.complain(exc, holder.id)
            return False

    async def has_living(self) -> bool:
        """Whether anybody has the lock of a journal: a worker, or for a moment who buries one. Raises `OSError`."""
        return await trio.to_thread.run_sync(
            lambda: any(journal.is_held(self._directory, each) for each in journal.holders(self._directory))
        )

    async def bury_on(self, own: str | None) -> None:
        """Look after the dead now and then, until cancelled; `own` is the holder of who asks."""
        while True:
            try:
                await self.bury_the_dead(own)
            except (StoreError, OSError) as exc:
                self.complain(exc, own or "whoever is gone")
            await trio.sleep(BURY_SECONDS)

    async def bury_the_dead(self, own: str | None = None) -> None:
        """Book the journals of workers that are gone to their end, and give back what they had leased."""
        for holder in await trio.to_thread.run_sync(journal.holders, self._directory):
            if holder != own:
                try:
                    await self._bury(holder)
                except (JournalError, ConflictError) as exc:
                    # Nobody else can make sense of it either, but the others must not wait for that.
                    self.complain(exc, holder)
        present = set(await trio.to_thread.run_sync(journal.holders, self._directory))
        for gone in await self._store.holders():
            # It ended between its last record and leaving, or its files are gone: there is nothing to book any more.
            if gone.id not in present and not journal.is_held(self._directory, gone.id):
                await self._store.leave(gone.id)

    async def advance(self, holder: str, before: Position, *, final: bool = False) -> Position:
        """Book a batch of what stands behind `before`; return up to where the ledger is then, `before` at the end.

        `final` says that the holder is dead. Raises `StoreError`, `JournalError` and `OSError`; then nothing is booked.
        """
        batch = await trio.to_thread.run_sync(
            lambda: journal.read(self._directory, holder, before, records_max=BATCH_RECORDS_MAX, final=final)
        )
        for damage in batch.damage:
            logger.error("the journal of %s is damaged, what is whole is booked: %s", holder, damage)
            self._keep(file_path(self._directory, holder, damage.file))
        if batch.after == before:
            return before
        new = await self._store.settle(holder, batch.settlements, before, batch.after)
        self._booked_total += new
        if new == len(batch.settlements) > 0:
            return batch.after
        # The ledger was ahead of us, as after a call that was cancelled and yet done: it says how far it is.
        return await self._position(holder) or batch.after

    def complain(self, exc: Exception, holder: str) -> None:
        """Log that booking failed, once a minute for as long as it does."""
        self._failed_total += 1
        now = trio.current_time()
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            what = "the ledger cannot be had"
            if isinstance(exc, ConflictError):
                what = "the ledger contradicts it"
            elif not isinstance(exc, StoreError):
                what = "it cannot be read"
            logger.error("the journal of %s stays, %s: %s", holder, what, exc)

    async def _position(self, holder: str) -> Position | None:
        """Return up to where a holder is booked, None when there is none of that id."""
        return next((each.position for each in await self._store.holders() if each.id == holder), None)

    async def _is_elsewhere(self, holder: str, position: Position) -> bool:
        """Whether it has left, or somebody else booked on: either way files may go while they are read."""
        try:
            return await self._position(holder) != position
        except StoreError:
            return False

    async def _bury(self, holder: str) -> None:
        lock = journal.take(self._directory, holder)
        if lock is None:
            return
        with lock:
            position = await self._position(holder)
            if position is not None:
                # Without any file, as after a half-finished burial or a careless hand, there is nothing to book.
                while file_numbers(self._directory, holder):
                    after = await self.advance(holder, position, final=True)
                    if after == position:
                        break
                    position = after
                await self._store.leave(holder)
                self._buried_total += 1
                logger.info("the journal of worker %s, which is gone, is in the ledger", holder)
            lock.remove()

    def _keep(self, path: Path) -> None:
        """Give a damaged file a second name: its first goes when what is whole is booked."""
        try:
            path.with_suffix(DAMAGED).hardlink_to(path)
        except FileExistsError:
            logger.info("%s is kept already", path)
        except OSError as exc:
            logger.error("%s cannot be kept: %s", path, exc)  # noqa: TRY400


class Bookkeeper:
    """One worker's journal and its way into the ledger."""

    def __init__(self, store: Store, own: Journal, *, durable: bool) -> None:
        """`durable`: an answer ends only when its settlement would survive the machine's death too."""
        self._books = Books(store, own.directory)
        self._own = own
        self._durable = durable
        self._booked = Position()
        self._booking = trio.Lock()
        self._hardened = BEGINNING
        self._syncing: trio.Event | None = None

    def __repr__(self) -> str:
        return f"<Bookkeeper of {self._own!r}>"

    def statistics(self) -> BookkeeperStatistics:
        """Return what was done here so far."""
        return self._books.statistics()

    @property
    def is_up_to_date(self) -> bool:
        """Whether the ledger is known to have all that the journal says."""
        return self._own.position in (self._booked, BEGINNING)

    @property
    def waiting_bytes(self) -> int:
        """How much of the journal is not known to be in the ledger; at least, where that is in several files."""
        at, booked = self._own.position, self._booked
        return at.offset - booked.offset if at.file == booked.file else at.offset

    async def run(self) -> None:
        """Book one's own journal, and look after the dead, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._books.bury_on, self._own.holder)
            while True:  # noqa: ASYNC110 - it is time that is waited for
                await trio.sleep(BOOK_SECONDS if await self.book() else AWAY_SECONDS)

    async def book(self) -> bool:
        """Book what is in the journal by now; False when the store did not take it, or the journal cannot be read."""
        async with self._booking:
            while not self.is_up_to_date:
                before = self._booked
                try:
                    after = await self._books.advance(self._own.holder, before)
                    if after == before:
                        break
                    self.learn(after)
                except (StoreError, JournalError, OSError) as exc:
                    self._books.complain(exc, self._own.holder)
                    return False
        return True

    async def bury_the_dead(self) -> None:
        """See `Books.bury_the_dead`."""
        await self._books.bury_the_dead(self._own.holder)

    def learn(self, booked: Position) -> None:
        """Hear up to where the ledger has the journal: what lies before is removed. Raises `OSError`."""
        if (booked.file, booked.offset) > (self._booked.file, self._booked.offset):
            self._booked = booked
            self._own.remove_before(booked)

    async def harden(self) -> None:
        """Return when what was journaled so far survives as much as the configuration asks for."""
        if not self._durable:
            return
        wanted = self._own.position
        while (self._hardened.file, self._hardened.offset) < (wanted.file, wanted.offset):
            if self._syncing is not None:
                # It may have begun before our record was there: what it made safe is looked at again.
                await self._syncing.wait()
                continue
            self._syncing = done = trio.Event()
            at = self._own.position
            try:
                await trio.to_thread.run_sync(self._own.sync)
                self._hardened = at
            finally:
                self._syncing = None
                done.set()
