"""Chat Completions, as the scripted upstream speaks it.

The shape follows the API reference: a role chunk, chunks with content, a chunk with finish_reason, and, when
`stream_options.include_usage` is set, `"usage": null` in every chunk and a last one with empty `choices` that carries
it; then `[DONE]`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench import answers
from bench.answers import CREATED, MODEL, Answer, Block, Finish, Kind
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
from bench.dialects.event import Event

PATH = re.compile(r"/chat/completions$")
_FINISHES = {Finish.STOP: "stop", Finish.LENGTH: "length", Finish.CALL: "tool_calls"}
_CODES = {408: "timeout", 429: "rate_limit_exceeded", 500: "server_error", 503: "overloaded", 504: "timeout"}

error = answers.error


def is_listing(path: str, query: str, headers: Mapping[str, str]) -> bool:
    """See `bench.dialects.Dialect`: it is the one that is spoken where nothing tells."""
    return False


def read(fields: dict[str, Any], path: str, query: str) -> Asked:
    """See `bench.dialects.Dialect`."""
    model = model_of(fields.get("model"))
    said = fields.get("messages")
    if not isinstance(said, list) or not all(isinstance(message, dict) for message in said):
        raise UnreadableError("Missing required parameter: 'messages'.", "messages")
    system, turns = with_system(turn for message in said for turn in _turns(message))
    declared = [tool["function"] for tool in objects(fields.get("tools")) if isinstance(tool.get("function"), dict)]
    choice = fields.get("tool_choice")
    return Asked(
        model=model,
        stream=bool(fields.get("stream")),
        usage_wanted=bool(member(fields, "stream_options", "include_usage")),
        system=system,
        turns=turns,
        tools=tuple(Tool(str(tool.get("name")), mapping(tool.get("parameters"))) for tool in declared),
        forced=member(choice, "function", "name") or ("" if choice == "required" else None),
        shape=_shape(fields.get("response_format")),
        output_tokens_max=count(fields.get("max_completion_tokens")) or count(fields.get("max_tokens")),
        temperature=number(fields.get("temperature")),
        seed=fields.get("seed"),
    )


def _turns(message: dict[str, Any]) -> Iterator[Turn]:
    role = "system" if message.get("role") == "developer" else str(message.get("role"))
    calls = [call.get("function") for call in objects(message.get("tool_calls"))]
    if message.get("content") or not calls:
        yield Turn(role, text_of(message.get("content") or ""))
    for call in calls:
        yield call_turn(member(call, "name"), member(call, "arguments"))


def _shape(asked_for: Any) -> dict[str, Any] | None:
    if member(asked_for, "type") == "json_schema":
        return mapping(member(asked_for, "json_schema", "schema"))
    return {} if member(asked_for, "type") == "json_object" else None


def document(answer: Answer) -> str:
    """See `bench.dialects.Dialect`."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text(Kind.TEXT) or None, "refusal": None}
    if answer.text(Kind.REASONING):
        message["reasoning_content"] = answer.text(Kind.REASONING)
    if answer.calls:
        message["tool_calls"] = [_call(call, call.whole) for call in answer.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
    choices = [] if answer.empty else [choice]
    return dump(_envelope(answer, "chat.completion") | {"choices": choices, "usage": _usage(answer)})


def beats(answer: Answer) -> Iterator[list[Event]]:
    """See `bench.dialects.Dialect`."""
    envelope = _envelope(answer, "chat.completion.chunk") | ({"usage": None} if answer.usage_shown else {})

    def chunk(delta: dict[str, Any], finish: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return Event(dump(envelope | {"choices": [] if answer.empty else [choice]}))

    yield [chunk({"role": "assistant", "content": None if answer.calls else "", "refusal": None})]
    calls = 0
    for block in answer.blocks:
        opening = []
        if block.kind is Kind.CALL:
            opening = [chunk({"tool_calls": [{"index": calls} | _call(block, "")]})]
            calls += 1
        for piece in block.pieces:
            match block.kind:
                case Kind.REASONING:
                    delta: dict[str, Any] = {"reasoning_content": piece}
                case Kind.TEXT:
                    delta = {"content": piece}
                case Kind.CALL:
                    delta = {"tool_calls": [{"index": calls - 1, "function": {"arguments": piece}}]}
            yield [*opening, chunk(delta)]
            opening = []
    closing = [chunk({}, _finish(answer))]
    if answer.usage_shown:
        closing.append(Event(dump(envelope | {"choices": [], "usage": _usage(answer)})))
    yield [*closing, Event("[DONE]")] if answer.done else closing


def failure_document(asked: Asked, status: int, message: str, code: str | None) -> str:
    """See `bench.dialects.Dialect`. Nothing but the code says the status."""
    return error(status, message, code=code or _CODES.get(status, "server_error" if status >= 500 else None))


def failure_events(asked: Asked, status: int, message: str, code: str | None, *, position: int) -> list[Event]:
    """See `bench.dialects.Dialect`."""
    return [Event(failure_document(asked, status, message, code))]


def model(name: str) -> dict[str, Any]:
    """See `bench.dialects.Dialect`."""
    return {"id": name, "object": "model", "created": CREATED, "owned_by": MODEL}


def models(names: Sequence[str]) -> str:
    """See `bench.dialects.Dialect`."""
    return dump({"object": "list", "data": [model(name) for name in names]})


def _finish(answer: Answer) -> str:
    return answer.finish_word or _FINISHES[answer.finish]


def _usage(answer: Answer) -> dict[str, Any]:
    return answer.usage or {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.prompt_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
    }


def _envelope(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{answer.number}".replace("_", "-"),
        "object": kind,
        "created": CREATED,
        "model": answer.asked.model,
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }


def _call(call: Block, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{call.id}", "type": "function", "function": {"name": call.name, "arguments": arguments}}
