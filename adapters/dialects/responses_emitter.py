"""The emitter: an answer of any upstream as the stream that clients of the Responses API read.

Every segment is an item of its own: added, filled, done, at the next place of the output, with the ids of
`responses_output`. The order is the one the SDKs' accumulators insist on: `response.created` first, an item before its
part, a part before its deltas, everything closed before the next one opens, one terminal event with the whole output.
Sequence numbers have no gaps, in-band errors included.

Reasoning is shown only to clients that asked for a summary; its signature goes to all of them, as the encrypted
reasoning which they send back unread. A reasoning item with neither is not written. A call that the end of the answer
cut is incomplete and has no `.done` of its arguments. Sources stand in the message they belong to; one that comes when
its message is done stands in the terminal event alone. Several alternatives, which no client of this dialect can ask
for, would each have items of their own.
"""

from adapters.conversation import Call
from adapters.dialects import responses_output as output
from adapters.dialects.responses_errors import error_event
from adapters.dialects.responses_output import ENCODER, Ids, Object
from adapters.emitter import Emitter, Lane, OpenCall, Opening
from adapters.errors import Failure
from adapters.operations import Citation, Progress, Reason
from adapters.signatures import Signature
from adapters.tool_calls import ids

CALL_IDS = ids.ANY
"""The vendor takes any, up to 64 characters."""

_encode = ENCODER.encode

_NAMES = {
    "output_text": b"response.output_text",
    "refusal": b"response.refusal",
    "summary_text": b"response.reasoning_summary_text",
    "function_call": b"response.function_call_arguments",
    "custom_tool_call": b"response.custom_tool_call_input",
}
"""What the events of a piece of text begin with, by the kind of part or item it belongs to."""

_TAILS = {"output_text": b',"logprobs":[],"sequence_number":%d}\n\n'}
_TAIL = b',"sequence_number":%d}\n\n'


def open_emitter(opening: Opening) -> "ResponsesEmitter":
    """Return the emitter of one streamed answer."""
    return ResponsesEmitter(opening)


class _OpenItem:
    """The item a lane has open. `at` are the members that say where, encoded; `place` is its part's, too."""

    __slots__ = ("annotations", "base", "call", "delta", "id", "index", "kind", "pieces")

    def __init__(self, kind: str, item_id: str, index: int, *, place: bytes = b"", base: int = 0) -> None:
        self.kind = kind
        self.id = item_id
        self.index = index
        self.pieces: list[str] = []
        self.annotations: list[Object] = []
        self.base = base
        """Characters of the lane's text before it."""
        self.call: OpenCall | None = None
        name = _NAMES[kind]
        at = b'"item_id":"%b","output_index":%d%b' % (item_id.encode(), index, place)
        head = b'event: %b.delta\ndata: {"type":"%b.delta",%b,"delta":' % (name, name, at)
        self.delta = head.replace(b"%", b"%%") + b"%b" + _TAILS.get(kind, _TAIL)
        """A template of its deltas: for the text, encoded, and the sequence number."""

    @property
    def said(self) -> str:
        """All that its deltas said."""
        return "".join(self.pieces)

    def where(self) -> Object:
        """Return the members that say of which item and which part of it an event speaks."""
        if self.kind == "summary_text":
            return {"item_id": self.id, "output_index": self.index, "summary_index": 0}
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}


class _Message:
    """A message that was written, so that sources can be added: its place, its text's beginning and its part."""

    __slots__ = ("base", "id", "index", "part", "status")

    def __init__(self, item: _OpenItem, part: Object, status: str) -> None:
        self.id, self.index, self.base = item.id, item.index, item.base
        self.part, self.status = part, status


class ResponsesEmitter(Emitter):
    """One answer on its way to one client of the Responses API."""

    __slots__ = (
        "_early",
        "_frame",
        "_ids",
        "_last",
        "_number",
        "_open_items",
        "_places",
        "_reason",
        "_refused",
        "_said",
        "_whole",
    )

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening, id_rule=CALL_IDS)
        self._number = 0
        """The next event's sequence number."""
        self._places = 0
        """The next item's place in the output."""
        self._open_items: dict[int, _OpenItem] = {}
        """By lane."""
        self._whole: dict[int, bytes] = {}
        """The finished items, encoded, by their places."""
        self._last: _Message | None = None
        self._early: list[Citation] = []
        """Sources that came before any text."""
        self._said: dict[int, int] = {}
        """Characters of each lane's text in finished items."""
        self._ids = Ids(self.id)
        self._frame: Object = {}
        self._reason: Reason | None = None
        self._refused = False

    # -- the beginning and the ends ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._ids = Ids(self.id)
        self._frame = output.response_frame(self.opening, self._ids.response, self.model, self.created)
        self._event("response.created", {"response": self._frame})
        self._event("response.in_progress", {"response": self._frame})

    def _end_lane(self, lane: Lane, reason: Reason) -> None:
        if self._reason is None:
            self._reason = reason

    def _end(self) -> None:
        reason = self._reason or Reason.OTHER
        response = output.response_whole(self._frame, self._output(), self.usage, reason, refused=self._refused)
        self._event(f"response.{response['status']}", {"response": response})

    def error(self, failure: Failure) -> bytes:
        """Return the `error` event and the failed response, with what was said so far."""
        if self.progress is Progress.NEW:
            return error_event(failure)
        for item in self._open_items.values():
            self._whole[item.index] = _encode(_item(item, "incomplete"))
        usage = output.usage_object(self.usage) if self.usage_seen is not None else None
        response = {**self._frame, "output": output.output_array(self._output()), "usage": usage}
        return error_event(failure, response=output.raw_members(response), sequence_number=self._number)

    def _output(self) -> list[bytes]:
        return [self._whole[place] for place in sorted(self._whole)]

    # -- messages ------------------------------------------------------------------------------------------------------

    def _text_open(self, lane: Lane) -> None:
        self._open_message(lane, "output_text", output.text_part(""))
        early, self._early = self._early, []
        for citation in early:
            self._cite(lane, citation)

    def _text(self, lane: Lane, text: str) -> None:
        item = self._open_items[lane.index]
        item.pieces.append(text)
        self._out.append(item.delta % (_encode(text), self._number))
        self._number += 1

    def _text_close(self, lane: Lane) -> None:
        item = self._open_items.pop(lane.index)
        text = item.said
        self._said[lane.index] = item.base + len(text)
        part = output.text_part(text, item.annotations)
        self._event("response.output_text.done", {**item.where(), "text": text, "logprobs": []})
        self._close_message(lane, item, part)

    def _refusal_open(self, lane: Lane) -> None:
        self._refused = True
        self._open_message(lane, "refusal", output.refusal_part(""))

    def _refusal(self, lane: Lane, text: str) -> None:
        self._text(lane, text)

    def _refusal_close(self, lane: Lane) -> None:
        item = self._open_items.pop(lane.index)
        self._event("response.refusal.done", {**item.where(), "refusal": item.said})
        self._close_message(lane, item, output.refusal_part(item.said))

    def _open_message(self, lane: Lane, kind: str, part: Object) -> None:
        base = self._said.get(lane.index, 0)
        item = self._open_item(lane, kind, "msg", place=b',"content_index":0', base=base)
        self._added(item, output.message(item.id, [], "in_progress"))
        self._event("response.content_part.added", {**item.where(), "part": part})

    def _close_message(self, lane: Lane, item: _OpenItem, part: Object) -> None:
        status = output.item_status(lane.reason)
        self._event("response.content_part.done", {**item.where(), "part": part})
        self._done(item.index, output.message(item.id, [part], status))
        if item.kind == "output_text":
            self._last = _Message(item, part, status)

    def _cite(self, lane: Lane, citation: Citation) -> None:
        item = self._open_items.get(lane.index)
        if not citation.url:
            return
        if item is not None and item.kind == "output_text":
            annotation = output.annotation(citation, item.base)
            at = {"annotation_index": len(item.annotations), "annotation": annotation}
            item.annotations.append(annotation)
            self._event("response.output_text.annotation.added", {**item.where(), **at})
        elif self._last is None:
            self._early.append(citation)
        else:
            last = self._last
            annotations = last.part["annotations"]
            assert isinstance(annotations, list)
            annotations.append(output.annotation(citation, last.base))
            self._whole[last.index] = _encode(output.message(last.id, [last.part], last.status))

    # -- reasoning -----------------------------------------------------------------------------------------------------

    def _reasoning_open(self, lane: Lane) -> None:
        """Nothing is written yet: there may be nothing that this client may see."""

    def _reasoning(self, lane: Lane, text: str) -> None:
        if not self.opening.conversation.thought.show:
            return
        item = self._open_items.get(lane.index)
        if item is None:
            item = self._open_item(lane, "summary_text", "rs", place=b',"summary_index":0')
            self._added(item, output.reasoning(item.id, "", None))
            self._event("response.reasoning_summary_part.added", {**item.where(), "part": output.summary_part("")})
        self._text(lane, text)

    def _reasoning_close(self, lane: Lane, signature: Signature | None) -> None:
        item = self._open_items.pop(lane.index, None)
        if item is not None:
            text = item.said
            self._event("response.reasoning_summary_text.done", {**item.where(), "text": text})
            part = output.summary_part(text)
            self._event("response.reasoning_summary_part.done", {**item.where(), "part": part})
            self._done(item.index, output.reasoning(item.id, text, signature))
        elif signature is not None:
            index, item_id = self._next("rs")
            self._added_at(index, output.reasoning(item_id, "", None))
            self._done(index, output.reasoning(item_id, "", signature))

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _call_open(self, lane: Lane, call: OpenCall) -> None:
        kind, prefix = ("custom_tool_call", "ctc") if call.custom else ("function_call", "fc")
        item = self._open_item(lane, kind, prefix)
        item.call = call
        self._added(item, _item(item, "in_progress"))

    def _call_delta(self, lane: Lane, call: OpenCall, fragment: str) -> None:
        self._text(lane, fragment)

    def _call_close(self, lane: Lane, call: OpenCall, *, whole: bool) -> None:
        item = self._open_items.pop(lane.index)
        if whole:
            what = {"input": item.said} if call.custom else {"arguments": item.said}
            at = {"item_id": item.id, "output_index": item.index}
            self._event(f"{_NAMES[item.kind].decode()}.done", {**at, **what})
        self._done(item.index, _item(item, "completed" if whole else "incomplete"))

    # -- what is whole at once -----------------------------------------------------------------------------------------

    def _blob(self, lane: Lane, media_type: str, content: str) -> None:
        if not media_type.startswith("image/"):
            return
        index, item_id = self._next("ig")
        at: Object = {"output_index": index, "item_id": item_id}
        self._added_at(index, output.image(item_id, media_type, None, "in_progress"))
        for step in ("in_progress", "generating", "completed"):
            self._event(f"response.image_generation_call.{step}", at)
        self._done(index, output.image(item_id, media_type, content, "completed"))

    def _hosted(self, lane: Lane, kind: str, payload: dict[str, object]) -> None:
        if kind != "web_search":
            return
        index, item_id = self._next("ws")
        at: Object = {"output_index": index, "item_id": item_id}
        self._added_at(index, output.web_search(item_id, payload, "in_progress"))
        for step in ("in_progress", "searching", "completed"):
            self._event(f"response.web_search_call.{step}", at)
        self._done(index, output.web_search(item_id, payload, "completed"))

    # -- writing -------------------------------------------------------------------------------------------------------

    def _event(self, kind: str, members: Object) -> None:
        event = _encode({"type": kind, **members, "sequence_number": self._number})
        self._number += 1
        self._out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), event))

    def _next(self, prefix: str) -> tuple[int, str]:
        index = self._places
        self._places += 1
        return index, self._ids.item(prefix, index)

    def _open_item(self, lane: Lane, kind: str, prefix: str, *, place: bytes = b"", base: int = 0) -> _OpenItem:
        index, item_id = self._next(prefix)
        item = self._open_items[lane.index] = _OpenItem(kind, item_id, index, place=place, base=base)
        return item

    def _added(self, item: _OpenItem, value: Object) -> None:
        self._added_at(item.index, value)

    def _added_at(self, index: int, value: Object) -> None:
        self._event("response.output_item.added", {"output_index": index, "item": value})

    def _done(self, index: int, value: Object) -> None:
        self._whole[index] = _encode(value)
        self._event("response.output_item.done", {"output_index": index, "item": value})


def _item(item: _OpenItem, status: str) -> Object:
    """Return an open item as it stands."""
    said, call = item.said, item.call
    if item.kind == "output_text":
        return output.message(item.id, [output.text_part(said, item.annotations)], status)
    if item.kind == "refusal":
        return output.message(item.id, [output.refusal_part(said)], status)
    if call is None:
        return output.reasoning(item.id, said, None)
    written = Call(call.id, call.name, said, custom=call.custom, namespace=call.namespace)
    return output.call_item(item.id, written, status)
