"""Ephemeral keys: tokens for browsers, good for one model, one kind of session, and a few minutes.

A token carries what it allows and a signature (HMAC-SHA256) by a secret that all workers of a server share and that
dies with it; nothing is stored. What it may spend is the account's of the key that minted it, for as long as that key
is in force. It does not know keys, only their names.
"""

import base64
import binascii
import hmac
from hashlib import sha256

import msgspec
from msgspec import Struct

PREFIX = b"ek_hr_"
"""Begins as the vendor's own do, which clients may look at."""

SECRET_BYTES = 32
MAC_BYTES = 32
SESSION_BYTES_MAX = 4096
"""Of the session's settings that travel in a token: handshakes have room for so much."""


class Ephemeral(Struct, frozen=True, array_like=True):
    """What a token allows: sessions with `model` until `expires` (unix seconds), on behalf of the key `key`.

    `session` is what the session is opened with, as JSON; `key` None stands for nobody, on a gateway without keys.
    """

    key: str | None
    model: str
    expires: int
    session: bytes


_DECODER = msgspec.msgpack.Decoder(Ephemeral)


class Signer:
    """Mints and reads tokens."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        assert len(secret) >= SECRET_BYTES
        self._secret = secret

    def __repr__(self) -> str:
        return "<Signer>"

    def mint(self, ephemeral: Ephemeral) -> str:
        """Return the token that stands for `ephemeral`."""
        payload = msgspec.msgpack.encode(ephemeral)
        # Without padding and with these two signs it may stand in a header, a query and a subprotocol alike.
        text = base64.urlsafe_b64encode(self._mac(payload) + payload).rstrip(b"=")
        return (PREFIX + text).decode("ascii")

    def read(self, token: bytes, now: float) -> Ephemeral | None:
        """Return what a token allows, None when it is not ours or is over."""
        text = token.removeprefix(PREFIX)
        try:
            signed = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        mac, payload = signed[:MAC_BYTES], signed[MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload)):
            return None
        ephemeral = _DECODER.decode(payload)
        return ephemeral if now < ephemeral.expires else None

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, payload, sha256)
