"""The demo's account: made before the gateway serves, and what the gateway says of it after the first answer.

An account with credit and one key, in a store that is as short-lived as the demo. The store is written once, while
nobody else has it open; from then on it is the gateway's, which is asked as any holder of a key would ask it. The price
is made up: a model on one's own machine has none, and its tokens are to be seen in money all the same.

Where the store lies, and what is asked of the model, is `show`'s.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import trio

from engine.datadir import database
from engine.minting import fresh_name, mint
from engine.money import NANOS
from store.db import open_store
from store.rows import Account, Key, TransferKind

NAME = "demo"
"""Of the account, and of its key."""

CREDIT_NANOS = 5 * NANOS

INPUT_NANOS, OUTPUT_NANOS = 100_000_000, 400_000_000
"""For a million tokens of questions and of answers, about what small models are sold for."""

BOOKED_SECONDS_MAX = 20.0
"""Half a second is usual; what this allows for is a machine whose cores the model has."""

LOOK_SECONDS = 0.1
"""Between two looks at whether the answer is booked."""


class AccountError(Exception):
    """The account does not show what it should; the message is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What the first answer came to: tokens as the gateway counted them, its charge, what is left of the credit."""

    input_tokens: int
    output_tokens: int
    charged_nanos: int
    left_nanos: int


async def open_account(directory: Path) -> str:
    """Make a store in `directory`, an account with credit in it, and return the account's one key.

    Raises `StoreError`.
    """
    now = int(time.time())
    minted = mint()
    async with open_store(database(directory)) as store:
        account = await store.put_account(Account(id=fresh_name("acc_"), name=NAME, created=now))
        await store.credit(account.id, CREDIT_NANOS, TransferKind.GRANT, id=f"sign-up:{account.id}", now=now)
        await store.put_key(
            Key(
                id=fresh_name("key_"),
                account=account.id,
                name=NAME,
                digest=minted.digest,
                shown=minted.shown,
                created=now,
            )
        )
    return minted.token.reveal()


async def first_bill(client: httpx.AsyncClient) -> Bill:
    """Ask the gateway, with the account's key, until the first answer stands in the log and is paid for.

    An answer is booked a moment after its end, and its row of the log a moment after that. Raises `AccountError` when
    that takes too long, `httpx.HTTPError` when the gateway cannot be asked.
    """
    with trio.move_on_after(BOOKED_SECONDS_MAX):
        while True:
            account = await client.get("/v1/me")
            log = await client.get("/api/log/self")
            # 503: the console's process does not answer yet, or has not opened the store.
            if httpx.codes.SERVICE_UNAVAILABLE not in {account.status_code, log.status_code}:
                left_nanos: int = account.raise_for_status().json()["balance_nanos"]
                rows = log.raise_for_status().json()["data"]["items"]
                if rows and left_nanos < CREDIT_NANOS:
                    row = rows[0]
                    return Bill(row["prompt_tokens"], row["completion_tokens"], CREDIT_NANOS - left_nanos, left_nanos)
            await trio.sleep(LOOK_SECONDS)
    raise AccountError(f"the answer was not booked within {BOOKED_SECONDS_MAX:g} s")
