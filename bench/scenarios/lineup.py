"""Who stands side by side in one run: the upstream itself, the peers that were asked for, and the gateway.

All of them run for the whole of a scenario, on one core: who is not asked sleeps. A peer that does not start is said
and left out; one that is not known, or not installed, was an error before.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from bench.peers import PeerError
from bench.scenarios import Profile, Say
from bench.scenarios.trial import Trial, trial
from bench.subjects import GATEWAY, KEY, LOGGED, Subject


class Lineup(NamedTuple):
    """Subjects that run. `proxies` are all that stand before the upstream, the gateway last."""

    direct: Subject
    proxies: list[Subject]

    @property
    def gateway(self) -> Subject:
        """The gateway, asked with an account's key."""
        return self.proxies[-1]

    @property
    def logged(self) -> Subject:
        """The same gateway, asked with a key of its file."""
        return self.gateway._replace(name=LOGGED, key=KEY)


@contextmanager
def lineup(profile: Profile, say: Say) -> Iterator[tuple[Trial, Lineup]]:
    """Start all of them; raises RuntimeError when the gateway does not start, or a peer cannot be had."""
    with ExitStack() as stack:
        trial_, starts = stack.enter_context(trial(profile, say))
        running = []
        for start in starts:
            try:
                running.append(stack.enter_context(start()))
            except PeerError as exc:
                trial_.remarks.append(str(exc))
        running.sort(key=lambda subject: subject.name == GATEWAY)
        yield trial_, Lineup(trial_.upstream, running)
