"""Nearly all Chat Completions messages and chunks go a short way: it ends where the long one does."""

import json
from itertools import product
from typing import Any
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters import capabilities
from adapters.conversation import Call, Conversation, Media, MediaKind, Reasoning, Refusal, Result, Role, Text, Turn
from adapters.dialects import chat
from adapters.dialects.chat_history import History
from adapters.dialects.chat_parser import Parser, open_parser
from adapters.dialects.chat_turns import Turns
from adapters.errors import ClientError
from adapters.losses import Losses
from adapters.target import Target
from tests.adapters.recorder import Recorder, conversation

LIMIT = 1 << 20


class Noted(Losses):
    """Remembers all that is noted, also what clients are not told."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[str, str]] = []

    def note(self, feature: str, path: str) -> None:
        self.notes.append((feature, path))
        super().note(feature, path)


def optional(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=members)


# -- messages ----------------------------------------------------------------------------------------------------------

_texts = st.sampled_from(["", "hi", "é\n"])
_cited = [{"type": "url_citation", "url_citation": {"url": "https://example.com"}}]
_parts = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": _texts}), max_size=2)
_contents = st.one_of(_texts, st.none(), _parts)
_ids = st.sampled_from(["a", "b", ""])
_functions = st.fixed_dictionaries({"name": st.sampled_from(["f", "g"])}, optional={"arguments": st.none() | _texts})
_calls = st.one_of(
    st.fixed_dictionaries({"id": _ids, "type": st.just("function"), "function": _functions}),
    st.fixed_dictionaries(
        {"id": _ids, "custom": st.just({"name": "c", "input": "x"})}, optional={"function": _functions}
    ),
)
_messages = st.one_of(
    optional(role=st.just("user"), content=_contents, name=st.none() | st.just("ann")),
    optional(role=st.sampled_from(["system", "developer", "nobody"]), content=_contents),
    st.fixed_dictionaries(
        {"role": st.just("assistant")},
        optional={
            "content": _contents,
            "tool_calls": st.none() | st.lists(_calls, max_size=2),
            "function_call": st.none() | _functions,
            "refusal": st.none() | _texts,
        },
    ),
    *(
        st.fixed_dictionaries({"role": st.just("assistant"), "content": _texts, name: value})
        for name, value in {
            "reasoning_content": _texts,
            "reasoning": _texts,
            "reasoning_details": st.just([{"type": "reasoning.text", "text": "hm", "signature": "s"}]),
            "annotations": st.sampled_from([[], _cited]),
            "images": st.just([{"image_url": {"url": "https://example.com/a.png"}}]),
            "audio": st.just({"id": "audio_1"}),
        }.items()
    ),
    st.fixed_dictionaries(
        {"role": st.sampled_from(["tool", "function"])},
        optional={"tool_call_id": _ids, "content": _contents, "name": st.just("f")},
    ),
)


def read(messages: list[Any]) -> tuple[Conversation | str, list[tuple[str, str]]]:
    losses = Noted()
    body = json.dumps({"model": "m", "messages": messages}).encode()
    try:
        read = chat.read_conversation(chat.parse_request(body), losses)
    except ClientError as exc:
        return exc.failure.message, losses.notes
    return Conversation(model=read.model, turns=read.turns, paths=read.paths), losses.notes


@settings(max_examples=400)
@example([{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}, "custom": {"name": "c"}}]}])
@given(st.lists(_messages, min_size=1, max_size=6))
def test_both_ways_read_the_same(messages: list[Any]) -> None:
    short = read(messages)
    with (
        patch.object(Turns, "_plain_turn", lambda *_: None),
        patch.object(Turns, "_plain_result", lambda *_: None),
    ):
        assert read(messages) == short


# -- turns -------------------------------------------------------------------------------------------------------------

_IMAGE = Media(MediaKind.IMAGE, "here", url="https://example.com/a.png")
_said = st.builds(Text, _texts)
_asked = st.builds(Call, st.sampled_from(["a", "b"]), st.just("f"), st.sampled_from(["", "{}", " "]), st.booleans())
_answers = st.builds(
    Result, st.sampled_from(["a", "b"]), st.lists(_said | st.just(_IMAGE), max_size=2).map(tuple), st.booleans()
)
_names = st.sampled_from([None, None, "ann", "Ann Example"])
_turns = st.one_of(
    st.builds(Turn, st.sampled_from([Role.USER, Role.SYSTEM]), st.lists(_said, max_size=2).map(tuple), _names),
    st.builds(
        Turn,
        st.just(Role.ASSISTANT),
        st.lists(_said | _asked | st.sampled_from([Refusal("no"), Reasoning("hm")]), max_size=3).map(tuple),
        _names,
    ),
    st.builds(Turn, st.just(Role.TOOL), st.lists(_answers, max_size=2).map(tuple)),
)


def write(turns: list[Turn], model: str) -> tuple[bytes, list[tuple[str, str]]]:
    losses = Noted()
    target = Target(model=model, capabilities=capabilities.of(model), scope="p/m", stream=True, usage_option=True)
    try:
        written = chat.write_request(conversation(turns=tuple(turns)), target, losses)
    except ClientError as exc:
        return exc.failure.message.encode(), losses.notes
    return written.body, losses.notes


@settings(max_examples=400)
@given(
    st.lists(_turns, min_size=1, max_size=5), st.sampled_from(["gpt-4.1-mini", "deepseek-reasoner", "mistral-large"])
)
def test_both_ways_write_the_same(turns: list[Turn], model: str) -> None:
    short = write(turns, model)
    with (
        patch.object(History, "_plain_assistant", lambda *_: None),
        patch("adapters.dialects.chat_history._plain_text", lambda _: None),
    ):
        assert write(turns, model) == short


# -- chunks ------------------------------------------------------------------------------------------------------------

_pieces = optional(
    role=st.just("assistant"),
    content=st.none() | _texts,
    reasoning_content=st.none() | _texts,
    tool_calls=st.none()
    | st.lists(
        optional(index=st.integers(0, 1), id=_ids, function=optional(name=st.just("f"), arguments=_texts)), max_size=2
    ),
    refusal=st.none() | _texts,
)
_choices = st.fixed_dictionaries(
    {"delta": _pieces, "index": st.sampled_from([0, 0, 1])},
    optional={"finish_reason": st.none() | st.just("stop"), "logprobs": st.none()},
)
_chunks = st.fixed_dictionaries(
    {"choices": st.lists(_choices, max_size=2)},
    optional={"id": st.just("c"), "usage": st.none() | st.just({"prompt_tokens": 1, "completion_tokens": 1})},
)


def parse(events: list[bytes]) -> tuple[list[tuple[Any, ...]], object]:
    recorder = Recorder()
    parser = open_parser(recorder, scope="here", event_bytes_max=LIMIT)
    for event in events:
        parser.feed(event)
    parser.end()
    return recorder.log, parser.failure


@settings(max_examples=400)
@given(st.lists(_chunks, max_size=6), st.sampled_from(["\n", "\r\n"]), st.booleans())
@example([{"choices": [{"index": index, "delta": {"content": "x"}}]} for index in (1, 0)], "\n", False)
def test_both_ways_parse_the_same(chunks: list[Any], end: str, is_split: bool) -> None:
    opening = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "So"}}]}
    indent = 1 if is_split else None
    events = [
        "".join(f"data: {line}{end}" for line in json.dumps(chunk, indent=indent).split("\n")) + end
        for chunk in [opening, *chunks]
    ]
    stream = [event.encode() for event in [*events, f"data: [DONE]{end}{end}"]]
    short = parse(stream)
    with patch.object(Parser, "_plain", lambda *_: False):
        assert parse(stream) == short


def test_a_line_break_inside_of_the_payload_is_never_plain() -> None:
    start = b'data: {"choices":[{"index":0,"delta":{"content":"So"}}]}\n\n'
    for before, after in product(("", "\n", "\nid: 1\n"), repeat=2):
        event = f'data: {{{before}"choices":[{{"index":0,"delta":{{"content":"x"}}}}]{after}}}\n\n'.encode()
        short = parse([start, event])
        with patch.object(Parser, "_plain", lambda *_: False):
            assert parse([start, event]) == short
