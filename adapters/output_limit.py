"""How long an answer may get at most, by the request's own words: what a reservation goes by.

Lenient, since it judges nothing: what is no number is no limit, the upstream will say what it thinks of it.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from adapters.usage import count

_DIGITS_MAX = 16
"""Fewer are below any bound on a count."""

_ANYTHING = msgspec.json.Decoder()


def least(fields: Mapping[str, Raw], names: tuple[str, ...]) -> int | None:
    """Return the least of the limits that members of these names set, None where none does."""
    least_limit = None
    for name in names:
        raw = fields.get(name)
        if raw is not None:
            limit = _number(raw)
            if limit > 0 and (least_limit is None or limit < least_limit):
                least_limit = limit
    return least_limit


def _number(raw: Raw) -> int:
    digits = bytes(raw)
    if digits.isdigit() and len(digits) < _DIGITS_MAX:
        return int(digits)
    try:
        return count(_ANYTHING.decode(raw))
    except (msgspec.DecodeError, RecursionError):
        return 0
