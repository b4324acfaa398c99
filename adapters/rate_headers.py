"""The headers that tell a client how much of its rates is left, in the form of the first vendor's API.

Pure: times are handed in. A dialect whose vendor writes them otherwise has its own.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Rate(NamedTuple):
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
    headers = []
    for what, limit, remaining, resets_at in rates:
        seconds = resets_at - int(now)
        headers += [
            (b"x-ratelimit-limit-" + what, b"%d" % limit),
            (b"x-ratelimit-remaining-" + what, b"%d" % remaining),
            (b"x-ratelimit-reset-" + what, b"%ds" % (seconds if seconds > 0 else 0)),
        ]
    return headers
