"""Dollars as people write them, and the whole nano-dollars that everything else counts in.

The one place where a decimal point moves, and it moves exactly: digits are read and written, nothing is divided into a
float. It does not know what an amount is for; that one may be zero or must be positive is the matter of who asks.
"""

import re

NANOS = 1_000_000_000
"""Nano-dollars in a dollar."""

DECIMALS = 9
DOLLARS_MAX = 1_000_000_000
"""A bound on any one amount. Nine such sums still fit into the 64 bits of a column."""

_AMOUNT = re.compile(r"\$?([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.([0-9]+))?\Z")
_LENGTH_MAX = 40
"""Digits are counted before they are converted, which takes quadratic time."""


def parse_dollars(text: str) -> int:
    """Return the nano-dollars of "10", "10.50" or "$1,000.000000001".

    Raises `ValueError`, with a sentence that quotes nothing, for what is no amount, has a sign, has more than nine
    decimals or is above `DOLLARS_MAX`.
    """
    text = text.strip()
    match = _AMOUNT.match(text) if len(text) <= _LENGTH_MAX else None
    if match is None:
        raise ValueError("must be in dollars, such as 10 or 2.50")
    whole, decimals = match[1].replace(",", ""), match[2] or ""
    if len(decimals) > DECIMALS:
        raise ValueError(f"must have {DECIMALS} decimals at most: nothing is smaller than a nano-dollar")
    nanos = int(whole) * NANOS + int(decimals.ljust(DECIMALS, "0"))
    if nanos > DOLLARS_MAX * NANOS:
        raise ValueError(f"must be {DOLLARS_MAX:,} dollars at most")
    return nanos


def plain_dollars(nanos: int) -> str:
    """Return an amount for a program: "10.50", "-0.000000123". Two decimals, and as many more as it takes."""
    whole, rest = divmod(abs(nanos), NANOS)
    # A one in front keeps the zeros; to ask a format for them takes twice as long.
    decimals = str(NANOS + rest)[1:].rstrip("0")
    if len(decimals) < 2:
        decimals = decimals.ljust(2, "0")
    return f"{whole}.{decimals}" if nanos >= 0 else f"-{whole}.{decimals}"


def dollars(nanos: int) -> str:
    """Return an amount for a reader: "$10.50", "-$0.000000123"."""
    return f"{'-' if nanos < 0 else ''}${plain_dollars(abs(nanos))}"
