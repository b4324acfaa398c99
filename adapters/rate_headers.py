"""The headers that tell a client how much of its rates is left, in the form of the first vendor's API.

Pure: times are handed in. A dialect whose vendor writes them otherwise has its own.
"""

from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

_KEPT_MAX = 1024
"""Headers that are the same from one answer to the next: to find one takes a quarter of what it takes to make it."""


class Rate(Struct, frozen=True, gc=False):
    """One rate: what it counts (`requests`, `tokens`), its limit, what is left, and when it starts anew."""

    what: bytes
    limit: int
    remaining: int
    resets_at: int
    """In unix seconds."""


def rate_headers(rates: Iterable[Rate], now: float) -> list[tuple[bytes, bytes]]:
    """Return `x-ratelimit-*`: limit, remaining and the time until the reset, as `12s` (platform.openai.com, rate
    limits).
    """
    headers: list[tuple[bytes, bytes]] = []
    second = int(now)
    for rate in rates:
        limit, remaining, reset = _kept(rate.what, rate.limit, rate.resets_at - second)
        headers += (limit, (remaining, b"%d" % rate.remaining), reset)
    return headers


@lru_cache(_KEPT_MAX)
def _kept(what: bytes, limit: int, seconds: int) -> tuple[tuple[bytes, bytes], bytes, tuple[bytes, bytes]]:
    """Return the header of the limit, the name of the next one, and the header of the reset."""
    return (
        (b"x-ratelimit-limit-" + what, b"%d" % limit),
        b"x-ratelimit-remaining-" + what,
        (b"x-ratelimit-reset-" + what, b"%ds" % max(seconds, 0)),
    )
