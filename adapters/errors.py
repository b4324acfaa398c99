"""The one neutral error, and whose fault it is.

Every refusal and every failure is a `Failure` value until the client's dialect renders it. Three families, by fault:
the client's (`ClientError`), the upstream's (`UpstreamError`), and ours (any other exception; the exchange's outermost
layer answers it with `Kind.INTERNAL`). Statuses and kinds follow the vendors' error tables; nothing here is inferred
from message text. This module knows no dialect: how a kind is spelled on the wire is each dialect's own table.
"""

from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """What went wrong, in the words all dialects share."""

    INVALID_REQUEST = "invalid_request"
    AUTHENTICATION = "authentication"
    BILLING = "billing"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    UNPROCESSABLE = "unprocessable"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    UPSTREAM = "upstream"
    INTERNAL = "internal"


KIND_BY_STATUS: dict[int, Kind] = {
    400: Kind.INVALID_REQUEST,
    401: Kind.AUTHENTICATION,
    402: Kind.BILLING,
    403: Kind.PERMISSION,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    409: Kind.CONFLICT,
    413: Kind.TOO_LARGE,
    422: Kind.UNPROCESSABLE,
    429: Kind.RATE_LIMIT,
    500: Kind.UPSTREAM,
    502: Kind.UPSTREAM,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}


def kind_of_status(status: int) -> Kind:
    """Return the kind of an HTTP status; an unlisted 4xx is an invalid request, anything else the upstream's."""
    kind = KIND_BY_STATUS.get(status)
    if kind is not None:
        return kind
    return Kind.INVALID_REQUEST if 400 <= status < 500 else Kind.UPSTREAM


@dataclass(frozen=True, slots=True)
class Failure:
    """One error as a value: what a dialect needs to render it, in HTTP or in-band.

    `status` is the HTTP status toward the client. `type`, `code` and `param` keep an upstream's own words when it gave
    any; None lets the dialect choose. `headers` are answer headers that belong to the error (Retry-After,
    x-should-retry, rate-limit headers), lower-cased names.
    """

    status: int
    kind: Kind
    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


class GatewayError(Exception):
    """A failure on its way to the client; `failure` is what it will be told."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class ClientError(GatewayError):
    """The request is at fault: refused, never retried on another upstream."""


class UpstreamError(GatewayError):
    """The upstream is at fault. `retryable` says whether another attempt may succeed; `cause` names the row for logs.

    Causes are a closed set of lower-case words: `refused`, `dns`, `tls`, `proxy`, `connect_timeout`, `timeout`,
    `status`, `reset`, `incomplete`, `garbage`, `oversize`, `empty`, `in_band`, `pool_full`, `idle`.
    """

    def __init__(self, failure: Failure, *, cause: str, retryable: bool) -> None:
        super().__init__(failure)
        self.cause = cause
        self.retryable = retryable
