"""The store in SQLite: one file, any number of processes, two connections of each.

`open_store` opens it; the only module that knows aiosqlite and the asyncio loop it needs (trio-asyncio's). A connection
lives on a thread of aiosqlite's; a hop there and back costs 0.3 ms of CPU, a statement a few
microseconds. So nothing hops by statement: a call is a plain function of the connection (`accounts`, `leases`,
`ledger`, `requests`, `audit` hold them), and a whole transaction is one hop. Writing calls share transactions
(`writer`), reading ones have a connection of their own and see one snapshot each.

Between processes SQLite's lock decides who writes; it is waited for `BUSY_SECONDS_MAX`. The write-ahead log (WAL)
lets readers go on meanwhile; it needs a file system of this machine, not of the network.

Durability: what was committed survives kill -9. With `power` it survives a power cut too; without, one may cost the
newest transactions, never the file: https://www.sqlite.org/pragma.html#pragma_synchronous.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import trio
import trio_asyncio  # type: ignore[import-untyped]

from store import accounts, audit, leases, ledger, requests
from store.failures import translated
from store.opening import connect
from store.rows import (
    Account,
    Balance,
    Finding,
    Grant,
    Holder,
    Key,
    Lease,
    LogFilter,
    LogRow,
    News,
    Position,
    Return,
    Settlement,
    Team,
    Transfer,
    TransferKind,
    UsageRow,
    Want,
)
from store.writer import Function, Statistics, Writer

T = TypeVar("T")


class _Connection(aiosqlite.Connection):
    """A connection on whose thread whole functions are run, each in one hop."""

    def __init__(self, connected: sqlite3.Connection, loop: Any) -> None:
        super().__init__(lambda: connected, iter_chunk_size=1)
        self._connected = connected
        self._loop = loop

    async def start(self) -> None:
        """Start the thread, which `shut` ends."""
        await self._loop.run_aio_coroutine(self._started())

    async def call(self, function: Function[T]) -> T:
        """Run `function` and return its result. If cancelled, it runs to its end all the same."""
        result: T = await self._loop.run_aio_coroutine(self._run(function))
        return result

    async def attempt(self, function: Function[T]) -> T | BaseException:
        """Run `function`, return its result or the exception that it raised."""
        result: T | BaseException = await self._loop.run_aio_coroutine(self._outcome(function))
        return result

    async def shut(self) -> None:
        """End the thread and close, after what runs. To be shielded."""
        await self._loop.run_aio_coroutine(self.close())

    async def _started(self) -> None:
        await self

    async def _run(self, function: Function[T]) -> T:
        result: T = await self._execute(function, self._connected)  # type: ignore[no-untyped-call]
        return result

    async def _outcome(self, function: Function[T]) -> T | BaseException:
        task = asyncio.ensure_future(self._run(function))
        await asyncio.wait([task])
        error = task.exception()
        return task.result() if error is None else error


@asynccontextmanager
async def open_store(path: Path, *, power: bool = False, commit_seconds: float = 0.0) -> AsyncIterator["SqliteStore"]:
    """Open the store in the file `path`, which is made if it is missing, and close it in the end.

    The file is made for its owner alone (0600), as is its directory if that is missing (0700). `power`: a commit is on
    the disk before it is reported. `commit_seconds` makes every commit take so much longer, as on a slow disk, for
    tests and measurements. Raises `UnavailableError` when the file cannot be made, opened, locked or written, and
    `StoreError` when it is no database, another program's, or of a newer release. What the block raises comes out as
    it is, not in a group. In the end calls that have not begun are refused, the one under way is brought to its end.
    """
    async with AsyncExitStack() as stack:
        # Opened outside of the nurseries below, so that a failure comes out alone.
        writing = await trio.to_thread.run_sync(partial(connect, path, power=power))
        stack.callback(writing.close)
        reading = await trio.to_thread.run_sync(partial(connect, path, power=power, reading=True))
        stack.callback(reading.close)
        running = _running(path, writing, reading, commit_seconds)
        store = await running.__aenter__()
        # Nor does what the block raises pass through them.
        stack.push_async_callback(running.__aexit__, None, None, None)
        yield store


@asynccontextmanager
async def _running(
    path: Path, writing: sqlite3.Connection, reading: sqlite3.Connection, commit_seconds: float
) -> AsyncIterator["SqliteStore"]:
    async with trio_asyncio.open_loop() as loop:
        writes, reads = _Connection(writing, loop), _Connection(reading, loop)
        try:
            with trio.CancelScope(shield=True):  # their connections are open: there is nothing to wait for
                await writes.start()
                await reads.start()
            store = SqliteStore(path, Writer(writes.attempt, place=str(path), commit_seconds=commit_seconds), reads)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.writer.run)
                try:
                    yield store
                finally:
                    nursery.cancel_scope.cancel()
        finally:
            reading.interrupt()
            with trio.CancelScope(shield=True):
                await reads.shut()
                await writes.shut()  # the last one empties the log into the database; one interrupted would not


class SqliteStore:
    """A `Store` in a file. Made by `open_store`; any call after its block raises `UnavailableError`."""

    def __init__(self, path: Path, writer: Writer, reads: _Connection) -> None:
        self.path = path
        self.writer = writer
        self._reads = reads
        self._settled = 0

    def __repr__(self) -> str:
        return f"<SqliteStore {self.path} {self.writer.waiting} waiting>"

    async def _read(self, function: Function[T]) -> T:
        """Run `function` on one snapshot."""
        self.writer.refuse_if_closed()
        try:
            return await self._reads.call(partial(_snapshot, function))
        except sqlite3.Error as error:
            failure = translated(error, str(self.path))
            if failure is None:
                raise
            raise failure from error

    # -- holders and leases --------------------------------------------------------------------------------------------

    async def enter(self, holder: str, now: int) -> None:
        """See `Store.enter`."""
        await self.writer.call(lambda connection: leases.enter(connection, holder, now))

    async def holders(self) -> tuple[Holder, ...]:
        """See `Store.holders`."""
        return await self._read(leases.holders)

    async def leave(self, holder: str) -> int:
        """See `Store.leave`; the money is what came back to wallets."""
        return await self.writer.call(lambda connection: leases.leave(connection, holder))

    async def lease(self, holder: str, wants: Sequence[Want], returns: Sequence[Return], now: int) -> list[Grant]:
        """See `Store.lease`. If cancelled, it may have been granted: the holder then holds what it does not know of."""
        return await self.writer.call(lambda connection: leases.lease(connection, holder, wants, returns, now))

    async def settle(self, holder: str, settlements: Sequence[Settlement], before: Position, after: Position) -> int:
        """See `Store.settle`."""
        new = await self.writer.call(lambda connection: ledger.settle(connection, holder, settlements, before, after))
        self._settled += new
        return new

    async def news(self, holder: str | None, since: int) -> News:
        """See `Store.news`."""
        return await self._read(lambda connection: accounts.news(connection, holder, since))

    # -- accounts ------------------------------------------------------------------------------------------------------

    async def put_team(self, team: Team) -> Team:
        """See `Store.put_team`."""
        return await self.writer.call(lambda connection: accounts.put_team(connection, team))

    async def put_account(self, account: Account) -> Account:
        """See `Store.put_account`."""
        return await self.writer.call(lambda connection: accounts.put_account(connection, account))

    async def put_key(self, key: Key) -> Key:
        """See `Store.put_key`; a digest belongs to one key of all accounts."""
        return await self.writer.call(lambda connection: accounts.put_key(connection, key))

    async def account(self, name: str) -> Account | None:
        """See `Store.account`."""
        return await self._read(lambda connection: accounts.account(connection, name))

    # -- money ---------------------------------------------------------------------------------------------------------

    async def credit(
        self,
        account: str,
        amount_nanos: int,
        kind: TransferKind,
        *,
        id: str,  # noqa: A002 - what it is in the row
        now: int,
        reference: str | None = None,
        note: str = "",
    ) -> Transfer:
        """See `Store.credit`."""
        order = ledger.Credit(account, amount_nanos, kind, id=id, time=now, reference=reference, note=note)
        return await self.writer.call(lambda connection: ledger.credit(connection, order))

    async def refund(
        self,
        settlement: str,
        amount_nanos: int | None,
        *,
        id: str,  # noqa: A002
        now: int,
        note: str = "",
    ) -> Transfer:
        """See `Store.refund`; a settlement of which nothing is left cannot be refunded."""
        order = ledger.Refund(settlement, amount_nanos, id=id, time=now, note=note)
        return await self.writer.call(lambda connection: ledger.refund(connection, order))

    async def balance(self, account: str) -> Balance:
        """See `Store.balance`."""
        return await self._read(lambda connection: ledger.balance(connection, account))

    async def used(self, budgets: Sequence[tuple[str, int]]) -> list[int]:
        """See `Store.used`."""
        return await self._read(lambda connection: ledger.used(connection, budgets))

    async def transfers(self, account: str | None = None, *, limit: int = 100, offset: int = 0) -> list[Transfer]:
        """See `Store.transfers`."""
        return await self._read(lambda connection: ledger.transfers(connection, account, limit, offset))

    async def transfer(self, id: str) -> Transfer | None:  # noqa: A002
        """See `Store.transfer`."""
        return await self._read(lambda connection: ledger.transfer(connection, id))

    async def leases(self) -> list[Lease]:
        """See `Store.leases`."""
        return await self._read(leases.leases)

    async def check(self) -> list[Finding]:
        """See `Store.check`; one snapshot is read, workers may go on meanwhile."""
        return await self._read(audit.check)

    async def retier(self, tiers: Sequence[tuple[int, int]], *, now: int, every_seconds: int) -> int | None:
        """See `Store.retier`."""
        return await self.writer.call(lambda connection: accounts.retier(connection, tiers, now, every_seconds))

    # -- log -----------------------------------------------------------------------------------------------------------

    async def log(self, rows: Sequence[LogRow]) -> None:
        """See `Store.log`."""
        await self.writer.call(lambda connection: requests.log(connection, rows))

    async def logs(self, which: LogFilter, *, limit: int = 100, offset: int = 0) -> list[LogRow]:
        """See `Store.logs`."""
        return await self._read(lambda connection: requests.logs(connection, which, limit, offset))

    async def log_count(self, which: LogFilter) -> int:
        """See `Store.log_count`."""
        return await self._read(lambda connection: requests.log_count(connection, which))

    async def usage(self, which: LogFilter, by: str) -> list[UsageRow]:
        """See `Store.usage`; raises `ValueError` for what there are no sums by."""
        return await self._read(lambda connection: requests.usage(connection, which, by))

    async def forget(self, before: float, *, limit: int = 10_000) -> int:
        """See `Store.forget`; windows of rates are over that ended before `before`."""
        return await self.writer.call(lambda connection: requests.forget(connection, before, limit))

    def statistics(self) -> Statistics:
        """See `Store.statistics`."""
        return self.writer.statistics(settled=self._settled)


def _snapshot(function: Function[T], connection: sqlite3.Connection) -> T:
    connection.execute("BEGIN")
    try:
        return function(connection)
    finally:
        connection.rollback()  # nothing was written
