"""The short ways of the Messages dialect read what the careful ways read, and leave the rest to them.

A null is an absent member, and an empty error is none, but nobody writes either: with one of them the same message,
tool or event goes the careful way.
"""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from adapters.conversation import Conversation
from adapters.dialects import messages
from adapters.dialects.messages_parser import open_parser
from adapters.dialects.messages_plain import plain_tool, plain_turns
from adapters.dialects.messages_reader import PLACEHOLDER_TOOL, read_conversation
from adapters.losses import Losses
from adapters.signatures import Signature, pack
from tests.adapters.recorder import Recorder
from tests.adapters.test_messages_tap import CALL, HI, STOP, TEXT, THINKING, close, finish, start, write

Payload = dict[str, Any]

ids = st.sampled_from(["a", "b", "toolu_1", ""])
texts = st.sampled_from(["", " ", "Hi", "é\n", "null", "[", "\U0001f426"]) | st.text(max_size=9)
objects = st.dictionaries(texts, st.integers() | texts | st.none() | st.lists(texts), max_size=3)
signatures = st.sampled_from(
    ["", "sig", pack(Signature("gemini", "p/m", "x")), pack(Signature("messages", "p/m", "y"))]
)
text_blocks = st.fixed_dictionaries({"type": st.just("text"), "text": texts})
results = st.fixed_dictionaries(
    {"type": st.just("tool_result"), "tool_use_id": ids, "content": texts | st.lists(text_blocks, max_size=2)},
    optional={"is_error": st.booleans()},
)
calls = st.fixed_dictionaries({"type": st.just("tool_use"), "id": ids, "name": texts, "input": objects})
thoughts = st.fixed_dictionaries({"type": st.just("thinking"), "thinking": texts, "signature": signatures})
said = st.one_of(
    st.fixed_dictionaries({"role": st.just("user"), "content": texts | st.lists(text_blocks | results, max_size=4)}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": texts | st.lists(text_blocks | calls | thoughts, max_size=4)}
    ),
)
tools = st.fixed_dictionaries(
    {"name": st.sampled_from(["read", "write", ""]), "input_schema": objects},
    optional={"description": texts, "type": st.just("custom")},
)


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


def read(body: Payload) -> tuple[Conversation, list[str]]:
    losses = Losses()
    request = messages.parse_request(json.dumps({"model": "m", "max_tokens": 9, **body}).encode())
    return read_conversation(request, losses), losses.dropped


def without_names(asked: Conversation) -> list[object]:
    return [getattr(asked, name) for name in Conversation.__struct_fields__ if name != "names"]


@settings(max_examples=200, deadline=None)
@given(st.lists(said, min_size=1, max_size=6), st.lists(tools, max_size=3), st.data())
def test_both_ways_read_the_same(turns: list[Payload], offered: list[Payload], data: st.DataObject) -> None:
    short, dropped = read({"messages": turns, "tools": offered})
    careful = [{**turn, "name": None} if data.draw(st.booleans()) else turn for turn in turns]
    carefully = [{**tool, "strict": None} for tool in offered]
    long, dropped_carefully = read({"messages": careful, "tools": carefully})
    assert without_names(short) == without_names(long)
    assert dropped == dropped_carefully


@given(said)
def test_what_is_plain_is_read_at_once(turn: Payload) -> None:
    assert plain_turns(raw(turn), {}) is not None
    assert plain_turns(raw({**turn, "name": None}), {}) is None


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "system", "content": "Hi"},
        {"role": "user"},
        {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
        {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "a", "content": ""}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": []}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": None}]},
        {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]},
        {"role": "assistant", "content": [{"type": "server_tool_use", "id": "a", "name": "f", "input": {}}]},
    ],
)
def test_what_is_not_plain_is_left_to_the_careful_way(turn: Payload) -> None:
    assert plain_turns(raw(turn), {}) is None


def test_names_of_tools_are_known_across_both_ways() -> None:
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}
    expected = read({"messages": [call, result]})[0].turns
    assert read({"messages": [{**call, "name": None}, result]})[0].turns == expected
    assert read({"messages": [call, {**result, "name": None}]})[0].turns == expected


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "f"},
        {"name": "f", "input_schema": []},
        {"name": "f", "input_schema": {}, "strict": True},
        {"type": "bash_20250124", "name": "bash"},
    ],
)
def test_a_tool_that_is_not_plain(tool: Payload) -> None:
    assert plain_tool(raw(tool)) is None


def test_a_plain_placeholder_is_no_tool() -> None:
    placeholder = {"name": PLACEHOLDER_TOOL, "input_schema": {}}
    assert read({"messages": [{"role": "user", "content": "Hi"}], "tools": [placeholder]})[0].tools == ()


# -- deltas ------------------------------------------------------------------------------------------------------------

deltas = st.one_of(
    st.fixed_dictionaries({"type": st.just("text_delta"), "text": texts}),
    st.fixed_dictionaries({"type": st.just("thinking_delta"), "thinking": texts}, optional={"signature": signatures}),
    st.fixed_dictionaries({"type": st.just("input_json_delta"), "partial_json": texts}),
    st.just({"type": "citations_delta", "citation": None}),
)


def log(events: list[Payload]) -> list[tuple[Any, ...]]:
    recorder = Recorder()
    parser = open_parser(recorder, scope="p/m", event_bytes_max=1 << 20)
    for event in events:
        parser.feed(write([event]))
    parser.end()
    return [*recorder.log, (parser.failure, recorder.usage)]


@pytest.mark.parametrize("opened", [TEXT, CALL, THINKING])
@given(st.lists(deltas, max_size=6))
def test_deltas_are_told_the_same_on_both_ways(opened: Payload, pieces: list[Payload]) -> None:
    short = [{"type": "content_block_delta", "index": 1, "delta": piece} for piece in pieces]
    begin, end = [start(), TEXT, HI, close(0), {**opened, "index": 1}], [close(1), finish(), STOP]
    assert log([*begin, *short, *end]) == log([*begin, *[{**event, "error": ""} for event in short], *end])
