"""What a request to the account API says: the key it carries, and the rows of the log it wants.

Everything a client can write is read here and nowhere else, and what cannot be understood is refused with a sentence.
A key is taken from where the workers take it from (`engine.layers.authenticate`), in the same order.
"""

from urllib.parse import parse_qs

from msgspec import Struct
from werkzeug.datastructures import Headers, MultiDict

from adapters.errors import ClientError, Failure, Kind

PAGE_ROWS = 10
PAGE_ROWS_MAX = 100
"""Larger pages are cut to this; clients of this shape expect no error."""

PAGE_MAX = 1_000_000
TYPE_MAX = 99
TIMESTAMP_MAX = 253_402_300_799
"""The end of the year 9999. Beyond it a number is not in seconds."""


class LogQuery(Struct, frozen=True, kw_only=True):
    """Which page of the log. `type` 0 is every type; `since` and `until` are unix seconds, until not included."""

    page: int
    page_rows: int
    type: int
    since: int | None
    until: int | None
    key_name: str | None
    model: str | None

    @property
    def offset(self) -> int:
        """How many rows stand on the pages before."""
        return (self.page - 1) * self.page_rows


def credential(headers: Headers, query: bytes) -> bytes | None:
    """Return the key that a request carries, or None."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    found = token.strip() if scheme.lower() == "bearer" else ""
    found = found or headers.get("x-api-key", "") or headers.get("x-goog-api-key", "")
    if not found and b"key=" in query:
        found = parse_qs(query.decode("latin-1"), encoding="latin-1").get("key", [""])[0]
    return found.encode("latin-1") or None


def log_query(arguments: MultiDict[str, str]) -> LogQuery:
    """Read the query of a look at the log. Raises `ClientError` 400 for what is no number or out of all bounds.

    Page 0 is page 1, and a page of 0 rows one of the usual size: old clients count from 0, and some send both.
    """
    since = whole(arguments, "start_timestamp", TIMESTAMP_MAX)
    until = whole(arguments, "end_timestamp", TIMESTAMP_MAX)
    return LogQuery(
        page=whole(arguments, "p", PAGE_MAX) or 1,
        page_rows=min(whole(arguments, "page_size", TIMESTAMP_MAX) or PAGE_ROWS, PAGE_ROWS_MAX),
        type=whole(arguments, "type", TYPE_MAX),
        since=since or None,
        until=until + 1 if until else None,  # theirs is included
        key_name=arguments.get("token_name") or None,
        model=arguments.get("model_name") or None,
    )


def whole(arguments: MultiDict[str, str], name: str, most: int) -> int:
    """Return a number of the query, 0 when it is not there or empty."""
    text = arguments.get(name, "")
    if not text:
        return 0
    # Counted before it is converted, which takes quadratic time.
    if text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and int(text) <= most:
        return int(text)
    message = f"{name} must be a whole number from 0 to {most}"
    raise ClientError(Failure(400, Kind.INVALID_REQUEST, message, code="invalid_query", param=name))
