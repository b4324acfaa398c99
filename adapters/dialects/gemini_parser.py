"""The Gemini parser: generateContent's chunks, or one whole answer, as operations.

The parts of an alternative are told in `gemini_alternative`. Decided here:

- `usageMetadata` replaces the one before; it is decoded when somebody asks for it.
- A blocked prompt is a complete answer without content. Reasons that say that the model failed are failures: to ask
  again may help. The last reason of a candidate counts, for some servers give one with every chunk.

The stream is whole when every candidate that was asked for has its reason, or the prompt was blocked.
"""

from collections.abc import Mapping

import msgspec

from adapters import sse
from adapters.dialects.gemini_alternative import Alternative
from adapters.dialects.gemini_chunk import Candidate, Chunk, Feedback, OddChunk, decode, decode_plain, read_chunk
from adapters.dialects.gemini_document import read_usage
from adapters.dialects.gemini_errors import read_error
from adapters.emitter import Emitter
from adapters.errors import Failure, Kind
from adapters.event_tap import TRANSITIONS, Stage
from adapters.operations import Reason
from adapters.parser import END_MARK
from adapters.parser import Parser as BaseParser
from adapters.raw import NOTHING, says
from adapters.upstream_errors import not_this_dialect
from adapters.usage import Usage

__all__ = ["Parser", "open_parser"]

REASONS: Mapping[str, Reason] = {
    "STOP": Reason.END,
    "MAX_TOKENS": Reason.LENGTH,
    "CONTINUATION": Reason.PAUSE,
    **dict.fromkeys(("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"), Reason.FILTER),
    **dict.fromkeys(("MODEL_ARMOR", "ESCALATION", "PUP_LIMITED_DISABLED"), Reason.FILTER),
    **dict.fromkeys(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER"), Reason.FILTER),
}
"""Any other reason is OTHER, but for those that are failures."""

FAILURES = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    }
)
"""The model wrote what its own server could not read: no answer, and the next try may bring one."""

_TRANSITIONS = {
    **TRANSITIONS,
    Stage.OPENING: frozenset({Stage.CONTENT, Stage.FINISHED, Stage.FAILED}),
    Stage.CONTENT: frozenset({Stage.FINISHED, Stage.FAILED}),
}
"""No event ends a stream that has not finished."""

_UNSPECIFIED = "UNSPECIFIED"
_COUNTS = b'TokenCount"'
_PLAIN = b"data: {"
_LF, _CR = 10, 13
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Parser(BaseParser):
    """One Gemini stream, or one answer."""

    __slots__ = ("_alternative", "_alternatives", "_choices", "_finished_choices", "_index", "_uncounted")

    transitions = _TRANSITIONS

    def __init__(self, emitter: Emitter, *, scope: str, event_bytes_max: int) -> None:
        super().__init__(emitter, scope=scope, event_bytes_max=event_bytes_max)
        asked = emitter.opening.conversation
        self._choices = max(asked.choices, 1)
        self._finished_choices = 0
        self._index = 0
        self._alternative = Alternative(self.emitter, self.scope)
        self._alternatives = {0: self._alternative}
        self._uncounted = b""
        """The last chunk that reports usage, or that of it, while it is not decoded."""

    @property
    def usage(self) -> Usage | None:
        """The tokens of the answer so far; marked as estimated when the upstream did not count."""
        self._count()
        return super().usage

    # -- payloads ------------------------------------------------------------------------------------------------------

    def _plain(self, event: bytes) -> bool:
        if event[:7] != _PLAIN or _LF in event or _CR in event:
            return False
        payload = event[6:]
        try:
            chunk = decode_plain(payload)
        except _REFUSALS:
            return False
        candidate = chunk.candidates[0]
        part = candidate.content.parts[0]
        text = part.text
        if not text or candidate.index != self._index:
            return False
        if not self._alternative.plain_text(text, thought=part.thought):
            return False
        if chunk.usage_metadata is not None:
            self._uncounted = payload
        return True

    def _payload(self, payload: bytes, name: bytes) -> None:
        try:
            chunk: Chunk | None = decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            chunk = self._other_payload(payload)
        if chunk is not None:
            failure = self._chunk(chunk)
            if failure is not None:
                self._fail(failure)

    def _other_payload(self, payload: bytes) -> Chunk | None:
        text = payload.strip()
        if not text:
            return None
        if text == END_MARK:
            # Alone it proves nothing; behind the finish nothing follows it.
            if self.stage is Stage.FINISHED:
                self._complete()
            return None
        chunk = read_chunk(text)
        if chunk is None:
            self._fail(not_this_dialect(text, "a chunk"))
        return chunk

    def _answer(self, body: bytes) -> Failure | None:
        chunk = read_chunk(body)
        if chunk is None:
            return not_this_dialect(body, "an answer")
        failure = self._chunk(chunk)
        if failure is not None:
            return failure
        if not chunk.candidates and self._alternative.reason is None:
            message = "The upstream answered without any candidate."
            return Failure(502, Kind.UPSTREAM, message, code="empty_answer")
        self._tell_the_rest()
        return None

    def _chunk(self, chunk: Chunk) -> Failure | None:
        """Tell what a chunk says; return the failure it is."""
        if chunk.error is not NOTHING and says(chunk.error):
            return read_error(chunk.error)
        if _COUNTS in bytes(chunk.usage_metadata):
            self._uncounted = b'{"usageMetadata":%b}' % bytes(chunk.usage_metadata)
        if not self.content and (chunk.candidates or chunk.response_id):
            self._begin_answer(chunk.response_id or "", chunk.model_version or "")
            # An emitter may have a use for the size of the prompt before anything else.
            self._count()
        for candidate in chunk.candidates or ():
            failure = self._candidate(candidate, odd=type(chunk) is OddChunk)
            if failure is not None:
                return failure
        if chunk.prompt_feedback is not None:
            self._feedback(chunk.prompt_feedback)
        return None

    def _feedback(self, feedback: Feedback) -> None:
        """The prompt was blocked: whatever was asked for, nothing comes any more."""
        if _names_a_reason(feedback.block_reason):
            for alternative in self._alternatives.values():
                alternative.reason, alternative.explanation = Reason.FILTER, feedback.block_reason_message
            self._finished()

    def _count(self) -> None:
        """Report the usage that was noted last."""
        if self._uncounted:
            chunk, self._uncounted = read_chunk(self._uncounted), b""
            usage = read_usage(chunk.usage_metadata) if chunk is not None else None
            if usage is not None:
                self.emitter.usage_report(usage)

    # -- candidates ----------------------------------------------------------------------------------------------------

    def _candidate(self, candidate: Candidate, *, odd: bool) -> Failure | None:
        index = candidate.index or 0
        if index != self._index:
            self._turn_to(index)
        alternative, content = self._alternative, candidate.content
        if odd:
            alternative.expect_halves()
        if content is not None and content.parts:
            for part in content.parts:
                alternative.part(part)
        metadata, recitations = candidate.grounding_metadata, candidate.citation_metadata
        if metadata is not NOTHING or recitations is not NOTHING:
            alternative.grounding(metadata, recitations)
        word = candidate.finish_reason
        if word and _names_a_reason(word):
            return self._finish(alternative, word.upper(), candidate.finish_message)
        return None

    def _turn_to(self, index: int) -> None:
        alternative = self._alternatives.get(index)
        if alternative is None:
            alternative = self._alternatives[index] = Alternative(self.emitter, self.scope)
        self._index, self._alternative = index, alternative
        self.emitter.alternative(index)

    def _finish(self, alternative: Alternative, word: str, message: str | None) -> Failure | None:
        if word in FAILURES:
            message = message or f"The upstream's model failed to write its answer ({word})."
            return Failure(502, Kind.UPSTREAM, message, code=word.lower())
        if alternative.reason is None:
            self._finished_choices += 1
            if self._finished_choices >= self._choices:
                self._finished()
        alternative.reason, alternative.explanation = REASONS.get(word, Reason.OTHER), message
        return None

    # -- the end -------------------------------------------------------------------------------------------------------

    def _complete(self) -> bytes:
        self._begin_answer()
        self._tell_the_rest()
        return super()._complete()

    def _tell_the_rest(self) -> None:
        """Tell what waited for the end: sources, usage, why it ended."""
        self._begin_answer()
        self._count()
        for index, alternative in self._alternatives.items():
            self.emitter.alternative(index)
            alternative.end()

    # -- the tap's hooks -----------------------------------------------------------------------------------------------

    def _answer_failure(self, document: bytes) -> Failure | None:
        """Return the error that a document outside of any event is, alone or wrapped in a list."""
        chunk = read_chunk(document) or read_chunk(document.strip().removeprefix(b"[").removesuffix(b"]"))
        return read_error(chunk.error) if chunk is not None and says(chunk.error) else None

    def _block_without_payload(self, block: bytes) -> bytes:
        """Raw JSON is how Google's servers report a late error; behind the finish any other proves nothing."""
        if self.stage is Stage.FINISHED and self._answer_failure(block) is None:
            return b""
        return super()._block_without_payload(block)

    def _last_block(self, rest: bytes) -> bytes:
        block = rest.lstrip(b"\r\n")
        if not block or (sse.payload(block) is None and self._answer_failure(block) is None):
            # Cut JSON is no garbage: it is an end that came too early.
            return b""
        return super()._last_block(block)


def open_parser(emitter: Emitter, *, scope: str, event_bytes_max: int) -> Parser:
    """Return the parser of one upstream's stream or answer; `scope` is where signatures in it are good."""
    return Parser(emitter, scope=scope, event_bytes_max=event_bytes_max)


def _names_a_reason(word: str | None) -> bool:
    return bool(word) and not (word or "").upper().endswith(_UNSPECIFIED)
