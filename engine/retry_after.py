"""Retry-After as a number of seconds, for the gateway's own patience (RFC 9110, section 10.2.3)."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from email.utils import parsedate_to_datetime


def retry_after_seconds(headers: Iterable[tuple[bytes, bytes]], clock: Callable[[], float] = time.time) -> float | None:
    """Return how long an answer asks to wait, None when it does not say. `retry-after-ms` is the more exact one."""
    given = dict(headers)
    with suppress(ValueError):
        return max(float(given[b"retry-after-ms"]) / 1e3, 0.0) if b"retry-after-ms" in given else _seconds(given, clock)
    return None


def _seconds(given: dict[bytes, bytes], clock: Callable[[], float]) -> float | None:
    value = given.get(b"retry-after", b"").decode("ascii", "replace").strip()
    if not value:
        return None
    if value.replace(".", "", 1).isdigit():
        return float(value)
    return max(parsedate_to_datetime(value).timestamp() - clock(), 0.0)
