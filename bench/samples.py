"""Numbers of a run by measure and subject, one a round, and what becomes of them: medians with extremes, verdicts.

A sample is one number of one round. Medians and ratios of several are for whoever shows them: `bench.runs` takes a
ratio within each round, since the quotient of two medians would compare different moments.
"""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    """Whether a figure meets its target; UNKNOWN when either is missing."""

    OK = "ok"
    OVER = "over"
    UNKNOWN = ""


class Spread(NamedTuple):
    """A median with the lowest and the highest round."""

    median: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        """Show it as `median (low-high)`."""
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread | None:
    """Give median and extremes, or None of nothing."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


class Samples:
    """Numbers by measure and subject, one per round in order, and every request that failed.

    `unary_period_us` is the one rate at which unary requests were sent.
    """

    def __init__(self) -> None:
        self.values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.problems: list[str] = []
        self.unary_period_us = 0

    def add(self, measure: str, subject: str, value: float) -> None:
        """Add one round's number."""
        self.values[measure][subject].append(value)

    def clear(self) -> None:
        """Forget the numbers of the first pass, but not its failures."""
        self.values.clear()
