"""Ids of tool calls: what an upstream takes for one, and what it gets instead of one it would refuse.

A client resends ids it got from another upstream, and a result finds its call by the id alone. So an id is rewritten as
a pure function of itself: call and result agree without a table, and the same history gives the same bytes, which keeps
the upstream's prompt cache. A valid id is never touched. A rewritten one ends in a hash of the whole original, so two
long ids that differ only behind the cut stay two.

It does not know which upstream has which rule, and maps nothing back: a client never sees a rewritten id.
"""

import re
import string
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

HASH_CHARACTERS = 12
"""Of 62 letters and digits: 71 bits, out of reach of collisions by chance."""

PREFIX_CHARACTERS_MAX = 24
"""Enough to recognise the original in a log; every character of an id is paid for in tokens on each turn."""


class IdRule(NamedTuple):
    """What an id must be: `allowed` is the regular expression of one character, which admits letters or digits."""

    allowed: str
    length_max: int
    length_min: int = 1


ANY = IdRule(r"[\x21-\x7e]", 64)
"""Visible ASCII, as long as the strictest of the unrestricted upstreams takes it."""

WORD = IdRule("[A-Za-z0-9_-]", 64)
ALNUM9 = IdRule("[A-Za-z0-9]", 9, 9)


class _Compiled(NamedTuple):
    whole: re.Pattern[str]
    one: re.Pattern[str]
    alphabet: str
    filler: str


def conforming(id: str, rule: IdRule) -> str:  # noqa: A002 -- it is the id, in every dialect
    """Return `id` itself when the rule takes it, else its stand-in: always the same one, for no other id."""
    compiled = _compiled(rule)
    if compiled.whole.fullmatch(id):
        return id
    room = min(rule.length_max - HASH_CHARACTERS - len(compiled.filler), PREFIX_CHARACTERS_MAX)
    prefix = ""
    if room > 0:
        prefix = "".join(c if compiled.one.fullmatch(c) else compiled.filler for c in id[: room * 2])[:room]
    if prefix:
        prefix += compiled.filler
    length = min(max(HASH_CHARACTERS, rule.length_min - len(prefix)), rule.length_max)
    return prefix + _hashed(id, compiled.alphabet, length)


def made(seed: str, ordinal: int) -> str:
    """Return the id of a call whose upstream gave none: of one answer's `seed`, one for each `ordinal`."""
    digest = sha256(b"%d:%b" % (ordinal, _bytes(seed))).hexdigest()
    return "call_" + digest[:24]


@lru_cache(maxsize=64)
def _compiled(rule: IdRule) -> _Compiled:
    one = re.compile(rule.allowed)
    alphabet = "".join(c for c in string.ascii_letters + string.digits if one.fullmatch(c))
    assert len(alphabet) > 1, f"a rule without letters and digits: {rule}"
    whole = re.compile(f"(?:{rule.allowed}){{{rule.length_min},{rule.length_max}}}")
    return _Compiled(whole, one, alphabet, next((c for c in "_-" if one.fullmatch(c)), ""))


def _hashed(id: str, alphabet: str, length: int) -> str:  # noqa: A002
    characters: list[str] = []
    number = 0
    blocks = 0
    while len(characters) < length:
        if not number:
            number = int.from_bytes(sha256(b"%d:%b" % (blocks, _bytes(id))).digest())
            blocks += 1
        number, index = divmod(number, len(alphabet))
        characters.append(alphabet[index])
    return "".join(characters)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
