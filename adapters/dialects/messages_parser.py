"""The parser: a Messages upstream's stream or answer, as operations for a client of another dialect.

It ends where the tap of the same dialect ends, and fails where that fails: `message_stop`, or a stop reason and the end
of the body.
What the blocks in between mean is `messages_blocks`' to say.

The plain delta is read by one typed decoding. Everything else, and every delta that the strict reader refuses, takes
the lenient way.
"""

import msgspec
from msgspec import Raw, Struct

from adapters import lenient, parser
from adapters.dialects.messages_blocks import Blocks
from adapters.dialects.messages_document import Document, items, members, read_document, word
from adapters.dialects.messages_errors import read_error
from adapters.dialects.messages_usage import Counts, read_counts
from adapters.emitter import Emitter
from adapters.errors import Failure
from adapters.event_tap import Stage
from adapters.operations import Reason
from adapters.parser import END_MARK
from adapters.raw import NOTHING, says
from adapters.upstream_errors import not_this_dialect

REASONS = {
    "end_turn": Reason.END,
    "stop_sequence": Reason.STOP_SEQUENCE,
    "max_tokens": Reason.LENGTH,
    "tool_use": Reason.TOOL,
    "pause_turn": Reason.PAUSE,
    "refusal": Reason.REFUSAL,
    "model_context_window_exceeded": Reason.CONTEXT_FULL,
}
"""Every other stop reason is OTHER."""


_CONTENT = Stage.CONTENT

_BLOCK_EVENTS = frozenset({b"content_block_start", b"content_block_delta", b"content_block_stop"})
_DELTA_EVENT = b"event: content_block_delta\ndata: "
_DELTA_AT = len(_DELTA_EVENT)
_LF = 10


class _Text(Struct, tag="text_delta", gc=False):
    text: str
    signature: None = None


class _Input(Struct, tag="input_json_delta", gc=False):
    partial_json: str
    signature: None = None


class _Thinking(Struct, tag="thinking_delta", gc=False):
    thinking: str
    signature: None = None


class _Event(Struct, tag="content_block_delta", gc=False):
    """The plain delta: its types refuse a signature, an error, and every other event."""

    delta: _Text | _Input | _Thinking
    index: int = -1
    error: None = None


_decode = msgspec.json.Decoder(_Event).decode
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Parser(parser.Parser):
    """One stream or one answer of one upstream; see `adapters.parser`."""

    __slots__ = ("_blocks", "_counts", "_message_id")

    def __init__(self, emitter: Emitter, *, scope: str, event_bytes_max: int) -> None:
        super().__init__(emitter, scope=scope, event_bytes_max=event_bytes_max)
        self._blocks = Blocks(emitter, scope)
        self._counts = Counts()
        self._message_id: Raw | None = None
        """Of the open message; None before it."""

    # -- the fast path -------------------------------------------------------------------------------------------------

    def _plain(self, event: bytes) -> bool:
        if not event.startswith(_DELTA_EVENT):
            return False
        payload = event[_DELTA_AT:]
        return _LF not in payload and self._is_plain(payload)

    def _is_plain(self, payload: bytes) -> bool:
        """Whether it was a delta that needed no second look; then it is told."""
        try:
            event = _decode(payload)
        except _REFUSALS:
            return False
        delta, blocks = event.delta, self._blocks
        if blocks.joiner is not None:
            return False
        if isinstance(delta, _Text):
            text = delta.text
            blocks.said += len(text)
            self.emitter.text(text)
        elif isinstance(delta, _Input):
            blocks.input(event.index, delta.partial_json)
        else:
            self.emitter.reasoning(delta.thinking)
        return True

    # -- events --------------------------------------------------------------------------------------------------------

    def _payload(self, payload: bytes, name: bytes) -> None:
        if self.stage is _CONTENT and self._is_plain(payload):
            return
        if payload.strip() == END_MARK:
            if self.stage is Stage.FINISHED:
                self._complete()
            return
        document = read_document(payload)
        if name == b"error" or (document is not None and document.is_error):
            self._fail(read_error(payload))
            return
        kind = (document.kind if document is not None else b"") or name
        if self.stage is Stage.OPENING and payload.strip() and (document is None or not kind):
            self._fail(not_this_dialect(payload, "an event"))
            return
        if document is not None:
            self._event(kind, document)

    def _event(self, kind: bytes, document: Document) -> None:
        if kind == b"message_start":
            self._message(members(document.message))
            return
        self._count(document.usage)
        if kind in _BLOCK_EVENTS:
            self._block_event(kind, document)
        elif kind == b"message_delta":
            self._stop_reason(members(document.delta))
        elif kind == b"message_stop":
            self._complete()

    def _block_event(self, kind: bytes, document: Document) -> None:
        self._begin_answer()
        index = _number(document.index)
        if kind == b"content_block_delta":
            self._blocks.delta(index, members(document.delta))
        elif kind == b"content_block_start":
            self._blocks.start(index, members(document.content_block))
        else:
            self._blocks.stop(index)

    def _message(self, message: dict[str, Raw]) -> None:
        """Open the message, with what of its content stands in it already (B61); one cannot replace another (B63)."""
        known, given = self._message_id, message.get("id", NOTHING)
        if known is not None and says(known) and says(given) and bytes(known) != bytes(given):
            self._protocol_error("The upstream began another message in the middle of one.")
            return
        self._count(message.get("usage", NOTHING))
        if known is not None:
            return
        self._message_id = given
        self._begin_message(message)

    def _begin_message(self, message: dict[str, Raw]) -> None:
        self._begin_answer(word(message, "id"), word(message, "model"))
        for number, block in enumerate(items(message.get("content", NOTHING))):
            self._blocks.start(number, members(block))
            self._blocks.stop(number)

    def _stop_reason(self, message: dict[str, Raw]) -> None:
        reason = word(message, "stop_reason")
        if not reason:
            return
        self._begin_answer()
        self._blocks.stop_all()
        explanation = word(members(message.get("stop_details", NOTHING)), "explanation")
        self.emitter.finish(
            REASONS.get(reason, Reason.OTHER), word(message, "stop_sequence") or None, explanation or None
        )
        self._finished()

    def _count(self, usage: Raw) -> None:
        if says(usage):
            self._counts = self._counts.updated(read_counts(usage))
            counted = self._counts.usage()
            if counted is not None:
                self.emitter.usage_report(counted)

    def _complete(self) -> bytes:
        self._begin_answer()
        self._blocks.stop_all()
        return super()._complete()

    # -- documents -----------------------------------------------------------------------------------------------------

    def _answer(self, body: bytes) -> Failure | None:
        document = read_document(body)
        if document is not None and document.is_error:
            return read_error(body)
        if document is None or not bytes(document.content).startswith(b"["):
            return not_this_dialect(body, "an answer")
        message = members(Raw(body))
        self._count(document.usage)
        self._begin_message(message)
        self._stop_reason(message)
        return None

    def _answer_failure(self, document: bytes) -> Failure | None:
        read = read_document(document)
        return read_error(document) if read is not None and read.is_error else None


def open_parser(emitter: Emitter, *, scope: str, event_bytes_max: int) -> Parser:
    """Return the parser of one stream or answer; `scope` is where the signatures in it are good."""
    return Parser(emitter, scope=scope, event_bytes_max=event_bytes_max)


def _number(raw: Raw) -> int:
    """Return a block's index; -1 for what is none, which is as good a name as any."""
    try:
        value = lenient.decode(raw) if says(raw) or bytes(raw) == b"0" else -1
    except lenient.NotJsonError:
        return -1
    return int(value) if isinstance(value, int | float) and abs(value) < 2**53 else -1
