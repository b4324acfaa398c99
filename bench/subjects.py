"""What is measured: the gateway as its users start it, or nothing at all (direct). nginx is in `bench.nginx`.

The gateway runs with everything on: a key to check, metrics, an access log to a file, a store for the log of requests,
in a directory of its own. Its CPU time is that of its worker processes, as /api/status names them: the supervisor and
the console are not in the path of a request.
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

from bench.process import Cores, announcement, free_port, running, wait_ready

KEY = "sk-bench-0123456789abcdef0123456789abcdef"
_SERVER = """
[server]
listen = ["127.0.0.1:{port}"]
workers = 1
access_log = "{log}"

[keys.bench]
value = "{key}"
"""
_CANNED = """
[providers.canned]
base_url = "http://127.0.0.1:{upstream_port}/v1"
models = ["canned"]
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
def canned(cores: Cores) -> Iterator[Subject]:
    """Run the canned upstream; going straight to it is what `direct` means."""
    command = [sys.executable, "-m", "bench.canned", "--follow-stdin"]
    with running(command, on=cores.others, piped=True) as process:
        yield Subject("direct", announcement(process)["port"], (process.pid,))


@contextmanager
def gateway(upstream_port: int, cores: Cores) -> Iterator[Subject]:
    """Run the gateway in front of one upstream; raises RuntimeError as `serving` does."""
    with serving(_CANNED.format(upstream_port=upstream_port), cores) as served:
        yield served.subject


@contextmanager
def serving(providers: str, cores: Cores, *, data: Path | None = None) -> Iterator[Served]:
    """Run `engine serve` with one worker and these providers and models, in the words of its configuration file.

    Its accounts lie in `data`, or in an empty directory that is gone afterwards: never where its user has them. Raises
    RuntimeError, with the end of what it wrote, when it does not become ready.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        port, config, log = free_port(), Path(directory) / "bench.toml", Path(directory) / "gateway.log"
        access_log = Path(directory) / "access.log"
        config.write_text(_SERVER.format(port=port, key=KEY, log=access_log) + providers)
        books = Path(directory) / "data" if data is None else data
        command = [sys.executable, "-m", "engine", "serve", "--config", str(config), "--data", str(books)]
        with running(command, on=cores.subject, environ=environment(), log=str(log)) as process:
            try:
                wait_ready(process, lambda: fetch(port, "/health/ready")[0] == 200)
                wait_ready(process, lambda: len(worker_pids(port)) == 1)
            except RuntimeError as exc:
                raise RuntimeError(f"{exc}\n{log.read_text()[-2000:]}") from exc
            yield Served(Subject("gateway", port, tuple(worker_pids(port))), access_log, log)


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
