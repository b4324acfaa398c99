"""`hedgerow usage` and `hedgerow logs`: sums of the request log, and its rows.

Both go back as far as the log is kept; the ledger goes back further.
"""

from enum import StrEnum
from typing import Annotated

import typer

from engine.commands.answer import Answer, Table, moment
from engine.commands.desk import Desk, command
from engine.commands.finding import document, find_account, find_key
from engine.commands.readings import Limit, Offset, Since, Until, ago, read
from engine.money import dollars
from store.rows import LogFilter

app = typer.Typer()


class By(StrEnum):
    """What sums are of."""

    DAY = "day"
    MODEL = "model"
    PROVIDER = "provider"
    KEY = "key"
    ACCOUNT = "account"


AccountOption = Annotated[str | None, typer.Option(help="Only this account: an id or name.")]
KeyOption = Annotated[str | None, typer.Option(help="Only this key: an id or name, or ACCOUNT/NAME.")]
ModelOption = Annotated[str | None, typer.Option(help="Only this model, as clients ask for it.")]


@command(app, "usage")
async def usage(
    desk: Desk,
    *,
    by: Annotated[By, typer.Option(help="What sums are of.")] = By.DAY,
    since: Since = None,
    until: Until = None,
    account: AccountOption = None,
    key: KeyOption = None,
    model: ModelOption = None,
) -> Answer:
    """Sum up requests, tokens and money."""
    which = await _filter(desk, since=since, until=until, account=account, key=key, model=model)
    sums = await desk.store.usage(which, by)
    names = await _names(desk) if by in {By.KEY, By.ACCOUNT} else {}
    rows = [
        (
            *(names.get(row.name, row.name) or "-", f"{row.requests:,}", f"{row.input_tokens:,}"),
            *(f"{row.output_tokens:,}", dollars(row.cost_nanos), dollars(row.amount_nanos)),
        )
        for row in sums
    ]
    headings = (by.value.upper(), "REQUESTS", "INPUT", "OUTPUT", "COST", "CHARGED")
    table = Table(headings, rows, frozenset(headings[1:]))
    return Answer([document(row) for row in sums], (table,) if rows else ("There were no requests.",))


@command(app, "logs")
async def logs(
    desk: Desk,
    *,
    since: Since = None,
    until: Until = None,
    account: AccountOption = None,
    key: KeyOption = None,
    model: ModelOption = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Answer:
    """List requests, the newest first."""
    which = await _filter(desk, since=since, until=until, account=account, key=key, model=model)
    found = await desk.store.logs(which, limit=limit, offset=offset)
    names = await _names(desk)
    rows = [
        (
            *(moment(row.time) or "-", row.id, names.get(row.key or "", row.key or "-"), row.surface),
            *(row.model or "-", row.provider or "-", str(row.status), row.outcome),
            *(f"{row.input_tokens:,}", f"{row.output_tokens:,}", dollars(row.amount_nanos)),
            *("-" if row.ttft_ms is None else f"{row.ttft_ms:,.0f}", f"{row.duration_ms:,.0f}"),
        )
        for row in found
    ]
    numbers = ("INPUT", "OUTPUT", "CHARGED", "TTFT MS", "MS")
    headings = ("TIME", "ID", "KEY", "SURFACE", "MODEL", "PROVIDER", "STATUS", "OUTCOME", *numbers)
    table = Table(headings, rows, frozenset(numbers))
    return Answer([document(row) for row in found], (table,) if rows else ("There were no requests.",))


async def _filter(
    desk: Desk, *, since: str | None, until: str | None, account: str | None, key: str | None, model: str | None
) -> LogFilter:
    return LogFilter(
        account=None if account is None else (await find_account(desk.store, account)).id,
        key=None if key is None else find_key(await desk.store.news(None, 0), key).id,
        model=model,
        since=None if since is None else read("--since", since, ago(desk.now)),
        until=None if until is None else read("--until", until, ago(desk.now)),
    )


async def _names(desk: Desk) -> dict[str, str]:
    """Return the names of accounts and, as ACCOUNT/NAME, of keys, by id."""
    news = await desk.store.news(None, 0)
    accounts = {account.id: account.name for account in news.accounts}
    return accounts | {key.id: f"{accounts.get(key.account, key.account)}/{key.name}" for key in news.keys}
