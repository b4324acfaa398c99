"""Readings: how the words of the command line become values.

A reading takes the text of one option and returns its value, or raises `ValueError` with the end of a sentence that
begins with the option's name. `Changes` collects what the options make of a row: one that is not given changes nothing,
and `none` takes away what there is. Whether a value suits what is there is decided elsewhere.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Annotated, Any, TypeVar

import typer

from engine.commands.desk import CommandError, Desk
from engine.money import parse_dollars

T = TypeVar("T")

NONE = "none"
"""What takes a limit away, or a team, a list, an end."""

NAME_LENGTH_MAX = 100
COUNT_MAX = 1_000_000_000_000

_ID = re.compile(r"(?:acc|key|team|tr)_[0-9a-f]{16}\Z")
_COUNT = re.compile(r"[0-9]{1,13}\Z")
_SPAN = re.compile(r"([0-9]{1,5})([mhdw])\Z")
_SPAN_SECONDS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

Amount = Annotated[str, typer.Argument(metavar="DOLLARS", help="For example 10 or 2.50.")]
CapDay = Annotated[str | None, typer.Option(metavar="DOLLARS", help="Spend at most, by UTC day; `none`: no cap.")]
CapMonth = Annotated[str | None, typer.Option(metavar="DOLLARS", help="Spend at most, by UTC month; `none`: no cap.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="From then on: 2027-01-31, or 24h or 7d ago.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Up to then, not included.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Rows at most.")]
Offset = Annotated[int, typer.Option(min=0, help="Rows to pass by, of the newest.")]


class Changes:
    """What the given options make of the fields of a row."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}

    def take(
        self, field: str, option: str, text: str | None, reading: Callable[[str], object], *, none: object = None
    ) -> None:
        """Read an option into a field. Raises `CommandError`."""
        if text is not None:
            self.fields[field] = none if text == NONE else read(option, text, reading)

    def caps(self, day: str | None, month: str | None) -> None:
        """Read the caps, which keys, accounts and teams have alike. Raises `CommandError`."""
        self.take("cap_day_nanos", "--cap-day", day, parse_dollars)
        self.take("cap_month_nanos", "--cap-month", month, parse_dollars)

    def some(self) -> dict[str, Any]:
        """Return the fields that change. Raises `CommandError` when none does."""
        if not self.fields:
            raise CommandError("nothing was given that should change; --help says what can")
        return self.fields


def read(what: str, text: str, reading: Callable[[str], T]) -> T:
    """Return `reading(text)`. Raises `CommandError` that names `what` when the text is malformed."""
    try:
        return reading(text)
    except ValueError as exc:
        raise CommandError(f"{what} {exc}") from exc


def new_name(text: str) -> str:
    """Read a name for a row. A slash parts an account's from its key's, and what looks like an id is one."""
    if not text or text != text.strip() or not text.isprintable() or len(text) > NAME_LENGTH_MAX:
        raise ValueError(f"must be 1 to {NAME_LENGTH_MAX} printable characters without spaces around them")
    if "/" in text or text == NONE or _ID.match(text):
        raise ValueError(f"must not hold a slash, be {NONE!r} or look like an id")
    return text


def own_id(text: str) -> str:
    """Read an id of the operator's. An empty one is a variable that was not set: nothing would be safe to repeat."""
    if not text or not text.isprintable() or len(text) > NAME_LENGTH_MAX:
        raise ValueError(f"must be 1 to {NAME_LENGTH_MAX} printable characters")
    return text


def count(text: str) -> int:
    """Read a number of requests or tokens."""
    if not _COUNT.match(text) or not 1 <= int(text) <= COUNT_MAX:
        raise ValueError(f"must be a whole number from 1 to {COUNT_MAX:,}, or {NONE!r}")
    return int(text)


def words(text: str) -> tuple[str, ...]:
    """Read a list whose items stand between commas; the same one twice is one."""
    items = tuple(dict.fromkeys(item.strip() for item in text.split(",")))
    if not all(item and item.isprintable() for item in items):
        raise ValueError("must be a list with commas between its items")
    return items


def surfaces(text: str) -> tuple[str, ...]:
    """Read a list of the surfaces that generate."""
    from engine import routes  # noqa: PLC0415 - it loads the parser of HTTP

    tables = (*routes.SURFACES.values(), *(methods for _, methods in routes.PREFIXED))
    known = {at.name for methods in tables for at in methods.values() if at.action is routes.Action.GENERATE}
    items = words(text)
    if not known.issuperset(items):
        raise ValueError(f"must be of {', '.join(sorted(known))}")
    return items


def networks(text: str) -> tuple[str, ...]:
    """Read a list of addresses and networks, in CIDR form; an address is the network of itself."""
    return tuple(dict.fromkeys(str(_network(item)) for item in words(text)))


def _network(text: str) -> object:
    try:
        return ip_network(text)
    except ValueError as exc:
        # What ipaddress says quotes the text as it is.
        raise ValueError(
            "must be addresses or networks, such as 10.0.0.7 or 10.0.0.0/8 (no bits below the mask)"
        ) from exc


def ahead(now: int) -> Callable[[str], int]:
    """Return a reading of a time to come, in unix seconds: a date, a moment, or a span from now."""

    def reading(text: str) -> int:
        time = _time(text, now, 1)
        if time <= now:
            raise ValueError("must lie in the future")
        return time

    return reading


def ago(now: int) -> Callable[[str], int]:
    """Return a reading of a time, in unix seconds: a date, a moment, or a span up to now."""
    return lambda text: _time(text, now, -1)


def _time(text: str, now: int, direction: int) -> int:
    span = _SPAN.match(text)
    if span:
        return now + direction * int(span[1]) * _SPAN_SECONDS[span[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ValueError("must be a date such as 2027-01-31, a moment in ISO 8601, or a span such as 30d") from exc
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def group_of(desk: Desk) -> Callable[[str], str]:
    """Return a reading of a group's name, which the configuration must know when there is one."""

    def reading(text: str) -> str:
        if desk.config.path is not None and text not in desk.config.groups:
            raise ValueError(f"must be of {', '.join(desk.config.groups)}: the configuration has no other group")
        return new_name(text)

    return reading
