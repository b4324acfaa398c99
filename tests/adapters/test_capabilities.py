"""Capabilities: a model's row is found by any spelling of its name, and the rows are consistent."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.capabilities import UNKNOWN, Sampling, Thinking, bare, family, of
from adapters.capability_table import ROWS
from adapters.effort import WORDS
from adapters.tool_calls import ids


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("claude-opus-4-7", "claude-opus-4-7"),
        ("anthropic/claude-opus-4.7", "claude-opus-4-7"),
        ("us.anthropic.claude-opus-4-7", "claude-opus-4-7"),
        ("GLM-5.3", "glm-5.3"),
        ("zai-org/GLM-5.3", "glm-5.3"),
        ("accounts/fireworks/models/glm-5p3", "glm-5.3"),
        ("models/gemini-3.1-pro-preview", "gemini-3.1-pro-preview"),
        ("publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("openai.gpt-oss-120b-1:0", "gpt-oss-120b-1:0"),
        ("meta.llama3-3-70b-instruct-v1:0", "llama3-3-70b-instruct-v1:0"),
        ("deepseek.v3-v1:0", "deepseek.v3-v1:0"),
        ("gpt-5.5", "gpt-5.5"),
        ("", ""),
        ("/", ""),
    ],
)
def test_a_bare_name_is_without_what_providers_put_in_front(spelling: str, name: str) -> None:
    assert bare(spelling) == name


@pytest.mark.parametrize(
    ("model", "as_of"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-opus-4-1-20250805", "claude-opus-4-1"),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("claude-opus-5", "claude-opus-5"),
        ("claude-opus-7", "claude"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-5-mini", "gpt-5"),
        ("gpt-5.6-sol", "gpt-5.6"),
        ("gpt-5.9", "gpt-5."),
        ("gpt-5.5-pro-2026-04-23", "gpt-*-pro"),
        ("gpt-5-pro", "gpt-5-pro"),
        ("gpt-5.3-codex-spark", "gpt-*-codex"),
        ("gpt-5.1-codex-max", "gpt-5.1-codex-max"),
        ("gpt-4o-mini", "gpt-4o"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-7", "gpt"),
        ("o4-mini-deep-research", "o4-mini-deep-research"),
        ("gemini-2.5-flash-lite-preview-09-2025", "gemini-2.5-flash-lite"),
        ("gemini-flash-latest", "gemini"),
        ("glm-4.6v", "glm-4.*v"),
        ("glm-4.6", "glm-4.6"),
        ("glm-6", "glm"),
        ("kimi-k2.6", "kimi-k2."),
        ("kimi-k2-0905", "kimi-k2"),
        ("kimi-k3.1-pro", "kimi"),
        ("deepseek-flash", "deepseek"),
        ("mixtral-8x7b-instruct", "mixtral"),
    ],
)
def test_the_most_specific_row_wins(model: str, as_of: str) -> None:
    assert of(model) is ROWS[as_of]


@pytest.mark.parametrize("model", ["", "smollm2", "my-model", "gpting", "o11", "claudette", "a/b/c", "…"])
def test_an_unknown_model_gets_the_careful_default(model: str) -> None:
    assert of(model) is UNKNOWN
    assert UNKNOWN.thinking is Thinking.NONE
    assert UNKNOWN.sampling is Sampling.ALLOWED
    assert UNKNOWN.output_tokens_max == 8192
    assert not UNKNOWN.max_completion_tokens


@given(st.text())
def test_any_name_has_a_row_and_a_family(model: str) -> None:
    assert of(model) in [UNKNOWN, *ROWS.values()]
    assert len(family(model)) <= len(bare(model))


@pytest.mark.parametrize("pattern", ROWS)
def test_a_row_is_consistent(pattern: str) -> None:
    row = ROWS[pattern]
    assert [word for word in WORDS if word in row.efforts] == list(row.efforts), "ordered, and words there are"
    assert row.thinking_off or "none" not in row.efforts
    assert row.output_tokens_max > 0
    if row.thinking is Thinking.BUDGET:
        assert 0 < row.thinking_budget_min < row.thinking_budget_max <= row.output_tokens_max
    if row.thinking in {Thinking.NONE, Thinking.EFFORT, Thinking.LEVEL}:
        assert (row.thinking_budget_min, row.thinking_budget_max) == (0, 0) or pattern.startswith("claude")
    if row.thinking is Thinking.NONE:
        assert row.efforts == ()
    if row.thinking is Thinking.LEVEL or row.thinking is Thinking.ADAPTIVE:
        assert row.efforts
    if not row.forced_choice:
        assert not row.forced_choice_with_thinking
    if not row.thinking_off:
        assert row.thinks_unasked or row.thinking in {Thinking.LEVEL, Thinking.EFFORT}
    assert set(row.dialects) | set(row.tool_dialects) <= {"chat", "responses", "messages", "gemini"}


@pytest.mark.parametrize("pattern", ROWS)
def test_a_row_is_found_by_its_own_name(pattern: str) -> None:
    name = pattern.replace("*", "5.7") + ("9" if pattern.endswith(".") else "")
    found = of(name)
    assert found is ROWS[pattern] or any(
        other != pattern and re.match(re.escape(other).replace(r"\*", "[^-]*"), name) for other in ROWS
    )


def test_models_are_called_in_the_dialects_they_are_served_in() -> None:
    for model in ("o3-pro", "gpt-5-codex", "gpt-5.5-pro", "o3-deep-research"):
        assert of(model).dialects == ("responses",)
    assert of("gpt-5.6").dialects == ()
    assert of("gpt-5.6").tool_dialects == ("responses",)


def test_the_facts_that_requests_fail_on() -> None:
    assert of("claude-opus-4-7").sampling is Sampling.DEFAULT_ONLY
    assert of("claude-opus-4-6").sampling is Sampling.UNLESS_THINKING
    assert of("claude-sonnet-4-5").thinking is Thinking.BUDGET
    assert not of("claude-sonnet-4-5").sampling_pair
    assert of("claude-sonnet-4-5").prefill
    assert not of("claude-sonnet-4-6").prefill
    assert of("claude-sonnet-5-5").thinking_between_tools
    assert not of("claude-opus-5-5").forced_choice
    assert of("claude-opus-4-8").system_anywhere
    assert not of("claude-opus-4-7").system_anywhere
    assert of("claude-opus-5").call_ids == ids.WORD
    assert of("o3").max_completion_tokens
    assert not of("gpt-4o").max_completion_tokens
    assert of("gpt-5.2").sampling is Sampling.UNLESS_THINKING
    assert not of("gpt-5").stop
    assert of("gemini-3.7-flash").efforts == ("low", "medium", "high")
    assert not of("gemini-2.5-pro").thinking_off
    assert not of("gemini-2.0-flash").json_schema
    assert of("gemini-3-flash-preview").result_media
    assert of("mistral-large-latest").call_ids == ids.ALNUM9


@pytest.mark.parametrize(
    "model", ["deepseek-reasoner", "deepseek-v4-pro", "kimi-k2.6", "kimi-k3", "glm-4.7", "glm-5.3"]
)
def test_b31_models_that_want_their_reasoning_back(model: str) -> None:
    assert of(model).reasoning_back
    assert not of("gpt-5").reasoning_back


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("claude-opus-4-7", "claude-opus-4"),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4"),
        ("claude-3-7-sonnet-latest", "claude-3"),
        ("gpt-5.6-sol", "gpt-5"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-6.1-sol", "gpt-6"),
        ("o4-mini", "o4"),
        ("models/gemini-3.1-pro-preview", "gemini-3"),
        ("gemini-flash-latest", "gemini-flash"),
        ("deepseek-flash", "deepseek-flash"),
        ("deepseek-flash-20261017", "deepseek-flash"),
        ("qwen3-32b:free", "qwen3"),
        ("my-model:free", "my-model"),
        ("", ""),
    ],
)
def test_a_family_is_a_line_and_its_generation(model: str, line: str) -> None:
    assert family(model) == line
