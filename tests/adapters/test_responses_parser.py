"""The Responses parser: what every stream of the corpus means as operations, however it is written and cut."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.collector import Collector
from adapters.conversation import Thought, Tool
from adapters.dialects.responses import open_emitter, render_answer
from adapters.dialects.responses_parser import Parser, open_parser
from adapters.operations import Citation, Progress, Reason
from adapters.signatures import Signature
from adapters.usage import Usage
from tests.adapters.recorder import Recorder, opening
from tests.adapters.streams import byte_by_byte, pieces, spaced, two_part_splits
from tests.adapters.test_responses_tap import (
    CREATED,
    FLAT,
    INCOMPLETE,
    NESTED,
    OPEN,
    RESPONSE,
    STREAMS,
    USAGE,
    WRITINGS,
    Event,
    Stream,
    delta,
    event,
    message,
    of_response,
    write,
)

LIMIT = 1 << 24
COUNTED = Usage(9, 4, 3, 2, 1)
START = ("start", "resp_1", "m", 1700000000)
END = [("finish", 0, Reason.END, None, None), ("end", COUNTED)]

each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)


def parser(recorder: Recorder | None = None) -> tuple[Parser, Recorder]:
    recorder = recorder or Recorder()
    return open_parser(recorder, scope="here", event_bytes_max=LIMIT), recorder


def run(reads: list[bytes], recorder: Recorder | None = None) -> tuple[list[tuple[Any, ...]], Parser]:
    parsed, recorder = parser(recorder)
    for read in reads:
        parsed.feed(read)
    parsed.end()
    return recorder.log, parsed


def is_ended(log: list[tuple[Any, ...]]) -> bool:
    return bool(log) and log[-1][0] == "end"


def log_of(payloads: list[Any], recorder: Recorder | None = None) -> list[tuple[Any, ...]]:
    log, parsed = run([write(payloads)], recorder)
    assert parsed.failure is None, parsed.failure
    return log


def said(payloads: list[Any]) -> list[tuple[Any, ...]]:
    """Return the log between its start and its finish."""
    log = log_of([CREATED, *payloads, COMPLETED_EMPTY])
    assert log[0] == START
    return log[1:-2]


COMPLETED_EMPTY = of_response("completed", usage=USAGE)


def added(item: dict[str, Any], index: int = 0) -> Event:
    return event("response.output_item.added", output_index=index, item=item)


def done(item: dict[str, Any], index: int = 0) -> Event:
    return event("response.output_item.done", output_index=index, item=item)


def call(arguments: str = "", call_id: str = "call_9", name: str = "f", **members: Any) -> dict[str, Any]:
    item = {"id": "fc_1", "type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
    return {**item, "status": "completed", **members}


def arguments(fragment: str, index: int = 0, kind: str = "delta") -> Event:
    member = "delta" if kind == "delta" else "arguments"
    name = f"response.function_call_arguments.{kind}"
    return event(name, item_id="fc_1", output_index=index, **{member: fragment})


def text_delta(text: str, index: int = 0, part: int = 0, **members: Any) -> Event:
    at = {"item_id": "m", "output_index": index, "content_index": part}
    return event("response.output_text.delta", **at, delta=text, **members)


def text_log(text: str) -> list[tuple[Any, ...]]:
    return [("text_open", 0), ("text", 0, text), ("text_close", 0)]


def call_log(arguments: str, call_id: str = "call_9", name: str = "f", *, whole: bool = True) -> list[tuple[Any, ...]]:
    return [
        ("call_open", 0, call_id, name, None, False),
        ("arguments", 0, arguments),
        ("call_close", 0, whole),
    ]


# -- the corpus --------------------------------------------------------------------------------------------------------


@each_stream
def test_what_the_tap_saw_the_parser_saw(stream: Stream) -> None:
    for writing, write_as in WRITINGS.items():
        log, parsed = run([write_as(stream.payloads)])
        tokens = (parsed.usage.input_tokens, parsed.usage.output_tokens) if parsed.usage else None
        if parsed.usage is not None and parsed.usage.estimated:
            tokens = None
        assert tokens == stream.facts["tokens"], writing
        assert (parsed.failure.code if parsed.failure else None) == stream.facts["code"], writing
        assert parsed.done == stream.facts["done"], writing
        assert parsed.content == stream.facts["content"], writing
        assert is_ended(log) == stream.facts["done"], writing


@each_stream
def test_b02_every_split_gives_the_same_log(stream: Stream) -> None:
    data = write(stream.payloads)
    once, _ = run([data])
    for cut in (byte_by_byte(data), pieces(data, [7, 1, 50])):
        assert run(cut)[0] == once
    for cut in two_part_splits(data[:600]):
        assert run([*cut, data[600:]])[0] == once


@each_stream
def test_b09_truncation_at_every_event_is_an_error_unless_finished(stream: Stream) -> None:
    for length in range(len(stream.payloads)):
        log, parsed = run([write(stream.payloads[:length])])
        assert (parsed.failure is None) == parsed.done
        assert is_ended(log) == parsed.done


@settings(max_examples=300, deadline=None)
@given(st.binary() | st.lists(st.sampled_from([write([p]) for s in STREAMS for p in s.payloads])).map(b"".join))
@example(b'data: {"type":"response.output_text.delta","delta":7}\n\n')
@example(b'data: {"type":"response.output_item.added","item":{"type":[]},"output_index":{}}\n\n')
@example(b'data: {"a":' + b"[" * 5000 + b"\n\n")
def test_any_bytes_give_operations_or_one_failure(data: bytes) -> None:
    log, parsed = run([data])
    assert (parsed.failure is None) == (parsed.emitter.progress is Progress.ENDED)
    assert [entry[0] for entry in log].count("start") <= 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
member_names = st.sampled_from(
    ["item", "part", "delta", "output_index", "content_index", "annotation", "response", "text", "arguments", "error"]
)
kinds = st.sampled_from(sorted({p["type"] for s in STREAMS for p in s.payloads if isinstance(p, dict) and "type" in p}))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(kinds, st.dictionaries(member_names, json_values, max_size=4)), max_size=6))
def test_odd_members_never_raise(events: list[tuple[str, dict[str, Any]]]) -> None:
    log, parsed = run([write([CREATED, *({"type": kind, **members} for kind, members in events)])])
    assert log[0] == START or parsed.failure is not None
    assert parsed.done or parsed.failure is not None


HALF = "\ud83d"
HALVES: list[Any] = [
    of_response("created", status="in_progress", id=HALF, model=HALF),
    added({"type": "function_call", "call_id": HALF, "name": HALF, "namespace": HALF}, 0),
    arguments(HALF),
    done({"type": "function_call", "call_id": HALF, "name": HALF, "arguments": HALF}),
    done({"type": "reasoning", "id": HALF, "encrypted_content": HALF, "summary": [{"text": HALF}]}, 1),
    done({"type": "web_search_call", "action": {"query": HALF, "url": HALF}}, 2),
    done({"type": "image_generation_call", "result": HALF, "output_format": HALF}, 3),
    text_delta(HALF, 4),
    event("response.output_text.annotation.added", output_index=4, annotation={"url": HALF, "title": HALF}),
    done({"type": "message", "content": [{"type": "refusal", "refusal": HALF}]}, 5),
]


@pytest.mark.parametrize("ending", [COMPLETED_EMPTY, event("error", error={"message": HALF, "code": HALF})])
def test_b20_half_a_character_anywhere_is_written(ending: Event) -> None:
    """Whatever a parser passes on can be encoded."""
    for emitter in (open_emitter(opening(thought=Thought(show=True))), Collector(opening())):
        parsed = open_parser(emitter, scope="here", event_bytes_max=LIMIT)
        written = parsed.feed(write([*HALVES, ending], spaced)) + parsed.end()
        assert (parsed.failure is None) == (ending is COMPLETED_EMPTY)
        if parsed.failure is not None:
            written += parsed.error_event(parsed.failure)
        written.decode()
        if isinstance(emitter, Collector) and parsed.failure is None:
            render_answer(emitter)


# -- text --------------------------------------------------------------------------------------------------------------


def test_text() -> None:
    assert log_of(STREAMS[0].payloads) == [START, *text_log("Hi"), *END]


def test_b64_the_missing_tail_is_sent_once() -> None:
    rest = [
        event("response.output_text.done", output_index=0, content_index=0, text="Hello"),
        event("response.content_part.done", output_index=0, content_index=0, part=message("Hello")["content"][0]),
        done(message("Hello")),
    ]
    for length in range(1, 4):
        assert said([*OPEN[2:], text_delta("Hel"), *rest[:length]]) == text_log("Hello")
    finished = of_response("completed", output=[message("Hello")], usage=USAGE)
    assert log_of([CREATED, *OPEN[2:], text_delta("Hel"), finished]) == [START, *text_log("Hello"), *END]
    assert said([*OPEN[2:], text_delta("Hxl"), *rest]) == text_log("Hxl")


def test_text_in_the_terminal_event_alone() -> None:
    finished = of_response("completed", output=[message("Hello")], usage=USAGE)
    assert log_of([CREATED, finished]) == [START, *text_log("Hello"), *END]
    assert log_of([finished]) == [START, *text_log("Hello"), *END]


def test_items_that_stand_elsewhere_in_the_terminal_event_are_not_said_again() -> None:
    reasoning = {"id": "rs", "type": "reasoning", "summary": [], "encrypted_content": "gA"}
    streamed = [added(reasoning), done(reasoning), added(message("", "in_progress"), 1), text_delta("Hi", 1)]
    finished = of_response("completed", output=[message("Hi")], usage=USAGE)
    log = log_of([CREATED, *streamed, done(message("Hi"), 1), finished])
    assert [entry for entry in log if entry[0] == "text"] == [("text", 0, "Hi")]


def test_several_messages_are_one_text_and_commentary_is_text() -> None:
    commentary = {**message("Let me see. "), "phase": "commentary"}
    payloads = [added(commentary), done(commentary), added(message("", "in_progress"), 1), text_delta("Yes.", 1)]
    assert said([*payloads, done(message("Yes."), 1)]) == text_log("Let me see. Yes.")


def test_b59_ids_that_change_with_every_event() -> None:
    payloads = [
        {**payload, "item_id": f"id{number}", "item": {**payload["item"], "id": f"id{number}"}}
        if "item" in payload
        else payload
        for number, payload in enumerate(STREAMS[0].payloads)
    ]
    assert log_of(payloads) == [START, *text_log("Hi"), *END]


def test_b20_half_a_character_waits_for_its_other_half() -> None:
    form = b'data: {"type":"response.output_text.%b","output_index":0,"content_index":0,"%b":"%b"}\n\n'
    high, low = (form % (b"delta", b"delta", text) for text in (b"a\\ud83d", b"\\ude00b"))
    log, parsed = run([write([*OPEN, delta("-")]), high, low, write([delta("c"), COMPLETED_EMPTY])])
    assert parsed.failure is None
    assert ("text", 0, "-a😀bc") in log
    whole = form % (b"done", b"text", b"a\\ud83d\\ude00")
    assert ("text", 0, "a😀") in run([write(OPEN), high, whole, write([COMPLETED_EMPTY])])[0]


def test_refusals() -> None:
    at = {"item_id": "m", "output_index": 0, "content_index": 0}
    payloads = [
        *OPEN,
        event("response.refusal.delta", **at, delta="I ca"),
        event("response.refusal.done", **at, refusal="I can't"),
        COMPLETED_EMPTY,
    ]
    log = log_of(payloads)
    assert log[1:4] == [("refusal_open", 0), ("refusal", 0, "I can't"), ("refusal_close", 0)]
    assert log[4] == ("finish", 0, Reason.REFUSAL, None, None)


def test_b58_sources_count_from_the_beginning_of_the_answers_text() -> None:
    source = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 2}
    annotated = {**message("Hi")}
    annotated["content"] = [{**annotated["content"][0], "annotations": [source, {"type": "file_path", "file_id": "f"}]}]
    first = [added(message("", "in_progress")), text_delta("Abc"), done(message("Abc"))]
    streamed = event(
        "response.output_text.annotation.added", output_index=1, content_index=0, annotation_index=0, annotation=source
    )
    second = [added(message("", "in_progress"), 1), text_delta("Hi", 1)]
    expected = Citation("https://a", "A", 3, 5)
    for payloads in ([streamed, done(annotated, 1)], [done(annotated, 1)]):
        log = said([*first, *second, *payloads])
        assert [entry for entry in log if entry[0] == "cite"] == [("cite", 0, expected)]


# -- calls -------------------------------------------------------------------------------------------------------------


def test_b25_calls_without_deltas_or_with_everything_twice() -> None:
    ways = [
        [added(call()), arguments('{"a":1}', kind="done"), arguments('{"a":1}', kind="done"), done(call('{"a":1}'))],
        [done(call('{"a":1}'))],
        [added(call()), arguments('{"a"'), arguments(":1}"), arguments('{"a":1}', kind="done"), done(call('{"a":1}'))],
        [added(call()), arguments('{"a"'), done(call('{"a":1}'))],
        [added(call('{"a":1}')), done(call('{"a":1}'))],
        [arguments('{"a"'), added(call()), arguments(":1}"), done(call('{"a":1}'))],
    ]
    for payloads in ways:
        assert said(payloads) == call_log('{"a":1}')
    finished = of_response("completed", output=[call('{"a":1}')], usage=USAGE)
    tool = ("finish", 0, Reason.TOOL, None, None)
    assert log_of([CREATED, finished])[1:] == [*call_log('{"a":1}'), tool, ("end", COUNTED)]
    assert log_of([CREATED, *ways[2], finished])[1:] == [*call_log('{"a":1}'), tool, ("end", COUNTED)]
    assert log_of([CREATED, added(call()), finished])[1:] == [*call_log('{"a":1}'), tool, ("end", COUNTED)]


def test_b26_only_the_call_id_names_a_call() -> None:
    log = said([added(call(id="fc_77")), done(call("{}", id="fc_78"))])
    assert log[0] == ("call_open", 0, "call_9", "f", None, False)


def test_b14_interleaved_calls_come_one_after_the_other() -> None:
    log = said([
        added(call(call_id="a"), 1),
        added(call(call_id="b", name="g"), 2),
        arguments('{"x":', 1),
        arguments("{}", 2),
        arguments("1}", 1),
        done(call('{"x":1}', "a"), 1),
        done(call("{}", "b", "g"), 2),
    ])  # fmt: skip
    assert log == [*call_log('{"x":1}', "a"), *call_log("{}", "b", "g")]


def test_calls_that_all_stand_at_one_index() -> None:
    log = said([
        added(call(call_id="a")), arguments("{}"), done(call("{}", "a")),
        added(call(call_id="b")), arguments('{"b":1}'), done(call('{"b":1}', "b")),
    ])  # fmt: skip
    assert log == [*call_log("{}", "a"), *call_log('{"b":1}', "b")]


def test_b18_a_call_without_arguments_has_an_empty_object() -> None:
    assert said([added(call()), done(call(""))]) == call_log("{}")


def test_b21_a_call_that_was_cut_is_not_whole() -> None:
    log = log_of([CREATED, added(call()), arguments('{"city":"Par'), INCOMPLETE])
    assert log[1:4] == call_log('{"city":"Par', whole=False)
    assert log[4] == ("finish", 0, Reason.LENGTH, None, None)
    ended = done(call('{"city":"Par', status="incomplete"))
    assert log_of([CREATED, added(call()), arguments('{"city":"Par'), ended, INCOMPLETE]) == log


def test_b27_free_form_calls() -> None:
    item = {"id": "ctc", "type": "custom_tool_call", "call_id": "c", "name": "patch", "input": ""}
    at = {"item_id": "ctc", "output_index": 0}
    log = said([
        added(item),
        event("response.custom_tool_call_input.delta", **at, delta="*** Be"),
        event("response.custom_tool_call_input.done", **at, input="*** Begin"),
        done({**item, "input": "*** Begin"}),
    ])  # fmt: skip
    assert log == [
        ("call_open", 0, "c", "patch", None, True),
        ("arguments", 0, "*** Begin"),
        ("call_close", 0, True),
    ]


def test_a_namespaced_call_is_that_tool() -> None:
    recorder = Recorder(opening(tools=(Tool("f", namespace="ns"),)))
    log = log_of([CREATED, done(call("{}", namespace="ns")), COMPLETED_EMPTY], recorder)
    assert log[1] == ("call_open", 0, "call_9", "f", "ns", False)


def test_b19_arguments_keep_their_text() -> None:
    fragments = ['{"p":"C:\\\\', "n\\u00", "e9 \\ud83d", '\\ude00","n":1', "e3}"]
    log = said([added(call()), *map(arguments, fragments), done(call("".join(fragments)))])
    assert log == call_log("".join(fragments))


# -- reasoning ---------------------------------------------------------------------------------------------------------


def summary(kind: str, text: str, part: int = 0) -> Event:
    member = "delta" if kind == "delta" else "text"
    at = {"item_id": "rs", "output_index": 0, "summary_index": part}
    return event(f"response.reasoning_summary_text.{kind}", **at, **{member: text})


def reasoning_item(*parts: str, encrypted: str | None = None, **members: Any) -> dict[str, Any]:
    item: dict[str, Any] = {"id": "rs_1", "type": "reasoning", **members}
    item["summary"] = [{"type": "summary_text", "text": part} for part in parts]
    return item | ({"encrypted_content": encrypted} if encrypted else {})


def test_b32_summary_parts_are_joined_and_signed_by_the_finished_item() -> None:
    log = said([
        added(reasoning_item(encrypted="gA")),
        summary("delta", "One"), summary("done", "One."), summary("delta", "Two", 1),
        done(reasoning_item("One.", "Two!", encrypted="gAAAA")),
    ])  # fmt: skip
    signature = Signature("responses", "here", "gAAAA", "", "rs_1")
    assert log == [("reasoning_open", 0), ("reasoning", 0, "One.\n\nTwo!"), ("reasoning_close", 0, signature)]


def test_b28_a_signature_alone_is_an_item() -> None:
    signature = Signature("responses", "here", "gAAAA", "", "rs_1")
    item = reasoning_item(encrypted="gAAAA")
    for payloads in ([added(item), done(item)], [done(item)]):
        assert said(payloads) == [("reasoning_open", 0), ("reasoning_close", 0, signature)]
    assert said([added(reasoning_item()), done(reasoning_item())]) == []


def test_raw_reasoning_counts_when_it_speaks_first() -> None:
    at = {"item_id": "rs", "output_index": 0, "content_index": 0}
    item = reasoning_item("short", encrypted="gA", content=[{"type": "reasoning_text", "text": "long"}])
    log = said([added(reasoning_item()), event("response.reasoning_text.delta", **at, delta="lo"), done(item)])
    signature = Signature("responses", "here", "gA", "content", "rs_1")
    assert log == [("reasoning_open", 0), ("reasoning", 0, "long"), ("reasoning_close", 0, signature)]


def test_b29_reasoning_items_keep_their_places() -> None:
    log = said([
        done(reasoning_item("A", encrypted="a")), done(reasoning_item("B", encrypted="b"), 1),
        done(call("{}", "x"), 2), done(reasoning_item("C", encrypted="c"), 3), done(call("{}", "y"), 4),
    ])  # fmt: skip
    assert [entry[0] for entry in log if entry[0].endswith(("_open", "close"))] == [
        *("reasoning_open", "reasoning_close", "reasoning_open", "reasoning_close", "call_open", "call_close"),
        *("reasoning_open", "reasoning_close", "call_open", "call_close"),
    ]


# -- the upstream's own tools ------------------------------------------------------------------------------------------


def test_a_web_search_is_told_and_other_tools_are_not() -> None:
    search = {"id": "ws", "type": "web_search_call", "status": "completed"}
    log = said([
        added({**search, "status": "in_progress"}),
        event("response.web_search_call.searching", output_index=0, item_id="ws"),
        done({**search, "action": {"type": "search", "query": "cats"}}),
        done({**search, "action": {"type": "open_page", "url": "https://a"}}, 1),
        done({**search, "action": {"type": "search", "queries": ["dogs"]}}, 2),
        done({"id": "ci", "type": "code_interpreter_call", "code": "1", "status": "completed"}, 3),
        done({"id": "new", "type": "something_new"}, 4),
    ])  # fmt: skip
    assert log == [
        ("hosted", 0, "web_search", {"query": "cats"}),
        ("hosted", 0, "web_search", {"url": "https://a"}),
        ("hosted", 0, "web_search", {"query": "dogs"}),
    ]


def test_b06_an_image_is_passed_on_once() -> None:
    item = {"id": "ig", "type": "image_generation_call", "status": "completed", "output_format": "webp"}
    partial = event("response.image_generation_call.partial_image", output_index=0, partial_image_b64="A" * 100_000)
    log = said([added({**item, "result": None}), partial, done({**item, "result": "B" * 1_000_000})])
    assert log == [("blob", 0, "image/webp", "B" * 1_000_000)]


# -- ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        ({"reason": "max_output_tokens"}, Reason.LENGTH),
        ({"reason": "content_filter"}, Reason.FILTER),
        ({"reason": "steered"}, Reason.OTHER),
        ({"reason": "who knows"}, Reason.LENGTH),
        (None, Reason.LENGTH),
    ],
)
def test_incomplete_responses(detail: object, reason: Reason) -> None:
    end = of_response("incomplete", incomplete_details=detail, usage=USAGE)
    assert log_of([*OPEN, delta("Hi"), end])[-2:] == [("finish", 0, reason, None, None), ("end", COUNTED)]


def test_b12_one_error_whatever_the_form() -> None:
    failed = of_response("failed", error={"code": "server_error", "message": "it broke"}, usage=USAGE)
    for payloads in ([NESTED], [FLAT], [failed], [NESTED, failed], [FLAT, failed]):
        log, parsed = run([write([*OPEN, delta("Hi"), *payloads])])
        assert parsed.failure is not None
        assert (parsed.failure.message, parsed.failure.code) == ("it broke", "server_error")
        assert log[-1] == ("text", 0, "Hi")
        if failed in payloads:
            assert parsed.usage == COUNTED


def test_b11_an_error_beside_a_delta_is_an_error() -> None:
    log, parsed = run([write([*OPEN, delta("Hi"), {**delta("!"), "error": {"message": "it broke"}}])])
    assert parsed.failure is not None
    assert parsed.failure.message == "it broke"
    assert log[-1] == ("text", 0, "Hi")


def test_b40_usage_of_a_failed_response_is_billed() -> None:
    failed = of_response("failed", error={"code": "server_error", "message": "it broke"}, usage=USAGE)
    assert run([write([CREATED, failed])])[1].usage == COUNTED


def test_a_call_that_goes_on_after_its_end_is_a_failure() -> None:
    log, parsed = run([write([CREATED, done(call('{"a":1}')), arguments(',"b"'), COMPLETED_EMPTY])])
    assert parsed.failure is not None
    assert parsed.failure.code == "upstream_protocol_error"
    assert log[-1] == ("call_close", 0, True)


# -- unary answers -----------------------------------------------------------------------------------------------------


def answer(**members: Any) -> tuple[list[tuple[Any, ...]], Parser]:
    parsed, recorder = parser()
    parsed.read_answer(json.dumps({**RESPONSE, "status": "completed", "usage": USAGE, **members}).encode())
    return recorder.log, parsed


def test_a_unary_answer_is_the_stream_at_once() -> None:
    items = [reasoning_item("A", encrypted="a"), message("Hi"), call('{"a":1}')]
    log, parsed = answer(output=items)
    assert parsed.failure is None
    streamed = log_of([CREATED, *(done(item, index) for index, item in enumerate(items)), COMPLETED_EMPTY])
    assert log == streamed


def test_a_unary_answer_that_failed_is_its_error() -> None:
    log, parsed = answer(status="failed", error={"code": "rate_limit_exceeded", "message": "slow down"})
    assert parsed.failure is not None
    assert parsed.failure.status == 429
    assert parsed.usage == COUNTED
    assert log == []
    assert answer(output=None)[1].failure is not None


@given(st.binary())
@example(b'{"output":[]}')
@example(b'{"output":[{"type":"message","content":[{"type":"output_text","text":"\\ud83d"}]}]}')
def test_any_document_is_an_answer_or_a_failure(body: bytes) -> None:
    parsed, _ = parser()
    failure = parsed.read_answer(body)
    assert (failure is None) == (parsed.emitter.progress is Progress.ENDED)
