"""What a scenario's processes use while it runs: cores and memory, by what each process is, a few times a second.

For the eye: the figures have readings of their own, taken with their counts. Whoever lives between two looks is not
seen. It runs on a thread of the bench itself, on the core of upstream and load, and takes a few ms of it a second.
"""

import threading
from collections import defaultdict
from time import monotonic
from types import TracebackType
from typing import Self

import psutil

from bench.peers import owner
from bench.runs import Curve

PERIOD_S = 0.5
_PARTS = {
    "bench.load": "load",
    "bench.realtime_load": "load",
    "bench.null": "null gateway",
    "bench.scenarios": "bench",
}


def part(command: list[str]) -> str:
    """Say what a process is, by its command line: the gateway, a peer, the load, an upstream, or the bench itself."""
    if not command:
        return "other"
    if (peer := owner(command)) is not None:
        return peer
    if command[0].endswith("wrk"):
        return "load"
    module = command[command.index("-m") + 1] if "-m" in command[:-1] else ""
    if module.partition(".")[0] == "engine":
        return "gateway"
    return _PARTS.get(module, "upstream" if module.startswith("bench.") else "other")


class Watch:
    """Looks at a process and all its descendants for the length of the block."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._known: dict[int, tuple[psutil.Process, str, float]] = {}
        self._began_s = self._looked_s = monotonic()
        self._cores: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self._megabytes: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def curves(self) -> list[Curve]:
        """Give what was seen."""
        return [
            Curve(name=name, x="s", y=unit, lines=dict(lines))
            for name, unit, lines in (("CPU", "cores", self._cores), ("memory", "MB", self._megabytes))
            if lines
        ]

    def look(self) -> None:
        """Read every process once."""
        now_s = monotonic()
        since_s, self._looked_s = now_s - self._looked_s, now_s
        cores: defaultdict[str, float] = defaultdict(float)
        megabytes: defaultdict[str, float] = defaultdict(float)
        for process in self._family():
            try:
                name, used_s, resident_mb = self._read(process)
            except psutil.Error:  # it ended while it was looked at
                continue
            megabytes[name] += resident_mb
            cores[name] += used_s / since_s if since_s else 0.0
        at_s = round(now_s - self._began_s, 2)
        for name in megabytes:
            self._cores[name].append((at_s, round(cores[name], 3)))
            self._megabytes[name].append((at_s, round(megabytes[name], 1)))

    def _run(self) -> None:
        while not self._over.wait(PERIOD_S):
            self.look()

    def _family(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _read(self, process: psutil.Process) -> tuple[str, float, float]:
        """Give what a process is, the CPU time it used since the last look, and its memory."""
        with process.oneshot():
            times = process.cpu_times()
            total_s = float(times.user + times.system)
            before = self._known.get(process.pid)
            known = before is not None and before[0] == process
            name = before[1] if before is not None and known else part(process.cmdline())
            used_s = total_s - before[2] if before is not None and known else 0.0
            resident_mb = process.memory_info().rss / 1e6
        self._known[process.pid] = (process, name, total_s)
        return name, used_s, resident_mb
