"""Our own readers: what `oracle.streamed` says, for the loops that ask ten thousand times.

An SDK takes 1 to 4 ms for a short stream, this a tenth. They read what is emitted to clients and therefore only that
form: LF, one `data: ` line an event, a name where the dialect has names, a blank line at the end. Every fixture of an
upstream is read by both (`test_oracle`), so that they cannot drift apart.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from tests.translation import read_chat, read_gemini, read_messages, read_responses
from tests.translation.seen import MisunderstoodError, Seen

NAMED = {"responses", "messages"}
"""Dialects whose events have an `event:` line, the same as the type."""

_decode = msgspec.json.Decoder().decode
_GATHERED: dict[str, tuple[Callable[[list[Any]], dict[str, Any]], Callable[[dict[str, Any]], Seen]]] = {
    "chat": (read_chat.gathered, read_chat.understood),
    "responses": (read_responses.gathered, read_responses.understood),
    "messages": (read_messages.gathered, read_messages.understood),
    "gemini": (read_gemini.gathered, read_gemini.understood),
}


def understood(dialect: str, stream: bytes) -> Seen:
    """Return what a client of the dialect understands. Raises MisunderstoodError for what an SDK would not take."""
    gathered, read = _GATHERED[dialect]
    return read(gathered(payloads(dialect, stream)))


def payloads(dialect: str, stream: bytes) -> list[Any]:
    """Return the decoded payloads of a stream in the one form that every client takes; `[DONE]` as text."""
    if not stream:
        return []
    if not stream.endswith(b"\n\n"):
        raise MisunderstoodError("the last event has no blank line behind it")
    return [_payload(dialect, block) for block in stream[:-2].split(b"\n\n") if not _is_comment(dialect, block)]


def _is_comment(dialect: str, block: bytes) -> bool:
    return block.startswith(b":") and dialect != "gemini" and b"\n" not in block


def _payload(dialect: str, block: bytes) -> Any:
    name, _, line = block.rpartition(b"\n")
    if not line.startswith(b"data: ") or b"\r" in block:
        raise MisunderstoodError(f"not an event: {block!r}")
    if line == b"data: [DONE]":
        if dialect == "gemini":
            raise MisunderstoodError("[DONE] in a dialect that has none")
        return read_chat.DONE
    payload = _decode(line[6:])
    expected = b"event: " + payload["type"].encode() if dialect in NAMED else b""
    if name != expected:
        raise MisunderstoodError(f"{name!r} where {expected!r} is to stand")
    return payload
