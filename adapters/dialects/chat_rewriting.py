"""What is rewritten in a Chat Completions event on its way to a client of the same dialect; all else keeps its bytes.

Each function returns the event it was given, the same object, when there is nothing to change. Events are rewritten
with LF as their line end.
"""

import re

import msgspec
from msgspec import Raw

from adapters import sse

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_CHOICES = msgspec.json.Decoder(list[dict[str, Raw]])
_ENCODER = msgspec.json.Encoder()
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_RECONNECTION = re.compile(rb"(?:\A|[\r\n])(?:id|retry)(?=[:\r\n])")
_RECONNECTION_BEGUN = (b"\nid", b"\rid", b"\nretry", b"\rretry")
_RECONNECTION_LINE = re.compile(rb"(?:id|retry)(?::|\Z)")
_NO_CHOICES = Raw(b"[]")


def without_usage(block: bytes, payload: bytes) -> bytes:
    """Return a chunk's event without its `usage` and those of its choices; other members keep their bytes.

    A chunk that the strict reader refuses is left as it is.
    """
    try:
        members = _MEMBERS.decode(payload)
        members.pop("usage", None)
        if "choices" in members:
            choices = _CHOICES.decode(members["choices"])
            if any("usage" in choice for choice in choices):
                without = [{name: raw for name, raw in choice.items() if name != "usage"} for choice in choices]
                members["choices"] = Raw(_ENCODER.encode(without))
    except _REFUSALS:
        return block
    return _rewritten(block, members)


def without_null_choices(block: bytes, payload: bytes) -> bytes:
    """Return a chunk's event with an empty list where its `choices` are null: openai-python fails on that (B36)."""
    try:
        members = _MEMBERS.decode(payload)
    except _REFUSALS:
        return block
    if bytes(members.get("choices", b"")) != b"null":
        return block
    return _rewritten(block, {**members, "choices": _NO_CHOICES})


def has_reconnection_fields(block: bytes) -> bool:
    """Whether an event has an `id` or a `retry` line, by which browsers go on with a stream that broke."""
    # Hardly any event has one. Nearly all are one line; to search 300 bytes for all spellings at once costs 79,000
    # instructions.
    if block.startswith(b"data") and block.find(b"\n") >= len(block) - 2 and b"\r" not in block:
        return False
    if not block.startswith((b"id", b"retry")) and not any(map(block.__contains__, _RECONNECTION_BEGUN)):
        return False
    return _RECONNECTION.search(block) is not None


def without_reconnection_fields(block: bytes) -> bytes:
    """Return an event without those: nobody can go on here, and openai-python fails on the next comment (#2722)."""
    if not has_reconnection_fields(block):
        return block
    return b"\n".join(line for line in sse.lines(block) if not _RECONNECTION_LINE.match(line))


def _rewritten(block: bytes, members: dict[str, Raw]) -> bytes:
    others = [line for line in sse.lines(block) if line and not line.startswith(b"data")]
    return b"".join([line + b"\n" for line in others]) + sse.encode(_ENCODER.encode(members))
