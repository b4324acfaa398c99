"""Client keys: which key id a presented token stands for.

The one place that knows how keys are kept and compared. A key is kept as the SHA-256 digest of its token and nothing
else; the index goes by digest, so a look-up costs the same for one key and for a hundred thousand, and what an
attacker can time is a comparison of digests he cannot steer. Later the rows come from the database instead of the
configuration; `authenticate` stays. It does not know where in a request a token stands, nor what a key may do.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from hmac import compare_digest

import msgspec

DIGEST_BYTES = 32


def digest_of(token: bytes) -> bytes:
    """Return what is kept of a token. Plain SHA-256: tokens are random, so there is nothing for a slow hash to slow."""
    return sha256(token).digest()


class Key(msgspec.Struct, frozen=True):
    """One client key: its id, as logs show it, and its digest, which nothing shows."""

    id: str
    digest: bytes

    def __repr__(self) -> str:
        return f"Key(id={self.id!r})"

    def __rich_repr__(self) -> Iterator[tuple[str, str]]:  # type: ignore[override]  # msgspec's own would show the digest
        yield "id", self.id


_NOBODY = Key("", bytes(DIGEST_BYTES))


class Keys:
    """The keys in force. Read-only after construction; a reload builds another."""

    __slots__ = ("_by_digest",)

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_digest = {key.digest: key for key in keys}

    def authenticate(self, token: bytes) -> str | None:
        """Return the id of the key that `token` is, or None. A miss takes the same steps as a hit."""
        digest = sha256(token).digest()
        key = self._by_digest.get(digest, _NOBODY)
        return key.id if compare_digest(key.digest, digest) else None

    def __len__(self) -> int:
        return len(self._by_digest)

    def __repr__(self) -> str:
        return f"<Keys: {len(self._by_digest)}>"
