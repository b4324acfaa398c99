"""Catalogue: the list prices of vendors' models, by provider kind and by any spelling of a model's name.

Each kind that charges has a file of its name beside this one; nothing lists them. A file says where its figures are
from and of when. A name is looked for as it is, without folders in front, without what tells a snapshot from its model
(a date, `-latest`, a revision), and last as one of the patterns, of which the longest wins. Anything else is a model of
which nothing is known: the price of a cheaper relative would be worse than none.

Files are read at the first question about their kind, once, which takes milliseconds.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

import msgspec

from adapters.prices.price import Price, price_from_dollars

_SNAPSHOT = re.compile(
    r"-(?:20\d\d-?[01]\d-?[0-3]\d|preview-[01]\d-[0-3]\d|[01]\d-20\d\d|[01]\d-[0-3]\d|\d{4}|0\d\d|latest|preview)$"
)
"""-2025-04-14, -20250929, -preview-05-20, -09-2025, -02-23, -2411, -001, -latest, -preview."""


class Row(msgspec.Struct, frozen=True):
    """What a vendor's list says of one model. `output_tokens_max` is None where the list does not say."""

    price: Price
    output_tokens_max: int | None = None


class CatalogueError(ValueError):
    """A file of prices that cannot be read; the message says which row and why."""


@cache
def kinds() -> frozenset[str]:
    """Return the provider kinds that have list prices."""
    files = (entry.name for entry in resources.files(__package__).iterdir())
    return frozenset(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


@cache
def rows(kind: str) -> Mapping[str, Row]:
    """Return the rows of a kind by the model's name or pattern, lower-cased; none for a kind that does not charge."""
    if kind not in kinds():
        return MappingProxyType({})
    text = resources.files(__package__).joinpath(f"{kind}.toml").read_text(encoding="utf-8")
    return MappingProxyType(read(text))


def read(text: str) -> dict[str, Row]:
    """Return the rows of a file's text. Raises `CatalogueError`.

    `[models]` holds a table a model: dollars per million tokens (or a piece, or a minute) as text, `above_tokens` with
    `long` for the other tier, `output_tokens_max`, and `also`, the other names it goes by. A `*` in a name stands for
    anything.
    """
    try:
        models = msgspec.convert(tomllib.loads(text), _File).models
    except ValueError as exc:
        raise CatalogueError(str(exc)) from exc
    found: dict[str, Row] = {}
    for name, fields in models.items():
        try:
            entry = msgspec.convert(fields, _Entry)
            row = Row(_price(entry), entry.output_tokens_max)
        except ValueError as exc:
            raise CatalogueError(f"{name}: {exc}") from exc
        for spelling in (name, *entry.also):
            if spelling.lower() in found:
                raise CatalogueError(f"{spelling} stands there twice")
            found[spelling.lower()] = row
    return found


def find(kind: str, model: str) -> Row | None:
    """Return the row of a model, None when there is none. Costs some microseconds."""
    known = rows(kind)
    if not known:
        return None
    whole = model.strip().lower()
    spellings = [whole] if "/" not in whole else [whole, whole.rpartition("/")[2]]
    for spelling in spellings:
        name = spelling
        while name:
            row = known.get(name)
            if row is not None:
                return row
            snapshot = _SNAPSHOT.search(name)
            name = name[: snapshot.start()] if snapshot is not None else ""
    for pattern, row in _patterns(kind):
        if any(pattern.fullmatch(spelling) for spelling in spellings):
            return row
    return None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file; its rows are converted one by one, so that a complaint can name the row."""

    models: dict[str, object]


class _Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rates of a row, as the file has them."""

    input: str
    output: str
    cached_input: str | None = None
    cache_write: str | None = None
    audio_input: str | None = None
    audio_output: str | None = None
    reasoning: str | None = None
    cached_audio: str | None = None
    image_input: str | None = None
    cached_image: str | None = None
    call: str = "0"
    image: str = "0"


class _Entry(_Tier, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of the file."""

    audio_minute: str = "0"
    session_minute: str = "0"
    above_tokens: int = 0
    long: _Tier | None = None
    output_tokens_max: int | None = None
    also: tuple[str, ...] = ()


def _price(entry: _Entry) -> Price:
    if (entry.long is None) != (entry.above_tokens == 0):
        raise ValueError("above_tokens and long go together")
    long = None if entry.long is None else price_from_dollars(**msgspec.structs.asdict(entry.long))
    rates = {name: getattr(entry, name) for name in (*_Tier.__struct_fields__, "audio_minute", "session_minute")}
    return price_from_dollars(**rates, above_tokens=entry.above_tokens, long=long)


@cache
def _patterns(kind: str) -> tuple[tuple[re.Pattern[str], Row], ...]:
    """Return the patterns of a kind, the one that spells out most first."""
    named = sorted(((name, row) for name, row in rows(kind).items() if "*" in name), key=lambda item: -len(item[0]))
    return tuple((re.compile(".*".join(map(re.escape, name.split("*")))), row) for name, row in named)
