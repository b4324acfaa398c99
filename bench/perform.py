"""Gives a job to the load, in a process of its own beside the upstream, and takes its report.

The processes are forked from one that stays (`bench.prefork`), of which there is one for each set of cores: it starts
with the first job, and ends with this process. Jobs would end by themselves, after as long as they were meant to last:
`abandon` ends them at once.
"""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
import psutil

from bench.jobs import AnyJob, Report
from bench.process import Cores, announcement, placed

_JOB_SECONDS_SPARE = 150.0
_END_SECONDS_MAX = 5.0
_READ_BYTES = 1 << 16


class _Load:
    """The process that forks."""

    def __init__(self, on: frozenset[int]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="bench-load-")
        self._path = Path(self._directory.name) / "jobs"
        command = [sys.executable, "-m", "bench.load", "--serve", str(self._path)]
        with placed(on):
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        announcement(self._process)

    def perform(self, job: bytes, seconds_max: float) -> bytes:
        """Run one job; raises subprocess.TimeoutExpired, or CalledProcessError when it has no report."""
        answer = b""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds_max)
            connection.connect(str(self._path))
            connection.sendall(job)
            connection.shutdown(socket.SHUT_WR)
            try:
                while data := connection.recv(_READ_BYTES):
                    answer += data
            except TimeoutError as exc:
                os.kill(int(answer.partition(b"\n")[0]), signal.SIGKILL)
                raise subprocess.TimeoutExpired(self._process.args, seconds_max) from exc
        report = answer.partition(b"\n")[2]
        if not report:
            raise subprocess.CalledProcessError(1, self._process.args)
        return report

    def abandon(self) -> None:
        """Kill the jobs that run, and what they have started."""
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended itself
            for process in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def end(self) -> None:
        """End it; jobs that run end by themselves."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._directory.cleanup()


_loads: dict[frozenset[int], _Load] = {}
_starting = threading.Lock()


def perform(job: AnyJob, cores: Cores) -> Report:
    """Run one job in a process of its own.

    Raises subprocess.SubprocessError when that dies, or does not end by itself.
    """
    report = _load(cores.others).perform(msgspec.json.encode(job), job.seconds + job.warmup_s + _JOB_SECONDS_SPARE)
    return msgspec.json.decode(report, type=Report)


def abandon() -> None:
    """End all jobs that run: whoever waits for one is told that it died."""
    for load in list(_loads.values()):
        load.abandon()


def _load(on: frozenset[int]) -> _Load:
    with _starting:
        if on not in _loads:
            _loads[on] = _Load(on)
            atexit.register(_loads[on].end)
        return _loads[on]
