"""The data plane beside nginx: what a request and an event cost, what is added to them, what an open stream takes.

The jobs and their order are `bench.measure`'s. Two things are added to them: at the open loop's rate, numbered streams
whose every time to first token is kept, so that there is a distribution and not two of its quantiles; and, in a full
run, unary requests at several rates, so that latency stands over throughput.
"""

import shutil
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from bench.jobs import Numbered, Paced
from bench.lane import within_limits
from bench.measure import FULL, QUICK, Bench, Samples, Settings, Start, perform
from bench.nginx import find, nginx
from bench.process import Cores, cores, raise_open_files
from bench.report import DIRECT, GATEWAY, NGINX
from bench.runs import Curve, Figure, Histogram, Scenario, histogram
from bench.scenarios import Profile, Say, differences, present
from bench.scenarios.spoken import SpokenConsole
from bench.subjects import KEY, Subject, canned, gateway

METHOD = (
    "One gateway worker on one core, upstream and load on another, loopback; nginx as a reverse proxy, and no proxy, "
    "in its place; rounds interleaved. CPU is the subject's own. Latency counts from the intended start."
)
_LOADS = (0.1, 0.25, 0.5, 0.7, 0.85)
"""Shares of what the gateway could answer with all of its core."""

_ARRIVALS_MAX = 1000


class Measure(NamedTuple):
    """One measure of `bench.measure.Samples`, and what of it is a figure."""

    key: str
    title: str
    unit: str
    target: float | None = None
    ratio_max: float | None = None
    added: bool = False
    higher: bool = False
    headline: bool = False


MEASURES = (
    Measure("paced_cpu_us", "CPU per unary request, same rate", "us", target=277, ratio_max=6, headline=True),
    Measure("unary_cpu_us", "CPU per unary request, closed loop", "us", headline=True),
    Measure("event_cpu_us", "CPU per SSE event", "us", ratio_max=4, headline=True),
    Measure("unary_per_s", "requests per second, one worker", "/s", higher=True, headline=True),
    Measure("unary_p99_ms", "latency at that rate, p99", "ms"),
    Measure("paced_p50_ms", "latency added to a unary request, p50", "ms", added=True),
    Measure("paced_p99_ms", "latency added to a unary request, p99", "ms", added=True),
    Measure("ttft_p50_ms", "time to first token added, p50", "ms", target=0.5, added=True, headline=True),
    Measure("ttft_p99_ms", "time to first token added, p99", "ms", target=3, added=True, headline=True),
    Measure("gap_p99_ms", "gap between events, p99", "ms"),
)


def run(profile: Profile, say: Say) -> Scenario:
    """Measure all of it; raises RuntimeError when a subject does not start."""
    placement, console = cores(), SpokenConsole(say)
    settings = within_limits(_settings(profile), raise_open_files(), console)
    nginx_path = find()
    histograms: list[Histogram] = []
    curves: list[Curve] = []
    with ExitStack() as stack:
        upstream = stack.enter_context(canned(placement))
        starts: list[Start] = []
        if nginx_path is not None:
            starts.append(partial(nginx, nginx_path, upstream.port, placement))
        starts.append(partial(gateway, upstream.port, placement))
        bench = Bench(settings, upstream, wrk=shutil.which("wrk"), perform=partial(perform, cores=placement))
        with ExitStack() as running:
            subjects = [upstream, *(running.enter_context(start()) for start in starts)]
            bench.run(subjects, say)
            say("every first token")
            histograms = [_first_tokens(bench.samples, subject, settings, placement) for subject in subjects]
            if not profile.quick:
                curves.append(_latency_over_load(bench.samples, subjects, settings, placement, say))
        for count in settings.held:
            bench.hold(starts, count, say)
    return scenario(bench.samples, settings, histograms, curves, console.printed())


def scenario(
    samples: Samples, settings: Settings, histograms: list[Histogram], curves: list[Curve], remarks: list[str]
) -> Scenario:
    """Give what was found."""
    notes = list(remarks)
    if not samples.values["unary_per_s"][NGINX]:
        notes.append("nginx was not there: no ratios.")
    rate = 1e6 / max(1, samples.unary_period_us)
    notes.append(f"Same rate: {rate:,.0f} unary requests a second; a stream each {samples.period_us:,} us. Open loop.")
    return Scenario(
        name="lane",
        method=METHOD,
        settings=settings._asdict() | {"period_us": samples.period_us, "unary_period_us": samples.unary_period_us},
        figures=figures(samples, settings),
        histograms=[each for each in histograms if each.values],
        curves=curves,
        remarks=notes,
        problems=samples.problems,
    )


def figures(samples: Samples, settings: Settings) -> list[Figure]:
    """Give the gateway's figures, each followed by its peer's."""
    held = [
        Measure(f"held_{count}_kb_each", f"memory per stream, {count:,} open", "KB", target=25, headline=count == first)
        for first in settings.held[:1]
        for count in settings.held
    ]
    found = []
    for measure in (*MEASURES, *held):
        by_subject = samples.values[measure.key]
        values = {
            name: differences(by_subject[name], by_subject[DIRECT]) if measure.added else list(by_subject[name])
            for name in (GATEWAY, NGINX)
        }
        peer = f"{measure.title}: {NGINX}"
        found.append(
            Figure(
                name=measure.title,
                unit=measure.unit,
                samples=values[GATEWAY],
                better="higher" if measure.higher else "lower",
                target=measure.target,
                beside=peer if values[NGINX] and not measure.added else None,
                ratio_max=measure.ratio_max,
                headline=measure.headline,
            )
        )
        found.append(Figure(name=peer, unit=measure.unit, samples=values[NGINX], better=found[-1].better, foreign=True))
    return present(found)


def _settings(profile: Profile) -> Settings:
    found = QUICK._replace(rounds=2, seconds=0.15, warmup_s=0.1, held=(200,)) if profile.quick else FULL
    return found if profile.rounds is None else found._replace(rounds=profile.rounds)


def _first_tokens(samples: Samples, subject: Subject, settings: Settings, placement: Cores) -> Histogram:
    requests = min(_ARRIVALS_MAX, round(settings.seconds * settings.rounds * 1e6 / samples.period_us))
    job = Numbered(
        port=subject.port, key=KEY, subject=list(subject.pids), period_us=samples.period_us, requests=requests
    )
    report = perform(job, placement)
    samples.problems.extend(f"{subject.name}, numbered: {count} x {why}" for why, count in report.errors.items())
    return histogram(f"time to first token, {subject.name}", "ms", report.first_contents_ms)


def _latency_over_load(
    samples: Samples, subjects: list[Subject], settings: Settings, placement: Cores, say: Say
) -> Curve:
    lines: dict[str, list[tuple[float, float]]] = {}
    for load in _LOADS:
        period_us = max(1, round(samples.unary_period_us * settings.open_load / load))
        for subject in subjects:
            say(f"unary, {1e6 / period_us:,.0f} requests a second, {subject.name}")
            job = Paced(
                port=subject.port,
                key=KEY,
                subject=list(subject.pids),
                seconds=settings.seconds,
                warmup_s=settings.warmup_s,
                period_us=period_us,
            )
            report = perform(job, placement)
            problems = (f"{subject.name}, sweep: {count} x {why}" for why, count in report.errors.items())
            samples.problems.extend(problems)
            if report.latency_ms is not None:
                answered = report.requests_in_window / report.seconds
                for quantile, value in (("p50", report.latency_ms.p50), ("p99", report.latency_ms.p99)):
                    lines.setdefault(f"{subject.name}, {quantile}", []).append((round(answered), round(value, 3)))
    return Curve(name="latency over throughput, unary", x="requests per second", y="ms", lines=lines)
