"""Tests of halves of characters: joined over cuts, replaced where the other one never comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.surrogates import Joiner, mended
from tests.adapters.steps import steps

UNITS = st.text(st.sampled_from("a\u00e9\u6f22\U0001f600\ud83d\ud83c\ude00\udfff"), max_size=12)


def joined(texts: list[str]) -> str:
    joiner = Joiner()
    return "".join([*[joiner.join(text) for text in texts], joiner.end()])


def test_b20_a_high_half_waits_for_its_low_one() -> None:
    joiner = Joiner()
    assert [(joiner.join(text), joiner.held) for text in ("\ud83d", "\ude00")] == [("", True), ("😀", False)]
    assert joiner.end() == ""


def test_b20_a_half_unpaired_at_the_end_is_replaced() -> None:
    joiner = Joiner()
    assert joiner.join("a\ud83d") == "a"
    assert joiner.end() == "\ufffd"
    assert joiner.end() == ""
    assert not joiner.held


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a\ud83d", "", "\ude00b"], "a😀b"),
        (["\ud83d", "x"], "\ufffdx"),
        (["\ud83d", "\ud83d", "\ude00"], "\ufffd😀"),
        (["\ude00\ud83d"], "\ufffd\ufffd"),
        (["\ud83d\ude00"], "😀"),
        (["é\ud83dé"], "é\ufffdé"),
    ],
)
def test_halves_are_joined_or_replaced(texts: list[str], expected: str) -> None:
    assert joined(texts) == expected


@pytest.mark.parametrize("text", ["", "a", "é", "漢", "😀"])
def test_text_without_halves_is_the_same_object(text: str) -> None:
    assert Joiner().join(text) is text
    assert mended(text) is text


@given(text=UNITS)
def test_every_cut_gives_what_the_whole_gives(text: str) -> None:
    whole = joined([text])
    assert whole == mended(text)
    assert whole.encode("utf-16-le") == text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode(
        "utf-16-le"
    )
    assert joined(list(text)) == whole
    for cut in range(len(text)):
        assert joined([text[:cut], text[cut:]]) == whole


def test_work_does_not_grow_with_the_text() -> None:
    def work(size: int) -> int:
        return steps(lambda: joined(["é\ud83d" * size, "\ude00x" * size]))

    assert work(10_000) == work(10)
