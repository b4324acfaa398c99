"""The blocks of a Messages answer on its way into another dialect: what is open, and what its deltas are told as.

Decided here:

- blocks are told apart by `index`, and a delta counts whatever else is open: a late signature is a signed item of its
  own, the same signature twice is one (B28);
- a tool's input may come in deltas, or whole in the block's start, or both; the deltas count then;
- a call that stopped is closed by the next block or by the end, not by its own stop: whether `max_tokens` cut its
  arguments is known only then;
- sources belong to the whole block they stand in, so they are named at its stop;
- what the upstream's own tools did is told for its web search alone; blocks of types that only this vendor's clients
  understand (results, containers, compaction) are left out;
- halves of characters are joined per block.
"""

from enum import Enum

from msgspec import Raw

from adapters import lenient
from adapters.dialects.messages_document import items, members, text, word
from adapters.emitter import Emitter
from adapters.operations import Citation
from adapters.raw import NOTHING, says
from adapters.signatures import Signature
from adapters.surrogates import Joiner, mended

DIALECT = "messages"

REDACTED = "redacted"
"""The kind of a signature that stands for a whole hidden block."""


class Block(Enum):
    """What a block holds, for whoever reads its deltas."""

    TEXT = "text"
    THINKING = "thinking"
    REDACTED = "redacted_thinking"
    CALL = "tool_use"
    SERVER_CALL = "server_tool_use"
    IGNORED = "ignored"


_TEXT, _THINKING, _REDACTED, _CALL, _SERVER_CALL, _IGNORED = Block
_BLOCKS = {block.value: block for block in Block if block is not _IGNORED}


class _Open:
    """An open block. `key` names a call, `given` is the input that stood in its start, until deltas come instead."""

    __slots__ = ("begins_at", "block", "citations", "given", "key", "name", "pieces")

    def __init__(self, block: Block, key: int, begins_at: int) -> None:
        self.block = block
        self.key = key
        self.begins_at = begins_at
        self.citations: list[Raw] = []
        self.given = ""
        self.name = ""
        self.pieces: list[str] = []


class Blocks:
    """The open blocks of one answer, told to its emitter. Never raises."""

    __slots__ = ("_calls", "_emitter", "_joined", "_open", "_scope", "_signature", "_stopped_call", "joiner", "said")

    def __init__(self, emitter: Emitter, scope: str) -> None:
        self._emitter = emitter
        self._scope = scope
        self._open: dict[int, _Open] = {}
        self._calls = 0
        self._stopped_call: int | None = None
        """The key of a call that has stopped and is not closed yet."""
        self._signature = ""
        """The last one, to know it when it comes again."""
        self._joined = (-1, _IGNORED)
        self.said = 0
        """How many characters of text there were."""
        self.joiner: Joiner | None = None
        """Only while half a character is held, of the block and kind in `_joined`."""

    def start(self, index: int, block: dict[str, Raw]) -> None:
        """Open a block, with what it holds already."""
        if index in self._open:
            self.stop(index)
        self._close_stopped_call()
        self._flush()
        kind = _BLOCKS.get(word(block, "type"), _IGNORED)
        opened = self._open[index] = _Open(kind, self._calls, self.said)
        if kind is _TEXT:
            self._say(index, kind, text(block.get("text", NOTHING)))
            opened.citations += items(block.get("citations", NOTHING))
        elif kind is _THINKING:
            self._emitter.reasoning_open()
            self._say(index, kind, text(block.get("thinking", NOTHING)))
            self._sign(index, word(block, "signature"))
        elif kind is _REDACTED:
            self._emitter.reasoning_open()
            if data := word(block, "data"):
                self._emitter.reasoning_sign(Signature(DIALECT, self._scope, data, kind=REDACTED))
        elif kind is _CALL or kind is _SERVER_CALL:
            self._calls += 1
            opened.name = word(block, "name")
            given = block.get("input", NOTHING)
            # As it was written: its bytes are the arguments.
            opened.given = bytes(given).decode("utf-8", "replace") if says(given) else ""
            if kind is _CALL:
                self._emitter.call_open(opened.key, word(block, "id"), opened.name)

    def delta(self, index: int, delta: dict[str, Raw]) -> None:
        """Take a delta of a block, open or not."""
        kind = word(delta, "type")
        if kind == "text_delta":
            self._say(index, _TEXT, text(delta.get("text", NOTHING)))
        elif kind == "thinking_delta":
            self._say(index, _THINKING, text(delta.get("thinking", NOTHING)))
        elif kind == "input_json_delta":
            self._say(index, _CALL, text(delta.get("partial_json", NOTHING)))
        elif kind == "citations_delta" and index in self._open:
            self._open[index].citations.append(delta.get("citation", NOTHING))
        self._sign(index, word(delta, "signature"))

    def stop(self, index: int) -> None:
        """Stop a block; nothing if it is not open."""
        self._flush()
        opened = self._open.pop(index, None)
        if opened is None:
            return
        kind = opened.block
        if kind is _TEXT:
            self._cite(opened)
        elif kind is _THINKING or kind is _REDACTED:
            self._emitter.reasoning_close()
        elif kind is _CALL:
            self._emitter.call_arguments(opened.key, opened.given)
            self._stopped_call = opened.key
        elif kind is _SERVER_CALL and opened.name == "web_search":
            self._emitter.hosted("web_search", {"query": _query("".join(opened.pieces) or opened.given)})

    def stop_all(self) -> None:
        """Stop what the upstream left open: nothing more belongs to it."""
        self._flush()
        for index in list(self._open):
            self.stop(index)

    def _close_stopped_call(self) -> None:
        if self._stopped_call is not None:
            self._emitter.call_close(self._stopped_call)
            self._stopped_call = None

    def input(self, index: int, fragment: str) -> None:
        """Take a piece of a tool's input."""
        opened = self._open.get(index)
        if opened is None or not fragment:
            return
        opened.given = ""
        if opened.block is _CALL:
            self._emitter.call_arguments(opened.key, fragment)
        elif opened.block is _SERVER_CALL:
            opened.pieces.append(fragment)

    def _sign(self, index: int, value: str) -> None:
        if not value or value == self._signature:
            return
        self._signature = value
        self._emitter.reasoning_sign(Signature(DIALECT, self._scope, value))
        if index not in self._open:
            self._emitter.reasoning_close()

    def _cite(self, opened: _Open) -> None:
        """Name the sources of a block that have an address; the others are documents of the request's own."""
        for raw in opened.citations:
            citation = members(raw)
            url = word(citation, "url") or word(citation, "source")
            if url:
                title, cited = word(citation, "title"), word(citation, "cited_text")
                self._emitter.cite(Citation(url, title, opened.begins_at, self.said, cited))

    # -- text, in whatever pieces it comes -----------------------------------------------------------------------------

    def _say(self, index: int, kind: Block, piece: str) -> None:
        """Tell a piece of a block, but for half a character at its end."""
        if self.joiner is not None and self._joined != (index, kind):
            self._flush()
        joiner = self.joiner or Joiner()
        piece = joiner.join(piece)
        self.joiner = joiner if joiner.held else None
        self._joined = (index, kind)
        self._tell(piece)

    def _flush(self) -> None:
        """Tell that no other half will come."""
        if self.joiner is not None:
            rest, self.joiner = self.joiner.end(), None
            self._tell(rest)

    def _tell(self, piece: str) -> None:
        index, kind = self._joined
        if kind is _TEXT:
            self.said += len(piece)
            self._emitter.text(piece)
        elif kind is _THINKING:
            self._emitter.reasoning(piece)
        else:
            self.input(index, piece)


def _query(written: str) -> str:
    """Return what a search was for, "" when that cannot be read."""
    try:
        value = lenient.decode(written.encode("utf-8", "replace"))
    except lenient.NotJsonError:
        return ""
    query = value.get("query") if isinstance(value, dict) else None
    return mended(query) if isinstance(query, str) else ""
