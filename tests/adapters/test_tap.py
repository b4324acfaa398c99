"""The tap: what comes out and what it saw, for every stream of the corpus, however written and however cut."""

import json
import re
import tracemalloc
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from adapters.dialects import StreamTap, chat
from adapters.dialects.chat_document import Document, read_document
from adapters.dialects.chat_tap import Stage, Tap
from adapters.errors import Kind
from adapters.usage import Usage
from tests.adapters.streams import (
    DONE,
    ERROR,
    HI,
    OK,
    ROLE,
    STOP,
    STREAMS,
    USAGE,
    WRITINGS,
    Facts,
    Stream,
    byte_by_byte,
    chunk,
    count_searched,
    pieces,
    two_part_splits,
    usage_chunk,
    write,
)

LIMIT = 1 << 26
each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
both_clients = pytest.mark.parametrize("strip_usage", [False, True], ids=["asked", "not asked"])


def run(reads: list[bytes], *, strip_usage: bool = False, limit: int = LIMIT, choices: int = 1) -> tuple[bytes, Tap]:
    tap = Tap(strip_usage=strip_usage, event_bytes_max=limit, choices=choices)
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
    """What the official SDK's own decoder reads; it must take every byte that we forward."""
    events = [event.data for event in SSEDecoder().iter_bytes(iter([forward]))]
    return [data if data == DONE else json.loads(data) for data in events]


# -- the corpus --------------------------------------------------------------------------------------------------------


@each_stream
@both_clients
def test_what_comes_out_and_what_was_seen(stream: Stream, strip_usage: bool) -> None:
    for writing, write_as in WRITINGS.items():
        forward, tap = run([write_as(stream.payloads)], strip_usage=strip_usage)
        assert facts(tap) == stream.facts, writing
        assert sdk_payloads(forward) == stream.expected(strip_usage=strip_usage), writing
        assert not forward or forward.endswith((b"\n\n", b"\n\r\n", b"\r\r", b"\n\r")), writing
        assert tap.held == 0


@each_stream
@both_clients
def test_byte_by_byte_is_the_same(stream: Stream, strip_usage: bool) -> None:
    for writing, write_as in WRITINGS.items():
        data = write_as(stream.payloads)
        whole, seen = run([data], strip_usage=strip_usage)
        for cut in (byte_by_byte(data), pieces(data, [7, 1, 50])):
            forward, tap = run(cut, strip_usage=strip_usage)
            assert forward == whole, writing
            assert (facts(tap), tap.usage, tap.failure) == (facts(seen), seen.usage, seen.failure), writing


@each_stream
@pytest.mark.parametrize(("writing", "strip_usage"), [("lf", True), ("crlf", False)])
def test_every_two_part_split_is_the_same(stream: Stream, writing: str, strip_usage: bool) -> None:
    assert_two_part_splits_agree(WRITINGS[writing](stream.payloads), strip_usage=strip_usage)


@pytest.mark.parametrize("writing", WRITINGS)
def test_every_two_part_split_of_every_writing_is_the_same(writing: str) -> None:
    assert_two_part_splits_agree(
        WRITINGS[writing]([HI, {**STOP, "usage": None}, usage_chunk(), DONE]), strip_usage=True
    )


def assert_two_part_splits_agree(data: bytes, *, strip_usage: bool) -> None:
    whole, seen = run([data], strip_usage=strip_usage)
    for cut in two_part_splits(data):
        forward, tap = run(cut, strip_usage=strip_usage)
        assert forward == whole
        assert (facts(tap), tap.usage, tap.failure) == (facts(seen), seen.usage, seen.failure)


@each_stream
def test_untouched_streams_pass_byte_for_byte(stream: Stream) -> None:
    for writing in ("lf", "crlf", "cr", "padded json", "comments, crlf", "event names", "many data lines"):
        data = WRITINGS[writing]([payload for payload in stream.expected(strip_usage=False) if payload != DONE])
        forward, _ = run([data])
        assert forward.removesuffix(chat.DONE) == data


@each_stream
def test_truncation_at_every_event_is_an_error_unless_finished(stream: Stream) -> None:
    for length in range(len(stream.payloads)):
        _, tap = run([write(stream.payloads[:length])])
        assert (tap.failure is None) == tap.done
        if not re.search(r'\[DONE\]|"finish_reason": "(?!error)[a-z_]+"', json.dumps(stream.payloads[:length])):
            assert tap.failure is not None


def test_output_after_each_read_is_whole_events() -> None:
    data = write([ROLE, HI, STOP, usage_chunk(), DONE])
    tap = Tap(strip_usage=True, event_bytes_max=LIMIT)
    for read in byte_by_byte(data):
        forward = tap.feed(read)
        assert not forward or (forward.startswith(b"data: ") and forward.endswith(b"\n\n"))


def test_a_crlf_between_two_reads_is_one_line_end() -> None:
    tap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    data = write([HI], form="data: {}\r\n\r\n")
    assert tap.feed(data[:-3]) == b""
    assert tap.feed(data[-3:-1]) == b""
    assert tap.feed(data[-1:]) == data


# -- the fast path -----------------------------------------------------------------------------------------------------


def test_a_calm_read_comes_back_as_the_same_object() -> None:
    for form in ("data: {}\n\n", "data: {}\r\n\r\n"):
        tap = Tap(strip_usage=True, event_bytes_max=LIMIT)
        tap.feed(write([ROLE, HI], form=form))
        calm = write([HI] * 40, form=form)
        assert tap.feed(calm) is calm


def test_calm_events_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def counted(payload: bytes) -> Document | None:
        decoded.append(payload)
        return read_document(payload)

    monkeypatch.setattr("adapters.dialects.chat_tap.read_document", counted)
    events = [ROLE, *[{**HI, "usage": None}] * 30, STOP, usage_chunk(), DONE]
    for writing in ("lf", "spaced json", "crlf", "comments"):
        for strip_usage in (False, True):
            decoded.clear()
            run(byte_by_byte(WRITINGS[writing](events)), strip_usage=strip_usage)
            assert len(decoded) == 4  # role, first content, finish, usage


def test_a_null_usage_is_cut_out_and_nothing_else_changes() -> None:
    tap = Tap(strip_usage=True, event_bytes_max=LIMIT)
    tap.feed(write([HI]))
    event = write([{**HI, "usage": None, "obfuscation": "x", "n": [1.50, {"a": None}]}])
    assert tap.feed(event) == event.replace(b',"usage":null', b"")


def test_members_next_to_a_usage_keep_their_bytes() -> None:
    choices = rb'[ {"delta":{"content":"\u0041"},  "n":1.50} ]'
    event = b'event: x\ndata: {"choices": %b, "usage":{"prompt_tokens":1},"b":[ 1 ]}\n\n' % choices
    forward, _ = run([event], strip_usage=True)
    assert forward == b'event: x\ndata: {"choices":%b,"b":[ 1 ]}\n\n' % choices


@pytest.mark.parametrize("writing", ["spaced json", "padded json", "many data lines, crlf"])
def test_a_looked_at_event_without_usage_keeps_its_bytes(writing: str) -> None:
    data = WRITINGS[writing]([ROLE, HI, STOP])
    forward, _ = run([data], strip_usage=True)
    assert forward == data + chat.DONE


def test_the_usage_of_other_objects_stays() -> None:
    extra = chunk({"content": "a"}, x_vendor={"usage": {"queue_time": 1}})
    forward, tap = run([write([HI, extra, STOP, DONE])], strip_usage=True)
    assert sdk_payloads(forward) == [HI, extra, STOP, DONE]
    assert tap.usage is None


# -- content, finish, usage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "delta",
    [
        {"content": " "},
        {"content": [{"type": "text", "text": "a"}]},
        {"refusal": "no"},
        {"reasoning_content": "a"},
        {"reasoning": "a"},
        {"tool_calls": [{"index": 0}]},
        {"function_call": {"name": "f"}},
        {"audio": {"id": "a"}},
        {"role": "assistant", "content": "a"},
    ],
)
def test_content(delta: dict[str, Any]) -> None:
    tap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    tap.feed(write([chunk(delta)]))
    assert tap.content


@pytest.mark.parametrize(
    "payload",
    [
        chunk({"role": "assistant"}),
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"content": None, "tool_calls": [], "reasoning": "", "audio": {}}),
        chunk({}),
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0}]},
        {"choices": [], "prompt_filter_results": [1]},
        usage_chunk(),
        {},
    ],
)
def test_no_content(payload: dict[str, Any]) -> None:
    tap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    tap.feed(b": comment\n\n" + write([payload]))
    assert not tap.content
    assert tap.stage is Stage.OPENING


def test_every_choice_must_finish() -> None:
    def of(index: int, finish: str | None) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": {"content": "a"}, "finish_reason": finish}]}

    cut = [of(0, None), of(1, None), of(0, "stop"), of(1, None)]
    _, tap = run([write(cut)], choices=2)
    assert tap.failure is not None
    _, tap = run([write([*cut, of(1, "length")])], choices=2)
    assert facts(tap) == OK


@pytest.mark.parametrize("writing", ["lf", "spaced json", "padded json"])
@both_clients
def test_usage_of_a_stream_that_is_cut_is_the_last_one_seen(writing: str, strip_usage: bool) -> None:
    counted = [{**HI, "usage": {"prompt_tokens": 9, "completion_tokens": tokens}} for tokens in (1, 2, 3)]
    _, tap = run([WRITINGS[writing]([HI, *counted])], strip_usage=strip_usage)
    assert facts(tap) == {**OK, "finished": False, "done": False, "tokens": (9, 3), "code": "stream_incomplete"}


def test_usage_chunk_without_choices_member_is_dropped() -> None:
    forward, tap = run([write([HI, STOP, {"usage": USAGE}, DONE])], strip_usage=True)
    assert sdk_payloads(forward) == [HI, STOP, DONE]
    assert tap.usage == Usage(input_tokens=9, output_tokens=4)


def test_an_upstream_of_odd_types_is_still_read() -> None:
    odd = b'data: {"choices":[{"index":"0","delta":{"content":"\\ud83d","tool_calls":7},"finish_reason":null}, 5]}\n\n'
    nan = b'data: {"choices":[{"delta":{},"logprobs":NaN,"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}\n\n'
    forward, tap = run([odd + nan])
    assert forward == odd + nan + chat.DONE
    assert facts(tap) == {**OK, "tokens": (3, 0)}


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "status", "kind", "message", "code"),
    [
        (ERROR, 503, Kind.OVERLOADED, "Overloaded", None),
        ({"choices": [], "error": {"code": 429, "message": "slow"}}, 429, Kind.RATE_LIMIT, "slow", None),
        ({"error": {"message": "m", "code": "insufficient_quota"}}, 429, Kind.QUOTA, "m", "insufficient_quota"),
        ({"error": "boom"}, 502, Kind.UPSTREAM, "boom", None),
        ({"error": {"message": "m", "type": "server_error"}}, 500, Kind.UPSTREAM, "m", None),
        (
            {"choices": [{"error": {"message": "m", "code": 400}, "finish_reason": "error"}]},
            400,
            Kind.INVALID_REQUEST,
            "m",
            None,
        ),
        (
            {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}},
            502,
            Kind.UPSTREAM,
            "The upstream refused the gateway's credentials.",
            "upstream_credentials_refused",
        ),
        ({"error": {"message": "half \ud83d"}}, 502, Kind.UPSTREAM, "half ?", None),
        ({"error": ["a"]}, 502, Kind.UPSTREAM, "The upstream reported an error without saying which.", None),
    ],
)
def test_in_band_errors(payload: dict[str, Any], status: int, kind: Kind, message: str, code: str | None) -> None:
    events = b"data: " + json.dumps(payload).encode() + b"\n\n" + write([HI, DONE])
    for before, content in (([], False), ([HI], True)):
        forward, tap = run([write(before), events])
        assert forward == write(before)
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.kind, tap.failure.message) == (status, kind, message)
        assert tap.failure.code == code
        assert (tap.content, tap.finished, tap.done) == (content, False, False)


@pytest.mark.parametrize("nothing", [None, "", {}, False, 0, []])
def test_an_error_member_that_says_nothing_is_none(nothing: object) -> None:
    forward, tap = run([write([HI, {**HI, "error": nothing}, STOP, DONE])])
    assert facts(tap) == OK
    assert len(sdk_payloads(forward)) == 4


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
        (b'{"object":"chat.completion","choices":[{"message":{"content":"x"}}]}', 502, "upstream_protocol_error", None),
        (b'{"cut":', 502, "upstream_protocol_error", None),
        (
            b"<html><script>x=1</script><body>\n\n<h1>502 Bad\x00 Gateway</h1></body></html>",
            502,
            "upstream_protocol_error",
            None,
        ),
        (b"upstream connect error or disconnect", 502, "upstream_protocol_error", None),
        (b"\x1f\x8b\x08\x00\x00\x00\n\n", 502, "upstream_protocol_error", None),
    ],
)
def test_something_else_than_an_event_stream(body: bytes, status: int, code: str | None, message: str | None) -> None:
    for cut in ([body], byte_by_byte(body), *two_part_splits(body)):
        forward, tap = run(cut)
        assert forward == b""
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.code) == (status, code)
        if message:
            assert tap.failure.message == message
        assert tap.failure.message.isprintable()
        assert "<" not in tap.failure.message


def test_garbage_after_the_first_content_is_the_clients_to_judge() -> None:
    garbage = b'data: half an "error": {\n\ndata: [1]\n\n'
    data = write([HI]) + garbage + write([STOP]) + garbage + write([DONE])
    forward, tap = run([data])
    assert forward == data
    assert facts(tap) == OK


def test_nothing_at_all_is_incomplete() -> None:
    for body in (b"", b"\n\n", b"\xef\xbb\xbf\r\n", b": only a comment\n\n"):
        _, tap = run([body])
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.code) == (502, "stream_incomplete")


def test_a_tail_cut_inside_an_event_is_not_forwarded() -> None:
    data = write([HI, STOP])
    for length in range(len(write([HI])) + 1, len(data) - 3):
        forward, tap = run([data[:length]])
        assert forward == write([HI])
        assert tap.failure is not None
        assert tap.failure.code == "stream_incomplete"


def test_a_finished_stream_survives_a_cut_tail() -> None:
    forward, tap = run([write([HI, STOP]) + b'data: {"choices":[],"usa'])
    assert forward == write([HI, STOP]) + chat.DONE
    assert facts(tap) == OK


def test_after_the_end_nothing_comes_out() -> None:
    for data in (write([HI, STOP, DONE]), write([ERROR]), b"<html>\n\n"):
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
    frame = len(write([chunk({"content": ""})]))
    big = write([chunk({"content": "a" * (size - frame)})])
    assert len(big) == size
    for before in (b"", write([HI])):
        whole, seen = run([before + big + write([STOP, DONE])], limit=1000)
        for cut in (byte_by_byte, lambda data: pieces(data, [64])):
            forward, tap = run(cut(before + big + write([STOP, DONE])), limit=1000)
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
    for size, before in ((5_000_000, b""), (50_000_000, write([HI]))):
        event = write([chunk({"content": "a" * size})])
        reads = pieces(event, [65536])
        searched.clear()
        tap = Tap(strip_usage=True, event_bytes_max=LIMIT)
        tap.feed(before)
        tracemalloc.start()
        forward = [tap.feed(read) for read in reads]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert forward[-1] == event
        assert not any(forward[:-1])
        assert sum(searched) < 1.01 * len(event)
        assert peak < 5 * size


def test_a_document_with_blank_lines_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = count_searched(monkeypatch)
    tap = Tap(strip_usage=True, event_bytes_max=LIMIT)
    for read in [b"{\n\n", *[b"\n\n" * 1000] * 100]:
        tap.feed(read)
    assert tap.stage is Stage.DOCUMENT
    assert sum(searched) < 10
    assert tap.held == 200_003


# -- properties --------------------------------------------------------------------------------------------------------

TOKENS = st.sampled_from(
    [
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\xef\xbb\xbf", b"x", b" ", b"\xff"),
        *(b"data: ", b"data:", b"data", b": c", b"event: x", b"id: 1", b"[DONE]", b"{", b"}", b'"error"'),
        *(write([ROLE]), write([HI]), write([STOP]), write([usage_chunk()]), write([{**HI, "usage": None}])),
        *(b'{"error":"e"}', b'{"error":null}', b'{"choices":[{"delta":{"content":"a"}}]}'),
        b'{"choices":[{"finish_reason":"stop"}],"usage":{"total_tokens":1}}',
    ]
)


@settings(max_examples=250, deadline=None)
@given(
    st.lists(TOKENS, max_size=30).map(b"".join) | st.binary(max_size=80),
    st.lists(st.integers(1, 40), min_size=1),
    st.booleans(),
)
@example(data=b": c\n\nid: 1\r\r\n\n" + write([HI]), sizes=[1], strip_usage=True)
def test_any_bytes_at_any_split_give_the_same(data: bytes, sizes: list[int], strip_usage: bool) -> None:
    whole, seen = run([data], strip_usage=strip_usage)
    forward, tap = run(pieces(data, sizes), strip_usage=strip_usage)
    assert forward == whole
    assert (facts(tap), tap.failure, tap.usage) == (facts(seen), seen.failure, seen.usage)
    assert (tap.failure is None) == tap.done
    assert forward.count(b"data: [DONE]\n\n") <= 1 or b"data: [DONE]" in data
    if tap.done:
        assert forward.endswith(chat.DONE)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([ROLE, HI, STOP, usage_chunk(), {**HI, "usage": USAGE}, {"error": None}]), max_size=8))
def test_forwarded_events_are_what_the_sdk_reads_of_the_original(payloads: list[Any]) -> None:
    data = write([HI, *payloads, DONE])
    forward, _ = run([data])
    assert sdk_payloads(forward) == sdk_payloads(data)


# -- the official client as a client -----------------------------------------------------------------------------------


def sdk_stream(body: bytes) -> list[str]:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    client = openai.OpenAI(
        api_key="k", base_url="http://t/v1", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
    )
    with client:
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        return [part.choices[0].delta.content or "" for part in stream if part.choices]


def test_the_sdk_raises_on_a_failed_stream() -> None:
    forward, tap = run([write([ROLE, HI])])
    assert tap.failure is not None
    assert sdk_stream(forward) == ["", "Hi"]  # the silence that the gateway must break
    with pytest.raises(openai.APIError, match="ended before it was complete"):
        sdk_stream(forward + chat.error_event(tap.failure))


def test_the_sdk_reads_keepalives_between_any_events() -> None:
    events = [b"id: 7\n" + write([payload]) for payload in (ROLE, HI, STOP)]
    assert sdk_stream(chat.KEEPALIVE + chat.KEEPALIVE.join(events) + chat.KEEPALIVE + chat.DONE) == ["", "Hi", ""]


def test_a_stray_retry_line_does_not_reach_the_sdk() -> None:
    data = b"retry: 1000\n\n" + write([ROLE, HI, STOP, DONE])
    with pytest.raises(json.JSONDecodeError):
        sdk_stream(data)
    forward, _ = run([data])
    assert sdk_stream(forward) == ["", "Hi", ""]


def test_the_tap_is_what_dialects_promise() -> None:
    tap: StreamTap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    assert repr(tap) == "<Tap start 0 bytes held>"
    tap.feed(b"data: {")
    assert repr(tap) == "<Tap start 7 bytes held>"
