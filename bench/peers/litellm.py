"""LiteLLM's proxy in front of the same upstream: the gateway that most people know, in Python too.

One worker (uvicorn, which it starts as its own process), a master key to check, a price for the model as the gateway
has one, no database, no retries. Its environment is that of its manual for production: `LITELLM_MODE=PRODUCTION` reads
no .env, `LITELLM_LOG=ERROR` writes no line for a request; `LITELLM_LOCAL_*` takes its tables from the package, where it
would otherwise fetch them at start. `REPEATED_STREAMING_CHUNK_LIMIT` lets the canned upstream repeat its one word: by
default the 100th ends the stream. It does less than the gateway then, which writes an access log and keeps accounts.
Unasked, it has the upstream send the usage of every stream, to count tokens.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.peers import installed
from bench.peers.answering import READY_SECONDS_MAX, ready
from bench.peers.installed import Recipe
from bench.peers.peer import Peer, bare_environment
from bench.process import Cores, free_port, running
from bench.subjects import KEY, Subject

_VERSION = "1.104.0"
_REQUIREMENT = f"litellm[proxy]=={_VERSION}"
_ENVIRONMENT = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_DONT_SHOW_FEEDBACK_BOX": "True",
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000",
}
_SETTINGS = {
    "processes": 1,
    "num_workers": 1,
    "num_retries": 0,
    "telemetry": False,
    "database": None,
    "access_log": "off",
    "key": "master_key",
    **_ENVIRONMENT,
}


def steps(inside: Path) -> Iterator[Sequence[str]]:
    """Give the commands: an environment, and pip, which knows where packages are."""
    yield [sys.executable, "-m", "venv", str(inside / "venv")]
    yield [str(inside / "venv/bin/python"), "-m", "pip", "install", "--disable-pip-version-check", _REQUIREMENT]


RECIPE = Recipe("litellm", _VERSION, (_REQUIREMENT,), steps)


def configuration(upstream_port: int) -> str:
    """Give its config.yaml, as the JSON that YAML is too."""
    parameters = {
        "model": "openai/canned",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key": "sk-canned",
        "input_cost_per_token": 0.000001,
        "output_cost_per_token": 0.000002,
    }
    document = {
        "model_list": [{"model_name": "canned", "litellm_params": parameters}],
        "litellm_settings": {"telemetry": False, "num_retries": 0, "request_timeout": 300},
        "general_settings": {"master_key": KEY},
    }
    return json.dumps(document, indent=1)


@contextmanager
def run(upstream_port: int, cores: Cores) -> Iterator[Subject]:
    """Run it; raises PeerError when it is not installed, does not become ready, or answers something else."""
    home = installed.home(RECIPE)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        inside, port = Path(directory), free_port()
        config, scripts = inside / "config.yaml", home / "venv/bin"
        config.write_text(configuration(upstream_port), encoding="utf-8")
        command = [str(scripts / "python"), str(scripts / "litellm"), "--config", str(config)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        environ, log = bare_environment(inside, **_ENVIRONMENT), inside / "litellm.log"
        with running(command, on=cores.subject, environ=environ, log=str(log)) as process:
            subject = Subject(RECIPE.name, port, (process.pid,))
            ready(process, subject, log, READY_SECONDS_MAX)
            family = psutil.Process(process.pid).children(recursive=True)
            yield subject._replace(pids=(process.pid, *(child.pid for child in family)))


def owns(command: Sequence[str]) -> bool:
    """Know it by the script that starts it."""
    return any(word.endswith("/bin/litellm") for word in command[:2])


LITELLM = Peer(RECIPE.name, lambda: installed.version(RECIPE), run, _SETTINGS, f"use {installed.obtain(RECIPE)}", owns)
