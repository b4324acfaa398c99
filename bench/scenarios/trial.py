"""What a scenario keeps while it puts jobs to subjects: their numbers, what failed, what a reader has to be told.

The rule: what the gateway or the bench fails at is a problem, and a run with problems has failed; what a peer fails at,
up to not starting at all, is a remark, and leaves a gap where its figures would be. A peer that goes on working when
its job is over is waited for, since the next subject has the same core. Subjects whose processes are not known have no
CPU time and no memory. A load that used nearly all of its core was the limit, and not the subject: that
is said too.
"""

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import psutil

from bench import peers
from bench.jobs import AnyJob, Report
from bench.peers import PeerError, Start
from bench.perform import perform
from bench.process import cores, raise_open_files
from bench.quiet import SECONDS_MAX, rest
from bench.runs import Figure
from bench.samples import Samples
from bench.scenarios import Profile, Say, differences, present
from bench.subjects import DIRECT, GATEWAY, LOGGED, NGINX, OURS, Subject, canned, gateway

_LOAD_SHARE_MAX = 0.9


class Shown(NamedTuple):
    """One measure, and how it is shown; `added` is what it is more than going straight to the upstream.

    `ratio_max` says how many times that of which peer it may be.
    """

    measure: str
    title: str
    unit: str
    target: float | None = None
    added: bool = False
    higher: bool = False
    headline: bool = False
    ratio_max: Mapping[str, float] = {}


class Trial:
    """Asks subjects, and keeps what came of it."""

    def __init__(
        self, upstream: Subject, perform: Callable[[AnyJob], Report], rest: Callable[[Sequence[int]], bool] = rest
    ) -> None:
        """`rest` waits until processes rest, and says whether they do."""
        self.samples = Samples()
        self.remarks: list[str] = []
        self.upstream = upstream
        self._perform = perform
        self._rest = rest
        self._saturated: dict[str, float] = {}

    def told(self, subject: Subject) -> dict[str, Any]:
        """Give what every job is told: whom to ask, and whose CPU time and memory to read."""
        return subject.told() | {"upstream": list(self.upstream.pids)}

    def ask(self, subject: Subject, job: AnyJob, what: str) -> Report | None:
        """Run one job; give None, once that is noted, where nothing was answered.

        Raises RuntimeError when it does not end, and its subject is not a peer.
        """
        try:
            report = self._perform(job)
        except subprocess.SubprocessError as exc:
            if not _foreign(subject):
                raise RuntimeError(f"{subject.name}, {what}: the load did not end well") from exc
            self.note(subject, f"{what}: the load did not end well")
            self._let_rest(subject, what)
            return None
        self._let_rest(subject, what)
        for reason, count in report.errors.items():
            self.note(subject, f"{what}: {count:,} x {reason}")
        if report.seconds and report.load_cpu_s > report.seconds * _LOAD_SHARE_MAX:
            about = f"{subject.name}, {what}"
            self._saturated[about] = max(self._saturated.get(about, 0.0), report.load_cpu_s / report.seconds)
        if not (report.requests or report.events or report.opened):
            self.note(subject, f"{what}: nothing was answered")
            return None
        return report

    def _let_rest(self, subject: Subject, what: str) -> None:
        # nginx has nothing to work off, and is asked the most often.
        if not subject.pids or not _foreign(subject) or subject.name == NGINX:
            return
        try:
            if not self._rest(subject.pids):
                self.note(subject, f"{what}: still busy {SECONDS_MAX:g} s later, at the cost of who was asked next")
        except psutil.NoSuchProcess:
            self.note(subject, f"{what}: a process of it has ended")

    def note(self, subject: Subject, text: str) -> None:
        """Keep what went wrong, as what it counts."""
        said = self.remarks if _foreign(subject) else self.samples.problems
        said.append(f"{subject.name}, {text}")

    def add(self, measure: str, subject: Subject, amount: float, per: float = 1.0) -> None:
        """Add one round's number; one per nothing is none."""
        if per:
            self.samples.add(measure, subject.name, amount / per)

    def fresh(self, starts: Sequence[Start], use: Callable[[Subject], None]) -> None:
        """Start one after the other, for one use each; a peer that does not start is left out."""
        for start in starts:
            try:
                with start() as subject:
                    use(subject)
            except PeerError as exc:
                self.remarks.append(str(exc))

    def started(self, starts: Sequence[Start], running: ExitStack) -> list[Subject]:
        """Start all for as long as `running` lasts; a peer that does not start is left out."""
        subjects: list[Subject] = []
        for start in starts:
            try:
                subjects.append(running.enter_context(start()))
            except PeerError as exc:
                self.remarks.append(str(exc))
        return subjects

    def said(self) -> list[str]:
        """Give all remarks, each once."""
        full = [
            f"{about}: the load used {share:.0%} of its core, so it was the limit."
            for about, share in self._saturated.items()
        ]
        return list(dict.fromkeys([*self.remarks, *full]))

    def figures(self, shown: Sequence[Shown]) -> list[Figure]:
        """Give each measure of the gateway, held against nginx's, and then that of everybody else."""
        return present([figure for each in shown for figure in self._figures(each)])

    def _figures(self, shown: Shown) -> Iterator[Figure]:
        by_subject = {name: list(values) for name, values in self.samples.values[shown.measure].items()}
        if shown.added:
            direct = by_subject.pop(DIRECT, [])
            by_subject = {name: differences(values, direct) for name, values in by_subject.items()}
        better: Literal["lower", "higher"] = "higher" if shown.higher else "lower"
        ours, floor = by_subject.pop(GATEWAY, []), by_subject.get(NGINX)
        comparable = floor is not None and len(floor) == len(ours) and not shown.added
        yield Figure(
            name=shown.title,
            unit=shown.unit,
            samples=ours,
            better=better,
            target=shown.target,
            beside=f"{shown.title}: {NGINX}" if comparable else None,
            headline=shown.headline,
            ratio_max=shown.ratio_max.get(NGINX),
        )
        for name, values in by_subject.items():
            if shown.headline and not shown.added and name not in {*OURS, NGINX} and len(values) == len(ours):
                yield Figure(
                    name=f"{shown.title}, beside {name}",
                    unit=shown.unit,
                    samples=ours,
                    better=better,
                    beside=f"{shown.title}: {name}",
                    ratio_max=shown.ratio_max.get(name),
                    headline=True,
                )
        for name, values in by_subject.items():
            yield Figure(
                name=f"{shown.title}: {name}",
                unit=shown.unit,
                samples=values,
                better=better,
                beside=f"{shown.title}: {NGINX}" if comparable and name == LOGGED else None,
                foreign=name != LOGGED,
            )


@contextmanager
def trial(profile: Profile, say: Say) -> Iterator[tuple[Trial, list[Start]]]:
    """Run the upstream, and give what starts gateway and peers; raises PeerError as `bench.peers.starts` does."""
    placement = cores()
    raise_open_files()
    say("starting")
    with canned(placement, port=profile.upstream_port, seed=profile.seed) as upstream:
        starts: list[Start] = [partial(gateway, upstream.port, placement)]
        starts += peers.starts(profile.peers, upstream.port, placement)
        yield Trial(upstream, partial(perform, cores=placement)), starts


def _foreign(subject: Subject) -> bool:
    return subject.name not in OURS
