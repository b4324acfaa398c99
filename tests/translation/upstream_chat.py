"""Chat Completions as OpenAI and its imitators send it."""

import json
from typing import Any

from tests.translation.seen import Counts, Fault, Seen, blob, call, reasoning, refusal, text
from tests.translation.upstreams import Case, Raw

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-x"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
FULL_USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 105,
    "total_tokens": 1105,
    "prompt_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 90, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 100, "audio_tokens": 0},
}
COUNTS = Counts(9, 4)
DONE = "[DONE]"
PNG = "iVBORw0KGgo="

Payload = dict[str, Any]


def chunk(delta: Payload | None = None, finish: str | None = None, index: int = 0, **members: Any) -> Payload:
    choice = {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    return {**HEAD, "choices": [choice], **members}


def usage_chunk(usage: Payload = USAGE) -> Payload:
    return {**HEAD, "choices": [], "usage": usage}


ROLE = chunk({"role": "assistant", "content": "", "refusal": None})
CALL_ROLE = chunk({"role": "assistant", "content": None})


def stream(*deltas: Payload, finish: str = "stop", role: Payload = ROLE) -> tuple[Any, ...]:
    """Return a stream as OpenAI's: usage null until the last chunk."""
    chunks = [role, *map(chunk, deltas), chunk({}, finish)]
    return (*({**each, "usage": None} for each in chunks), usage_chunk(), DONE)


def said(*texts: str) -> list[Payload]:
    return [{"content": each} for each in texts]


def opened(index: int, id: str, name: str, arguments: str = "") -> Payload:  # noqa: A002
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}


def more(index: int, fragment: str) -> Payload:
    return {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}


def whole(message: Payload, finish: str = "stop", usage: Payload | None = USAGE, *others: Payload) -> Payload:
    head = {**HEAD, "object": "chat.completion"}
    filled = {"role": "assistant", "content": None, "refusal": None, **message}
    choices = [{"index": 0, "message": filled, "logprobs": None, "finish_reason": finish}, *others]
    return {**head, "choices": choices, "usage": usage}


def calls(*entries: tuple[str, str, str]) -> list[Payload]:
    return [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name, arguments in entries  # noqa: A001
    ]


def case(name: str, payloads: tuple[Any, ...], seen: Seen, unary: Payload | None = None, *, sdk: bool = True) -> Case:
    return Case(name, "chat", payloads, seen, unary, sdk)


def answer(*blocks: Any, finish: str = "end", **members: Any) -> Seen:
    return Seen(blocks, finish, **{"usage": COUNTS, **members})


HELLO = answer(text("Hello there"))
HELLO_WHOLE = whole({"content": "Hello there"})
TRICKY = 'Grüße, 漢字 😀\u2028"data: [DONE]"\r\n\r\n\t\\ {"error":{"usage":null}} </end>'
ARGUMENTS = '{"city": "Zürich", "n": 1e3, "deep": {"a": [1, null, "\\u00e9\\ud83d\\ude00"]}}'
WEATHER = call("call_1", "weather", ARGUMENTS)
NOTE = {
    "type": "url_citation",
    "url_citation": {"url": "https://a.example/1", "title": "One", "start_index": 0, "end_index": 5},
}
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}, "index": 0}
PATCH = '*** Begin Patch\n+é "quoted" \\ 😀\n*** End Patch'
WRAPPED = json.dumps({"input": PATCH})
OVERLOADED = {"error": {"message": "Overloaded", "type": "server_error", "param": None, "code": "overloaded"}}

PLAIN = stream(*said("Hel", "lo the", "re"))
TEXTS = [
    case("plain", PLAIN, HELLO, HELLO_WHOLE),
    case(
        "tricky characters",
        stream(*said(*TRICKY)),
        answer(text(TRICKY)),
        whole({"content": TRICKY}),
    ),
    case("empty", stream(), answer(), whole({"content": ""})),
    case("length", stream(*said("Hel"), finish="length"), answer(text("Hel"), finish="length"), None),
    case(
        "filter",
        stream(*said("Hel"), finish="content_filter"),
        answer(text("Hel"), finish="filter"),
        whole({"content": "Hel"}, "content_filter"),
    ),
    case(
        "refusal",
        stream({"refusal": "I can"}, {"refusal": "not."}),
        answer(refusal("I cannot."), finish="refusal"),
        whole({"refusal": "I cannot."}),
    ),
    case(
        "reasoning, then text",
        stream({"reasoning_content": "Let me "}, {"reasoning_content": "think"}, *said("Hel", "lo")),
        answer(reasoning("Let me think"), text("Hello")),
        whole({"content": "Hello", "reasoning_content": "Let me think"}),
    ),
    case(
        "reasoning in the other member",
        stream({"reasoning": "hm", "content": ""}, *said("Hello")),
        answer(reasoning("hm"), text("Hello")),
        whole({"content": "Hello", "reasoning": "hm"}),
    ),
    case(
        "reasoning in both members",
        stream({"reasoning_content": "hm", "reasoning": "hm"}, {"reasoning_content": "!", "content": "Hi"}),
        answer(reasoning("hm!"), text("Hi")),
        None,
    ),
    case(
        "reasoning alone",
        stream({"reasoning_content": "hm"}),
        answer(reasoning("hm")),
        whole({"content": "", "reasoning_content": "hm"}),
    ),
    case(
        "citation",
        stream(*said("Hello there"), {"annotations": [NOTE]}),
        answer(text("Hello there"), citations=("https://a.example/1",)),
        whole({"content": "Hello there", "annotations": [NOTE]}),
    ),
    case(
        "image",
        stream(*said("Here: "), {"images": [IMAGE]}),
        answer(text("Here: "), blob("image/png", 8)),
        whole({"content": "Here: ", "images": [IMAGE]}),
    ),
    case(
        "two choices",
        (
            *(chunk({"role": "assistant", "content": ""}, index=index) for index in (0, 1)),
            *(
                chunk({"content": each}, index=index)
                for each, index in (("Hel", 0), ("Good ", 1), ("lo", 0), ("day", 1))
            ),
            *(chunk({}, finish, index) for finish, index in (("stop", 1), ("length", 0))),
            usage_chunk(),
            DONE,
        ),
        answer(text("Hello"), finish="length", choices=(Seen((text("Good day"),), "end"),)),
        whole(
            {"content": "Hello"},
            "length",
            USAGE,
            {"index": 1, "message": {"role": "assistant", "content": "Good day"}, "finish_reason": "stop"},
        ),
    ),
]

CALLS = [
    case(
        "call",
        stream(
            opened(0, "call_1", "weather"),
            *(more(0, ARGUMENTS[at : at + 7]) for at in range(0, len(ARGUMENTS), 7)),
            finish="tool_calls",
            role=CALL_ROLE,
        ),
        answer(WEATHER, finish="tool"),
        whole({"tool_calls": calls(("call_1", "weather", ARGUMENTS))}, "tool_calls"),
    ),
    case(
        "parallel calls",
        stream(
            opened(0, "call_a", "f"),
            more(0, "{}"),
            opened(1, "call_b", "g"),
            more(1, '{"x":1}'),
            finish="tool_calls",
            role=CALL_ROLE,
        ),
        answer(call("call_a", "f", {}), call("call_b", "g", {"x": 1}), finish="tool"),
        whole({"tool_calls": calls(("call_a", "f", "{}"), ("call_b", "g", '{"x":1}'))}, "tool_calls"),
    ),
    case(
        "interleaved calls",
        stream(
            opened(0, "call_a", "f"),
            opened(1, "call_b", "g"),
            more(0, '{"x":'),
            more(1, '{"y'),
            more(0, '"{'),
            more(1, '":2}'),
            more(0, '"}'),
            finish="tool_calls",
            role=CALL_ROLE,
        ),
        answer(call("call_a", "f", {"x": "{"}), call("call_b", "g", {"y": 2}), finish="tool"),
    ),
    case(
        "text and call",
        stream(*said("Let me see. "), opened(0, "call_1", "weather"), more(0, ARGUMENTS), finish="tool_calls"),
        answer(text("Let me see. "), WEATHER, finish="tool"),
        whole({"content": "Let me see. ", "tool_calls": calls(("call_1", "weather", ARGUMENTS))}, "tool_calls"),
    ),
    case(
        "reasoning, text and call",
        stream(
            {"reasoning_content": "hm"},
            *said("So: "),
            opened(0, "call_1", "weather"),
            more(0, ARGUMENTS),
            finish="tool_calls",
        ),
        answer(reasoning("hm"), text("So: "), WEATHER, finish="tool"),
        whole(
            {"content": "So: ", "reasoning_content": "hm", "tool_calls": calls(("call_1", "weather", ARGUMENTS))},
            "tool_calls",
        ),
    ),
    case(
        "call, finished with stop",
        stream(opened(0, "call_1", "weather"), more(0, ARGUMENTS), role=CALL_ROLE),
        answer(WEATHER, finish="tool"),
        whole({"tool_calls": calls(("call_1", "weather", ARGUMENTS))}, "stop"),
        sdk=False,
    ),
    case(
        "call without arguments",
        stream(opened(0, "call_1", "now"), finish="tool_calls", role=CALL_ROLE),
        answer(call("call_1", "now", {}), finish="tool"),
        whole({"tool_calls": calls(("call_1", "now", ""))}, "tool_calls"),
        sdk=False,
    ),
    case(
        "free-form call",
        stream(
            opened(0, "call_1", "apply_patch"),
            *(more(0, WRAPPED[at : at + 5]) for at in range(0, len(WRAPPED), 5)),
            finish="tool_calls",
            role=CALL_ROLE,
        ),
        answer(call("call_1", "apply_patch", {"input": PATCH}), finish="tool"),
        whole({"tool_calls": calls(("call_1", "apply_patch", WRAPPED))}, "tool_calls"),
    ),
    case(
        "cut call",
        stream(opened(0, "call_1", "weather"), more(0, '{"city":"Par'), finish="length", role=CALL_ROLE),
        answer(call("call_1", "weather", '{"city":"Par'), finish="length"),
        whole({"tool_calls": calls(("call_1", "weather", '{"city":"Par'))}, "length"),
    ),
    case(
        "all in one chunk",
        (
            chunk(
                {
                    "role": "assistant",
                    "content": "ok",
                    "tool_calls": [*opened(0, "call_1", "f", "{")["tool_calls"], *more(0, "}")["tool_calls"]],
                },
                "tool_calls",
                usage=USAGE,
            ),
            DONE,
        ),
        answer(text("ok"), call("call_1", "f", {}), finish="tool"),
    ),
    case(
        "every call at index 0",
        stream(
            opened(0, "call_a", "f", "{}"),
            opened(0, "call_b", "g", '{"x":1}'),
            finish="tool_calls",
            role=CALL_ROLE,
        ),
        answer(call("call_a", "f", {}), call("call_b", "g", {"x": 1}), finish="tool"),
        sdk=False,
    ),
    case(
        "indexes with gaps",
        stream(
            opened(1, "call_a", "f", "{}"),
            opened(3, "call_b", "g", '{"x":'),
            more(3, "1}"),
            finish="tool_calls",
            role=CALL_ROLE,
        ),
        answer(call("call_a", "f", {}), call("call_b", "g", {"x": 1}), finish="tool"),
        sdk=False,
    ),
    case(
        "identity repeated",
        stream(
            opened(0, "call_1", "f", '{"x"'),
            opened(0, "call_1", "f", ":1}"),
            finish="tool_calls",
            role=CALL_ROLE,
        ),
        answer(call("call_1", "f", {"x": 1}), finish="tool"),
        sdk=False,
    ),
    case(
        "identity late",
        stream(
            {"tool_calls": [{"index": 0, "id": "", "type": "function", "function": {"arguments": '{"x"'}}]},
            opened(0, "call_1", "f", ":1}"),
            finish="tool_calls",
            role=CALL_ROLE,
        ),
        answer(call("call_1", "f", {"x": 1}), finish="tool"),
    ),
    case(
        "no id",
        stream(
            {"tool_calls": [{"index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            finish="tool_calls",
            role=CALL_ROLE,
        ),
        answer(call(None, "f", {}), finish="tool"),
        sdk=False,
    ),
]

GROWING = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
IN_CHOICE = chunk({}, "stop")
IN_CHOICE["choices"][0]["usage"] = USAGE
OUTSIDE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 115,
    "completion_tokens_details": {"reasoning_tokens": 100},
}
AZURE = {**HEAD, "id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
BODY = [ROLE, chunk({"content": "Hello there"})]

FORMS = [
    case(
        "usage in full",
        (*BODY, chunk({}, "stop"), usage_chunk(FULL_USAGE), DONE),
        answer(text("Hello there"), usage=Counts(1000, 105, 900, 90, 100)),
        whole({"content": "Hello there"}, usage=FULL_USAGE),
    ),
    case("usage in the finish chunk", (*BODY, chunk({}, "stop", usage=USAGE), DONE), HELLO),
    case(
        "usage on every chunk",
        (*({**each, "usage": GROWING} for each in BODY), chunk({}, "stop", usage=USAGE), DONE),
        HELLO,
    ),
    case("usage in the choice", (*BODY, IN_CHOICE, DONE), HELLO, sdk=False),
    case(
        "reasoning not in the output",
        (*BODY, chunk({}, "stop"), usage_chunk(OUTSIDE), DONE),
        answer(text("Hello there"), usage=Counts(10, 105, 0, 0, 100)),
        sdk=False,
    ),
    case("no usage", (*BODY, chunk({}, "stop"), DONE), answer(text("Hello there"), usage=None)),
    case("no end mark", (*BODY, chunk({}, "stop", usage=USAGE)), HELLO),
    case("more behind the end mark", (*PLAIN, chunk({"content": "ghost"}), OVERLOADED), HELLO),
    case("no role", (*BODY[1:], chunk({}, "stop", usage=USAGE), DONE), HELLO),
    case(
        "role on every chunk",
        (
            *(chunk({"role": "assistant", "content": each}) for each in ("Hel", "lo there", "")),
            chunk({"role": ""}, "stop", usage=USAGE),
            DONE,
        ),
        HELLO,
        sdk=False,
    ),
    case(
        "chunks without choices",
        (AZURE, {**HEAD, "choices": []}, *BODY, {**HEAD, "choices": []}, chunk({}, "stop", usage=USAGE), DONE),
        HELLO,
    ),
    case("choices null", ({**HEAD, "choices": None}, *BODY, chunk({}, "stop", usage=USAGE), DONE), HELLO, sdk=False),
    case(
        "empty deltas",
        (
            ROLE,
            chunk({}),
            chunk({"content": None, "reasoning_content": ""}),
            chunk({"content": "Hello there"}),
            chunk({"content": ""}),
            chunk({}, "stop", usage=USAGE),
            DONE,
        ),
        HELLO,
    ),
    case(
        "comments",
        (
            Raw(": OPENROUTER PROCESSING\n\n"),
            BODY[0],
            Raw(": OPENROUTER PROCESSING\n\n"),
            BODY[1],
            Raw(":\n\n"),
            chunk({}, "stop", usage=USAGE),
            DONE,
        ),
        HELLO,
    ),
    case(
        "padding and members unknown",
        (
            {**ROLE, "obfuscation": "x7Gh2", "x_new": {"error": None}},
            {**BODY[1], "obfuscation": "qQ", "service_tier": "default", "error": None},
            {"x_new": 1, **HEAD, "choices": []},
            chunk({}, "stop", usage=USAGE, obfuscation=""),
            DONE,
        ),
        HELLO,
    ),
    case(
        "an unknown reason",
        (*BODY, chunk({}, "exhausted", usage=USAGE), DONE),
        answer(text("Hello there"), finish="other"),
        sdk=False,
    ),
]

FAULT = Fault("Overloaded", "server_error", "overloaded")


def failed(*blocks: Any, fault: Fault = FAULT) -> Seen:
    return Seen(blocks, error=fault)


ERRORS = [
    case("error first", (OVERLOADED,), failed()),
    case("error in the middle", (*BODY, OVERLOADED, DONE), failed(text("Hello there"))),
    case(
        "error in a chunk",
        (*BODY, {**HEAD, "choices": [], "error": {"code": 502, "message": "Provider disconnected"}}),
        failed(text("Hello there"), fault=Fault("Provider disconnected", None, 502)),
    ),
    case("error as text", (*BODY, {"error": "boom"}), failed(text("Hello there"), fault=Fault("boom")), sdk=False),
    case("finish reason error", (*BODY, chunk({}, "error")), failed(text("Hello there"), fault=Fault("")), sdk=False),
    case(
        "error in a call",
        (CALL_ROLE, chunk(opened(0, "call_1", "f", '{"x')), OVERLOADED),
        failed(call("call_1", "f", '{"x')),
    ),
    case("cut", tuple(BODY), Seen((text("Hello there"),))),
    case("cut in a call", (CALL_ROLE, chunk(opened(0, "call_1", "f", '{"x'))), Seen((call("call_1", "f", '{"x'),))),
    case("cut at once", (), Seen()),
]

CASES = [*TEXTS, *CALLS, *FORMS, *ERRORS]
