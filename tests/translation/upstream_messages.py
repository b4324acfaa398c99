"""Messages as Anthropic and those that serve its models send them."""

from typing import Any

from tests.translation.seen import Counts, Fault, Seen, call, reasoning, text
from tests.translation.upstream_chat import ARGUMENTS, PATCH, TRICKY, WEATHER, WRAPPED
from tests.translation.upstreams import Case, Raw

Payload = dict[str, Any]

START_USAGE = {
    "input_tokens": 9,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 1,
    "service_tier": "standard",
}
COUNTS = Counts(9, 4)
SIGNATURE = "EqoBCkYIBxgCKkDsignature+/=="
PING = {"type": "ping"}
STOP = {"type": "message_stop"}


def start(content: tuple[Payload, ...] = (), id: str = "msg_1", **usage: Any) -> Payload:  # noqa: A002
    message = {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": list(content),
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**START_USAGE, **usage},
    }
    return {"type": "message_start", "message": message}


def delta(index: int, kind: str, **members: Any) -> Payload:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **members}}


def opened(index: int, block: Payload) -> Payload:
    return {"type": "content_block_start", "index": index, "content_block": block}


def closed(index: int) -> Payload:
    return {"type": "content_block_stop", "index": index}


def finish(
    reason: str | None = "end_turn", sequence: str | None = None, usage: Payload | None = None, **members: Any
) -> Payload:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": sequence, **members},
        "usage": {"output_tokens": 4, **(usage or {})},
    }


TEXT = {"type": "text", "text": ""}
THINKING = {"type": "thinking", "thinking": "", "signature": ""}


def texts(index: int, *pieces: str) -> tuple[Payload, ...]:
    return (opened(index, TEXT), *(delta(index, "text_delta", text=piece) for piece in pieces), closed(index))


def thought(index: int, *pieces: str, signature: str = SIGNATURE) -> tuple[Payload, ...]:
    return (
        opened(index, THINKING),
        *(delta(index, "thinking_delta", thinking=piece) for piece in pieces),
        delta(index, "signature_delta", signature=signature),
        closed(index),
    )


def called(index: int, id: str, name: str, *fragments: str) -> tuple[Payload, ...]:  # noqa: A002
    return (
        opened(index, {"type": "tool_use", "id": id, "name": name, "input": {}}),
        *(delta(index, "input_json_delta", partial_json=fragment) for fragment in ("", *fragments)),
        closed(index),
    )


def stream(*events: Payload, reason: str = "end_turn", **members: Any) -> tuple[Any, ...]:
    return (start(), PING, *events, finish(reason, **members), STOP)


def whole(*content: Payload, reason: str = "end_turn", usage: Payload | None = None, **members: Any) -> Payload:
    message: Payload = start()["message"]
    counts = {**START_USAGE, "output_tokens": 4, **(usage or {})}
    return {**message, "content": list(content), "stop_reason": reason, "usage": counts, **members}


def text_block(value: str) -> Payload:
    return {"type": "text", "text": value}


def thinking_block(value: str, signature: str = SIGNATURE) -> Payload:
    return {"type": "thinking", "thinking": value, "signature": signature}


def use_block(id: str, name: str, arguments: Any) -> Payload:  # noqa: A002
    return {"type": "tool_use", "id": id, "name": name, "input": arguments}


def case(name: str, payloads: tuple[Any, ...], seen: Seen, unary: Payload | None = None, *, sdk: bool = True) -> Case:
    return Case(name, "messages", payloads, seen, unary, sdk)


def answer(*blocks: Any, finish: str = "end", **members: Any) -> Seen:
    return Seen(blocks, finish, **{"usage": COUNTS, **members})


HELLO = answer(text("Hello there"))
PIECES = [ARGUMENTS[at : at + 9] for at in range(0, len(ARGUMENTS), 9)]
CITATION = {
    "type": "web_search_result_location",
    "url": "https://a.example/1",
    "title": "One",
    "encrypted_index": "e",
    "cited_text": "there",
}
PAGE = {
    "type": "page_location",
    "cited_text": "there",
    "document_index": 0,
    "document_title": "Paper",
    "start_page_number": 1,
    "end_page_number": 2,
    "file_id": None,
}
SEARCH = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {},
    "caller": {"type": "direct"},
}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "caller": {"type": "direct"},
    "content": [
        {
            "type": "web_search_result",
            "url": "https://a.example/1",
            "title": "One",
            "encrypted_content": "e",
            "page_age": None,
        }
    ],
}
STOP_DETAILS = {"type": "refusal", "category": "cyber", "explanation": None}

TEXTS = [
    case("plain", stream(*texts(0, "Hel", "lo the", "re")), HELLO, whole(text_block("Hello there"))),
    case("tricky characters", stream(*texts(0, *TRICKY)), answer(text(TRICKY)), whole(text_block(TRICKY))),
    case("empty", stream(), answer(), whole()),
    case("empty block", stream(*texts(0)), answer(), whole(text_block(""))),
    case(
        "two blocks",
        stream(*texts(0, "Hel"), *texts(1, "lo")),
        answer(text("Hello")),
        whole(text_block("Hel"), text_block("lo")),
    ),
    case(
        "length",
        stream(*texts(0, "Hel"), reason="max_tokens"),
        answer(text("Hel"), finish="length"),
        whole(text_block("Hel"), reason="max_tokens"),
    ),
    case(
        "window full",
        stream(*texts(0, "Hel"), reason="model_context_window_exceeded"),
        answer(text("Hel"), finish="context_full"),
        whole(text_block("Hel"), reason="model_context_window_exceeded"),
    ),
    case(
        "stop sequence",
        stream(*texts(0, "Hel"), reason="stop_sequence", sequence="\n\nH:"),
        answer(text("Hel"), finish="stop_sequence", stop_sequence="\n\nH:"),
        whole(text_block("Hel"), reason="stop_sequence", stop_sequence="\n\nH:"),
    ),
    case(
        "pause",
        stream(*texts(0, "Hel"), reason="pause_turn"),
        answer(text("Hel"), finish="pause"),
        whole(text_block("Hel"), reason="pause_turn"),
    ),
    case(
        "refusal without a word",
        stream(reason="refusal", stop_details=STOP_DETAILS),
        answer(finish="refusal"),
        whole(reason="refusal", stop_details=STOP_DETAILS),
    ),
    case(
        "refusal half way",
        stream(*texts(0, "First, "), reason="refusal", stop_details=STOP_DETAILS),
        answer(text("First, "), finish="refusal"),
        whole(text_block("First, "), reason="refusal", stop_details=STOP_DETAILS),
    ),
    case(
        "refusal explained",
        stream(reason="refusal", stop_details={**STOP_DETAILS, "explanation": "Not this."}),
        answer(finish="refusal"),
        whole(reason="refusal", stop_details={**STOP_DETAILS, "explanation": "Not this."}),
    ),
    case(
        "an unknown reason",
        stream(*texts(0, "Hel"), reason="tired"),
        answer(text("Hel"), finish="other"),
        sdk=False,
    ),
    case(
        "citations",
        stream(
            opened(0, {**TEXT, "citations": []}),
            delta(0, "text_delta", text="Hello "),
            delta(0, "text_delta", text="there"),
            delta(0, "citations_delta", citation=CITATION),
            closed(0),
            *texts(1, "!"),
        ),
        answer(text("Hello there!"), citations=("https://a.example/1",)),
        whole({**text_block("Hello there"), "citations": [CITATION]}, text_block("!")),
    ),
]

REASONED = [
    case(
        "thinking, then text",
        stream(*thought(0, "Let me ", "think"), *texts(1, "Hello")),
        answer(reasoning("Let me think"), text("Hello"), signatures=(SIGNATURE,)),
        whole(thinking_block("Let me think"), text_block("Hello")),
    ),
    case(
        "a signature alone",
        stream(*thought(0), *texts(1, "Hello")),
        answer(text("Hello"), signatures=(SIGNATURE,)),
        whole(thinking_block(""), text_block("Hello")),
    ),
    case(
        "redacted thinking",
        stream(opened(0, {"type": "redacted_thinking", "data": "Emwred"}), closed(0), *texts(1, "Hello")),
        answer(text("Hello"), signatures=("Emwred",)),
        whole({"type": "redacted_thinking", "data": "Emwred"}, text_block("Hello")),
    ),
    case(
        "thinking between calls",
        stream(
            *thought(0, "one", signature="c2lnMQ=="),
            *called(1, "toolu_1", "f", '{"x":1}'),
            *thought(2, "two", signature="c2lnMg=="),
            *called(3, "toolu_2", "f", '{"x":2}'),
            reason="tool_use",
        ),
        answer(
            reasoning("one"),
            call("toolu_1", "f", {"x": 1}),
            reasoning("two"),
            call("toolu_2", "f", {"x": 2}),
            finish="tool",
            signatures=("c2lnMQ==", "c2lnMg=="),
        ),
        whole(
            thinking_block("one", "c2lnMQ=="),
            use_block("toolu_1", "f", {"x": 1}),
            thinking_block("two", "c2lnMg=="),
            use_block("toolu_2", "f", {"x": 2}),
            reason="tool_use",
        ),
    ),
]

CALLS = [
    case(
        "call",
        stream(*called(0, "call_1", "weather", *PIECES), reason="tool_use"),
        answer(WEATHER, finish="tool"),
        whole(use_block("call_1", "weather", WEATHER[3]), reason="tool_use"),
    ),
    case(
        "parallel calls",
        stream(*called(0, "toolu_a", "f", "{}"), *called(1, "toolu_b", "g", '{"x"', ":1}"), reason="tool_use"),
        answer(call("toolu_a", "f", {}), call("toolu_b", "g", {"x": 1}), finish="tool"),
        whole(use_block("toolu_a", "f", {}), use_block("toolu_b", "g", {"x": 1}), reason="tool_use"),
    ),
    case(
        "text and call",
        stream(*texts(0, "Let me see. "), *called(1, "call_1", "weather", *PIECES), reason="tool_use"),
        answer(text("Let me see. "), WEATHER, finish="tool"),
        whole(text_block("Let me see. "), use_block("call_1", "weather", WEATHER[3]), reason="tool_use"),
    ),
    case(
        "text behind a call",
        stream(*texts(0, "a"), *called(1, "toolu_1", "f", "{}"), *texts(2, "b"), reason="tool_use"),
        answer(text("a"), call("toolu_1", "f", {}), text("b"), finish="tool"),
        whole(text_block("a"), use_block("toolu_1", "f", {}), text_block("b"), reason="tool_use"),
    ),
    case(
        "call without arguments",
        stream(*called(0, "toolu_1", "now"), reason="tool_use"),
        answer(call("toolu_1", "now", {}), finish="tool"),
        whole(use_block("toolu_1", "now", {}), reason="tool_use"),
    ),
    case(
        "free-form call",
        stream(
            *called(0, "call_1", "apply_patch", *(WRAPPED[at : at + 5] for at in range(0, len(WRAPPED), 5))),
            reason="tool_use",
        ),
        answer(call("call_1", "apply_patch", {"input": PATCH}), finish="tool"),
        whole(use_block("call_1", "apply_patch", {"input": PATCH}), reason="tool_use"),
    ),
    case(
        "cut call",
        stream(*called(0, "toolu_1", "weather", '{"city":"Par'), reason="max_tokens"),
        answer(call("toolu_1", "weather", '{"city":"Par'), finish="length"),
    ),
    case(
        "server tool",
        stream(
            *texts(0, "I will search. "),
            opened(1, SEARCH),
            delta(1, "input_json_delta", partial_json=""),
            delta(1, "input_json_delta", partial_json='{"query": "x"}'),
            closed(1),
            opened(2, FOUND),
            closed(2),
            *texts(3, "Found."),
        ),
        answer(text("I will search. Found.")),
        whole(
            text_block("I will search. "),
            {**SEARCH, "input": {"query": "x"}},
            FOUND,
            text_block("Found."),
        ),
    ),
    case(
        "server tool, then a call",
        stream(
            opened(0, SEARCH),
            delta(0, "input_json_delta", partial_json='{"query": "x"}'),
            closed(0),
            opened(1, FOUND),
            closed(1),
            *called(2, "toolu_1", "f", '{"x":1}'),
            reason="tool_use",
        ),
        answer(call("toolu_1", "f", {"x": 1}), finish="tool"),
        whole({**SEARCH, "input": {"query": "x"}}, FOUND, use_block("toolu_1", "f", {"x": 1}), reason="tool_use"),
    ),
]

CACHED: dict[str, Any] = {"input_tokens": 10, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 90}

FORMS = [
    case(
        "usage in full",
        (
            start(**CACHED),
            *texts(0, "Hello there"),
            finish(usage={"output_tokens": 105, "output_tokens_details": {"thinking_tokens": 100}}),
            STOP,
        ),
        answer(text("Hello there"), usage=Counts(1000, 105, 900, 90, 100)),
        whole(
            text_block("Hello there"),
            usage={**CACHED, "output_tokens": 105, "output_tokens_details": {"thinking_tokens": 100}},
        ),
    ),
    case(
        "usage that grows",
        (
            start(input_tokens=10),
            *texts(0, "Hello there"),
            finish(None, usage={"output_tokens": 15}),
            finish(usage={"input_tokens": 2300, "output_tokens": 400}),
            STOP,
        ),
        answer(text("Hello there"), usage=Counts(2300, 400)),
    ),
    case(
        "pings and comments",
        (
            start(),
            PING,
            opened(0, TEXT),
            PING,
            Raw(": keepalive\n\n"),
            delta(0, "text_delta", text="Hello there"),
            PING,
            closed(0),
            PING,
            finish(),
            PING,
            STOP,
        ),
        HELLO,
    ),
    case(
        "events and deltas unknown",
        (
            start(),
            {"type": "weather_report", "index": 0, "error": None},
            opened(0, TEXT),
            delta(0, "text_delta", text="Hello there"),
            delta(0, "shrug_delta", shrug="?"),
            closed(0),
            finish(),
            STOP,
        ),
        HELLO,
    ),
    case(
        "block unknown",
        (
            start(),
            opened(0, {"type": "hologram", "data": {"type": "tool_use", "id": "x"}}),
            closed(0),
            *texts(1, "Hello there"),
            finish(),
            STOP,
        ),
        HELLO,
    ),
    case(
        "content in the start",
        (start((text_block("Hello"),)), *texts(1, " there"), finish(), STOP),
        HELLO,
    ),
    case(
        "start repeated",
        (start(), start(), *texts(0, "Hello there"), finish(), STOP),
        HELLO,
        sdk=False,
    ),
    case("no message_stop", (start(), *texts(0, "Hello there"), finish()), HELLO, sdk=False),
    case("foreign end mark", (*stream(*texts(0, "Hello there")), "[DONE]"), HELLO),
    case(
        "signature behind the text",
        (
            start(),
            opened(0, THINKING),
            delta(0, "thinking_delta", thinking="hm"),
            opened(1, TEXT),
            delta(1, "text_delta", text="Hello there"),
            delta(0, "signature_delta", signature=SIGNATURE),
            closed(0),
            closed(1),
            finish(),
            STOP,
        ),
        answer(reasoning("hm"), text("Hello there"), signatures=(SIGNATURE,)),
        sdk=False,
    ),
]

OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
FAULT = Fault("Overloaded", "overloaded_error")
BROKEN_OFF = Counts(9, 1)


def failed(*blocks: Any, usage: Counts | None = BROKEN_OFF, fault: Fault = FAULT) -> Seen:
    return Seen(blocks, usage=usage, error=fault)


OPEN_TEXT = (start(), PING, opened(0, TEXT), delta(0, "text_delta", text="Hello there"))
OPEN_CALL = (
    start(),
    opened(0, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}),
    delta(0, "input_json_delta", partial_json='{"x'),
)
CUT_CALL = call("toolu_1", "f", '{"x')

ERRORS = [
    case("error first", (OVERLOADED,), failed(usage=None)),
    case("error behind the start", (start(), OVERLOADED), failed()),
    case("error in the middle", (*OPEN_TEXT, OVERLOADED), failed(text("Hello there"))),
    case("error in a call", (*OPEN_CALL, OVERLOADED), failed(CUT_CALL)),
    case(
        "spliced",
        (*OPEN_TEXT, start(id="msg_2"), *texts(0, "other"), finish(), STOP),
        failed(text("Hello there"), fault=Fault("")),
        sdk=False,
    ),
    case("cut", OPEN_TEXT, Seen((text("Hello there"),), usage=BROKEN_OFF)),
    case("cut in a call", OPEN_CALL, Seen((CUT_CALL,), usage=BROKEN_OFF)),
    case("cut at once", (), Seen()),
]

CASES = [*TEXTS, *REASONED, *CALLS, *FORMS, *ERRORS]
