"""The reader: a Messages request in neutral form. Its turns are `messages_turns`' to read; here stands the rest.

Nothing disappears unsaid: a member that the neutral form has a place for is noted in `paths`, one that it has none for
is told to `losses`, known or not. What is malformed is refused in the words of the vendor's own validation.

How much to think is said in three ways: a budget, adaptive thinking with or without an effort, or the effort alone.
Thinking between tool calls alone is the least there is here, so it becomes a low effort unless one is given.
"""

from msgspec import Raw

from adapters.conversation import (
    ChoiceKind,
    Conversation,
    Format,
    FormatKind,
    Sampling,
    Thought,
    Tool,
    ToolChoice,
    WebSearch,
)
from adapters.dialects import Request
from adapters.dialects.messages_fields import Fields, invalid, missing, read_object
from adapters.dialects.messages_plain import plain_tool
from adapters.dialects.messages_request import COUNT_TOKENS, MessagesRequest
from adapters.dialects.messages_turns import Reading, read_messages, read_system
from adapters.losses import Losses
from adapters.tool_calls.names import Names, ToolName

PLACEHOLDER_TOOL = "DeferredToolPlaceholder"
"""A tool that one agent declares so that its list is never empty; nobody is to call it."""

_ADAPTIVE_EFFORT = "high"
"""What adaptive thinking without an effort is (platform.claude.com, adaptive thinking)."""

_LEAST_EFFORT = "low"

_READ = frozenset(
    {
        *("model", "messages", "system", "tools", "tool_choice", "max_tokens", "stream", "stop_sequences", "metadata"),
        *("temperature", "top_p", "top_k", "thinking", "output_config", "output_format", "service_tier"),
    }
)
"""Members that have a place in the neutral form."""

_NOTED = {
    "context_management": "context_management",
    "cache_control": "cache",
    "container": "stored_state",
    "mcp_servers": "hosted_tool",
    "speed": "service_tier",
    "diagnostics": "client_hints",
    "betas": "client_hints",
    "anthropic_beta": "client_hints",
    "anthropic_version": "client_hints",
    "user_profile_id": "user",
    "workspace_id": "user",
}
"""Members that have none, with what is lost; every other one is unknown."""

_TOOL_HINTS = frozenset({"defer_loading", "eager_input_streaming"})
_TOOL_READ = frozenset(
    {"type", "name", "description", "input_schema", "strict", "cache_control", "allowed_callers", *_TOOL_HINTS}
)
_SEARCH_READ = frozenset(
    {"type", "name", "max_uses", "allowed_domains", "blocked_domains", "cache_control", "allowed_callers", "strict"}
    | _TOOL_HINTS
)


def read_conversation(request: Request, losses: Losses) -> Conversation:
    """Return what a client asks. Raises `ClientError` 400 that says what is wrong, and where."""
    body = Fields(request.fields)
    reading = Reading(losses)
    _note_members(body, reading)
    turns = (*read_system(body, reading), *read_messages(body, reading))
    tools, web_search = _tools(body, reading)
    names = Names(ToolName(tool.name) for tool in tools)
    choice, parallel_calls = _choice(body, names, reading)
    metadata = body.object("metadata")
    return Conversation(
        model=request.model,
        turns=turns,
        tools=tools,
        web_search=web_search,
        tool_choice=choice,
        parallel_calls=parallel_calls,
        output_tokens_max=_output_tokens_max(body, request, reading),
        sampling=_sampling(body, reading),
        stop=_stop(body, reading),
        format=_format(body),
        thought=_thought(body, reading),
        user=_user(metadata, reading),
        service_tier=_service_tier(body, reading),
        stream=request.stream,
        usage_wanted=True,
        paths=reading.paths,
        names=names,
    )


def _note_members(body: Fields, reading: Reading) -> None:
    for name in body.names():
        if name in _READ or _is_empty(body.raw(name)):
            continue
        reading.losses.note(_NOTED.get(name, "unknown_field"), name)


def _is_empty(raw: Raw | None) -> bool:
    return raw is None or bytes(raw) in {b"[]", b"{}", b'"standard"'}


# -- tools -------------------------------------------------------------------------------------------------------------


def _tools(body: Fields, reading: Reading) -> tuple[tuple[Tool, ...], WebSearch | None]:
    tools: list[Tool] = []
    web_search: WebSearch | None = None
    for number, raw in enumerate(body.items("tools")):
        plain = plain_tool(raw)
        if plain is not None and plain.name != PLACEHOLDER_TOOL:
            tools.append(plain)
            continue
        fields = read_object(raw, f"tools.{number}")
        kind = fields.string("type") or "custom"
        if kind == "custom":
            tool = _tool(fields, reading)
            if tool is not None:
                tools.append(tool)
        elif kind.startswith("web_search_"):
            web_search = _web_search(fields, reading)
        elif kind.startswith("tool_search_tool_"):
            reading.losses.note("client_search", fields.where)
        else:
            reading.losses.note("hosted_tool", fields.where)
    return tuple(tools), web_search


def _tool(fields: Fields, reading: Reading) -> Tool | None:
    name = fields.required_string("name")
    if name == PLACEHOLDER_TOOL:
        reading.losses.note("client_hints", fields.where)
        return None
    _note_tool_members(fields, _TOOL_READ, reading)
    strict = fields.boolean("strict")
    if strict is not None:
        reading.found("strict_schema", fields.path("strict"))
    fields.object("input_schema")  # for its refusal: the schema itself is passed on as it is
    return Tool(
        name,
        fields.string("description") or "",
        fields.raw("input_schema"),
        strict,
        cache=reading.cache(fields),
    )


def _web_search(fields: Fields, reading: Reading) -> WebSearch:
    _note_tool_members(fields, _SEARCH_READ, reading)
    reading.found("web_search", fields.where)
    reading.cache(fields)
    return WebSearch(fields.integer("max_uses"), fields.strings("allowed_domains"), fields.strings("blocked_domains"))


def _note_tool_members(fields: Fields, read: frozenset[str], reading: Reading) -> None:
    callers = fields.strings("allowed_callers")
    if callers and "direct" not in callers:
        reading.losses.note("hosted_tool", fields.path("allowed_callers"))
    for name in fields.names():
        if name in _TOOL_HINTS:
            reading.losses.note("client_hints", fields.path(name))
        elif name not in read:
            reading.losses.note("unknown_field", fields.path(name))


def _choice(body: Fields, names: Names, reading: Reading) -> tuple[ToolChoice | None, bool | None]:
    """Return what may be called, and whether several calls at once may be made."""
    choice = body.object("tool_choice")
    if choice is None:
        return None, None
    reading.found("tool_choice", choice.where)
    one_at_a_time = choice.boolean("disable_parallel_tool_use")
    if one_at_a_time is not None:
        reading.found("parallel_calls", choice.path("disable_parallel_tool_use"))
    kind = choice.required_string("type")
    parallel = None if one_at_a_time is None else not one_at_a_time
    if kind == "tool":
        return ToolChoice(ChoiceKind.ANY, (names.flat(choice.required_string("name")),)), parallel
    if kind not in {"auto", "any", "none"}:
        raise invalid(choice.path("type"), "Input should be 'auto', 'any', 'none' or 'tool'")
    return ToolChoice(ChoiceKind(kind)), parallel


# -- how the answer is to be made --------------------------------------------------------------------------------------


def _output_tokens_max(body: Fields, request: Request, reading: Reading) -> int | None:
    """Return the limit of the output. Nothing (to fill a cache) is one token: no other dialect knows less."""
    limit = body.integer("max_tokens")
    if limit is None:
        counts = isinstance(request, MessagesRequest) and request.action == COUNT_TOKENS
        if not counts:
            raise missing("max_tokens")
        return None
    if limit < 0:
        raise invalid("max_tokens", "Input should be greater than or equal to 0")
    reading.found("output_tokens_max", "max_tokens")
    return max(limit, 1)


def _sampling(body: Fields, reading: Reading) -> Sampling:
    temperature, top_p, top_k = body.number("temperature"), body.number("top_p"), body.integer("top_k")
    for name, value in (("temperature", temperature), ("top_p", top_p), ("top_k", top_k)):
        if value is not None:
            reading.found("sampling", name)
    if top_k is not None:
        reading.found("top_k", "top_k")
    return Sampling(temperature, top_p, top_k)


def _stop(body: Fields, reading: Reading) -> tuple[str, ...]:
    stop = body.strings("stop_sequences")
    if stop:
        reading.found("stop", "stop_sequences")
    return stop


def _format(body: Fields) -> Format | None:
    """Return the form of the text: `output_config.format`, or the older `output_format`."""
    config = body.object("output_config")
    wanted = (config.object("format") if config is not None else None) or body.object("output_format")
    if wanted is None:
        return None
    if wanted.required_string("type") != "json_schema":
        raise invalid(wanted.path("type"), "Input should be 'json_schema'")
    schema = wanted.raw("schema")
    if schema is None:
        raise missing(wanted.path("schema"))
    return Format(FormatKind.SCHEMA, schema=schema)


def _thought(body: Fields, reading: Reading) -> Thought:
    thinking, config = body.object("thinking"), body.object("output_config")
    effort = None
    if config is not None:
        effort = config.string("effort")
        for name in config.names():
            if name not in {"effort", "format"}:
                reading.losses.note("unknown_field", config.path(name))
    if thinking is None:
        if effort is not None:
            reading.found("effort", "output_config.effort")
        return Thought(effort)
    reading.found("effort", thinking.where)
    display = thinking.string("display")
    show = None if display is None else display != "omitted"
    match thinking.required_string("type"):
        case "enabled":
            budget = thinking.integer("budget_tokens")
            if budget is None:
                raise missing(thinking.path("budget_tokens"))
            return Thought(effort, budget, show is not False)
        case "adaptive":
            return Thought(effort or _ADAPTIVE_EFFORT, show=show)
        case "between_tools":
            return Thought(effort or _LEAST_EFFORT, show=show)
        case "disabled":
            return Thought("none", 0)
        case _:
            expected = "Input should be 'adaptive', 'between_tools', 'disabled' or 'enabled'"
            raise invalid(thinking.path("type"), expected)


def _user(metadata: Fields | None, reading: Reading) -> str | None:
    if metadata is None:
        return None
    for name in metadata.names():
        if name != "user_id":
            reading.losses.note("metadata", metadata.path(name))
    user = metadata.string("user_id")
    if user is not None:
        reading.found("user", metadata.path("user_id"))
    return user


def _service_tier(body: Fields, reading: Reading) -> str | None:
    tier = body.string("service_tier")
    if tier is not None:
        reading.found("service_tier", "service_tier")
    return tier
