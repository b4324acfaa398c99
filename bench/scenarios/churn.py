"""A connection for each request, beside connections that are kept: what it costs, how long it takes. See `bench.churn`.

Both kinds are asked in a closed loop and at one rate, which is half of what the gateway can with a connection for each
request; there CPU and latency are compared, since all do the same work in the same time. A peer that cannot follow that
rate is only in the closed loop.
"""

from contextlib import ExitStack
from typing import Any, NamedTuple

from bench import peers
from bench.jobs import AnyJob, Churn, Paced, Unary
from bench.measure import taking_turns
from bench.runs import Figure, Scenario
from bench.scenarios import Profile, Say, differences
from bench.scenarios.trial import Shown, Trial, trial
from bench.subjects import GATEWAY, OURS, Subject

METHOD = (
    "Unary requests, each on a connection that is made for it and closed by its client, or on kept connections; closed "
    "loop, and at one rate. Latency counts from the intended start and includes connecting. Rounds interleaved."
)
_LOAD = 0.5
_PERIOD_US_MIN = 400
_CHURN, _KEPT = "a connection each", "kept connections"


class Settings(NamedTuple):
    """How long and how often; `connections` at once in a closed loop, and at most `connections_max` in one job.

    Without `kept_closed` kept connections are only asked at the one rate.
    """

    rounds: int
    seconds: float
    warmup_s: float
    connections: int = 32
    connections_max: int = 20_000
    kept_closed: bool = True


QUICK = Settings(rounds=1, seconds=0.15, warmup_s=0.05, kept_closed=False)
FULL = Settings(rounds=5, seconds=2.5, warmup_s=0.3)


def run(profile: Profile, say: Say) -> Scenario:
    """Measure all rounds; raises RuntimeError when something of ours does not start, or the gateway answers nothing."""
    settings = QUICK if profile.quick else FULL
    settings = settings._replace(rounds=profile.rounds or settings.rounds)
    with trial(profile, say) as (found, starts), ExitStack() as running:
        subjects = [found.upstream, *found.started(starts, running)]
        asking = Asking(found, settings)
        say("first pass, not counted")
        for subject in subjects[1:]:
            asking.closed(subject)
        asking.find_rate(subjects)
        found.samples.clear()
        for number in range(settings.rounds):
            say(f"round {number + 1} of {settings.rounds}")
            for subject in taking_turns(subjects, number):
                asking.round(subject)
    asked = settings._asdict() | {"period_us": asking.period_us, "peers": peers.settings(profile.peers)}
    return scenario(found, settings, asking.period_us, asked)


class Asking:
    """Puts the jobs to subjects."""

    def __init__(self, trial: Trial, settings: Settings) -> None:
        self.period_us = 0
        self._trial = trial
        self._settings = settings
        self._too_slow: set[str] = set()
        self._failed = 0

    def find_rate(self, subjects: list[Subject]) -> None:
        """Set the one rate from the first pass: a share of what the gateway could with all of its core.

        Raises RuntimeError when the gateway answered nothing.
        """
        values = self._trial.samples.values
        costs = values["churn_closed_cpu_us"][GATEWAY]
        if not costs:
            raise RuntimeError(f"{GATEWAY}: nothing was answered: {'; '.join(self._trial.samples.problems)}")
        self.period_us = max(_PERIOD_US_MIN, round(costs[-1] / _LOAD))
        for subject in subjects:
            rates = values["churn_per_s"][subject.name]
            if subject.name not in OURS and (not rates or rates[-1] < 1e6 / self.period_us):
                self._too_slow.add(subject.name)
                self._trial.remarks.append(f"{subject.name} cannot follow the common rate, and was not asked at it.")

    def round(self, subject: Subject) -> None:
        """Put every job to it, and count what failed with a connection each."""
        self._failed = 0
        self.closed(subject)
        if self._settings.kept_closed:
            job = Unary(**self._told(subject), connections=self._settings.connections)
            self._ask(subject, job, "kept", paced=False)
        if subject.name not in self._too_slow:
            self._paced(subject)
        self._trial.add("failed", subject, self._failed)

    def closed(self, subject: Subject) -> None:
        """Ask with a connection each, as fast as it goes."""
        settings = self._settings
        job = Churn(**self._told(subject), connections=settings.connections, connections_max=settings.connections_max)
        self._ask(subject, job, "churn", paced=False)

    def _paced(self, subject: Subject) -> None:
        most = self._settings.connections_max
        job = Churn(**self._told(subject), period_us=self.period_us, connections_max=most)
        self._ask(subject, job, "churn", paced=True)
        self._ask(subject, Paced(**self._told(subject), period_us=self.period_us), "kept", paced=True)

    def _told(self, subject: Subject) -> dict[str, Any]:
        settings = self._settings
        return self._trial.told(subject) | {"seconds": settings.seconds, "warmup_s": settings.warmup_s}

    def _ask(self, subject: Subject, job: AnyJob, kind: str, *, paced: bool) -> None:
        trial, rate = self._trial, "paced" if paced else "closed"
        report = trial.ask(subject, job, f"{_CHURN if kind == 'churn' else _KEPT}, {rate}")
        if kind == "churn":
            self._failed += sum(report.errors.values()) if report is not None else 1
        if report is None:
            return
        if subject.pids and subject != trial.upstream:
            trial.add(f"{kind}_{rate}_cpu_us", subject, report.subject_cpu_s * 1e6, report.requests_in_window)
        if not paced:
            trial.add(f"{kind}_per_s", subject, report.requests_in_window, report.seconds)
        if report.latency_ms is not None:
            trial.add(f"{kind}_{rate}_p50_ms", subject, report.latency_ms.p50)
            trial.add(f"{kind}_{rate}_p99_ms", subject, report.latency_ms.p99)


def scenario(found: Trial, settings: Settings, period_us: int, asked: dict[str, object]) -> Scenario:
    """Give what was found."""
    cpu, latency = "CPU per request", "latency"
    shown = [
        Shown("churn_paced_cpu_us", f"{cpu}, {_CHURN}, same rate", "us", headline=True),
        Shown("kept_paced_cpu_us", f"{cpu}, {_KEPT}, same rate", "us"),
        Shown("churn_closed_cpu_us", f"{cpu}, {_CHURN}, closed loop", "us"),
        Shown("kept_closed_cpu_us", f"{cpu}, {_KEPT}, closed loop", "us"),
        Shown("churn_per_s", f"requests per second, {_CHURN}", "/s", higher=True, headline=True),
        Shown("kept_per_s", f"requests per second, {_KEPT}", "/s", higher=True),
        *(
            Shown(f"{kind}_paced_{quantile}_ms", f"{latency}, {title}, same rate, {quantile}", "ms")
            for kind, title in (("churn", _CHURN), ("kept", _KEPT))
            for quantile in ("p50", "p99")
        ),
        Shown("failed", f"requests that failed, {_CHURN}", "", target=0.0),
    ]
    figures, values = found.figures(shown), found.samples.values
    added = differences(values["churn_paced_cpu_us"][GATEWAY], values["kept_paced_cpu_us"][GATEWAY])
    if added:
        figures.insert(2, Figure(name="CPU that a connection adds to its request, same rate", unit="us", samples=added))
    rate = f"Same rate: a request each {period_us:,} us."
    most = (
        f"A job makes at most {settings.connections_max:,} connections, since each keeps its port for a while after it "
        "was closed; one that has made them ends early."
    )
    return Scenario(
        name="churn",
        method=METHOD,
        settings=asked,
        figures=figures,
        remarks=[rate, most, *found.said()],
        problems=found.samples.problems,
    )
