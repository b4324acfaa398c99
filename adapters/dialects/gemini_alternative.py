"""One alternative of a Gemini answer: its parts as operations on the emitter, in the order they can be told.

What this dialect leaves to be decided, and how it is decided here:

- A signature stands on the part it belongs to (a call, text, a blob), and is told as a reasoning item of its own right
  before that part; behind thoughts that are still open it is theirs. On an empty text it waits for what comes next, so
  that it stands behind the text and its sources.
- A call comes whole. One whose id was seen is the same call sent again, extended perhaps: a call with an id waits for
  the next part, so that its last version counts. Calls without an id are all different. Arguments that are streamed
  path by path (Vertex) are put together first; what the end of the answer cut stays visibly cut.
- Sources and searches are told at the end, since chunks before and behind the finish may bring them.
- Text that was cut inside a character waits for the other half. Pictures among thoughts are not for the client.

Which alternative the emitter is at, and when the end is, the parser says.
"""

from typing import NamedTuple

from msgspec import Raw

from adapters import lenient
from adapters.dialects.gemini_chunk import Part, PartialCall
from adapters.dialects.gemini_grounding import Grounding, Offsets
from adapters.dialects.gemini_signatures import DIALECT, ON_EMPTY, ON_THOUGHT
from adapters.emitter import Emitter
from adapters.operations import CUT_SHORT, Reason
from adapters.raw import says
from adapters.signatures import Signature
from adapters.surrogates import Joiner
from adapters.tool_calls.argument_paths import Assembler

_NO_ARGUMENTS = frozenset({b"", b"null"})


class _Held(NamedTuple):
    """A call that may be sent again."""

    key: int
    id: str
    arguments: str


class _Halves:
    """The halves of characters that the two channels of text hold."""

    __slots__ = ("text", "thought")

    def __init__(self) -> None:
        self.text = Joiner()
        self.thought = Joiner()


class Alternative:
    """One alternative; the emitter must be at it whenever a method is called. `reason` is the last one given."""

    __slots__ = (
        "_assembler",
        "_calls",
        "_emitter",
        "_grounding",
        "_halves",
        "_held",
        "_ids",
        "_offsets",
        "_scope",
        "_signature",
        "explanation",
        "reason",
    )

    def __init__(self, emitter: Emitter, scope: str) -> None:
        self.reason: Reason | None = None
        self.explanation: str | None = None
        self._emitter = emitter
        self._scope = scope
        self._assembler: Assembler | None = None
        """Of the call whose arguments are streamed: the last one opened."""
        self._calls = 0
        self._grounding: Grounding | None = None
        self._halves: _Halves | None = None
        self._held: _Held | None = None
        self._ids: set[str] = set()
        self._offsets = Offsets(keep=emitter.opening.conversation.web_search is not None)
        self._signature: str | None = None
        """One that stood on an empty text."""

    def __repr__(self) -> str:
        return f"<Alternative with {self._calls} calls, {self.reason}>"

    def expect_halves(self) -> None:
        """Note that texts may be cut inside a character from here."""
        if self._halves is None:
            self._halves = _Halves()

    def part(self, part: Part) -> None:
        """Tell a part."""
        text, signature = part.text, part.thought_signature
        if text and not part.thought:
            self._let_go()
            if signature:
                self._sign(signature)
            self._text(text if self._halves is None else self._joined_text(text))
        elif part.thought:
            self._let_go()
            if text:
                self._emitter.reasoning(text if self._halves is None else self._joined_thought(text))
            if signature:
                self._sign(signature, ON_THOUGHT)
        elif part.function_call is not None:
            self._call(part.function_call, signature)
        else:
            self._other_part(part, signature)

    def plain_text(self, text: str, *, thought: bool) -> bool:
        """Tell text if nothing waits that has to go first, and return whether it was told."""
        if self._halves is not None or self._held is not None:
            return False
        if self._assembler is not None or self._signature is not None:
            return False
        if thought:
            self._emitter.reasoning(text)
        else:
            self._offsets.add(text)
            self._emitter.text(text)
        return True

    def grounding(self, metadata: Raw, recitations: Raw) -> None:
        """Note a `groundingMetadata` and a `citationMetadata`; either may say nothing."""
        if says(metadata) or says(recitations):
            if self._grounding is None:
                self._grounding = Grounding()
            self._grounding.add(metadata)
            self._grounding.add_recitations(recitations)

    def end(self) -> None:
        """Tell what waited for the end: a half, a cut call, sources, a signature, the reason."""
        emitter = self._emitter
        self._release_thought()
        self._release_text()
        if self._assembler is not None and self.reason in CUT_SHORT:
            # Without its brace, so that nobody takes it for a whole object.
            text, self._assembler = self._assembler.text(), None
            emitter.call_arguments(self._calls, text[:-1])
        if self._grounding is not None:
            for citation in self._grounding.citations(self._offsets):
                emitter.cite(citation)
            for query in self._grounding.queries:
                emitter.hosted("web_search", {"query": query})
        self._let_go()
        if self.reason is not None:
            emitter.finish(self.reason, None, self.explanation)

    # -- text ----------------------------------------------------------------------------------------------------------

    def _text(self, text: str) -> None:
        self._offsets.add(text)
        self._emitter.text(text)

    def _joined_text(self, text: str) -> str:
        self._release_thought()
        return self._halves.text.join(text) if self._halves is not None else text

    def _joined_thought(self, text: str) -> str:
        self._release_text()
        return self._halves.thought.join(text) if self._halves is not None else text

    def _release_text(self) -> None:
        if self._halves is not None and self._halves.text.held:
            self._text(self._halves.text.end())

    def _release_thought(self) -> None:
        if self._halves is not None and self._halves.thought.held:
            self._emitter.reasoning(self._halves.thought.end())

    # -- what is not text ----------------------------------------------------------------------------------------------

    def _other_part(self, part: Part, signature: str | None) -> None:
        blob = part.inline_data
        code, result = says(part.executable_code), says(part.code_execution_result)
        if not (blob is not None or code or result):
            if signature:
                self._let_go()
                self._signature = signature
            return
        self._let_go()
        if signature:
            self._sign(signature)
        if blob is not None:
            self._emitter.blob(blob.mime_type, blob.data)
        if code:
            self._emitter.hosted("code_execution", _members(part.executable_code))
        if result:
            self._emitter.hosted("code_execution_result", _members(part.code_execution_result))

    def _sign(self, signature: str, kind: str = "") -> None:
        self._emitter.reasoning_sign(Signature(DIALECT, self._scope, signature, kind))
        self._emitter.reasoning_close()

    def _let_go(self) -> None:
        """Tell what waited for the next part."""
        if self._held is not None:
            held, self._held = self._held, None
            self._emitter.call_arguments(held.key, held.arguments)
            self._emitter.call_close(held.key)
        if self._assembler is not None:
            self._close_streamed(self._assembler)
        if self._signature is not None:
            signature, self._signature = self._signature, None
            self._sign(signature, ON_EMPTY)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _call(self, call: PartialCall, signature: str | None) -> None:
        if not call.name:
            if self._assembler is not None:
                self._continue_streamed(self._assembler, call)
            return
        if call.id and call.id in self._ids:
            held, arguments = self._held, _arguments(call)
            if held is not None and held.id == call.id and len(arguments) > len(held.arguments):
                self._held = held._replace(arguments=arguments)
            return
        self._let_go()
        if signature:
            self._sign(signature)
        self._calls += 1
        self._emitter.call_open(self._calls, call.id or "", call.name)
        if call.id:
            self._ids.add(call.id)
        if call.will_continue or call.partial_args:
            self._assembler = Assembler()
            self._continue_streamed(self._assembler, call)
            return
        self._held = _Held(self._calls, call.id or "", _arguments(call))
        if not call.id:
            self._let_go()

    def _continue_streamed(self, assembler: Assembler, call: PartialCall) -> None:
        if call.partial_args:
            assembler.feed(call.partial_args)
        if not call.will_continue:
            self._close_streamed(assembler)

    def _close_streamed(self, assembler: Assembler) -> None:
        self._assembler = None
        self._emitter.call_arguments(self._calls, assembler.text())
        self._emitter.call_close(self._calls)


def _arguments(call: PartialCall) -> str:
    """Return a call's arguments as they were written, "" for none."""
    written = bytes(call.args)
    return "" if written in _NO_ARGUMENTS else written.decode("utf-8", "replace")


def _members(raw: Raw) -> dict[str, object]:
    try:
        value = lenient.decode(raw)
    except lenient.NotJsonError:
        return {}
    return {str(name): member for name, member in value.items()} if isinstance(value, dict) else {}
