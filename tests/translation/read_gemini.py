"""Reads generateContent as a client does: the chunks of a stream one after the other, then the candidates.

The official SDK gathers nothing: callers append the parts of every chunk, and keep the last finish reason and usage.
Every chunk's usage is the whole; the last one that counts the prompt stands.
"""

from typing import Any

from tests.translation import seen
from tests.translation.seen import Counts, Fault, MisunderstoodError, Seen

Document = dict[str, Any]


def gathered(payloads: list[Any]) -> Document:
    """Return one answer with the parts of all chunks, with an `error` member if the stream carried one."""
    candidates: dict[int, Document] = {}
    document: Document = {}
    for payload in payloads:
        if not isinstance(payload, dict):
            raise MisunderstoodError(f"not a chunk: {payload!r}")
        if payload.get("error"):
            document["error"] = payload["error"]
            break
        for candidate in payload.get("candidates") or []:
            _merge(candidates.setdefault(candidate.get("index") or 0, {"parts": [], "chunks": []}), candidate)
        for name in ("promptFeedback", "modelVersion", "responseId"):
            if payload.get(name) is not None:
                document[name] = payload[name]
        if (payload.get("usageMetadata") or {}).get("promptTokenCount") is not None:
            document["usageMetadata"] = payload["usageMetadata"]
    return {**document, "candidates": [candidates[index] for index in sorted(candidates)]}


def _merge(into: Document, candidate: Document) -> None:
    into["parts"] += (candidate.get("content") or {}).get("parts") or []
    into["chunks"] += [
        *(
            (chunk.get("web") or {})
            for chunk in (candidate.get("groundingMetadata") or {}).get("groundingChunks") or []
        ),
        *((candidate.get("citationMetadata") or {}).get("citations") or []),
        *((candidate.get("citationMetadata") or {}).get("citationSources") or []),
    ]
    if candidate.get("finishReason"):
        into["finish"] = candidate["finishReason"].upper()


def understood(document: Document) -> Seen:
    """Return what the chunks said."""
    error = document.get("error")
    choices = [_candidate(candidate) for candidate in document["candidates"]]
    first = choices[0] if choices else Seen()
    blocked = (document.get("promptFeedback") or {}).get("blockReason")
    finish = f"blocked/{blocked}" if blocked else first.finish
    return Seen(
        blocks=first.blocks,
        finish=None if error else finish,
        usage=_usage(document.get("usageMetadata")),
        signatures=first.signatures,
        citations=first.citations,
        choices=tuple(choices[1:]),
        error=fault(error) if error else None,
    )


def fault(error: Document, status: int | None = None) -> Fault:
    """Return an `error` member as understood."""
    return Fault(error["message"], error.get("status"), error.get("code"), status)


def _candidate(candidate: Document) -> Seen:
    parts = candidate["parts"]
    return Seen(
        blocks=seen.merged(block for part in parts for block in _blocks(part)),
        finish=candidate.get("finish"),
        signatures=seen.distinct(part.get("thoughtSignature") for part in parts),
        citations=seen.distinct(chunk.get("uri") for chunk in candidate["chunks"]),
    )


def _blocks(part: Document) -> list[seen.Block]:
    if part.get("text") is not None:
        return [seen.reasoning(part["text"]) if part.get("thought") else seen.text(part["text"])]
    if part.get("functionCall") is not None:
        called = part["functionCall"]
        return [seen.call(called.get("id"), called["name"], called.get("args"))]
    if part.get("inlineData") is not None:
        inline = part["inlineData"]
        return [seen.blob(inline["mimeType"], seen.size_of_base64(inline["data"]))]
    return []


def _usage(usage: Document | None) -> Counts | None:
    if not usage:
        return None
    counts = Counts(
        (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0),
        (usage.get("candidatesTokenCount") or 0) + (usage.get("thoughtsTokenCount") or 0),
        usage.get("cachedContentTokenCount") or 0,
        0,
        usage.get("thoughtsTokenCount") or 0,
    )
    if usage.get("totalTokenCount") not in {None, counts.input + counts.output}:
        raise MisunderstoodError(f"the total is not the sum: {usage!r}")
    return counts
