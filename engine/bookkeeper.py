"""The bookkeeper: brings what the journal says into the ledger, one's own and those of workers that died.

What was settled is in the journal before the client sees the end of its answer; here it is booked, in batches, as often
as it takes and once in effect. While the store is away the journal grows, and nothing else happens. A journal whose
lock is free belongs to a worker that is gone: it is booked to its end, then its holder leaves, and its leases are free
again. What is damaged in a journal is logged and left out; the file is kept.
"""

import logging
from pathlib import Path

import trio
from msgspec import Struct

from store import journal
from store.interface import ConflictError, Store, StoreError
from store.journal import Journal, JournalError
from store.journal_format import file_numbers, file_path
from store.rows import Position

logger = logging.getLogger(__name__)

BOOK_SECONDS = 0.2
BATCH_RECORDS_MAX = 500
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


class Bookkeeper:
    """One worker's journal and its way into the ledger."""

    def __init__(self, store: Store, own: Journal, *, durable: bool) -> None:
        """`durable`: an answer ends only when its settlement would survive the machine's death too."""
        self._store = store
        self._own = own
        self._directory = own.directory
        self._durable = durable
        self._booked = Position()
        self._booking = trio.Lock()
        self._hardened = BEGINNING
        self._syncing: trio.Event | None = None
        self._booked_total = self._failed_total = self._buried_total = 0
        self._complained_at = -COMPLAIN_SECONDS

    def __repr__(self) -> str:
        return f"<Bookkeeper of {self._own!r}>"

    def statistics(self) -> BookkeeperStatistics:
        """Return what was done so far."""
        return BookkeeperStatistics(self._booked_total, self._failed_total, self._buried_total)

    @property
    def is_up_to_date(self) -> bool:
        """Whether the ledger has all that the journal says."""
        return self._own.position in (self._booked, BEGINNING)

    async def run(self) -> None:
        """Book one's own journal, and look after the dead, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._bury_now_and_then)
            while True:  # noqa: ASYNC110 - it is time that is waited for
                await trio.sleep(BOOK_SECONDS if await self.book() else AWAY_SECONDS)

    async def book(self) -> bool:
        """Book what is in the journal by now; False when the store did not take it, or the journal cannot be read."""
        async with self._booking:
            while not self.is_up_to_date:
                try:
                    after = await self._book(self._own.holder, self._booked, final=False)
                    if after == self._booked:
                        break
                    self._booked = after
                    self._own.remove_before(after)
                except (StoreError, JournalError, OSError) as exc:
                    self._complain(exc)
                    return False
        return True

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

    async def bury_the_dead(self) -> None:
        """Book the journals of workers that are gone to their end, and give back what they had leased."""
        for holder in await trio.to_thread.run_sync(journal.holders, self._directory):
            if holder != self._own.holder:
                try:
                    await self._bury(holder)
                except (JournalError, ConflictError) as exc:
                    # Nobody else can make sense of it either, but the others must not wait for that.
                    self._complain(exc, holder)
        present = set(await trio.to_thread.run_sync(journal.holders, self._directory))
        for gone in await self._store.holders():
            # It ended between its last record and leaving, or its files are gone: there is nothing to book any more.
            if gone.id not in present and not journal.is_held(self._directory, gone.id):
                await self._store.leave(gone.id)

    async def _bury(self, holder: str) -> None:
        lock = journal.take(self._directory, holder)
        if lock is None:
            return
        with lock:
            known = {each.id: each.position for each in await self._store.holders()}
            if holder in known:
                position = known[holder]
                # Without any file, as after a half-finished burial or a careless hand, there is nothing to book.
                while file_numbers(self._directory, holder):
                    after = await self._book(holder, position, final=True)
                    if after == position:
                        break
                    position = after
                await self._store.leave(holder)
                self._buried_total += 1
                logger.info("the journal of worker %s, which is gone, is in the ledger", holder)
            lock.remove()

    async def _book(self, holder: str, before: Position, *, final: bool) -> Position:
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
        known = {each.id: each.position for each in await self._store.holders()}
        return known.get(holder, batch.after)

    def _keep(self, path: Path) -> None:
        """Give a damaged file a second name: its first goes when what is whole is booked."""
        try:
            path.with_suffix(DAMAGED).hardlink_to(path)
        except FileExistsError:
            logger.info("%s is kept already", path)
        except OSError as exc:
            logger.error("%s cannot be kept: %s", path, exc)  # noqa: TRY400

    async def _bury_now_and_then(self) -> None:
        while True:
            try:
                await self.bury_the_dead()
            except (StoreError, OSError) as exc:
                self._complain(exc)
            await trio.sleep(BURY_SECONDS)

    def _complain(self, exc: Exception, holder: str | None = None) -> None:
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
            logger.error("the journal of %s stays, %s: %s", holder or self._own.holder, what, exc)
