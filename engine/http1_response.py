"""Responses of an upstream: head, then body bytes as they come, then the verdict on the connection.

What an upstream sends is less hostile than what a client sends, and the bytes that matter are those of its stream. So
a body is never collected here: what one read holds of it is returned, close-delimited and counted bodies uncopied,
chunked ones decoded by llhttp. It does not matter at which byte a message ended when there are bytes behind it: the
connection is not used again.

    HEAD ──> LENGTH ─────┬─> COMPLETE        `reset` ──> HEAD
      ├────> CHUNKED ────┤
      ├────> UNTIL_CLOSE ┘   its end is `eof`
      └────> COMPLETE        no body: HEAD, 204, 304, a length of zero
    HEAD, LENGTH, CHUNKED ──> CUT by `eof`;  ──> BROKEN by garbage: for good, the same error is raised ever after

Lenient where real upstreams need it: no reason phrase, and Transfer-Encoding beside Content-Length wins (RFC 9112
section 6.3), though not for a connection that shall be used again. Interim responses (1xx) are skipped, within the
bound of one head; 101 was never asked for. httptools cannot be told that the answer to HEAD has no body, so it is
given the head alone: each head is cut out first, and what follows goes where the head says.
"""

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

import httptools

from engine.http1_chunked import ChunkedResponse, read_by_llhttp
from engine.http1_grammar import BLANK_LINE, CRLF, FIELD_SECTION, ProtocolError, index_fields, stays_open, stray_bytes
from engine.http1_known import KnownAnswer

__all__ = ["ResponseParser"]

_STATUS_LINE: Final = re.compile(rb"HTTP/(1\.[01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n")
_BEGINNING: Final = b"HTTP/1."
_CHUNKED_HEAD: Final = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
"""All that llhttp need know of a head that was not read by it."""


class _State(IntEnum):
    HEAD = 0
    LENGTH = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3
    COMPLETE = 4
    CUT = 5
    BROKEN = 6


# Bound once: on Python 3.11 each look-up of a member in its class costs 0.13 us, a hundredth of a whole head.
_HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _COMPLETE, _CUT, _BROKEN = _State

_TRANSITIONS: Final[dict[int, tuple[_State, ...]]] = {
    _HEAD: (_LENGTH, _CHUNKED, _UNTIL_CLOSE, _COMPLETE, _CUT, _BROKEN),
    _LENGTH: (_COMPLETE, _CUT),
    _CHUNKED: (_COMPLETE, _CUT, _BROKEN),
    _UNTIL_CLOSE: (_COMPLETE,),
    _COMPLETE: (_HEAD,),
    _CUT: (),
    _BROKEN: (),
}


class ResponseParser:
    """One response after another of one upstream connection. Not concurrent; all methods are synchronous.

    `status` is None until the final head is complete.
    """

    __slots__ = (
        "_chunked",
        "_head_bytes_max",
        "_headers",
        "_heads",
        "_index",
        "_known",
        "_message",
        "_missing",
        "_no_body",
        "_scanned",
        "_skipped_bytes",
        "_state",
        "_stays_open",
        "_unread",
        "_unread_fields",
        "status",
    )

    def __init__(self, *, head_bytes_max: int, no_body: bool = False) -> None:
        """Expect a response, to a HEAD request when `no_body`; `head_bytes_max` also bounds framing without content."""
        self._head_bytes_max = head_bytes_max
        # From the second head on: a connection that serves one request keeps nothing for a next one.
        self._known: KnownAnswer | None = None
        self._heads = 0
        self._state = _HEAD
        self._begin(no_body=no_body)

    def _begin(self, *, no_body: bool) -> None:
        self.status: int | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._index: dict[bytes, bytes] = {}
        self._unread_fields = False
        self._no_body = no_body
        self._unread = b""
        self._scanned = 0
        self._skipped_bytes = 0
        self._missing = 0
        self._chunked: ChunkedResponse | None = None
        self._stays_open = False
        self._message = ""

    def __repr__(self) -> str:
        return f"<ResponseParser {self._state.name} {self.status}>"

    @property
    def complete(self) -> bool:
        """Whether the response has ended as it announced."""
        return self._state is _COMPLETE

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request: complete, kept alive, and not a byte behind the end."""
        return self._stays_open and self._state is _COMPLETE

    @property
    def closed_early(self) -> bool:
        """Whether the upstream closed in the middle of the response, or before it."""
        return self._state is _CUT

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the header `name` (lower-case), duplicates joined by a comma; None when there is none."""
        if self._unread_fields and self._known is not None and name not in self._known.index:
            return None
        return self.index.get(name)

    @property
    def names(self) -> Iterable[bytes]:
        """The names in the final head, each once: cheaper than their values."""
        return self._known.index if self._unread_fields and self._known is not None else self._index

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The fields of the final head, names lower-cased, in their order."""
        self._read_fields()
        return self._headers

    @property
    def index(self) -> dict[bytes, bytes]:
        """The value of each name, duplicates joined by a comma."""
        self._read_fields()
        return self._index

    def reset(self, *, no_body: bool = False) -> None:
        """Expect the next response on the same connection, which must be `reusable`."""
        assert self.reusable, repr(self)
        if no_body:
            self._known = None
        self._state = _HEAD
        self._begin(no_body=no_body)

    def feed(self, data: bytes) -> bytes:
        """Take in one read and return the body bytes it holds, b"" when it holds none.

        Bytes behind the end are dropped, and cost the connection. Raises ProtocolError (502) for a broken response, the
        same one at every later call. Body bytes in front of the break, in the same read, are lost with it.
        """
        state = self._state
        if state is _CHUNKED:
            return self._feed_chunked(data)
        if state is _LENGTH:
            return self._feed_counted(data)
        if state is _UNTIL_CLOSE:
            return data
        if state is _HEAD:
            return self._feed_head(data)
        if state is not _COMPLETE:
            raise ProtocolError(502, self._message)
        if data:
            self._stays_open = False
        return b""

    def eof(self) -> None:
        """Note that the upstream closed: the end of a close-delimited body, else a cut. Raises ProtocolError (502)."""
        self._stays_open = False
        if self._state is _UNTIL_CLOSE:
            self._enter(_COMPLETE)
        elif self._state is _CUT or self._state is _BROKEN:
            raise ProtocolError(502, self._message)
        elif self._state is not _COMPLETE:
            raise self._failed("The upstream closed before the end of its response.", _CUT)

    def _enter(self, state: _State) -> None:
        assert state in _TRANSITIONS[self._state], f"{self._state.name} -> {state.name}"
        self._state = state

    def _failed(self, message: str, state: _State = _BROKEN) -> ProtocolError:
        """Take in a failure and return the error to raise."""
        self._enter(state)
        self._message = message
        self._unread = b""
        self._chunked = None
        return ProtocolError(502, message)

    def _feed_counted(self, data: bytes) -> bytes:
        missing = self._missing
        self._missing = missing - len(data)
        if self._missing > 0:
            return data
        self._state = _COMPLETE  # out of LENGTH, which is how `feed` got here
        if self._missing == 0:
            return data
        self._stays_open = False
        return data[:missing]

    def _feed_chunked(self, data: bytes) -> bytes:
        chunked = self._chunked
        assert chunked is not None
        try:
            body = chunked.feed(data)
        except ProtocolError as error:
            raise self._failed(error.message) from None
        if chunked.ended:
            self._stays_open = self._stays_open and chunked.exact
            self._chunked = None
            self._enter(_COMPLETE)
        return body

    def _feed_head(self, data: bytes) -> bytes:
        """Read heads until the final one; return the body bytes behind it."""
        self._unread = data = self._unread + data if self._unread else data
        while True:
            budget = self._head_bytes_max - self._skipped_bytes
            end = data.find(BLANK_LINE, max(0, self._scanned - 3), budget)
            if end < 0:
                self._check_partial_head(budget)
                return b""
            end += 4
            head = data[:end]
            if self._known is not None and self._known.read(head):
                self._take_known(self._known)
                break
            line = _STATUS_LINE.match(head)
            if line is None:
                raise self._failed("The upstream's status line is malformed.")
            status = int(line[2])
            if status >= 200:
                self._read_head(head, line[1], status)
                break
            if status == 101 or not FIELD_SECTION.fullmatch(head, line.end()):
                raise self._failed("The upstream sent a malformed interim response, or changed the protocol.")
            self._skipped_bytes += end
            self._unread = data = data[end:]
            self._scanned = 0
        self._unread = b""
        return self.feed(data[end:]) if end < len(data) else b""

    def _check_partial_head(self, budget: int) -> None:
        """Refuse at once what no further byte could mend."""
        data = self._unread
        if not data.startswith(_BEGINNING) and not _BEGINNING.startswith(data):
            raise self._failed("The upstream does not speak HTTP/1.1.")
        window = data[self._scanned : budget].removesuffix(b"\r")
        if stray_bytes(window):
            raise self._failed("The upstream's head holds a control character or a bare line end.")
        if len(data) >= budget:
            raise self._failed("The upstream's head is too large.")
        self._scanned += len(window)

    def _read_head(self, head: bytes, version: bytes, status: int) -> None:
        try:
            llhttp, callbacks = read_by_llhttp(head)
        except httptools.HttpParserCallbackError:
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise self._failed("The upstream's head is malformed.") from None
        headers = callbacks.fields
        if head.count(CRLF) - 2 != len(headers):
            raise self._failed("The upstream's header section is malformed.")
        self._headers, self._index = headers, index_fields(headers, len(headers))
        self._stays_open = stays_open(version, self._index.get(b"connection"))
        state = self._framing(version, status)
        if state is _CHUNKED:
            self._chunked = ChunkedResponse(llhttp, callbacks, barren_bytes_max=self._head_bytes_max)
        self.status = status
        self._enter(state)
        self._heads += 1
        if self._heads > 1 and self._stays_open and state is not _COMPLETE:
            self._known = KnownAnswer(head, status, headers, self._index)

    def _take_known(self, known: KnownAnswer) -> None:
        self._unread_fields = True
        self.status, self._stays_open = known.status, True
        if known.length is None:
            self._chunked = ChunkedResponse(*read_by_llhttp(_CHUNKED_HEAD), barren_bytes_max=self._head_bytes_max)
            self._enter(_CHUNKED)
        else:
            self._missing = known.length
            self._enter(_LENGTH if known.length else _COMPLETE)

    def _read_fields(self) -> None:
        """Read the fields of a known head, which are seldom asked for."""
        if self._unread_fields and self._known is not None:
            self._unread_fields = False
            self._headers = headers = self._known.fields()
            self._index = index_fields(headers, len(headers))

    def _framing(self, version: bytes, status: int) -> _State:
        """Decide how the body ends: RFC 9112 section 6.3, in its order."""
        length = self._index.get(b"content-length")
        coding = self._index.get(b"transfer-encoding")
        if self._no_body or status in {204, 304}:
            return _COMPLETE
        if coding is not None:
            if coding.lower() != b"chunked":
                raise self._failed("The upstream used a Transfer-Encoding that was not asked for.")
            if length is not None or version != b"1.1":
                self._stays_open = False
            return _CHUNKED
        if length is None:
            self._stays_open = False
            return _UNTIL_CLOSE
        if not length.isdigit() or len(length) > 18:
            raise self._failed("The upstream's Content-Length is not one decimal number.")
        self._missing = int(length)
        return _LENGTH if self._missing else _COMPLETE
