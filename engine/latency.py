"""How long a candidate takes to its first content: recent times, as a percentile and as a moving average.

Two histograms that take turns: one is written for `WINDOW_SECONDS`, then it is the older one and the other, emptied, is
written. Percentiles read both, so they speak of the last one to two windows and a bad minute is forgotten after two.
Buckets grow by a tenth, which is as exact as a delay needs to be. Recording is O(log buckets), a percentile O(buckets)
and kept until `STALE_TIMES` more were recorded. Pure: the clock's readings are handed in.
"""

from bisect import bisect_left
from math import ceil

WINDOW_SECONDS = 60.0
FIRST_SECONDS = 0.005
GROWTH = 1.1
LAST_SECONDS = 600.0

SAMPLES_MIN = 20
"""Fewer say nothing about a percentile: no hedge is started on them."""

STALE_TIMES = 16
"""So few change nothing that matters, and each would cost every request 3 us."""

SMOOTHING = 0.2
"""The weight of the newest time in the average: five requests forget most of what was."""


def _bounds() -> tuple[float, ...]:
    bounds = [FIRST_SECONDS]
    while bounds[-1] < LAST_SECONDS:
        bounds.append(bounds[-1] * GROWTH)
    return tuple(bounds)


BOUNDS = _bounds()


class Latency:
    """The recent times of one candidate, in seconds."""

    __slots__ = ("_kept", "_newer", "_older", "_since", "_unseen", "average")

    def __init__(self, now: float) -> None:
        self._newer = [0] * (len(BOUNDS) + 1)
        self._older = [0] * (len(BOUNDS) + 1)
        self._since = now
        self._kept: dict[float, float] = {}
        self._unseen = 0
        """How many were recorded since percentiles were kept."""
        self.average: float | None = None
        """Exponentially weighted; None before the first time."""

    def __repr__(self) -> str:
        average = "nothing yet" if self.average is None else f"{self.average * 1e3:.0f} ms"
        return f"<Latency {average} of {sum(self._newer) + sum(self._older)}>"

    def record(self, seconds: float, now: float) -> None:
        """Take the time of one attempt. One that was given up counts with the time it had, which was not enough."""
        self._rotate(now)
        self._newer[bisect_left(BOUNDS, seconds)] += 1
        self._unseen += 1
        average = self.average
        self.average = seconds if average is None else average + SMOOTHING * (seconds - average)

    def percentile(self, share: float, now: float) -> float | None:
        """Return the time within which `share` (0 to 1) of the recent ones stayed, None while there are too few."""
        self._rotate(now)
        if self._unseen >= STALE_TIMES:
            self._forget()
        kept = self._kept.get(share)
        if kept is None:
            kept = self._read(share)
            if kept is not None:
                self._kept[share] = kept
        return kept

    def _forget(self) -> None:
        self._kept.clear()
        self._unseen = 0

    def _read(self, share: float) -> float | None:
        total = sum(self._newer) + sum(self._older)
        if total < SAMPLES_MIN:
            return None
        rank, seen = ceil(share * total), 0
        for bound, newer, older in zip(BOUNDS, self._newer, self._older, strict=False):
            seen += newer + older
            if seen >= rank:
                return bound
        return LAST_SECONDS

    def _rotate(self, now: float) -> None:
        passed = now - self._since
        if passed < WINDOW_SECONDS:
            return
        self._older, self._newer = self._newer, self._older
        self._newer[:] = [0] * len(self._newer)
        if passed >= 2 * WINDOW_SECONDS:
            self._older[:] = [0] * len(self._older)
        self._since = now
        self._forget()
