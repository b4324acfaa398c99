"""The unary answer of a Messages client: the collected one, as the SDK reads it and as the stream would say it."""

import json
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic

from adapters.collector import Collector
from adapters.conversation import Thought
from adapters.dialects.messages_answer import estimated_count, render_answer
from adapters.dialects.messages_emitter import CALL_IDS
from adapters.operations import Reason
from adapters.signatures import Signature, pack
from adapters.usage import Usage
from tests.adapters.recorder import drive, opening
from tests.adapters.test_messages_emitter import SIGNATURE, Operations
from tests.adapters.test_messages_emitter import message as streamed
from tests.adapters.test_messages_tap import Payload


def answer(operations: Operations, **asked: Any) -> Payload:
    collector = Collector(opening(stream=False, **asked), id_rule=CALL_IDS)
    drive(collector, [("start", "chatcmpl-1", "m", 1), *operations, ("end",)])
    body = render_answer(collector)

    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=body)

    http = httpx2.Client(transport=httpx2.MockTransport(respond))
    with Anthropic(api_key="k", base_url="http://t", http_client=http, max_retries=0) as client:
        read = client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    assert read.to_dict() == json.loads(body)
    said: Payload = json.loads(body)
    return said


CALLS: Operations = [
    *(("call_open", 0, "functions.read:0", "f"), ("call_arguments", 0, '{"n":1e3}'), ("call_close", 0)),
    *(("call_open", 1, "", "g"), ("call_close", 1)),
]
ENDINGS: list[Operations] = [
    [("text", "Hi"), ("usage_report", Usage(1000, 4, 900, 90, 1)), ("finish", Reason.END)],
    [("reasoning", "hm"), ("reasoning_sign", SIGNATURE), ("text", "Hi"), *CALLS, ("finish", Reason.TOOL)],
    [("reasoning", "hm"), ("text", "Hi"), ("finish", Reason.STOP_SEQUENCE, "H:")],
    [("refusal", "No"), ("finish", Reason.END)],
    [("hosted", "web_search", {"query": "a"}), ("text", "b"), ("finish", Reason.LENGTH)],
    [("blob", "image/png", "AAAA"), ("finish", Reason.REFUSAL, None, "Why")],
]


@pytest.mark.parametrize("shown", [True, False, None])
@pytest.mark.parametrize("operations", ENDINGS)
def test_it_says_what_the_stream_says(operations: Operations, shown: bool | None) -> None:
    thought = Thought(show=shown)
    whole, pieces = answer(operations, thought=thought), streamed(operations, thought=thought)
    assert whole == {name: value for name, value in pieces.items() if value is not None or name in whole}


def test_b21_a_cut_call() -> None:
    cut = [("call_open", 0, "a", "f"), ("call_arguments", 0, '{"city":"Par'), ("finish", Reason.LENGTH)]
    said = answer(cut)
    assert said["stop_reason"] == "max_tokens"
    assert said["content"][0]["input"] == {"_raw": '{"city":"Par'}


def test_b48_arguments_that_are_no_object() -> None:
    for arguments, expected in (("", {}), ("null", {}), ("[1]", {"value": [1]})):
        said = answer([("call_open", 0, "a", "f"), ("call_arguments", 0, arguments), ("finish", Reason.TOOL)])
        assert said["content"][0]["input"] == expected


def test_free_text_for_a_tool() -> None:
    said = answer([("call_open", 0, "a", "f", True), ("call_arguments", 0, "*** Begin"), ("finish", Reason.TOOL)])
    assert said["content"][0]["input"] == {"input": "*** Begin"}


def test_b32_a_signature_alone() -> None:
    signature = Signature("responses", "s", "gAAA", item_id="rs_1")
    said = answer([("reasoning_sign", signature), ("finish", Reason.END)])
    assert said["content"] == [{"type": "thinking", "thinking": "", "signature": pack(signature)}]


def test_a_count() -> None:
    counted = estimated_count(b"count_tokens", 7)
    assert counted is not None
    assert json.loads(counted) == {"input_tokens": 7}
    assert estimated_count(b"", 7) is None
