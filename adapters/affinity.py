"""Affinity: what the requests of one conversation have in common, and no others do.

Whoever routes may send equal keys to the same upstream, so that its prompt cache is hit. A key the client names wins;
without one it is what was said up to the user's first turn, which every later request repeats byte for byte. Where
those stand in a request is each dialect's to say.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from json import JSONDecoder

import msgspec
from msgspec import Raw

from adapters.raw import says

BEGINNING_BYTES_MAX = 4_096
"""Of each member: prompts nearly always differ within so much."""

_LONG_BYTES_MIN = 65_536
_OPENING_BYTES = 2 * BEGINNING_BYTES_MAX
_USER = b'"user"'
_TURNS = msgspec.json.Decoder(list[Raw])
_TURN = JSONDecoder(strict=False)
_BETWEEN = re.compile(r"[ \n\t\r,]*+")


def key(fields: Mapping[str, Raw], named: Iterable[str], said: Iterable[str]) -> bytes | None:
    """Return the key of a request: the first of the members `named`, else the beginnings of those in `said`."""
    for name in named:
        raw = fields.get(name)
        if raw is not None and says(raw):
            return bytes(raw)
    return b"\n".join(_beginning(fields[name]) for name in said if name in fields) or None


def _beginning(said: Raw) -> bytes:
    """Return a text's first bytes, or of turns those up to the first one of the user's."""
    beginning = b""
    for turn in _turns(said):
        beginning += bytes(memoryview(turn)[: BEGINNING_BYTES_MAX - len(beginning)])
        if len(beginning) >= BEGINNING_BYTES_MAX or beginning.rfind(_USER) >= 0:
            break
    return beginning


def _turns(said: Raw) -> Iterable[Raw | bytes]:
    """Return the turns, or those that a long list begins with; what is no list is one."""
    view = memoryview(said)
    if len(view) >= _LONG_BYTES_MIN:
        return _first_turns(bytes(view[:_OPENING_BYTES]))
    try:
        return _TURNS.decode(said)
    except (msgspec.DecodeError, RecursionError):
        return (said,)


def _first_turns(opening: bytes) -> Iterator[bytes]:
    """Give the turns that are whole in the opening of a list, and the rest of it as the last one."""
    if not opening.startswith(b"["):
        yield opening
        return
    text = opening.decode("latin-1")  # a character a byte: all that counts is where values end
    end = 1
    while end < len(text):
        between = _BETWEEN.match(text, end)
        assert between is not None
        begin = between.end()
        try:
            end = _TURN.raw_decode(text, begin)[1]
        except (ValueError, RecursionError):
            end = len(text)
        yield opening[begin:end]
