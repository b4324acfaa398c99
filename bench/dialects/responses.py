"""The Responses API, as the scripted upstream speaks it over HTTP.

The shape follows the API reference: created and in_progress, then for each output item its added, its parts with their
deltas and done, its own done, and the whole response again in the last event. Reasoning is one summary part. Nothing
is stored: `previous_response_id` is not looked at (`bench.socketed_turns` has a memory).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bench import answers
from bench.answers import CREATED, Answer, Block, Finish, Kind
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
    with_system,
)
from bench.dialects import chat
from bench.dialects.event import Event, named

PATH = re.compile(r"/responses$")
_CODES = {429: "rate_limit_exceeded", 503: "server_is_overloaded", 529: "server_is_overloaded", 504: "timeout"}
_REASONS = {Finish.STOP: None, Finish.CALL: None, Finish.LENGTH: "max_output_tokens"}
_DELTAS = {
    Kind.REASONING: "response.reasoning_summary_text",
    Kind.TEXT: "response.output_text",
    Kind.CALL: "response.function_call_arguments",
}

error = answers.error
model = chat.model
models = chat.models


def is_listing(path: str, query: str, headers: Mapping[str, str]) -> bool:
    """See `bench.dialects.Dialect`: the vendor has one list for both of its dialects."""
    return False


def read(fields: dict[str, Any], path: str, query: str) -> Asked:
    """See `bench.dialects.Dialect`."""
    name, given = model_of(fields.get("model")), fields.get("input")
    if not isinstance(given, str | list):
        raise UnreadableError("Missing required parameter: 'input'.", "input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else objects(given)
    system, turns = with_system(
        (turn for item in items for turn in _turns(item)), text_of(fields.get("instructions") or "")
    )
    choice, form = fields.get("tool_choice"), member(fields, "text", "format")
    declared = [tool for tool in objects(fields.get("tools")) if tool.get("type") == "function"]
    return Asked(
        model=name,
        stream=bool(fields.get("stream")),
        system=system,
        turns=turns,
        tools=tuple(Tool(str(tool.get("name")), mapping(tool.get("parameters"))) for tool in declared),
        forced=member(choice, "name") or ("" if choice == "required" else None),
        shape=_shape(form),
        output_tokens_max=count(fields.get("max_output_tokens")),
        temperature=number(fields.get("temperature")),
    )


def _turns(item: dict[str, Any]) -> Iterator[Turn]:
    match item.get("type", "message"):
        case "message":
            role = "system" if item.get("role") == "developer" else str(item.get("role"))
            yield Turn(role, text_of(item.get("content") or ""))
        case "function_call":
            yield call_turn(item.get("name"), item.get("arguments"))
        case "function_call_output":
            yield Turn("tool", text_of(item.get("output") or ""))


def _shape(form: Any) -> dict[str, Any] | None:
    if member(form, "type") == "json_schema":
        return mapping(member(form, "schema"))
    return {} if member(form, "type") == "json_object" else None


def document(answer: Answer) -> str:
    """See `bench.dialects.Dialect`."""
    return dump(_ended(answer))


def beats(answer: Answer) -> Iterator[list[Event]]:
    """See `bench.dialects.Dialect`."""
    position = 0

    def numbered(event: dict[str, Any]) -> Event:
        nonlocal position
        position += 1
        return named({"type": event.pop("type"), "sequence_number": position - 1, **event})

    begun = _response(answer.asked, answer.number, "in_progress")
    yield [numbered({"type": f"response.{name}", "response": begun}) for name in ("created", "in_progress")]
    for index, block in enumerate(answer.blocks):
        at = {"item_id": _item_id(block, answer), "output_index": index} | _part_index(block)
        opening = [numbered(event) for event in _opening(block, answer, at)]
        for piece in block.pieces[:-1]:
            yield [*opening, numbered(_delta(block, at, piece))]
            opening = []
        last = numbered(_delta(block, at, block.pieces[-1]))
        yield [*opening, last, *(numbered(event) for event in _closing(block, answer, at))]
    ended = _ended(answer)
    if not answer.usage_shown:
        ended["usage"] = None
    yield [numbered({"type": f"response.{ended['status']}", "response": ended})] if answer.done else []


def failure_document(asked: Asked, status: int, message: str, code: str | None) -> str:
    """See `bench.dialects.Dialect`: a response that failed."""
    return dump(_failed(asked, status, message, code))


def failure_events(asked: Asked, status: int, message: str, code: str | None, *, position: int) -> list[Event]:
    """See `bench.dialects.Dialect`: the error, and the response that failed."""
    word = _code(status, code)
    said = {"type": word, "code": word, "message": message, "param": None}
    return [
        named({"type": "error", "sequence_number": position, "error": said}),
        named(
            {
                "type": "response.failed",
                "sequence_number": position + 1,
                "response": _failed(asked, status, message, code),
            }
        ),
    ]


def _code(status: int, code: str | None) -> str:
    return code or _CODES.get(status, "server_error" if status >= 500 else "invalid_prompt")


def _failed(asked: Asked, status: int, message: str, code: str | None) -> dict[str, Any]:
    said = {"code": _code(status, code), "message": message}
    return _response(asked, "scripted_failed", "failed") | {"error": said}


def _ended(answer: Answer) -> dict[str, Any]:
    word = answer.finish_word
    reason = None if word == "completed" else word or _REASONS[answer.finish]
    ended = _response(answer.asked, answer.number, "incomplete" if reason else "completed")
    return ended | {
        "incomplete_details": {"reason": reason} if reason else None,
        "output": [_item(block, answer, "completed") for block in answer.blocks],
        "usage": answer.usage
        or {
            "input_tokens": answer.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
            "total_tokens": answer.prompt_tokens + answer.output_tokens,
        },
    }


def _response(asked: Asked, identifier: str, status: str) -> dict[str, Any]:
    return {
        "id": f"resp_{identifier}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.system or None,
        "max_output_tokens": asked.output_tokens_max,
        "model": asked.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": False,
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "metadata": {},
    }


def _item_id(block: Block, answer: Answer) -> str:
    prefix = {Kind.REASONING: "rs", Kind.TEXT: "msg", Kind.CALL: "fc"}[block.kind]
    return f"{prefix}_{answer.number}"


def _item(block: Block, answer: Answer, status: str) -> dict[str, Any]:
    begun, identifier = status == "in_progress", _item_id(block, answer)
    if block.kind is Kind.REASONING:
        summary = [] if begun else [{"type": "summary_text", "text": block.whole}]
        return {"id": identifier, "type": "reasoning", "summary": summary}
    if block.kind is Kind.CALL:
        call = {"call_id": f"call_{block.id}", "name": block.name, "arguments": "" if begun else block.whole}
        return {"id": identifier, "type": "function_call", "status": status} | call
    content = [] if begun else [_text_part(block.whole)]
    return {"id": identifier, "type": "message", "status": status, "role": "assistant", "content": content}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _part(block: Block, text: str) -> dict[str, Any]:
    return _text_part(text) if block.kind is Kind.TEXT else {"type": "summary_text", "text": text}


def _part_index(block: Block) -> dict[str, int]:
    return {Kind.REASONING: {"summary_index": 0}, Kind.TEXT: {"content_index": 0}, Kind.CALL: {}}[block.kind]


def _part_event(block: Block) -> str:
    return "response.content_part" if block.kind is Kind.TEXT else "response.reasoning_summary_part"


def _opening(block: Block, answer: Answer, at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    item = _item(block, answer, "in_progress")
    yield {"type": "response.output_item.added", "output_index": at["output_index"], "item": item}
    if block.kind is not Kind.CALL:
        yield {"type": f"{_part_event(block)}.added", **at, "part": _part(block, "")}


def _delta(block: Block, at: dict[str, Any], piece: str) -> dict[str, Any]:
    logprobs: dict[str, Any] = {"logprobs": []} if block.kind is Kind.TEXT else {}
    return {"type": f"{_DELTAS[block.kind]}.delta", **at, "delta": piece, **logprobs}


def _closing(block: Block, answer: Answer, at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    done = f"{_DELTAS[block.kind]}.done"
    if block.kind is Kind.CALL:
        yield {"type": done, **at, "name": block.name, "arguments": block.whole}
    else:
        logprobs: dict[str, Any] = {"logprobs": []} if block.kind is Kind.TEXT else {}
        yield {"type": done, **at, "text": block.whole, **logprobs}
        yield {"type": f"{_part_event(block)}.done", **at, "part": _part(block, block.whole)}
    item = _item(block, answer, "completed")
    yield {"type": "response.output_item.done", "output_index": at["output_index"], "item": item}
