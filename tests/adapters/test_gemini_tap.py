"""The Gemini tap: what comes out and what it saw, for every stream of the corpus, however written and however cut."""

import json
import re
import tracemalloc
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.dialects import StreamTap, gemini
from adapters.dialects.gemini_document import Document, read_document
from adapters.dialects.gemini_tap import Stage, Tap
from adapters.errors import Failure, Kind
from adapters.usage import Usage
from tests.adapters.gemini_streams import (
    BARE_STOP,
    BLOCKED,
    CALL,
    DONE,
    ERROR,
    HI,
    IMAGE,
    MORE,
    OK,
    STOP,
    STREAMS,
    TEXT,
    USAGE,
    WRITINGS,
    Facts,
    Stream,
    call,
    chunk,
    google,
)
from tests.adapters.streams import byte_by_byte, count_searched, pieces, two_part_splits, write

LIMIT = 1 << 26
CANONICAL = re.compile(rb"(?:data: [^\r\n]+(?:\r\n\r\n|\n\n|\r\r))*")
each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
both_forms = pytest.mark.parametrize("array", [False, True], ids=["events", "array"])


def run(reads: list[bytes], *, limit: int = LIMIT, choices: int = 1, array: bool = False) -> tuple[bytes, Tap]:
    tap = Tap(event_bytes_max=limit, choices=choices, array=array)
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


def seen(tap: Tap) -> tuple[Facts, Usage | None, Failure | None, Stage]:
    return facts(tap), tap.usage, tap.failure, tap.stage


def sdk_payloads(forward: bytes) -> list[Any]:
    """What the official SDK's own decoder reads; it must take every byte that we forward."""
    from google.genai._api_client import HttpResponse

    response = HttpResponse({}, response_stream=httpx2.Response(200, content=forward))
    return list(response.segments())


def whole_array(forward: bytes, tap: Tap) -> list[Any]:
    """The array a client reads, with the closing that its failure gets."""
    if tap.failure is not None:
        forward += tap.error_event(tap.failure)
    elements = json.loads(forward)
    assert isinstance(elements, list)
    return elements


# -- the corpus --------------------------------------------------------------------------------------------------------


@each_stream
def test_what_comes_out_and_what_was_seen(stream: Stream) -> None:
    for writing, write_as in WRITINGS.items():
        forward, tap = run([write_as(stream.payloads)])
        assert facts(tap) == stream.facts, writing
        assert sdk_payloads(forward) == stream.expected, writing
        assert CANONICAL.fullmatch(forward), writing
        assert tap.held == 0


@each_stream
def test_the_array_holds_the_same(stream: Stream) -> None:
    for writing, write_as in WRITINGS.items():
        forward, tap = run([write_as(stream.payloads)], array=True)
        assert facts(tap) == stream.facts, writing
        elements = whole_array(forward, tap)
        if tap.failure is not None:
            last = elements.pop()
            assert list(last) == ["error"]
        assert elements == stream.expected, writing


@each_stream
@both_forms
def test_any_small_pieces_are_the_same(stream: Stream, array: bool) -> None:
    for writing, write_as in WRITINGS.items():
        data = write_as(stream.payloads)
        whole, first = run([data], array=array)
        for cut in (pieces(data, [7, 1, 50]), pieces(data, [64])):
            forward, tap = run(cut, array=array)
            assert forward == whole, writing
            assert seen(tap) == seen(first), writing


@each_stream
def test_byte_by_byte_is_the_same(stream: Stream) -> None:
    for writing in ("google", "cr", "many data lines, crlf", "comments"):
        data = WRITINGS[writing](stream.payloads)
        forward, tap = run(byte_by_byte(data))
        whole, first = run([data])
        assert (forward, seen(tap)) == (whole, seen(first)), writing


@each_stream
def test_every_two_part_split_is_the_same(stream: Stream) -> None:
    assert_two_part_splits_agree(WRITINGS["google"](stream.payloads), array=False)


@pytest.mark.parametrize(
    ("writing", "array"),
    [
        *((writing, False) for writing in WRITINGS),
        ("google", True),
        ("comments, crlf", True),
        ("many data lines", True),
    ],
)
def test_every_two_part_split_of_every_writing_is_the_same(writing: str, array: bool) -> None:
    small = [
        {name: value for name, value in payload.items() if name in {"candidates", "usageMetadata"}}
        for payload in (HI, STOP)
    ]
    assert_two_part_splits_agree(WRITINGS[writing]([small[0], {}, *small]), array=array)


def assert_two_part_splits_agree(data: bytes, *, array: bool) -> None:
    whole, first = run([data], array=array)
    for cut in two_part_splits(data):
        forward, tap = run(cut, array=array)
        assert forward == whole
        assert seen(tap) == seen(first)


@each_stream
def test_untouched_streams_pass_byte_for_byte(stream: Stream) -> None:
    for writing in ("google", "lf", "cr", "changing ends", "spaced json", "padded json"):
        data = WRITINGS[writing](stream.expected)
        forward, _ = run([data])
        assert forward == data


@each_stream
@both_forms
def test_b09_truncation_at_every_event_is_an_error_unless_finished(stream: Stream, array: bool) -> None:
    for length in range(len(stream.payloads)):
        payloads = stream.payloads[:length]
        forward, tap = run([WRITINGS["google"](payloads)], array=array)
        assert (tap.failure is None) == tap.done
        finished = any(
            payload.get("promptFeedback") or any(each.get("finishReason") for each in payload.get("candidates") or [])
            for payload in payloads
            if isinstance(payload, dict)
        )
        assert tap.done == (finished and ERROR not in payloads)
        if array:
            whole_array(forward, tap)


def test_b01_a_character_split_between_two_reads() -> None:
    data = WRITINGS["google"]([HI, chunk({"text": "\u20ac"}), STOP])
    at = data.index("\u20ac".encode()) + 1
    forward, tap = run([data[:at], data[at:]])
    assert forward == data
    assert facts(tap) == OK


def test_b02_a_crlf_between_two_reads_is_one_line_end() -> None:
    tap = Tap(event_bytes_max=LIMIT)
    data = WRITINGS["google"]([HI])
    assert tap.feed(data[:-3]) == b""
    assert tap.feed(data[-3:-1]) == b""
    assert tap.feed(data[-1:]) == data


def test_output_after_each_read_is_whole_events() -> None:
    tap = Tap(event_bytes_max=LIMIT)
    for read in byte_by_byte(WRITINGS["google"]([HI, MORE, STOP])):
        forward = tap.feed(read)
        assert not forward or (forward.startswith(b"data: {") and forward.endswith(b"}\r\n\r\n"))


# -- the array ---------------------------------------------------------------------------------------------------------


def test_the_array_is_written_as_google_writes_it() -> None:
    forward, _ = run([WRITINGS["google"]([HI, MORE, MORE, STOP])], array=True)
    assert forward == "[{}\n,\r\n{}\n,\r\n{}\n,\r\n{}\n]".format(*map(google, [HI, MORE, MORE, STOP])).encode()


def test_the_array_is_incremental() -> None:
    tap = Tap(event_bytes_max=LIMIT, array=True)
    events = [WRITINGS["google"]([payload]) for payload in (HI, MORE, STOP)]
    elements = [google(payload).encode() for payload in (HI, MORE, STOP)]
    assert tap.feed(events[0]) == b"[" + elements[0] + b"\n"
    assert tap.feed(events[1]) == b",\r\n" + elements[1] + b"\n"
    assert tap.feed(events[2]) == b",\r\n" + elements[2] + b"\n"
    assert tap.end() == b"]"


def test_an_array_that_fails_holds_the_error_last() -> None:
    failure = Failure(504, Kind.TIMEOUT, "no byte for 60 s", code="upstream_timeout")
    tap = Tap(event_bytes_max=LIMIT, array=True)
    assert [list(element) for element in json.loads(tap.error_event(failure))] == [["error"]]
    tap = Tap(event_bytes_max=LIMIT, array=True)
    forward = tap.feed(WRITINGS["google"]([HI, MORE]))
    assert [next(iter(element)) for element in json.loads(forward + tap.error_event(failure))] == [
        *("candidates", "candidates", "error")
    ]


# -- the fast path -----------------------------------------------------------------------------------------------------


def test_a_calm_read_comes_back_as_the_same_object() -> None:
    for writing in ("google", "lf", "spaced json"):
        tap = Tap(event_bytes_max=LIMIT)
        tap.feed(WRITINGS[writing]([HI]))
        for count in (1, 2, 40):
            calm = WRITINGS[writing]([MORE] * count)
            assert tap.feed(calm) is calm
            assert tap.usage == Usage(input_tokens=9, output_tokens=2)


def test_calm_events_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def counted(payload: bytes) -> Document | None:
        decoded.append(payload)
        return read_document(payload)

    monkeypatch.setattr("adapters.dialects.gemini_tap.read_document", counted)
    events = [chunk(), HI, *[MORE, TEXT] * 15, STOP]
    for writing in ("google", "lf", "spaced json"):
        for array in (False, True):
            decoded.clear()
            run(byte_by_byte(WRITINGS[writing](events)), array=array)
            assert len(decoded) == 3, writing  # nothing, first content, finish


def test_b62_usage_is_replaced_and_not_merged() -> None:
    early = {"promptTokenCount": 10, "toolUsePromptTokenCount": 40}
    late = {"promptTokenCount": 50, "candidatesTokenCount": 7}
    payloads = [chunk({"text": "a"}, usageMetadata=early), chunk({"text": "b"}, finish="STOP", usageMetadata=late)]
    _, tap = run([write(payloads)])
    assert tap.usage == Usage(input_tokens=50, output_tokens=7)


@pytest.mark.parametrize("writing", ["google", "lf", "cr", "comments", "padded json", "many data lines"])
def test_usage_of_a_stream_that_is_left_is_the_last_one_seen(writing: str) -> None:
    counted = [chunk({"text": "a"}, usageMetadata={**USAGE, "candidatesTokenCount": tokens}) for tokens in (1, 2, 3)]
    data = WRITINGS[writing]([*counted, chunk({"text": "b"})])
    for cut in ([data], byte_by_byte(data), *two_part_splits(data)):
        tap = Tap(event_bytes_max=LIMIT)
        for read in cut:
            tap.feed(read)
        assert tap.usage is not None
        assert (tap.usage.input_tokens, tap.usage.output_tokens) == (9, 3)
        assert tap.usage is tap.usage


def test_arguments_that_look_like_usage_are_none() -> None:
    lookalike = chunk(call("f", {"usageMetadata": {"promptTokenCount": 5000}, "totalTokenCount": 7}))
    _, tap = run([write([HI, lookalike, lookalike])])
    assert tap.usage == Usage(input_tokens=9)


# -- framing that this dialect's clients do not take -------------------------------------------------------------------


def test_b03_one_line_with_one_space_and_a_blank_line() -> None:
    data = b'\xef\xbb\xbfdata:{"candidates":[{"content":{"parts":\ndata: [{"text":"a"}]}}]}\n\n' + write([STOP])
    forward, _ = run([data])
    assert forward == b'data: {"candidates":[{"content":{"parts": [{"text":"a"}]}}]}\n\n' + write([STOP])
    forward, tap = run([write([HI, STOP]).removesuffix(b"\n\n")])
    assert forward == write([HI, STOP])
    assert facts(tap) == OK


def test_b04_comments_do_not_reach_the_client() -> None:
    data = b": OPENROUTER PROCESSING\n\n" * 3 + write([HI, MORE]) + b": ping\n\n" + write([MORE, STOP]) + b":\n\n"
    with pytest.raises(genai_errors.UnknownApiResponseError):
        sdk_payloads(data)
    for cut in ([data], byte_by_byte(data), *two_part_splits(data)):
        forward, _ = run(cut)
        assert forward == write([HI, MORE, MORE, STOP])


def test_b08_done_is_swallowed_and_what_follows_dropped() -> None:
    with pytest.raises(genai_errors.UnknownApiResponseError):
        sdk_payloads(write([HI, STOP, DONE]))
    tap = Tap(event_bytes_max=LIMIT)
    assert tap.feed(write([HI, STOP, "[DONE]  ", HI])) == write([HI, STOP])
    assert tap.done
    assert tap.feed(write([HI])) == tap.end() == b""


def test_a_line_end_inside_an_event_does_not_slip_through() -> None:
    odd = b'data: {"x":\rdata: 1}\n\n'
    for before in (write([HI]), WRITINGS["google"]([HI]), write([HI, MORE])):
        for cut in ([before, odd + write([MORE, STOP])], [before + odd + write([MORE]), write([STOP])]):
            forward, _ = run(cut)
            assert b'data: {"x": 1}\n\n' in forward


# -- content, finish ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        {"text": " "},
        {"text": "hm", "thought": True},
        {"functionCall": {"name": "f"}},
        {"functionCall": {"willContinue": True}},
        {"inlineData": {"mimeType": "image/png", "data": "aa"}},
        {"text": "", "thoughtSignature": "c2ln"},
        {"something": {"new": 1}},
    ],
)
def test_content(part: dict[str, Any]) -> None:
    for parts in ([part], [{"text": ""}, part]):
        tap = Tap(event_bytes_max=LIMIT)
        tap.feed(write([chunk(*parts)]))
        assert tap.content


@pytest.mark.parametrize(
    "payload",
    [
        chunk(),
        chunk({"text": ""}),
        chunk({"text": "", "thought": True}),
        chunk({"functionCall": {}}),
        {"candidates": [{"content": {"role": "model"}}]},
        {"candidates": [{"content": {}}, {"content": None}, {}]},
        {"candidates": []},
        {"candidates": [{"groundingMetadata": {"a": 1}}]},
        {"usageMetadata": {"trafficType": "ON_DEMAND"}},
        {},
    ],
)
def test_no_content(payload: dict[str, Any]) -> None:
    tap = Tap(event_bytes_max=LIMIT)
    tap.feed(b": comment\n\n" + write([payload]))
    assert not tap.content
    assert tap.stage is Stage.OPENING


def test_every_candidate_must_finish() -> None:
    def of(index: int | None, finish: str | None) -> dict[str, Any]:
        given = {"content": {"parts": [{"text": "a"}]}} | ({} if finish is None else {"finishReason": finish})
        return {"candidates": [given if index is None else {**given, "index": index}]}

    cut = [of(0, None), of(1, None), of(None, "STOP"), of(0, "STOP"), of(1, None)]
    _, tap = run([write(cut)], choices=2)
    assert tap.failure is not None
    _, tap = run([write([*cut, of(1, "MAX_TOKENS")])], choices=2)
    assert tap.done
    _, tap = run([write([of(0, None), BLOCKED])], choices=2)
    assert tap.done


@pytest.mark.parametrize("reason", ["FINISH_REASON_UNSPECIFIED", "", None])
def test_a_finish_reason_that_is_none(reason: str | None) -> None:
    payload = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": reason}]}
    _, tap = run([write([HI, payload])])
    assert facts(tap)["code"] == "stream_incomplete"


def test_b42_a_blocked_prompt_is_an_end() -> None:
    for blocked in (BLOCKED, {"promptFeedback": {"blockReason": "OTHER", "safetyRatings": []}}):
        data = WRITINGS["google"]([blocked])
        forward, tap = run([data])
        assert forward == data
        assert (tap.content, tap.done, tap.failure) == (False, True, None)
    for harmless in ({"safetyRatings": [1]}, {"blockReason": "BLOCK_REASON_UNSPECIFIED"}):
        _, tap = run([write([{"promptFeedback": harmless}])])
        assert tap.failure is not None


def test_an_upstream_of_odd_types_is_still_read() -> None:
    odd = b'data: {"candidates":[{"index":"0","content":{"parts":[{"text":"\\ud83d"},7]}}, 5],"usageMetadata":[]}\n\n'
    nan = b'data: {"candidates":[{"avgLogprobs":NaN,"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3.0}}'
    forward, tap = run([odd + nan])
    assert forward == odd + nan + b"\n\n"
    assert facts(tap) == {**OK, "tokens": (3, 0)}


# -- errors ------------------------------------------------------------------------------------------------------------


QUOTA_DETAILS = [
    {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"url": "x"}]},
    {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerMinute"}, {"quotaId": "GenerateRequestsPerDay-FreeTier"}],
    },
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.074824224s"},
]


@pytest.mark.parametrize(
    ("error", "status", "kind", "message", "code"),
    [
        (ERROR["error"], 503, Kind.OVERLOADED, "The model is overloaded.", "UNAVAILABLE"),
        ({"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}, 429, Kind.RATE_LIMIT, "slow", None),
        ({"code": 429, "message": "m", "details": QUOTA_DETAILS}, 429, Kind.QUOTA, "m", None),
        ({"message": "m", "status": "DEADLINE_EXCEEDED"}, 504, Kind.TIMEOUT, "m", "DEADLINE_EXCEEDED"),
        ({"code": 499, "message": "m", "status": "CANCELLED"}, 499, Kind.INVALID_REQUEST, "m", "CANCELLED"),
        ({"code": 13, "message": "m"}, 502, Kind.UPSTREAM, "m", "13"),
        ("boom", 502, Kind.UPSTREAM, "boom", None),
        (["a"], 502, Kind.UPSTREAM, "The upstream reported an error without saying which.", None),
        ({"message": "half \ud83d"}, 502, Kind.UPSTREAM, "half ?", None),
        (
            {"code": 400, "message": "API key k not valid", "details": [{"reason": "API_KEY_INVALID"}]},
            502,
            Kind.UPSTREAM,
            "The upstream refused the gateway's credentials.",
            "upstream_credentials_refused",
        ),
        (
            {"code": 403, "message": "m", "status": "PERMISSION_DENIED"},
            502,
            Kind.UPSTREAM,
            "The upstream refused the gateway's credentials.",
            "upstream_credentials_refused",
        ),
    ],
)
def test_b10_in_band_errors(error: Any, status: int, kind: Kind, message: str, code: str | None) -> None:
    events = b"data: " + json.dumps({"error": error}).encode() + b"\n\n" + write([HI])
    for before, content in (([], False), ([HI, MORE], True)):
        forward, tap = run([write(before), events])
        assert forward == write(before)
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.kind, tap.failure.message) == (status, kind, message)
        if code is not None:
            assert tap.failure.code == code
        assert (tap.content, tap.finished, tap.done) == (content, False, False)


def test_details_of_an_in_band_error_reach_the_client_again() -> None:
    error = {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": QUOTA_DETAILS}
    _, tap = run([write([HI, {"error": error}])])
    assert tap.failure is not None
    assert tap.failure.headers == ((b"retry-after", b"35"), (b"retry-after-ms", b"34075"))
    told = json.loads(tap.error_event(tap.failure).removeprefix(b"data: "))["error"]
    assert (told["code"], told["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert told["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": "GenerateRequestsPerDay-FreeTier"}],
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.075s"},
    ]


@pytest.mark.parametrize("nothing", [None, "", {}, False, 0, []])
def test_b11_an_error_member_that_says_nothing_is_none(nothing: object) -> None:
    forward, tap = run([write([HI, {**MORE, "error": nothing}, STOP])])
    assert facts(tap) == OK
    assert len(sdk_payloads(forward)) == 3


RAW_ERROR = json.dumps(ERROR, indent=2).encode()


@pytest.mark.parametrize("raw", [RAW_ERROR, b"[" + RAW_ERROR + b"\n]", RAW_ERROR.replace(b"\n", b"\r\n")])
@pytest.mark.parametrize("before", [[], [HI], [HI, MORE]], ids=["first", "second", "later"])
def test_b11_raw_lines_of_an_error(raw: bytes, before: list[Any]) -> None:
    for ending in (b"", b"\n", b"\n\n", b"\r\n\r\n"):
        data = WRITINGS["google"](before) + raw + ending
        for cut in (
            [data],
            byte_by_byte(data),
            pieces(data, [3, 50]),
            *list(two_part_splits(data))[:: 1 + len(before)],
        ):
            forward, tap = run(cut)
            assert forward == WRITINGS["google"](before)
            assert tap.failure is not None
            assert (tap.failure.status, tap.failure.message) == (503, "The model is overloaded.")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"error":{"code":404,"message":"no such model","status":"NOT_FOUND"}}', 404, "no such model"),
        (b'[{\n  "error": {\n\n    "code": 503,\n    "message": "down"\n  }\n}\n]\n', 503, "down"),
        (b"[" + json.dumps(HI).encode() + b"\n,\r\n" + json.dumps(STOP).encode() + b"\n]", 502, None),
        (json.dumps(BARE_STOP).encode(), 502, None),
        (b'{"cut":', 502, None),
        (b"<html><script>x=1</script><body>\n\n<h1>502 Bad\x00 Gateway</h1></body></html>", 502, None),
        (b"upstream connect error or disconnect", 502, None),
        (b"\x1f\x8b\x08\x00\x00\x00\n\n", 502, None),
    ],
)
def test_something_else_than_an_event_stream(body: bytes, status: int, message: str | None) -> None:
    for cut in ([body], byte_by_byte(body), *two_part_splits(body)):
        forward, tap = run(cut)
        assert forward == b""
        assert tap.failure is not None
        assert tap.failure.status == status
        if message:
            assert tap.failure.message == message
        else:
            assert tap.failure.code == "upstream_protocol_error"
        assert tap.failure.message.isprintable()
        assert "<" not in tap.failure.message


def test_raw_json_between_events_is_no_silent_loss() -> None:
    for raw in (json.dumps(MORE).encode(), b"{ cut", b"[]"):
        forward, tap = run([write([HI]) + raw + b"\n\n" + write([STOP])])
        assert forward == write([HI])
        assert facts(tap)["code"] == "upstream_protocol_error"
        _, tap = run([write([HI, STOP]) + raw + b"\n\n"])
        assert facts(tap) == OK


def test_nothing_at_all_is_incomplete() -> None:
    for body in (b"", b"\n\n", b"\xef\xbb\xbf\r\n", b": only a comment\n\n"):
        forward, tap = run([body])
        assert forward == b""
        assert facts(tap)["code"] == "stream_incomplete"


def test_a_tail_cut_inside_an_event_is_not_forwarded() -> None:
    data = write([HI, STOP])
    for length in range(len(write([HI])) + 1, len(data) - 3):
        forward, tap = run([data[:length]])
        assert forward == write([HI])
        assert facts(tap)["code"] == "stream_incomplete"


@both_forms
def test_after_the_end_nothing_comes_out(array: bool) -> None:
    for data in (write([HI, STOP, DONE]), write([ERROR]), b"<html>\n\n"):
        tap = Tap(event_bytes_max=LIMIT, array=array)
        tap.feed(data + b"data: more")
        before = facts(tap)
        assert tap.held == 0
        assert tap.feed(write([HI])) == b""
        assert tap.end() == b""
        assert facts(tap) == before


# -- size --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [999, 1000, 1001, 1003, 5000])
def test_events_up_to_the_limit_pass(size: int) -> None:
    frame = len(WRITINGS["google"]([chunk({"text": ""})]))
    big = WRITINGS["google"]([chunk({"text": "a" * (size - frame)})])
    assert len(big) == size
    for before in (b"", WRITINGS["google"]([HI])):
        data = before + big + WRITINGS["google"]([STOP])
        whole, first = run([data], limit=1000)
        for cut in (byte_by_byte(data), pieces(data, [64]), pieces(data, [len(before) or 1, 10_000])):
            forward, tap = run(cut, limit=1000)
            assert (forward, facts(tap)) == (whole, facts(first))
        assert facts(first)["code"] == (None if size <= 1000 else "event_too_large")


def test_a_document_is_bounded_too() -> None:
    _, tap = run([b'{"a":"', *[b"x" * 100] * 20], limit=1000)
    assert facts(tap)["code"] == "event_too_large"
    assert tap.held == 0


@both_forms
def test_b06_a_huge_event_costs_linear_work_and_memory(monkeypatch: pytest.MonkeyPatch, array: bool) -> None:
    searched = count_searched(monkeypatch)
    for size, before in ((2_000_000, b""), (20_000_000, WRITINGS["google"]([HI]))):
        blob = {"inlineData": {"mimeType": "image/png", "data": "a" * size}}
        event = WRITINGS["google"]([chunk(blob, usageMetadata=USAGE)])
        reads = pieces(event, [65536])
        searched.clear()
        tap = Tap(event_bytes_max=LIMIT, array=array)
        tap.feed(before)
        tracemalloc.start()
        forward = [tap.feed(read) for read in reads]
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(forward[-1]) >= len(event) - 10
        assert not any(forward[:-1])
        assert sum(searched) < 1.01 * len(event)
        assert peak < 5 * size
        del forward
        assert kept < 2.1 * size
        assert tap.usage == Usage(input_tokens=9, output_tokens=4)


# -- properties --------------------------------------------------------------------------------------------------------

TOKENS = st.sampled_from(
    [
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\xef\xbb\xbf", b"x", b" ", b"\xff"),
        *(b"data: ", b"data:", b"data", b": c", b"event: x", b"id: 1", b"[DONE]", b"{", b"}", b'"error"', b"data: {"),
        *(write([chunk()]), write([HI]), write([STOP]), WRITINGS["google"]([MORE]), WRITINGS["cr"]([MORE])),
        *(b'{"error":"e"}', b'{"error":null}', b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}'),
        *(WRITINGS["google"]([CALL]), WRITINGS["google"]([IMAGE]), write([BLOCKED]), b'"finishReason"'),
        b'{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":1}}',
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(TOKENS, max_size=30).map(b"".join) | st.binary(max_size=80),
    st.lists(st.integers(1, 40), min_size=1),
    st.booleans(),
)
@example(data=WRITINGS["google"]([HI]) + b"\n" + WRITINGS["google"]([MORE]), sizes=[1], array=True)
def test_any_bytes_at_any_split_give_the_same(data: bytes, sizes: list[int], array: bool) -> None:
    whole, first = run([data], array=array)
    forward, tap = run(pieces(data, sizes), array=array)
    assert forward == whole
    assert seen(tap) == seen(first)
    assert (tap.failure is None) == tap.done
    if not array:
        assert CANONICAL.fullmatch(forward)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([HI, MORE, STOP, CALL, TEXT, IMAGE, {}, {"error": None}]), max_size=8),
    st.sampled_from(["google", "lf", "padded json", "changing ends"]),
)
def test_forwarded_events_are_what_the_sdk_reads_of_the_original(payloads: list[Any], writing: str) -> None:
    data = WRITINGS[writing](payloads)
    forward, tap = run([data])
    assert sdk_payloads(forward) == sdk_payloads(data) == payloads
    array, tap = run([data], array=True)
    assert whole_array(array, tap)[: len(payloads)] == payloads


# -- the official client as a client -----------------------------------------------------------------------------------


def sdk_stream(body: bytes, *, status: int = 200) -> list[str]:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.url.path.endswith("/models/m:streamGenerateContent")
        assert request.url.query == b"alt=sse"
        return httpx2.Response(status, headers={"content-type": "text/event-stream"}, content=body)

    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    options = genai_types.HttpOptions(base_url="http://t", httpx_client=transport)
    with genai.Client(api_key="k", http_options=options) as client:
        return [part.text or "" for part in client.models.generate_content_stream(model="m", contents="x")]


def test_b09_the_sdk_raises_on_a_failed_stream() -> None:
    forward, tap = run([WRITINGS["google"]([HI, MORE])])
    assert tap.failure is not None
    assert sdk_stream(forward) == ["Hi", " there"]  # the silence that the gateway must break
    for event in (tap.error_event(tap.failure), gemini.error_event(tap.failure)):
        with pytest.raises(genai_errors.ServerError, match="ended before it was complete") as caught:
            sdk_stream(forward + event)
        assert (caught.value.code, caught.value.status) == (502, "UNAVAILABLE")


@pytest.mark.parametrize("writing", WRITINGS)
def test_the_sdk_reads_what_comes_out(writing: str) -> None:
    forward, _ = run([WRITINGS[writing]([HI, MORE, STOP])])
    assert sdk_stream(forward) == ["Hi", " there", ""]


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_the_sdk_reads_our_error_answers(status: int) -> None:
    failure = Failure(status, Kind.INVALID_REQUEST, "because", code="model_not_found")
    expected = genai_errors.ClientError if status < 500 else genai_errors.ServerError
    for array in (False, True):
        with pytest.raises(expected, match="because") as caught:
            sdk_stream(gemini.error_body(failure, array=array), status=status)
        assert caught.value.code == status


def test_the_tap_is_what_dialects_promise() -> None:
    tap: StreamTap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    assert repr(tap) == "<Tap start 0 bytes held>"
    tap.feed(b"data: {")
    assert repr(tap) == "<Tap start 7 bytes held>"
