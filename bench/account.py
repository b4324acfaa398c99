"""The account that a measurement is paid from: rich, and with every kind of limit, so that every one is checked.

The limits are so high that nothing is refused. It exists in the data directory of one run alone.
"""

import time
from hashlib import sha256
from pathlib import Path

from store.db import open_store
from store.rows import Account, Key, TransferKind

TOKEN = "sk-hr-bench-0123456789abcdef0123456789abcdef"  # noqa: S105 - of an account that exists here alone
DOLLAR = 1_000_000_000
"""In nano-dollars."""

_LIMIT = 1_000_000_000


async def open_account(data: Path) -> None:
    """Make a store with one account in `data`, with wallet, caps of a day and a month, and rates on its key TOKEN."""
    now = int(time.time())
    async with open_store(data / "hedgerow.db") as store:
        await store.put_account(Account(id="acc_bench", name="bench", cap_month_nanos=DOLLAR * _LIMIT, created=now))
        await store.credit("acc_bench", 1_000_000 * DOLLAR, TransferKind.TOP_UP, id="tr_bench", now=now)
        key = Key(
            id="key_bench",
            account="acc_bench",
            name="bench",
            digest=sha256(TOKEN.encode()).digest(),
            cap_day_nanos=DOLLAR * _LIMIT,
            requests_per_minute=_LIMIT,
            tokens_per_minute=_LIMIT,
            created=now,
        )
        await store.put_key(key)
