"""How runs end before their time: whatever was started ends with its starter, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from bench.__main__ import Terminated, main, terminable
from bench.drive import compiled

ROOT = Path(__file__).parents[2]
_SECONDS_MAX = 60.0


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of ours, and end it when the test has not."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def family_with(process: subprocess.Popen[bytes], module: str) -> list[psutil.Process]:
    """Wait until one of a process's descendants runs this module, and give all of them."""
    until_s = time.monotonic() + _SECONDS_MAX
    while time.monotonic() < until_s and process.poll() is None:
        family: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
        for each in family:
            try:
                if module in each.cmdline():
                    return family
            except psutil.Error:  # it ended while it was looked at
                continue
    raise AssertionError(f"{module} was not started: {process.poll()}")


def alive(family: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Give who runs after so long; a zombie that nobody has waited for is none."""
    psutil.wait_procs(family, timeout=seconds)
    return [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_sigterm_ends_a_run_and_all_that_it_started(tmp_path: Path) -> None:
    with started("-m", "bench", "failover", "--quick", "--no-peers", "--output", str(tmp_path)) as process:
        family = family_with(process, "bench.load")
        assert len(family) > len(("scenario", "canned", "four", "scripted", "upstreams", "gateway", "load"))
        process.terminate()
        _, said = process.communicate(timeout=_SECONDS_MAX)
        assert process.returncode == 128 + signal.SIGTERM
        assert said.endswith(b"bench: terminated; nothing was written\n")
        assert alive(family, 0.0) == []
    assert list(tmp_path.iterdir()) == []


def test_sigterm_unwinds_once_and_is_as_it_was_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    unwound: list[bool] = []

    @terminable()
    def unwinding() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            unwound.append(True)

    with pytest.raises(Terminated):
        unwinding()
    assert unwound
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_status_of_a_command_that_is_terminated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*_: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    monkeypatch.setitem(sys.modules["bench.__main__"].COMMANDS, "report", killed)
    assert main(["report"]) == 143
    assert "terminated" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
def test_a_process_ends_with_a_starter_that_could_not_unwind() -> None:
    code = (
        "import os, sys; from bench.process import running\n"
        "with running(['sleep', '300'], on=frozenset()) as child:\n"
        "    print(child.pid, flush=True); sys.stdin.read()"
    )
    with started("-c", code) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
        process.wait()
        assert alive([child], _SECONDS_MAX) == []


def test_sources_are_compiled_once_where_bytecode_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    with compiled() as environ:
        directory = Path(environ["PYTHONPYCACHEPREFIX"])
        assert "PYTHONDONTWRITEBYTECODE" not in environ
        subprocess.run([sys.executable, "-c", "import bench.quiet"], cwd=ROOT, env=environ, check=True)
        assert list(directory.rglob("quiet.*.pyc"))
    assert not directory.exists()
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    with compiled() as environ:
        assert "PYTHONPYCACHEPREFIX" not in environ
