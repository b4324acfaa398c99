"""What it costs a request that somebody pays for it, and how fast the ledger books it. The parts are `bench.money`'s.

What a store and an account add is taken within each round. Targets are what an account adds at one rate, everything in
the worker's process counted, and settlements per second.
"""

from bench import money
from bench.process import cores, raise_open_files
from bench.runs import Figure, Scenario
from bench.samples import Samples
from bench.scenarios import Profile, Say, differences, present

METHOD = (
    "One gateway worker, unary requests at one rate, open loop, and in a closed loop: without a store, with one and a "
    "key of the configuration, with an account's key; rounds interleaved. Settlements are booked straight into a store."
)
_ADDED_US_MAX = 40.0
_SETTLEMENTS_PER_S_MIN = 20_000.0
_KINDS = (
    ("paced_cpu_us", "CPU per request, same rate", _ADDED_US_MAX),
    ("own_cpu_us", "the worker's own thread per request, same rate", None),
    ("closed_cpu_us", "CPU per request, closed loop", None),
)
"""Measures, titles, and the targets of what an account adds, in us."""


def run(profile: Profile, say: Say) -> Scenario:
    """Measure both parts; raises RuntimeError when something does not start or nothing is answered."""
    raise_open_files()
    settings = money.QUICK if profile.quick else money.FULL
    settings = settings._replace(rounds=profile.rounds or settings.rounds)
    return scenario(money.measure(settings, cores(), say), settings)


def scenario(samples: Samples, settings: money.Settings) -> Scenario:
    """Give what was found."""
    asked = settings._asdict() | {"settlements": settings.settlements._asdict(), "period_us": samples.unary_period_us}
    return Scenario(
        name="money",
        method=METHOD,
        settings=asked,
        figures=present(figures(samples)),
        remarks=[
            f"Same rate: a request each {samples.unary_period_us:,} us.",
            "CPU beyond the worker's own thread is SQLite's and the journal's reader's: no request waits for it.",
        ],
        problems=list(samples.problems),
    )


def figures(samples: Samples) -> list[Figure]:
    """Give the cost of each way, beside that without a store, and what was added; then rates and latencies."""
    found = []
    for measure, title, added_max in _KINDS:
        found += _costs(samples, measure, title, added_max)
    found += [
        Figure(name=f"latency at that rate, {label}, {way}", unit="ms", samples=list(samples.values[measure][way]))
        for measure, label in (("paced_p50_ms", "p50"), ("paced_p99_ms", "p99"))
        for way in money.WAYS
    ]
    for way in money.WAYS:
        rates = list(samples.values["closed_per_s"][way])
        found.append(Figure(name=f"requests per second, closed loop, {way}", unit="/s", samples=rates, better="higher"))
    settled, settled_cpu = (list(samples.values[name][""]) for name in ("settled_per_s", "settled_per_cpu_s"))
    title = "settlements booked per second"
    per_s = _SETTLEMENTS_PER_S_MIN
    found.append(Figure(name=title, unit="/s", samples=settled, better="higher", target=per_s, headline=True))
    found.append(Figure(name=f"{title} of CPU", unit="/s", samples=settled_cpu, better="higher"))
    return found


def _costs(samples: Samples, measure: str, title: str, added_max: float | None) -> list[Figure]:
    found = []
    by_way, plain = samples.values[measure], money.PLAIN
    for way in money.WAYS:
        beside = None if way == plain or not by_way[plain] else f"{title}, {plain}"
        values, quoted = list(by_way[way]), way == money.CHARGED and added_max is not None
        found.append(Figure(name=f"{title}, {way}", unit="us", samples=values, beside=beside, headline=quoted))
    for way in (money.LOGGED, money.CHARGED):
        target = added_max if way == money.CHARGED else None
        added, name = differences(by_way[way], by_way[plain]), f"{title}, added by {way}"
        found.append(Figure(name=name, unit="us", samples=added, target=target, headline=target is not None))
    return found
