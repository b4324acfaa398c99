"""What the taps of all dialects have in common: an event stream from its first byte to its end, event by event.

Decides what the upstream is sending (events, a JSON document in their place, or neither) by its first block, where one
event ends and the next begins, when an event has grown too long, which stages a stream goes through, and whether its
end came too early. A dialect's tap is an `EventTap` that says what its events mean: `_block` and the other hooks below.

It does not know a single event, key or end mark; and it has no `feed`, for what of a read may pass unread, and by which
searches, is the dialect's to say and most of what a stream costs. Everything here is for the reads that do not pass.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

from adapters import sse
from adapters.errors import Failure, Kind
from adapters.upstream_errors import not_this_dialect


class Stage(IntEnum):
    """How far a stream has come. Not every dialect has every stage: its table of transitions says which."""

    START = 0
    """Nothing but a BOM and blank lines, or an incomplete first event."""
    OPENING = 1
    """An event stream, without content so far."""
    CONTENT = 2
    FINISHED = 3
    """The evidence that the answer is whole has come; usage and an end mark may follow."""
    ERROR = 4
    """An error was withheld; one more event that belongs to it may follow."""
    DONE = 5
    """The last event there may be was seen, or the end of a finished stream."""
    DOCUMENT = 6
    """A JSON document instead of an event stream."""
    FAILED = 7


TRANSITIONS: Mapping[Stage, frozenset[Stage]] = {
    Stage.START: frozenset({Stage.OPENING, Stage.DOCUMENT, Stage.FAILED}),
    Stage.OPENING: frozenset({Stage.CONTENT, Stage.FINISHED, Stage.DONE, Stage.FAILED}),
    Stage.CONTENT: frozenset({Stage.FINISHED, Stage.DONE, Stage.FAILED}),
    Stage.FINISHED: frozenset({Stage.DONE, Stage.FAILED}),
    Stage.ERROR: frozenset({Stage.FAILED}),
    Stage.DONE: frozenset(),
    Stage.DOCUMENT: frozenset({Stage.FAILED}),
    Stage.FAILED: frozenset(),
}
"""Of a stream that finishes, then may say more, and whose errors are one event."""

_START, _OPENING, _CONTENT, _FINISHED, _ERROR, _DONE, _DOCUMENT, _FAILED = Stage
"""Looked up once: an Enum's member costs 0.1 us each time it is reached through its class (3.11)."""


class EventTap(ABC):
    """One stream: the dialect's `feed` takes every read, `end` its end; the attributes are to be read after each call.

    Never raises. `failure` set means that the stream is broken from here: what was returned may still be forwarded,
    later calls return nothing. A dialect's `feed` hands its reads to `_feed_slowly` in every stage but CONTENT; there
    it frames them itself and calls `_fail_oversize` when more than `event_bytes_max` are held.
    """

    __slots__ = ("_event_bytes_max", "_framer", "content", "done", "failure", "finished", "stage")

    transitions: ClassVar[Mapping[Stage, frozenset[Stage]]] = TRANSITIONS

    def __init__(self, *, event_bytes_max: int) -> None:
        self.content = False
        self.finished = False
        self.done = False
        self.failure: Failure | None = None
        self.stage = Stage.START
        self._event_bytes_max = event_bytes_max
        self._framer = sse.Framer()

    def __repr__(self) -> str:
        return f"<Tap {self.stage.name.lower()} {self.held} bytes held>"

    @property
    def held(self) -> int:
        """How many bytes wait for the end of their event; never more than one read beyond `event_bytes_max`."""
        return self._framer.held

    def end(self) -> bytes:
        """Take the end of the stream, return what is left to forward.

        Sets `failure` (`stream_incomplete`) unless the stream was complete; what it lacks then of its end is added.
        """
        rest = self._framer.take()
        if self.stage is Stage.START:
            rest = sse.without_preamble(rest)
            if rest:
                self._begin(rest)
        if self._is_document:
            self._fail_document(rest)
        forward = self._last_block(rest) if self._is_streaming else b""
        if self.stage is Stage.FINISHED:
            return forward + self._complete()
        if self.stage is Stage.START or self._is_streaming:
            message = "The upstream's answer ended before it was complete."
            self._fail(Failure(502, Kind.UPSTREAM, message, code="stream_incomplete"))
        return forward

    # -- what a dialect says -------------------------------------------------------------------------------------------

    @abstractmethod
    def _block(self, block: bytes) -> bytes:
        """Look at one event, neither empty nor too long, without blank lines before it; return what to forward."""

    @abstractmethod
    def _block_without_payload(self, block: bytes) -> bytes:
        """Look at a block that has no data, return what to forward of it."""

    @abstractmethod
    def _is_whole(self, payload: bytes) -> bool:
        """Whether the data of an event that lacks its blank line are all there."""

    @abstractmethod
    def _fail_document(self, document: bytes) -> None:
        """Fail: a whole answer where a stream was asked for is an error, whatever it says; mostly it says one."""

    def _blank_lines(self, blank: bytes) -> bytes:
        """Return what to forward of blank lines between two events."""
        return blank

    def _complete(self) -> bytes:
        """End a FINISHED stream here, return the end mark that clients wait for."""
        self._become(Stage.DONE)
        return b""

    # -- the stages ----------------------------------------------------------------------------------------------------

    @property
    def _is_streaming(self) -> bool:
        stage = self.stage
        return stage is _CONTENT or stage is _OPENING or stage is _FINISHED or stage is _ERROR

    @property
    def _is_document(self) -> bool:
        return self.stage is Stage.DOCUMENT

    def _feed_slowly(self, data: bytes) -> bytes:
        if self.stage in {Stage.DONE, Stage.FAILED}:
            return b""
        whole = b""
        if self._is_document:
            self._framer.hold(data)
        else:
            whole = self._framer.feed(data)
        if self.stage is Stage.START:
            whole = sse.without_preamble(whole)
            if whole:
                self._begin(next(sse.blocks(whole)))
            if self._is_document:
                self._framer.hold_back(whole)
        forward = self._inspect(whole) if self._is_streaming else b""
        if self._framer.held > self._event_bytes_max:
            self._fail_oversize()
        return forward

    def _begin(self, block: bytes) -> None:
        """Decide by the first block what the upstream is sending."""
        if sse.is_event_stream(block):
            self._become(Stage.OPENING)
        elif block.lstrip()[:1] in {b"{", b"["}:
            self._become(Stage.DOCUMENT)
        else:
            self._fail(not_this_dialect(block, "an event stream"))

    def _inspect(self, whole: bytes) -> bytes:
        """Look at whole events one by one, until the stream ends; return what to forward of them."""
        forward = []
        for received in sse.blocks(whole):
            # Blank lines between two events stand in front of a block or alone, by how the stream was cut.
            block = received.lstrip(b"\r\n")
            if len(block) < len(received):
                forward.append(self._blank_lines(received[: len(received) - len(block)]))
            if len(block) > self._event_bytes_max:
                self._fail_oversize()
            elif block:
                forward.append(self._block(block))
            if not self._is_streaming:
                break
        return b"".join(forward)

    def _last_block(self, rest: bytes) -> bytes:
        """Look at what stands before the end without a blank line: a whole event counts, a cut one does not."""
        block = rest.lstrip(b"\r\n")
        blank = rest[: len(rest) - len(block)]
        payload = sse.payload(block)
        if payload is None:
            self._block_without_payload(block)
        elif self._is_whole(payload):
            return self._inspect(blank + block.rstrip(b"\r\n") + b"\n\n")
        return self._blank_lines(blank) if blank else b""

    # -- the ends ------------------------------------------------------------------------------------------------------

    def _fail_oversize(self) -> None:
        message = f"The upstream sent an event longer than {self._event_bytes_max} bytes."
        self._fail(Failure(502, Kind.UPSTREAM, message, code="event_too_large"))

    def _fail(self, failure: Failure) -> None:
        self.failure = failure
        self._become(Stage.FAILED)

    def _become(self, stage: Stage) -> None:
        assert stage in self.transitions[self.stage], f"{self.stage} -> {stage}"
        self.stage = stage
        self.finished = stage is _FINISHED or stage is _DONE
        self.done = stage is _DONE
        if stage is _DONE or stage is _FAILED:
            self._framer.take()
