"""Real processes under fire: what clients saw against what the ledger says, with workers killed at any moment.

    python -m tests.engine.money_fire [--rounds 50] [--seed 1] [--workers 4] [--clients 24]

A `hedgerow serve` on a data directory of its own, a scripted upstream in this process, and raw clients. Every request
carries an id that its settlement repeats, so that the two can be joined. `audit` is the proof: what a client saw
complete is charged once, to the nano-dollar of the usage it was told; what it saw refused or broken off is not charged
and, if refused, was never asked of the upstream; nothing else is charged. An answer that its client did not see to the
end may be charged: its settlement is written before its last bytes are, and who leaves in the middle pays for what he
got.
"""

import argparse
import math
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import psutil
import trio

from bench.script import Script, parse_script
from bench.upstream import ScriptedUpstream
from engine import datadir
from store.db import open_store
from store.interface import Store
from store.rows import Transfer, TransferKind
from tests.engine.accounts import DOLLAR, TOKEN, open_account

INPUT_NANOS, OUTPUT_NANOS = 1_000, 2_000
TOKENS_MAX = 100
CREDIT = 1_000 * DOLLAR
GUARD_SECONDS = 60
START_SECONDS_MAX = 60
LEAVING_SHARE = 0.15
WORDS_MAX = 30

BROKEN_OFF = [
    {"event": {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}},
    {"event": {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hel"}}]}},
    {"sleep_ms": 3},
    {"chunked_cut": True},
]
REFUSED = [{"status": 400}]


def toml(base_url: str) -> str:
    """Return the configuration of a server that keeps accounts and sells one model at cost."""
    return f"""
[server]
listen = ["127.0.0.1:0"]
environment_providers = false
drain_seconds = 5
console = false
access_log = "none"
[providers.up]
kind = "compatible"
base_url = "{base_url}"
models = ["scripted"]
[prices.scripted]
input = 1
output = 2
[billing]
tiers = []
"""


class Fallible(ScriptedUpstream):
    """An upstream that remembers who was asked for; some answers come slowly, a few break off, a few are refusals."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.reached: set[str] = set()
        self.is_steady = False
        self._chance = chance
        self._usual = [parse_script([{"answer": {"interval_ms": interval}}]) for interval in (0, 0, 1, 3)]
        self._broken, self._refused = parse_script(BROKEN_OFF), parse_script(REFUSED)

    def script_for(self, request: dict[str, Any]) -> Script:
        """Draw a script, unless one is queued, or the usual answer is all that is wanted."""
        self.reached.add(request["messages"][0]["content"].split()[0])
        if self.is_steady or self._queue or self._default:
            return super().script_for(request)
        drawn = self._chance.random()
        if drawn < 0.03:
            return self._refused
        if drawn < 0.07 and request.get("stream"):
            return self._broken
        return self._chance.choice(self._usual)


# -- what a client does and sees -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Told:
    """One request, and what its client was told. `status` None: not even a head came."""

    id: str
    stream: bool = False
    words: int = 3
    leaves_at_bytes: float = math.inf
    is_sent: bool = False
    status: int | None = None
    headers: dict[bytes, bytes] | None = None
    is_whole: bool = False
    """Whether the answer came to its end: its length, or its last chunk, and of a stream also its [DONE]."""
    is_broken: bool = False
    """Whether the stream itself says that it is broken off."""
    code: str | None = None
    cost_nanos: int | None = None
    """By the usage in the answer."""

    @property
    def is_sold(self) -> bool:
        """Whether this must be paid for."""
        return self.status == 200 and self.is_whole

    def request(self, token: str) -> bytes:
        """Return the request's bytes."""
        body = self.body()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: fire\r\nauthorization: Bearer {token}\r\n"
            f"x-request-id: {self.id}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def body(self) -> bytes:
        """Return the body; its prompt begins with the id."""
        prompt = " ".join([self.id, *(["word"] * self.words)])
        asked: dict[str, Any] = {
            "model": "scripted",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": TOKENS_MAX,
        }
        if self.stream:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        return msgspec.json.encode(asked)

    def read(self, received: bytes) -> None:
        """Take note of what came until the connection ended or the client left."""
        head, gap, rest = received.partition(b"\r\n\r\n")
        if not gap:
            return
        first, *lines = head.split(b"\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        assert self.headers[b"x-request-id"] == self.id.encode(), "somebody else's answer"
        if b"transfer-encoding" in self.headers:
            body, ended = unchunked(rest)
            events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ") and line.endswith(b"}")]
            self.is_broken = any(event.startswith(b'{"error"') for event in events)
            self.is_whole = ended and b"data: [DONE]\n" in body and not self.is_broken
        else:
            length = int(self.headers[b"content-length"])
            body, ended = rest[:length], len(rest) >= length
            self.is_whole, events = ended, [body]
        if self.is_sold:
            assert self.id.encode() in body.replace(b" ", b""), "somebody else's answer"
            usage = msgspec.json.decode(events[-1])["usage"]
            self.cost_nanos = usage["prompt_tokens"] * INPUT_NANOS + usage["completion_tokens"] * OUTPUT_NANOS
        elif self.status != 200 and self.is_whole:
            self.code = msgspec.json.decode(body)["error"]["code"]


def unchunked(data: bytes) -> tuple[bytes, bool]:
    """Return the content of a chunked body, and whether it came to its end."""
    body = b""
    while True:
        size, newline, data = data.partition(b"\r\n")
        if not newline:
            return body, False
        length = int(size, 16)
        if length == 0:
            return body, data == b"\r\n"
        body += data[:length]
        if len(data) < length + 2:
            return body, False
        data = data[length + 2 :]


async def ask(port: int, told: Told, *, token: str = TOKEN) -> Told:
    """Ask on a connection of its own and read to its end, or leave earlier; whatever breaks, breaks."""
    received = b""
    with trio.socket.socket() as sock, suppress(OSError):
        await sock.connect(("127.0.0.1", port))
        # A few hundred bytes go out at once.
        await sock.send(told.request(token))
        told.is_sent = True
        while len(received) < told.leaves_at_bytes and (data := await sock.recv(65_536)):
            received += data
    told.read(received)
    return told


# -- the server --------------------------------------------------------------------------------------------------------


class Fire:
    """A server's processes, of which any may be killed; it may be started again on the same data."""

    def __init__(self, directory: Path, upstream: Fallible, store: Store, *, workers: int) -> None:
        self.data = directory / "data"
        self.upstream = upstream
        self.store = store
        self.workers = workers
        self.port = 0
        self._config = directory / "hedgerow.toml"
        self._config.write_text(toml(upstream.base_url))
        self._config.chmod(0o600)
        self._scratch = directory / "scratch"
        self._scratch.mkdir(exist_ok=True)
        self._log = directory / "server.log"
        self._log_start = 0
        self._supervisor: trio.Process | None = None

    @property
    def database(self) -> Path:
        """Where the store is."""
        return datadir.database(self.data)

    @property
    def journal(self) -> Path:
        """Where the workers' journals are."""
        return datadir.journal(self.data)

    @property
    def log(self) -> str:
        """What the server has said since it was started last."""
        return self._log.read_text()[self._log_start :]

    async def launch(self, preexec: Callable[[], object] | None = None) -> trio.Process:
        """Start the supervisor and return it, whatever becomes of it; `preexec` runs in it before anything else."""
        self._log_start = len(self._log.read_text()) if self._log.exists() else 0
        command = [sys.executable, "-m", "engine", "serve", "--config", str(self._config)]
        command += ["--workers", str(self.workers), "--data", str(self.data)]
        with self._log.open("ab") as log:
            self._supervisor = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "TMPDIR": str(self._scratch)},
                preexec_fn=preexec,
            )
        return self._supervisor

    async def start(self) -> None:
        """Start it and wait until it serves."""
        process = await self.launch()
        with trio.fail_after(START_SECONDS_MAX):
            while (found := re.search(r"serves on http://127\.0\.0\.1:(\d+)", self.log)) is None:
                assert process.poll() is None, self.log
                await trio.sleep(0.02)
        self.port = int(found[1])

    def pids(self, module: str = "") -> list[int]:
        """Return the workers and clerks there are, of a dead supervisor too; or those of them that run one module."""
        own = self._supervisor.pid if self._supervisor is not None else None
        return [pid for pid, words in self._processes() if pid != own and (not module or module in words)]

    def _processes(self) -> list[tuple[int, list[str]]]:
        """Return what runs on our data directory: pids and command lines."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                words = process.cmdline()
                if str(self.data) in words and process.status() != psutil.STATUS_ZOMBIE:
                    found.append((process.pid, words))
        return found

    async def kill_supervisor(self) -> None:
        """Kill it alone; its workers find out by themselves."""
        if self._supervisor is not None:
            self._supervisor.kill()
            await self._supervisor.wait()
            self._supervisor = None

    async def kill_all(self) -> None:
        """Kill everything that is left of the server, and of the servers before it, at once."""
        left = self.pids()
        while left or self._supervisor is not None:
            # The supervisor last: a worker that sees it gone could be quick enough to end properly.
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await self.kill_supervisor()
            await trio.sleep(0.005)
            left = self.pids()

    async def stop(self) -> None:
        """Let it end properly, and its predecessors' orphans too."""
        assert self._supervisor is not None
        self._supervisor.terminate()
        with trio.fail_after(GUARD_SECONDS):
            assert await self._supervisor.wait() == 0, self.log
            self._supervisor = None
            while self.pids():
                await trio.sleep(0.02)

    async def wait_buried(self) -> None:
        """Wait until nobody is in the store but the workers that serve, and nobody's journal is left."""
        with trio.fail_after(GUARD_SECONDS):
            while True:
                locks = {path.stem for path in self.journal.glob("*.lock")}
                holders = {holder.id for holder in await self.store.holders()}
                if len(holders) == self.workers and holders == locks:
                    return
                await trio.sleep(0.05)


@asynccontextmanager
async def fire(
    directory: Path, *, seed: int = 1, workers: int = 1, key: dict[str, Any] | None = None, credit: int = CREDIT
) -> AsyncIterator[Fire]:
    """Make an account with money and a key, and an upstream; the server is not started yet, and is gone afterwards."""
    async with open_store(datadir.database(directory / "data")) as store, trio.open_nursery() as nursery:
        await open_account(store, credit=credit, key=key)
        upstream = Fallible(random.Random(seed))
        await nursery.start(upstream.serve)
        made = Fire(directory, upstream, store, workers=workers)
        try:
            yield made
        finally:
            with trio.CancelScope(shield=True):
                await made.kill_all()
        nursery.cancel_scope.cancel()


# -- load ----------------------------------------------------------------------------------------------------------


class Load:
    """Clients that ask one after the other, all the time. `told` is everything they asked and heard."""

    def __init__(self, target: Fire, chance: random.Random, *, clients: int) -> None:
        self.told: list[Told] = []
        self.sold = 0
        self.round = 0
        self._target = target
        self._chance = chance
        self._clients = clients
        self._stopped = False

    async def run(self) -> None:
        """Ask until stopped."""
        async with trio.open_nursery() as nursery:
            for number in range(self._clients):
                nursery.start_soon(self._ask_on, number)

    def stop(self) -> None:
        """Let every client finish what it asked last."""
        self._stopped = True

    async def wait_sold(self, count: int) -> None:
        """Wait for so many more whole answers."""
        wanted = self.sold + count
        with trio.fail_after(GUARD_SECONDS):
            while self.sold < wanted:
                await trio.sleep(0.001)

    async def _ask_on(self, number: int) -> None:
        serial = 0
        while not self._stopped:
            serial += 1
            told = Told(f"r{self.round}-c{number}-{serial}")
            told.stream = self._chance.random() < 0.6
            told.words = self._chance.randint(0, WORDS_MAX)
            if self._chance.random() < LEAVING_SHARE:
                told.leaves_at_bytes = self._chance.randint(1, 4_000)
            await ask(self._target.port, told)
            self.sold += told.is_sold
            if told.is_sent:
                self.told.append(told)
            else:
                await trio.sleep(0.05)  # nobody serves at the moment


# -- the proof -----------------------------------------------------------------------------------------------------


async def settlements(store: Store) -> list[Transfer]:
    """Return all of them that are booked."""
    found: list[Transfer] = []
    while page := await store.transfers(limit=5_000, offset=len(found)):
        found += page
    return [each for each in found if each.kind == TransferKind.SETTLEMENT]


def request_of(settlement: Transfer) -> str:
    """Return the id of the request that it is for."""
    name: str = msgspec.json.decode(settlement.detail)["request_id"]
    return name


async def audit(target: Fire, told: list[Told], *, credit: int = CREDIT) -> Counter[str]:
    """Prove it, with the server stopped; return how many requests there were of each kind."""
    store, reached = target.store, target.upstream.reached
    assert await store.check() == []
    assert await store.leases() == []
    assert await store.holders() == ()
    assert list(target.journal.iterdir()) == []
    booked = await settlements(store)
    charges: dict[str, list[Transfer]] = defaultdict(list)
    for each in booked:
        charges[request_of(each)].append(each)
    totals: Counter[str] = Counter(requests=len(told), settlements=len(booked))
    assert len({each.id for each in told}) == len(told)
    for one in told:
        totals[_proved(one, charges.pop(one.id, []), one.id in reached)] += 1
    assert not charges, f"charged, and nobody asked: {sorted(charges)}"
    balance = await store.balance("acc_1")
    assert balance.leased_nanos == 0
    assert credit - balance.balance_nanos == sum(each.amount_nanos for each in booked)
    totals["nano-dollars charged"] = credit - balance.balance_nanos
    totals["nano-dollars uncollected"] = sum(each.uncollected_nanos for each in booked)
    return totals


def _proved(told: Told, charges: list[Transfer], reached: bool) -> str:
    """Check one request against what it was charged; return of which kind it is."""
    assert len(charges) <= 1, f"charged more than once: {told}"
    assert reached or not charges, f"charged, though the upstream was not asked: {told}"
    if told.is_sold:
        assert charges, f"seen complete and not charged: {told}"
        assert charges[0].amount_nanos == told.cost_nanos, f"charged otherwise than told: {told} {charges}"
        return "complete, charged"
    if told.status not in {None, 200}:
        assert not charges, f"failed and charged: {told}"
        assert not reached or told.status not in {402, 429}, f"refused and asked for: {told}"
        return f"answered {told.status} {told.code or ''}".rstrip()
    if told.is_broken:
        assert not charges, f"broken off and charged: {told}"
        return "broken off by the upstream, free"
    left = len(charges) and told.leaves_at_bytes < math.inf
    return f"{'left early' if left else 'cut'}, charged" if charges else "cut, free" if reached else "cut, never asked"


# -- rounds ------------------------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """Who is killed, and when."""

    WORKER = "one worker"
    SOME = "several workers"
    ALL = "everybody at once"
    SUPERVISOR = "the supervisor; its workers drain beside the next server's"
    ORPHANS = "the supervisor, and its workers while they drain"
    STARTING = "everybody, twice: the second time while they start"


async def play(target: Fire, load: Load, kind: Kind, chance: random.Random, sold_max: int) -> None:
    """Play one round: at a random moment under load, kill; then have a server that serves again."""
    await load.wait_sold(chance.randint(1, sold_max))
    if kind in {Kind.WORKER, Kind.SOME}:
        pids = target.pids()
        for pid in chance.sample(pids, 1 if kind is Kind.WORKER else max(len(pids) // 2, 1)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return
    if kind is Kind.SUPERVISOR:
        await target.kill_supervisor()
    elif kind is Kind.ORPHANS:
        await target.kill_supervisor()
        await trio.sleep(chance.uniform(0, 0.05))  # they are on their way out, and quick
        await target.kill_all()
    else:
        await target.kill_all()
    if kind is Kind.STARTING:
        locks = set(target.journal.glob("*.lock"))
        await target.launch()
        with trio.fail_after(GUARD_SECONDS):
            while not set(target.journal.glob("*.lock")) - locks:
                await trio.sleep(0.001)
        await trio.sleep(chance.uniform(0, 0.1))
        await target.kill_all()
    await target.start()


async def play_rounds(
    target: Fire,
    kinds: list[Kind],
    *,
    seed: int,
    clients: int,
    sold_max: int = 40,
    seconds_max: float = math.inf,
    tell: Callable[[str], object] = lambda _: None,
) -> Counter[str]:
    """Play all rounds under one load, or as many as there is time for; then stop properly and prove.

    A round ends with the killing, after `sold_max` whole answers at most.
    """
    chance = random.Random(seed)
    load = Load(target, chance, clients=clients)
    began = time.monotonic()
    played: Counter[str] = Counter()
    await target.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        for number, kind in enumerate(kinds, 1):
            if time.monotonic() - began > seconds_max:
                break
            load.round = number
            await play(target, load, kind, chance, sold_max)
            assert await target.store.check() == [], f"after round {number}: {kind}"
            played[f"rounds: {kind}"] += 1
            tell(f"{number:3} {time.monotonic() - began:6.1f} s {load.sold:7} whole answers; killed: {kind}")
        await load.wait_sold(10)
        load.stop()
    await target.wait_buried()
    await target.stop()
    assert "Traceback" not in target.log, target.log
    return played + await audit(target, load.told)


# -- the script --------------------------------------------------------------------------------------------------------


async def _main(given: argparse.Namespace) -> None:
    chance = random.Random(given.seed)
    kinds = [chance.choice(list(Kind)) for _ in range(given.rounds)]
    with tempfile.TemporaryDirectory() as directory:
        async with fire(Path(directory), seed=given.seed, workers=given.workers) as target:
            totals = await play_rounds(
                target,
                kinds,
                seed=given.seed,
                clients=given.clients,
                sold_max=given.sold_max,
                seconds_max=given.seconds_max,
                tell=lambda line: print(line, flush=True),
            )
    for name, count in sorted(totals.items()):
        print(f"{count:16,} {name}")


def main() -> None:
    """Play rounds from the command line and print what became of the requests."""
    parser = argparse.ArgumentParser(prog="python -m tests.engine.money_fire", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--sold-max", type=int, default=300)
    parser.add_argument("--seconds-max", type=float, default=480)
    trio.run(_main, parser.parse_args())


if __name__ == "__main__":
    main()
