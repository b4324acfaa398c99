"""Finding: which row is meant by a name, and how a row looks to programs.

An id stands for its row, a name for the one row that has it. Names of keys are told apart within an account only:
ACCOUNT/NAME says which, and a plain name will do while one key has it.
"""

from typing import Any

from msgspec import Struct

from engine.budgets.periods import Period, window
from engine.commands.answer import amounts, moment
from engine.commands.desk import CommandError
from engine.secrets import quoted
from store.interface import Store
from store.rows import DAY, MONTH, Account, Key, News, Team, cap_budget

_INTERNAL = {"digest", "version"}
_TIMES = {"time", "created", "expires", "ends", "since"}


async def find_account(store: Store, name: str) -> Account:
    """Return the account of that id or name. Raises `CommandError` when there is none."""
    account = await store.account(name)
    if account is None:
        raise CommandError(f"there is no account {quoted(name)}")
    return account


def find_team(news: News, name: str) -> Team:
    """Return the team of that id or name. Raises `CommandError` when there is none, or more than one."""
    found = [team for team in news.teams if team.id == name] or [team for team in news.teams if team.name == name]
    if not found:
        raise CommandError(f"there is no team {quoted(name)}")
    if len(found) > 1:
        raise CommandError(f"{len(found)} teams are called {quoted(name)}: use an id")
    return found[0]


def find_key(news: News, name: str) -> Key:
    """Return the key of that id, name or ACCOUNT/NAME. Raises `CommandError` when there is none, or more than one."""
    of, _, rest = name.rpartition("/")
    accounts = {account.id for account in news.accounts if of in {account.id, account.name}}
    found = [key for key in news.keys if key.id == name] or [
        key for key in news.keys if key.name == rest and (not of or key.account in accounts)
    ]
    if not found:
        raise CommandError(f"there is no key {quoted(name)}")
    if len(found) > 1:
        raise CommandError(f"{len(found)} keys are called {quoted(name)}: use an id, or ACCOUNT/NAME")
    return found[0]


async def spent(store: Store, scope: str, ids: list[str], now: int) -> dict[str, tuple[int, int]]:
    """Return what each key, account or team (`scope`) has spent today and this month."""
    day, month = window(Period.DAY, now), window(Period.MONTH, now)
    budgets = [(cap_budget(DAY, scope, id_), day) for id_ in ids] + [
        (cap_budget(MONTH, scope, id_), month) for id_ in ids
    ]
    used = await store.used(budgets)
    return dict(zip(ids, zip(used[: len(ids)], used[len(ids) :], strict=True), strict=True))


def state(row: Account | Key, now: int) -> str:
    """Return `active`, `disabled` or `expired`."""
    if row.disabled:
        return "disabled"
    expires = row.expires if isinstance(row, Key) else None
    return "expired" if expires is not None and expires <= now else "active"


def document(row: Struct) -> dict[str, Any]:
    """Return a row's members for a JSON document, under the names of its fields. Of a key's digest nothing is told."""
    members: dict[str, Any] = {}
    for field in row.__struct_fields__:
        value = getattr(row, field)
        if field in _INTERNAL:
            continue
        if field.endswith("_nanos"):
            members |= amounts(**{field.removesuffix("_nanos"): value})
        else:
            members[field] = moment(value) if field in _TIMES else value
    return members
