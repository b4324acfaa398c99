"""The emitter of Messages streams: what clients get, judged by the official SDK."""

import re
from typing import Any

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import signatures
from adapters.conversation import Thought
from adapters.dialects.messages_emitter import MessagesEmitter, open_emitter
from adapters.dialects.messages_parser import open_parser
from adapters.errors import Failure, Kind
from adapters.operations import Citation, Reason
from adapters.signatures import Signature, pack, unpack
from adapters.usage import Usage
from tests.adapters.recorder import drive, opening
from tests.adapters.test_messages_tap import STREAMS, Payload, Stream, sdk_message, sdk_payloads, write

SIGNATURE = Signature("responses", "openai/gpt", "gAAA", item_id="rs_1")
Operations = list[tuple[Any, ...]]


def emit(operations: Operations, **asked: Any) -> bytes:
    emitter = open_emitter(opening(**asked))
    return drive(emitter, [("start", "chatcmpl-1", "m", 1), *operations, ("end",)])


def message(operations: Operations, **asked: Any) -> Payload:
    """What the official SDK makes of it; every event must be there under its own name."""
    stream = emit(operations, **asked)
    payloads = sdk_payloads(stream)
    assert_in_order(payloads)
    return sdk_message(stream)


def assert_in_order(payloads: list[Payload]) -> None:
    """One start, blocks one after the other without gaps, one delta of the message, one stop."""
    kinds = [payload["type"] for payload in payloads]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    index, is_open = 0, False
    for payload in payloads[1:-2]:
        assert payload["index"] == index
        if payload["type"] == "content_block_start":
            assert not is_open
            is_open = True
        elif payload["type"] == "content_block_delta":
            assert is_open
        else:
            assert payload["type"] == "content_block_stop"
            assert is_open
            is_open, index = False, index + 1
    assert not is_open


def blocks(operations: Operations, **asked: Any) -> list[Payload]:
    content: list[Payload] = message(operations, **asked)["content"]
    return content


def inputs(stream: bytes) -> list[str]:
    """The pieces of calls' input."""
    deltas = [payload["delta"] for payload in sdk_payloads(stream) if payload["type"] == "content_block_delta"]
    return [each["partial_json"] for each in deltas if each["type"] == "input_json_delta"]


def test_a_plain_answer_byte_for_byte() -> None:
    usage = Usage(1000, 4, 900, 90, 1)
    stream = emit([("text", "H"), ("text", 'i"\n€'), ("usage_report", usage), ("finish", Reason.END)])
    assert stream.decode() == (
        'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_chatcmpl-1","type":"message",'
        '"role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":7,'
        '"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}\n\n'
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        '"content_block":{"type":"text","text":""}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"text_delta","text":"H"}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"text_delta","text":"i\\"\\n€"}}\n\n'
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        '"usage":{"input_tokens":10,"cache_creation_input_tokens":90,"cache_read_input_tokens":900,"output_tokens":4,'
        '"output_tokens_details":{"thinking_tokens":1}}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


def test_an_empty_answer_is_a_message() -> None:
    assert message([("finish", Reason.END)])["content"] == []


def test_message_ids() -> None:
    for given_id, expected in (("msg_1", "msg_1"), ("resp_1", "msg_resp_1"), ("", "msg_seed")):
        emitter = open_emitter(opening())
        emitter.start(given_id)
        assert sdk_payloads(emitter.take())[0]["message"]["id"] == expected


# -- usage -------------------------------------------------------------------------------------------------------------


def test_b37_cached_tokens_are_no_input_tokens() -> None:
    usage = message([("text", "a"), ("usage_report", Usage(1000, 5, 900))])["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (100, 900)


def test_b38_the_start_has_an_estimate_and_the_end_has_the_numbers() -> None:
    stream = emit([("text", "a"), ("usage_report", Usage(1234, 5))], input_tokens=99)
    first, last = sdk_payloads(stream)[0], sdk_payloads(stream)[-2]
    assert first["message"]["usage"]["input_tokens"] == 99
    assert last["usage"]["input_tokens"] == 1234
    assert sdk_payloads(emit([], input_tokens=0))[0]["message"]["usage"]["input_tokens"] == 1


def test_b40_usage_is_always_there() -> None:
    for reported in ([], [("usage_report", Usage(0, 2))]):
        usage = message([("text", "12345678"), *reported], input_tokens=99)["usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (99, 2)


def test_searches_are_counted() -> None:
    usage = message([("hosted", "web_search", {"query": "a"}), ("hosted", "other", {}), ("text", "a")])["usage"]
    assert usage["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 0}


# -- blocks ------------------------------------------------------------------------------------------------------------


def test_b13_parallel_calls() -> None:
    operations: Operations = [
        *(("call_open", 0, "a", "f"), ("call_arguments", 0, "{}")),
        *(("call_open", 1, "b", "g"), ("call_arguments", 1, '{"x":1}'), ("finish", Reason.TOOL)),
    ]
    said = message(operations)
    assert [(each["id"], each["name"], each["input"]) for each in said["content"]] == [
        ("a", "f", {}),
        ("b", "g", {"x": 1}),
    ]
    assert said["stop_reason"] == "tool_use"


def test_b14_interleaved_calls_become_blocks_in_sequence() -> None:
    opens = [("call_open", 0, "a", "f"), ("call_open", 1, "b", "g")]
    pieces = [("call_arguments", 0, '{"x":'), ("call_arguments", 1, "{}"), ("call_arguments", 0, "1}")]
    assert [each["input"] for each in blocks([*opens, *pieces, ("finish", Reason.TOOL)])] == [{"x": 1}, {}]


def test_b18_a_call_without_arguments() -> None:
    for arguments in ([], [("call_arguments", 0, "")]):
        stream = emit([("call_open", 0, "a", "f"), *arguments, ("call_close", 0), ("finish", Reason.TOOL)])
        assert inputs(stream) == [""]
        assert sdk_message(stream)["content"][0]["input"] == {}


def test_b19_arguments_go_out_as_they_came() -> None:
    parts = ['{"p":"C:\\\\', "n\\u00", 'e9 \\ud83d\\ude00","n":1', "e3}"]
    stream = emit([("call_open", 0, "a", "f"), *(("call_arguments", 0, part) for part in parts)])
    assert inputs(stream) == parts


def test_b21_a_cut_call_is_closed_as_it_is() -> None:
    operations = [("call_open", 0, "a", "f"), ("call_arguments", 0, '{"city":"Par'), ("finish", Reason.LENGTH)]
    said = message(operations)
    assert said["stop_reason"] == "max_tokens"
    assert said["content"][0]["type"] == "tool_use"


def test_b47_call_ids_are_words() -> None:
    ids = [blocks([("call_open", 0, given_id, "f")])[0]["id"] for given_id in ("functions.read:0", "a" * 90, "toolu_1")]
    assert ids[2] == "toolu_1"
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", each) for each in ids)


def test_free_text_for_a_tool_is_wrapped() -> None:
    operations = [("call_open", 0, "a", "f", True), ("call_arguments", 0, "*** Be"), ("call_arguments", 0, "gin\n")]
    assert blocks(operations)[0]["input"] == {"input": "*** Begin\n"}


def test_b28_reasoning_and_its_signature() -> None:
    said = blocks([("reasoning", "h"), ("reasoning", "m"), ("reasoning_sign", SIGNATURE), ("text", "a")])
    assert said[0] == {"type": "thinking", "thinking": "hm", "signature": pack(SIGNATURE)}
    assert unpack(said[0]["signature"]) == SIGNATURE


def test_b28_the_signature_comes_last_also_when_there_is_none() -> None:
    payloads = sdk_payloads(emit([("reasoning", "hm")]))
    assert payloads[-4]["delta"] == {"type": "signature_delta", "signature": signatures.pack(signatures.UNSIGNED)}
    assert payloads[-3]["type"] == "content_block_stop"


def test_b32_a_signature_without_text_is_a_block() -> None:
    for shown in (True, False, None):
        said = blocks([("reasoning_sign", SIGNATURE), ("text", "a")], thought=Thought(show=shown))
        assert said[0] == {"type": "thinking", "thinking": "", "signature": pack(SIGNATURE)}


def test_thinking_that_is_not_to_be_shown() -> None:
    omitted = Thought(show=False)
    said = blocks([("reasoning", "hm"), ("reasoning_sign", SIGNATURE), ("text", "a")], thought=omitted)
    assert said[0] == {"type": "thinking", "thinking": "", "signature": pack(SIGNATURE)}
    assert [each["type"] for each in blocks([("reasoning", "hm"), ("text", "a")], thought=omitted)] == ["text"]


def test_b30_reasoning_while_a_call_is_open_comes_behind_it() -> None:
    operations = [
        *(("call_open", 0, "a", "f"), ("call_arguments", 0, '{"x":'), ("reasoning", "hm")),
        *(("call_arguments", 0, "1}"), ("text", "b")),
    ]
    assert [each["type"] for each in blocks(operations)] == ["tool_use", "thinking", "text"]


def test_b44_nothing_said_opens_nothing() -> None:
    assert [each["type"] for each in blocks([("text", ""), ("call_open", 0, "a", "f")])] == ["tool_use"]


def test_sources_and_pictures_have_no_place() -> None:
    said = blocks([("text", "a"), ("cite", Citation("https://x")), ("blob", "image/png", "AAAA"), ("text", "b")])
    assert [each["text"] for each in said] == ["a", "b"]


# -- ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        *((Reason.END, "end_turn"), (Reason.OTHER, "end_turn"), (Reason.LENGTH, "max_tokens")),
        *((Reason.CONTEXT_FULL, "model_context_window_exceeded"), (Reason.FILTER, "refusal")),
        *((Reason.PAUSE, "pause_turn"), (Reason.TOOL, "end_turn"), (Reason.STOP_SEQUENCE, "end_turn")),
    ],
)
def test_reasons(reason: Reason, expected: str) -> None:
    assert message([("text", "a"), ("finish", reason)])["stop_reason"] == expected


def test_b41_a_refusal_is_text_and_a_reason() -> None:
    said = message([("refusal", "I can't"), ("finish", Reason.END)])
    assert [each["text"] for each in said["content"]] == ["I can't"]
    assert said["stop_reason"] == "refusal"
    explained = message([("finish", Reason.REFUSAL, None, "No.")])
    assert explained["stop_details"] == {"type": "refusal", "category": None, "explanation": "No."}


def test_b43_stop_sequences() -> None:
    known = message([("text", "a"), ("finish", Reason.STOP_SEQUENCE, "H:")])
    assert (known["stop_reason"], known["stop_sequence"]) == ("stop_sequence", "H:")
    last = sdk_payloads(emit([("text", "a"), ("finish", Reason.STOP_SEQUENCE)]))[-2]
    assert last["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    emulated = message([("text", "aH"), ("text", ":b"), ("finish", Reason.END)], stops=("H:",))
    assert emulated["content"][0]["text"] == "a"
    assert (emulated["stop_reason"], emulated["stop_sequence"]) == ("stop_sequence", "H:")


def test_b09_b10_an_error_ends_the_stream_as_it_stands() -> None:
    failure = Failure(529, Kind.OVERLOADED, "Overloaded", type="overloaded_error")
    for operations in ([], [("start", "a")], [("start", "a"), ("text", "Hi")]):
        emitter = open_emitter(opening())
        stream = drive(emitter, operations) + emitter.error(failure)
        assert sdk_payloads(stream)[-1]["error"] == {"type": "overloaded_error", "message": "Overloaded"}
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            sdk_message(stream)


# -- anything ----------------------------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
keys = st.integers(0, 2)
operations_ = st.lists(
    st.one_of(
        st.tuples(st.just("text"), words),
        st.tuples(st.just("refusal"), words),
        st.tuples(st.just("reasoning"), words),
        st.tuples(st.just("reasoning_sign"), st.just(SIGNATURE)),
        st.tuples(st.sampled_from(["reasoning_open", "reasoning_close"])),
        st.tuples(st.just("call_arguments"), keys, st.sampled_from(['{"a":', "1}", "{}", ""])),
        st.tuples(st.just("call_close"), keys),
        st.tuples(st.just("hosted"), st.just("web_search"), st.just({"query": "a"})),
    ),
    max_size=20,
)


@given(operations_, st.sampled_from(Reason), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_order_of_operations_is_a_stream(operations: Operations, reason: Reason, shown: bool) -> None:
    opens = [("call_open", key, "", "f") for key in range(3)]
    mixed = [*operations[:5], *opens, *operations[5:], ("finish", reason)]
    payloads = sdk_payloads(emit(mixed, thought=Thought(show=shown)))
    assert_in_order(payloads)
    texts = "".join(payload["delta"].get("text", "") for payload in payloads if "delta" in payload)
    assert texts == "".join(given_text for name, given_text, *_ in _texts(mixed, "text", "refusal"))


UNREADABLE = {"citations", "unknown events, blocks and deltas"}
"""The SDK's own model of these gives warnings."""

WHOLE_STREAMS = [stream for stream in STREAMS if stream.facts["done"] and stream.name not in UNREADABLE]


@pytest.mark.parametrize("stream", WHOLE_STREAMS, ids=lambda stream: stream.name)
def test_the_same_dialect_through_operations_says_the_same(stream: Stream) -> None:
    parser = open_parser(open_emitter(opening()), scope="s", event_bytes_max=1 << 20)
    through = parser.feed(write(stream.payloads)) + parser.end()
    told, meant = sdk_message(through), sdk_message(write(stream.expected))
    assert (told["id"], told["model"], told["role"]) == (meant["id"], meant["model"], meant["role"])
    calls = members(meant, "tool_use", "id")
    assert told["stop_reason"] == ("tool_use" if calls else meant["stop_reason"] or "end_turn")
    assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == stream.facts["tokens"]
    for kind, member in (("text", "text"), ("thinking", "thinking"), ("tool_use", "input"), ("tool_use", "id")):
        assert members(told, kind, member) == members(meant, kind, member)


def members(said: Payload, kind: str, member: str) -> list[Any]:
    return [each[member] for each in said["content"] if each["type"] == kind and each[member] != ""]


def _texts(operations: Operations, *names: str) -> Operations:
    return [operation for operation in operations if operation[0] in names]


def test_representation() -> None:
    emitter = open_emitter(opening())
    assert isinstance(emitter, MessagesEmitter)
    assert "MessagesEmitter" in repr(emitter)
