"""Tests of tool call ids: a valid one is never touched, a rewritten one keeps the rule and its identity."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tool_calls.ids import ALNUM9, ANY, WORD, IdRule, conforming, made

RULES = [ANY, WORD, ALNUM9, IdRule("[a-f0-9]", 32, 32), IdRule("[A-Z]", 3), IdRule("[a-z]", 100, 60)]

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=100)


def keeps(id_: str, rule: IdRule) -> bool:
    return rule.length_min <= len(id_) <= rule.length_max and re.fullmatch(f"(?:{rule.allowed})*", id_) is not None


@pytest.mark.parametrize(
    ("id_", "rule"),
    [
        ("call_9", WORD),
        ("toolu_01A-b", WORD),
        ("functions.read:0", ANY),
        ("a" * 64, WORD),
        ("abcDEF123", ALNUM9),
    ],
)
def test_a_valid_id_stays(id_: str, rule: IdRule) -> None:
    assert conforming(id_, rule) == id_


def test_b47_a_foreign_id_is_renamed_for_call_and_result_alike() -> None:
    renamed = conforming("functions.read:0", WORD)
    assert re.fullmatch(r"functions_read_0_[A-Za-z0-9]{12}", renamed)
    assert renamed == conforming("functions.read:0", WORD)
    assert re.fullmatch("[A-Za-z0-9]{9}", conforming("functions.read:0", ALNUM9))


def test_b47_the_same_id_is_renamed_alike_on_every_machine() -> None:
    assert conforming("functions.read:0", WORD) == "functions_read_0_trevxOyAjoEf"
    assert conforming("functions.read:0", ALNUM9) == "trevxOyAj"


@pytest.mark.parametrize("rule", [WORD, ANY, ALNUM9])
def test_b47_ninety_characters_that_differ_in_the_last_stay_two(rule: IdRule) -> None:
    first, second = (conforming("c" * 89 + end, rule) for end in "xy")
    assert first != second
    assert keeps(first, rule)
    assert keeps(second, rule)


@pytest.mark.parametrize("rule", RULES, ids=str)
@given(id_=ANY_TEXT)
def test_what_comes_out_keeps_the_rule_and_stays(rule: IdRule, id_: str) -> None:
    renamed = conforming(id_, rule)
    assert keeps(renamed, rule)
    assert conforming(renamed, rule) == renamed
    assert (renamed == id_) == keeps(id_, rule)


@given(ids=st.sets(ANY_TEXT, min_size=2, max_size=20))
def test_different_ids_stay_different(ids: set[str]) -> None:
    for rule in (ANY, WORD, ALNUM9):
        assert len({conforming(id_, rule) for id_ in ids}) == len(ids)


def test_thousands_of_ids_alike_but_for_their_end_stay_different_in_nine_characters() -> None:
    assert len({conforming(f"functions.read:{n}", ALNUM9) for n in range(20_000)}) == 20_000


def test_a_made_id_is_one_of_its_answer_and_ordinal() -> None:
    assert re.fullmatch("call_[0-9a-f]{24}", made("resp_1", 0))
    assert made("resp_1", 0) == made("resp_1", 0)
    assert len({made(seed, ordinal) for seed in ("", "1", "11", "\ud83d") for ordinal in range(20)}) == 80


@given(seed=ANY_TEXT, ordinal=st.integers(0, 1000))
def test_a_made_id_keeps_the_rule_of_words(seed: str, ordinal: int) -> None:
    assert conforming(made(seed, ordinal), WORD) == made(seed, ordinal)
