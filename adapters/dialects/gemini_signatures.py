"""Gemini signatures: what stands in `thoughtSignature`, from whom, and where on the way back.

A signature is a sibling of a part's content, in base64: on a call (the first of a parallel group), on text, on a blob,
now and then on a thought or on an empty text of its own. In the neutral form it signs a reasoning item that stands
right before that part; `kind` says which of the odd places it had, so that it returns there ("" for the part behind).

Clients put two other things there: a token that this gateway packed for them, and a word that tells Google's validator
to pass over a call that another model made (ai.google.dev/gemini-api/docs/thought-signatures, read 2026-11).
"""

import msgspec
from msgspec import Raw

from adapters import signatures
from adapters.signatures import PREFIX, Signature

DIALECT = "gemini"

ON_THOUGHT = "thought"
"""It stood on the thought itself."""
ON_EMPTY = "empty"
"""It stood on an empty text."""

DUMMY = "skip_thought_signature_validator"
"""What stands for the signature of a call that none of these models made."""

_DUMMIES = frozenset(
    {
        DUMMY,
        "context_engineering_is_the_way_to_go",
        "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=",
        "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I",
        "Y29udGV4dF9lbmdpbmVlcmluZ19pc190aGVfd2F5X3RvX2dv",
    }
)
"""The words Google documents, and their base64, which SDKs make of them."""

_PREFIX_BYTES = PREFIX.encode()
_CONTENTS = "contents"
_SIGNATURE_MEMBERS = frozenset({"thoughtSignature", "thought_signature"})
_CALLS = frozenset({"functionCall", "function_call"})
_NO = Raw(b"")
_EMPTY = frozenset({b"", b'""'})
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])
_ENCODER = msgspec.json.Encoder()
_DUMMY = Raw(_ENCODER.encode(DUMMY))


def read(value: object) -> Signature | None:
    """Return the signature in a client's `thoughtSignature`, None for none and for a stand-in."""
    if not isinstance(value, str) or not value or value in _DUMMIES:
        return None
    if signatures.is_token(value):
        return signatures.unpack(value)
    return Signature(DIALECT, "", value)


def without_tokens(fields: dict[str, Raw], body: bytes, *, dummy: bool) -> dict[str, Raw]:
    """Return a request's members without tokens of ours, which no upstream can read (B34); the same object for none.

    A thought that bears one is left out whole, and so are an empty text, and a content of nothing else. Of any other
    part only the signature is; a call gets the `DUMMY` instead where the model insists on one. Everything else keeps
    its bytes.
    """
    raw = fields.get(_CONTENTS)
    if raw is None or _PREFIX_BYTES not in body:
        return fields
    try:
        contents = [_content(each, dummy=dummy) for each in _listed(raw)]
    except (msgspec.DecodeError, RecursionError):
        return fields
    return {**fields, _CONTENTS: Raw(_ENCODER.encode([content for content in contents if content is not None]))}


def _listed(raw: Raw) -> list[Raw]:
    return [raw] if bytes(memoryview(raw)[:1]) == b"{" else _LIST.decode(raw)


def _content(raw: Raw, *, dummy: bool) -> Raw | None:
    if _PREFIX_BYTES not in bytes(raw):
        return raw
    members = _MEMBERS.decode(raw)
    kept = [part for part in (_part(each, dummy=dummy) for each in _listed(members["parts"])) if part is not None]
    return Raw(_ENCODER.encode({**members, "parts": kept})) if kept else None


def _part(raw: Raw, *, dummy: bool) -> Raw | None:
    """Return a part without a token; None for one that is nothing without it."""
    if _PREFIX_BYTES not in bytes(raw):
        return raw
    members = _MEMBERS.decode(raw)
    bearing = [name for name in _SIGNATURE_MEMBERS & members.keys() if _bears_token(members[name])]
    if not bearing:
        return raw
    rest = {name: value for name, value in members.items() if name not in _SIGNATURE_MEMBERS}
    is_thought = bytes(rest.get("thought", _NO)) == b"true"
    is_empty = rest.keys() <= {"text"} and bytes(rest.get("text", _NO)) in _EMPTY
    if is_thought or is_empty:
        return None
    if dummy and rest.keys() & _CALLS:
        rest["thoughtSignature"] = _DUMMY
    return Raw(_ENCODER.encode(rest))


def _bears_token(raw: Raw) -> bool:
    return bytes(raw).startswith(b'"' + _PREFIX_BYTES)
