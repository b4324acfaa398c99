"""The chunked transfer coding (RFC 9112 section 7.1): strict and exact for requests, fast for responses.

`ChunkedResponse` leaves the work to llhttp, in one call per read however many chunks that holds. For requests llhttp is
not enough: httptools does not say at which byte a message ended, and everything behind that byte is the next request;
nor does llhttp bound extensions or trailers. So `ChunkedBody` decodes them here, and the tests hold it against h11 and
against llhttp:

    SIZE ──> DATA ──> DATA_END ──> SIZE        size line, that many bytes, CRLF, and again
      └────> TRAILERS ──> (done)               a size of zero: the trailer section, dropped, ends the message

Strict: one to sixteen hexadecimal digits and nothing around them, extensions by the letter of the grammar, CRLF only.
Bounded: a size line, all extensions of a body together, the trailer section like a head, the decoded body. Trailers are
dropped on both sides: RFC 9110 section 6.5.1 forbids merging into the headers what was not defined for it.
"""

import re
from enum import IntEnum
from typing import Final, Protocol

import httptools

from engine.http1_grammar import BLANK_LINE, CRLF, FIELD_SECTION, TOKEN, FieldLines, ProtocolError, stray_bytes

__all__ = ["ChunkedBody", "ChunkedLimits", "ChunkedResponse", "read_by_llhttp"]

# AWS's signed streaming uploads, the one common use of extensions, need 85 bytes a line.
SIZE_LINE_BYTES_MAX: Final = 256
# What Node allows per body since CVE-2024-22019: extensions are read, never used, so they are the cheapest of floods.
EXTENSION_BYTES_MAX: Final = 16 * 1024

_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16}+)((?:;" + TOKEN + rb"(?:=(?:" + TOKEN + rb"|" + _QUOTED + rb"))?)*+)"
)
_SIZE_LINE_BEGUN: Final = re.compile(rb"[0-9A-Fa-f]{1,16}+(?:;[\t\x20-\x7e\x80-\xff]*+)?\r?")


class ChunkedLimits(Protocol):
    """What a chunked body may take."""

    @property
    def head_bytes_max(self) -> int:
        """Bytes of the trailer section."""

    @property
    def headers_max(self) -> int:
        """Fields of the trailer section."""

    @property
    def body_bytes_max(self) -> int:
        """Decoded bytes."""


class _Part(IntEnum):
    SIZE = 0
    DATA = 1
    DATA_END = 2
    TRAILERS = 3


# Bound once: on Python 3.11 each look-up of a member in its class costs 0.13 us, a tenth of a chunk.
_SIZE, _DATA, _DATA_END, _TRAILERS = _Part


class ChunkedBody:
    """One chunked body on its way in. `feed` until it returns the bytes behind the message, then take `body`."""

    __slots__ = ("_extension_bytes", "_held", "_limits", "_missing", "_part", "_scanned", "body")

    def __init__(self, limits: ChunkedLimits) -> None:
        self.body = bytearray()
        self._limits = limits
        self._part = _SIZE
        self._held = b""
        self._scanned = 0
        self._missing = 0
        self._extension_bytes = 0

    def feed(self, data: bytes) -> bytes | None:
        """Decode `data`; return what followed the end of the message, None while that has not come.

        Raises ProtocolError: 400 for malformed framing, 413 as soon as a size line promises more than
        `body_bytes_max` in all, 431 for the trailer section.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        at = 0
        while True:
            part = self._part
            if part is _DATA:
                end = at + self._missing
                self.body += data[at:end]
                if end > len(data):
                    self._missing = end - len(data)
                    return None
                at = end
                self._part = part = _DATA_END
            if part is _DATA_END:
                after = self._read_data_end(data, at)
            elif part is _SIZE:
                after = self._read_size_line(data, at)
            else:
                after = self._read_trailers(data, at)
                if after is not None:
                    return data[after:]
            if after is None:
                self._held = data[at:]
                return None
            at = after

    def _read_data_end(self, data: bytes, at: int) -> int | None:
        if data.startswith(CRLF, at):
            self._part = _SIZE
            return at + 2
        if data[at:] in (b"", b"\r"):
            return None
        raise ProtocolError(400, "A chunk does not end where its size says.")

    def _read_size_line(self, data: bytes, at: int) -> int | None:
        end = data.find(CRLF, at, at + SIZE_LINE_BYTES_MAX + 2)
        if end < 0:
            held = len(data) - at
            if held >= SIZE_LINE_BYTES_MAX + 2 or (held and not _SIZE_LINE_BEGUN.fullmatch(data, at)):
                raise ProtocolError(400, "A chunk size line is malformed or too long.")
            return None
        line = _SIZE_LINE.fullmatch(data, at, end)
        if line is None:
            raise ProtocolError(400, "A chunk size line is malformed.")
        digits, extensions = line.groups()
        self._extension_bytes += len(extensions)
        if self._extension_bytes > EXTENSION_BYTES_MAX:
            raise ProtocolError(400, "The chunk extensions are too large.")
        size = int(digits, 16)
        if len(self.body) + size > self._limits.body_bytes_max:
            raise ProtocolError(413, "The request body is too large.")
        self._missing = size
        self._part = _DATA if size else _TRAILERS
        return end + 2

    def _read_trailers(self, data: bytes, at: int) -> int | None:
        """Check the trailer section and step over it."""
        if data.startswith(CRLF, at):
            return at + 2
        limit = at + self._limits.head_bytes_max
        end = data.find(BLANK_LINE, max(at, at + self._scanned - 3), limit)
        if end < 0:
            window = data[at + self._scanned : limit].removesuffix(b"\r")
            if stray_bytes(window):
                raise ProtocolError(400, "The trailer section is malformed.")
            if len(data) >= limit:
                raise ProtocolError(431, "The trailer section is too large.")
            self._scanned += len(window)
            return None
        section = data[at : end + 4]
        if not FIELD_SECTION.fullmatch(section):
            raise ProtocolError(400, "The trailer section is malformed.")
        if section.count(CRLF) - 1 > self._limits.headers_max:
            raise ProtocolError(431, "The trailer section has too many fields.")
        return end + 4


class ResponseCallbacks(FieldLines):
    """What llhttp calls back for a response. It does not refer to the parser: a cycle would wait for the collector."""

    __slots__ = ("begun", "end", "on_body", "pieces")

    def __init__(self) -> None:
        self.fields = []
        self.begun = 0
        self.end = -1
        self.pieces: list[bytes] = []
        # The list's own method: one call per chunk, and none of them in Python.
        self.on_body = self.pieces.append

    def on_message_begin(self) -> None:
        """Count messages: a second one means bytes behind the first."""
        self.begun += 1

    def on_message_complete(self) -> None:
        """Note how many pieces belong to the first message; llhttp goes on into whatever follows it."""
        if self.end < 0:
            self.end = len(self.pieces)


def read_by_llhttp(head: bytes) -> tuple[httptools.HttpResponseParser, ResponseCallbacks]:
    """Read the whole head of a response; return the parser, which can go on with a chunked body, and what it found.

    Raises what httptools does for a malformed one.
    """
    callbacks = ResponseCallbacks()
    llhttp = httptools.HttpResponseParser(callbacks)
    llhttp.set_dangerous_leniencies(lenient_chunked_length=True)
    llhttp.feed_data(head)
    return llhttp, callbacks


class ChunkedResponse:
    """One chunked response body, decoded by the llhttp that has read its head.

    `ended` tells whether the message has ended, `exact` whether nothing came behind its end.
    """

    __slots__ = ("_barren_bytes", "_barren_bytes_max", "_callbacks", "_llhttp", "_tail", "ended", "exact")

    def __init__(
        self, llhttp: httptools.HttpResponseParser, callbacks: ResponseCallbacks, *, barren_bytes_max: int
    ) -> None:
        """Go on with `llhttp`, whose callbacks are `callbacks`; `barren_bytes_max` bounds framing without content."""
        self.ended = False
        self.exact = True
        self._llhttp = llhttp
        self._callbacks = callbacks
        self._barren_bytes = 0
        self._barren_bytes_max = barren_bytes_max
        self._tail = b""
        # Trailers come in by the callback of headers; here they are dropped.
        callbacks.fields = []

    def feed(self, data: bytes) -> bytes:
        """Return the body bytes that `data` holds. Raises ProtocolError (502)."""
        callbacks = self._callbacks
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # Behind the end anything may come, a 101 among it; llhttp reads on, and may well refuse it.
            if callbacks.end < 0:
                raise ProtocolError(502, "The upstream sent a malformed chunk.") from None
            self.exact = False
        self._tail = data[-5:] if len(data) >= 5 else (self._tail + data)[-5:]
        pieces = callbacks.pieces
        if callbacks.end >= 0:
            self._end()
        elif pieces:
            self._barren_bytes = 0
        else:
            self._barren_bytes += len(data)
            if self._barren_bytes > self._barren_bytes_max:
                raise ProtocolError(502, "The upstream sent too many bytes of chunk extensions or trailers.")
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body

    def _end(self) -> None:
        self.ended = True
        del self._callbacks.pieces[self._callbacks.end :]
        # A chunked message ends in an empty line behind one that is not empty. llhttp skips empty lines in front of the
        # next message without a word, so the last bytes tell whether there were any.
        if self._callbacks.begun > 1 or not self._tail.endswith(BLANK_LINE) or self._tail.startswith(b"\n"):
            self.exact = False
