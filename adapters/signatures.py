"""Signatures: what models attach to their reasoning so that it may come back, and how foreign clients carry it.

A signature is opaque and only good where it was made: for the dialect, the provider and the model family that made it
(together its *scope*). A client of another dialect gets it packed as one token in the place where its own dialect keeps
signatures; when the token comes back it is unpacked, and used only if the upstream asked then is in the same scope.
Everywhere else it is left out: a foreign signature is a 400 that bricks the conversation.

A token is base64, because clients of one dialect decode what stands there, and begins with `PREFIX`, which no vendor's
signature begins with. What a signature holds is not known here.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import NamedTuple

import msgspec

PREFIX = "aGVkZ2Vyb3c6MTp0"
"""The base64 of `hedgerow:1:t`: twelve bytes, so that what follows does not change it."""

_MAGIC = b"hedgerow:1:t"


class Signature(NamedTuple):
    """One signature: `value` as its maker wrote it, `dialect` and `scope` where it is good.

    `kind` is the maker's own distinction (a thinking block whose text is hidden altogether), `item_id` the id of the
    item it stood on, both "" for most. An empty scope means that the client brought it in its own dialect's form: who
    made it is not known.
    """

    dialect: str
    scope: str
    value: str
    kind: str = ""
    item_id: str = ""

    def is_for(self, dialect: str, scope: str) -> bool:
        """Whether an upstream of this dialect and scope made it."""
        return self.dialect == dialect and self.scope == scope and bool(scope)


UNSIGNED = Signature("", "", "")
"""What nobody signed. Packed, it marks such reasoning where a client's dialect has no word for it: the client sends it
back with that, and no upstream is ever shown it."""


def pack(signature: Signature) -> str:
    """Return the token that stands for a signature in a foreign client's conversation; the same for equal ones."""
    return b64encode(_MAGIC + msgspec.json.encode(signature)).decode("ascii")


def unpack(token: str) -> Signature | None:
    """Return the signature in a token, None for what is no token of ours. Never raises."""
    if not token.startswith(PREFIX):
        return None
    # Clients that decode the bytes may write them again in the URL-safe alphabet, with or without padding.
    text = token.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        packed = b64decode(text + "=" * (-len(text) % 4), validate=True)
        return _DECODER.decode(packed.removeprefix(_MAGIC))
    except (Base64Error, ValueError):
        return None


def is_token(value: str) -> bool:
    """Whether it is a token of ours, readable or not: never to be shown to an upstream."""
    return value.startswith(PREFIX)


_DECODER = msgspec.json.Decoder(Signature)
