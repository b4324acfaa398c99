"""Settlements by the thousand: batches of several holders, booked through one writer into a ledger that grows.

Made as a worker's journal would say them: every one draws on a wallet, a cap of its key and a cap of its account, and
the next is another key's. What is timed is `Store.settle` alone, all holders at once; making batches is not.
"""

import json
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import trio

from bench.account import DOLLAR
from bench.samples import Samples
from store.db import open_store
from store.interface import Store
from store.rows import (
    DAY,
    MONTH,
    NO_WINDOW,
    Account,
    Key,
    Position,
    Settlement,
    TransferKind,
    Want,
    cap_budget,
    day_of,
    wallet_of,
)


class Load(NamedTuple):
    """In a round each holder books `batches` of `batch_records`; the first round is not counted."""

    rounds: int
    batches: int
    holders: int = 4
    keys: int = 1_000
    keys_per_account: int = 5
    batch_records: int = 2_000


class Books:
    """Accounts, keys and holders with leases on all their budgets, and settlements that draw on them."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._day, self._month = day_of(time.time()), 1
        self.holders = [f"holder-{number}" for number in range(load.holders)]
        accounts = load.keys // load.keys_per_account
        self._keys = [(f"key-{number}", f"account-{number % accounts}") for number in range(load.keys)]
        self._accounts = [f"account-{number}" for number in range(accounts)]
        self._made = 0

    async def open(self, store: Store) -> None:
        """Put everything into `store`, and lease more than will be settled."""
        for name in self._accounts:
            await store.put_account(Account(id=name, name=name))
            await store.credit(name, 1_000_000 * DOLLAR, TransferKind.TOP_UP, id=f"top-up-{name}", now=1)
        for key, name in self._keys:
            await store.put_key(Key(id=key, account=name, name=key, digest=sha256(key.encode()).digest()))
        for holder in self.holders:
            await store.enter(holder, 1)
            await store.lease(holder, self._wants(), [], 1)

    def _wants(self) -> list[Want]:
        each, limit = 1_000 * DOLLAR, 1_000_000 * DOLLAR
        return [
            *(Want(wallet_of(name), NO_WINDOW, None, each, each) for name in self._accounts),
            *(Want(cap_budget(DAY, "key", key), self._day, limit, each, each) for key, _ in self._keys),
            *(Want(cap_budget(MONTH, "account", name), self._month, limit, each, each) for name in self._accounts),
        ]

    def batch(self) -> list[Settlement]:
        """Give as many settlements as a batch has, each of another key than the one before it."""
        return [self._settlement() for _ in range(self._load.batch_records)]

    def _settlement(self) -> Settlement:
        self._made += 1
        key, account = self._keys[self._made * 7 % len(self._keys)]
        leases = (cap_budget(DAY, "key", key), self._day), (cap_budget(MONTH, "account", account), self._month)
        detail = json.dumps(
            {
                "request_id": f"req_{self._made:024x}",
                "model": "canned",
                "provider": "canned",
                "upstream_model": "canned",
                "usage": {"input_tokens": 32, "output_tokens": 12},
            }
        )
        return Settlement(
            *(f"0-0123456789abcdef-{self._made:x}", 1_700_000_000, account, key, None, self._day, self._month),
            *(78_400, 56_000, 0, leases, detail),
        )


async def settle(load: Load, file: Path, samples: Samples, say: Callable[[str], None]) -> None:
    """Book rounds of batches of all holders at once into the store `file`; rates go into `samples`."""
    books = Books(load)
    positions = dict.fromkeys(books.holders, 0)
    async with open_store(file) as store:
        await books.open(store)

        async def book(holder: str, batches: list[list[Settlement]]) -> None:
            for batch in batches:
                before = positions[holder]
                positions[holder] = before + 1
                new = await store.settle(holder, batch, Position(0, before), Position(0, before + 1))
                if new != len(batch):
                    samples.problems.append(f"{holder}: {new} of {len(batch)} settlements were new")

        for number in range(-1, load.rounds):
            say(f"settlements, round {number + 1} of {load.rounds}")
            work = {holder: [books.batch() for _ in range(load.batches)] for holder in books.holders}
            began_s, cpu_s = time.perf_counter(), time.process_time()
            async with trio.open_nursery() as nursery:
                for holder, batches in work.items():
                    nursery.start_soon(book, holder, batches)
            wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
            count = load.holders * load.batches * load.batch_records
            if number >= 0:
                samples.add("settled_per_s", "", count / wall_s)
                samples.add("settled_per_cpu_s", "", count / cpu_s)
