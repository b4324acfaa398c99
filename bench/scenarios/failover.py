"""Upstreams that fail, stall or vanish: what clients see, what the race costs. The parts are `bench.failover`'s.

The access log's lines are kept here besides, for the timeline: in a second of an outage, how many requests were
answered, and how many attempts went to the upstream that was away.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from bench import failover, faults
from bench.attempts import Line
from bench.failover_sheet import (
    HEDGE_FLOOR_MS,
    HEDGE_SHARE_MAX,
    MACHINERY_US_MAX,
    OPEN_SECONDS_MAX,
    Outcome,
    Results,
    added_us,
    plain,
    rank,
)
from bench.jobs import Report
from bench.perform import perform
from bench.process import cores, raise_open_files
from bench.runs import Curve, Figure, Scenario, histogram
from bench.scenarios import Profile, Say, present
from bench.subjects import canned, serving

METHOD = (
    "One gateway worker before three scripted upstreams, first content log-normal; one of them fails now and then, or "
    "goes down. Streams begin at a fixed rate, latency counts from the intended start, every request counts."
)
_TITLES = {
    faults.STEADY: "no faults",
    faults.STEADY_HEDGED: "no faults, hedged",
    faults.FAILING: "faults",
    faults.FAILING_HEDGED: "faults, hedged",
    faults.REFUSED: "one refuses",
    faults.STALLED: "one stalls",
}
_BAR = (
    "Where one upstream fails, the p99 of the first token may be what it is without faults plus the hedge delay, which "
    f"is the p95 without faults, or {HEDGE_FLOOR_MS:g} ms where that is more."
)
_STEP_S = 0.1


class Kept(Results):
    """Results that keep the course of each outage too."""

    def __init__(self) -> None:
        super().__init__()
        self.curves: list[Curve] = []

    def add_outage(
        self, name: str, report: Report, lines: Sequence[Line], upstream: str, openings: int, *, quiet_s: float
    ) -> None:
        """Keep what came of a route one upstream of which was down, and when."""
        super().add_outage(name, report, lines, upstream, openings, quiet_s=quiet_s)
        self.curves.append(course(f"an upstream goes down: {_TITLES[name]}", lines, upstream))


def run(profile: Profile, say: Say) -> Scenario:
    """Run all parts; raises RuntimeError when something does not start."""
    raise_open_files()
    settings, placement, results = _settings(profile), cores(), Kept()
    with ExitStack() as stack:
        say("starting")
        upstream = stack.enter_context(canned(placement, seed=profile.seed))
        running = stack.enter_context(faults.upstreams(settings.pace, settings.seed, placement))
        ports = {name: each.port for name, each in running.items()}
        text = faults.configuration(ports, upstream.port, settings.attempt_seconds)
        served = stack.enter_context(serving(text, placement))
        asking = partial(perform, cores=placement)
        parts = failover.Scenario(settings, served, running, perform=asking, say=say)
        parts.results = results
        parts.faults()
        parts.outages()
        parts.machinery(upstream)
        parts.explain()
    return scenario(results, settings)


def scenario(results: Kept, settings: failover.Settings) -> Scenario:
    """Give what was found."""
    return Scenario(
        name="failover",
        method=METHOD,
        settings=plain(settings),
        figures=present(figures(results, settings.outage_s)),
        histograms=[
            histogram(_first_token(name), "ms", outcome.ttft_ms)
            for name, outcome in (results.routes | results.outages).items()
            if outcome.ttft_ms
        ],
        curves=results.curves,
        remarks=[_BAR],
        problems=list(results.problems),
    )


def figures(results: Results, outage_s: float) -> list[Figure]:
    """Give what clients saw of each route, and what the race costs where nothing fails.

    A breaker that did not open while its upstream was asked counts with the whole outage.
    """
    found = []
    for name, outcome in results.routes.items():
        found += _route(name, outcome, results.routes)
    for name, outcome in results.outages.items():
        found.append(_failed(name, outcome))
        opened = [outage_s if outcome.left_alone_s is None else outcome.left_alone_s]
        title = f"until its breaker is open, {_TITLES[name]}"
        found.append(Figure(name=title, unit="s", samples=opened, target=OPEN_SECONDS_MAX, headline=True))
    for kind, by_route in results.cpu_us.items():
        one, three = f"CPU per request, {kind}, one candidate", f"CPU per request, {kind}, three candidates, hedged"
        found.append(Figure(name=one, unit="us", samples=list(by_route[faults.PLAIN])))
        found.append(Figure(name=three, unit="us", samples=list(by_route[faults.RACED]), beside=one, headline=True))
        title = f"added by the race where nothing fails, {kind}"
        found.append(Figure(name=title, unit="us", samples=added_us(results, kind), target=MACHINERY_US_MAX))
    return found


def course(name: str, lines: Sequence[Line], upstream: str) -> Curve:
    """Count by tenths of a second what began: requests, and attempts at the upstream that is away."""
    began_s = min((line.began_s for line in lines), default=0.0)
    counted: dict[str, Counter[int]] = {"requests": Counter(), "attempts at the one that is away": Counter()}
    for line in lines:
        counted["requests"][int((line.began_s - began_s) / _STEP_S)] += 1
        for attempt in line.attempts:
            if attempt.provider == upstream:
                at_s = line.began_s - began_s + attempt.offset_ms / 1000
                counted["attempts at the one that is away"][int(at_s / _STEP_S)] += 1
    last = max((step for counts in counted.values() for step in counts), default=-1)
    drawn: dict[str, list[tuple[float, float]]] = {
        title: [(round(step * _STEP_S, 1), float(counts[step])) for step in range(last + 1)]
        for title, counts in counted.items()
    }
    return Curve(name=name, x="s", y=f"begun in {_STEP_S:g} s", lines=drawn, steps=True)


def _route(name: str, outcome: Outcome, routes: dict[str, Outcome]) -> list[Figure]:
    found = [_failed(name, outcome)]
    target, steady = None, routes.get(faults.STEADY)
    if name == faults.FAILING_HEDGED and steady is not None and steady.ttft_ms:
        target = max(rank(steady.ttft_ms, 0.95) or 0.0, HEDGE_FLOOR_MS) + (rank(steady.ttft_ms, 0.99) or 0.0)
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        value = rank(outcome.ttft_ms, share)
        found.append(
            Figure(
                name=f"{_first_token(name)}, {label}",
                unit="ms",
                samples=[] if value is None else [value],
                target=target if share > 0.9 else None,
                beside=f"{_first_token(faults.STEADY)}, {label}" if name == faults.FAILING_HEDGED else None,
                histogram=_first_token(name),
                quantile=share,
                headline=name == faults.FAILING_HEDGED,
            )
        )
    if name == faults.FAILING_HEDGED:
        for what, share in (("hedges", outcome.tally.hedge_share), ("waste", outcome.tally.waste_share)):
            title = f"{what} per request, {_TITLES[name]}"
            found.append(Figure(name=title, unit="%", samples=[share * 100], target=HEDGE_SHARE_MAX * 100))
    return found


def _failed(name: str, outcome: Outcome) -> Figure:
    title = f"requests that failed, {_TITLES[name]}"
    return Figure(name=title, unit="", samples=[float(outcome.failed)], target=0.0, headline=True)


def _first_token(name: str) -> str:
    return f"first token, {_TITLES[name]}"


def _settings(profile: Profile) -> failover.Settings:
    found = failover.FULL
    if profile.quick:
        found = failover.QUICK._replace(
            attempt_seconds=0.8,
            warmup_s=0.6,
            publish_s=0.0,  # an outage goes on for longer once its breaker is open
            warm_once=True,
            faults_s=1.5,
            outage_s=2.2,
            rounds=1,
            round_s=0.1,
            round_warmup_s=0.05,
        )
    if profile.rounds is not None:
        found = found._replace(rounds=profile.rounds)
    return found._replace(seed=profile.seed)
