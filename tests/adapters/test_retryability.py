"""Whether another attempt helps, and what clients are told about asking again."""

import json
from typing import Any

import pytest

from adapters import registry
from adapters.dialects import chat_errors, gemini, gemini_errors, messages, messages_errors, responses_errors
from adapters.errors import Failure, Kind
from adapters.providers import Provider
from adapters.retry_hints import RATE_LIMIT_RETRY_SECONDS, with_retry_hints

PROVIDERS = pytest.mark.parametrize("provider", registry.providers().values(), ids=lambda provider: provider.name)
NO_RETRY = (b"x-should-retry", b"false")
DEFAULT = (b"retry-after", b"%d" % RATE_LIMIT_RETRY_SECONDS)


# -- another attempt ---------------------------------------------------------------------------------------------------

IN_BAND: list[tuple[str, Failure, Kind, bool]] = [
    (name, read(json.dumps(error).encode()), kind, retryable)
    for name, read, error, kind, retryable in (
        ("chat", chat_errors.read_error, {"type": "invalid_request_error"}, Kind.INVALID_REQUEST, False),
        ("chat", chat_errors.read_error, {"code": "context_length_exceeded"}, Kind.INVALID_REQUEST, False),
        ("chat", chat_errors.read_error, {"code": "content_filter"}, Kind.INVALID_REQUEST, False),
        ("chat", chat_errors.read_error, {"code": "content_policy_violation"}, Kind.INVALID_REQUEST, False),
        ("chat", chat_errors.read_error, {"code": "model_not_found"}, Kind.NOT_FOUND, False),
        ("chat", chat_errors.read_error, {"code": "request_too_large"}, Kind.TOO_LARGE, False),
        ("chat", chat_errors.read_error, {"code": 422}, Kind.UNPROCESSABLE, False),
        ("chat", chat_errors.read_error, {"code": "rate_limit_exceeded"}, Kind.RATE_LIMIT, True),
        ("chat", chat_errors.read_error, {"code": "insufficient_quota"}, Kind.QUOTA, True),
        ("chat", chat_errors.read_error, {"code": "overloaded"}, Kind.OVERLOADED, True),
        ("chat", chat_errors.read_error, {"code": 408}, Kind.TIMEOUT, True),
        ("chat", chat_errors.read_error, {"type": "of its own"}, Kind.UPSTREAM, True),
        ("chat", chat_errors.read_error, {"code": "invalid_api_key"}, Kind.UPSTREAM, True),
        ("responses", responses_errors.read_error, {"code": "invalid_prompt"}, Kind.INVALID_REQUEST, False),
        ("responses", responses_errors.read_error, {"code": "image_too_large"}, Kind.INVALID_REQUEST, False),
        ("responses", responses_errors.read_error, {"code": "context_length_exceeded"}, Kind.INVALID_REQUEST, False),
        ("responses", responses_errors.read_error, {"code": "server_error"}, Kind.UPSTREAM, True),
        ("responses", responses_errors.read_error, {"code": "server_is_overloaded"}, Kind.OVERLOADED, True),
        ("messages", messages_errors.read_error, {"error": {"type": "request_too_large"}}, Kind.TOO_LARGE, False),
        ("messages", messages_errors.read_error, {"error": {"type": "not_found_error"}}, Kind.NOT_FOUND, False),
        ("messages", messages_errors.read_error, {"error": {"type": "overloaded_error"}}, Kind.OVERLOADED, True),
        ("messages", messages_errors.read_error, {"error": {"type": "rate_limit_error"}}, Kind.RATE_LIMIT, True),
        ("messages", messages_errors.read_error, {"error": {"type": "billing_error"}}, Kind.BILLING, True),
        ("gemini", gemini_errors.read_error, {"status": "INVALID_ARGUMENT"}, Kind.INVALID_REQUEST, False),
        ("gemini", gemini_errors.read_error, {"status": "FAILED_PRECONDITION"}, Kind.INVALID_REQUEST, False),
        ("gemini", gemini_errors.read_error, {"code": 404, "status": "NOT_FOUND"}, Kind.NOT_FOUND, False),
        ("gemini", gemini_errors.read_error, {"status": "RESOURCE_EXHAUSTED"}, Kind.RATE_LIMIT, True),
        ("gemini", gemini_errors.read_error, {"status": "UNAVAILABLE"}, Kind.OVERLOADED, True),
        ("gemini", gemini_errors.read_error, {"status": "PERMISSION_DENIED"}, Kind.UPSTREAM, True),
    )
]


@PROVIDERS
def test_in_band_errors_are_judged_as_error_answers_are(provider: Provider) -> None:
    for dialect, failure, kind, retryable in IN_BAND:
        shown = (dialect, failure.type, failure.code, failure.status)
        assert failure.kind is kind, shown
        assert provider.retryable(failure) is retryable, shown


def test_a_faulty_request_is_not_cured_by_a_status_above_500() -> None:
    provider = registry.provider("anthropic")
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"m"}}'
    failure = provider.failure(500, (), body)
    assert (failure.status, failure.kind) == (500, Kind.INVALID_REQUEST)
    assert not provider.retryable(failure)


# -- what clients are told ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (429, (), (DEFAULT,)),
        (429, ((b"retry-after", b"  "),), (DEFAULT,)),
        (429, ((b"retry-after", b"7"),), ((b"retry-after", b"7"),)),
        (429, ((b"retry-after", b"0"),), ((b"retry-after", b"0"),)),
        (
            429,
            ((b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT"),),
            ((b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT"),),
        ),
        (429, ((b"retry-after-ms", b"1500"),), ((b"retry-after-ms", b"1500"), (b"retry-after", b"2"))),
        (429, ((b"retry-after-ms", b"20"),), ((b"retry-after-ms", b"20"), (b"retry-after", b"1"))),
        (429, ((b"retry-after-ms", b"soon"),), ((b"retry-after-ms", b"soon"), DEFAULT)),
        (503, ((b"retry-after-ms", b"2000.5"),), ((b"retry-after-ms", b"2000.5"), (b"retry-after", b"2"))),
        (503, (), ()),
        (500, (), ()),
        (400, (), ()),
    ],
)
def test_every_429_names_a_delay(
    status: int, headers: tuple[tuple[bytes, bytes], ...], expected: tuple[tuple[bytes, bytes], ...]
) -> None:
    failure = Failure(status, Kind.RATE_LIMIT, "m", headers=headers)
    assert with_retry_hints(failure).headers == expected
    assert with_retry_hints(with_retry_hints(failure)) == with_retry_hints(failure)


@pytest.mark.parametrize(
    ("failure", "useless"),
    [
        (Failure(402, Kind.BILLING, "m"), True),
        (Failure(429, Kind.QUOTA, "m"), True),
        (Failure(429, Kind.RATE_LIMIT, "m"), False),
        (Failure(401, Kind.AUTHENTICATION, "m"), True),
        (Failure(502, Kind.UPSTREAM, "m", code="upstream_credentials_refused"), True),
        (Failure(501, Kind.UPSTREAM, "m"), True),
        (Failure(502, Kind.UPSTREAM, "m", code="upstream_reset"), False),
        (Failure(503, Kind.OVERLOADED, "m"), False),
        (Failure(504, Kind.TIMEOUT, "m"), False),
        (Failure(500, Kind.INTERNAL, "m"), False),
        (Failure(403, Kind.PERMISSION, "m"), False),
        (Failure(404, Kind.NOT_FOUND, "m"), False),
    ],
)
def test_a_useless_retry_is_said_to_be_one(failure: Failure, useless: bool) -> None:
    assert (NO_RETRY in with_retry_hints(failure).headers) is useless


def test_an_upstreams_own_word_on_retries_stays() -> None:
    said = (b"x-should-retry", b"true")
    failure = Failure(402, Kind.BILLING, "m", headers=(said,))
    assert with_retry_hints(failure) is failure


def test_a_failure_that_says_all_stays_the_same_object() -> None:
    failure = Failure(429, Kind.RATE_LIMIT, "m", headers=((b"retry-after", b"7"),))
    assert with_retry_hints(failure) is failure


# -- in the words of the dialect whose clients read a body -------------------------------------------------------------

RPC = "type.googleapis.com/google.rpc."


def details(failure: Failure) -> dict[str, dict[str, Any]]:
    found = json.loads(gemini.error_body(with_retry_hints(failure)))["error"].get("details", [])
    return {detail["@type"].removeprefix(RPC): detail for detail in found}


def test_a_delay_stands_among_the_details() -> None:
    limited = details(Failure(429, Kind.RATE_LIMIT, "m"))
    assert limited == {"RetryInfo": {"@type": RPC + "RetryInfo", "retryDelay": f"{RATE_LIMIT_RETRY_SECONDS}s"}}
    assert details(Failure(429, Kind.RATE_LIMIT, "m", headers=((b"retry-after-ms", b"1500"),)))["RetryInfo"] == {
        "@type": RPC + "RetryInfo",
        "retryDelay": "1.5s",
    }


@pytest.mark.parametrize(
    "failure",
    [
        Failure(429, Kind.QUOTA, "m"),
        Failure(429, Kind.QUOTA, "m", type="insufficient_quota", code="insufficient_quota"),
        Failure(402, Kind.BILLING, "m"),
        Failure(400, Kind.BILLING, "m", type="billing_error"),
        Failure(429, Kind.QUOTA, "m", type="TokensPerMonth", code="RESOURCE_EXHAUSTED"),
    ],
)
def test_what_is_spent_is_a_quota_of_the_day(failure: Failure) -> None:
    (violation,) = details(failure)["QuotaFailure"]["violations"]
    assert "PerDay" in violation["quotaId"]


def test_a_quota_that_is_not_of_the_day_keeps_its_name_and_no_more() -> None:
    minute = Failure(429, Kind.RATE_LIMIT, "m", type="TokensPerMinute", code="RESOURCE_EXHAUSTED")
    assert details(minute)["QuotaFailure"]["violations"] == [{"quotaId": "TokensPerMinute"}]
    assert "ErrorInfo" not in details(minute)
    month = Failure(429, Kind.QUOTA, "m", type="TokensPerMonth", code="RESOURCE_EXHAUSTED")
    assert details(month)["ErrorInfo"]["reason"] == "TOKENSPERMONTH"


# -- who asked how -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "query", "array"),
    [
        (b"m:streamGenerateContent", b"", True),
        (b"a/b%3Ac:streamGenerateContent", b"key=k", True),
        (b"m:streamGenerateContent", b"alt=json", True),
        (b"m:streamGenerateContent", b"alt=sse", False),
        (b"m:streamGenerateContent", b"key=k&%24alt=SSE", False),
        (b"m:generateContent", b"", False),
        (b"m:countTokens", b"", False),
        (b"", b"", False),
        (b"GET, POST, OPTIONS", b"", False),
    ],
)
def test_an_error_is_in_a_list_for_who_asked_for_an_array(argument: bytes, query: bytes, array: bool) -> None:
    failure = Failure(404, Kind.NOT_FOUND, "m")
    assert gemini.refusal_body(failure, argument, query) == gemini.error_body(failure, array=array)
    if array:
        body = json.dumps({"contents": []}).encode()
        assert gemini.parse_request(body, argument, query).array


def test_other_dialects_have_one_form_of_an_error() -> None:
    failure = Failure(404, Kind.NOT_FOUND, "m")
    for dialect in (registry.dialect("chat"), registry.dialect("responses"), messages):
        body = dialect.refusal_body(failure, b"m:streamGenerateContent", b"")
        assert body == dialect.error_body(failure)


def test_who_notices_only_a_cut() -> None:
    assert [name for name in registry.dialects() if registry.dialect(name).ABORT_AFTER_ERROR] == ["gemini"]
