"""Upstreams that fail, stall or vanish: what clients see, what the race costs. The parts are `bench.failover`'s.

Targets are the design's: no failed request, the p99 of the time to first token within the hedge delay plus the healthy
p99, hedges and their waste within their budget, a dead upstream left alone within a second of traffic, and at most 30
us of CPU a request for the race where nothing fails. The healthy p99 and the hedge delay are those of the route without
faults and without hedging: the delay that its own p95 gives, not the one that was waited, so that a gateway which waits
longer than it should cannot lower its bar.

The course of an outage is drawn from the access log: in each tenth of a second, how many requests began, and how many
attempts at the upstream that was away.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench import failover, faults
from bench.attempts import Line
from bench.outcomes import Outcome, Results, rank
from bench.process import cores, raise_open_files
from bench.runs import Curve, Figure, Scenario, histogram
from bench.scenarios import Profile, Say, differences, present

METHOD = (
    "One gateway worker before three scripted upstreams, first content log-normal; one of them fails now and then, or "
    "goes down. Streams begin at a fixed rate, latency counts from the intended start, every request counts."
)
HEDGE_FLOOR_MS = 200.0
HEDGE_SHARE_MAX = 0.10
"""Both as the gateway has them without configuration."""

_OPEN_SECONDS_MAX = 1.0
_RACE_US_MAX = 30.0
_TITLES = {
    faults.STEADY: "no faults",
    faults.STEADY_HEDGED: "no faults, hedged",
    faults.FAILING: "faults",
    faults.FAILING_HEDGED: "faults, hedged",
    faults.REFUSED: "one refuses",
    faults.STALLED: "one stalls",
}
_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_SLOW_MS = 1000.0
"""Where few requests wait for long, a p99 does not show them."""

_STEP_S = 0.1


def run(profile: Profile, say: Say) -> Scenario:
    """Run all parts; raises RuntimeError when something does not start."""
    raise_open_files()
    settings = _settings(profile)
    return scenario(failover.measure(settings, cores(), say), settings)


def scenario(results: Results, settings: failover.Settings) -> Scenario:
    """Give what was found."""
    return Scenario(
        name="failover",
        method=METHOD,
        settings=_plain(settings),
        figures=present(figures(results, settings.outage_s)),
        histograms=[
            histogram(_first_token(name), "ms", outcome.ttft_ms)
            for name, outcome in _outcomes(results).items()
            if outcome.ttft_ms
        ],
        curves=[
            course(f"an upstream goes down: {_TITLES[name]}", outage.lines, outage.upstream)
            for name, outage in results.outages.items()
        ],
        remarks=[*remarks(settings), *_attempts(results)],
        problems=list(results.problems),
    )


def figures(results: Results, outage_s: float) -> list[Figure]:
    """Give what clients saw of each route, and what the race costs where nothing fails.

    A breaker that did not open while its upstream was asked counts with the whole outage.
    """
    found = []
    target_ms = _p99_ms_max(results)
    for name, outcome in results.routes.items():
        found += _route(name, outcome, target_ms if name == faults.FAILING_HEDGED else None)
    for name, outage in results.outages.items():
        found += _route(name, outage.outcome, None)
        opened = [outage_s if outage.left_alone_s is None else outage.left_alone_s]
        title = f"until its breaker is open, {_TITLES[name]}"
        found.append(Figure(name=title, unit="s", samples=opened, target=_OPEN_SECONDS_MAX, headline=True))
    for kind, by_route in results.cpu_us.items():
        plain, raced = by_route[faults.PLAIN], by_route[faults.RACED]
        one, three = f"CPU per request, {kind}, one candidate", f"CPU per request, {kind}, three candidates, hedged"
        found.append(Figure(name=one, unit="us", samples=list(plain)))
        found.append(Figure(name=three, unit="us", samples=list(raced), beside=one, headline=True))
        title = f"added by the race where nothing fails, {kind}"
        found.append(Figure(name=title, unit="us", samples=differences(raced, plain), target=_RACE_US_MAX))
    return found


def remarks(settings: failover.Settings) -> list[str]:
    """Say what was put there, and what the bar of the tail is made of."""
    pace, wrong = settings.pace, settings.faults
    bar = f"the hedge delay, which is the p95 without faults, or {HEDGE_FLOOR_MS:g} ms where that is more"
    law = f"log-normal, median {pace.median_ms:g} ms, sigma {pace.sigma:g}, at most {pace.ms_max:g} ms"
    kinds = f"{wrong.refusals:.0%} 503, {wrong.stalls:.0%} silent for {wrong.stall_seconds:g} s, "
    kinds += f"{wrong.cuts:.0%} cut before content"
    load = f"{settings.rate_per_s} requests a second for {settings.faults_s:g} s, all four at once"
    outage = f"{settings.outage_rate_per_s} a second for {settings.outage_s:g} s"
    stream = f"a stream of {settings.machinery_events} events each {settings.machinery_stream_period_us:,} us"
    return [
        f"Where one upstream fails, the p99 of the first token may be what it is without faults plus {bar}.",
        f"Healthy time to first token: {law}. Faults of one upstream of three: {kinds}.",
        f"Each route gets {load}; in an outage {outage}.",
        f"An attempt without content is replaced after {settings.attempt_seconds:g} s; else the race is as it comes.",
        f"Where nothing fails: a unary request each {settings.machinery_unary_period_us:,} us; {stream}.",
    ]


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


def _route(name: str, outcome: Outcome, p99_ms_max: float | None) -> list[Figure]:
    title, bared = _TITLES[name], name == faults.FAILING_HEDGED
    failed = [float(outcome.failed)]
    found = [Figure(name=f"requests that failed, {title}", unit="", samples=failed, target=0.0, headline=True)]
    for label, share in _QUANTILES:
        found.append(
            Figure(
                name=f"{_first_token(name)}, {label}",
                unit="ms",
                samples=_ranked(outcome.ttft_ms, share),
                target=p99_ms_max if label == "p99" else None,
                beside=f"{_first_token(faults.STEADY)}, {label}" if bared else None,
                histogram=_first_token(name),
                quantile=share,
                headline=bared and label != "p95",
            )
        )
    found.append(Figure(name=f"{_first_token(name)}, the longest", unit="ms", samples=_ranked(outcome.ttft_ms, 1.0)))
    slow = sum(each >= _SLOW_MS for each in outcome.ttft_ms)
    late = [slow * 100 / len(outcome.ttft_ms)] if outcome.ttft_ms else []
    found.append(Figure(name=f"first tokens after {_SLOW_MS:,.0f} ms or later, {title}", unit="%", samples=late))
    for what, share, share_max in (
        ("retries", outcome.tally.retry_share, None),
        ("hedges", outcome.tally.hedge_share, HEDGE_SHARE_MAX),
        ("waste", outcome.tally.waste_share, HEDGE_SHARE_MAX),
    ):
        target = share_max * 100 if bared and share_max is not None else None
        found.append(Figure(name=f"{what} per request, {title}", unit="%", samples=[share * 100], target=target))
    return found


def _p99_ms_max(results: Results) -> float | None:
    """Give the bar of the route with faults that hedges; None where the one without faults was not measured."""
    steady = results.routes.get(faults.STEADY)
    if steady is None or not steady.ttft_ms:
        return None
    delay_ms = max(*_ranked(steady.ttft_ms, 0.95), HEDGE_FLOOR_MS)
    return delay_ms + sum(_ranked(steady.ttft_ms, 0.99))


def _ranked(values: Sequence[float], share: float) -> list[float]:
    value = rank(values, share)
    return [] if value is None else [value]


def _attempts(results: Results) -> list[str]:
    """Say of each route when its hedges began, and what became of the attempts at the upstream in trouble."""
    away = {name: outage.upstream for name, outage in results.outages.items()}
    return [_told(name, outcome, away.get(name, faults.TROUBLED)) for name, outcome in _outcomes(results).items()]


def _told(name: str, outcome: Outcome, troubled: str) -> str:
    tally = outcome.tally
    said = [f"{outcome.requests:,} answered", f"breaker openings: {sum(outcome.openings.values())}"]
    sound = [delay for upstream, delays in tally.delays_ms.items() if upstream != troubled for delay in delays]
    for where, delays in (("sound ones", sound), ("the one in trouble", tally.delays_ms.get(troubled, []))):
        said += [f"hedges beside {where} began after {delay:,.0f} ms (p50)" for delay in _ranked(delays, 0.5)]
    counted = sorted(tally.outcomes.get(troubled, {}).items(), key=lambda item: -item[1])
    if counted:
        said.append(f"attempts at the one in trouble: {', '.join(f'{count:,} {how}' for how, count in counted)}")
    return f"{_TITLES[name]}: {'; '.join(said)}."


def _outcomes(results: Results) -> dict[str, Outcome]:
    return results.routes | {name: outage.outcome for name, outage in results.outages.items()}


def _first_token(name: str) -> str:
    return f"first token, {_TITLES[name]}"


def _settings(profile: Profile) -> failover.Settings:
    found = failover.QUICK if profile.quick else failover.FULL
    return found._replace(rounds=profile.rounds or found.rounds, seed=profile.seed)


def _plain(settings: Any) -> Any:
    """Give named tuples as objects, whatever they are nested in."""
    if isinstance(settings, tuple) and hasattr(settings, "_asdict"):
        return {name: _plain(value) for name, value in settings._asdict().items()}
    return settings
