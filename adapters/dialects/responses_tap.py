"""The tap: a Responses stream on its way to a client that speaks the same dialect.

Forwards the upstream's own bytes, whole events only, and sees just what metering and recovery need: the first
content, the terminal event with its usage, an error. The output of one read goes out in one send. What it changes,
and nothing else:

- a BOM and blank lines before the first event are dropped, and a stream without its last blank line gets it;
- nothing follows the terminal event, and a `[DONE]`, which this dialect does not have, is swallowed wherever it comes;
- before the first content, events that carry no data are dropped, on which openai-python fails (`id`, `retry` alone);
- `error` and `response.failed` are withheld: together they become one `failure`. The caller, who may still try
  elsewhere, says it with `error_event`, which goes on from the response and the sequence numbers that went out.

How it stays cheap. Until the first content every event is decoded; after it only those that a handful of substring
searches per read, however many events it holds, make suspicious. What is searched for are JSON keys with both quotes:
inside a string the quotes are escaped, so text never looks like one. Only events of the response as a whole have the
key `response`, and of these the last three kinds are all that ends a stream. A suspicious read is judged again event by
event, so that what is decoded, and what comes out, does not depend on how the stream was cut.

How it ends. A stream is over at `response.completed` or `response.incomplete`. Any other end is a failure: the SDKs of
this dialect accept a bare end in silence, so only the gateway can tell the client. After an `error` one more event is
waited for: it is nearly always the `response.failed` that belongs to it, which may hold usage.
"""

from collections.abc import Mapping
from contextlib import suppress

import msgspec
from msgspec import Raw

from adapters import sse
from adapters.dialects.responses_document import (
    Members,
    failure_of,
    has_content,
    output_has_content,
    read_members,
    text,
)
from adapters.dialects.responses_errors import error_event, read_error, read_error_event
from adapters.dialects.responses_usage import read_usage
from adapters.errors import Failure
from adapters.event_tap import TRANSITIONS, EventTap, Stage
from adapters.raw import NOTHING, says
from adapters.upstream_errors import not_this_dialect
from adapters.usage import Usage

__all__ = ["ECHO_BYTES_MAX", "Stage", "Tap"]

ECHO_BYTES_MAX = 4096
"""A failed response repeats what its `response.created` said, but no member longer than this (instructions, tools):
it would be kept for every stream, and only for the sake of those that fail."""

_ERROR = b'"error"'
_RESPONSE = b'"response"'
_DONE_PAYLOAD = b"[DONE]"
_NUMBER = b'"sequence_number"'

_COMPLETED = "response.completed"
_INCOMPLETE = "response.incomplete"
_FAILED = "response.failed"

_TRANSITIONS = {
    **TRANSITIONS,
    Stage.OPENING: frozenset({Stage.CONTENT, Stage.ERROR, Stage.DONE, Stage.FAILED}),
    Stage.CONTENT: frozenset({Stage.ERROR, Stage.DONE, Stage.FAILED}),
}
"""The terminal event is the end: nothing finishes before it. After an `error` its `response.failed` may follow."""

_CONTENT = Stage.CONTENT
"""Looked up once: an Enum's member costs 0.1 us each time it is reached through its class (3.11)."""


class Tap(EventTap):
    """One stream: `feed` every read, `end` once at its end; the attributes are for the caller to read after each call.

    Never raises. `failure` set means that the stream is broken from here: what was returned may still be forwarded,
    later calls return nothing. Usage is part of the terminal event, so there is nothing to strip and `strip_usage`
    changes nothing; nor does `choices`, there is one answer.
    """

    __slots__ = ("_numbered", "_reported", "_response", "usage")

    transitions = _TRANSITIONS

    def __init__(self, *, strip_usage: bool, event_bytes_max: int, choices: int = 1) -> None:
        super().__init__(event_bytes_max=event_bytes_max)
        self.usage: Usage | None = None
        self._numbered = b""
        """The last of what was let through that has a sequence number in it."""
        self._reported: Failure | None = None
        """What an `error` event said."""
        self._response: Mapping[str, Raw] = {}

    def feed(self, data: bytes) -> bytes:
        """Take one read, return the whole events to forward: the same object when nothing is to be changed."""
        if self.stage is not _CONTENT:
            return self._feed_slowly(data)
        framer = self._framer
        ends = data[-2:] == b"\n\n" or data[-4:] == b"\r\n\r\n"
        whole = data if ends and not framer.held else framer.feed(data)
        if len(whole) > self._event_bytes_max or _is_suspicious(whole):
            whole = self._inspect(whole)
        if whole.rfind(_NUMBER) >= 0:
            self._numbered = whole
        if framer.held > self._event_bytes_max:
            self._fail_oversize()
        return whole

    def error_event(self, failure: Failure) -> bytes:
        """Return the in-band error that ends this stream, to be sent after all that was let through.

        An error that the upstream reported wins over `failure`, which then is only how the stream broke afterwards.
        """
        return error_event(
            self._reported or failure, response=self._response, sequence_number=_number_after(self._numbered)
        )

    # -- the stages ------------------------------------------------------------------------------------------------

    def _block(self, block: bytes) -> bytes:
        """Look at one event, return what to forward of it."""
        if self.stage is _CONTENT and not _is_suspicious(block):
            return block
        event = sse.parse(block)
        if event is None:
            return self._block_without_payload(block)
        payload = event.data
        members = read_members(payload)
        if members is not None:
            kind = text(members.get("type", NOTHING)) or event.name.decode("utf-8", "replace")
            return self._event(kind, members, payload, block)
        if self._reported is not None:
            self._fail(self._reported)
        elif payload.strip() == _DONE_PAYLOAD:
            return b""
        elif self.stage is Stage.OPENING and payload.strip():
            # Garbage in place of the first event may still be answered elsewhere; later the client is the judge of it.
            self._fail(not_this_dialect(payload, "an event"))
        return block if self.stage is _CONTENT else b""

    def _block_without_payload(self, block: bytes) -> bytes:
        """Comments pass, other fields do not. A JSON line outside any field is how some servers report a late error."""
        if _ERROR in block and block.lstrip()[:1] == b"{":
            members = read_members(block)
            if members is not None and says(members.get("error", NOTHING)):
                self._fail(read_error(members["error"]))
                return b""
        if self.stage is Stage.ERROR:
            return b""
        return block if all(not line or line.startswith(b":") for line in sse.lines(block)) else b""

    def _event(self, kind: str, members: Members, payload: bytes, block: bytes) -> bytes:
        response = read_members(members.get("response", NOTHING)) or {}
        error = members.get("error", NOTHING)
        if kind == _FAILED or (kind == _COMPLETED and failure_of(response) is not None):
            self._take_failed(response)
            return b""
        if self._reported is not None:
            # Whatever follows an error but its response.failed: the error was the end.
            self._fail(self._reported)
            return b""
        if kind == "error" or says(error):
            self._reported = read_error(error) if says(error) else read_error_event(payload)
            self._become(Stage.ERROR)
            return b""
        if response and kind in {_COMPLETED, _INCOMPLETE}:
            self.usage = read_usage(response.get("usage", NOTHING))
            self.content = self.content or output_has_content(response.get("output", NOTHING))
            self._become(Stage.DONE)
        elif response and not self._response:
            self._response = _echo(response)
        elif self.stage is Stage.OPENING and has_content(kind, members):
            self.content = True
            self._become(Stage.CONTENT)
        return block

    def _inspect(self, whole: bytes) -> bytes:
        forward = super()._inspect(whole)
        if _NUMBER in forward:
            self._numbered = forward
        return forward

    def _blank_lines(self, blank: bytes) -> bytes:
        return b"" if self.stage is Stage.ERROR else blank

    def _is_whole(self, payload: bytes) -> bool:
        return payload.strip() == _DONE_PAYLOAD or read_members(payload) is not None

    # -- the ends --------------------------------------------------------------------------------------------------

    def _take_failed(self, response: Members) -> None:
        """Take an upstream's failed response: its usage, its error, and all else for the one the client will get."""
        self.usage = read_usage(response.get("usage", NOTHING))
        if "id" in self._response:
            # SDKs insist on one id over all lifecycle events; some relays give each event its own.
            response["id"] = self._response["id"]
        self._response = response
        self._fail(self._reported or read_error(response.get("error", NOTHING)))

    def _fail_document(self, document: bytes) -> None:
        """A whole answer where a stream was asked for is an error, whatever it says; mostly it says one."""
        read = read_members(document) or read_members(document.strip().removeprefix(b"[").removesuffix(b"]"))
        failure = failure_of(read) if read is not None else None
        self._fail(failure or not_this_dialect(document, "an event stream"))

    def _fail(self, failure: Failure) -> None:
        super()._fail(self._reported or failure)


def _is_suspicious(whole: bytes) -> bool:
    """Whether any of the events may be about the response as a whole, an error, or a `[DONE]`.

    `rfind`, because CPython searches backwards two to four times as fast as forwards (measured, 3.11), and forwards is
    what `in` and `count` do: this is most of what an event costs.
    """
    search = whole.rfind
    return search(_RESPONSE) >= 0 or search(_ERROR) >= 0 or search(_DONE_PAYLOAD) >= 0


def _echo(response: Members) -> Members:
    """Return what to repeat of a response should it fail; copied, or the event it stands in would be kept."""
    short = {name: raw for name, raw in response.items() if len(memoryview(raw)) <= ECHO_BYTES_MAX}
    return {name: Raw(bytes(raw)) for name, raw in short.items()}


def _number_after(events: bytes) -> int:
    """Return the sequence number that follows the last one in `events`, 0 when there is none."""
    for block in reversed(list(sse.blocks(events))):
        members = read_members(sse.payload(block) or b"")
        number = members.get("sequence_number", NOTHING) if members is not None else NOTHING
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(number, type=int) + 1
    return 0
