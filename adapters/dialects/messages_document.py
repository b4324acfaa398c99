"""Messages documents: what a unary answer or one event of a stream says, decoded no further than needed.

Every member is decoded as `Raw`: whether it says anything is seen from its bytes, so an odd type costs nothing and
breaks nothing. A document the strict reader refuses gets a second, lenient reading; only what is not a JSON object at
all is no document. Blocks and deltas are judged by one rule, whatever their type, since the vendor keeps adding types:
one that holds anything beside its `type` is content.
"""

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.dialects import Answer
from adapters.dialects.messages_errors import read_error
from adapters.dialects.messages_usage import read_counts
from adapters.raw import NOTHING, says, written
from adapters.surrogates import mended
from adapters.upstream_errors import not_this_dialect

_ERROR = b'"error"'


class Document(msgspec.Struct):
    """An answer or an event: the members that anything is decided by."""

    type: Raw = NOTHING
    message: Raw = NOTHING
    content: Raw = NOTHING
    content_block: Raw = NOTHING
    index: Raw = NOTHING
    delta: Raw = NOTHING
    usage: Raw = NOTHING
    error: Raw = NOTHING
    input_tokens: Raw = NOTHING
    """Of a token count."""

    @property
    def kind(self) -> bytes:
        """Its type as a word, b"" when it has none."""
        written = bytes(self.type)
        return written[1:-1] if written[:1] == b'"' and b"\\" not in written else b""

    @property
    def is_error(self) -> bool:
        """Whether it is an error, in this dialect's envelope or in another's."""
        return bytes(self.type) == _ERROR or says(self.error)


_DOCUMENT = msgspec.json.Decoder(Document)
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_ITEMS = msgspec.json.Decoder(list[Raw])
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def holds(part: Raw) -> bool:
    """Whether a block or a delta holds anything beside its type."""
    return says(part) and any(says(value) for name, value in members(part).items() if name != "type")


def read_document(payload: bytes) -> Document | None:
    """Return what a payload or body says, None when it is not a JSON object. Never raises."""
    try:
        return _DOCUMENT.decode(payload)
    except _REFUSALS:
        value = _leniently(payload)
    if not isinstance(value, dict):
        return None
    return Document(**{name: _raw(value.get(name)) for name in Document.__struct_fields__})


def members(raw: Raw) -> dict[str, Raw]:
    """Return an object's members, none when it is no object. Never raises."""
    try:
        return _MEMBERS.decode(raw)
    except _REFUSALS:
        value = _leniently(raw)
        return {name: _raw(each) for name, each in value.items()} if isinstance(value, dict) else {}


def items(raw: Raw) -> list[Raw]:
    """Return an array's items, none when it is no array. Never raises."""
    try:
        return _ITEMS.decode(raw)
    except _REFUSALS:
        value = _leniently(raw)
        return [_raw(each) for each in value] if isinstance(value, list) else []


def text(raw: Raw) -> str:
    """Return a member that is text, "" when it is none. It may hold surrogates. Never raises."""
    value = _leniently(raw) if says(raw) else None
    return value if isinstance(value, str) else ""


def word(document: dict[str, Raw], name: str) -> str:
    """Return a member that is text, as text that can be written; "" when it is none."""
    return mended(text(document.get(name, NOTHING)))


def read_answer(body: bytes) -> Answer:
    """Read a unary 2xx answer, a message or a token count. Never raises: anything else comes back as its failure.

    A message without a block is an answer: models may end a turn in silence, or refuse before the first one.
    """
    document = read_document(body)
    if document is None:
        return Answer(failure=not_this_dialect(body, "an answer"))
    usage = read_counts(document.usage).usage()
    if document.is_error:
        return Answer(usage, failure=read_error(body))
    if bytes(document.content).startswith(b"["):
        return Answer(usage, any(map(holds, items(document.content))))
    if bytes(document.input_tokens):
        return Answer(content=True)
    return Answer(usage, failure=not_this_dialect(body, "an answer"))


def _leniently(document: bytes | Raw) -> object:
    try:
        return lenient.decode(document)
    except lenient.NotJsonError:
        return None


def _raw(value: object) -> Raw:
    try:
        return written(value)
    except RecursionError:
        return NOTHING
