"""Reads Responses as a client does: a stream gathered as the official SDK gathers it, then the response.

Gathering follows `openai/lib/streaming/responses/_responses.py`. What the SDK believes is the terminal event's
response; here what the deltas said must be the same, because clients show the deltas.
"""

from typing import Any

from tests.translation import seen
from tests.translation.seen import Counts, Fault, MisunderstoodError, Seen

Document = dict[str, Any]

LIFECYCLE = {"created", "queued", "in_progress", "completed", "incomplete", "failed"}
TERMINAL = {"completed", "incomplete", "failed"}
_PARTS = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text", "summary_text": "text"}
_GROWING = {
    *("content_part", "output_text", "refusal", "reasoning_text", "output_text.annotation"),
    *("reasoning_summary_part", "reasoning_summary_text", "function_call_arguments", "custom_tool_call_input"),
}
"""What events are about that belong to an item."""


class Gathering:
    """One response as it grows; `end` is the response of the terminal event."""

    def __init__(self) -> None:
        self.start: Document | None = None
        self.end: Document | None = None
        self.items: dict[int, Document] = {}
        self.done: set[int] = set()

    def take(self, payload: Document) -> None:
        kind = payload["type"].removeprefix("response.")
        if self.end is not None:
            raise MisunderstoodError(f"{kind} behind the end")
        if self.start is None and kind not in {"created", "error"}:
            raise MisunderstoodError(f"{kind} before response.created")
        if kind == "error":
            self.end = {**(self.start or {}), "status": "failed", "error": payload.get("error") or payload}
        elif kind in LIFECYCLE:
            self._lifecycle(kind, payload["response"])
        elif kind in {"output_item.added", "output_item.done"}:
            self._item(kind, payload["output_index"], payload["item"])
        elif kind.rpartition(".")[0] in _GROWING:
            self._grow(kind, self._open(payload), payload)

    def _lifecycle(self, kind: str, response: Document) -> None:
        if self.start is None:
            self.start = response
        if response["id"] != self.start["id"]:
            raise MisunderstoodError("the response's id changed")
        if kind in TERMINAL:
            if response["status"] != kind:
                raise MisunderstoodError(f"response.{kind} with status {response['status']}")
            self.end = response

    def _item(self, kind: str, position: int, item: Document) -> None:
        if kind == "output_item.added":
            if position in self.items:
                raise MisunderstoodError(f"item {position} was added twice")
            self.items[position] = copied(item)
            return
        added = self.items.get(position)
        if added is not None and identity(added) != identity(item):
            raise MisunderstoodError(f"item {position} is another when done")
        if added is not None and _has_grown(added) and _blocks(added) != _blocks(item):
            raise MisunderstoodError(f"the deltas said {_blocks(added)}, the item says {_blocks(item)}")
        self.items[position] = copied(item)
        self.done.add(position)

    def _open(self, payload: Document) -> Document:
        item = self.items.get(payload["output_index"])
        if item is None:
            raise MisunderstoodError(f"{payload['type']} for an item that was not added")
        return item

    def _grow(self, kind: str, item: Document, payload: Document) -> None:
        subject, _, verb = kind.rpartition(".")
        if kind == "content_part.added" and item["type"] == "message":
            item["content"].append(dict(payload["part"]))
        elif kind == "reasoning_summary_part.added":
            item["summary"].append(dict(payload["part"]))
        elif subject in {"output_text", "refusal"}:
            part = item["content"][payload["content_index"]]
            _grow_text(part, _PARTS[part["type"]], verb, payload)
        elif subject == "reasoning_text":
            item["content"] = item.get("content") or [{"type": "reasoning_text", "text": ""}]
            _grow_text(item["content"][payload["content_index"]], "text", verb, payload)
        elif subject == "reasoning_summary_text":
            _grow_text(item["summary"][payload["summary_index"]], "text", verb, payload)
        elif subject == "function_call_arguments":
            _grow_text(item, "arguments", verb, payload)
        elif subject == "custom_tool_call_input":
            _grow_text(item, "input", verb, payload)
        elif kind == "output_text.annotation.added":
            item["content"][payload["content_index"]]["annotations"].append(payload["annotation"])

    def document(self) -> Document:
        """Return the response; its status is None while the end was not told."""
        output = [self.items[position] for position in sorted(self.items)]
        if self.end is None:
            return {**(self.start or {}), "status": None, "output": output}
        if self.end.get("output") is None or self.end["status"] == "failed":
            return {**self.end, "output": self.end.get("output") or output}
        final = {identity(item): item for item in self.end["output"]}
        for position, item in self.items.items():
            if identity(item) not in final:
                raise MisunderstoodError(f"item {position} is not in the final output")
            if (position in self.done or _has_grown(item)) and _blocks(item) != _blocks(final[identity(item)]):
                raise MisunderstoodError(f"item {position} differs in the final output")
        return self.end


def identity(item: Document) -> tuple[Any, ...]:
    """Return what makes an item the same item."""
    if item["type"] in {"function_call", "custom_tool_call"}:
        return item["type"], item["call_id"], item.get("id")
    return item["type"], item.get("id")


def copied(item: Document) -> Document:
    """Return an item that may grow without changing the event it came in."""
    return {
        name: [dict(entry) if isinstance(entry, dict) else entry for entry in value]
        if isinstance(value, list)
        else value
        for name, value in item.items()
    }


def _grow_text(into: Document, member: str, verb: str, payload: Document) -> None:
    if verb == "delta":
        into[member] += payload["delta"]
    elif verb == "done" and into[member] != payload[member]:
        raise MisunderstoodError(f"the deltas said {into[member]!r}, the end says {payload[member]!r}")


def _has_grown(item: Document) -> bool:
    texts = [item.get("arguments"), item.get("input")]
    parts = [*(item.get("content") or []), *(item.get("summary") or [])]
    return any(texts) or any(part[_PARTS[part["type"]]] for part in parts)


def gathered(payloads: list[Any]) -> Document:
    """Return the response that the events make."""
    gathering = Gathering()
    for payload in payloads:
        if payload == "[DONE]":
            break
        if not isinstance(payload, dict):
            raise MisunderstoodError(f"not an event: {payload!r}")
        gathering.take(payload)
        if payload["type"] == "error" and payload.get("error"):
            break  # where the SDK raises
    return gathering.document()


def understood(document: Document) -> Seen:
    """Return what the response says."""
    output = document.get("output") or []
    failed = document.get("status") == "failed"
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    return Seen(
        blocks=seen.merged(block for item in output for block in _blocks(item)),
        finish=None if failed else _finish(document),
        usage=_usage(document.get("usage")),
        signatures=seen.distinct(item.get("encrypted_content") for item in output),
        citations=seen.distinct(note.get("url") for part in parts for note in part.get("annotations") or []),
        error=fault(document["error"]) if failed else None,
    )


def fault(error: Any, status: int | None = None) -> Fault:
    """Return an `error` member as understood."""
    if not isinstance(error, dict):
        return Fault("", status=status)
    return Fault(error.get("message") or "", error.get("type"), error.get("code"), status)


def _finish(document: Document) -> str | None:
    status = document.get("status")
    if status == "incomplete":
        return f"incomplete/{document['incomplete_details']['reason']}"
    return None if status is None else str(status)


def _blocks(item: Document) -> list[seen.Block]:
    kind = item["type"]
    if kind == "message":
        return list(seen.merged((_kind(part), part[_PARTS[part["type"]]]) for part in item["content"]))
    if kind == "reasoning":
        summary = "\n\n".join(part["text"] for part in item["summary"])
        return list(seen.merged([seen.reasoning(summary or "".join(p["text"] for p in item.get("content") or []))]))
    if kind == "function_call":
        return [seen.call(item["call_id"], item["name"], item["arguments"])]
    if kind == "custom_tool_call":
        return [seen.call(item["call_id"], item["name"], {"input": item["input"]})]
    if kind == "image_generation_call" and item.get("result"):
        return [seen.blob(f"image/{item.get('output_format') or 'png'}", seen.size_of_base64(item["result"]))]
    return []


def _kind(part: Document) -> str:
    return seen.REFUSAL if part["type"] == "refusal" else seen.TEXT


def _usage(usage: Document | None) -> Counts | None:
    if not usage:
        return None
    if usage["total_tokens"] != usage["input_tokens"] + usage["output_tokens"]:
        raise MisunderstoodError(f"the total is not the sum: {usage!r}")
    return Counts(
        usage["input_tokens"],
        usage["output_tokens"],
        usage["input_tokens_details"]["cached_tokens"],
        usage["input_tokens_details"].get("cache_write_tokens") or 0,
        usage["output_tokens_details"]["reasoning_tokens"],
    )
