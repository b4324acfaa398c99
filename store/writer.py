"""Who writes: one task, which takes all the calls that wait and does them in one transaction.

A commit costs the same for one call as for a hundred, so calls that come while one is under way wait and share the
next. Each runs under a savepoint: one that raises `ConflictError` is undone alone. If the commit fails, nothing of the
group was done and each caller is told so. A call that fails by a mistake of ours takes its group back with it; the
group is then done again one by one, and the mistake is raised where it was made.

A call is a function of the connection. The group runs on the connection's own thread, from BEGIN to COMMIT in one go:
what waits for it may be cancelled, it cannot. It does not know how the thread is reached, nor a single statement of
what the calls do.
"""

import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import trio
from msgspec import Struct

from store.failures import BUSY_SECONDS_MAX, primary_code, translated
from store.interface import ConflictError, StoreError, UnavailableError

T = TypeVar("T")

CALLS_PER_TRANSACTION_MAX = 128
"""More would save nothing (a commit's share is small by then) and would make the first of them wait."""

CALLS_WAITING_MAX = 1024

_RETRY_SECONDS = 0.001
"""SQLite's own patience sleeps longer each time, to a tenth of a second: among four processes that write all the time
the one that came last waited two or three times as long as it does so. To ask again costs 4 us."""

Function = Callable[[sqlite3.Connection], T]
"""What is done with a connection, on its thread. Raises `ConflictError` before it is too late, or leaves it undone."""

Attempt = Callable[[Function[Any]], Awaitable[Any]]
"""Runs a function on the connection's thread and returns its result, or as a value the exception it raised."""


class Statistics(Struct, frozen=True, kw_only=True):
    """What a store did since it was opened. `failures` are calls that raised, `waiting` those that wait now."""

    transactions: int
    calls: int
    failures: int
    settled: int
    waiting: int


class _Call(Generic[T]):
    """One caller's function, and what became of it once `done` is set."""

    __slots__ = ("done", "error", "function", "result")

    def __init__(self, function: Function[T]) -> None:
        self.function = function
        self.done = trio.Event()
        self.result: T | None = None
        self.error: BaseException | None = None


class Writer:
    """Does calls in groups, in the order they came. `run` is its task; once that is cancelled, calls are refused."""

    def __init__(self, attempt: Attempt, *, place: str, commit_seconds: float = 0.0) -> None:
        self._attempt = attempt
        self._place = place
        self._commit_seconds = commit_seconds
        self._waiting: deque[_Call[Any]] = deque()
        self._arrived = trio.Event()
        self._closed = False
        self._transactions = self._calls = self._failures = 0

    def __repr__(self) -> str:
        return f"<Writer {self._place} {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """How many calls wait for their transaction."""
        return len(self._waiting)

    def refuse_if_closed(self) -> None:
        """Raise `UnavailableError` once `run` has ended."""
        if self._closed:
            raise UnavailableError(f"The store {self._place} is closing.")

    def statistics(self, *, settled: int) -> Statistics:
        """Return what was done so far."""
        return Statistics(
            transactions=self._transactions,
            calls=self._calls,
            failures=self._failures,
            settled=settled,
            waiting=self.waiting,
        )

    async def call(self, function: Function[T]) -> T:
        """Do `function` in a transaction, return its result once that is committed.

        Raises what it raises, `UnavailableError` when the transaction failed or too many calls wait. If cancelled, it
        is done whole or not at all.
        """
        self.refuse_if_closed()
        if len(self._waiting) >= CALLS_WAITING_MAX:
            raise UnavailableError(f"The store {self._place} is too slow: {CALLS_WAITING_MAX} calls wait for it.")
        call = _Call(function)
        self._waiting.append(call)
        self._arrived.set()
        try:
            await call.done.wait()
        finally:
            if not call.done.is_set():
                with suppress(ValueError):  # it has been taken: it is under way
                    self._waiting.remove(call)
        if call.error is not None:
            raise call.error
        return call.result  # type: ignore[return-value]  # set by whoever set `done` without an error

    async def run(self) -> None:
        """Do calls until cancelled; the group that is under way then is brought to its end, the rest is refused."""
        try:
            while True:
                await self._arrived.wait()
                group = [self._waiting.popleft() for _ in range(min(len(self._waiting), CALLS_PER_TRANSACTION_MAX))]
                if not self._waiting:
                    self._arrived = trio.Event()
                if group:
                    with trio.CancelScope(shield=True):  # bounded by the time for which a lock is waited for
                        await self._do(group)
        finally:
            self._closed = True
            while self._waiting:
                self._finish(self._waiting.popleft(), UnavailableError(f"The store {self._place} is closing."))

    async def _do(self, group: list[_Call[Any]]) -> None:
        outcomes = await self._transact(group)
        if not isinstance(outcomes, BaseException):
            self._transactions += 1
            for call, (result, error) in zip(group, outcomes, strict=True):
                call.result = result
                self._finish(call, error)
            return
        if translated(outcomes, self._place) is None and len(group) > 1:
            for call in group:
                await self._do([call])
            return
        for call in group:
            error = translated(outcomes, self._place)  # one for each: a traceback belongs to one task
            if error is not None:
                error.__cause__ = outcomes
            self._finish(call, error or outcomes)

    async def _transact(self, group: list[_Call[Any]]) -> Any:
        """Return the result and the error of each call, or why none was done."""
        place, slow = self._place, self._commit_seconds > 0
        outcomes = await self._attempt(lambda connection: _transaction(connection, group, place, commit=not slow))
        if slow and not isinstance(outcomes, BaseException):
            await trio.sleep(self._commit_seconds)
            failure = await self._attempt(_commit)
            return outcomes if failure is None else failure
        return outcomes

    def _finish(self, call: _Call[Any], error: BaseException | None) -> None:
        self._calls += 1
        self._failures += error is not None
        call.error = error
        call.done.set()


Outcome = tuple[Any, StoreError | None]


def _transaction(connection: sqlite3.Connection, group: list[_Call[Any]], place: str, *, commit: bool) -> list[Outcome]:
    _begin(connection)
    try:
        outcomes = [_savepoint(connection, call.function, place) for call in group]
    except BaseException:
        connection.rollback()
        raise
    if commit:
        _commit(connection)
    return outcomes


def _begin(connection: sqlite3.Connection) -> None:
    until = time.monotonic() + BUSY_SECONDS_MAX
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def _savepoint(connection: sqlite3.Connection, function: Function[Any], place: str) -> Outcome:
    connection.execute("SAVEPOINT one_call")
    try:
        result, error = function(connection), None
    except (ConflictError, sqlite3.IntegrityError) as conflict:
        connection.execute("ROLLBACK TO one_call")
        result, error = None, conflict if isinstance(conflict, ConflictError) else translated(conflict, place)
        if error is None:
            raise
    connection.execute("RELEASE one_call")
    return result, error


def _commit(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
