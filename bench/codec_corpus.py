"""What `bench.micro` feeds the codecs: streams, requests and giants in every dialect, as the vendors write them."""

import json
from typing import Any

from adapters.dialects import Dialect, Request

DIALECTS = ("chat", "responses", "messages", "gemini")

MODELS = {"chat": "gpt-4.1-mini", "responses": "gpt-5", "messages": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash"}
"""A model of each dialect, for what it can take."""

WORDS = (
    "Hedges",
    " keep",
    " the",
    " wind",
    " out",
    ",",
    " and",
    " birds",
    " like",
    " them",
    ".",
    " They",
    " grow",
    " é",
)


def texts(count: int) -> list[str]:
    """Return so many pieces of text."""
    return [WORDS[number % len(WORDS)] for number in range(count)]


def chunk_payload() -> bytes:
    """Return one chunk of the commonest dialect, about 300 bytes."""
    return _dump(_chunk({"content": " birds"}))


def events(dialect: str, count: int) -> list[bytes]:
    """Return a stream of `count` text deltas with what stands around them; one event each."""
    return {"chat": _chat, "responses": _responses, "messages": _messages, "gemini": _gemini}[dialect](texts(count))


def asked(name: str, dialect: Dialect) -> Request:
    """Return a parsed request for a stream."""
    body, argument = request(name, 100)
    return dialect.parse_request(body, argument, b"alt=sse")


def request(dialect: str, size: int) -> tuple[bytes, bytes]:
    """Return the body of a request of about `size` bytes, a conversation with tool calls, and its path's argument."""
    turns = max(size // 2_000, 1)
    said = "All work and no play makes a dull benchmark. " * 18
    arguments = {"path": "src/main.py", "lines": list(range(60)), "text": "x" * 200}
    schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    build = {
        "chat": _chat_request,
        "responses": _responses_request,
        "messages": _messages_request,
        "gemini": _gemini_request,
    }
    argument = b"m:streamGenerateContent" if dialect == "gemini" else b""
    return _dump(build[dialect](turns, said, arguments, schema)), argument


def tool_stream(dialect: str, size: int) -> list[bytes]:
    """Return a stream of one call with `size` bytes of arguments in pieces of 20, as reads of 64 KB."""
    pieces = ['{"text":"', *["lorem ipsum dolor si"] * (size // 20), '"}']
    build = {"chat": _chat_call, "responses": _responses_call, "messages": _messages_call, "gemini": _gemini_call}
    stream = b"".join(build[dialect](pieces))
    return [stream[at : at + 65_536] for at in range(0, len(stream), 65_536)]


def huge_event(dialect: str, size: int) -> bytes:
    """Return the beginning of a stream in which one event holds `size` bytes of text."""
    text = "x" * size
    if dialect == "chat":
        return _data(_chunk({"content": text}))
    if dialect == "gemini":
        return _data(_candidate([{"text": text}]))
    if dialect == "messages":
        return b"".join(_messages([text])[:3])
    return b"".join(_responses([text])[:4])


# -- streams -----------------------------------------------------------------------------------------------------------


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _data(value: object) -> bytes:
    return b"data: " + _dump(value) + b"\n\n"


def _named(value: dict[str, Any]) -> bytes:
    return b"event: %b\n%b" % (value["type"].encode(), _data(value))


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-9yQwZ4hK7sD2",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4.1-mini-2025-04-14",
        "service_tier": "default",
        "system_fingerprint": "fp_7c233bf9d1",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
        "obfuscation": "K3vX9qLm",
    }


USAGE = {"prompt_tokens": 9, "completion_tokens": 400, "total_tokens": 409}


def _chat(pieces: list[str]) -> list[bytes]:
    usage = {**_chunk({}), "choices": [], "usage": USAGE}
    return [
        _data(_chunk({"role": "assistant", "content": "", "refusal": None})),
        *[_data(_chunk({"content": piece})) for piece in pieces],
        *(_data(_chunk({}, "stop")), _data(usage), b"data: [DONE]\n\n"),
    ]


def _chat_call(pieces: list[str]) -> list[bytes]:
    opened = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "write", "arguments": ""}}
    return [
        _data(_chunk({"role": "assistant", "content": None, "tool_calls": [opened]})),
        *[_data(_chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})) for piece in pieces],
        *(_data(_chunk({}, "tool_calls")), b"data: [DONE]\n\n"),
    ]


def _response(status: str, output: list[Any]) -> dict[str, Any]:
    usage = {"input_tokens": 9, "output_tokens": 400, "total_tokens": 409}
    return {
        "id": "resp_68af40",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": "gpt-5",
        "status": status,
        "output": output,
        "usage": usage if status == "completed" else None,
    }


def _numbered(values: list[dict[str, Any]]) -> list[bytes]:
    return [_named({**value, "sequence_number": number}) for number, value in enumerate(values)]


def _responses(pieces: list[str]) -> list[bytes]:
    at = {"output_index": 0, "item_id": "msg_68af41"}
    part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    item: dict[str, Any] = {
        "id": "msg_68af41",
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }
    text = "".join(pieces)
    whole = {**item, "status": "completed", "content": [{**part, "text": text}]}
    delta = {"type": "response.output_text.delta", **at, "content_index": 0, "logprobs": [], "obfuscation": "K3vX9q"}
    return _numbered(
        [
            {"type": "response.created", "response": _response("in_progress", [])},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.content_part.added", **at, "content_index": 0, "part": part},
            *[{**delta, "delta": piece} for piece in pieces],
            {"type": "response.output_text.done", **at, "content_index": 0, "text": text, "logprobs": []},
            {"type": "response.content_part.done", **at, "content_index": 0, "part": {**part, "text": text}},
            {"type": "response.output_item.done", "output_index": 0, "item": whole},
            {"type": "response.completed", "response": _response("completed", [whole])},
        ]
    )


def _responses_call(pieces: list[str]) -> list[bytes]:
    item = {
        "id": "fc_1",
        "type": "function_call",
        "call_id": "call_1",
        "name": "write",
        "arguments": "",
        "status": "in_progress",
    }
    at = {"output_index": 0, "item_id": "fc_1"}
    whole = {**item, "status": "completed", "arguments": "".join(pieces)}
    return _numbered(
        [
            {"type": "response.created", "response": _response("in_progress", [])},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            *[{"type": "response.function_call_arguments.delta", **at, "delta": piece} for piece in pieces],
            {"type": "response.function_call_arguments.done", **at, "arguments": whole["arguments"]},
            {"type": "response.output_item.done", "output_index": 0, "item": whole},
            {"type": "response.completed", "response": _response("completed", [whole])},
        ]
    )


def _message(usage: dict[str, int]) -> dict[str, Any]:
    head = {"id": "msg_01XFDUD", "type": "message", "role": "assistant", "model": "claude", "content": []}
    return {**head, "stop_reason": None, "stop_sequence": None, "usage": usage}


def _block(start: dict[str, Any], deltas: list[dict[str, Any]], reason: str) -> list[bytes]:
    ended = {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": {"output_tokens": 400},
    }
    return [
        _named({"type": "message_start", "message": _message({"input_tokens": 9, "output_tokens": 1})}),
        _named({"type": "content_block_start", "index": 0, "content_block": start}),
        *[_named({"type": "content_block_delta", "index": 0, "delta": delta}) for delta in deltas],
        *(_named({"type": "content_block_stop", "index": 0}), _named(ended), _named({"type": "message_stop"})),
    ]


def _messages(pieces: list[str]) -> list[bytes]:
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return _block({"type": "text", "text": ""}, deltas, "end_turn")


def _messages_call(pieces: list[str]) -> list[bytes]:
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return _block({"type": "tool_use", "id": "toolu_1", "name": "write", "input": {}}, deltas, "tool_use")


def _candidate(parts: list[dict[str, Any]], finish: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 400, "totalTokenCount": 409}
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash",
        "responseId": "rY4aZ",
    }


def _gemini(pieces: list[str]) -> list[bytes]:
    return [
        *[_data(_candidate([{"text": piece}])) for piece in pieces],
        _data(_candidate([{"text": ""}], "STOP")),
    ]


def _gemini_call(pieces: list[str]) -> list[bytes]:
    call = {"functionCall": {"name": "write", "args": json.loads("".join(pieces))}}
    return [_data(_candidate([call])), _data(_candidate([], "STOP"))]


# -- requests ----------------------------------------------------------------------------------------------------------


def _chat_request(turns: int, said: str, arguments: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}]
    for number in range(turns):
        call = {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": "read", "arguments": json.dumps(arguments)},
        }
        messages += [
            {"role": "user", "content": said},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"call_{number}", "content": said[:300]},
            {"role": "assistant", "content": "Done."},
        ]
    tools = [{"type": "function", "function": {"name": "read", "description": "Reads.", "parameters": schema}}]
    return {"model": "m", "stream": True, "messages": messages, "tools": tools, "max_completion_tokens": 1000}


def _responses_request(turns: int, said: str, arguments: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for number in range(turns):
        call_id = f"call_{number}"
        items += [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": said}]},
            {"type": "function_call", "call_id": call_id, "name": "read", "arguments": json.dumps(arguments)},
            {"type": "function_call_output", "call_id": call_id, "output": said[:300]},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Done.", "annotations": []}],
            },
        ]
    tools = [{"type": "function", "name": "read", "description": "Reads.", "parameters": schema, "strict": False}]
    return {"model": "m", "stream": True, "store": False, "instructions": "Be brief.", "input": items, "tools": tools}


def _messages_request(turns: int, said: str, arguments: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for number in range(turns):
        call_id = f"toolu_{number}"
        messages += [
            {"role": "user", "content": [{"type": "text", "text": said}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": call_id, "name": "read", "input": arguments}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": said[:300]}]},
            {"role": "assistant", "content": "Done."},
        ]
    tools = [{"name": "read", "description": "Reads.", "input_schema": schema}]
    return {
        "model": "m",
        "stream": True,
        "max_tokens": 1000,
        "system": "Be brief.",
        "messages": messages,
        "tools": tools,
    }


def _gemini_request(turns: int, said: str, arguments: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    contents: list[dict[str, Any]] = []
    for number in range(turns):
        call = {"id": f"c{number}", "name": "read", "args": arguments}
        answer = {"id": f"c{number}", "name": "read", "response": {"output": said[:300]}}
        contents += [
            {"role": "user", "parts": [{"text": said}]},
            {"role": "model", "parts": [{"functionCall": call}]},
            {"role": "user", "parts": [{"functionResponse": answer}]},
            {"role": "model", "parts": [{"text": "Done."}]},
        ]
    declared = {"name": "read", "description": "Reads.", "parametersJsonSchema": schema}
    system = {"parts": [{"text": "Be brief."}]}
    return {"contents": contents, "systemInstruction": system, "tools": [{"functionDeclarations": [declared]}]}
