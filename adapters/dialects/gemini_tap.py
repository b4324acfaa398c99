"""The tap: a Gemini stream on its way to a client that speaks the same dialect.

Forwards the upstream's own bytes, whole events only, and sees just what metering and recovery need: the first content,
the terminal evidence, usage, an in-band error. The output of one read goes out in one send. The clients of this dialect
are the strictest of all: google-genai takes every line that does not begin with `data: ` for JSON, the JavaScript SDK
wants a block to begin so. Therefore an event that is not exactly one such line and its blank line is written anew as
one, and what is no event at all (comments, names, ids, blank lines, a BOM, `[DONE]`) is dropped. An error chunk is
withheld: it becomes `failure`, and `error_event` says it in this stream's state.

With `array` the client asked for the stream as one JSON array: `[{...}\\n,\\r\\n{...}\\n]`, as Google writes it. The
upstream is asked for events all the same; the payloads keep their bytes, what stands between them is made here.

How it stays cheap. Until the first content every event is decoded; after it a read passes as the same object when it is
nothing but one-line events, which counting its line ends tells, and when no JSON key in it could be a finish, a block
or an error. Inside a string quotes are escaped, so text never looks like a key, and never holds a line end. Usage
stands in every event and the last one wins: the tap remembers the last event that counts tokens, and decodes it when
somebody asks. A read that does not pass is judged again event by event, so that what comes out does not depend on how
the stream was cut.

How it ends. Nothing in this dialect ends a stream but its end: it is complete when every candidate has a finishReason,
or the prompt was blocked. Any other end is a failure: the SDKs accept it in silence, so only the gateway can tell.
"""

import re

from adapters import sse
from adapters.dialects.gemini_document import Candidate, Document, read_document
from adapters.dialects.gemini_errors import error_body
from adapters.errors import Failure
from adapters.event_tap import TRANSITIONS, EventTap, Stage
from adapters.upstream_errors import not_this_dialect
from adapters.usage import Usage

__all__ = ["Stage", "Tap"]

_BEGIN = b"data: {"
_LF, _CR = 10, 13
_SEPARATORS = (b"\r\n\r\n", b"\n\n")
_ONE_LINE = re.compile(rb"data: [^\r\n]*(?:\r\n\r\n|\n\n|\r\r)\Z")
_DONE_PAYLOAD = b"[DONE]"
_REASON = b'Reason"'
"""How the keys `finishReason` and `blockReason` end: one search for both."""
_ERROR = b'"error"'
_COUNTS = b'TokenCount"'
"""How the keys of a usage that counts anything end. One that counts nothing (`trafficType` alone) replaces none."""
_UNREAD_BYTES_MAX = 1 << 17
"""A longer event is decoded at once: a blob is not kept for the usage beside it."""

_TRANSITIONS = {
    **TRANSITIONS,
    Stage.OPENING: frozenset({Stage.CONTENT, Stage.FINISHED, Stage.FAILED}),
    Stage.CONTENT: frozenset({Stage.FINISHED, Stage.FAILED}),
}
"""No event ends a stream that has not finished."""

_CONTENT = Stage.CONTENT
"""Looked up once: an Enum's member costs 0.1 us each time it is reached through its class (3.11)."""


class Tap(EventTap):
    """One stream: `feed` every read, `end` once at its end; the attributes are for the caller to read after each call.

    Never raises. `failure` set means that the stream is broken from here: what was returned may still be forwarded,
    later calls return nothing. `choices` is the request's number of candidates: so many finish reasons make the stream
    `finished`. `strip_usage` is there for the other dialects: here usage is a part of every chunk.
    """

    __slots__ = (
        "_array",
        "_choices",
        "_counted",
        "_finished_choices",
        "_next",
        "_opened",
        "_separator",
        "_unread_bytes_max",
        "_usage",
    )

    transitions = _TRANSITIONS

    def __init__(
        self, *, strip_usage: bool = False, event_bytes_max: int, choices: int = 1, array: bool = False
    ) -> None:
        super().__init__(event_bytes_max=event_bytes_max)
        self._array = array
        self._choices = choices
        self._counted = b""
        """The last event that counts tokens and was not decoded, and what followed it in its read."""
        self._finished_choices: set[bytes] = set()
        self._opened = False
        self._separator, self._next = _SEPARATORS[0], _SEPARATORS[0] + _BEGIN
        self._unread_bytes_max = min(event_bytes_max, _UNREAD_BYTES_MAX)
        self._usage: Usage | None = None

    @property
    def usage(self) -> Usage | None:
        """The last usage reported so far; decoded when asked for."""
        if self._counted:
            counted, self._counted = next(sse.blocks(self._counted)), b""
            payload = sse.payload(counted)
            document = read_document(payload) if payload is not None else None
            self._usage = (document.read_usage() if document is not None else None) or self._usage
        return self._usage

    @usage.setter
    def usage(self, usage: Usage | None) -> None:
        self._usage, self._counted = usage, b""

    def feed(self, data: bytes) -> bytes:
        """Take one read, return the whole events to forward: the same object when nothing is to be changed."""
        if self.stage is not _CONTENT:
            return self._feed_slowly(data)
        framer = self._framer
        if not framer.held and data.endswith(self._separator):
            whole, passes = data, self._passes(data)
        else:
            whole = framer.feed(data)
            passes = whole.endswith(self._separator) and self._passes(whole)
        if whole:
            if not passes:
                whole = self._inspect(whole)
            elif self._array:
                whole = self._elements(whole)
        if framer.held > self._event_bytes_max:
            self._fail_oversize()
        return whole

    def error_event(self, failure: Failure) -> bytes:
        """Return what tells the client about a failure behind all that was returned so far, and ends the stream."""
        return self._framed(error_body(failure)) + (b"]" if self._array else b"")

    # -- the fast path ---------------------------------------------------------------------------------------------

    def _passes(self, whole: bytes) -> bool:
        """Whether events, the last of which ends as this stream's do, may go unread; their usage is remembered then.

        `rfind`, because CPython searches backwards two to four times as fast as forwards (measured, 3.11); `in` with
        an integer is the fastest search for one byte by far.
        """
        search = whole.rfind
        if len(whole) > self._unread_bytes_max or search(_REASON) >= 0 or search(_ERROR) >= 0 or whole[:7] != _BEGIN:
            return False
        lines = whole[: -len(self._separator)]
        if _LF in lines or _CR in lines:
            if not self._are_plain(whole):
                return False
            at = search(_COUNTS)
            if at >= 0:
                self._counted = whole[search(b"\n", 0, at) + 1 :]
        elif search(_COUNTS) >= 0:
            self._counted = whole
        return True

    def _are_plain(self, whole: bytes) -> bool:
        """Whether many are all events of one line, `data: {`, with the line ends of this stream, and nothing else."""
        events = whole.count(self._next) + 1
        if whole.count(b"\n") != 2 * events:
            return False
        return _CR not in whole if len(self._separator) == 2 else whole.count(b"\r") == 2 * events

    def _elements(self, whole: bytes) -> bytes:
        """Return plain events as elements of the array."""
        end = len(whole) - len(self._separator)
        opening, self._opened = (b",\r\n" if self._opened else b"["), True
        return b"%b%b\n" % (opening, whole[6:end].replace(self._next, b"\n,\r\n{"))

    # -- the stages ------------------------------------------------------------------------------------------------

    def _block(self, block: bytes) -> bytes:
        """Look at one event, return what to forward of it."""
        if self.stage is _CONTENT and block.endswith(self._separator) and self._passes(block):
            return self._elements(block) if self._array else block
        payload = sse.payload(block)
        if payload is None:
            return self._block_without_payload(block)
        text = payload.strip()
        if text == _DONE_PAYLOAD:
            # The end mark of another dialect, which imitators of this one send: alone it proves nothing.
            return self._complete() if self.stage is Stage.FINISHED else b""
        return self._chunk(block, text) if text else b""

    def _complete(self) -> bytes:
        self._become(Stage.DONE)
        return b"]" if self._array else b""

    def _chunk(self, block: bytes, text: bytes) -> bytes:
        document = read_document(text)
        failure = not_this_dialect(text, "a chunk") if document is None else document.failure()
        if document is None or failure is not None:
            assert failure is not None
            self._fail(failure)
            return b""
        self._note(block, document)
        if not self._array and _ONE_LINE.match(block):
            return block
        # Between JSON's tokens a line end is as good as a space, and inside of them there is none.
        return self._framed(text.replace(b"\n", b" "))

    def _block_without_payload(self, block: bytes) -> bytes:
        """What is no event is dropped, but raw JSON is how Google's servers report a late error."""
        if block.lstrip()[:1] in {b"{", b"["}:
            failure = _read_failure(block)
            if failure is not None:
                self._fail(failure)
            elif self.stage is not Stage.FINISHED:
                self._fail(not_this_dialect(block, "a chunk"))
        return b""

    def _note(self, block: bytes, document: Document) -> None:
        usage = document.read_usage()
        if usage is not None:
            self.usage = usage
        if not self.content and document.has_content():
            self.content = True
            if self.stage is Stage.OPENING:
                self._separator = _SEPARATORS[0] if block.endswith(_SEPARATORS[0]) else _SEPARATORS[1]
                self._next = self._separator + _BEGIN
                self._become(Stage.CONTENT)
        candidates: list[Candidate] = document.candidates or []
        self._finished_choices.update(each.number() for each in candidates if each.has_finished())
        if len(self._finished_choices) >= self._choices or document.is_blocked():
            self._finish()

    def _finish(self) -> None:
        if self.stage is not Stage.FINISHED:
            self._become(Stage.FINISHED)

    def _framed(self, payload: bytes) -> bytes:
        """Return one payload as an event, or as an element of the array."""
        if not self._array:
            return b"data: %b\n\n" % payload
        opening, self._opened = (b",\r\n" if self._opened else b"["), True
        return b"%b%b\n" % (opening, payload)

    def _blank_lines(self, blank: bytes) -> bytes:
        return b""

    def _last_block(self, rest: bytes) -> bytes:
        block = rest.lstrip(b"\r\n")
        if not block or (sse.payload(block) is None and _read_failure(block) is None):
            # Cut JSON is no garbage: it is an end that came too early.
            return b""
        return super()._last_block(block)

    def _is_whole(self, payload: bytes) -> bool:
        return payload.strip() == _DONE_PAYLOAD or read_document(payload) is not None

    # -- the ends --------------------------------------------------------------------------------------------------

    def _fail_document(self, document: bytes) -> None:
        """A whole answer where a stream was asked for is an error, whatever it says; mostly it says one."""
        self._fail(_read_failure(document) or not_this_dialect(document, "an event stream"))


def _read_failure(document: bytes) -> Failure | None:
    """Return the error that a document outside of any event is, alone or wrapped in a list."""
    read = read_document(document) or read_document(document.strip().removeprefix(b"[").removesuffix(b"]"))
    return read.failure() if read is not None else None
