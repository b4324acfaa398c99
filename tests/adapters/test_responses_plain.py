"""Nearly all Responses items and deltas go a short way: it ends where the long one does."""

import json
from typing import Any
from unittest.mock import patch

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from adapters import capabilities, signatures
from adapters.conversation import (
    Cache,
    Call,
    Conversation,
    Media,
    MediaKind,
    Reasoning,
    Refusal,
    Result,
    Role,
    Text,
    Turn,
)
from adapters.dialects import responses, responses_plain
from adapters.dialects.responses_parser import Parser, open_parser
from adapters.errors import ClientError
from adapters.losses import Losses
from adapters.signatures import Signature
from adapters.target import Target
from tests.adapters.recorder import Recorder, conversation

LIMIT = 1 << 20
PACKED = signatures.pack(Signature("messages", "p/m", "sig", "redacted"))


class Noted(Losses):
    """Remembers all that is noted, also what clients are not told."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[str, str]] = []

    def note(self, feature: str, path: str) -> None:
        self.notes.append((feature, path))
        super().note(feature, path)


# -- items -------------------------------------------------------------------------------------------------------------

_texts = st.sampled_from(["", "hi", "é\n"])
_odd: st.SearchStrategy[object] = st.sampled_from([None, 1, [], {"a": 1}])
_kinds = st.sampled_from(["input_text", "output_text", "summary_text", "refusal", "novelty"])
_cited = [{"type": "url_citation", "url": "https://example.com"}]
_said: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"type": _kinds, "text": _texts}),
    st.fixed_dictionaries({"type": _kinds, "text": _texts, "annotations": st.sampled_from([None, [], _cited])}),
    st.fixed_dictionaries({"type": _kinds, "text": _texts, "prompt_cache_breakpoint": st.sampled_from([None, {}])}),
)
_contents = st.one_of(_texts, st.lists(_said, max_size=2), st.lists(_said, max_size=2), _odd)
_ids = st.sampled_from(["a", "b", ""])
_names = st.sampled_from(["f", "g"])
_marks = {"id": st.sampled_from([None, "a", "b", 7]), "status": st.sampled_from([None, "completed"])}
_items = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "developer", "nobody"]), "content": _contents},
        optional={"phase": st.just("commentary"), **_marks},
    ),
    st.fixed_dictionaries(
        {"type": st.just("message"), "role": st.sampled_from(["user", "assistant", "developer"]), "content": _contents}
    ),
    st.fixed_dictionaries(
        {"type": st.just("reasoning")},
        optional={
            "summary": st.lists(_said, max_size=2) | _odd,
            "encrypted_content": st.none() | st.sampled_from(["", "gAAA", PACKED]),
            "content": st.none() | st.lists(_said, max_size=1),
            **_marks,
        },
    ),
    st.fixed_dictionaries(
        {"type": st.just("function_call"), "name": _names},
        optional={"call_id": _ids, "arguments": _texts | _odd, "namespace": st.none() | _texts, **_marks},
    ),
    st.fixed_dictionaries(
        {"type": st.just("custom_tool_call"), "call_id": _ids, "name": _names},
        optional={"input": _texts | _odd, "namespace": st.none() | _texts, **_marks},
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["function_call_output", "custom_tool_call_output"]), "call_id": _ids},
        optional={"output": _contents, "name": st.none() | _names, **_marks},
    ),
    st.just({"type": "web_search_call"}),
)


def read(given_input: object) -> tuple[Conversation | tuple[str | None, str], list[tuple[str, str]]]:
    losses = Noted()
    body = json.dumps({"model": "m", "input": given_input}).encode()
    try:
        read = responses.read_conversation(responses.parse_request(body), losses)
    except ClientError as exc:
        return (exc.failure.param, exc.failure.message), losses.notes
    return Conversation(model=read.model, turns=read.turns, paths=read.paths), losses.notes


def all_odd(raw: Raw) -> list[Raw] | None:
    try:
        return msgspec.json.decode(raw, type=list[Raw])
    except msgspec.DecodeError:
        return None


@settings(max_examples=400)
@given(st.lists(_items, max_size=4) | _contents)
def test_both_ways_read_the_same(items: object) -> None:
    short = read(items)
    with patch.object(responses_plain, "read_all", all_odd):
        assert read(items) == short


# -- turns -------------------------------------------------------------------------------------------------------------

_IMAGE = Media(MediaKind.IMAGE, "here", url="https://example.com/a.png")
_words = st.builds(Text, _texts, st.sampled_from([None, None, Cache()]))
_calls = st.builds(Call, st.sampled_from(["a", "b"]), st.just("f"), st.sampled_from(["", "{}", " "]), st.booleans())
_results = st.builds(
    Result, st.sampled_from(["a", "b"]), st.lists(_words | st.just(_IMAGE), max_size=2).map(tuple), st.booleans()
)
_turns = st.one_of(
    st.builds(Turn, st.sampled_from([Role.USER, Role.SYSTEM]), st.lists(_words, max_size=2).map(tuple)),
    st.builds(
        Turn,
        st.just(Role.ASSISTANT),
        st.lists(_words | _calls | st.sampled_from([Refusal("no"), Reasoning("hm")]), max_size=3).map(tuple),
    ),
    st.builds(Turn, st.just(Role.TOOL), st.lists(_results, max_size=2).map(tuple)),
)


def write(turns: list[Turn]) -> tuple[bytes, list[tuple[str, str]]]:
    losses = Noted()
    target = Target(model="gpt-5", capabilities=capabilities.of("gpt-5"), scope="p/m", stream=True, usage_option=True)
    written = responses.write_request(conversation(turns=tuple(turns)), target, losses)
    return written.body, losses.notes


@settings(max_examples=400)
@given(st.lists(_turns, min_size=1, max_size=5))
def test_both_ways_write_the_same(turns: list[Turn]) -> None:
    short = write(turns)
    with patch("adapters.dialects.responses_items_writer._plain_text", lambda _: None):
        assert write(turns) == short


# -- deltas ------------------------------------------------------------------------------------------------------------

_TEXT, _ARGUMENTS = "response.output_text.delta", "response.function_call_arguments.delta"
_deltas = st.fixed_dictionaries(
    {
        "type": st.sampled_from([_TEXT, _ARGUMENTS, "response.refusal.delta"]),
        "delta": st.sampled_from(["hi", "}", "", None, 1]),
        "output_index": st.sampled_from([0, 1, 2, 3, "1", -1]),
    },
    optional={
        "content_index": st.sampled_from([0, 1]),
        "error": st.sampled_from([None, {"message": "no"}]),
    },
)


def event(data: dict[str, Any], name: str, end: str, inside: str = "") -> bytes:
    written = json.dumps(data)
    return f"event: {name}{end}data: {written[0]}{inside}{written[1:]}{end}{end}".encode()


def parse(stream: list[bytes]) -> tuple[list[tuple[Any, ...]], object]:
    recorder = Recorder()
    parser = open_parser(recorder, scope="here", event_bytes_max=LIMIT)
    for read in stream:
        parser.feed(read)
    parser.end()
    return recorder.log, parser.failure


def opened(end: str) -> list[bytes]:
    """Return the beginning of a stream with a message and a call, and arguments of another that has no name so far."""
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": ""}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "r", "model": "m"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "role": "assistant"}},
        {"type": _TEXT, "output_index": 0, "content_index": 0, "delta": "So"},
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        {"type": _ARGUMENTS, "output_index": 1, "delta": "{}"},
        {"type": _ARGUMENTS, "output_index": 2, "delta": "early"},
    ]
    return [event(each, each["type"], end) for each in events]


@settings(max_examples=400)
@given(
    st.lists(st.tuples(_deltas, st.booleans(), st.sampled_from(["", "", "\n", "\r", "\r\n"])), max_size=4),
    st.sampled_from(["\n", "\r\n"]),
)
@example([({"type": _TEXT, "output_index": 0, "content_index": 0, "delta": "x"}, True, "\n")], "\n")
@example([({"type": _TEXT, "output_index": 0, "content_index": 0, "delta": "x"}, True, "\r")], "\r\n")
def test_both_ways_parse_the_same(deltas: list[tuple[dict[str, Any], bool, str]], end: str) -> None:
    events = [event(each, each["type"] if is_named else _TEXT, end, inside) for each, is_named, inside in deltas]
    call = {"type": "function_call", "call_id": "b", "name": "f", "arguments": ""}
    named = {"type": "response.output_item.added", "output_index": 2, "item": call}
    stream = [*opened(end), *events, event(named, "response.output_item.added", end)]
    short = parse(stream)
    with patch.object(Parser, "_is_plain", lambda *_: False):
        assert parse(stream) == short
