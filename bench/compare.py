"""What moved between two runs, beyond noise: the ratio of the medians, with a bootstrap interval.

scipy resamples each run's rounds (https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.bootstrap.html), or,
where a figure is one distribution's quantile, that distribution. The interval is the percentile one: BCa, the default
there, is undefined where rounds are equal. A figure moved when 1 is outside of it, and is a regression when it moved
for the worse by more than the threshold. Where a sample is zero or negative, as what was added may be, there is no
ratio: the difference is resampled, and a regression is one that misses a target which was met.

A figure that stands beside a foreign one is compared as its ratio to that one, round by round: a machine that is slower
today moves both. What is foreign itself is shown, and is nobody's regression. With few rounds the interval promises
more than it holds (of two times three equal draws every tenth pair moved, of two times five every hundredth), so less
than `ROUNDS_MIN` are not judged; but a target of zero has no noise.
"""

import warnings
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text
from scipy import stats

from bench.runs import Figure, Run, Scenario, digits
from bench.samples import Verdict
from bench.sheet import peer_of

CONFIDENCE = 0.99
"""A run has a hundred figures: at 95 % some would move every time."""

THRESHOLD = 0.1
ROUNDS_MIN = 5
_RESAMPLES = 2999
_RESAMPLED_AT_ONCE = 200
_SEED = 1

Values = NDArray[np.float64]
Statistic = Callable[..., Any]


class Move(Enum):
    """What became of a figure."""

    SAME = "within noise"
    BETTER = "better"
    WORSE = "worse"
    REGRESSION = "REGRESSION"
    UNKNOWN = "too few rounds, not judged"
    GONE = "gone"
    NEW = "new"


class Change(NamedTuple):
    """One figure in both runs. `low` and `high` bound the ratio, or the difference where `ratio` is None."""

    scenario: str
    figure: str
    unit: str
    before: float | None
    after: float | None
    ratio: float | None
    low: float | None
    high: float | None
    move: Move


def compare(before: Run, after: Run, threshold: float = THRESHOLD) -> list[Change]:
    """Give every figure of every scenario that both runs have, and those that only one has."""
    changes: list[Change] = []
    first = {scenario.name: scenario for scenario in before.scenarios}
    for scenario in after.scenarios:
        if scenario.name in first:
            changes += _of_scenario(first[scenario.name], scenario, threshold)
    return changes


def caveats(before: Run, after: Run) -> Iterator[str]:
    """Say what makes the runs hard to compare."""
    if before.machine.cpu != after.machine.cpu or before.machine.python != after.machine.python:
        yield "Taken on different machines or interpreters: only ratios to a peer travel."
    if before.quick != after.quick:
        yield "One is a quick run, the other a full one."
    for run in (before, after):
        if run.machine.busy_share > 0.05:
            yield f"The machine of {run.revision} was not quiet: others used {run.machine.busy_share:.0%} of it."
    names = [{scenario.name for scenario in run.scenarios} for run in (before, after)]
    if names[0] != names[1]:
        yield f"Only in one of them, and not compared: {', '.join(sorted(names[0] ^ names[1]))}."


def failures(before: Run, after: Run) -> list[str]:
    """Give the problems of the later run, if the scenario had none in the earlier one."""
    clean = {scenario.name for scenario in before.scenarios if not scenario.problems}
    return [
        f"{scenario.name}: {problem}"
        for scenario in after.scenarios
        if scenario.name in clean
        for problem in scenario.problems
    ]


def table(changes: list[Change], *, whole: bool) -> Table:
    """Lay the changes out for a terminal; unless `whole`, what did not stay within noise."""
    shown = Table(title="what moved", title_justify="left")
    for column in ("figure", "unit", "before", "after", "ratio, or difference", f"{CONFIDENCE:.0%} interval", ""):
        numeric = column not in {"figure", "unit", ""}
        shown.add_column(column, justify="right" if numeric else "left", no_wrap=column != "figure")
    style = {Move.REGRESSION: "bold red", Move.WORSE: "yellow", Move.BETTER: "green"}
    for change in changes:
        if not whole and change.move in {Move.SAME, Move.UNKNOWN}:
            continue
        between = "" if change.low is None or change.high is None else f"{_text(change.low)} to {_text(change.high)}"
        moved = change.ratio
        if moved is None and change.before is not None and change.after is not None:
            moved = change.after - change.before
        shown.add_row(
            f"{change.scenario}: {change.figure}",
            change.unit,
            _text(change.before),
            _text(change.after),
            _text(moved),
            between,
            Text(change.move.value, style=style.get(change.move, "")),
        )
    return shown


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:,.{digits(value)}f}"


def _of_scenario(before: Scenario, after: Scenario, threshold: float) -> Iterator[Change]:
    for figure in before.figures:
        other = after.figure(figure.name)
        if other is None:
            yield Change(before.name, figure.name, figure.unit, None, None, None, None, None, Move.GONE)
        else:
            yield _of_figure(before, figure, after, other, threshold)
    for figure in after.figures:
        if before.figure(figure.name) is None:
            yield Change(after.name, figure.name, figure.unit, None, None, None, None, None, Move.NEW)


def _of_figure(before: Scenario, old: Figure, after: Scenario, new: Figure, threshold: float) -> Change:
    beside = _foreign_peer(before, old) and _foreign_peer(after, new)
    first, second = (values_of(each, figure, beside=beside) for each, figure in ((before, old), (after, new)))
    quantile = 0.5 if old.quantile is None or min(len(first), len(second)) < ROUNDS_MIN else old.quantile
    medians = float(_quantile(first, quantile)), float(_quantile(second, quantile))
    positive = bool(first.min() > 0 and second.min() > 0)
    ratio = medians[1] / medians[0] if positive else None
    said = (before.name, old.name, f"x {peer_of(old)}" if beside else old.unit, *medians, ratio)
    newly_missed = before.verdict(old) is Verdict.OK and after.verdict(new) is Verdict.OVER
    if min(len(first), len(second)) < ROUNDS_MIN:
        broken = new.target == 0 and newly_missed
        return Change(*said, None, None, Move.REGRESSION if broken else Move.UNKNOWN)
    low, high = interval(first, second, quantile, positive=positive)
    neutral = 1.0 if positive else 0.0
    if low <= neutral <= high:
        return Change(*said, low, high, Move.SAME)
    rose = low > neutral
    if rose != (new.better == "lower"):
        return Change(*said, low, high, Move.BETTER)
    # Half of a rate is as bad as twice a cost: past the threshold in the direction that is worse, as a quotient.
    past = newly_missed if ratio is None else max(ratio, 1 / ratio) > 1 + threshold
    return Change(*said, low, high, Move.REGRESSION if past and not new.foreign else Move.WORSE)


def _foreign_peer(scenario: Scenario, figure: Figure) -> bool:
    peer = None if figure.beside is None else scenario.figure(figure.beside)
    return peer is not None and peer.foreign and bool(scenario.ratios(figure))


def values_of(scenario: Scenario, figure: Figure, *, beside: bool) -> Values:
    """Give what is resampled: ratios to a peer, the distribution of which a figure is a quantile, or its rounds."""
    if beside:
        return np.array(scenario.ratios(figure))
    found = next((each for each in scenario.histograms if each.name == figure.histogram), None)
    if found is not None and figure.quantile is not None:
        return np.repeat(np.array(found.values), np.array(found.counts))
    return np.array(figure.samples)


def interval(first: Values, second: Values, quantile: float, *, positive: bool) -> tuple[float, float]:
    """Bound the ratio of the second's quantile to the first's, or their difference."""

    def moved(after: Values, before: Values, axis: int = -1) -> Any:
        after_quantile, before_quantile = _quantile(after, quantile, axis), _quantile(before, quantile, axis)
        return after_quantile / before_quantile if positive else after_quantile - before_quantile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # equal rounds: an interval of one point
        found = stats.bootstrap(
            (second, first),
            moved,
            n_resamples=_RESAMPLES,
            batch=_RESAMPLED_AT_ONCE,
            vectorized=True,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(_SEED),
        ).confidence_interval
    return float(found.low), float(found.high)


def _quantile(values: Values, quantile: float, axis: int = -1) -> Any:
    if quantile == 0.5:
        return np.median(values, axis=axis)
    return np.quantile(values, quantile, axis=axis, method="inverted_cdf")
