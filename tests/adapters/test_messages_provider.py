"""Anthropic as a provider: where it is, how it is signed for, what its errors mean."""

import json
from typing import Any

import pytest

from adapters import registry
from adapters.dialects import messages
from adapters.errors import Failure, Kind
from adapters.providers import SettingError, UsageInStream
from adapters.providers.anthropic import sign

KEY = "sk-ant-secret-0123456789"
PROVIDER = registry.provider("anthropic")


def fail(status: int, error: Any, headers: Any = ()) -> Failure:
    return PROVIDER.failure(status, headers, json.dumps({"type": "error", "error": error}).encode())


def test_what_it_is() -> None:
    assert PROVIDER.dialects == (("messages", "/messages"),)
    assert PROVIDER.usage_in_stream is UsageInStream.ALWAYS
    assert PROVIDER.models_path == "/models?limit=1000"
    hash(PROVIDER)


@pytest.mark.parametrize(
    ("value", "base_url"),
    [
        (None, "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/", "https://api.anthropic.com/v1"),
        ("http://proxy:1/x", "http://proxy:1/x/v1"),
        ("http://proxy:1/x/v1/", "http://proxy:1/x/v1"),
    ],
)
def test_addresses_as_the_vendors_sdk_has_them(value: str | None, base_url: str) -> None:
    environ = {"ANTHROPIC_API_KEY": f" {KEY}\n"} | ({} if value is None else {"ANTHROPIC_BASE_URL": value})
    (found,) = registry.providers_from_environment(environ)
    assert (found.provider, found.base_url, found.key) == (PROVIDER, base_url, KEY)
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    "environ",
    [
        {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "api.anthropic.com"},
        {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": f"https://me:{KEY}@x"},
        {"ANTHROPIC_API_KEY": f"{KEY}\r\nx-evil: 1"},
    ],
)
def test_settings_that_cannot_be_used(environ: dict[str, str]) -> None:
    with pytest.raises(SettingError) as caught:
        registry.providers_from_environment(environ)
    assert caught.value.variable == list(environ)[-1]
    assert KEY not in str(caught.value)


def test_signing() -> None:
    assert sign(KEY) == PROVIDER.sign(KEY) == ((b"x-api-key", KEY.encode()),)
    assert sign(None) == sign("") == ()
    with pytest.raises(ValueError, match="printable ASCII"):
        sign("é")


@pytest.mark.parametrize(
    ("status", "word", "kind", "retryable"),
    [
        (400, "invalid_request_error", Kind.INVALID_REQUEST, False),
        (402, "billing_error", Kind.BILLING, True),
        (404, "not_found_error", Kind.NOT_FOUND, False),
        (413, "request_too_large", Kind.TOO_LARGE, False),
        (429, "rate_limit_error", Kind.RATE_LIMIT, True),
        (500, "api_error", Kind.UPSTREAM, True),
        (500, "overloaded_error", Kind.OVERLOADED, True),
        (504, "timeout_error", Kind.TIMEOUT, True),
        (529, "overloaded_error", Kind.OVERLOADED, True),
        (529, "unheard_of_error", Kind.OVERLOADED, True),
    ],
)
def test_the_type_decides(status: int, word: str, kind: Kind, retryable: bool) -> None:
    failure = fail(status, {"type": word, "message": "m"})
    assert (failure.status, failure.kind, failure.type, failure.message) == (status, kind, word, "m")
    assert PROVIDER.retryable(failure) is retryable
    assert json.loads(messages.error_body(failure)) == {"type": "error", "error": {"type": word, "message": "m"}}
    assert messages.error_status(failure) == status


@pytest.mark.parametrize(("status", "word"), [(401, "authentication_error"), (403, "permission_error")])
def test_our_credentials_are_not_the_clients(status: int, word: str) -> None:
    failure = fail(status, {"type": word, "message": f"invalid x-api-key {KEY}", "details": {"error_code": "c"}})
    assert (failure.status, failure.kind, failure.code) == (502, Kind.UPSTREAM, "upstream_credentials_refused")
    assert KEY not in failure.message
    assert json.loads(messages.error_body(failure))["error"]["type"] == "api_error"


def test_a_named_cause_and_the_limits_pass() -> None:
    headers = [
        (b"retry-after", b"20"),
        (b"x-should-retry", b"true"),
        (b"anthropic-ratelimit-requests-reset", b"2026-11-21T00:00:00Z"),
        (b"anthropic-organization-id", b"ours"),
        (b"request-id", b"req_1"),
    ]
    error = {"type": "rate_limit_error", "message": "m", "details": {"error_code": "ramp_limit_exceeded"}}
    failure = fail(429, error, iter(headers))
    assert failure.headers == tuple(headers[:3])
    assert failure.code == "ramp_limit_exceeded"
    assert json.loads(messages.error_body(failure))["error"] == error


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad Gateway", b"[" * 100_000, b'{"error":{"details":{"error_code":[]}}}']
)
def test_bodies_that_are_no_error_document(body: bytes) -> None:
    failure = PROVIDER.failure(529, (), body)
    assert (failure.status, failure.kind, failure.code) == (529, Kind.OVERLOADED, None)


def test_a_status_that_is_no_answer() -> None:
    assert PROVIDER.failure(301, (), b"").code == "upstream_protocol_error"
