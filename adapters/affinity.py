"""Affinity: what the requests of one conversation have in common, and no others do.

Whoever routes may send equal keys to the same upstream, so that its prompt cache is hit. A key the client names wins;
without one it is what was said up to the user's first turn, which every later request repeats byte for byte. Where
those stand in a request is each dialect's to say.
"""

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw

from adapters.raw import says

BEGINNING_BYTES_MAX = 4_096
"""Of each member: prompts nearly always differ within so much."""

_USER = b'"user"'
_TURNS = msgspec.json.Decoder(list[Raw])


def key(fields: Mapping[str, Raw], named: Iterable[str], said: Iterable[str]) -> bytes | None:
    """Return the key of a request: the first of the members `named`, else the beginnings of those in `said`."""
    for name in named:
        raw = fields.get(name)
        if raw is not None and says(raw):
            return bytes(raw)
    return b"\n".join(_beginning(fields[name]) for name in said if name in fields) or None


def _beginning(said: Raw) -> bytes:
    """Return a text's first bytes, or of turns those up to the first one of the user's."""
    try:
        turns = _TURNS.decode(said)
    except (msgspec.DecodeError, RecursionError):
        return bytes(memoryview(said)[:BEGINNING_BYTES_MAX])
    beginning = b""
    for turn in turns:
        beginning += bytes(memoryview(turn)[: BEGINNING_BYTES_MAX - len(beginning)])
        if len(beginning) >= BEGINNING_BYTES_MAX or beginning.rfind(_USER) >= 0:
            break
    return beginning
