"""Gemini chunks as a translator reads them: everything of an answer that another dialect has a word for.

`gemini_document` reads what metering needs and leaves the rest undecoded; here the parts of every candidate are read
whole, in one typed pass. Arguments of calls stay the bytes they came in. What the typed reader refuses (a half of a
character, a null where none belongs, an odd type) is read again leniently, member by member: what makes no sense there
is absent, so nothing an upstream adds or spells oddly ends a stream. Members unknown here are passed over.
"""

from contextlib import suppress

import msgspec
from msgspec import Raw, Struct

from adapters import lenient
from adapters.raw import NOTHING, written

CANDIDATES_MAX = 256
"""A larger index is a mistake."""


class PartialCall(Struct, rename="camel"):
    """A call, whole or a piece of one that its server streams."""

    id: str | None = None
    name: str | None = None
    args: Raw = NOTHING
    partial_args: list[object] | None = None
    will_continue: bool | None = None


class InlineData(Struct, rename="camel"):
    """A blob in base64."""

    mime_type: str = ""
    data: str = ""


class Part(Struct, rename="camel"):
    """One part; at most one of its members holds data, `thought` and `thought_signature` say something about it."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: PartialCall | None = None
    inline_data: InlineData | None = None
    executable_code: Raw = NOTHING
    code_execution_result: Raw = NOTHING


class Content(Struct):
    """One turn."""

    parts: list[Part] | None = None


class Candidate(Struct, rename="camel"):
    """One alternative."""

    index: int | None = None
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    grounding_metadata: Raw = NOTHING
    citation_metadata: Raw = NOTHING


class Feedback(Struct, rename="camel"):
    """What was thought of the prompt."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class Chunk(Struct, rename="camel"):
    """A chunk of a stream, or a whole answer."""

    candidates: list[Candidate] | None = None
    usage_metadata: Raw = NOTHING
    model_version: str | None = None
    response_id: str | None = None
    prompt_feedback: Feedback | None = None
    error: Raw = NOTHING


class OddChunk(Chunk):
    """One that was read leniently: its texts may begin or end in half a character."""


_DECODER = msgspec.json.Decoder(Chunk)
decode = _DECODER.decode
"""The typed reading; raises what `read_chunk` answers with the lenient one."""


class _PlainPart(Struct, rename="camel", gc=False):
    text: str
    thought: bool = False
    thought_signature: None = None


class _PlainContent(Struct, gc=False):
    parts: tuple[_PlainPart]


class _PlainCandidate(Struct, rename="camel", gc=False):
    content: _PlainContent
    index: int = 0
    finish_reason: None = None
    grounding_metadata: None = None
    citation_metadata: None = None


class _Counted(Struct, rename="camel", gc=False):
    prompt_token_count: int


class _PlainChunk(Struct, rename="camel", gc=False):
    candidates: tuple[_PlainCandidate]
    usage_metadata: _Counted | None = None
    prompt_feedback: None = None
    error: None = None


decode_plain = msgspec.json.Decoder(_PlainChunk).decode
"""The reading of a piece of text, as nearly all chunks are: one unsigned part of one alternative that goes on, and a
usage that counts the prompt. The types refuse everything else, with the errors that `decode` raises."""


def read_chunk(payload: bytes) -> Chunk | None:
    """Return what a payload or body says, None when it is not a JSON object. Never raises."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode(payload)
    try:
        value = lenient.decode(payload)
        return _chunk(value) if isinstance(value, dict) else None
    except (lenient.NotJsonError, RecursionError):
        return None


Members = dict[str, object]


def _chunk(value: Members) -> Chunk:
    feedback = _members(value.get("promptFeedback"))
    return OddChunk(
        candidates=[_candidate(each) for each in _objects(value.get("candidates"))],
        usage_metadata=written(value.get("usageMetadata")),
        model_version=_text(value.get("modelVersion")),
        response_id=_text(value.get("responseId")),
        prompt_feedback=Feedback(_text(feedback.get("blockReason")), _text(feedback.get("blockReasonMessage"))),
        error=written(value.get("error")),
    )


def _candidate(value: Members) -> Candidate:
    index = value.get("index")
    if isinstance(index, str) and index.isascii() and index.isdigit() and len(index) < 5:
        index = int(index)
    return Candidate(
        index=int(index) if isinstance(index, int | float) and 0 <= index < CANDIDATES_MAX else None,
        content=Content([_part(each) for each in _objects(_members(value.get("content")).get("parts"))]),
        finish_reason=_text(value.get("finishReason")),
        finish_message=_text(value.get("finishMessage")),
        grounding_metadata=written(value.get("groundingMetadata")),
        citation_metadata=written(value.get("citationMetadata")),
    )


def _part(value: Members) -> Part:
    text, call, blob = value.get("text"), value.get("functionCall"), value.get("inlineData")
    return Part(
        text=text if isinstance(text, str) else None,
        thought=value.get("thought") in {True, "true"} if isinstance(value.get("thought"), bool | str) else None,
        thought_signature=_text(value.get("thoughtSignature")),
        function_call=_call(call) if isinstance(call, dict) else None,
        inline_data=InlineData(*map(_word, map(blob.get, ("mimeType", "data")))) if isinstance(blob, dict) else None,
        executable_code=written(value.get("executableCode")),
        code_execution_result=written(value.get("codeExecutionResult")),
    )


def _call(value: Members) -> PartialCall:
    parts = value.get("partialArgs")
    return PartialCall(
        id=_text(value.get("id")),
        name=_text(value.get("name")),
        args=written(value.get("args")),
        partial_args=parts if isinstance(parts, list) else None,
        will_continue=value.get("willContinue") is True,
    )


def _members(value: object) -> Members:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Members]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return lenient.text(value) if isinstance(value, str) else None


def _word(value: object) -> str:
    return lenient.text(value) if isinstance(value, str) else ""
