"""From the bytes of one request head to a `Request`, or to the status that refuses it.

Order of decisions, by position in the bytes, so that the verdict does not depend on how they were cut into reads:

1. the request line: its length (414), its form (400), version (505), method (501);
2. the fields as llhttp reads them, each head by a parser of its own, so that no message can leave state behind for the
   next. Our lock on it: it must report exactly as many fields as the head has lines;
3. what the fields mean together: count (431), Host, framing (400, 413, 501), Expect (417).

Only when llhttp refuses a head is it looked at a second time, for the status. The rule: llhttp says what the fields
are, this file says what they mean. It does not wait for bytes, and it does not read bodies.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import httptools

from engine.http1_grammar import (
    CRLF,
    FIELD_SECTION,
    TOKEN,
    FieldLines,
    ProtocolError,
    connection_options,
    index_fields,
    stays_open,
    stray_bytes,
)

__all__ = ["Request", "RequestLimits", "read_request_head", "read_request_line"]

METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
}
"""RFC 9110 section 9.1 and RFC 5789. Any other token is 501: this server does not know it for any resource."""

METHOD_AND_VERSION_BYTES_MAX: Final = 32
_SLASH: Final = 0x2F

_REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([\x21\x22\x24-\x7e]++) HTTP/([0-9]\.[0-9])\r\n")
_OTHER_VERSION: Final = re.compile(TOKEN + rb" [\x21-\x7e]++ HTTP/[0-9]+(?:\.[0-9]+)?")
_HOST: Final = rb"(?:[0-9A-Za-z\-._~!$&'()*+,;=%]*+|\[[0-9A-Za-z:.%_~-]++\])"
_AUTHORITY: Final = re.compile(_HOST + rb"(?::[0-9]{0,5})?")
_CONNECT_TARGET: Final = re.compile(rb"(?!:)" + _HOST + rb":[0-9]{1,5}")
_ABSOLUTE_TARGET: Final = re.compile(rb"(?i:https?)://([^/?]+)([^?]*+)(?:\?(.*+))?")
_CODING: Final = re.compile(TOKEN + rb"(?:[ \t]*;.*)?")


class RequestLimits(Protocol):
    """The bounds of one request. Each is checked before memory is taken for what it bounds."""

    @property
    def head_bytes_max(self) -> int:
        """Request line, fields and blank line; over it 431. Also the bound of a trailer section."""

    @property
    def headers_max(self) -> int:
        """Field lines of a head, and of a trailer section; over it 431."""

    @property
    def target_bytes_max(self) -> int:
        """The request target; over it 414."""

    @property
    def body_bytes_max(self) -> int:
        """The decoded body; over it 413."""


class Request:
    """One request. Complete when the parser hands it out; nothing changes it afterwards.

    `target` is as received, `path` and `query` are its parts, still percent-encoded (an absolute-form target reduced to
    its path, `*` kept, empty for CONNECT). `headers` have lower-cased names, in order; the Host of an absolute-form
    target replaces the one sent (RFC 9112 section 3.2.2). `index` has the value of each name, duplicates joined by a
    comma. `upgrade` is true when Connection and Upgrade both ask for
    another protocol, `expect_continue` when the client may wait for a 100 before it sends its body.
    """

    __slots__ = (
        "body",
        "expect_continue",
        "headers",
        "index",
        "keep_alive",
        "method",
        "path",
        "query",
        "target",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        path: bytes,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        *,
        version: str = "1.1",
        keep_alive: bool = True,
        upgrade: bool = False,
        expect_continue: bool = False,
        body: bytes = b"",
        index: dict[bytes, bytes] | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.path = path
        self.query = query
        self.headers = headers
        self.version = version
        self.keep_alive = keep_alive
        self.upgrade = upgrade
        self.expect_continue = expect_continue
        self.body = body
        self.index = index_fields(headers, len(headers)) if index is None else index

    def __repr__(self) -> str:
        """Show the request without its query and its headers, which may hold secrets."""
        return f"<Request {self.method} {self.path!r} HTTP/{self.version} {len(self.body)} bytes>"

    @property
    def names(self) -> Iterable[bytes]:
        """The names of its headers, each once."""
        return self.index

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the header `name` (lower-case), duplicates joined by a comma; None when there is none."""
        return self.index.get(name)


def read_request_line(data: bytes, at: int, target_bytes_max: int) -> re.Match[bytes] | None:
    """Match the request line at offset `at`; its groups are method, target and version. None while it is incomplete.

    Raises ProtocolError: 400, 414, 501 or 505.
    """
    line_bytes_max = target_bytes_max + METHOD_AND_VERSION_BYTES_MAX
    line = _REQUEST_LINE.match(data, at, at + line_bytes_max)
    if line is None:
        _refuse_request_line(data[at : at + line_bytes_max], whole=len(data) - at < line_bytes_max)
        return None
    method, target, version = line.groups()
    if len(target) > target_bytes_max:
        raise ProtocolError(414, "The request target is too long.")
    if version not in {b"1.1", b"1.0"}:
        raise ProtocolError(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if method not in METHODS:
        raise ProtocolError(501, "The request method is not known.")
    return line


def _refuse_request_line(window: bytes, *, whole: bool) -> None:
    """Say what is wrong with the line that begins `window`; return when it may still become right.

    `whole` tells that nothing behind the window was left out.
    """
    line, end, _ = window.partition(CRLF)
    if stray_bytes(line if end else line.removesuffix(b"\r")):
        raise ProtocolError(400, "The request line holds a control character or a bare line end.")
    if end:
        if _OTHER_VERSION.fullmatch(line) and not line.endswith((b"HTTP/1.1", b"HTTP/1.0")):
            raise ProtocolError(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        raise ProtocolError(400, "The request line is malformed.")
    if whole:
        return
    if b" " not in line:
        raise ProtocolError(400, "The request line does not begin with a method.")
    raise ProtocolError(414, "The request target is too long.")


def read_request_head(head: bytes, line: re.Match[bytes], limits: RequestLimits) -> tuple[Request, int | None]:
    """Read one whole head, `line` being its request line; return the request and its body's length (None: chunked).

    Raises ProtocolError: 400, 413, 417, 431 or 501.
    """
    headers = _read_fields(head, limits)
    index = index_fields(headers, len(headers))
    method, target, version = line.groups()
    _check_host(index.get(b"host"), version)
    if target[0] == _SLASH and method != b"CONNECT":
        path, _, query = target.partition(b"?")
    else:
        path, query, authority = _reduce_target(method, target)
        if authority is not None:
            headers = [(b"host", authority), *(field for field in headers if field[0] != b"host")]
            index[b"host"] = authority
    length = body_length(index, version, limits.body_bytes_max)
    request = Request(METHODS[method], target, path, query, headers, index=index)
    connection = index.get(b"connection")
    request.keep_alive = stays_open(version, connection)
    if version == b"1.0":
        request.version = "1.0"
    elif connection is not None and b"upgrade" in index:
        # RFC 9110 section 7.8: only when Connection names it too, and never from HTTP/1.0.
        request.upgrade = b"upgrade" in connection_options(connection)
    expect = index.get(b"expect")
    if expect is not None:
        if expect.lower() != b"100-continue":
            raise ProtocolError(417, "The only expectation known is 100-continue.")
        # RFC 9110 section 10.1.1: ignored from HTTP/1.0, and pointless without a body.
        request.expect_continue = version == b"1.1" and length != 0
    return request, length


def _read_fields(head: bytes, limits: RequestLimits) -> list[tuple[bytes, bytes]]:
    collected = FieldLines()
    try:
        httptools.HttpRequestParser(collected).feed_data(head)
    except httptools.HttpParserUpgrade:
        # llhttp takes CONNECT and upgrade requests for the end of HTTP. Whether they are is for the owner to say.
        pass
    except httptools.HttpParserCallbackError:
        raise
    except httptools.HttpParserError:
        raise _refusal(head, limits) from None
    count = len(collected.fields)
    if head.count(CRLF) - 2 != count:
        raise ProtocolError(400, "The header section is malformed.")
    if count > limits.headers_max:
        raise ProtocolError(431, "The request has too many header fields.")
    return collected.fields


def _check_host(host: bytes | None, version: bytes) -> None:
    """Demand one valid Host from HTTP/1.1; none is needed before it (RFC 9112 section 3.2)."""
    if host is None:
        if version == b"1.1":
            raise ProtocolError(400, "An HTTP/1.1 request needs a Host header.")
    elif not _AUTHORITY.fullmatch(host):
        raise ProtocolError(400, "The Host header is invalid or given twice.")


def body_length(index: Mapping[bytes, bytes], version: bytes, body_bytes_max: int) -> int | None:
    """Return how long the body is that these fields announce, None for a chunked one (RFC 9112 section 6.3).

    Raises ProtocolError: 400 for anything two readers could understand differently, 413, or 501 for a coding unknown.
    """
    length = index.get(b"content-length")
    coding = index.get(b"transfer-encoding")
    if coding is None:
        if length is None:
            return 0
        if not length.isdigit():
            raise ProtocolError(400, "The Content-Length is not one decimal number.")
        # Python refuses to convert thousands of digits, llhttp anything beyond 64 bits.
        if (len(length) > 18 and len(length.lstrip(b"0")) > 18) or (count := int(length)) > body_bytes_max:
            raise ProtocolError(413, "The request body is too large.")
        return count
    if length is not None:
        raise ProtocolError(400, "A request cannot have both Content-Length and Transfer-Encoding.")
    if version != b"1.1":
        raise ProtocolError(400, "Transfer-Encoding does not exist in HTTP/1.0.")
    if coding.lower() == b"chunked":
        return None
    codings = [name.strip() for name in coding.lower().split(b",")]
    if codings.pop() != b"chunked" or b"chunked" in codings or not all(map(_CODING.fullmatch, codings)):
        raise ProtocolError(400, "The Transfer-Encoding does not end in one chunked.")
    raise ProtocolError(501, "The only Transfer-Encoding known is chunked.")


def _reduce_target(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Return path, query and, when it has one that overrides Host, the authority of a target not in origin-form."""
    if method == b"CONNECT":
        if _CONNECT_TARGET.fullmatch(target):
            return b"", b"", None
    elif target == b"*":
        if method == b"OPTIONS":
            return b"*", b"", None
    elif absolute := _ABSOLUTE_TARGET.fullmatch(target):
        authority, path, query = absolute.groups()
        if _AUTHORITY.fullmatch(authority) and not authority.startswith(b":"):
            # RFC 9112 section 3.2.4: OPTIONS for an absolute target without path is meant for the server as a whole.
            whole_server = method == b"OPTIONS" and query is None
            return path or (b"*" if whole_server else b"/"), query or b"", authority
    raise ProtocolError(400, "The request target is invalid for its method.")


def _refusal(head: bytes, limits: RequestLimits) -> ProtocolError:
    """Find the status for a head that llhttp refused, whose request line is known to be sound."""
    _, _, section = head.partition(CRLF)
    if not FIELD_SECTION.fullmatch(section):
        return ProtocolError(400, "The header section is malformed.")
    lines = section.split(CRLF)[:-2]
    if len(lines) > limits.headers_max:
        return ProtocolError(431, "The request has too many header fields.")
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    version = head[: head.index(CRLF)][-3:]
    try:
        body_length(index_fields(fields, len(fields)), version, limits.body_bytes_max)
    except ProtocolError as error:
        return error
    return ProtocolError(400, "The request is malformed.")
