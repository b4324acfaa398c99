"""Chat Completions upstreams as operations: streams however written and cut, answers, and the hard cases of both."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.dialects import chat
from adapters.dialects.chat_parser import Parser
from adapters.errors import Kind
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.usage import Usage
from tests.adapters.recorder import Recorder, opening
from tests.adapters.streams import (
    AZURE,
    DONE,
    HI,
    ROLE,
    STOP,
    STREAMS,
    USAGE,
    WRITINGS,
    Stream,
    byte_by_byte,
    chunk,
    spaced,
    two_part_splits,
    usage_chunk,
    write,
)

SCOPE = "here"
CALLS = chunk({}, "tool_calls")


def fragment(arguments: str | None = None, **members: Any) -> dict[str, Any]:
    """One chunk with one fragment; `name` goes into its function."""
    function = {"name": members.pop("name")} if "name" in members else {}
    if arguments is not None:
        function["arguments"] = arguments
    return chunk({"tool_calls": [{**members, **({"function": function} if function else {})}]})


def parse(pieces: list[bytes], **changes: Any) -> tuple[Recorder, Parser]:
    recorder = Recorder(opening(**changes))
    parser = chat.open_parser(recorder, scope=SCOPE, event_bytes_max=1_000_000)
    for piece in pieces:
        parser.feed(piece)
    parser.end()
    return recorder, parser


def log_of(*payloads: Any, **changes: Any) -> list[tuple[Any, ...]]:
    """The log of a stream of these payloads, without its start."""
    recorder, parser = parse([write([*payloads, DONE], spaced)], **changes)
    assert parser.failure is None
    assert recorder.log[0][0] == "start"
    return recorder.log[1:]


def calls_of(*payloads: Any) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each call of a stream."""
    calls: list[tuple[str, str, str]] = []
    for what, _, *rest in log_of(*payloads, CALLS):
        if what == "call_open":
            calls.append((rest[0], rest[1], ""))
        elif what == "arguments":
            calls[-1] = (*calls[-1][:2], calls[-1][2] + rest[0])
    return calls


# -- every stream, however written and cut -----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
@pytest.mark.parametrize("writing", WRITINGS)
def test_it_ends_as_the_tap_does(stream: Stream, writing: str) -> None:
    recorder, parser = parse([WRITINGS[writing](stream.payloads)])
    facts = stream.facts
    assert (parser.content, parser.finished, parser.done) == (facts["content"], facts["finished"], facts["done"])
    assert (parser.failure is None) == facts["done"]
    if parser.failure is not None and facts["code"]:
        assert parser.failure.code == facts["code"]
    if facts["tokens"]:
        assert recorder.usage_seen is not None
        assert (recorder.usage_seen.input_tokens, recorder.usage_seen.output_tokens) == facts["tokens"]
    assert ("end", recorder.usage_seen) in recorder.log or parser.failure is not None


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_b01_b02_the_log_does_not_depend_on_the_cuts(stream: Stream) -> None:
    data = write(stream.payloads)
    whole = parse([data])[0].log
    assert parse(byte_by_byte(data))[0].log == whole
    for split in two_part_splits(data):
        assert parse(split)[0].log == whole


@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([write([ROLE]), write([HI]), b"data: {", b"\n\n"]), max_size=8)
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_become_operations_or_one_failure(pieces: list[bytes]) -> None:
    recorder, parser = parse(pieces)
    assert (parser.failure is None) == (recorder.log[-1:] == [("end", recorder.usage_seen)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=3) | st.sampled_from(["a", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "x", "text"]), inner, max_size=2)
    ),
    max_leaves=4,
)
MEMBERS = st.sampled_from(
    [
        *("content", "refusal", "reasoning", "reasoning_content", "reasoning_details", "tool_calls", "function_call"),
        *("annotations", "images", "audio", "extra_content"),
    ]
)


@given(st.lists(st.dictionaries(MEMBERS, JSON, max_size=3), max_size=5), JSON, JSON)
@settings(max_examples=300, deadline=None)
def test_odd_members_never_raise(deltas: list[dict[str, Any]], finish: Any, usage: Any) -> None:
    payloads = [chunk(delta) for delta in deltas] + [chunk({}, finish, usage=usage)]
    parse([write([*payloads, DONE], spaced)])
    recorder = Recorder()
    choices = [{"message": delta, "finish_reason": finish} for delta in deltas]
    body = json.dumps({"choices": choices, "usage": usage}).encode()
    chat.open_parser(recorder, scope=SCOPE, event_bytes_max=1000).read_answer(body)


# -- calls -------------------------------------------------------------------------------------------------------------


def test_b13_parallel_calls_back_to_back() -> None:
    assert calls_of(
        fragment("", index=0, id="a", type="function", name="f"),
        fragment("{}", index=0),
        fragment("", index=1, id="b", name="g"),
        fragment('{"x":1}', index=1),
    ) == [("a", "f", "{}"), ("b", "g", '{"x":1}')]


def test_b14_interleaved_calls_come_one_after_the_other() -> None:
    log = log_of(
        fragment("", index=0, id="a", name="f"),
        fragment("", index=1, id="b", name="g"),
        fragment('{"x":', index=0),
        fragment("{}", index=1),
        fragment("1}", index=0),
        CALLS,
    )
    assert log[:6] == [
        ("call_open", 0, "a", "f", None, False),
        ("arguments", 0, '{"x":1}'),
        ("call_close", 0, True),
        ("call_open", 0, "b", "g", None, False),
        ("arguments", 0, "{}"),
        ("call_close", 0, True),
    ]


def test_b15_everything_in_one_chunk() -> None:
    calls = [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}},
        {"index": 0, "function": {"arguments": "}"}},
    ]
    log = log_of(chunk({"content": "ok", "tool_calls": calls}, "tool_calls", usage=USAGE))
    assert [entry[0] for entry in log] == [
        *("text_open", "text", "text_close", "call_open", "arguments", "call_close", "finish", "end"),
    ]
    assert log[4] == ("arguments", 0, "{}")
    assert log[-2] == ("finish", 0, Reason.TOOL, None, None)
    assert log[-1] == ("end", Usage(9, 4))


@pytest.mark.parametrize(
    ("payloads", "calls"),
    [
        ([fragment("{", id="a", name="f"), fragment("}")], [("a", "f", "{}")]),
        ([fragment("{}", id="a", name="f"), fragment("{}", id="b", name="f")], [("a", "f", "{}"), ("b", "f", "{}")]),
        (
            [fragment("{}", index=0, id="a", name="f"), fragment("[]", index=0, id="b", name="f")],
            [("a", "f", "{}"), ("b", "f", "[]")],
        ),
        (
            [fragment("{}", index=1, id="a", name="f"), fragment("{}", index=3, id="b", name="g")],
            [("a", "f", "{}"), ("b", "g", "{}")],
        ),
        ([fragment("{", index="0", id="a", name="f"), fragment("}", index="0")], [("a", "f", "{}")]),
        ([fragment("{}", index=0, id="a", name="f"), fragment("", index=0, id="a", name="f")], [("a", "f", "{}")]),
    ],
    ids=["no index", "no index, new id", "same index, new id", "gaps", "index as text", "all repeated at the end"],
)
def test_b16_bad_indexes(payloads: list[Any], calls: list[tuple[str, str, str]]) -> None:
    assert calls_of(*payloads) == calls


def test_b16_whole_calls_without_ids_at_one_index_are_two() -> None:
    found = calls_of(fragment('{"p":1}', index=0, name="read"), fragment('{"p":2}', index=0, id="", name="read"))
    assert [call[1:] for call in found] == [("read", '{"p":1}'), ("read", '{"p":2}')]
    assert len({call[0] for call in found}) == 2


def test_b17_late_identity() -> None:
    payloads = [fragment("{", index=0, id=""), fragment("}", index=0), fragment(index=0, id="call_1", name="f")]
    assert calls_of(*payloads) == [("call_1", "f", "{}")]


def test_b17_repeated_and_empty_identity() -> None:
    every = {"index": 0, "id": "c1", "type": "function", "name": "f"}
    assert calls_of(fragment("{", **every), fragment("}", **every)) == [("c1", "f", "{}")]
    nulls = {"index": 0, "id": None, "type": None}
    payloads = [fragment("{", index=0, id="c1", name="f"), fragment("}", **nulls, name=""), fragment("", **nulls)]
    assert calls_of(*payloads) == [("c1", "f", "{}")]


def test_b17_no_id_at_all_makes_a_stable_one() -> None:
    one, two = calls_of(fragment("{}", name="f", index=0)), calls_of(fragment("{}", name="f", index=0))
    assert one == two
    assert one[0][0].startswith("call_")


def test_a_call_without_a_name_fails() -> None:
    _, parser = parse([write([ROLE, fragment('{"a":1}', index=0, id="x"), CALLS, DONE])])
    assert parser.failure is not None
    assert parser.failure.code == "upstream_protocol_error"


def test_b18_no_arguments_are_an_empty_object() -> None:
    assert calls_of(fragment("", index=0, id="a", name="f")) == [("a", "f", "{}")]


def test_b19_arguments_are_not_touched() -> None:
    pieces = ['{"p":"C:\\\\', "n\\u00", "e9 \\ud83d", '\\ude00","n":1', "e3}"]
    payloads = [fragment("", index=0, id="a", name="f"), *(fragment(piece, index=0) for piece in pieces)]
    assert calls_of(*payloads) == [("a", "f", '{"p":"C:\\\\n\\u00e9 \\ud83d\\ude00","n":1e3}')]


def test_b21_a_call_that_was_cut_is_not_whole() -> None:
    log = log_of(fragment('{"city":"Par', index=0, id="a", name="f"), chunk({}, "length"))
    assert log[-3:-1] == [("call_close", 0, False), ("finish", 0, Reason.LENGTH, None, None)]


def test_b23_stop_after_a_call_is_a_call() -> None:
    assert log_of(fragment("{}", index=0, id="a", name="f"), STOP)[-2][2] is Reason.TOOL


def test_arguments_as_an_object() -> None:
    payload = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"a": "é", "n": 1}}}]}
    assert calls_of(chunk(payload)) == [("a", "f", '{"a":"é","n":1}')]


def test_custom_calls_with_null_members() -> None:
    log = log_of(
        chunk({"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "p", "input": ""}}]}),
        chunk({"tool_calls": [{"index": 0, "id": None, "type": None, "function": None, "custom": {"input": "a\n"}}]}),
        CALLS,
    )
    assert log[:2] == [("call_open", 0, "a", "p", None, True), ("arguments", 0, "a\n")]


def test_the_older_function_call() -> None:
    pieces = [{"name": "f", "arguments": ""}, {"arguments": "{"}, {"arguments": "}"}]
    log = log_of(*(chunk({"function_call": piece}) for piece in pieces), chunk({}, "function_call"))
    assert log[0][3:] == ("f", None, False)
    assert log[1:3] == [("arguments", 0, "{}"), ("call_close", 0, True)]
    assert log[3][2] is Reason.TOOL


# -- text, reasoning, refusal ------------------------------------------------------------------------------------------


def test_b20_halves_of_characters_are_joined() -> None:
    log = log_of(chunk({"content": "a\ud83d"}), chunk({"content": "\ude00b"}), HI, STOP)
    assert log[1] == ("text", 0, "a😀bHi")


def test_b20_a_half_without_its_other_one() -> None:
    recorder, parser = parse([write([chunk({"content": "a\ud83d"}), chunk({"content": "b"}), STOP, DONE], spaced)])
    assert parser.failure is None
    assert recorder.named("text") == [("text", 0, "a�b")]
    recorder, _ = parse([write([chunk({"content": "a\ud83d"}), STOP, DONE], spaced)])
    assert recorder.named("text") == [("text", 0, "a�")]


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([{"reasoning_content": "a", "reasoning": "a"}], [("reasoning", 0, "a")]),
        ([{"reasoning_content": "end", "content": "Hi"}], [("reasoning", 0, "end"), ("text", 0, "Hi")]),
        ([{"reasoning_content": "", "content": None}], []),
        ([{"reasoning": "r"}], [("reasoning", 0, "r")]),
        ([{"reasoning": "r", "reasoning_details": [{"type": "reasoning.text", "text": "r"}]}], [("reasoning", 0, "r")]),
        (
            [{"reasoning": "r"}, {"reasoning_details": [{"type": "reasoning.text", "text": "r"}]}],
            [("reasoning", 0, "r")],
        ),
        (
            [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}]}, {"content": "Hi"}],
            [("reasoning", 0, "t"), ("text", 0, "Hi")],
        ),
    ],
    ids=["twice", "with text", "keepalive", "reasoning", "details too", "details later", "parts"],
)
def test_b30_reasoning_is_said_once(deltas: list[dict[str, Any]], expected: list[tuple[Any, ...]]) -> None:
    log = log_of(*map(chunk, deltas), STOP)
    assert [entry for entry in log if entry[0] in {"reasoning", "text"}] == expected


def test_b30_reasoning_behind_an_open_call_waits() -> None:
    log = log_of(
        fragment('{"a"', index=0, id="a", name="f"), chunk({"reasoning": "late"}), fragment(":1}", index=0), CALLS
    )
    assert [entry[0] for entry in log[:5]] == [
        *("call_open", "arguments", "call_close", "reasoning_open", "reasoning"),
    ]


def test_signed_reasoning_of_an_aggregator() -> None:
    details: list[dict[str, Any]] = [
        {"type": "reasoning.text", "text": "T", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.text", "signature": "S", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "D", "id": "rs_1", "format": "openai-responses-v1", "index": 1},
    ]
    log = log_of(*(chunk({"reasoning_details": [detail]}) for detail in details), HI, STOP)
    assert log[:6] == [
        ("reasoning_open", 0),
        ("reasoning", 0, "T"),
        ("reasoning_close", 0, Signature("chat", SCOPE, "S", "text:anthropic-claude-v1")),
        ("reasoning_open", 0),
        ("reasoning_close", 0, Signature("chat", SCOPE, "D", "encrypted:openai-responses-v1", "rs_1")),
        ("text_open", 0),
    ]


def test_a_signature_on_a_call_stands_in_front_of_it() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    signed = {**call, "extra_content": {"google": {"thought_signature": "S"}}}
    log = log_of(chunk({"tool_calls": [signed]}), CALLS)
    assert log[:3] == [
        ("reasoning_open", 0),
        ("reasoning_close", 0, Signature("chat", SCOPE, "S", "google")),
        ("call_open", 0, "a", "f", None, False),
    ]


def test_b41_a_refusal_with_words() -> None:
    log = log_of(chunk({"refusal": "I can"}), chunk({"refusal": "'t"}), STOP)
    assert log[:2] == [("refusal_open", 0), ("refusal", 0, "I can't")]
    assert log[-2][2] is Reason.REFUSAL


def test_b44_roles_and_empty_deltas_say_nothing() -> None:
    odd = [ROLE, chunk({"role": ""}), chunk(None), {**HI, "choices": [{"index": 0, "delta": None}]}]
    assert [entry[0] for entry in log_of(*odd, STOP)] == ["finish", "end"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop", Reason.END),
        ("length", Reason.LENGTH),
        ("model_length", Reason.CONTEXT_FULL),
        ("content_filter", Reason.FILTER),
        ("tool_calls", Reason.END),
        ("whatever", Reason.OTHER),
    ],
)
def test_reasons(said: str, reason: Reason) -> None:
    assert log_of(HI, chunk({}, said))[-2] == ("finish", 0, reason, None, None)


def test_b43_a_stop_sequence_that_the_server_names() -> None:
    def stopped(value: object) -> dict[str, Any]:
        return {**STOP, "choices": [{**STOP["choices"][0], "stop_reason": value}]}

    assert log_of(HI, stopped("END"), stop=("END",))[-2] == ("finish", 0, Reason.STOP_SEQUENCE, "END", None)
    assert log_of(HI, stopped("end_turn"), stop=("END",))[-2] == ("finish", 0, Reason.END, None, None)


# -- usage, chunks without choices, alternatives -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "payloads",
    [
        [HI, STOP, usage_chunk()],
        [HI, {**STOP, "usage": USAGE}],
        [{**HI, "usage": {"prompt_tokens": 9, "completion_tokens": 1}}, {**STOP, "usage": USAGE}],
        [HI, {**STOP, "choices": [{**STOP["choices"][0], "usage": USAGE}]}],
        [{**HI, "usage": None}, {**STOP, "usage": None}, usage_chunk()],
    ],
    ids=["after the finish", "in the finish", "on every chunk", "in the choice", "with nulls"],
)
def test_b35_usage_wherever_it_stands(payloads: list[Any]) -> None:
    assert log_of(*payloads)[-1] == ("end", Usage(9, 4))


def test_b35_no_usage_is_an_estimate() -> None:
    _, parser = parse([write([HI, STOP, DONE])])
    assert parser.usage == Usage(7, 1, estimated=True)


def test_b36_the_answer_begins_with_the_first_choice() -> None:
    recorder, _ = parse([write([AZURE, {**HI, "choices": None}, HI, STOP, DONE])])
    assert recorder.log[0] == ("start", "c-1", "m", 1)
    assert [entry[0] for entry in recorder.log].count("start") == 1


def test_alternatives_end_one_by_one() -> None:
    def second(delta: dict[str, Any], finish: object = None) -> dict[str, Any]:
        return {**HI, "choices": [{"index": 1, "delta": delta, "finish_reason": finish}]}

    data = write([HI, second({"content": "Yo"}), STOP, second({}, "length")])
    recorder, parser = parse([data], choices=2)
    assert parser.failure is None
    assert recorder.named("text", "finish") == [
        ("text", 0, "Hi"),
        ("text", 1, "Yo"),
        ("finish", 0, Reason.END, None, None),
        ("finish", 1, Reason.LENGTH, None, None),
    ]
    assert parse([write([HI, second({"content": "Yo"}), STOP])], choices=2)[1].failure is not None


def test_b58_sources_and_images() -> None:
    note = {"url_citation": {"url": "u", "title": "t", "start_index": 1, "end_index": 3}, "type": "url_citation"}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "index": 0}
    log = log_of(
        HI,
        {**chunk({"annotations": [note], "images": [image]}), "citations": ["v"]},
        {**chunk({"annotations": [note]}), "citations": ["v"]},
        STOP,
    )
    assert [entry for entry in log if entry[0] in {"cite", "blob"}] == [
        ("cite", 0, Citation("u", "t", 1, 3)),
        ("blob", 0, "image/png", "AAAA"),
        ("cite", 0, Citation("v")),
    ]


# -- errors and ends ---------------------------------------------------------------------------------------------------


def test_b09_a_cut_stream_is_an_error_and_no_end_is_made_up() -> None:
    recorder, parser = parse([write([ROLE, HI])])
    assert parser.failure is not None
    assert parser.failure.code == "stream_incomplete"
    assert recorder.log[-1] == ("text", 0, "Hi")


def test_b11_a_document_in_place_of_a_stream() -> None:
    _, parser = parse([b'{"error":{"message":"no","type":"overloaded_error"}}'])
    assert parser.failure is not None
    assert (parser.failure.message, parser.failure.kind) == ("no", Kind.OVERLOADED)


def test_an_interruption_for_want_of_resources() -> None:
    _, parser = parse([write([HI, chunk({}, "insufficient_system_resource"), DONE])])
    assert parser.failure is not None
    assert parser.failure.kind is Kind.OVERLOADED


# -- answers -----------------------------------------------------------------------------------------------------------

MESSAGE: dict[str, Any] = {
    "role": "assistant",
    "content": "Hi",
    "refusal": None,
    "annotations": [],
    "reasoning_content": "Hm.",
    "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "custom", "custom": {"name": "p", "input": "x"}},
    ],
}


def answer(message: dict[str, Any], finish: str = "stop", **members: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return json.dumps(
        {"id": "c-1", "created": 1, "model": "m", "choices": [choice], "usage": USAGE, **members}
    ).encode()


def test_an_answer_says_what_its_stream_would() -> None:
    recorder = Recorder()
    parser = chat.open_parser(recorder, scope=SCOPE, event_bytes_max=1000)
    assert parser.read_answer(answer(MESSAGE, "tool_calls")) is None
    assert recorder.log == [
        ("start", "c-1", "m", 1),
        ("reasoning_open", 0),
        ("reasoning", 0, "Hm."),
        ("reasoning_close", 0, None),
        ("text_open", 0),
        ("text", 0, "Hi"),
        ("text_close", 0),
        ("call_open", 0, "a", "f", None, False),
        ("arguments", 0, "{}"),
        ("call_close", 0, True),
        ("call_open", 0, "b", "p", None, True),
        ("arguments", 0, "x"),
        ("call_close", 0, True),
        ("finish", 0, Reason.TOOL, None, None),
        ("end", Usage(9, 4)),
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<html>", "upstream_protocol_error"),
        (b'{"choices":[]}', "empty_answer"),
        (b'{"error":{"message":"no","code":"rate_limit_exceeded"}}', "rate_limit_exceeded"),
        (answer({"content": ""}, "error"), None),
    ],
)
def test_answers_that_are_errors(body: bytes, code: str | None) -> None:
    recorder = Recorder()
    failure = chat.open_parser(recorder, scope=SCOPE, event_bytes_max=1000).read_answer(body)
    assert failure is not None
    assert failure.code == code
    assert "end" not in [entry[0] for entry in recorder.log]


def test_an_answer_with_halves_and_parts() -> None:
    recorder = Recorder()
    content = [{"type": "text", "text": "a\ud83d"}]
    assert (
        chat.open_parser(recorder, scope=SCOPE, event_bytes_max=1000).read_answer(answer({"content": content})) is None
    )
    assert recorder.named("text") == [("text", 0, "a�")]
