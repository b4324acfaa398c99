"""The Gemini emitter: operations as a stream of generateContent's chunks, as server-sent events or as one JSON array.

The clients of this dialect are the strictest readers of all: google-genai takes every line that does not begin with
`data: ` for JSON and raises on a comment or an end mark, the Gemini CLI breaks on both. So what is written is nothing
but chunks, each one line, each with id and model. The array is framed as Google frames it: `[{...}\\n,\\r\\n{...}\\n]`.

- A call is one part, written when its arguments are all there; one that the end of the answer cut is left out, since
  nothing here could say that it is not whole (B21).
- Thoughts are written for who asked to see them, signatures for everybody: on the next part, where this dialect has
  them, else on an empty text.
- A refusal is text, and the reason says that it was one.
- The finish chunk comes last: with the reasons of all candidates, their sources and the usage.
"""

import msgspec

from adapters.dialects.gemini_errors import error_body
from adapters.dialects.gemini_grounding import Offsets, metadata_of
from adapters.dialects.gemini_output import (
    Members,
    blob_part,
    call_part,
    content,
    finish_word,
    signed,
    usage_metadata,
)
from adapters.dialects.gemini_request import GeminiRequest
from adapters.emitter import Emitter as BaseEmitter
from adapters.emitter import Lane, OpenCall, Opening
from adapters.errors import Failure
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.tool_calls import ids

__all__ = ["CALL_IDS", "Emitter", "open_emitter"]

CALL_IDS = ids.ANY
"""The ids of calls that clients accept: any; many of them drop them."""

_TEXT = b'{"candidates":[{"content":{"parts":[{"text":'
_encode = msgspec.json.Encoder().encode


class _Candidate:
    """What of one alternative is written later than it came."""

    __slots__ = ("citations", "declined", "index", "offsets", "pieces", "queries", "signature", "tail")

    def __init__(self, index: int, head: bytes, *, sources: bool) -> None:
        self.index = index
        self.tail = b'}],"role":"model"},"index":%d}],%b' % (index, head)
        """What stands behind the text in a chunk of text."""
        self.citations: list[Citation] = []
        self.declined = False
        self.offsets = Offsets(keep=sources)
        self.pieces: list[str] = []
        """Of the open call's arguments."""
        self.queries: list[str] = []
        self.signature: Signature | None = None
        """One that waits for the next part."""


class Emitter(BaseEmitter):
    """One answer as a stream of this dialect."""

    __slots__ = ("_array", "_candidates", "_ends", "_head", "_lead", "_shows", "_sources")

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening, id_rule=CALL_IDS)
        request = opening.request
        self._array = isinstance(request, GeminiRequest) and request.array
        self._candidates: dict[int, _Candidate] = {}
        self._ends: list[Members] = []
        self._head = b""
        """The members that every chunk ends with, and its end."""
        self._lead = b"[" if self._array else b"data: "
        self._shows = opening.conversation.thought.show is True
        self._sources = opening.conversation.web_search is not None

    def error(self, failure: Failure) -> bytes:
        """Return the chunk of an error: nothing may follow it."""
        if self._array:
            return b"%b%b\n]" % (self._lead, error_body(failure))
        return b"data: %b\n\n" % error_body(failure)

    # -- chunks --------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        end = b"}\n" if self._array else b"}\n\n"
        self._head = b'"modelVersion":%b,"responseId":%b%b' % (_encode(self.model), _encode(self.id), end)

    def _candidate(self, lane: Lane) -> _Candidate:
        candidate = self._candidates.get(lane.index)
        if candidate is None:
            candidate = _Candidate(lane.index, self._head, sources=self._sources)
            self._candidates[lane.index] = candidate
        return candidate

    def _write(self, opened: bytes) -> None:
        """Write a chunk, the end of which is not written yet."""
        self._out.append(self._lead + opened)
        if self._array:
            self._lead = b",\r\n"

    def _part(self, candidate: _Candidate, part: Members) -> None:
        part = signed(part, candidate.signature)
        candidate.signature = None
        self._write(b'{"candidates":[{"content":{"parts":[%b' % _encode(part)[:-1] + candidate.tail)

    # -- text ----------------------------------------------------------------------------------------------------------

    def _text_open(self, lane: Lane) -> None:
        """Nothing opens or closes here."""

    def _text(self, lane: Lane, text: str) -> None:
        candidate = self._candidates.get(lane.index) or self._candidate(lane)
        candidate.offsets.add(text)
        if candidate.signature is not None:
            self._part(candidate, {"text": text})
            return
        self._out.append(self._lead + _TEXT + _encode(text) + candidate.tail)
        if self._array:
            self._lead = b",\r\n"

    def _text_close(self, lane: Lane) -> None:
        """See `_text_open`."""

    def _refusal_open(self, lane: Lane) -> None:
        self._candidate(lane).declined = True

    def _refusal(self, lane: Lane, text: str) -> None:
        self._text(lane, text)

    def _refusal_close(self, lane: Lane) -> None:
        """See `_text_open`."""

    # -- reasoning -----------------------------------------------------------------------------------------------------

    def _reasoning_open(self, lane: Lane) -> None:
        """A signature that still waits belongs to another item: it gets a part of its own."""
        candidate = self._candidate(lane)
        if candidate.signature is not None:
            self._part(candidate, {"text": ""})

    def _reasoning(self, lane: Lane, text: str) -> None:
        if self._shows:
            candidate = self._candidate(lane)
            self._write(_TEXT + _encode(text) + b',"thought":true' + candidate.tail)

    def _reasoning_close(self, lane: Lane, signature: Signature | None) -> None:
        self._candidate(lane).signature = signature

    # -- calls and blobs -----------------------------------------------------------------------------------------------

    def _call_open(self, lane: Lane, call: OpenCall) -> None:
        self._candidate(lane).pieces.clear()

    def _call_delta(self, lane: Lane, call: OpenCall, fragment: str) -> None:
        self._candidate(lane).pieces.append(fragment)

    def _call_close(self, lane: Lane, call: OpenCall, *, whole: bool) -> None:
        candidate = self._candidate(lane)
        if whole:
            self._part(candidate, call_part(call.id, call.name, "".join(candidate.pieces), custom=call.custom))
        candidate.pieces.clear()

    def _blob(self, lane: Lane, media_type: str, content: str) -> None:
        self._part(self._candidate(lane), blob_part(media_type, content))

    # -- what the finish chunk says ------------------------------------------------------------------------------------

    def _cite(self, lane: Lane, citation: Citation) -> None:
        self._candidate(lane).citations.append(citation)

    def _hosted(self, lane: Lane, kind: str, payload: dict[str, object]) -> None:
        query = payload.get("query")
        if kind == "web_search" and isinstance(query, str) and query:
            self._candidate(lane).queries.append(query)

    def _end_lane(self, lane: Lane, reason: Reason) -> None:
        candidate = self._candidate(lane)
        end: Members = {"content": content([signed({"text": ""}, candidate.signature)])}
        end["finishReason"] = finish_word(reason, declined=candidate.declined)
        end["index"] = lane.index
        if lane.explanation:
            end["finishMessage"] = lane.explanation
        grounding = metadata_of(candidate.citations, candidate.queries, candidate.offsets)
        if grounding is not None:
            end["groundingMetadata"] = grounding
        self._ends.append(end)

    def _end(self) -> None:
        last = _encode({"candidates": self._ends, "usageMetadata": usage_metadata(self.usage)})
        self._write(b"%b,%b" % (last[:-1], self._head))
        if self._array:
            self._out.append(b"]")


def open_emitter(opening: Opening) -> Emitter:
    """Return the emitter of one answer for a client of this dialect."""
    return Emitter(opening)
