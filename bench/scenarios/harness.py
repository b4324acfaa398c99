"""Whether the bench can be believed: it measures a gateway that does known things. The measures are `bench.harness`'s.

What the null gateway adds is the floor of the method: no figure of an added latency can be trusted below it. What its
p99 has above its median is that of an added p99.
"""

from contextlib import AbstractContextManager
from functools import partial

from bench import harness
from bench.harness import FIRST, NULL, UNARY, Harness, delayed, off_percent
from bench.null import Options
from bench.perform import perform
from bench.process import cores, raise_open_files
from bench.runs import Figure, Scenario, histogram
from bench.samples import Samples
from bench.scenarios import Profile, Say, differences, present
from bench.subjects import DIRECT, Subject, canned

METHOD = (
    "A gateway that only passes bytes stands where the gateway would; it delays, fails, stalls as told, by a seed. "
    "What the load finds is held against what was put there, within each round."
)
_OFF_PERCENT_MAX = 5.0
_QUANTILES = ("p50", "p99")


def run(profile: Profile, say: Say) -> Scenario:
    """Measure all of it; raises RuntimeError when something does not start."""
    raise_open_files()
    settings, placement = _settings(profile), cores()
    with canned(placement, seed=profile.seed) as upstream:

        def start(options: Options, name: str) -> AbstractContextManager[Subject]:
            return harness.null(upstream.port, placement, options, name=name)

        asking = partial(perform, cores=placement)
        bench = Harness(settings, upstream, start=start, perform=asking)
        bench.run(say)
    return scenario(bench, settings)


def scenario(bench: Harness, settings: harness.Settings) -> Scenario:
    """Give what was found."""
    title = f"first token across a stall of {settings.stall_ms:g} ms"
    return Scenario(
        name="harness",
        method=METHOD,
        settings=settings._asdict(),
        figures=present(figures(bench.samples, settings)),
        histograms=[histogram(title, "ms", bench.waits_ms)] if bench.waits_ms else [],
        remarks=remarks(bench.samples, settings),
        problems=list(bench.samples.problems),
    )


def figures(samples: Samples, settings: harness.Settings) -> list[Figure]:
    """Give the floor, what was wrong by how much, and how fast the load can be."""
    found = _floor(samples)
    for delay_ms in settings.delays_ms:
        found += _delay(samples, delay_ms, at_p99=delay_ms >= settings.tail_delay_ms)
    found += [
        Figure(
            name="known failures, counted wrong",
            unit="",
            samples=_values(samples, "failures_off"),
            target=0.0,
            headline=True,
        ),
        Figure(
            name="known failures, not those drawn", unit="", samples=_values(samples, "failures_undrawn"), target=0.0
        ),
        *_stall(samples, settings),
        Figure(
            name=f"interval of {settings.interval_ms:g} ms between events, off by",
            unit="%",
            samples=_values(samples, "interval_off"),
            target=_OFF_PERCENT_MAX,
            headline=True,
        ),
        Figure(
            name="the load's requests per second, closed loop",
            unit="/s",
            samples=_values(samples, "closed_per_s"),
            better="higher",
        ),
        Figure(name="the load's share of a core at that", unit="%", samples=_values(samples, "closed_load_share")),
        Figure(
            name="the load's requests per second, sent on time",
            unit="/s",
            samples=_values(samples, "on_time_per_s"),
            better="higher",
            headline=True,
        ),
    ]
    return found


def remarks(samples: Samples, settings: harness.Settings) -> list[str]:
    """Say what the figures cannot."""
    failures, requests = sum(_values(samples, "failures")), settings.failing_requests * settings.rounds
    late_ms = f"{harness.LATE_MS_MAX:g} ms"
    said = [
        f"{failures:.0f} of {requests} requests were made to fail, as drawn with a share of {settings.error_share:g}.",
        f"On time: 99 of 100 requests are sent within {late_ms} of their intended start, sharing the upstream's core.",
    ]
    asked, longest = _values(samples, "stall_closed_requests"), _values(samples, "stall_closed_max_ms")
    p99, waited = _values(samples, "stall_closed_p99_ms"), samples.values["stall_waited_share"]["open loop"]
    if asked and waited:
        said.append(
            f"Across the stall an open loop saw {min(waited):.0f} % of its requests wait for half of it or more. A "
            f"closed loop of {settings.connections} connections asked {min(asked):,.0f} times or more, saw "
            f"{max(longest):,.0f} ms at most, and a p99 of {max(p99):,.1f} ms: it asks nobody while nobody answers."
        )
    return said


def _floor(samples: Samples) -> list[Figure]:
    found = []
    for kind in (UNARY, FIRST):
        for quantile in _QUANTILES:
            by_subject = samples.values[f"{kind}, {quantile}"]
            added = differences(by_subject[NULL], by_subject[DIRECT])
            title = f"added by a {NULL}, {kind}, {quantile}"
            found.append(Figure(name=title, unit="ms", samples=added, headline=quantile == "p50"))
        p50, p99 = (samples.values[f"{kind}, {quantile}"][NULL] for quantile in _QUANTILES)
        found.append(Figure(name=f"p99 above p50 of a {NULL}, {kind}", unit="ms", samples=differences(p99, p50)))
    values = list(samples.values["cpu_us"][NULL])
    return [*found, Figure(name=f"CPU per unary request, {NULL}", unit="us", samples=values)]


def _delay(samples: Samples, delay_ms: float, *, at_p99: bool) -> list[Figure]:
    found = []
    for kind in (UNARY, FIRST):
        for quantile in _QUANTILES:
            by_subject = samples.values[f"{kind}, {quantile}"]
            added = differences(by_subject[delayed(delay_ms)], by_subject[NULL])
            found.append(
                Figure(
                    name=f"{delayed(delay_ms)}, off by, {kind}, {quantile}",
                    unit="%",
                    samples=[off_percent(each, delay_ms) for each in added],
                    target=_OFF_PERCENT_MAX if quantile == "p50" or at_p99 else None,
                    headline=quantile == "p50",
                )
            )
    return found


def _stall(samples: Samples, settings: harness.Settings) -> list[Figure]:
    stall = f"stall of {settings.stall_ms:g} ms"
    return [
        Figure(
            name=f"{stall}, requests that waited for half of it, off by",
            unit="%",
            samples=_values(samples, "stall_waited_off"),
            target=_OFF_PERCENT_MAX,
            headline=True,
        ),
        Figure(
            name=f"{stall}, longest wait, off by",
            unit="%",
            samples=_values(samples, "stall_longest_off"),
            target=_OFF_PERCENT_MAX,
        ),
    ]


def _values(samples: Samples, measure: str) -> list[float]:
    return list(samples.values[measure][""])


def _settings(profile: Profile) -> harness.Settings:
    found = harness.QUICK if profile.quick else harness.FULL
    if profile.rounds is not None:
        found = found._replace(rounds=profile.rounds)
    return found._replace(seed=profile.seed)
