"""Reads Messages as a client does: a stream gathered as the official SDK gathers it, then the message.

Gathering follows `anthropic/lib/streaming/_messages.py`, and refuses what is never to be emitted: a delta for a block
that is not the open one, an index that is not the next, anything behind `message_stop`. Tool input is kept as the
text it came as: the SDK makes an object of half a text, and only the text tells that it was cut.
"""

from typing import Any

from tests.translation import seen
from tests.translation.seen import Counts, Fault, MisunderstoodError, Seen

Document = dict[str, Any]

INPUT_TEXT = "input_text"
"""The member in which a gathered call keeps its input as it came."""
_KEPT_COUNTS = {
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "server_tool_use",
    "output_tokens_details",
}
"""Overwritten by a message_delta only where it says something."""


class Gathering:
    """One message as it grows; `open` is the index of the block that takes deltas."""

    def __init__(self) -> None:
        self.document: Document = {}
        self.open: int | None = None
        self.stopped = False

    def take(self, payload: Document) -> None:
        kind = payload["type"]
        if self.stopped:
            raise MisunderstoodError(f"{kind} behind message_stop")
        if kind == "ping":
            return
        if kind == "error":
            self.document["error"] = payload["error"]
            self.stopped = True
            return
        if (kind == "message_start") == bool(self.document):
            raise MisunderstoodError(f"{kind} out of order")
        if kind == "message_start":
            message = payload["message"]
            self.document = {**message, "usage": dict(message["usage"]), "content": list(message["content"])}
        elif kind == "message_delta":
            self._end(payload)
        elif kind == "message_stop":
            self.stopped = True
        elif kind.startswith("content_block"):
            self._block(kind, payload)

    def _block(self, kind: str, payload: Document) -> None:
        content = self.document["content"]
        if kind == "content_block_start":
            if self.open is not None or payload["index"] != len(content):
                raise MisunderstoodError(
                    f"block {payload['index']} starts, {self.open} is open, {len(content)} is next"
                )
            self.open = payload["index"]
            content.append(dict(payload["content_block"]))
            return
        if payload["index"] != self.open:
            raise MisunderstoodError(f"{kind} for block {payload['index']} while {self.open} is open")
        if kind == "content_block_stop":
            self.open = None
            return
        grow(content[self.open], payload["delta"])

    def _end(self, payload: Document) -> None:
        if self.open is not None:
            raise MisunderstoodError("message_delta while a block is open")
        self.document["stop_reason"] = payload["delta"]["stop_reason"]
        self.document["stop_sequence"] = payload["delta"].get("stop_sequence")
        usage = self.document["usage"]
        usage["output_tokens"] = payload["usage"]["output_tokens"]
        usage.update({name: payload["usage"][name] for name in _KEPT_COUNTS if payload["usage"].get(name) is not None})


def grow(block: Document, delta: Document) -> None:
    """Add one delta to its block."""
    kind = delta["type"]
    expected = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking"} | {
        "citations_delta": "text"
    }
    if kind in expected and block["type"] != expected[kind]:
        raise MisunderstoodError(f"{kind} in a block of type {block['type']}")
    if kind == "text_delta":
        block["text"] += delta["text"]
    elif kind == "thinking_delta":
        block["thinking"] += delta["thinking"]
    elif kind == "signature_delta":
        block["signature"] = delta["signature"]
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]
    elif kind == "input_json_delta":
        if block["type"] not in {"tool_use", "server_tool_use"}:
            raise MisunderstoodError(f"{kind} in a block of type {block['type']}")
        block[INPUT_TEXT] = block.get(INPUT_TEXT, "") + delta["partial_json"]


def gathered(payloads: list[Any]) -> Document:
    """Return the message that the events make, with an `error` member if the stream carried one.

    A message whose end was not told has no stop reason: who sees no `message_stop` may not believe one.
    """
    gathering = Gathering()
    for payload in payloads:
        if payload == "[DONE]":
            continue  # without a name it is no event to the SDK
        if not isinstance(payload, dict):
            raise MisunderstoodError(f"not an event: {payload!r}")
        gathering.take(payload)
    if not gathering.stopped:
        gathering.document["stop_reason"] = None
    return gathering.document


def understood(document: Document) -> Seen:
    """Return what the message says."""
    error = document.get("error")
    content = document.get("content") or []
    return Seen(
        blocks=seen.merged(block for part in content for block in _blocks(part)),
        finish=None if error else document.get("stop_reason"),
        stop_sequence=document.get("stop_sequence"),
        usage=_usage(document.get("usage")),
        signatures=seen.distinct(part.get("signature") or part.get("data") for part in content),
        citations=seen.distinct(
            note.get("url") or note.get("document_title") for part in content for note in part.get("citations") or []
        ),
        error=fault(error) if error else None,
    )


def fault(error: Document, status: int | None = None) -> Fault:
    """Return an `error` member as understood."""
    return Fault(error["message"], error["type"], status=status)


def _blocks(part: Document) -> list[seen.Block]:
    if part["type"] == "text":
        return [seen.text(part["text"])]
    if part["type"] == "thinking":
        return [seen.reasoning(part["thinking"])]
    if part["type"] == "tool_use":
        return [seen.call(part["id"], part["name"], part.get(INPUT_TEXT) or part["input"])]
    return []


def _usage(usage: Document | None) -> Counts | None:
    if not usage:
        return None
    cached, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    return Counts(
        usage["input_tokens"] + cached + written,
        usage["output_tokens"],
        cached,
        written,
        (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
    )
