"""The pictures of a run, each as an SVG element for the inside of a page: matplotlib draws, nothing is loaded later.

Distributions are cumulative shares over a logarithmic axis, so that a tail is seen; rounds are points beside their
median, so that spread is seen; time and load run along the bottom. The same run gives the same bytes.
"""

import statistics
from collections.abc import Sequence
from io import StringIO
from itertools import cycle
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, NullFormatter

from bench.runs import Curve, Histogram, Scenario

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555")
"""Told apart by most eyes: https://doi.org/10.1038/nmeth.1618."""

_PARTS = dict(zip(("gateway", "nginx", "direct", "load", "bench"), _COLOURS, strict=False))
_PARTS["upstream"] = _PARTS["direct"]
"""What has the same colour in every picture."""

_SPARE = tuple(colour for colour in _COLOURS if colour not in {_PARTS[name] for name in ("gateway", "nginx", "direct")})
"""Of everybody else in a picture of times."""

_DASHES = ("solid", "dashed", "dotted")
_INCHES = (6.4, 3.4)
_ROW_INCHES = 0.3
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
}


def distributions(histograms: Sequence[Histogram], title: str) -> str:
    """Draw cumulative distributions over each other; they must have one unit."""
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": title}):
        canvas, axes = _canvas(_INCHES)
        spare = cycle(_SPARE)
        for each in histograms:
            label = each.name.removeprefix(f"{each.group}: ")
            colour = _PARTS.get(label) or next(spare)
            total, seen = sum(each.counts), 0
            shares = []
            for count in each.counts:
                seen += count
                shares.append(100 * seen / total)
            axes.step(each.values, shares, where="post", color=colour, label=label)
        if min(value for each in histograms for value in each.values) > 0:
            _logarithmic(axes.xaxis)
        axes.set_xlabel(histograms[0].unit)
        axes.set_ylabel("% of all at or below")
        axes.legend(fontsize=8)
        return _svg(canvas, title)


def lines(curve: Curve, title: str) -> str:
    """Draw a curve's lines over its one axis."""
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": title}):
        canvas, axes = _canvas(_INCHES)
        for number, (name, points) in enumerate(curve.lines.items()):
            colour = _PARTS.get(name, _COLOURS[number % len(_COLOURS)])
            xs, ys = [x for x, _ in points], [y for _, y in points]
            if curve.steps:
                axes.step(xs, ys, where="post", color=colour, label=name)
            else:
                dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
                axes.plot(xs, ys, marker="." if len(points) < 20 else "", linestyle=dash, color=colour, label=name)
        highest = max((y for points in curve.lines.values() for _, y in points), default=0.0)
        lowest = min((y for points in curve.lines.values() for _, y in points), default=0.0)
        if lowest > 0 and highest / lowest > 50:
            _logarithmic(axes.yaxis)
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(curve.x)
        axes.set_ylabel(curve.y)
        axes.legend(fontsize=8)
        return _svg(canvas, title)


def rounds(scenario: Scenario, unit: str, title: str) -> str:
    """Draw every round of the figures of one unit, a row a figure, their medians marked; empty when there are none."""
    figures = [figure for figure in scenario.figures if figure.unit == unit and len(figure.samples) > 1]
    if not figures:
        return ""
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": title}):
        canvas, axes = _canvas((_INCHES[0] + 2, 0.8 + _ROW_INCHES * len(figures)))
        for row, figure in enumerate(reversed(figures)):
            middle = statistics.median(figure.samples)
            axes.plot(figure.samples, [row] * len(figure.samples), "o", color=_COLOURS[0], alpha=0.45, markersize=5)
            axes.plot([middle], [row], "|", color="black", markersize=12)
            if figure.target is not None:
                axes.plot([figure.target], [row], "d", color=_COLOURS[1], markersize=5)
        axes.set_yticks(range(len(figures)), [figure.name for figure in reversed(figures)])
        axes.set_ylim(-0.6, len(figures) - 0.4)
        if min(value for figure in figures for value in figure.samples) > 0:
            _logarithmic(axes.xaxis)
        axes.set_xlabel(unit)
        return _svg(canvas, title)


def _logarithmic(axis: XAxis | YAxis) -> None:
    """Scale an axis, and write plain numbers at its ticks, also where it spans less than a power of ten."""
    if isinstance(axis, XAxis):
        axis.axes.set_xscale("log")
    else:
        axis.axes.set_yscale("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _canvas(inches: tuple[float, float]) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=inches, layout="constrained")
    return canvas, canvas.add_subplot()


def _svg(canvas: Canvas, title: str) -> str:
    """Give the element alone: what stands before it is for a file of its own."""
    text = StringIO()
    canvas.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return text.getvalue()[text.getvalue().index("<svg") :]
