"""From samples to a table: medians with spread, ratios and differences by round, and the targets beside them.

A ratio or a difference is taken within each round, between neighbours in time, and its median is shown: the quotient of
two medians would compare different moments. The targets are those of the design's section 11.
"""

import statistics
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from bench.measure import Samples

DIRECT, NGINX, GATEWAY = SUBJECTS = ("direct", "nginx", "gateway")
_UNARY_TARGET = "<= 6x nginx, <= 277 us"  # the second: 1/100 of what a LiteLLM proxy takes, measured for the design


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


class Row(NamedTuple):
    """One line of the table."""

    what: str
    unit: str
    spreads: dict[str, Spread]
    ratio: Spread | None
    target: str
    verdict: Verdict
    digits: int = 1


def spread(values: Sequence[float]) -> Spread | None:
    """Give median and extremes, or None of nothing."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


class Sheet:
    """Computes rows from the samples of one run."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def rows(self, held: Sequence[int]) -> list[Row]:
        """Give the rows in the order in which they are read."""
        return [
            self._row(
                "CPU per unary request, same rate", "us", "paced_cpu_us", target=_UNARY_TARGET, ratio_max=6, most=277
            ),
            self._row("latency of a unary request p50", "ms", "paced_p50_ms", digits=2),
            self._added("  added, p50 at that rate", "paced_p50_ms"),
            self._row("latency of a unary request p99", "ms", "paced_p99_ms", digits=2),
            self._added("  added, p99 at that rate", "paced_p99_ms"),
            self._row("CPU per unary request, closed loop", "us", "unary_cpu_us", compared=True),
            self._row("CPU per SSE event", "us", "event_cpu_us", target="<= 4x nginx", ratio_max=4),
            self._row("requests per second, one worker", "/s", "unary_per_s", digits=0),
            self._row("  p99 at that rate", "ms", "unary_p99_ms", digits=2),
            self._row("time to first token p50", "ms", "ttft_p50_ms", digits=2),
            self._added("  added, p50 at half load", "ttft_p50_ms", target="<= 0.5 ms", most=0.5),
            self._row("time to first token p99", "ms", "ttft_p99_ms", digits=2),
            self._added("  added, p99 at half load", "ttft_p99_ms", target="<= 3 ms", most=3.0),
            self._row("gap between events p99", "ms", "gap_p99_ms", digits=2),
            *(row for count in held for row in self._held(count)),
            self._row("slow reader, RSS before", "MB", "slow_before_mb"),
            self._row("  peak", "MB", "slow_peak_mb"),
            self._row("  after", "MB", "slow_after_mb"),
            self._row("  growth to the peak", "MB", "slow_grown_mb", target="< 5 MB", most=5.0),
        ]

    def _held(self, count: int) -> list[Row]:
        streams = f"{count:,} open streams"
        return [
            self._row(f"RSS with {streams}", "MB", f"held_{count}_mb"),
            self._row("  per stream", "KB", f"held_{count}_kb_each", target="<= 25 KB", most=25.0),
        ]

    def _row(
        self,
        what: str,
        unit: str,
        measure: str,
        *,
        target: str = "",
        ratio_max: float | None = None,
        compared: bool = False,
        most: float | None = None,
        digits: int = 1,
    ) -> Row:
        by_subject = self._samples.values[measure]
        ratio = None
        if compared or ratio_max is not None:
            ratio = spread(_by_round(by_subject[GATEWAY], by_subject[NGINX], lambda ours, theirs: ours / theirs))
        spreads = {name: found for name, values in by_subject.items() if (found := spread(values))}
        checks = [(ratio, ratio_max), (spreads.get(GATEWAY), most)]
        return Row(what, unit, spreads, ratio, target, _verdict(checks), digits)

    def _added(self, what: str, measure: str, *, target: str = "", most: float | None = None) -> Row:
        by_subject = self._samples.values[measure]
        spreads = {
            name: found
            for name in (NGINX, GATEWAY)
            if (found := spread(_by_round(by_subject[name], by_subject[DIRECT], lambda ours, theirs: ours - theirs)))
        }
        return Row(what, "ms", spreads, None, target, _verdict([(spreads.get(GATEWAY), most)]), 2)


def _by_round(ours: Sequence[float], theirs: Sequence[float], combine: Callable[[float, float], float]) -> list[float]:
    return [combine(a, b) for a, b in zip(ours, theirs, strict=False) if b]


def _verdict(checks: Sequence[tuple[Spread | None, float | None]]) -> Verdict:
    known = [(found.median, limit) for found, limit in checks if found is not None and limit is not None]
    if not known:
        return Verdict.UNKNOWN
    return Verdict.OK if all(median <= limit for median, limit in known) else Verdict.OVER


def table(rows: Sequence[Row], title: str) -> Table:
    """Lay the rows out for a terminal."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("what")
    shown.add_column("")
    for name in SUBJECTS:
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("x nginx", justify="right", no_wrap=True)
    shown.add_column("target")
    shown.add_column("")
    for row in rows:
        figures = [
            row.spreads[name].text(row.digits) if name in row.spreads else "" for name in (DIRECT, NGINX, GATEWAY)
        ]
        style = {Verdict.OK: "green", Verdict.OVER: "bold red", Verdict.UNKNOWN: ""}[row.verdict]
        ratio = row.ratio.text(1) if row.ratio else ""
        shown.add_row(row.what, row.unit, *figures, ratio, row.target, Text(row.verdict.value, style=style))
    return shown
