"""generateContent and streamGenerateContent, as the scripted upstream speaks them.

The shape follows the API reference: every chunk of a stream is an answer of its own, the last one has the reason; a
call comes whole. Whether to stream is in the path, and `alt=sse` says how: without it the stream is one JSON array.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote

from bench.answers import Answer, Finish, Kind
from bench.asked import Asked, Tool, Turn, UnreadableError, call_turn, count, dump, mapping, member, number, objects
from bench.dialects.event import Event

PATH = re.compile(r"/models/(?P<model>.+):(?P<action>generateContent|streamGenerateContent)$")
_FINISHES = {Finish.STOP: "STOP", Finish.LENGTH: "MAX_TOKENS", Finish.CALL: "STOP"}
_WORDS = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "CANCELLED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    504: "DEADLINE_EXCEEDED",
}


def is_listing(path: str, query: str, headers: Mapping[str, str]) -> bool:
    """See `bench.dialects.Dialect`: clients sign in their own way, below a version of their own."""
    return "/v1beta/" in path or "x-goog-api-key" in headers or "key" in parse_qs(query)


def read(fields: dict[str, Any], path: str, query: str) -> Asked:
    """See `bench.dialects.Dialect`."""
    place = PATH.search(path)
    contents = fields.get("contents")
    if place is None or not isinstance(contents, list):
        raise UnreadableError("* GenerateContentRequest.contents: contents is not specified", "contents")
    stream = place["action"] == "streamGenerateContent"
    generation = fields.get("generationConfig")
    calling = member(fields, "toolConfig", "functionCallingConfig")
    allowed = member(calling, "allowedFunctionNames")
    system = " ".join(str(part.get("text")) for part in objects(member(fields, "systemInstruction", "parts")))
    return Asked(
        model=unquote(place["model"]),
        stream=stream,
        system=system,
        turns=tuple(turn for content in objects(contents) for turn in _turns(content)),
        tools=tuple(_tools(fields)),
        forced=_forced(allowed) if member(calling, "mode") == "ANY" else None,
        shape=_shape(generation),
        output_tokens_max=count(member(generation, "maxOutputTokens")),
        temperature=number(member(generation, "temperature")),
        seed=member(generation, "seed"),
        array=stream and "sse" not in parse_qs(query).get("alt", []),
    )


def _forced(allowed: object) -> str:
    return str(allowed[0]) if isinstance(allowed, list) and allowed else ""


def _turns(content: dict[str, Any]) -> Iterator[Turn]:
    role = "assistant" if content.get("role") == "model" else "user"
    texts: list[str] = []
    for part in objects(content.get("parts")):
        if part.get("thought"):
            continue
        if "functionCall" in part or "functionResponse" in part:
            if texts:
                yield Turn(role, " ".join(texts))
                texts = []
            yield _call_turn(part)
        elif "text" in part:
            texts.append(str(part["text"]))
        else:
            texts.append(f"[{next(iter(part), None)}]")
    if texts:
        yield Turn(role, " ".join(texts))


def _call_turn(part: dict[str, Any]) -> Turn:
    call, response = part.get("functionCall"), member(part, "functionResponse", "response")
    if call is not None:
        return call_turn(member(call, "name"), member(call, "args") or {})
    output = next((response[name] for name in ("output", "result") if member(response, name) is not None), response)
    return Turn("tool", output if isinstance(output, str) else dump(output))


def _tools(fields: dict[str, Any]) -> Iterator[Tool]:
    for tool in objects(fields.get("tools")):
        for declared in objects(tool.get("functionDeclarations")):
            schema = declared.get("parametersJsonSchema") or declared.get("parameters")
            yield Tool(str(declared.get("name")), mapping(schema))


def _shape(generation: Any) -> dict[str, Any] | None:
    schema = member(generation, "responseJsonSchema") or member(generation, "responseSchema")
    return mapping(schema) or ({} if member(generation, "responseMimeType") == "application/json" else None)


def document(answer: Answer) -> str:
    """See `bench.dialects.Dialect`."""
    parts = [_part(block.kind, block.whole, block.name, block.id) for block in answer.blocks]
    return _chunk(answer, parts, ended=True)


def beats(answer: Answer) -> Iterator[list[Event]]:
    """See `bench.dialects.Dialect`."""
    begun = False

    def event(chunk: str) -> Event:
        nonlocal begun
        lead, begun = ",\r\n" if begun else "[", True
        return Event(lead + chunk, raw=True) if answer.asked.array else Event(chunk)

    yield []
    for block in answer.blocks:
        pieces = (block.whole,) if block.kind is Kind.CALL else block.pieces
        for piece in pieces:
            yield [event(_chunk(answer, [_part(block.kind, piece, block.name, block.id)], ended=False))]
    last = event(_chunk(answer, [] if answer.calls else [{"text": ""}], ended=True))
    yield [last, Event("]", raw=True)] if answer.asked.array and answer.done else [last]


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> str:
    """See `bench.dialects.Dialect`. A 529 is not of this vendor: it is a 503 in the body."""
    word = _WORDS.get(status, "UNAVAILABLE" if status >= 500 else "INVALID_ARGUMENT")
    said: dict[str, Any] = {"code": 503 if status == 529 else status, "message": message, "status": word}
    if code is not None:
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code.upper(), "domain": "bench"}
        said["details"] = [info]
    return dump({"error": said})


def failure_document(asked: Asked, status: int, message: str, code: str | None) -> str:
    """See `bench.dialects.Dialect`."""
    return error(status, message, code=code)


def failure_events(asked: Asked, status: int, message: str, code: str | None, *, position: int) -> list[Event]:
    """See `bench.dialects.Dialect`."""
    text = error(status, message, code=code)
    return [Event(("," if position else "[") + text + "]", raw=True)] if asked.array else [Event(text)]


def model(name: str) -> dict[str, Any]:
    """See `bench.dialects.Dialect`."""
    actions = ["generateContent"]
    limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": actions} | limits


def models(names: Sequence[str]) -> str:
    """See `bench.dialects.Dialect`."""
    return dump({"models": [model(name) for name in names]})


def _part(kind: Kind, text: str, name: str, identifier: str) -> dict[str, Any]:
    match kind:
        case Kind.REASONING:
            return {"text": text, "thought": True}
        case Kind.TEXT:
            return {"text": text}
        case Kind.CALL:
            return {"functionCall": {"id": identifier, "name": name, "args": json.loads(text)}}


def _chunk(answer: Answer, parts: list[dict[str, Any]], *, ended: bool) -> str:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if ended:
        candidate["finishReason"] = answer.finish_word or _FINISHES[answer.finish]
    chunk: dict[str, Any] = {"candidates": [] if answer.empty else [candidate]}
    if answer.usage_shown:
        chunk["usageMetadata"] = _usage(answer, ended=ended)
    return dump(chunk | {"modelVersion": answer.asked.model, "responseId": answer.number})


def _usage(answer: Answer, *, ended: bool) -> dict[str, Any]:
    if answer.usage is not None:
        return answer.usage
    if not ended:
        return {"promptTokenCount": answer.prompt_tokens, "totalTokenCount": answer.prompt_tokens}
    counts = {
        "promptTokenCount": answer.prompt_tokens,
        "candidatesTokenCount": answer.output_tokens - answer.reasoning_tokens,
        "totalTokenCount": answer.prompt_tokens + answer.output_tokens,
    }
    return counts | ({"thoughtsTokenCount": answer.reasoning_tokens} if answer.reasoning_tokens else {})
