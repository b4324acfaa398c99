"""Request bodies judged by what vendors refuse beyond types: the order of turns, calls and results, and their ids.

The rules are those that brick a conversation: a history that breaks one is refused on this turn and on every later
one. Each stands where the shared notes on the dialects have it (request mapping, hard cases B46 to B57).
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

Body = dict[str, Any]

_WORD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
CACHE_MARKS_MAX = 4


def offences(dialect: str, body: Body) -> list[str]:
    """Return what the vendor would refuse, [] for nothing."""
    return list(_RULES[dialect](body))


def _pairs(calls: list[str], results: list[str], where: str) -> Iterator[str]:
    if calls != results:
        yield f"{where}: calls {calls}, results {results}"


# -- chat --------------------------------------------------------------------------------------------------------------


def _chat(body: Body) -> Iterator[str]:
    messages = body["messages"]
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        if message["role"] == "tool":
            yield f"messages[{at - 1}]: a result behind no call"
            continue
        calls = [call["id"] for call in message.get("tool_calls") or []]
        results: list[str] = []
        while calls and at < len(messages) and messages[at]["role"] == "tool":
            results.append(messages[at]["tool_call_id"])
            at += 1
        yield from _pairs(calls, results, f"messages[{at - 1}]")
        yield from (f"the id {each!r} is too long" for each in calls if not 0 < len(each) <= 64)
        if message["content"] is None and not (calls or message.get("refusal")):
            yield f"messages[{at - 1}]: no content"
    for tool in body.get("tools") or []:
        if not _NAME.fullmatch(tool["function"]["name"]):
            yield f"the name {tool['function']['name']!r}"
    if "tool_choice" in body and "tools" not in body:
        yield "a choice of no tools"


# -- responses ---------------------------------------------------------------------------------------------------------


def _responses(body: Body) -> Iterator[str]:
    open_calls: list[str] = []
    items = body["input"]
    if not items:
        yield "no input"
    for at, item in enumerate(items):
        kind = item["type"]
        if kind in {"function_call", "custom_tool_call"}:
            open_calls.append(item["call_id"])
            if not 0 < len(item["call_id"]) <= 64:
                yield f"the id {item['call_id']!r} is too long"
        elif kind in {"function_call_output", "custom_tool_call_output"}:
            if item["call_id"] not in open_calls:
                yield f"input[{at}]: a result of no open call"
            else:
                open_calls.remove(item["call_id"])
        elif kind == "reasoning" and not _goes_on(items, at):
            yield f"input[{at}]: reasoning that nothing follows"
    if open_calls:
        yield f"no output for {open_calls}"
    for tool in body.get("tools") or []:
        if "name" in tool and not _NAME.fullmatch(tool["name"]):
            yield f"the name {tool['name']!r}"


def _goes_on(items: list[Body], at: int) -> bool:
    following = items[at + 1] if at + 1 < len(items) else {}
    return following.get("role") == "assistant" or following.get("type") in {
        "reasoning",
        "function_call",
        "custom_tool_call",
    }


# -- messages ----------------------------------------------------------------------------------------------------------


def _messages(body: Body) -> Iterator[str]:
    messages = body["messages"]
    turns = [message for message in messages if message["role"] != "system"]
    if not turns or messages[0]["role"] != "user":
        yield "the user does not begin"
    for one, other in pairwise(turns):
        if one["role"] == other["role"]:
            yield "two turns of one side"
    for number, (message, following) in enumerate(zip(messages, [*messages[1:], {}], strict=True)):
        if message["role"] == "system" and (
            messages[number - 1]["role"] != "user" or following.get("role", "assistant") != "assistant"
        ):
            yield f"messages.{number}: a system turn where none may stand"
    for turn, following in zip(turns, [*turns[1:], {}], strict=True):
        blocks = _blocks(turn.get("content"))
        answers = _blocks(following.get("content"))
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        results = [block["tool_use_id"] for block in answers if block["type"] == "tool_result"]
        if turn["role"] == "assistant":
            yield from _pairs(calls, results, "a turn")
            yield from (f"the id {each!r}" for each in calls if not _WORD_ID.fullmatch(each))
            if blocks and blocks[-1]["type"] in {"thinking", "redacted_thinking"}:
                yield "a turn ends in thinking"
        if not blocks or any(block["type"] == "text" and not block["text"].strip() for block in blocks):
            yield "an empty turn or text"
        kinds = [block["type"] == "tool_result" for block in blocks]
        if kinds != sorted(kinds, reverse=True):
            yield "a result behind other blocks"
    yield from _thinking(body, turns)
    if repr(body).count("'cache_control'") > CACHE_MARKS_MAX:
        yield "too many marks"


def _blocks(content: Any) -> list[Body]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def _thinking(body: Body, turns: list[Body]) -> Iterator[str]:
    thinking = body.get("thinking") or {}
    if thinking.get("type") != "enabled":
        return
    if not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
        yield "a budget that the limit does not allow"
    if (body.get("tool_choice") or {}).get("type") in {"any", "tool"}:
        yield "a forced call beside thinking"
    spoken = [_blocks(turn["content"]) for turn in turns if turn["role"] == "assistant"]
    running = any(block["type"] == "tool_result" for block in _blocks(turns[-1]["content"]))
    if running and spoken[-1][0]["type"] not in {"thinking", "redacted_thinking"}:
        yield "the running turn does not begin with thinking"


# -- gemini ------------------------------------------------------------------------------------------------------------


def _gemini(body: Body) -> Iterator[str]:
    contents = body["contents"]
    if not contents or contents[0]["role"] != "user":
        yield "the user does not begin"
    for one, other in zip(contents, [*contents[1:], {"role": "", "parts": []}], strict=True):
        if one["role"] == other["role"]:
            yield "two contents of one side"
        if not one["parts"]:
            yield "a content without parts"
        calls = [_named(part["functionCall"]) for part in one["parts"] if "functionCall" in part]
        results = [_named(part["functionResponse"]) for part in other["parts"] if "functionResponse" in part]
        if one["role"] == "model":
            yield from _pairs(calls, results, "a content")
    for content in contents:
        for part in content["parts"]:
            if len(part.keys() & {"text", "functionCall", "functionResponse", "inlineData", "fileData"}) != 1:
                yield f"a part of {sorted(part)}"


def _named(part: Body) -> str:
    return f"{part['name']}/{part['id']}"


_RULES: dict[str, Callable[[Body], Iterator[str]]] = {
    "chat": _chat,
    "responses": _responses,
    "messages": _messages,
    "gemini": _gemini,
}
