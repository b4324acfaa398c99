"""Tests of tool call arguments: always the text of an object, unchanged if it is one; and when they are complete."""

import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.tool_calls.arguments import NESTING_MAX, Depth, object_text
from tests.adapters.steps import steps

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
JSONISH = st.text(st.sampled_from('{}[]",:\\u d8389abn\n1'), max_size=30)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "{}"),
        (" \n", "{}"),
        ("null", "{}"),
        ("[1]", '{"value":[1]}'),
        ("{bad", '{"_raw":"{bad"}'),
        ('"{\\"a\\":1}"', '{"a":1}'),
        ('"{\\\\"a\\\\":1}"', '{"_raw":"\\"{\\\\\\\\\\"a\\\\\\\\\\":1}\\""}'),
        ('"text"', '{"value":"text"}'),
        ('"[1]"', '{"value":"[1]"}'),
        ("1.50", '{"value":1.50}'),
        ("true", '{"value":true}'),
        ("NaN", '{"_raw":"NaN"}'),
        ('{"a":1} {', '{"_raw":"{\\"a\\":1} {"}'),
        ('"{\\"a\\":"', '{"value":"{\\"a\\":"}'),
    ],
)
def test_b48_what_is_no_object_becomes_one(arguments: str, expected: str) -> None:
    assert object_text(arguments) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a":1}',
        ' { "a" : 1.50, "a": 1e3 }\n',
        '{"p":"C:\\\\n\\u00e9 \\ud83d\\ude00","n":1e3}',
        '{"n":1e999}',
        '{"n":' + "9" * 5000 + "}",
        '{"é":"😀"}',
        '{"a":' + "[" * (NESTING_MAX - 2) + "]" * (NESTING_MAX - 2) + "}",
        '{"a":[' + "{}," * 500 + "[]]}",
    ],
)
def test_an_object_stays_as_it_is_written(arguments: str) -> None:
    assert object_text(arguments) == arguments


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a":"\\ud83d"}', '{"a":"\\ufffd"}'),
        ('{"a":"\ud83d"}', '{"a":"�"}'),
        ('{"a":"\ud83d\ude00"}', '{"a":"😀"}'),
        ("{bad\ud83d", '{"_raw":"{bad�"}'),
        ('["\\ude00"]', '{"value":["\\ufffd"]}'),
        ('"{\\"a\\":\\"\\\\ud83d\\"}"', '{"a":"\\ufffd"}'),
    ],
)
def test_b20_halves_of_characters_are_replaced(arguments: str, expected: str) -> None:
    assert object_text(arguments) == expected


@pytest.mark.parametrize("depth", [NESTING_MAX, 1_000, 200_000])
def test_an_object_nested_too_deeply_is_sent_as_text(depth: int) -> None:
    arguments = '{"a":' + "[" * depth + "]" * depth + "}"
    assert msgspec.json.decode(object_text(arguments)) == {"_raw": arguments}
    assert msgspec.json.decode(object_text(json.dumps(arguments))) == {"value": arguments}


@given(arguments=ANY_TEXT | JSONISH | VALUE.map(json.dumps) | VALUE.map(json.dumps).map(json.dumps))
@example("{" * 300)
@example('{"a":"' + "\\ud83d" * 20_000 + '"}')
@example("9" * 5000)
def test_anything_becomes_the_text_of_an_object(arguments: str) -> None:
    read = msgspec.json.decode(object_text(arguments).encode(), type=dict[str, msgspec.Raw])
    assert isinstance(read, dict)
    assert object_text(object_text(arguments)) == object_text(arguments)


@given(value=st.dictionaries(st.text(), VALUE, max_size=3), indent=st.none() | st.just(2), ascii_only=st.booleans())
def test_every_object_stays_as_it_is_written(value: dict[str, object], indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert object_text(text) == text
    assert object_text(json.dumps(text)) == text


def completeness(fragments: list[str]) -> list[bool]:
    depth = Depth()
    seen = []
    for fragment in fragments:
        depth.feed(fragment)
        seen.append(depth.complete)
    return seen


@pytest.mark.parametrize(
    ("fragments", "expected"),
    [
        (['{"x":', "1}"], [False, True]),
        (["{}"], [True]),
        (["{}", '{"a":', "1}"], [True, False, True]),
        (['{"a":"}', '"}'], [False, True]),
        (['{"a":"\\', '"}', '"}'], [False, False, True]),
        (['{"a":"\\\\', '"}'], [False, True]),
        (['{"a":"\\\\\\', '"', '"}'], [False, False, True]),
        (["[", "[]", "]"], [False, False, True]),
        (["12", '"{}"', "null"], [False, False, False]),
        (["", " ", "{", "", "}", ""], [False, False, False, False, True, True]),
        (["{}}", "{", "}"], [True, False, True]),
        (['{}"', '"'], [False, True]),
    ],
)
def test_arguments_are_complete_when_their_brackets_are_closed(fragments: list[str], expected: list[bool]) -> None:
    assert completeness(fragments) == expected


def test_b14_only_a_call_whose_brackets_are_closed_gives_way() -> None:
    first, second = Depth(), Depth()
    first.feed('{"x":')
    second.feed("{}")
    assert (first.complete, second.complete) == (False, True)
    first.feed("1}")
    assert first.complete


def test_b19_fragments_cut_in_escapes_surrogates_and_numbers() -> None:
    fragments = ['{"p":"C:\\\\', "n\\u00", "e9 \\ud83d", '\\ude00","n":1', "e3}"]
    assert completeness(fragments) == [False, False, False, False, True]


@given(value=st.dictionaries(st.text(), VALUE, max_size=3) | st.lists(VALUE, max_size=3), cuts=st.lists(st.integers(0)))
def test_arguments_are_complete_at_their_end_and_not_before(value: object, cuts: list[int]) -> None:
    text = json.dumps(value)
    assert completeness([text]) == [True]
    assert completeness(list(text)) == [False] * (len(text) - 1) + [True]
    places = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    seen = completeness([text[a:b] for a, b in pairwise(places)])
    assert seen == [False] * (len(seen) - 1) + [True]


@given(text=JSONISH)
def test_any_text_has_the_same_depth_at_every_cut(text: str) -> None:
    whole = Depth()
    whole.feed(text)
    for cut in range(len(text)):
        cut_depth = Depth()
        cut_depth.feed(text[:cut])
        cut_depth.feed(text[cut:])
        assert repr(cut_depth) == repr(whole)
        assert cut_depth.complete == whole.complete


def test_depth_takes_steps_for_marks_and_not_for_text() -> None:
    def work(size: int) -> int:
        return steps(lambda: Depth().feed('{"a":"' + "x\\n" * size + '"}'))

    assert work(100_000) == work(10)

    def marks(count: int) -> int:
        return steps(lambda: Depth().feed('["a",{}]' * count))

    assert marks(2_000) <= 2.1 * marks(1_000)
