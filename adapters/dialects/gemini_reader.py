"""The Gemini reader: a client's generateContent request in the neutral form.

Here are the request's own members and `generationConfig`; contents are read in `gemini_reader_turns`, tools and schemas
in `gemini_reader_tools`. Every field the API reference has is either carried over or noted as a loss (see
`adapters.losses`) by its path as the client spelled it; fields it does not have are noted as unknown. A count of tokens
is read from its inner request, if it has one.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from msgspec import Raw

from adapters.conversation import Conversation, Format, FormatKind, Role, Sampling, Thought, Turn
from adapters.dialects import Request
from adapters.dialects.gemini_members import Members, begins, invalid
from adapters.dialects.gemini_plain import Plain, plain_contents
from adapters.dialects.gemini_reader_tools import ToolsRead, read_choice, read_schema, read_tools
from adapters.dialects.gemini_reader_turns import TurnsReader, detail_of, read_system
from adapters.dialects.gemini_request import refusal
from adapters.effort import WORDS
from adapters.losses import Losses
from adapters.raw import says
from adapters.tool_calls.names import Names, ToolName

_CARRIED = (
    *("contents", "systemInstruction", "tools", "toolConfig", "generationConfig"),
    *("labels", "serviceTier", "model"),
)
_LOST = {"cachedContent": "stored_state", "safetySettings": "safety", "store": "storage"}
"""Members of the request with no neutral place, and what their loss is."""

_GENERATION = (
    *("temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "seed"),
    *("presencePenalty", "frequencyPenalty", "responseMimeType", "responseSchema", "responseJsonSchema"),
    *("thinkingConfig", "responseModalities", "mediaResolution", "responseLogprobs", "logprobs"),
)
_MODALITIES = {"AUDIO": "audio_output", "IMAGE": "image_output", "VIDEO": "image_output"}
_JSON = "application/json"
_PLAIN = "text/plain"
_PATHS = {
    "seed": ("seed",),
    "top_k": ("topK",),
    "sampling": ("temperature", "topP", "topK"),
    "penalties": ("presencePenalty", "frequencyPenalty"),
    "stop": ("stopSequences",),
    "choices": ("candidateCount",),
    "output_tokens_max": ("maxOutputTokens",),
    "effort": ("thinkingConfig",),
    "json_mode": ("responseMimeType",),
    "strict_schema": ("responseJsonSchema", "responseSchema"),
    "image_detail": ("mediaResolution",),
}
"""Features, and the members of `generationConfig` that ask for them."""


def read_conversation(request: Request, losses: Losses) -> Conversation:
    """Return the request in the neutral form. Raises `ClientError` 400 for what is malformed or cannot be carried."""
    members = Members(request.fields)
    members = members.object("generateContentRequest") or members
    _note_losses(members, losses)
    if "contents" not in members:
        raise refusal(400, "contents is not specified.", param=members.path_of("contents"))
    generation = members.object("generationConfig") or Members({}, "generationConfig")
    generation.note_others(losses, _GENERATION)
    turns_reader = TurnsReader(losses, detail_of(generation.word("mediaResolution")))
    turns = (
        *read_system(_system(members)),
        *turns_reader.read(_contents(members), partial(members.item_path, "contents")),
    )
    offered = read_tools(members.objects("tools"), losses)
    names = Names(ToolName(tool.name) for tool in offered.tools)
    choice = read_choice(members.object("toolConfig"), names, losses)
    labels = members.raw("labels")
    paths = _paths(members, generation, turns, offered)
    if turns_reader.detail_path is not None:
        paths["image_detail"] = turns_reader.detail_path
    _note_outputs(generation, losses)
    return Conversation(
        model=request.model,
        turns=turns,
        tools=offered.tools,
        web_search=offered.web_search,
        tool_choice=choice if offered.tools else None,
        output_tokens_max=generation.integer("maxOutputTokens"),
        sampling=_sampling(generation),
        stop=generation.texts("stopSequences"),
        choices=_choices(generation),
        format=_format(generation, losses),
        thought=_thought(generation, losses),
        service_tier=_service_tier(members),
        metadata=labels if labels is not None and says(labels) else None,
        stream=request.stream,
        usage_wanted=request.usage_wanted,
        paths=paths,
        names=names,
    )


def _note_losses(members: Members, losses: Losses) -> None:
    for name, feature in _LOST.items():
        raw = members.raw(name)
        if raw is not None and says(raw):
            losses.note(feature, members.path_of(name))
    members.note_others(losses, (*_CARRIED, *_LOST))


def _contents(members: Members) -> Sequence[Raw | Plain]:
    """Return the contents, those that are read already or those that are to be."""
    raw = members.raw("contents")
    plain = plain_contents(raw) if raw is not None else None
    return members.items("contents") if plain is None else plain


def _system(members: Members) -> Members | None:
    """Return the system instruction; a bare string, as some clients send, counts as its text."""
    raw = members.raw("systemInstruction")
    if raw is not None and begins(raw, b'"'):
        return Members({"parts": type(raw)(b'[{"text":%b}]' % bytes(raw))}, members.path_of("systemInstruction"))
    return members.object("systemInstruction")


def _paths(members: Members, generation: Members, turns: Iterable[Turn], offered: ToolsRead) -> dict[str, str]:
    paths = {
        feature: generation.path_of(name)
        for feature, asked in _PATHS.items()
        for name in asked[::-1]
        if name in generation
    }
    if offered.web_search is not None:
        paths["web_search"] = offered.search_path
    for feature, name in (("tool_choice", "toolConfig"), ("metadata", "labels"), ("service_tier", "serviceTier")):
        if name in members:
            paths[feature] = members.path_of(name)
    if next((turn.role for turn in reversed(tuple(turns))), None) is Role.ASSISTANT:
        paths["prefill"] = members.path_of("contents")
    return paths


def _note_outputs(generation: Members, losses: Losses) -> None:
    """Note what the answer should hold beside text."""
    if generation.flag("responseLogprobs"):
        losses.note("logprobs", generation.path_of("responseLogprobs"))
    for word in generation.texts("responseModalities"):
        if word.upper() in _MODALITIES:
            losses.note(_MODALITIES[word.upper()], generation.path_of("responseModalities"))


def _sampling(generation: Members) -> Sampling:
    return Sampling(
        temperature=generation.number("temperature"),
        top_p=generation.number("topP"),
        top_k=generation.integer("topK"),
        presence_penalty=generation.number("presencePenalty"),
        frequency_penalty=generation.number("frequencyPenalty"),
        seed=generation.integer("seed"),
    )


def _choices(generation: Members) -> int:
    choices = generation.integer("candidateCount")
    if choices is not None and choices < 0:
        raise invalid(generation.path_of("candidateCount"), "a positive integer")
    return choices or 1


def _format(generation: Members, losses: Losses) -> Format | None:
    schema = read_schema(generation, "responseSchema", "responseJsonSchema")
    media_type = (generation.text("responseMimeType") or "").lower()
    if media_type not in {"", _PLAIN, _JSON}:
        # `text/x.enum` asks for one bare word of a schema; no other dialect writes that.
        losses.note("strict_schema", generation.path_of("responseMimeType"))
        return None
    if schema is not None and media_type != _PLAIN:
        return Format(FormatKind.SCHEMA, "response", schema)
    return Format(FormatKind.JSON) if media_type == _JSON else None


def _thought(generation: Members, losses: Losses) -> Thought:
    thinking = generation.object("thinkingConfig")
    if thinking is None:
        return Thought()
    thinking.note_others(losses, ("includeThoughts", "thinkingBudget", "thinkingLevel"))
    level = thinking.word("thinkingLevel")
    effort = level.lower() if level is not None else None
    if effort is not None and effort not in WORDS:
        losses.note("effort", thinking.path_of("thinkingLevel"))
        effort = None
    return Thought(effort, thinking.integer("thinkingBudget"), thinking.flag("includeThoughts"))


def _service_tier(members: Members) -> str | None:
    word = members.word("serviceTier")
    return word.removeprefix("SERVICE_TIER_").lower() if word is not None else None
