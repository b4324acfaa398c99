"""How much an upstream of this dialect is told to think: `thinking`, the effort beside it, and the room it needs.

By the model's columns (`adapters.capabilities`): adaptive thinking with a word, a budget in tokens, or a switch where
vendors serve models of their own in this dialect. Nothing is said where the client said nothing, except that one who
wants to read thoughts wants some. Three things switch it off again or turn it down (B54):

- a budget needs the thinking block that the running tool call came from; a history that lacks it is asked without;
- a model that cannot be switched off thinks as little as it can;
- a limit that leaves no room for the least budget and an answer has no thinking.
"""

from msgspec import Struct

from adapters import effort
from adapters.capabilities import Capabilities, Thinking
from adapters.conversation import Call, Conversation, Reasoning, Result, Role, Thought, Turn
from adapters.losses import Losses

Object = dict[str, object]

EFFORT_OF_READERS = "medium"
"""For a model with budgets, when a client wants to read thoughts and does not say how many."""


class Plan(Struct, frozen=True):
    """What is written: `thinking`, `output_config.effort`, `max_tokens`; and whether the model will think."""

    output_tokens_max: int
    thinking: Object | None = None
    effort: str | None = None
    thinks: bool = False


def plan(conversation: Conversation, turns: list[Turn], capabilities: Capabilities, limit: int, losses: Losses) -> Plan:
    """Return how much the model is told to think; `limit` is how long the answer may be."""
    thought = conversation.thought
    word = effort.effort_of(thought.effort, thought.budget_tokens)
    if word is None and not thought.show:
        return Plan(limit, thinks=capabilities.thinks_unasked)
    if capabilities.thinking is Thinking.NONE:
        planned = Plan(limit)
        lost = word not in {None, effort.NONE}
    elif word == effort.NONE:
        planned = _least(thought, capabilities, limit)
        lost = planned.thinks
    else:
        planned = _asked(word, thought, turns, capabilities, limit)
        lost = not planned.thinks
    if lost:
        losses.note("effort", conversation.paths.get("effort", "effort"))
    return planned


def _least(thought: Thought, capabilities: Capabilities, limit: int) -> Plan:
    """Return as little thinking as the model can do with."""
    word = effort.word_for(effort.NONE, capabilities)
    if capabilities.thinking_off:
        says_so = capabilities.thinks_unasked or capabilities.thinking in {Thinking.EFFORT, Thinking.LEVEL}
        return Plan(limit, {"type": "disabled"} if says_so else None)
    if capabilities.thinking_between_tools:
        return Plan(limit, {"type": "between_tools"}, word, thinks=True)
    if capabilities.thinking is Thinking.BUDGET:
        return _enabled(capabilities.thinking_budget_min, thought, capabilities, limit)
    return Plan(limit, _adaptive(thought), word, thinks=True)


def _asked(word: str | None, thought: Thought, turns: list[Turn], capabilities: Capabilities, limit: int) -> Plan:
    asked = effort.word_for(word, capabilities)
    if capabilities.thinking is Thinking.ADAPTIVE:
        return Plan(limit, _adaptive(thought), asked, thinks=True)
    if capabilities.thinking is not Thinking.BUDGET:
        tokens = effort.BUDGETS[asked or EFFORT_OF_READERS]
        return Plan(limit, {"type": "enabled", "budget_tokens": tokens}, thinks=True)
    if lacks_thinking(turns):
        return Plan(limit)
    if thought.budget_tokens is not None:
        return _enabled(effort.fitted(thought.budget_tokens, capabilities, limit), thought, capabilities, limit)
    tokens = effort.budget_for(word or EFFORT_OF_READERS, capabilities, limit)
    return _enabled(tokens, thought, capabilities, limit, asked if capabilities.efforts else None)


def _enabled(tokens: int, thought: Thought, capabilities: Capabilities, limit: int, word: str | None = None) -> Plan:
    """Return a budget, or no thinking where an answer would find no room beside it.

    Thinking that the client will not see is not asked for: it comes back with its signature alone, which must then be
    all there was.
    """
    room = effort.output_tokens_for(tokens, capabilities, limit)
    if not 0 < tokens < room:
        return Plan(limit)
    thinking: Object = {"type": "enabled", "budget_tokens": tokens}
    if thought.show is False:
        thinking["display"] = "omitted"
    return Plan(room, thinking, word, thinks=True)


def _adaptive(thought: Thought) -> Object:
    if thought.show is None:
        return {"type": "adaptive"}
    return {"type": "adaptive", "display": "summarized" if thought.show else "omitted"}


def lacks_thinking(turns: list[Turn]) -> bool:
    """Whether the running tool call stands in a turn that does not begin with thinking."""
    if not turns or not any(isinstance(part, Result) for part in turns[-1].parts):
        return False
    last = next((turn for turn in reversed(turns) if turn.role is Role.ASSISTANT), None)
    return (
        last is not None
        and any(isinstance(part, Call) for part in last.parts)
        and not isinstance(last.parts[0], Reasoning)
    )
