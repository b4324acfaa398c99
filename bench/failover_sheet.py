"""The results of the failover scenario: what is kept of it, what is judged, how it is shown and written.

Targets are the design's: no failed request, the p99 of the time to first token within the hedge delay plus the healthy
p99, hedges and their waste within their budget, a dead upstream left alone within a second of traffic, and less than
30 us of CPU a request for the race where nothing fails. The healthy p99 and the hedge delay are those of the route
without faults and without hedging: the delay that its own p95 gives, not the one that was waited, so that a gateway
which waits longer than it should cannot lower its bar.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from rich.table import Table
from rich.text import Text

from bench import faults
from bench.attempts import Line, Tally, left_alone_after_s, tally
from bench.jobs import Report
from bench.samples import Verdict, spread

HEDGE_FLOOR_MS = 200.0
HEDGE_SHARE_MAX = 0.10
"""Both as the gateway has them without configuration."""

OPEN_SECONDS_MAX = 1.0
MACHINERY_US_MAX = 30.0

_SLOW_MS = 1000.0
"""Where few requests wait for long, a p99 does not show them."""

_TITLES = {
    faults.STEADY: "no faults",
    faults.STEADY_HEDGED: "no faults, hedged",
    faults.FAILING: "faults",
    faults.FAILING_HEDGED: "faults, hedged",
    faults.REFUSED: "refused",
    faults.STALLED: "stalled",
}


class Outcome(NamedTuple):
    """What came of one route: what its clients saw, and what its attempts were. `openings` are by upstream."""

    ttft_ms: list[float]
    requests: int
    errors: dict[str, int]
    tally: Tally
    openings: dict[str, int]
    left_alone_s: float | None = None
    attempts_at_dead: int = 0

    @property
    def failed(self) -> int:
        """Requests that failed, as the client counts them and as the gateway does: the greater number."""
        return max(sum(self.errors.values()), sum(self.tally.failed.values()))


class Results:
    """Everything that one run found."""

    def __init__(self) -> None:
        self.routes: dict[str, Outcome] = {}
        self.outages: dict[str, Outcome] = {}
        self.cpu_us: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.problems: list[str] = []

    def add_route(self, name: str, report: Report, lines: Sequence[Line], openings: dict[str, int]) -> None:
        """Keep what came of a route under faults."""
        self.routes[name] = Outcome(report.first_contents_ms, report.requests, report.errors, tally(lines), openings)

    def add_outage(
        self, name: str, report: Report, lines: Sequence[Line], upstream: str, openings: int, *, quiet_s: float
    ) -> None:
        """Keep what came of a route one upstream of which was down; only one whose breaker opened was left alone."""
        found = tally(lines)
        self.outages[name] = Outcome(
            report.first_contents_ms,
            report.requests,
            report.errors,
            found,
            {upstream: openings},
            left_alone_after_s(lines, upstream, quiet_s=quiet_s) if openings else None,
            sum(found.outcomes.get(upstream, {}).values()),
        )


class Check(NamedTuple):
    """One figure held against its target."""

    what: str
    figure: str
    target: str
    verdict: Verdict


def rank(values: Sequence[float], share: float) -> float | None:
    """Give the nearest-rank quantile, None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def added_us(results: Results, kind: str) -> list[float]:
    """Give what the race cost in each round."""
    by_route = results.cpu_us[kind]
    return [raced - plain for plain, raced in zip(by_route[faults.PLAIN], by_route[faults.RACED], strict=False)]


def checks(results: Results) -> list[Check]:
    """Judge what was measured; what was not is left out."""
    found = [*_route_checks(results.routes), *(_outage_checks(results.outages))]
    for kind in results.cpu_us:
        cost = spread(added_us(results, kind))
        if cost is not None:
            what = f"CPU of the race where nothing fails, {kind}"
            kept = cost.median < MACHINERY_US_MAX
            found.append(_held(what, f"{cost.text(1)} us", f"< {MACHINERY_US_MAX:g} us", kept))
    return found


def _route_checks(routes: dict[str, Outcome]) -> list[Check]:
    found = []
    if routes:
        failed = sum(outcome.failed for outcome in routes.values())
        found.append(_held("one of three fails: failed requests", f"{failed}", "0", not failed))
    hedged, steady = routes.get(faults.FAILING_HEDGED), routes.get(faults.STEADY)
    if hedged is not None and steady is not None:
        p99, p95_steady, p99_steady = rank(hedged.ttft_ms, 0.99), rank(steady.ttft_ms, 0.95), rank(steady.ttft_ms, 0.99)
        if p99 and p95_steady and p99_steady:
            delay = max(p95_steady, HEDGE_FLOOR_MS)
            target = f"<= {delay:,.0f} + {p99_steady:,.0f} ms"
            found.append(_held("  p99 of the first token, hedged", f"{p99:,.0f} ms", target, p99 <= delay + p99_steady))
        for what, share in (("hedges per request", hedged.tally.hedge_share), ("waste", hedged.tally.waste_share)):
            kept = share <= HEDGE_SHARE_MAX
            found.append(_held(f"  {what}, hedged", f"{share:.1%}", f"<= {HEDGE_SHARE_MAX:.0%}", kept))
    return found


def _outage_checks(outages: dict[str, Outcome]) -> list[Check]:
    found = []
    for name, outcome in outages.items():
        title = f"one of three is down, {_TITLES[name]}"
        found.append(_held(f"{title}: failed requests", f"{outcome.failed}", "0", not outcome.failed))
        after = outcome.left_alone_s
        figure = "not while asked" if after is None else f"{after:.2f} s"
        in_time = after is not None and after <= OPEN_SECONDS_MAX
        found.append(_held("  its breaker is open after", figure, f"<= {OPEN_SECONDS_MAX:g} s", in_time))
    return found


def _held(what: str, figure: str, target: str, kept: bool) -> Check:
    return Check(what, figure, target, Verdict.OK if kept else Verdict.OVER)


def tables(results: Results) -> list[Table]:
    """Lay everything out for a terminal."""
    shown = [
        _routes_table("one of three upstreams fails now and then", results.routes),
        _routes_table("one of three upstreams is down", results.outages),
        _machinery_table(results),
    ]
    judged = Table(title="targets", title_justify="left")
    for column in ("what", "figure", "target", ""):
        judged.add_column(column, justify="right" if column == "figure" else "left")
    style = {Verdict.OK: "green", Verdict.OVER: "bold red", Verdict.UNKNOWN: ""}
    for check in checks(results):
        judged.add_row(check.what, check.figure, check.target, Text(check.verdict.value, style=style[check.verdict]))
    return [*shown, judged]


def _routes_table(title: str, routes: dict[str, Outcome]) -> Table:
    shown = Table(title=title, title_justify="left")
    shown.add_column("", no_wrap=True)
    for name in routes:
        shown.add_column(_TITLES[name], justify="right")
    outcomes = list(routes.values())
    shown.add_row("requests answered", *(f"{each.requests:,}" for each in outcomes))
    shown.add_row("failed requests", *(f"{each.failed:,}" for each in outcomes))
    for label, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("worst", 1.0)):
        shown.add_row(f"first token {label}, ms", *(_milliseconds(rank(each.ttft_ms, share)) for each in outcomes))
    shown.add_row(f"  after {_SLOW_MS:,.0f} ms or later", *(_slow(each.ttft_ms) for each in outcomes))
    shown.add_row("retries per request", *(f"{each.tally.retry_share:.1%}" for each in outcomes))
    shown.add_row("hedges per request", *(f"{each.tally.hedge_share:.1%}" for each in outcomes))
    shown.add_row("  wasted of all tokens", *(f"{each.tally.waste_share:.1%}" for each in outcomes))
    shown.add_row("  after, p50 ms: beside sound ones, it", *(_delays(each.tally) for each in outcomes))
    shown.add_row("attempts at the one in trouble", *(_troubled(name, each) for name, each in routes.items()))
    shown.add_row("breakers opened", *(f"{sum(each.openings.values())}" for each in outcomes))
    return shown


def _machinery_table(results: Results) -> Table:
    shown = Table(title="nothing fails: CPU of the gateway, median (lowest-highest)", title_justify="left")
    for column in ("us per", "one candidate", "three, hedged at p95", "added within a round"):
        shown.add_column(column, justify="left" if column == "us per" else "right", no_wrap=True)
    for kind, by_route in results.cpu_us.items():
        found = (spread(values) for values in (by_route[faults.PLAIN], by_route[faults.RACED], added_us(results, kind)))
        shown.add_row(kind, *(each.text(1) if each else "" for each in found))
    return shown


def _slow(milliseconds: Sequence[float]) -> str:
    count = sum(each >= _SLOW_MS for each in milliseconds)
    return f"{count} ({count / len(milliseconds):.2%})" if milliseconds else ""


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _delays(found: Tally) -> str:
    """Show the median delay of hedges: beside healthy upstreams, and beside the one in trouble."""
    healthy = [delay for name, delays in found.delays_ms.items() if name != faults.TROUBLED for delay in delays]
    medians = (rank(delays, 0.5) for delays in (healthy, found.delays_ms.get(faults.TROUBLED, [])))
    return ", ".join(_milliseconds(median) or "-" for median in medians) if found.hedges else ""


def _troubled(name: str, outcome: Outcome) -> str:
    dead = faults.STOPPED if name == faults.REFUSED else faults.TROUBLED
    counted = outcome.tally.outcomes.get(dead, {})
    return ", ".join(f"{count} {how}" for how, count in sorted(counted.items(), key=lambda item: -item[1]))


def plain(settings: Any) -> Any:
    """Give named tuples as objects, whatever they are nested in."""
    if isinstance(settings, tuple) and hasattr(settings, "_asdict"):
        return {name: plain(value) for name, value in settings._asdict().items()}
    return settings


def document(results: Results) -> dict[str, Any]:
    """Give the results as JSON: every first token's time, every tally, every round, and the judgements."""

    def written(outcomes: dict[str, Outcome]) -> dict[str, Any]:
        return {
            name: outcome._asdict() | {"tally": msgspec.to_builtins(outcome.tally)}
            for name, outcome in outcomes.items()
        }

    return {
        "checks": [check._asdict() | {"verdict": check.verdict.value} for check in checks(results)],
        "routes": written(results.routes),
        "outages": written(results.outages),
        "cpu_us": results.cpu_us,
        "problems": results.problems,
    }
