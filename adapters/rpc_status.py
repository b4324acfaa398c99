"""The details of a `google.rpc.Status`: what an error says beside its message, by structure alone.

    {"error": {"code": 429, "message": "...", "status": "RESOURCE_EXHAUSTED", "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "...PerDay..."}]},
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "..."},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}]}}

Both the wire format and the vendors that use it read it here (google/rpc/error_details.proto, AIP-193). The document
may be list-wrapped, as errors of streams are; whatever has another shape says nothing. Never raises.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from adapters import lenient
from adapters.errors import Kind

STATUS_BY_WORD: dict[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The canonical codes and the HTTP status each stands for (google/rpc/code.proto)."""

TYPE_PREFIX = "type.googleapis.com/google.rpc."
EXHAUSTED = "RESOURCE_EXHAUSTED"
DAILY = "PerDay"
"""In a quota's id: waiting does not cure it before the day ends (quota ids are `<what>PerDay<per whom>-<tier>`)."""

RETRY_SECONDS_MAX = 7 * 86_400.0
_CREDENTIAL_REASON = re.compile(r"API_KEY_|ACCESS_TOKEN_|CREDENTIALS_|CONSUMER_|SERVICE_DISABLED\Z|BILLING_DISABLED\Z")
"""Reasons that speak of who asks, not of what is asked (google/api/error_reason.proto)."""
_WORD_CHARACTERS_MAX = 200
_DURATION = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?s")


class Details(NamedTuple):
    """What an error document says beside its message."""

    word: str | None = None
    """The canonical code, if it is one."""
    reason: str | None = None
    quota: str | None = None
    """The id of the quota that was exceeded; one that lasts for the day before any other."""
    retry_seconds: float | None = None

    @property
    def refuses_credentials(self) -> bool:
        """Whether the credentials are at fault, under whatever status: a wrong API key is a 400."""
        return self.reason is not None and _CREDENTIAL_REASON.match(self.reason) is not None

    @property
    def is_daily(self) -> bool:
        """Whether a quota is used up that waiting a moment does not refill."""
        return self.quota is not None and DAILY in self.quota

    @property
    def told(self) -> str | None:
        """The one machine-readable word beside the code: the quota's id, or the reason."""
        return self.quota or self.reason

    def kind(self, otherwise: Kind) -> Kind:
        """Return the kind of the error: a daily quota is its own."""
        return Kind.QUOTA if self.is_daily else otherwise

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return the delay to wait as the headers that clients of every dialect read."""
        if self.retry_seconds is None:
            return ()
        seconds = max(1, math.ceil(self.retry_seconds))
        return (b"retry-after", b"%d" % seconds), (b"retry-after-ms", b"%d" % math.ceil(self.retry_seconds * 1000))


NONE = Details()


def read_document(body: bytes) -> Details:
    """Return what an error answer's body says."""
    try:
        document = lenient.decode(body)
    except lenient.NotJsonError:
        return NONE
    if isinstance(document, list) and document:
        document = document[0]
    return details_of(document.get("error")) if isinstance(document, Mapping) else NONE


def details_of(error: object) -> Details:
    """Return what the decoded value of an `error` member says."""
    if not isinstance(error, Mapping):
        return NONE
    word = error.get("status")
    details = error.get("details")
    found = [each for each in details if isinstance(each, Mapping)] if isinstance(details, list) else []
    quotas = list(_quotas(found))
    return Details(
        word=word if isinstance(word, str) and word in STATUS_BY_WORD else None,
        reason=next(_texts(found, "reason"), None),
        quota=next((quota for quota in quotas if DAILY in quota), quotas[0] if quotas else None),
        retry_seconds=next(map(_seconds, _texts(found, "retryDelay")), None),
    )


def _quotas(details: Iterable[Mapping[str, object]]) -> Iterator[str]:
    for detail in details:
        violations = detail.get("violations")
        if isinstance(violations, list):
            yield from _texts([each for each in violations if isinstance(each, Mapping)], "quotaId")


def _texts(details: Iterable[Mapping[str, object]], name: str) -> Iterator[str]:
    for detail in details:
        value = detail.get(name)
        if isinstance(value, str) and value:
            yield lenient.text(value[:_WORD_CHARACTERS_MAX])


def _seconds(duration: str) -> float | None:
    """Return a protobuf duration (`34s`, `0.25s`) in seconds."""
    if _DURATION.fullmatch(duration) is None:
        return None
    return min(float(duration[:-1]), RETRY_SECONDS_MAX)
