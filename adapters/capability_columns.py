"""The columns of the model table: what there is to know of a model before a request is written for it.

A column is here when a request that ignores it fails at some model, or is answered wrongly. Prices, windows and
qualities are not. What the models are is in `adapters.capability_table`; a model's row is found by
`adapters.capabilities`.
"""

from enum import Enum

from msgspec import Struct

from adapters.tool_calls import ids


class Thinking(Enum):
    """How a request says how much to think."""

    NONE = "none"
    """Not at all: the model does not think, or does as it likes."""
    EFFORT = "effort"
    """By a word, or only by switching it off."""
    ADAPTIVE = "adaptive"
    """By a word; the model decides how often."""
    BUDGET = "budget"
    """By a number of tokens."""
    LEVEL = "level"
    """By a thinking level, which has its own name for each word."""


class Sampling(Enum):
    """Whether temperature, top_p and top_k may be given."""

    ALLOWED = "allowed"
    DEFAULT_ONLY = "default_only"
    """Any value given may be refused: leave them out."""
    UNLESS_THINKING = "unless_thinking"


class Capabilities(Struct, frozen=True):
    """What a model can take. The defaults are `UNKNOWN`: an ordinary model that nothing is known about.

    `efforts` are the words it accepts, weakest first, of none, minimal, low, medium, high, xhigh, max; "none" is among
    them only where thinking is switched off by that word. Budgets and limits are tokens. `dialects`: the only ones it
    is served in, () for whatever its provider speaks; `tool_dialects`: the only ones in which it takes tools while it
    thinks. `forced_choice`: may the request force a call at all; `forced_choice_with_thinking`: also while it thinks.
    """

    thinking: Thinking = Thinking.NONE
    efforts: tuple[str, ...] = ()
    sampling: Sampling = Sampling.ALLOWED
    sampling_pair: bool = True
    """Temperature and top_p may be given together."""
    output_tokens_max: int = 8192
    thinking_budget_min: int = 0
    thinking_budget_max: int = 0
    thinking_off: bool = True
    """Thinking may be switched off; also true of a model that never thinks."""
    thinks_unasked: bool = False
    """A request that says nothing about thinking is answered with thinking."""
    thinking_switch: bool = False
    """At its vendor, a `thinking` object switches thinking on and off in every dialect; "none" is no word there."""
    thinking_between_tools: bool = False
    """What comes nearest to off is thinking between tool calls alone (efforts up to high)."""
    forced_choice: bool = True
    forced_choice_with_thinking: bool = True
    system_anywhere: bool = False
    """Role system may stand inside the messages; where exactly, the dialect says (`adapters.history.placed`)."""
    structured_output: bool = True
    """It takes a JSON Schema for its text."""
    prefill: bool = True
    """The conversation may end with the assistant's turn."""
    stop: bool = True
    max_completion_tokens: bool = False
    """It wants the newer field in place of max_tokens."""
    developer_role: bool = False
    reasoning_back: bool = False
    """Earlier reasoning has to come back with the calls it led to (B31)."""
    json_schema: bool = True
    """Schemas may be real JSON Schema, not only the older OpenAPI form."""
    result_media: bool = False
    """Results of calls may hold images and documents."""
    images: bool = True
    call_ids: ids.IdRule = ids.ANY
    dialects: tuple[str, ...] = ()
    tool_dialects: tuple[str, ...] = ()

    def limited(self, output_tokens: int) -> int:
        """Return how many tokens may be asked for; of a model that nothing is known of the client knows more."""
        return output_tokens if self == UNKNOWN else min(output_tokens, self.output_tokens_max)


UNKNOWN = Capabilities()
"""What is assumed of a model whose name says nothing."""
