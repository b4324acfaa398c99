"""Unary answers are read in two ways, a quick one and a lenient one: both say the same of any document."""

import json
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from adapters.dialects import Answer, chat_document
from adapters.usage import Usage

_PLAIN_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
_PLAIN_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}

_NOTHING_MUCH: st.SearchStrategy[object] = st.sampled_from([None, False, 0, "", [], {}])
_ERROR = st.one_of(
    st.none(), _NOTHING_MUCH, st.sampled_from(["boom", 1, {"message": "boom"}, {"code": 429, "type": "requests"}])
)
_TEXT = st.one_of(st.sampled_from(["Hi", "é😀", "\ud83d", " "]), st.text(max_size=3))
_CALLS = st.just([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}])
_MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": st.one_of(_TEXT, _NOTHING_MUCH, st.just([{"type": "text", "text": "Hi"}]), st.just(7)),
        "refusal": st.sampled_from([None, "", "No."]),
        "tool_calls": st.one_of(_CALLS, _NOTHING_MUCH),
        "function_call": st.sampled_from([None, {"name": "f", "arguments": ""}]),
        "reasoning_content": st.sampled_from([None, "", "Hm."]),
    },
)
_COUNT: st.SearchStrategy[object] = st.one_of(
    st.integers(-1, 12), st.sampled_from([None, 2**53, 5.0, 2.5, "5", True, {}])
)
_DETAILS = st.one_of(
    st.none(),
    st.just("x"),
    st.dictionaries(
        st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_tokens", "other"]),
        _COUNT | st.integers(0, 12),
    ),
)
_DETAILED_USAGE = st.fixed_dictionaries(
    {key: st.just(value) for key, value in _PLAIN_USAGE.items()},
    optional={"prompt_tokens_details": _DETAILS, "completion_tokens_details": _DETAILS, "cached_tokens": _COUNT},
)
_VENDOR_USAGE = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": _COUNT,
        "completion_tokens": _COUNT,
        "total_tokens": _COUNT,
        "prompt_cache_hit_tokens": _COUNT,
        "completion_tokens_details": _DETAILS,
        "queue_time": st.floats(0, 1),
    },
)
_USAGE = st.one_of(st.just(_PLAIN_USAGE), _DETAILED_USAGE, _VENDOR_USAGE, _NOTHING_MUCH, st.just("x"))
_ODD_CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from([0, None, "0"]),
        "message": st.one_of(_MESSAGE, st.none(), st.just("Hi")),
        "delta": st.one_of(_MESSAGE, st.none(), st.just("Hi")),
        "finish_reason": st.sampled_from(["stop", "tool_calls", "error", "eos", "", None, 1, ["error"]]),
        "usage": _USAGE,
        "error": _ERROR,
    },
)
_CHOICE = st.one_of(
    st.just(_PLAIN_CHOICE),
    st.fixed_dictionaries({"message": _MESSAGE, "finish_reason": st.sampled_from(["stop", "length", None, "error"])}),
    _ODD_CHOICE,
)
_CHOICES: st.SearchStrategy[object] = st.one_of(
    st.lists(_CHOICE, min_size=1, max_size=3),
    st.lists(st.one_of(_CHOICE, st.none(), st.just("x")), max_size=2),
    st.sampled_from([None, {}, "x", 0]),
)
_ODD_MEMBERS: dict[str, st.SearchStrategy[object]] = {
    "error": _ERROR,
    "usage": _USAGE,
    "delta": _MESSAGE,
    "message": _MESSAGE | st.none(),
    "finish_reason": st.sampled_from(["length", "error", "eos", None, 1]),
}


@st.composite
def _almost_plain(draw: st.DrawFn) -> dict[str, object]:
    """Return a documented answer of one or two choices with one member changed, in the document or in a choice."""
    choices = [dict(_PLAIN_CHOICE) for _ in range(draw(st.integers(1, 2)))]
    document: dict[str, object] = {"choices": choices, "usage": draw(st.just(_PLAIN_USAGE) | _DETAILED_USAGE)}
    name = draw(st.sampled_from(sorted(_ODD_MEMBERS)))
    draw(st.sampled_from([document, *choices]))[name] = draw(_ODD_MEMBERS[name])
    return document


_DOCUMENT: st.SearchStrategy[object] = st.one_of(
    _almost_plain(),
    _almost_plain(),
    st.fixed_dictionaries({"id": st.just("a"), "choices": _CHOICES, "usage": _USAGE}),
    st.fixed_dictionaries({}, optional={"error": _ERROR, "choices": _CHOICES, "usage": _USAGE, "vendor": _TEXT}),
    st.sampled_from([None, [], "x", 1, {}]),
)


def agreed(body: bytes) -> Answer:
    answer = chat_document.read_answer(body)
    assert answer == chat_document._read_any_answer(body)
    return answer


@settings(max_examples=500)
@given(_DOCUMENT, st.sampled_from([None, 1]), st.booleans())
def test_both_ways_agree(document: object, indent: int | None, escaped: bool) -> None:
    answer = agreed(json.dumps(document, indent=indent, ensure_ascii=escaped).encode(errors="surrogatepass"))
    event("failure" if answer.failure else "content" if answer.content else "no content")


@given(_DOCUMENT, st.data())
def test_both_ways_agree_on_broken_bytes(document: object, data: st.DataObject) -> None:
    body = json.dumps(document).encode()
    place = data.draw(st.integers(0, len(body)))
    agreed(
        body[:place] + data.draw(st.sampled_from([b"", b"\xff", b"NaN", b"}", b'"', b"[" * 5000])) + body[place + 1 :]
    )
    agreed(body[:place])


@given(st.lists(st.tuples(st.sampled_from(["error", "choices", "usage"]), st.one_of(_CHOICES, _USAGE, _ERROR))))
def test_both_ways_agree_on_members_named_twice(members: list[tuple[str, object]]) -> None:
    plain: list[tuple[str, object]] = [("choices", [_PLAIN_CHOICE]), ("usage", _PLAIN_USAGE)]
    for several in (plain + members, members + plain):
        agreed(
            b"{%b}"
            % b",".join(b"%b:%b" % (json.dumps(name).encode(), json.dumps(value).encode()) for name, value in several)
        )


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "Hi"},
        {"role": "assistant", "content": "é😀", "refusal": None, "annotations": []},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
    ],
)
def test_a_documented_answer_takes_the_quick_way(message: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(body: bytes) -> Answer:
        raise AssertionError(body)

    monkeypatch.setattr(chat_document, "_read_any_answer", refuse)
    document = {
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {**_PLAIN_USAGE, "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}},
    }
    assert chat_document.read_answer(json.dumps(document).encode()) == Answer(Usage(10, 5, 4), True)
