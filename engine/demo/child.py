"""One child process of ours: started, listened to, ended. It never outlives us for long.

The rule: a child runs in a session of its own, so that Ctrl-C in the terminal reaches us alone and we decide in what
order things end; it holds the reading end of a pipe as its stdin, which closes when we are gone however we went; what
it says goes to an unnamed temporary file and is looked at only when it failed. A child that *announces* something does
so in lines on stdout, which its starter then reads.

What the child is and what its lines mean is its starter's business: `local_model`, `show`.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Self

import trio

STOP_SECONDS_MAX = 5.0
"""What a child gets between being asked to end and being killed."""

LINE_BYTES_MAX = 65_536
"""Longer than any announcement; a child that writes more without a newline is not the child we started."""

LOG_BYTES_READ = 16_384
"""How much of the log's beginning and end is looked at for a reason."""


class ChildError(Exception):
    """The child is not what was expected of it; the message is one sentence for a person."""


class Child:
    """A running child. `start` it, read its lines, and `stop` it in a `finally`."""

    __slots__ = ("_buffer", "_log", "_process", "name")

    def __init__(self, name: str, process: trio.Process, log: IO[bytes]) -> None:
        self.name = name
        self._process = process
        self._log = log
        self._buffer = bytearray()

    def __repr__(self) -> str:
        return f"<Child {self.name!r} pid={self.pid} returncode={self._process.returncode}>"

    @classmethod
    async def start(
        cls, name: str, command: Sequence[str], *, announces: bool, environ: Mapping[str, str] | None = None
    ) -> Self:
        """Start `command`. Cancelled: either nothing was started or the child is returned. Raises OSError."""
        log = tempfile.TemporaryFile()  # noqa: SIM115 - the child's life is longer than this block
        try:
            process = await trio.lowlevel.open_process(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if announces else log,
                stderr=log,
                start_new_session=True,
                env=None if environ is None else dict(environ),
            )
        except BaseException:
            log.close()
            raise
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """The process id, also the id of its session and group."""
        return self._process.pid

    async def next_line(self) -> bytes | None:
        """Return the next line of its stdout without the newline, None at the end. Cancelled: no byte is lost.

        Raises ChildError when a line grows past LINE_BYTES_MAX.
        """
        assert self._process.stdout is not None
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                return bytes(line)
            if len(self._buffer) > LINE_BYTES_MAX:
                raise ChildError(f"{self.name} writes something else than announcements")
            data = await self._process.stdout.receive_some()
            if not data:
                return None
            self._buffer += data

    async def wait(self) -> str:
        """Wait until it ended by itself, and say how in half a sentence: `ended with code 3`."""
        code = await self._process.wait()
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def log_lines(self) -> list[str]:
        """Return the lines it wrote to stderr that are not empty; of a long log the beginning and the end."""
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), LOG_BYTES_READ, 0)
        if size > LOG_BYTES_READ:
            text += b"\n" + os.pread(self._log.fileno(), LOG_BYTES_READ, max(LOG_BYTES_READ, size - LOG_BYTES_READ))
        return [line for line in text.decode(errors="replace").splitlines() if line.strip()]

    async def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None:
        """End it: SIGTERM and the end of its stdin, then SIGKILL for its whole session. Idempotent.

        Cancellation does not cut this; it lasts `seconds_max` at most.
        """
        with trio.CancelScope(shield=True):
            if self.running:
                self._process.terminate()
            if self._process.stdin is not None:
                await self._process.stdin.aclose()
            with trio.move_on_after(seconds_max):
                await self._process.wait()
            if self.running:
                # Before it is reaped its id cannot name another group. macOS says EPERM of a group of zombies.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
                await self._process.wait()
            if self._process.stdout is not None:
                await self._process.stdout.aclose()
            self._log.close()
