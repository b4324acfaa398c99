"""The tap: a Chat Completions stream on its way to a client that speaks the same dialect.

Forwards the upstream's own bytes, whole events only, and sees just what metering and recovery need: the first
content, the terminal evidence, usage, an in-band error. The output of one read goes out in one send. What it changes,
and nothing else:

- a BOM and blank lines before the first event are dropped, and a stream without its last blank line gets it;
- `[DONE]` always leaves as exactly `data: [DONE]`, one is added after terminal evidence, and nothing follows one;
- with `strip_usage` (the client did not ask) the usage chunk is dropped and `usage` members are taken out of others;
- before the first content, events that carry no data are dropped, on which openai-python fails (`id`, `retry` alone);
- in a stream that begins with an `id`, no event keeps its `id` and `retry`: the SDK would fail on the next comment;
- `choices` that are null, before the first content, become an empty list, for the same reason;
- an error chunk is withheld: it becomes `failure`, and the caller says it in its own words.

How it stays cheap. Until the first content every event is decoded; after it only those that a handful of substring
searches per read, however many events it holds, make suspicious. What is searched for are JSON keys with both quotes:
inside a string the quotes are escaped, so text never looks like one. How a stream spells its keys is learnt from its
first chunk; one that spells them in a way of its own has every event decoded. A suspicious read is judged again event
by event, so that what is decoded, and what comes out, does not depend on how the stream was cut.

How it ends. A stream is over at `[DONE]`, or when every choice has a finish_reason and the upstream closes. Any other
end is a failure: the SDKs of this dialect accept a bare end in silence, so only the gateway can tell the client.
"""

from typing import NamedTuple

from adapters import sse
from adapters.dialects.chat_document import Choice, Document, read_document
from adapters.dialects.chat_errors import error_event, nothing_said
from adapters.dialects.chat_rewriting import (
    has_reconnection_fields,
    without_null_choices,
    without_reconnection_fields,
    without_usage,
)
from adapters.errors import Failure
from adapters.event_tap import EventTap, Stage
from adapters.raw import says
from adapters.upstream_errors import not_this_dialect
from adapters.usage import Usage

__all__ = ["DONE", "Stage", "Tap"]

DONE = b"data: [DONE]\n\n"

_DONE_PAYLOAD = b"[DONE]"
_ERROR = b'"error"'
_USAGE = b'"usage"'
_USAGE_GIVEN = b'"usage":{'
_USAGE_GIVEN_SPACED = b'"usage": {'


class Spelling(NamedTuple):
    """How one writer of JSON puts its spaces, seen where `choices` begin."""

    choices: bytes
    finish: bytes
    """A finish_reason that is text begins so; b"" is found in every event."""
    null_usage: bytes
    """A usage that says nothing, at whatever depth. Cut out as text: decoding and encoding would cost ten times as
    much."""


SPELLINGS = (
    Spelling(b'"choices":[', b'"finish_reason":"', b',"usage":null'),
    Spelling(b'"choices": [', b'"finish_reason": "', b', "usage": null'),
)
UNUSUAL = Spelling(b"", b"", b',"usage":null')


_CONTENT = Stage.CONTENT
"""Looked up once: an Enum's member costs 0.1 us each time it is reached through its class (3.11)."""


class Tap(EventTap):
    """One stream: `feed` every read, `end` once at its end; the attributes are for the caller to read after each call.

    Never raises. `failure` set means that the stream is broken from here: what was returned may still be forwarded,
    later calls return nothing. `choices` is the request's `n`: so many finish_reasons make the stream `finished`.
    """

    __slots__ = (
        "_choices",
        "_finish",
        "_finished_choices",
        "_null_usage",
        "_strip_usage",
        "usage",
    )

    def __init__(self, *, strip_usage: bool, event_bytes_max: int, choices: int = 1) -> None:
        super().__init__(event_bytes_max=event_bytes_max)
        self.usage: Usage | None = None
        self._choices = choices
        self._finish = UNUSUAL.finish
        self._finished_choices: set[bytes] = set()
        self._null_usage = UNUSUAL.null_usage
        self._strip_usage = strip_usage

    def feed(self, data: bytes) -> bytes:
        """Take one read, return the whole events to forward: the same object when nothing is to be changed."""
        if self.stage is not _CONTENT:
            return self._feed_slowly(data)
        framer = self._framer
        ends = data[-2:] == b"\n\n" or data[-4:] == b"\r\n\r\n"
        whole = data if ends and not framer.held else framer.feed(data)
        if len(whole) > self._event_bytes_max:
            whole = self._inspect(whole)
        else:
            if self._strip_usage and whole.rfind(_USAGE) >= 0:
                whole = whole.replace(self._null_usage, b"")
            if self._is_suspicious(whole):
                whole = self._inspect(whole)
        if framer.held > self._event_bytes_max:
            self._fail_oversize()
        return whole

    def error_event(self, failure: Failure) -> bytes:
        """Return the in-band error that ends a stream; in this dialect it refers to nothing before it."""
        return error_event(failure)

    def _is_suspicious(self, whole: bytes) -> bool:
        """Whether any of the events may hold a finish, a usage, an error or the end.

        `rfind`, because CPython searches backwards two to four times as fast as forwards (measured, 3.11), and
        forwards is what `in` and `count` do: this is most of what an event costs.
        """
        search = whole.rfind
        if search(_ERROR) >= 0 or search(_DONE_PAYLOAD) >= 0 or search(self._finish) >= 0:
            return True
        if search(_USAGE) < 0:
            return False
        return self._strip_usage or search(_USAGE_GIVEN) >= 0 or search(_USAGE_GIVEN_SPACED) >= 0

    # -- the stages ------------------------------------------------------------------------------------------------

    def _block(self, block: bytes) -> bytes:
        """Look at one event, return what to forward of it."""
        if self._strip_usage:
            block = block.replace(self._null_usage, b"")
        if self.stage is _CONTENT and not self._is_suspicious(block):
            return block
        payload = sse.payload(block)
        if payload is None:
            return self._block_without_payload(block)
        if payload.strip() == _DONE_PAYLOAD:
            if self.stage is Stage.OPENING and not self._finished_choices:
                self._fail(nothing_said())
                return b""
            self._become(Stage.DONE)
            return DONE
        document = read_document(payload)
        if document is not None:
            return self._chunk(block, payload, document)
        if self.stage is Stage.OPENING and payload.strip():
            # Garbage in place of the first chunk may still be answered elsewhere; later the client is the judge of it.
            self._fail(not_this_dialect(payload, "a chunk"))
        return b"" if self.stage in {Stage.OPENING, Stage.FAILED} else block

    def _block_without_payload(self, block: bytes) -> bytes:
        """Comments pass, other fields do not. A JSON line outside any field is how some servers report a late error."""
        if _ERROR in block and block.lstrip()[:1] == b"{":
            document = read_document(block)
            failure = document.failure() if document is not None else None
            if failure is not None:
                self._fail(failure)
                return b""
        return block if all(not line or line.startswith(b":") for line in sse.lines(block)) else b""

    def _chunk(self, block: bytes, payload: bytes, document: Document) -> bytes:
        failure = document.failure()
        if failure is not None:
            self._fail(failure)
            return b""
        usage = document.read_usage()
        if usage is not None:
            self.usage = usage
        choices = document.choices or []
        if not self.content and any(choice.has_content() for choice in choices):
            self.content = True
            if self.stage is Stage.OPENING:
                _, self._finish, self._null_usage = UNUSUAL if has_reconnection_fields(block) else _spelling(payload)
                self._become(Stage.CONTENT)
        self._note_finish(choices)
        block = without_reconnection_fields(block)
        if document.choices is None:
            block = without_null_choices(block, payload)
        if not self._strip_usage:
            return block
        in_choices = any(bytes(choice.usage) for choice in choices)
        if not in_choices and not bytes(document.usage):
            return block
        # A chunk without choices was there for its usage alone.
        return without_usage(block, payload) if choices or not says(document.usage) else b""

    def _note_finish(self, choices: list[Choice]) -> None:
        for choice in choices:
            if says(choice.finish_reason):
                self._finished_choices.add(bytes(choice.index))
        if len(self._finished_choices) >= self._choices and self.stage is not Stage.FINISHED:
            self._become(Stage.FINISHED)

    def _is_whole(self, payload: bytes) -> bool:
        return payload.strip() == _DONE_PAYLOAD or read_document(payload) is not None

    # -- the ends --------------------------------------------------------------------------------------------------

    def _complete(self) -> bytes:
        self._become(Stage.DONE)
        return DONE

    def _fail_document(self, document: bytes) -> None:
        """A whole answer where a stream was asked for is an error, whatever it says; mostly it says one."""
        read = read_document(document) or read_document(document.strip().removeprefix(b"[").removesuffix(b"]"))
        failure = read.failure() if read is not None else None
        self._fail(failure or not_this_dialect(document, "an event stream"))


def _spelling(payload: bytes) -> Spelling:
    return next((spelling for spelling in SPELLINGS if spelling.choices in payload), UNUSUAL)
