"""What routing asks of requests: the key of a conversation, and whether a provider does more than to answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from adapters import affinity, registry
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


TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant"]), "content": st.text(max_size=30)}
)


@given(st.lists(TURN, max_size=5), st.integers(0, 6_000), st.booleans(), st.booleans())
def test_a_conversation_that_has_become_long_keeps_its_key(
    turns: list[dict[str, str]], characters: int, late: bool, ascii_only: bool
) -> None:
    filling = {"role": "system", "content": '"é]} ' * (characters // 5)}
    first = [*turns, filling, USER] if late else [filling, *turns, USER]
    later = [*first, {"role": "assistant", "content": "x" * 100_000}, {"role": "user", "content": "y" * 5_000}]
    keys = {
        registry.dialect("chat").affinity(
            registry.dialect("chat").parse_request(
                json.dumps({"model": "m", "messages": messages}, ensure_ascii=ascii_only).encode()
            )
        )
        for messages in (first, later)
    }
    assert len(keys) == 1


@pytest.mark.parametrize(
    "said",
    [
        b"[" + b"[" * 50_000 + b"]" * 50_001,
        b"[" + b"1," * 50_000 + b"1]",
        b"[" + b" " * 70_000 + b"1]",
        b"[" + b"1" * 70_000 + b"]",
        b'["a\nb", "' + b"x" * 70_000 + b'"]',
    ],
)
def test_an_odd_long_list_has_a_short_key(said: bytes) -> None:
    found = affinity.key({"messages": Raw(said)}, (), ("messages",))
    assert found is None or len(found) <= affinity.BEGINNING_BYTES_MAX


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
