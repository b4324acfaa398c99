"""Where and of what a run was taken, as the document says it: the commit, the machine, no host name and no path."""

import contextlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

import psutil

from bench.peers.nginx import NGINX
from bench.process import Cores
from bench.runs import Machine
from bench.subjects import python

_DIRTY = "-dirty"


def commit() -> tuple[str | None, bool]:
    """Give the commit that is measured, and whether the tree differs from it; (None, False) outside a repository."""
    git = shutil.which("git")
    if git is None:
        return None, False
    here = Path(__file__).parent
    shown = subprocess.run(  # noqa: S603 - our own command
        [git, "describe", "--always", "--dirty", "--abbrev=40"], cwd=here, capture_output=True, text=True, check=False
    )
    said = shown.stdout.strip()
    return said.removesuffix(_DIRTY) or None, said.endswith(_DIRTY)


def describe(placement: Cores, busy_share: float) -> Machine:
    """Describe this machine, of which others used `busy_share`."""
    return Machine(
        cpu=_processor(),
        cores=os.cpu_count(),
        memory_mb=round(psutil.virtual_memory().total / 1e6),
        system=f"{platform.system()} {platform.release()}",
        python=python().text(),
        nginx=NGINX.version(),
        pinned=bool(placement.subject) and placement.subject != placement.others,
        busy_share=round(busy_share, 3),
    )


def _processor() -> str:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # only Linux has it
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return model
