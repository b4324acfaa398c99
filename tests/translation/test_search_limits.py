"""Bounds of a web search: kept where the upstream takes them, named where it does not, never lost in silence."""

import json
from typing import Any

import pytest

from adapters import capabilities, registry
from adapters.losses import Losses
from adapters.target import Target

TOOL: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search"}


def written(dialect: str, model: str, **limits: Any) -> tuple[str, list[str]]:
    """Return the request of a Messages client that offers a search with these limits, and what was dropped."""
    client, losses = registry.dialect("messages"), Losses()
    says = [{"role": "user", "content": "Hi"}]
    body = json.dumps({"model": "m", "max_tokens": 10, "messages": says, "tools": [TOOL | limits]}).encode()
    target = Target(model=model, capabilities=capabilities.of(model), scope="p/m", stream=False)
    conversation = client.read_conversation(client.parse_request(body), losses)
    return registry.dialect(dialect).write_request(conversation, target, losses).body.decode(), losses.dropped


@pytest.mark.parametrize(
    "limits", [{"allowed_domains": ["a.example"]}, {"blocked_domains": ["b.example"]}, {"max_uses": 3}]
)
@pytest.mark.parametrize(("dialect", "model"), [("gemini", "gemini-3-flash"), ("chat", "gpt-4o-search-preview")])
def test_limits_that_an_upstream_does_not_take_are_named(dialect: str, model: str, limits: dict[str, Any]) -> None:
    body, dropped = written(dialect, model, **limits)
    assert "googleSearch" in body or "web_search_options" in body
    assert len(dropped) == 1
    assert "tools" in dropped[0]
    assert written(dialect, model)[1] == []


def test_limits_that_an_upstream_takes_are_kept() -> None:
    body, dropped = written("responses", "gpt-5", allowed_domains=["a.example"])
    assert "a.example" in body
    assert dropped == []
