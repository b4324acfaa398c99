"""Dollars: exact both ways, and nothing that is not an amount becomes one."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.money import DOLLARS_MAX, NANOS, dollars, parse_dollars, plain_dollars


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0", 0),
        ("10", 10_000_000_000),
        ("10.50", 10_500_000_000),
        ("0.1", 100_000_000),
        ("$1,000.000000001", 1_000_000_000_001),
        (" $7 ", 7_000_000_000),
        ("1,000,000", 1_000_000 * NANOS),
        ("1000000000", DOLLARS_MAX * NANOS),
        ("1000000000.000000000", DOLLARS_MAX * NANOS),
        ("007", 7 * NANOS),
    ],
)
def test_an_amount_is_read_to_the_last_nano_dollar(text: str, nanos: int) -> None:
    assert parse_dollars(text) == nanos


@pytest.mark.parametrize(
    "text",
    [
        *("", "$", ".", "-1", "+1", "-0", "1e3", "NaN", "inf", "0x10", "1_000", "1 000", "ten", "10 USD"),
        *(
            ".5",
            "5.",
            "1,00",
            "1,50",
            "10,00.5",
            ",100",
            "1,0000",
            "1.000,00",
            "$-1",
            "$$1",
            "1\n2",
            "\u0661",
            "\u00b2",
        ),
        *("0.0000000001", "1000000000.000000001", "1000000001", "9" * 41, "9" * 10_000, "0." + "0" * 10_000),
    ],
)
def test_what_is_no_amount_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must ") as caught:
        parse_dollars(text)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "$0.00"),
        (10_500_000_000, "$10.50"),
        (10_000_000_000, "$10.00"),
        (-123, "-$0.000000123"),
        (1_230_000_000, "$1.23"),
        (1_234_000_000, "$1.234"),
        (-1_000_000_000_000, "-$1000.00"),
    ],
)
def test_an_amount_is_written_with_two_decimals_or_as_many_as_it_takes(nanos: int, text: str) -> None:
    assert dollars(nanos) == text
    assert plain_dollars(nanos) == text.replace("$", "")


@given(nanos=st.integers(0, DOLLARS_MAX * NANOS))
def test_what_is_written_reads_as_what_it_was(nanos: int) -> None:
    assert parse_dollars(dollars(nanos)) == nanos
    assert parse_dollars(plain_dollars(nanos)) == nanos


@given(nanos=st.integers())
def test_any_amount_is_written_exactly(nanos: int) -> None:
    assert Fraction(plain_dollars(nanos)) * NANOS == nanos


@given(text=st.text(alphabet="0123456789.,$-+eE _", max_size=20))
def test_whatever_is_accepted_is_what_a_fraction_reads(text: str) -> None:
    try:
        nanos = parse_dollars(text)
    except ValueError:
        return
    assert nanos == Fraction(text.strip().removeprefix("$").replace(",", "")) * NANOS
