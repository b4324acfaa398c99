"""Unary Responses answers: what a collected answer looks like, and that it is what the stream would have said."""

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.collector import Collector
from adapters.conversation import Thought, Tool
from adapters.dialects.responses import estimated_count, open_parser, render_answer
from adapters.operations import Reason
from tests.adapters.recorder import drive, opening
from tests.adapters.test_responses_emitter import (
    CALLS,
    END,
    SHOWN,
    START,
    TEXT,
    THOUGHT,
    USAGE,
    Operation,
    events,
    operations,
    request,
)

CUT: list[Operation] = [
    START,
    ("text", "Hi"),
    ("call_open", 0, "a", "f"),
    ("call_arguments", 0, '{"city":"Par'),
    ("finish", Reason.LENGTH),
    ("end",),
]
MADE: list[Operation] = [
    START,
    ("hosted", "web_search", {"query": "cats"}),
    ("hosted", "else", {}),
    ("blob", "image/png", "AAAA"),
    ("blob", "audio/wav", "AAAA"),
    ("refusal", "No"),
    ("finish", Reason.REFUSAL),
    ("end",),
]


def answer(ops: list[Operation], **changes: Any) -> dict[str, Any]:
    collector = Collector(opening(changes.pop("asked", None), **changes))
    assert drive(collector, ops) == b""
    read = json.loads(render_answer(collector))
    assert isinstance(read, dict)
    return read


@pytest.mark.parametrize("ops", [TEXT, CALLS, THOUGHT, CUT, MADE, [START, *END]])
@pytest.mark.parametrize("thought", [SHOWN, Thought()])
def test_it_is_what_the_streams_last_event_says(ops: list[Operation], thought: Thought) -> None:
    tools = (Tool("f"), Tool("g", namespace="ns"))
    asked = request(instructions="Be brief.", temperature=0.5)
    changes: dict[str, Any] = {"asked": asked, "thought": thought, "tools": tools}
    assert answer(ops, **dict(changes)) == events(ops, **dict(changes))[-1]["response"]


def test_the_sdk_reads_it() -> None:
    body = json.dumps(answer(CALLS)).encode()

    def reply(asked: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=body)

    transport = httpx2.MockTransport(reply)
    client = openai.OpenAI(api_key="k", base_url="http://x", http_client=httpx2.Client(transport=transport))
    response = client.responses.create(model="m", input="Hi")
    assert response.output_text == "Wait."
    assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 3


def test_b21_a_cut_call_is_incomplete() -> None:
    read = answer(CUT)
    assert read["status"] == "incomplete"
    assert read["output"][1]["status"] == "incomplete"
    assert read["output"][1]["arguments"] == '{"city":"Par'


def test_what_is_answered_is_read_again() -> None:
    collector = Collector(opening(thought=SHOWN))
    parser = open_parser(collector, scope="here", event_bytes_max=1 << 20)
    assert parser.read_answer(json.dumps(answer(THOUGHT, thought=SHOWN)).encode()) is None
    assert [type(part).__name__ for part in collector.answers()[0].parts] == ["Reasoning", "Text"]


def test_a_count_that_was_estimated() -> None:
    assert estimated_count(b"/input_tokens", 7) == b'{"object":"response.input_tokens","input_tokens":7}'
    assert estimated_count(b"/compact", 7) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(operations, max_size=8), st.booleans())
def test_any_operations_give_the_streams_last_event(ops: list[Operation], show: bool) -> None:
    opened: set[int] = set()
    kept = [op for op in ops if op[0] != "call_open" or not (op[1] in opened or opened.add(op[1]))]  # type: ignore[func-returns-value]
    everything = [START, *kept, USAGE, ("finish", Reason.END), ("end",)]
    changes: dict[str, Any] = {"tools": (Tool("f"), Tool("p", custom=True)), "thought": Thought(show=show)}
    assert answer(everything, **dict(changes)) == events(everything, **dict(changes))[-1]["response"]
