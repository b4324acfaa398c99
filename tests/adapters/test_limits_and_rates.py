"""Tests of what a request says about the length of its answer, and of the headers about rates, in every dialect."""

import msgspec
import pytest

from adapters import registry

LIMITS = [
    ("chat", {"model": "m", "messages": [], "max_tokens": 100}, b"", 100),
    ("chat", {"model": "m", "messages": [], "max_completion_tokens": 50, "max_tokens": 100, "n": 3}, b"", 300),
    ("chat", {"model": "m", "messages": []}, b"", None),
    ("chat", {"model": "m", "messages": [], "max_tokens": "many"}, b"", None),
    ("legacy", {"model": "m", "prompt": "p", "max_tokens": 7}, b"", 7),
    ("responses", {"model": "m", "input": "i", "max_output_tokens": 9}, b"", 9),
    ("messages", {"model": "m", "messages": [], "max_tokens": 1024}, b"", 1024),
    ("gemini", {"contents": [], "generationConfig": {"maxOutputTokens": 5}}, b"m:generateContent", 5),
    ("gemini", {"contents": [], "generation_config": {"max_output_tokens": 6}}, b"m:generateContent", 6),
    ("gemini", {"contents": [], "generationConfig": {}}, b"m:generateContent", None),
]


@pytest.mark.parametrize(("name", "body", "argument", "limit"), LIMITS)
def test_the_limit_a_request_sets_for_its_answer(
    name: str, body: dict[str, object], argument: bytes, limit: int | None
) -> None:
    dialect = registry.dialect(name)
    assert dialect.output_tokens_max(dialect.parse_request(msgspec.json.encode(body), argument)) == limit


@pytest.mark.parametrize("name", ["chat", "legacy", "responses", "gemini"])
def test_rates_are_told_as_the_first_vendor_does(name: str) -> None:
    assert registry.dialect(name).rate_headers(b"requests", 60, 1_760_000_040, 1_760_000_010) == (
        (b"x-ratelimit-limit-requests", b"60"),
        b"x-ratelimit-remaining-requests",
        (b"x-ratelimit-reset-requests", b"30s"),
    )
    assert registry.dialect(name).rate_headers(b"tokens", 90_000, 1_760_000_040, 1_760_000_041) == (
        (b"x-ratelimit-limit-tokens", b"90000"),
        b"x-ratelimit-remaining-tokens",
        (b"x-ratelimit-reset-tokens", b"0s"),
    )


def test_rates_are_told_to_messages_clients_with_the_time_of_their_reset() -> None:
    assert registry.dialect("messages").rate_headers(b"requests", 60, 1_760_000_040, 0) == (
        (b"anthropic-ratelimit-requests-limit", b"60"),
        b"anthropic-ratelimit-requests-remaining",
        (b"anthropic-ratelimit-requests-reset", b"2025-10-09T08:54:00Z"),
    )
