"""A run as tables for the terminal, and the words for its figures that the page and the README share.

Ratios stand before absolutes. What a figure is held against is told one bound at a time: whether it was met, and the
gap to it, as a share of the bound. A target that seems met where the scenario had a problem is not judged, since what
failed may have been what costs; one that was missed stays missed.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from bench.runs import Figure, Goal, Run, Scenario, digits, shown, spread_of
from bench.samples import Spread, Verdict, spread

JUDGED = {Verdict.OK: "met", Verdict.OVER: "missed", Verdict.UNKNOWN: "not judged"}
_STYLE = {Verdict.OK: "green", Verdict.OVER: "bold red", Verdict.UNKNOWN: ""}
_LAST_IS_WORST = (Verdict.OK, Verdict.UNKNOWN, Verdict.OVER)


class Target(NamedTuple):
    """One bound of one figure, and what became of it."""

    scenario: Scenario
    figure: Figure
    goal: Goal
    verdict: Verdict

    @property
    def name(self) -> str:
        """The figure, and the scenario it is of."""
        return f"{self.scenario.name}: {self.figure.name}"

    @property
    def found(self) -> str:
        """The median with its extremes and its unit, which is a number of times the peer's for a ratio."""
        if self.goal.found is None:
            return ""
        ratio = self.goal.unit == "x"
        unit = f"x {peer_of(self.figure)}" if ratio else self.goal.unit
        return f"{shown(self.goal.found)} {unit}".strip()


def targets_of(scenario: Scenario, figure: Figure) -> list[Target]:
    """Give what a figure is held against, each bound by itself."""
    found = []
    for goal in scenario.goals(figure):
        doubtful = bool(scenario.problems) and goal.verdict is Verdict.OK
        found.append(Target(scenario, figure, goal, Verdict.UNKNOWN if doubtful else goal.verdict))
    return found


def targets(run: Run) -> list[Target]:
    """Give every target of a run in its order."""
    return [
        target for scenario in run.scenarios for figure in scenario.figures for target in targets_of(scenario, figure)
    ]


def tally(found: Sequence[Target]) -> str:
    """Count what became of targets."""
    counts = {verdict: sum(target.verdict is verdict for target in found) for verdict in JUDGED}
    missed, unknown = counts[Verdict.OVER], counts[Verdict.UNKNOWN]
    text = f"{counts[Verdict.OK]} of {len(found)} targets met, {missed} missed"
    return f"{text}, {unknown} not judged" if unknown else text


def bound_of(goal: Goal) -> str:
    """Say what is asked for."""
    sign = "<=" if goal.better == "lower" else ">="
    if goal.unit == "x":
        return f"{sign} {goal.bound:g}x"
    return f"{sign} {goal.bound:,.{digits(goal.bound)}f} {goal.unit}".strip()


def gap_of(goal: Goal) -> str:
    """Say how far from its bound the median is: in percent of that, or as it is where the bound is zero."""
    missed = "over" if goal.better == "lower" else "short"
    share = goal.gap_share
    if share is None:
        return f"{shown(goal.found)} {missed}" if goal.verdict is Verdict.OVER else ""
    percent = abs(share) * 100
    return f"{percent:,.{max(digits(percent) - 1, 0)}f} % {missed if share > 0 else 'to spare'}"


def ratio_of(scenario: Scenario, figure: Figure) -> Spread | None:
    """Give how many times its peer's a figure is, by rounds; None where it has no peer."""
    return spread(scenario.ratios(figure))


def target_of(scenario: Scenario, figure: Figure) -> str:
    """Say everything that a figure is held against."""
    return ", ".join(bound_of(goal) for goal in scenario.goals(figure))


def verdict_of(scenario: Scenario, figure: Figure) -> tuple[Verdict, str]:
    """Give what became of a figure's targets together, and the word for it; none for a figure without any."""
    verdicts = {target.verdict for target in targets_of(scenario, figure)}
    worst = next((each for each in (Verdict.OVER, Verdict.OK) if each in verdicts), Verdict.UNKNOWN)
    return worst, JUDGED[worst] if verdicts else ""


def peer_of(figure: Figure) -> str:
    """Name the peer as shortly as it can be told from the figure: what follows the words that both share."""
    if figure.beside is None:
        return ""
    title, mark, peer = figure.beside.rpartition(": ")
    if mark and figure.name.startswith(title):
        return peer
    ours, theirs = figure.name.split(", "), figure.beside.split(", ")
    return ", ".join(word for word in theirs if word not in ours) or figure.beside


def tables(run: Run, *, whole: bool) -> Iterator[Table]:
    """Lay the run out for a terminal: a table a scenario, then the targets.

    Unless `whole`, the scenarios' have what is quoted and what missed its target.
    """
    for scenario in run.scenarios:
        table = Table(title=scenario.name, title_justify="left")
        for column, justify in (("what", "left"), ("x", "right"), ("beside", "left"), ("figure", "right")):
            table.add_column(column, justify="right" if justify == "right" else "left", no_wrap=column != "what")
        for column in ("unit", "target", ""):
            table.add_column(column, no_wrap=True)
        for figure in scenario.figures:
            verdict, word = verdict_of(scenario, figure)
            if whole or figure.headline or verdict is Verdict.OVER:
                ratio = ratio_of(scenario, figure)
                table.add_row(
                    figure.name,
                    "" if ratio is None else ratio.text(digits(ratio.median)),
                    peer_of(figure),
                    shown(spread_of(figure)),
                    figure.unit,
                    target_of(scenario, figure),
                    Text(word, style=_STYLE[verdict]),
                )
        if table.row_count:
            yield table
    if found := targets(run):
        yield _targets(found)


def _targets(found: list[Target]) -> Table:
    """Lay the targets out with those that were missed last, which is where a terminal stops."""
    table = Table(title="targets", title_justify="left", caption=tally(found), caption_justify="left")
    table.add_column("figure")
    for column in ("target", "median (extremes)", "", "gap"):
        right = column == "median (extremes)"
        table.add_column(column, justify="right" if right else "left", no_wrap=not right)
    for target in sorted(found, key=lambda target: _LAST_IS_WORST.index(target.verdict)):
        said = Text(JUDGED[target.verdict], style=_STYLE[target.verdict])
        table.add_row(target.name, bound_of(target.goal), target.found, said, gap_of(target.goal))
    return table
