"""What a client understood of an answer, in one form for all four dialects.

`Seen` is the currency of these tests: a case says what must be understood in neutral words, the official SDKs and our
own readers say what was, and the two are compared. It holds only what a caller of an SDK could act on: content in
order, calls, how it ended, what it cost, what went wrong. Ids of messages, timestamps and the cutting of deltas are
not in it.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

DIALECTS = ("chat", "responses", "messages", "gemini")

Block = tuple[Any, ...]
"""("reasoning", text), ("text", text), ("refusal", text), ("call", id, name, arguments) or ("blob", mime, bytes)."""

REASONING, TEXT, REFUSAL, CALL, BLOB = "reasoning", "text", "refusal", "call", "blob"


class MisunderstoodError(AssertionError):
    """What was to be read is nothing that an official SDK would take, or it contradicts itself."""


@dataclass(frozen=True)
class Counts:
    """Tokens in the normal form: totals contain their parts."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Fault:
    """The error that an SDK raised, as far as its dialect tells: a member it has not is None."""

    message: str
    type: str | None = None
    code: str | int | None = None
    status: int | None = None


@dataclass(frozen=True)
class Seen:
    """One answer as understood.

    `finish` is None where the end was not told. `signatures` are opaque tokens in order of appearance, redacted
    reasoning among them. `citations` are the distinct addresses or titles cited, in order. `choices` are the further
    answers of a request for several.
    """

    blocks: tuple[Block, ...] = ()
    finish: str | None = None
    stop_sequence: str | None = None
    usage: Counts | None = None
    signatures: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()
    choices: tuple["Seen", ...] = ()
    error: Fault | None = None

    def of(self, kind: str) -> list[Block]:
        """Return the blocks of one kind, in order."""
        return [block for block in self.blocks if block[0] == kind]


def reasoning(text: str) -> Block:
    return (REASONING, text)


def text(text: str) -> Block:
    return (TEXT, text)


def refusal(text: str) -> Block:
    return (REFUSAL, text)


def call(id: str | None, name: str, arguments: Any) -> Block:  # noqa: A002
    """Return a call; `arguments` are text as streamed. An id of None is any id, in what a case expects."""
    return (CALL, id, name, parsed(arguments) if isinstance(arguments, str) else arguments)


def blob(mime: str, size: int) -> Block:
    return (BLOB, mime, size)


def parsed(arguments: str) -> Any:
    """Return arguments as the JSON they are, or, where they are broken, as the text they are."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def merged(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Join neighbours that differ only by where they were cut, and leave out what is empty."""
    out: list[Block] = []
    for block in blocks:
        if block[0] in {TEXT, REASONING, REFUSAL}:
            if not block[1]:
                continue
            if out and out[-1][0] == block[0]:
                out[-1] = (block[0], out[-1][1] + block[1])
                continue
        out.append(block)
    return tuple(out)


def distinct(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the non-empty texts among `values`, each once, in order."""
    return tuple(dict.fromkeys(value for value in values if isinstance(value, str) and value))


def grouped(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Order blocks as a dialect sees them whose message has one member for each kind: all of one kind together."""
    order = {REASONING: 0, TEXT: 1, REFUSAL: 2, BLOB: 3, CALL: 4}
    return merged(sorted(blocks, key=lambda block: order[block[0]]))


def size_of_base64(data: str) -> int:
    """Return how many bytes base64 text holds, in either alphabet, padded or not."""
    return len(base64.b64decode(data.replace("-", "+").replace("_", "/") + "=" * (-len(data) % 4), validate=True))
