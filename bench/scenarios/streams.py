"""Many streams that hardly say anything, held open at once: memory of each, CPU of all, and whether one is lost.

Each count has fresh processes, since a heap does not shrink back. A gap between two events of a stream should be the
upstream's interval; what it is more is how late an event was, and of that the upstream's own lateness, seen by going
straight to it, is a part.
"""

from typing import NamedTuple

from bench import peers
from bench.jobs import Hold
from bench.measure import taking_turns
from bench.process import raise_open_files
from bench.runs import Scenario
from bench.scenarios import Profile, Say
from bench.scenarios.trial import Shown, Trial, trial
from bench.subjects import Subject

METHOD = (
    "So many endless streams are opened through a fresh process, up to 200 at a time, each with an event every few "
    "seconds. Memory is what the process grew by, until the streams had been held for a while."
)
KB_EACH_MAX = 25.0
_FILES_SPARE = 256
_OPEN_SECONDS_MAX = 45.0


class Settings(NamedTuple):
    """How many streams, in how many rounds, and for how long they are held once they are open."""

    held: tuple[int, ...]
    rounds: int
    seconds: float
    interval_ms: float


QUICK = Settings(held=(200,), rounds=1, seconds=0.4, interval_ms=200.0)
FULL = Settings(held=(1_000, 10_000), rounds=5, seconds=3.0, interval_ms=3_000.0)


def run(profile: Profile, say: Say) -> Scenario:
    """Hold streams through fresh processes; raises RuntimeError when something of ours does not start."""
    settings = QUICK if profile.quick else FULL
    settings = settings._replace(rounds=profile.rounds or settings.rounds)
    settings, remarks = within_limits(settings, raise_open_files())
    with trial(profile, say) as (found, starts):
        for count in settings.held:
            holding = Holding(found, settings, count)
            for number in range(settings.rounds):
                say(f"{count:,} streams, round {number + 1} of {settings.rounds}")
                holding.hold(found.upstream)
                found.fresh(taking_turns(starts, number), holding.hold)
    asked = settings._asdict() | {"peers": peers.settings(profile.peers)}
    return scenario(found, settings, asked, remarks)


def within_limits(settings: Settings, files_max: int) -> tuple[Settings, list[str]]:
    """Hold no more streams than a proxy, with two sockets each, may open here; say so where that is fewer."""
    most = (files_max - _FILES_SPARE) // 2
    if max(settings.held) <= most:
        return settings, []
    held = tuple(min(count, most) for count in settings.held)
    return settings._replace(held=held), [f"{files_max:,} open files allow {most:,} streams: those are held instead."]


class Holding:
    """Holds so many streams open, in rounds."""

    def __init__(self, trial: Trial, settings: Settings, count: int) -> None:
        self._trial = trial
        self._settings = settings
        self._count = count
        self._left_out: set[str] = set()

    def hold(self, subject: Subject) -> None:
        """Open them, hold them, and keep what that took; who is too slow at opening them is left out from then on."""
        trial, count = self._trial, self._count
        if subject.name in self._left_out or self._would_take_too_long(subject):
            return
        settings = self._settings
        job = Hold(
            **trial.told(subject),
            streams=count,
            interval_ms=settings.interval_ms,
            seconds=settings.seconds,
            # The first gap of each stream is a random part of the interval: those are over by then.
            warmup_s=settings.interval_ms / 1000,
        )
        report = trial.ask(subject, job, f"{count:,} streams")
        if report is None or report.opened < count / 2:
            self._left_out.add(subject.name)
        if report is None:
            return
        trial.add(f"lost_{count}", subject, count - report.opened)
        trial.add(f"opened_{count}_per_s", subject, report.opened, report.open_seconds)
        if report.gap_ms is not None:
            trial.add(f"late_{count}_ms", subject, report.gap_ms.p99 - settings.interval_ms)
        if subject.pids and subject != trial.upstream:
            trial.add(f"cpu_{count}", subject, report.subject_cpu_s * 100, report.seconds)
            grown_kb = (report.rss_after_bytes - report.rss_before_bytes) / 1e3
            trial.add(f"kb_{count}", subject, grown_kb, report.opened)

    def _would_take_too_long(self, subject: Subject) -> bool:
        """Judge by the rate at which fewer streams were opened before."""
        before = [
            (count, rates[subject.name])
            for count in self._settings.held
            if count < self._count and subject.name in (rates := self._trial.samples.values[f"opened_{count}_per_s"])
        ]
        if not before or self._count / min(before[-1][1]) <= _OPEN_SECONDS_MAX:
            return False
        self._left_out.add(subject.name)
        rate = f"opened {min(before[-1][1]):,.0f} streams a second"
        self._trial.remarks.append(f"{subject.name} {rate}: too slow to be asked for {self._count:,}.")
        return True


def scenario(found: Trial, settings: Settings, asked: dict[str, object], remarks: list[str]) -> Scenario:
    """Give what was found."""
    shown = [each for count in settings.held for each in _shown(count, headline=count == max(settings.held))]
    return Scenario(
        name="streams",
        method=METHOD,
        settings=asked,
        figures=found.figures(shown),
        remarks=[*remarks, *found.said()],
        problems=found.samples.problems,
    )


def _shown(count: int, *, headline: bool) -> list[Shown]:
    held = f"{count:,} open"
    return [
        Shown(f"kb_{count}", f"memory per stream, {held}", "KB", target=KB_EACH_MAX, headline=headline),
        Shown(f"lost_{count}", f"streams lost, {held}", "", target=0.0, headline=headline),
        Shown(f"cpu_{count}", f"CPU while held, {held}", "% of a core"),
        Shown(f"opened_{count}_per_s", f"streams opened per second, {held}", "/s", higher=True),
        Shown(f"late_{count}_ms", f"gap between events over the interval, p99, {held}", "ms"),
    ]
