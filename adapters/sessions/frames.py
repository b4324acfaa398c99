"""Frames: the type of an event by its beginning, and its members undecoded.

Events are JSON objects with a `type`. Servers write it first, or second behind an `event_id`; then forty bytes tell it,
however long the rest is. Any other frame is read as a whole, so that the order of members means nothing. A member said
twice means the last one to most readers, and the first one to some: see `plainly`.

Never raises.
"""

import json
import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.raw import NOTHING

Members = dict[str, Raw]

_HEAD_CHARACTERS = 240
_HEAD = re.compile(r'\s*\{\s*(?:"event_id"\s*:\s*"[^"\\]{0,120}"\s*,\s*)?"type"\s*:\s*"([a-z_.]+)"')
_TYPE, _ESCAPE = '"type"', "\\"
_TYPE_BYTES, _ESCAPE_BYTES = b'"type"', b"\\"

_MEMBERS = msgspec.json.Decoder(Members)
_ENCODER = msgspec.json.Encoder()


def kind_at_head(frame: str | bytes) -> str:
    """Return the type that a frame's first members tell, "" when it has to be read to know."""
    head = frame[:_HEAD_CHARACTERS]
    found = _HEAD.match(head if isinstance(head, str) else head.decode("latin-1"))
    return "" if found is None else found[1]


def plainly(frame: str | bytes, kind: str) -> bool:
    """Whether a frame is of type `kind` to every reader: that is told at its head, and no other `type` comes after.

    Quotes inside a string are escaped, so without a backslash `"type"` is nothing but a member's name, or a value that
    makes the answer no. Searches backwards, which is the cheaper direction (see `chat_tap`).
    """
    if kind_at_head(frame) != kind:
        return False
    if isinstance(frame, str):
        return frame.rfind(_ESCAPE) < 0 and frame.rfind(_TYPE) == frame.find(_TYPE)
    return frame.rfind(_ESCAPE_BYTES) < 0 and frame.rfind(_TYPE_BYTES) == frame.find(_TYPE_BYTES)


def bytes_of(frame: str | bytes) -> bytes:
    """Return a frame as bytes; half a character, which no text frame can hold, becomes a question mark."""
    return frame.encode("utf-8", "replace") if isinstance(frame, str) else frame


def members_of(document: bytes | Raw) -> Members | None:
    """Return an object's members, None when it is no JSON object."""
    return read(document)[0]


def read(document: bytes | Raw) -> tuple[Members | None, bool]:
    """Return an object's members as `members_of`, and whether strict readers accept the document too."""
    try:
        return _MEMBERS.decode(document), True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_leniently(document), False


def value_of(raw: Raw) -> object:
    """Return the value of a member, None when it is absent or cannot be read."""
    if raw is NOTHING:
        return None
    try:
        return lenient.decode(raw)
    except lenient.NotJsonError:
        return None


def text_of(raw: Raw) -> str:
    """Return the text a member is, "" for anything else."""
    value = value_of(raw) if bytes(memoryview(raw)[:1]) == b'"' else None
    return value if isinstance(value, str) else ""


def at(members: Members, *path: str) -> Raw:
    """Return the member at the end of a path of objects, `NOTHING` when there is no such path."""
    raw = members.get(path[0], NOTHING)
    for name in path[1:]:
        inner = members_of(raw)
        raw = NOTHING if inner is None else inner.get(name, NOTHING)
    return raw


def encoded(value: Mapping[str, object]) -> str:
    """Return an event as a text frame."""
    return _ENCODER.encode(value).decode()


def _read_leniently(document: bytes | Raw) -> Members | None:
    try:
        value = lenient.decode(document)
        if not isinstance(value, dict):
            return None
        return {lenient.text(name): Raw(json.dumps(member).encode()) for name, member in value.items()}
    except (lenient.NotJsonError, RecursionError):
        return None
