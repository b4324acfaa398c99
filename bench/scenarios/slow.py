"""One client reads a long stream slowly: how much of it piles up in what stands between. The job is `bench.slow`'s."""

from contextlib import ExitStack
from functools import partial

from bench.measure import FULL, QUICK, Bench, Samples, Settings, Start, perform
from bench.nginx import find, nginx
from bench.process import cores, raise_open_files
from bench.report import GATEWAY, NGINX
from bench.runs import Figure, Scenario
from bench.scenarios import Profile, Say, present
from bench.subjects import canned, gateway

METHOD = (
    "One client takes a stream in bursts, with pauses; the upstream writes as fast as it is let. Growth is from the "
    "resident memory of a fresh process to its highest reading."
)
_ROUNDS_FULL = 5
_GROWN = "growth while a slow client reads"


def run(profile: Profile, say: Say) -> Scenario:
    """Read it through fresh processes; raises RuntimeError when one does not start."""
    placement, settings = cores(), QUICK._replace(slow_mb=50) if profile.quick else FULL
    rounds = profile.rounds or (1 if profile.quick else _ROUNDS_FULL)
    raise_open_files()
    nginx_path = find()
    with ExitStack() as stack:
        upstream = stack.enter_context(canned(placement))
        starts: list[Start] = [partial(gateway, upstream.port, placement)]
        if nginx_path is not None:
            starts.append(partial(nginx, nginx_path, upstream.port, placement))
        bench = Bench(settings, upstream, wrk=None, perform=partial(perform, cores=placement))
        for number in range(rounds):
            bench.slow_reader(starts, lambda text, number=number: say(f"{text} ({number + 1} of {rounds})"))  # type: ignore[misc]
    return scenario(bench.samples, settings)


def scenario(samples: Samples, settings: Settings) -> Scenario:
    """Give what was found."""
    values = samples.values
    figures = [
        Figure(name=_GROWN, unit="MB", samples=values["slow_grown_mb"][GATEWAY], target=5.0, headline=True),
        Figure(name=f"{_GROWN}: {NGINX}", unit="MB", samples=values["slow_grown_mb"][NGINX], foreign=True),
        Figure(name="memory at its highest", unit="MB", samples=values["slow_peak_mb"][GATEWAY]),
        Figure(name="that stream took", unit="s", samples=values["slow_read_s"][GATEWAY]),
    ]
    asked = {"slow_mb": settings.slow_mb, "burst_mb": settings.slow_burst_mb, "pause_ms": settings.slow_pause_ms}
    return Scenario(
        name="slow", method=METHOD, settings=asked, figures=present(figures), problems=list(samples.problems)
    )
