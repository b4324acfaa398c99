"""How a Messages client is told what is left of its rates (platform.claude.com, rate limits: response headers), and
times.
"""

from functools import lru_cache

from adapters.rate_headers import RATES_KEPT_MAX, RateHeaders

_SECONDS_A_DAY = 86_400


def rate_headers(what: bytes, limit: int, resets_at: int, second: int) -> RateHeaders:
    """Return `anthropic-ratelimit-*`; the reset is a time of RFC 3339."""
    return _kept(what, limit, resets_at)


@lru_cache(RATES_KEPT_MAX)
def _kept(what: bytes, limit: int, resets_at: int) -> RateHeaders:
    # The same for a whole minute, and a date takes ten times as long to write as all the rest.
    name = b"anthropic-ratelimit-" + what
    reset = timestamp(resets_at).encode()
    return (name + b"-limit", b"%d" % limit), name + b"-remaining", (name + b"-reset", reset)


def timestamp(seconds: int) -> str:
    """Return unix seconds as RFC 3339 text in UTC. The vendor, too, gives the epoch where a date is not known.

    The calendar by arithmetic: the year begins in March, so that the leap day is its last one.
    """
    days, second = divmod(max(seconds, 0), _SECONDS_A_DAY)
    days += 719_468  # from 0000-03-01 to the epoch
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = march_month + 3 if march_month < 10 else march_month - 9
    year = 400 * era + year_of_era + (month <= 2)
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"{year:04}-{month:02}-{day:02}T{clock}Z"
