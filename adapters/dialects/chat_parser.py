"""The parser: a Chat Completions upstream's stream or answer, as operations for a client of another dialect.

It ends where the tap of this dialect ends, and fails where that fails: `[DONE]`, or a finish_reason of every
alternative and the end of the body. Inside of a chunk the order is fixed, because servers put all of it into one (B15):
reasoning, text, refusal, sources and media, calls, finish; usage counts wherever it stands. Chunks without choices say
nothing but usage and errors, and the answer begins with the first chunk that has one, since the chunks in front of it
have no id (B36).

The plain delta is read by one small typed decoding, any other chunk as documented by another (`chat_chunk`). What
belongs to which call is `chat_calls`' to say, what repeats which reasoning `chat_reasoning`'s, what of a character is
still to come `chat_halves`'.
"""

import msgspec
from msgspec import Raw

from adapters import lenient, parser
from adapters.dialects.chat_calls import Calls
from adapters.dialects.chat_chunk import (
    Choice,
    Chunk,
    Delta,
    ToolCall,
    read_leniently,
    read_plainly,
    read_strictly,
)
from adapters.dialects.chat_errors import finish_error, nothing_said, read_error
from adapters.dialects.chat_halves import Halves
from adapters.dialects.chat_reasoning import Thoughts, entries, word
from adapters.dialects.chat_usage import read_usage
from adapters.emitter import Emitter
from adapters.errors import Failure, Kind
from adapters.event_tap import Stage
from adapters.operations import Citation, Reason
from adapters.parser import END_MARK
from adapters.raw import NOTHING, says
from adapters.upstream_errors import not_this_dialect
from adapters.usage import count

REASONS = {
    "stop": Reason.END,
    "eos": Reason.END,
    "end_turn": Reason.END,
    "stop_sequence": Reason.STOP_SEQUENCE,
    "length": Reason.LENGTH,
    "max_tokens": Reason.LENGTH,
    "model_length": Reason.CONTEXT_FULL,
    "tool_calls": Reason.TOOL,
    "function_call": Reason.TOOL,
    "tool_use": Reason.TOOL,
    "content_filter": Reason.FILTER,
    "refusal": Reason.REFUSAL,
}
"""The documented reasons, and what compatible servers say instead: Mistral's model_length, names of other dialects.
Every other one is OTHER."""

FINISH_ERROR = "error"
OUT_OF_RESOURCES = "insufficient_system_resource"
"""DeepSeek: the answer was interrupted for want of capacity (API reference, finish_reason)."""

AUDIO_MEDIA_TYPE = "audio/pcm"
"""The only form in which sound is streamed (OpenAI's guide to audio)."""

_CONTENT = Stage.CONTENT
_DATA = b"data: "
_DATA_AT = len(_DATA)
_LF = b"\n"[0]
"""As a number: bytes are searched for it in a quarter of the time."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Alternative:
    """One alternative: its calls, its reasoning, whether it has declined and ended."""

    __slots__ = ("calls", "cited", "index", "is_finished", "refused", "thoughts")

    def __init__(self, index: int, scope: str) -> None:
        self.index = index
        self.calls = Calls()
        self.thoughts = Thoughts(scope)
        self.refused = False
        self.is_finished = False
        self.cited: set[Citation] = set()


class Parser(parser.Parser):
    """One stream, or one answer; see `adapters.parser`."""

    __slots__ = ("_alternatives", "_choices", "_citations", "_current", "_halves")

    def __init__(self, emitter: Emitter, *, scope: str, event_bytes_max: int) -> None:
        super().__init__(emitter, scope=scope, event_bytes_max=event_bytes_max)
        self._choices = emitter.opening.conversation.choices
        self._current = _Alternative(0, scope)
        self._alternatives = {0: self._current}
        self._citations = NOTHING
        self._halves = Halves()

    # -- the parser's hooks --------------------------------------------------------------------------------------------

    def _plain(self, event: bytes) -> bool:
        alternative = self._current
        if self._halves.joiners or alternative.index or not event.startswith(_DATA):
            return False
        payload = event[_DATA_AT:]
        if _LF in payload:
            return False
        try:
            delta = read_plainly(payload).choices[0].delta
        except _UNREADABLE:
            return False
        if delta.reasoning_content:
            alternative.thoughts.take_text(delta.reasoning_content, self.emitter)
        if delta.content:
            self.emitter.text(delta.content)
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._call(alternative, call)
        return True

    def _payload(self, payload: bytes, name: bytes) -> None:
        try:
            chunk = read_strictly(payload)
            if self._halves.joiners:
                self._halves.join(chunk)
        except _UNREADABLE:
            lenient_chunk = self._odd(payload)
            if lenient_chunk is None:
                return
            chunk = lenient_chunk
        if chunk.error is not NOTHING and says(chunk.error):
            self._fail(read_error(chunk.error))
            return
        if chunk.usage is not NOTHING:
            self._count(chunk.usage)
        if chunk.choices:
            self._begin_answer(chunk.id or "", chunk.model or "", chunk.created or 0)
            for choice in chunk.choices:
                failure = self._choice(choice, choice.delta or choice.message)
                if failure is not None:
                    self._fail(failure)
                    return
        if chunk.citations is not NOTHING:
            self._cite_addresses(chunk.citations)
        self._note_finished()

    def _answer(self, body: bytes) -> Failure | None:
        try:
            answer: Chunk | None = read_strictly(body)
        except _UNREADABLE:
            answer = read_leniently(body)
            if answer is not None:
                self._halves.join(answer)
        if answer is None:
            return not_this_dialect(body, "an answer")
        if says(answer.error):
            return read_error(answer.error)
        if not answer.choices:
            return nothing_said()
        self._begin_answer(answer.id or "", answer.model or "", answer.created or 0)
        if says(answer.usage):
            self._count(answer.usage)
        for choice in answer.choices:
            failure = self._choice(choice, choice.message or choice.delta, whole=True)
            if failure is not None:
                return failure
        self._cite_addresses(answer.citations)
        self._flush()
        return None

    def _answer_failure(self, document: bytes) -> Failure | None:
        stripped = document.strip()
        read = read_leniently(stripped) or read_leniently(stripped.removeprefix(b"[").removesuffix(b"]"))
        if read is None:
            return None
        if says(read.error):
            return read_error(read.error)
        return next((read_error(choice.error) for choice in read.choices or () if says(choice.error)), None)

    def _complete(self) -> bytes:
        self._begin_answer()
        self._flush()
        return super()._complete()

    # -- what chunks say -----------------------------------------------------------------------------------------------

    def _odd(self, payload: bytes) -> Chunk | None:
        """Take a payload that is no chunk as documented; return the chunk it is all the same."""
        stripped = payload.strip()
        if stripped == END_MARK:
            if self.stage is Stage.OPENING and not any(each.is_finished for each in self._alternatives.values()):
                self._fail(nothing_said())
            else:
                self._complete()
            return None
        chunk = read_leniently(payload)
        if chunk is not None:
            self._halves.join(chunk)
        elif stripped and self.stage is not Stage.FINISHED:
            self._fail(not_this_dialect(payload, "a chunk"))
        return chunk

    def _choice(self, choice: Choice, delta: Delta | None, *, whole: bool = False) -> Failure | None:
        """Tell what one alternative says; return the error it really is."""
        if choice.error is not NOTHING and says(choice.error):
            return read_error(choice.error)
        alternative = self._current
        if choice.index != alternative.index:
            alternative = self._turn_to(choice.index)
        if delta is not None:
            emitter = self.emitter
            if delta.reasoning_content or delta.reasoning or delta.reasoning_details is not NOTHING:
                alternative.thoughts.take(delta, emitter)
            if delta.content:
                emitter.text(delta.content)
            if delta.refusal:
                alternative.refused = True
                emitter.refusal(delta.refusal)
            if (
                delta.annotations is not NOTHING
                or delta.images is not NOTHING
                or delta.audio is not NOTHING
                or delta.extra_content is not NOTHING
            ):
                self._rarities(alternative, delta)
            for call in delta.tool_calls or ():
                self._call(alternative, call, whole=whole)
            if delta.function_call is not None:
                alternative.calls.take_function_call(delta.function_call, emitter)
        if choice.usage is not NOTHING:
            self._count(choice.usage)
        return self._end_of(alternative, choice) if choice.finish_reason else None

    def _turn_to(self, index: int) -> _Alternative:
        alternative = self._alternatives.get(index)
        if alternative is None:
            alternative = self._alternatives[index] = _Alternative(index, self.scope)
        self._current = alternative
        self.emitter.alternative(index)
        return alternative

    def _call(self, alternative: _Alternative, call: ToolCall, *, whole: bool = False) -> None:
        if call.extra_content is not NOTHING:
            alternative.thoughts.sign(call.extra_content, self.emitter)
        if whole:
            alternative.calls.take_whole(call, self.emitter)
        else:
            alternative.calls.take(call, self.emitter)

    def _end_of(self, alternative: _Alternative, choice: Choice) -> Failure | None:
        """Note why an alternative ended; return the error that some reasons are."""
        said = choice.finish_reason or ""
        if said == FINISH_ERROR:
            return finish_error()
        if said == OUT_OF_RESOURCES:
            message = "The upstream interrupted the answer for want of resources."
            return Failure(503, Kind.OVERLOADED, message, code=OUT_OF_RESOURCES)
        if alternative.calls.nameless():
            message = "The upstream sent a tool call without a name."
            return Failure(502, Kind.UPSTREAM, message, code="upstream_protocol_error")
        reason = REASONS.get(said, Reason.OTHER)
        sequence = None
        if reason is Reason.END and alternative.refused:
            reason = Reason.REFUSAL
        elif reason is Reason.END and choice.stop_reason is not NOTHING:
            sequence = self._stop_met(choice.stop_reason)
        alternative.is_finished = True
        self.emitter.finish(Reason.STOP_SEQUENCE if sequence else reason, sequence)
        return None

    def _stop_met(self, raw: Raw) -> str | None:
        """Return the stop sequence that a choice names, if it is one that was asked for."""
        try:
            value = lenient.decode(raw)
        except lenient.NotJsonError:
            return None
        return value if isinstance(value, str) and value in self.emitter.opening.conversation.stop else None

    def _note_finished(self) -> None:
        stage = self.stage
        if stage is not _CONTENT and stage is not Stage.OPENING:
            return
        if not self._current.is_finished and self._choices == 1:
            return
        if sum(each.is_finished for each in self._alternatives.values()) >= self._choices:
            self._finished()

    def _count(self, raw: Raw) -> None:
        usage = read_usage(raw) if says(raw) else None
        if usage is not None:
            self.emitter.usage_report(usage)

    def _flush(self) -> None:
        """Say what is left of texts that end in half a character."""
        emitter = self.emitter
        said = {"content": emitter.text, "refusal": emitter.refusal}
        for index, channel, rest in self._halves.rests():
            self._turn_to(index)
            said.get(channel, emitter.reasoning)(rest)

    # -- what few chunks say -------------------------------------------------------------------------------------------

    def _rarities(self, alternative: _Alternative, delta: Delta) -> None:
        emitter = self.emitter
        for note in entries(delta.annotations):
            source = note.get("url_citation")
            if isinstance(source, dict) and word(source.get("url")):
                start, end = count(source.get("start_index")), count(source.get("end_index"))
                words = word(source.get("url")), word(source.get("title")), start, end, word(source.get("content"))
                self._cite(alternative, Citation(*words))
        for image in entries(delta.images):
            address = image.get("image_url")
            url = word(address.get("url") if isinstance(address, dict) else address)
            head, _, content = url.partition(";base64,")
            if content and head.startswith("data:"):
                emitter.blob(head.removeprefix("data:"), content)
            elif url:
                self._cite(alternative, Citation(url))
        for sound in entries(Raw(b"[%b]" % bytes(delta.audio))):
            emitter.text(word(sound.get("transcript")))
            if word(sound.get("data")):
                emitter.blob(AUDIO_MEDIA_TYPE, word(sound.get("data")))
        if delta.extra_content is not NOTHING:
            alternative.thoughts.sign(delta.extra_content, emitter)

    def _cite(self, alternative: _Alternative, citation: Citation) -> None:
        """Name a source once: some servers repeat all of them."""
        if citation not in alternative.cited:
            alternative.cited.add(citation)
            self.emitter.cite(citation)

    def _cite_addresses(self, raw: Raw) -> None:
        """Take a list of addresses for the whole answer, which some servers repeat on every chunk."""
        if not says(raw) or bytes(raw) == bytes(self._citations):
            return
        self._citations = Raw(bytes(raw))
        try:
            addresses = lenient.decode(raw)
        except lenient.NotJsonError:
            return
        self._begin_answer()
        alternative = self._turn_to(0)
        for address in addresses if isinstance(addresses, list) else ():
            if word(address):
                self._cite(alternative, Citation(word(address)))


def open_parser(emitter: Emitter, *, scope: str, event_bytes_max: int) -> Parser:
    """Return the parser of one answer."""
    return Parser(emitter, scope=scope, event_bytes_max=event_bytes_max)
