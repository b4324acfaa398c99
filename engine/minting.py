"""Minting: new keys, and new ids of rows.

A key is `sk-hr-` and 43 letters and digits, 256 bits of the system's randomness, so that its plain digest gives nothing
away. Who mints one has the token once; what is stored is the digest, and four characters for people to tell keys by.
Where a key is kept, and what it may do, is not known here.
"""

import secrets
import string
from dataclasses import dataclass, field

from engine.keys import digest_of
from engine.secrets import Secret

PREFIX = "sk-hr-"
"""Says whose key it is: to its holder, and to those who scan repositories for leaked ones."""

CHARACTERS = 43
SHOWN = 4

ID_BYTES = 8

_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Minted:
    """A new key: the token for its holder, and what is kept of it."""

    token: Secret
    digest: bytes = field(repr=False)
    shown: str


def mint() -> Minted:
    """Return a key that nobody has."""
    token = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(CHARACTERS))
    return Minted(Secret(token, "minted"), digest_of(token.encode()), token[-SHOWN:])


def fresh_name(prefix: str) -> str:
    """Return an id that nothing has: `prefix` (`acc_`, `key_`, `team_`, `tr_`) and 16 hexadecimal digits."""
    return prefix + secrets.token_hex(ID_BYTES)
