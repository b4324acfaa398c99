"""The emitters' common half: operations in whatever order they come, as segments in the order clients bear.

Clients want one thing at a time: text, then a call, then another. Upstreams interleave the pieces of parallel calls,
think while a call is open, close nothing. So an `Emitter` keeps one *segment* open (text, refusal, reasoning, or one
call) and lets its pieces through live; what belongs to another waits, if the open one is a call whose JSON is not whole
yet, and otherwise closes it. What waits goes out in order, as soon as it may and at the latest at the end.

Decided here, for every dialect alike: that empty pieces are nothing, that a call without arguments has `{}`, what a
call is named and which id it has for this client, that free-form input comes unwrapped, that an END after a call is
TOOL, what is counted for an estimate, where an emulated stop sequence cuts. A dialect's emitter is a subclass that says
what its hooks write; it appends to `_out`. The end of the answer is held until `end()`, since usage may follow it.

An emitter never waits, fails or looks at a clock. `failure` is set when the upstream's operations cannot be written.
"""

from abc import abstractmethod
from collections.abc import Callable, Hashable

from adapters.emitter_hooks import Hooks
from adapters.errors import Failure, Kind
from adapters.estimates import tokens_of
from adapters.opening import Opening
from adapters.operations import CUT_SHORT, ORDER, Citation, Progress, Reason, final_reason
from adapters.segments import Lane, OpenCall, Segment, Waiting
from adapters.signatures import Signature
from adapters.stops import StopScanner
from adapters.tool_calls import ids
from adapters.tool_calls.ids import IdRule
from adapters.usage import Usage

__all__ = ["Emitter", "Lane", "OpenCall", "Opening"]

UNSCANNED_FRAGMENTS_MAX = 256
"""So many pieces of a call are kept before they are looked at: in most streams nothing ever asks."""
_TEXT, _REFUSAL, _REASONING, _CALL, _NONE = Segment
_OPEN = Progress.OPEN


class Emitter(Hooks):
    """One answer on its way to one client. `take()` returns what is written so far.

    `content` tells whether anything of the answer itself was seen, `usage_seen` what the upstream reported last,
    `usage` that or an estimate of what went through.
    """

    __slots__ = (
        "_answer_call",
        "_characters",
        "_id_rule",
        "_lane",
        "_lanes",
        "_out",
        "_stopper",
        "content",
        "created",
        "failure",
        "id",
        "model",
        "opening",
        "progress",
        "usage_seen",
    )

    def __init__(self, opening: Opening, *, id_rule: IdRule = ids.ANY) -> None:
        """`id_rule` says which call ids the client's dialect allows."""
        self.opening = opening
        self._id_rule = id_rule
        self.id = opening.seed
        self.model = opening.model
        self.created = opening.created
        self.content = False
        self.failure: Failure | None = None
        self.progress = Progress.NEW
        self.usage_seen: Usage | None = None
        self._out: list[bytes] = []
        self._characters = 0
        self._lane = Lane(0)
        self._lanes: dict[int, Lane] = {0: self._lane}
        self._stopper = StopScanner(opening.stops) if opening.stops else None
        self._answer_call: Hashable = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.progress.value} {self._lane.segment.value}>"

    @property
    def _is_cut(self) -> bool:
        """Whether a stop sequence has ended the answer."""
        return self._stopper is not None and self._stopper.hit is not None

    def take(self) -> bytes:
        """Return what was written since the last time."""
        out = self._out
        if not out:
            return b""
        taken = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return taken

    @property
    def usage(self) -> Usage:
        """What the upstream reported, or else an estimate, marked as one."""
        if self.usage_seen is not None:
            return self.usage_seen
        return Usage(self.opening.input_tokens, tokens_of(self._characters), estimated=True)

    # -- the operations ------------------------------------------------------------------------------------------------

    def start(self, id: str = "", model: str = "", created: int = 0) -> None:  # noqa: A002 - the wire's own word
        """Begin; "" and 0 for what is not known."""
        self.progress = ORDER[self.progress]["start"]
        self.id = id or self.id
        self.model = model or self.model
        self.created = created or self.created
        self._begin()

    def alternative(self, index: int) -> None:
        """Say to which alternative the following belongs."""
        lane = self._lanes.get(index)
        if lane is None:
            lane = self._lanes[index] = Lane(index)
        self._lane = lane

    def text(self, text: str) -> None:
        """Pass text on."""
        if not text:
            return
        self._characters += len(text)
        if self._stopper is not None:
            text = self._stopped(text)
            if not text:
                return
        lane = self._lane
        if lane.segment is _TEXT or self._turn_to(_TEXT):
            self._text(lane, text)
        else:
            lane.waiting[-1].pieces.append(text)

    def refusal(self, text: str) -> None:
        """Pass on text that declines."""
        if text and not self._is_cut:
            self._pass_on(_REFUSAL, self._refusal, text)

    def reasoning_open(self) -> None:
        """Begin an item of reasoning, also right behind another one. It is written when it says anything."""
        self.reasoning_close()

    def reasoning(self, text: str) -> None:
        """Pass on its text."""
        if text and not self._is_cut:
            self._pass_on(_REASONING, self._reasoning, text)

    def reasoning_sign(self, signature: Signature) -> None:
        """Note its signature; the last one counts."""
        if self._is_cut:
            return
        lane = self._lane
        if lane.segment is _REASONING or self._turn_to(_REASONING):
            lane.signature = signature
        else:
            lane.waiting[-1].signature = signature

    def reasoning_close(self) -> None:
        """End it; nothing if none is open."""
        lane = self._lane
        if lane.segment is _REASONING:
            self._close()
        elif lane.waiting:
            lane.waiting[-1].closed = True

    def call_open(self, key: Hashable, id: str, name: str, custom: bool = False) -> None:  # noqa: A002
        """Begin a call."""
        if self._is_cut:
            return
        if name == self.opening.answer_tool:
            self._answer_call = key
            return
        lane, number = self._lane, len(self._lane.calls)
        tool = self.opening.conversation.names.original(name)
        given = id or ids.made(f"{self.id}/{lane.index}", number)
        call = OpenCall(
            key,
            ids.conforming(given, self._id_rule),
            tool,
            number,
            wrapped=tool.custom and not custom,
            custom=tool.custom or custom,
        )
        lane.calls[key] = call
        self._turn_to(_CALL, call)

    def call_arguments(self, key: Hashable, fragment: str) -> None:
        """Pass on a piece of a call's arguments."""
        if not fragment:
            return
        lane = self._lane
        call = lane.calls.get(key)
        if call is None:
            self._other_arguments(key, fragment)
            return
        self._characters += len(fragment)
        if lane.call is not call:
            call.waiting.append(fragment)
            if lane.call is not None and lane.call.is_whole():
                self._close()
                self._let_through()
            return
        call.unscanned.append(fragment)
        if len(call.unscanned) > UNSCANNED_FRAGMENTS_MAX:
            call.is_whole()
        if call.unwrapper is not None:
            fragment = call.unwrapper.feed(fragment)
            if not fragment:
                return
        call.sent = True
        self._call_delta(lane, call, fragment)

    def call_close(self, key: Hashable) -> None:
        """Say that a call's arguments are all there."""
        call = self._lane.calls.get(key)
        if call is not None:
            call.closing = True
            if self._lane.call is call:
                self._close()
                self._let_through()

    def cite(self, citation: Citation) -> None:
        """Name a source of the text."""
        self._cite(self._lane, citation)

    def blob(self, media_type: str, content: str) -> None:
        """Pass on an image or a sound, in base64."""
        if self._stand_alone():
            self._blob(self._lane, media_type, content)

    def hosted(self, kind: str, payload: dict[str, object]) -> None:
        """Say what a tool of the upstream's own did: `kind` as "web_search", `payload` as its "query"."""
        if self._stand_alone():
            self._hosted(self._lane, kind, payload)

    def usage_report(self, usage: Usage) -> None:
        """Note what the upstream counts."""
        self.usage_seen = usage

    def finish(self, reason: Reason, sequence: str | None = None, explanation: str | None = None) -> None:
        """Note why the alternative ended; the first reason that says anything counts."""
        lane = self._lane
        if lane.reason in {None, Reason.OTHER}:
            lane.reason = reason
        lane.sequence = sequence or lane.sequence
        lane.explanation = explanation or lane.explanation

    def end(self) -> None:
        """Write all that waits, close what is open, and end the answer."""
        self.progress = ORDER[self.progress]["end"]
        for lane in self._lanes.values():
            self._lane = lane
            self._finish_lane(lane)
        self._end()

    @abstractmethod
    def error(self, failure: Failure) -> bytes:
        """Return what tells the client of a failure here, behind all that was taken, and ends the stream."""

    # -- segments ------------------------------------------------------------------------------------------------------

    def _pass_on(self, segment: Segment, write: Callable[[Lane, str], None], text: str) -> None:
        self._characters += len(text)
        lane = self._lane
        if lane.segment is segment or self._turn_to(segment):
            write(lane, text)
        else:
            lane.waiting[-1].pieces.append(text)

    def _turn_to(self, segment: Segment, call: OpenCall | None = None) -> bool:
        """Open a segment now, or else make one that waits; return whether it is open.

        What waits already and is of the same kind goes on, so that pieces need no second thought.
        """
        self.content = True
        lane = self._lane
        assert self.progress is _OPEN, self
        if lane.call is not None and not lane.call.is_whole():
            last = lane.waiting[-1] if lane.waiting else None
            if last is None or last.segment is not segment or last.closed or segment is _CALL:
                lane.waiting.append(Waiting(segment, call))
            return False
        if lane.segment is not _NONE:
            self._close()
            self._let_through()
            if lane.call is not None and not lane.call.is_whole():
                lane.waiting.append(Waiting(segment, call))
                return False
        if lane.segment is not segment or segment is _CALL:
            self._open(segment, call)
        return True

    def _stand_alone(self) -> bool:
        """Make room for something that is whole by itself; return whether there is any: not inside of a call."""
        lane = self._lane
        while lane.segment is not _NONE and (lane.call is None or lane.call.is_whole()):
            self._close()
            self._let_through()
        self.content = True
        return lane.segment is _NONE and not self._is_cut

    def _open(self, segment: Segment, call: OpenCall | None = None) -> None:
        lane = self._lane
        if lane.segment is not _NONE:
            self._close()
        lane.segment = segment
        if segment is _TEXT:
            self._text_open(lane)
        elif segment is _REASONING:
            lane.signature = None
            self._reasoning_open(lane)
        elif segment is _REFUSAL:
            self._refusal_open(lane)
        else:
            assert call is not None
            lane.call = call
            self._call_open(lane, call)

    def _close(self) -> None:
        lane, segment = self._lane, self._lane.segment
        lane.segment = _NONE
        if segment is _TEXT:
            self._text_close(lane)
        elif segment is _REASONING:
            self._reasoning_close(lane, lane.signature)
        elif segment is _REFUSAL:
            self._refusal_close(lane)
        elif segment is _CALL:
            self._close_call(lane)

    def _close_call(self, lane: Lane) -> None:
        call, lane.call = lane.call, None
        assert call is not None
        lane.calls[call.key] = None
        whole = call.is_whole() or lane.reason not in CUT_SHORT
        rest = call.unwrapper.end() if call.unwrapper is not None else ""
        if not (rest or call.sent or call.custom) and whole:
            rest = "{}"
        if rest:
            self._call_delta(lane, call, rest)
        self._call_close(lane, call, whole=whole)

    def _let_through(self) -> None:
        """Write what waits, up to and with the first call that is not whole."""
        lane = self._lane
        while lane.waiting and (lane.call is None or lane.call.is_whole()):
            next_one = lane.waiting.popleft()
            self._open(next_one.segment, next_one.call)
            pieces, lane.signature = "".join(next_one.pieces), next_one.signature
            if next_one.call is not None:
                self._release(lane, next_one.call)
            elif pieces:
                hooks = {_TEXT: self._text, _REFUSAL: self._refusal, _REASONING: self._reasoning}
                hooks[next_one.segment](lane, pieces)
            if next_one.closed:
                self._close()

    def _release(self, lane: Lane, call: OpenCall) -> None:
        """Pass on what a call has been waiting with."""
        fragment = "".join(call.waiting)
        call.waiting.clear()
        call.unscanned.append(fragment)
        if call.unwrapper is not None:
            fragment = call.unwrapper.feed(fragment)
        if fragment:
            call.sent = True
            self._call_delta(lane, call, fragment)

    def _finish_lane(self, lane: Lane) -> None:
        if self._stopper is not None and not self._is_cut and lane.index == 0:
            held, self._stopper = self._stopper.end(), None
            self.text(held)
        # The upstream says nothing more: every call is as whole as it will be.
        while lane.segment is not _NONE or lane.waiting:
            if lane.segment is not _NONE:
                self._close()
            self._let_through()
        self._end_lane(lane, final_reason(lane.reason, called=bool(lane.calls)))

    # -- what seldom happens -------------------------------------------------------------------------------------------

    def _stopped(self, text: str) -> str:
        """Return what of the text stands in front of a stop sequence; after one, nothing is said any more."""
        assert self._stopper is not None
        passed = "" if self._is_cut else self._stopper.feed(text)
        if self._is_cut:
            self._lane.reason, self._lane.sequence = Reason.STOP_SEQUENCE, self._stopper.hit
        return passed

    def _other_arguments(self, key: Hashable, fragment: str) -> None:
        """Take arguments of a call that is not open: the answer's own text, or a mistake of the upstream's."""
        if key == self._answer_call and self.opening.answer_tool is not None:
            self.text(fragment)
        elif fragment.strip() and not self._is_cut:
            message = "The upstream sent more arguments for a tool call that it had completed."
            self.failure = Failure(502, Kind.UPSTREAM, message, code="upstream_protocol_error")
