"""Tests of stop sequences looked for in a stream: the same end at every cut, nothing held that cannot be a stop."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.stops import StopScanner
from tests.adapters.steps import steps

TEXT = st.text(st.sampled_from("ab"), max_size=30)
STOPS = st.lists(st.text(st.sampled_from("ab"), max_size=5), max_size=4).map(tuple)


def scanned(stops: tuple[str, ...], texts: list[str]) -> tuple[str, str | None]:
    scanner = StopScanner(stops)
    passed = "".join([*[scanner.feed(text) for text in texts], scanner.end()])
    return passed, scanner.hit


def expected(stops: tuple[str, ...], text: str) -> tuple[str, str | None]:
    """Look after every character, as the upstream would have."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if found:
            stop = max(found, key=len)
            return text[: end - len(stop)], stop
    return text, None


def test_b43_a_stop_over_two_deltas_ends_the_text() -> None:
    scanner = StopScanner(("\n\nH:",))
    assert scanner.feed("Hello\n") == "Hello"
    assert scanner.feed("\nH") == ""
    assert scanner.feed(": more") == ""
    assert scanner.hit == "\n\nH:"
    assert scanner.feed("nothing passes") == ""
    assert scanner.end() == ""


def test_b43_what_only_began_a_stop_passes() -> None:
    scanner = StopScanner(("\n\nH:",))
    assert scanner.feed("a\n\n") == "a"
    assert scanner.feed("b\n\nH") == "\n\nb"
    assert scanner.end() == "\n\nH"
    assert scanner.end() == ""


@pytest.mark.parametrize(
    ("stops", "text", "passed", "hit"),
    [
        ((), "text", "text", None),
        (("",), "text", "text", None),
        (("END", "STOP"), "a STOP b END", "a ", "STOP"),
        (("abc", "b"), "xabc", "xa", "b"),
        (("xab", "b"), "_xab", "_", "xab"),
        (("aab",), "aaab", "a", "aab"),
        (("abab", "x"), "ababab", "", "abab"),
        (("aba", "bb"), "abb", "a", "bb"),
        (("]", "^", "-", "\\"), "a-b", "a", "-"),
        (("😀é",), "😀😀é", "😀", "😀é"),
        ((" ",), "no way", "no", " "),
    ],
)
def test_the_stop_complete_first_ends_the_text(stops: tuple[str, ...], text: str, passed: str, hit: str | None) -> None:
    assert scanned(stops, [text]) == (passed, hit)
    assert scanned(stops, list(text)) == (passed, hit)


def test_text_without_a_beginning_is_the_same_object() -> None:
    text = "nothing of that kind"
    assert StopScanner(("\n",)).feed(text) is text


@given(stops=STOPS, text=TEXT, cuts=st.lists(st.integers(0, 30), max_size=5))
def test_every_cut_ends_at_the_same_place(stops: tuple[str, ...], text: str, cuts: list[int]) -> None:
    result = expected(stops, text)
    places = sorted({0, *cuts, 30})
    assert scanned(stops, [text]) == result
    assert scanned(stops, list(text)) == result
    assert scanned(stops, [text[a:b] for a, b in pairwise(places)]) == result


@given(stops=STOPS, text=TEXT)
def test_held_is_the_longest_tail_that_begins_a_stop(stops: tuple[str, ...], text: str) -> None:
    scanner = StopScanner(stops)
    passed = scanner.feed(text)
    if scanner.hit is None:
        tails = [
            n for n in range(len(text) + 1) if any(stop[:n] == text[len(text) - n :] for stop in stops if n < len(stop))
        ]
        assert len(text) - len(passed) == max(tails, default=0)


def test_a_stop_that_repeats_itself_is_compared_in_linear_time() -> None:
    def work(size: int) -> int:
        return steps(lambda: scanned(("a" * size + "b", "a" * size + "c"), ["a"] * (4 * size)))

    assert work(1_000) <= 2.1 * work(500)


def test_text_without_a_beginning_costs_no_steps() -> None:
    def work(size: int) -> int:
        return steps(lambda: scanned(("\n\nH:",), ["x" * size, "\n", "y" * size]))

    assert work(100_000) == work(10)
