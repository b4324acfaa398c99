"""The reader: a Chat Completions request as a neutral conversation.

Members are read by name, each by one small function or a row of a table; those that no table knows are noted as
unknown. Of two spellings of one thing the newer one counts (`max_completion_tokens`, `tools`, `safety_identifier`).
Some members that aggregators and servers of open weights have added are understood where another dialect has a word
for them: `reasoning` (OpenRouter), `thinking` (DeepSeek, Z.ai), `top_k`, marks for caching.
"""

from typing import Any

import msgspec
from msgspec import Raw

from adapters.body_fields import field, refusal, wrong_type
from adapters.conversation import Conversation, Format, FormatKind, Sampling, Thought, WebSearch
from adapters.dialects import Request
from adapters.dialects.chat_message import MESSAGES, Message, invalid, member, missing
from adapters.dialects.chat_tools import read_choice, read_tools, uses_functions
from adapters.dialects.chat_turns import Turns
from adapters.json_body import Members
from adapters.losses import Losses
from adapters.raw import NOTHING, says
from adapters.tool_calls.names import Names, ToolName

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

FEATURES = {
    "max_tokens": "output_tokens_max",
    "max_completion_tokens": "output_tokens_max",
    "temperature": "sampling",
    "top_p": "sampling",
    "top_k": "top_k",
    "presence_penalty": "penalties",
    "frequency_penalty": "penalties",
    "seed": "seed",
    "stop": "stop",
    "n": "choices",
    "tool_choice": "tool_choice",
    "function_call": "tool_choice",
    "parallel_tool_calls": "parallel_calls",
    "thinking": "effort",
    "reasoning": "effort",
    "reasoning_effort": "effort",
    "verbosity": "verbosity",
    "service_tier": "service_tier",
    "metadata": "metadata",
    "user": "user",
    "safety_identifier": "user",
    "prompt_cache_key": "cache",
    "web_search_options": "web_search",
}
"""The members that the neutral form has a place for, and the feature that a writer notes when it cannot write it."""

LOST = {
    "store": "storage",
    "stream_options": "transport",
    "prediction": "client_hints",
    "prompt_cache_retention": "cache",
    "prompt_cache_options": "cache",
    "moderation": "safety",
    "logprobs": "logprobs",
    "top_logprobs": "logprobs",
    "logit_bias": "logit_bias",
}
"""The members that it has none for. What says nothing (false, 0, empty) is not lost."""

_READ_ELSEWHERE = frozenset(
    {"model", MESSAGES, "stream", "tools", "functions", "response_format", "modalities", "audio", "include_reasoning"}
)
_KNOWN = _READ_ELSEWHERE | FEATURES.keys() | LOST.keys()
_MODALITIES = {"audio": "audio_output", "image": "image_output"}


def read_conversation(request: Request, losses: Losses) -> Conversation:
    """Return what a request asks for. Raises `ClientError` 400 for what is malformed, or lost and may not be."""
    fields = request.fields
    paths = {feature: name for name, feature in FEATURES.items() if name in fields and says(fields[name])}
    _note_lost(fields, losses)
    messages = member(fields, MESSAGES, list[Message])
    if messages is None:
        raise missing(MESSAGES)
    tools = read_tools(fields, losses, paths)
    names = Names(ToolName(tool.name, custom=tool.custom) for tool in tools)
    return Conversation(
        model=request.model,
        turns=Turns(losses, paths).read(messages),
        tools=tools,
        web_search=_web_search(fields, losses),
        tool_choice=read_choice(fields, names),
        parallel_calls=_parallel_calls(fields),
        output_tokens_max=_whole(fields, "max_completion_tokens") or _whole(fields, "max_tokens"),
        sampling=_sampling(fields),
        stop=_stop(fields),
        choices=request.choices,
        format=_format(fields, paths),
        thought=_thought(fields),
        user=member(fields, "safety_identifier", str) or member(fields, "user", str),
        service_tier=member(fields, "service_tier", str),
        verbosity=member(fields, "verbosity", str),
        cache_key=member(fields, "prompt_cache_key", str),
        metadata=_metadata(fields),
        stream=request.stream,
        usage_wanted=request.usage_wanted,
        paths=paths,
        names=names,
    )


def _note_lost(fields: Members, losses: Losses) -> None:
    for name, raw in fields.items():
        if name not in _KNOWN:
            if bytes(memoryview(raw)[:5]) != b"null":
                losses.note("unknown_field", name)
        elif name in LOST and says(raw):
            losses.note(LOST[name], name)
    modalities = field(fields, "modalities")
    for modality in modalities if isinstance(modalities, list) else ():
        if isinstance(modality, str) and modality in _MODALITIES:
            losses.note(_MODALITIES[modality], "modalities")


# -- numbers and words -------------------------------------------------------------------------------------------------


def _whole(fields: Members, name: str) -> int | None:
    value = field(fields, name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is not None and type(value) is not int:
        raise wrong_type(name, "an integer", value)
    if value is not None and value < 1:
        message = f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead."
        raise refusal(message, name, "integer_below_min_value")
    return value


def _number(fields: Members, name: str) -> float | None:
    value = field(fields, name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise wrong_type(name, "a decimal", value)
    return value


def _integer(fields: Members, name: str) -> int | None:
    value = field(fields, name)
    if value is not None and type(value) is not int:
        raise wrong_type(name, "an integer", value)
    return value


def _sampling(fields: Members) -> Sampling:
    top_k = _integer(fields, "top_k")
    return Sampling(
        temperature=_number(fields, "temperature"),
        top_p=_number(fields, "top_p"),
        top_k=top_k if top_k is not None and top_k > 0 else None,
        presence_penalty=_number(fields, "presence_penalty"),
        frequency_penalty=_number(fields, "frequency_penalty"),
        seed=_integer(fields, "seed"),
    )


def _stop(fields: Members) -> tuple[str, ...]:
    stop = member(fields, "stop", str | list[str])  # type: ignore[arg-type] # a union is a type to msgspec alone
    if stop is None:
        return ()
    return tuple(text for text in ([stop] if isinstance(stop, str) else stop) if text)


def _parallel_calls(fields: Members) -> bool | None:
    # One `function_call` is all the older form can say.
    if uses_functions(fields):
        return False
    return member(fields, "parallel_tool_calls", bool)


def _metadata(fields: Members) -> Raw | None:
    metadata = fields.get("metadata")
    return metadata if metadata is not None and says(metadata) else None


def _web_search(fields: Members, losses: Losses) -> WebSearch | None:
    options = member(fields, "web_search_options", dict[str, Any])
    if options is None:
        return None
    if options.get("user_location") is not None:
        losses.note("client_hints", "web_search_options.user_location")
    size = options.get("search_context_size")
    return WebSearch(context_size=size if isinstance(size, str) else None)


# -- the form of the answer, and thinking ------------------------------------------------------------------------------


class _Schema(msgspec.Struct):
    name: str = ""
    schema: Raw = NOTHING
    strict: bool | None = None
    description: str | None = None


class _ResponseFormat(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


def _format(fields: Members, paths: dict[str, str]) -> Format | None:
    given = member(fields, "response_format", _ResponseFormat)
    if given is None:
        return None
    if given.type == "text":
        return Format(FormatKind.TEXT)
    if given.type == "json_object":
        paths["json_mode"] = "response_format"
        return Format(FormatKind.JSON)
    if given.type != "json_schema":
        raise invalid("response_format.type", given.type, "'json_object', 'json_schema', and 'text'")
    schema = given.json_schema
    if schema is None or not says(schema.schema):
        raise missing("response_format.json_schema" + (".schema" if schema else ""))
    paths["json_mode"] = "response_format"
    paths["strict_schema"] = "response_format.json_schema.strict"
    return Format(FormatKind.SCHEMA, schema.name, schema.schema, schema.strict, schema.description or "")


def _thought(fields: Members) -> Thought:
    effort = member(fields, "reasoning_effort", str)
    if effort is not None and effort not in EFFORTS:
        raise invalid("reasoning_effort", effort, ", ".join(f"'{known}'" for known in EFFORTS))
    budget: int | None = None
    show = member(fields, "include_reasoning", bool)
    reasoning = member(fields, "reasoning", dict[str, Any]) or {}
    if reasoning.get("effort") in EFFORTS:
        effort = effort or reasoning["effort"]
    if reasoning.get("enabled") is False:
        effort = effort or "none"
    if type(reasoning.get("max_tokens")) is int:
        budget = max(reasoning["max_tokens"], 0)
    if isinstance(reasoning.get("exclude"), bool):
        show = not reasoning["exclude"]
    thinking = member(fields, "thinking", dict[str, Any]) or {}
    if thinking.get("type") == "disabled":
        effort = "none"
    elif type(thinking.get("budget_tokens")) is int:
        budget = max(thinking["budget_tokens"], 0)
    return Thought(effort, budget, show)
