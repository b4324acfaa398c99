"""The short ways of the Gemini dialect read what the careful ways read, and leave the rest to them.

A null is an absent member, and an empty error is none, but nobody writes either: with one of them the same content or
chunk goes the careful way.
"""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from adapters.conversation import Conversation
from adapters.dialects import gemini
from adapters.dialects.gemini_parser import open_parser
from adapters.dialects.gemini_plain import plain_content, plain_contents
from adapters.losses import Losses
from adapters.signatures import Signature, pack
from tests.adapters.gemini_streams import HI, STOP, chunk
from tests.adapters.recorder import Recorder

Payload = dict[str, Any]

ids = st.sampled_from(["a", "b", "", None])
names = st.sampled_from(["read", "write"])
texts = st.sampled_from(["", " ", "Hi", "é\n", "null", "{}", "\U0001f426"]) | st.text(max_size=9)
spoken = texts.filter(bool)
objects = st.dictionaries(texts, st.integers() | texts | st.none() | st.lists(texts), max_size=3)
signatures = st.sampled_from(["", "sig", "skip_thought_signature_validator", pack(Signature("chat", "p/m", "x"))])
signed = {"thoughtSignature": signatures}
calls = st.fixed_dictionaries({"name": names}, optional={"id": ids, "args": objects | st.none()})
outcomes = st.sampled_from(["output", "error"]).flatmap(lambda name: st.fixed_dictionaries({name: texts}))
answers = st.fixed_dictionaries({"response": outcomes}, optional={"id": ids, "name": names | st.none()})
model_parts = st.one_of(
    st.fixed_dictionaries({"text": spoken}, optional=signed),
    st.fixed_dictionaries({"functionCall": calls}, optional=signed),
)
user_parts = st.one_of(st.fixed_dictionaries({"text": texts}), st.fixed_dictionaries({"functionResponse": answers}))
said = st.one_of(
    st.fixed_dictionaries({"role": st.just("model"), "parts": st.lists(model_parts, max_size=4)}),
    st.fixed_dictionaries({"role": st.just("user"), "parts": st.lists(user_parts, max_size=4)}),
)


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


def read(contents: list[Payload]) -> tuple[list[object], list[str]]:
    losses = Losses()
    request = gemini.parse_request(json.dumps({"contents": contents}).encode(), b"m:generateContent")
    asked = gemini.read_conversation(request, losses)
    return [getattr(asked, name) for name in Conversation.__struct_fields__ if name != "names"], losses.dropped


@settings(max_examples=200, deadline=None)
@given(st.lists(said, min_size=1, max_size=7), st.data())
def test_both_ways_read_the_same(contents: list[Payload], data: st.DataObject) -> None:
    careful = [{**content, "none": None} if data.draw(st.booleans()) else content for content in contents]
    assert read(contents) == read(careful)


@given(said)
def test_what_is_plain_is_read_at_once(content: Payload) -> None:
    assert plain_content(raw(content)) is not None
    assert plain_content(raw({**content, "none": None})) is None


@given(st.lists(said, max_size=4), st.sampled_from([{"role": "user", "parts": [{}]}, {"parts": []}, 1]), st.integers(0))
def test_all_are_read_at_once_where_all_are_plain(contents: list[Payload], odd: object, at: int) -> None:
    assert plain_contents(raw(contents)) == [plain_content(raw(content)) for content in contents]
    at %= len(contents) + 1
    assert plain_contents(raw([*contents[:at], odd, *contents[at:]])) is None


@pytest.mark.parametrize(
    "content",
    [
        {"parts": [{"text": "Hi"}]},
        {"role": "user", "parts": {"text": "Hi"}},
        {"role": "function", "parts": []},
        {"role": "user", "parts": [{}]},
        {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "x"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "x", "error": None}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "x", "error": "y"}}}]},
        {"role": "user", "parts": [{"text": "Hi", "functionResponse": {"name": "f", "response": {"output": "x"}}}]},
        {"role": "model", "parts": [{"text": ""}]},
        {"role": "model", "parts": [{"text": "hm", "thought": True}]},
        {"role": "model", "parts": [{"function_call": {"name": "f"}}]},
        {"role": "model", "parts": [{"functionCall": {"name": ""}}]},
        {"role": "model", "parts": [{"text": "Hi", "functionCall": {"name": "f"}}]},
    ],
)
def test_what_is_not_plain_is_left_to_the_careful_way(content: Payload) -> None:
    assert plain_content(raw(content)) is None


# -- chunks ------------------------------------------------------------------------------------------------------------

pieces = st.fixed_dictionaries({"text": texts}, optional={"thought": st.booleans(), **signed}) | st.fixed_dictionaries(
    {"functionCall": calls}
)
counts = st.fixed_dictionaries({}, optional={"promptTokenCount": st.integers(0, 9), "totalTokenCount": st.just(12)})


def log(chunks: list[Payload]) -> list[tuple[Any, ...]]:
    recorder = Recorder()
    parser = open_parser(recorder, scope="p/m", event_bytes_max=1 << 20)
    for each in chunks:
        parser.feed(b"data: " + json.dumps(each).encode() + b"\n\n")
    parser.end()
    return [*recorder.log, (parser.failure, parser.usage)]


@given(st.lists(st.tuples(pieces, counts), max_size=6))
def test_chunks_are_told_the_same_on_both_ways(said_so: list[tuple[Payload, Payload]]) -> None:
    chunks = [chunk(piece, usageMetadata=count) for piece, count in said_so]
    careful = [{**each, "error": ""} for each in chunks]
    bare_stop = {name: member for name, member in STOP.items() if name != "usageMetadata"}
    assert log([HI, *chunks, bare_stop]) == log([HI, *careful, bare_stop])


@pytest.mark.parametrize(
    "waiting",
    [
        {"functionCall": {"id": "a", "name": "f", "args": {}}},
        {"functionCall": {"name": "f", "willContinue": True}},
        {"text": "", "thoughtSignature": "sig"},
        {"text": "\ud83d"},
    ],
)
def test_what_waits_is_told_before_plain_text(waiting: Payload) -> None:
    longer = {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}}
    chunks = [chunk(waiting), chunk({"text": "Hi"}), chunk(longer), chunk({"text": "there"})]
    careful = [{**each, "error": ""} for each in chunks]
    assert log([HI, *chunks, STOP]) == log([HI, *careful, STOP])
