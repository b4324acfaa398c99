"""A connection to an origin: names resolved, addresses raced, proxies and TLS passed.

Addresses are raced as RFC 8305 ("happy eyeballs") says, in the shape of trio's own `open_tcp_stream`:
- take the addresses in the resolver's order (RFC 6724 is its business) with the families interleaved (section 4): one
  broken family costs one stagger and not as many as it has addresses;
- start with the first; when it fails, or has not connected after 250 ms, start the next beside it (section 5);
- the first to connect wins; all others are cancelled and closed before the winner is returned.
Not done: a look-up per family, since getaddrinfo returns both at once, and remembering winners, which would have to
notice every change of the network.

How long any of it may take is the caller's scope. This module knows no HTTP but CONNECT (`engine.proxy`), and no reuse
(`engine.pool`). It never tries again: an error names the phase, what to do about it is for others to decide.
"""

import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from itertools import zip_longest
from typing import NamedTuple, TypeAlias

import trio
from trio.lowlevel import wait_writable

from engine.net import Broken, ConnectError, Origin, Stream, connect_tls, host_port, without_delay
from engine.proxy import HOST_NAME, Proxy, open_tunnel, proxy_for, proxy_from_url
from engine.ungrouped import ungrouped

__all__ = [
    "ConnectError",
    "Proxy",
    "Target",
    "connect",
    "connect_tcp",
    "interleaved",
    "open_socket",
    "proxy_for",
    "proxy_from_url",
]

STAGGER_SECONDS = 0.250
"""RFC 8305, section 8: the recommended Connection Attempt Delay; Chrome and trio use it too."""


class Target(NamedTuple):
    """One resolved address, as `socket.socket` and `connect` take it."""

    family: int
    kind: int
    proto: int
    address: str | tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


OpenSocket: TypeAlias = Callable[[Target], Awaitable[socket.socket]]


async def connect(origin: Origin, *, tls: ssl.SSLContext | None = None, proxy: Proxy | None = None) -> Stream:
    """Open a connection to `origin`; `https` needs `tls`, a context of `client_tls_context`.

    `proxy` is not used for a Unix socket. Raises `ConnectError`. Failed or cancelled: whatever was open is closed.
    """
    if origin.scheme == "https" and tls is None:
        raise ValueError(f"{origin} needs a TLS context")
    if origin.scheme == "unix":
        return Stream(await _connect_unix(origin.host))
    host = _wire_name(origin.host)
    if proxy is None:
        sock = await connect_tcp(host, origin.port)
    else:
        sock = await _connect_through(proxy, origin._replace(host=host))
    if origin.scheme == "http" or tls is None:
        return Stream(sock)
    try:
        return await connect_tls(sock, tls, host)
    except Broken as exc:
        raise ConnectError("tls", f"{origin}: {exc}") from exc


async def open_socket(target: Target) -> socket.socket:
    """Connect one socket. Raises OSError. Failed or cancelled: it is closed."""
    with ExitStack() as on_failure:
        sock = socket.socket(target.family, target.kind, target.proto)
        on_failure.callback(sock.close)
        without_delay(sock)
        # EAGAIN, a Unix listener with a full queue, is a failure: nothing would wake us when a place is free.
        number = sock.connect_ex(target.address)
        if number == errno.EINPROGRESS:
            await wait_writable(sock.fileno())
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not number and is_itself(sock):
            number = errno.ECONNREFUSED
        if number:
            raise OSError(number, os.strerror(number))
        on_failure.pop_all()
        return sock


async def connect_tcp(
    host: str, port: int, *, stagger_seconds: float = STAGGER_SECONDS, attempt: OpenSocket = open_socket
) -> socket.socket:
    """Resolve `host` and return the first socket that connects; `attempt` connects one.

    Raises `ConnectError` (phase `dns` or `connect`), whose cause is the one OSError or an ExceptionGroup of them all.
    Failed or cancelled: no socket stays open.
    """
    targets = await _resolve(host, port)
    failures: list[OSError] = []
    if len(targets) > 1:
        winner = await _race(targets, attempt, stagger_seconds, failures)
        if winner is not None:
            return winner
    else:
        # The common case of an address, or of a name with one, does not pay for a nursery.
        try:
            return await attempt(targets[0])
        except OSError as exc:
            failures.append(exc)
    message = f"{host_port(host, port)}: {', '.join(dict.fromkeys(map(_reason, failures)))}"
    raise ConnectError("connect", message) from (
        failures[0] if len(failures) == 1 else ExceptionGroup(message, failures)
    )


async def _race(
    targets: list[Target], attempt: OpenSocket, stagger_seconds: float, failures: list[OSError]
) -> socket.socket | None:
    """Return the first socket that connects, or None with a failure of each target in `failures`."""
    opened: list[socket.socket] = []
    winner: socket.socket | None = None

    async def run(target: Target, failed: trio.Event) -> None:
        try:
            opened.append(await attempt(target))
        except OSError as exc:
            failures.append(exc)
            failed.set()
        else:
            nursery.cancel_scope.cancel()

    try:
        async with ungrouped(), trio.open_nursery() as nursery:
            for target in targets:
                failed = trio.Event()
                nursery.start_soon(run, target, failed)
                with trio.move_on_after(stagger_seconds):
                    await failed.wait()
        winner = opened[0] if opened else None
    finally:
        # Two may connect in the same turn of the loop, and the caller may be cancelled in the winner's.
        for sock in opened:
            if sock is not winner:
                sock.close()
    return winner


def interleaved(targets: Iterable[Target]) -> list[Target]:
    """Order addresses so that the families take turns, each in its own order, the first one's family first.

    Repeated addresses are dropped.
    """
    families: dict[int, dict[Target, None]] = {}
    for target in targets:
        families.setdefault(target.family, {})[target] = None
    return [target for turn in zip_longest(*families.values()) for target in turn if target is not None]


def is_itself(sock: socket.socket) -> bool:
    """Tell whether a socket has connected to itself, which TCP's simultaneous open allows.

    It happens to whoever knocks again and again at a loopback port of the ephemeral range where nobody listens: one
    day the kernel picks that very port as the source. Go's net package checks for it too (selfConnect).
    """
    return sock.family != socket.AF_UNIX and sock.getsockname() == sock.getpeername()


async def _resolve(host: str, port: int) -> list[Target]:
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise ConnectError("dns", f"{host}: {_reason(exc)}") from exc
    targets = interleaved(Target(family, kind, proto, address) for family, kind, proto, _, address in found)
    if not targets:
        raise ConnectError("dns", f"{host}: no address")
    return targets


async def _connect_unix(path: str) -> socket.socket:
    try:
        return await open_socket(Target(socket.AF_UNIX, socket.SOCK_STREAM, 0, path))
    except OSError as exc:
        raise ConnectError("connect", f"unix:{path}: {_reason(exc)}") from exc


async def _connect_through(proxy: Proxy, origin: Origin) -> socket.socket:
    try:
        stream = Stream(await connect_tcp(proxy.host, proxy.port))
    except ConnectError as exc:
        raise ConnectError("proxy", f"proxy {exc}") from exc
    with ExitStack() as on_failure:
        on_failure.callback(stream.close)
        await open_tunnel(stream, proxy, origin)
        on_failure.pop_all()
    return stream.detach()


def _wire_name(host: str) -> str:
    """Return a host as it goes into a DNS query, a certificate check and a CONNECT line."""
    try:
        name = host if ":" in host else host.encode("idna").decode("ascii")
    except UnicodeError as exc:
        raise ConnectError("dns", f"{host!r} is not a host name") from exc
    if HOST_NAME.fullmatch(name) is None:
        raise ConnectError("dns", f"{host!r} is not a host name")
    return name


def _reason(exc: OSError | UnicodeError) -> str:
    return (getattr(exc, "strerror", None) or str(exc)).lower()
