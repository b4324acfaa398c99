"""The data plane beside its peers: CPU per request and per event, and how many requests one worker answers.

Three parts (`bench.measure` says why): a closed loop, unary requests at one rate for all, and endless streams. The rate
is the one at which the gateway uses half of its core; a peer that cannot answer so many is left out of it, and one that
could not relay all the streams gets fewer of them: both is said.
The gateway is asked with an account's key, which has everything that a key can have, and with a key of its file.
"""

import shutil
from typing import Any, NamedTuple

from bench import peers
from bench.jobs import Paced, Report, Streams, Unary
from bench.measure import Distributions, Load, Part, core_share, find_load, rounds, served_share
from bench.runs import Scenario
from bench.scenarios import Profile, Say
from bench.scenarios.lineup import Lineup, lineup
from bench.scenarios.trial import Shown, Trial
from bench.subjects import GATEWAY, NGINX, OURS, Subject

METHOD = (
    "One gateway worker on one core, upstream and load on another, loopback; its peers, and no proxy, in its place; "
    "rounds interleaved. An account's key: wallet, caps, rates, prices, journal, request log, access log, metrics. CPU "
    "is the worker's own, and for itself that of its other processes. Latency counts from the intended start."
)
LITELLM = "litellm"
CLOSED, PACED, EVENTS = "unary, closed loop", "unary, same rate", "SSE events"
UNARY_US_MAX = 277.0
"""1/100 of what a LiteLLM proxy took on the machine of the design."""

_HALF = 0.5
_FOLLOWS = 1.05
_EVENTS_PER_REQUEST = 5
"""How many events a slow peer is asked to relay in the time of a unary request: well below what any was seen to do."""

_SERVED_SHARE_MIN = 0.95
_PEER_SECONDS_MIN, _PEER_WARMUP_SECONDS_MIN = 1.0, 0.3
"""Of a quick run: some take a second until each connection has its first answer."""


class Settings(NamedTuple):
    """How long and how often. `tool` is wrk, where it is used: a C client leaves more of the other core's upstream."""

    rounds: int
    seconds: float
    warmup_s: float
    tool: str | None = None
    connections: int = 32
    streams: int = 100
    stream_interval_ms: float = 12.5


QUICK = Settings(rounds=1, seconds=0.15, warmup_s=0.05)
FULL = Settings(rounds=5, seconds=3.0, warmup_s=0.3, tool=shutil.which("wrk"))

SHOWN = (
    Shown(
        *("paced_cpu_us", "CPU per unary request, same rate", "us"),
        target=UNARY_US_MAX,
        ratio_max={NGINX: 6.0, LITELLM: 0.01},
        headline=True,
    ),
    Shown(
        *("unary_cpu_us", "CPU per unary request, closed loop", "us"),
        ratio_max={LITELLM: 0.01},
        headline=True,
    ),
    Shown("event_cpu_us", "CPU per SSE event", "us", ratio_max={NGINX: 4.0}, headline=True),
    Shown("unary_per_s", "requests per second, one worker", "/s", higher=True, headline=True),
    Shown("unary_p99_ms", "latency at that rate, p99", "ms"),
    Shown("paced_p50_ms", "latency added to a unary request, same rate, p50", "ms", added=True),
    Shown("paced_p99_ms", "latency added to a unary request, same rate, p99", "ms", added=True),
    Shown("gap_p99_ms", "time between two events, p99", "ms"),
    Shown("paced_beside_us", "CPU of its other processes per unary request, same rate", "us"),
    Shown("unary_beside_us", "CPU of its other processes per unary request, closed loop", "us"),
    Shown("event_beside_us", "CPU of its other processes per SSE event", "us"),
)


class Relay:
    """Asks all of them for the three parts, and collects samples and distributions."""

    def __init__(self, trial: Trial, subjects: Lineup, settings: Settings) -> None:
        self.trial = trial
        self.times = Distributions()
        self.rate = Load(1000, _HALF)
        self._streams: dict[str, int] = {}
        self._subjects = subjects
        self._settings = settings

    def run(self, say: Say) -> None:
        """Find the common rate, and measure every round."""
        everybody = [self._subjects.direct, *self._subjects.proxies, self._subjects.logged]
        say("first pass, not counted")
        for subject in everybody[1:]:
            self._closed(subject)
        rates = {name: values[-1] for name, values in self.trial.samples.values["unary_per_s"].items()}
        self._spare(rates)
        self._find_rate(rates, say)
        slow = [name for name, rate in rates.items() if rate < self.rate.per_s * _FOLLOWS and name not in OURS]
        for name in slow:
            answered = f"{rates[name]:,.0f} requests a second in the closed loop"
            self.trial.remarks.append(f"{name} answers {answered}: it was not asked at the same rate.")
        self.trial.samples.clear()
        self.times.clear()
        parts = (
            Part(CLOSED, self._closed, everybody),
            Part(PACED, self._paced, [subject for subject in everybody if subject.name not in slow]),
            Part(EVENTS, self._events, everybody[1:]),
        )
        rounds(parts, self._settings.rounds, say)
        self._judge_rate()

    def _find_rate(self, rates: dict[str, float], say: Say) -> None:
        gateway = self._subjects.gateway

        def ask(period_us: int) -> Report | None:
            say(f"half of what the gateway can do: a request each {period_us:,} us?")
            self.rate = Load(period_us, _HALF)
            return self._paced(gateway)

        self.rate = find_load(ask, _HALF, 1e6 / (_HALF * rates.get(GATEWAY, 1e3)))

    def _spare(self, rates: dict[str, float]) -> None:
        """Give the slow fewer streams: one that drowns in events takes a minute to open a hundred of them."""
        settings = self._settings
        for subject in self._subjects.proxies:
            each_per_s = 1000 / settings.stream_interval_ms
            streams = max(1, int(rates.get(subject.name, 0.0) * _EVENTS_PER_REQUEST / each_per_s))
            if subject.name not in OURS and streams < settings.streams:
                self._streams[subject.name] = streams
                given = f"{streams} of the {settings.streams} streams"
                self.trial.remarks.append(f"{subject.name} was given {given}, being slow.")

    def _judge_rate(self) -> None:
        values = self.trial.samples.values
        used = ", ".join(f"{name} {min(each):.0%} to {max(each):.0%}" for name, each in values["paced_share"].items())
        rate = f"{self.rate.per_s:,.0f} unary requests a second, open loop"
        self.trial.remarks.append(f"Same rate: {rate}. Of its core each used: {used}.")
        for name, shares in values["paced_served"].items():
            if min(shares) < _SERVED_SHARE_MIN:
                self.trial.remarks.append(
                    f"At the same rate {name} answered {min(shares):.0%} in time in its worst round: where requests "
                    "queue, its CPU and latency at that rate are not those of half load."
                )

    def _closed(self, subject: Subject) -> None:
        about = self._told(subject)
        job = Unary(**about, connections=self._settings.connections, tool=self._settings.tool)
        report = self.trial.ask(subject, job, CLOSED)
        if report is not None:
            self._costs("unary", subject, report, report.requests_in_window)
            self.trial.add("unary_per_s", subject, report.requests_in_window, report.seconds)
            if report.latency_ms is not None:
                self.trial.add("unary_p99_ms", subject, report.latency_ms.p99)

    def _paced(self, subject: Subject) -> Report | None:
        report = self.trial.ask(subject, Paced(**self._told(subject), period_us=self.rate.period_us), PACED)
        if report is not None:
            self._costs("paced", subject, report, report.requests_in_window)
            self.trial.add("paced_share", subject, core_share(report))
            self.trial.add("paced_served", subject, served_share(report, self.rate.period_us))
            if report.latency_ms is not None:
                self.trial.add("paced_p50_ms", subject, report.latency_ms.p50)
                self.trial.add("paced_p99_ms", subject, report.latency_ms.p99)
            self.times.add("latency of a unary request, same rate", subject.name, report.latency_ms)
        return report

    def _events(self, subject: Subject) -> None:
        settings = self._settings
        streams = self._streams.get(subject.name, settings.streams)
        job = Streams(**self._told(subject), streams=streams, interval_ms=settings.stream_interval_ms)
        report = self.trial.ask(subject, job, EVENTS)
        if report is not None:
            self._costs("event", subject, report, report.events)
            if report.gap_ms is not None:
                self.trial.add("gap_p99_ms", subject, report.gap_ms.p99)
            self.times.add("time between two events", subject.name, report.gap_ms)

    def _costs(self, kind: str, subject: Subject, report: Report, count: int) -> None:
        """Add CPU times for each of so many; the upstream's own are no proxy's."""
        if subject == self._subjects.direct:
            return
        if subject.pids:
            self.trial.add(f"{kind}_cpu_us", subject, report.subject_cpu_s * 1e6, count)
        if subject.beside:
            self.trial.add(f"{kind}_beside_us", subject, report.beside_cpu_s * 1e6, count)

    def _told(self, subject: Subject) -> dict[str, Any]:
        seconds, warmup_s = self._settings.seconds, self._settings.warmup_s
        if subject.name not in {*OURS, NGINX}:
            seconds, warmup_s = max(seconds, _PEER_SECONDS_MIN), max(warmup_s, _PEER_WARMUP_SECONDS_MIN)
        return self.trial.told(subject) | {"seconds": seconds, "warmup_s": warmup_s}


def run(profile: Profile, say: Say) -> Scenario:
    """Measure all parts; raises RuntimeError when the gateway does not start, or a peer cannot be had."""
    settings = QUICK if profile.quick else FULL
    settings = settings._replace(rounds=profile.rounds or settings.rounds)
    with lineup(profile, say) as (trial, subjects):
        relay = Relay(trial, subjects, settings)
        relay.run(say)
    asked = settings._asdict() | {"tool": "bench.load" if settings.tool is None else "wrk"}
    return scenario(relay, asked | {"peers": peers.settings(profile.peers)})


def scenario(relay: Relay, settings: dict[str, Any]) -> Scenario:
    """Give what was found."""
    said = relay.trial.said()
    if not relay.trial.samples.values["unary_cpu_us"][NGINX]:
        said.append("nginx was not there: no ratios to it.")
    return Scenario(
        name="relay",
        method=METHOD,
        settings=settings | {"same_rate_period_us": relay.rate.period_us},
        figures=relay.trial.figures(SHOWN),
        histograms=list(relay.times.histograms()),
        remarks=said,
        problems=list(relay.trial.samples.problems),
    )
