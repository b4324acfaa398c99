"""Binding: the listening sockets of a server, made once by the supervisor and inherited by its workers.

On Linux every worker slot gets a socket of its own for each TCP address (SO_REUSEPORT), so that the kernel spreads
connections evenly. The supervisor keeps all of them open: what waits in the queue of a worker that died is served by
its replacement instead of being reset. Elsewhere SO_REUSEPORT does not spread, so the workers share one socket. Unix
sockets are always shared.
"""

import contextlib
import errno
import os
import socket
import sys
from dataclasses import dataclass

from engine import net
from engine.config import Listen, TcpListen, UnixListen

SPREADS = sys.platform == "linux"


class ListenError(Exception):
    """An address cannot be listened on; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Bound:
    """All the sockets of a server: one list per worker slot, and the addresses as clients would write them."""

    slots: tuple[tuple[socket.socket, ...], ...]
    addresses: tuple[str, ...]
    paths: tuple[tuple[str, int], ...]

    def close(self) -> None:
        """Close every socket and remove the Unix ones from the file system, unless another server has replaced them."""
        for sock in {sock for sockets in self.slots for sock in sockets}:
            sock.close()
        for path, inode in self.paths:
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)


def bind(listen: tuple[Listen, ...], workers: int, *, secure: bool) -> Bound:
    """Bind every address for `workers` slots. Raises `ListenError`; then nothing stays open."""
    slots: list[list[socket.socket]] = [[] for _ in range(workers)]
    addresses, paths = [], []
    with contextlib.ExitStack() as stack:
        for address in listen:
            if isinstance(address, UnixListen):
                sockets = [_bind_unix(address)] * workers
                paths.append((address.path, os.stat(address.path).st_ino))
                addresses.append(str(address))
            else:
                sockets = _bind_tcp(address, workers)
                host, port = sockets[0].getsockname()[:2]
                addresses.append(f"{'https' if secure else 'http'}://{TcpListen(host, port)}")
            for slot, sock in zip(slots, sockets, strict=True):
                stack.callback(sock.close)
                slot.append(sock)
        stack.pop_all()
    return Bound(tuple(map(tuple, slots)), tuple(addresses), tuple(paths))


def _bind_tcp(address: TcpListen, workers: int) -> list[socket.socket]:
    try:
        if not SPREADS:
            return [net.listen(address.host, address.port)] * workers
        # SO_REUSEPORT lets another server of the same user take half of our connections unnoticed, or us half of its:
        # a first socket without it finds out whether the port is free.
        with net.listen(address.host, address.port) as probe:
            port = probe.getsockname()[1]
        return [net.listen(address.host, port, reuse_port=True) for _ in range(workers)]
    except OSError as exc:
        raise ListenError(f"cannot listen on {address}: {exc.strerror or exc}") from exc


def _bind_unix(address: UnixListen) -> socket.socket:
    """Bind a Unix socket, replacing the file of a server that is gone, never that of one that answers."""
    path = address.path
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_stale(path):
            os.unlink(path)
        sock.bind(path)
        sock.listen(net.BACKLOG)
    except OSError as exc:
        sock.close()
        raise ListenError(f"cannot listen on {address}: {exc.strerror or exc}") from exc
    sock.setblocking(False)
    return sock


def _is_stale(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED
