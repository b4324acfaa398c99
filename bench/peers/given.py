"""A peer that runs already, named on the command line: `NAME=URL`, where URL is its OpenAI-compatible base.

    --peer bifrost=http://127.0.0.1:8081/v1
    --peer other=http://localhost:4000/v1#key=sk-1,model=canned-chat

Behind `#` stand the key and the model that it is asked with, where they are not the bench's; percent-encoded, as in any
URL. Loopback only, because the load generator knows no other place; plain HTTP, because a comparison of TLS would be
another one. Its processes are those that listen on its port and their children, where this account may see them: its
CPU time is theirs. Behind a forwarder that is unknown, and so it stays. It runs where and as it was started.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

import psutil

from bench.peers.answering import verify
from bench.peers.peer import PeerError
from bench.subjects import KEY, Subject

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
_HOSTS = frozenset({"127.0.0.1", "localhost"})
_FORWARDERS = frozenset({"docker-proxy", "rootlessport", "slirp4netns", "pasta", "ssh", "sshd", "socat"})
"""Who listens for somebody else; `docker-proxy` is what a published port of a container ends in."""


class Given(NamedTuple):
    """What the command line says of a peer. `prefix` begins with a slash, or is empty."""

    name: str
    port: int
    prefix: str
    key: str
    model: str

    @property
    def settings(self) -> dict[str, Any]:
        """What the report may say of it: no key."""
        base_url = f"http://127.0.0.1:{self.port}{self.prefix}"
        return {"version": None, "base_url": base_url, "model": self.model, "placement": "as it was started"}


def parse(text: str) -> Given:
    """Read NAME=URL; raises PeerError that says what is wrong with it."""
    name, _, url = text.partition("=")
    if not _NAME.fullmatch(name):
        raise PeerError(f"{name!r} is no name for a peer: it takes a small letter, then a-z, 0-9, '_', '.', '-'")
    try:
        parts = urlsplit(url)
        port = 80 if parts.port is None else parts.port
    except ValueError as exc:
        raise PeerError(f"peer {name}: {url} is no URL: {exc}") from exc
    _check(name, url, parts)
    options = _options(name, parts.fragment)
    return Given(name, port, parts.path.rstrip("/"), options.get("key", KEY), options.get("model", "canned"))


@contextmanager
def run(given: Given) -> Iterator[Subject]:
    """Give it as a subject; raises PeerError when it does not answer, or answers something else."""
    subject = Subject(
        given.name,
        given.port,
        listeners(given.port),
        key=given.key,
        model=given.model,
        path=f"{given.prefix}/chat/completions",
    )
    verify(subject)
    yield subject


def listeners(port: int) -> tuple[int, ...]:
    """Give the pids of whoever listens on this port of the loopback interface, and of their children.

    Empty where that cannot be told: another account's processes, a container's, or a forwarder.
    """
    family: dict[int, psutil.Process] = {}
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.laddr.port != port or not connection.pid:
                continue
            process = psutil.Process(connection.pid)
            if process.name() in _FORWARDERS:
                return ()
            for each in (process, *process.children(recursive=True)):
                family[each.pid] = each
    except psutil.Error:  # not permitted here (macOS), or it ended meanwhile
        return ()
    return tuple(sorted(family))


def _check(name: str, url: str, parts: SplitResult) -> None:
    if parts.scheme != "http" or not parts.hostname:
        raise PeerError(f"peer {name}: {url} is not of the form http://127.0.0.1:PORT/PATH")
    if parts.port == 0:
        raise PeerError(f"peer {name}: nobody listens on port 0")
    if parts.hostname not in _HOSTS:
        raise PeerError(f"peer {name}: {parts.hostname} is not 127.0.0.1 or localhost: the bench loads nothing else")
    if parts.username is not None or parts.password is not None or parts.query:
        raise PeerError(f"peer {name}: {url} has more than host, port and path; a key stands behind '#key='")
    if not re.fullmatch(r"(/[\w.~%!$&'()*+,;=:@-]*)*", parts.path, re.ASCII):
        raise PeerError(f"peer {name}: the path of {url} cannot be sent as it is")


def _options(name: str, fragment: str) -> dict[str, str]:
    try:
        options = dict(parse_qsl(fragment, strict_parsing=True, separator=",")) if fragment else {}
    except ValueError as exc:
        raise PeerError(f"peer {name}: {fragment!r} is not of the form key=KEY,model=MODEL") from exc
    strangers = sorted(options.keys() - {"key", "model"})
    if strangers:
        raise PeerError(f"peer {name}: no such option: {', '.join(strangers)} (there are key and model)")
    if not options.get("key", "x").isprintable() or not options.get("key", "x").isascii():
        raise PeerError(f"peer {name}: its key cannot stand in a header")
    return options
