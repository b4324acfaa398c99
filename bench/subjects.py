"""What is measured: the gateway as its users start it, or nothing at all (direct). Others are in `bench.peers`.

The gateway runs with everything on: an account's key with wallet, caps and rates, a price for the model, the journal, a
store for ledger and log of requests, metrics, an access log to a file, all in directories of their own. Its CPU time is
that of its worker processes, as /api/status names them. What else belongs to it (supervisor, console, whoever books) is
not in the way of a request; it is read beside them, so that nothing is hidden there.
"""

import http.client
import json
import os
import platform
import re
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped, unused-ignore]
import trio

from bench.account import TOKEN, open_account
from bench.process import Cores, announcement, free_port, place, running, wait_ready

DIRECT, NGINX, GATEWAY = "direct", "nginx", "gateway"
"""Names of subjects: the upstream itself, the floor, and what is measured."""

LOGGED = "gateway, a key of the file"
"""The gateway when it is asked with a key that nobody pays for."""

OURS = frozenset({DIRECT, GATEWAY, LOGGED})
"""Whose failures are the run's."""

KEY = "sk-bench-0123456789abcdef0123456789abcdef"
"""Of the configuration file: it is checked, and nobody pays."""

_SERVER = """
[server]
listen = ["127.0.0.1:{port}"]
workers = {workers}
access_log = "{log}"

[keys.bench]
value = "{key}"
"""
_CANNED = """
[providers.canned]
base_url = "http://127.0.0.1:{upstream_port}/v1"
models = ["canned"]

[prices.canned]
input = 1
output = 2
"""
_LEAKING = re.compile(r"(_proxy|_api_key|_base_url|_host)$|^hedgerow_", re.IGNORECASE)


class Subject(NamedTuple):
    """Something that answers on a loopback port; `pids` are the processes whose CPU time and memory count as its own.

    `key`, `model`, `path` and `headers` are how it is asked for the same thing as everybody else; `beside` are the
    processes that belong to it and are not in a request's way. Without `pids` its CPU time is not known.
    """

    name: str
    port: int
    pids: tuple[int, ...]
    key: str = KEY
    model: str = "canned"
    path: str = "/v1/chat/completions"
    headers: Mapping[str, str] = {}
    beside: tuple[int, ...] = ()

    def told(self) -> dict[str, Any]:
        """Give what a job is told about whom it asks."""
        return {
            "port": self.port,
            "key": self.key,
            "model": self.model,
            "path": self.path,
            "headers": dict(self.headers),
            "subject": list(self.pids),
            "beside": list(self.beside),
        }


class Served(NamedTuple):
    """A running gateway, where it writes its access log, and where everything else that it says."""

    subject: Subject
    access_log: Path
    log: Path


class Python(NamedTuple):
    """The interpreter that runs the gateway, which is this one; how it was built decides a good part of the figures."""

    implementation: str
    version: str
    pgo: bool
    lto: bool

    def text(self) -> str:
        """Describe it in a sentence."""
        found = [name for name, used in (("PGO", self.pgo), ("LTO", self.lto)) if used]
        built = f"built with {' and '.join(found)}" if found else "built without PGO and LTO, so slower than most"
        return f"{self.implementation} {self.version}, {built}"


def python() -> Python:
    """Read what `configure` was told when this interpreter was built; a build that does not say counts as plain."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return Python(
        platform.python_implementation(),
        platform.python_version(),
        pgo="--enable-optimizations" in arguments,
        lto="--with-lto" in arguments,
    )


def fetch(port: int, path: str) -> tuple[int, bytes]:
    """GET a path from a loopback server; status 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


@contextmanager
def canned(cores: Cores, port: int = 0, seed: int = 0) -> Iterator[Subject]:
    """Run the canned upstream, on any free port for 0; going straight to it is what `direct` means."""
    command = [sys.executable, "-m", "bench.canned", "--follow-stdin", "--port", str(port), "--seed", str(seed)]
    with running(command, on=cores.others, piped=True) as process:
        yield Subject(DIRECT, announcement(process)["port"], (process.pid,))


@contextmanager
def gateway(upstream_port: int, cores: Cores, *, account: bool = True, workers: int = 1) -> Iterator[Subject]:
    """Run the gateway in front of one upstream; raises RuntimeError as `serving` does.

    It is asked with an account's key, or, without `account`, with one of its configuration file.
    """
    with tempfile.TemporaryDirectory(prefix="bench-account-") as directory:
        data = Path(directory) / "data"
        if account:
            trio.run(open_account, data)
        with serving(priced(upstream_port), cores, data=data, workers=workers) as served:
            yield served.subject._replace(key=TOKEN if account else KEY)


def priced(upstream_port: int) -> str:
    """Give the configuration of one upstream whose model has a price."""
    return _CANNED.format(upstream_port=upstream_port)


@contextmanager
def serving(providers: str, cores: Cores, *, data: Path | None = None, workers: int = 1) -> Iterator[Served]:
    """Run `engine serve` with these providers and models, in the words of its configuration file.

    Its accounts lie in `data`, or in an empty directory that is gone afterwards: never where its user has them. Raises
    RuntimeError, with the end of what it wrote, when it does not become ready.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        port, config, log = free_port(), Path(directory) / "bench.toml", Path(directory) / "gateway.log"
        access_log = Path(directory) / "access.log"
        config.write_text(_SERVER.format(port=port, key=KEY, log=access_log, workers=workers) + providers)
        books = Path(directory) / "data" if data is None else data
        command = [sys.executable, "-m", "engine", "serve", "--config", str(config), "--data", str(books)]
        # Most of its start is imports, of several processes at once: it has all cores for that.
        with running(command, on=cores.subject | cores.others, environ=environment(), log=str(log)) as process:
            try:
                wait_ready(process, lambda: fetch(port, "/health/ready")[0] == 200)
                wait_ready(process, lambda: len(worker_pids(port)) == workers)
            except RuntimeError as exc:
                raise RuntimeError(f"{exc}\n{log.read_text()[-2000:]}") from exc
            place(process.pid, cores.subject)
            pids = tuple(worker_pids(port))
            yield Served(Subject(GATEWAY, port, pids, beside=_others(process.pid, pids)), access_log, log)


def _others(supervisor: int, workers: tuple[int, ...]) -> tuple[int, ...]:
    """Give the supervisor and all that it started but for the workers."""
    family = (supervisor, *(child.pid for child in psutil.Process(supervisor).children(recursive=True)))
    return tuple(pid for pid in family if pid not in workers)


def environment() -> dict[str, str]:
    """Give this environment without what would change the gateway: proxies, keys and addresses of providers."""
    return {name: value for name, value in os.environ.items() if not _LEAKING.search(name)}


def worker_pids(port: int) -> list[int]:
    """Ask a gateway for the pids of its workers; none while its console is not up."""
    status, body = fetch(port, "/api/status")
    if status != 200:
        return []
    document: dict[str, Any] = json.loads(body)
    workers: list[dict[str, Any]] = document.get("data", document).get("workers", [])
    return [worker["pid"] for worker in workers if worker.get("pid")]
