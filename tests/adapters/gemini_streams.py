"""Gemini streams to test with: a corpus of what upstreams really send, and the ways to write it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.adapters.streams import many_lines, padded, spaced, write

Facts = dict[str, Any]
"""What a tap must have seen at the end: content, finished, done, input and output tokens, the failure's code."""

USAGE = {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}
HEAD = {"modelVersion": "gemini-2.5-pro", "responseId": "r-1"}
DONE = "[DONE]"


def chunk(*parts: dict[str, Any], finish: str | None = None, **members: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], **members, **HEAD}


def counted(value: dict[str, Any], output: int) -> dict[str, Any]:
    return {**value, "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": output}}


def call(name: str, args: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": args or {}}, **members}


HI = chunk({"text": "Hi"}, usageMetadata={"promptTokenCount": 9, "totalTokenCount": 9})
MORE = chunk({"text": " there"}, usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 2})
STOP = chunk({"text": ""}, finish="STOP", usageMetadata=USAGE)
BARE_STOP = {"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": USAGE, **HEAD}
THOUGHT = chunk({"text": "hm", "thought": True})
CALL = chunk(call("f", {"error": {"usage": 1}, "finishReason": "x", "TokenCount": 3}, thoughtSignature="c2ln"))
TEXT = chunk({"text": 'it says "error": {} and "finishReason":"STOP" and "TokenCount" \r\n\r\ndata: {\u2028€😀'})
BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": USAGE, **HEAD}
ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
IMAGE = chunk({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}, "thoughtSignature": "c2ln"})
GROUNDED = {"candidates": [{"index": 0, "groundingMetadata": {"webSearchQueries": ["x"]}}], **HEAD}
TRAFFIC = {**chunk(), "usageMetadata": {"trafficType": "ON_DEMAND"}}

OK: Facts = {"content": True, "finished": True, "done": True, "tokens": (9, 4), "code": None}
CUT: Facts = {**OK, "finished": False, "done": False, "code": "stream_incomplete"}


@dataclass(frozen=True)
class Stream:
    """One upstream's stream: payloads (JSON values, or text as it stands), what must come of them, what a client gets:
    None for all of them.
    """

    name: str
    payloads: list[Any]
    facts: Facts = field(default_factory=lambda: OK)
    kept: list[Any] | None = None

    @property
    def expected(self) -> list[Any]:
        return self.payloads if self.kept is None else self.kept


STREAMS = [
    Stream("plain", [HI, MORE, STOP]),
    Stream("one chunk", [chunk({"text": "Hi"}, finish="STOP", usageMetadata=USAGE)]),
    Stream("finish without content", [HI, MORE, BARE_STOP]),
    Stream("thoughts", [THOUGHT, counted(HI, 1), STOP]),
    Stream("thoughts alone", [THOUGHT, STOP]),
    Stream(
        "signature in the finish chunk",
        [HI, chunk({"text": "", "thoughtSignature": "c2ln"}, finish="STOP", usageMetadata=USAGE)],
    ),
    Stream("calls, one a chunk", [THOUGHT, CALL, chunk(call("f"), call("g")), BARE_STOP]),
    Stream("image", [IMAGE, STOP]),
    Stream("code", [chunk({"executableCode": {"language": "PYTHON", "code": "1"}}), MORE, STOP]),
    Stream("markers in text", [HI, TEXT, MORE, STOP]),
    Stream("traffic type first", [TRAFFIC, HI, {**MORE, "usageMetadata": {"trafficType": "ON_DEMAND"}}, STOP]),
    Stream("metadata behind the finish", [HI, STOP, GROUNDED]),
    Stream("usage behind the finish", [HI, chunk({"text": ""}, finish="STOP"), {"usageMetadata": USAGE, **HEAD}]),
    Stream(
        "a finish on every chunk",
        [chunk({"text": text}, finish="STOP", usageMetadata=USAGE) for text in ("a", "b", "c")],
    ),
    Stream("length", [HI, chunk(finish="MAX_TOKENS", usageMetadata=USAGE)]),
    Stream("safety after a call", [CALL, chunk(finish="SAFETY", usageMetadata=USAGE)]),
    Stream(
        "malformed call",
        [{**BARE_STOP, "candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}],
        {**OK, "content": False},
    ),
    Stream("continuation", [HI, chunk(finish="CONTINUATION", usageMetadata=USAGE)]),
    Stream("an unknown reason", [HI, chunk(finish="SOMETHING_NEW", usageMetadata=USAGE)]),
    Stream("blocked prompt", [BLOCKED], {**OK, "content": False, "tokens": (9, 4)}),
    Stream("blocked later", [HI, BLOCKED]),
    Stream("empty chunks", [{}, {"candidates": []}, {"candidates": None}, chunk(), HI, {}, STOP]),
    Stream("no usage", [chunk({"text": "a"}), chunk({"text": "b"}, finish="STOP")], {**OK, "tokens": None}),
    Stream("unspecified finish", [{**HI, "candidates": [{**HI["candidates"][0], "finishReason": ""}]}, MORE, STOP]),
    Stream("done of another dialect", [HI, STOP, DONE, ERROR], kept=[HI, STOP]),
    Stream("done too early", [HI, DONE, MORE, STOP], kept=[HI, MORE, STOP]),
    Stream("error null", [{**HI, "error": None}, {**MORE, "error": {}}, STOP]),
    Stream("cut", [HI, MORE], {**CUT, "tokens": (9, 2)}),
    Stream("done and cut", [HI, MORE, DONE], {**CUT, "tokens": (9, 2)}, kept=[HI, MORE]),
    Stream("cut before content", [chunk(), {}], {**CUT, "content": False, "tokens": None}),
    Stream("error", [HI, MORE, ERROR, STOP], {**CUT, "tokens": (9, 2), "code": "UNAVAILABLE"}, kept=[HI, MORE]),
    Stream("error first", [ERROR], {**CUT, "content": False, "tokens": None, "code": "UNAVAILABLE"}, kept=[]),
    Stream(
        "error behind the finish", [HI, STOP, ERROR], {**CUT, "tokens": (9, 4), "code": "UNAVAILABLE"}, kept=[HI, STOP]
    ),
    Stream(
        "garbage", ["<html>", HI], {**CUT, "content": False, "tokens": None, "code": "upstream_protocol_error"}, kept=[]
    ),
]


def google(value: Any) -> str:
    """Written as Google's servers write it: a space after each colon, none after a comma."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ": "), ensure_ascii=False)


WRITINGS: dict[str, Callable[[list[Any]], bytes]] = {
    "google": lambda payloads: write(payloads, google, "data: {}\r\n\r\n"),
    "lf": write,
    "cr": lambda payloads: write(payloads, form="data: {}\r\r"),
    "mixed ends": lambda payloads: write(payloads, form="data: {}\r\n\n"),
    "mixed ends, cr last": lambda payloads: write(payloads, form="data: {}\n\r"),
    "changing ends": lambda payloads: b"".join(
        write([payload], form=("data: {}\r\n\r\n", "data: {}\n\n", "data: {}\r\r")[turn % 3])
        for turn, payload in enumerate(payloads)
    ),
    "spaced json": lambda payloads: write(payloads, spaced),
    "padded json": lambda payloads: write(payloads, padded, "data: {}\r\n\r\n"),
    "no space": lambda payloads: write(payloads, form="data:{}\n\n"),
    "bom": lambda payloads: b"\xef\xbb\xbf" + write(payloads),
    "blank lines": lambda payloads: b"\r\n\n" + write(payloads, form="data: {}\n\n\n\n"),
    "comments": lambda payloads: b": hello\n\n" + write(payloads, form=": ping\n\ndata: {}\n: pong\n\n"),
    "comments, crlf": lambda payloads: write(payloads, form=": ping\r\n\r\ndata: {}\r\n\r\n"),
    "event names": lambda payloads: write(payloads, form="event: x\ndata: {}\n\n"),
    "ids": lambda payloads: b"retry: 3000\n\n" + write(payloads, form="id: 1\ndata: {}\n\n"),
    "name after data": lambda payloads: write(payloads, form="data: {}\nevent: x\n\n"),
    "empty data": lambda payloads: write(payloads, form="data: {}\n\ndata:\n\ndata: \n\n"),
    "many data lines": many_lines,
    "many data lines, crlf": lambda payloads: many_lines(payloads).replace(b"\n", b"\r\n"),
    "no last blank line": lambda payloads: write(payloads).removesuffix(b"\n\n"),
    "no last blank line, one end": lambda payloads: write(payloads).removesuffix(b"\n"),
    "no last blank line, crlf": lambda payloads: write(payloads, form="data: {}\r\n\r\n").removesuffix(b"\n\r\n"),
}
