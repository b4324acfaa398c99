"""What an upstream's error document says, in the upstream's own words.

Vendors of one dialect still differ in how they write an error down; every form seen is read here, by structure alone:
message text is carried, never interpreted. What the words mean (which kind, whose fault, retryable) is for the
provider of an HTTP error and for the dialect of an in-band one to decide. Forms, with where they were seen:

    {"error": {"message", "type", "param", "code"}}       OpenAI's, most
    {"error": {"message", "code": 429, "metadata"}}       aggregators: the code is an HTTP status
    {"error": "text"} and {"code": "text", "error": "text"}
    {"message", "type", "param", "code"}                  the same without an envelope, also with "object": "error"
    {"detail": "text"} or {"detail": [{"loc", "msg", "type"}]}   FastAPI's validation errors, also inside "message"
    [ any of these ]                                      list-wrapped

What is no document at all is shown as a short excerpt, and fails in the gateway's own words.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from adapters import lenient
from adapters.errors import Failure, Kind

MESSAGE_CHARACTERS_MAX = 16_384
"""An upstream's message is passed on up to here; the longest seen are schemas quoted back, of a few thousand."""

EXCERPT_CHARACTERS_MAX = 200

_TAGS = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^<>]{0,1000}>", re.DOTALL | re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ufffd]+")


class Words(NamedTuple):
    """An error in an upstream's words. `status` is an HTTP status that the document itself names."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None


def read_document(body: bytes) -> Words | None:
    """Return what an error answer's body says; None when it is not JSON or says nothing."""
    try:
        return words_of(lenient.decode(body))
    except lenient.NotJsonError:
        return None


def words_of(document: object) -> Words | None:
    """Return what a decoded error document says, None when no known form is found."""
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, str):
        return Words(_cut(document)) if document.strip() else None
    if not isinstance(document, Mapping):
        return None
    error, message = document.get("error"), document.get("message")
    if isinstance(error, Mapping):
        return _words_of_fields(error)
    if isinstance(error, str) and error.strip():
        return Words(_cut(error), code=_word(document.get("code")), status=_status(document.get("code")))
    detail = document.get("detail") or (message.get("detail") if isinstance(message, Mapping) else None)
    if detail:
        return _words_of_detail(detail)
    return _words_of_fields(document) if message else None


def excerpt(body: bytes) -> str:
    """Return a short printable piece of a body that is not JSON: one line, no markup, no control characters."""
    text = body[: 64 * EXCERPT_CHARACTERS_MAX].decode("utf-8", "replace")
    text = _UNPRINTABLE.sub(" ", _TAGS.sub(" ", text)).strip()
    return text if len(text) <= EXCERPT_CHARACTERS_MAX else text[: EXCERPT_CHARACTERS_MAX - 1].rstrip() + "…"


def not_this_dialect(body: bytes, expected: str) -> Failure:
    """Return the failure of an upstream that sent something else than `expected`, with a glimpse of it."""
    shown = excerpt(body)
    message = f"The upstream sent something that is not {expected} of this API" + (f": {shown}" if shown else ".")
    return Failure(502, Kind.UPSTREAM, message, code="upstream_protocol_error")


def _words_of_fields(fields: Mapping[str, object]) -> Words | None:
    message = fields.get("message")
    code = fields.get("code")
    words = Words(
        _cut(message) if isinstance(message, str) else _written(message),
        type=_word(fields.get("type")),
        code=_word(code),
        param=_word(fields.get("param")),
        status=_status(code) or _status(fields.get("status")),
    )
    return words if any(words) else None


def _words_of_detail(detail: object) -> Words | None:
    if isinstance(detail, str):
        return Words(_cut(detail))
    first = detail[0] if isinstance(detail, list) and detail else detail
    if not isinstance(first, Mapping) or not isinstance(first.get("msg"), str):
        return Words(_written(detail))
    path = first.get("loc")
    where = ".".join(str(step) for step in path if step != "body") if isinstance(path, list) else ""
    message = f"{where}: {first['msg']}" if where else first["msg"]
    return Words(_cut(message), code=_word(first.get("type")), param=lenient.text(where) or None)


def _cut(message: str) -> str:
    return lenient.text(message[:MESSAGE_CHARACTERS_MAX])


def _written(value: object) -> str:
    """A message that is not text, as the JSON it is; "" for none."""
    if value is None:
        return ""
    try:
        return msgspec.json.encode(value)[:MESSAGE_CHARACTERS_MAX].decode("utf-8", "ignore")
    except (ValueError, OverflowError, RecursionError):
        return ""


def _word(value: object) -> str | None:
    """A type, code or param as text. A number that is an HTTP status says nothing more than the status does."""
    if isinstance(value, str) and value:
        return lenient.text(value[:EXCERPT_CHARACTERS_MAX]) if _status(value) is None else None
    if isinstance(value, int) and not isinstance(value, bool) and _status(value) is None and abs(value) < 10**18:
        return str(value)
    return None


def _status(value: object) -> int | None:
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value <= 599 else None
