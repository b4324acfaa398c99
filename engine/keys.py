"""Client keys as they are kept: the SHA-256 digest of a token, and nothing else. `engine.keyring` looks them up."""

from collections.abc import Iterator
from hashlib import sha256

import msgspec

DIGEST_BYTES = 32


def digest_of(token: bytes) -> bytes:
    """Return what is kept of a token. Plain SHA-256: tokens are random, so there is nothing for a slow hash to slow."""
    return sha256(token).digest()


class Key(msgspec.Struct, frozen=True):
    """One client key of the configuration: its id, as logs show it, and its digest, which nothing shows."""

    id: str
    digest: bytes

    def __repr__(self) -> str:
        return f"Key(id={self.id!r})"

    def __rich_repr__(self) -> Iterator[tuple[str, str]]:  # type: ignore[override]  # msgspec's own would show the digest
        yield "id", self.id
