"""Clients that read a long stream slowly: how much of it piles up in what stands between. The job is `bench.slow`'s.

One reader of a very long stream shows whether anything piles up without end; many at once show what each of them may
cost. Growth is counted from a fresh process, which has not yet opened anything.
"""

from typing import NamedTuple

from bench import peers
from bench.jobs import SlowReader
from bench.measure import taking_turns
from bench.runs import Scenario
from bench.scenarios import Profile, Say
from bench.scenarios.trial import Shown, Trial, trial
from bench.subjects import Subject

METHOD = (
    "Clients take streams in bursts, with pauses; the upstream writes as fast as it is let. Growth is from what a "
    "fresh process has in memory to its highest reading."
)
GROWN_MB_MAX = 5.0
_GROWN = "growth while a slow client reads"


class Settings(NamedTuple):
    """How much one reader reads, how much each of many, and how."""

    rounds: int
    one_mb: int
    many: int
    many_mb: int
    burst_mb: float = 5.0
    many_burst_mb: float = 0.5
    pause_ms: float = 100.0
    seconds_max: float = 60.0


QUICK = Settings(rounds=1, one_mb=30, many=20, many_mb=1, pause_ms=40.0, many_burst_mb=0.25, seconds_max=5.0)
FULL = Settings(rounds=5, one_mb=1_000, many=50, many_mb=10)


def run(profile: Profile, say: Say) -> Scenario:
    """Read through fresh processes; raises RuntimeError when something of ours does not start."""
    settings = QUICK if profile.quick else FULL
    settings = settings._replace(rounds=profile.rounds or settings.rounds)
    with trial(profile, say) as (found, starts):
        reading = Reading(found, settings)
        for number in range(settings.rounds):
            round_ = f"round {number + 1} of {settings.rounds}"
            say(f"one reader of {settings.one_mb:,} MB, {round_}")
            found.fresh(taking_turns(starts, number), reading.one)
            say(f"{settings.many} readers of {settings.many_mb:,} MB each, {round_}")
            found.fresh(taking_turns(starts, number), reading.many)
    asked = settings._asdict() | {"peers": peers.settings(profile.peers)}
    return scenario(found, settings, asked)


class Reading:
    """Reads slowly; who was so slow that one stream did not end in its time is not asked for it again."""

    def __init__(self, trial: Trial, settings: Settings) -> None:
        self._trial = trial
        self._settings = settings
        self._unfinished: set[str] = set()

    def one(self, subject: Subject) -> None:
        """Read one long stream."""
        settings = self._settings
        found = self._read(subject, "one", readers=1, total_mb=settings.one_mb, burst_mb=settings.burst_mb)
        if found is not None:
            self._trial.add("one_grown_mb", subject, found)

    def many(self, subject: Subject) -> None:
        """Read many shorter ones at once."""
        readers, burst_mb = self._settings.many, self._settings.many_burst_mb
        found = self._read(subject, "many", readers=readers, total_mb=self._settings.many_mb, burst_mb=burst_mb)
        if found is not None:
            self._trial.add("many_grown_kb_each", subject, found * 1e3, readers)

    def _read(self, subject: Subject, measure: str, *, readers: int, total_mb: int, burst_mb: float) -> float | None:
        """Give how many MB the subject grew by; None where that is not known."""
        trial, settings = self._trial, self._settings
        what = f"{readers} slow reader{'s' if readers > 1 else ''}"
        if not subject.pids or f"{subject.name}, {what}" in self._unfinished:
            return None
        job = SlowReader(
            **trial.told(subject),
            readers=readers,
            seconds=settings.seconds_max,
            total_bytes=total_mb * 1_000_000,
            burst_bytes=round(burst_mb * 1_000_000),
            pause_ms=settings.pause_ms,
        )
        report = trial.ask(subject, job, what)
        if report is None:
            return None
        if report.requests < readers and not report.errors:
            self._unfinished.add(f"{subject.name}, {what}")
            trial.remarks.append(
                f"{subject.name}, {what}: {report.body_bytes / 1e6:,.0f} MB in {report.seconds:.0f} s, and no end."
            )
        trial.add(f"{measure}_peak_mb", subject, report.rss_peak_bytes / 1e6)
        trial.add(f"{measure}_read_mb_per_s", subject, report.body_bytes / 1e6, report.seconds)
        return (report.rss_peak_bytes - report.rss_before_bytes) / 1e6


def scenario(found: Trial, settings: Settings, asked: dict[str, object]) -> Scenario:
    """Give what was found."""
    many = f"{settings.many} slow clients read"
    shown = [
        Shown("one_grown_mb", _GROWN, "MB", target=GROWN_MB_MAX, headline=True),
        Shown("one_peak_mb", "memory at its highest, one slow client", "MB"),
        Shown("one_read_mb_per_s", "one slow client was served", "MB/s", higher=True),
        Shown("many_grown_kb_each", f"growth per client while {many}", "KB", headline=True),
        Shown("many_peak_mb", f"memory at its highest while {many}", "MB"),
        Shown("many_read_mb_per_s", f"all were served while {many}", "MB/s", higher=True),
    ]
    return Scenario(
        name="slow-reader",
        method=METHOD,
        settings=asked,
        figures=found.figures(shown),
        remarks=found.said(),
        problems=found.samples.problems,
    )
