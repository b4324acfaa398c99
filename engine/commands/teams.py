"""`hedgerow teams`: accounts that share caps."""

from collections.abc import Sequence
from typing import Annotated

import typer
from msgspec.structs import replace

from engine.commands.answer import Answer, Table, amounts, spent_text
from engine.commands.desk import CommandError, Desk, command
from engine.commands.finding import document, find_team, spent
from engine.commands.readings import CapDay, CapMonth, Changes, new_name, read
from engine.minting import fresh_name
from store.rows import News, Team

app = typer.Typer(no_args_is_help=True, help="Teams: accounts that share caps.")

SCOPE = "team"


@command(app, "create", begins=True)
async def create(
    desk: Desk,
    name: Annotated[str, typer.Argument(help="For people; no other team has it.")],
    *,
    cap_day: CapDay = None,
    cap_month: CapMonth = None,
) -> Answer:
    """Make a team; `accounts set --team` puts accounts into it."""
    changes = Changes()
    changes.caps(cap_day, cap_month)
    name = _free(read("the name", name, new_name), await desk.store.news(None, 0))
    team = await desk.store.put_team(Team(id=fresh_name("team_"), name=name, created=desk.now, **changes.fields))
    return _one(await _shown(desk, [team]))


@command(app, "list")
async def list_(desk: Desk) -> Answer:
    """List all teams and what they spent."""
    return await _shown(desk, (await desk.store.news(None, 0)).teams)


@command(app, "set")
async def set_(
    desk: Desk,
    team: Annotated[str, typer.Argument(help="Its id or name.")],
    *,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    cap_day: CapDay = None,
    cap_month: CapMonth = None,
) -> Answer:
    """Change what is given of a team; the rest stays."""
    changes = Changes()
    changes.caps(cap_day, cap_month)
    news = await desk.store.news(None, 0)
    found = find_team(news, team)
    if name is not None:
        changes.fields["name"] = name if name == found.name else _free(read("--name", name, new_name), news)
    return _one(await _shown(desk, [await desk.store.put_team(replace(found, **changes.some()))]))


def _free(name: str, news: News) -> str:
    if any(team.name == name for team in news.teams):
        raise CommandError(f"there is another team named {name}")
    return name


async def _shown(desk: Desk, teams: Sequence[Team]) -> Answer:
    used = await spent(desk.store, SCOPE, [team.id for team in teams], desk.now)
    rows = [
        (
            *(team.id, team.name, spent_text(used[team.id][0], team.cap_day_nanos)),
            spent_text(used[team.id][1], team.cap_month_nanos),
        )
        for team in teams
    ]
    headings = ("ID", "NAME", "TODAY", "THIS MONTH")
    documents = [document(team) | amounts(spent_day=used[team.id][0], spent_month=used[team.id][1]) for team in teams]
    table = Table(headings, rows, frozenset(headings[2:]))
    return Answer(documents, (table,) if rows else ("There are no teams.",))


def _one(answer: Answer) -> Answer:
    assert isinstance(answer.document, list)
    return Answer(answer.document[0], answer.parts)
