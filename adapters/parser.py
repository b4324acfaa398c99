"""The parsers' common half: an upstream's stream or document into operations on an emitter, for another dialect.

A parser is an `EventTap` whose output is not the upstream's bytes but what its emitter writes: it is what joins two
dialects, and to the relay it looks like any tap. The framing, the stages of a stream, what counts as garbage and what
as too early an end are the tap's rules, so that pass-through and translation agree about them. A dialect's parser says
what its payloads mean (`_payload`, `_answer`) and when the answer is whole.

It never raises. Whatever goes wrong becomes `failure`; nothing is ended then, and no reason is made up.
"""

from abc import abstractmethod

import msgspec

from adapters import sse
from adapters.emitter import Emitter
from adapters.errors import Failure, Kind
from adapters.event_tap import EventTap, Stage
from adapters.operations import Progress
from adapters.upstream_errors import not_this_dialect
from adapters.usage import Usage

_START, _DOCUMENT = Stage.START, Stage.DOCUMENT
_OPENING, _CONTENT = Stage.OPENING, Stage.CONTENT
END_MARK = b"[DONE]"
"""How one dialect ends its streams, and imitators of the others: it means nothing more than the end."""

_LF_END, _CRLF_END = b"\n\n", b"\r\n\r\n"
_ANY = msgspec.json.Decoder(msgspec.Raw)
_OVER = frozenset({Stage.DONE, Stage.FAILED})


class Parser(EventTap):
    """One stream, or one document, of one upstream. `scope` is where the signatures in it are good.

    Streams: `feed` and `end` return what to send to the client. Documents: `read_answer`, once. `usage` is what the
    upstream reported or an estimate, None before anything was said.
    """

    __slots__ = ("emitter", "scope")

    def __init__(self, emitter: Emitter, *, scope: str, event_bytes_max: int) -> None:
        super().__init__(event_bytes_max=event_bytes_max)
        self.emitter = emitter
        self.scope = scope

    @property
    def usage(self) -> Usage | None:
        """The tokens of the answer so far; marked as estimated when the upstream did not count."""
        if self.emitter.usage_seen is None and not self.emitter.content:
            return None
        return self.emitter.usage

    def feed(self, data: bytes) -> bytes:
        """Take one read, return what it made the emitter write."""
        stage = self.stage
        if stage in _OVER:
            return b""
        if stage is _START or stage is _DOCUMENT:
            self._feed_slowly(data)
        else:
            whole = self._framer.feed(data)
            if stage is _CONTENT and len(whole) <= self._event_bytes_max:
                self._pass(whole)
            elif whole:
                self._inspect(whole)
            if self._framer.held > self._event_bytes_max and self._is_streaming:
                self._fail_oversize()
        return self.emitter.take()

    def end(self) -> bytes:
        """Take the end of the stream; what was held for it is written, or `failure` is set."""
        super().end()
        return self.emitter.take()

    def error_event(self, failure: Failure) -> bytes:
        """Return the in-band error that ends the client's stream as it stands."""
        return self.emitter.error(failure)

    def read_answer(self, body: bytes) -> Failure | None:
        """Take a whole unary answer; return the failure it really is, after which the emitter has not ended."""
        failure = self._answer(body)
        if failure is None and self.emitter.failure is None and self.emitter.progress is not Progress.ENDED:
            self._begin_answer()
            self.emitter.end()
        self.failure = failure or self.emitter.failure
        return self.failure

    # -- what a dialect says -------------------------------------------------------------------------------------------

    def _plain(self, event: bytes) -> bool:
        """Tell the emitter of a delta as nearly all are, and return True; False leaves `event` to `_payload`.

        `event` is an event without its blank line, written with one kind of line end. Called for content alone: this
        is what a stream costs.
        """
        return False

    @abstractmethod
    def _payload(self, payload: bytes, name: bytes) -> None:
        """Tell the emitter what one event says. `name` is its `event:`, b"" mostly; never raises."""

    @abstractmethod
    def _answer(self, body: bytes) -> Failure | None:
        """Tell the emitter what a unary answer says, all but its end; return the error it really is. Never raises."""

    # -- for the dialects ----------------------------------------------------------------------------------------------

    def _begin_answer(self, id: str = "", model: str = "", created: int = 0) -> None:  # noqa: A002 - the wire's word
        """Start the emitter, unless it was started."""
        if self.emitter.progress is Progress.NEW:
            self.emitter.start(id, model, created)

    def _finished(self) -> None:
        """Note that the evidence is there that the answer is whole; usage may follow."""
        if self.stage in {Stage.OPENING, Stage.CONTENT}:
            self._become(Stage.FINISHED)

    def _complete(self) -> bytes:
        """End the answer here: nothing that follows counts."""
        self._begin_answer()
        self.emitter.end()
        self._become(Stage.DONE)
        return b""

    def _protocol_error(self, message: str) -> None:
        """Fail: the upstream does not keep to its own dialect."""
        self._fail(Failure(502, Kind.UPSTREAM, message, code="upstream_protocol_error"))

    def _pass(self, whole: bytes) -> None:
        """Take whole events of which most are plain deltas: those are not looked at line by line (a fifth of the cost).

        The line ends of the last one are those of all, or there is a CR too many and nothing is plain.
        """
        if whole.endswith(_CRLF_END):
            end = _CRLF_END
        elif whole.endswith(_LF_END) and b"\r" not in whole:
            end = _LF_END
        else:
            self._inspect(whole)
            return
        plain = self._plain
        events = whole.split(end)
        events.pop()
        for number, event in enumerate(events):
            if plain(event):
                continue
            self._inspect(event + end)
            if self.stage is not _CONTENT:
                if self._is_streaming:
                    self._inspect(end.join([*events[number + 1 :], b""]))
                return
        if self.emitter.failure is not None:
            self._fail(self.emitter.failure)

    # -- the tap's hooks -----------------------------------------------------------------------------------------------

    def _block(self, block: bytes) -> bytes:
        event = sse.parse(block)
        if event is None:
            return self._block_without_payload(block)
        self._payload(event.data, event.name)
        emitter = self.emitter
        if emitter.failure is not None and self.failure is None:
            self._fail(emitter.failure)
        elif emitter.content and not self.content:
            self.content = True
            if self.stage is _OPENING:
                self._become(_CONTENT)
        return b""

    def _block_without_payload(self, block: bytes) -> bytes:
        """Comments and other fields say nothing; a JSON line outside any field is how some servers report an error."""
        if block.lstrip()[:1] in {b"{", b"["}:
            self._fail(self._answer_failure(block) or not_this_dialect(block, "an event"))
        return b""

    def _fail_document(self, document: bytes) -> None:
        """A whole answer where a stream was asked for is an error, whatever it says; mostly it says one."""
        self._fail(self._answer_failure(document) or not_this_dialect(document, "an event stream"))

    @abstractmethod
    def _answer_failure(self, document: bytes) -> Failure | None:
        """Return the error that a document is, None when it is none."""

    def _blank_lines(self, blank: bytes) -> bytes:
        return b""

    def _is_whole(self, payload: bytes) -> bool:
        try:
            _ANY.decode(payload)
        except (msgspec.DecodeError, RecursionError):
            return payload.strip() == END_MARK
        return True
