"""The emitter: an answer as a Chat Completions stream, in the order OpenAI writes one and as its SDKs gather it.

Every alternative begins with a chunk for the role, then come its deltas, its sources all at once, and its
finish_reason; then, if the client asked, one chunk with usage, and `[DONE]`. What the SDKs' gathering asks for
(openai-python, `lib/streaming/_deltas.py`): texts are concatenated and numbers added, so role, id and name come once;
calls and other lists are merged by their `index`, which counts from 0; usage counts only in the last chunk.

What the dialect has no word for goes into members that its vendors have added: reasoning into `reasoning_content`,
images into `images`, signatures into `reasoning_details` (`chat_tokens`), so that a client that sends back what it got
restores them; one that does not want to read reasoning gets those alone. A client that offered `functions`, the older
form of tools, gets its call as `function_call`.
"""

import msgspec

from adapters.dialects import chat_tokens
from adapters.dialects.chat_errors import error_event
from adapters.dialects.chat_tap import DONE
from adapters.dialects.chat_tools import uses_functions
from adapters.emitter import Emitter, Lane, OpenCall, Opening
from adapters.errors import Failure
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.tool_calls import ids
from adapters.usage import Usage

FINISH_REASONS = {
    Reason.END: "stop",
    Reason.STOP_SEQUENCE: "stop",
    Reason.LENGTH: "length",
    Reason.CONTEXT_FULL: "length",
    Reason.TOOL: "tool_calls",
    Reason.FILTER: "content_filter",
    Reason.REFUSAL: "content_filter",
    Reason.PAUSE: "stop",
    Reason.OTHER: "stop",
}
"""A model that declines in words of its own ends with `stop`, its words in `refusal` (`finish_reason`)."""

CALL_IDS = ids.ANY
"""Its clients take any id back as it came."""

ID_PREFIX = "chatcmpl-"
CALLED = "function_call"

_encode = msgspec.json.Encoder().encode
_END = b"}\n\n"
_NULL_USAGE = b',"usage":null}\n\n'


def finish_reason(reason: Reason, *, declined: bool, legacy: bool) -> str:
    """Return how an alternative's end is said; `declined` when it has words of its own for that."""
    if reason is Reason.REFUSAL and declined:
        return "stop"
    return CALLED if reason is Reason.TOOL and legacy else FINISH_REASONS[reason]


def answer_id(emitter: Emitter) -> str:
    """Return the answer's id: the upstream's, or one that looks like this dialect's."""
    return emitter.id if emitter.id != emitter.opening.seed else ID_PREFIX + emitter.id.removeprefix(ID_PREFIX)


def written_usage(usage: Usage) -> dict[str, object]:
    """Return a usage object."""
    read = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens}
    made = {"reasoning_tokens": usage.reasoning_tokens}
    if usage.input_audio_tokens:
        read["audio_tokens"] = usage.input_audio_tokens
    if usage.output_audio_tokens:
        made["audio_tokens"] = usage.output_audio_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": read,
        "completion_tokens_details": made,
    }


def annotation(citation: Citation) -> dict[str, object]:
    """Return a source as an annotation."""
    source: dict[str, object] = {
        "url": citation.url,
        "title": citation.title,
        "start_index": citation.start,
        "end_index": citation.end,
    }
    if citation.cited:
        source["content"] = citation.cited
    return {"type": "url_citation", "url_citation": source}


def image(index: int, media_type: str, content: str) -> dict[str, object]:
    """Return an image as OpenRouter has it (guide to image generation, 2026)."""
    url = f"data:{media_type};base64,{content}"
    return {"type": "image_url", "image_url": {"url": url}, "index": index}


class _Written:
    """What has been written of one alternative, and how its chunks begin."""

    __slots__ = (
        *("audio", "call", "call_end", "citations", "content", "declined", "delta", "images", "reasoning"),
        *("role", "signatures", "text_characters", "thought_at", "thought_characters"),
    )

    def __init__(self, delta: bytes) -> None:
        self.delta = delta
        """Up to the members of `delta`."""
        self.content = delta + b'"content":'
        self.reasoning = delta + b'"reasoning_content":'
        self.call = self.call_end = b""
        """Around a piece of the open call's arguments."""
        self.role = False
        self.declined = False
        self.audio = False
        self.citations: list[Citation] = []
        self.images = 0
        self.signatures = 0
        self.text_characters = 0
        self.thought_at = 0
        """Where in the reasoning its open item begins."""
        self.thought_characters = 0


class StreamEmitter(Emitter):
    """One stream; see `adapters.emitter`."""

    __slots__ = ("_delta_end", "_end_bytes", "_head", "_hides_reasoning", "_is_legacy", "_written")

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening, id_rule=CALL_IDS)
        self._written: dict[int, _Written] = {}
        self._head = b""
        self._end_bytes = _NULL_USAGE if opening.request.usage_wanted else _END
        self._delta_end = b'},"finish_reason":null}]' + self._end_bytes
        self._hides_reasoning = opening.conversation.thought.show is False
        self._is_legacy = uses_functions(opening.request.fields)

    def error(self, failure: Failure) -> bytes:
        """Return the chunk that says it; nothing follows it (`chat_errors`)."""
        return error_event(failure)

    def _begin(self) -> None:
        head = {"id": answer_id(self), "object": "chat.completion.chunk", "created": self.created, "model": self.model}
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['

    # -- alternatives --------------------------------------------------------------------------------------------------

    def _of(self, lane: Lane) -> _Written:
        written = self._written.get(lane.index)
        if written is None:
            delta = self._head + b'{"index":%d,"delta":{' % lane.index
            written = self._written[lane.index] = _Written(delta)
        return written

    def _lead(self, lane: Lane, content: bytes = b"null") -> _Written:
        """Write the role, unless it was written; `content` is empty text in front of text alone."""
        written = self._of(lane)
        if not written.role:
            written.role = True
            self._out.append(written.delta + b'"role":"assistant","content":' + content + self._delta_end)
        return written

    def _delta(self, written: _Written, members: dict[str, object]) -> None:
        self._out.append(written.delta + _encode(members)[1:-1] + self._delta_end)

    # -- segments ------------------------------------------------------------------------------------------------------

    def _text_open(self, lane: Lane) -> None:
        self._lead(lane, b'""')

    def _text(self, lane: Lane, text: str) -> None:
        written = self._written[lane.index]
        written.text_characters += len(text)
        self._out.append(written.content + _encode(text) + self._delta_end)

    def _text_close(self, lane: Lane) -> None:
        pass

    def _refusal_open(self, lane: Lane) -> None:
        self._lead(lane).declined = True

    def _refusal(self, lane: Lane, text: str) -> None:
        self._delta(self._of(lane), {"refusal": text})

    def _refusal_close(self, lane: Lane) -> None:
        pass

    def _reasoning_open(self, lane: Lane) -> None:
        written = self._lead(lane)
        written.thought_at = written.thought_characters

    def _reasoning(self, lane: Lane, text: str) -> None:
        if self._hides_reasoning:
            return
        written = self._written[lane.index]
        written.thought_characters += len(text)
        self._out.append(written.reasoning + _encode(text) + self._delta_end)

    def _reasoning_close(self, lane: Lane, signature: Signature | None) -> None:
        if signature is None:
            return
        written = self._of(lane)
        place = chat_tokens.Place(
            sum(call is None for call in lane.calls.values()),
            written.text_characters,
            written.thought_at,
            written.thought_characters,
        )
        entry = chat_tokens.entry(signature, written.signatures, place)
        written.signatures += 1
        self._delta(written, {"reasoning_details": [entry]})

    def _call_open(self, lane: Lane, call: OpenCall) -> None:
        written = self._lead(lane)
        if self._is_legacy and call.index == 0:
            written.call, written.call_end = written.delta + b'"function_call":{"arguments":', b"}" + self._delta_end
            self._delta(written, {CALLED: {"name": call.name, "arguments": ""}})
            return
        # A further call has no place beside `function_call`; calls of their own list count from 0.
        index = call.index - self._is_legacy
        kind, argument = ("custom", "input") if call.custom else ("function", "arguments")
        named = {"name": call.name, argument: ""}
        entry: dict[str, object] = {"index": index, "id": call.id, "type": kind, kind: named}
        members = b'"tool_calls":[{"index":%d,"%b":{"%b":' % (index, kind.encode(), argument.encode())
        written.call, written.call_end = written.delta + members, b"}}]" + self._delta_end
        self._delta(written, {"tool_calls": [entry]})

    def _call_delta(self, lane: Lane, call: OpenCall, fragment: str) -> None:
        written = self._written[lane.index]
        self._out.append(written.call + _encode(fragment) + written.call_end)

    def _call_close(self, lane: Lane, call: OpenCall, *, whole: bool) -> None:
        """A call that was cut is told from a whole one by the finish_reason alone."""

    # -- beside the segments -------------------------------------------------------------------------------------------

    def _cite(self, lane: Lane, citation: Citation) -> None:
        """Keep it: a list without an index can be sent only once."""
        self._of(lane).citations.append(citation)

    def _blob(self, lane: Lane, media_type: str, content: str) -> None:
        written = self._lead(lane)
        if media_type.startswith("audio/"):
            sound: dict[str, object] = {"data": content}
            if not written.audio:
                sound = {"id": f"audio-{answer_id(self)}", **sound}
            written.audio = True
            self._delta(written, {"audio": sound})
            return
        self._delta(written, {"images": [image(written.images, media_type, content)]})
        written.images += 1

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _end_lane(self, lane: Lane, reason: Reason) -> None:
        written = self._lead(lane, b'""')
        if reason is Reason.REFUSAL and lane.explanation and not written.declined:
            self._delta(written, {"refusal": lane.explanation})
        if written.citations:
            self._delta(written, {"annotations": [annotation(each) for each in written.citations]})
        said = finish_reason(reason, declined=written.declined, legacy=self._is_legacy)
        self._out.append(written.delta + b'},"finish_reason":' + _encode(said) + b"}]" + self._end_bytes)

    def _end(self) -> None:
        if self.opening.request.usage_wanted:
            self._out.append(self._head + b'],"usage":' + _encode(written_usage(self.usage)) + _END)
        self._out.append(DONE)


def open_emitter(opening: Opening) -> StreamEmitter:
    """Return the emitter of one stream."""
    return StreamEmitter(opening)
