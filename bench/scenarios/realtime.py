"""What the gateway adds to a session's sound, and what an idle session takes. The measures are `bench.realtime`'s."""

from bench import realtime
from bench.process import cores, raise_open_files
from bench.runs import Figure, Scenario
from bench.samples import Samples
from bench.scenarios import Profile, Say, differences, present
from bench.scenarios.spoken import SpokenConsole
from bench.subjects import DIRECT

METHOD = (
    "One gateway worker before an upstream that answers each frame of sound with a small one; a frame of 20 ms every "
    "20 ms in each session, one-way times from written to read; then sessions that say nothing, in a fresh gateway."
)


def run(profile: Profile, say: Say) -> Scenario:
    """Measure all parts; raises RuntimeError when something does not start or nothing is answered."""
    console = SpokenConsole(say)
    settings = realtime.within_limits(_settings(profile), raise_open_files(), console.print)
    return scenario(realtime.measure(settings, cores(), console), settings, console.printed())


def scenario(samples: Samples, settings: realtime.Settings, remarks: list[str]) -> Scenario:
    """Give what was found."""
    return Scenario(
        name="realtime",
        method=METHOD,
        settings=settings._asdict(),
        figures=present(figures(samples, settings)),
        remarks=remarks,
        problems=list(samples.problems),
    )


def figures(samples: Samples, settings: realtime.Settings) -> list[Figure]:
    """Give what is added in each direction, and what frames and sessions cost."""
    found = []
    for side, where in (("up", "to the upstream"), ("down", "to the client")):
        for quantile in ("p50", "p99"):
            by_way = samples.values[f"{side}_{quantile}_ms"]
            direct = list(by_way[DIRECT])
            title = f"one way {where}, {quantile}, {DIRECT}"
            found.append(Figure(name=title, unit="ms", samples=direct, foreign=True))
            for way in realtime.RELAYED:
                added, quoted = differences(by_way[way], direct), way == realtime.CHARGED
                title = f"one way {where}, {quantile}, added with {way}"
                found.append(Figure(name=title, unit="ms", samples=added, headline=quoted))
    held = f"{settings.idle_sessions:,} idle sessions"
    for measure, title in (("pair_cpu_us", "CPU per frame and its answer"), ("idle_kb", f"memory per session, {held}")):
        unit = "us" if measure == "pair_cpu_us" else "KB"
        for way in realtime.RELAYED:
            beside = f"{title}, {realtime.LOGGED}" if way == realtime.CHARGED else None
            values, quoted = list(samples.values[measure][way]), way == realtime.CHARGED
            found.append(Figure(name=f"{title}, {way}", unit=unit, samples=values, beside=beside, headline=quoted))
    for way in realtime.RELAYED:
        shares = [share * 100 for share in samples.values["idle_cpu_share"][way]]
        found.append(Figure(name=f"CPU of the worker, {held}, {way}", unit="%", samples=shares))
    return found


def _settings(profile: Profile) -> realtime.Settings:
    found = realtime.FULL
    if profile.quick:
        found = realtime.QUICK._replace(
            rounds=1,
            seconds=0.15,
            warmup_s=0.05,
            idle_seconds=0.2,
            idle_sessions=100,
            idle_ways=(realtime.CHARGED,),
            unanswered=False,
        )
    return found if profile.rounds is None else found._replace(rounds=profile.rounds)
