"""The scenarios of the bench behind one shape: `run(profile, say)` measures and gives a `bench.runs.Scenario`.

Each module knows who measures, and turns what that finds into figures with a sample a round. Each runs in a process of
its own (`python -m bench.scenarios NAME`), so that what one leaves in memory is not in the next one's way, and one that
dies takes nobody with it. The quick profile is for looking whether something broke: all of it takes about a minute and
a half, and its figures are not for quoting.
"""

from collections.abc import Callable

import msgspec

from bench.runs import Figure, Scenario

NAMES = (
    *("relay", "latency", "translate", "failover", "streams", "slow-reader", "churn", "large", "money"),
    *("realtime", "soak", "workers", "micro", "harness"),
)

Say = Callable[[str], None]
"""Told what is going on, for a person who waits."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured. `rounds` of None is each scenario's own number; `seed` decides what is drawn.

    `peers` are those that are measured beside the gateway, each a name of `bench.peers` or `NAME=URL`. `upstream_port`
    is where the canned upstream listens, 0 for any free port.
    """

    quick: bool = False
    seed: int = 1
    rounds: int | None = None
    peers: tuple[str, ...] = ()
    upstream_port: int = 0


class Said(msgspec.Struct, tag="said", frozen=True):
    """A line of progress."""

    text: str


class Done(msgspec.Struct, tag="done", frozen=True):
    """The last line: what was found."""

    found: Scenario


def differences(ours: list[float], theirs: list[float]) -> list[float]:
    """Give what was added, round by round."""
    return [a - b for a, b in zip(ours, theirs, strict=False)]


def present(figures: list[Figure]) -> list[Figure]:
    """Leave out what was not measured."""
    return [figure for figure in figures if figure.samples]
