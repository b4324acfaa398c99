"""Statements and files: values never become SQL, whatever text is kept comes back, nobody else may read the files."""

import ast
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import store
from store import accounts, audit, leases, ledger, requests
from store.db import open_store
from store.interface import ConflictError, Store
from store.ledger import Credit, Refund
from store.memory import MemoryStore
from store.migrations import migrate
from store.rows import LogFilter, Position, Return, Team, TransferKind, Want, wallet_of
from tests.store.samples import NOW, START, TODAY, account, key, log_row, settlement

PACKAGE = Path(store.__file__).parent
ROOT = PACKAGE.parent

# -- what stands in the source -----------------------------------------------------------------------------------------

SINKS = {"execute": 0, "executemany": 0, "executescript": 0}
"""What takes SQL, by name, and where. A function that hands on a parameter of its own becomes one."""

CHECKED_BY_RUNNING = {"requests.py: _condition(which)"}
"""Calls that make SQL of what is asked for: `test_a_condition_holds_no_value` looks at all that comes of it."""


class Source:
    """One file of the package, and which of its expressions are made of nothing but its own constants."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        tree = ast.parse(text)
        self.functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        self._constants = _assigned(tree.body)

    def offences(self, sinks: dict[str, int]) -> Iterator[str]:
        """Yield where SQL is run that is not made of constants; notes in `sinks` who hands on a parameter."""
        for function in self.functions:
            given = [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
            local = _assigned(function.body)
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                if called not in sinks:
                    continue
                sql = call.args[sinks[called]]
                if isinstance(sql, ast.Name) and sql.id in given and sql.id not in local:
                    sinks[function.name] = given.index(sql.id)
                elif not self._is_constant(sql, local, frozenset(given)):
                    yield f"{self.name}:{call.lineno}: {ast.unparse(sql)}"

    def _is_constant(self, node: ast.expr, local: dict[str, list[ast.expr]], given: frozenset[str]) -> bool:
        def constant(each: ast.expr) -> bool:
            return self._is_constant(each, local, given)

        match node:
            case ast.Constant(value=str() | int()):
                return True
            case ast.Name(id=name):
                if name in local:
                    # A name that is looked into is not looked into again: what is made of itself is no constant.
                    rest = {other: values for other, values in local.items() if other != name}
                    return all(self._is_constant(value, rest, given | {name}) for value in local[name])
                return name not in given and name in self._constants and all(map(constant, self._constants[name]))
            case ast.JoinedStr(values=parts):
                return all(constant(part.value if isinstance(part, ast.FormattedValue) else part) for part in parts)
            case ast.IfExp(body=one, orelse=other) | ast.BinOp(left=one, op=ast.Add(), right=other):
                return constant(one) and constant(other)
            case ast.BinOp(left=one, op=ast.Mult(), right=ast.Call(func=ast.Name(id="len"))):
                return constant(one)
            case ast.Call() if f"{self.name}: {ast.unparse(node)}" in CHECKED_BY_RUNNING:
                return True
            case ast.Call(func=ast.Name(id="len")):
                return True
            case ast.Call(func=ast.Attribute(value=one, attr="join"), args=[other]):
                return constant(one) and constant(other)
            case ast.Subscript(value=one) | ast.Starred(value=one):
                return constant(one)
            case ast.Tuple(elts=each) | ast.List(elts=each) | ast.Dict(values=each):
                return all(map(constant, each))
        return False


def _assigned(body: Iterable[ast.stmt]) -> dict[str, list[ast.expr]]:
    """Return what each name is made of: what is assigned to it, alone or with others, or iterated over."""
    found: dict[str, list[ast.expr]] = {}
    for node in (node for statement in body for node in ast.walk(statement)):
        match node:
            case ast.Assign(targets=targets, value=value):
                pass
            case (
                ast.AnnAssign(target=target, value=ast.expr() as value)
                | ast.For(target=target, iter=value)
                | ast.comprehension(target=target, iter=value)
                | ast.NamedExpr(target=target, value=value)
            ):
                targets = [target]
            case ast.AugAssign(target=target) | ast.withitem(optional_vars=ast.expr() as target):
                targets, value = [target], target  # made of itself: no constant
            case _:
                continue
        for each in (each for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)):
            found.setdefault(each.id, []).append(value)
    return found


def offences(*sources: Source) -> list[str]:
    sinks: dict[str, int] = {}
    following = dict(SINKS)
    found: list[str] = []
    while following != sinks:  # until nobody new hands anything on
        sinks = dict(following)
        found = [each for source in sources for each in source.offences(following)]
    return found


def test_statements_are_made_of_constants_only() -> None:
    sources = [Source(path.name, path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.glob("*.py"))]
    assert len(sources) > 10
    assert offences(*sources) == []


INJECTIONS = [
    'c.execute(f"SELECT {name}")',
    'c.execute("SELECT " + name)',
    'c.execute("SELECT %s" % name)',
    'c.execute("SELECT {}".format(name))',
    'c.executemany(", ".join([name]), [])',
    'c.executescript(BASE.replace("x", name))',
    "q = BASE\n    q += name\n    c.execute(q)",
    "q = BASE if name else name\n    c.execute(q)",
    "for q in (BASE, name):\n        c.execute(q)",
    "BASE, other = name, other\n    c.execute(BASE)",
    "c.execute(BASE := name)",
    "[c.execute(BASE) for BASE in other]",
    "BASE = name\n    c.execute(BASE)",
    "run(c, name + BASE)",
    "c.execute(str(name))",
    "c.execute(name.sql)",
]


@pytest.mark.parametrize("body", INJECTIONS)
def test_a_value_in_a_statement_is_found(body: str) -> None:
    text = f'BASE = "SELECT x"\ndef run(c, sql):\n    c.execute(sql)\ndef work(c, name, other):\n    {body}\n'
    assert len(offences(Source("bad.py", text))) == 1


@pytest.mark.parametrize("body", ["c.execute(BASE, (name,))", "run(c, BASE)", 'c.execute(f"{BASE} = ?", [name])'])
def test_a_statement_of_constants_is_left_alone(body: str) -> None:
    text = f'BASE = "SELECT x"\ndef run(c, sql):\n    c.execute(sql)\ndef work(c, name):\n    {body}\n'
    assert offences(Source("good.py", text)) == []


def test_nothing_else_speaks_sql() -> None:
    speaks = re.compile(r"^\s*(?:from|import) (?:aio)?sqlite3?\b", re.MULTILINE)
    paths = [path for package in ("adapters", "bench", "engine", "store") for path in (ROOT / package).rglob("*.py")]
    users = {path.relative_to(ROOT).parts[0] for path in paths if speaks.search(path.read_text(encoding="utf-8"))}
    assert users == {"store"}


# -- what is run -------------------------------------------------------------------------------------------------------

FRAGMENTS = [
    "'; DROP TABLE accounts; --",
    '" OR ""="',
    "') UNION SELECT digest FROM keys --",
    "a\0b",
    "\0",
    "%_*?[a-z]",
    "?1 :name @name $name",
    "{condition} %s %(x)s",
    "x';ATTACH DATABASE '/tmp/x' AS x;--",
    "\u202e\ufeff\U0010ffff",
    "ｎａｍｅ",
    "\\'; SELECT load_extension('x'); --",
]

texts = st.sampled_from(FRAGMENTS) | st.text(max_size=40)


class Recorder(sqlite3.Connection):
    """A connection that keeps the statements it was given."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.statements: list[str] = []

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self.statements.append(sql)
        return super().execute(sql, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self.statements.append(sql)
        return super().executemany(sql, *parameters)


def everything(text: str) -> list[str]:
    """Return the statements of every call there is, each text that a caller may choose being `text` or made with it."""
    connection = sqlite3.connect(":memory:", isolation_level=None, factory=Recorder)
    try:
        migrate(connection, "memory")
        connection.statements.clear()
        one, two = f"acc{text}", f"acc2{text}"
        team, wallet = f"team{text}", wallet_of(one)
        slot = Want(wallet, 0, None, 10, 10)
        which = LogFilter(account=one, key=f"key{text}", model=text, since=0.0, until=float(NOW + 1))
        spent = settlement(f"s{text}", 10, account=one, key=f"key{text}", team=team, detail=text)
        work: list[Callable[[], object]] = [
            lambda: accounts.put_team(connection, Team(id=team, name=text)),
            lambda: accounts.put_account(connection, account(one, name=text, team=team, group=text)),
            lambda: accounts.put_account(connection, account(two, name=f"2{text}", team=team)),
            lambda: accounts.put_account(connection, account(two, name=text)),
            lambda: accounts.put_account(connection, account(two, team=f"no{team}")),
            lambda: accounts.put_key(connection, key(f"key{text}", one, name=text, shown=text, models=(text,))),
            lambda: accounts.put_key(connection, key(f"key2{text}", one, name=text, digest=bytes(32))),
            lambda: accounts.account(connection, one),
            lambda: accounts.account(connection, text),
            lambda: leases.enter(connection, text, NOW),
            lambda: leases.enter(connection, f"2{text}", NOW),
            lambda: ledger.credit(
                connection, Credit(one, 20, TransferKind.TOP_UP, f"tr{text}", NOW, reference=text, note=text)
            ),
            lambda: leases.lease(connection, text, [slot, Want(text, TODAY, 10, 1, 1, counted=True)], [], NOW),
            lambda: leases.lease(connection, f"2{text}", [replace(slot, need=20)], [], NOW),
            lambda: accounts.news(connection, text, 0),
            lambda: leases.lease(connection, text, [], [Return(wallet, 0, 3)], NOW),
            lambda: leases.lease(connection, text, [], [Return(wallet, 0, 30)], NOW),
            lambda: leases.lease(connection, text, [Want(wallet, 0, None, 3, 3)], [], NOW),
            lambda: ledger.settle(connection, text, [spent], START, Position(1, 1)),
            lambda: ledger.settle(connection, text, [spent], START, Position(1, 1)),
            lambda: ledger.refund(connection, Refund(spent.id, 4, f"re{text}", NOW, text)),
            lambda: ledger.refund(connection, Refund(f"no{text}", None, f"re2{text}", NOW, text)),
            lambda: ledger.balance(connection, one),
            lambda: ledger.balance(connection, f"no{one}"),
            lambda: ledger.used(connection, [(text, TODAY), (wallet, 0)]),
            lambda: ledger.transfers(connection, one, 10, 0),
            lambda: ledger.transfer(connection, f"tr{text}"),
            lambda: accounts.retier(connection, [(0, 1), (5, 2)], NOW, 60),
            lambda: requests.log(connection, [log_row(text, account=one, key=f"key{text}", model=text, address=text)]),
            lambda: requests.logs(connection, which, 10, 0),
            lambda: requests.log_count(connection, which),
            lambda: [requests.usage(connection, which, by) for by in requests.GROUPS],
            lambda: requests.forget(connection, float(NOW + 10), 5),
            lambda: leases.holders(connection),
            lambda: leases.leases(connection),
            lambda: audit.check(connection),
            lambda: leases.leave(connection, text),
        ]
        refused = 0
        for each in work:
            try:
                each()
            except ConflictError:
                refused += 1
        assert refused == 6
        assert audit.check(connection) == []
        return connection.statements
    finally:
        connection.close()


HARMLESS = everything("x")


@settings(max_examples=50)
@given(text=texts)
def test_the_same_statements_are_run_whatever_is_written(text: str) -> None:
    assert everything(text) == HARMLESS


CONDITIONS = {
    " AND ".join(word for word, is_given in zip(words, given_ones, strict=True) if is_given) or "1 = 1"
    for words in [("account = ?", "key = ?", "model = ?", "time >= ?", "time < ?")]
    for given_ones in product([False, True], repeat=5)
}


@given(text=texts, number=st.floats(allow_nan=False), some=st.tuples(*[st.booleans()] * 5))
def test_a_condition_holds_no_value(text: str, number: float, some: tuple[bool, ...]) -> None:
    fields = zip(("account", "key", "model", "since", "until"), (text, text, text, number, number), some, strict=True)
    chosen: dict[str, Any] = {name: value for name, value, is_given in fields if is_given}
    which = LogFilter(**chosen)
    condition, values = requests._condition(which)
    assert condition in CONDITIONS
    assert condition.count("?") == len(values) == sum(some)


@given(by=texts)
def test_sums_are_by_columns_that_are_named_here_alone(by: str) -> None:
    connection = sqlite3.connect(":memory:", factory=Recorder)
    try:
        if by not in requests.GROUPS:
            with pytest.raises(ValueError, match="no sum"):
                requests.usage(connection, LogFilter(), by)
        assert connection.statements == []
    finally:
        connection.close()


# -- what comes back ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(kind: str) -> AsyncIterator[Store]:
    if kind == "memory":
        yield MemoryStore()
        return
    with TemporaryDirectory() as directory:
        async with open_store(Path(directory) / "hedgerow.db") as made:
            yield made


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=25)
@given(one=texts, two=texts)
async def test_any_text_comes_back_and_names_nothing_else(kind: str, one: str, two: str) -> None:
    async with opened(kind) as kept:
        team = await kept.put_team(Team(id=f"t{one}", name=two))
        written = account(f"a{one}", name=f"n{one}", team=team.id, group=two)
        put = await kept.put_account(written)
        assert replace(put, version=0) == written
        row = key(
            f"k{one}", put.id, name=two, digest=bytes(32), shown=one, models=(one, two), addresses=(two,), group=one
        )
        row = await kept.put_key(row)
        other = await kept.put_account(account(f"b{two}", name=f"m{two}"))
        assert await kept.account(put.id) == await kept.account(put.name) == put
        assert await kept.account(other.name) == other
        for stranger in (f"n{one}'", f"n{one} ", f"n{one}\0", f"N{one}", f"%{one}", f"{put.name}' OR '1'='1"):
            assert await kept.account(stranger) is None
        with pytest.raises(ConflictError):
            await kept.balance(f"a{one}'--")
        first = await kept.credit(put.id, 10, TransferKind.TOP_UP, id=f"x{one}", now=NOW, reference=one, note=two)
        assert (first.reference, first.note) == (one, two)
        assert await kept.transfer(first.id) == first
        assert await kept.transfers(put.id) == [first]
        assert await kept.transfers(other.id) == []
        line = log_row(f"r{one}", account=put.id, key=row.id, model=one, request_id=two, address=two)
        await kept.log([line, log_row(f"s{two}", account=other.id, key=two, model=two)])
        assert await kept.logs(LogFilter(account=put.id)) == [line]
        assert line in await kept.logs(LogFilter(model=one))
        assert await kept.log_count(LogFilter(account=f"{put.id}' OR '1'='1")) == 0
        assert [each.name for each in await kept.usage(LogFilter(account=put.id), "model")] == [one]
        news = await kept.news(None, 0)
        assert (news.teams, news.keys) == ((team,), (row,))
        assert set(news.accounts) == {put, other}
        assert await kept.check() == []


# -- who may read the files --------------------------------------------------------------------------------------------

LOOKER = """
import json, os, stat, sys, threading
from pathlib import Path

os.umask(0)
data = Path(sys.argv[1])
open_to_others, seen, looks = {}, set(), 0

def look():
    global looks
    looks += 1
    for directory, _, names in os.walk(data):
        for path in (directory, *(os.path.join(directory, name) for name in names)):
            try:
                mode = stat.S_IMODE(os.stat(path).st_mode)
            except FileNotFoundError:
                continue
            seen.add(os.path.relpath(path, data))
            if mode & 0o077:
                open_to_others.setdefault(os.path.relpath(path, data), oct(mode))

def trace(frame, event, argument):
    name = frame.f_code.co_filename
    if os.sep + "store" + os.sep not in name and not name.endswith(("pathlib.py", "aiosqlite/core.py")):
        return None
    look()
    return trace

import trio
from store import journal
from store.db import open_store
from store.journal import Journal
from store.rows import Position, Team
from tests.store.samples import NOW, settlement, wallet_want, with_account

async def main():
    async with open_store(data / "hedgerow.db") as first:
        await with_account(first, 1000)
        own = Journal.create(data / "journal", "w", file_bytes_max=100, step_bytes=4096)
        await first.enter("w", NOW)
        await first.lease("w", [wallet_want(900, 900)], [], NOW)
        async with open_store(data / "hedgerow.db") as second:
            await second.put_team(Team(id="t", name="t"))
            for number in range(4):
                own.book()
                own.append(settlement(f"s{number}", 1))
            own.sync()
            batch = journal.read(data / "journal", "w", Position(), records_max=10)
            await second.settle("w", batch.settlements, Position(), batch.after)
            own.remove_before(batch.after)
        await first.leave("w")
        own.close()
        with journal.take(data / "journal", "w") as lock:
            lock.remove()
        assert await first.check() == []

threading.settrace(trace)
sys.settrace(trace)
trio.run(main)
sys.settrace(None)
look()
print(json.dumps({"open": open_to_others, "seen": sorted(seen), "looks": looks}))
"""
"""Does everything that makes files, and looks at all of them before each line of it that runs."""


def test_the_files_are_for_their_owner_alone_at_every_moment(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOKER, str(tmp_path / "data")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"hedgerow.db", "hedgerow.db-wal", "hedgerow.db-shm"} <= set(result["seen"])
    assert {"journal/w.lock", "journal/w-1.journal.new", "journal/w-1.journal", "journal/w-2.journal"} <= set(
        result["seen"]
    )
    assert result["looks"] > 500
    assert result["open"] == {}
