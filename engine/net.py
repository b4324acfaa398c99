"""The network's front door: where an upstream is, how clients are accepted, and the names of the streams in between.

Holds the listening side and `Origin`; the streams are made in `engine.stream` and `engine.tls` and exported from here.
It does not decide how an origin is reached (`engine.connect`), nor what is done with a connection.
"""

import errno
import socket
from contextlib import suppress
from typing import Literal, NamedTuple

from trio.lowlevel import wait_readable

from engine.stream import RECEIVE_BYTES, Broken, Stream, host_port
from engine.tls import TlsStream, accept_tls, client_tls_context, connect_tls, server_tls_context

__all__ = [
    "RECEIVE_BYTES",
    "Broken",
    "ConnectError",
    "Origin",
    "Stream",
    "TlsStream",
    "accept",
    "accept_nowait",
    "accept_tls",
    "client_tls_context",
    "connect_tls",
    "host_port",
    "listen",
    "server_tls_context",
    "without_delay",
]

BACKLOG = 4096
"""Linux cuts this to net.core.somaxconn, whose default it is."""

# accept(2): errors of the connection that was about to be accepted, not of the listener. The same list as trio's
# SocketListener; names because not every platform has them all.
ACCEPT_AGAIN: frozenset[int] = frozenset(
    getattr(errno, name)
    for name in (
        "EPERM",
        "ECONNABORTED",
        "EPROTO",
        "ENETDOWN",
        "ENOPROTOOPT",
        "EHOSTDOWN",
        "ENONET",
        "EHOSTUNREACH",
        "EOPNOTSUPP",
        "ENETUNREACH",
        "ENOSR",
        "ESOCKTNOSUPPORT",
        "EPROTONOSUPPORT",
        "ETIMEDOUT",
        "ECONNRESET",
    )
    if hasattr(errno, name)
)


class Origin(NamedTuple):
    """Where an upstream is; the key of its pooled connections.

    `scheme` is `http`, `https` or `unix`; for `unix`, `host` is the socket's path and `port` is 0. An IPv6 `host` is
    written without brackets.
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.host}"
        return f"{self.scheme}://{host_port(self.host, self.port)}"


class ConnectError(Exception):
    """No connection to an origin came about; `phase` says how far it went, `status` is the proxy's HTTP status, if any.

    The message may go to a client and a log: it names hosts, never credentials.
    """

    def __init__(
        self, phase: Literal["dns", "connect", "tls", "proxy"], message: str, *, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.phase = phase
        self.status = status


def listen(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """Return a listening TCP socket. Raises OSError. Resolves a name synchronously, so: at start-up.

    `reuse_port` lets each worker have its own queue on one port; it also lets a second gateway of the same user in
    unnoticed, so the port should have been tried without it first. `::` takes IPv4 connections too.
    """
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


async def accept(listener: socket.socket) -> socket.socket:
    """Wait for a connection and return its socket, for `Stream` or `accept_tls`. Always a checkpoint.

    Raises OSError when the process is out of descriptors or memory: then take a nap, the connection stays in the queue.
    """
    while True:
        await wait_readable(listener.fileno())
        sock = accept_nowait(listener)
        if sock is not None:
            return sock


def accept_nowait(listener: socket.socket) -> socket.socket | None:
    """Return the socket of a connection that is already there, None when there is none. Raises OSError as `accept`.

    Connections that died in the queue are passed over.
    """
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return None
        except OSError as exc:
            if exc.errno in ACCEPT_AGAIN:
                continue
            raise
        without_delay(sock)
        return sock


def without_delay(sock: socket.socket) -> None:
    """Make a TCP socket non-blocking and send small writes at once."""
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        # EINVAL on macOS when the peer has already reset; the first receive will say so.
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
