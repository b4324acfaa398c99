"""The collector: an answer taken whole, as the parts a conversation has, for a client that did not ask for a stream.

It is the emitter that writes nothing. What it collects is in the same neutral words as a turn of the assistant's in a
request, so a dialect writes both with the same code. Because the same parser drives it, and the same sequencing stands
in front of it, a unary answer says what the stream would have said.
"""

from collections.abc import Iterable

from msgspec import Struct

from adapters.conversation import Call, Reasoning, Refusal, Text
from adapters.emitter import Emitter, Lane, OpenCall, Opening
from adapters.errors import Failure
from adapters.operations import Citation, Reason
from adapters.segments import Segment
from adapters.signatures import Signature
from adapters.tool_calls.ids import ANY, IdRule


class Blob(Struct, frozen=True):
    """An image or a sound that the model made, in base64."""

    media_type: str
    content: str


class Hosted(Struct, frozen=True):
    """What a tool of the upstream's own did."""

    kind: str
    payload: dict[str, object]


class CollectedCall(Call, frozen=True):
    """A call of the answer; not `whole` when the end of the answer cut its arguments."""

    whole: bool = True


CollectedPart = Text | Refusal | Reasoning | CollectedCall | Blob | Hosted


class Collected:
    """One alternative, whole: its parts in order and why it ended."""

    __slots__ = ("explanation", "index", "parts", "reason", "sequence")

    def __init__(self, index: int) -> None:
        self.index = index
        self.parts: list[CollectedPart] = []
        self.reason = Reason.OTHER
        self.sequence: str | None = None
        self.explanation: str | None = None


class Collector(Emitter):
    """Collects one answer; `answers()` are its alternatives after `end()`, at least one.

    `id_rule` says which call ids the client's dialect allows.
    """

    __slots__ = ("_citations", "_collected", "_pieces")

    def __init__(self, opening: Opening, *, id_rule: IdRule = ANY) -> None:
        super().__init__(opening, id_rule=id_rule)
        self._collected: dict[int, Collected] = {}
        self._pieces: dict[int, list[str]] = {}
        self._citations: dict[int, list[Citation]] = {}

    def answers(self) -> list[Collected]:
        """Return the alternatives in the order of their indexes."""
        return [self._collected[index] for index in sorted(self._collected)]

    def error(self, failure: Failure) -> bytes:
        """Return nothing: a unary answer that failed is answered with a status."""
        return b""

    def _of(self, lane: Lane) -> Collected:
        collected = self._collected.get(lane.index)
        if collected is None:
            collected = self._collected[lane.index] = Collected(lane.index)
        return collected

    def _take_pieces(self, lane: Lane) -> str:
        return "".join(self._pieces.pop(lane.index, ()))

    def _add(self, lane: Lane, piece: str) -> None:
        self._pieces.setdefault(lane.index, []).append(piece)

    def _text_open(self, lane: Lane) -> None:
        self._pieces[lane.index] = []

    def _text(self, lane: Lane, text: str) -> None:
        self._add(lane, text)

    def _text_close(self, lane: Lane) -> None:
        citations = tuple(self._citations.pop(lane.index, ()))
        self._of(lane).parts.append(Text(self._take_pieces(lane), citations=citations))

    def _refusal_open(self, lane: Lane) -> None:
        self._pieces[lane.index] = []

    def _refusal(self, lane: Lane, text: str) -> None:
        self._add(lane, text)

    def _refusal_close(self, lane: Lane) -> None:
        self._of(lane).parts.append(Refusal(self._take_pieces(lane)))

    def _reasoning_open(self, lane: Lane) -> None:
        self._pieces[lane.index] = []

    def _reasoning(self, lane: Lane, text: str) -> None:
        self._add(lane, text)

    def _reasoning_close(self, lane: Lane, signature: Signature | None) -> None:
        self._of(lane).parts.append(Reasoning(self._take_pieces(lane), signature))

    def _call_open(self, lane: Lane, call: OpenCall) -> None:
        self._pieces[lane.index] = []

    def _call_delta(self, lane: Lane, call: OpenCall, fragment: str) -> None:
        self._add(lane, fragment)

    def _call_close(self, lane: Lane, call: OpenCall, *, whole: bool) -> None:
        self._of(lane).parts.append(
            CollectedCall(
                id=call.id,
                name=call.name,
                arguments=self._take_pieces(lane),
                custom=call.custom,
                namespace=call.namespace,
                whole=whole,
            )
        )

    def _cite(self, lane: Lane, citation: Citation) -> None:
        """Keep it for the text that is open, or add it to the last one that was."""
        parts = self._of(lane).parts
        at = _last_text(parts)
        if lane.segment is Segment.TEXT or at is None:
            self._citations.setdefault(lane.index, []).append(citation)
            return
        text = parts[at]
        assert isinstance(text, Text)
        parts[at] = Text(text.text, citations=(*text.citations, citation))

    def _blob(self, lane: Lane, media_type: str, content: str) -> None:
        self._of(lane).parts.append(Blob(media_type, content))

    def _hosted(self, lane: Lane, kind: str, payload: dict[str, object]) -> None:
        self._of(lane).parts.append(Hosted(kind, payload))

    def _end_lane(self, lane: Lane, reason: Reason) -> None:
        collected = self._of(lane)
        collected.reason, collected.sequence, collected.explanation = reason, lane.sequence, lane.explanation

    def _end(self) -> None:
        """Nothing is written; everything is in `answers()`."""


def _last_text(parts: Iterable[CollectedPart]) -> int | None:
    return next((at for at, part in reversed(list(enumerate(parts))) if isinstance(part, Text)), None)
