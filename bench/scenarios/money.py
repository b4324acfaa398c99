"""What it costs a request that somebody pays for it, and how fast the ledger books it: `bench.money`, as figures."""

from bench import money
from bench.process import cores, raise_open_files
from bench.runs import Figure, Scenario
from bench.samples import Samples
from bench.scenarios import Profile, Say, differences, present
from bench.scenarios.spoken import SpokenConsole
from bench.settlements import Load

METHOD = (
    "One gateway worker, unary requests at one rate, open loop, and in a closed loop: without a store, with one and a "
    "key of the configuration, with an account's key; rounds interleaved. Settlements are booked straight into a store."
)
_KINDS = (
    ("paced_cpu_us", "CPU per request, same rate", money.ADDED_US_MAX),
    ("own_cpu_us", "the worker's own thread per request, same rate", None),
    ("closed_cpu_us", "CPU per request, closed loop", None),
)
"""Measures, titles, and the targets of what an account adds, in us."""


def run(profile: Profile, say: Say) -> Scenario:
    """Measure both parts; raises RuntimeError when something does not start or nothing is answered."""
    raise_open_files()
    settings, console = _settings(profile), SpokenConsole(say)
    samples = money.measure(settings, cores(), console)
    return scenario(samples, settings)


def scenario(samples: Samples, settings: money.Settings) -> Scenario:
    """Give what was found."""
    asked = settings._asdict() | {"settlements": settings.settlements._asdict(), "period_us": samples.unary_period_us}
    return Scenario(
        name="money",
        method=METHOD,
        settings=asked,
        figures=present(figures(samples)),
        remarks=[f"Same rate: a request each {samples.unary_period_us:,} us."],
        problems=list(samples.problems),
    )


def figures(samples: Samples) -> list[Figure]:
    """Give the cost of each way, beside that without a store, and what was added."""
    found = []
    plain = money.PLAIN
    for measure, title, added_max in _KINDS:
        by_way = samples.values[measure]
        for way in money.WAYS:
            beside = None if way == plain or not by_way[plain] else f"{title}, {plain}"
            values, quoted = list(by_way[way]), way == money.CHARGED and added_max is not None
            found.append(Figure(name=f"{title}, {way}", unit="us", samples=values, beside=beside, headline=quoted))
        added = differences(by_way[money.CHARGED], by_way[plain])
        name = f"{title}, added by {money.CHARGED}"
        found.append(Figure(name=name, unit="us", samples=added, target=added_max, headline=added_max is not None))
    found += [
        Figure(name=f"latency at that rate, {label}, {way}", unit="ms", samples=list(samples.values[measure][way]))
        for measure, label in (("paced_p50_ms", "p50"), ("paced_p99_ms", "p99"))
        for way in money.WAYS
    ]
    settled = samples.values["settled_per_s"][""]
    found.append(
        Figure(
            name="settlements booked per second",
            unit="/s",
            samples=list(settled),
            better="higher",
            target=money.SETTLEMENTS_PER_S_MIN,
            headline=True,
        )
    )
    return found


def _settings(profile: Profile) -> money.Settings:
    found = money.FULL
    if profile.quick:
        found = money.QUICK._replace(rounds=1, seconds=0.1, warmup_s=0.05, settlements=Load(rounds=1, batches=1))
    return found if profile.rounds is None else found._replace(rounds=profile.rounds)
