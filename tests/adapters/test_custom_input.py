"""Tests of free-form tools as functions: text wrapped, and unwrapped at every cut."""

import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.surrogates import mended
from adapters.tool_calls.custom_input import SCHEMA, Unwrapper, unwrap, wrap
from tests.adapters.steps import steps

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
JSONISH = st.text(st.sampled_from('{}[]",:\\u d8389dabn\n1'), max_size=24)
WRAPPED = st.builds(lambda text: json.dumps({"a": [{"input": "no"}], "input": text, "z": 1}), ANY_TEXT)
BROKEN = st.builds(lambda start, rest, end: start + rest + end, st.sampled_from(['{"input":"', "{"]), JSONISH, ANY_TEXT)


def in_pieces(pieces: list[str]) -> str:
    unwrapper = Unwrapper()
    return "".join([*[unwrapper.feed(piece) for piece in pieces], unwrapper.end()])


def test_the_schema_is_an_object_with_one_string() -> None:
    assert SCHEMA["required"] == ["input"]
    assert wrap("x") == '{"input":"x"}'


def test_b27_a_patch_is_unwrapped_while_it_streams() -> None:
    patch = '*** Begin Patch\n*** Update File: a.py\n@@\n-x = "é"\n+x = "\\\\"\n*** End Patch\n'
    arguments = wrap(patch)
    assert msgspec.json.decode(arguments) == {"input": patch}
    unwrapper = Unwrapper()
    out = [unwrapper.feed(fragment) for fragment in ('{"input":"*** Begin', " Patch\\", "n*** Up", 'date"}')]
    assert out == ["*** Begin", " Patch", "\n*** Up", "date"]
    assert unwrapper.end() == ""
    assert in_pieces(list(arguments)) == patch


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"a"}', "a"),
        (' \n{ "input" :\t"a\\u00e9\\/" } ', "aé/"),
        ('{"input":""}', ""),
        ('{"x":{"input":"no"},"y":["},\\"",1],"input":"yes","z":"no"}', "yes"),
        ('{"in\\u0070ut":"a"}', "a"),
        ('{"input":5,"input":"a"}', "a"),
        ('{"input":"a","input":"b"}', "a"),
        ('{"input":"\\ud83d\\ude00"}', "😀"),
        ('{"input":"\\ud83d"}', "�"),
        ('{"input":"\\ud83dx"}', "�x"),
        ('{"input":"\ud83d\ude00"}', "😀"),
        ('{"input":"line\nline"}', "line\nline"),
        ('{"input":"\\d+ \\u12G4"}', "\\d+ \\u12G4"),
        ('{"input":"cut sh', "cut sh"),
        ('{"input":"cut \\u00', "cut "),
        ('{"input":"cut \\', "cut "),
        ('{"input":"a" and then rubbish', "a"),
        # none of these wraps text
        ("", ""),
        ("{}", "{}"),
        (" ", " "),
        ("*** Begin Patch", "*** Begin Patch"),
        ('"input"', '"input"'),
        ('{"input":', '{"input":'),
        ('{"input":5}', '{"input":5}'),
        ('{"input":["a"]}', '{"input":["a"]}'),
        ('{"patch":"a"}', '{"patch":"a"}'),
        ('{"input" "a"}', '{"input" "a"}'),
        ('{"a":{"input":"no"}}', '{"a":{"input":"no"}}'),
        ('["input","a"]', '["input","a"]'),
        ("{\ud83d", "{\ud83d"),
    ],
)
def test_text_comes_back_and_what_is_no_wrapped_text_stays(arguments: str, text: str) -> None:
    assert unwrap(arguments) == text
    assert in_pieces(list(arguments)) == text
    for cut in range(len(arguments) + 1):
        assert in_pieces([arguments[:cut], arguments[cut:]]) == text


@given(text=ANY_TEXT)
@example("\ud83d\ude00\ud83d")
def test_whatever_is_wrapped_is_unwrapped(text: str) -> None:
    assert unwrap(wrap(text)) == mended(text)
    assert in_pieces(list(wrap(text))) == mended(text)


@given(arguments=WRAPPED | JSONISH | BROKEN | ANY_TEXT, cuts=st.lists(st.integers(0), max_size=8))
def test_every_cut_gives_what_the_whole_gives(arguments: str, cuts: list[int]) -> None:
    places = sorted({cut % (len(arguments) + 1) for cut in cuts} | {0, len(arguments)})
    assert in_pieces([arguments[a:b] for a, b in pairwise(places)]) == unwrap(arguments)
    assert in_pieces(list(arguments)) == unwrap(arguments)


@given(value=st.dictionaries(st.sampled_from(["input", "a", "b"]), st.none() | ANY_TEXT | st.lists(ANY_TEXT)))
def test_unwrapping_reads_objects_as_a_reader_does(value: dict[str, object]) -> None:
    arguments = json.dumps(value)
    text = value.get("input")
    assert unwrap(arguments) == (mended(text) if isinstance(text, str) else arguments)


@pytest.mark.parametrize("fragment", ["x", "\\n", "\\u00e9", "\\\\"])
@pytest.mark.parametrize("opening", ['{"input":"', '{"other":"'])
def test_work_grows_with_the_text_only(opening: str, fragment: str) -> None:
    def work(count: int) -> int:
        return steps(lambda: in_pieces([opening, *[fragment] * count, '"}']))

    assert work(2_000) <= 2.1 * work(1_000)


def test_nothing_of_the_text_is_held() -> None:
    unwrapper = Unwrapper()
    assert unwrapper.feed('{"input":"') == ""
    assert all(unwrapper.feed("x" * 1000) == "x" * 1000 for _ in range(10))
    assert unwrapper.end() == ""
