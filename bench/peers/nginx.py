"""nginx as a reverse proxy in front of the same upstream: the floor that the gateway is held against.

One worker, upstream connections kept alive, buffering off (a stream must pass as it comes), no access log, no
authentication: it does less than the gateway, in C. By default it refuses bodies of more than 1 MB, and writes those
of more than 16 KB into files: here it takes any, and keeps up to 16 MB in memory, as the gateway does.
Its CPU time is that of its one worker process.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.peers.peer import Peer, PeerError
from bench.process import Cores, children, free_port, raise_open_files, running, wait_ready
from bench.subjects import Subject, fetch

_SETTINGS = {
    "processes": 1,
    "worker_processes": 1,
    "keepalive": 1024,
    "proxy_buffering": "off",
    "client_max_body_size": 0,
    "client_body_buffer_size": "16m",
    "access_log": "off",
    "key": "not checked",
}

_CONF = """
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {directory}/nginx.pid;
error_log stderr error;
{user}
events {{
    worker_connections {connections};
}}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_buffer_size 16m;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    upstream canned {{
        server 127.0.0.1:{upstream_port};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://canned;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 300s;
            proxy_send_timeout 300s;
        }}
    }}
}}
"""


def find() -> str | None:
    """Give the path of nginx, or None where it is not installed."""
    # Distributions put it where only root's PATH looks.
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")


def version() -> str | None:
    """Give nginx's own name and version, None where it is not installed."""
    path = find()
    if path is None:
        return None
    shown = subprocess.run([path, "-v"], capture_output=True, text=True, check=True)  # noqa: S603 - our own command
    return shown.stderr.strip().removeprefix("nginx version: ")


def configuration(*, directory: str, port: int, upstream_port: int) -> str:
    """Give the nginx.conf; everything it writes is in the directory."""
    # Started as root, nginx would hand its worker to an account that may not enter the directory.
    user = "user root;" if os.geteuid() == 0 else ""
    files = raise_open_files()
    # With less than 1/16 of its connections free, nginx closes clients that have not sent a byte yet: let files be the
    # limit, and never these.
    return _CONF.format(
        directory=directory,
        port=port,
        upstream_port=upstream_port,
        user=user,
        files=files,
        connections=2 * files,
    )


@contextmanager
def run(upstream_port: int, cores: Cores) -> Iterator[Subject]:
    """Run nginx in front of the upstream; raises PeerError, with what it wrote, when it does not become ready."""
    path = find()
    if path is None:
        raise PeerError(f"nginx is not installed: {NGINX.obtain}")
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        conf, log, port = Path(directory) / "nginx.conf", Path(directory) / "nginx.log", free_port()
        conf.write_text(configuration(directory=directory, port=port, upstream_port=upstream_port))
        command = [path, "-p", directory, "-c", str(conf), "-e", str(log)]
        with running(command, on=cores.subject, log=str(log)) as process:
            try:
                wait_ready(process, lambda: fetch(port, "/v1/models")[0] == 200)
            except RuntimeError as exc:
                raise PeerError(f"{exc}\n{log.read_text()}") from exc
            yield Subject("nginx", port, tuple(children(process.pid)))


def owns(command: Sequence[str]) -> bool:
    """Know nginx: its worker calls itself `nginx: worker process`."""
    return command[0].startswith("nginx") or command[0].endswith("/nginx")


NGINX = Peer("nginx", version, run, _SETTINGS, "install it as this system installs software", owns)
