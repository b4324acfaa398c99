"""A run as one HTML page that needs nothing else: no script, no font, no request to anybody.

What stands first is what a reader must know to believe the rest: commit, machine, whether it was quiet, what failed;
then every target, those that were missed before the others. Everything from the document is escaped.
"""

import json
from collections.abc import Iterator, Sequence
from html import escape

from bench import plots
from bench.runs import Figure, Histogram, Run, Scenario, digits, shown, spread_of
from bench.samples import Verdict
from bench.sheet import (
    JUDGED,
    Target,
    bound_of,
    gap_of,
    peer_of,
    ratio_of,
    tally,
    target_of,
    targets,
    verdict_of,
)

_QUIET_SHARE_MAX = 0.05
_STYLE = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums } td, th { padding: .2rem .6rem }
th { text-align: left; border-bottom: 1px solid #999 } td { border-bottom: 1px solid #eee }
.n { text-align: right; white-space: nowrap } .ok { color: #00734d } .over, .bad { color: #b3261e; font-weight: 600 }
.plots { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0; flex: 1 1 26rem; min-width: 0 }
figure svg { width: 100%; height: auto } figcaption { font-weight: 600 } .scroll { overflow-x: auto }
pre { background: #f6f6f6; padding: .6rem; overflow-x: auto } p { max-width: 50rem }
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Bench of {revision}</title><style>{style}</style></head><body>
<h1>Bench of {revision}</h1>
{body}
</body></html>
"""


def page(run: Run) -> str:
    """Write the page."""
    body = "\n".join([*_head(run), *(part for scenario in run.scenarios for part in _scenario(scenario))])
    return _PAGE.format(revision=escape(run.revision), style=_STYLE, body=body)


def _head(run: Run) -> Iterator[str]:
    kind = "a quick run, not for quoting" if run.quick else "a full run"
    yield f"<p>{escape(run.time)}, {kind}, seed {run.seed}. {escape(run.machine.text())}.</p>"
    if not run.machine.pinned:
        yield "<p>Nothing was pinned to a core of its own: rates and latencies mix subject, upstream and load.</p>"
    if run.machine.busy_share > _QUIET_SHARE_MAX:
        share = f"{run.machine.busy_share:.0%}"
        yield f'<p class="bad">The machine was not quiet: others used {share} of its cores before the run.</p>'
    if run.problems:
        yield f'<p class="bad">Something failed: figures of these scenarios are none.</p>{_list(run.problems)}'
    if found := targets(run):
        yield f"<h2>Targets</h2><p>{tally(found)}.</p>{_targets(found)}"


def _targets(found: list[Target]) -> str:
    order = (Verdict.OVER, Verdict.UNKNOWN, Verdict.OK)
    rows = [
        [
            ("", target.name),
            ("n", bound_of(target.goal)),
            ("n", target.found),
            (target.verdict.value, JUDGED[target.verdict]),
            ("n", gap_of(target.goal)),
        ]
        for target in sorted(found, key=lambda target: order.index(target.verdict))
    ]
    return _rows(("figure", "target", "median (extremes)", "", "gap"), rows)


def _scenario(scenario: Scenario) -> Iterator[str]:
    yield f'<h2 id="{escape(scenario.name)}">{escape(scenario.name)}</h2><p>{escape(scenario.method)}</p>'
    quoted = [figure for figure in scenario.figures if figure.headline]
    rest = [figure for figure in scenario.figures if not figure.headline]
    if quoted:
        yield _table(scenario, quoted)
    yield f'<div class="plots">{"".join(_plots(scenario))}</div>'
    if rest:
        yield f"<details><summary>{len(rest)} more figures</summary>{_table(scenario, rest)}</details>"
    yield _list(scenario.remarks)
    settings = escape(json.dumps(scenario.settings, indent=1))
    yield f"<details><summary>settings; it took {scenario.seconds:.0f} s</summary><pre>{settings}</pre></details>"


def _plots(scenario: Scenario) -> Iterator[str]:
    groups: dict[str, list[Histogram]] = {}
    for histogram in scenario.histograms:
        if histogram.values:
            groups.setdefault(histogram.group or f"distributions, {histogram.unit}", []).append(histogram)
    for group, histograms in groups.items():
        yield _figure(group, plots.distributions(histograms, f"{scenario.name}: {group}"))
    for curve in scenario.curves:
        yield _figure(curve.name, plots.lines(curve, f"{scenario.name}: {curve.name}"))
    for unit in dict.fromkeys(figure.unit for figure in scenario.figures):
        drawn = plots.rounds(scenario, unit, f"{scenario.name}: every round, {unit}")
        if drawn:
            yield _figure(f"every round, {unit} (bar: median, diamond: target)", drawn)


def _figure(caption: str, svg: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"


def _table(scenario: Scenario, figures: list[Figure]) -> str:
    names = ("what", "times its peer", "median (extremes)", "unit", "target", "")
    return _rows(names, [_row(scenario, figure) for figure in figures])


def _row(scenario: Scenario, figure: Figure) -> list[tuple[str, str]]:
    ratio, (verdict, word) = ratio_of(scenario, figure), verdict_of(scenario, figure)
    times = "" if ratio is None else f"{ratio.text(digits(ratio.median))} {peer_of(figure)}"
    return [
        ("", figure.name),
        ("n", times),
        ("n", shown(spread_of(figure))),
        ("", figure.unit),
        ("", target_of(scenario, figure)),
        (verdict.value, word),
    ]


def _rows(names: Sequence[str], rows: list[list[tuple[str, str]]]) -> str:
    """Write a table of cells, each with its class and its text."""
    head = "".join(f"<th>{name}</th>" for name in names)
    body = ("".join(f'<td class="{kind}">{escape(text)}</td>' for kind, text in cells) for cells in rows)
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    return f'<div class="scroll"><table><tr>{head}</tr>{lines}</table></div>'


def _list(items: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""
