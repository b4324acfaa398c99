"""A mix of everything for a while, and whether the gateway keeps anything of it. The mix is `bench.soak`'s.

Growth is a line through resident memory over the requests so far, by Theil and Sen: the median of the slopes between
all pairs of readings, which a single jump (a heap that grows by a block) does not bend. The first third is left out:
a heap reaches its size there. When the last client has left, nothing may be open any more that was opened for one:
what the worker counts itself is asked of its metrics, its files of the system. Connections to the upstream that are
kept for the next request are files too, and no leak.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench.jobs import Reading, Report, Soak
from bench.process import rss_bytes
from bench.runs import Curve, Figure, Scenario
from bench.scenarios import Profile, Say, present
from bench.scenarios.trial import Trial, trial
from bench.subjects import Subject, fetch

METHOD = (
    "One gateway worker, open loop at a moderate rate: answers, streams, streams that their client leaves, connections "
    "for one request, errors of the upstream. Memory and open files are read each second, and after all have left."
)
_SETTLE_SECONDS_MAX = 8.0
_LOOK_SECONDS = 0.25
_WARM_SHARE = 1 / 3
_READINGS_MIN = 5
_STANDS_SECONDS = 1.2
_GROWTH = "growth per 1,000 requests, after the first third"
_IDLE = ("hedgerow_upstream_connections", "idle")
_OPEN = {
    "exchanges open": ("hedgerow_requests_in_flight", None),
    "leased connections": ("hedgerow_upstream_connections", "leased"),
    "client connections open": ("hedgerow_downstream_connections", None),
}


class Settings(NamedTuple):
    """How long, and how often a request is begun; a little of the same comes before, so that what is lazy has begun."""

    seconds: float
    period_us: int
    first_seconds: float
    look_seconds: float = 1.0


QUICK = Settings(seconds=1.0, period_us=2500, first_seconds=0.2, look_seconds=0.08)
FULL = Settings(seconds=120.0, period_us=2000, first_seconds=2.0)


class Held(NamedTuple):
    """What a worker holds: open files, and by its own count, what is open for clients and what is kept idle."""

    files: int
    idle: float
    open: dict[str, float]

    @property
    def left_over(self) -> float:
        """Files that are no connection kept for the next request."""
        return self.files - self.idle


class Slope(NamedTuple):
    """KB of growth in 1,000 requests, with the 95 % interval of it."""

    kilobytes: float
    low: float
    high: float


def run(profile: Profile, say: Say) -> Scenario:
    """Mix, then look at what is left; raises RuntimeError when the gateway does not start, or answers nothing."""
    settings = QUICK if profile.quick else FULL
    with trial(profile, say) as (found, starts), starts[0]() as subject:
        say("a first, short mix")
        _mix(found, subject, settings._replace(seconds=settings.first_seconds))
        before, rss_before_bytes = settled(subject), rss_bytes(subject.pids)
        say(f"the mix, for {settings.seconds:.0f} s")
        report = _mix(found, subject, settings)
        say("what is left")
        after = settled(subject)
        kept_mb = (rss_bytes(subject.pids) - rss_before_bytes) / 1e6
    return scenario(found, settings, report, before=before, after=after, kept_mb=kept_mb)


def _mix(found: Trial, subject: Subject, settings: Settings) -> Report:
    job = Soak(
        **found.told(subject),
        seconds=settings.seconds,
        period_us=settings.period_us,
        look_seconds=settings.look_seconds,
    )
    report = found.ask(subject, job, "the mix")
    if report is None:
        raise RuntimeError("; ".join(found.samples.problems))
    return report


def settled(subject: Subject) -> Held:
    """Wait until nothing is open for a client and nothing changes any more, as long as that may take; then say what is.

    Workers tell their counts once a second: a count is believed when it has stood for longer. Of files it is the lowest
    in that time, since a store opens some for a moment.
    """
    until_s = time.monotonic() + _SETTLE_SECONDS_MAX
    stands_since_s, last = time.monotonic(), held(subject)
    while (now_s := time.monotonic()) < until_s:
        time.sleep(_LOOK_SECONDS)
        found = held(subject)
        if found._replace(files=last.files) != last or any(found.open.values()):
            stands_since_s, last = now_s, found
            continue
        last = last._replace(files=min(last.files, found.files))
        if now_s - stands_since_s > _STANDS_SECONDS:
            break
    return last


def held(subject: Subject) -> Held:
    """Read what the workers hold; raises RuntimeError when they do not tell."""
    status, body = fetch(subject.port, "/metrics")
    if status != 200:
        raise RuntimeError(f"/metrics answered {status}")
    counted: defaultdict[tuple[str, str | None], float] = defaultdict(float)
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            counted[sample.name, None] += sample.value
            counted[sample.name, sample.labels.get("state", "")] += sample.value
    files = sum(psutil.Process(pid).num_fds() for pid in subject.pids)
    return Held(files, counted[_IDLE], {what: counted[of] for what, of in _OPEN.items()})


def slope(course: Sequence[Reading]) -> Slope | None:
    """Draw the line through memory over requests, behind the warm-up; None of too few readings."""
    warm = [reading for reading in course if reading.at_s >= course[-1].at_s * _WARM_SHARE]
    if len(warm) < _READINGS_MIN:
        return None
    # Loaded for this alone: it takes longer than most of what it is loaded for.
    from scipy.stats import theilslopes  # noqa: PLC0415

    found = theilslopes([reading.rss_bytes / 1e3 for reading in warm], [reading.requests / 1e3 for reading in warm])
    return Slope(float(found.slope), float(found.low_slope), float(found.high_slope))


def scenario(
    found: Trial, settings: Settings, report: Report, *, before: Held, after: Held, kept_mb: float
) -> Scenario:
    """Give what was found."""
    growth = slope(report.course) if report.course else None
    left_over = after.left_over - before.left_over
    figures = [
        Figure(name=_GROWTH, unit="KB", samples=[growth.kilobytes] if growth else [], headline=True),
        Figure(name="memory kept when all have left", unit="MB", samples=[kept_mb]),
        Figure(name="open files left over when all have left", unit="", samples=[left_over], target=0.0, headline=True),
        Figure(name="requests lost", unit="", samples=[float(sum(report.errors.values()))], target=0.0, headline=True),
        *(
            Figure(name=f"{what} when all have left", unit="", samples=[count], target=0.0)
            for what, count in after.open.items()
        ),
        Figure(name="CPU of the worker", unit="% of a core", samples=[report.subject_cpu_s * 100 / report.seconds]),
    ]
    remarks = [f"{report.requests:,} requests, one each {settings.period_us:,} us."]
    if growth is not None:
        remarks.append(f"The growth's 95 % interval is from {growth.low:,.2f} to {growth.high:,.2f} KB.")
    remarks.append(
        f"Kept for the next request: {before.idle:g} upstream connections before the mix, {after.idle:g} after."
    )
    return Scenario(
        name="soak",
        method=METHOD,
        settings=settings._asdict(),
        figures=present(figures),
        curves=curves(report.course),
        remarks=[*remarks, *found.said()],
        problems=found.samples.problems,
    )


def curves(course: Sequence[Reading]) -> list[Curve]:
    """Draw memory and open files over time."""
    memory = [(reading.at_s, round(reading.rss_bytes / 1e6, 2)) for reading in course]
    files = [(reading.at_s, float(reading.open_files)) for reading in course]
    return [
        Curve(name="memory of the worker", x="s", y="MB", lines={"resident": memory}),
        Curve(name="open files of the worker", x="s", y="open files", lines={"open": files}),
    ]
