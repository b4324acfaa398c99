"""`hedgerow keys`: what may be done in an account's name, from where, and how much of it.

A key is printed when it is made and never again: the store has its digest.
"""

from typing import Annotated, Any

import typer
from msgspec.structs import replace

from engine.commands.answer import Answer, Table, amounts, listed, moment, spent_text
from engine.commands.desk import Desk, command
from engine.commands.finding import document, find_account, find_key, spent, state
from engine.commands.readings import (
    CapDay,
    CapMonth,
    Changes,
    ahead,
    count,
    group_of,
    networks,
    new_name,
    read,
    surfaces,
    words,
)
from engine.minting import fresh_name, mint
from store.rows import Account, Key

app = typer.Typer(no_args_is_help=True, help="Keys: what may be done in an account's name.")

SCOPE = "key"

Name = Annotated[str, typer.Argument(metavar="KEY", help="Its id or name, or ACCOUNT/NAME.")]
Models = Annotated[str | None, typer.Option(metavar="LIST", help="Models it may ask, `*` for any characters.")]
Surfaces = Annotated[str | None, typer.Option(metavar="LIST", help="Surfaces it may use, such as `chat`.")]
Addresses = Annotated[str | None, typer.Option(metavar="LIST", help="Networks it may come from, such as 10.0.0.0/8.")]
Expires = Annotated[str | None, typer.Option(metavar="TIME", help="Its end: 30d, or 2027-01-31 at 0:00 UTC.")]
RequestsPerMinute = Annotated[str | None, typer.Option("--rpm", metavar="COUNT", help="Requests a minute.")]
TokensPerMinute = Annotated[str | None, typer.Option("--tpm", metavar="COUNT", help="Tokens a minute.")]
InFlight = Annotated[str | None, typer.Option(metavar="COUNT", help="Requests at a time.")]
GroupOption = Annotated[str | None, typer.Option(help="Stands in for its account's group.")]


def _changes(
    desk: Desk,
    *,
    models: str | None,
    surfaces_: str | None,
    addresses: str | None,
    expires: str | None,
    cap_day: str | None,
    cap_month: str | None,
    rpm: str | None,
    tpm: str | None,
    in_flight: str | None,
    group: str | None,
) -> Changes:
    changes = Changes()
    changes.take("models", "--models", models, words, none=())
    changes.take("surfaces", "--surfaces", surfaces_, surfaces, none=())
    changes.take("addresses", "--addresses", addresses, networks, none=())
    changes.take("expires", "--expires", expires, ahead(desk.now))
    changes.caps(cap_day, cap_month)
    changes.take("requests_per_minute", "--rpm", rpm, count)
    changes.take("tokens_per_minute", "--tpm", tpm, count)
    changes.take("in_flight_max", "--in-flight", in_flight, count)
    changes.take("group", "--group", group, group_of(desk))
    return changes


@command(app, "create")
async def create(
    desk: Desk,
    account: Annotated[str, typer.Argument(help="Whose key it is: an id or name.")],
    *,
    name: Annotated[str | None, typer.Option(help="For people; default: by its last characters.")] = None,
    models: Models = None,
    surfaces: Surfaces = None,
    addresses: Addresses = None,
    expires: Expires = None,
    cap_day: CapDay = None,
    cap_month: CapMonth = None,
    rpm: RequestsPerMinute = None,
    tpm: TokensPerMinute = None,
    in_flight: InFlight = None,
    group: GroupOption = None,
) -> Answer:
    """Make a key and print it, this once."""
    changes = _changes(
        desk,
        models=models,
        surfaces_=surfaces,
        addresses=addresses,
        expires=expires,
        cap_day=cap_day,
        cap_month=cap_month,
        rpm=rpm,
        tpm=tpm,
        in_flight=in_flight,
        group=group,
    )
    owner = await find_account(desk.store, account)
    minted = mint()
    key = Key(
        id=fresh_name("key_"),
        account=owner.id,
        name=f"key-{minted.shown}" if name is None else read("--name", name, new_name),
        digest=minted.digest,
        shown=minted.shown,
        created=desk.now,
        **changes.fields,
    )
    shown = await _shown(desk, await desk.store.put_key(key), owner)
    token = minted.token.reveal()
    assert isinstance(shown.document, dict)
    return Answer({"token": token} | shown.document, (token, "", "It is not shown again: keep it now.", *shown.parts))


@command(app, "list")
async def list_(
    desk: Desk, *, account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None
) -> Answer:
    """List keys, and what they spent today and this month."""
    owner = None if account is None else await find_account(desk.store, account)
    news = await desk.store.news(None, 0)
    names = {row.id: row.name for row in news.accounts}
    keys = [key for key in news.keys if owner is None or key.account == owner.id]
    used = await spent(desk.store, SCOPE, [key.id for key in keys], desk.now)
    rows = [
        (
            *(key.id, key.name, f"...{key.shown}", names.get(key.account, key.account)),
            *(spent_text(used[key.id][0], key.cap_day_nanos), spent_text(used[key.id][1], key.cap_month_nanos)),
            *(moment(key.expires) or "-", state(key, desk.now)),
        )
        for key in keys
    ]
    headings = ("ID", "NAME", "KEY", "ACCOUNT", "TODAY", "THIS MONTH", "EXPIRES", "STATE")
    table = Table(headings, rows, frozenset({"TODAY", "THIS MONTH"}))
    return Answer(
        [_document(key, used[key.id], desk.now) for key in keys], (table,) if rows else ("There are no keys.",)
    )


@command(app, "show")
async def show(desk: Desk, key: Name) -> Answer:
    """Show one key: its scopes, limits and use."""
    news = await desk.store.news(None, 0)
    found = find_key(news, key)
    return await _shown(desk, found, await find_account(desk.store, found.account))


@command(app, "set")
async def set_(
    desk: Desk,
    key: Name,
    *,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    models: Models = None,
    surfaces: Surfaces = None,
    addresses: Addresses = None,
    expires: Expires = None,
    cap_day: CapDay = None,
    cap_month: CapMonth = None,
    rpm: RequestsPerMinute = None,
    tpm: TokensPerMinute = None,
    in_flight: InFlight = None,
    group: GroupOption = None,
) -> Answer:
    """Change what is given of a key; the rest stays. `none` takes a limit away."""
    changes = _changes(
        desk,
        models=models,
        surfaces_=surfaces,
        addresses=addresses,
        expires=expires,
        cap_day=cap_day,
        cap_month=cap_month,
        rpm=rpm,
        tpm=tpm,
        in_flight=in_flight,
        group=group,
    )
    if name is not None:
        changes.fields["name"] = read("--name", name, new_name)
    return await _put(desk, key, **changes.some())


@command(app, "disable")
async def disable(desk: Desk, key: Name) -> Answer:
    """Refuse a key from now on; its answers under way are still charged."""
    return await _put(desk, key, disabled=True)


@command(app, "enable")
async def enable(desk: Desk, key: Name) -> Answer:
    """Admit a key again."""
    return await _put(desk, key, disabled=False)


async def _put(desk: Desk, which: str, **changes: Any) -> Answer:
    key = replace(find_key(await desk.store.news(None, 0), which), **changes)
    return await _shown(desk, await desk.store.put_key(key), await find_account(desk.store, key.account))


def _document(key: Key, used: tuple[int, int], now: int) -> dict[str, Any]:
    return document(key) | {"state": state(key, now)} | amounts(spent_day=used[0], spent_month=used[1])


async def _shown(desk: Desk, key: Key, owner: Account) -> Answer:
    used = (await spent(desk.store, SCOPE, [key.id], desk.now))[key.id]
    rates = (
        (key.requests_per_minute, "requests a minute"),
        (key.tokens_per_minute, "tokens a minute"),
        (key.in_flight_max, "requests at a time"),
    )
    rows = [
        ("Key", f"{key.id} (...{key.shown})"),
        ("Name", key.name),
        ("Account", f"{owner.name} ({owner.id})"),
        ("State", state(key, desk.now)),
        ("Expires", moment(key.expires) or "-"),
        ("Group", key.group or f"its account's ({owner.group})"),
        ("Models", listed(key.models)),
        ("Surfaces", listed(key.surfaces)),
        ("Addresses", listed(key.addresses)),
        ("Spent today", spent_text(used[0], key.cap_day_nanos)),
        ("Spent this month", spent_text(used[1], key.cap_month_nanos)),
        ("Rates", listed(f"{limit:,} {what}" for limit, what in rates if limit is not None)),
    ]
    return Answer(_document(key, used, desk.now), (Table((), rows),))
