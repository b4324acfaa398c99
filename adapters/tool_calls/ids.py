"""Ids of tool calls: what an upstream takes for one, and what it gets instead of one it would refuse.

A client resends ids it got from another upstream, and a result finds its call by the id alone. So an id is rewritten as
a pure function of itself: call and result agree without a table, and the same history gives the same bytes, which keeps
the upstream's prompt cache. A valid id is never touched. A rewritten one ends in a hash of the whole original, so two
long ids that differ only behind the cut stay two.

It does not know which upstream has which rule, and maps nothing back: a client never sees a rewritten id.
"""

import re
import string
from hashlib import sha256

HASH_CHARACTERS = 12
"""Of 62 letters and digits: 71 bits, out of reach of collisions by chance."""

PREFIX_CHARACTERS_MAX = 24
"""Enough to recognise the original in a log; every character of an id is paid for in tokens on each turn."""


class IdRule:
    """What an id must be: `allowed` is the regular expression of one character, which admits letters or digits."""

    __slots__ = ("allowed", "alphabet", "filler", "length_max", "length_min", "one", "whole")

    def __init__(self, allowed: str, length_max: int, length_min: int = 1) -> None:
        self.allowed = allowed
        self.length_max = length_max
        self.length_min = length_min
        self.one = re.compile(allowed)
        self.whole = re.compile(f"(?:{allowed}){{{length_min},{length_max}}}")
        self.alphabet = "".join(c for c in string.ascii_letters + string.digits if self.one.fullmatch(c))
        """What hashes are written in."""
        self.filler = next((c for c in "_-" if self.one.fullmatch(c)), "")
        """What stands for any character that is refused."""
        assert len(self.alphabet) > 1, f"a rule without letters and digits: {self}"

    def __repr__(self) -> str:
        return f"<IdRule {self.allowed} {self.length_min}-{self.length_max}>"


ANY = IdRule(r"[\x21-\x7e]", 64)
"""Visible ASCII, as long as the strictest of the unrestricted upstreams takes it."""

WORD = IdRule("[A-Za-z0-9_-]", 64)
ALNUM9 = IdRule("[A-Za-z0-9]", 9, 9)


def conforming(id: str, rule: IdRule) -> str:  # noqa: A002 -- it is the id, in every dialect
    """Return `id` itself when the rule takes it, else its stand-in: always the same one, for no other id."""
    if rule.whole.fullmatch(id):
        return id
    room = min(rule.length_max - HASH_CHARACTERS - len(rule.filler), PREFIX_CHARACTERS_MAX)
    prefix = ""
    if room > 0:
        prefix = "".join(c if rule.one.fullmatch(c) else rule.filler for c in id[: room * 2])[:room]
    if prefix:
        prefix += rule.filler
    length = min(max(HASH_CHARACTERS, rule.length_min - len(prefix)), rule.length_max)
    return prefix + _hashed(id, rule.alphabet, length)


def made(seed: str, ordinal: int) -> str:
    """Return the id of a call whose upstream gave none: of one answer's `seed`, one for each `ordinal`."""
    digest = sha256(b"%d:%b" % (ordinal, _bytes(seed))).hexdigest()
    return "call_" + digest[:24]


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
