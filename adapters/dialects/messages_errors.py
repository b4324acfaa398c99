"""Messages errors: how a failure is spelled for a client, and what an upstream's in-band error means.

One table per direction. Statuses and types are Anthropic's (platform.claude.com, API errors; anthropic-python,
`types/shared/error_type.py`); an upstream's own type wins over the table, since clients match on it. The official SDKs
choose the exception class by HTTP status, and in-band raise whatever `event: error` holds.
"""

import msgspec

from adapters import lenient, sse
from adapters.errors import Failure, Kind, kind_of_status
from adapters.upstream_errors import Words, excerpt, words_of

TYPE_BY_KIND: dict[Kind, str] = {
    Kind.INVALID_REQUEST: "invalid_request_error",
    Kind.AUTHENTICATION: "authentication_error",
    Kind.BILLING: "billing_error",
    Kind.PERMISSION: "permission_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.CONFLICT: "conflict_error",
    Kind.TOO_LARGE: "request_too_large",
    Kind.UNPROCESSABLE: "invalid_request_error",
    Kind.RATE_LIMIT: "rate_limit_error",
    Kind.QUOTA: "rate_limit_error",
    Kind.TIMEOUT: "timeout_error",
    Kind.OVERLOADED: "overloaded_error",
    Kind.UPSTREAM: "api_error",
    Kind.INTERNAL: "api_error",
}
"""The type of a failure that brings none of its own."""

STATUS_BY_TYPE: dict[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status an in-band error's type stands for; an unlisted one is the upstream's fault, 502."""

FOREIGN_TYPES = frozenset({"server_error", "internal_server_error"})
"""What looks like a type of this dialect and is another's."""

_CREDENTIAL_STATUSES = frozenset({401, 403})
_NAME = b"error"
_ENCODER = msgspec.json.Encoder()


def error_status(failure: Failure) -> int:
    """Return the HTTP status of a failure for clients of this dialect: its own, 529 included."""
    return failure.status


def error_body(failure: Failure) -> bytes:
    """Return an error answer's body. A code stands where the vendor's stand, in `details.error_code`."""
    error: dict[str, object] = {
        "type": failure.type if _is_own(failure.type) else TYPE_BY_KIND[failure.kind],
        "message": lenient.text(failure.message),
    }
    if failure.code:
        error["details"] = {"error_code": failure.code}
    return _ENCODER.encode({"type": "error", "error": error})


def _is_own(word: str | None) -> bool:
    """Whether a type is one of this dialect, also a new one; an upstream of another dialect has its own words."""
    return word is not None and (word in STATUS_BY_TYPE or (word.endswith("_error") and word not in FOREIGN_TYPES))


def error_event(failure: Failure) -> bytes:
    """Return the event that ends a failed stream, whatever was open: no block is closed and no `message_stop` follows,
    or the cut would look like an ending.
    """
    return sse.encode(error_body(failure), _NAME)


def read_error(payload: bytes) -> Failure:
    """Return what an error document, or the data of an error event, means. Never raises."""
    try:
        document = lenient.decode(payload)
    except lenient.NotJsonError:
        return _failure(Words(excerpt(payload)))
    words = words_of(document) or Words("")
    if words.type == "error":  # the envelope's, of an error that has none inside
        words = words._replace(type=None)
    return _failure(words._replace(code=error_code(document) or words.code))


def error_code(document: object) -> str | None:
    """Return the vendor's stable code, `error.details.error_code`, None when there is none."""
    for name in ("error", "details", "error_code"):
        document = document.get(name) if isinstance(document, dict) else None
    return lenient.text(document) if isinstance(document, str) and document else None


def _failure(words: Words) -> Failure:
    status = STATUS_BY_TYPE.get(words.type or "") or words.status or 502
    if status in _CREDENTIAL_STATUSES:
        # It is our key that the upstream refused; a client would take it for its own.
        message = "The upstream refused the gateway's credentials."
        return Failure(502, Kind.UPSTREAM, message, code="upstream_credentials_refused")
    message = words.message or "The upstream reported an error without saying which."
    return Failure(status, kind_of_status(status), message, type=words.type, code=words.code, param=words.param)
