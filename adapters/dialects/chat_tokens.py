"""Foreign signatures in a Chat Completions conversation: where they stand, so that they come back to their places.

A signature from another dialect's upstream travels as a token (`adapters.signatures`) in an entry of
`reasoning_details`, the member by which clients of this dialect already send such things back:

    {"type": "reasoning.encrypted", "data": <token>, "format": "hedgerow", "index": 0,
     "after_calls": 1, "after_text": 12, "start_index": 40, "end_index": 95}

`index` counts the entries. The rest is what a message of one text, one reasoning and a list of calls cannot say: the
item's place, behind so many calls and characters of text, and which characters of `reasoning_content` are its own.
In a message with none of our tokens there is nothing of this.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from adapters import signatures
from adapters.conversation import Part, Reasoning, Text
from adapters.dialects.chat_message import MESSAGES
from adapters.json_body import Members
from adapters.signatures import Signature
from adapters.usage import count

FORMAT = "hedgerow"
TOKEN_PREFIX = signatures.PREFIX.encode("ascii")
"""Where it is not in a body, there is no token in it."""

_ENCODER = msgspec.json.Encoder()
_MESSAGES = msgspec.json.Decoder(list[Members])
_ENTRIES = msgspec.json.Decoder(list[Raw])


class Place(NamedTuple):
    """Where a reasoning item stands in its message."""

    calls: int
    text_characters: int
    start: int
    end: int


PLACE_MEMBERS = ("after_calls", "after_text", "start_index", "end_index")
"""What an entry says of its place, in the order of `Place`."""


def entry(signature: Signature, index: int, place: Place) -> dict[str, object]:
    """Return the entry that carries a signature."""
    return {
        "type": "reasoning.encrypted",
        "data": signatures.pack(signature),
        "format": FORMAT,
        "index": index,
        "after_calls": place.calls,
        "after_text": place.text_characters,
        "start_index": place.start,
        "end_index": place.end,
    }


def restored(
    details: Iterable[dict[str, Any]], reasoning: str, text: tuple[Part, ...], calls: tuple[Part, ...]
) -> list[Part] | None:
    """Return a message's parts with its reasoning at its places; None when no entry is one of ours.

    Reasoning that no entry claims stays in front, unsigned. Places that do not fit the message, because a client has
    changed it, are as near as they can be.
    """
    found: list[tuple[Place, Signature]] = []
    for detail in details:
        data = detail.get("data")
        signature = signatures.unpack(data) if isinstance(data, str) else None
        if signature is not None:
            found.append((Place._make(count(detail.get(name)) for name in PLACE_MEMBERS), signature))
    if not found:
        return None
    parts: list[Part] = []
    claimed: list[tuple[Place, Reasoning]] = []
    at = 0
    for place, signature in found:
        start = max(place.start, at)
        end = max(place.end, start)
        parts += [Reasoning(reasoning[at:start])] if reasoning[at:start] else []
        claimed.append((place, Reasoning(reasoning[start:end], signature)))
        at = end
    parts += [Reasoning(reasoning[at:])] if reasoning[at:] else []
    text_left, text_at, calls_at = list(text), 0, 0
    for place, item in claimed:
        before, text_left = _split(text_left, place.text_characters - text_at)
        parts += before
        text_at = max(text_at, place.text_characters)
        if place.calls > calls_at:
            parts += text_left
            text_left = []
            parts += calls[calls_at : place.calls]
            calls_at = place.calls
        parts.append(item)
    return [*parts, *text_left, *calls[calls_at:]]


def _split(parts: list[Part], characters: int) -> tuple[list[Part], list[Part]]:
    """Return the parts in front of so many characters of text, and the others; a text may be cut in two."""
    before: list[Part] = []
    for at, part in enumerate(parts):
        if characters <= 0:
            return before, parts[at:]
        if not isinstance(part, Text):
            before.append(part)
        elif len(part.text) <= characters:
            before.append(part)
            characters -= len(part.text)
        else:
            rest = Text(part.text[characters:], part.cache, part.citations)
            return [*before, Text(part.text[:characters])], [rest, *parts[at + 1 :]]
    return before, []


def without_tokens(fields: Members) -> Members:
    """Return a request's members without the entries that carry tokens of ours; the same object when it has none.

    For a same-dialect upstream, which made none of them and may refuse them (B34). All other entries and members keep
    their bytes.
    """
    raw = fields.get(MESSAGES)
    if raw is None or TOKEN_PREFIX not in bytes(raw):
        return fields
    try:
        messages = _MESSAGES.decode(raw)
        changed = [_stripped(message) for message in messages]
    except (msgspec.DecodeError, RecursionError):
        return fields
    if all(map(_is, changed, messages)):
        return fields
    return fields | {MESSAGES: Raw(_ENCODER.encode(changed))}


def _stripped(message: Members) -> Members:
    details = message.get("reasoning_details")
    if details is None or TOKEN_PREFIX not in bytes(details):
        return message
    kept = [each for each in _ENTRIES.decode(details) if not _is_ours(each)]
    others = {name: value for name, value in message.items() if name != "reasoning_details"}
    return others | {"reasoning_details": Raw(_ENCODER.encode(kept))} if kept else others


def _is_ours(raw: Raw) -> bool:
    value = msgspec.json.decode(raw)
    data = value.get("data") if isinstance(value, dict) else None
    return isinstance(data, str) and signatures.is_token(data)


def _is(one: object, other: object) -> bool:
    return one is other
