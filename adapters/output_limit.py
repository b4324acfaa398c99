"""How long an answer may get at most, by the request's own words: what a reservation goes by.

Lenient, since it judges nothing: what is no number is no limit, the upstream will say what it thinks of it.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from adapters.usage import count

_ANYTHING = msgspec.json.Decoder()


def least(fields: Mapping[str, Raw], names: tuple[str, ...]) -> int | None:
    """Return the least of the limits that members of these names set, None where none does."""
    found = [limit for name in names if name in fields and (limit := _number(fields[name])) > 0]
    return min(found) if found else None


def _number(raw: Raw) -> int:
    try:
        return count(_ANYTHING.decode(raw))
    except (msgspec.DecodeError, RecursionError):
        return 0
