"""Runs as the README quotes them: Markdown between two marker comments, a block for each machine and commit.

A block says where, when and of which commit, then what was missed and by how much, then one table: every figure that is
quoted or has a target, scenario by scenario, those with a ratio first. Figures of a scenario that have the same target
and met it share a row, with their lowest and highest median, unless they are quoted for what they cost beside a peer.
What a figure is beside each of several peers stands in its row. It does not know which runs are worth quoting.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.runs import Figure, Machine, Run, Scenario, digits, shown, spread_of
from bench.samples import Spread, Verdict
from bench.sheet import JUDGED, Target, bound_of, gap_of, peer_of, ratio_of, tally, target_of, targets, targets_of

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
NOTHING = "No run is committed yet."
_COLUMNS = ("scenario", "what", "times its peer", "median (extremes)", "beside it", "rounds", "target", "result")
_RULE = ("---", "---", "--:", "--:", "--:", "--:", "---", "---")


class MarkerError(Exception):
    """A text in which there is no place for the figures, or more than one."""


class Row(NamedTuple):
    """Figures that are told in one line: one, or several that met the same target."""

    scenario: Scenario
    figures: list[Figure]


def block(runs: Sequence[Run]) -> str:
    """Write all runs as lines that end with a newline; those of one commit and machine together, in this order."""
    alike: dict[tuple[str, bool, Machine], list[Run]] = {}
    for run in runs:
        machine = msgspec.structs.replace(run.machine, busy_share=0.0)
        alike.setdefault((run.revision, run.quick, machine), []).append(run)
    return "\n".join("\n".join(_of(group)) + "\n" for group in alike.values()) or f"{NOTHING}\n"


def replaced(text: str, figures: str) -> str:
    """Put the figures between the markers of a text; raises MarkerError when it has not one of each, in order."""
    lines = text.splitlines()
    if [line for line in lines if line in {BEGIN, END}] != [BEGIN, END]:
        raise MarkerError(f"needs one line {BEGIN} and after it one line {END}")
    before, after = lines[: lines.index(BEGIN) + 1], lines[lines.index(END) :]
    return "\n".join([*before, "", *figures.splitlines(), "", *after]) + "\n"


def put(path: Path, figures: str, *, write: bool) -> bool:
    """Say whether a file had these figures between its markers; where it had not and `write` is set, it has them now.

    Raises MarkerError when it cannot be read, or has no place for them.
    """
    try:
        text = path.read_text(encoding="utf-8")
        wanted = replaced(text, figures)
    except OSError as exc:
        raise MarkerError(f"{path}: {exc.strerror}") from exc
    except MarkerError as exc:
        raise MarkerError(f"{path}: {exc}") from exc
    if write and text != wanted:
        path.write_text(wanted, encoding="utf-8")
    return text == wanted


def _of(runs: Sequence[Run]) -> Iterator[str]:
    first, scenarios = runs[0], [scenario for run in runs for scenario in run.scenarios]
    kind = "quick, not for quoting" if first.quick else "full"
    days = sorted({run.time[:10] for run in runs})
    yield f"**Commit {first.revision}, {' to '.join(dict.fromkeys((days[0], days[-1])))}, {kind}.**"
    placed = "the subject on a core of its own" if first.machine.pinned else "nothing pinned to a core"
    busy = sorted(run.machine.busy_share for run in runs)
    used = " to ".join(dict.fromkeys(f"{share:.0%}" for share in (busy[0], busy[-1])))
    yield f"{first.machine.text()}; {placed}; others used {used} of it before."
    yield "Medians of the rounds, with the lowest and the highest; ratios are taken within each round."
    if problems := [problem for run in runs for problem in run.problems]:
        yield f"**Problems: {len(problems)}. Figures of scenarios that had one are none.**"
    found = [target for run in runs for target in targets(run)]
    missed = [target for target in found if target.verdict is Verdict.OVER]
    if found:
        yield f"{tally(found)}{':' if missed else '.'}"
    if missed:
        yield from ["", *(_missed(target) for target in missed)]
    yield from ["", _line(_COLUMNS), _line(_RULE)]
    for scenario in scenarios:
        rows = sorted(_rows(scenario), key=lambda row: not row.scenario.ratios(row.figures[0]))
        for number, row in enumerate(rows):
            yield _line(("" if number else f"**{scenario.name}**", *_cells(row)))
    methods = dict.fromkeys(f"- {scenario.name}: {scenario.method}" for scenario in scenarios if scenario.method)
    yield from ["", *methods]


def _missed(target: Target) -> str:
    return f"- **{target.name}: {target.found}, target {bound_of(target.goal)}, {gap_of(target.goal)}**"


def _rows(scenario: Scenario) -> list[Row]:
    """Give what is told of a scenario, in its order."""
    rows: list[Row] = []
    shared: dict[tuple[str, str], Row] = {}
    for figure in scenario.figures:
        found = targets_of(scenario, figure)
        if not found and (not figure.headline or _is_told_elsewhere(scenario, figure)):
            continue
        row = Row(scenario, [figure])
        if _shares_a_row(figure, found):
            alike = target_of(scenario, figure), peer_of(figure)
            if alike in shared:
                shared[alike].figures.append(figure)
                continue
            shared[alike] = row
        rows.append(row)
    return rows


def _is_told_elsewhere(scenario: Scenario, figure: Figure) -> bool:
    """Say whether a figure is another one's once more, held against another peer: that one's row tells of all."""
    title, _, peer = (figure.beside or "").rpartition(": ")
    return figure.name == f"{title}, beside {peer}" and scenario.figure(title) is not None


def _shares_a_row(figure: Figure, found: list[Target]) -> bool:
    if len(found) != 1 or found[0].verdict is not Verdict.OK:
        return False
    return not figure.headline or figure.beside is None or found[0].goal.bound == 0


def _cells(row: Row) -> tuple[str, ...]:
    scenario, figures = row
    first = figures[0]
    if len(figures) > 1:
        ratio = _range([each for figure in figures if (each := ratio_of(scenario, figure))])
        times, beside = f"{ratio} {peer_of(first)}" if ratio else "", ""
        value = _range([each for figure in figures if (each := spread_of(figure))])
    else:
        times, beside = "; ".join(_times(scenario, first)), "; ".join(_beside(scenario, first))
        value = shown(spread_of(first))
    rounds = sorted({len(figure.samples) for figure in figures})
    return (
        _named(figures),
        times,
        f"{value} {first.unit}".strip(),
        beside,
        "-".join(str(number) for number in dict.fromkeys((rounds[0], rounds[-1]))),
        target_of(scenario, first),
        _result([target for figure in figures for target in targets_of(scenario, figure)], len(figures)),
    )


def _named(figures: list[Figure]) -> str:
    """Name a figure, or several by what each begins with, and how many they are."""
    if len(figures) == 1:
        return figures[0].name
    titles = list(dict.fromkeys(figure.name.partition(", ")[0] for figure in figures))
    return f"{'; '.join(titles)} ({len(figures)} figures)"


def _times(scenario: Scenario, figure: Figure) -> Iterator[str]:
    """Tell how many times its peer's a figure is, and how many times each other's who was asked the same."""
    if figure.beside is None:
        return
    as_often = [each for each in _asked_the_same(scenario, figure) if len(each.samples) == len(figure.samples)]
    for name in dict.fromkeys((figure.beside, *(each.name for each in as_often))):
        held = msgspec.structs.replace(figure, beside=name)
        ratio = ratio_of(scenario, held)
        if ratio is not None:
            yield f"{ratio.text(digits(ratio.median))} {peer_of(held)}"


def _beside(scenario: Scenario, figure: Figure) -> Iterator[str]:
    """Tell what the same is of those that stood beside the gateway."""
    for each in _asked_the_same(scenario, figure):
        yield f"{each.name.rpartition(': ')[2]} {shown(spread_of(each))}"


def _asked_the_same(scenario: Scenario, figure: Figure) -> list[Figure]:
    """Find the foreign figures that have a figure's name, and behind it whose they are."""
    return [each for each in scenario.figures if each.foreign and each.name.rpartition(": ")[0] == figure.name]


def _range(spreads: Sequence[Spread]) -> str:
    """Show the lowest and the highest of several medians."""
    medians = [each.median for each in spreads]
    if not medians:
        return ""
    low, high = (f"{value:,.{digits(value)}f}" for value in (min(medians), max(medians)))
    return low if low == high else f"{low} to {high}"


def _result(found: list[Target], figures: int) -> str:
    if figures > 1:
        nearest = max(found, key=lambda target: target.goal.gap_share or 0.0)
        return ", at least ".join(part for part in ("all met", gap_of(nearest.goal)) if part)
    said = (
        (target.verdict, ", ".join(part for part in (JUDGED[target.verdict], gap_of(target.goal)) if part))
        for target in found
    )
    return "; ".join(f"**{text}**" if verdict is Verdict.OVER else text for verdict, text in said)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
