"""`hedgerow accounts`: who pays, and within which caps."""

from typing import Annotated, Any

import typer
from msgspec.structs import replace

from engine.commands.answer import Answer, Table, amounts, limit_text, listed, spent_text
from engine.commands.desk import CommandError, Desk, command
from engine.commands.finding import document, find_account, find_team, spent, state
from engine.commands.readings import CapDay, CapMonth, Changes, group_of, new_name, read
from engine.minting import fresh_name
from engine.money import dollars, parse_dollars
from store.interface import StoreError
from store.rows import Account, Balance, Role, Team, TransferKind

app = typer.Typer(no_args_is_help=True, help="Accounts: who pays.")

SCOPE = "account"

Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Its id or name.")]
GroupOption = Annotated[str | None, typer.Option(help="The group whose models and prices it has.")]
TeamOption = Annotated[str | None, typer.Option(help="The team whose caps it shares; `none`: no team.")]
RoleOption = Annotated[Role | None, typer.Option(help="An admin sees every account.")]


async def _changes(
    desk: Desk, *, team: str | None, group: str | None, role: Role | None, cap_day: str | None, cap_month: str | None
) -> Changes:
    changes = Changes()
    changes.take("group", "--group", group, group_of(desk), none="default")
    changes.caps(cap_day, cap_month)
    if role is not None:
        changes.fields["role"] = role
    if team is not None:
        news = await desk.store.news(None, 0)
        changes.take("team", "--team", team, lambda text: find_team(news, text).id)
    return changes


@command(app, "create", begins=True)
async def create(
    desk: Desk,
    name: Annotated[str, typer.Argument(help="For people; no other account has it.")],
    *,
    group: GroupOption = None,
    team: TeamOption = None,
    role: RoleOption = None,
    credit: Annotated[
        str | None, typer.Option(metavar="DOLLARS", help="Granted to begin with; default: what the file says.")
    ] = None,
    cap_day: CapDay = None,
    cap_month: CapMonth = None,
) -> Answer:
    """Open an account, and grant it the credit to begin with."""
    changes = await _changes(desk, team=team, group=group, role=role, cap_day=cap_day, cap_month=cap_month)
    granted = desk.config.accounts.sign_up_nanos if credit is None else read("--credit", credit, parse_dollars)
    account = await desk.store.put_account(
        Account(id=fresh_name("acc_"), name=read("the name", name, new_name), created=desk.now, **changes.fields)
    )
    if granted:
        try:
            id_ = f"sign-up:{account.id}"
            await desk.store.credit(account.id, granted, TransferKind.GRANT, id=id_, now=desk.now, note="sign-up")
        except StoreError as exc:
            raise CommandError(f"account {account.id} is open, but was granted nothing: {exc}") from exc
    return await _shown(desk, account)


@command(app, "list")
async def list_(desk: Desk) -> Answer:
    """List all accounts with their balances."""
    news = await desk.store.news(None, 0)
    teams = {team.id: team.name for team in news.teams}
    balances = [await desk.store.balance(account.id) for account in news.accounts]
    rows = [
        (
            *(account.id, account.name, account.role, teams.get(account.team or "", "-"), account.group),
            *(dollars(balance.balance_nanos), limit_text(account.cap_day_nanos), limit_text(account.cap_month_nanos)),
            state(account, desk.now),
        )
        for account, balance in zip(news.accounts, balances, strict=True)
    ]
    headings = ("ID", "NAME", "ROLE", "TEAM", "GROUP", "BALANCE", "CAP/DAY", "CAP/MONTH", "STATE")
    table = Table(headings, rows, frozenset({"BALANCE", "CAP/DAY", "CAP/MONTH"}))
    documents = [_document(*pair, desk.now) for pair in zip(news.accounts, balances, strict=True)]
    return Answer(documents, (table,) if rows else ("There are no accounts.",))


@command(app, "show")
async def show(desk: Desk, account: Name) -> Answer:
    """Show one account: its balance, what it spent, its keys."""
    return await _shown(desk, await find_account(desk.store, account))


@command(app, "set")
async def set_(
    desk: Desk,
    account: Name,
    *,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    group: GroupOption = None,
    team: TeamOption = None,
    role: RoleOption = None,
    cap_day: CapDay = None,
    cap_month: CapMonth = None,
) -> Answer:
    """Change what is given of an account; the rest stays."""
    changes = await _changes(desk, team=team, group=group, role=role, cap_day=cap_day, cap_month=cap_month)
    if name is not None:
        changes.fields["name"] = read("--name", name, new_name)
    return await _put(desk, account, **changes.some())


@command(app, "disable")
async def disable(desk: Desk, account: Name) -> Answer:
    """Refuse all of an account's keys; its answers under way are still charged."""
    return await _put(desk, account, disabled=True)


@command(app, "enable")
async def enable(desk: Desk, account: Name) -> Answer:
    """Admit an account again."""
    return await _put(desk, account, disabled=False)


async def _put(desk: Desk, which: str, **changes: Any) -> Answer:
    account = await find_account(desk.store, which)
    return await _shown(desk, await desk.store.put_account(replace(account, **changes)))


def _document(account: Account, balance: Balance, now: int) -> dict[str, Any]:
    return document(account) | document(balance) | {"state": state(account, now)}


async def _shown(desk: Desk, account: Account) -> Answer:
    news = await desk.store.news(None, 0)
    balance = await desk.store.balance(account.id)
    day, month = (await spent(desk.store, SCOPE, [account.id], desk.now))[account.id]
    keys = [key for key in news.keys if key.account == account.id]
    team: Team | None = next((team for team in news.teams if team.id == account.team), None)
    rows = [
        ("Account", account.id),
        ("Name", account.name),
        ("State", state(account, desk.now)),
        ("Role", account.role),
        ("Team", "-" if team is None else f"{team.name} ({team.id})"),
        ("Group", account.group),
        ("Balance", f"{dollars(balance.balance_nanos)}, of which workers hold {dollars(balance.leased_nanos)}"),
        ("Spent today", spent_text(day, account.cap_day_nanos)),
        ("Spent this month", spent_text(month, account.cap_month_nanos)),
        ("Keys", listed(f"{key.name} ({key.id})" for key in keys)),
    ]
    members = amounts(spent_day=day, spent_month=month) | {"keys": [key.id for key in keys]}
    return Answer(_document(account, balance, desk.now) | members, (Table((), rows),))
