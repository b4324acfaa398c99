"""Chat Completions chunks and answers with all that they say: what `chat_parser` reads, decoded by type.

A document as documented, with the members that vendors add, is one typed decoding. What the strict reader refuses (an
index that is text, content as an array of parts, arguments as an object, half a character) is read a second time,
leniently, into the same types, so that what a member means is written down once. Members that few streams have stay
undecoded. Texts of the lenient reading may hold halves of characters; those of the strict one never do.

    content as [{"type": "text", "text"}, {"type": "thinking", "thinking": [..]}]   Mistral (docs, reasoning models)
    tool_calls[].custom {"name", "input"}, later pieces with "function": null       OpenAI (openai-openapi #576)
    arguments as an object                                                          servers that copy their own API
"""

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Raw, Struct

from adapters import lenient
from adapters.raw import NOTHING, written
from adapters.surrogates import mended


class Function(Struct, gc=False):
    """A call's function, or a piece of it."""

    name: str | None = None
    arguments: str | None = None


class Custom(Struct, gc=False):
    """A free-form call's tool, or a piece of its input."""

    name: str | None = None
    input: str | None = None


class ToolCall(Struct, gc=False):
    """A call, or a piece of one. `extra_content` is where one vendor puts the call's signature."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: Function | None = None
    custom: Custom | None = None
    extra_content: Raw = NOTHING


class Delta(Struct, gc=False):
    """A delta or a message. The members from `reasoning_details` on are rare and stay undecoded."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    reasoning_details: Raw = NOTHING
    annotations: Raw = NOTHING
    images: Raw = NOTHING
    audio: Raw = NOTHING
    extra_content: Raw = NOTHING


class Choice(Struct, gc=False):
    """One alternative. `stop_reason` is the stop sequence that was met, where a server says so (vLLM)."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    stop_reason: Raw = NOTHING
    usage: Raw = NOTHING
    error: Raw = NOTHING


class Chunk(Struct, gc=False):
    """A chunk or an answer. `citations` are addresses that some servers repeat on every chunk."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[Choice] | None = None
    usage: Raw = NOTHING
    error: Raw = NOTHING
    citations: Raw = NOTHING


class _PlainDelta(Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning: None = None
    refusal: None = None
    function_call: None = None
    reasoning_details: None = None
    annotations: None = None
    images: None = None
    audio: None = None
    extra_content: None = None


class _PlainChoice(Struct, gc=False):
    delta: _PlainDelta
    index: Literal[0]
    finish_reason: None = None
    usage: None = None
    error: None = None


class _PlainChunk(Struct, gc=False):
    """A chunk that brings text, reasoning or pieces of calls, and by its types nothing else."""

    choices: Annotated[list[_PlainChoice], msgspec.Meta(min_length=1, max_length=1)]
    usage: None = None
    error: None = None
    citations: None = None


read_plainly = msgspec.json.Decoder(_PlainChunk).decode
"""Raises like `read_strictly`, also for every chunk that asks for a second look."""

read_strictly = msgspec.json.Decoder(Chunk).decode
"""Raises `msgspec.DecodeError`, `UnicodeDecodeError` or `RecursionError` for what is to be read leniently."""


def read_leniently(payload: bytes) -> Chunk | None:
    """Return what a document says, None when it is not a JSON object. Never raises."""
    try:
        value = lenient.decode(payload)
        if not isinstance(value, dict):
            return None
        choices = value.get("choices")
        return Chunk(
            id=_word(value.get("id")),
            model=_word(value.get("model")),
            created=_number(value.get("created")),
            choices=[_choice(*each) for each in enumerate(choices)] if isinstance(choices, list) else None,
            usage=written(value.get("usage")),
            error=written(value.get("error")),
            citations=written(value.get("citations")),
        )
    except (lenient.NotJsonError, RecursionError):
        return None


def _choice(position: int, value: object) -> Choice:
    fields = _object(value)
    index = _number(fields.get("index"))
    return Choice(
        index=position if index is None else index,
        delta=_delta(fields.get("delta")),
        message=_delta(fields.get("message")),
        finish_reason=_word(fields.get("finish_reason")),
        stop_reason=written(fields.get("stop_reason")),
        usage=written(fields.get("usage")),
        error=written(fields.get("error")),
    )


def _delta(value: object) -> Delta | None:
    if not isinstance(value, dict):
        return None
    content, thought = _content(value.get("content"))
    calls = value.get("tool_calls")
    return Delta(
        content=content,
        reasoning_content=_text(value.get("reasoning_content")) or thought,
        reasoning=_text(value.get("reasoning")),
        refusal=_text(value.get("refusal")),
        tool_calls=[_call(each) for each in calls if isinstance(each, dict)] if isinstance(calls, list) else None,
        function_call=_function(value.get("function_call")),
        reasoning_details=written(value.get("reasoning_details")),
        annotations=written(value.get("annotations")),
        images=written(value.get("images")),
        audio=written(value.get("audio")),
        extra_content=written(value.get("extra_content")),
    )


def _content(value: object) -> tuple[str | None, str | None]:
    """Return the text and the reasoning of a `content` member."""
    if not isinstance(value, list):
        return _text(value), None
    texts: list[str] = []
    thoughts: list[str] = []
    for part in map(_object, value):
        if part.get("type") == "thinking":
            inner = part.get("thinking")
            pieces = [_object(each).get("text") for each in inner] if isinstance(inner, list) else [inner]
            thoughts += filter(None, map(_text, pieces))
        else:
            texts += filter(None, [_text(part.get("text"))])
    return "".join(texts), "".join(thoughts) or None


def _call(value: dict[str, Any]) -> ToolCall:
    custom = value.get("custom")
    return ToolCall(
        index=_number(value.get("index")),
        id=_word(value.get("id")),
        type=_word(value.get("type")),
        function=_function(value.get("function")),
        custom=Custom(_word(custom.get("name")), _text(custom.get("input"))) if isinstance(custom, dict) else None,
        extra_content=written(value.get("extra_content")),
    )


def _function(value: object) -> Function | None:
    if not isinstance(value, dict):
        return None
    arguments = value.get("arguments")
    if isinstance(arguments, dict | list):
        arguments = mended(json.dumps(arguments, ensure_ascii=False, separators=(",", ":")))
    return Function(_word(value.get("name")), _text(arguments))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _word(value: object) -> str | None:
    """A name or an id; a number is one too."""
    if isinstance(value, str):
        return mended(value)
    return str(value) if type(value) is int and abs(value) < 10**18 else None


def _number(value: object) -> int | None:
    """A whole number that is not negative, also one written as text or as a float."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 18:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < 10**18 else None
