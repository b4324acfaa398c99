"""The order of a comparison, and how the rate is found at which it is made.

Rules: subjects take turns within each kind of job, and who begins rotates, so that a machine that slows down slows all
of them; what runs before the first round is not counted (it also tells how much load is half of the gateway's); memory
is read from a fresh process, since a heap does not shrink back. A sample is one number of one round; medians are
`bench.runs`' business.

CPU per unary request is measured twice, and held against nginx's where all subjects answer at one rate. In the closed
loop each runs at its own: requests always wait, so a subject hardly ever sleeps, and takes several whenever it looks;
but nginx keeps the other core about twice as busy as the gateway does, and so finds it awake more often. That compares
different conditions. The open loop sends to all at the same fixed times, half as often as the gateway could answer:
each request finds its subject and its peers asleep, as most requests of a service below saturation do, and each subject
sleeps and wakes about twice for it. On a virtual machine that was seen to add some 40 us to nginx's 20, and about as
much to the gateway's: a cost of the machine on both sides, which brings the quotient down and is no merit of the
gateway. So the rate is said, and who could not follow it, and the closed loop's quotient stands beside.

Half of what a subject can do is the rate at which it uses half of its core: not half of the closed loop's rate, since a
request costs more where it has to wake its subject, and not what its cost in a closed loop would allow, which came out
at three quarters. It is found by asking (`find_load`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from bench.jobs import Quantiles, Report
from bench.runs import Histogram, merged
from bench.subjects import Subject

_BENCH_SHARE_MAX = 0.6  # above it, what is measured is how the bench waits
_TRIES_MAX = 4
_NEAR = 0.08
_KEPT_UP_MIN = 0.8
_MISSING_MIN = 3
_STEP_MAX = 20.0
_PERIOD_US_MIN = 250  # one Python client cannot send more often on time

Say = Callable[[str], None]
_Some = TypeVar("_Some")


class Part(NamedTuple):
    """One kind of job in every round, and those who take part in it."""

    name: str
    ask: Callable[[Subject], object]
    subjects: Sequence[Subject]


def taking_turns(everybody: Sequence[_Some], number: int) -> list[_Some]:
    """Give them in the order of this round, in which another one begins than in the last."""
    turn = number % max(1, len(everybody))
    return [*everybody[turn:], *everybody[:turn]]


def rounds(parts: Sequence[Part], count: int, say: Say) -> None:
    """Run so many rounds, in each all parts one after the other."""
    for number in range(count):
        for part in parts:
            say(f"round {number + 1} of {count}: {part.name}")
            for subject in taking_turns(part.subjects, number):
                part.ask(subject)


class Load(NamedTuple):
    """A rate, and the share of its core that a subject was seen to use at it, or was meant to."""

    period_us: int
    share: float

    @property
    def per_s(self) -> float:
        """How many that is in a second."""
        return 1e6 / self.period_us


def find_load(
    ask: Callable[[int], Report | None],
    share: float,
    first_us: float,
    *,
    tries: int = 4,
    capacity_per_s: float | None = None,
) -> Load:
    """Find the period at which a subject uses this share of its core, by asking with a first guess and better ones.

    What is asked for has to be at work as evenly before the window as in it. Who could not answer as many as were sent
    has shown what it can: the share is of that too, since others may keep it from its core. Where the CPU time is not
    known, the share is that of `capacity_per_s`. Nobody is asked more often than upstream and load can with most of
    their own core, or than the load can send: then the share that was found is a smaller one.
    """
    period_us, used, most_per_s = max(_PERIOD_US_MIN, round(first_us)), share, float("inf")
    for _ in range(tries):
        report = ask(period_us)
        if report is None:
            break
        if report.requests_in_window and _fell_behind(report, period_us):
            most_per_s = min(most_per_s, report.requests_in_window / report.seconds)
        used = max(wanted_share(report, period_us, capacity_per_s) or share, 1e6 / period_us / most_per_s)
        factor = max(used / share, bench_share(report) / _BENCH_SHARE_MAX)
        better_us = max(_PERIOD_US_MIN, round(period_us * min(_STEP_MAX, max(1 / _STEP_MAX, factor))))
        if abs(better_us / period_us - 1) < _NEAR:
            break
        period_us, used = better_us, used * period_us / better_us
    return Load(period_us, used)


def _fell_behind(report: Report, period_us: int) -> bool:
    """Whether much was left unanswered, and not just what was under way at both ends of a short window."""
    intended = report.seconds * 1e6 / period_us
    return intended - report.requests_in_window > max(_MISSING_MIN, (1 - _KEPT_UP_MIN) * intended)


def wanted_share(report: Report, period_us: int, capacity_per_s: float | None = None) -> float | None:
    """Give how much of a core a subject needs for a request each period, by what one took; None where nothing tells."""
    if report.subject_cpu_s and report.requests_in_window:
        return report.subject_cpu_s * 1e6 / report.requests_in_window / period_us
    return 1e6 / period_us / capacity_per_s if capacity_per_s else None


def core_share(report: Report) -> float:
    """Give how much of a core a subject used; 0 where its processes are not known."""
    return report.subject_cpu_s / report.seconds if report.seconds else 0.0


def bench_share(report: Report) -> float:
    """Give how much of a core upstream and load used together."""
    return (report.upstream_cpu_s + report.load_cpu_s) / report.seconds if report.seconds else 0.0


def served_share(report: Report, period_us: int) -> float:
    """Give how many of the requests that an open loop had to send in its window were answered in it."""
    return report.requests_in_window * period_us / 1e6 / report.seconds if report.seconds else 0.0


class Distributions:
    """Times by what was measured and of whom, of all rounds together."""

    def __init__(self) -> None:
        self._rounds: defaultdict[tuple[str, str], list[Quantiles]] = defaultdict(list)

    def add(self, group: str, name: str, times: Quantiles | None) -> None:
        """Add those of one round."""
        if times is not None and times.values:
            self._rounds[group, name].append(times)

    def clear(self) -> None:
        """Forget those of the first pass."""
        self._rounds.clear()

    def histograms(self) -> Iterator[Histogram]:
        """Give one of each; those of one measure belong into one picture."""
        for (group, name), times in self._rounds.items():
            yield merged(f"{group}: {name}", group, times)
