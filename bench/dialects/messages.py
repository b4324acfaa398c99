"""The Messages API, as the scripted upstream speaks it.

The shape follows the API reference: message_start with the usage of the prompt, a ping, blocks that are started, told
in deltas and stopped, message_delta with the reason and the usage, message_stop. A thinking block ends with a signature
that nobody could check.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.answers import Answer, Block, Finish, Kind
from bench.asked import (
    Asked,
    Tool,
    Turn,
    UnreadableError,
    call_turn,
    count,
    dump,
    mapping,
    member,
    model_of,
    number,
    objects,
    text_of,
)
from bench.dialects.event import Event, named

PATH = re.compile(r"/messages$")
SIGNATURE = "c2NyaXB0ZWQ="
_CREATED = "2023-11-14T22:13:20Z"
_FINISHES = {Finish.STOP: "end_turn", Finish.LENGTH: "max_tokens", Finish.CALL: "tool_use"}
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def is_listing(path: str, query: str, headers: Mapping[str, str]) -> bool:
    """See `bench.dialects.Dialect`: all clients send the version."""
    return "anthropic-version" in headers


def read(fields: dict[str, Any], path: str, query: str) -> Asked:
    """See `bench.dialects.Dialect`."""
    model = model_of(fields.get("model"))
    said = fields.get("messages")
    if not isinstance(said, list) or not all(isinstance(message, dict) for message in said):
        raise UnreadableError("messages: Field required", "messages")
    limit = count(fields.get("max_tokens"))
    if limit is None:
        raise UnreadableError("max_tokens: Field required", "max_tokens")
    choice = fields.get("tool_choice")
    declared = [tool for tool in objects(fields.get("tools")) if "input_schema" in tool]
    form = member(fields, "output_config", "format") or fields.get("output_format")
    return Asked(
        model=model,
        stream=bool(fields.get("stream")),
        system=text_of(fields.get("system") or ""),
        turns=tuple(turn for message in said for turn in _turns(message)),
        tools=tuple(Tool(str(tool.get("name")), mapping(tool["input_schema"])) for tool in declared),
        forced={"any": "", "tool": member(choice, "name")}.get(str(member(choice, "type"))),
        shape=mapping(member(form, "schema")) if form else None,
        output_tokens_max=limit,
        temperature=number(fields.get("temperature")),
    )


def _turns(message: dict[str, Any]) -> Iterator[Turn]:
    role, content = str(message.get("role")), message.get("content")
    if isinstance(content, str):
        yield Turn(role, content)
        return
    texts: list[dict[str, Any]] = []
    for block in objects(content):
        match block.get("type"):
            case "tool_use":
                if texts:
                    yield Turn(role, text_of(texts))
                    texts = []
                yield call_turn(block.get("name"), block.get("input"))
            case "tool_result":
                yield Turn("tool", text_of(block.get("content") or ""))
            case "thinking" | "redacted_thinking":
                continue
            case _:
                texts.append(block)
    if texts:
        yield Turn(role, text_of(texts))


def document(answer: Answer) -> str:
    """See `bench.dialects.Dialect`."""
    content = [_block(block, block.whole) for block in answer.blocks]
    ending = {"content": content, "stop_reason": _finish(answer), "usage": _usage(answer, answer.output_tokens)}
    return dump(_message(answer) | ending)


def beats(answer: Answer) -> Iterator[list[Event]]:
    """See `bench.dialects.Dialect`."""
    yield [named({"type": "message_start", "message": _message(answer)}), named({"type": "ping"})]
    for index, block in enumerate(answer.blocks):
        begun = _block(block, "")
        opening = [named({"type": "content_block_start", "index": index, "content_block": begun})]
        for piece in block.pieces[:-1]:
            yield [*opening, _delta(index, block, piece)]
            opening = []
        opening.append(_delta(index, block, block.pieces[-1]))
        if block.kind is Kind.REASONING:
            signed = {"type": "signature_delta", "signature": SIGNATURE}
            opening.append(named({"type": "content_block_delta", "index": index, "delta": signed}))
        yield [*opening, named({"type": "content_block_stop", "index": index})]
    ending: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": _finish(answer), "stop_sequence": None},
    }
    if answer.usage_shown:
        ending["usage"] = answer.usage or {"output_tokens": answer.output_tokens}
    yield [named(ending), named({"type": "message_stop"})] if answer.done else [named(ending)]


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> str:
    """See `bench.dialects.Dialect`."""
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    said: dict[str, Any] = {"type": kind, "message": message}
    if code is not None:
        said["details"] = {"error_code": code}
    return dump({"type": "error", "error": said, "request_id": None})


def failure_document(asked: Asked, status: int, message: str, code: str | None) -> str:
    """See `bench.dialects.Dialect`."""
    return error(status, message, code=code)


def failure_events(asked: Asked, status: int, message: str, code: str | None, *, position: int) -> list[Event]:
    """See `bench.dialects.Dialect`."""
    return [Event(error(status, message, code=code), "error")]


def model(name: str) -> dict[str, Any]:
    """See `bench.dialects.Dialect`."""
    return {"type": "model", "id": name, "display_name": name, "created_at": _CREATED}


def models(names: Sequence[str]) -> str:
    """See `bench.dialects.Dialect`."""
    ends = {"first_id": names[0], "last_id": names[-1]} if names else {"first_id": None, "last_id": None}
    return dump({"data": [model(name) for name in names], "has_more": False} | ends)


def _message(answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.number}",
        "type": "message",
        "role": "assistant",
        "model": answer.asked.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(answer, 1),
    }


def _block(block: Block, text: str) -> dict[str, Any]:
    match block.kind:
        case Kind.REASONING:
            return {"type": "thinking", "thinking": text, "signature": SIGNATURE if text else ""}
        case Kind.TEXT:
            return {"type": "text", "text": text}
        case Kind.CALL:
            arguments = json.loads(text) if text else {}
            return {"type": "tool_use", "id": f"toolu_{block.id}", "name": block.name, "input": arguments}


def _delta(index: int, block: Block, piece: str) -> Event:
    match block.kind:
        case Kind.REASONING:
            delta = {"type": "thinking_delta", "thinking": piece}
        case Kind.TEXT:
            delta = {"type": "text_delta", "text": piece}
        case Kind.CALL:
            delta = {"type": "input_json_delta", "partial_json": piece}
    return named({"type": "content_block_delta", "index": index, "delta": delta})


def _finish(answer: Answer) -> str:
    return answer.finish_word or _FINISHES[answer.finish]


def _usage(answer: Answer, output_tokens: int) -> dict[str, Any]:
    return answer.usage or {
        "input_tokens": answer.prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }
