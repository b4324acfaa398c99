"""Chat Completions documents: what a unary answer or one chunk of a stream says, decoded no further than needed.

The interesting members are decoded as `Raw`: whether they say anything is seen from their bytes, so a vendor's odd
type (content as an array, an index as text) costs nothing and breaks nothing. A document the strict reader refuses
gets a second, lenient reading; only what is not a JSON object at all is no document.

A unary answer as documented (text or calls, usage that adds up, no error) is told by its types in one decoding; any
other one takes the way above, with the same result.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.dialects import Answer
from adapters.dialects.chat_errors import finish_error, nothing_said, read_error
from adapters.dialects.chat_usage import PlainUsage, read_usage
from adapters.errors import Failure
from adapters.raw import NOTHING, says, written
from adapters.upstream_errors import not_this_dialect
from adapters.usage import Usage

_ERROR = b'"error"'


class Message(msgspec.Struct):
    """A delta or a message: the members that are content. The last four are vendors' extensions."""

    content: Raw = NOTHING
    refusal: Raw = NOTHING
    tool_calls: Raw = NOTHING
    function_call: Raw = NOTHING
    audio: Raw = NOTHING
    reasoning_content: Raw = NOTHING
    reasoning: Raw = NOTHING
    reasoning_details: Raw = NOTHING
    images: Raw = NOTHING

    def has_content(self) -> bool:
        """Whether any of them holds something; a role alone is none."""
        return any(map(says, msgspec.structs.astuple(self)))


class Choice(msgspec.Struct):
    """One alternative of the answer. `usage` in a choice is one vendor's habit, `text` is how the older API answers."""

    index: Raw = NOTHING
    delta: Message | None = None
    message: Message | None = None
    text: Raw = NOTHING
    finish_reason: Raw = NOTHING
    usage: Raw = NOTHING
    error: Raw = NOTHING

    def has_content(self) -> bool:
        """Whether its delta, message or text holds content."""
        part = self.delta or self.message
        return part.has_content() if part is not None else says(self.text)


class Document(msgspec.Struct):
    """An answer or a chunk. `choices` is None when absent or null."""

    choices: list[Choice] | None = None
    usage: Raw = NOTHING
    error: Raw = NOTHING

    def failure(self) -> Failure | None:
        """Return the error this document really is: a truthy `error`, here or in a choice, or a finish of "error"."""
        if says(self.error):
            return read_error(self.error)
        for choice in self.choices or ():
            if says(choice.error):
                return read_error(choice.error)
            if bytes(choice.finish_reason) == _ERROR:
                return finish_error()
        return None

    def read_usage(self) -> Usage | None:
        """Return the usage it reports, wherever it stands."""
        if says(self.usage):
            return read_usage(self.usage)
        for choice in self.choices or ():
            if says(choice.usage):
                return read_usage(choice.usage)
        return None


class _PlainMessage(msgspec.Struct):
    content: Raw = NOTHING
    tool_calls: Raw = NOTHING


class _PlainChoice(msgspec.Struct):
    """A choice that is no error. A `delta` is refused because it would be read before the message."""

    message: _PlainMessage
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"] | None = None
    delta: None = None
    error: None = None


class _PlainAnswer(msgspec.Struct):
    """An answer as documented: its usage is plain, and by its types nothing in it is an error."""

    choices: Annotated[list[_PlainChoice], msgspec.Meta(min_length=1)]
    usage: PlainUsage
    error: None = None

    def has_content(self) -> bool:
        """Whether the first choice holds text or calls; when it does not, more has to be seen than is decoded here."""
        message = self.choices[0].message
        return says(message.content) or says(message.tool_calls)


_DECODER = msgspec.json.Decoder(Document)
_PLAIN = msgspec.json.Decoder(_PlainAnswer)


def read_document(data: bytes) -> Document | None:
    """Return what a payload or body says, None when it is not a JSON object. Never raises."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_leniently(data)


def read_answer(body: bytes) -> Answer:
    """Read a unary 2xx answer. Never raises: what is not an answer comes back as its failure."""
    try:
        answer = _PLAIN.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_any_answer(body)
    usage = answer.usage.normal()
    return Answer(usage, True) if usage is not None and answer.has_content() else _read_any_answer(body)


def _read_any_answer(body: bytes) -> Answer:
    document = read_document(body)
    if document is None:
        return Answer(failure=not_this_dialect(body, "an answer"))
    failure, usage = document.failure(), document.read_usage()
    if failure is None and not document.choices:
        failure = nothing_said()
    content = failure is None and any(choice.has_content() for choice in document.choices or ())
    return Answer(usage, content, failure)


def _read_leniently(data: bytes) -> Document | None:
    try:
        value = lenient.decode(data)
    except lenient.NotJsonError:
        return None
    if not isinstance(value, dict):
        return None
    choices = value.get("choices")
    choices = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else None
    try:
        return Document(
            choices=None if choices is None else [_choice(choice) for choice in choices],
            usage=written(value.get("usage")),
            error=written(value.get("error")),
        )
    except RecursionError:
        return None


def _choice(value: dict[str, Any]) -> Choice:
    raws = {name: written(value.get(name)) for name in ("index", "text", "finish_reason", "usage", "error")}
    return Choice(delta=_message(value.get("delta")), message=_message(value.get("message")), **raws)


def _message(value: object) -> Message | None:
    if not isinstance(value, dict):
        return None
    return Message(**{name: written(value.get(name)) for name in Message.__struct_fields__})
