"""What upstreams send: composed streams, the same answers whole, and what any client must understand of them.

A `Case` is one answer of one upstream. Its `seen` is in neutral words: blocks in the order the upstream said them,
`finish` one of the neutral reasons ("end", "stop_sequence", "length", "context_full", "tool", "filter", "refusal",
"pause", "other"), and None where the upstream did not come to an end. `read_as` says the same in a client's words.

The cases stand in one module a dialect; `cases.CASES` are all of them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.translation import seen as words
from tests.translation.seen import Block, Counts, Seen

NAMED = {"responses", "messages"}
"""Dialects whose events have an `event:` line."""

Dump = Callable[[Any], str]


@dataclass(frozen=True)
class Raw:
    """Bytes of a stream that are no event: comments."""

    text: str


@dataclass(frozen=True)
class Case:
    """One answer. A payload is a JSON value, or text that stands behind `data:` as it is, or `Raw`.

    `unary` is the same answer whole, None where it cannot be whole or says less. `sdk` is False for what the vendor's
    own SDK does not read as meant: the streams of imitators.
    """

    name: str
    dialect: str
    payloads: tuple[Any, ...]
    seen: Seen
    unary: dict[str, Any] | None = None
    sdk: bool = True

    def __str__(self) -> str:
        return f"{self.dialect}: {self.name}"

    def stream(self, until: int | None = None) -> bytes:
        """Return the stream, or its first `until` payloads, as the vendor writes it."""
        return written(self.dialect, self.payloads[:until])

    @property
    def body(self) -> bytes:
        """The whole answer's body."""
        assert self.unary is not None
        return compact(self.unary).encode()

    @property
    def is_cut(self) -> bool:
        """Whether the upstream neither came to an end nor told of an error."""
        return self.seen.finish is None and self.seen.error is None


def compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def written(dialect: str, payloads: tuple[Any, ...], dump: Dump = compact, end: str = "\n") -> bytes:
    """Return a stream with these line ends."""
    return "".join(event(dialect, payload, dump, end) for payload in payloads).encode()


def event(dialect: str, payload: Any, dump: Dump = compact, end: str = "\n") -> str:
    if isinstance(payload, Raw):
        return payload.text.replace("\n", end)
    name = f"event: {payload['type']}{end}" if dialect in NAMED and isinstance(payload, dict) else ""
    return f"{name}data: {dump(payload)}{end}{end}"


# -- a client's words --

FINISH: dict[str, dict[str, str]] = {
    "chat": {
        "end": "stop",
        "stop_sequence": "stop",
        "length": "length",
        "context_full": "length",
        "tool": "tool_calls",
        "filter": "content_filter",
        "refusal": "content_filter",
        "pause": "stop",
        "other": "stop",
    },
    "responses": {
        "end": "completed",
        "stop_sequence": "completed",
        "length": "incomplete/max_output_tokens",
        "context_full": "incomplete/max_output_tokens",
        "tool": "completed",
        "filter": "incomplete/content_filter",
        "refusal": "incomplete/content_filter",
        "pause": "completed",
        "other": "completed",
    },
    "messages": {
        "end": "end_turn",
        "stop_sequence": "stop_sequence",
        "length": "max_tokens",
        "context_full": "model_context_window_exceeded",
        "tool": "tool_use",
        "filter": "refusal",
        "refusal": "refusal",
        "pause": "pause_turn",
        "other": "end_turn",
    },
    "gemini": {
        "end": "STOP",
        "stop_sequence": "STOP",
        "length": "MAX_TOKENS",
        "context_full": "MAX_TOKENS",
        "tool": "STOP",
        "filter": "SAFETY",
        "refusal": "SAFETY",
        "pause": "STOP",
        "other": "OTHER",
    },
}


def read_as(dialect: str, seen: Seen) -> Seen:
    """Return what a client of the dialect understands of an answer told to it in full.

    Signatures stay as they are: which token stands for one is not told here, only whether there is any.
    """
    return replace(
        seen,
        blocks=_blocks_as(dialect, seen),
        finish=_finish_as(dialect, seen),
        stop_sequence=seen.stop_sequence if dialect == "messages" else None,
        usage=_usage_as(dialect, seen.usage),
        choices=tuple(replace(read_as(dialect, choice), usage=None) for choice in seen.choices),
    )


def _blocks_as(dialect: str, seen: Seen) -> tuple[Block, ...]:
    if dialect == "chat":
        return words.grouped(seen.blocks)
    if dialect == "responses":
        return words.merged(seen.blocks)
    blocks = [(words.TEXT, block[1]) if block[0] == words.REFUSAL else block for block in seen.blocks]
    if dialect == "messages":
        return words.merged(block for block in blocks if block[0] != words.BLOB)
    return words.merged(block for block in blocks if not is_cut_call(block))


def is_cut_call(block: Block) -> bool:
    """Whether it is a call whose arguments are not JSON."""
    return block[0] == words.CALL and isinstance(block[3], str)


def _finish_as(dialect: str, seen: Seen) -> str | None:
    if seen.finish is None:
        return None
    if seen.finish == "refusal" and seen.of(words.REFUSAL) and dialect in {"chat", "responses"}:
        return FINISH[dialect]["end"]
    return FINISH[dialect][seen.finish]


def _usage_as(dialect: str, usage: Counts | None) -> Counts | None:
    return replace(usage, cache_write=0) if usage is not None and dialect == "gemini" else usage
