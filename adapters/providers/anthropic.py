"""Anthropic. Address and variables as its own SDKs read them: they add `/v1` to ANTHROPIC_BASE_URL themselves, so one
with or without it means the same here (anthropic-python, `_client.py`).

It signs with `x-api-key`. The `type` of an error decides over its status (platform.claude.com, API errors), a cause
that has a name stands in `error.details.error_code`, and 529 is its "overloaded".
"""

from collections.abc import Iterable
from dataclasses import replace

from adapters import lenient
from adapters.errors import Failure, Kind
from adapters.providers import Headers, Provider, UsageInStream, bearer, plain_base_url

API_PATH = "/v1"

LIMITS_PREFIX = b"anthropic-ratelimit-"
"""Beside what every provider's error answers keep."""

KIND_BY_TYPE = {
    "invalid_request_error": Kind.INVALID_REQUEST,
    "billing_error": Kind.BILLING,
    "not_found_error": Kind.NOT_FOUND,
    "conflict_error": Kind.CONFLICT,
    "request_too_large": Kind.TOO_LARGE,
    "rate_limit_error": Kind.RATE_LIMIT,
    "api_error": Kind.UPSTREAM,
    "timeout_error": Kind.TIMEOUT,
    "overloaded_error": Kind.OVERLOADED,
}


def read_base_url(value: str) -> str:
    """Return the base URL that a value of ANTHROPIC_BASE_URL means. Raises `ValueError` when it means none."""
    return plain_base_url(value).removesuffix(API_PATH) + API_PATH


def sign(key: str | None) -> Headers:
    """Sign with `x-api-key`; no key, no header. Raises `ValueError` for a key that no header can carry."""
    bearer(key)
    return ((b"x-api-key", key.encode("ascii")),) if key else ()


class _Anthropic(Provider):
    """The provider whose errors say more than their status."""

    __slots__ = ()

    def failure(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Failure:
        """Return what an answer that is not 2xx means for the client, its kind by the error's type."""
        headers = tuple(headers)
        failure = super().failure(status, headers, body)
        if failure.status != status:
            return failure
        limits = tuple(header for header in headers if header[0].startswith(LIMITS_PREFIX))
        return replace(
            failure,
            kind=KIND_BY_TYPE.get(failure.type or "", failure.kind),
            code=_error_code(body) or failure.code,
            headers=failure.headers + limits,
        )


def _error_code(body: bytes) -> str | None:
    try:
        value = lenient.decode(body)
    except lenient.NotJsonError:
        return None
    for name in ("error", "details", "error_code"):
        value = value.get(name) if isinstance(value, dict) else None
    return lenient.text(value) if isinstance(value, str) and value else None


PROVIDER = _Anthropic(
    name="anthropic",
    title="Anthropic",
    base_url="https://api.anthropic.com/v1",
    base_url_env="ANTHROPIC_BASE_URL",
    key_env="ANTHROPIC_API_KEY",
    dialects=(("messages", "/messages"),),
    models_path="/models?limit=1000",
    usage_in_stream=UsageInStream.ALWAYS,
    sign=sign,
    read_base_url=read_base_url,
)
