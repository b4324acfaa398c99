"""The emitter: an answer as the Messages stream its clients know, event for event.

Blocks are strictly one after the other, their indexes without gaps, between one `message_start` and one `message_stop`
(the SDKs index a list by them, and skip events without a name). What it decides:

- the prompt's size stands in `message_start` as an estimate above zero, for agents' context meters read it there (B38),
  and as counted in `message_delta`, with every key, for others read it only there;
- a signature goes out last in its block, packed; where there is none a token says so, for agents send back what they
  got, and with "" it would be a 400 from the vendor's own models later in the conversation;
- a client that wants no thinking shown gets a block with the signature alone, and none at all without one;
- a call without arguments gets the one empty delta that the vendor sends;
- free text for a tool is wrapped as the object that stands for it: the dialect has no other input;
- what the upstream's search found is counted and not listed: its results and citations need the vendor's own encrypted
  fields; images and sound have no block.

It does not know several alternatives: clients of this dialect cannot ask for them.
"""

import msgspec

from adapters.dialects.messages_errors import error_event
from adapters.dialects.messages_usage import written_usage
from adapters.emitter import Emitter, Lane, OpenCall, Opening
from adapters.errors import Failure
from adapters.operations import Reason
from adapters.signatures import UNSIGNED, Signature, pack
from adapters.tool_calls import custom_input, ids

CALL_IDS = ids.WORD
"""`^[a-zA-Z0-9_-]+$` (the vendor's own refusals)."""

STOP_REASONS = {
    Reason.END: "end_turn",
    Reason.STOP_SEQUENCE: "stop_sequence",
    Reason.LENGTH: "max_tokens",
    Reason.CONTEXT_FULL: "model_context_window_exceeded",
    Reason.TOOL: "tool_use",
    Reason.FILTER: "refusal",
    Reason.REFUSAL: "refusal",
    Reason.PAUSE: "pause_turn",
    Reason.OTHER: "end_turn",
}

_MESSAGE_PREFIX = "msg_"
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_END = b"}}\n\n"
_BLOCK_START = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":'
_BLOCK_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":'
_ENCODE = msgspec.json.Encoder().encode


class MessagesEmitter(Emitter):
    """One answer as a stream; see `adapters.emitter`."""

    __slots__ = ("_free_text", "_head", "_index", "_is_refused", "_last", "_searches", "_shows_thinking", "_thinking")

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening, id_rule=CALL_IDS)
        self._index = 0
        """Of the open block, or of the next one."""
        self._head = b""
        """How the open block's deltas begin."""
        self._shows_thinking = opening.conversation.thought.show is not False
        self._thinking = False
        """Whether the open reasoning has a block."""
        self._free_text: list[str] = []
        self._is_refused = False
        self._searches = 0
        self._last: dict[str, object] = {}
        """The members of `message_delta.delta`."""

    def error(self, failure: Failure) -> bytes:
        """Return the event that tells of a failure: the same in every state; no block is closed for it."""
        return error_event(failure)

    # -- the message ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        message: dict[str, object] = {
            "id": message_id(self.id),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": max(self.opening.input_tokens, 1),
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 0,
            },
        }
        self._out.append(_event(b"message_start", {"type": "message_start", "message": message}))

    def _end_lane(self, lane: Lane, reason: Reason) -> None:
        if not self._last:
            self._last = ending(reason, lane.sequence, lane.explanation, is_refused=self._is_refused)

    def _end(self) -> None:
        usage = written_usage(self.usage, estimated_input=self.opening.input_tokens, searches=self._searches)
        self._out.append(
            _event(b"message_delta", {"type": "message_delta", "delta": self._last, "usage": usage}) + _MESSAGE_STOP
        )

    # -- blocks --------------------------------------------------------------------------------------------------------

    def _open_block(self, block: bytes, delta: bytes) -> None:
        self._out.append(_BLOCK_START % self._index + block + b"}\n\n")
        self._head = _DELTA % self._index + delta

    def _close_block(self) -> None:
        self._out.append(_BLOCK_STOP % self._index)
        self._index += 1

    def _text_open(self, lane: Lane) -> None:
        self._open_block(b'{"type":"text","text":""}', b'"text_delta","text":')

    def _text(self, lane: Lane, text: str) -> None:
        self._out.append(self._head + _ENCODE(text) + _END)

    def _text_close(self, lane: Lane) -> None:
        self._close_block()

    def _refusal_open(self, lane: Lane) -> None:
        self._is_refused = True
        self._text_open(lane)

    def _refusal(self, lane: Lane, text: str) -> None:
        self._text(lane, text)

    def _refusal_close(self, lane: Lane) -> None:
        self._close_block()

    def _reasoning_open(self, lane: Lane) -> None:
        self._thinking = False
        if self._shows_thinking:
            self._open_thinking()

    def _open_thinking(self) -> None:
        self._thinking = True
        self._open_block(b'{"type":"thinking","thinking":"","signature":""}', b'"thinking_delta","thinking":')

    def _reasoning(self, lane: Lane, text: str) -> None:
        if self._thinking:
            self._out.append(self._head + _ENCODE(text) + _END)

    def _reasoning_close(self, lane: Lane, signature: Signature | None) -> None:
        if not self._thinking and signature is not None:
            self._open_thinking()
        if self._thinking:
            token = b'"signature_delta","signature":"%b"' % pack(signature or UNSIGNED).encode("ascii")
            self._out.append(_DELTA % self._index + token + _END)
            self._close_block()

    def _call_open(self, lane: Lane, call: OpenCall) -> None:
        block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        self._open_block(_ENCODE(block), b'"input_json_delta","partial_json":')

    def _call_delta(self, lane: Lane, call: OpenCall, fragment: str) -> None:
        if call.custom:
            self._free_text.append(fragment)
            return
        if not call.sent and fragment == "{}":
            fragment = ""  # nothing was said: it is the emitter's own
        self._out.append(self._head + _ENCODE(fragment) + _END)

    def _call_close(self, lane: Lane, call: OpenCall, *, whole: bool) -> None:
        if call.custom:
            self._out.append(self._head + _ENCODE(custom_input.wrap("".join(self._free_text))) + _END)
            self._free_text.clear()
        self._close_block()

    def _hosted(self, lane: Lane, kind: str, payload: dict[str, object]) -> None:
        self._searches += kind == "web_search"


def open_emitter(opening: Opening) -> MessagesEmitter:
    """Return the emitter of the stream that a client asked for."""
    return MessagesEmitter(opening)


def message_id(given: str) -> str:
    """Return an id as clients expect it, from what the upstream gave: the same for the same one."""
    return given if given.startswith(_MESSAGE_PREFIX) else _MESSAGE_PREFIX + ids.conforming(given, ids.WORD)


def ending(reason: Reason, sequence: str | None, explanation: str | None, *, is_refused: bool) -> dict[str, object]:
    """Return why a message ended, as members of it. `is_refused`: text of it declines, whatever the reason is (B41)."""
    if is_refused and reason in {Reason.END, Reason.OTHER}:
        reason = Reason.REFUSAL
    stop_reason = STOP_REASONS[reason]
    members: dict[str, object] = {
        "stop_reason": stop_reason,
        "stop_sequence": sequence if reason is Reason.STOP_SEQUENCE else None,
    }
    if reason is Reason.STOP_SEQUENCE and sequence is None:
        members["stop_reason"] = STOP_REASONS[Reason.END]
    if stop_reason == "refusal":
        members["stop_details"] = {"type": "refusal", "category": None, "explanation": explanation}
    return members


def _event(name: bytes, payload: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, _ENCODE(payload))
