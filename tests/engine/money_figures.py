"""What accounts cost inside a worker, where no load generator sees it: `python -m tests.engine.money_figures`.

    python -m tests.engine.money_figures [situ] [path] [index] [disk] [--quick] [--profile FILE]

- `path`: what authentication, reservation, settlement and recording add to a request, step by step, called in process
  without sockets or an upstream, with the store and its tasks running; between batches they catch up, and what they use
  is shown apart, by thread. `--profile` writes what cProfile saw of the same calls, after those that count;
- `situ`: how long each of those steps takes in a gateway that serves: the caches of the processor hold less of it then
  than in a loop of nothing else, which `path` is. Its own loop stands beside, in turns;
- `index`: a hundred thousand keys, from SQLite into a worker's memory, and how long one is looked up;
- `disk`: latency of requests in a closed loop where each commit takes 200 ms longer and where it does not, taking
  turns. Apart from a steady load: the first request of a key, which has no lease yet; the seconds after it, in which
  leases grow to what is needed; and the end of a minute, when rates begin anew.

Figures are medians with extremes and depend on the machine: nothing is asserted but that every request succeeds.
"""

import argparse
import cProfile
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from hashlib import sha256
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import trio

from adapters import registry
from adapters.usage import Usage
from bench.account import TOKEN, open_account
from bench.client import chat_request, request_bytes
from bench.jobs import Report, Unary
from bench.perform import perform
from bench.process import Cores, cores, placed
from bench.samples import spread
from bench.subjects import canned
from engine import generate, pipeline
from engine.config import load_document
from engine.exchange import Exchange, Outcome, milliseconds
from engine.gateway import Gateway
from engine.http1 import Request, RequestParser
from engine.keyring import Keyring
from engine.layers.authenticate import authenticate
from engine.layers.charge import Meter, open_meter
from engine.routes import CHAT, Match
from engine.treasury import Treasury
from store.db import SqliteStore, open_store
from store.rows import Account, Key
from tests.engine.live import KEY, Live, document, running

PRICES = {"scripted": {"input": 1, "output": 2}}
USAGE = Usage(input_tokens=32, output_tokens=12)
SLOW_SECONDS = 0.2
KEYS, ACCOUNTS = 100_000, 1_000
MINUTE_SECONDS = 60
ADDED = ("authenticate", "open_meter", "settle", "headers", "record")


class Size(NamedTuple):
    """How much of everything."""

    batches: int
    batch: int
    pause_seconds: float
    rounds: int
    disk_rounds: int
    seconds: float
    across: bool
    keys: int
    lookups: int


FULL = Size(40, 500, 0.4, rounds=5, disk_rounds=3, seconds=4, across=True, keys=KEYS, lookups=200_000)
QUICK = Size(8, 500, 0.4, rounds=2, disk_rounds=2, seconds=1.5, across=False, keys=10_000, lookups=20_000)


def say(what: str, values: list[float], unit: str, digits: int = 1) -> None:
    """Print one figure: median (lowest-highest)."""
    found = spread(values)
    assert found is not None
    sys.stdout.write(f"{what:58}{found.text(digits):>30} {unit}\n")
    sys.stdout.flush()


def request_with(token: str, gateway: Gateway) -> Request:
    """Return the bench's request as the parser hands it out."""
    parser = RequestParser(gateway.config.limits)
    parser.feed(request_bytes(*chat_request(key=token, model="scripted", canned=None)))
    request = parser.pop()
    assert request is not None
    return request


# -- the path of a request -----------------------------------------------------------------------------------------


class Probe:
    """Plays what a gateway that keeps accounts does to a request, without what it does anyway. Times in ns."""

    def __init__(self, gateway: Gateway, token: str) -> None:
        assert gateway.treasury is not None
        self._gateway = gateway
        self._treasury: Treasury = gateway.treasury
        self._dialect = registry.dialect(CHAT.dialect)
        self._request = request_with(token, gateway)
        self._asked = self._dialect.parse_request(self._request.body, b"", b"")
        self._route = gateway.router.resolve("scripted")
        self.steps: defaultdict[str, list[float]] = defaultdict(list)
        self.waited = 0

    async def one(self) -> None:
        """Serve one request, and keep how long each step took."""
        gateway, treasury, now = self._gateway, self._treasury, time.perf_counter_ns
        exchange = Exchange(self._request, Match(CHAT), gateway.now(), "127.0.0.1")
        exchange.model = "scripted"
        candidate = self._route.candidates[0]
        waited = treasury.lender.statistics().waited_total
        began = now()
        authenticate(gateway.keys, exchange)
        authenticated = now()
        exchange.id = treasury.fresh_id()
        meter = await open_meter(treasury, exchange, self._dialect, self._asked, self._route)
        reserved = now()
        meter.settle(USAGE, candidate)
        await meter.harden()
        meter.close()
        settled = now()
        meter.headers(self._dialect)
        told = now()
        exchange.status, exchange.outcome = 200, Outcome.OK
        treasury.record(exchange, None, milliseconds(gateway.now() - exchange.started))
        ended = now()
        if treasury.lender.statistics().waited_total > waited:
            self.waited += 1  # the time is the store's: it is counted as a wait, not as a step
            return
        marks = (began, authenticated, reserved, settled, told, ended)
        for step, since, until in zip(ADDED, marks, marks[1:], strict=False):
            self.steps[step].append(until - since)


async def path(size: Size, profile: Path | None) -> None:
    """Time a configured key and an account's, batch by batch, each on a worker of its own."""
    for name, token in (("a key of the configuration", KEY), ("an account's key", TOKEN)):
        async with AsyncExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="figures-")))
            await open_account(directory)
            store = await stack.enter_async_context(open_store(directory / "hedgerow.db"))
            configuration = document("http://127.0.0.1:9/v1", prices=PRICES)
            live = await stack.enter_async_context(running(configuration, accounts=(store, directory / "journal")))
            probe = Probe(live.gateway, token)
            sys.stdout.write(f"\npath: {name}, {size.batches * size.batch:,} requests, us per request\n")
            await _batches(size, probe)
            if profile is not None and token == TOKEN:
                with cProfile.Profile() as seen:
                    for _ in range(size.batches * size.batch // 4):
                        await probe.one()
                seen.dump_stats(profile)


async def _batches(size: Size, probe: Probe) -> None:
    await _batch(size.batch, probe)
    probe.steps.clear()
    probe.waited = 0
    own_us: list[float] = []
    means: defaultdict[str, list[float]] = defaultdict(list)
    thread_s, process_s = time.thread_time(), time.process_time()
    for _ in range(size.batches):
        began_s = time.thread_time()
        await _batch(size.batch, probe)
        own_us.append((time.thread_time() - began_s) * 1e6 / size.batch)
        for step, spent in probe.steps.items():
            means[step].append(sum(spent) / len(spent) / 1000)
        probe.steps.clear()
        await trio.sleep(size.pause_seconds)  # the tasks that book and write the log have it to themselves
    count = size.batches * size.batch
    thread_s, process_s = time.thread_time() - thread_s, time.process_time() - process_s
    for step in ADDED:
        say(f"  {step}", means[step], "us")
    say("  all steps", [sum(each) for each in zip(*means.values(), strict=True)], "us")
    say("  CPU of the worker's thread while it served (with the probe's own)", own_us, "us")
    background_s = thread_s - sum(own_us) * size.batch / 1e6
    say("  CPU of the worker's thread in the background", [background_s * 1e6 / count], "us")
    say("  CPU of other threads", [(process_s - thread_s) * 1e6 / count], "us")
    say("  requests that waited for a lease", [probe.waited], "", 0)


async def _batch(count: int, probe: Probe) -> None:
    for _ in range(count):
        await probe.one()


# -- the same, of a gateway that serves ----------------------------------------------------------------------------


@contextmanager
def timed(steps: defaultdict[str, list[float]]) -> Iterator[None]:
    """Note how long each step of each request takes, in ns, for the length of the block."""
    places: tuple[tuple[object, str, str], ...] = (
        (pipeline, "authenticate", "authenticate"),
        (generate, "open_meter", "open_meter"),
        (Meter, "settle", "settle"),
        (Meter, "headers", "headers"),
        (Treasury, "record", "record"),
    )
    with ExitStack() as undo:
        for owner, attribute, step in places:
            function = getattr(owner, attribute)
            timing = _timed_async if iscoroutinefunction(function) else _timed
            setattr(owner, attribute, timing(function, steps[step]))
            undo.callback(setattr, owner, attribute, function)
        yield


def _timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    def timed_function(*arguments: object) -> Any:
        began = time.perf_counter_ns()
        result = function(*arguments)
        spent.append(time.perf_counter_ns() - began)
        return result

    return timed_function


def _timed_async(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    async def timed_function(*arguments: object) -> Any:
        began = time.perf_counter_ns()
        result = await function(*arguments)
        spent.append(time.perf_counter_ns() - began)
        return result

    return timed_function


async def situ(size: Size, placement: Cores) -> None:
    """Time the steps of real requests, with one connection and with many, and of the loop; medians of each round."""
    with canned(placement) as upstream:
        for name, token in (("a key of the configuration", KEY), ("an account's key", TOKEN)):
            sys.stdout.write(f"\nsitu: {name}, {size.rounds} rounds of {size.seconds:g} s, us per request\n")
            medians: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
            async with AsyncExitStack() as stack:
                live = await _live(stack, upstream.port, commit_seconds=0)
                probe = Probe(live.gateway, token)
                for _ in range(size.rounds):
                    for connections in (1, 32):
                        steps: defaultdict[str, list[float]] = defaultdict(list)
                        job = Unary(port=live.port, key=token, model="scripted", connections=connections)
                        with timed(steps):
                            await _perform(msgspec.structs.replace(job, seconds=size.seconds), placement)
                        _keep(steps, medians[f"{connections} connections"])
                    await _batch(size.batch, probe)
                    _keep(probe.steps, medians["the loop"])
                    probe.steps.clear()
            for way, by_step in medians.items():
                for step in ADDED:
                    say(f"  {way}: {step}", by_step[step], "us")
                say(f"  {way}: all steps", [sum(each) for each in zip(*by_step.values(), strict=True)], "us")


def _keep(steps: Mapping[str, list[float]], medians: defaultdict[str, list[float]]) -> None:
    for step in ADDED:
        # Of who pays nothing there is no meter: a step that nobody took costs nothing.
        medians[step].append(statistics.median(steps[step] or [0.0]) / 1000)


async def _live(stack: AsyncExitStack, port: int, *, commit_seconds: float) -> Live:
    """Serve an account in front of the upstream at `port`, until `stack` ends."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="figures-")))
    await open_account(directory)
    store = await stack.enter_async_context(open_store(directory / "hedgerow.db", commit_seconds=commit_seconds))
    provider = {"scripted-1": {"kind": "compatible", "base_url": f"http://127.0.0.1:{port}/v1", "key": "sk-up"}}
    sections = {"providers": provider, "models": {"scripted": {"provider": "scripted-1", "model": "scripted"}}}
    configuration = document("", **(sections | {"prices": PRICES}))
    return await stack.enter_async_context(running(configuration, accounts=(store, directory / "journal")))


# -- the index of keys ---------------------------------------------------------------------------------------------


def token_of(number: int) -> str:
    """Return the token of a key of the index."""
    return f"sk-hr-{number:043d}"


async def fill(store: SqliteStore, count: int) -> None:
    """Put so many keys into a store, many at a time so that they share transactions."""
    for number in range(ACCOUNTS):
        await store.put_account(Account(id=f"acc_{number}", name=f"account {number}"))

    async def put(numbers: Iterator[int]) -> None:
        for number in numbers:
            digest = sha256(token_of(number).encode()).digest()
            key = Key(id=f"key_{number}", account=f"acc_{number % ACCOUNTS}", name=f"key {number}", digest=digest)
            await store.put_key(key)

    numbers = iter(range(count))
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(put, numbers)


async def index(size: Size) -> None:
    """Load and look up."""
    sys.stdout.write(f"\nindex: {size.keys:,} keys of {ACCOUNTS:,} accounts\n")
    reading, learning = [], []
    with tempfile.TemporaryDirectory(prefix="figures-") as directory:
        async with open_store(Path(directory) / "hedgerow.db") as store:
            await fill(store, size.keys)
            for _ in range(size.rounds):
                keyring = Keyring(load_document(document("http://127.0.0.1:9/v1"), {}))
                began_s = time.perf_counter()
                news = await store.news(None, 0)
                read_s = time.perf_counter()
                keyring.learn(news)
                reading.append(read_s - began_s)
                learning.append(time.perf_counter() - read_s)
                assert len(news.keys) == size.keys
    say("  read by Store.news", reading, "s", 2)
    say("  taken in by Keyring.learn", learning, "s", 2)
    say("  together", [sum(each) for each in zip(reading, learning, strict=True)], "s (target < 2)", 2)
    chance = random.Random(1)
    tokens = [token_of(chance.randrange(size.keys)).encode() for _ in range(size.lookups)]
    missing = [token_of(size.keys + number).encode() for number in range(size.lookups)]
    # The first time makes a principal of a key's rows; from then on it is there.
    for what, asked in (("first time", sorted(set(tokens))), ("again", tokens), ("unknown", missing)):
        rounds = [asked[start :: size.rounds] for start in range(size.rounds)]
        target = "us (target < 2)" if what == "again" else "us"
        say(f"  look-up, {what}", [_looked_up_us(keyring, each) for each in rounds], target, 2)


def _looked_up_us(keyring: Keyring, tokens: list[bytes]) -> float:
    look_up = keyring.authenticate
    began_ns = time.perf_counter_ns()
    for token in tokens:
        look_up(token)
    return (time.perf_counter_ns() - began_ns) / 1000 / len(tokens)


# -- a slow disk ---------------------------------------------------------------------------------------------------


class Latency(NamedTuple):
    """What clients saw in one round."""

    first_ms: float
    growing: Report
    steady: Report
    across: Report | None


async def disk(size: Size, placement: Cores) -> None:
    """Take turns with a quick and a slow disk."""
    sys.stdout.write(f"\ndisk: closed loop of 4 connections, {size.disk_rounds} rounds of {size.seconds:g} s\n")
    seen: defaultdict[float, list[Latency]] = defaultdict(list)
    with canned(placement) as upstream:
        for number in range(-1, size.disk_rounds):
            order = (0.0, SLOW_SECONDS) if number % 2 else (SLOW_SECONDS, 0.0)
            for commit_seconds in order:
                across = size.across and number == size.disk_rounds - 1
                latency = await _loaded(size, placement, upstream.port, commit_seconds, across=across)
                if number >= 0:
                    seen[commit_seconds].append(latency)
    for commit_seconds, rounds in sorted(seen.items()):
        sys.stdout.write(f"  each commit takes {commit_seconds * 1000:.0f} ms longer\n")
        say("    first request of the key", [each.first_ms for each in rounds], "ms", 2)
        for what, reports in (
            ("the seconds after it", [each.growing for each in rounds]),
            ("steady", [each.steady for each in rounds]),
            ("across the end of a minute", [each.across for each in rounds]),
        ):
            found = [report.latency_ms for report in reports if report is not None and report.latency_ms is not None]
            if found:
                say(f"    {what}: p50", [each.p50 for each in found], "ms", 2)
                say(f"    {what}: p99", [each.p99 for each in found], "ms", 2)
                say(f"    {what}: worst", [each.max for each in found], "ms", 2)
                say(f"    {what}: requests", [float(each.count) for each in found], "", 0)


async def _loaded(size: Size, placement: Cores, port: int, commit_seconds: float, *, across: bool) -> Latency:
    async with AsyncExitStack() as stack:
        live = await _live(stack, port, commit_seconds=commit_seconds)
        headers, body = chat_request(key=TOKEN, model="scripted", canned=None)
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            began_s = time.perf_counter()
            answer = await client.post(f"{live.base_url}/chat/completions", content=body, headers=headers)
            first_ms = (time.perf_counter() - began_s) * 1000
        assert answer.status_code == 200, answer.text
        job = Unary(port=live.port, key=TOKEN, model="scripted", seconds=size.seconds, warmup_s=0, connections=4)
        growing, steady = await _perform(job, placement), await _perform(job, placement)
        crossing = None
        if across:
            await trio.sleep((MINUTE_SECONDS - 2 - time.time()) % MINUTE_SECONDS)
            crossing = await _perform(job, placement)
        return Latency(first_ms, growing, steady, crossing)


async def _perform(job: Unary, placement: Cores) -> Report:
    report = await trio.to_thread.run_sync(partial(perform, job, placement))
    assert not report.errors, report.errors
    return report


def main() -> None:
    """Measure what is named, or everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.engine.money_figures", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["path", "situ", "index", "disk", []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--profile", type=Path, help="profile `path` too, into this file")
    given = parser.parse_args()
    size, parts = QUICK if given.quick else FULL, given.parts or ["path", "situ", "index", "disk"]
    placement = cores()
    with ExitStack() as stack:
        stack.enter_context(placed(placement.subject))
        if "path" in parts:
            trio.run(path, size, given.profile)
        if "situ" in parts:
            trio.run(situ, size, placement)
        if "index" in parts:
            trio.run(index, size)
        if "disk" in parts:
            trio.run(disk, size, placement)


if __name__ == "__main__":
    main()
