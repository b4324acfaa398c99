"""Wording: how a failure is said inside an `error` event.

The types and codes are those that the vendor's HTTP envelope has for the same kind; an upstream's own win over the
table, since clients match on them.
"""

from adapters import lenient
from adapters.errors import Failure, Kind

WORDS_BY_KIND: dict[Kind, tuple[str, str | None]] = {
    Kind.INVALID_REQUEST: ("invalid_request_error", None),
    Kind.AUTHENTICATION: ("invalid_request_error", "invalid_api_key"),
    Kind.BILLING: ("insufficient_quota", "insufficient_quota"),
    Kind.PERMISSION: ("permission_error", None),
    Kind.NOT_FOUND: ("invalid_request_error", None),
    Kind.CONFLICT: ("conflict_error", None),
    Kind.TOO_LARGE: ("invalid_request_error", "request_too_large"),
    Kind.UNPROCESSABLE: ("invalid_request_error", None),
    Kind.RATE_LIMIT: ("requests", "rate_limit_exceeded"),
    Kind.QUOTA: ("insufficient_quota", "insufficient_quota"),
    Kind.TIMEOUT: ("timeout", "timeout"),
    Kind.OVERLOADED: ("server_error", "overloaded"),
    Kind.UPSTREAM: ("server_error", "upstream_error"),
    Kind.INTERNAL: ("server_error", "internal_error"),
}
"""The type and the code of a failure that brings no words of its own."""


def error_members(failure: Failure) -> dict[str, object]:
    """Return the value of an event's `error`, all four members always there."""
    kind_type, kind_code = WORDS_BY_KIND[failure.kind]
    return {
        "type": failure.type or kind_type,
        "code": failure.code or (None if failure.type else kind_code),
        "message": lenient.text(failure.message),
        "param": failure.param,
    }
