"""Effort: words and budgets become what a model takes, and never more than was asked."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.capabilities import UNKNOWN, Capabilities, Sampling, Thinking, of
from adapters.capability_table import ROWS
from adapters.effort import (
    BUDGETS,
    WORDS,
    allows_forced_choice,
    allows_sampling,
    budget_for,
    effort_of,
    effort_of_budget,
    fitted,
    output_tokens_for,
    thinks,
    word_for,
)

BUDGETED = [row for row in ROWS.values() if row.thinking is Thinking.BUDGET]


@pytest.mark.parametrize(
    ("budget", "word"),
    [
        (-1, "high"),
        (0, "none"),
        (1, "minimal"),
        (512, "minimal"),
        (1024, "low"),
        (2048, "low"),
        (4096, "medium"),
        (8192, "medium"),
        (16_384, "high"),
        (31_999, "high"),
        (32_768, "xhigh"),
        (65_536, "max"),
        (10**9, "max"),
    ],
)
def test_a_budget_is_a_word(budget: int, word: str) -> None:
    assert effort_of_budget(budget) == word


@pytest.mark.parametrize("word", BUDGETS)
def test_the_budget_of_a_word_is_that_word(word: str) -> None:
    assert effort_of_budget(BUDGETS[word]) == word


def test_more_effort_is_a_greater_budget() -> None:
    assert list(BUDGETS) == list(WORDS[1:])
    assert all(less < more for less, more in pairwise(BUDGETS.values()))


@pytest.mark.parametrize(
    ("effort", "budget", "word"),
    [
        (None, None, None),
        ("low", None, "low"),
        (None, 8192, "medium"),
        ("low", 24_576, "high"),
        ("max", 0, "none"),
        ("ultra", None, None),
    ],
)
def test_what_a_client_said(effort: str | None, budget: int | None, word: str | None) -> None:
    assert effort_of(effort, budget) == word


@pytest.mark.parametrize(
    ("model", "words"),
    [
        # The column of a model: what none, minimal, low, medium, high, xhigh, max become.
        ("claude-opus-4-7", "none low low medium high xhigh max"),
        ("claude-opus-4-6", "none low low medium high high max"),
        ("claude-opus-5-5", "low low low medium high xhigh max"),
        ("gpt-5", "minimal minimal low medium high high high"),
        ("gpt-5.1", "none low low medium high high high"),
        ("gpt-5.2", "none low low medium high xhigh xhigh"),
        ("gpt-5.6", "none low low medium high xhigh max"),
        ("gpt-6.1-sol", "low low low medium high xhigh max"),
        ("gpt-5-pro", "high high high high high high high"),
        ("gemini-3-pro-preview", "low low low high high high high"),
        ("gemini-3.7-flash", "low low low medium high high high"),
        ("gemini-3-flash-preview", "minimal minimal low medium high high high"),
        ("gemini-3.1-flash-image", "minimal minimal minimal high high high high"),
        ("deepseek-v4-pro", "none low low high high high max"),
        ("kimi-k3", "low low low high high high max"),
        ("kimi-k2.6", "none - - - - - -"),
        ("mistral-medium-3.5", "none high high high high high high"),
        ("gpt-4o", "- - - - - - -"),
        ("smollm2", "- - - - - - -"),
    ],
)
def test_a_word_becomes_the_nearest_the_model_has(model: str, words: str) -> None:
    assert " ".join(word_for(word, of(model)) or "-" for word in WORDS) == words


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_word_is_one_of_the_models_or_off_or_nothing(row: Capabilities) -> None:
    for asked in (*WORDS, None, "ultra"):
        word = word_for(asked, row)
        assert word is None or word in row.efforts or (word == "none" and row.thinking_off)
        if asked != "none":
            assert word != "none"
        if asked in row.efforts:
            assert word == asked
    said = [word for asked in WORDS[1:] if (word := word_for(asked, row)) is not None]
    assert [WORDS.index(word) for word in said] == sorted(WORDS.index(word) for word in said), "monotonous"


@pytest.mark.parametrize(
    ("model", "effort", "limit", "budget"),
    [
        ("claude-sonnet-4-5", "low", 64_000, 1024),
        ("claude-sonnet-4-5", "minimal", 64_000, 1024),
        ("claude-sonnet-4-5", "high", 64_000, 24_576),
        ("claude-sonnet-4-5", "max", 64_000, 48_000),
        ("claude-sonnet-4-5", "high", 16_000, 12_000),
        ("claude-sonnet-4-5", "high", 1000, 1024),
        ("claude-sonnet-4-5", "none", 64_000, 0),
        ("claude-sonnet-4-5", None, 64_000, 0),
        ("gemini-2.5-pro", "none", 65_536, 128),
        ("gemini-2.5-pro", "minimal", 65_536, 512),
        ("gemini-2.5-flash", "none", 65_536, 0),
        ("gemini-2.5-flash", "max", 65_536, 24_576),
        ("gemini-2.5-flash-lite", "minimal", 65_536, 512),
        ("claude-opus-4-7", "high", 64_000, 0),
        ("gpt-5", "high", 64_000, 0),
    ],
)
def test_a_word_becomes_a_budget(model: str, effort: str | None, limit: int, budget: int) -> None:
    assert budget_for(effort, of(model), limit) == budget


@pytest.mark.parametrize(
    ("model", "asked", "limit", "budget"),
    [
        ("claude-sonnet-4-5", 31_999, 64_000, 31_999),
        ("claude-sonnet-4-5", 128, 64_000, 1024),
        ("claude-sonnet-4-5", -1, 64_000, 24_576),
        ("claude-sonnet-4-5", 0, 64_000, 0),
        ("gemini-2.5-pro", 0, 65_536, 128),
        ("gemini-2.5-pro", 10**6, 65_536, 32_768),
        ("smollm2", 8192, 8192, 0),
    ],
)
def test_a_budget_is_fitted_to_the_model(model: str, asked: int, limit: int, budget: int) -> None:
    assert fitted(asked, of(model), limit) == budget


@given(st.sampled_from(BUDGETED), st.sampled_from(WORDS), st.integers(1, 200_000))
def test_b57_a_budget_and_its_limit_are_ones_the_model_accepts(row: Capabilities, effort: str, asked: int) -> None:
    limit = min(asked, row.output_tokens_max)
    budget = budget_for(effort, row, limit)
    total = output_tokens_for(budget, row, limit)
    assert budget == 0 or row.thinking_budget_min <= budget <= row.thinking_budget_max
    assert limit <= total <= row.output_tokens_max
    assert budget < total
    if budget <= limit * 3 // 4:
        assert total == limit


def test_b54_thinking_sampling_and_a_forced_call_on_a_model_with_budgets() -> None:
    model = of("claude-sonnet-4-5")
    budget = budget_for("high", model, 1000)
    limit = output_tokens_for(budget, model, 1000)
    assert budget < limit
    assert limit == 2024, "the answer keeps the room the client gave it"
    thinking = thinks("high", model)
    assert thinking
    assert not allows_sampling(model, thinking=thinking)
    assert not allows_forced_choice(model, thinking=thinking)


def test_b54_thinking_sampling_and_a_forced_call_on_an_adaptive_model() -> None:
    model = of("claude-opus-4-7")
    assert model.thinking is Thinking.ADAPTIVE
    assert word_for("high", model) == "high"
    assert not allows_sampling(model, thinking=False)
    assert not allows_forced_choice(model, thinking=thinks("high", model))
    assert allows_forced_choice(model, thinking=thinks("none", model))


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "sampling", "forced"),
    [
        ("claude-opus-4-6", None, False, True, True),
        ("claude-opus-4-6", "low", True, False, False),
        ("claude-sonnet-5", None, True, False, True),
        ("claude-opus-5-5", "none", True, False, False),
        ("gpt-5.2", None, False, True, True),
        ("gpt-5.5", None, True, False, True),
        ("gpt-5.5", "none", False, True, True),
        ("gpt-5", "none", True, False, True),
        ("deepseek-v4-pro", None, True, True, False),
        ("deepseek-v4-pro", "none", False, True, True),
        ("glm-4.7", "none", False, True, False),
        ("gemini-3.1-pro-preview", "high", True, True, True),
        ("smollm2", "high", False, True, True),
    ],
)
def test_what_thinking_rules_out(model: str, effort: str | None, thinking: bool, sampling: bool, forced: bool) -> None:
    row = of(model)
    assert thinks(effort, row) is thinking
    assert allows_sampling(row, thinking=thinking) is sampling
    assert allows_forced_choice(row, thinking=thinking) is forced


def test_an_unknown_model_is_asked_for_nothing() -> None:
    assert UNKNOWN.sampling is Sampling.ALLOWED
    assert {word_for(word, UNKNOWN) for word in WORDS} == {None}
    assert {budget_for(word, UNKNOWN, 8192) for word in WORDS} == {0}
