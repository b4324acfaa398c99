"""The Gemini parser: what its emitter is told of every stream of the corpus, however written and however cut."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.conversation import WebSearch
from adapters.dialects import gemini
from adapters.dialects.gemini_parser import Parser, open_parser
from adapters.errors import Failure, Kind
from adapters.event_tap import Stage
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from tests.adapters.gemini_streams import (
    BARE_STOP,
    BLOCKED,
    ERROR,
    HI,
    MORE,
    STOP,
    STREAMS,
    USAGE,
    WRITINGS,
    Stream,
    call,
    chunk,
)
from tests.adapters.recorder import Recorder, opening
from tests.adapters.streams import byte_by_byte, two_part_splits, write

LIMIT = 1 << 26
SCOPE = "google/gemini-3"
each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)

FAILS_HERE = {"malformed call": "malformed_function_call"}
"""Streams that pass untouched but are no answer to translate."""


def run(reads: list[bytes], *, limit: int = LIMIT, **asked: Any) -> tuple[Recorder, Parser]:
    recorder = Recorder(opening(**asked))
    parser = open_parser(recorder, scope=SCOPE, event_bytes_max=limit)
    for read in reads:
        parser.feed(read)
    parser.end()
    return recorder, parser


def log_of(*payloads: Any, **asked: Any) -> list[tuple[Any, ...]]:
    recorder, parser = run([write(list(payloads))], **asked)
    assert parser.failure is None
    return recorder.log


def operations(*payloads: Any, **asked: Any) -> list[tuple[Any, ...]]:
    """The log without its first and last entries: start, the finish of the one lane, the end."""
    log = log_of(*payloads, **asked)
    assert log[0][0] == "start"
    assert [entry[0] for entry in log[-2:]] == ["finish", "end"]
    return log[1:-2]


def finish_of(*payloads: Any) -> tuple[Any, ...]:
    return next(entry[2:] for entry in log_of(*payloads) if entry[0] == "finish")


def seen(reads: list[bytes]) -> tuple[list[tuple[Any, ...]], Failure | None, Stage]:
    recorder, parser = run(reads)
    return recorder.log, parser.failure, parser.stage


def meant(log: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The log with arguments as what they mean: their spelling is the upstream's."""
    return [(*entry[:2], json.loads(entry[2])) if entry[0] == "arguments" else entry for entry in log]


def signature(value: str, kind: str = "") -> Signature:
    return Signature("gemini", SCOPE, value, kind)


# -- the corpus --------------------------------------------------------------------------------------------------------


@each_stream
def test_what_the_tap_sees_the_parser_sees(stream: Stream) -> None:
    recorder, parser = run([write(stream.payloads)])
    code = FAILS_HERE.get(stream.name, stream.facts["code"])
    assert (parser.failure.code if parser.failure else None) == code
    assert parser.content == stream.facts["content"]
    if code is None:
        assert parser.done
        assert [entry[0] for entry in recorder.log].count("end") == 1
    else:
        assert not recorder.named("end", "finish")
    if stream.facts["tokens"] is not None and parser.usage is not None and not parser.usage.estimated:
        assert (parser.usage.input_tokens, parser.usage.output_tokens) == stream.facts["tokens"]


@each_stream
@pytest.mark.parametrize("writing", WRITINGS.values(), ids=WRITINGS)
def test_it_does_not_matter_how_a_stream_is_written(stream: Stream, writing: Any) -> None:
    if "<html>" in stream.payloads:
        return
    log, failure, _ = seen([writing(stream.payloads)])
    expected, expected_failure, _ = seen([write(stream.payloads)])
    assert (meant(log), failure) == (meant(expected), expected_failure)


@each_stream
def test_it_does_not_matter_how_a_stream_is_cut(stream: Stream) -> None:
    data = write(stream.payloads, form="data: {}\r\n\r\n")
    expected = seen([data])
    assert seen(byte_by_byte(data)) == expected
    if len(data) < 2000:
        for parts in two_part_splits(data):
            assert seen(list(parts)) == expected


@each_stream
def test_b9_a_stream_cut_behind_any_event_fails_unless_it_had_finished(stream: Stream) -> None:
    if stream.facts["code"] is not None or stream.name in FAILS_HERE:
        return
    for count in range(len(stream.payloads)):
        recorder, parser = run([write(stream.payloads[:count])])
        if parser.failure is None:
            assert parser.done
        else:
            assert parser.failure.code == "stream_incomplete"
            assert not recorder.named("end")


@given(st.lists(st.binary(max_size=60), max_size=6), st.sampled_from([s.payloads for s in STREAMS]), st.data())
@settings(max_examples=150, deadline=None)
def test_no_bytes_make_it_raise(noise: list[bytes], payloads: list[Any], data: Any) -> None:
    stream = bytearray(write(payloads))
    for piece in noise:
        at = data.draw(st.integers(0, len(stream)))
        stream[at : at + len(piece) // 2] = piece
    recorder, parser = run([bytes(stream)], limit=1 << 20)
    assert (parser.failure is None) == parser.done
    assert (len(recorder.named("end")) == 1) == parser.done


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
PARTS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("text", "thought", "thoughtSignature", "functionCall", "inlineData", "executableCode"), JSON_VALUES
    ),
)


@given(st.lists(PARTS, max_size=3), JSON_VALUES, JSON_VALUES, JSON_VALUES)
@settings(max_examples=200, deadline=None)
def test_odd_types_never_end_a_stream(parts: list[Any], index: Any, reason: Any, metadata: Any) -> None:
    odd = {"content": {"parts": parts}, "index": index, "finishReason": reason, "groundingMetadata": metadata}
    _, parser = run([write([HI, {"candidates": [odd]}, STOP])])
    assert parser.failure is None
    assert parser.done


# -- text and thoughts -------------------------------------------------------------------------------------------------


def test_text_id_model_and_usage() -> None:
    assert log_of(HI, MORE, STOP) == [
        ("start", "r-1", "gemini-2.5-pro", 1_700_000_000),
        ("text_open", 0),
        ("text", 0, "Hi there"),
        ("text_close", 0),
        ("finish", 0, Reason.END, None, None),
        ("end", gemini.read_answer(json.dumps(STOP).encode()).usage),
    ]


def test_b20_halves_of_a_character_in_two_chunks_are_one() -> None:
    first = '{"candidates":[{"content":{"parts":[{"text":"a\\ud83d"}]}}]}'
    second = '{"candidates":[{"content":{"parts":[{"text":"\\ude00b"}]}}]}'
    assert ("text", 0, "a\U0001f600b") in operations(first, second, STOP)
    assert ("text", 0, "a\ufffd") in operations(first, STOP)
    thought = '{"candidates":[{"content":{"parts":[{"text":"\\ud83d","thought":true}]}}]}'
    assert operations(thought, HI, STOP)[:3] == [
        ("reasoning_open", 0),
        ("reasoning", 0, "\ufffd"),
        ("reasoning_close", 0, None),
    ]


def test_b34_thoughts_are_reasoning_not_text() -> None:
    assert operations(chunk({"text": "plan", "thought": True}), HI, STOP) == [
        ("reasoning_open", 0),
        ("reasoning", 0, "plan"),
        ("reasoning_close", 0, None),
        ("text_open", 0),
        ("text", 0, "Hi"),
        ("text_close", 0),
    ]


def test_candidates_are_alternatives() -> None:
    def both(first: str, second: str, **members: Any) -> dict[str, Any]:
        texts = ((0, first), (1, second))
        return {"candidates": [{"index": i, "content": {"parts": [{"text": t}]}, **members} for i, t in texts]}

    log = log_of(both("a", "x"), both("b", "y", finishReason="STOP"), choices=2)
    assert [entry for entry in log if entry[0] == "finish"] == [
        ("finish", 0, Reason.END, None, None),
        ("finish", 1, Reason.END, None, None),
    ]
    for lane, text in ((0, "ab"), (1, "xy")):
        assert "".join(entry[2] for entry in log if entry[:2] == ("text", lane)) == text


def test_a_stream_of_two_is_not_whole_with_one_finish() -> None:
    _, parser = run([write([HI, STOP])], choices=2)
    assert parser.failure is not None
    assert parser.failure.code == "stream_incomplete"


# -- calls -------------------------------------------------------------------------------------------------------------


def test_arguments_are_the_bytes_they_came_in() -> None:
    payload = '{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a": 1.0,"b":"\\u00e9"}}}]}}]}'
    assert ("arguments", 0, '{"a": 1.0,"b":"\\u00e9"}') in operations(payload, STOP)


@pytest.mark.parametrize("args", ["", ',"args":null', ',"args":{}'])
def test_b18_a_call_without_arguments_has_an_empty_object(args: str) -> None:
    payload = '{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"' + args + "}}]}}]}"
    assert ("arguments", 0, "{}") in operations(payload, STOP)


def test_b22_calls_without_ids_are_all_different() -> None:
    log = operations(chunk(call("read", {"p": "a"})), chunk(call("read", {"p": "b"})), STOP)
    opened = [entry for entry in log if entry[0] == "call_open"]
    assert len({entry[2] for entry in opened}) == 2
    assert [entry[2] for entry in log if entry[0] == "arguments"] == ['{"p":"a"}', '{"p":"b"}']
    assert opened == [
        entry for entry in operations(chunk(call("read", {"p": "a"}), call("read")), STOP) if entry[0] == "call_open"
    ]


def test_b22_a_call_sent_again_is_the_same_call() -> None:
    def with_id(call_id: str, **args: int) -> dict[str, Any]:
        return {"functionCall": {"id": call_id, "name": "f", "args": args}}

    log = operations(chunk(with_id("A", x=1)), chunk(with_id("A", x=1), with_id("B")), chunk(with_id("B", y=2)), STOP)
    assert [entry[2] for entry in log if entry[0] == "call_open"] == ["A", "B"]
    assert [entry[2] for entry in log if entry[0] == "arguments"] == ['{"x":1}', '{"y":2}']


def test_b23_stop_after_a_call_chunks_ago_is_tool() -> None:
    assert finish_of(chunk(call("f")), chunk(), chunk(), STOP)[0] is Reason.TOOL
    assert finish_of(chunk(call("f")), chunk(finish="MAX_TOKENS"))[0] is Reason.LENGTH
    assert finish_of(chunk(call("f")), chunk(finish="SAFETY"))[0] is Reason.FILTER


def streamed(**members: Any) -> dict[str, Any]:
    return chunk({"functionCall": members})


BOSTON = [
    streamed(name="f", willContinue=True),
    streamed(partialArgs=[{"jsonPath": "$.q", "stringValue": "Bos", "willContinue": True}], willContinue=True),
    streamed(partialArgs=[{"jsonPath": "$.q", "stringValue": "ton"}], willContinue=True),
    streamed(),
]


@pytest.mark.parametrize("payloads", [BOSTON, BOSTON[:-1]], ids=["ended", "without its end"])
def test_b24_arguments_streamed_by_path(payloads: list[Any]) -> None:
    log = operations(*payloads, STOP)
    assert [entry[0] for entry in log] == ["call_open", "arguments", "call_close"]
    assert log[1:] == [("arguments", 0, '{"q":"Boston"}'), ("call_close", 0, True)]


def test_b24_paths_of_arrays_and_a_second_call() -> None:
    items = [{"jsonPath": "$.items[0].name", "stringValue": "a"}]
    log = operations(
        streamed(name="f", willContinue=True), streamed(partialArgs=items, willContinue=True), chunk(call("g")), STOP
    )
    assert [entry[2] for entry in log if entry[0] == "arguments"] == ['{"items":[{"name":"a"}]}', "{}"]


def test_b21_streamed_arguments_that_the_end_cut_do_not_look_whole() -> None:
    log = operations(*BOSTON[:2], chunk(finish="MAX_TOKENS"))
    assert log[-2:] == [("arguments", 0, '{"q":"Bos"'), ("call_close", 0, False)]


# -- signatures --------------------------------------------------------------------------------------------------------


def test_b33_a_signature_stands_before_its_call_and_an_empty_text_keeps_its_own() -> None:
    log = operations(
        chunk(call("A", thoughtSignature="S"), call("B")),
        chunk({"text": "", "thoughtSignature": "T"}, finish="STOP"),
    )
    assert [entry[0] for entry in log] == [
        *("reasoning_open", "reasoning_close", "call_open", "arguments", "call_close"),
        *("call_open", "arguments", "call_close", "reasoning_open", "reasoning_close"),
    ]
    assert log[1] == ("reasoning_close", 0, signature("S"))
    assert log[-1] == ("reasoning_close", 0, signature("T", "empty"))


def test_b33_a_picture_keeps_its_signature() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBO"}, "thoughtSignature": "S"}
    assert operations(chunk(picture), STOP) == [
        ("reasoning_open", 0),
        ("reasoning_close", 0, signature("S")),
        ("blob", 0, "image/png", "iVBO"),
    ]


def test_a_signature_behind_thoughts_is_theirs() -> None:
    log = operations(chunk({"text": "hm", "thought": True}), chunk(call("f", thoughtSignature="S")), STOP)
    assert log[:3] == [("reasoning_open", 0), ("reasoning", 0, "hm"), ("reasoning_close", 0, signature("S"))]
    log = operations(chunk({"text": "hm", "thought": True, "thoughtSignature": "S"}), HI, STOP)
    assert log[2] == ("reasoning_close", 0, signature("S", "thought"))


# -- ends --------------------------------------------------------------------------------------------------------------


def test_b42_a_blocked_prompt_is_an_answer_without_content() -> None:
    assert log_of(BLOCKED)[1:-1] == [("finish", 0, Reason.FILTER, None, None)]
    told = {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "No."}}
    assert finish_of(told) == (Reason.FILTER, None, "No.")


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "malformed_response"])
def test_b42_a_model_that_failed_is_a_failure(word: str) -> None:
    recorder, parser = run([write([HI, chunk(finish=word), STOP])])
    assert parser.failure is not None
    assert (parser.failure.status, parser.failure.code) == (502, word.lower())
    assert not recorder.named("finish", "end")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", Reason.END),
        ("stop", Reason.END),
        ("MAX_TOKENS", Reason.LENGTH),
        ("RECITATION", Reason.FILTER),
        ("IMAGE_SAFETY", Reason.FILTER),
        ("CONTINUATION", Reason.PAUSE),
        ("NO_IMAGE", Reason.OTHER),
        ("SOMETHING_NEW", Reason.OTHER),
    ],
)
def test_reasons(word: str, reason: Reason) -> None:
    assert finish_of(HI, chunk(finish=word))[0] is reason


def test_the_last_reason_counts_and_its_message_is_told() -> None:
    last = chunk({"text": "b"}, finish="MAX_TOKENS")
    last["candidates"][0]["finishMessage"] = "Too long."
    assert finish_of(chunk({"text": "a"}, finish="STOP"), last) == (Reason.LENGTH, None, "Too long.")


def test_b62_usage_is_replaced_not_merged() -> None:
    first = {**HI, "usageMetadata": {"promptTokenCount": 10, "toolUsePromptTokenCount": 40}}
    last = {**BARE_STOP, "usageMetadata": {"promptTokenCount": 50, "candidatesTokenCount": 7}}
    usage = log_of(first, last)[-1][1]
    assert (usage.input_tokens, usage.output_tokens) == (50, 7)


def test_usage_of_a_stream_that_goes_on_can_be_asked_for() -> None:
    recorder = Recorder()
    parser = open_parser(recorder, scope=SCOPE, event_bytes_max=LIMIT)
    before = parser.usage
    parser.feed(write([HI, MORE]))
    usage = parser.usage
    assert before is None
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (9, 2, False)


def test_b10_an_error_in_the_stream_is_the_failure() -> None:
    recorder, parser = run([write([HI, ERROR])])
    failure = parser.failure
    assert failure is not None
    assert (failure.status, failure.kind, failure.code) == (503, Kind.OVERLOADED, "UNAVAILABLE")
    assert failure.message == "The model is overloaded."
    assert not recorder.named("finish", "end")


def test_b11_raw_json_is_an_error_and_so_is_a_list_of_it() -> None:
    for data in (
        json.dumps(ERROR).encode(),
        json.dumps([ERROR], indent=1).encode(),
        write([HI]) + json.dumps(ERROR).encode(),
    ):
        _, parser = run([data])
        assert parser.failure is not None
        assert parser.failure.code == "UNAVAILABLE"


def test_b6_an_event_that_is_too_long_fails() -> None:
    _, parser = run([write([chunk({"text": "x" * 5000})])], limit=4000)
    assert parser.failure is not None
    assert parser.failure.code == "event_too_large"


# -- sources -----------------------------------------------------------------------------------------------------------

GROUNDING = {
    "webSearchQueries": ["q", "q2"],
    "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"web": {"uri": "https://b", "title": "B"}}],
    "groundingSupports": [{"segment": {"startIndex": 5, "endIndex": 10}, "groundingChunkIndices": [0]}],
}


def grounded(**members: Any) -> dict[str, Any]:
    return {"candidates": [{"index": 0, "groundingMetadata": {**GROUNDING, **members}}]}


@pytest.mark.parametrize("order", ["before", "behind", "twice"])
def test_b58_offsets_count_characters_and_metadata_may_come_anywhere(order: str) -> None:
    texts = [chunk({"text": "é€"}), chunk({"text": "x wörld"})]
    payloads = {
        "before": [texts[0], grounded(), texts[1], STOP],
        "behind": [*texts, STOP, grounded()],
        "twice": [texts[0], grounded(), texts[1], grounded(), STOP],
    }[order]
    log = operations(*payloads, web_search=WebSearch())
    assert [entry[2] for entry in log if entry[0] == "cite"] == [
        Citation("https://a", "A", 2, 6),
        Citation("https://b", "B"),
    ]
    assert [entry[3] for entry in log if entry[0] == "hosted"] == [{"query": "q"}, {"query": "q2"}]
    assert [entry[0] for entry in log].index("cite") < [entry[0] for entry in log].index("text_close")


def test_b58_without_the_text_sources_have_no_place() -> None:
    log = operations(chunk({"text": "é€x wörld"}), grounded(), STOP)
    assert Citation("https://a", "A") in [entry[2] for entry in log if entry[0] == "cite"]
    log = operations(chunk({"text": "plain ascii"}), grounded(), STOP)
    assert Citation("https://a", "A", 5, 10) in [entry[2] for entry in log if entry[0] == "cite"]


def test_recitations_are_sources_too() -> None:
    payload = {
        "candidates": [{"citationMetadata": {"citations": [{"startIndex": 1, "endIndex": 2, "uri": "https://a"}]}}]
    }
    assert ("cite", 0, Citation("https://a", "", 1, 2)) in operations(HI, payload, STOP)


def test_code_that_the_vendor_ran_is_no_call() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1+1"}}
    result = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}
    assert [entry[2:] for entry in operations(chunk(code), chunk(result), HI, STOP) if entry[0] == "hosted"] == [
        ("code_execution", {"language": "PYTHON", "code": "1+1"}),
        ("code_execution_result", {"outcome": "OUTCOME_OK", "output": "2"}),
    ]


# -- unary answers -----------------------------------------------------------------------------------------------------


def answer(value: Any) -> tuple[Recorder, Failure | None]:
    recorder = Recorder()
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return recorder, open_parser(recorder, scope=SCOPE, event_bytes_max=LIMIT).read_answer(body)


def test_a_unary_answer_says_what_its_stream_would() -> None:
    whole = chunk(
        {"text": "hm", "thought": True}, {"text": "Hi"}, call("f", {"a": 1}), finish="STOP", usageMetadata=USAGE
    )
    recorder, failure = answer(whole)
    assert failure is None
    assert meant(recorder.log) == meant(log_of(whole))
    assert recorder.named("end")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (ERROR, "UNAVAILABLE"),
        ({"candidates": []}, "empty_answer"),
        (chunk(finish="MALFORMED_FUNCTION_CALL"), "malformed_function_call"),
        (b"<html>", "upstream_protocol_error"),
    ],
)
def test_a_unary_answer_that_is_none(value: Any, code: str) -> None:
    recorder, failure = answer(value)
    assert failure is not None
    assert failure.code == code
    assert not recorder.named("end")


def test_a_blocked_unary_answer() -> None:
    recorder, failure = answer(BLOCKED)
    assert failure is None
    assert recorder.named("finish") == [("finish", 0, Reason.FILTER, None, None)]
