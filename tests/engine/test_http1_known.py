"""Heads that were read before: whatever a connection has seen, what comes next is read as by a fresh parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.http1 import ProtocolError, RequestParser, ResponseParser
from engine.http1_known import KnownAnswer, KnownHead
from tests.engine.http1_feeding import LIMITS, Answer, Outcome, Seen, see

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n"
    b"Content-Length: %s\r\nX-Stainless-Retry-Count: 0\r\n\r\n"
)


def request(length: bytes, body: bytes | None = None, head: bytes = HEAD) -> bytes:
    return head % length + (b"x" * int(length) if body is None else body)


def warm(times: int = 2) -> RequestParser:
    """Return a parser that has read the head so many times."""
    parser = RequestParser(LIMITS)
    for _ in range(times):
        parser.feed(request(b"3"))
        assert parser.pop() is not None
    return parser


def outcome(parser: RequestParser, data: bytes) -> Outcome:
    seen: list[Seen] = []
    try:
        parser.feed(data)
        while (found := parser.pop()) is not None:
            seen.append(see(found))
            assert found.index == joined(found.headers)
    except ProtocolError as error:
        return Outcome(seen, error.status)
    return Outcome(seen, None)


def joined(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    index: dict[bytes, bytes] = {}
    for name, value in headers:
        index[name] = index[name] + b", " + value if name in index else value
    return index


def agrees(data: bytes) -> Outcome:
    """Read the same bytes by a parser that knows the head and by a new one; return what both say."""
    found = outcome(warm(), data)
    assert found == outcome(RequestParser(LIMITS), data)
    return found


def count_known(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    read, hits = KnownHead.read, []

    def counted(self: KnownHead, *arguments: object) -> object:
        found = read(self, *arguments)  # type: ignore[arg-type]
        hits.append(found is not None)
        return found

    monkeypatch.setattr(KnownHead, "read", counted)
    return hits


def test_from_the_third_time_on_a_head_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = count_known(monkeypatch)
    parser = warm(2)
    assert hits == []
    for length in (b"3", b"0", b"12345", b"0007"):
        parser.feed(request(length))
        found = parser.pop()
        assert found is not None
        assert (found.get(b"content-length"), len(found.body)) == (length, int(length))
        assert (b"content-length", length) in found.headers
        assert (found.method, found.path, found.keep_alive) == ("POST", b"/v1/chat/completions", True)
    assert hits == [True] * 4


def test_requests_share_nothing_that_one_could_change() -> None:
    parser = warm()
    parser.feed(request(b"1") + request(b"2"))
    first, second = parser.pop(), parser.pop()
    assert first is not None
    assert second is not None
    assert first.headers is not second.headers
    assert first.index is not second.index
    assert (first.get(b"content-length"), second.get(b"content-length")) == (b"1", b"2")


def test_a_known_head_with_its_body_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = count_known(monkeypatch)
    whole = request(b"9", b"abcdefghi") + request(b"2", b"zz")
    for cut in range(len(whole) + 1):
        parser = warm()
        found: list[Seen] = []
        for piece in (whole[:cut], whole[cut:]):
            parser.feed(piece)
            while (each := parser.pop()) is not None:
                found.append(see(each))
        assert [each.body for each in found] == [b"abcdefghi", b"zz"]
    assert any(hits)


@pytest.mark.parametrize(
    "length",
    [b"65536", b"65537", b"1" * 18, b"1" * 19, b"0" * 30 + b"1", b"-1", b"1 ", b" 1", b"+1", b"1,1", b"", b"\xb2"],
)
def test_odd_lengths_are_read_as_ever(length: bytes) -> None:
    agrees(HEAD % length + b"x" * 70_000)


def test_a_head_that_grew_over_its_bound_is_refused_as_ever() -> None:
    padded = HEAD.replace(b"k\r\n", b"k" * (LIMITS.head_bytes_max - len(HEAD % b"3") + 1) + b"\r\n")
    parser = RequestParser(LIMITS)
    for _ in range(3):
        parser.feed(request(b"3", head=padded))
        assert parser.pop() is not None
    with pytest.raises(ProtocolError) as refused:
        parser.feed(request(b"30", head=padded))
    assert refused.value.status == 431


@pytest.mark.parametrize(
    "field", [b"Expect: 100-continue", b"Connection: close", b"Connection: upgrade\r\nUpgrade: x", b"Content-Length: 3"]
)
def test_what_means_more_than_its_fields_is_never_known(field: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    hits = count_known(monkeypatch)
    head = HEAD.replace(b"Host: h\r\n", b"Host: h\r\n" + field + b"\r\n")
    parser, once = RequestParser(LIMITS), RequestParser(LIMITS)
    assert (
        outcome(parser, request(b"3", head=head) * 4).requests[:1] == outcome(once, request(b"3", head=head)).requests
    )
    assert hits == []


@given(at=st.integers(0, 400), byte=st.integers(0, 255), insert=st.booleans(), length=st.integers(0, 20))
def test_one_changed_byte_is_never_overlooked(at: int, byte: int, insert: bool, length: int) -> None:
    data = bytearray(request(str(length).encode()) + request(b"4"))
    at = min(at, len(data) - 1)
    data[at : at + (not insert)] = bytes([byte])
    agrees(bytes(data))


@given(lengths=st.lists(st.integers(0, 300), max_size=6), cut=st.integers(0, 2_000))
def test_any_lengths_in_any_two_reads(lengths: list[int], cut: int) -> None:
    data = b"".join(request(str(length).encode()) for length in lengths)
    fresh = [outcome(RequestParser(LIMITS), request(str(length).encode())).requests[0] for length in lengths]
    parser = warm()
    first, second = outcome(parser, data[:cut]), outcome(parser, data[cut:])
    assert first.requests + second.requests == fresh


ANSWER = (
    b"HTTP/1.1 200 OK\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nX-Request-Id: req_1\r\nContent-Length: 3\r\n"
    b"Connection: keep-alive\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nabc"
)
CHUNKED = ANSWER.replace(b"Content-Length: 3", b"Transfer-Encoding: chunked").replace(b"abc", b"3\r\nabc\r\n0\r\n\r\n")


def warmed(answer: bytes, times: int = 2) -> ResponseParser:
    """Return a parser that has read the answer so many times."""
    parser = ResponseParser(head_bytes_max=LIMITS.head_bytes_max)
    for _ in range(times):
        parser.feed(answer)
        parser.reset()
    return parser


def said(parser: ResponseParser, data: bytes, cut: int = 0) -> Answer:
    body, refused = b"", False
    try:
        for piece in filter(None, (data[:cut], data[cut:])):
            body += parser.feed(piece)
    except ProtocolError:
        refused = True
    if refused:
        return Answer(parser.status, [], b"", parser.complete, parser.reusable, refused)
    assert parser.get(b"date") == parser.index.get(b"date")
    assert parser.index == joined(parser.headers)
    return Answer(parser.status, parser.headers, body, parser.complete, parser.reusable, refused)


def both_say(answer: bytes, data: bytes, cut: int = 0) -> Answer:
    """Read the same bytes by a parser that knows an answer and by a new one; return what both say."""
    found = said(warmed(answer), data, cut)
    assert found == said(ResponseParser(head_bytes_max=LIMITS.head_bytes_max), data, cut)
    return found


def count_known_answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    read, hits = KnownAnswer.read, []

    def counted(self: KnownAnswer, head: bytes) -> bool:
        hits.append(read(self, head))
        return hits[-1]

    monkeypatch.setattr(KnownAnswer, "read", counted)
    return hits


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED])
def test_from_the_third_time_on_an_answer_is_known_whatever_its_values(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = count_known_answers(monkeypatch)
    parser = warmed(answer)
    assert hits == []
    for number in range(4):
        other = answer.replace(b"req_1", b"req_%d" % number * number).replace(b"22:13", b"22:%d" % (10 + number))
        if number % 2:
            other = (
                other.replace(b"Length: 3", b"Length: 0005")
                .replace(b"a=1", b" a=\xff3\t")
                .replace(b"\nabc", b"\nabcde")
            )
            other = other.replace(b"3\r\nabcde", b"5\r\nabcde")
        found = said(parser, other)
        assert found == said(ResponseParser(head_bytes_max=LIMITS.head_bytes_max), other)
        assert (found.complete, found.reusable) == (True, True)
        parser.reset()
        assert (parser.status, parser.headers, parser.get(b"date")) == (None, [], None)
    assert hits == [True] * 4


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"req_1", b""),
        (b"req_1", b"a\x00b"),
        (b"req_1", b"a\nb"),
        (b"req_1", b"a\rb"),
        (b"req_1", b"a\x7fb"),
        (b"req_1", b"a\r\n b"),
        (b"req_1", b"a\r\nContent-Length: 4"),
        (b"req_1", b"a\r\nTransfer-Encoding: chunked"),
        (b"X-Request-Id: req_1", b"Content-Length: 3"),
        (b"X-Request-Id: req_1", b"Transfer-Encoding: chunked"),
        (b"X-Request-Id:", b"X-Request-Id :"),
        (b"X-Request-Id: ", b"X-Request-Id"),
        (b"X-Request-Id", b"x-request-id"),
        (b"200 OK", b"204 OK"),
        (b"200 OK", b"304 OK"),
        (b"200 OK", b"503 OK"),
        (b"200 OK", b"103 OK"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"keep-alive", b"close"),
        (b"keep-alive", b"keep-alive, close"),
        (b"Length: 3", b"Length: 2"),
        (b"Length: 3", b"Length: 0"),
        (b"Length: 3", b"Length: 3, 3"),
        (b"Length: 3", b"Length: +3"),
        (b"Length: 3", b"Length: 0x3"),
        (b"Length: 3", b"Length:"),
        (b"Length: 3", b"Length: " + b"0" * 18 + b"3"),
        (b"Length: 3", b"Length: " + b"9" * 18),
        (b"Length: 3", b"Length: \xb2"),
        (b"chunked", b"Chunked"),
        (b"chunked", b"gzip, chunked"),
        (b"chunked", b"identity"),
        (b"b=2\r\n", b"b=2\r\nContent-Length: 3\r\n"),
        (b"Set-Cookie: b=2\r\n", b""),
        (b"abc", b"abcHTTP/1.1 200 OK"),
        (b"b=2", b"b" * LIMITS.head_bytes_max),
    ],
)
def test_what_is_odd_about_an_answer_is_read_as_ever(answer: bytes, old: bytes, new: bytes) -> None:
    both_say(answer, answer.replace(old, new))


def test_what_ends_a_connection_is_never_known(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = count_known_answers(monkeypatch)
    parser = warmed(ANSWER, 1)
    parser.feed(ANSWER.replace(b"keep-alive", b"close"))
    assert not parser.reusable
    parser = warmed(ANSWER.replace(b"abc", b"").replace(b"Length: 3", b"Length: 0"), 3)
    assert said(parser, ANSWER).body == b"abc"
    assert hits == []


def test_an_answer_to_head_is_read_anew() -> None:
    parser = warmed(ANSWER)
    parser.feed(ANSWER)
    parser.reset(no_body=True)
    assert said(parser, ANSWER[:-3]).complete
    parser.reset()
    assert said(parser, ANSWER).body == b"abc"


@given(
    chunked=st.booleans(),
    at=st.integers(0, 300),
    byte=st.integers(0, 255),
    insert=st.booleans(),
    cut=st.integers(0, 300),
)
def test_one_changed_byte_of_an_answer_is_never_overlooked(
    chunked: bool, at: int, byte: int, insert: bool, cut: int
) -> None:
    answer = CHUNKED if chunked else ANSWER
    data = bytearray(answer)
    at = min(at, len(data) - 1)
    data[at : at + (not insert)] = bytes([byte])
    both_say(answer, bytes(data), cut)
