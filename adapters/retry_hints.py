"""Whether and when a client is to ask again: what every error answer says about it, in one place for all dialects.

An upstream's own hints stay. What it left out is added as headers of the failure, so that a dialect with a native form
(a delay among an error's details) writes that too:

- Every 429 names a delay in whole seconds. There are agents that repeat one with Retry-After and give up on one without
  it, and some read `retry-after-ms` only beside it. A 503 of the upstream's gets none: clients that double their pauses
  do better there than with a number that nobody measured. The gateway's own 503s name theirs where they arise.
- What asking again does not cure carries `x-should-retry: false`, which the vendors' SDKs and agents obey whatever the
  status: a spent quota or an unpaid bill, credentials that the gateway or its upstream refused, what an upstream does
  not implement. Other 4xx statuses need no such word, nobody repeats them.

Pure values; no clock: a date in Retry-After is passed on as it is.
"""

import re
from dataclasses import replace

from adapters.errors import Failure, Kind

RATE_LIMIT_RETRY_SECONDS = 10
"""Retry-After of a 429 that came without a delay. Vendors refill their buckets continuously over a minute, and clients
try two to ten times: long enough to matter, short enough for somebody who waits."""

OVERLOAD_RETRY_SECONDS = 1
"""Retry-After of the gateway's own 503s: the place that is missing is freed by the next request that ends."""

SPENT = frozenset({Kind.QUOTA, Kind.BILLING})
"""The kinds that somebody has to pay or to wait a day for."""

CREDENTIALS_REFUSED = "upstream_credentials_refused"
"""The code of a failure that is the gateway's own credentials'."""

_USELESS_KINDS = SPENT | {Kind.AUTHENTICATION}
_NOT_IMPLEMENTED = 501
_SECONDS, _MILLISECONDS, _SHOULD_RETRY = b"retry-after", b"retry-after-ms", b"x-should-retry"
_NUMBER = re.compile(rb"([0-9]{1,12})(\.[0-9]{0,12})?")


def with_retry_hints(failure: Failure) -> Failure:
    """Return `failure` with what was left out of its hints; the same object when that is nothing."""
    given = {name: value for name, value in failure.headers if value.strip()}
    added: list[tuple[bytes, bytes]] = []
    if _SECONDS not in given:
        seconds = _whole_seconds(given.get(_MILLISECONDS, b""))
        if seconds is None and failure.status == 429:
            seconds = RATE_LIMIT_RETRY_SECONDS
        if seconds is not None:
            added += retry_after(seconds)
    if _SHOULD_RETRY not in given and _is_useless(failure):
        added.append((_SHOULD_RETRY, b"false"))
    if not added:
        return failure
    kept = [header for header in failure.headers if header[0] in given]
    return replace(failure, headers=(*kept, *added))


def retry_after(seconds: int) -> tuple[tuple[bytes, bytes], ...]:
    """Return the header that names a delay, as headers of a failure."""
    return ((_SECONDS, b"%d" % seconds),)


def _is_useless(failure: Failure) -> bool:
    return failure.kind in _USELESS_KINDS or failure.code == CREDENTIALS_REFUSED or failure.status == _NOT_IMPLEMENTED


def _whole_seconds(milliseconds: bytes) -> int | None:
    """Return a delay in milliseconds as the seconds that are never less, None when it is no number."""
    number = _NUMBER.fullmatch(milliseconds.strip())
    if number is None:
        return None
    return max(1, -(-int(number[1]) // 1000))
