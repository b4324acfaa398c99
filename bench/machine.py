"""Where and of what a run was taken, as the document says it: the commit, the machine, no host name and no path."""

import psutil

from bench import lane
from bench.process import Cores
from bench.runs import Machine
from bench.subjects import python

_DIRTY = "-dirty"


def commit() -> tuple[str | None, bool]:
    """Give the commit that is measured, and whether the tree differs from it; (None, False) outside a repository."""
    said = lane.commit()
    return (None, False) if said is None else (said.removesuffix(_DIRTY), said.endswith(_DIRTY))


def describe(placement: Cores, busy_share: float) -> Machine:
    """Describe this machine, of which others used `busy_share`."""
    found = lane.machine(placement)
    return Machine(
        cpu=found["cpu"],
        cores=found["cores"],
        memory_mb=round(psutil.virtual_memory().total / 1e6),
        system=found["system"],
        python=python().text(),
        nginx=found["nginx"],
        pinned=found["pinned"],
        busy_share=round(busy_share, 3),
    )
