"""A run as tables: for the terminal, and for the README. Ratios stand before absolutes, targets beside both."""

import statistics
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from bench.runs import Figure, Run, Scenario, digits, shown, spread_of
from bench.samples import Spread, Verdict, spread

_STYLE = {Verdict.OK: "green", Verdict.OVER: "bold red", Verdict.UNKNOWN: ""}


def ratio_of(scenario: Scenario, figure: Figure) -> Spread | None:
    """Give how many times its peer's a figure is, by rounds; None where it has no peer."""
    return spread(scenario.ratios(figure))


def target_of(figure: Figure) -> str:
    """Say what a figure is held against."""
    sign = "<=" if figure.better == "lower" else ">="
    said = [] if figure.ratio_max is None else [f"{figure.ratio_max:g}x"]
    if figure.target is not None:
        said.append(f"{figure.target:,.{digits(figure.target)}f} {figure.unit}".strip())
    return ", ".join(f"{sign} {each}" for each in said)


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
    """Lay the run out for a terminal, a table a scenario; unless `whole`, what is quoted and what missed its target."""
    for scenario in run.scenarios:
        table = Table(title=scenario.name, title_justify="left")
        for column, justify in (("what", "left"), ("x", "right"), ("beside", "left"), ("figure", "right")):
            table.add_column(column, justify="right" if justify == "right" else "left", no_wrap=column != "what")
        for column in ("unit", "target", ""):
            table.add_column(column, no_wrap=True)
        for figure in scenario.figures:
            verdict = scenario.verdict(figure)
            if whole or figure.headline or verdict is Verdict.OVER:
                ratio = ratio_of(scenario, figure)
                table.add_row(
                    figure.name,
                    "" if ratio is None else ratio.text(digits(ratio.median)),
                    peer_of(figure),
                    shown(spread_of(figure)),
                    figure.unit,
                    target_of(figure),
                    Text(verdict.value, style=_STYLE[verdict]),
                )
        if table.row_count:
            yield table


def readme(run: Run) -> str:
    """Write the README's figures in Markdown: machine, commit and methods, then what is quoted, ratios first."""
    kind = "quick run: not for quoting" if run.quick else "full run"
    machine = run.machine
    alone = "the subject on a core of its own" if machine.pinned else "nothing pinned to a core"
    where = f"{machine.text()}; {alone}, others used {machine.busy_share:.0%} before"
    lines = [
        f"Commit {run.revision}, {run.time[:10]}, {kind}. {where}. Medians of the rounds, with their extremes.",
        "",
        "| what | times its peer | figure | target |",
        "| --- | --: | --: | --- |",
    ]
    for scenario in run.scenarios:
        quoted = [figure for figure in scenario.figures if figure.headline]
        quoted.sort(key=lambda figure: not scenario.ratios(figure))
        lines += [_quoted(scenario, figure) for figure in quoted]
    lines += ["", *(f"- {scenario.name}: {scenario.method}" for scenario in run.scenarios if scenario.method)]
    return "\n".join(lines) + "\n"


def _quoted(scenario: Scenario, figure: Figure) -> str:
    ratios = scenario.ratios(figure)
    median = statistics.median(ratios) if ratios else 0.0
    times = f"{median:,.{digits(median)}f}x {peer_of(figure)}" if ratios else ""
    value = f"{shown(spread_of(figure))} {figure.unit}".strip()
    if scenario.verdict(figure) is Verdict.OVER:
        value = f"**{value}**"
    return f"| {scenario.name}: {figure.name} | {times} | {value} | {target_of(figure)} |"
