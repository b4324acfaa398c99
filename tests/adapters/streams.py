"""Streams to test with: a corpus of what upstreams really send, the ways to write it, and the ways to cut it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters import sse

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
HEAD = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}

Facts = dict[str, Any]
"""What a tap must have seen at the end: content, finished, done, input and output tokens, the failure's code."""


def chunk(delta: dict[str, Any] | None = None, finish: object = None, **members: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}]
    return {**HEAD, "choices": choices, **members}


def usage_chunk(usage: object = None, **members: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [], "usage": USAGE if usage is None else usage, **members}


ROLE = chunk({"role": "assistant", "content": ""})
HI = chunk({"content": "Hi"})
STOP = chunk({}, "stop")
DONE = "[DONE]"
OK: Facts = {"content": True, "finished": True, "done": True, "tokens": None, "code": None}
COUNTED: Facts = {**OK, "tokens": (9, 4)}
CUT: Facts = {**OK, "finished": False, "done": False, "code": "stream_incomplete"}
FAILED: Facts = {**OK, "finished": False, "done": False, "code": "upstream_error"}


@dataclass(frozen=True)
class Stream:
    """One upstream's stream: payloads (JSON values, or text as it stands) and what must come of them.

    `kept` are the payloads a client gets that did not ask for usage; None for all of them. `asked` likewise for one
    that did.
    """

    name: str
    payloads: list[Any]
    facts: Facts = field(default_factory=lambda: OK)
    kept: list[Any] | None = None
    asked: list[Any] | None = None

    def expected(self, *, strip_usage: bool) -> list[Any]:
        kept = self.kept if strip_usage else self.asked
        return self.payloads if kept is None else kept


def with_null(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "usage": None}


AZURE = {**HEAD, "id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
CALL = chunk({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]})
ARGS = chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"usage":{"a":1},"finish_reason":"x"}'}}]})
TEXT = chunk({"content": 'it says "error": {"usage": 1} and [DONE] and "finish_reason":"stop" \r\n\r\n \u2028€😀'})
ERROR = {"error": {"message": "Overloaded", "type": "overloaded_error", "param": None, "code": None}}
OPENROUTER_ERROR = {**HEAD, "choices": [], "error": {"code": 502, "message": "Provider disconnected"}}
MOONSHOT = chunk({}, "stop")
MOONSHOT["choices"][0]["usage"] = USAGE
MOONSHOT_KEPT = chunk({}, "stop")
GROWING = {"prompt_tokens": 9, "completion_tokens": 1}

STREAMS = [
    Stream("plain", [ROLE, HI, STOP, DONE]),
    Stream(
        "openai with usage",
        [with_null(ROLE), with_null(HI), with_null(STOP), usage_chunk(), DONE],
        COUNTED,
        kept=[ROLE, HI, STOP, DONE],
    ),
    Stream(
        "usage in the finish chunk",
        [ROLE, HI, {**STOP, "usage": USAGE}, DONE],
        COUNTED,
        kept=[ROLE, HI, STOP, DONE],
    ),
    Stream(
        "usage on every chunk, growing",
        [
            {**ROLE, "usage": GROWING},
            {**HI, "usage": {**GROWING, "completion_tokens": 2}},
            {**STOP, "usage": USAGE},
            DONE,
        ],
        COUNTED,
        kept=[ROLE, HI, STOP, DONE],
    ),
    Stream("usage in the choice", [ROLE, HI, MOONSHOT, DONE], COUNTED, kept=[ROLE, HI, MOONSHOT_KEPT, DONE]),
    Stream(
        "usage first among the members",
        [{"usage": None, **ROLE}, {"usage": None, **HI}, {"usage": USAGE, **STOP}, DONE],
        COUNTED,
        kept=[ROLE, HI, STOP, DONE],
    ),
    Stream("azure", [AZURE, ROLE, HI, STOP, DONE]),
    Stream(
        "choices null",
        [{**HEAD, "choices": None}, ROLE, HI, STOP, DONE],
        kept=[{**HEAD, "choices": []}, ROLE, HI, STOP, DONE],
        asked=[{**HEAD, "choices": []}, ROLE, HI, STOP, DONE],
    ),
    Stream("no role", [HI, STOP, DONE]),
    Stream("reasoning first", [ROLE, chunk({"reasoning_content": "hm"}), HI, STOP, DONE]),
    Stream("tool call", [chunk({"role": "assistant", "content": None}), CALL, ARGS, chunk({}, "tool_calls"), DONE]),
    Stream("markers in text", [ROLE, HI, TEXT, STOP, DONE]),
    Stream(
        "all in one chunk",
        [chunk({"content": "ok"}, "stop", usage=USAGE), DONE],
        COUNTED,
        kept=[chunk({"content": "ok"}, "stop"), DONE],
    ),
    Stream("empty answer", [ROLE, STOP, DONE], {**OK, "content": False}),
    Stream("finish text on every chunk", [chunk({"content": "a"}, ""), chunk({"content": "b"}, ""), STOP, DONE]),
    Stream("no DONE", [ROLE, HI, STOP], asked=[ROLE, HI, STOP, DONE], kept=[ROLE, HI, STOP, DONE]),
    Stream("no finish", [ROLE, HI, DONE]),
    Stream(
        "more after DONE", [ROLE, HI, STOP, DONE, HI, ERROR], asked=[ROLE, HI, STOP, DONE], kept=[ROLE, HI, STOP, DONE]
    ),
    Stream("DONE with spaces", [ROLE, HI, STOP, "[DONE]  "], asked=[ROLE, HI, STOP, DONE], kept=[ROLE, HI, STOP, DONE]),
    Stream("error null", [{**ROLE, "error": None}, {**HI, "error": None}, STOP, DONE]),
    Stream("cut", [ROLE, HI], CUT),
    Stream("cut before content", [ROLE], {**CUT, "content": False}),
    Stream("error chunk", [ROLE, HI, ERROR, DONE], {**FAILED, "code": None}, asked=[ROLE, HI], kept=[ROLE, HI]),
    Stream("error first", [ERROR], {**FAILED, "content": False, "code": None}, asked=[], kept=[]),
    Stream(
        "error with choices", [ROLE, HI, OPENROUTER_ERROR], {**FAILED, "code": None}, asked=[ROLE, HI], kept=[ROLE, HI]
    ),
    Stream("error as text", [ROLE, HI, {"error": "boom"}], {**FAILED, "code": None}, asked=[ROLE, HI], kept=[ROLE, HI]),
    Stream("finish error", [ROLE, HI, chunk({}, "error")], {**FAILED, "code": None}, asked=[ROLE, HI], kept=[ROLE, HI]),
    Stream(
        "garbage data",
        ["<html>", HI],
        {**FAILED, "content": False, "code": "upstream_protocol_error"},
        asked=[],
        kept=[],
    ),
]


def compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def spaced(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)


def padded(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(" ,  ", "\t:   "))[:-1] + "     }"


def write(payloads: list[Any], dump: Callable[[Any], str] = compact, form: str = "data: {}\n\n") -> bytes:
    return "".join(form.format(dump(payload)) for payload in payloads).encode()


def many_lines(payloads: list[Any]) -> bytes:
    blocks = []
    for payload in payloads:
        text = payload if isinstance(payload, str) else json.dumps(payload, indent=1)
        blocks.append("".join(f"data: {line}\n" for line in text.split("\n")) + "\n")
    return "".join(blocks).encode()


WRITINGS: dict[str, Callable[[list[Any]], bytes]] = {
    "lf": write,
    "crlf": lambda payloads: write(payloads, form="data: {}\r\n\r\n"),
    "cr": lambda payloads: write(payloads, form="data: {}\r\r"),
    "mixed ends": lambda payloads: write(payloads, form="data: {}\r\n\n"),
    "mixed ends, cr last": lambda payloads: write(payloads, form="data: {}\n\r"),
    "spaced json": lambda payloads: write(payloads, spaced),
    "padded json": lambda payloads: write(payloads, padded),
    "padded json, crlf": lambda payloads: write(payloads, padded, "data: {}\r\n\r\n"),
    "no space": lambda payloads: write(payloads, form="data:{}\n\n"),
    "bom": lambda payloads: b"\xef\xbb\xbf" + write(payloads),
    "blank lines": lambda payloads: b"\r\n\n" + write(payloads, form="data: {}\n\n\n\n"),
    "comments": lambda payloads: b": hello\n\n" + write(payloads, form=": ping\n\ndata: {}\n: pong\n\n"),
    "comments, crlf": lambda payloads: write(payloads, form=": ping\r\n\r\ndata: {}\r\n\r\n"),
    "event names": lambda payloads: write(payloads, form="event: x\ndata: {}\n\n"),
    "ids": lambda payloads: b"retry: 3000\n\n" + write(payloads, form="id: 1\ndata: {}\n\n"),
    "name after data": lambda payloads: write(payloads, form="data: {}\nevent: x\n\n"),
    "many data lines": many_lines,
    "many data lines, crlf": lambda payloads: many_lines(payloads).replace(b"\n", b"\r\n"),
    "no last blank line": lambda payloads: write(payloads).removesuffix(b"\n\n"),
    "no last blank line, one end": lambda payloads: write(payloads).removesuffix(b"\n"),
    "no last blank line, crlf": lambda payloads: write(payloads, form="data: {}\r\n\r\n").removesuffix(b"\n\r\n"),
}


def two_part_splits(data: bytes) -> Iterator[list[bytes]]:
    for position in range(1, len(data)):
        yield [data[:position], data[position:]]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut by `sizes`, repeated as long as there are bytes."""
    cut, position, turn = [], 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        cut.append(data[position : position + size])
        position, turn = position + size, turn + 1
    return cut


def count_searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that will hold the length of every window searched for the end of an event."""
    searched: list[int] = []
    search = sse.last_block_end

    def counted(window: bytes) -> int:
        searched.append(len(window))
        return search(window)

    monkeypatch.setattr(sse, "last_block_end", counted)
    return searched
