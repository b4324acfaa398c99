"""How long an answer may get at most, by the request's own words: what a reservation goes by.

Lenient, since it judges nothing: what is no number is no limit, the upstream will say what it thinks of it.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from adapters.usage import TOKENS_MAX, count

_ANYTHING = msgspec.json.Decoder()


def greatest(fields: Mapping[str, Raw], names: tuple[str, ...]) -> int | None:
    """Return the greatest of the limits that members of these names set, None where none does.

    Which of two an upstream goes by is its own affair; by the smaller one a client could have an answer that it has
    nothing to pay with.
    """
    found = 0
    for name in names:
        raw = fields.get(name)
        if raw is not None:
            limit = _number(raw)
            found = limit if limit > found else found
    return found or None


def _number(raw: Raw) -> int:
    try:
        limit = _ANYTHING.decode(raw)
        return limit if type(limit) is int and 0 <= limit <= TOKENS_MAX else count(limit)
    except (msgspec.DecodeError, RecursionError):
        return 0
