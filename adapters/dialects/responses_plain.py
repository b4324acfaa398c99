"""Items of `input` written as nearly all are, by one typed decoding: of all of them, or else of each.

A plain item has the members that are named here and no other, of the documented types: text in messages, in summaries
and in results, calls whose arguments are text. The decoder refuses every other one; `read` leaves it to
`responses_input`, which knows odd forms, media and losses, and says what is wrong. Members that mean nothing elsewhere
(ids, `status`, `phase`) are named only so that they are known.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from adapters.conversation import Text

_Empty = Annotated[list[Any], Meta(max_length=0)]


class PlainText(Struct, gc=False, forbid_unknown_fields=True):
    """A part that is text, without sources or marks."""

    type: Literal["input_text", "output_text", "text", "summary_text", "reasoning_text"]
    text: str
    annotations: _Empty | None = None
    logprobs: _Empty | None = None


class _Item(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    id: str | None = None
    status: str | None = None


class PlainMessage(_Item, tag="message", kw_only=True):
    """What somebody says; the role may be none there is."""

    role: str
    content: str | list[PlainText]
    phase: str | None = None


class PlainReasoning(_Item, tag="reasoning", kw_only=True):
    """Reasoning, readable in a summary at most. `content` is what open models have instead."""

    summary: list[PlainText]
    encrypted_content: str | None = None
    content: None = None


class PlainCall(_Item, tag="function_call", kw_only=True):
    """A call."""

    call_id: str
    name: str
    arguments: str
    namespace: str | None = None


class PlainOutput(_Item, tag="function_call_output", kw_only=True):
    """A call's result."""

    call_id: str
    output: str | list[PlainText]
    name: str | None = None


class PlainCustomCall(_Item, tag="custom_tool_call", kw_only=True):
    """A free-form call."""

    call_id: str
    name: str
    input: str
    namespace: str | None = None


class PlainCustomOutput(_Item, tag="custom_tool_call_output", kw_only=True):
    """A free-form call's result."""

    call_id: str
    output: str | list[PlainText]
    name: str | None = None


PlainItem = PlainMessage | PlainReasoning | PlainCall | PlainOutput | PlainCustomCall | PlainCustomOutput

_ITEM = msgspec.json.Decoder(PlainItem)
_ITEMS = msgspec.json.Decoder(list[PlainItem])
_RAW_ITEMS = msgspec.json.Decoder(list[Raw])
_REFUSALS = (msgspec.DecodeError, RecursionError)


def read_all(raw: Raw) -> Sequence[PlainItem | Raw] | None:
    """Return the items of an array, undecoded those that are not plain; None for what is no array."""
    with suppress(*_REFUSALS):
        return _ITEMS.decode(raw)
    try:
        return [_read(item) for item in _RAW_ITEMS.decode(raw)]
    except _REFUSALS:
        return None


def _read(item: Raw) -> PlainItem | Raw:
    try:
        return _ITEM.decode(item)  # type: ignore[no-any-return] # of a union msgspec's stub says nothing
    except _REFUSALS:
        return item


def texts(content: str | list[PlainText]) -> tuple[Text, ...]:
    """Return a content's parts; a text that is empty and not in a part is none."""
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if len(content) == 1:
        return (Text(content[0].text),)
    return tuple([Text(part.text) for part in content])
