"""Child processes and the directory they share: started apart from the terminal, never left behind.

Knows nothing of what they do.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import trio


def make_runtime_directory() -> Path:
    """Make the directory that this supervisor shares with its processes; remove those whose supervisor was killed."""
    for left in Path(tempfile.gettempdir()).glob("hedgerow-*-*"):
        owner = left.name.split("-")[1]
        with contextlib.suppress(OSError):
            if owner.isdecimal() and left.stat().st_uid == os.getuid() and not is_alive(int(owner)):
                shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"hedgerow-{os.getpid()}-"))


def give_way(nice: int) -> None:
    """Let this process come after others, by so much.

    Linux weighs sessions before it weighs their processes where autogroup is on (sched(7)), and each of our processes
    has a session of its own: so both are told. Where the system has no such thing, or forbids it, that is left out.
    """
    os.nice(nice)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def start_process(command: list[str], descriptors: tuple[int, ...]) -> trio.Process:
    """Start a child in a session of its own, so that a terminal's Ctrl-C reaches the supervisor alone."""
    return await trio.lowlevel.open_process(
        command, stdin=subprocess.DEVNULL, pass_fds=descriptors, start_new_session=True
    )


@contextlib.asynccontextmanager
async def killed_at_last(process: trio.Process) -> AsyncIterator[None]:
    """Kill the process on the way out when it still runs, and reap it."""
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
