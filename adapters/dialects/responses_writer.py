"""The writer: a neutral conversation as a Responses request, always the same bytes for the same conversation.

Nothing is to be stored upstream, so everything is sent each time: reasoning with its encrypted form, if an upstream of
this scope made it, and without it not at all. What the dialect has no word for is noted, with two exceptions that the
gateway makes up for: stop sequences cut the text here, and "JSON without a schema" is also said in words where nobody
said it, since the vendor refuses the mode otherwise. Strictness is never left to the vendor's default, which tries to
be strict with schemas that were not made for it. The free-form tools and the namespaces of this dialect's own clients
do not come this way; a free-form tool of a foreign client is native here, a namespace is part of the tool's flat name.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw

from adapters import effort
from adapters.capabilities import Capabilities, Thinking
from adapters.conversation import (
    ChoiceKind,
    Conversation,
    Format,
    FormatKind,
    Role,
    Text,
    Tool,
    ToolChoice,
    Turn,
    WebSearch,
)
from adapters.dialects.responses_items_writer import Items, Object
from adapters.history import settled
from adapters.losses import Losses
from adapters.target import Target, Written

OUTPUT_TOKENS_MIN = 16
"""The vendor refuses less (community.openai.com, "integer below minimum value")."""

USER_CHARACTERS_MAX = 64
"""Of `safety_identifier`; a longer one is a 400 upstream and only a hint."""

FORMAT_NAME = "answer"

_SERVICE_TIERS = {
    **{tier: tier for tier in ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")},
    "standard": "default",
    "standard_only": "default",
}
"""Other dialects' words for the tiers that exist here."""

_CHOICES = {ChoiceKind.AUTO: "auto", ChoiceKind.NONE: "none", ChoiceKind.ANY: "required"}
_JSON_WORDS = "Answer in JSON."


def write_request(conversation: Conversation, target: Target, losses: Losses) -> Written:
    """Return the request for an upstream of this dialect. Raises `ClientError` for what it cannot say."""
    capabilities = target.capabilities
    instructions, turns = _instructions(settled(conversation.turns))
    items = Items(conversation, target, losses)
    for turn in turns:
        items.add(turn)
    if instructions is not None and not items.written:
        items.tell(instructions)
        instructions = None
    body: Object = {"model": target.model}
    if instructions is not None:
        body["instructions"] = instructions
    if conversation.format is not None and conversation.format.kind is FormatKind.JSON and not _says_json(turns):
        items.tell(_JSON_WORDS)
    body["input"] = items.written
    if conversation.output_tokens_max is not None:
        wanted = max(conversation.output_tokens_max, OUTPUT_TOKENS_MIN)
        limited = body["max_output_tokens"] = capabilities.limited(wanted)
        if wanted > limited:
            _note(conversation, losses, "output_tokens_max")
    thought = conversation.thought
    word = effort.word_for(effort.effort_of(thought.effort, thought.budget_tokens), capabilities)
    thinking = effort.thinks(word, capabilities)
    _add_tools(body, conversation, losses, forced=effort.allows_forced_choice(capabilities, thinking=thinking))
    _add_thought(body, conversation, capabilities, word, losses)
    _add_sampling(body, conversation, capabilities, losses, thinking=thinking)
    _add_form(body, conversation, capabilities, losses)
    _add_hints(body, conversation, losses)
    body["store"] = False
    if capabilities.thinking is not Thinking.NONE:
        body["include"] = ["reasoning.encrypted_content"]
    if target.stream:
        body["stream"] = True
    return Written(msgspec.json.encode(body), stops=conversation.stop)


def generation_path(path: str, *, model: str, stream: bool) -> str:
    """Return where to ask: the model and the form of the answer stand in the body."""
    return path


def _note(conversation: Conversation, losses: Losses, feature: str) -> None:
    losses.note(feature, conversation.paths.get(feature, feature))


def _instructions(turns: list[Turn]) -> tuple[str | None, list[Turn]]:
    """Return the system text that stands alone in front, and the rest: other system turns stay where they are.

    A conversation of no other turn keeps it as one, for the vendor wants some input.
    """
    if len(turns) > 1 and turns[0].role is Role.SYSTEM and turns[1].role is not Role.SYSTEM:
        parts = turns[0].parts
        if len(parts) == 1 and isinstance(parts[0], Text) and parts[0].text and parts[0].cache is None:
            return parts[0].text, turns[1:]
    return None, turns


# -- tools -------------------------------------------------------------------------------------------------------------


def _add_tools(body: Object, conversation: Conversation, losses: Losses, *, forced: bool) -> None:
    tools = [_tool(tool, conversation) for tool in conversation.tools]
    if conversation.web_search is not None:
        tools.append(_web_search(conversation.web_search))
        if conversation.web_search.uses_max is not None:
            body["max_tool_calls"] = conversation.web_search.uses_max
    if any(tool.cache is not None for tool in conversation.tools):
        _note(conversation, losses, "cache")
    if not tools:
        return
    body["tools"] = tools
    choice = conversation.tool_choice
    if choice is not None:
        if choice.kind is ChoiceKind.ANY and not forced:
            _note(conversation, losses, "tool_choice")
            choice = ToolChoice(ChoiceKind.AUTO, choice.names)
        body["tool_choice"] = _choice(choice, conversation)
    if conversation.parallel_calls is not None:
        body["parallel_tool_calls"] = conversation.parallel_calls


def _tool(tool: Tool, conversation: Conversation) -> Object:
    written: Object = {
        "type": "custom" if tool.custom else "function",
        "name": conversation.names.flat(tool.name, tool.namespace),
    }
    if tool.description:
        written["description"] = tool.description
    if tool.custom:
        return written if tool.format is None else written | {"format": tool.format}
    return written | {"parameters": _parameters(tool.schema), "strict": bool(tool.strict)}


def _parameters(schema: Raw | None) -> object:
    """Return a function's schema, which must have `properties` even when there are none."""
    if schema is None:
        return {"type": "object", "properties": {}}
    members = msgspec.json.decode(schema, type=dict[str, Raw])
    if "properties" in members or not members.keys() <= {"type", "$schema", "additionalProperties", "description"}:
        return schema
    return {"type": "object", **members, "properties": {}}


def _web_search(search: WebSearch) -> Object:
    written: Object = {"type": "web_search"}
    domains = {"allowed_domains": search.allowed_domains, "blocked_domains": search.blocked_domains}
    filters = {name: list(value) for name, value in domains.items() if value}
    if filters:
        written["filters"] = filters
    if search.context_size is not None:
        written["search_context_size"] = search.context_size
    return written


def _choice(choice: ToolChoice, conversation: Conversation) -> object:
    word = _CHOICES[choice.kind]
    if not choice.names or choice.kind is ChoiceKind.NONE:
        return word
    customs = {conversation.names.flat(tool.name, tool.namespace) for tool in conversation.tools if tool.custom}
    tools = [{"type": "custom" if name in customs else "function", "name": name} for name in choice.names]
    if len(tools) == 1 and choice.kind is ChoiceKind.ANY:
        return tools[0]
    return {"type": "allowed_tools", "mode": word, "tools": tools}


# -- how to answer -----------------------------------------------------------------------------------------------------


def _add_thought(
    body: Object, conversation: Conversation, capabilities: Capabilities, word: str | None, losses: Losses
) -> None:
    thought = conversation.thought
    asked = effort.effort_of(thought.effort, thought.budget_tokens)
    thinks = capabilities.thinking is not Thinking.NONE
    lost = thinks and word != asked if asked == effort.NONE else word is None and asked is not None
    if lost:
        _note(conversation, losses, "effort")
    if not thinks:
        return
    reasoning: Object = {}
    if word is not None:
        reasoning["effort"] = word
    if thought.show:
        reasoning["summary"] = "auto"
    if reasoning:
        body["reasoning"] = reasoning


def _add_sampling(
    body: Object, conversation: Conversation, capabilities: Capabilities, losses: Losses, *, thinking: bool
) -> None:
    sampling = conversation.sampling
    given = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    numbers = {name: value for name, value in given.items() if value is not None}
    if numbers and effort.allows_sampling(capabilities, thinking=thinking):
        body |= numbers
    elif numbers:
        _note(conversation, losses, "sampling")
    lost: Mapping[str, object] = {
        "top_k": sampling.top_k,
        "seed": sampling.seed,
        "penalties": sampling.presence_penalty or sampling.frequency_penalty,
        "choices": conversation.choices if conversation.choices > 1 else None,
    }
    for feature, value in lost.items():
        if value is not None:
            _note(conversation, losses, feature)


def _add_form(body: Object, conversation: Conversation, capabilities: Capabilities, losses: Losses) -> None:
    text: Object = {}
    form = conversation.format
    if form is not None and form.kind is not FormatKind.TEXT:
        text["format"] = _format(form)
    if conversation.verbosity is not None:
        if capabilities.thinking is Thinking.NONE:
            _note(conversation, losses, "verbosity")
        else:
            text["verbosity"] = conversation.verbosity
    if text:
        body["text"] = text


def _format(form: Format) -> Object:
    if form.kind is FormatKind.JSON:
        return {"type": "json_object"}
    written: Object = {"type": "json_schema", "name": form.name or FORMAT_NAME}
    if form.description:
        written["description"] = form.description
    return written | {"schema": form.schema or {}, "strict": bool(form.strict)}


def _says_json(turns: Sequence[Turn]) -> bool:
    """Whether the word stands in any of the messages, as the vendor demands; instructions do not count."""
    texts = (part.text for turn in turns for part in turn.parts if isinstance(part, Text))
    return any("json" in text.lower() for text in texts)


def _add_hints(body: Object, conversation: Conversation, losses: Losses) -> None:
    if conversation.service_tier is not None:
        tier = _SERVICE_TIERS.get(conversation.service_tier.lower())
        if tier is None:
            _note(conversation, losses, "service_tier")
        else:
            body["service_tier"] = tier
    if conversation.metadata is not None:
        body["metadata"] = conversation.metadata
    if conversation.cache_key is not None:
        body["prompt_cache_key"] = conversation.cache_key
    if conversation.user is not None:
        if len(conversation.user) > USER_CHARACTERS_MAX:
            _note(conversation, losses, "user")
        else:
            body["safety_identifier"] = conversation.user
