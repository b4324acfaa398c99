"""The tap of Messages streams: what comes out and what it saw, for every stream of the corpus, however cut."""

import json
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic._streaming import SSEDecoder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.dialects import StreamTap, messages
from adapters.dialects.messages_document import Document, read_document
from adapters.dialects.messages_tap import MESSAGE_STOP, Stage, Tap
from adapters.errors import Failure, Kind
from tests.adapters.streams import byte_by_byte, count_searched, padded, pieces, spaced, two_part_splits

LIMIT = 1 << 26
Payload = dict[str, Any]
Facts = dict[str, Any]
"""What a tap must have seen at the end: content, finished, done, input and output tokens, the failure's code."""


def start(content: list[Payload] | None = None, **usage: Any) -> Payload:
    counts = {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": content or [],
        "model": "claude",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": counts | usage,
    }
    return {"type": "message_start", "message": message}


def block(index: int, content_block: Payload) -> Payload:
    return {"type": "content_block_start", "index": index, "content_block": content_block}


def delta(index: int, kind: str, **members: Any) -> Payload:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **members}}


def close(index: int) -> Payload:
    return {"type": "content_block_stop", "index": index}


def finish(reason: str | None = "end_turn", output_tokens: int = 15, **members: Any) -> Payload:
    usage = {"output_tokens": output_tokens, **members.pop("usage", {})}
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None, **members}, "usage": usage}


PING = {"type": "ping"}
STOP = {"type": "message_stop"}
DONE = "[DONE]"
TEXT = block(0, {"type": "text", "text": ""})
HI = delta(0, "text_delta", text="Hi")
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
LATER = {**start(), "message": {**start()["message"], "id": "msg_2"}}

OK: Facts = {"content": True, "finished": True, "done": True, "tokens": (10, 15), "code": None}
CUT: Facts = {"content": True, "finished": False, "done": False, "tokens": (10, 1), "code": "stream_incomplete"}
FAILED: Facts = {**CUT, "code": None}
NEVER: Facts = {**CUT, "content": False, "tokens": None}


@dataclass(frozen=True)
class Stream:
    """One upstream's stream: payloads (JSON, or text as it stands), what must come of them, what the client gets."""

    name: str
    payloads: list[Any]
    facts: Facts = field(default_factory=lambda: OK)
    kept: list[Any] | None = None

    @property
    def expected(self) -> list[Any]:
        return self.payloads if self.kept is None else self.kept


WHOLE = [start(), TEXT, PING, HI, close(0), finish(), STOP]
THINKING = block(0, {"type": "thinking", "thinking": "", "signature": ""})
CALL = block(0, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}, "caller": {"type": "direct"}})
FOUND = {"type": "web_search_result", "url": "http://x", "title": "x", "encrypted_content": "e", "page_age": None}
UNFOUND = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
SEARCHED = block(1, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [FOUND]})
SEARCH_FAILED = block(2, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_2", "content": UNFOUND})
TRAPS = 'says "error": {"type":"message_stop"} event: error [DONE] "usage" \r\n\r\n \u2028€😀'
REFUSED = finish("refusal", 4, stop_details={"type": "refusal", "category": "cyber", "explanation": None})

STREAMS = [
    Stream("plain", WHOLE),
    Stream(
        "thinking, text, tool",
        [
            *(start(), PING, THINKING, delta(0, "thinking_delta", thinking="hm")),
            *(delta(0, "signature_delta", signature="c2ln"), close(0)),
            *(block(1, {"type": "text", "text": "", "citations": []}), delta(1, "text_delta", text="Hi"), close(1)),
            block(2, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}),
            *(delta(2, "input_json_delta", partial_json=part) for part in ("", '{"usage":', ' {"error": 1}}')),
            *(close(2), finish("tool_use"), STOP),
        ],
    ),
    Stream(
        "tool without arguments", [start(), CALL, delta(0, "input_json_delta", partial_json=""), close(0), *WHOLE[-2:]]
    ),
    Stream(
        "server tool",
        [
            *(start(), block(0, {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}})),
            *(close(0), SEARCHED, close(1), SEARCH_FAILED, close(2), finish(usage={"input_tokens": 2300}), STOP),
        ],
        {**OK, "tokens": (2300, 15)},
    ),
    Stream("redacted thinking", [start(), block(0, {"type": "redacted_thinking", "data": "x"}), close(0), *WHOLE[-2:]]),
    Stream("citations", [start(), TEXT, delta(0, "citations_delta", citation={"type": "x"}), *WHOLE[3:]]),
    Stream(
        "unknown events, blocks and deltas",
        [start(), {"type": "new", "a": 1}, block(0, {"type": "n", "b": 1}), delta(0, "m", c=1), *WHOLE[4:]],
    ),
    Stream("markers in text", [*WHOLE[:4], delta(0, "text_delta", text=TRAPS), *WHOLE[4:]]),
    Stream("refusal without a block", [start(), PING, REFUSED, STOP], {**OK, "content": False, "tokens": (10, 4)}),
    Stream("silent end", [start(), finish(output_tokens=3), STOP], {**OK, "content": False, "tokens": (10, 3)}),
    Stream(
        "usage twice",
        [*WHOLE[:5], finish(None, 15), finish("end_turn", 400, usage={"input_tokens": 2300}), STOP],
        {**OK, "tokens": (2300, 400)},
    ),
    Stream("no message_stop", WHOLE[:-1], kept=WHOLE),
    Stream("no stop reason", [*WHOLE[:5], STOP], {**OK, "tokens": (10, 1)}),
    Stream("error null", [{**payload, "error": None} for payload in WHOLE]),
    Stream("more after the end", [*WHOLE, HI, ERROR, DONE], kept=WHOLE),
    Stream("[DONE] after the end", [*WHOLE, DONE], kept=WHOLE),
    Stream("[DONE] for message_stop", [*WHOLE[:-1], DONE, HI], kept=WHOLE),
    Stream("[DONE] in the middle", [*WHOLE[:4], DONE, *WHOLE[4:]], kept=WHOLE),
    Stream("[DONE] for an end", [*WHOLE[:4], DONE], CUT, kept=WHOLE[:4]),
    Stream("message_start twice", [start(), start(input_tokens=12), *WHOLE[1:4], start(), *WHOLE[4:]], kept=WHOLE),
    Stream("spliced", [*WHOLE[:4], LATER, *WHOLE[1:]], {**FAILED, "code": "upstream_protocol_error"}, kept=WHOLE[:4]),
    Stream("cut", WHOLE[:4], CUT),
    Stream("cut before content", WHOLE[:3], {**CUT, "content": False}),
    Stream("error event", [*WHOLE[:4], ERROR, *WHOLE[4:]], FAILED, kept=WHOLE[:4]),
    Stream("error first", [ERROR], {**NEVER, "code": None}, kept=[]),
    Stream("error of another dialect", [*WHOLE[:4], {"error": {"message": "m"}}], FAILED, kept=WHOLE[:4]),
    Stream("error as text", [*WHOLE[:4], {"type": "error", "error": "boom"}], FAILED, kept=WHOLE[:4]),
    Stream(
        "another dialect",
        [{"choices": [{"delta": {"content": "Hi"}}]}],
        {**NEVER, "code": "upstream_protocol_error"},
        kept=[],
    ),
    Stream("garbage", ["<html>", *WHOLE], {**NEVER, "code": "upstream_protocol_error"}, kept=[]),
]
each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)

Dump = Callable[[Any], str]


def compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def vendors(value: Any) -> str:
    """As Anthropic writes: padded before the last brace, a ping with spaces."""
    if isinstance(value, str) or value == PING:
        return spaced(value)
    return compact(value)[:-1] + " " * (len(compact(value)) % 7) + "}"


def name_of(payload: Any) -> str:
    """A payload of no type of its own stands under a name that says nothing."""
    return payload.get("type", "") if isinstance(payload, dict) else ""


def write(payloads: list[Any], dump: Dump = vendors, form: str = "event: {name}\ndata: {data}\n\n") -> bytes:
    blocks = []
    for payload in payloads:
        name = name_of(payload)
        blocks.append((form if name else re.sub("event: ?{name}", ":", form)).format(name=name, data=dump(payload)))
    return "".join(blocks).encode()


def many_lines(payloads: list[Any]) -> bytes:
    blocks = []
    for payload in payloads:
        text = payload if isinstance(payload, str) else json.dumps(payload, indent=1)
        lines = "".join(f"data: {line}\n" for line in text.split("\n"))
        blocks.append((f"event: {name_of(payload)}\n" if name_of(payload) else "") + lines + "\n")
    return "".join(blocks).encode()


WRITINGS: dict[str, Callable[[list[Any]], bytes]] = {
    "lf": write,
    "crlf": lambda payloads: write(payloads).replace(b"\n", b"\r\n"),
    "cr": lambda payloads: write(payloads).replace(b"\n", b"\r"),
    "mixed ends": lambda payloads: write(payloads, form="event: {name}\rdata: {data}\r\n\n"),
    "mixed ends, cr last": lambda payloads: write(payloads, form="event: {name}\ndata: {data}\n\r"),
    "compact json": lambda payloads: write(payloads, compact),
    "spaced json": lambda payloads: write(payloads, spaced),
    "padded json": lambda payloads: write(payloads, padded),
    "no space": lambda payloads: write(payloads, form="event:{name}\ndata:{data}\n\n"),
    "bom": lambda payloads: b"\xef\xbb\xbf" + write(payloads),
    "blank lines": lambda payloads: b"\r\n\n" + write(payloads).replace(b"\n\n", b"\n\n\n\n"),
    "comments": lambda payloads: (
        b": hello\n\n" + write(payloads, form=": a\n\nevent: {name}\n: b\ndata: {data}\n: c\n\n")
    ),
    "ids": lambda payloads: b"retry: 3000\n\n" + write(payloads, form="id: 1\nevent: {name}\ndata: {data}\n\n"),
    "name after data": lambda payloads: write(payloads, form="data: {data}\nevent: {name}\n\n"),
    "no names": lambda payloads: write(payloads, form="data: {data}\n\n"),
    "no names, crlf": lambda payloads: write(payloads, form="data: {data}\r\n\r\n"),
    "many data lines": many_lines,
    "many data lines, crlf": lambda payloads: many_lines(payloads).replace(b"\n", b"\r\n"),
    "no last blank line": lambda payloads: write(payloads).removesuffix(b"\n\n"),
    "no last blank line, crlf": lambda payloads: write(payloads).replace(b"\n", b"\r\n").removesuffix(b"\r\n\r\n"),
}


def run(reads: list[bytes], *, limit: int = LIMIT) -> tuple[bytes, Tap]:
    tap = Tap(strip_usage=False, event_bytes_max=limit)
    forward = b"".join([tap.feed(read) for read in reads])
    return forward + tap.end(), tap


def facts(tap: Tap) -> Facts:
    usage = tap.usage
    return {
        "content": tap.content,
        "finished": tap.finished,
        "done": tap.done,
        "tokens": (usage.input_tokens, usage.output_tokens) if usage else None,
        "code": tap.failure.code if tap.failure else None,
    }


def sdk_payloads(forward: bytes) -> list[Any]:
    """What the official SDK's own decoder reads; every event must have the name without which it would be skipped."""
    read = []
    for event in SSEDecoder().iter_bytes(iter([forward])):
        if event.data:
            payload = json.loads(event.data)
            assert event.event == payload["type"]
            read.append(payload)
    return read


def sdk_client(body: bytes) -> anthropic.Anthropic:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(api_key="k", base_url="http://t", http_client=http, max_retries=0)


def sdk_message(body: bytes) -> Payload:
    """What the official SDK accumulates from a stream."""
    with (
        sdk_client(body) as client,
        client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]) as stream,
    ):
        return stream.get_final_message().to_dict()


# -- the corpus --------------------------------------------------------------------------------------------------------


@each_stream
def test_what_comes_out_and_what_was_seen(stream: Stream) -> None:
    for writing, write_as in WRITINGS.items():
        forward, tap = run([write_as(stream.payloads)])
        assert facts(tap) == stream.facts, writing
        assert sdk_payloads(forward) == stream.expected, writing
        assert not forward or forward.endswith((b"\n\n", b"\n\r\n", b"\r\r", b"\n\r")), writing
        assert tap.held == 0


@each_stream
def test_byte_by_byte_is_the_same(stream: Stream) -> None:
    for writing, write_as in WRITINGS.items():
        data = write_as(stream.payloads)
        whole, seen = run([data])
        # Byte by byte is slow: where all that differs is within a line, the two-part splits find as much.
        for cut in (pieces(data, [7, 1, 50]), *([byte_by_byte(data)] if writing in {"lf", "crlf", "cr"} else [])):
            forward, tap = run(cut)
            assert forward == whole, writing
            assert (facts(tap), tap.usage, tap.failure) == (facts(seen), seen.usage, seen.failure), writing


@each_stream
def test_every_two_part_split_is_the_same(stream: Stream) -> None:
    assert_two_part_splits_agree(write(stream.payloads, compact))


@pytest.mark.parametrize("writing", WRITINGS)
def test_every_two_part_split_of_every_writing_is_the_same(writing: str) -> None:
    assert_two_part_splits_agree(WRITINGS[writing]([start(), HI, start(), finish(), DONE]))


def assert_two_part_splits_agree(data: bytes) -> None:
    whole, seen = run([data])
    for cut in two_part_splits(data):
        forward, tap = run(cut)
        assert forward == whole
        assert (facts(tap), tap.usage, tap.failure) == (facts(seen), seen.usage, seen.failure)


@each_stream
def test_untouched_streams_pass_byte_for_byte(stream: Stream) -> None:
    for writing in ("lf", "crlf", "cr", "padded json", "comments", "ids", "many data lines, crlf", "name after data"):
        data = WRITINGS[writing](stream.expected)
        assert run([data])[0] == data, writing


@each_stream
def test_truncation_at_every_event_is_an_error_unless_finished(stream: Stream) -> None:
    for length in range(len(stream.payloads)):
        forward, tap = run([write(stream.payloads[:length])])
        assert (tap.failure is None) == tap.done
        said = [payload for payload in stream.payloads[:length] if isinstance(payload, dict)]
        if not any(each is STOP or each.get("delta", {}).get("stop_reason") for each in said):
            assert tap.failure is not None
        if tap.failure is not None:
            with pytest.raises(anthropic.APIStatusError):
                sdk_message(forward + tap.error_event(tap.failure))


def test_output_after_each_read_is_whole_events() -> None:
    tap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    for read in byte_by_byte(write(WHOLE)):
        forward = tap.feed(read)
        assert not forward or (forward.startswith(b"event: ") and forward.endswith(b"\n\n"))


# -- the fast path -----------------------------------------------------------------------------------------------------


def test_a_calm_read_comes_back_as_the_same_object() -> None:
    for writing in ("lf", "crlf"):
        tap = Tap(strip_usage=True, event_bytes_max=LIMIT, choices=3)
        tap.feed(WRITINGS[writing](WHOLE[:4]))
        calm = WRITINGS[writing]([PING, HI] * 20)
        assert tap.feed(calm) is calm


def test_calm_events_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def counted(payload: bytes) -> Document | None:
        decoded.append(payload)
        return read_document(payload)

    monkeypatch.setattr("adapters.dialects.messages_tap.read_document", counted)
    payloads = [start(), TEXT, HI, *[HI] * 30, close(0), finish(), STOP]
    for writing in ("lf", "spaced json", "crlf", "comments", "no space"):
        decoded.clear()
        run(byte_by_byte(WRITINGS[writing](payloads)))
        assert len(decoded) == 5  # start, block, first content, finish, stop


@pytest.mark.parametrize(
    "form", ["event: error\ndata: {}\n\n", "event:error\ndata:{}\n\n", "data: {}\nevent: error\n\n"]
)
def test_an_error_event_is_one_whatever_it_says(form: str) -> None:
    writing = "no space" if "event:error" in form else "lf"
    for data, message in (
        ("upstream <b>gone</b>", "upstream gone"),
        ('{"message": "gone"}', "gone"),
        ('{"detail": "gone"}', "gone"),
        ("7", "The upstream reported an error without saying which."),
    ):
        forward, tap = run([WRITINGS[writing](WHOLE[:4]) + form.format(data).encode() + write(WHOLE[4:])])
        assert sdk_payloads(forward) == WHOLE[:4]
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.message) == (502, message)


def test_an_error_line_outside_any_field() -> None:
    late = json.dumps(ERROR).encode()
    for ending in (b"", b"\n", b"\n\n"):
        forward, tap = run([write(WHOLE[:4]) + late + ending])
        assert forward == write(WHOLE[:4])
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.message) == (529, "Overloaded")


# -- content, errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        delta(0, "text_delta", text=" "),
        delta(0, "thinking_delta", thinking="a"),
        delta(0, "signature_delta", signature="c2ln"),
        delta(0, "input_json_delta", partial_json="{"),
        delta(0, "compaction_delta", content="a"),
        CALL,
        SEARCHED,
        block(0, {"type": "redacted_thinking", "data": "x"}),
        block(0, {"type": "text", "text": "prefilled"}),
        block(0, {"type": "mcp_tool_use", "id": "m"}),
    ],
)
def test_content(payload: Payload) -> None:
    tap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    tap.feed(write([start(), payload]))
    assert tap.content
    assert tap.stage is Stage.CONTENT


@pytest.mark.parametrize(
    "payload",
    [
        PING,
        TEXT,
        THINKING,
        block(0, {"type": "text", "text": "", "citations": []}),
        block(0, {"type": "text", "text": "", "citations": None}),
        delta(0, "text_delta", text=""),
        delta(0, "input_json_delta", partial_json=""),
        close(0),
        {"type": "content_block_delta", "delta": None},
        {"type": "content_block_start"},
        {"type": "message_delta", "delta": {"stop_reason": None, "container": {"id": "c"}}},
        {"type": "unheard_of", "a": 1},
    ],
)
def test_no_content(payload: Payload) -> None:
    tap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    tap.feed(b": comment\n\n" + write([start(), payload]))
    assert not tap.content
    assert tap.stage is Stage.OPENING


@pytest.mark.parametrize(
    ("error", "status", "kind", "message", "code"),
    [
        (ERROR["error"], 529, Kind.OVERLOADED, "Overloaded", None),
        ({"type": "rate_limit_error", "message": "slow"}, 429, Kind.RATE_LIMIT, "slow", None),
        ({"type": "api_error", "message": "m"}, 500, Kind.UPSTREAM, "m", None),
        ({"type": "timeout_error", "message": "m"}, 504, Kind.TIMEOUT, "m", None),
        ({"type": "unheard_of", "message": "m"}, 502, Kind.UPSTREAM, "m", None),
        ({"type": "server_error", "message": "m", "code": 503}, 503, Kind.OVERLOADED, "m", None),
        (
            {"type": "invalid_request_error", "message": "m", "details": {"error_code": "compaction_incomplete_turn"}},
            *(400, Kind.INVALID_REQUEST, "m", "compaction_incomplete_turn"),
        ),
        (
            {"type": "authentication_error", "message": "invalid x-api-key sk-ant"},
            *(502, Kind.UPSTREAM, "The upstream refused the gateway's credentials.", "upstream_credentials_refused"),
        ),
        ({"message": "half \ud83d"}, 502, Kind.UPSTREAM, "half ?", None),
        (["a"], 502, Kind.UPSTREAM, "The upstream reported an error without saying which.", None),
    ],
)
def test_in_band_errors(error: Any, status: int, kind: Kind, message: str, code: str | None) -> None:
    event = b"event: error\ndata: " + json.dumps({"type": "error", "error": error}).encode() + b"\n\n" + write([HI])
    for before in ([], [start()], WHOLE[:4]):
        forward, tap = run([write(before), event])
        assert forward == write(before)
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.kind, tap.failure.message) == (status, kind, message)
        assert tap.failure.code == code
        assert (tap.content, tap.finished, tap.done) == (len(before) == 4, False, False)


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (json.dumps(ERROR).encode(), 529, None, "Overloaded"),
        (b'{\n  "error": {\n\n    "message": "down"\n  }\n}\n', 502, None, "down"),
        (b'{"type":"message","content":[{"type":"text","text":"x"}]}', 502, "upstream_protocol_error", None),
        (b'{"cut":', 502, "upstream_protocol_error", None),
        (b"<html><body>\n\n<h1>502 Bad\x00 Gateway</h1></body></html>", 502, "upstream_protocol_error", None),
        (b"\x1f\x8b\x08\x00\x00\x00\n\n", 502, "upstream_protocol_error", None),
    ],
)
def test_something_else_than_an_event_stream(body: bytes, status: int, code: str | None, message: str | None) -> None:
    for cut in ([body], byte_by_byte(body), *two_part_splits(body)):
        forward, tap = run(cut)
        assert forward == b""
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.code) == (status, code)
        assert tap.failure.message == (message or tap.failure.message)
        assert tap.failure.message.isprintable()


def test_garbage_after_the_first_content_is_the_clients_to_judge() -> None:
    garbage = b"event: content_block_delta\ndata: half a message_\n\nevent: x\ndata: [1]\n\n"
    data = write(WHOLE[:4]) + garbage + write(WHOLE[4:6]) + garbage + write([STOP])
    forward, tap = run([data])
    assert forward == data
    assert facts(tap) == OK


def test_a_nameless_event_with_no_word_for_a_type_stays_nameless() -> None:
    odd = b'data: {"type":"a b"}\n\ndata: {"type":"a\\nb"}\n\ndata: {"type":"a\ndata: b"}\n\n'
    data = WRITINGS["no names"](WHOLE[:4]) + odd
    forward, _ = run([data])
    assert forward == write(WHOLE[:4]) + odd


def test_nothing_at_all_is_incomplete() -> None:
    for body in (b"", b"\n\n", b"\xef\xbb\xbf\r\n", b": only a comment\n\n", b"event: ping\n\n", b"data:\n\n"):
        _, tap = run([body])
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.code) == (502, "stream_incomplete")


def test_a_tail_cut_inside_an_event_is_not_forwarded() -> None:
    data = write(WHOLE[:6])
    for length in range(len(write(WHOLE[:5])) + 1, len(data) - 3):
        forward, tap = run([data[:length]])
        assert forward == write(WHOLE[:5])
        assert tap.failure is not None
        assert tap.failure.code == "stream_incomplete"


def test_a_finished_stream_survives_a_cut_tail() -> None:
    for tail in (b"event: mess", b"event: message_stop\nda", b'event: ping\ndata: {"ty'):
        forward, tap = run([write(WHOLE[:6]) + tail])
        assert forward == write(WHOLE[:6]) + MESSAGE_STOP
        assert facts(tap) == OK


def test_after_the_end_nothing_comes_out() -> None:
    for data in (write(WHOLE), write([ERROR]), b"<html>\n\n"):
        tap = Tap(strip_usage=False, event_bytes_max=LIMIT)
        tap.feed(data + b"data: more")
        before = facts(tap)
        assert tap.held == 0
        assert tap.feed(write([HI])) == b""
        assert tap.end() == b""
        assert facts(tap) == before


# -- size --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [999, 1000, 1001, 5000])
def test_events_up_to_the_limit_pass(size: int) -> None:
    frame = len(write([delta(0, "text_delta", text="")], compact))
    big = write([delta(0, "text_delta", text="a" * (size - frame))], compact)
    assert len(big) == size
    for before in (write([start()]), write(WHOLE[:4])):
        data = before + big + write([finish(), STOP])
        whole, seen = run([data], limit=1000)
        for cut in (byte_by_byte(data), pieces(data, [64])):
            forward, tap = run(cut, limit=1000)
            assert (forward, facts(tap)) == (whole, facts(seen))
        if size <= 1000:
            assert seen.failure is None
        else:
            assert whole == before
            assert seen.failure is not None
            assert seen.failure.code == "event_too_large"


def test_a_document_is_bounded_too() -> None:
    _, tap = run([b'{"a":"', *[b"x" * 100] * 20], limit=1000)
    assert tap.failure is not None
    assert tap.failure.code == "event_too_large"
    assert tap.held == 0


def test_a_50_mb_event_costs_linear_work_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = count_searched(monkeypatch)
    for size, before in ((5_000_000, write([start()])), (50_000_000, write(WHOLE[:4]))):
        event = write([delta(0, "text_delta", text="a" * size)], compact)
        reads = pieces(event, [65536])
        tap = Tap(strip_usage=False, event_bytes_max=LIMIT)
        tap.feed(before)
        searched.clear()
        tracemalloc.start()
        forward = [tap.feed(read) for read in reads]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert forward[-1] == event
        assert not any(forward[:-1])
        assert sum(searched) < 1.01 * len(event)
        assert peak < 5 * size


# -- properties --------------------------------------------------------------------------------------------------------

TOKENS = st.sampled_from(
    [
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\xef\xbb\xbf", b"x", b" ", b"\xff"),
        *(b"data: ", b"data:", b"data", b": c", b"event: x", b"event: error", b"id: 1", b"[DONE]", b"{", b'"error"'),
        *(write([payload]) for payload in (start(), LATER, PING, TEXT, HI, CALL, finish(), finish(None), STOP, ERROR)),
        *(write([payload], form="data: {data}\n\n") for payload in (start(), HI, finish(), STOP)),
        *(b'{"type":"error"}', b'{"type":"message_stop"}', b'{"type":"a","error":"b"}', b"event: message_stop\n"),
    ]
)


@settings(max_examples=250, deadline=None)
@given(st.lists(TOKENS, max_size=30).map(b"".join) | st.binary(max_size=80), st.lists(st.integers(1, 40), min_size=1))
@example(data=b": c\n\nid: 1\r\r\n\n" + write([HI]), sizes=[1])
def test_any_bytes_at_any_split_give_the_same(data: bytes, sizes: list[int]) -> None:
    whole, seen = run([data])
    forward, tap = run(pieces(data, sizes))
    assert forward == whole
    assert (facts(tap), tap.failure, tap.usage) == (facts(seen), seen.failure, seen.usage)
    assert (tap.failure is None) == tap.done
    if tap.failure is not None:
        assert tap.error_event(tap.failure) == messages.error_event(tap.failure)


EVENTS = st.sampled_from(
    [PING, TEXT, HI, CALL, close(0), finish(None), {"type": "new"}, delta(0, "m", text="message_")]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(EVENTS, max_size=8))
def test_forwarded_events_are_what_the_sdk_reads_of_the_original(payloads: list[Payload]) -> None:
    data = write([start(), *payloads, finish(), STOP])
    forward, _ = run([data])
    assert forward == data
    assert sdk_payloads(forward) == sdk_payloads(data)


# -- the official client as a client -----------------------------------------------------------------------------------


def test_the_sdk_reads_keepalives_between_any_events() -> None:
    events = [write([payload]) for payload in WHOLE]
    message = sdk_message(messages.KEEPALIVE + messages.KEEPALIVE.join(events) + messages.KEEPALIVE)
    assert message == sdk_message(write(WHOLE))


def test_the_sdk_reads_a_stream_that_had_no_names() -> None:
    data = WRITINGS["no names"](WHOLE)
    assert not list(sdk_client(data).messages.create(model="m", max_tokens=9, messages=[], stream=True))
    forward, _ = run(byte_by_byte(data))
    assert sdk_message(forward) == sdk_message(write(WHOLE))


def test_the_tap_is_what_dialects_promise() -> None:
    tap: StreamTap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    assert repr(tap) == "<Tap start 0 bytes held>"
    tap.feed(b"data: {")
    assert repr(tap) == "<Tap start 7 bytes held>"
    assert b"event: error" in Tap(strip_usage=False, event_bytes_max=9).error_event(Failure(502, Kind.UPSTREAM, "m"))
