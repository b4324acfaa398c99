"""Tests of the writer: who shares a transaction, who is told what when it fails, and what a cancelled caller leaves.

The thread is a fake: functions run in the test's own task, when the test lets them.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from store import writer as writer_module
from store.interface import ConflictError, StoreError, UnavailableError
from store.writer import CALLS_PER_TRANSACTION_MAX, CALLS_WAITING_MAX, Function, Writer


class Thread:
    """Runs functions on a connection, each once the gate is open."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=0)
        self.connection.execute("CREATE TABLE done (name TEXT PRIMARY KEY)")
        self.gate = trio.Event()
        self.gate.set()

    async def attempt(self, function: Function[Any]) -> Any:
        await self.gate.wait()
        try:
            return function(self.connection)
        except (sqlite3.Error, StoreError, KeyError) as error:
            return error

    @property
    def done(self) -> set[str]:
        return {name for (name,) in self.connection.execute("SELECT name FROM done")}


@pytest.fixture
def thread(tmp_path: Path) -> Iterator[Thread]:
    fake = Thread(tmp_path / "x.db")
    yield fake
    fake.connection.close()


@asynccontextmanager
async def running(thread: Thread, commit_seconds: float = 0.0) -> AsyncIterator[Writer]:
    writer = Writer(thread.attempt, place="x.db", commit_seconds=commit_seconds)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        yield writer
        nursery.cancel_scope.cancel()


def put(name: str) -> Function[str]:
    def function(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO done (name) VALUES (?)", (name,))
        return name

    return function


def put_then_raise(name: str, error: Exception) -> Function[str]:
    def function(connection: sqlite3.Connection) -> str:
        put(name)(connection)
        raise error

    return function


class Callers:
    """Calls made at once, and what came of each."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.outcomes: dict[str, str | BaseException] = {}

    async def call(self, name: str, function: Function[str]) -> None:
        try:
            self.outcomes[name] = await self.writer.call(function)
        except (StoreError, KeyError, sqlite3.Error) as error:
            self.outcomes[name] = error

    async def together(self, thread: Thread, functions: dict[str, Function[str]]) -> None:
        """Make all calls wait behind a first one, so that they share the next transaction."""
        async with trio.open_nursery() as nursery:
            thread.gate = trio.Event()
            nursery.start_soon(self.call, "first", put("first"))
            await trio.testing.wait_all_tasks_blocked()
            for name, function in functions.items():
                nursery.start_soon(self.call, name, function)
            await trio.testing.wait_all_tasks_blocked()
            thread.gate.set()


async def test_a_call_returns_what_its_function_returns(thread: Thread) -> None:
    async with running(thread) as writer:
        assert await writer.call(put("a")) == "a"
    assert thread.done == {"a"}


async def test_calls_that_wait_share_a_transaction(thread: Thread) -> None:
    names = [f"n{number}" for number in range(20)]
    async with running(thread) as writer:
        callers = Callers(writer)
        await callers.together(thread, {name: put(name) for name in names})
        assert writer.statistics(settled=3).transactions == 2
        assert writer.statistics(settled=3).calls == 21
        assert writer.statistics(settled=3).settled == 3
    assert callers.outcomes == {name: name for name in ["first", *names]}
    assert thread.done == {"first", *names}


async def test_a_transaction_takes_no_more_calls_than_allowed(thread: Thread) -> None:
    names = [f"n{number}" for number in range(CALLS_PER_TRANSACTION_MAX + 1)]
    async with running(thread) as writer:
        await Callers(writer).together(thread, {name: put(name) for name in names})
        assert writer.statistics(settled=0).transactions == 3
    assert thread.done == {"first", *names}


async def test_a_conflict_harms_no_other_call(thread: Thread) -> None:
    conflict = ConflictError("no")
    async with running(thread) as writer:
        callers = Callers(writer)
        await callers.together(thread, {"a": put("a"), "b": put_then_raise("b", conflict), "c": put("c")})
        assert writer.statistics(settled=0).transactions == 2
        assert writer.statistics(settled=0).failures == 1
    assert callers.outcomes == {"first": "first", "a": "a", "b": conflict, "c": "c"}
    assert thread.done == {"first", "a", "c"}


async def test_a_constraint_is_a_conflict(thread: Thread) -> None:
    async with running(thread) as writer:
        callers = Callers(writer)
        await callers.together(thread, {"a": put("a"), "again": put("a"), "c": put("c")})
    both = [callers.outcomes["a"], callers.outcomes["again"]]  # whose task came first is not said
    assert {type(outcome) for outcome in both} == {str, ConflictError}
    assert thread.done == {"first", "a", "c"}


async def test_a_mistake_is_raised_where_it_was_made_and_harms_no_other_call(thread: Thread) -> None:
    mistake = KeyError("a bug")
    async with running(thread) as writer:
        callers = Callers(writer)
        await callers.together(thread, {"a": put("a"), "b": put_then_raise("b", mistake), "c": put("c")})
        assert await writer.call(put("d")) == "d"
    assert callers.outcomes == {"first": "first", "a": "a", "b": mistake, "c": "c"}
    assert thread.done == {"first", "a", "c", "d"}


async def test_a_misspelt_statement_is_a_mistake(thread: Thread) -> None:
    def misspelt(connection: sqlite3.Connection) -> str:
        connection.execute("INSRET INTO done (name) VALUES ('x')")
        return ""

    async with running(thread) as writer:
        with pytest.raises(sqlite3.OperationalError, match="syntax"):
            await writer.call(misspelt)
        assert await writer.call(put("a")) == "a"


@pytest.mark.parametrize("commit_seconds", [0.0, 0.5])
async def test_a_commit_that_fails_is_told_to_every_caller_and_nothing_is_done(
    thread: Thread, tmp_path: Path, commit_seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    reader = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    async with running(thread, commit_seconds) as writer:
        callers = Callers(writer)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM done").fetchall()  # without a write-ahead log a reader keeps a writer from COMMIT
        await callers.together(thread, {"a": put("a"), "b": put("b")})
        assert {type(outcome) for outcome in callers.outcomes.values()} == {UnavailableError}
        assert len({id(outcome) for outcome in callers.outcomes.values()}) == 3
        reader.close()
        assert thread.done == set()
        assert await writer.call(put("a")) == "a"
    assert thread.done == {"a"}


async def test_a_lock_is_waited_for_and_then_reported(
    thread: Thread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    monkeypatch.setattr(writer_module, "BUSY_SECONDS_MAX", 0.01)
    async with running(thread) as writer:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked"):
            await writer.call(put("a"))
        other.close()
        assert await writer.call(put("a")) == "a"


async def test_a_slow_commit_takes_as_long_as_it_is_told(
    thread: Thread, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(thread, commit_seconds=2.0) as writer:
        started = trio.current_time()
        assert await writer.call(put("a")) == "a"
        assert trio.current_time() - started == 2.0
    assert not thread.connection.in_transaction


async def test_a_call_cancelled_while_it_waits_is_not_done(thread: Thread) -> None:
    async with running(thread) as writer, trio.open_nursery() as nursery:
        thread.gate = trio.Event()
        nursery.start_soon(writer.call, put("under way"))
        await trio.testing.wait_all_tasks_blocked()
        scope = trio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await writer.call(put("waiting"))

        nursery.start_soon(cancelled)
        await trio.testing.wait_all_tasks_blocked()
        assert writer.waiting == 1
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert writer.waiting == 0
        thread.gate.set()
    assert thread.done == {"under way"}


async def test_a_call_cancelled_under_way_is_done_whole(thread: Thread) -> None:
    async with running(thread) as writer:
        thread.gate = trio.Event()
        with trio.move_on_after(0) as scope:
            await writer.call(put("never begun"))
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.call, put("a"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        thread.gate.set()
        assert await writer.call(put("b")) == "b"
    assert thread.done >= {"a", "b"}


async def test_closing_ends_what_is_under_way_and_refuses_what_waits(thread: Thread) -> None:
    writer = Writer(thread.attempt, place="x.db")
    callers = Callers(writer)
    async with trio.open_nursery() as nursery:
        closing = trio.CancelScope()

        async def run() -> None:
            with closing:
                await writer.run()

        nursery.start_soon(run)
        thread.gate = trio.Event()
        nursery.start_soon(callers.call, "a", put("a"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(callers.call, "b", put("b"))
        await trio.testing.wait_all_tasks_blocked()
        closing.cancel()
        thread.gate.set()
    assert callers.outcomes["a"] == "a"
    assert isinstance(callers.outcomes["b"], UnavailableError)
    assert thread.done == {"a"}
    with pytest.raises(UnavailableError, match="closing"):
        await writer.call(put("c"))


async def test_too_many_calls_are_refused(thread: Thread) -> None:
    async with running(thread) as writer, trio.open_nursery() as nursery:
        thread.gate = trio.Event()
        nursery.start_soon(writer.call, put("under way"))
        await trio.testing.wait_all_tasks_blocked()
        for number in range(CALLS_WAITING_MAX):
            nursery.start_soon(writer.call, put(f"n{number}"))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(UnavailableError, match="too slow"):
            await writer.call(put("one more"))
        assert str(CALLS_WAITING_MAX) in repr(writer)
        thread.gate.set()
    assert len(thread.done) == CALLS_WAITING_MAX + 1
