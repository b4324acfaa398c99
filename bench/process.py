"""The processes of a measurement: how they are started, placed on cores, read and ended.

The rule: a figure is the CPU time (user + system) of named processes between two readings, so that neither the load nor
the upstream, nor the subject's supervisor, hides in it. Linux gives it to the nanosecond, which short windows at low
load need; elsewhere psutil reads it. Pinning needs Linux; elsewhere processes run where the scheduler puts them, and
the report says so. On Linux whatever is started is told to end when its starter has died in a way that unwinds nothing.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped, unused-ignore]

_END_SECONDS_MAX = 10.0
_READY_SECONDS_MAX = 30.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Cores(NamedTuple):
    """Which cores the subject and everybody else run on; empty where processes cannot be pinned."""

    subject: frozenset[int]
    others: frozenset[int]


def cores() -> Cores:
    """Give the subject the first core and the rest of the bench the second."""
    if sys.platform != "linux":
        return Cores(frozenset(), frozenset())
    available = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(available[:1]), frozenset(available[1:2] or available[:1]))


@contextmanager
def placed(on: frozenset[int]) -> Iterator[None]:
    """Let processes started in this block inherit these cores: pinning them later would race with their forks."""
    if not on or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, on)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def place(pid: int, on: frozenset[int]) -> None:
    """Keep a running process and its descendants, with all their threads, to these cores.

    Whatever is started meanwhile is placed as who starts it: it is over when everybody was found to be in place.
    """
    if not on or sys.platform != "linux":
        return
    root, moved = psutil.Process(pid), True
    while moved:
        moved = False
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):  # it ended meanwhile
                for thread in process.threads():
                    if os.sched_getaffinity(thread.id) != on:
                        os.sched_setaffinity(thread.id, on)
                        moved = True


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one, for this process and its children; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls its hard limit infinite and yet refuses more than this (sys/syslimits.h, OPEN_MAX).
    wanted = 10_240 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def free_port() -> int:
    """Give a loopback port that was free a moment ago, for a server that cannot report its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_seconds(pids: Sequence[int]) -> float:
    """Give the user and system time of these processes so far; raises psutil.NoSuchProcess when one has died."""
    return sum(map(_cpu_seconds_of, pids))


def _cpu_seconds_of(pid: int) -> float:
    if sys.platform != "linux":
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    # The clock that clock_getcpuclockid(3) names, which Python does not wrap (CPUCLOCK_SCHED in posix-timers.h). What
    # psutil reads is the same sum in steps of 10 ms: a fifth of what nginx uses in a short window.
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError as exc:
        raise psutil.NoSuchProcess(pid) from exc


def rss_bytes(pids: Sequence[int]) -> int:
    """Give the resident memory of these processes."""
    return int(sum(psutil.Process(pid).memory_info().rss for pid in pids))


def busy_share(seconds: float) -> float:
    """Watch for so long, and give the share of all cores that was in use: before a run, that of everybody else."""
    return float(psutil.cpu_percent(interval=seconds)) / 100


def children(pid: int) -> list[int]:
    """Give the pids of a process's children."""
    return [child.pid for child in psutil.Process(pid).children()]


@contextmanager
def running(
    command: Sequence[str],
    *,
    on: frozenset[int],
    environ: Mapping[str, str] | None = None,
    log: str | None = None,
    piped: bool = False,
    end_seconds_max: float = _END_SECONDS_MAX,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process for the length of the block, then end it: by SIGTERM, and by SIGKILL when that takes too long.

    Where the system can, it is sent SIGTERM when the thread that started it ends, however that ends: start it from one
    that lives as long as it shall. Its stderr, and unless `piped` its stdout, go to the file `log`, or nowhere. A piped
    process follows its stdin.
    """
    with open(log or os.devnull, "ab") as sink, placed(on):
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else sink,
            stderr=sink,
            env=None if environ is None else dict(environ),
            preexec_fn=None if _LIBC is None else _end_with_starter,  # noqa: PLW1509 - it takes no lock
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(end_seconds_max)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _end_with_starter() -> None:
    """Ask prctl(2) for it, between fork and exec."""
    assert _LIBC is not None
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def announcement(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Read the JSON line by which a piped process says that it listens; raises RuntimeError when it died instead."""
    line = process.stdout.readline() if process.stdout is not None else b""
    if not line:
        raise RuntimeError(f"{process.args!r} ended with {process.wait(_END_SECONDS_MAX)} before it was ready")
    announced: dict[str, Any] = json.loads(line)
    return announced


def wait_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    """Ask `ready` until it agrees; raises RuntimeError when the process dies first, or after 30 s."""
    deadline = time.monotonic() + _READY_SECONDS_MAX
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it was ready")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} was not ready after {_READY_SECONDS_MAX:.0f} s")
        time.sleep(0.02)
