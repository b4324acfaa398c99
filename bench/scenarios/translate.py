"""What translation costs in a gateway that does everything else too: `bench.translate`'s pairs, as figures.

An event is held against what the floor takes to pass one, in the same round; a unary request against the pass-through
of the same client. The dearest pair stands for all of them.
"""

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from types import MappingProxyType
from typing import Any

from bench import peers, translate
from bench.perform import perform
from bench.process import cores, raise_open_files
from bench.runs import Figure, Scenario
from bench.samples import Samples
from bench.scenarios import Profile, Say, present
from bench.subjects import NGINX, serving
from bench.translate import EVENT, PAIRS, SERVED, UNARY, Bench, Pair

METHOD = (
    "One gateway worker before a scripted upstream that speaks every dialect; each client over each upstream, unary "
    "requests at one rate and streams of an event each interval, and nginx passing such streams; rounds interleaved."
)
PASSED_MAX, TRANSLATED_MAX = 4.0, 6.0
"""How many times the floor's an event may cost."""

_SERVED_SHARE_MIN = 0.95
_UNARY, _EVENT = "CPU per unary request", "CPU per event"
_FLOOR = f"{_EVENT} passed by {NGINX}"
_TRANSLATED = [pair for pair in PAIRS if pair != pair.plain]


def run(profile: Profile, say: Say) -> Scenario:
    """Check and measure all pairs; raises RuntimeError when something does not start."""
    raise_open_files()
    settings, placement = _settings(profile), cores()
    with ExitStack() as stack:
        upstream = stack.enter_context(translate.scripted(placement, profile.seed))
        beside = [name for name in profile.peers if name == NGINX]
        floors = peers.starts(beside, upstream.port, placement)
        floor = stack.enter_context(floors[0]()) if floors else None
        served = stack.enter_context(serving(translate.configuration(upstream.port), placement))
        asking = partial(perform, cores=placement)
        bench = Bench(settings, served.subject, upstream, asking, floor=floor)
        say("is every pair right")
        bench.check()
        bench.run(say)
    return scenario(bench.samples, settings, peers.settings(beside))


def scenario(
    samples: Samples, settings: translate.Settings, beside: Mapping[str, Any] = MappingProxyType({})
) -> Scenario:
    """Give what was found."""
    return Scenario(
        name="translate",
        method=METHOD,
        settings=settings._asdict() | {"peers": dict(beside)},
        figures=present(figures(samples)),
        remarks=remarks(samples, settings),
        problems=list(samples.problems),
    )


def figures(samples: Samples) -> list[Figure]:
    """Give the floor and the dearest pair, and then every one."""
    events, floor = samples.values[EVENT], list(samples.values[EVENT][NGINX])
    found = [Figure(name=_FLOOR, unit="us", samples=floor, foreign=True)]
    dearest = _dearest(samples, EVENT)
    if dearest is not None:
        title = f"{_EVENT} translated, the dearest pair"
        found.append(_event(title, samples, dearest, TRANSLATED_MAX, headline=True))
    dearest = _dearest(samples, UNARY)
    if dearest is not None:
        title, values = f"{_UNARY} translated, the dearest pair", list(samples.values[UNARY][str(dearest)])
        found.append(Figure(name=title, unit="us", samples=values, beside=f"{_UNARY}, {dearest.plain}", headline=True))
    for pair in PAIRS:
        ratio_max = PASSED_MAX if pair == pair.plain else TRANSLATED_MAX
        found.append(_event(f"{_EVENT}, {pair}", samples, pair, ratio_max))
    for pair in _TRANSLATED:
        both = zip(events[str(pair)], events[str(pair.plain)], strict=False)
        times = [ours / plain for ours, plain in both if plain]
        found.append(Figure(name=f"an event's cost to its pass-through's, {pair}", unit="x", samples=times))
    for pair in PAIRS:
        beside = None if pair == pair.plain else f"{_UNARY}, {pair.plain}"
        values = list(samples.values[UNARY][str(pair)])
        found.append(Figure(name=f"{_UNARY}, {pair}", unit="us", samples=values, beside=beside))
    return found


def remarks(samples: Samples, settings: translate.Settings) -> list[str]:
    """Say what the figures cannot."""
    said = [
        f"Unary: a request each {settings.unary_period_us:,} us, answers of {settings.unary_tokens} tokens, open loop.",
        f"Events: {settings.streams} streams, one event each {settings.interval_ms:g} ms: the upstream is slow.",
        "Most events find their subject asleep: waking it is a part of every figure, the floor's too.",
    ]
    dearest = [
        f"{pair} {what}"
        for measure, what in ((EVENT, "per event"), (UNARY, "per unary request"))
        if (pair := _dearest(samples, measure)) is not None
    ]
    if dearest:
        said.append(f"The dearest pair: {', '.join(dearest)}.")
    if not samples.values[EVENT][NGINX]:
        said.append("nginx was not there: no ratios to it.")
    served = [share for shares in samples.values[SERVED].values() for share in shares]
    if served and min(served) < _SERVED_SHARE_MIN:
        said.append(f"In the worst sample {min(served):.0%} of the unary requests were answered in time.")
    return said


def _event(title: str, samples: Samples, pair: Pair, ratio_max: float, *, headline: bool = False) -> Figure:
    """Hold a pair's events against the floor, or, where there was none, against its pass-through."""
    beside: str | None = _FLOOR
    if not samples.values[EVENT][NGINX]:
        beside = None if pair == pair.plain else f"{_EVENT}, {pair.plain}"
    return Figure(
        name=title,
        unit="us",
        samples=list(samples.values[EVENT][str(pair)]),
        beside=beside,
        ratio_max=ratio_max if beside == _FLOOR else None,
        headline=headline,
    )


def _dearest(samples: Samples, measure: str) -> Pair | None:
    """Give the translated pair with the greatest median."""
    values = samples.values[measure]
    measured = [pair for pair in _TRANSLATED if values[str(pair)]]
    return max(measured, key=lambda pair: statistics.median(values[str(pair)]), default=None)


def _settings(profile: Profile) -> translate.Settings:
    found = translate.QUICK if profile.quick else translate.FULL
    return found if profile.rounds is None else found._replace(rounds=profile.rounds)
