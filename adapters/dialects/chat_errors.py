"""Chat Completions errors: how a failure is spelled for a client, and what an upstream's in-band error means.

One table per direction. Statuses, types and codes are OpenAI's (error codes guide, API reference); an upstream's own
type and code win over the table, since clients match on them. SDKs choose the exception class by HTTP status, in-band
by nothing at all, so an in-band error carries the same words without a status.
"""

import msgspec
from msgspec import Raw

from adapters import lenient, sse
from adapters.errors import Failure, Kind, kind_of_status
from adapters.upstream_errors import Words, words_of

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
"""The (type, code) of a failure that brings no words of its own."""

OWN_TYPES = frozenset(own_type for own_type, _ in WORDS_BY_KIND.values())
"""With one of these an upstream that gave no code meant none; a type of another dialect gets the table's code (B10)."""

STATUS_BY_WORD: dict[str, int] = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "requests": 429,
    "tokens": 429,
    "server_error": 500,
    "api_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "overloaded": 503,
    "overloaded_error": 503,
    "server_is_overloaded": 503,
    "service_unavailable": 503,
    "timeout": 504,
    "timeout_error": 504,
}
"""The HTTP status an in-band error's code or type stands for; an unlisted one is the upstream's fault, 502."""

_QUOTA_WORD = "insufficient_quota"
_ENCODER = msgspec.json.Encoder()


def error_status(failure: Failure) -> int:
    """Return the HTTP status of a failure for clients of this dialect: 529, an extension of others, is 503 here."""
    return 503 if failure.status == 529 else failure.status


def error_body(failure: Failure) -> bytes:
    """Return an error answer's body: OpenAI's envelope, all four members always there."""
    kind_type, kind_code = WORDS_BY_KIND[failure.kind]
    error = {
        "message": lenient.text(failure.message),
        "type": failure.type or kind_type,
        "param": failure.param,
        "code": failure.code or (None if failure.type in OWN_TYPES else kind_code),
    }
    return _ENCODER.encode({"error": error})


def error_event(failure: Failure) -> bytes:
    """Return the chunk that ends a failed stream. No `[DONE]` follows: SDKs raise on the error, and a stream that did
    not
    finish must not look as if it had.
    """
    return sse.encode(error_body(failure))


def read_error(error: Raw | bytes) -> Failure:
    """Return what the value of an `error` member means: an object, or any other truthy JSON."""
    try:
        words = words_of({"error": lenient.decode(error)})
    except lenient.NotJsonError:
        words = None
    return _failure(words or Words(""))


def finish_error() -> Failure:
    """Return what `finish_reason: "error"` without an error object means."""
    return _failure(Words("The upstream ended the answer with finish_reason 'error'."))


def nothing_said() -> Failure:
    """Return what an answer without any choice means, or a stream that ends before any said or finished something."""
    return Failure(502, Kind.UPSTREAM, "The upstream answered without any choice.", code="empty_answer")


def _failure(words: Words) -> Failure:
    status = words.status or STATUS_BY_WORD.get(words.code or "") or STATUS_BY_WORD.get(words.type or "") or 502
    if status == 401:
        # It is our key that the upstream refused; a client would take a 401 for its own.
        message = "The upstream refused the gateway's credentials."
        return Failure(502, Kind.UPSTREAM, message, code="upstream_credentials_refused")
    quota = _QUOTA_WORD in {words.code, words.type}
    kind = Kind.QUOTA if status == 429 and quota else kind_of_status(status)
    message = words.message or "The upstream reported an error without saying which."
    return Failure(status, kind, message, type=words.type, code=words.code, param=words.param)
