"""The tap: a Messages stream on its way to a client that speaks the same dialect.

Forwards the upstream's own bytes, whole events only, and sees just what metering and recovery need: the first
content, the terminal evidence, usage, an in-band error. The output of one read goes out in one send. What it changes,
and nothing else:

- a BOM and blank lines before the first event are dropped, and a stream without its last blank line gets it;
- an event without a name gets the one its type says: the official SDKs skip nameless events in silence;
- a `message_start` that repeats the open message's id is dropped: the TypeScript SDK throws on a second one;
- `message_stop` is added where an upstream ends at the stop reason, and nothing follows one; `[DONE]` is dropped;
- an error event is withheld: it becomes `failure`, and the caller says it in its own words.

How it stays cheap. Until the first content every event is decoded; after it only those that a handful of substring
searches per read, however many events it holds, make suspicious. Text that happens to hold one of the words costs a
decoding, nothing else. A suspicious read is judged again event by event, so that what is decoded, and what comes out,
does not depend on how the stream was cut.

How it ends. A stream is over at `message_stop`, or when a `message_delta` gave the stop reason and the upstream closes
(Bedrock's end so). Any other end is a failure: the SDKs of this dialect accept a bare end in silence and take half a
tool call for a whole one, so only the gateway can tell the client.
"""

import re

from msgspec import Raw

from adapters import sse
from adapters.dialects.messages_document import (
    Document,
    holds,
    items,
    members,
    read_document,
)
from adapters.dialects.messages_errors import error_event, read_error
from adapters.dialects.messages_usage import Counts, read_counts
from adapters.errors import Failure, Kind
from adapters.event_tap import EventTap, Stage
from adapters.raw import NOTHING, says
from adapters.upstream_errors import not_this_dialect
from adapters.usage import Usage

__all__ = ["MESSAGE_STOP", "Stage", "Tap"]

MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_ERROR = b"error"
_ERROR_MEMBER = b'"error"'
_MESSAGE = b"message_"
"""In the names and types of all events that matter after the first content; deltas are `content_block_delta`s."""
_FOREIGN_END = b"[DONE]"
_EVERYTHING = b""
"""Found in every event."""
_WORD = re.compile(rb"\w+")
_PLAIN_EVENT = re.compile(rb"event: ([^\r\n]*)\ndata: ([^\r\n]*)\n\n")
"""As nearly all are written: read so it costs a tenth of what it costs line by line (0.6 against 6 us)."""


_CONTENT = Stage.CONTENT
"""Looked up once: an Enum's member costs 0.1 us each time it is reached through its class (3.11)."""


class Tap(EventTap):
    """One stream: `feed` every read, `end` once at its end; the attributes are for the caller to read after each call.

    Never raises. `failure` set means that the stream is broken from here: what was returned may still be forwarded,
    later calls return nothing. Streams of this dialect always report usage and hold one answer, so `strip_usage` and
    `choices` change nothing.
    """

    __slots__ = ("_counts", "_error_name", "_message_id", "usage")

    def __init__(self, *, strip_usage: bool, event_bytes_max: int, choices: int = 1) -> None:
        super().__init__(event_bytes_max=event_bytes_max)
        self.usage: Usage | None = None
        self._counts = Counts()
        self._error_name = _EVERYTHING
        """How this stream begins an error event, learnt from its first content."""
        self._message_id: Raw | None = None
        """Of the open message; None before it."""

    def feed(self, data: bytes) -> bytes:
        """Take one read, return the whole events to forward: the same object when nothing is to be changed."""
        if self.stage is not _CONTENT:
            return self._feed_slowly(data)
        framer = self._framer
        ends = data[-2:] == b"\n\n" or data[-4:] == b"\r\n\r\n"
        whole = data if ends and not framer.held else framer.feed(data)
        if len(whole) > self._event_bytes_max or self._is_suspicious(whole):
            whole = self._inspect(whole)
        if framer.held > self._event_bytes_max:
            self._fail_oversize()
        return whole

    def error_event(self, failure: Failure) -> bytes:
        """Return the event that tells the client of a failure here: the same in every state of a stream."""
        return error_event(failure)

    def _is_suspicious(self, whole: bytes) -> bool:
        """Whether any of the events may start or end a message, report usage or an error, or be no event of ours.

        `rfind`, because CPython searches backwards two to four times as fast as forwards (measured, 3.11).
        """
        search = whole.rfind
        return (
            search(_MESSAGE) >= 0
            or search(_ERROR_MEMBER) >= 0
            or search(self._error_name) >= 0
            or search(_FOREIGN_END) >= 0
        )

    # -- the stages ------------------------------------------------------------------------------------------------

    def _block(self, block: bytes) -> bytes:
        """Look at one event, return what to forward of it."""
        if self.stage is _CONTENT and not self._is_suspicious(block):
            return block
        plain = _PLAIN_EVENT.fullmatch(block)
        event = sse.Event(plain[2], plain[1]) if plain is not None else sse.parse(block)
        if event is None:
            return self._block_without_payload(block)
        if event.data.strip() == _FOREIGN_END:
            return self._complete() if self.stage is Stage.FINISHED else b""
        document = read_document(event.data)
        if event.name == _ERROR or (document is not None and document.is_error):
            self._fail(read_error(event.data))
            return b""
        return self._event(block, event, document)

    def _event(self, block: bytes, event: sse.Event, document: Document | None) -> bytes:
        kind = (document.kind if document is not None else b"") or event.name
        if self.stage is Stage.OPENING and event.data.strip() and (document is None or not kind):
            # What is no event may still be answered elsewhere; later the client is the judge of it.
            self._fail(not_this_dialect(event.data, "an event"))
            return b""
        if document is not None and not self._is_news(kind, document, block):
            return b""
        return block if event.name or not _WORD.fullmatch(kind) else b"event: %b\n%b" % (kind, block)

    def _block_without_payload(self, block: bytes) -> bytes:
        """Comments and fields without data dispatch nothing. A JSON line outside any field is a late error of some."""
        if _ERROR_MEMBER in block and block.lstrip()[:1] == b"{":
            document = read_document(block)
            if document is not None and document.is_error:
                self._fail(read_error(block))
                return b""
        return block

    def _is_news(self, kind: bytes, document: Document, block: bytes) -> bool:
        """Note what an event says; return whether the client should get it."""
        if kind == b"message_start":
            return self._start(members(document.message), block)
        self._count(document.usage)
        if not self.content and (holds(document.content_block) or (kind != b"message_delta" and holds(document.delta))):
            self._see_content(block)
        if kind == b"message_delta" and self.stage is not Stage.FINISHED:
            if says(members(document.delta).get("stop_reason", NOTHING)):
                self._become(Stage.FINISHED)
        elif kind == b"message_stop":
            self._become(Stage.DONE)
        return True

    def _start(self, message: dict[str, Raw], block: bytes) -> bool:
        """Open the message. One that is open already may be announced again, but not replaced by another."""
        known, given = self._message_id, message.get("id", NOTHING)
        if known is not None and says(known) and says(given) and bytes(known) != bytes(given):
            text = "The upstream began another message in the middle of one."
            self._fail(Failure(502, Kind.UPSTREAM, text, code="upstream_protocol_error"))
            return False
        self._count(message.get("usage", NOTHING))
        if known is not None:
            return False
        self._message_id = given
        if any(map(holds, items(message.get("content", NOTHING)))):
            self._see_content(block)
        return True

    def _count(self, usage: Raw) -> None:
        if says(usage):
            self._counts = self._counts.updated(read_counts(usage))
            self.usage = self._counts.usage()

    def _see_content(self, block: bytes) -> None:
        self.content = True
        if self.stage is Stage.OPENING:
            names = [line for line in sse.lines(block) if line.startswith(b"event:")]
            if names:
                self._error_name = (b"event: " if names[0].startswith(b"event: ") else b"event:") + _ERROR
            self._become(Stage.CONTENT)

    def _is_whole(self, payload: bytes) -> bool:
        return payload.strip() == _FOREIGN_END or read_document(payload) is not None

    # -- the ends --------------------------------------------------------------------------------------------------

    def _complete(self) -> bytes:
        """End a message that has its stop reason but no `message_stop`."""
        self._become(Stage.DONE)
        return MESSAGE_STOP

    def _fail_document(self, document: bytes) -> None:
        """A whole answer where a stream was asked for is an error, whatever it says; mostly it says one."""
        read = read_document(document)
        is_error = read is not None and read.is_error
        self._fail(read_error(document) if is_error else not_this_dialect(document, "an event stream"))
