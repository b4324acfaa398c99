"""Gemini errors: how a failure is spelled for a client, and what an upstream's in-band error means.

The envelope is `google.rpc.Status` in JSON (AIP-193): the HTTP status again as `code`, a message, a canonical word, and
details of known types. What clients act on: the HTTP status picks the SDKs' exception class; the Gemini CLI repeats a
429 for minutes unless its details name a quota of the day. A failure keeps an upstream's word in `code`, the quota's id
or the reason in `type`, the delay to wait in its headers; here they become details again. The key `error` comes first:
google-genai knows an in-band error by that alone.
"""

import re

import msgspec
from msgspec import Raw

from adapters import lenient, rpc_status
from adapters.errors import Failure, Kind, kind_of_status
from adapters.retry_hints import SPENT
from adapters.rpc_status import STATUS_BY_WORD, TYPE_PREFIX
from adapters.upstream_errors import Words, words_of

WORD_BY_STATUS: dict[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "CANCELLED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""The word of a failure that brings none; any other status is `INVALID_ARGUMENT` below 500, else `INTERNAL`."""

DOMAIN = "hedgerow"
OWN_QUOTA = "GatewayQuotaPerDay"
"""The id of a quota that nobody named: with `PerDay` in it clients stop instead of asking again for minutes."""

_NOT_IN_A_REASON = re.compile(r"[^A-Z0-9]+")
_RETRY_MILLISECONDS = b"retry-after-ms"
_RETRY_SECONDS = b"retry-after"
_ENCODER = msgspec.json.Encoder()


def error_status(failure: Failure) -> int:
    """Return the HTTP status of a failure for clients of this dialect: 529, an extension of others, is 503 here."""
    return 503 if failure.status == 529 else failure.status


def error_body(failure: Failure, *, array: bool = False) -> bytes:
    """Return an error answer's body; `array` wraps it as Google does for streams that are not event streams."""
    status = error_status(failure)
    word = failure.code if failure.code in STATUS_BY_WORD else None
    error: dict[str, object] = {
        "code": status,
        "message": lenient.text(failure.message),
        "status": word or WORD_BY_STATUS.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL"),
    }
    details = _details(failure)
    if details:
        error["details"] = details
    body = _ENCODER.encode({"error": error})
    return b"[%b]" % body if array else body


def error_event(failure: Failure) -> bytes:
    """Return the chunk that ends a failed stream of server-sent events."""
    return b"data: %b\n\n" % error_body(failure)


def read_error(error: Raw | bytes) -> Failure:
    """Return what the value of an `error` member means: a status object, or any other truthy JSON."""
    try:
        value = lenient.decode(error)
        words = words_of({"error": value})
    except lenient.NotJsonError:
        value, words = None, None
    words = words or Words("")
    details = rpc_status.details_of(value)
    status = words.status or STATUS_BY_WORD.get(details.word or "") or 502
    if status in {401, 403} or details.refuses_credentials:
        # It is our key that the upstream refused; a client would take it for its own.
        message = "The upstream refused the gateway's credentials."
        return Failure(502, Kind.UPSTREAM, message, code="upstream_credentials_refused")
    message = words.message or "The upstream reported an error without saying which."
    return Failure(
        status,
        details.kind(kind_of_status(status)),
        message,
        type=details.told or words.type,
        code=details.word or words.code,
        param=words.param,
        headers=details.headers(),
    )


def _details(failure: Failure) -> list[dict[str, object]]:
    details: list[dict[str, object]] = []
    own_code = failure.code if failure.code not in STATUS_BY_WORD else None
    named = failure.type if failure.code == rpc_status.EXHAUSTED else None
    quota = named
    if failure.kind in SPENT and rpc_status.DAILY not in (named or ""):
        quota, named = OWN_QUOTA, None
    if quota:
        details.append(_detail("QuotaFailure", violations=[{"quotaId": lenient.text(quota)}]))
    reason = own_code or (None if named else failure.type)
    if reason:
        details.append(_detail("ErrorInfo", reason=_reason(reason), domain=DOMAIN))
    if failure.param:
        details.append(_detail("BadRequest", fieldViolations=[{"field": lenient.text(failure.param)}]))
    seconds = _retry_seconds(dict(failure.headers))
    if seconds is not None:
        details.append(_detail("RetryInfo", retryDelay=f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"))
    return details


def _detail(name: str, **members: object) -> dict[str, object]:
    return {"@type": TYPE_PREFIX + name, **members}


def _reason(word: str) -> str:
    """Return a word of any dialect as a reason is spelled: UPPER_SNAKE_CASE, at most 63 characters (AIP-193)."""
    return _NOT_IN_A_REASON.sub("_", word.upper())[:63].strip("_") or "UNKNOWN"


def _retry_seconds(headers: dict[bytes, bytes]) -> float | None:
    """Return the delay to wait; a date in Retry-After is left to those who have a clock."""
    for name, unit in ((_RETRY_MILLISECONDS, 0.001), (_RETRY_SECONDS, 1.0)):
        value = headers.get(name, b"").strip()
        if value.isdigit() and len(value) < 10:
            return int(value) * unit
    return None
