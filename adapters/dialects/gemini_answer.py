"""Gemini answers taken whole: generateContent's one document, and the count of tokens.

It says what the stream would have said (`gemini_emitter`): the same places for signatures, the same parts, no call that
is not whole.
"""

from collections.abc import Iterator

import msgspec

from adapters.collector import Blob, Collected, CollectedCall, Collector, Hosted
from adapters.conversation import Reasoning, Refusal, Text
from adapters.dialects.gemini_grounding import Offsets, metadata_of
from adapters.dialects.gemini_output import (
    Members,
    blob_part,
    call_part,
    content,
    finish_word,
    signed,
    usage_metadata,
)
from adapters.dialects.gemini_request import COUNT, asked_action
from adapters.operations import CUT_SHORT, Citation
from adapters.signatures import Signature
from adapters.tool_calls.arguments import Depth

_ENCODER = msgspec.json.Encoder()


def render_answer(collector: Collector) -> bytes:
    """Return the body of a unary answer."""
    shows = collector.opening.conversation.thought.show is True
    document: Members = {
        "candidates": [_candidate(collected, shows=shows) for collected in collector.answers()],
        "usageMetadata": usage_metadata(collector.usage),
        "modelVersion": collector.model,
        "responseId": collector.id,
    }
    return _ENCODER.encode(document)


def estimated_count(argument: bytes, tokens: int) -> bytes | None:
    """Return the answer of countTokens, None when the path asks for something else."""
    if asked_action(argument) != COUNT:
        return None
    return _ENCODER.encode({"totalTokens": tokens})


def _candidate(collected: Collected, *, shows: bool) -> Members:
    candidate: Members = {"content": content(list(_parts(collected, shows=shows)) or [{"text": ""}])}
    declined = any(isinstance(part, Refusal) for part in collected.parts)
    candidate["finishReason"] = finish_word(collected.reason, declined=declined)
    candidate["index"] = collected.index
    if collected.explanation:
        candidate["finishMessage"] = collected.explanation
    grounding = _grounding(collected)
    if grounding is not None:
        candidate["groundingMetadata"] = grounding
    return candidate


def _parts(collected: Collected, *, shows: bool) -> Iterator[Members]:
    waiting: Signature | None = None
    for part in collected.parts:
        if isinstance(part, Reasoning):
            if waiting is not None:
                yield signed({"text": ""}, waiting)
            if part.text and shows:
                yield {"text": part.text, "thought": True}
            waiting = part.signature
            continue
        rendered = _part(part, is_cut=collected.reason in CUT_SHORT)
        if rendered is not None:
            yield signed(rendered, waiting)
            waiting = None
    if waiting is not None:
        yield signed({"text": ""}, waiting)


def _part(part: Text | Refusal | CollectedCall | Blob | Hosted, *, is_cut: bool) -> Members | None:
    match part:
        case Text() | Refusal():
            return {"text": part.text} if part.text else None
        case CollectedCall():
            if not part.whole or (is_cut and not part.custom and not _is_closed(part.arguments)):
                return None
            return call_part(part.id, part.name, part.arguments, custom=part.custom)
        case Blob():
            return blob_part(part.media_type, part.content)
        case Hosted():
            return None


def _is_closed(arguments: str) -> bool:
    """Whether the JSON is all there: who reads a whole answer cannot say where it was cut."""
    depth = Depth()
    depth.feed(arguments)
    return depth.complete


def _grounding(collected: Collected) -> Members | None:
    offsets = Offsets(keep=True)
    citations: list[Citation] = []
    queries: list[str] = []
    for part in collected.parts:
        if isinstance(part, Text):
            citations += part.citations
            offsets.add(part.text)
        elif isinstance(part, Refusal):
            offsets.add(part.text)
        elif isinstance(part, Hosted) and part.kind == "web_search" and isinstance(part.payload.get("query"), str):
            queries.append(str(part.payload["query"]))
    return metadata_of(citations, queries, offsets)
