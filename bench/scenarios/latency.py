"""What a proxy adds to latency, at loads that it can bear: 10, 50 and 80 % of what each of them can do.

The load is the share of the subject's own core, found by asking (`bench.measure.find_load`); where upstream and load
could not send as much, it is a smaller one, and said. Going straight to the upstream is asked at the same rate, right
beside, since load and upstream wait longer at higher rates too: what is shown is the difference of the two, quantile by
quantile, within a round. All samples of all rounds are in the distributions; direct's are those at the gateway's rate.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from bench import peers
from bench.jobs import Arrivals, Paced, Report, Unary
from bench.measure import Distributions, Load, Part, core_share, find_load, rounds
from bench.runs import Curve, Figure, Scenario
from bench.samples import spread
from bench.scenarios import Profile, Say, differences, present
from bench.scenarios.lineup import Lineup, lineup
from bench.scenarios.trial import Trial
from bench.subjects import DIRECT, GATEWAY, NGINX, OURS, Subject

METHOD = (
    "Short streams, and unary requests, begun at fixed times whatever became of earlier ones; latency counts from the "
    "intended start. Each subject at shares of its own core, going straight at the same rate right beside it, rounds "
    "interleaved. Added: the quantile through it minus the quantile straight, round by round."
)
HALF = 0.5
STREAMS, UNARY = "streams", "unary requests"
_CURVE = (0.1, 0.25, 0.5, 0.7, 0.85)
_REQUESTS_AT_ONCE, _STREAMS_AT_ONCE = 32, 500
_REQUESTS_PER_STREAM = 5  # what a stream costs; a first guess
_SETTLE_SECONDS = 0.1
_FIND_SECONDS_MAX = 1.0
_REACHED = 0.8
GOOD_MS = 50.0
"""Goodput counts answers, or first tokens, that came within it: beyond, a person begins to notice a gateway."""

_TARGETS = {("ttft", "p50"): 0.5, ("ttft", "p99"): 3.0}
"""In ms, of the gateway at half load."""

_TITLES = {
    "ttft": "time to first token added",
    "gap": "time between two events added",
    "latency": "latency added to a unary request",
}


class Settings(NamedTuple):
    """How long and how often. `loads` are those of the streams; unary requests are asked for at half load."""

    rounds: int
    seconds: float
    warmup_s: float
    loads: tuple[float, ...]
    tries: int
    events: int
    interval_ms: float
    curve_seconds: float = 0.0


QUICK = Settings(rounds=1, seconds=0.2, warmup_s=0.1, loads=(HALF,), tries=1, events=5, interval_ms=5.0)
FULL = Settings(
    rounds=5,
    seconds=2.5,
    warmup_s=0.3,
    loads=(0.1, HALF, 0.8),
    tries=4,
    events=20,
    interval_ms=20.0,
    curve_seconds=2.0,
)


class Level(NamedTuple):
    """One kind of request at one load of one subject."""

    kind: str
    share: float
    subject: str

    def __str__(self) -> str:
        return f"{self.kind} at {named(self.share)} of {self.subject}"


def named(share: float) -> str:
    """Say a load."""
    return "half load" if share == HALF else f"{share:.0%} load"


class Latency:
    """Finds each subject's rates, and asks it and the upstream at them. Measures are named after level and quantile."""

    def __init__(self, trial: Trial, subjects: Lineup, settings: Settings) -> None:
        self.trial = trial
        self.times = Distributions()
        self.loads: dict[Level, Load] = {}
        self._subjects = subjects
        self._settings = settings

    def run(self, say: Say) -> None:
        """Measure every round, once the rates are known."""
        for subject in self._subjects.proxies:
            say(f"what {subject.name} can do")
            unary_per_s = self._capacity_per_s(subject, UNARY)
            if unary_per_s is not None:
                self._find(subject, UNARY, (HALF,), unary_per_s)
                self._find(subject, STREAMS, self._settings.loads, unary_per_s / _REQUESTS_PER_STREAM)
        self.trial.samples.clear()
        self.times.clear()
        parts = [
            Part(str(level), partial(self._measure, level), (subject, self._subjects.direct))
            for level in self.loads
            for subject in self._subjects.proxies
            if subject.name == level.subject
        ]
        rounds(parts, self._settings.rounds, say)
        self._remark()

    def curve(self, say: Say) -> Curve:
        """Ask for unary requests at several rates, so that latency stands over throughput; direct at the gateway's."""
        lines: dict[str, list[tuple[float, float]]] = {}
        for share in _CURVE:
            for subject in (self._subjects.direct, *self._subjects.proxies):
                own = self._subjects.gateway if subject == self._subjects.direct else subject
                half = self.loads.get(Level(UNARY, HALF, own.name))
                if half is None:
                    continue
                period_us = round(half.period_us * half.share / share)
                say(f"latency over throughput: {1e6 / period_us:,.0f} requests a second, {subject.name}")
                told = self.trial.told(subject) | {"seconds": self._settings.curve_seconds}
                report = self.trial.ask(subject, Paced(**told, period_us=period_us), "latency over throughput")
                if report is not None and report.latency_ms is not None:
                    answered = round(report.requests_in_window / report.seconds)
                    for quantile, value in (("p50", report.latency_ms.p50), ("p99", report.latency_ms.p99)):
                        lines.setdefault(f"{subject.name}, {quantile}", []).append((answered, round(value, 3)))
        return Curve(name="latency over throughput, unary", x="requests per second", y="ms", lines=lines)

    def _find(self, subject: Subject, kind: str, shares: tuple[float, ...], guess_per_s: float) -> None:
        """Find the rates from the lowest on: each is the first guess of the next."""
        capacity_per_s = None if subject.pids else self._capacity_per_s(subject, kind)
        first_us = 1e6 / (capacity_per_s or guess_per_s) / shares[0]
        for share in shares:

            def ask(period_us: int, share: float = share) -> Report | None:
                return self._ask(subject, kind, period_us, f"{kind} at {named(share)}", _FIND_SECONDS_MAX)

            tries = self._settings.tries if capacity_per_s is None else 1
            found = find_load(ask, share, first_us, tries=tries, capacity_per_s=capacity_per_s)
            self.loads[Level(kind, share, subject.name)] = found
            following = [each for each in shares if each > share]
            first_us = found.period_us * found.share / following[0] if following else 0.0

    def _capacity_per_s(self, subject: Subject, kind: str) -> float | None:
        """Give what a subject answers in a closed loop; None where it does not answer."""
        settings = self._settings
        told = self.trial.told(subject) | {"seconds": settings.seconds, "warmup_s": self._warmup_s(kind)}
        if kind == STREAMS:
            told |= {"events": settings.events, "interval_ms": settings.interval_ms}
        connections = _STREAMS_AT_ONCE if kind == STREAMS else _REQUESTS_AT_ONCE
        report = self.trial.ask(subject, Unary(**told, connections=connections), f"{kind}, closed loop")
        if report is None or not report.requests_in_window:
            return None
        return report.requests_in_window / report.seconds

    def _measure(self, level: Level, subject: Subject) -> None:
        report = self._ask(subject, level.kind, self.loads[level].period_us, str(level))
        if report is None:
            return
        if subject.name == level.subject:
            if subject.pids:
                self.trial.add(f"{level}: share", subject, core_share(report))
            self.trial.add(f"{level}: late", subject, 0.0 if report.late_ms is None else report.late_ms.p99)
        measured = {"ttft": report.ttft_ms, "gap": report.gap_ms}
        if level.kind == UNARY:
            measured = {"latency": report.latency_ms}
        timely = report.latency_ms if level.kind == UNARY else report.ttft_ms
        self.trial.add(f"{level}: good", subject, 0 if timely is None else timely.within(GOOD_MS), report.seconds)
        for name, times in measured.items():
            if times is not None:
                self.trial.add(f"{level}: {name} p50", subject, times.p50)
                self.trial.add(f"{level}: {name} p99", subject, times.p99)
                if level.subject in {subject.name, GATEWAY}:
                    title = _TITLES[name].removesuffix(" added").replace(" added to", " of")
                    self.times.add(f"{title} at {named(level.share)}", subject.name, times)

    def _ask(
        self, subject: Subject, kind: str, period_us: int, what: str, seconds_max: float = float("inf")
    ) -> Report | None:
        settings = self._settings
        seconds = min(settings.seconds, seconds_max)
        told = self.trial.told(subject) | {"seconds": seconds, "warmup_s": self._warmup_s(kind)}
        if kind == UNARY:
            return self.trial.ask(subject, Paced(**told, period_us=period_us), what)
        job = Arrivals(**told, period_us=period_us, events=settings.events, interval_ms=settings.interval_ms)
        return self.trial.ask(subject, job, what)

    def _warmup_s(self, kind: str) -> float:
        """Give how long to wait until as many streams end as begin."""
        lasts_s = self._settings.events * self._settings.interval_ms / 1000 if kind == STREAMS else 0.0
        return max(self._settings.warmup_s, lasts_s + _SETTLE_SECONDS)

    def _remark(self) -> None:
        for level, load in self.loads.items():
            used = spread(self.trial.samples.values[f"{level}: share"][level.subject])
            late = spread(self.trial.samples.values[f"{level}: late"][level.subject])
            said = f"{str(level).capitalize()}: {load.per_s:,.0f} a second"
            if used is None:
                said += f", {load.share:.0%} of what it answered in a closed loop."
            else:
                said += f" used {used.median:.0%} ({used.low:.0%}-{used.high:.0%}) of its core."
                if used.median < level.share * _REACHED:
                    said += " That is less than was meant: upstream and load could not do more, or others had the core."
            if late is not None:
                said += f" The load sent 1 % of them {late.median:.2f} ms late or more."
            self.trial.remarks.append(said)


def run(profile: Profile, say: Say) -> Scenario:
    """Measure all of it; raises RuntimeError when the gateway does not start, or a peer cannot be had."""
    settings = QUICK if profile.quick else FULL
    settings = settings._replace(rounds=profile.rounds or settings.rounds)
    with lineup(profile, say) as (trial, subjects):
        latency = Latency(trial, subjects, settings)
        latency.run(say)
        curves = [latency.curve(say)] if settings.curve_seconds else []
    return scenario(latency, settings, curves, peers.settings(profile.peers))


def scenario(latency: Latency, settings: Settings, curves: list[Curve], beside: dict[str, Any]) -> Scenario:
    """Give what was found."""
    return Scenario(
        name="latency",
        method=METHOD,
        settings=settings._asdict() | {"peers": beside},
        figures=present(list(figures(latency))),
        histograms=list(latency.times.histograms()),
        curves=[curve for curve in curves if curve.lines],
        remarks=latency.trial.said(),
        problems=list(latency.trial.samples.problems),
    )


def figures(latency: Latency) -> Iterator[Figure]:
    """Give what each adds, those at half load first, the gateway's before the others'; then which loads those were."""
    values = latency.trial.samples.values
    order = {GATEWAY: 0, NGINX: 1}
    levels = sorted(latency.loads, key=lambda level: (level.share != HALF, order.get(level.subject, 2)))
    for name, title in _TITLES.items():
        for quantile in ("p50", "p99"):
            for level in levels:
                by_subject = values[f"{level}: {name} {quantile}"]
                ours = level.subject == GATEWAY and level.share == HALF
                yield Figure(
                    name=_figure(f"{title} at {named(level.share)}, {quantile}", level),
                    unit="ms",
                    samples=differences(by_subject[level.subject], by_subject[DIRECT]),
                    target=_TARGETS.get((name, quantile)) if ours else None,
                    foreign=level.subject not in OURS,
                    headline=ours and name != "gap",
                )
    for level in levels:
        what = "answers" if level.kind == UNARY else "first tokens"
        yield Figure(
            name=_figure(f"goodput, {what} within {GOOD_MS:g} ms at {named(level.share)}", level),
            unit="/s",
            samples=list(values[f"{level}: good"][level.subject]),
            better="higher",
            foreign=level.subject not in OURS,
        )
    for level in levels:
        shares = [share * 100 for share in values[f"{level}: share"][level.subject]]
        used = _figure(f"core used by {level.kind} at {named(level.share)}", level)
        yield Figure(name=used, unit="%", samples=shares, foreign=level.subject not in OURS)


def _figure(title: str, level: Level) -> str:
    return title if level.subject == GATEWAY else f"{title}: {level.subject}"
