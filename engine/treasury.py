"""One worker's dealings with the store: keys, leases, journal, request log. What the layers use of it is synchronous.

Decides the order of a worker's financial life. At the start: the journal and its lock, then the holder in the store,
then every key; only then is the worker ready. While it serves: news several times a second, leases
(`engine.budgets.lender`), tiers every six hours. What takes longest a process of its own does for all workers
(`engine.clerk`): booking and the rows of the log, which lie in the spool for it; where there is none, as in a test, the
worker does it. At the end: what is journaled is booked, and the holder leaves, which gives back what it had leased. A
worker that is killed skips the end: somebody else does it for it.
"""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio
from msgspec import Struct

from engine import datadir
from engine.bookkeeper import Bookkeeper
from engine.budgets.lender import Lender
from engine.budgets.standings import Standings
from engine.config import Config
from engine.drains import Drains
from engine.exchange import Exchange, milliseconds
from engine.keyring import Keyring
from engine.requestlog import RequestLog, Spool, forget_on, row_of
from engine.tariff import Tariff
from store import journal
from store.db import open_store
from store.interface import Store, StoreError
from store.journal import Journal, JournalError
from store.rows import Settlement

logger = logging.getLogger(__name__)

NEWS_SECONDS = 0.2
"""Within it a key that was made, changed or disabled is so in every worker, and a recalled lease is given back."""

TIERS_SECONDS = 6 * 3600
TIERS_LOOK_SECONDS = 60.0
FAREWELL_SECONDS = 10.0
"""How long a worker that ends tries to book what is in its journal; what is left, its successor books."""

COMPLAIN_SECONDS = 60.0


class TreasuryStatistics(Struct, frozen=True):
    """Nano-dollars charged and not collected; calls for keys, leases and booking that failed."""

    charged_nanos_total: int
    uncollected_nanos_total: int
    failed_total: int


class Treasury:
    """Made by `open_treasury`; `run` for as long as the worker serves."""

    def __init__(
        self,
        store: Store,
        own: Journal,
        keyring: Keyring,
        config: Config,
        *,
        clock: Callable[[], float] = time.time,
        spool: Path | None = None,
    ) -> None:
        """`spool` is where a clerk looks for rows, None where there is no clerk."""
        self._store = store
        self._has_clerk = spool is not None
        self._keyring = keyring
        self.clock = clock
        self.journal = own
        self.lender = Lender(store, own.holder, clock=clock)
        self.bookkeeper = Bookkeeper(store, own, durable=config.store.durability == "power")
        shelf = store if spool is None else Spool(spool, own.holder)
        self.log = RequestLog(shelf, days=config.store.log_days)
        self.drains = Drains(self._record_drained)
        self.is_store_away = False
        """Whether the store could not be had when it was asked last."""
        self._running = trio.CancelScope()
        self._ended = trio.Event()
        self._version = 0
        self._serial = 0
        self._failed = self._charged_nanos = self._uncollected_nanos = 0
        self._complained_at = -COMPLAIN_SECONDS
        self.configure(config)

    def __repr__(self) -> str:
        return f"<Treasury {self.lender!r} {self.bookkeeper!r}>"

    def statistics(self) -> TreasuryStatistics:
        """Return what was charged, and how often the store could not be had."""
        failed = self._failed + self.lender.statistics().failed_total + self.bookkeeper.statistics().failed_total
        return TreasuryStatistics(self._charged_nanos, self._uncollected_nanos, failed)

    def configure(self, config: Config) -> None:
        """Let prices, tiers, groups and rates of `config` take effect for requests from now on."""
        self._tiers = [(tier.spend_nanos, tier.markup_ppm) for tier in config.billing.tiers]
        self.tariff = Tariff(config)
        self.standings = Standings(self.lender, config)
        self.log.days = config.store.log_days
        drain = config.billing.on_disconnect == "drain"
        self.drains.answers_max = config.billing.drains_max if drain else 0
        self.drains.seconds_max = config.billing.drain_seconds

    def fresh_id(self) -> str:
        """Return an id that no exchange of any worker has had or will have."""
        self._serial += 1
        return f"{self.journal.holder}-{self._serial:x}"

    def note(self, settlement: Settlement) -> None:
        """Write a settlement into the journal, in the slot that was booked with its reservation."""
        self.journal.append(settlement)
        self._charged_nanos += settlement.amount_nanos
        self._uncollected_nanos += settlement.uncollected_nanos

    def record(self, exchange: Exchange, ttft_ms: float | None, duration_ms: float) -> None:
        """Keep a row of the request log about an exchange that ends now."""
        if self.log.days:
            exchange.id = exchange.id or self.fresh_id()
            self.log.record(row_of(exchange, self.tariff, self.clock() - duration_ms / 1000, ttft_ms, duration_ms))

    def _record_drained(self, exchange: Exchange) -> None:
        ttft_seconds = exchange.ttft_seconds
        ttft_ms = None if ttft_seconds is None else milliseconds(ttft_seconds)
        self.record(exchange, ttft_ms, milliseconds(trio.current_time() - exchange.started))

    async def learn(self) -> None:
        """Take what changed in the store. Raises `StoreError`."""
        news = await self._store.news(self.journal.holder, self._version)
        self._version = news.version
        if news.keys or news.accounts or news.teams:
            self._keyring.learn(news)
        for budget, window in news.recalled:
            self.lender.recall(budget, window)
        try:
            self.bookkeeper.learn(news.booked)
        except OSError as exc:
            logger.warning("files of the journal that are booked stay: %s", exc)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep everything going until cancelled, or until the farewell; `started` when it does."""
        try:
            with self._running:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self.drains.run)
                    nursery.start_soon(self.lender.run)
                    nursery.start_soon(self.log.run)
                    if not self._has_clerk:
                        nursery.start_soon(self.bookkeeper.run)
                        nursery.start_soon(forget_on, self._store, lambda: self.log.days)
                    nursery.start_soon(self._learn_on)
                    nursery.start_soon(self._keep_tiers)
                    task_status.started()
        finally:
            self._ended.set()

    async def say_farewell(self) -> None:
        """End `run`, book what is journaled and leave, if the store lets us in time; else somebody else does it later.

        Called when the last exchange has ended. Answers that are read on have a while, then they are cut.
        """
        with trio.move_on_after(FAREWELL_SECONDS):
            await self.drains.wait_idle()
        # A holder that has left must not lease: what is lent ends before it leaves.
        self._running.cancel()
        await self._ended.wait()
        with trio.move_on_after(FAREWELL_SECONDS):
            await self.log.flush()
            while not await self.bookkeeper.book():  # noqa: ASYNC110 - nothing tells
                await trio.sleep(NEWS_SECONDS)
            try:
                await self._store.leave(self.journal.holder)
            except StoreError as exc:
                logger.warning("the store did not hear that this worker ends: %s", exc)
            else:
                self.journal.close()
                # Whoever finds the lock free first removes the files, which may be another worker.
                with suppress(JournalError):
                    journal.remove(self.journal.directory, self.journal.holder)
            while not await self.log.flush():  # noqa: ASYNC110
                await trio.sleep(NEWS_SECONDS)

    async def _learn_on(self) -> None:
        while True:
            await trio.sleep(NEWS_SECONDS)
            try:
                await self.learn()
                self.is_store_away = False
            except StoreError as exc:
                self.is_store_away = True
                self._failed += 1
                now = trio.current_time()
                if now - self._complained_at >= COMPLAIN_SECONDS:
                    self._complained_at = now
                    logger.error("the store cannot be had; keys and leases stay as they are: %s", exc)  # noqa: TRY400

    async def _keep_tiers(self) -> None:
        while True:
            try:
                await self._store.retier(self._tiers, now=int(self.clock()), every_seconds=TIERS_SECONDS)
            except StoreError as exc:
                logger.warning("tiers stay as they are: %s", exc)
            await trio.sleep(TIERS_LOOK_SECONDS)


@asynccontextmanager
async def open_treasury(data: Path, keyring: Keyring, config: Config, *, slot: int) -> AsyncIterator[Treasury]:
    """Open the store in `data` and `enter` it, with a clerk beside. Raises `StoreError` and `OSError`."""
    async with open_store(datadir.database(data), power=config.store.durability == "power") as store:
        spool = datadir.spool(data)
        treasury = await enter(store, datadir.journal(data), keyring, config, slot=slot, spool=spool)
        try:
            yield treasury
        finally:
            treasury.journal.close()


async def enter(
    store: Store,
    directory: Path,
    keyring: Keyring,
    config: Config,
    *,
    slot: int,
    clock: Callable[[], float] = time.time,
    spool: Path | None = None,
) -> Treasury:
    """Begin a journal of one's own in `directory`, become a holder, and learn every key. Raises as `open_treasury`."""
    try:
        own = Journal.create(directory, f"{slot}-{secrets.token_hex(8)}")
    except OSError as exc:
        raise OSError(exc.errno, f"no journal can be begun: {exc.strerror}", str(directory)) from exc
    try:
        await store.enter(own.holder, int(clock()))
        treasury = Treasury(store, own, keyring, config, clock=clock, spool=spool)
        await treasury.learn()
    except BaseException:
        own.close()
        raise
    return treasury
