"""`hedgerow ledger`: whether everything adds up, the rows it adds up from, and what workers hold."""

from typing import Annotated

import typer

from engine.commands.answer import Answer, Table, moment
from engine.commands.desk import Desk, command
from engine.commands.finding import document, find_account
from engine.commands.readings import Limit, Offset
from engine.money import dollars
from store.interface import Store
from store.rows import DAY, MONTH, NO_WINDOW, WALLET

app = typer.Typer(no_args_is_help=True, help="The ledger: every movement of money.")


@command(app, "check")
async def check(desk: Desk) -> Answer:
    """Prove that everything adds up; exit 1 with a table of what does not. A server may go on meanwhile."""
    findings = await desk.store.check()
    news = await desk.store.news(None, 0)
    counts = {
        "transfers": await _transfer_count(desk.store),
        "accounts": len(news.accounts),
        "keys": len(news.keys),
        "leases": len(await desk.store.leases()),
        "workers": len(await desk.store.holders()),
    }
    members = {"adds_up": not findings, "findings": [document(finding) for finding in findings]} | counts
    if findings:
        rows = [(finding.where, finding.message) for finding in findings]
        return Answer(members, (Table(("WHERE", "WHAT"), rows),), exit_code=1)
    told = ", ".join(f"{number:,} {what if number != 1 else what.removesuffix('s')}" for what, number in counts.items())
    return Answer(members, (f"adds up: {told}",))


async def _transfer_count(store: Store) -> int:
    """Return how many rows the ledger has, by halving: a store pages through them but does not say."""
    some, beyond = 0, 1
    while await store.transfers(limit=1, offset=beyond - 1):
        some, beyond = beyond, beyond * 2
    while beyond - some > 1:
        middle = (some + beyond) // 2
        if await store.transfers(limit=1, offset=middle - 1):
            some = middle
        else:
            beyond = middle
    return some


@command(app, "list")
async def list_(
    desk: Desk,
    account: Annotated[str | None, typer.Argument(help="Only transfers of this account: an id or name.")] = None,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Answer:
    """List transfers, the newest first."""
    found = None if account is None else (await find_account(desk.store, account)).id
    transfers = await desk.store.transfers(found, limit=limit, offset=offset)
    rows = [
        (
            *(moment(row.time) or "-", row.id, row.kind, dollars(row.amount_nanos), row.debit, row.credit),
            *(row.key or "-", row.reference or "-", row.note or "-"),
        )
        for row in transfers
    ]
    headings = ("TIME", "ID", "KIND", "AMOUNT", "FROM", "TO", "KEY", "REFERENCE", "NOTE")
    table = Table(headings, rows, frozenset({"AMOUNT"}))
    return Answer([document(row) for row in transfers], (table,) if rows else ("There are no transfers.",))


@command(app, "leases")
async def leases(desk: Desk) -> Answer:
    """List what workers hold of wallets, caps and rates for answers under way."""
    held = await desk.store.leases()
    rows = [
        (
            *(lease.holder, lease.budget, "-" if lease.window == NO_WINDOW else str(lease.window)),
            *(_amount(lease.budget, lease.amount), moment(lease.ends) or "-"),
        )
        for lease in held
    ]
    table = Table(("WORKER", "BUDGET", "WINDOW", "AMOUNT", "ENDS"), rows, frozenset({"WINDOW", "AMOUNT"}))
    return Answer([document(lease) for lease in held], (table,) if rows else ("There are no leases.",))


def _amount(budget: str, amount: int) -> str:
    """Return what is held for people: budgets of money are in dollars, those of rates are counts."""
    return dollars(amount) if budget.partition(":")[0] in {WALLET, DAY, MONTH} else f"{amount:,}"
