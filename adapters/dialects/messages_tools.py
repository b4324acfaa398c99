"""Tools in Messages requests: their declarations, and which of them may or must be called.

- A tool's name is its flat one; free-form tools are functions with one text, their grammar in the description.
- A choice among some of the tools is made by sending only those: the dialect has no other word for it.
- A history with calls needs tools even when none are offered (Bedrock and older servers refuse it otherwise): the names
  that were called are declared, and `none` of them may be called.
"""

import msgspec
from msgspec import Raw

from adapters import effort
from adapters.capabilities import Capabilities
from adapters.conversation import Call, ChoiceKind, Conversation, Tool, Turn, WebSearch
from adapters.dialects.messages_content import cache_control
from adapters.dialects.messages_schema import NO_INPUT, input_schema, is_compiled
from adapters.losses import Losses
from adapters.tool_calls import custom_input

WEB_SEARCH = "web_search"
WEB_SEARCH_TYPE = "web_search_20250305"
"""The version that every model with web search takes, and that needs no code execution beside it."""

Object = dict[str, object]

_ENCODER = msgspec.json.Encoder()
_FREE_TEXT = Raw(_ENCODER.encode(custom_input.SCHEMA))


def write_tools(conversation: Conversation, turns: list[Turn], losses: Losses) -> list[Object]:
    """Return the declarations, in the client's order, the web search last."""
    choice = conversation.tool_choice
    only = frozenset(choice.names) if choice is not None and choice.kind is not ChoiceKind.NONE else frozenset()
    written: list[Object] = []
    for tool in conversation.tools:
        name = conversation.names.flat(tool.name, tool.namespace)
        if not only or name in only:
            written.append(_tool(tool, name, conversation, losses))
    if conversation.web_search is not None:
        written.append(_web_search(conversation.web_search))
    if not written:
        names = [conversation.names.flat(call.name, call.namespace) for call in _calls(turns)]
        written = [{"name": name, "input_schema": NO_INPUT} for name in dict.fromkeys(names)]
    return written


def write_choice(
    conversation: Conversation, capabilities: Capabilities, losses: Losses, *, thinking: bool, any_tools: bool
) -> Object | None:
    """Return `tool_choice`, None when there is nothing to say."""
    if not any_tools:
        return None
    if not conversation.tools and conversation.web_search is None:
        return {"type": "none"}
    choice = conversation.tool_choice
    written: Object | None = None
    if choice is not None:
        written = {"type": choice.kind.value}
        if choice.kind is ChoiceKind.ANY:
            if not effort.allows_forced_choice(capabilities, thinking=thinking):
                losses.note("tool_choice", conversation.paths.get("tool_choice", "tool_choice"))
                written = {"type": "auto"}
            elif len(choice.names) == 1:
                written = {"type": "tool", "name": choice.names[0]}
    if conversation.parallel_calls is False and (written is None or written["type"] != "none"):
        written = {**(written or {"type": "auto"}), "disable_parallel_tool_use": True}
    return written


def _tool(tool: Tool, name: str, conversation: Conversation, losses: Losses) -> Object:
    written: Object = {"name": name}
    description = tool.description
    if tool.custom:
        grammar = _grammar(tool.format)
        if grammar:
            losses.note("grammar", conversation.paths.get("grammar", "grammar"))
            description = f"{description}\n\nThe input must match this grammar:\n{grammar}".lstrip()
    if description:
        written["description"] = description
    schema = _FREE_TEXT if tool.custom else input_schema(tool.schema)
    written["input_schema"] = schema
    if tool.strict and not tool.custom:
        if is_compiled(schema):
            written["strict"] = True
        else:
            losses.note("strict_schema", conversation.paths.get("strict_schema", "strict_schema"))
    if tool.cache is not None:
        written["cache_control"] = cache_control(tool.cache)
    return written


def _grammar(written: Raw | None) -> str:
    """Return a free-form tool's grammar, "" when any text will do."""
    if written is None:
        return ""
    try:
        grammar = msgspec.json.decode(written)
    except (msgspec.DecodeError, RecursionError):
        return ""
    while isinstance(grammar, dict):
        inner = grammar.get("grammar", grammar.get("definition"))
        if not isinstance(inner, dict):
            return inner if isinstance(inner, str) else ""
        grammar = inner
    return ""


def _web_search(search: WebSearch) -> Object:
    written: Object = {"type": WEB_SEARCH_TYPE, "name": WEB_SEARCH}
    if search.uses_max is not None:
        written["max_uses"] = search.uses_max
    blocked = frozenset(search.blocked_domains)
    if search.allowed_domains:  # only one of the two lists is taken
        written["allowed_domains"] = [each for each in search.allowed_domains if each not in blocked]
    elif search.blocked_domains:
        written["blocked_domains"] = list(search.blocked_domains)
    return written


def _calls(turns: list[Turn]) -> list[Call]:
    return [part for turn in turns for part in turn.parts if isinstance(part, Call)]
