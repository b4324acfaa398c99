"""`hedgerow credit`: money into wallets, and back into them.

`--id` makes a command safe to repeat: the same id again moves nothing, and prints what the first time moved.
"""

from typing import Annotated

import typer

from engine.commands.answer import Answer, Table
from engine.commands.desk import Desk, command
from engine.commands.finding import document, find_account
from engine.commands.readings import Amount, own_id, read
from engine.minting import fresh_name
from engine.money import dollars, parse_dollars
from store.rows import Transfer, TransferKind

app = typer.Typer(no_args_is_help=True, help="Credit: what wallets hold.")

Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Its id or name.")]
Id = Annotated[str | None, typer.Option("--id", help="Your own id, of a payment for example: it counts once.")]
Note = Annotated[str, typer.Option(help="A remark for who reads the ledger.")]


@command(app, "add")
async def add(desk: Desk, account: Name, amount: Amount, *, own: Id = None, note: Note = "") -> Answer:
    """Top up a wallet with money that was paid."""
    return await _credit(desk, account, amount, TransferKind.TOP_UP, own=own, note=note)


@command(app, "grant")
async def grant(desk: Desk, account: Name, amount: Amount, *, own: Id = None, note: Note = "") -> Answer:
    """Give credit that nobody paid for."""
    return await _credit(desk, account, amount, TransferKind.GRANT, own=own, note=note)


@command(app, "refund")
async def refund(
    desk: Desk,
    settlement: Annotated[str, typer.Argument(help="The id of the charge, as `ledger list` and `logs` show it.")],
    *,
    amount: Annotated[str | None, typer.Option(metavar="DOLLARS", help="A part of it; default: what is left.")] = None,
    own: Id = None,
    note: Note = "",
) -> Answer:
    """Give back what an answer was charged."""
    nanos = None if amount is None else read("--amount", amount, parse_dollars)
    id_, _ = _ids(own)
    transfer = await desk.store.refund(settlement, nanos, id=id_, now=desk.now, note=note)
    return await _moved(desk, transfer)


@command(app, "show")
async def show(desk: Desk, account: Name) -> Answer:
    """Show what is in a wallet, and how much of it workers hold for answers under way."""
    found = await find_account(desk.store, account)
    balance = await desk.store.balance(found.id)
    rows = [
        ("Account", f"{found.name} ({found.id})"),
        ("Balance", dollars(balance.balance_nanos)),
        ("Held by workers", dollars(balance.leased_nanos)),
    ]
    return Answer({"account": found.id} | document(balance), (Table((), rows),))


async def _credit(desk: Desk, account: str, amount: str, kind: TransferKind, *, own: str | None, note: str) -> Answer:
    nanos = read("the amount", amount, parse_dollars)
    id_, reference = _ids(own)
    found = await find_account(desk.store, account)
    transfer = await desk.store.credit(found.id, nanos, kind, id=id_, now=desk.now, reference=reference, note=note)
    return await _moved(desk, transfer)


def _ids(own: str | None) -> tuple[str, str | None]:
    """Return a transfer's id, and the operator's own where there is one."""
    if own is None:
        return fresh_name("tr_"), None
    return read("--id", own, own_id), own


async def _moved(desk: Desk, transfer: Transfer) -> Answer:
    balance = await desk.store.balance(transfer.account)
    rows = [
        ("Transfer", transfer.id),
        ("Kind", transfer.kind),
        ("Account", transfer.account),
        ("Amount", dollars(transfer.amount_nanos)),
        ("Balance", dollars(balance.balance_nanos)),
    ]
    return Answer(document(transfer) | document(balance), (Table((), rows),))
