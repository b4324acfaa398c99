"""What the scripted upstream says when nothing else is scripted: Chat Completions documents, unary and streamed.

The rule: the same request always gets the same answer (ids count up per server, times are constant), so a test may
compare whole documents. Pure: takes the decoded request, gives JSON text. The shape follows the Chat Completions API
reference: a role chunk, content chunks, a chunk with finish_reason, and, when `stream_options.include_usage` is set,
`"usage": null` in every chunk and a last one with empty `choices` that carries it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from adapters.providers.scripted import PROVIDER

MODEL = PROVIDER.name
"""The model listed unless others are named; any name is answered."""

CREATED = 1_700_000_000
_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How one answer differs from the usual one; each field is a key of the `answer` step's object."""

    content: str | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    usage_chunk: bool | None = None  # None: as the request asked
    done: bool = True
    interval_ms: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    """One decided answer, from which the unary document and the stream are both rendered."""

    id: str
    model: str
    content: str
    reasoning: str
    calls: list[dict[str, str]]
    finish_reason: str
    usage: dict[str, Any]


def compose(request: dict[str, Any], options: Options, number: int) -> Answer:
    """Decide the answer to a request: `number` tells this server's answers apart."""
    calls = _forced_calls(request, number)
    content = options.content if options.content is not None else _content(request)
    if calls:
        content = ""
    words = _words(content)
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    cut = isinstance(limit, int) and len(words) > limit
    if cut:
        words = words[:limit]
    finish = options.finish_reason or ("tool_calls" if calls else "length" if cut else "stop")
    prompt = sum(len(_words(_text(message))) for message in request["messages"])
    output = len(words) + len(_words(options.reasoning or "")) + len(calls)
    usage = options.usage or {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": len(_words(options.reasoning or ""))},
    }
    identifier, model = f"chatcmpl-scripted-{number:06d}", str(request["model"])
    return Answer(identifier, model, "".join(words), options.reasoning or "", calls, finish, usage)


def document(answer: Answer) -> str:
    """Render the unary answer."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.content or None, "refusal": None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        message["tool_calls"] = [_call(call, call["arguments"]) for call in answer.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return _dump(_envelope(answer, "chat.completion") | {"choices": [choice], "usage": answer.usage})


def chunks(answer: Answer, *, usage: bool) -> Iterator[str]:
    """Render the streamed answer, one JSON text per event, without the closing [DONE]."""
    envelope = _envelope(answer, "chat.completion.chunk") | ({"usage": None} if usage else {})

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _dump(envelope | {"choices": [choice]})

    yield chunk({"role": "assistant", "content": None if answer.calls else "", "refusal": None})
    for word in _words(answer.reasoning):
        yield chunk({"reasoning_content": word})
    for word in _words(answer.content):
        yield chunk({"content": word})
    for index, call in enumerate(answer.calls):
        yield chunk({"tool_calls": [{"index": index} | _call(call, "")]})
        for piece in re.findall(r".{1,8}", call["arguments"], re.DOTALL):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, answer.finish_reason)
    if usage:
        yield _dump(envelope | {"choices": [], "usage": answer.usage})


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> str:
    """Render the error envelope for a status."""
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return _dump({"error": {"message": message, "type": kind, "param": param, "code": code}})


def model(name: str) -> dict[str, Any]:
    """Describe one model as GET /models/{name} does."""
    return {"id": name, "object": "model", "created": CREATED, "owned_by": MODEL}


def models(names: Sequence[str]) -> str:
    """Render GET /models."""
    return _dump({"object": "list", "data": [model(name) for name in names]})


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _envelope(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": kind,
        "created": CREATED,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }


def _call(call: dict[str, str], arguments: str) -> dict[str, Any]:
    return {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": arguments}}


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+$", text)


def _text(message: dict[str, Any]) -> str:
    """Give a message's text; a part that is not text becomes its type in brackets."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text") or f"[{part.get('type')}]" for part in content)


def _content(request: dict[str, Any]) -> str:
    shape = request.get("response_format") or {}
    if shape.get("type") == "json_schema":
        return _dump(_sample(shape["json_schema"].get("schema", {})))
    if shape.get("type") == "json_object":
        return "{}"
    asked = next((_text(m) for m in reversed(request["messages"]) if m.get("role") == "user"), "")
    return f"The scripted upstream heard: {asked}"


def _forced_calls(request: dict[str, Any], number: int) -> list[dict[str, str]]:
    """Give the one tool call that `tool_choice` forces; "auto" and absence never call."""
    tools = [tool["function"] for tool in request.get("tools") or [] if tool.get("type") == "function"]
    choice = request.get("tool_choice")
    if isinstance(choice, dict):
        wanted = choice.get("function", {}).get("name")
        tools = [tool for tool in tools if tool["name"] == wanted]
    elif choice != "required":
        return []
    return [
        {
            "id": f"call_scripted_{number:06d}",
            "name": tool["name"],
            "arguments": _dump(_sample(tool.get("parameters", {}))),
        }
        for tool in tools[:1]
    ]


def _sample(schema: dict[str, Any]) -> Any:
    """Give the plainest value that satisfies a simple JSON schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return {name: _sample(inner) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [_sample(schema.get("items", {}))]
    return {"string": "example", "integer": 1, "number": 1.5, "boolean": True}.get(kind)
