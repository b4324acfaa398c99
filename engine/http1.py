"""HTTP/1.1 framing, both sides, sans-IO: bytes in, messages out. No socket, no clock, no await.

`RequestParser` reads what a client sends, `ResponseParser` what an upstream answers, `render_*` and `chunk` write our
answers. Heads are parsed by llhttp (httptools), as are chunked responses; what llhttp lets pass and how a request's
body is cut out of the bytes is decided by the modules beside this one: `http1_grammar`, `http1_head`, `http1_chunked`,
`http1_response`, `http1_render`. Import the names from here.

The request parser reads one request at a time. Behind a complete request it stops: what follows stays unread until
the owner asks for the next one with `pop`. So pipelined requests are parsed in the order they are answered, a flood of
them in one read costs nothing until it is served, a broken one cannot spoil the answers in front of it, and after an
Upgrade request `leftover` holds exactly what followed. Asking for the next request is what declines the upgrade.

    HEAD ──> LENGTH ──┬─> COMPLETE ──> HEAD              popped, and the connection stays open
      ├────> CHUNKED ─┤          ├───> UPGRADE ──> HEAD  popped, and it may leave HTTP: what follows is kept
      └───────────────┘          └───> CLOSED            popped, and it was the last: what follows is dropped
    HEAD, CHUNKED ──> ERROR                              for good: the same error is raised ever after

The verdict on a byte sequence does not depend on how it was cut into reads. Time is linear in its length; only a head
that trickles in is copied again for each read, and a head is bounded.
"""

from enum import IntEnum
from typing import Final

from engine.http1_chunked import ChunkedBody
from engine.http1_grammar import BLANK_LINE, CRLF, ProtocolError, stray_bytes
from engine.http1_head import Request, RequestLimits, read_request_head, read_request_line
from engine.http1_known import KnownHead, known
from engine.http1_render import CONTINUE, LAST_CHUNK, REASONS, chunk, render_head, render_response
from engine.http1_response import ResponseParser

__all__ = [
    "CONTINUE",
    "LAST_CHUNK",
    "REASONS",
    "ProtocolError",
    "Request",
    "RequestLimits",
    "RequestParser",
    "ResponseParser",
    "chunk",
    "render_head",
    "render_response",
]

BLANK_LINES_MAX: Final = 8
"""Empty lines tolerated in front of a request line (RFC 9112 section 2.2 asks for at least one)."""


class _State(IntEnum):
    HEAD = 0
    LENGTH = 1
    CHUNKED = 2
    COMPLETE = 3
    UPGRADE = 4
    CLOSED = 5
    ERROR = 6


# Bound once: on Python 3.11 each look-up of a member in its class costs 0.13 us, a hundredth of a whole head.
_HEAD, _LENGTH, _CHUNKED, _COMPLETE, _UPGRADE, _CLOSED, _ERROR = _State

_TRANSITIONS: Final[dict[int, tuple[_State, ...]]] = {
    _HEAD: (_COMPLETE, _LENGTH, _CHUNKED, _ERROR),
    _LENGTH: (_COMPLETE,),
    _CHUNKED: (_COMPLETE, _ERROR),
    _COMPLETE: (_HEAD, _UPGRADE, _CLOSED),
    _UPGRADE: (_HEAD,),
    _CLOSED: (),
    _ERROR: (),
}


class RequestParser:
    """The requests of one client connection, in order. Not concurrent; all methods are synchronous."""

    __slots__ = (
        "_at",
        "_blank_lines",
        "_body",
        "_chunked",
        "_error",
        "_heads",
        "_known",
        "_limits",
        "_missing",
        "_request",
        "_scanned",
        "_state",
        "_unread",
    )

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._state = _HEAD
        self._request: Request | None = None
        self._error: ProtocolError | None = None
        # Received and not yet read: `_unread` from offset `_at`; up to `_scanned` it was searched for a head's end.
        self._unread = b""
        self._at = 0
        self._scanned = 0
        self._blank_lines = 0
        # From the second head on: a connection that serves one request keeps nothing for a next one.
        self._known: KnownHead | None = None
        self._heads = 0
        self._body = bytearray()
        self._missing = 0
        self._chunked: ChunkedBody | None = None

    def __repr__(self) -> str:
        return f"<RequestParser {self._state.name} {len(self._unread) - self._at} bytes unread>"

    @property
    def awaiting_body(self) -> Request | None:
        """The request whose head is complete and whose body is not, for sending it a 100 Continue."""
        return None if self._state is _COMPLETE else self._request

    @property
    def idle(self) -> bool:
        """Whether nothing of a next request has been received."""
        return self._state is _HEAD and self._at == len(self._unread)

    @property
    def leftover(self) -> bytes:
        """The bytes behind the request popped last (head and body): what followed an Upgrade request."""
        return self._unread[self._at :]

    def feed(self, data: bytes) -> None:
        """Take in what was received; `pop` tells whether a request is complete.

        While a complete request waits, or one that asked for an upgrade was popped, bytes are only kept: the owner
        stops reading meanwhile. After the last request of a connection they are dropped. Raises ProtocolError, and the
        same one at every later call; the error is about the request under way, never about one not yet popped.
        """
        if self._unread:
            data = self._unread[self._at :] + data
            self._scanned -= self._at
            self._at = 0
        self._unread = data
        if self._state is not _UPGRADE:
            self._read_on()

    def pop(self) -> Request | None:
        """Return the next complete request, None when more bytes are needed.

        Reads it first if it lies behind the one popped before, and then raises ProtocolError as `feed` does. After an
        upgrade request this declines the upgrade.
        """
        if self._state is not _COMPLETE:
            if self._state is _UPGRADE:
                self._enter(_HEAD)
            if not self._read_on():
                return None
        request = self._request
        assert request is not None
        self._request = None
        # Out of COMPLETE, as the lines above have made sure: without the table's second look.
        if not request.keep_alive:
            self._state = _CLOSED
        else:
            self._state = _UPGRADE if request.upgrade else _HEAD
        return request

    def _enter(self, state: _State) -> None:
        assert state in _TRANSITIONS[self._state], f"{self._state.name} -> {state.name}"
        self._state = state

    def _keep(self, unread: bytes) -> None:
        self._unread = unread
        self._at = self._scanned = 0

    def _complete(self, at: int) -> None:
        """Note that the request under way ends at offset `at`."""
        self._enter(_COMPLETE)
        if at == len(self._unread):
            self._keep(b"")
        else:
            self._at = self._scanned = at

    def _read_on(self) -> bool:
        """Read unread bytes as far as one complete request; tell whether one is. Raises ProtocolError."""
        if self._error is not None:
            self._keep(b"")
            raise ProtocolError(self._error.status, self._error.message)
        if self._unread:
            try:
                if self._state is _HEAD:
                    self._read_head()
                if self._state is _LENGTH:
                    self._read_counted_body()
                elif self._state is _CHUNKED:
                    self._read_chunked_body()
                elif self._state is _CLOSED:
                    self._keep(b"")
            except ProtocolError as error:
                self._enter(_ERROR)
                self._request = self._chunked = None
                self._keep(b"")
                # Not `error` itself: it holds a traceback, which holds us.
                self._error = ProtocolError(error.status, error.message)
                raise
        return self._state is _COMPLETE

    def _read_head(self) -> None:
        if self._unread.startswith(CRLF, self._at):
            self._skip_blank_lines()
        data = self._unread
        read = (self._known and self._known.read(data, self._at, self._limits)) or self._read_new_head()
        if read is None:
            return
        self._request, end, length = read
        self._blank_lines = 0
        if length is None:
            self._chunked = ChunkedBody(self._limits)
            self._enter(_CHUNKED)
            self._keep(data[end:])
        elif len(data) - end < length:
            self._missing = length
            self._enter(_LENGTH)
            self._keep(data[end:])
        else:
            self._request.body = data[end : end + length]
            self._complete(end + length)

    def _read_new_head(self) -> tuple[Request, int, int | None] | None:
        """Return the request, its head's end, and its body's length (None: chunked); None while it is not whole."""
        data, at, limits = self._unread, self._at, self._limits
        line = read_request_line(data, at, limits.target_bytes_max)
        if line is None:
            return None
        end = data.find(BLANK_LINE, max(line.end() - 2, self._scanned - 3), at + limits.head_bytes_max)
        if end < 0:
            self._check_partial_fields(max(line.end(), self._scanned))
            return None
        end += 4
        head = data[at:end]
        request, length = read_request_head(head, line, limits)
        self._heads += 1
        if self._heads > 1:
            self._known = known(head, request)
        return request, end, length

    def _skip_blank_lines(self) -> None:
        while self._unread.startswith(CRLF, self._at):
            self._at += 2
            self._blank_lines += 1
            if self._blank_lines > BLANK_LINES_MAX:
                raise ProtocolError(400, "Too many empty lines in front of a request.")
        if self._at == len(self._unread):
            self._keep(b"")

    def _check_partial_fields(self, start: int) -> None:
        """Refuse at once what no further byte could mend, in the fields received so far, new from offset `start`."""
        limit = self._at + self._limits.head_bytes_max
        window = self._unread[start:limit].removesuffix(b"\r")
        if stray_bytes(window):
            raise ProtocolError(400, "The header section holds a control character or a bare line end.")
        if len(self._unread) >= limit:
            raise ProtocolError(431, "The request head is too large.")
        self._scanned = start + len(window)

    def _read_counted_body(self) -> None:
        data, missing = self._unread, self._missing
        self._body += data[:missing]
        if len(data) < missing:
            self._missing = missing - len(data)
            self._keep(b"")
            return
        assert self._request is not None
        self._request.body = bytes(self._body)
        self._body = bytearray()
        self._complete(missing)

    def _read_chunked_body(self) -> None:
        assert self._chunked is not None
        rest = self._chunked.feed(self._unread)
        self._keep(rest or b"")
        if rest is not None:
            assert self._request is not None
            self._request.body = bytes(self._chunked.body)
            self._chunked = None
            self._complete(0)
