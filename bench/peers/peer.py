"""What a peer is: something else that answers the same requests in front of the same upstream, started as it is meant.

The rule: every peer gets what the gateway gets. One process that serves, on the subject's core; a key to check where it
checks keys; upstream connections kept alive; nothing that asks the network. Where a default costs time that its own
manual says to save in production, it is saved. What was set is written down, and goes into the report with its version.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from bench.process import Cores
from bench.subjects import Subject, environment

Start = Callable[[], AbstractContextManager[Subject]]
"""Starts a subject for the length of a block."""

_KEPT = frozenset({"PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"})


class PeerError(RuntimeError):
    """A peer that is not known, not installed, does not start, or does not answer as the others do."""


class Peer(NamedTuple):
    """A kind of peer that the bench can start.

    `version` gives None where it is not installed, and `obtain` says how to change that. `run` takes the upstream's
    port and the cores; it raises PeerError, with the end of what the peer wrote, when the peer does not become ready.
    `owns` knows the command line of a process of its.
    """

    name: str
    version: Callable[[], str | None]
    run: Callable[[int, Cores], AbstractContextManager[Subject]]
    settings: Mapping[str, Any]
    obtain: str
    owns: Callable[[Sequence[str]], bool]


def bare_environment(home: Path, **added: str) -> dict[str, str]:
    """Give what a peer may know of this environment: where programs are, and nothing that configures it.

    They read dozens of variables each (databases, caches, loggers, credentials). Its home is a directory of the bench.
    """
    return {name: value for name, value in environment().items() if name in _KEPT} | {"HOME": os.fspath(home)} | added
