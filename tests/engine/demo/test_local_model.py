"""The local model: the real one where the extra is installed, and its process with stand-ins for the wheel anywhere."""

import json
import os
import signal
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import httpx
import psutil
import pytest
import trio

from adapters.providers import local as names
from engine.demo import local_model as local
from engine.demo.local_model import Exit, LocalModelError, Phase, Progress, local_model, why_unavailable

Install = Callable[[str], Path]

STANDS_IN = """
import http.server, threading
class CommonParams:
    class model: pass
    class cpuparams: pass
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *args): pass
class Server:
    def __init__(self, params):
        server = http.server.ThreadingHTTPServer((params.hostnames[0], params.port), Handler)
        self.listening_address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("noise of the library")
"""

REFUSES = """
import sys
class CommonParams:
    class model: pass
    class cpuparams: pass
def Server(params):
    print("E the file is cut", "E so it cannot be read", sep="\\n", file=sys.stderr)
    raise RuntimeError("failed")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """What puts a stand-in for the server's module and a model file before everything installed; returns the file."""
    package = tmp_path / names.MODEL_PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('must not be imported')")
    (package / names.MODEL_FILE).write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd())]))

    def write(module: str) -> Path:
        (tmp_path / f"{names.SERVER_PACKAGE}.py").write_text(module)
        return package / names.MODEL_FILE

    return write


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


async def failure(load_seconds_max: float = 60) -> str:
    before = children()
    with pytest.raises(LocalModelError) as caught:
        async with local_model(load_seconds_max=load_seconds_max):
            pass
    assert children() == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- with stand-ins ----------------------------------------------------------------------------------------------------


async def test_phases_are_told_in_order_and_the_process_ends_with_the_block(install: Install) -> None:
    install(STANDS_IN)
    told: list[Progress] = []
    before = children()
    async with local_model(told.append) as model:
        assert model.model == names.MODEL
        assert model.base_url.startswith("http://127.0.0.1:")
        assert model.base_url.endswith("/v1")
        assert len(children()) == len(before) + 1
    assert children() == before
    order = list(Phase)
    assert [order.index(progress.phase) for progress in told] == sorted(
        order.index(progress.phase) for progress in told
    )
    assert told[0] == Progress(Phase.START, told[0].seconds)
    assert [progress.seconds for progress in told] == sorted(progress.seconds for progress in told)


def test_nothing_installed_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "SERVER_PACKAGE", "no_such_package")
    assert why_unavailable() == 'the extra "local" is not installed: no package no_such_package'


def test_a_package_without_the_file_is_a_reason(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(STANDS_IN)
    monkeypatch.setattr(local, "MODEL_FILE", "other.gguf")
    assert (why_unavailable() or "").startswith('the extra "local" is not installed: no file other.gguf')


async def test_without_the_extra_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MODEL_PACKAGE", "no_such_package")
    monkeypatch.setattr(local, "command", lambda: pytest.fail("started"))
    assert "not installed" in await failure()


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise ImportError('wrong ELF class')", "does not work on this platform (wrong ELF class)"),
        (REFUSES, "could not be served (failed): E the file is cut"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "was ended by SIGILL while it was starting"),
    ],
)
async def test_what_goes_wrong_is_one_line(install: Install, module: str, reason: str) -> None:
    install(module)
    assert reason in await failure()


async def test_a_load_that_takes_too_long_is_ended(install: Install) -> None:
    install("import time; time.sleep(600)")
    assert "did not answer within 0.5 s" in await failure(load_seconds_max=0.5)


async def test_cancelled_while_loading_leaves_nothing(install: Install) -> None:
    install("import time; time.sleep(600)")
    before = children()
    with trio.CancelScope() as scope:

        def impatient(progress: Progress) -> None:
            if progress.phase is Phase.IMPORT:
                scope.cancel()

        async with local_model(impatient):
            pytest.fail("loaded")
    assert scope.cancelled_caught
    assert children() == before


@pytest.mark.parametrize(
    ("module", "code"),
    [("raise ImportError", Exit.WRONG_PLATFORM), (REFUSES, Exit.NOT_LOADED), (None, Exit.NOT_INSTALLED)],
)
def test_exit_codes(install: Install, module: str | None, code: Exit) -> None:
    file = install(module or STANDS_IN)
    if module is None:
        file.unlink()
    done = subprocess.run(local.command(), stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    assert done.returncode == code
    assert "error" in json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("how", ["stdin", "SIGTERM", "SIGINT"])
def test_it_ends_when_told(install: Install, how: str) -> None:
    install(STANDS_IN)
    with subprocess.Popen(local.command(), stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout is not None
        events = [json.loads(process.stdout.readline()) for _ in Phase]  # the address is the last, START nobody says
        assert events[-1]["model"] == names.MODEL
        if how != "stdin":
            process.send_signal(signal.Signals[how])
            process.wait(timeout=20)
        process.communicate(timeout=20)
    assert process.returncode == Exit.ENDED


# -- the real one ------------------------------------------------------------------------------------------------------


def test_the_real_model_streams(local_model_url: str) -> None:
    body = {
        "model": names.MODEL,
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "max_tokens": 12,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with httpx.stream("POST", f"{local_model_url}/chat/completions", json=body, timeout=60, trust_env=False) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    *chunks, last = [json.loads(line) for line in lines[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks).strip()
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 12)


def test_the_real_model_is_listed_under_its_name(local_model_url: str) -> None:
    listed = httpx.get(f"{local_model_url}/models", trust_env=False).json()
    assert [entry["id"] for entry in listed["data"]] == [names.MODEL]


def test_the_real_model_refuses_with_an_error_object(local_model_url: str) -> None:
    answer = httpx.post(f"{local_model_url}/chat/completions", json={"model": names.MODEL}, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.usefixtures("local_model_url")
async def test_the_real_model_says_what_is_wrong_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / names.MODEL_PACKAGE
    package.mkdir()
    (package / "__init__.py").touch()
    (package / names.MODEL_FILE).write_bytes(b"not a model, whatever its name")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd())]))
    assert textwrap.shorten(await failure(), 80).startswith(f"the model {names.MODEL_FILE} could not be served")
