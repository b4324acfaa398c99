"""What a run of the bench is on paper: the document that is written, shown, compared and quoted.

One document holds everything that a reader needs to believe a figure: the commit, the machine, the settings, the seed,
and every round's sample. What is derived (medians, ratios, verdicts) is never written, so that it cannot disagree.
A ratio is taken within each round, between neighbours in time. No host name and no path is in it. Nothing here knows
how anything was measured.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from bench.jobs import SIGNIFICANT_DIGITS, Quantiles
from bench.samples import Spread, Verdict, spread

SCHEMA = 1

_LAID_OUT_DEPTH = 4
"""Down to a scenario's lists of figures, histograms and curves; each of those, and each setting, is one line."""


class RunError(Exception):
    """A file that is no run, or one of another schema."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was measured, with one sample a round, in order.

    `beside` names the figure of the same scenario that it is held against, which has as many rounds, `ratio_max` how
    many times that one it may be. `histogram` and `quantile` say whose quantile it is, where it has one sample only.
    A `foreign` figure is not of this repository but what it is measured against. A `headline` is quoted.
    """

    name: str
    unit: str
    samples: list[float]
    better: Literal["lower", "higher"] = "lower"
    target: float | None = None
    beside: str | None = None
    ratio_max: float | None = None
    histogram: str | None = None
    quantile: float | None = None
    foreign: bool = False
    headline: bool = False


class Goal(NamedTuple):
    """One thing that a figure is held against, and what was found; of a ratio both are so many times its peer's.

    `unit` is the figure's own, or `x`. `found` is None where nothing was measured, or there is no peer.
    """

    bound: float
    unit: str
    better: Literal["lower", "higher"]
    found: Spread | None

    @property
    def gap_share(self) -> float | None:
        """By how much of the bound the median misses it, below 0 when it has so much to spare; None of a bound of 0."""
        if self.found is None or not self.bound:
            return None
        share = (self.found.median - self.bound) / self.bound
        return share if self.better == "lower" else -share

    @property
    def verdict(self) -> Verdict:
        """Whether the median is within the bound."""
        if self.found is None:
            return Verdict.UNKNOWN
        median = self.found.median
        kept = median <= self.bound if self.better == "lower" else median >= self.bound
        return Verdict.OK if kept else Verdict.OVER


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution: ascending values, three significant digits of each, and how often each was seen.

    Those of one `group`, which have one unit, are drawn over each other; without one, those of one unit.
    """

    name: str
    unit: str
    values: list[float]
    counts: list[int]
    group: str = ""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Lines over one axis, each a list of (x, y): over time, or over load. Lines in `steps` are counts by interval."""

    name: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]
    steps: bool = False


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What one scenario found. `problems` are requests that failed, or why there is nothing: it has to be empty."""

    name: str
    method: str
    seconds: float = 0.0
    settings: dict[str, Any] = {}
    figures: list[Figure] = []
    histograms: list[Histogram] = []
    curves: list[Curve] = []
    remarks: list[str] = []
    problems: list[str] = []

    def figure(self, name: str) -> Figure | None:
        """Find a figure by its name."""
        return next((figure for figure in self.figures if figure.name == name), None)

    def ratios(self, figure: Figure) -> list[float]:
        """Give, round by round, how many times its peer's the figure is; nothing where it has no peer."""
        peer = None if figure.beside is None else self.figure(figure.beside)
        if peer is None:
            return []
        return [ours / theirs for ours, theirs in zip(figure.samples, peer.samples, strict=False) if theirs]

    def verdict(self, figure: Figure) -> Verdict:
        """Hold the median, and that of the ratios, against their targets."""
        verdicts = {goal.verdict for goal in self.goals(figure)}
        return next((each for each in (Verdict.OVER, Verdict.OK) if each in verdicts), Verdict.UNKNOWN)

    def goals(self, figure: Figure) -> list[Goal]:
        """Give what the figure is held against, the ratio first."""
        found: list[Goal] = []
        if figure.ratio_max is not None:
            found.append(Goal(figure.ratio_max, "x", "lower", spread(self.ratios(figure))))
        if figure.target is not None:
            found.append(Goal(figure.target, figure.unit, figure.better, spread_of(figure)))
        return found


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured. `busy_share` is how much of it others used just before."""

    cpu: str
    cores: int | None
    memory_mb: int
    system: str
    python: str
    nginx: str | None
    pinned: bool
    busy_share: float = 0.0

    def text(self) -> str:
        """Describe it in a line."""
        memory = f"{self.memory_mb / 1000:,.0f} GB"
        return f"{self.cpu}, {self.cores} cores, {memory}, {self.system}, {self.python}"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `commit` is None outside a repository, `dirty` when the tree differed from it; `time` is in UTC."""

    schema: int = SCHEMA
    commit: str | None
    dirty: bool
    time: str
    machine: Machine
    quick: bool
    seed: int
    rounds: int | None
    scenarios: list[Scenario]

    @property
    def revision(self) -> str:
        """The commit as it is quoted."""
        if self.commit is None:
            return "no commit"
        return f"{self.commit[:12]}{' with changes' if self.dirty else ''}"

    @property
    def problems(self) -> list[str]:
        """What failed, scenario by scenario."""
        return [f"{scenario.name}: {problem}" for scenario in self.scenarios for problem in scenario.problems]


def spread_of(figure: Figure) -> Spread | None:
    """Give median and extremes of a figure's rounds."""
    return spread(figure.samples)


def digits(value: float) -> int:
    """Say how many decimals show three digits of a number."""
    size = abs(value)
    return 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 0.1 else 3


def shown(found: Spread | None) -> str:
    """Show a spread with as many digits as it carries."""
    return "" if found is None else found.text(digits(found.median))


def histogram(name: str, unit: str, values: Sequence[float]) -> Histogram:
    """Count equal values, rounded to three significant digits."""
    counted: dict[float, int] = {}
    for value in sorted(values):
        rounded = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
        counted[rounded] = counted.get(rounded, 0) + 1
    return Histogram(name=name, unit=unit, values=list(counted), counts=list(counted.values()))


def merged(name: str, group: str, rounds: Sequence[Quantiles]) -> Histogram:
    """Make one distribution, in ms, of those of several rounds."""
    counted: dict[float, int] = {}
    for each in rounds:
        for value, count in zip(each.values, each.counts, strict=True):
            counted[value] = counted.get(value, 0) + count
    values = sorted(counted)
    return Histogram(name=name, unit="ms", values=values, counts=[counted[value] for value in values], group=group)


def read(path: Path) -> Run:
    """Read a run; raises RunError when the file cannot be read or holds none of this schema."""
    try:
        run = msgspec.json.decode(path.read_bytes(), type=Run)
    except OSError as exc:
        raise RunError(f"{path}: {exc.strerror}") from exc
    except msgspec.DecodeError as exc:
        raise RunError(f"{path}: not a run of the bench: {exc}") from exc
    if run.schema != SCHEMA:
        raise RunError(f"{path}: schema {run.schema}, where {SCHEMA} is known")
    return run


def write(run: Run, path: Path) -> None:
    """Write a run as JSON that a person can read too, with a line for each figure, histogram and curve."""
    path.write_text("".join(_laid_out(msgspec.to_builtins(run), 0)) + "\n", encoding="utf-8")


def _laid_out(value: Any, depth: int) -> Iterator[str]:
    if depth == _LAID_OUT_DEPTH or not value or not isinstance(value, dict | list):
        yield msgspec.json.encode(value).decode()
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    for number, member in enumerate(value):
        yield f"{',' if number else opening}\n{' ' * (depth + 1)}"
        if isinstance(value, dict):
            yield f"{msgspec.json.encode(member).decode()}: "
            yield from _laid_out(value[member], depth + 1)
        else:
            yield from _laid_out(member, depth + 1)
    yield f"\n{' ' * depth}{closing}"
