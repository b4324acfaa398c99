"""Tests of arguments in paths and values: what object they are, and that no part of them raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tool_calls.argument_paths import GAPS_MAX, INDEX_MAX, Assembler
from adapters.tool_calls.arguments import object_text
from tests.adapters.steps import steps


def built(*parts: object) -> str:
    assembler = Assembler()
    for part in parts:
        assembler.feed([part])
    return assembler.text()


def string(path: str, text: str = "x") -> dict[str, object]:
    return {"jsonPath": path, "stringValue": text}


def test_b24_strings_of_one_path_concatenate() -> None:
    assembler = Assembler()
    assembler.feed([{"jsonPath": "$.q", "stringValue": "Bos", "willContinue": True}])
    assembler.feed([{"jsonPath": "$.q", "stringValue": "ton"}])
    assert assembler.text() == '{"q":"Boston"}'


def test_b24_paths_of_arrays_build_arrays() -> None:
    assert (
        built(string("$.items[0].name", "a"), string("$.items[1].name", "b")) == '{"items":[{"name":"a"},{"name":"b"}]}'
    )


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], "{}"),
        ([{"jsonPath": "$.n", "numberValue": 50}], '{"n":50}'),
        ([{"jsonPath": "$.n", "numberValue": 1.5}], '{"n":1.5}'),
        ([{"jsonPath": "$.b", "boolValue": False}], '{"b":false}'),
        ([{"jsonPath": "$.z", "nullValue": "NULL_VALUE"}], '{"z":null}'),
        ([{"jsonPath": "$.z", "nullValue": None}], '{"z":null}'),
        ([string("$.a", "")], '{"a":""}'),
        ([string("$['a b']"), string('$["c.d"][0]')], '{"a b":"x","c.d":["x"]}'),
        ([string("$['it\\'s']"), string('$["\\"\\\\"]')], '{"it\'s":"x","\\"\\\\":"x"}'),
        ([string("$['']")], '{"":"x"}'),
        ([string("$.a[0][1]")], '{"a":[[null,"x"]]}'),
        ([string("$.a[2]"), string("$.a[0]", "y")], '{"a":["y",null,"x"]}'),
        ([{"jsonPath": "$.a", "nullValue": None}, string("$.a.b")], '{"a":{"b":"x"}}'),
        ([{"jsonPath": "$.a", "numberValue": 1}, {"jsonPath": "$.a", "numberValue": 2}], '{"a":2}'),
        ([string("$.größe", "ü")], '{"größe":"ü"}'),
        ([string("$.a", "\ud83d"), string("$.a", "\ude00"), string("$.b", "\ud83d")], '{"a":"😀","b":"�"}'),
    ],
)
def test_parts_build_an_object(parts: list[object], expected: str) -> None:
    assert built(*parts) == expected


@pytest.mark.parametrize(
    "part",
    [
        None,
        "x",
        [],
        {},
        {"jsonPath": "$.a"},
        {"jsonPath": 5, "stringValue": "x"},
        {"jsonPath": "$.a", "stringValue": 5},
        {"jsonPath": "$.a", "numberValue": "1"},
        {"jsonPath": "$.a", "numberValue": True},
        {"jsonPath": "$.a", "numberValue": float("nan")},
        {"jsonPath": "$.a", "numberValue": float("inf")},
        {"jsonPath": "$.a", "numberValue": 10**5000},
        {"jsonPath": "$.a", "boolValue": 1},
        *map(
            string, ("", "$", "a", "$a", "$.", "$..a", "$.*[", "$[0]", "$.a[", "$.a[-1]", "$.a[*]", "$.a['b]", "$.a.")
        ),
        string(f"$.a[{INDEX_MAX + 1}]"),
        string("$.a[99999999999999999999]"),
        string("$" + ".a" * 5000),
        string("$.kept.below"),
        string("$.kept[0]"),
        string("$.list.name"),
        string("$.list"),
        string("$.object[0]"),
        string("$.object"),
    ],
    ids=lambda part: repr(part)[:40] if "numberValue" not in (part or ()) else None,
)
def test_a_part_that_makes_no_sense_is_passed_over(part: object) -> None:
    good = [string("$.kept"), string("$.list[0]"), string("$.object.a")]
    assert built(*good, part) == built(*good)


def test_gaps_of_all_arrays_together_are_bounded() -> None:
    assembler = Assembler()
    for n in range(1_000):
        assembler.feed([string(f"$.a{n}[{INDEX_MAX}]"), string("$.deep" + f"[{INDEX_MAX}]" * 50)])
    assert assembler.text().count("null") <= GAPS_MAX


PATH = st.text(st.sampled_from("$.ab[]019'\"\\"), max_size=12).map(lambda path: "$" + path)
PART = st.fixed_dictionaries(
    {"jsonPath": PATH | st.sampled_from(["$.a", "$.a.b", "$.a[0]", "$.b[1][0]", "$['a'].c"])},
    optional={
        "stringValue": st.text(st.characters(exclude_categories=())) | st.none(),
        "numberValue": st.floats() | st.integers(),
        "boolValue": st.booleans(),
        "nullValue": st.just("NULL_VALUE"),
        "willContinue": st.booleans(),
    },
)


@given(parts=st.lists(PART | st.none() | st.integers(), max_size=20))
def test_any_parts_give_the_text_of_an_object(parts: list[object]) -> None:
    text = built(*parts)
    assert object_text(text) == text


def test_work_grows_with_the_parts_only() -> None:
    def work(count: int) -> int:
        return steps(lambda: built(*[string("$.a.b[0]", "xyz")] * count))

    assert work(2_000) <= 2.1 * work(1_000)
    assert built(*[string("$.a", "xyz")] * 1000) == '{"a":"' + "xyz" * 1000 + '"}'
