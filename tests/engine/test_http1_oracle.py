"""Our parsers held against h11: same verdict, same message, same last byte, on generated and on broken bytes.

Where we are stricter or quicker than h11 by design the rule stands in RULES, with an example that shows it and a
predicate on the raw bytes (never through our own code) that must explain each disagreement. llhttp is the second
oracle, for chunked bodies.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.http1 import LAST_CHUNK, ProtocolError, RequestParser, chunk
from tests.engine.http1_feeding import LIMITS, bytewise, cut_at, cuts, listen, serve

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=150)

Field = tuple[bytes, bytes]


class Message(NamedTuple):
    """A message as both sides should see it: `start` is method and target, or the status."""

    start: tuple[str | int | bytes, ...]
    headers: list[Field]
    body: bytes
    rest: bytes


class Verdict(NamedTuple):
    """A whole message, or none because of an error, or none yet."""

    message: Message | None
    refused: bool = False


# -- the two sides -----------------------------------------------------------------------------------------------------


def comparable(headers: list[Field], target: bytes = b"") -> list[Field]:
    """Even out what differs by design: h11 lower-cases codings, and keeps the Host that an absolute target replaces."""
    absolute = not target.startswith(b"/") and b"://" in target
    return [
        (name, value.lower() if name == b"transfer-encoding" else value)
        for name, value in headers
        if not (absolute and name == b"host")
    ]


def ours(pieces: list[bytes]) -> Verdict:
    parser = RequestParser(LIMITS)
    try:
        for piece in pieces:
            parser.feed(piece)
        request = parser.pop()
    except ProtocolError:
        return Verdict(None, refused=True)
    if request is None:
        return Verdict(None)
    headers = comparable(request.headers, request.target)
    return Verdict(Message((request.method, request.target), headers, request.body, parser.leftover))


def h11_reads(connection: h11.Connection, data: bytes) -> tuple[h11.Request | h11.Response | None, bytes, bool]:
    """Return the message's head, its body, and whether it has ended. Raises h11.RemoteProtocolError."""
    head, body = None, b""
    if data:  # to h11, no bytes are the end of the connection
        connection.receive_data(data)
    while True:
        event = connection.next_event()
        if isinstance(event, (h11.Request, h11.Response)):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return head, body, True
        elif not isinstance(event, h11.InformationalResponse):
            return head, body, False


def oracle(data: bytes) -> Verdict:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        request, body, ended = h11_reads(connection, data)
    except h11.RemoteProtocolError:
        return Verdict(None, refused=True)
    if not ended:
        return Verdict(None)
    assert isinstance(request, h11.Request)
    start = (request.method.decode(), bytes(request.target))
    headers = comparable(list(request.headers), request.target)
    return Verdict(Message(start, headers, body, connection.trailing_data[0]))


# -- raw bytes, taken apart as leniently as h11 does -------------------------------------------------------------------


class Raw(NamedTuple):
    head: bytes
    line: bytes
    fields: list[Field]
    size_lines: list[bytes]
    trailers: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.fields if found == name]

    @property
    def target(self) -> bytes:
        return [*self.line.split(b" "), b""][1]


def take_apart(data: bytes) -> Raw:
    blank = re.search(rb"\n\r?\n", data)
    head = data[: blank.end()] if blank else data
    lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    fields = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]
    raw = Raw(head, lines[0], fields, [], b"")
    if not blank or [value.lower() for value in raw.values(b"transfer-encoding")] != [b"chunked"]:
        return raw
    rest = data[len(head) :]
    while True:
        line, end, rest = rest.partition(b"\r\n")
        raw.size_lines.append(line + end)
        size = re.match(rb"[0-9A-Fa-f]+", line)
        if size is None or not rest:
            return raw
        if int(size[0], 16) == 0:
            section = re.match(rb"\r?\n|[\s\S]*?\n\r?\n", rest)
            return raw._replace(trailers=section[0] if section else rest)
        rest = rest[int(size[0], 16) + 2 :]


class Rule(NamedTuple):
    """Why we refuse `example` while h11 takes it, or waits."""

    applies: Callable[[Raw], object]
    example: bytes


def head(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: h") -> bytes:
    return b"\r\n".join((line, host, *fields, b"", b""))


CHUNKED = head(b"Transfer-Encoding: chunked")
PLAIN = (head(), head(b"Content-Length: 3") + b"abc", CHUNKED + b"3;a\r\nabc\r\n0\r\nA: b\r\n\r\n")

METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"}
WORD = rb"[\w!#$%&'*+.^`|~-]+"
QUOTED = rb'"([^"\\\0-\x08\n-\x1f\x7f]|\\[^\0-\x08\n-\x1f\x7f])*"'
SIZE_LINE = re.compile(rb"[0-9A-Fa-f]{1,16}(;%b(=(%b|%b))?)*\r\n" % (WORD, WORD, QUOTED), re.ASCII)
SIZE_LINE_BEGUN = re.compile(rb"([0-9A-Fa-f]{1,16}(;[^\0-\x08\n-\x1f\x7f]*)?\r?)?")
HOST_FORM = rb"([\w.~%!$&'()*+,;=-]*|\[[\w:.%~-]+\])"
HOST = re.compile(HOST_FORM + rb"(:\d{0,5})?", re.ASCII)
TARGET_FORMS = re.compile(
    rb"(CONNECT (?!:)%b:\d{1,5}|OPTIONS \*|(?!CONNECT)\S+ (/[^#]*|(?i:https?)://(?!:)%b(:\d{0,5})?([/?][^#]*)?))"
    % (HOST_FORM, HOST_FORM.replace(b"]*|", b"]+|")),
    re.ASCII,
)

RULES: dict[str, Rule] = {
    "a bare LF ends no line": Rule(
        lambda raw: re.search(rb"(?<!\r)\n", raw.head + raw.trailers), head(b"A: b").replace(b"\r\n", b"\n")
    ),
    "a bare CR is nothing": Rule(lambda raw: re.search(rb"\r(?!\n|\Z)", raw.head + raw.trailers), b"GET\r/"),
    "no control characters": Rule(
        lambda raw: re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", raw.head + raw.trailers), head(b"A: \x01")
    ),
    "no folded lines": Rule(lambda raw: re.search(rb"\n[ \t]", raw.head + raw.trailers), head(b"A: b", b" c")),
    "known methods only": Rule(lambda raw: raw.line.split(b" ")[0] not in METHODS, head(line=b"FOO / HTTP/1.1")),
    "known versions only": Rule(lambda raw: raw.line[-4:] not in {b"/1.0", b"/1.1"}, head(line=b"GET / HTTP/1.2")),
    "targets in one of four forms": Rule(
        lambda raw: not TARGET_FORMS.fullmatch(b" ".join(raw.line.split(b" ")[:2])), head(line=b"GET a#b HTTP/1.1")
    ),
    "a malformed request line at its end": Rule(
        lambda raw: b"\n" in raw.head and not re.fullmatch(rb"\S+ [!-~]+ HTTP/1\.[01]", raw.line),
        b"GET  / HTTP/1.1\r\n",
    ),
    "a valid Host": Rule(lambda raw: not all(map(HOST.fullmatch, raw.values(b"host"))), head(host=b"Host: a/b")),
    "one length": Rule(
        lambda raw: len(raw.values(b"content-length")) > 1 or b"," in b"".join(raw.values(b"content-length")),
        head(b"Content-Length: 1", b"Content-Length: 1") + b"a",
    ),
    "a length or a coding": Rule(
        lambda raw: raw.values(b"content-length") and raw.values(b"transfer-encoding"),
        CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n") + LAST_CHUNK,
    ),
    "no coding in HTTP/1.0": Rule(
        lambda raw: raw.line.endswith(b"/1.0") and raw.values(b"transfer-encoding"),
        CHUNKED.replace(b"1.1", b"1.0") + LAST_CHUNK,
    ),
    "known expectations only": Rule(
        lambda raw: any(value.lower() != b"100-continue" for value in raw.values(b"expect")), head(b"Expect: x")
    ),
    "body limit, as soon as it is known": Rule(
        lambda raw: (
            any(value.isdigit() and int(value) > LIMITS.body_bytes_max for value in raw.values(b"content-length"))
            or sum(int(size[0], 16) for size in map(re.compile(rb"[0-9A-Fa-f]+").match, raw.size_lines) if size)
            > LIMITS.body_bytes_max
        ),
        head(b"Content-Length: 70000"),
    ),
    "chunk lines by the letter, as soon as they begin": Rule(
        lambda raw: (
            not all(
                (SIZE_LINE if line.endswith(b"\r\n") else SIZE_LINE_BEGUN).fullmatch(line) for line in raw.size_lines
            )
        ),
        CHUNKED + b"3 \r\nabc\r\n" + LAST_CHUNK,
    ),
}

LAXER: dict[str, Rule] = {
    "empty lines in front of a request": Rule(lambda raw: raw.line == b"", b"\r\n" + head()),
    "a bad first byte is seen at the end of the line": Rule(lambda raw: raw.line[:1] in {b" ", b"\t"}, b" GET"),
    "zeros in front of a length": Rule(
        lambda raw: any(len(value) > 20 for value in raw.values(b"content-length")),
        head(b"Content-Length: 000000000000000000000"),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_rule_is_one_of_ours(name: str) -> None:
    rule = RULES[name]
    assert ours([rule.example]).refused
    assert not oracle(rule.example).refused
    assert rule.applies(take_apart(rule.example))
    assert not any(rule.applies(take_apart(plain)) for plain in PLAIN)


@pytest.mark.parametrize("name", LAXER)
def test_rule_is_one_of_h11(name: str) -> None:
    rule = LAXER[name]
    assert not ours([rule.example]).refused
    assert oracle(rule.example).refused
    assert rule.applies(take_apart(rule.example))
    assert not any(rule.applies(take_apart(plain)) for plain in PLAIN)


def explained(rules: dict[str, Rule], data: bytes) -> bool:
    raw = take_apart(data)
    return any(rule.applies(raw) for rule in rules.values())


def compare(data: bytes, pieces: list[bytes]) -> None:
    """Hold both verdicts against each other; a difference must have its rule."""
    our, their = ours(pieces), oracle(data)
    if our.refused and not their.refused:
        assert explained(RULES, data), (data, their)
    elif their.refused and not our.refused:
        assert explained(LAXER, data), (data, our)
    else:
        assert our == their, data


# -- generated messages ------------------------------------------------------------------------------------------------

TOKENS = st.text("!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=8).map(str.encode)
VALUES = st.text([*map(chr, range(0x21, 0x7F)), " ", "\t", "é"], max_size=20).map(lambda text: text.encode("latin-1"))
SPACE = st.sampled_from([b"", b" ", b"\t", b"  "])
FRAMING = {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"}
FIELDS = st.lists(
    st.tuples(TOKENS.filter(lambda name: name.lower() not in FRAMING), st.tuples(SPACE, VALUES, SPACE).map(b"".join)),
    max_size=6,
)
BODIES = st.one_of(st.binary(max_size=60), st.text("\r\n0123456789af; GET", max_size=60).map(str.encode))
TARGETS = st.sampled_from([b"/", b"/a?b", b"//x", b'/"<>\\^`{|}', b"http://o", b"HTTPS://o:1/p?q"])
REQUEST_LINES = st.one_of(
    st.tuples(st.sampled_from(sorted(METHODS - {b"CONNECT"})), TARGETS, st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"])),
    st.sampled_from([(b"OPTIONS", b"*", b"HTTP/1.1"), (b"CONNECT", b"h:443", b"HTTP/1.1")]),
).map(b" ".join)
STATUS_LINES = st.tuples(
    st.sampled_from([b"HTTP/1.1 ", b"HTTP/1.0 "]),
    st.sampled_from([b"200", b"204", b"304", b"404", b"429", b"500", b"999"]),
    st.sampled_from([b"", b" ", b" OK", b" \xe9 x"]),
).map(b"".join)


@st.composite
def framed(draw: st.DrawFn, *, chunked: bool) -> tuple[list[bytes], bytes]:
    """Draw the framing fields of a body and its bytes on the wire."""
    body = draw(BODIES)
    framing = draw(st.sampled_from(["none", "length", "chunked" if chunked else "length"]))
    if framing == "none":
        return [], b""
    if framing == "length":
        return [b"Content-Length: %d" % len(body)], body
    pieces = cut_at(body, draw(st.lists(st.integers(0, 60), max_size=4)))
    trailers = b"".join(b"%b:%b\r\n" % field for field in draw(FIELDS))
    sizes = draw(st.sampled_from([b"", b";a", b';a=b;c="d\\" e"']))
    wire = b"".join(chunk(piece).replace(b"\r\n", sizes + b"\r\n", 1) for piece in pieces)
    return [b"Transfer-Encoding: chunked"], wire + b"0" + sizes + b"\r\n" + trailers + b"\r\n"


@st.composite
def messages(draw: st.DrawFn, lines: st.SearchStrategy[bytes], *fixed: bytes) -> bytes:
    line = draw(lines)
    framing, body = draw(framed(chunked=b"HTTP/1.0" not in line))
    fields = [b"%b:%b" % field for field in draw(FIELDS)]
    extra = draw(
        st.sampled_from([[], [b"Connection: close"], [b"Connection: keep-alive"], [b"Connection: x, Upgrade"]])
    )
    ordered = draw(st.permutations([*fixed, *framing, *fields, *extra]))
    return b"\r\n".join((line, *ordered, b"", body))


REQUESTS = messages(REQUEST_LINES, b"Host: h:80")
RESPONSES = messages(STATUS_LINES)

INTERESTING = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"f",
    b"/",
    b"#",
    b"\0",
    b"\x7f",
    b"\xff",
    b"G",
]


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Draw a message and break it: bytes flipped, put in, left out; lines doubled; line ends changed; the end cut."""
    message = draw(originals)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(message) - 1)))
        piece = draw(st.sampled_from(INTERESTING) | st.binary(min_size=1, max_size=1))
        match draw(st.sampled_from(["replace", "insert", "delete", "double a line", "line end", "cut"])):
            case "replace":
                message = message[:at] + piece + message[at + 1 :]
            case "insert":
                message = message[:at] + piece + message[at:]
            case "delete":
                message = message[:at] + message[at + 1 :]
            case "double a line":
                lines = message.split(b"\r\n")
                line = at % len(lines)
                message = b"\r\n".join(lines[: line + 1] + lines[line:])
            case "line end":
                ends = message.count(b"\r\n")
                lines = message.split(b"\r\n", at % ends + 1) if ends else [message]
                message = b"\r\n".join(lines[:-1]) + draw(st.sampled_from([b"\n", b"\r", b"\r\r\n", b""])) + lines[-1]
            case _:
                message = message[:at]
    return message


PLACES = st.lists(st.integers(0, 1000), max_size=6)


# -- requests ----------------------------------------------------------------------------------------------------------


@EXAMPLES
@given(message=REQUESTS, following=st.sampled_from([b"", b"\r\n", b"GET / HTTP/1.1\r\n", b"\0"]), places=PLACES)
def test_valid_requests(message: bytes, following: bytes, places: list[int]) -> None:
    data = message + following
    their = oracle(data)
    assert their.message is not None
    assert their.message.rest == following
    for pieces in ([data], bytewise(data), cut_at(data, places)):
        assert ours(pieces) == their


@settings(EXAMPLES, max_examples=300)
@given(data=mutated(REQUESTS), places=PLACES)
def test_broken_requests(data: bytes, places: list[int]) -> None:
    compare(data, [data])
    assert serve(cut_at(data, places)) == serve([data])


@EXAMPLES
@given(
    stream=st.lists(REQUESTS.filter(lambda data: b"close" not in data and b"HTTP/1.0" not in data), max_size=5),
    places=PLACES,
)
def test_pipelined_requests(stream: list[bytes], places: list[int]) -> None:
    expected = [oracle(message).message for message in stream]
    outcome = serve(cut_at(b"".join(stream), places))
    assert outcome.refused is None
    found = [
        Message((seen.method, seen.target), comparable(seen.headers, seen.target), seen.body, b"")
        for seen in outcome.requests
    ]
    assert found == expected


CORPUS = [
    *(rule.example for rule in (*RULES.values(), *LAXER.values())),
    *PLAIN,
    head(b"Content-Length: 4") + b"\r\n\r\n" + head() + CHUNKED + b"1\r\nx\r\n0\r\n\r\n" + head(b"A\0: b"),
    CHUNKED + b"a;b=c\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n" + head(b"Connection: close"),
    b"\r\n\r\n" + head(b"Connection: upgrade", b"Upgrade: x", b"Content-Length: 1") + b"a" + head(),
    CHUNKED + b"0\r\nA: b\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("data", CORPUS, ids=range(len(CORPUS)))
def test_every_split_of_a_corpus(data: bytes) -> None:
    compare(data, [data])
    whole = serve([data])
    for pieces in cuts(data):
        assert serve(pieces) == whole
    short = data[:60]
    whole = serve([short])
    for i in range(len(short)):
        for j in range(i, len(short)):
            assert serve([short[:i], short[i:j], short[j:]]) == whole


# -- chunked bodies, against llhttp ------------------------------------------------------------------------------------


class _Collected:
    def __init__(self) -> None:
        self.body = b""
        self.messages = 0

    def on_body(self, body: bytes) -> None:
        if not self.messages:
            self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


@settings(EXAMPLES, max_examples=300)
@given(body=mutated(framed(chunked=True).filter(lambda drawn: b"T" in b"".join(drawn[0])).map(lambda drawn: drawn[1])))
def test_chunks_as_llhttp_reads_them(body: bytes) -> None:
    our = serve([CHUNKED + body])
    collected = _Collected()
    parser = httptools.HttpRequestParser(collected)
    refused = False
    try:
        parser.feed_data(CHUNKED + body)
    except httptools.HttpParserError:
        refused = True
    raw = take_apart(CHUNKED + body)
    by_the_letter = RULES["chunk lines by the letter, as soon as they begin"].applies(raw)
    if collected.messages:
        # llhttp takes an extension without a name: `0;=value`.
        assert [seen.body for seen in our.requests[:1]] == [collected.body] or by_the_letter
        return
    assert not our.requests
    # llhttp refuses a line as soon as it goes wrong; we may wait for its end, which is bounded.
    open_line = raw.trailers or not raw.size_lines[-1].endswith(b"\r\n")
    quicker = refused and our.refused is None and open_line
    # llhttp waits for the end of a chunk line however long it gets, and knows no limit of a body.
    slower = not refused and (our.refused == 413 or (our.refused and by_the_letter))
    assert refused == (our.refused is not None) or quicker or slower


# -- responses ---------------------------------------------------------------------------------------------------------


def h11_answer(data: bytes, *, no_body: bool) -> tuple[int | None, list[Field], bytes, bool, bool]:
    """Return status, headers, body, whether it has ended, and whether h11 would use the connection again."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="HEAD" if no_body else "GET", target="/", headers=[("host", "h")]))
    connection.send(h11.EndOfMessage())
    response, body, ended = h11_reads(connection, data)
    if response is None:
        return None, [], b"", False, False
    assert isinstance(response, h11.Response)
    reusable = ended and connection.their_state is h11.DONE and not connection.trailing_data[0]
    return response.status_code, comparable(list(response.headers)), body, ended, reusable


def response_rules_apply(data: bytes) -> bool:
    """Tell whether a rule makes us refuse what h11 takes: those of requests, but for request lines and Host."""
    raw = take_apart(data)
    codings = raw.values(b"transfer-encoding")
    for name in (
        "a bare LF ends no line",
        "a bare CR is nothing",
        "no control characters",
        "no folded lines",
        "one length",
        "chunk lines by the letter, as soon as they begin",
    ):
        if RULES[name].applies(raw):
            return True
    return bool(
        # HTTP/1.x only, told at once; three digits from 100; no switch that was not asked for
        not re.match(rb"HTTP/1\.[01] [1-9]\d\d( |\Z)", raw.line.ljust(13)[:13])
        or not (raw.line.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(raw.line))
        or raw.line[9:12] == b"101"
        or (codings and codings != [b"chunked"])
        or any(len(value) > 18 for value in raw.values(b"content-length"))
        # llhttp refuses a trailer whose name is not a token with a colon without waiting for the end of the section
        or re.search(rb"^(?!\r?$)(?:[\w!#$%&'*+.^`|~-]*+(?!:|\Z)|:)", raw.trailers, re.ASCII | re.MULTILINE)
    )


def compare_answers(data: bytes, pieces: list[bytes], *, no_body: bool) -> None:
    our = listen(pieces, no_body=no_body)
    try:
        status, headers, body, ended, reusable = h11_answer(data, no_body=no_body)
    except h11.RemoteProtocolError:
        # Behind the end of a message h11 refuses what only costs us the connection.
        assert our.refused or (our.complete and not our.reusable), data
        return
    if our.refused:
        assert response_rules_apply(data), data
        return
    assert (our.status, comparable(our.headers), our.body, our.complete) == (status, headers, body, ended), data
    if our.reusable != reusable:
        raw = take_apart(data)
        kept_alive = raw.line.startswith(b"HTTP/1.0") and our.reusable
        ambiguous = bool(raw.values(b"content-length") and raw.values(b"transfer-encoding")) and not our.reusable
        assert kept_alive or ambiguous, data


@EXAMPLES
@given(data=RESPONSES, places=PLACES, no_body=st.booleans())
def test_valid_responses(data: bytes, places: list[int], no_body: bool) -> None:
    for pieces in ([data], bytewise(data), cut_at(data, places)):
        assert not listen(pieces, no_body=no_body).refused
        compare_answers(data, pieces, no_body=no_body)


@settings(EXAMPLES, max_examples=300)
@given(data=mutated(RESPONSES), places=PLACES, no_body=st.booleans())
def test_broken_responses(data: bytes, places: list[int], no_body: bool) -> None:
    compare_answers(data, [data], no_body=no_body)
    whole, pieced = listen([data], no_body=no_body), listen(cut_at(data, places), no_body=no_body)
    assert pieced == whole or (whole.refused and pieced.refused)


# -- anything at all ---------------------------------------------------------------------------------------------------


@EXAMPLES
@given(pieces=st.lists(st.binary(max_size=40) | REQUESTS | RESPONSES | st.sampled_from(INTERESTING), max_size=8))
def test_any_bytes_are_a_message_or_a_refusal(pieces: list[bytes]) -> None:
    assert serve(pieces).refused in {None, 400, 413, 414, 417, 431, 501, 505}
    for no_body in (False, True):
        answer = listen(pieces, closed=True, no_body=no_body)
        assert answer.complete != answer.refused
