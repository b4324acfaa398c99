"""The clerk: `python -m engine.clerk`, the one process of a server that brings into the store what its workers leave.

Workers write settlements into journals and rows of the log into the spool, both cheaply. Bringing them into the store
takes as long as serving the requests did, and on a thread of a worker's it would take the interpreter from its loop: a
process of its own, of lower priority, gives way. It decides nothing about money: what it books is in the journals,
booked once however often it is done (`engine.bookkeeper`), and whatever happens to the clerk, the next one goes on
where the ledger is. While there is none, requests are served all the same.

Started by the supervisor, and by nothing else. When that says that all workers have ended, the clerk does what is left
and ends too. When the supervisor is gone without a word, workers still serve their open streams: the clerk works on
until nobody has the lock of a journal, or for as long as workers may take. Servers that share the directory share that
wait, which costs them nothing.

A clerk may hang, on a call that never returns, and nobody would miss it before journals fill the disk: so it gives the
supervisor signs of life, only while both books and rows get on.
"""

import argparse
import logging
import os
import signal
import socket
import sys
from collections import deque
from pathlib import Path

import trio
from msgspec import Struct

from engine import datadir, logs
from engine.bookkeeper import AWAY_SECONDS, BOOK_SECONDS, COMPLAIN_SECONDS, Books
from engine.config import Config, ConfigError, load_text
from engine.control import BEAT_SECONDS, Channel, Command, Event, Message, Order, receive_first
from engine.metrics import Metrics
from engine.processes import give_way
from engine.requestlog import forget_on
from engine.snapshots import file_of
from store import spool
from store.db import open_store
from store.interface import Store, StoreError
from store.rows import LogRow
from store.spool import SpoolError

logger = logging.getLogger(__name__)

SHELVE_SECONDS = 0.25
SHELVE_ROWS_MAX = 500
"""A transaction takes batch after batch until it has so many."""

SWEEP_SECONDS = 3600.0
FINISH_SECONDS_MAX = 5.0
"""How long the end may take; what is left then is done by the next clerk."""

FAREWELL_SECONDS_MAX = 25.0
"""How much longer than its drain a worker may take to end (`engine.treasury.FAREWELL_SECONDS`, twice)."""

NICE = 10
"""Workers come first where they compete with the clerk for a core; it keeps a tenth of what one of them gets, since who
waits for a lease waits for a transaction of its to end.
"""

NAME = "clerk"
"""What it is called among the workers in metrics."""


class ClerkStatistics(Struct, frozen=True):
    """Settlements booked, rows of the log shelved, calls that failed."""

    booked_total: int
    shelved_total: int
    failed_total: int


class Clerk:
    """Keeps the books of every worker, and the log. `days` is how long rows of the log are kept."""

    def __init__(self, store: Store, journals: Path, rows: Path, *, days: int) -> None:
        self._store = store
        self._books = Books(store, journals)
        self._spool = rows
        self.days = days
        self._shelved_total = self._failed_total = 0
        self._bookings = self._shelvings = 0
        self._complained_at = -COMPLAIN_SECONDS

    def __repr__(self) -> str:
        return f"<Clerk {self.statistics()}>"

    def statistics(self) -> ClerkStatistics:
        """Return what was done so far."""
        books = self._books.statistics()
        return ClerkStatistics(books.booked_total, self._shelved_total, books.failed_total + self._failed_total)

    async def run(self) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._books.bury_on, None)
            nursery.start_soon(self._shelve_on)
            nursery.start_soon(self._sweep_on)
            nursery.start_soon(forget_on, self._store, lambda: self.days)
            while True:
                is_done = await self._books.book_the_living()
                self._bookings += 1
                await trio.sleep(BOOK_SECONDS if is_done else AWAY_SECONDS)

    async def vouch_on(self, supervisor: Channel) -> None:
        """Give signs of life while both books and rows get on, until cancelled; a failure is better than nothing."""
        seen = (-1, -1)
        while True:
            steps = self._steps()
            if steps[0] != seen[0] and steps[1] != seen[1]:
                seen = steps
                await supervisor.send(Message(Event.ALIVE))
            await trio.sleep(BEAT_SECONDS)

    def _steps(self) -> tuple[int, int]:
        """Return how often booking, and shelving, came to any end: numbers that grow unless a call hangs."""
        books = self._books.statistics()
        return (
            self._bookings + books.booked_total + books.failed_total,
            self._shelvings + self._shelved_total + self._failed_total,
        )

    async def wait_workers(self) -> None:
        """Return when no worker has its journal any more."""
        try:
            while await self._books.has_living():  # noqa: ASYNC110 - nothing tells
                await trio.sleep(BOOK_SECONDS)
        except OSError as exc:
            self._books.complain(exc, "whoever is left")

    async def finish(self) -> None:
        """Do what is left, for `FINISH_SECONDS_MAX` at most."""
        with trio.move_on_after(FINISH_SECONDS_MAX):
            await self._books.book_the_living()
            try:
                await self._books.bury_the_dead()  # those that were killed since they were looked for
            except (StoreError, OSError) as exc:
                self._books.complain(exc, "whoever is gone")
            await self.shelve()

    async def shelve(self) -> bool:
        """Bring what is in the spool by now into the log; False when the store did not take it, or some stays there."""
        failed_total = self._failed_total
        try:
            waiting = deque(await trio.to_thread.run_sync(spool.batches, self._spool))
            while waiting:
                taken = await trio.to_thread.run_sync(_take, waiting)
                if taken.rows:
                    await self._store.log(taken.rows)
                await trio.to_thread.run_sync(_remove, taken.batches)
                self._shelved_total += len(taken.rows)
                for failure in taken.failures:
                    self._complain(failure)
        except (StoreError, OSError) as exc:
            self._complain(exc)
        return self._failed_total == failed_total

    async def _shelve_on(self) -> None:
        while True:
            is_done = await self.shelve()
            self._shelvings += 1
            await trio.sleep(SHELVE_SECONDS if is_done else AWAY_SECONDS)

    async def _sweep_on(self) -> None:
        while True:
            try:
                await trio.to_thread.run_sync(spool.sweep, self._spool)
            except OSError as exc:
                self._complain(exc)
            await trio.sleep(SWEEP_SECONDS)

    def _complain(self, exc: Exception) -> None:
        """Log that rows wait, once a minute for as long as they do."""
        self._failed_total += 1
        now = trio.current_time()
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            logger.error("rows of the request log wait in the spool: %s", exc)


class _Taken(Struct, frozen=True):
    """Batches that were read, their rows, and why others could not be read."""

    batches: list[Path]
    rows: list[LogRow]
    failures: list[OSError]


def _take(waiting: deque[Path]) -> _Taken:
    """Read the first of the batches that wait; they wait no longer."""
    taken = _Taken([], [], [])
    while waiting and len(taken.rows) < SHELVE_ROWS_MAX:
        batch = waiting.popleft()
        try:
            taken.rows.extend(spool.read(batch))
            taken.batches.append(batch)
        except FileNotFoundError:
            continue  # another server's clerk had it
        except SpoolError as exc:
            logger.error("rows of the request log are lost, their file is kept: %s", exc)  # noqa: TRY400
            spool.put_aside(batch)
        except OSError as exc:
            taken.failures.append(exc)  # the others need not wait for it
    return taken


def _remove(batches: list[Path]) -> None:
    for batch in batches:
        spool.remove(batch)


async def run(config: Config, options: argparse.Namespace, control: socket.socket, received: bytes) -> None:
    """Be the clerk until all workers have ended. Raises `StoreError` when the store cannot be opened."""
    power = config.store.durability == "power"
    async with open_store(datadir.database(options.data), power=power) as store:
        clerk = Clerk(store, datadir.journal(options.data), datadir.spool(options.data), days=config.store.log_days)
        metrics = Metrics(incarnation=options.incarnation, slot=NAME)
        metrics.pull("hedgerow_settlements_booked_total", lambda: clerk.statistics().booked_total)
        metrics.pull("hedgerow_store_failures_total", lambda: clerk.statistics().failed_total)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(metrics.run, file_of(options.runtime, options.incarnation))
            nursery.start_soon(clerk.run)
            supervisor = Channel(control, Order, received)
            nursery.start_soon(clerk.vouch_on, supervisor)
            with trio.move_on_after(await _obey(clerk, config, options, supervisor)):
                await clerk.wait_workers()
            nursery.cancel_scope.cancel()
        await clerk.finish()


async def _obey(clerk: Clerk, config: Config, options: argparse.Namespace, control: Channel) -> float:
    """Take new configurations until workers end; return for how many seconds they may still be there."""
    while (order := await control.receive()) is not None:
        assert isinstance(order, Order)
        if order.command is Command.DRAIN:
            return 0.0
        if order.command is Command.RELOAD:
            try:
                config = load_text(order.config, options.config, os.environ)
                clerk.days = config.store.log_days
            except ConfigError as exc:
                logger.error("the new configuration is not valid here, the old one stays: %s", exc)  # noqa: TRY400
    return config.server.drain_seconds + FAREWELL_SECONDS_MAX


def main() -> int:
    """Run the clerk; 0 when its supervisor has no workers any more."""
    parser = argparse.ArgumentParser(prog="python -m engine.clerk")
    parser.add_argument("--incarnation", required=True)
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--runtime", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    give_way(NICE)
    try:
        control = socket.socket(fileno=options.control_fd)
        order, received = receive_first(control)
        config = load_text(order.config, options.config, os.environ)
        logs.configure(config.server.log_level)
        trio.run(run, config, options, control, received)
    except (EOFError, ConfigError, OSError, StoreError) as exc:
        print(f"hedgerow clerk: {exc or type(exc).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
