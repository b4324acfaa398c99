"""What routing asks of requests: the key of a conversation, and whether a provider does more than to answer."""

import json
from typing import Any

import pytest

from adapters import registry
from adapters.dialects import Request

USER, SAID = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}


def asked(dialect: str, body: dict[str, Any]) -> Request:
    argument = b"m:generateContent" if dialect == "gemini" else b""
    return registry.dialect(dialect).parse_request(json.dumps({"model": "m", **body}).encode(), argument)


def key(dialect: str, **body: Any) -> bytes | None:
    return registry.dialect(dialect).affinity(asked(dialect, body))


CONVERSATIONS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (
        "chat",
        {"messages": [{"role": "system", "content": "S"}, USER]},
        {"messages": [{"role": "system", "content": "S"}, USER, SAID, USER]},
        {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Other"}]},
    ),
    ("responses", {"input": [USER]}, {"input": [USER, SAID, USER]}, {"input": [USER], "instructions": "S"}),
    ("messages", {"messages": [USER]}, {"messages": [USER, SAID]}, {"messages": [USER], "system": "S"}),
    (
        "gemini",
        {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
        {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Ho"}]}]},
        {"contents": [{"role": "user", "parts": [{"text": "Other"}]}]},
    ),
]


@pytest.mark.parametrize(("dialect", "first", "later", "other"), CONVERSATIONS)
def test_a_conversation_keeps_its_key(
    dialect: str, first: dict[str, Any], later: dict[str, Any], other: dict[str, Any]
) -> None:
    assert key(dialect, **first) is not None
    assert key(dialect, **first) == key(dialect, **later)
    assert key(dialect, **first) != key(dialect, **other)


@pytest.mark.parametrize(
    ("dialect", "named"),
    [
        ("chat", {"prompt_cache_key": "k"}),
        ("responses", {"prompt_cache_key": "k"}),
        ("messages", {"metadata": {"user_id": "k"}}),
        ("gemini", {"cachedContent": "k"}),
    ],
)
def test_a_key_that_the_client_names_wins(dialect: str, named: dict[str, Any]) -> None:
    _, first, _, other = next(row for row in CONVERSATIONS if row[0] == dialect)
    assert key(dialect, **first, **named) == key(dialect, **other, **named)


def test_a_long_prompt_makes_no_long_key_and_nothing_makes_none() -> None:
    long = key("chat", messages=[{"role": "system", "content": "x" * 1_000_000}, USER])
    assert long is not None
    assert len(long) <= 4_096
    assert key("chat") is None
    assert key("messages", messages="x" * 9_000) is not None


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("chat", {"store": True}),
        ("chat", {"web_search_options": {"search_context_size": "low"}}),
        ("responses", {}),
        ("responses", {"store": True}),
        ("responses", {"store": False, "background": True}),
        ("responses", {"store": False, "tools": [{"type": "mcp", "server_url": "https://x"}]}),
        ("messages", {"mcp_servers": [{"url": "https://x"}]}),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ("gemini", {"tools": [{"googleSearch": {}}]}),
    ],
)
def test_what_a_provider_does_besides(dialect: str, body: dict[str, Any]) -> None:
    assert registry.dialect(dialect).has_side_effects(asked(dialect, body))


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("chat", {"store": False, "tools": [{"type": "function", "function": {"name": "f"}}]}),
        ("responses", {"store": False, "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]}),
        ("messages", {"tools": [{"name": "f", "input_schema": {}}, {"type": "custom", "name": "g"}]}),
        ("gemini", {"tools": [{"functionDeclarations": [{"name": "f"}]}]}),
        ("gemini", {"tools": "nonsense"}),
    ],
)
def test_what_only_answers(dialect: str, body: dict[str, Any]) -> None:
    assert not registry.dialect(dialect).has_side_effects(asked(dialect, body))
