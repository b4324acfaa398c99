"""Responses of upstreams: what is accepted, how bodies end, when a connection may be used again; and rendering ours."""

from collections.abc import Iterable

import httptools
import pytest

from engine.http1 import (
    CONTINUE,
    LAST_CHUNK,
    REASONS,
    ProtocolError,
    RequestParser,
    ResponseParser,
    chunk,
    render_head,
    render_response,
)
from engine.http1_grammar import BLANK_LINE, stray_bytes
from tests.engine.http1_feeding import LIMITS, Answer, bytewise, cuts, listen

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def answered(
    body: bytes = b"",
    *fields: tuple[bytes, bytes],
    status: int = 200,
    complete: bool = True,
    reusable: bool = True,
) -> Answer:
    return Answer(status, list(fields), body, complete, reusable, refused=False)


LENGTH_2 = (b"content-length", b"2")
CODING = (b"transfer-encoding", b"chunked")

ACCEPTED: dict[str, tuple[bytes, Answer]] = {
    "counted": (OK + b"Content-Length: 2\r\n\r\nab", answered(b"ab", LENGTH_2)),
    "counted, nothing": (OK + b"Content-Length: 0\r\n\r\n", answered(b"", (b"content-length", b"0"))),
    "no reason": (b"HTTP/1.1 404\r\nContent-Length: 2\r\n\r\nab", answered(b"ab", LENGTH_2, status=404)),
    "empty reason": (b"HTTP/1.1 404 \r\nContent-Length: 2\r\n\r\nab", answered(b"ab", LENGTH_2, status=404)),
    "odd reason": (b"HTTP/1.1 999 \xc3\xa9 \t!\r\nContent-Length: 2\r\n\r\nab", answered(b"ab", LENGTH_2, status=999)),
    "values": (
        OK + b"A:\r\nb: \t c \t\r\na: \xff\r\nContent-Length: 2\r\n\r\nab",
        answered(b"ab", (b"a", b""), (b"b", b"c"), (b"a", b"\xff"), LENGTH_2),
    ),
    "chunked": (CHUNKED + b"5\r\nhello\r\n00A;x=y\r\n0123456789\r\n0\r\n\r\n", answered(b"hello0123456789", CODING)),
    "chunked, nothing": (CHUNKED + b"0\r\n\r\n", answered(b"", CODING)),
    "chunked, trailers": (
        CHUNKED + b"1\r\nx\r\n0\r\nServer-Timing: a\r\nContent-Length: 9\r\n\r\n",
        answered(b"x", CODING),
    ),
    "both framings": (
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        answered(b"abc", LENGTH_2, CODING, reusable=False),
    ),
    "chunked from HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        answered(b"x", CODING, (b"connection", b"keep-alive"), reusable=False),
    ),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", answered(status=204)),
    "204 with a length": (b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n", answered(b"", LENGTH_2, status=204)),
    "304 with a length": (b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\n", answered(b"", LENGTH_2, status=304)),
    "304 chunked": (b"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", answered(b"", CODING, status=304)),
    "interim responses": (
        CONTINUE + b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nLink: y\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nab",
        answered(b"ab", LENGTH_2),
    ),
    "close": (
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nab",
        answered(b"ab", (b"connection", b"close"), LENGTH_2, reusable=False),
    ),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", answered(b"ab", LENGTH_2, reusable=False)),
    "HTTP/1.0 keep-alive": (
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nab",
        answered(b"ab", (b"connection", b"Keep-Alive"), LENGTH_2),
    ),
    "an offer to upgrade": (
        OK + b"Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nab",
        answered(b"ab", (b"upgrade", b"h2c"), (b"connection", b"upgrade"), LENGTH_2),
    ),
    "426": (
        b"HTTP/1.1 426 Upgrade\r\nUpgrade: h2\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        answered(b"", (b"upgrade", b"h2"), (b"connection", b"upgrade"), CODING, status=426),
    ),
}


@pytest.mark.parametrize(("message", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepts(message: bytes, expected: Answer) -> None:
    for pieces in cuts(message):
        assert listen(pieces) == expected


SWITCH = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
BEHIND = [b"\r\n", b"\n", b"\r", BLANK_LINE, b"0\r\n\r\n", b"x", b"\0", OK, OK + b"\r\n", OK + b"\r\nx", SWITCH]


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize(("message", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_bytes_behind_the_end_cost_the_connection(message: bytes, expected: Answer, behind: bytes) -> None:
    whole = message + behind
    for pieces in ([whole], [message, behind], bytewise(whole), [whole[:-9], whole[-9:]], [whole[:9], whole[9:]]):
        assert listen(pieces) == expected._replace(reusable=False)


REFUSED: dict[str, bytes] = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a TLS alert": bytes.fromhex("15030300020246"),
    "HTTP/2 frames": bytes.fromhex("000012040000000000"),
    "HTTP/2 in letters": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/0.9": b"<html>",
    "empty line in front": b"\r\n" + OK + b"\r\n",
    "short status": b"HTTP/1.1 20 OK\r\n\r\n",
    "long status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 OK\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "switching protocols": SWITCH,
    "malformed interim response": b"HTTP/1.1 103 Early\r\nA : b\r\n\r\n",
    "bare LF": OK.replace(b"\r\n", b"\n") + b"\n",
    "bare LF behind a field": OK + b"A: b\n\r\n",
    "bare LF between fields": OK + b"A: b\nC: d\r\n\r\n",
    "bare CR": OK + b"A: b\rc\r\n\r\n",
    "NUL": OK + b"A: \0\r\n\r\n",
    "folded line": OK + b"A: b\r\n c\r\n\r\n",
    "space before the colon": OK + b"A : b\r\n\r\n",
    "line without a colon": OK + b"A\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n",
    "a length that is none": OK + b"Content-Length: -2\r\n\r\n",
    "a length beyond 64 bits": OK + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a length of too many digits": OK + b"Content-Length: 0000000000000000002\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n",
    "head too large": OK + b"A: " + b"b" * LIMITS.head_bytes_max + b"\r\n\r\n",
    "head without an end": OK + b"A: " + b"b" * LIMITS.head_bytes_max,
    "interim responses without an end": CONTINUE * (LIMITS.head_bytes_max // len(CONTINUE) + 1),
    "bad chunk size": CHUNKED + b"g\r\n",
    "chunk size beyond 64 bits": CHUNKED + b"1" * 17 + b"\r\n",
    "chunk closed by a bare LF": CHUNKED + b"1\r\nx\n",
    "chunk not closed": CHUNKED + b"1\r\nxy",
    "folded trailer": CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n",
}


@pytest.mark.parametrize("message", REFUSED.values(), ids=REFUSED)
def test_refuses(message: bytes) -> None:
    for pieces in cuts(message):
        answer = listen(pieces)
        assert answer.refused
        assert not answer.complete
        assert not answer.reusable


@pytest.mark.parametrize("name", ["bare LF", "bare LF between fields", "bare CR", "two lengths", "another coding"])
def test_line_ends_and_framing_do_not_rest_on_llhttp_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    llhttp = httptools.HttpResponseParser

    def lenient(callbacks: object) -> httptools.HttpResponseParser:
        parser = llhttp(callbacks)
        parser.set_dangerous_leniencies(
            lenient_transfer_encoding=True,
            lenient_optional_lf_after_cr=True,
            lenient_optional_cr_before_lf=True,
        )
        return parser

    monkeypatch.setattr(httptools, "HttpResponseParser", lenient)
    assert listen([REFUSED[name]]).refused


@pytest.mark.parametrize("framing", [b"0\r\nA: ", b"1;"])
def test_framing_without_content_is_bounded(framing: bytes) -> None:
    flood = [b"a" * 512] * (LIMITS.head_bytes_max // 512)
    assert not listen([CHUNKED, b"1\r\nx\r\n", framing, *flood[1:]]).refused
    assert listen([CHUNKED, b"1\r\nx\r\n", framing, *flood, b"a"]).refused


def test_framing_between_content_is_not_bounded() -> None:
    reads = [b"1;" + b"a" * 100 + b"\r\n", b"x\r\n"] * LIMITS.head_bytes_max
    assert listen([CHUNKED, *reads, LAST_CHUNK]) == answered(b"x" * LIMITS.head_bytes_max, CODING)


def test_a_head_that_trickles_in_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    def counting(data: bytes) -> bool:
        nonlocal looked_at
        looked_at += len(data)
        return stray_bytes(data)

    monkeypatch.setattr("engine.http1_response.stray_bytes", counting)
    assert not listen([OK, *[b"b"] * 1500]).refused
    assert 1500 <= looked_at <= 1500 + len(OK)


def test_a_refusal_is_final_and_says_502() -> None:
    parser = ResponseParser(head_bytes_max=100)
    for call in (lambda: parser.feed(b"HTTQ"), lambda: parser.feed(OK), parser.eof):
        with pytest.raises(ProtocolError, match="502"):
            call()
    assert not parser.closed_early


def test_head_limit_is_inclusive() -> None:
    head = OK + b"Content-Length: 0\r\n\r\n"
    for limit, status in ((len(head), 200), (len(head) - 1, None)):
        for pieces in cuts(head):
            parser = ResponseParser(head_bytes_max=limit)
            try:
                for piece in pieces:
                    parser.feed(piece)
            except ProtocolError:
                assert status is None
            assert parser.status == status


@pytest.mark.parametrize(
    "fields", [b"", b"Content-Length: 7\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n"]
)
def test_the_answer_to_head_has_no_body(fields: bytes) -> None:
    head = OK + fields + b"\r\n"
    for pieces in cuts(head):
        answer = listen(pieces, no_body=True)
        assert (answer.status, answer.body, answer.complete, answer.reusable) == (200, b"", True, True)
    answer = listen([head + b"x"], no_body=True)
    assert (answer.body, answer.complete, answer.reusable) == (b"", True, False)


def test_close_delimited_body_ends_with_the_connection() -> None:
    for pieces in cuts(OK + b"\r\nab\r\n\0"):
        assert listen(pieces) == answered(b"ab\r\n\0", complete=False, reusable=False)
        assert listen(pieces, closed=True) == answered(b"ab\r\n\0", reusable=False)


@pytest.mark.parametrize("message", [ACCEPTED["counted"][0], ACCEPTED["chunked, trailers"][0], CONTINUE + OK])
def test_a_cut_response_is_an_error(message: bytes) -> None:
    for end in range(len(message)):
        parser = ResponseParser(head_bytes_max=100)
        parser.feed(message[:end])
        for _ in range(2):
            with pytest.raises(ProtocolError, match="502"):
                parser.eof()
            assert parser.closed_early
            assert not parser.complete
        with pytest.raises(ProtocolError, match="502"):
            parser.feed(b"")


def test_a_complete_response_may_be_closed_behind() -> None:
    parser = ResponseParser(head_bytes_max=100)
    parser.feed(ACCEPTED["counted"][0])
    states = [(parser.complete, parser.reusable, parser.closed_early)]
    parser.eof()
    states.append((parser.complete, parser.reusable, parser.closed_early))
    assert states == [(True, True, False), (True, False, False)]


def test_reset_reads_the_next_response_as_if_it_were_the_first() -> None:
    reusable = [(message, expected) for message, expected in ACCEPTED.values() if expected.reusable]
    parser = ResponseParser(head_bytes_max=LIMITS.head_bytes_max)
    for no_body in (True, False, True):
        for message, expected in reusable:
            parser.reset() if parser.complete else None
            body = parser.feed(message)
            assert (parser.status, parser.headers, body) == (expected.status, expected.headers, expected.body)
            assert parser.reusable
        if no_body:
            parser.reset(no_body=no_body)
            parser.feed(OK + b"Content-Length: 7\r\n\r\n")
            assert parser.reusable
    with pytest.raises(AssertionError):
        ResponseParser(head_bytes_max=1).reset()


def test_get_joins_duplicates() -> None:
    parser = ResponseParser(head_bytes_max=100)
    assert parser.get(b"a") is None
    parser.feed(OK + b"A: 1\r\nB: 2\r\na: 3\r\n\r\n")
    assert (parser.get(b"a"), parser.get(b"b"), parser.get(b"c")) == (b"1, 3", b"2", None)
    assert repr(parser) == "<ResponseParser UNTIL_CLOSE 200>"


def test_body_bytes_are_returned_as_they_come() -> None:
    parser = ResponseParser(head_bytes_max=100)
    reads = [CHUNKED[:10], CHUNKED[10:], b"3\r\na", b"b", b"c\r", b"\n2\r\nde\r\n1\r\nf", b"\r\n0\r\n", b"\r\n"]
    assert [parser.feed(read) for read in reads] == [b"", b"", b"a", b"b", b"c", b"def", b"", b""]
    assert parser.reusable


@pytest.mark.parametrize("head", [OK + b"\r\n", OK + b"Content-Length: 50000000\r\n\r\n"])
def test_a_body_that_is_not_chunked_is_passed_on_uncopied(head: bytes) -> None:
    parser = ResponseParser(head_bytes_max=100)
    parser.feed(head)
    read = bytes(65536)
    assert all(parser.feed(read) is read for _ in range(50_000_000 // 65536))


def test_a_large_chunked_body_leaves_nothing_behind() -> None:
    parser = ResponseParser(head_bytes_max=100)
    parser.feed(CHUNKED)
    read = chunk(bytes(65536))
    for _ in range(50_000_000 // 65536):
        assert len(parser.feed(read)) == 65536
    assert parser.feed(LAST_CHUNK) == b""
    assert parser.reusable


# -- rendering: what we say, our own parser understands ----------------------------------------------------------------


@pytest.mark.parametrize("status", [100, 200, 204, 304, 404, 418, 429, 499, 529, 599, 999])
def test_status_line(status: int) -> None:
    line = render_head(status, []).removesuffix(b"\r\n\r\n")
    assert line == f"HTTP/1.1 {status} {REASONS.get(status, '')}".encode()


def test_render_response() -> None:
    fields = [(b"a", b"b"), (b"a", b"\xff")]
    message = render_response(200, iter(fields), b"body")
    assert message == b"HTTP/1.1 200 OK\r\na: b\r\na: \xff\r\ncontent-length: 4\r\n\r\nbody"
    assert listen([message]) == answered(b"body", *fields, (b"content-length", b"4"))
    assert render_response(200, [], b"").endswith(b"\r\ncontent-length: 0\r\n\r\n")
    assert render_response(204, [], None) == b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize("field", [(b"a", b"b\r\nc: d"), (b"a", b"b\nc"), (b"a", b"b\r"), (b"a\r\nb", b"c")])
def test_a_line_end_in_a_field_is_a_bug(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="line end"):
        render_head(200, [field])


def test_chunks_read_back() -> None:
    pieces: Iterable[bytes] = (b"a", b"", b"\r\n", bytes(70_000))
    body = b"".join(pieces)
    framed = b"".join(map(chunk, pieces)) + LAST_CHUNK
    assert chunk(b"") == b""
    assert listen([CHUNKED + framed]).body == body
    parser = RequestParser(LIMITS._replace(body_bytes_max=len(body)))
    parser.feed(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + framed)
    request = parser.pop()
    assert request is not None
    assert request.body == body
