"""Gemini documents: what a unary answer or one chunk of a stream says, decoded no further than needed.

The interesting members are decoded as `Raw`: whether they say anything is seen from their bytes, so an odd type costs
nothing and breaks nothing, and a kind of part that is not known yet is content all the same. A document the strict
reader refuses gets a second, lenient reading; only what is not a JSON object at all is no document. Names are camelCase
only: so Google writes them, and so its SDKs read them.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.dialects import Answer
from adapters.dialects.gemini_errors import read_error
from adapters.errors import Failure, Kind
from adapters.raw import NOTHING, says, written
from adapters.upstream_errors import not_this_dialect
from adapters.usage import TOKENS_MAX, Usage, count, of_counts

FLAGS = frozenset({"thought", "partMetadata", "mediaResolution", "videoMetadata"})
"""What a part says about its content; everything else in it is content."""

GENERATION_MEMBERS = frozenset(
    {"candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId", "createTime", "modelStatus"}
)
"""The members of a generation's answer; one with others is another action's, as a count of tokens."""

_UNSPECIFIED = b'UNSPECIFIED"'


class Content(msgspec.Struct):
    """One turn: its parts, each a dictionary of members."""

    parts: list[dict[str, Raw]] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    """One alternative of the answer; without an index it is the first."""

    index: Raw = NOTHING
    content: Content | None = None
    finish_reason: Raw = NOTHING

    def has_content(self) -> bool:
        """Whether any part holds something: text, a thought, a call, a blob, a signature."""
        parts = self.content.parts if self.content is not None else None
        return any(says(raw) for part in parts or () for name, raw in part.items() if name not in FLAGS)

    def has_finished(self) -> bool:
        """Whether it gives its finish reason, whichever."""
        return _names_a_reason(self.finish_reason)

    def number(self) -> bytes:
        """Return its index as written."""
        return bytes(self.index) or b"0"


class Feedback(msgspec.Struct, rename="camel"):
    """What was thought of the prompt."""

    block_reason: Raw = NOTHING


class Document(msgspec.Struct, rename="camel"):
    """An answer or a chunk."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Raw = NOTHING
    error: Raw = NOTHING

    def failure(self) -> Failure | None:
        """Return the error this document really is."""
        return read_error(self.error) if says(self.error) else None

    def has_content(self) -> bool:
        """Whether any candidate holds content."""
        return any(candidate.has_content() for candidate in self.candidates or ())

    def is_blocked(self) -> bool:
        """Whether the prompt was refused: then no candidate will ever come."""
        return self.prompt_feedback is not None and _names_a_reason(self.prompt_feedback.block_reason)

    def read_usage(self) -> Usage | None:
        """Return the usage it reports."""
        return read_usage(self.usage_metadata) if says(self.usage_metadata) else None


_DECODER = msgspec.json.Decoder(Document)
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])


def read_document(payload: bytes) -> Document | None:
    """Return what a payload or body says, None when it is not a JSON object. Never raises."""
    try:
        return _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_leniently(payload)


def read_answer(body: bytes) -> Answer:
    """Read a unary 2xx answer. Never raises: what is not an answer comes back as its failure.

    A blocked prompt is an answer, without content. The answer of another action than a generation is content without
    usage.
    """
    document = read_document(body)
    if document is None:
        return Answer(failure=not_this_dialect(body, "an answer"))
    failure, usage = document.failure(), document.read_usage()
    if failure is None and not document.candidates and not document.is_blocked():
        if _is_of_another_action(body):
            return Answer(content=True)
        message = "The upstream answered without any candidate."
        failure = Failure(502, Kind.UPSTREAM, message, code="empty_answer")
    return Answer(usage, failure is None and document.has_content(), failure)


def _is_of_another_action(body: bytes) -> bool:
    try:
        members = _MEMBERS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return bool(members.keys() - GENERATION_MEMBERS)


def _names_a_reason(raw: Raw) -> bool:
    return says(raw) and not bytes(raw).upper().endswith(_UNSPECIFIED)


# -- usage -------------------------------------------------------------------------------------------------------------

_Count = Annotated[int, msgspec.Meta(ge=0, le=TOKENS_MAX)]


class _Modality(msgspec.Struct, rename="camel"):
    modality: str = ""
    token_count: _Count = 0


class _Plain(msgspec.Struct, rename="camel"):
    """Usage as Google documents it: thoughts and results of tools are counted beside candidates and prompt."""

    prompt_token_count: _Count = 0
    candidates_token_count: _Count = 0
    thoughts_token_count: _Count = 0
    tool_use_prompt_token_count: _Count = 0
    cached_content_token_count: _Count = 0
    total_token_count: _Count = 0
    prompt_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None


_PLAIN = msgspec.json.Decoder(_Plain)


def read_usage(raw: Raw | bytes) -> Usage | None:
    """Return a `usageMetadata` in the normal form, None when it holds no counts (`trafficType` alone is none).

    Input is the prompt, cached content included, and what tools of the vendor put into it; output is candidates and
    thoughts. The total tells when thoughts are counted inside the candidates, or when the candidates' count is missing.
    """
    try:
        usage = _PLAIN.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        lenient_usage = _usage_leniently(raw)
        if lenient_usage is None:
            return None
        usage = lenient_usage
    given = usage.prompt_token_count + usage.tool_use_prompt_token_count
    made, thoughts, total = usage.candidates_token_count, usage.thoughts_token_count, usage.total_token_count
    if not (given or made or thoughts or total):
        return None
    output = made + thoughts
    if given + output != total and (given + made == total or not made):
        output = max(total - given, thoughts)
    return of_counts(
        input_tokens=given,
        output_tokens=output,
        cached_tokens=usage.cached_content_token_count,
        reasoning_tokens=thoughts,
        input_audio_tokens=_audio(usage.prompt_tokens_details),
        output_audio_tokens=_audio(usage.candidates_tokens_details),
    )


def _audio(details: list[_Modality] | None) -> int:
    return sum(each.token_count for each in details if each.modality == "AUDIO") if details else 0


def _usage_leniently(raw: Raw | bytes) -> _Plain | None:
    try:
        usage = lenient.decode(raw)
    except lenient.NotJsonError:
        return None
    if not isinstance(usage, dict):
        return None
    return _Plain(
        prompt_token_count=count(usage.get("promptTokenCount")),
        candidates_token_count=count(usage.get("candidatesTokenCount")),
        thoughts_token_count=count(usage.get("thoughtsTokenCount")),
        tool_use_prompt_token_count=count(usage.get("toolUsePromptTokenCount")),
        cached_content_token_count=count(usage.get("cachedContentTokenCount")),
        total_token_count=count(usage.get("totalTokenCount")),
    )


# -- the lenient reading -----------------------------------------------------------------------------------------------


def _read_leniently(payload: bytes) -> Document | None:
    try:
        value = lenient.decode(payload)
    except lenient.NotJsonError:
        return None
    if not isinstance(value, dict):
        return None
    candidates, feedback = value.get("candidates"), value.get("promptFeedback")
    candidates = [each for each in candidates if isinstance(each, dict)] if isinstance(candidates, list) else None
    try:
        return Document(
            candidates=None if candidates is None else [_candidate(each) for each in candidates],
            prompt_feedback=Feedback(written(feedback.get("blockReason"))) if isinstance(feedback, dict) else None,
            usage_metadata=written(value.get("usageMetadata")),
            error=written(value.get("error")),
        )
    except RecursionError:
        return None


def _candidate(value: dict[str, Any]) -> Candidate:
    content = value.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    known = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return Candidate(
        index=written(value.get("index")),
        content=Content([{name: written(member) for name, member in part.items()} for part in known]),
        finish_reason=written(value.get("finishReason")),
    )
