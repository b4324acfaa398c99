"""A stream inside TLS, both sides of its handshake, and the contexts.

Decides what an end and a failure are in TLS: a connection that ends without close_notify (RFC 8446, 6.1) is `Broken`,
since only that tells a body delimited by the end of the connection from a truncated one. Reads and writes go through a
non-blocking `ssl.SSLSocket`, which needs no copy between kernel and OpenSSL; so "readable" has two meanings here, and
`pending()` comes first. It does not know who it talks to beyond the name in the certificate.
"""

import os
import socket
import ssl
from contextlib import ExitStack, suppress

import trio
from trio.lowlevel import wait_readable, wait_writable

from engine.stream import RECEIVE_BYTES, Broken, Bytes, Stream, translated

RECORD_BYTES = 16384
"""The largest plaintext of one TLS record (RFC 8446, 5.1): no read returns more, a smaller write is all or nothing."""


class TlsStream(Stream):
    """A stream inside TLS, after its handshake (`accept_tls`, `connect_tls`): the same verbs.

    Its context comes from this module, which rules out renegotiation: so a send never needs to read.

    A record is all or nothing for OpenSSL: once a part of it is on the wire, the same bytes must be written again until
    the rest is. `send_nowait` counts such a record as refused and remembers it. So the bytes it stands for must come
    first in the next send; if the caller dropped them instead, they are delivered all the same, whole and in front.
    """

    __slots__ = ("_ended", "_held")

    _sock: ssl.SSLSocket

    def __init__(self, sock: ssl.SSLSocket) -> None:
        """Own `sock`, whose handshake is complete."""
        super().__init__(sock)
        self._held = b""
        self._ended = False

    @property
    def alpn(self) -> str | None:
        """The application protocol agreed on, None when the peer named none."""
        return self._sock.selected_alpn_protocol()

    async def receive(self, bytes_max: int = RECEIVE_BYTES) -> bytes:
        """As `Stream.receive`, at most one record a call; b"" only after the peer's close_notify."""
        # Bytes already decrypted are invisible to the kernel's readiness.
        if self._ended or self._sock.pending():
            await trio.lowlevel.checkpoint()
        else:
            await wait_readable(self._open_fd())
        while True:
            try:
                return b"" if self._ended else self._sock.recv(min(bytes_max, RECORD_BYTES))
            except ssl.SSLWantReadError:  # a part of a record, or a session ticket
                await wait_readable(self._open_fd())
            except ssl.SSLWantWriteError:  # the answer to a key update
                await wait_writable(self._open_fd())
            except ssl.SSLZeroReturnError:
                return b""
            except OSError as exc:
                raise translated(exc) from exc

    def receive_nowait(self, bytes_max: int = RECEIVE_BYTES) -> bytes:
        """As `Stream.receive_nowait`; a part of a record is nothing yet."""
        try:
            return b"" if self._ended else self._sock.recv(min(bytes_max, RECORD_BYTES))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise trio.WouldBlock from None
        except ssl.SSLZeroReturnError:
            return b""
        except OSError as exc:
            raise translated(exc) from exc

    def is_silent(self) -> bool:
        """As `Stream.is_silent`; what TLS has to say for itself, such as a session ticket, is no sound.

        Only a read can tell the two apart: a stream that is not silent may have lost a byte, and is to be closed.
        """
        if not self._ended and not self._sock.pending() and super().is_silent():
            return True
        try:
            self.receive_nowait(1)
        except trio.WouldBlock:
            return True
        except (Broken, trio.ClosedResourceError):
            return False
        return False

    def send_nowait(self, data: Bytes) -> int:
        """As `Stream.send_nowait`, record by record."""
        sent = 0
        try:
            if self._held and data:
                sent = self._finish_record(data)
            while sent < len(data):
                record = (
                    data if len(data) <= RECORD_BYTES and not sent else memoryview(data)[sent : sent + RECORD_BYTES]
                )
                try:
                    sent += self._sock.send(record)
                except ssl.SSLWantWriteError:
                    self._held = bytes(record)
                    break
        except ssl.SSLWantWriteError:
            return 0
        except OSError as exc:
            raise translated(exc) from exc
        return sent

    def send_eof(self) -> None:
        """Send close_notify. OpenSSL knows no clean half-close: what the peer still sends may not be readable."""
        self._open_fd()
        if self._ended:
            return
        try:
            self._sock.unwrap()
        except ssl.SSLWantReadError:  # said; the peer's own has not come yet
            return
        except OSError as exc:
            raise translated(exc) from exc
        # Both sides have said it, and from here the socket object is a plain one, through which no byte may come or go.
        self._ended = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def _finish_record(self, data: Bytes) -> int:
        """Write the record that a full kernel cut, and return how many bytes of `data` it stood for."""
        held = self._held
        if len(data) < len(held) and data == held[: len(data)]:
            raise ValueError(f"{len(held)} bytes were refused and must be offered again together, not {len(data)}")
        self._sock.send(held)
        self._held = b""
        return len(held) if data[: len(held)] == held else 0

    def _say_goodbye(self) -> None:
        # Best effort by contract: it must not wait, and a peer that is gone or in the middle of a record needs none.
        with suppress(OSError, ValueError):
            self._sock.unwrap()


async def accept_tls(sock: socket.socket, context: ssl.SSLContext) -> TlsStream:
    """Make the server's handshake on an accepted socket, which is closed on any failure and on cancellation.

    Raises `Broken`. How long it may take is the caller's scope.
    """
    return await _handshake(sock, context, server_side=True, server_hostname=None)


async def connect_tls(sock: socket.socket, context: ssl.SSLContext, host: str) -> TlsStream:
    """Make the client's handshake on a connected socket, which is closed on any failure and on cancellation.

    `host` goes out as SNI and must be in the certificate; an IP address goes without SNI (RFC 6066, 3) and must be one
    of its IP names. Raises `Broken`.
    """
    return await _handshake(sock, context, server_side=False, server_hostname=host.removesuffix("."))


async def _handshake(
    sock: socket.socket, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None
) -> TlsStream:
    with ExitStack() as on_failure:
        on_failure.callback(sock.close)
        sock.setblocking(False)
        try:
            tls = context.wrap_socket(
                sock,
                server_side=server_side,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
                server_hostname=server_hostname,
            )
            on_failure.callback(tls.close)
            await _shake_hands(tls)
        except OSError as exc:
            raise translated(exc) from exc
        on_failure.pop_all()
        return TlsStream(tls)


async def _shake_hands(tls: ssl.SSLSocket) -> None:
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await wait_readable(tls.fileno())
        except ssl.SSLWantWriteError:
            await wait_writable(tls.fileno())
        else:
            return


def client_tls_context(cafile: str | None = None) -> ssl.SSLContext:
    """Return the context of upstream connections: the system's trust, or only `cafile` when given. Raises OSError."""
    return _harden(ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=cafile))


def server_tls_context(cert: str | os.PathLike[str], key: str | os.PathLike[str] | None = None) -> ssl.SSLContext:
    """Return the listener's context from a PEM chain and its key (None: in the same file). Raises OSError."""
    context = _harden(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    # An empty password instead of a prompt: a start-up must fail, not wait at a terminal that nobody watches.
    context.load_cert_chain(cert, key, password="")
    return context


def _harden(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Set by default in 3.11.0 to 3.11.2: it makes a truncated connection look complete (python/cpython#95494).
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols(["http/1.1"])
    return context
