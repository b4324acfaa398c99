"""Prompts of 100 KB to 10 MB: what is added to them, what they cost, what they take, and whom they hold up.

Latency and CPU are measured on running processes, memory on fresh ones with the largest prompts. Whether one who
uploads holds up another who listens is seen on small streams that run beside uploads of the largest kind: the same
streams without uploads, and both straight to the upstream, tell what of it is the bench's own doing.
"""

from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from bench import peers
from bench.jobs import Large
from bench.measure import taking_turns
from bench.runs import Scenario
from bench.scenarios import Profile, Say
from bench.scenarios.trial import Shown, Trial, trial
from bench.subjects import Subject

METHOD = (
    "Unary requests with long prompts in a closed loop, one at a time and several at once, whole requests only. Growth "
    "is from what a fresh process has in memory to its highest reading, looked at every 2 ms."
)


_IDLE_SECONDS = 0.5


class Settings(NamedTuple):
    """How long and how often; `sizes` in KB, the last one is the one whose memory and neighbours are looked at."""

    rounds: int
    memory_rounds: int
    seconds: float
    sizes: tuple[int, ...]
    at_once: tuple[int, ...]
    crowd: int = 8
    streams: int = 10
    interval_ms: float = 10.0
    warmup_s: float = 0.0
    only_ours: bool = False
    """Whether memory is only read of the gateway, and its streams are only looked at beside uploads."""


QUICK = Settings(rounds=1, memory_rounds=1, seconds=0.15, sizes=(1_000, 10_000), at_once=(1,), only_ours=True)
FULL = Settings(rounds=5, memory_rounds=5, seconds=1.0, sizes=(100, 1_000, 10_000), at_once=(1, 8), warmup_s=0.1)


def run(profile: Profile, say: Say) -> Scenario:
    """Measure all parts; raises RuntimeError when something of ours does not start."""
    settings = QUICK if profile.quick else FULL
    if profile.rounds is not None:
        settings = settings._replace(rounds=profile.rounds, memory_rounds=profile.rounds)
    with trial(profile, say) as (found, starts):
        uploading = Uploading(found, settings)
        with ExitStack() as running:
            subjects = [found.upstream, *found.started(starts, running)]
            for number in range(settings.rounds):
                say(f"round {number + 1} of {settings.rounds}")
                for subject in taking_turns(subjects, number):
                    uploading.upload(subject)
                    uploading.beside(subject)
        for number in range(settings.memory_rounds):
            say(f"memory, round {number + 1} of {settings.memory_rounds}")
            found.fresh(starts[:1] if settings.only_ours else taking_turns(starts, number), uploading.memory)
    asked = settings._asdict() | {"peers": peers.settings(profile.peers)}
    return scenario(found, settings, asked)


class Uploading:
    """Puts the jobs to subjects; a peer that refuses a size is not asked for it again."""

    def __init__(self, trial: Trial, settings: Settings) -> None:
        self._trial = trial
        self._settings = settings
        self._refused: set[tuple[str, int]] = set()

    def upload(self, subject: Subject) -> None:
        """Send every size, as many at once as is wanted."""
        trial = self._trial
        for kilobytes in self._settings.sizes:
            for uploads in self._settings.at_once:
                if (subject.name, kilobytes) in self._refused:
                    continue
                job = self._job(subject, kilobytes, uploads=uploads)
                report = trial.ask(subject, job, f"{uploads} x {_size(kilobytes)}")
                if report is None or not report.requests:
                    self._refused.add((subject.name, kilobytes))
                    continue
                measure, sent_mb = f"{kilobytes}_{uploads}", report.body_bytes / 1e6
                trial.add(f"mb_per_s_{measure}", subject, sent_mb, report.seconds)
                if report.latency_ms is not None:
                    trial.add(f"p50_ms_{measure}", subject, report.latency_ms.p50)
                    trial.add(f"p99_ms_{measure}", subject, report.latency_ms.p99)
                if subject.pids and subject != trial.upstream:
                    trial.add(f"cpu_ms_{measure}", subject, report.subject_cpu_s * 1e3, sent_mb)

    def beside(self, subject: Subject) -> None:
        """Listen to small streams, alone and beside one who uploads the largest prompts."""
        largest = self._settings.sizes[-1]
        for measure, uploads in (("gap_alone_ms", 0), ("gap_beside_ms", 1)):
            if self._settings.only_ours and not uploads:
                continue
            if (subject.name, largest) in self._refused:
                return
            job = self._job(subject, largest, uploads=uploads, streams=self._settings.streams)
            report = self._trial.ask(subject, job, f"{self._settings.streams} streams beside {uploads} uploads")
            if report is not None and report.gap_ms is not None:
                self._trial.add(measure, subject, report.gap_ms.p99)

    def memory(self, subject: Subject) -> None:
        """Let several upload the largest prompts at once through a fresh process."""
        largest, crowd = self._settings.sizes[-1], self._settings.crowd
        if not subject.pids or (subject.name, largest) in self._refused:
            return
        job = self._job(subject, largest, uploads=crowd)
        job = msgspec.structs.replace(job, seconds=0.0, warmup_s=0.0, idle_seconds=_IDLE_SECONDS)
        report = self._trial.ask(subject, job, f"{crowd} x {_size(largest)}, memory")
        if report is not None and report.requests:
            grown_mb = (report.rss_peak_bytes - report.rss_before_bytes) / 1e6
            self._trial.add("grown_mb_each", subject, grown_mb, crowd)
            self._trial.add("kept_mb", subject, (report.rss_after_bytes - report.rss_before_bytes) / 1e6)

    def _job(self, subject: Subject, kilobytes: int, *, uploads: int, streams: int = 0) -> Large:
        settings = self._settings
        return Large(
            **self._trial.told(subject),
            prompt_bytes=kilobytes * 1000,
            uploads=uploads,
            streams=streams,
            interval_ms=settings.interval_ms,
            seconds=settings.seconds,
            warmup_s=settings.warmup_s,
        )


def scenario(found: Trial, settings: Settings, asked: dict[str, object]) -> Scenario:
    """Give what was found."""
    largest = _size(settings.sizes[-1])
    shown: list[Shown] = []
    for kilobytes in settings.sizes:
        for uploads in settings.at_once:
            what, measure = f"{_size(kilobytes)}, {uploads} at once", f"{kilobytes}_{uploads}"
            single = kilobytes == settings.sizes[-1] and uploads == 1
            shown += [
                Shown(
                    f"p50_ms_{measure}", f"latency added to a prompt of {what}, p50", "ms", added=True, headline=single
                ),
                Shown(f"p99_ms_{measure}", f"latency added to a prompt of {what}, p99", "ms", added=True),
                Shown(f"cpu_ms_{measure}", f"CPU per MB, prompts of {what}", "ms/MB", headline=single),
                Shown(f"mb_per_s_{measure}", f"throughput, prompts of {what}", "MB/s", higher=True),
            ]
    shown += [
        Shown("grown_mb_each", f"memory per prompt of {largest} under way", "MB", headline=True),
        Shown("kept_mb", f"memory kept while {settings.crowd} connections idle that each sent {largest}", "MB"),
        Shown("gap_beside_ms", f"gap between events of a stream beside uploads of {largest}, p99", "ms", headline=True),
        Shown("gap_alone_ms", "gap between events of such a stream alone, p99", "ms"),
    ]
    interval = f"An event of the small streams comes every {settings.interval_ms:g} ms: a gap holds that much already."
    return Scenario(
        name="large",
        method=METHOD,
        settings=asked,
        figures=found.figures(shown),
        remarks=[interval, *found.said()],
        problems=found.samples.problems,
    )


def _size(kilobytes: int) -> str:
    return f"{kilobytes // 1000:,} MB" if kilobytes >= 1000 else f"{kilobytes} KB"
