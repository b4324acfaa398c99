"""Requests: what is accepted and as what, what is refused and with which status, and how the parser is used.

Each message of the tables is fed in every cut into two reads, whole, and byte by byte: the verdict is the same.
"""

import sys
from collections.abc import Callable, Iterator
from types import FrameType

import httptools
import pytest

from engine.http1 import BLANK_LINES_MAX, ProtocolError, RequestParser
from engine.http1_chunked import EXTENSION_BYTES_MAX, SIZE_LINE_BYTES_MAX
from engine.http1_grammar import stray_bytes
from tests.engine.http1_feeding import LIMITS, Limits, Seen, bytewise, cuts, serve

HOST = b"Host: h\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"


def get(fields: bytes = b"", *, line: bytes = b"GET / HTTP/1.1", host: bytes = HOST) -> bytes:
    return line + b"\r\n" + host + fields + b"\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    return get(fields, line=b"POST / HTTP/1.1") + body


def seen(
    method: str = "GET",
    target: bytes = b"/",
    *fields: tuple[bytes, bytes],
    host: bytes | None = b"h",
    body: bytes = b"",
    version: str = "1.1",
    keep_alive: bool = True,
    upgrade: bool = False,
    expect: bool = False,
) -> Seen:
    hosts = [] if host is None else [(b"host", host)]
    return Seen(method, target, [*hosts, *fields], body, version, keep_alive, upgrade, expect)


ACCEPTED: dict[str, tuple[bytes, Seen]] = {
    "plain": (get(), seen()),
    "every method": (get(line=b"PATCH /x HTTP/1.1"), seen("PATCH", b"/x")),
    "query": (get(line=b"GET /a?b=c?d HTTP/1.1"), seen(target=b"/a?b=c?d")),
    "HTTP/1.0": (get(line=b"GET / HTTP/1.0", host=b""), seen(host=None, version="1.0", keep_alive=False)),
    "HTTP/1.0 keep-alive": (
        get(b"Connection: Keep-Alive\r\n", line=b"GET / HTTP/1.0"),
        seen("GET", b"/", (b"connection", b"Keep-Alive"), version="1.0"),
    ),
    "close": (get(b"Connection: close\r\n"), seen("GET", b"/", (b"connection", b"close"), keep_alive=False)),
    "close among others": (
        get(b"Connection: keep-alive, x\r\nConnection: , CLOSE\r\n"),
        seen("GET", b"/", (b"connection", b"keep-alive, x"), (b"connection", b", CLOSE"), keep_alive=False),
    ),
    "a value that only contains close": (get(b"Connection: closet\r\n"), seen("GET", b"/", (b"connection", b"closet"))),
    "empty value": (get(b"X:\r\nY: \t \r\n"), seen("GET", b"/", (b"x", b""), (b"y", b""))),
    "white space around a value": (get(b"X: \t a  b \t\r\n"), seen("GET", b"/", (b"x", b"a  b"))),
    "latin-1 in a value": (get(b"X: \xe9\xff\r\n"), seen("GET", b"/", (b"x", b"\xe9\xff"))),
    "odd token": (get(b"!#$%&'*+-.^_`|~09aZ: 1\r\n"), seen("GET", b"/", (b"!#$%&'*+-.^_`|~09az", b"1"))),
    "duplicates keep their order": (
        get(b"A: 1\r\nB: 2\r\na: 3\r\n"),
        seen("GET", b"/", (b"a", b"1"), (b"b", b"2"), (b"a", b"3")),
    ),
    "counted body": (
        post(b"Content-Length: 5\r\n", b"he\r\no"),
        seen("POST", b"/", (b"content-length", b"5"), body=b"he\r\no"),
    ),
    "length with zeros in front": (
        post(b"Content-Length: 0000000000000000000000002\r\n", b"ab"),
        seen("POST", b"/", (b"content-length", b"0000000000000000000000002"), body=b"ab"),
    ),
    "length zero": (post(b"Content-Length: 0\r\n"), seen("POST", b"/", (b"content-length", b"0"))),
    "GET with a body": (
        get(b"Content-Length: 2\r\n") + b"ab",
        seen("GET", b"/", (b"content-length", b"2"), body=b"ab"),
    ),
    "chunked": (
        CHUNKED + b'5\r\nhello\r\n00A;n;n=v;n="q\\" ;"\r\n0123456789\r\n0\r\n\r\n',
        seen("POST", b"/", (b"transfer-encoding", b"chunked"), body=b"hello0123456789"),
    ),
    "chunked, in capitals": (
        post(b"Transfer-Encoding: CHUNKED\r\n", b"0\r\n\r\n"),
        seen("POST", b"/", (b"transfer-encoding", b"CHUNKED")),
    ),
    "trailers are dropped": (
        CHUNKED + b"1\r\nx\r\n0;last\r\nContent-Length: 7\r\nHost: evil\r\n\r\n",
        seen("POST", b"/", (b"transfer-encoding", b"chunked"), body=b"x"),
    ),
    "chunk data that looks like framing": (
        CHUNKED + b"c\r\n0\r\n\r\nGET / H\r\n0\r\n\r\n",
        seen("POST", b"/", (b"transfer-encoding", b"chunked"), body=b"0\r\n\r\nGET / H"),
    ),
    "absolute-form overrides Host": (
        get(b"A: 1\r\n", line=b"GET HTTP://other:80/p?q HTTP/1.1"),
        seen("GET", b"HTTP://other:80/p?q", (b"a", b"1"), host=b"other:80"),
    ),
    "absolute-form of HTTP/1.0 without Host": (
        get(line=b"GET https://other HTTP/1.0", host=b""),
        seen("GET", b"https://other", host=b"other", version="1.0", keep_alive=False),
    ),
    "asterisk": (get(line=b"OPTIONS * HTTP/1.1"), seen("OPTIONS", b"*")),
    "CONNECT is a request like any": (get(line=b"CONNECT h:443 HTTP/1.1"), seen("CONNECT", b"h:443")),
    "CONNECT with a body": (
        get(b"Content-Length: 2\r\n", line=b"CONNECT h:443 HTTP/1.1") + b"ab",
        seen("CONNECT", b"h:443", (b"content-length", b"2"), body=b"ab"),
    ),
    "IPv6 Host": (get(host=b"Host: [::1]:8080\r\n"), seen(host=b"[::1]:8080")),
    "empty Host": (get(host=b"Host:\r\n"), seen(host=b"")),
    "expectation": (
        post(b"Expect: 100-Continue\r\nContent-Length: 1\r\n", b"x"),
        seen("POST", b"/", (b"expect", b"100-Continue"), (b"content-length", b"1"), body=b"x", expect=True),
    ),
    "expectation without a body": (get(b"Expect: 100-continue\r\n"), seen("GET", b"/", (b"expect", b"100-continue"))),
    "expectation from HTTP/1.0": (
        get(b"Expect: 100-continue\r\nContent-Length: 1\r\n", line=b"GET / HTTP/1.0") + b"x",
        seen(
            "GET",
            b"/",
            (b"expect", b"100-continue"),
            (b"content-length", b"1"),
            body=b"x",
            version="1.0",
            keep_alive=False,
        ),
    ),
    "upgrade": (
        get(UPGRADE),
        seen("GET", b"/", (b"connection", b"keep-alive, Upgrade"), (b"upgrade", b"websocket"), upgrade=True),
    ),
    "Upgrade that Connection does not name": (get(b"Upgrade: h2c\r\n"), seen("GET", b"/", (b"upgrade", b"h2c"))),
    "Connection that names an absent Upgrade": (
        get(b"Connection: upgrade\r\n"),
        seen("GET", b"/", (b"connection", b"upgrade")),
    ),
    "Upgrade from HTTP/1.0": (
        get(UPGRADE, line=b"GET / HTTP/1.0"),
        seen("GET", b"/", (b"connection", b"keep-alive, Upgrade"), (b"upgrade", b"websocket"), version="1.0"),
    ),
    "empty lines in front": (b"\r\n" * BLANK_LINES_MAX + get(), seen()),
}


@pytest.mark.parametrize(("message", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepts(message: bytes, expected: Seen) -> None:
    for pieces in cuts(message):
        assert serve(pieces) == ([expected], None)


REFUSED: dict[str, tuple[int, bytes]] = {
    # the request line
    "method with a bad character": (400, get(line=b"G@T / HTTP/1.1")),
    "space in front of the method": (400, get(line=b" GET / HTTP/1.1")),
    "method of another protocol": (501, get(line=b"DESCRIBE / HTTP/1.1")),
    "method in small letters": (501, get(line=b"get / HTTP/1.1")),
    "no version": (400, get(line=b"GET /")),
    "two spaces": (400, get(line=b"GET  / HTTP/1.1")),
    "two spaces before the version": (400, get(line=b"GET /  HTTP/1.1")),
    "space in the target": (400, get(line=b"GET /a b HTTP/1.1")),
    "space behind the version": (400, get(line=b"GET / HTTP/1.1 ")),
    "tab for a space": (400, get(line=b"GET\t/ HTTP/1.1")),
    "fragment": (400, get(line=b"GET /a#b HTTP/1.1")),
    "byte above 127 in the target": (400, get(line=b"GET /\xe9 HTTP/1.1")),
    "relative target": (400, get(line=b"GET a HTTP/1.1")),
    "target of another scheme": (400, get(line=b"GET ftp://a/ HTTP/1.1")),
    "absolute target without a host": (400, get(line=b"GET http:///a HTTP/1.1")),
    "absolute target with a port only": (400, get(line=b"GET http://:80/a HTTP/1.1")),
    "absolute target with a password": (400, get(line=b"GET http://u:p@a/ HTTP/1.1")),
    "asterisk for GET": (400, get(line=b"GET * HTTP/1.1")),
    "CONNECT to a path": (400, get(line=b"CONNECT / HTTP/1.1")),
    "CONNECT without a host": (400, get(line=b"CONNECT :443 HTTP/1.1")),
    "CONNECT without a port": (400, get(line=b"CONNECT h HTTP/1.1")),
    "version in small letters": (400, get(line=b"GET / http/1.1")),
    "HTTP/1.2": (505, get(line=b"GET / HTTP/1.2")),
    "HTTP/2.0": (505, get(line=b"GET / HTTP/2.0")),
    "HTTP/2": (505, get(line=b"GET / HTTP/2")),
    "HTTP/1.10": (505, get(line=b"GET / HTTP/1.10")),
    "HTTP/0.9": (505, get(line=b"GET / HTTP/0.9")),
    "the preface of HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a TLS ClientHello": (400, bytes.fromhex("16030100c8010000c40303") + bytes(range(32))),
    "target too long": (414, get(line=b"GET /" + b"a" * LIMITS.target_bytes_max + b" HTTP/1.1")),
    "target without an end": (414, b"GET /" + b"a" * 1000),
    "method without an end": (400, b"G" * 1000),
    "empty lines without an end": (400, b"\r\n" * (BLANK_LINES_MAX + 1) + get()),
    "empty line with a bare LF in front": (400, b"\n" + get()),
    "empty line with a bare CR in front": (400, b"\r" + get()),
    # line ends and characters of fields
    "bare LF behind the request line": (400, b"GET / HTTP/1.1\nHost: h\r\n\r\n"),
    "bare LF behind a field": (400, get(b"A: b\nC: d\r\n")),
    "bare LF for the empty line": (400, get()[:-2] + b"\n"),
    "bare LF everywhere": (400, get(b"A: b\r\n").replace(b"\r\n", b"\n")),
    "bare CR in a value": (400, get(b"A: b\rC: d\r\n")),
    "CR CR LF": (400, get(b"A: b\r\r\n")),
    "folded line": (400, get(b"A: b\r\n c\r\n")),
    "folded line, tab": (400, get(b"A: b\r\n\tc\r\n")),
    "folded first line": (400, get(host=b" Host: h\r\n")),
    "space before the colon": (400, get(b"A : b\r\n")),
    "tab before the colon": (400, get(b"A\t: b\r\n")),
    "line without a colon": (400, get(b"A\r\n")),
    "empty name": (400, get(b": b\r\n")),
    "bad character in a name": (400, get(b"A(: b\r\n")),
    "byte above 127 in a name": (400, get(b"\xe9: b\r\n")),
    **{
        f"{byte:#04x} in a value": (400, get(b"A: b%cc\r\n" % byte)) for byte in (0, 1, 8, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F)
    },
    # Host
    "no Host": (400, get(host=b"")),
    "two Hosts": (400, get(HOST)),
    "two empty Hosts": (400, get(b"Host:\r\n", host=b"Host:\r\n")),
    "two Hosts in one": (400, get(host=b"Host: a, b\r\n")),
    "Host with a path": (400, get(host=b"Host: a/b\r\n")),
    "Host with a user": (400, get(host=b"Host: u@a\r\n")),
    "Host with a port that is none": (400, get(host=b"Host: a:b\r\n")),
    "two Hosts from HTTP/1.0": (400, get(HOST, line=b"GET / HTTP/1.0")),
    "absolute-form without Host": (400, get(line=b"GET http://a/ HTTP/1.1", host=b"")),
    # framing
    "both lengths": (400, post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
    "both lengths, the other way round": (400, post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
    "two lengths": (400, post(b"Content-Length: 5\r\nContent-Length: 6\r\n")),
    "the same length twice": (400, post(b"Content-Length: 5\r\nContent-Length: 5\r\n")),
    "the same length twice in one": (400, post(b"Content-Length: 5, 5\r\n")),
    **{
        f"length {value!r}": (400, post(b"Content-Length: " + value + b"\r\n"))
        for value in (b"", b"-1", b"+5", b"0x5", b"5a", b"5.0", b"1_0", b"5 5", b'"5"', b"\xb2")
    },
    "coding in HTTP/1.0": (400, get(b"Transfer-Encoding: chunked\r\n", line=b"GET / HTTP/1.0")),
    **{
        f"coding {value!r}": (status, post(b"Transfer-Encoding: " + value + b"\r\n"))
        for status, value in (
            (501, b"gzip, chunked"),
            (501, b"gzip;q=1, x, chunked"),
            (400, b"chunked, gzip"),
            (400, b"gzip"),
            (400, b"identity"),
            (400, b"chunked, chunked"),
            (400, b"chunked, gzip, chunked"),
            (400, b"xchunked"),
            (400, b"chunked;a=b"),
            (400, b'"chunked"'),
            (400, b", chunked"),
            (400, b"chunked,"),
            (400, b"g(, chunked"),
            (400, b""),
        )
    },
    "codings in two lines": (501, post(b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n")),
    "chunked in two lines": (400, post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
    "body too large": (413, post(b"Content-Length: %d\r\n" % (LIMITS.body_bytes_max + 1))),
    "length beyond 64 bits": (413, post(b"Content-Length: " + b"9" * 30 + b"\r\n")),
    "other expectation": (417, post(b"Expect: 200-ok\r\nContent-Length: 1\r\n")),
    "two expectations": (417, post(b"Expect: 100-continue\r\nExpect: x\r\nContent-Length: 1\r\n")),
    # head limits
    "head too large": (431, get(b"A: " + b"b" * LIMITS.head_bytes_max + b"\r\n")),
    "head without an end": (431, get(b"A: " + b"b" * LIMITS.head_bytes_max)[:-2]),
    "too many fields": (431, get(b"A: b\r\n" * LIMITS.headers_max)),
    "too many fields, and broken framing": (431, get(b"A: b\r\n" * LIMITS.headers_max + b"Content-Length: x\r\n")),
    "NUL within the bounds of a head too large": (400, get(b"A: \0" + b"b" * LIMITS.head_bytes_max + b"\r\n")),
    # chunks
    **{
        f"chunk line {line!r}": (400, CHUNKED + line + b"\r\nhello\r\n0\r\n\r\n")
        for line in (
            b"",
            b"g",
            b"-5",
            b"+5",
            b"0x5",
            b"5 ",
            b" 5",
            b"5;",
            b"5 ;a",
            b"5; a",
            b"5;a=",
            b"5;a=b c",
            b'5;a="b',
            b"5;a\0",
            b"5;a\x7f",
            b"5;\xe9",
            b"5;a\rb",
            b"5;a\nb",
            b"0" * 17,
            b"f" * 17,
            b"5;" + b"a" * SIZE_LINE_BYTES_MAX,
        )
    },
    "chunk line with a bare LF": (400, CHUNKED + b"5\nhello\r\n0\r\n\r\n"),
    "chunk line without an end": (400, CHUNKED + b"5;" + b"a" * SIZE_LINE_BYTES_MAX),
    **{f"chunk line begun {line!r}": (400, CHUNKED + line) for line in (b"g", b"5\n", b"5 ", b"5;\n", b"5\rx", b"\n")},
    "chunk longer than its size": (400, CHUNKED + b"4\r\nhello\r\n0\r\n\r\n"),
    "chunk shorter than its size": (400, CHUNKED + b"6\r\nhello\r\n0\r\n\r\n"),
    "chunk closed by a bare LF": (400, CHUNKED + b"5\r\nhello\n0\r\n\r\n"),
    "chunk closed by a bare CR": (400, CHUNKED + b"5\r\nhello\r0\r\n\r\n"),
    "chunk not closed": (400, CHUNKED + b"5\r\nhello0\r\n\r\n"),
    "chunk too large": (413, CHUNKED + b"ffffffffffffffff\r\n"),
    "chunks too large in all": (413, CHUNKED + b"2\r\nab\r\n" + b"%x\r\n" % (LIMITS.body_bytes_max - 1)),
    "trailer with a bare LF": (400, CHUNKED + b"0\r\nA: b\n\r\n"),
    "trailers closed by a bare LF": (400, CHUNKED + b"0\r\n\n"),
    "trailer without a colon": (400, CHUNKED + b"0\r\nA\r\n\r\n"),
    "trailer folded": (400, CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n"),
    "trailer with a NUL": (400, CHUNKED + b"0\r\nA: \0\r\n\r\n"),
    "trailers too large": (431, CHUNKED + b"0\r\nA: " + b"b" * LIMITS.head_bytes_max + b"\r\n\r\n"),
    "trailers without an end": (431, CHUNKED + b"0\r\nA: " + b"b" * LIMITS.head_bytes_max),
    "too many trailers": (431, CHUNKED + b"0\r\n" + b"A: b\r\n" * (LIMITS.headers_max + 1) + b"\r\n"),
}


@pytest.mark.parametrize(("status", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(status: int, message: bytes) -> None:
    for pieces in cuts(message):
        assert serve(pieces) == ([], status)


def test_a_refusal_is_final() -> None:
    parser = RequestParser(LIMITS)
    with pytest.raises(ProtocolError, match="400"):
        parser.feed(get(b"A\0: b\r\n") + get())
    for call in (lambda: parser.feed(get()), lambda: parser.feed(b""), parser.pop):
        with pytest.raises(ProtocolError) as caught:
            call()
        assert caught.value.status == 400
    assert parser.awaiting_body is None
    assert parser.leftover == b""
    assert not parser.idle


@pytest.mark.parametrize(
    "message", [message for status, message in REFUSED.values() if message.count(b"\r\n\r\n") == 1]
)
def test_line_ends_and_framing_do_not_rest_on_llhttp_alone(message: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    llhttp = httptools.HttpRequestParser

    def lenient(callbacks: object) -> httptools.HttpRequestParser:
        parser = llhttp(callbacks)
        parser.set_dangerous_leniencies(
            lenient_chunked_length=True,
            lenient_transfer_encoding=True,
            lenient_version=True,
            lenient_optional_lf_after_cr=True,
            lenient_optional_cr_before_lf=True,
        )
        return parser

    monkeypatch.setattr(httptools, "HttpRequestParser", lenient)
    assert serve([message]).refused


def test_limits_are_inclusive() -> None:
    message = get(b"A: b\r\n", line=b"POST /" + b"a" * 99 + b" HTTP/1.1")
    limits = Limits(head_bytes_max=len(message), headers_max=2, target_bytes_max=100, body_bytes_max=0)
    for pieces in cuts(message):
        assert serve(pieces, limits).refused is None
        assert serve(pieces, limits._replace(head_bytes_max=len(message) - 1)) == ([], 431)
        assert serve(pieces, limits._replace(headers_max=1)) == ([], 431)
        assert serve(pieces, limits._replace(target_bytes_max=99)) == ([], 414)


@pytest.mark.parametrize(
    "message", [post(b"Content-Length: 4\r\n", b"abcd"), CHUNKED + b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"]
)
def test_body_limit_is_inclusive(message: bytes) -> None:
    for pieces in cuts(message):
        outcome = serve(pieces, LIMITS._replace(body_bytes_max=4))
        assert outcome.refused is None
        assert outcome.requests[0].body == b"abcd"
        assert serve(pieces, LIMITS._replace(body_bytes_max=3)) == ([], 413)


def test_a_body_too_large_is_refused_before_it_is_sent() -> None:
    parser = RequestParser(LIMITS)
    with pytest.raises(ProtocolError, match="413"):
        parser.feed(post(b"Content-Length: 65537\r\nExpect: 100-continue\r\n"))


def test_a_length_of_more_digits_than_python_converts() -> None:
    message = post(b"Content-Length: " + b"9" * (sys.get_int_max_str_digits() + 1) + b"\r\n")
    assert serve([message], LIMITS._replace(head_bytes_max=len(message))) == ([], 413)


def test_trailer_limits_are_inclusive() -> None:
    trailers = b"A: " + b"b" * 200 + b"\r\nC: d\r\n\r\n"
    limits = LIMITS._replace(head_bytes_max=len(trailers), headers_max=2)
    for pieces in cuts(CHUNKED + b"0\r\n" + trailers):
        assert serve(pieces, limits).refused is None
        assert serve(pieces, limits._replace(head_bytes_max=len(trailers) - 1)) == ([], 431)


def test_extensions_are_bounded_for_the_whole_body() -> None:
    line = b"1;" + b"a" * 127 + b"\r\nx\r\n"
    body = line * (EXTENSION_BYTES_MAX // 128)
    at_the_limit = CHUNKED + body + b"0\r\n\r\n"
    beyond = CHUNKED + body + b"0;a\r\n\r\n"
    for within, without in (([at_the_limit], [beyond]), (bytewise(at_the_limit), bytewise(beyond))):
        assert serve(within).requests[0].body == b"x" * (EXTENSION_BYTES_MAX // 128)
        assert serve(without) == ([], 400)


@pytest.mark.parametrize(
    ("line", "path", "query"),
    [
        (b"GET /a%20b/ HTTP/1.1", b"/a%20b/", b""),
        (b"GET /a?b?c=/ HTTP/1.1", b"/a", b"b?c=/"),
        (b"GET //a HTTP/1.1", b"//a", b""),
        (b"GET http://h HTTP/1.1", b"/", b""),
        (b"GET http://h?q HTTP/1.1", b"/", b"q"),
        (b"GET http://h/a?q HTTP/1.1", b"/a", b"q"),
        (b"OPTIONS http://h HTTP/1.1", b"*", b""),
        (b"OPTIONS http://h? HTTP/1.1", b"/", b""),
        (b"OPTIONS http://h/ HTTP/1.1", b"/", b""),
        (b"OPTIONS * HTTP/1.1", b"*", b""),
        (b"CONNECT h:1 HTTP/1.1", b"", b""),
    ],
)
def test_target_is_reduced_to_path_and_query(line: bytes, path: bytes, query: bytes) -> None:
    parser = RequestParser(LIMITS)
    parser.feed(get(line=line))
    request = parser.pop()
    assert request is not None
    assert (request.path, request.query) == (path, query)


def test_get_joins_duplicates_and_knows_the_effective_host() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(get(b"A: 1\r\nB: 2\r\na: 3\r\n", line=b"GET http://other/ HTTP/1.1"))
    request = parser.pop()
    assert request is not None
    assert request.get(b"a") == b"1, 3"
    assert request.get(b"b") == b"2"
    assert request.get(b"host") == b"other"
    assert request.get(b"c") is None
    assert repr(request) == "<Request GET b'/' HTTP/1.1 0 bytes>"


def test_pipelined_requests_come_in_order_however_they_are_cut() -> None:
    messages = [message for message, expected in ACCEPTED.values() if expected.keep_alive and not expected.upgrade]
    expected = [expected for _, expected in ACCEPTED.values() if expected.keep_alive and not expected.upgrade]
    stream = b"".join(messages)
    for size in (*range(1, 40), 1000, len(stream)):
        assert serve(stream[i : i + size] for i in range(0, len(stream), size)) == (expected, None)


def test_a_pipelined_request_is_read_when_it_is_asked_for() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(get() + get(b"A\0: b\r\n"))
    assert parser.leftover == get(b"A\0: b\r\n")
    assert parser.pop() is not None
    assert not parser.idle
    with pytest.raises(ProtocolError, match="400"):
        parser.pop()


def test_bytes_that_arrive_while_a_request_waits_are_kept() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(get())
    parser.feed(get(line=b"PUT / HTTP/1.1")[:9])
    parser.feed(get(line=b"PUT / HTTP/1.1")[9:])
    assert [request.method for request in iter(parser.pop, None)] == ["GET", "PUT"]
    assert parser.idle


def test_what_follows_the_last_request_is_dropped() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(get(b"Connection: close\r\n") + get())
    assert parser.pop() is not None
    assert parser.pop() is None
    parser.feed(b"\0")
    parser.feed(get())
    assert parser.pop() is None
    assert parser.leftover == b""
    assert not parser.idle


def test_idle_until_a_byte_of_a_request() -> None:
    parser = RequestParser(LIMITS)
    idle = [parser.idle]
    for piece in (b"\r\n", *bytewise(post(b"Content-Length: 2\r\n", b"ab"))):
        parser.feed(piece)
        idle.append(parser.idle)
    assert idle == [True, True, *[False] * (len(idle) - 2)]
    assert parser.pop() is not None
    assert parser.idle


@pytest.mark.parametrize("body", [b"", b"\r\n"])
def test_empty_lines_are_counted_anew_for_each_request(body: bytes) -> None:
    message = b"\r\n" * BLANK_LINES_MAX + get()
    assert len(serve([message * 3 + body]).requests) == 3


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"Content-Length: 3\r\n", b"abc"),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    ],
)
def test_awaiting_body(fields: bytes, body: bytes) -> None:
    head = post(b"Expect: 100-continue\r\n" + fields)
    parser = RequestParser(LIMITS)
    awaiting = [parser.awaiting_body]
    parser.feed(get() + head[:-1])
    awaiting += [parser.awaiting_body, parser.pop() and parser.awaiting_body]
    assert awaiting == [None, None, None]
    parser.feed(head[-1:])
    expecting = parser.awaiting_body
    assert expecting is not None
    assert expecting.expect_continue
    for byte in bytewise(body):
        assert parser.awaiting_body is expecting
        assert parser.pop() is None
        parser.feed(byte)
    assert parser.pop() is expecting
    assert expecting.body == b"abc"
    assert not parser.awaiting_body


@pytest.mark.parametrize(
    "message",
    [
        get(UPGRADE),
        post(UPGRADE + b"Content-Length: 5\r\n", b"hello"),
        post(UPGRADE + b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        get(b"Content-Length: 2\r\n", line=b"CONNECT h:443 HTTP/1.1") + b"ab",
        get(),
    ],
)
@pytest.mark.parametrize("following", [b"", b"\r\n\r\n", b"\x81\x85\0\0\0\0hello", get(), b"PRI * HTTP/2.0\r\n\r\n"])
def test_leftover_is_what_followed(message: bytes, following: bytes) -> None:
    for pieces in cuts(message + following):
        parser = RequestParser(LIMITS)
        request = None
        received = iter(pieces)
        while request is None:
            parser.feed(next(received))
            request = parser.pop()
        if request.upgrade:
            for piece in received:
                parser.feed(piece)
        assert parser.leftover + b"".join(received) == following


def test_asking_for_the_next_request_declines_an_upgrade() -> None:
    # What Java's HttpClient sends to any http:// address: h2c offered along with an ordinary body.
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\nContent-Length: 2\r\n"
    parser = RequestParser(LIMITS)
    parser.feed(post(offer, b"ab") + get()[:5])
    request = parser.pop()
    assert request is not None
    assert request.upgrade
    assert request.body == b"ab"
    parser.feed(get()[5:])
    assert parser.leftover == get()
    assert parser.pop() is not None
    assert parser.pop() is None
    assert parser.idle


# -- linear time, bounded memory: by structure, since a clock would measure the machine --------------------------------


def calls_per_step(step: Callable[[], object]) -> int:
    """Count the function calls, Python's and C's, that `step` makes."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        step()
    finally:
        sys.setprofile(None)
    return calls


READ_BYTES = 65536


def in_reads(message: bytes) -> Iterator[bytes]:
    for i in range(0, len(message), READ_BYTES):
        yield message[i : i + READ_BYTES]


@pytest.mark.parametrize("chunk_bytes", [0, 1000, 100_000])
def test_a_large_body_takes_the_same_work_for_each_read(chunk_bytes: int) -> None:
    body = bytes(50_000_000)
    if chunk_bytes:
        chunk = b"%x\r\n%b\r\n" % (chunk_bytes, body[:chunk_bytes])
        message = CHUNKED + chunk * (len(body) // chunk_bytes) + b"0\r\n\r\n"
    else:
        message = post(b"Content-Length: %d\r\n" % len(body)) + body
    parser = RequestParser(LIMITS._replace(body_bytes_max=len(body)))
    calls: list[int] = []
    for piece in in_reads(message):
        calls.append(calls_per_step(lambda piece=piece: parser.feed(piece)))  # type: ignore[misc]
        assert repr(parser).endswith(" 0 bytes unread>")
    request = parser.pop()
    assert request is not None
    assert request.body == body
    chunks_per_read = READ_BYTES // chunk_bytes + 1 if chunk_bytes else 0
    assert max(calls[1:-1]) <= 20 + 16 * chunks_per_read


def test_a_flood_of_pipelined_requests_is_read_one_by_one() -> None:
    flood = get() * (READ_BYTES // len(get()))
    parser = RequestParser(LIMITS)
    feeding = calls_per_step(lambda: parser.feed(flood))
    popping = [calls_per_step(parser.pop) for _ in range(flood.count(get()))]
    assert feeding < 60
    assert max(popping) < 80
    assert parser.pop() is None
    assert parser.idle


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nHost: h\r\nA: ", CHUNKED + b"0\r\nA: "])
def test_fields_that_trickle_in_are_looked_at_once(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    def counting(data: bytes) -> bool:
        nonlocal looked_at
        looked_at += len(data)
        return stray_bytes(data)

    monkeypatch.setattr("engine.http1.stray_bytes", counting)
    monkeypatch.setattr("engine.http1_chunked.stray_bytes", counting)
    assert serve([start, *[b"b"] * 1500]) == ([], None)
    assert 1500 <= looked_at <= 1500 + len(start)
