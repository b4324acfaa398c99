"""What the gateway adds to a session's sound, and what an idle session takes. The parts are `bench.realtime`'s.

What was added is taken within each round. Nothing here has a target. A session that failed is a problem; a bench that
was too busy to be believed, and a worker that others kept from its core, are remarks.
"""

from bench import realtime
from bench.process import cores, raise_open_files
from bench.realtime import CHARGED, LOGGED, RELAYED, Settings
from bench.runs import Figure, Scenario
from bench.samples import Samples, spread
from bench.scenarios import Profile, Say, differences, present
from bench.subjects import DIRECT

METHOD = (
    "One gateway worker before an upstream that answers each frame of sound with a small one; a frame of 20 ms every "
    "20 ms in each session, one-way times from written to read; then sessions that say nothing, in a fresh gateway."
)
_BENCH_SHARE_MAX = 0.8
_LATE_MS_MAX = 2.0
_WAITED_SHARE_MAX = 0.02
_HELD = (
    ("idle_kb", "memory per session", "KB"),
    ("spoken_kb", "memory per session that has said a frame", "KB"),
    ("closed_kb", "memory per session when all are closed", "KB"),
    ("before_mb", "memory before", "MB"),
)
"""Measures of sessions that are held, titles and units."""


def run(profile: Profile, say: Say) -> Scenario:
    """Measure all parts; raises RuntimeError when something does not start or nothing is answered."""
    said: list[str] = []
    settings = realtime.QUICK if profile.quick else realtime.FULL
    settings = settings._replace(rounds=profile.rounds or settings.rounds)
    settings = realtime.within_limits(settings, raise_open_files(), said.append)
    return scenario(realtime.measure(settings, cores(), say), settings, said)


def scenario(samples: Samples, settings: Settings, said: list[str]) -> Scenario:
    """Give what was found, after what was said before."""
    return Scenario(
        name="realtime",
        method=METHOD,
        settings=settings._asdict(),
        figures=present(figures(samples, settings)),
        remarks=[*said, *remarks(samples, settings)],
        problems=list(samples.problems),
    )


def figures(samples: Samples, settings: Settings) -> list[Figure]:
    """Give what is added in each direction, and what frames and sessions cost."""
    return [*_one_way(samples), *_frames(samples), *_sessions(samples, f"{settings.idle_sessions:,} idle sessions")]


def remarks(samples: Samples, settings: Settings) -> list[str]:
    """Say what the reader must know to believe the figures."""

    def most(name: str) -> float:
        return max((max(values) for values in samples.values[name].values() if values), default=0.0)

    rate = settings.sessions * 1000 / settings.interval_ms
    speech = f"{settings.sessions} sessions, a frame each {settings.interval_ms:g} ms, {rate:,.0f} per second"
    late = f"the load was late by {most('late_p99_ms'):.2f} ms or more with 1 % of its frames in the worst round"
    pinged = most("idle_pings") / max(1, settings.idle_sessions)
    said = [
        f"Speech: {speech}, all answered; the worker used {most('cpu_share'):.0%} of its core at most.",
        f"Upstream and load used {most('bench_share'):.0%} of theirs; {late}, which is not in the latencies.",
        f"Idle: {settings.idle_seconds:g} s; each client was pinged {pinged:.1f} times.",
    ]
    if most("bench_share") > _BENCH_SHARE_MAX or most("late_p99_ms") > _LATE_MS_MAX:
        said.append("The bench, or the machine, was a bottleneck in some round: latencies are not all the gateway's.")
    waited = spread([share for way in RELAYED for share in samples.values["waited_share"][way]])
    if waited is not None and waited.high > _WAITED_SHARE_MAX:
        share = f"{waited.median:.0%} ({waited.low:.0%}-{waited.high:.0%})"
        said.append(f"The worker waited for its core, which others had, {share} of the time: p99 is mostly that.")
    return said


def _one_way(samples: Samples) -> list[Figure]:
    found = []
    for side, where in (("up", "to the upstream"), ("down", "to the client")):
        for quantile in ("p50", "p99"):
            by_way, title = samples.values[f"{side}_{quantile}_ms"], f"one way {where}, {quantile}"
            direct = list(by_way[DIRECT])
            found.append(Figure(name=f"{title}, {DIRECT}", unit="ms", samples=direct, foreign=True))
            for way in RELAYED:
                added, name = differences(by_way[way], direct), f"{title}, added with {way}"
                found.append(Figure(name=name, unit="ms", samples=added, headline=way == CHARGED))
    return found


def _frames(samples: Samples) -> list[Figure]:
    found = _relayed(samples, "pair_cpu_us", "CPU per frame and its answer", "us", quoted=True)
    pairs, alone = samples.values["pair_cpu_us"][LOGGED], list(samples.values["up_cpu_us"][LOGGED])
    found.append(Figure(name=f"CPU per frame without an answer, {LOGGED}", unit="us", samples=alone))
    answers = differences(pairs, alone)
    found.append(Figure(name=f"CPU per answer, {LOGGED}", unit="us", samples=answers))
    return found


def _sessions(samples: Samples, held: str) -> list[Figure]:
    found = []
    for measure, title, unit in _HELD:
        found += _relayed(samples, measure, f"{title}, {held}", unit, quoted=measure == "idle_kb")
    for way in RELAYED:
        shares = [share * 100 for share in samples.values["idle_cpu_share"][way]]
        found.append(Figure(name=f"CPU of the worker, {held}, {way}", unit="%", samples=shares))
    found += _relayed(samples, "opening_cpu_us", "CPU to open a session", "us")
    for measure, title, unit in (
        ("opening_per_s", "sessions opened per second", "/s"),
        ("idle_answers", f"frames answered at the end, {held}", ""),
    ):
        for way in RELAYED:
            values = list(samples.values[measure][way])
            found.append(Figure(name=f"{title}, {way}", unit=unit, samples=values, better="higher"))
    return found


def _relayed(samples: Samples, measure: str, title: str, unit: str, *, quoted: bool = False) -> list[Figure]:
    """Give what each way through the gateway costs; an account's is held against that of a key of the file."""
    return [
        Figure(
            name=f"{title}, {way}",
            unit=unit,
            samples=list(samples.values[measure][way]),
            beside=f"{title}, {LOGGED}" if way == CHARGED else None,
            headline=quoted and way == CHARGED,
        )
        for way in RELAYED
    ]
