"""An account with money and a key before a whole gateway: a store of either kind, and a scripted upstream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from bench import upstream
from bench.upstream import ScriptedUpstream
from engine.keys import digest_of
from store.interface import Store
from store.rows import Account, Balance, Key, Team, Transfer, TransferKind
from tests.engine.live import Live, document, running

TOKEN = "sk-hr-0123456789012345678901234567890123456789012"
DOLLAR = 1_000_000_000
PRICES = {"scripted": {"input": 1, "output": 2}}
"""A thousand nano-dollars a token of the prompt, two thousand one of the answer; without markup."""

CHAT: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": "user", "content": "one two three"}],
    "max_tokens": 100,
}


class Shop:
    """A gateway that keeps accounts, its upstream and its store."""

    def __init__(self, live: Live, server: ScriptedUpstream, store: Store) -> None:
        self.live = live
        self.server = server
        self.store = store
        self.client = httpx.AsyncClient(trust_env=False, timeout=20)

    async def ask(self, token: str = TOKEN, *, path: str = "/chat/completions", **more: Any) -> httpx.Response:
        """Ask for an answer, whole or as a stream that is read to its end."""
        headers = {"authorization": f"Bearer {token}"}
        return await self.client.post(f"{self.live.base_url}{path}", json={**CHAT, **more}, headers=headers)

    async def booked(self) -> list[Transfer]:
        """Return the settlements that are in the ledger, once all that were journaled are."""
        treasury = self.live.gateway.treasury
        assert treasury is not None
        assert await treasury.bookkeeper.book()
        return [each for each in await self.store.transfers() if each.kind == TransferKind.SETTLEMENT]

    async def balance(self) -> Balance:
        """Return the account's wallet, everything booked."""
        await self.booked()
        return await self.store.balance("acc_1")


async def open_account(
    store: Store, *, credit: int = DOLLAR, key: dict[str, Any] | None = None, **account: Any
) -> tuple[Account, Key]:
    """Make an account with money and a key of it."""
    made = await store.put_account(Account(id="acc_1", name="anna", created=1, **account))
    if credit:
        await store.credit("acc_1", credit, TransferKind.TOP_UP, id="tr_1", now=1)
    row = Key(id="key_1", account="acc_1", name="first", digest=digest_of(TOKEN.encode()), created=1, **(key or {}))
    return made, await store.put_key(row)


@asynccontextmanager
async def shop(
    store: Store,
    directory: Path,
    *,
    credit: int = DOLLAR,
    key: dict[str, Any] | None = None,
    team: Team | None = None,
    account: dict[str, Any] | None = None,
    **sections: Any,
) -> AsyncIterator[Shop]:
    """Serve one account for the length of the block; afterwards its books must add up and nothing be leased."""
    if team is not None:
        await store.put_team(team)
    await open_account(store, credit=credit, key=key, **(account or {}))
    sections.setdefault("prices", PRICES)
    sections.setdefault("billing", {"tiers": []})
    async with upstream.running() as server:
        configuration = document(server.base_url, **sections)
        async with running(configuration, accounts=(store, directory)) as live:
            made = Shop(live, server, store)
            async with made.client:
                yield made
    assert await store.check() == []
    assert await store.leases() == []
    assert await store.holders() == ()
    assert list(directory.iterdir()) == []


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the error in an answer of the first dialect."""
    error: dict[str, Any] = msgspec.json.decode(answer.content)["error"]
    return error
