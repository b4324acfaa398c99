"""The Responses tap: what comes out and what it saw, for every stream of the corpus, however written and cut."""

import json
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

import httpx2
import openai
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder
from openai.types.responses import ResponseError, ResponseFailedEvent

from adapters.dialects import StreamTap, responses
from adapters.dialects.responses_document import Members, read_members
from adapters.dialects.responses_tap import ECHO_BYTES_MAX, Stage, Tap
from adapters.errors import Failure, Kind
from adapters.usage import Usage
from tests.adapters.streams import byte_by_byte, compact, count_searched, padded, pieces, spaced, two_part_splits

LIMIT = 1 << 26
DONE = "[DONE]"
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 13,
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1700000000,
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "instructions": "be brief",
    "metadata": {},
    "model": "m",
    "output": [],
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "usage": None,
}
FAULT = {"type": "server_error", "code": "server_error", "message": "it broke", "param": None}

Event = dict[str, Any]
Facts = dict[str, Any]


def event(kind: str, **members: Any) -> Event:
    return {"type": kind, **members}


def of_response(kind: str, **members: Any) -> Event:
    return event(f"response.{kind}", response={**RESPONSE, "status": kind, **members})


def numbered(payloads: list[Any]) -> list[Any]:
    """Give every event its sequence number, as the vendor does."""
    return [
        {"type": payload["type"], "sequence_number": number, **payload}
        if isinstance(payload, dict) and "type" in payload
        else payload
        for number, payload in enumerate(payloads)
    ]


def message(text: str, status: str = "completed") -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}] if text else []
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}


AT = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "", "status": "completed"}
CREATED = of_response("created", status="in_progress")
IN_PROGRESS = of_response("in_progress")
ADDED = event("response.output_item.added", output_index=0, item=message("", "in_progress"))
PART = event(
    "response.content_part.added",
    **AT,
    part={"type": "output_text", "text": "", "annotations": [], "logprobs": []},
)


def delta(text: str) -> Event:
    return event("response.output_text.delta", **AT, delta=text, logprobs=[], obfuscation="qZ8rT1")


HI = delta("Hi")
ENDS = [
    event("response.output_text.done", **AT, text="Hi", logprobs=[]),
    event(
        "response.content_part.done",
        **AT,
        part={"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []},
    ),
    event("response.output_item.done", output_index=0, item=message("Hi")),
]
COMPLETED = of_response("completed", output=[message("Hi")], usage=USAGE)
INCOMPLETE = of_response("incomplete", incomplete_details={"reason": "max_output_tokens"}, usage=USAGE)
FAILED = of_response("failed", error={"code": "server_error", "message": "it broke"})
BILLED = of_response("failed", error={"code": "server_error", "message": "it broke"}, usage=USAGE)
NESTED = event("error", error=FAULT)
FLAT = event("error", code="server_error", message="it broke", param=None)
MARKERS = '"response": {"error" } [DONE] \r\n\r\n \u2028€😀'
OPEN = [CREATED, IN_PROGRESS, ADDED, PART]
TEXT = [*OPEN, HI, *ENDS]
TOOL = [
    CREATED,
    event("response.output_item.added", output_index=0, item=CALL),
    event("response.function_call_arguments.delta", item_id="fc_1", output_index=0, delta='{"response":"error"'),
    event("response.function_call_arguments.delta", item_id="fc_1", output_index=0, delta="}"),
    event("response.function_call_arguments.done", item_id="fc_1", output_index=0, arguments='{"response":"error"}'),
    event("response.output_item.done", output_index=0, item={**CALL, "arguments": '{"response":"error"}'}),
    of_response("completed", output=[{**CALL, "arguments": '{"response":"error"}'}], usage=USAGE),
]
REASONING = {"id": "rs_1", "type": "reasoning", "summary": []}
THOUGHT = [
    CREATED,
    event("response.output_item.added", output_index=0, item={**REASONING, "encrypted_content": "gA"}),
    event("response.output_item.done", output_index=0, item={**REASONING, "encrypted_content": "gAAAA"}),
    of_response("completed", output=[{**REASONING, "encrypted_content": "gAAAA"}], usage=USAGE),
]

OK: Facts = {"content": True, "done": True, "tokens": (9, 4), "code": None}
CUT: Facts = {"content": True, "done": False, "tokens": None, "code": "stream_incomplete"}
BROKEN: Facts = {**CUT, "code": "server_error"}


@dataclass(frozen=True)
class Stream:
    """One upstream's stream, its first `kept` payloads being what a client gets; None for all of them."""

    name: str
    payloads: list[Any]
    facts: Facts = field(default_factory=lambda: OK)
    kept: int | None = None

    @property
    def expected(self) -> list[Any]:
        return [payload for payload in self.payloads[: self.kept] if payload != DONE]


STREAMS = [
    Stream("text", numbered([*TEXT, COMPLETED])),
    Stream("without sequence numbers", [*TEXT, COMPLETED]),
    Stream("incomplete", numbered([*OPEN, HI, INCOMPLETE])),
    Stream("a call", numbered(TOOL)),
    Stream("encrypted reasoning alone", numbered(THOUGHT)),
    Stream("queued", numbered([of_response("queued"), *TEXT, COMPLETED])),
    Stream("markers in text", numbered([*OPEN, HI, delta(MARKERS), COMPLETED])),
    Stream("markers as text", numbered([*OPEN, HI, *map(delta, ["response", "error", "response.failed"]), COMPLETED])),
    Stream("all in the terminal event", numbered([CREATED, COMPLETED])),
    Stream("an empty answer", numbered([CREATED, of_response("completed", usage=USAGE)]), {**OK, "content": False}),
    Stream("no usage", numbered([*TEXT, of_response("completed")]), {**OK, "tokens": None}),
    Stream("unknown events", numbered([CREATED, event("codex.rate_limits", a=1), *TEXT[1:], COMPLETED])),
    Stream("error null", numbered([*OPEN, {**HI, "error": None}, COMPLETED])),
    Stream("DONE at the end", [*numbered([*TEXT, COMPLETED]), DONE]),
    Stream("DONE in between", [*numbered(OPEN), DONE, *numbered([HI]), DONE, *numbered([COMPLETED])]),
    Stream("more after the end", numbered([*TEXT, COMPLETED, HI, FAILED]), kept=len(TEXT) + 1),
    Stream("cut", numbered([*OPEN, HI]), CUT),
    Stream("cut after DONE", [*numbered([*OPEN, HI]), DONE], CUT),
    Stream("cut before content", numbered(OPEN), {**CUT, "content": False}),
    Stream("error and failed", numbered([*OPEN, HI, NESTED, FAILED]), BROKEN, kept=5),
    Stream("failed alone", numbered([*OPEN, HI, FAILED]), BROKEN, kept=5),
    Stream("nested error alone", numbered([*OPEN, HI, NESTED]), BROKEN, kept=5),
    Stream("flat error", numbered([*OPEN, HI, FLAT]), BROKEN, kept=5),
    Stream("flat error and failed", numbered([*OPEN, HI, FLAT, FAILED]), BROKEN, kept=5),
    Stream("error and DONE", [*numbered([*OPEN, HI, NESTED]), DONE, *numbered([HI])], BROKEN, kept=5),
    Stream("error and more", numbered([*OPEN, HI, NESTED, HI, COMPLETED]), BROKEN, kept=5),
    Stream("error first", numbered([NESTED, FAILED]), {**BROKEN, "content": False}, kept=0),
    Stream("failed first", numbered([CREATED, FAILED]), {**BROKEN, "content": False}, kept=1),
    Stream("failed with usage", numbered([*OPEN, HI, NESTED, BILLED]), {**BROKEN, "tokens": (9, 4)}, kept=5),
    Stream("completed that failed", numbered([*OPEN, HI, {**FAILED, "type": "response.completed"}]), BROKEN, kept=5),
    Stream("an error of another dialect", [*numbered([*OPEN, HI]), {"error": FAULT}], BROKEN, kept=5),
    Stream("error as text", [*numbered([*OPEN, HI]), {"error": "boom"}], {**BROKEN, "code": None}, kept=5),
    Stream("garbage", ["<html>", HI], {**CUT, "content": False, "code": "upstream_protocol_error"}, kept=0),
]  # fmt: skip


def write(
    payloads: list[Any],
    dump: Callable[[Any], str] = compact,
    form: str = "event: {name}\ndata: {data}\n\n",
) -> bytes:
    """Write a stream; the pieces without a type (`[DONE]`, foreign errors) have no event line."""
    blocks = []
    for payload in payloads:
        name = payload.get("type") if isinstance(payload, dict) else None
        blocks.append(
            (form if name else re.sub(r"event:\s*\{name\}\s*?(\r\n|\n|\r)", "", form)).format(
                name=name, data=dump(payload)
            )
        )
    return "".join(blocks).encode()  # fmt: skip


def many_lines(payloads: list[Any]) -> bytes:
    def data_lines(payload: Any) -> str:
        return "\ndata: ".join((payload if isinstance(payload, str) else json.dumps(payload, indent=1)).split("\n"))

    return write(payloads, data_lines)


WRITINGS: dict[str, Callable[[list[Any]], bytes]] = {
    "lf": write,
    "crlf": lambda payloads: write(payloads, form="event: {name}\r\ndata: {data}\r\n\r\n"),
    "cr": lambda payloads: write(payloads, form="event: {name}\rdata: {data}\r\r"),
    "mixed ends": lambda payloads: write(payloads, form="event: {name}\ndata: {data}\r\n\n"),
    "spaced json": lambda payloads: write(payloads, spaced),
    "padded json": lambda payloads: write(payloads, padded),
    "padded json, crlf": lambda payloads: write(payloads, padded, "event: {name}\r\ndata: {data}\r\n\r\n"),
    "no space": lambda payloads: write(payloads, form="event:{name}\ndata:{data}\n\n"),
    "no event lines": lambda payloads: write(payloads, form="data: {data}\n\n"),
    "name after data": lambda payloads: write(payloads, form="data: {data}\nevent: {name}\n\n"),
    "bom": lambda payloads: b"\xef\xbb\xbf" + write(payloads),
    "blank lines": lambda payloads: b"\r\n\n" + write(payloads, form="event: {name}\ndata: {data}\n\n\n\n"),
    "comments": lambda payloads: write(payloads, form=": ping\n\nevent: {name}\ndata: {data}\n: pong\n\n"),
    "comments, crlf": lambda payloads: write(payloads, form=": ping\r\n\r\nevent: {name}\r\ndata: {data}\r\n\r\n"),
    "ids": lambda payloads: b"retry: 3000\n\n" + write(payloads, form="id: 1\nevent: {name}\ndata: {data}\n\n"),
    "many data lines": many_lines,
    "many data lines, crlf": lambda payloads: many_lines(payloads).replace(b"\n", b"\r\n"),
    "no last blank line": lambda payloads: write(payloads).removesuffix(b"\n\n"),
    "no last blank line, one end": lambda payloads: write(payloads).removesuffix(b"\n"),
    "no last blank line, crlf": lambda payloads: write(
        payloads, form="event: {name}\r\ndata: {data}\r\n\r\n"
    ).removesuffix(b"\n\r\n"),
}  # fmt: skip

each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)


def open_tap(limit: int = LIMIT) -> Tap:
    return Tap(strip_usage=False, event_bytes_max=limit)


def run(reads: list[bytes], *, limit: int = LIMIT) -> tuple[bytes, Tap]:
    tap = open_tap(limit)
    forward = b"".join([tap.feed(read) for read in reads])
    return forward + tap.end(), tap


def facts(tap: Tap) -> Facts:
    usage = tap.usage
    assert tap.finished is tap.done
    return {
        "content": tap.content,
        "done": tap.done,
        "tokens": (usage.input_tokens, usage.output_tokens) if usage else None,
        "code": tap.failure.code if tap.failure else None,
    }


def seen(tap: Tap) -> tuple[Any, ...]:
    """All that a tap knows, its ending included."""
    ending = tap.error_event(tap.failure) if tap.failure else None
    return facts(tap), tap.usage, tap.failure, ending


def sdk_payloads(forward: bytes) -> list[Any]:
    """What the official SDK's own decoder reads; it must take every byte that we forward."""
    events = list(SSEDecoder().iter_bytes(iter([forward])))
    assert all(each.data for each in events)
    return [json.loads(each.data) for each in events]


# -- the corpus --------------------------------------------------------------------------------------------------------


@each_stream
def test_what_comes_out_and_what_was_seen(stream: Stream) -> None:
    for writing, write_as in WRITINGS.items():
        forward, tap = run([write_as(stream.payloads)])
        assert facts(tap) == stream.facts, writing
        if writing == "ids":
            # Once it has seen an id, the SDK makes an event of every comment (openai-python #2722).
            forward = forward.replace(b"id: 1\n", b"")
        assert sdk_payloads(forward) == stream.expected, writing
        assert not forward or forward.endswith((b"\n\n", b"\n\r\n", b"\r\r")), writing
        assert tap.held == 0


@each_stream
def test_b02_byte_by_byte_is_the_same(stream: Stream) -> None:
    for writing, write_as in WRITINGS.items():
        data = write_as(stream.payloads)
        whole, once = run([data])
        cuts = [pieces(data, [7, 1, 50])]
        if writing in {"lf", "cr", "comments, crlf"}:
            cuts.append(byte_by_byte(data))
        for cut in cuts:
            forward, tap = run(cut)
            assert forward == whole, writing
            assert seen(tap) == seen(once), writing


@each_stream
def test_b02_every_two_part_split_is_the_same(stream: Stream) -> None:
    assert_two_part_splits_agree(write(stream.payloads[-2:]))


@pytest.mark.parametrize("writing", WRITINGS)
def test_b03_every_two_part_split_of_every_writing_is_the_same(writing: str) -> None:
    short = {"id": "resp_1", "usage": {"input_tokens": 1}}
    end = event("response.incomplete", response=short)
    assert_two_part_splits_agree(WRITINGS[writing](numbered([event("response.created", response=short), HI, end])))
    assert_two_part_splits_agree(
        WRITINGS[writing](numbered([HI, NESTED, event("response.failed", response={**short, "error": FAULT})]))
    )


def assert_two_part_splits_agree(data: bytes) -> None:
    whole, once = run([data])
    known = seen(once)
    for cut in two_part_splits(data):
        forward, tap = run(cut)
        assert forward == whole
        assert seen(tap) == known


def test_b01_a_character_split_between_two_reads_passes() -> None:
    data = write([*OPEN, delta("€"), COMPLETED])
    at = data.index("€".encode()) + 2
    forward, _ = run([data[:at], data[at:]])
    assert forward == data


@each_stream
def test_untouched_streams_pass_byte_for_byte(stream: Stream) -> None:
    for writing in ("lf", "crlf", "cr", "padded json", "comments, crlf", "many data lines", "no event lines"):
        data = WRITINGS[writing](stream.expected)
        forward, _ = run([data])
        assert forward == data


@each_stream
def test_b09_truncation_at_every_event_is_an_error_unless_finished(stream: Stream) -> None:
    for length in range(len(stream.payloads)):
        _, tap = run([write(stream.payloads[:length])])
        assert (tap.failure is None) == tap.done
        assert tap.done is (stream.facts["done"] and '"output_tokens"' in json.dumps(stream.payloads[:length]))


def test_b09_a_cut_in_the_middle_of_the_terminal_event_is_an_error() -> None:
    data = write(numbered([*TEXT, COMPLETED]))
    start = len(write(numbered(TEXT)))
    for length in range(start, len(data) - 2):
        forward, tap = run([data[:length]])
        assert forward == data[:start]
        assert tap.failure is not None
        assert tap.failure.code == "stream_incomplete"
    assert run([data[:-2]])[1].done


def test_output_after_each_read_is_whole_events() -> None:
    tap = open_tap()
    for read in byte_by_byte(write(numbered([*TEXT, COMPLETED]))):
        forward = tap.feed(read)
        assert not forward or (forward.startswith(b"event: response.") and forward.endswith(b"}\n\n"))


# -- the fast path -----------------------------------------------------------------------------------------------------


def test_a_calm_read_comes_back_as_the_same_object() -> None:
    for form in ("event: {name}\ndata: {data}\n\n", "event: {name}\r\ndata: {data}\r\n\r\n"):
        tap = open_tap()
        tap.feed(write([*OPEN, HI], form=form))
        calm = write([HI] * 40, form=form)
        assert tap.feed(calm) is calm


def test_calm_events_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def counted(payload: bytes) -> Members | None:
        decoded.append(payload)
        return read_members(payload)

    monkeypatch.setattr("adapters.dialects.responses_tap.read_members", counted)
    events = numbered([CREATED, *[HI] * 30, *ENDS, COMPLETED])
    for writing in ("lf", "spaced json", "padded json", "crlf", "comments"):
        decoded.clear()
        run(byte_by_byte(WRITINGS[writing](events)))
        events_decoded = [payload for payload in map(bytes, decoded) if b'"sequence_number"' in payload]
        assert len(events_decoded) == 3  # created, first delta, completed


# -- content -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        delta(" "),
        event("response.refusal.delta", delta="no"),
        event("response.reasoning_text.delta", delta="a"),
        event("response.reasoning_summary_text.delta", delta="a"),
        event("response.function_call_arguments.delta", delta="{"),
        event("response.custom_tool_call_input.delta", delta="*"),
        event("response.mcp_call_arguments.delta", delta="{"),
        event("response.code_interpreter_call_code.delta", delta="p"),
        event("response.audio.delta", delta="UklG"),
        event("response.function_call_arguments.done", arguments="{}"),
        event("response.output_text.done", text="a"),
        event("response.output_item.added", item=CALL),
        event("response.output_item.added", item={"type": "web_search_call"}),
        event("response.output_item.done", item=message("a")),
        event("response.output_item.done", item={**REASONING, "encrypted_content": "gA"}),
        event("response.output_item.done", item={**REASONING, "summary": [{"type": "summary_text", "text": "a"}]}),
        event("response.content_part.added", part={"type": "output_text", "text": "a"}),
        event("response.content_part.added", part={"type": "something_new"}),
        event("response.image_generation_call.partial_image", partial_image_b64="a"),
        event("response.output_text.annotation.added", annotation={}),
        event("response.web_search_call.searching"),
    ],
)
def test_content(payload: Event) -> None:
    tap = open_tap()
    tap.feed(write([CREATED, payload]))
    assert tap.content
    assert tap.stage is Stage.CONTENT


@pytest.mark.parametrize(
    "payload",
    [
        CREATED,
        IN_PROGRESS,
        of_response("queued"),
        ADDED,
        PART,
        delta(""),
        event("response.output_text.delta"),
        event("response.output_text.done", text=""),
        event("response.function_call_arguments.done", arguments=""),
        event("response.output_item.added", item=None),
        event("response.output_item.added", item={**REASONING, "encrypted_content": "gA"}),
        event("response.output_item.added", item={**message(""), "content": [{"type": "output_text", "text": ""}]}),
        event("response.output_item.done", item=REASONING),
        event("response.reasoning_summary_part.added", part={"type": "summary_text", "text": ""}),
        event("response.content_part.added", part=None),
        event("response.audio.done"),
        event("response.compaction.compacting"),
        event("keepalive"),
        event("codex.rate_limits", delta="a"),
        {"delta": "a"},
        {},
    ],
)
def test_no_content(payload: Event) -> None:
    tap = open_tap()
    tap.feed(b": comment\n\n" + write([payload], form="data: {data}\n\n"))
    assert not tap.content
    assert tap.stage is Stage.OPENING


def test_the_event_line_stands_in_for_a_missing_type() -> None:
    events = [
        (payload["type"], {name: each for name, each in payload.items() if name != "type"})
        for payload in [*TEXT, COMPLETED]
    ]
    data = b"".join(f"event: {name}\ndata: {json.dumps(each)}\n\n".encode() for name, each in events)  # fmt: skip
    forward, tap = run([data])
    assert forward == data
    assert facts(tap) == OK


def test_an_upstream_of_odd_types_is_still_read() -> None:
    odd = b'data: {"type":"response.output_text.delta","delta":"\\ud83d","logprobs":NaN,"item_id":5}\n\n'
    end = b'data: {"type":"response.completed","response":{"id":1,"usage":{"input_tokens":3,"x":NaN},"output":7}}\n\n'
    forward, tap = run([odd + odd + end])
    assert forward == odd + odd + end
    assert facts(tap) == {**OK, "tokens": (3, 0)}


def test_usage_in_the_normal_form() -> None:
    _, tap = run([write([*TEXT, COMPLETED])])
    assert tap.usage == Usage(9, 4, cached_tokens=3, cache_write_tokens=2, reasoning_tokens=1)


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        ({"type": "server_error", "code": None, "message": "m"}, 500, Kind.UPSTREAM, None),
        ({"code": "rate_limit_exceeded", "message": "m"}, 429, Kind.RATE_LIMIT, "rate_limit_exceeded"),
        ({"code": "insufficient_quota", "message": "m"}, 429, Kind.QUOTA, "insufficient_quota"),
        ({"code": "context_length_exceeded", "message": "m"}, 400, Kind.INVALID_REQUEST, "context_length_exceeded"),
        ({"code": "server_is_overloaded", "message": "m"}, 503, Kind.OVERLOADED, "server_is_overloaded"),
        ({"code": "something_new", "message": "m"}, 502, Kind.UPSTREAM, "something_new"),
        ({"code": 429, "message": "m"}, 429, Kind.RATE_LIMIT, None),
    ],
)
def test_b12_every_form_of_an_error_is_exactly_one(error: dict[str, Any], status: int, kind: Kind, code: str) -> None:
    failed = of_response("failed", error=error)
    nested, flat = event("error", error=error), {**error, "type": "error"}
    for forms in ([nested, failed], [nested], [failed], [flat, failed], [flat], [{"error": error}]):
        if forms[0] is flat and not error.get("code"):
            continue  # its only word is its type, and there the flat form says that it is an error
        for before, content in (([CREATED], False), ([*OPEN, HI], True)):
            sent = numbered([*before, *forms])
            forward, tap = run([write(sent)])
            assert forward == write(sent[: len(before)])
            assert tap.failure is not None
            assert (tap.failure.status, tap.failure.kind, tap.failure.message) == (status, kind, "m")
            assert tap.failure.code == code
            assert (tap.content, tap.done) == (content, False)
            assert_ends(forward, tap, tap.failure)


def assert_ends(forward: bytes, tap: Tap, failure: Failure) -> list[Any]:
    """Check that a stream and its ending are one stream to a client: numbers go on, one id, `response.failed` last."""
    payloads = sdk_payloads(forward + tap.error_event(failure))
    error, failed = payloads[-2:]
    assert [each["sequence_number"] for each in payloads] == list(range(len(payloads)))
    assert list(error) == ["type", "sequence_number", "error"]
    assert list(error["error"]) == ["message", "type", "param", "code"]
    assert error["type"] == "error"
    assert error["error"]["message"] == failure.message
    assert list(failed)[:2] == ["type", "sequence_number"]
    assert isinstance(failed["response"]["error"]["code"], str)
    if failed["response"]["error"]["code"] not in get_args(ResponseError.model_fields["code"].annotation):
        assert failed["response"]["error"]["code"] == failure.code  # an upstream's own word
        failed["response"]["error"]["code"] = "server_error"
    response = ResponseFailedEvent.model_validate(failed).response
    assert (response.id, response.status, response.model) == ("resp_1", "failed", "m")
    assert response.error is not None
    assert response.error.message == failure.message
    with pytest.raises(openai.APIError, match=re.escape(failure.message)):
        sdk_stream(forward + tap.error_event(failure))
    return payloads


def test_b09_the_ending_of_a_cut_stream_goes_on_from_what_was_sent() -> None:
    for payloads in (numbered([CREATED]), numbered([*OPEN, HI]), numbered([*OPEN, HI, delta("x" * 1000)])):
        for comments in (b"", b": ping\n\n", b": ping\n"):
            forward, tap = run(byte_by_byte(write(payloads) + comments))
            assert tap.failure is not None
            *_, error, failed = assert_ends(forward, tap, tap.failure)
            assert error["error"]["code"] == "stream_incomplete"
            assert failed["response"] == {
                **RESPONSE,
                "status": "failed",
                "error": {"code": "server_error", "message": tap.failure.message},
            }


def test_b10_a_failure_that_the_tap_did_not_see_ends_the_stream_too() -> None:
    tap = open_tap()
    forward = tap.feed(write(numbered([*OPEN, HI])))
    timeout = Failure(504, Kind.TIMEOUT, "no byte for 60 s", code="upstream_timeout")
    *_, error, failed = assert_ends(forward, tap, timeout)
    assert error["error"]["code"] == "upstream_timeout"
    assert failed["response"]["error"] == {"code": "server_error", "message": "no byte for 60 s"}


def test_an_error_that_was_reported_wins_over_how_the_stream_broke_afterwards() -> None:
    tap = open_tap()
    forward = tap.feed(write(numbered([*OPEN, HI, NESTED])))
    assert tap.stage is Stage.ERROR  # its response.failed may follow
    assert not tap.failure
    late = Failure(504, Kind.TIMEOUT, "silence")
    assert b"it broke" in tap.error_event(late)
    assert b"silence" not in tap.error_event(late)
    _, ended = run([write(numbered([*OPEN, HI, NESTED]))])
    assert ended.failure is not None
    assert ended.error_event(ended.failure) == tap.error_event(late)
    assert_ends(forward, ended, ended.failure)


def test_nothing_comes_out_after_an_error_was_withheld() -> None:
    before = write(numbered([*OPEN, HI]))
    for after in (b": ping\n\n", b"\n\n\r\n", b"id: 7\n\n: ping\n\n"):
        for last in (b"", write([FAILED])):
            forward, tap = run([before + write([FLAT]) + after + last])
            assert forward == before
            assert tap.failure is not None
            assert (tap.failure.code, tap.failure.type) == ("server_error", None)


@pytest.mark.parametrize("before", [[], [*OPEN, HI]])
def test_b09_an_end_without_its_response_is_no_evidence(before: list[Event]) -> None:
    for end in ({"type": "response.completed"}, {"type": "response.incomplete", "response": None}):
        _, tap = run([write([*before, end])])
        assert tap.failure is not None
        assert tap.failure.code == "stream_incomplete"


def test_the_upstreams_failed_response_is_kept() -> None:
    error = {"code": "new_policy", "message": "no", "misalignment": {"steer": {"message": "go on"}}}
    failed = of_response(
        "failed", id="resp_rotated", error=error, output=[message("Hi")], usage=USAGE, instructions="x" * 9999
    )
    forward, tap = run([write(numbered([*OPEN, HI, failed]))])  # fmt: skip
    assert tap.failure is not None
    assert tap.failure.code == "new_policy"
    *_, last = sdk_payloads(forward + tap.error_event(tap.failure))
    assert last["response"] == {**failed["response"], "id": "resp_1"}


def test_what_is_long_is_not_repeated() -> None:
    created = of_response(
        "created", instructions="x" * (ECHO_BYTES_MAX + 1), tools=[{"a": "b" * ECHO_BYTES_MAX}], user="u"
    )
    forward, tap = run([write(numbered([created, HI]))])  # fmt: skip
    assert tap.failure is not None
    *_, last = assert_ends(forward, tap, tap.failure)
    assert (last["response"]["instructions"], last["response"]["tools"], last["response"]["user"]) == (None, [], "u")


@pytest.mark.parametrize("form", [[NESTED, FAILED], [FAILED], [NESTED]])
def test_the_gateways_credentials_are_not_the_clients(form: list[Event]) -> None:
    text = "Incorrect API key provided: sk-ab***yz"
    error = {"code": "invalid_api_key", "message": text, "type": "invalid_request_error"}
    sent = [{**each, "error": error} if each is NESTED else of_response("failed", error=error) for each in form]
    for before in ([CREATED], [*OPEN, HI]):
        forward, tap = run([write(numbered([*before, *sent]))])
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.code) == (502, "upstream_credentials_refused")
        assert b"sk-ab" not in forward + tap.error_event(tap.failure)


def test_an_error_line_outside_any_field() -> None:
    late = b'{"error": {"message": "late", "code": 500}}'
    for ending in (b"", b"\n", b"\n\n"):
        forward, tap = run([write([HI]) + late + ending])
        assert forward == write([HI])
        assert tap.failure is not None
        assert tap.failure.message == "late"


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b'{"error":{"message":"no such model","code":"model_not_found"}}', 404, "model_not_found", "no such model"),
        (b'{\n  "error": {\n\n    "code": 503,\n    "message": "down"\n  }\n}\n', 503, None, "down"),
        (b'[{"error": {"code": 429, "message": "many"}}]', 429, None, "many"),
        (json.dumps(FAILED["response"]).encode(), 500, "server_error", "it broke"),
        (json.dumps(COMPLETED["response"]).encode(), 502, "upstream_protocol_error", None),
        (b'{"cut":', 502, "upstream_protocol_error", None),
        (b"<html><body>\n\n<h1>502 Bad\x00 Gateway</h1></body></html>", 502, "upstream_protocol_error", None),
        (b"upstream connect error or disconnect", 502, "upstream_protocol_error", None),
        (b"\x1f\x8b\x08\x00\x00\x00\n\n", 502, "upstream_protocol_error", None),
    ],
)
def test_b11_something_else_than_an_event_stream(
    body: bytes, status: int, code: str | None, message: str | None
) -> None:
    for cut in ([body], byte_by_byte(body), *two_part_splits(body)):
        forward, tap = run(cut)
        assert forward == b""
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.code) == (status, code)
        assert message is None or tap.failure.message == message
        assert tap.failure.message.isprintable()


def test_garbage_after_the_first_content_is_the_clients_to_judge() -> None:
    garbage = b'data: half an "error": {\n\ndata: [1]\n\n'
    data = write([*OPEN, HI]) + garbage + write([delta("a")]) + garbage + write([COMPLETED])
    forward, tap = run([data])
    assert forward == data
    assert facts(tap) == OK


def test_nothing_at_all_is_incomplete() -> None:
    for body in (b"", b"\n\n", b"\xef\xbb\xbf\r\n", b": only a comment\n\n", b"data: [DONE]\n\n"):
        _, tap = run([body])
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.code) == (502, "stream_incomplete")


def test_after_the_end_nothing_comes_out() -> None:
    for data in (write([HI, COMPLETED]), write([FAILED]), b"<html>\n\n"):
        tap = open_tap()
        tap.feed(data + b"data: more")
        before = facts(tap)
        assert tap.held == 0
        assert tap.feed(write([HI])) == b""
        assert tap.end() == b""
        assert facts(tap) == before


# -- size --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [999, 1000, 1001, 5000])
def test_events_up_to_the_limit_pass(size: int) -> None:
    big = write([delta("a" * (size - len(write([delta("")]))))])
    assert len(big) == size
    end = write([event("response.incomplete", response={"id": "resp_1"})])
    for before in (b"", write([HI])):
        whole, once = run([before + big + end], limit=1000)
        for cut in (byte_by_byte, lambda data: pieces(data, [64])):
            forward, tap = run(cut(before + big + end), limit=1000)
            assert (forward, seen(tap)) == (whole, seen(once))
        if size <= 1000:
            assert once.failure is None
        else:
            assert whole == before
            assert once.failure is not None
            assert once.failure.code == "event_too_large"


def test_b06_a_huge_event_costs_linear_work_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = count_searched(monkeypatch)
    partial = event("response.image_generation_call.partial_image", partial_image_b64="a" * 50_000_000)
    for huge, before in ((partial, [CREATED, HI]), (of_response("completed", output=[message("a" * 5_000_000)]), [HI])):
        data = write(numbered([huge]))
        reads = pieces(data, [65536])
        tap = open_tap()
        tap.feed(write(before))
        searched.clear()
        tracemalloc.start()
        forward = [tap.feed(read) for read in reads]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert forward[-1] == data
        assert not any(forward[:-1])
        assert sum(searched) < 1.01 * len(data)
        assert peak < 5 * len(data)
        assert tap.done is (huge is not partial)


# -- properties --------------------------------------------------------------------------------------------------------

TOKENS = st.sampled_from(
    [
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\xef\xbb\xbf", b"x", b" ", b"\xff"),
        *(b"data: ", b"data:", b"data", b": c", b"event: response.completed", b"event: error", b"id: 1", b"[DONE]"),
        *(b"data: [DONE]\n\n", b"{", b"}", b'"error"', b'"response"', b'"sequence_number":4'),
        *(write([each]) for each in numbered([CREATED, ADDED, HI, COMPLETED, NESTED, FAILED, FLAT])),
        *(b'{"error":"e"}', b'{"error":null}', b'{"type":"response.completed","response":{}}'),
        *(b'{"type":"error"}', b'{"type":"response.failed"}', b'{"type":"response.x.delta","delta":"a"}'),
    ]
)


@settings(max_examples=250, deadline=None)
@given(
    st.lists(TOKENS, max_size=30).map(b"".join) | st.binary(max_size=80),
    st.lists(st.integers(1, 40), min_size=1),
)
@example(data=b": c\n\nid: 1\r\r\n\n" + write([HI]), sizes=[1])
@example(data=write([NESTED]) + b"\n", sizes=[1])
@example(data=write([HI, NESTED]) + b"\n\n: c\n\n" + write([FAILED]), sizes=[1])
def test_any_bytes_at_any_split_give_the_same(data: bytes, sizes: list[int]) -> None:
    whole, once = run([data])
    forward, tap = run(pieces(data, sizes))
    assert forward == whole
    assert (facts(tap), tap.failure, tap.usage) == (facts(once), once.failure, once.usage)
    assert (tap.failure is None) == tap.done
    for failure in (tap.failure, Failure(504, Kind.TIMEOUT, "late")):
        if failure is not None:
            error, failed = sdk_payloads(tap.error_event(failure))
            assert (error["type"], failed["type"]) == ("error", "response.failed")
            assert failed["sequence_number"] == error["sequence_number"] + 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([ADDED, PART, HI, *ENDS, event("response.new.event"), {**HI, "error": None}]), max_size=8)
)
def test_forwarded_events_are_what_the_sdk_reads_of_the_original(payloads: list[Any]) -> None:
    data = write(numbered([CREATED, *payloads, COMPLETED]))
    forward, _ = run([data])
    assert sdk_payloads(forward) == sdk_payloads(data)


# -- the official client as a client -----------------------------------------------------------------------------------


def sdk_client(body: bytes) -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="k", base_url="http://t/v1", http_client=http)


def sdk_stream(body: bytes) -> list[str]:
    with sdk_client(body) as client:
        return [each.type for each in client.responses.create(model="m", input="x", stream=True)]


def sdk_text(body: bytes) -> str:
    """What the SDK's accumulator makes of a stream; it is strict about ids, indexes and the order of events."""
    with sdk_client(body) as client, client.responses.stream(model="m", input="x") as stream:
        return stream.get_final_response().output_text


@pytest.mark.parametrize("writing", ["lf", "crlf", "padded json", "comments", "no event lines", "no last blank line"])
def test_the_sdk_accumulates_what_passes(writing: str) -> None:
    forward, _ = run(byte_by_byte(WRITINGS[writing]([*numbered([*TEXT, COMPLETED]), DONE])))
    assert sdk_text(forward) == "Hi"


def test_the_sdk_raises_on_a_failed_stream() -> None:
    forward, tap = run([write(numbered([*OPEN, HI]))])
    assert tap.failure is not None
    assert sdk_stream(forward) == [each["type"] for each in [*OPEN, HI]]  # the silence that the gateway must break
    for read in (sdk_stream, sdk_text):
        with pytest.raises(openai.APIError, match="ended before it was complete") as caught:
            read(forward + tap.error_event(tap.failure))
        assert caught.value.code == "stream_incomplete"
        with pytest.raises(openai.APIError, match="ended before it was complete"):
            read(responses.error_event(tap.failure))


def test_the_sdk_only_yields_the_flat_form() -> None:
    data = write(numbered([*OPEN, HI, FLAT]))
    assert sdk_stream(data)[-1] == "error"
    forward, tap = run([data])
    assert tap.failure is not None
    with pytest.raises(openai.APIError, match="it broke"):
        sdk_stream(forward + tap.error_event(tap.failure))


def test_b05_the_sdk_reads_keepalives_between_any_events() -> None:
    events = [b"id: 7\n" + write([payload]) for payload in numbered([*TEXT, COMPLETED])]
    data = responses.KEEPALIVE + responses.KEEPALIVE.join(events) + responses.KEEPALIVE
    assert sdk_text(data) == "Hi"


def test_b08_a_done_never_comes_out() -> None:
    for written in (b"data: [DONE]\n\n", b"data: [DONE]  \r\n\r\n", b"event: done\ndata: [DONE]\n\n"):
        for payloads in (numbered(OPEN), numbered([*OPEN, HI]), numbered([*TEXT, COMPLETED])):
            forward, _ = run([write(payloads) + written])
            assert forward == write(payloads)


def test_a_stray_retry_line_does_not_reach_the_sdk() -> None:
    data = b"retry: 1000\n\n" + write(numbered([*TEXT, COMPLETED]))
    with pytest.raises(json.JSONDecodeError):
        sdk_stream(data)
    forward, _ = run([data])
    assert sdk_text(forward) == "Hi"


def test_the_tap_is_what_dialects_promise() -> None:
    tap: StreamTap = open_tap()
    assert repr(tap) == "<Tap start 0 bytes held>"
    tap.feed(b"data: {")
    assert repr(tap) == "<Tap start 7 bytes held>"
