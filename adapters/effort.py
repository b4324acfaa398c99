"""Effort and thinking: how much a model should think, said in whatever way the model takes it.

Clients say a word (none, minimal, low, medium, high, xhigh, max) or a number of tokens (0: not at all, -1: as the model
likes). Models take a word out of their own list, or a number within bounds, or nothing. Here one becomes the other, by
the columns of a model (`adapters.capabilities`); nothing is said where nothing was asked. The rules:

- a word the model lacks becomes the nearest one it has. At equal distance the stronger one, as vendors do themselves
  (medium is high where there is no medium), but never `max`: nobody pays for the utmost who did not ask for it;
- a word that asks for thinking never becomes `none`, and `none` becomes the weakest word where thinking stays on;
- a budget leaves a quarter of the output limit to the answer, as limits of models with budgets include their thoughts.
  A limit too small for the least budget is raised by it: the client's limit was meant for the answer (B54, B57).

It does not know how a dialect writes any of this.
"""

from collections.abc import Mapping

from adapters.capability_columns import Capabilities, Sampling, Thinking

WORDS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Every word there is, weakest first."""

NONE = "none"
MAX = "max"
AS_THE_MODEL_LIKES = -1

WORD_AS_THE_MODEL_LIKES = "high"
"""What adaptive thinking without a word means to the vendor that has it."""

BUDGETS: Mapping[str, int] = {
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 32_768,
    "max": 65_536,
}
"""Words as tokens: low to high as ai.google.dev/gemini-api/docs/openai has them (2026), the others around them."""

LEAST_BUDGETS: tuple[tuple[int, str], ...] = (
    (65_536, "max"),
    (32_768, "xhigh"),
    (16_384, "high"),
    (4096, "medium"),
    (1024, "low"),
    (1, "minimal"),
    (0, NONE),
)
"""From how many tokens on a budget is a word. Clients use 4000 to 8192 for medium, 16000 to 31999 for high."""

_RANKS = {word: rank for rank, word in enumerate(WORDS)}


def effort_of_budget(budget: int) -> str:
    """Return the word for a budget in tokens; any negative one leaves it to the model."""
    if budget < 0:
        return WORD_AS_THE_MODEL_LIKES
    return next(word for least, word in LEAST_BUDGETS if budget >= least)


def effort_of(effort: str | None, budget_tokens: int | None) -> str | None:
    """Return the word for what a client said: the budget's, if it gave one; None if it said nothing that is a word."""
    if budget_tokens is not None:
        return effort_of_budget(budget_tokens)
    return effort if effort in _RANKS else None


def word_for(effort: str | None, capabilities: Capabilities) -> str | None:
    """Return the word to ask the model for, None to say nothing.

    "none" means that thinking is to be switched off, by that word if it is among `efforts`, else as the dialect does
    it (`thinking_off`). It is returned for no other effort, and only where the model can be switched off.
    """
    if effort not in _RANKS or capabilities.thinking is Thinking.NONE:
        return None
    if effort == NONE and capabilities.thinking_off:
        return NONE
    words = [word for word in capabilities.efforts if word != NONE]
    if effort in words or not words:
        return effort if effort in words else None
    if effort == NONE:
        return words[0]
    asked = _RANKS[effort]

    def unlikeness(word: str) -> tuple[int, bool, int]:
        return abs(_RANKS[word] - asked), word == MAX, -_RANKS[word]

    return min(words, key=unlikeness)


def budget_for(effort: str | None, capabilities: Capabilities, output_tokens_max: int) -> int:
    """Return how many tokens a model with budgets may think; 0 when it is not to, or has none.

    `output_tokens_max` is the limit of the whole output, thoughts included. See `output_tokens_for`.
    """
    if effort not in _RANKS or capabilities.thinking is not Thinking.BUDGET:
        return 0
    if effort == NONE:
        return 0 if capabilities.thinking_off else capabilities.thinking_budget_min
    return fitted(BUDGETS[effort], capabilities, output_tokens_max)


def fitted(budget: int, capabilities: Capabilities, output_tokens_max: int) -> int:
    """Return the nearest budget the model accepts that leaves room for an answer; 0 for a model without budgets.

    0 stays 0 where thinking may be off; a negative budget, which leaves it to the model, is that of the word for it.
    """
    if capabilities.thinking is not Thinking.BUDGET or (budget == 0 and capabilities.thinking_off):
        return 0
    wanted = budget if budget >= 0 else BUDGETS[WORD_AS_THE_MODEL_LIKES]
    at_most = min(capabilities.thinking_budget_max, output_tokens_max * 3 // 4)
    return max(capabilities.thinking_budget_min, min(wanted, at_most))


def output_tokens_for(budget: int, capabilities: Capabilities, output_tokens_max: int) -> int:
    """Return the limit of the whole output for an answer of `output_tokens_max` beside that budget.

    The same limit, unless the budget would take more than three quarters of it; never above the model's own.
    """
    if budget <= 0 or budget <= output_tokens_max * 3 // 4:
        return capabilities.limited(output_tokens_max)
    return capabilities.limited(output_tokens_max + budget)


def thinks(effort: str | None, capabilities: Capabilities) -> bool:
    """Return whether the model will think when asked with this word; None: when nothing is said."""
    if effort is None:
        return capabilities.thinks_unasked
    if effort == NONE:
        return not capabilities.thinking_off
    return capabilities.thinking is not Thinking.NONE or capabilities.thinks_unasked


def allows_sampling(capabilities: Capabilities, *, thinking: bool) -> bool:
    """Return whether temperature, top_p and top_k may be given."""
    if capabilities.sampling is Sampling.UNLESS_THINKING:
        return not thinking
    return capabilities.sampling is Sampling.ALLOWED


def allows_forced_choice(capabilities: Capabilities, *, thinking: bool) -> bool:
    """Return whether a tool call may be forced."""
    return capabilities.forced_choice and (capabilities.forced_choice_with_thinking or not thinking)
