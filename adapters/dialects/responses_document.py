"""Responses documents: what a unary answer or one event of a stream says, decoded no further than needed.

A document is its members as the bytes they came in (`msgspec.Raw`): whether one says anything is seen from its bytes,
so a vendor's odd type costs nothing and breaks nothing, and a member of many megabytes is not copied. A document the
strict reader refuses gets a second, lenient reading; only what is not a JSON object at all is no document.

What content is, the commit point of a stream, is decided here: text, reasoning, a refusal, arguments, or an item that
is more than an empty frame for those. Lifecycle events, opened messages and empty parts are none.
"""

import json

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.dialects import Answer
from adapters.dialects.responses_errors import read_error
from adapters.dialects.responses_usage import read_usage
from adapters.errors import Failure, Kind
from adapters.raw import NOTHING, says
from adapters.upstream_errors import not_this_dialect

Members = dict[str, Raw]

QUIET_EVENTS = frozenset(
    {"response.created", "response.queued", "response.in_progress", "response.compaction.compacting"}
)
"""Events of the response as a whole, before it says anything."""

FRAMES = frozenset({"message", "reasoning"})
"""Items that are opened empty; any other item, a call above all, is content by being there."""

TEXTS = ("text", "refusal", "arguments", "input", "code", "transcript")
"""Where `.done` events and parts repeat what the deltas said; some servers send no deltas."""

_PARTS = frozenset({"output_text", "refusal", "summary_text", "reasoning_text"})
_UNFINISHED = frozenset({"queued", "in_progress"})
_DECODER = msgspec.json.Decoder(Members)


def text(raw: Raw) -> str:
    """Return the text a member is, "" for anything else."""
    if bytes(memoryview(raw)[:1]) != b'"':
        return ""
    try:
        value = lenient.decode(raw)
    except lenient.NotJsonError:
        return ""
    return value if isinstance(value, str) else ""


def read_members(document: bytes | Raw) -> Members | None:
    """Return an object's members, None when it is no JSON object. Never raises."""
    try:
        return _DECODER.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_leniently(document)


def has_content(kind: str, event: Members) -> bool:
    """Whether an event of the type `kind`, not the last one of its stream, brings content."""
    if not kind.startswith("response.") or kind in QUIET_EVENTS:
        return False
    if "item" in event:
        return _item_has_content(event["item"], whole=kind.endswith(".done"))
    if "part" in event:
        return _part_has_content(read_members(event["part"]) or {})
    if kind.endswith(".delta"):
        return says(event.get("delta", NOTHING))
    if kind.endswith(".done"):
        return any(says(event.get(name, NOTHING)) for name in TEXTS)
    return True


def output_has_content(output: Raw) -> bool:
    """Whether any of a whole response's items holds something."""
    try:
        items = msgspec.json.decode(output, type=list[Raw]) if says(output) else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True  # an array this reader refuses, or no array at all: but something
    return any(_item_has_content(item, whole=True) for item in items)


def failure_of(response: Members) -> Failure | None:
    """Return the error that a response object really is: one that failed, or an error where a response should be."""
    error = response.get("error", NOTHING)
    return read_error(error) if says(error) or text(response.get("status", NOTHING)) == "failed" else None


def read_answer(body: bytes) -> Answer:
    """Read a unary 2xx answer. Never raises: what is not an answer comes back as its failure.

    A response that runs in the background is an answer with nothing in it yet; a counted input or a compaction is one
    too, though it is no response.
    """
    document = read_members(body)
    if document is None:
        return Answer(failure=not_this_dialect(body, "an answer"))
    failure, usage = failure_of(document), read_usage(document.get("usage", NOTHING))
    output = document.get("output", NOTHING)
    waits = text(document.get("status", NOTHING)) in _UNFINISHED
    other = text(document.get("object", NOTHING)).startswith("response.")
    if failure is None and not (waits or other or bytes(memoryview(output)[:1]) == b"["):
        message = "The upstream answered without any output."
        failure = Failure(502, Kind.UPSTREAM, message, code="empty_answer")
    content = failure is None and (waits or other or output_has_content(output))
    return Answer(usage, content, failure)


def _item_has_content(raw: Raw, *, whole: bool) -> bool:
    item = read_members(raw)
    if item is None:
        return False
    if text(item.get("type", NOTHING)) not in FRAMES:
        return True
    if whole and says(item.get("encrypted_content", NOTHING)):
        return True
    return any(_parts_have_content(item.get(name, NOTHING)) for name in ("content", "summary"))


def _parts_have_content(raw: Raw) -> bool:
    if not says(raw):
        return False
    try:
        parts = msgspec.json.decode(raw, type=list[Members])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return any(map(_part_has_content, parts))


def _part_has_content(part: Members) -> bool:
    kind = text(part.get("type", NOTHING))
    return any(says(part.get(name, NOTHING)) for name in TEXTS) or (bool(kind) and kind not in _PARTS)


def _read_leniently(document: bytes | Raw) -> Members | None:
    try:
        value = lenient.decode(document)
        if not isinstance(value, dict):
            return None
        return {lenient.text(name): Raw(json.dumps(each).encode()) for name, each in value.items()}
    except (lenient.NotJsonError, RecursionError):
        return None
