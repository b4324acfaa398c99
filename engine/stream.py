"""One connection's bytes: a non-blocking socket on trio.

Decides how a socket is waited for and what its failures are called. Receiving waits until the kernel says readable and
then reads once: one checkpoint a read, and a cancellation can only fall into the wait, so it never costs a byte.
Sending tries first and waits only when the kernel is full. No timeouts: every wait belongs to the caller's scope.

Errors: the end the peer announced is `b""`; anything else that ends a connection is `Broken`; what this side closed is
`trio.ClosedResourceError`, also for a task that was waiting at that moment. One task may receive while another sends;
two receivers, or two senders, are a bug (`trio.BusyResourceError`).

This module knows of TLS only the errors (`engine.tls` has the same verbs inside TLS), and nothing of addresses
(`engine.connect`), reuse (`engine.pool`) and HTTP.
"""

import errno
import os
import select
import socket
import ssl
import struct
from contextlib import suppress
from typing import TypeAlias

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

Bytes: TypeAlias = bytes | bytearray | memoryview

RECEIVE_BYTES = 65536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

REASONS: dict[int, str] = {
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "closed",
    errno.ENOTCONN: "closed",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
}


class Broken(Exception):  # noqa: N818 - a fact about the connection
    """The connection is unusable, and not by a proper end; close it.

    `reason` is a word for logs: `reset`, `closed` (a send to a peer that closed), `timeout`, `unreachable`, `truncated`
    (TLS ended without close_notify), `certificate`, `tls`, or else the errno's name in lower case.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Stream:
    """A connected stream socket. `close()` or `abort()` it once done; both are synchronous and idempotent."""

    __slots__ = ("_address", "_arrivals", "_fd", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        """Own `sock` from now on."""
        sock.setblocking(False)
        self._sock = sock
        self._fd = sock.fileno()
        self._arrivals: select.poll | None = None
        try:
            self._address = sock.getpeername()
        except OSError:  # reset between accept and here; the first receive will say so
            self._address = None

    def __repr__(self) -> str:
        state = "closed" if self._fd < 0 else f"fd={self._fd}"
        return f"<{type(self).__name__} {self.peer} {state}>"

    @property
    def peer(self) -> str:
        """The peer as `host:port`, or `unix`."""
        return host_port(*self._address[:2]) if isinstance(self._address, tuple) else "unix"

    @property
    def peer_host(self) -> str:
        """The peer's IP address, an IPv4 one in IPv4 form also behind a dual-stack listener; "" for a Unix socket."""
        host: str = self._address[0] if isinstance(self._address, tuple) else ""
        return host.removeprefix("::ffff:") if "." in host else host

    def fileno(self) -> int:
        """Return the file descriptor, -1 once closed."""
        return self._fd

    async def receive(self, bytes_max: int = RECEIVE_BYTES) -> bytes:
        """Wait until there is something to read and return up to `bytes_max` of it, b"" at the end of the stream.

        Always a checkpoint. Cancelled: no byte is lost, call it again. Raises `Broken`, `trio.ClosedResourceError`.
        """
        while True:
            if self._fd < 0:
                raise self._closed()
            await wait_readable(self._fd)
            try:
                return self._sock.recv(bytes_max)
            except BlockingIOError:
                continue
            except OSError as exc:
                raise translated(exc) from exc

    def receive_nowait(self, bytes_max: int = RECEIVE_BYTES) -> bytes:
        """As `receive`, of what is already there; raises `trio.WouldBlock` when that is nothing."""
        try:
            return self._sock.recv(bytes_max)
        except BlockingIOError:
            raise trio.WouldBlock from None
        except OSError as exc:
            raise translated(exc) from exc

    def is_silent(self) -> bool:
        """Tell whether this stream is open and there is nothing to receive: no byte, no end, no failure.

        For whoever keeps an idle connection. Asked of poll, since a read that finds nothing costs two exceptions, six
        times as much.
        """
        if self._fd < 0:
            return False
        if self._arrivals is None:
            self._arrivals = select.poll()
            self._arrivals.register(self._fd, select.POLLIN)
        return not self._arrivals.poll(0)

    def send_nowait(self, data: Bytes) -> int:
        """Hand over as much of `data` as goes at once and return how many bytes that were, 0 when none.

        For those who must know what a cancellation left over: keep the rest, `await wait_writable()`, offer it again.
        What was refused comes first in the next send, in a buffer no shorter than before (`TlsStream` says why). Only
        a message of at most 16 KiB of which nothing was taken may be dropped instead. Raises `Broken`,
        `trio.ClosedResourceError`.
        """
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise translated(exc) from exc

    async def send(self, data: Bytes) -> None:
        """Send all of `data`, waiting for a slow peer. No checkpoint when it all goes at once, which is the rule.

        Cancelled: an unknown part was sent and nothing remembers which: close the stream. Raises `Broken`,
        `trio.ClosedResourceError`.
        """
        sent = self.send_nowait(data)
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        while rest:
            await wait_writable(self._open_fd())
            rest = rest[self.send_nowait(rest) :]

    async def wait_writable(self) -> None:
        """Wait until `send_nowait` may take more. A checkpoint, harmless to cancel."""
        await wait_writable(self._open_fd())

    def send_eof(self) -> None:
        """Tell the peer that nothing follows; receiving goes on. Raises `Broken`, `trio.ClosedResourceError`."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as exc:
            raise translated(exc) from exc

    def close(self) -> None:
        """Close without waiting, inside a trio run; tasks that wait on the stream get `trio.ClosedResourceError`."""
        if self._fd >= 0:
            # First, so that waiters leave before the kernel can give the number to another socket.
            notify_closing(self._fd)
            self._fd = -1
            self._say_goodbye()
            self._sock.close()

    def abort(self) -> None:
        """Close so that the peer sees a reset: what it got must not be taken for complete."""
        if self._fd >= 0:
            notify_closing(self._fd)
            self._fd = -1
            # EINVAL on macOS once the peer has reset: then there is nobody left to tell.
            with suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._sock.close()

    def detach(self) -> socket.socket:
        """Give up the socket to the caller; the stream counts as closed. Nobody may be waiting on it."""
        self._fd = -1
        return self._sock

    def _say_goodbye(self) -> None:
        """Send what a proper end needs; plain TCP's FIN comes from close itself."""

    def _open_fd(self) -> int:
        if self._fd < 0:
            raise self._closed()
        return self._fd

    def _closed(self) -> trio.ClosedResourceError:
        return trio.ClosedResourceError("this stream was closed here")


def host_port(host: str, port: int) -> str:
    """Join host and port as a URL does: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def translated(exc: OSError) -> Broken | trio.ClosedResourceError:
    """Return the exception to raise for a failed operation on a stream's socket."""
    if isinstance(exc, ssl.SSLEOFError):
        return Broken("truncated", "the peer closed without ending TLS")
    if isinstance(exc, ssl.SSLCertVerificationError):
        return Broken("certificate", f"certificate not accepted: {exc.verify_message}")
    if isinstance(exc, ssl.SSLError):
        return Broken("tls", f"TLS failed: {(exc.reason or 'unknown reason').replace('_', ' ').lower()}")
    if exc.errno == errno.EBADF:
        return trio.ClosedResourceError("this stream was closed here")
    number = exc.errno or 0
    reason = REASONS.get(number) or errno.errorcode.get(number, "unknown").lower()
    return Broken(reason, os.strerror(number).lower() if number else "the connection failed")
