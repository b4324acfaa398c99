"""The headers that tell a client how much of its rates is left, in the form of the first vendor's API.

Pure: times are handed in. A dialect whose vendor writes them otherwise has its own.
"""

from functools import lru_cache

RATES_KEPT_MAX = 1024
"""Headers that are the same from one answer to the next: to find them takes a quarter of what it takes to make them."""

RateHeaders = tuple[tuple[bytes, bytes], bytes, tuple[bytes, bytes]]
"""Of one rate: the header of its limit, the name of the one that says what is left, and the header of its reset. How
much is left is another number each time.
"""


def rate_headers(what: bytes, limit: int, resets_at: int, second: int) -> RateHeaders:
    """Return `x-ratelimit-*`; the reset is the time until then, as `12s` (platform.openai.com, rate limits)."""
    return _kept(what, limit, resets_at - second)


@lru_cache(RATES_KEPT_MAX)
def _kept(what: bytes, limit: int, seconds: int) -> RateHeaders:
    # By the seconds that are left, so that they are the same again in the next minute.
    return (
        (b"x-ratelimit-limit-" + what, b"%d" % limit),
        b"x-ratelimit-remaining-" + what,
        (b"x-ratelimit-reset-" + what, b"%ds" % max(seconds, 0)),
    )
