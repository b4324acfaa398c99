"""Cases that gateways got wrong, as far as Messages pass through unchanged; the numbers are those of the catalogue."""

import gzip
import json
from typing import Any

import anthropic
import pytest

from adapters.dialects import messages
from adapters.dialects.messages_tap import MESSAGE_STOP, Tap
from adapters.errors import Kind
from adapters.usage import Usage
from tests.adapters.streams import byte_by_byte, two_part_splits
from tests.adapters.test_messages_tap import (
    CALL,
    DONE,
    ERROR,
    HI,
    LATER,
    LIMIT,
    OK,
    PING,
    REFUSED,
    STOP,
    TEXT,
    THINKING,
    WHOLE,
    WRITINGS,
    close,
    delta,
    facts,
    finish,
    run,
    sdk_message,
    sdk_payloads,
    start,
    write,
)


def test_b01_a_character_split_between_two_reads() -> None:
    data = write([*WHOLE[:4], delta(0, "text_delta", text="€"), *WHOLE[4:]])
    at = data.index(b"\xe2\x82\xac") + 2
    tap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    forward = tap.feed(data[:at]), tap.feed(data[at:])
    assert forward[0] == write(WHOLE[:4])
    assert b"".join(forward) == data
    assert sdk_message(data)["content"][0]["text"] == "Hi€"


def test_b02_an_event_cut_at_any_byte() -> None:
    data = WRITINGS["crlf"](WHOLE)
    for cut in (byte_by_byte(data), *two_part_splits(data)):
        forward, tap = run(cut)
        assert forward == data
        assert facts(tap) == OK


@pytest.mark.parametrize("writing", ["no space", "many data lines", "bom", "cr", "no last blank line"])
def test_b03_legal_but_rare_forms(writing: str) -> None:
    forward, tap = run([WRITINGS[writing](WHOLE)])
    assert facts(tap) == OK
    assert sdk_payloads(forward) == WHOLE
    assert not forward.startswith(b"\xef\xbb\xbf")


def test_b04_comments_are_alive_but_no_content() -> None:
    tap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    assert tap.feed(b": OPENROUTER PROCESSING\n\n" * 3) == b": OPENROUTER PROCESSING\n\n" * 3
    assert tap.feed(write([PING])) == write([PING])
    assert not tap.content
    assert messages.KEEPALIVE == write([PING]) == b'event: ping\ndata: {"type": "ping"}\n\n'


def test_b05_a_comment_after_an_id() -> None:
    events = [b"id: 7\n" + write([payload]) for payload in WHOLE]
    assert sdk_message(b": a\n\n".join(events)) == sdk_message(messages.KEEPALIVE.join(events))


def test_b07_a_compressed_stream_that_nobody_inflated_is_an_error() -> None:
    forward, tap = run([gzip.compress(write(WHOLE), mtime=0)])
    assert forward == b""
    assert tap.failure is not None


@pytest.mark.parametrize("done", [DONE, "[DONE]  ", "[DONE]\r"])
def test_b08_done_is_no_word_of_this_dialect(done: str) -> None:
    for payloads in ([*WHOLE[:-1], done], [*WHOLE, done], [*WHOLE[:2], done, *WHOLE[2:]], WHOLE[:-1]):
        forward, tap = run([write(payloads)])
        assert sdk_payloads(forward) == WHOLE
        assert b"[DONE]" not in forward
        assert facts(tap) == OK
    named = write(WHOLE) + b"event: done\ndata: [DONE]\n\n"
    assert run([named])[0] == write(WHOLE)


def test_b09_a_cut_is_an_error_and_no_ending_is_made_up() -> None:
    for length in range(6):
        data = write(WHOLE[:length])
        forward, tap = run([data])
        assert forward == data
        assert tap.failure is not None
        assert (tap.failure.status, tap.failure.kind, tap.failure.code) == (502, Kind.UPSTREAM, "stream_incomplete")
        last = tap.error_event(tap.failure)
        assert b"message_stop" not in last
        assert b"end_turn" not in last
        assert json.loads(last.splitlines()[1][6:])["error"]["type"] == "api_error"
        if length:
            sdk_message(forward)  # the silence that the gateway must break
            assert tap.usage == Usage(10, 1)
        with pytest.raises(anthropic.APIStatusError, match="ended before it was complete"):
            sdk_message(forward + last)


def test_b09_half_a_tool_call_does_not_pass_for_a_whole_one() -> None:
    forward, tap = run([write([start(), CALL, delta(0, "input_json_delta", partial_json='{"city":"Par')])])
    assert sdk_message(forward)["content"][0]["input"] == {}  # an answer, to who trusts it
    assert tap.failure is not None
    with pytest.raises(anthropic.APIStatusError):
        sdk_message(forward + tap.error_event(tap.failure))


def test_b09_a_stop_reason_is_evidence_enough() -> None:
    forward, tap = run([write(WHOLE[:-1])])
    assert forward == write(WHOLE[:-1]) + MESSAGE_STOP
    assert facts(tap) == OK
    assert sdk_message(forward) == sdk_message(write(WHOLE))


def test_b10_an_error_in_the_middle_and_at_the_start() -> None:
    for before in ([], WHOLE[:4]):
        forward, tap = run([write([*before, ERROR])])
        assert forward == write(before)
        failure = tap.failure
        assert failure is not None
        assert (messages.error_status(failure), failure.kind, failure.type) == (
            529,
            Kind.OVERLOADED,
            "overloaded_error",
        )
        with pytest.raises(anthropic.APIStatusError) as caught:
            sdk_message(forward + tap.error_event(failure))
        assert (caught.value.type, caught.value.api_message) == ("overloaded_error", "Overloaded")


@pytest.mark.parametrize(
    "hidden",
    [
        b'data: {"id":"gen-1","choices":[],"error":{"code":502,"message":"gone"}}\n\n',
        b'event: error\ndata: {"error":"gone"}\n\n',
        b'event: error\ndata: {"message":"gone"}\n\n',
        b"event: error\ndata: gone\n\n",
        b'{"type":"error","error":{"type":"api_error","message":"gone"}}\n\n',
    ],
)
def test_b11_errors_in_other_shapes(hidden: bytes) -> None:
    forward, tap = run([write(WHOLE[:4]) + hidden + write(WHOLE[4:])])
    assert forward == write(WHOLE[:4])
    assert tap.failure is not None
    assert tap.failure.message == "gone"


def test_b11_an_error_body_of_a_200_that_should_stream() -> None:
    _, tap = run([json.dumps(ERROR, indent=1).encode()])
    assert tap.failure is not None
    assert (tap.failure.status, tap.failure.message) == (529, "Overloaded")


def untouched(payloads: list[Any]) -> Tap:
    for writing in ("lf", "crlf", "padded json"):
        data = WRITINGS[writing](payloads)
        for cut in ([data], byte_by_byte(data)):
            forward, tap = run(cut)
            assert forward == data
            assert tap.failure is None
    return tap


def test_b18_a_call_without_arguments() -> None:
    calls = [start(), CALL, delta(0, "input_json_delta", partial_json=""), close(0), finish("tool_use"), STOP]
    assert untouched(calls).content
    assert sdk_message(write(calls))["content"][0]["input"] == {}


def test_b20_half_a_character() -> None:
    half = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"\\ud83d"},"index":0}\n\n'
    for before in ([start(), TEXT], WHOLE[:4]):
        data = write(before) + half + half.replace(b"ud83d", b"ude00") + write(WHOLE[4:])
        forward, tap = run([data])
        assert forward == data
        assert facts(tap) == OK
    request = messages.parse_request(b'{"model":"m","messages":"\\ud83d"}')
    assert messages.render_request(request, model="m") == b'{"model":"m","messages":"\\ufffd"}'


def test_b28_a_signature_alone() -> None:
    signed = [start(), THINKING, delta(0, "signature_delta", signature="c2ln"), close(0), finish(), STOP]
    assert untouched(signed).content
    assert sdk_message(write(signed))["content"] == [{"type": "thinking", "thinking": "", "signature": "c2ln"}]


def test_b29_b34_b50_b56_a_history_goes_up_as_it_came() -> None:
    history = (
        b'[{"role":"system", "content":"s"},{"role":"assistant","content":['
        b'{"type":"thinking","thinking":"t\\u00e9","signature":""},{"type":"redacted_thinking","data":"x\\/"},'
        b'{"type":"tool_use","id":"a","name":"f","input":{"b": 1.0, "a":[ ]}}]}, {"role":"user","content":['
        b'{"type":"tool_result","tool_use_id":"a","content":[{"type":"tool_reference","tool_name":"g"}],'
        b'"cache_control":{"type":"ephemeral","ttl":"1h"}}]}]'
    )
    request = messages.parse_request(b'{"model":"alias","max_tokens":1,"messages":' + history + b',"stream":true}')
    assert history in messages.render_request(request, model="claude-x")
    assert messages.render_request(request, model="alias") is request.body


def test_b37_cached_tokens_are_counted_once() -> None:
    tap = untouched([start(cache_read_input_tokens=900, cache_creation_input_tokens=90), *WHOLE[1:]])
    assert tap.usage == Usage(1000, 15, 900, 90)


def test_b40_usage_is_cumulative() -> None:
    growing = [*WHOLE[:5], finish(None, 15), finish("end_turn", 400, usage={"input_tokens": 2300}), STOP]
    tap = untouched(growing)
    assert tap.usage == Usage(2300, 400)
    _, tap = run([write([start(), start(), *growing[1:]])])
    assert tap.usage == Usage(2300, 400)


def test_b40_the_sdk_counts_the_same() -> None:
    usage = sdk_message(write([*WHOLE[:5], finish("end_turn", 400, usage={"input_tokens": 2300}), STOP]))["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (2300, 400)


def test_b41_a_refusal_without_a_block() -> None:
    tap = untouched([start(), PING, REFUSED, STOP])
    assert (tap.content, tap.finished, tap.done) == (False, True, True)


@pytest.mark.parametrize("reason", ["pause_turn", "model_context_window_exceeded", "stop_sequence", "unheard_of"])
def test_b45_any_stop_reason_ends_a_message(reason: str) -> None:
    assert untouched([*WHOLE[:5], finish(reason), STOP]).done


def test_b61_content_inside_message_start() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}, "caller": {"type": "code_execution"}}
    whole = [start([call]), finish("tool_use"), STOP]
    assert untouched(whole).content
    tap = Tap(strip_usage=False, event_bytes_max=LIMIT)
    tap.feed(write(whole[:1]))
    assert tap.content
    tap.feed(write([HI] * 3))
    assert not tap.finished


def test_b63_a_spliced_stream_is_an_error() -> None:
    for before in (WHOLE[:1], WHOLE[:4], WHOLE[:6]):
        forward, tap = run([write([*before, LATER, *WHOLE[1:]])])
        assert forward == write(before)
        assert tap.failure is not None
        assert tap.failure.code == "upstream_protocol_error"
    forward, tap = run([write([start(), *WHOLE])])
    assert sdk_payloads(forward) == WHOLE
    assert facts(tap) == OK
