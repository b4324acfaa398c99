"""What a request tells a model, in one form for all four dialects, in order.

Each entry is a tuple that begins with its kind: ("system", text), ("user", text), ("assistant", text), ("thought",
text, signature), ("call", id, name, arguments), ("result", id, text), ("media", content). Arguments are decoded.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

Body = dict[str, Any]
Entry = tuple[Any, ...]


def told(dialect: str, body: Body) -> list[Entry]:
    """Return all that a body tells."""
    return list(_TOLD[dialect](body))


def tools(dialect: str, body: Body) -> list[str]:
    """Return the names of the functions that a body offers."""
    offered = body.get("tools") or []
    if dialect == "chat":
        return [tool["function"]["name"] for tool in offered]
    if dialect == "gemini":
        return [each["name"] for tool in offered for each in tool.get("functionDeclarations") or []]
    return [tool["name"] for tool in offered if "name" in tool]


def _texts(content: Any) -> Iterator[Body]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    yield from content or []


def _joined(content: Any) -> str:
    return "\n".join(part["text"] for part in _texts(content) if "text" in part)


# -- chat --------------------------------------------------------------------------------------------------------------


def _chat(body: Body) -> Iterator[Entry]:
    for message in body["messages"]:
        role = "system" if message["role"] == "developer" else message["role"]
        if role == "tool":
            yield "result", message["tool_call_id"], _joined(message["content"])
            continue
        if "reasoning_content" in message:
            yield "thought", message["reasoning_content"], None
        for detail in message.get("reasoning_details") or []:
            yield "thought", detail.get("text") or detail.get("summary") or "", detail.get("signature")
        for part in _texts(message["content"]):
            if part["type"] == "text":
                yield role, part["text"]
            else:
                yield "media", json.dumps(part)
        for call in message.get("tool_calls") or []:
            yield "call", call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])


# -- responses ---------------------------------------------------------------------------------------------------------


def _responses(body: Body) -> Iterator[Entry]:
    if body.get("instructions"):
        yield "system", body["instructions"]
    for item in body["input"]:
        kind = item["type"]
        if kind == "message":
            role = "system" if item["role"] == "developer" else item["role"]
            for part in _texts(item["content"]):
                yield (role, part["text"]) if "text" in part else ("media", json.dumps(part))
        elif kind == "reasoning":
            text = "\n\n".join(part["text"] for part in item["summary"])
            yield "thought", text, item["encrypted_content"]
        elif kind == "function_call":
            yield "call", item["call_id"], item["name"], json.loads(item["arguments"])
        elif kind == "custom_tool_call":
            yield "call", item["call_id"], item["name"], {"input": item["input"]}
        else:
            yield "result", item["call_id"], _joined(item["output"])


# -- messages ----------------------------------------------------------------------------------------------------------


def _messages(body: Body) -> Iterator[Entry]:
    for block in _texts(body.get("system")):
        yield "system", block["text"]
    for message in body["messages"]:
        for block in _texts(message["content"]):
            yield _block(message["role"], block)


def _block(role: str, block: Body) -> Entry:
    if block["type"] == "text":
        return role, block["text"]
    if block["type"] == "thinking":
        return "thought", block["thinking"], block["signature"]
    if block["type"] == "redacted_thinking":
        return "thought", "", block["data"]
    if block["type"] == "tool_use":
        return "call", block["id"], block["name"], block["input"]
    if block["type"] == "tool_result":
        return "result", block["tool_use_id"], _joined(block.get("content"))
    return "media", json.dumps(block)


# -- gemini ------------------------------------------------------------------------------------------------------------


def _gemini(body: Body) -> Iterator[Entry]:
    for part in body.get("systemInstruction", {}).get("parts", []):
        yield "system", part["text"]
    for content in body["contents"]:
        role = "assistant" if content["role"] == "model" else "user"
        for part in content["parts"]:
            signature = part.get("thoughtSignature")
            if signature is not None and not part.get("thought"):
                yield "thought", "", signature
            yield _part(role, part)


def _part(role: str, part: Body) -> Entry:
    if part.get("thought"):
        return "thought", part["text"], part.get("thoughtSignature")
    if "text" in part:
        return role, part["text"]
    if "functionCall" in part:
        call = part["functionCall"]
        return "call", call["id"], call["name"], call["args"]
    if "functionResponse" in part:
        answered = part["functionResponse"]
        response = answered["response"]
        plain = response.get("output", response.get("error")) if len(response) == 1 else None
        return "result", answered["id"], plain if isinstance(plain, str) else json.dumps(response)
    return "media", json.dumps(part)


_TOLD: dict[str, Callable[[Body], Iterator[Entry]]] = {
    "chat": _chat,
    "responses": _responses,
    "messages": _messages,
    "gemini": _gemini,
}
