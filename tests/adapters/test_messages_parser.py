"""The parser of Messages upstreams: which operations a stream or an answer is, however it is cut."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.dialects.messages_parser import Parser, open_parser
from adapters.emitter import Emitter
from adapters.errors import Failure
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from tests.adapters.recorder import Recorder, opening
from tests.adapters.streams import byte_by_byte, pieces, two_part_splits
from tests.adapters.test_messages_tap import (
    CALL,
    DONE,
    ERROR,
    HI,
    LATER,
    PING,
    REFUSED,
    SEARCHED,
    STOP,
    STREAMS,
    TEXT,
    THINKING,
    WHOLE,
    WRITINGS,
    Payload,
    Stream,
    block,
    close,
    compact,
    delta,
    facts,
    finish,
    start,
    write,
)

LIMIT = 1 << 26
SCOPE = "anthropic/claude"
each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)


def run(reads: list[bytes], *, limit: int = LIMIT, emitter: Emitter | None = None) -> Parser:
    parser = open_parser(emitter or Recorder(), scope=SCOPE, event_bytes_max=limit)
    for read in reads:
        parser.feed(read)
    parser.end()
    return parser


def log(parser: Parser) -> list[tuple[Any, ...]]:
    assert isinstance(parser.emitter, Recorder)
    return parser.emitter.log


def told(payloads: list[Any]) -> list[tuple[Any, ...]]:
    """What is told of a stream that does not fail, between its start and its end."""
    parser = run([write(payloads)])
    assert parser.failure is None
    said = log(parser)
    assert said[0][0] == "start"
    assert said[-1][0] == "end"
    return said[1:-1]


def signed(value: str, kind: str = "") -> Signature:
    return Signature("messages", SCOPE, value, kind=kind)


def text(*words: str) -> list[tuple[Any, ...]]:
    return [("text_open", 0), ("text", 0, "".join(words)), ("text_close", 0)]


# -- the corpus of the tap ---------------------------------------------------------------------------------------------


@each_stream
def test_the_tap_and_the_parser_agree_about_the_stream(stream: Stream) -> None:
    seen = facts(run([write(stream.payloads)]))  # type: ignore[arg-type] # it has what is looked at
    expected = dict(stream.facts)
    # The tap takes any block for content, the parser what it can tell.
    untold = {"server tool", "redacted thinking", "citations", "unknown events, blocks and deltas"}
    if stream.name not in untold:
        assert seen == expected
    else:
        assert (seen["code"], seen["done"], seen["tokens"]) == (None, True, expected["tokens"])


@each_stream
def test_no_writing_and_no_cut_makes_a_difference(stream: Stream) -> None:
    whole = run([write(stream.payloads, compact)])
    for writing, write_as in WRITINGS.items():
        data = write_as(stream.payloads)
        for cut in ([data], pieces(data, [7, 1, 50]), *([byte_by_byte(data)] if writing in {"lf", "crlf"} else [])):
            parser = run(cut)
            assert log(parser) == log(whole), writing
            assert (parser.failure is None) == (whole.failure is None), writing


@pytest.mark.parametrize("writing", ["compact json", "crlf"])
def test_every_two_part_split_is_the_same(writing: str) -> None:
    data = WRITINGS[writing]([start(), TEXT, HI, start(), HI, close(0), CALL, finish(), DONE])
    whole = log(run([data]))
    for cut in two_part_splits(data):
        assert log(run(cut)) == whole


@each_stream
def test_b09_truncation_at_every_event_is_an_error_unless_finished(stream: Stream) -> None:
    for length in range(len(stream.payloads)):
        parser = run([write(stream.payloads[:length])])
        assert (parser.failure is None) == parser.done
        assert (log(parser) != [] and log(parser)[-1][0] == "end") == parser.done


# -- text, reasoning, calls --------------------------------------------------------------------------------------------


def test_a_plain_answer() -> None:
    parser = run([write(WHOLE)])
    assert log(parser) == [
        ("start", "msg_1", "claude", 1_700_000_000),
        *text("Hi"),
        ("finish", 0, Reason.END, None, None),
        ("end", parser.usage),
    ]
    assert parser.usage is not None
    assert (parser.usage.input_tokens, parser.usage.output_tokens) == (10, 15)


def test_blocks_of_text_are_one_text() -> None:
    assert told([*WHOLE[:5], block(1, {"type": "text", "text": "a"}), delta(1, "text_delta", text="b"), *WHOLE[4:]])[
        :3
    ] == text("Hiab")


def test_thinking_then_a_call() -> None:
    payloads = [
        *(start(), THINKING, delta(0, "thinking_delta", thinking="hm"), delta(0, "signature_delta", signature="c2ln")),
        *(close(0), block(1, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
        *(delta(1, "input_json_delta", partial_json=part) for part in ("", '{"a":', " 1e3}")),
        *(close(1), finish("tool_use"), STOP),
    ]
    assert told(payloads) == [
        ("reasoning_open", 0),
        ("reasoning", 0, "hm"),
        ("reasoning_close", 0, signed("c2ln")),
        ("call_open", 0, "toolu_1", "f", None, False),
        ("arguments", 0, '{"a": 1e3}'),
        ("call_close", 0, True),
        ("finish", 0, Reason.TOOL, None, None),
    ]


def test_b18_a_call_without_arguments() -> None:
    for deltas in ([], [delta(0, "input_json_delta", partial_json="")]):
        said = told([start(), CALL, *deltas, close(0), finish("tool_use"), STOP])
        assert said[:3] == [
            ("call_open", 0, "toolu_1", "f", None, False),
            ("arguments", 0, "{}"),
            ("call_close", 0, True),
        ]


def test_b18_a_call_without_arguments_is_closed_before_the_next_block() -> None:
    other = block(1, {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}})
    said = told([start(), CALL, close(0), other, delta(1, "input_json_delta", partial_json="{}"), close(1), STOP])
    assert [entry[0] for entry in said] == ["call_open", "arguments", "call_close"] * 2 + ["finish"]


def test_input_in_the_start_counts_unless_deltas_bring_it_again() -> None:
    whole = block(0, {"type": "tool_use", "id": "a", "name": "f", "input": {"n": 1, "s": " é"}})
    again = delta(0, "input_json_delta", partial_json='{"n":2}')
    for deltas, expected in (([], {"n": 1, "s": " é"}), ([again], {"n": 2})):
        said = told([start(), whole, *deltas, close(0), finish("tool_use"), STOP])
        assert json.loads(said[1][2]) == expected


def test_b14_deltas_of_two_calls_interleaved() -> None:
    other = block(1, {"type": "tool_use", "id": "b", "name": "g", "input": {}})
    parts = [(0, '{"x":'), (1, "{}"), (0, "1}")]
    deltas = [delta(index, "input_json_delta", partial_json=part) for index, part in parts]
    said = told([start(), CALL, other, *deltas, close(0), close(1), finish("tool_use"), STOP])
    assert [entry[2] for entry in said if entry[0] in {"call_open", "arguments"}] == ["toolu_1", '{"x":1}', "b", "{}"]


def test_b19_arguments_are_never_looked_at() -> None:
    parts = ['{"p":"C:\\\\', "n\\u00", 'e9 \\ud83d\\ude00","n":1', "e3}"]
    deltas = [delta(0, "input_json_delta", partial_json=part) for part in parts]
    said = told([start(), CALL, *deltas, close(0), finish("tool_use"), STOP])
    assert said[1] == ("arguments", 0, "".join(parts))


def test_b20_half_characters_are_joined_or_replaced() -> None:
    def cut(*halves: str, kind: str = "text_delta", name: str = "text") -> bytes:
        events = "".join(
            'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            f'"delta":{{"type":"{kind}","{name}":"{half}"}}}}\n\n'
            for half in halves
        )
        return write(WHOLE[:2]) + events.encode() + write(WHOLE[4:])

    for halves, whole in (
        (("\\ud83d", "\\ude00"), "😀"),
        (("a\\ud83d", "b"), "a\ufffdb"),
        (("a\\ud83d",), "a\ufffd"),
        (("x", "\\ud83d", "\\ude00 y"), "x😀 y"),
    ):
        assert log(run([cut(*halves)]))[1:4] == text(whole)
        thought = log(run([cut(*halves, kind="thinking_delta", name="thinking")]))
        assert thought[2] == ("reasoning", 0, whole)


def test_b21_a_call_cut_by_the_limit_does_not_look_whole() -> None:
    cut = delta(0, "input_json_delta", partial_json='{"city":"Par')
    said = told([start(), CALL, cut, close(0), finish("max_tokens"), STOP])
    assert said[1:] == [
        ("arguments", 0, '{"city":"Par'),
        ("call_close", 0, False),
        ("finish", 0, Reason.LENGTH, None, None),
    ]


def test_b28_a_signature_alone() -> None:
    said = told([start(), THINKING, delta(0, "signature_delta", signature="c2ln"), close(0), *WHOLE[1:]])
    assert said[:2] == [("reasoning_open", 0), ("reasoning_close", 0, signed("c2ln"))]


def test_b28_a_late_signature_is_an_item_of_its_own() -> None:
    thought = delta(0, "thinking_delta", thinking="hm")
    late = delta(0, "signature_delta", signature="c2ln", thinking="hm")
    said = told(
        [start(), THINKING, thought, close(0), block(1, {"type": "text", "text": "a"}), late, HI, late, *WHOLE[4:]]
    )
    assert said[:-1] == [
        *(("reasoning_open", 0), ("reasoning", 0, "hm"), ("reasoning_close", 0, None)),
        *text("a"),
        *(("reasoning_open", 0), ("reasoning_close", 0, signed("c2ln"))),
        *text("Hi"),
    ]


def test_b28_a_signature_on_the_wrong_delta() -> None:
    wrong = delta(0, "thinking_delta", thinking="hm", signature="c2ln")
    said = told([start(), THINKING, wrong, close(0), finish(), STOP])
    assert said[1:3] == [("reasoning", 0, "hm"), ("reasoning_close", 0, signed("c2ln"))]


def test_hidden_thinking_keeps_its_data_and_its_kind() -> None:
    said = told([start(), block(0, {"type": "redacted_thinking", "data": "x"}), close(0), finish(), STOP])
    assert said[:2] == [("reasoning_open", 0), ("reasoning_close", 0, signed("x", "redacted"))]


def test_b29_interleaved_thinking_keeps_its_order() -> None:
    payloads = [start()]
    for index in (0, 2):
        call = {"type": "tool_use", "id": f"t{index}", "name": "f", "input": {"n": index}}
        payloads += [
            *(block(index, {"type": "thinking", "thinking": f"{index}", "signature": f"s{index}"}), close(index)),
            *(block(index + 1, call), close(index + 1)),
        ]
    said = told([*payloads, finish("tool_use"), STOP])
    assert [entry[0] for entry in said if "open" in entry[0]] == ["reasoning_open", "call_open"] * 2


def test_b55_a_tool_made_up_for_the_form_of_the_answer_is_its_text() -> None:
    call = block(0, {"type": "tool_use", "id": "a", "name": "answer", "input": {}})
    deltas = [delta(0, "input_json_delta", partial_json=part) for part in ('{"n":', "1}")]
    recorder = Recorder(opening(answer_tool="answer"))
    said = log(run([write([start(), call, *deltas, close(0), finish("tool_use"), STOP])], emitter=recorder))
    assert said[1:-1] == [*text('{"n":1}'), ("finish", 0, Reason.END, None, None)]


def test_b61_content_inside_the_start() -> None:
    content: list[Payload] = [
        {"type": "text", "text": "Hm"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {}},
    ]
    more = [block(3, {"type": "text", "text": ""}), delta(3, "text_delta", text="Hi"), close(3)]
    said = told([start(content), *more, finish("tool_use"), STOP])
    assert said[:-1] == [
        *text("Hm"),
        *(("call_open", 0, "a", "f", None, False), ("arguments", 0, '{"x":1}'), ("call_close", 0, True)),
        *(("call_open", 0, "b", "g", None, False), ("arguments", 0, "{}"), ("call_close", 0, True)),
        *text("Hi"),
    ]


def test_b63_a_spliced_stream_fails() -> None:
    parser = run([write([*WHOLE[:4], LATER, *WHOLE[1:]])])
    assert parser.failure is not None
    assert parser.failure.code == "upstream_protocol_error"


# -- what the upstream's own tools did, sources ------------------------------------------------------------------------


def test_a_web_search_is_told_and_no_call() -> None:
    asked = block(0, {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}})
    parts = [delta(0, "input_json_delta", partial_json=part) for part in ('{"query": "tri', 'o \\ud83d"}')]
    fetched = block(2, {"type": "server_tool_use", "id": "srvtoolu_2", "name": "web_fetch", "input": {"url": "u"}})
    said = told([start(), asked, *parts, close(0), SEARCHED, close(1), fetched, close(2), finish(), STOP])
    assert said == [
        ("hosted", 0, "web_search", {"query": "trio \ufffd"}),
        ("finish", 0, Reason.END, None, None),
    ]


def test_b58_sources_are_named_with_their_block() -> None:
    web = {
        "type": "web_search_result_location",
        "url": "https://x",
        "title": "X",
        "cited_text": "said",
        "encrypted_index": "e",
    }
    own = {"type": "char_location", "document_index": 0, "document_title": "d", "cited_text": "c"}
    found = {"type": "search_result_location", "source": "https://y", "title": None, "cited_text": "w"}
    payloads = [
        *(start(), block(0, {"type": "text", "text": ""}), delta(0, "text_delta", text="As "), close(0)),
        *(block(1, {"type": "text", "text": "", "citations": []}), delta(1, "citations_delta", citation=web)),
        *(delta(1, "text_delta", text="they said"), delta(1, "citations_delta", citation=own)),
        *(delta(1, "citations_delta", citation=found), close(1), finish(), STOP),
    ]
    said = told(payloads)
    assert [entry[2] for entry in said if entry[0] == "cite"] == [
        Citation("https://x", "X", 3, 12, "said"),
        Citation("https://y", "", 3, 12, "w"),
    ]
    assert "".join(entry[2] for entry in said if entry[0] == "text") == "As they said"


# -- ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        *(("end_turn", Reason.END), ("max_tokens", Reason.LENGTH), ("pause_turn", Reason.PAUSE)),
        *(("model_context_window_exceeded", Reason.CONTEXT_FULL), ("compaction", Reason.OTHER)),
        *(("something_new", Reason.OTHER), ("tool_use", Reason.END)),
    ],
)
def test_stop_reasons(reason: str, expected: Reason) -> None:
    assert told([*WHOLE[:5], finish(reason), STOP])[-1] == ("finish", 0, expected, None, None)


def test_b41_a_refusal_without_a_block() -> None:
    explained = finish("refusal", stop_details={"type": "refusal", "category": "cyber", "explanation": "No."})
    assert told([start(), PING, REFUSED, STOP]) == [("finish", 0, Reason.REFUSAL, None, None)]
    assert told([start(), PING, explained, STOP]) == [("finish", 0, Reason.REFUSAL, None, "No.")]


def test_b41_an_unknown_reason_does_not_kill_a_call() -> None:
    arguments = delta(0, "input_json_delta", partial_json="{}")
    said = told([start(), CALL, arguments, close(0), finish("something_new"), STOP])
    assert said[-2:] == [("call_close", 0, True), ("finish", 0, Reason.TOOL, None, None)]


def test_b43_the_stop_sequence_is_told() -> None:
    said = told([*WHOLE[:5], finish("stop_sequence", stop_sequence="\n\nH:"), STOP])
    assert said[-1] == ("finish", 0, Reason.STOP_SEQUENCE, "\n\nH:", None)


def test_b40_usage_is_cumulative_and_may_grow() -> None:
    more = [finish(None, 15), finish("end_turn", 400, usage={"input_tokens": 2300})]
    parser = run([write([start(), start(), *WHOLE[1:5], *more, STOP])])
    assert parser.usage is not None
    assert (parser.usage.input_tokens, parser.usage.output_tokens) == (2300, 400)


def test_b37_cached_tokens_are_part_of_the_input() -> None:
    counts: Payload = {"input_tokens": 10, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 90}
    usage = run([write([start(**counts), *WHOLE[1:]])]).usage
    assert usage is not None
    assert (usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens) == (1000, 900, 90)


def test_nothing_said_is_no_usage() -> None:
    assert run([b": hello\n\n"]).usage is None


def test_b10_an_error_in_the_stream_and_as_its_first_event() -> None:
    for payloads, content in (([*WHOLE[:4], ERROR], True), ([ERROR], False)):
        parser = run([write(payloads)])
        assert parser.failure is not None
        assert (parser.failure.status, parser.failure.type) == (529, "overloaded_error")
        assert parser.content is content
        assert "end" not in [entry[0] for entry in log(parser)]


def test_more_input_for_a_call_that_was_closed_fails() -> None:
    more = delta(0, "input_json_delta", partial_json="{}")
    again = [CALL, more, close(0), *WHOLE[1:4], close(0), CALL, more, close(0)]
    assert run([write([start(), *again, finish("tool_use"), STOP])]).failure is None


def test_an_event_too_long() -> None:
    parser = run([write([*WHOLE[:4], delta(0, "text_delta", text="x" * 400)])], limit=300)
    assert parser.failure is not None
    assert parser.failure.code == "event_too_large"


# -- documents ---------------------------------------------------------------------------------------------------------


def read(message: object) -> tuple[list[tuple[Any, ...]], Failure | None]:
    recorder = Recorder()
    failure = open_parser(recorder, scope=SCOPE, event_bytes_max=LIMIT).read_answer(json.dumps(message).encode())
    return recorder.log, failure


def test_a_unary_answer_says_what_its_stream_would() -> None:
    content: list[Payload] = [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"b": [1, 2.50], "a": "é"}},
    ]
    message = {**start(content)["message"], "stop_reason": "tool_use"}
    said, failure = read(message)
    assert failure is None
    assert [entry[0] for entry in said] == [
        *("start", "reasoning_open", "reasoning", "reasoning_close", "reasoning_open", "reasoning_close"),
        *("text_open", "text", "text_close", "call_open", "arguments", "call_close", "finish", "end"),
    ]
    assert ("arguments", 0, json.dumps({"b": [1, 2.50], "a": "é"})) in said


def test_answers_that_are_none() -> None:
    assert read({"content": "text"})[1] is not None
    assert read({"choices": []})[1] is not None
    said, failure = read(ERROR)
    assert failure is not None
    assert (failure.status, said) == (529, [])


def test_a_document_where_a_stream_was_asked_for() -> None:
    parser = run([json.dumps(ERROR).encode()])
    assert parser.failure is not None
    assert parser.failure.status == 529


# -- anything ----------------------------------------------------------------------------------------------------------

odd = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.sampled_from(["tool_use", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mangled(draw: st.DrawFn) -> dict[str, Any]:
    """A real event with some members replaced by anything."""
    payload = json.loads(json.dumps(draw(st.sampled_from([*WHOLE, CALL, THINKING, SEARCHED, ERROR, REFUSED]))))
    where = payload
    for name in draw(st.lists(st.sampled_from(["delta", "content_block", "message", "usage"]), max_size=2)):
        where = where.get(name) if isinstance(where.get(name), dict) else where
    if where:
        where[draw(st.sampled_from(sorted(where)))] = draw(odd)
    return payload  # type: ignore[no-any-return] # what json.loads makes of it


@given(st.lists(mangled() | st.sampled_from([*WHOLE, CALL, close(0), finish("tool_use")]), max_size=12))
@settings(max_examples=300)
def test_odd_events_never_raise(payloads: list[Any]) -> None:
    parser = run([write([start(), *payloads])])
    assert (parser.failure is None) == parser.done


@given(st.binary(max_size=200))
@example(b'data: {"type":"content_block_delta","delta":{"text":"\\ud83d"}}\n\n')
@example(b"event: message_stop\ndata: {\n\n")
def test_any_bytes_never_raise(data: bytes) -> None:
    for prefix in (b"", write(WHOLE[:4])):
        parser = run([prefix + data])
        assert (parser.failure is None) == parser.done
        open_parser(Recorder(), scope=SCOPE, event_bytes_max=LIMIT).read_answer(data)
