"""The reader: a client's Responses request into the neutral form.

Explicit nulls are absent, as several clients send all members there are. Everything decoded is checked and refused by
name and path; what the neutral form has no place for goes to the losses, by the table of `_LOST`, unless it says no
more than the default does. What clients say about themselves is dropped in silence.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from adapters.body_fields import field, refusal, wrong_type
from adapters.conversation import Conversation, Format, FormatKind, Role, Sampling, Text, Thought, Turn
from adapters.dialects import Request
from adapters.dialects.responses_input import Turns
from adapters.dialects.responses_parts import Members, invalid_value, required_text, text_of
from adapters.dialects.responses_tools import Offer, names_of, read_choice, schema_of
from adapters.effort import WORDS
from adapters.json_body import Members as Fields
from adapters.losses import Losses
from adapters.raw import NOTHING, says

_READ = frozenset(
    {
        *("model", "stream", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls"),
        *("max_output_tokens", "max_tool_calls", "temperature", "top_p", "text", "reasoning", "service_tier"),
        *("metadata", "user", "safety_identifier", "prompt_cache_key", "include", "top_logprobs"),
    }
)

_LOST: Mapping[str, str] = {
    "previous_response_id": "stored_state",
    "conversation": "stored_state",
    "prompt": "stored_state",
    "background": "background",
    "background_options": "background",
    "context_management": "context_management",
    "truncation": "context_management",
    "image": "context_management",
    "moderation": "safety",
    "access_programs": "safety",
    "prompt_cache_options": "cache",
    "prompt_cache_retention": "cache",
    "store": "storage",
    "stream_options": "transport",
    "client_metadata": "client_hints",
}
"""Members with a row of the table of losses; any other is unknown, but for what begins with `internal_`."""

_HARMLESS: Mapping[str, tuple[object, ...]] = {"truncation": ("disabled",)}
"""Values that ask for nothing."""

_LOGPROBS = "message.output_text.logprobs"


def read_conversation(request: Request, losses: Losses) -> Conversation:
    """Return what a request says. Raises `ClientError` 400 that names what is wrong, or cannot be carried over."""
    fields = request.fields
    paths: dict[str, str] = {}
    _note_lost(fields, losses)
    _note_paths(fields, paths)
    offer = Offer(losses, paths)
    turns = _turns(fields, Turns(offer, losses, paths))
    tools = field(fields, "tools")
    if tools is not None:
        offer.add(tools, "tools")
    names = names_of(offer.tools)
    form, verbosity = _text_options(fields, paths)
    web_search = offer.web_search
    uses_max = _whole(fields, "max_tool_calls")
    if web_search is not None and uses_max is not None:
        web_search = msgspec.structs.replace(web_search, uses_max=uses_max)
    return Conversation(
        model=request.model,
        turns=turns,
        tools=offer.tools,
        web_search=web_search,
        tool_choice=read_choice(field(fields, "tool_choice"), names, losses),
        parallel_calls=_flag(fields, "parallel_tool_calls"),
        output_tokens_max=_whole(fields, "max_output_tokens"),
        sampling=Sampling(temperature=_number(fields, "temperature"), top_p=_number(fields, "top_p")),
        format=form,
        thought=_thought(fields, paths),
        user=_text(fields, "safety_identifier") or _text(fields, "user"),
        service_tier=_text(fields, "service_tier"),
        verbosity=verbosity,
        cache_key=_text(fields, "prompt_cache_key"),
        metadata=_metadata(fields),
        stream=request.stream,
        usage_wanted=request.usage_wanted,
        paths=paths,
        names=names,
    )


_PATHS = {
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_calls",
    "max_output_tokens": "output_tokens_max",
    "temperature": "sampling",
    "top_p": "sampling",
    "service_tier": "service_tier",
    "metadata": "metadata",
    "safety_identifier": "user",
    "user": "user",
    "prompt_cache_key": "cache",
}
"""Where a feature stands that a writer may have to drop; others are noted where they are read."""


def _note_paths(fields: Fields, paths: dict[str, str]) -> None:
    for name, feature in _PATHS.items():
        if name in fields and bytes(fields[name]) != b"null":
            paths.setdefault(feature, name)


def _note_lost(fields: Fields, losses: Losses) -> None:
    for name, raw in fields.items():
        if name in _READ or not says(raw):
            continue
        if name.startswith("internal_"):
            losses.note("client_hints", name)
        elif name not in _HARMLESS or field(fields, name) not in _HARMLESS[name]:
            losses.note(_LOST.get(name, "unknown_field"), name)
    include = field(fields, "include")
    if isinstance(include, list) and _LOGPROBS in include:
        losses.note("logprobs", "include")
    if says(fields.get("top_logprobs", NOTHING)):
        losses.note("logprobs", "top_logprobs")


def _turns(fields: Fields, turns: Turns) -> tuple[Turn, ...]:
    instructions = _text(fields, "instructions")
    if instructions:
        turns.say(Role.SYSTEM, (Text(instructions),))
    given = fields.get("input")
    if given is None or bytes(memoryview(given)[:5]) == b"null":
        raise refusal("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    turns.read(given, "input")
    return turns.end()


def _text_options(fields: Fields, paths: dict[str, str]) -> tuple[Format | None, str | None]:
    options = _object(fields, "text")
    if options is None:
        return None, None
    verbosity = text_of(options, "verbosity", "text")
    if verbosity is not None:
        paths["verbosity"] = "text.verbosity"
    form = options.get("format")
    if form is None:
        return None, verbosity
    if not isinstance(form, dict):
        raise wrong_type("text.format", "an object", form)
    return _format(form, paths), verbosity


def _format(form: Members, paths: dict[str, str]) -> Format:
    kind = required_text(form, "type", "text.format")
    if kind == "text":
        return Format(FormatKind.TEXT)
    if kind == "json_object":
        paths["json_mode"] = "text.format"
        return Format(FormatKind.JSON)
    if kind != "json_schema":
        raise invalid_value("text.format.type", kind, ("json_object", "json_schema", "text"))
    schema, strict = form.get("schema"), form.get("strict")
    if not isinstance(schema, dict):
        raise wrong_type("text.format.schema", "an object", schema)
    if strict is not None and not isinstance(strict, bool):
        raise wrong_type("text.format.strict", "a boolean", strict)
    paths["json_mode"] = "text.format"
    paths["strict_schema"] = "text.format.strict"
    name, description = required_text(form, "name", "text.format"), text_of(form, "description", "text.format")
    return Format(FormatKind.SCHEMA, name, schema_of(schema, "text.format.schema"), strict, description or "")


def _thought(fields: Fields, paths: dict[str, str]) -> Thought:
    """Return how much to think. Without a word about a summary nothing is shown, as the vendor has it."""
    reasoning = _object(fields, "reasoning") or {}
    effort = text_of(reasoning, "effort", "reasoning")
    if effort is not None:
        if effort not in WORDS:
            raise invalid_value("reasoning.effort", effort, WORDS)
        paths["effort"] = "reasoning.effort"
    summary = text_of(reasoning, "summary", "reasoning") or text_of(reasoning, "generate_summary", "reasoning")
    return Thought(effort=effort, show=summary not in {None, "", "none"})


def _metadata(fields: Fields) -> Raw | None:
    return fields["metadata"] if _object(fields, "metadata") else None


# -- members -----------------------------------------------------------------------------------------------------------


def _object(fields: Fields, name: str) -> Members | None:
    value = field(fields, name)
    if value is not None and not isinstance(value, dict):
        raise wrong_type(name, "an object", value)
    return value


def _text(fields: Fields, name: str) -> str | None:
    value = field(fields, name)
    if value is not None and not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def _flag(fields: Fields, name: str) -> bool | None:
    value = field(fields, name)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "a boolean", value)
    return value


def _whole(fields: Fields, name: str) -> int | None:
    value = field(fields, name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise wrong_type(name, "an integer", value)
    if value is not None and value < 1:
        message = f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead."
        raise refusal(message, name, "integer_below_min_value")
    return value


def _number(fields: Fields, name: str) -> float | None:
    value = field(fields, name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise wrong_type(name, "a number", value)
    return value
