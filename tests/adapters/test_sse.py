"""Event streams: the standard's rules, at every split, against a plain reading of the standard and the official SDK."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from adapters import sse
from adapters.sse import Decoder, Event, Framer
from tests.adapters.streams import byte_by_byte, count_searched, pieces, two_part_splits

LIMIT = 1 << 26

CASES: list[tuple[str, bytes, list[Event]]] = [
    ("one event", b"data: a\n\n", [Event(b"a")]),
    ("no space", b"data:a\n\n", [Event(b"a")]),
    ("one space is not data", b"data:  a \n\n", [Event(b" a ")]),
    ("two lines", b"data: a\ndata: b\n\n", [Event(b"a\nb")]),
    ("empty data", b"data\n\ndata:\n\ndata: \n\n", [Event(b""), Event(b""), Event(b"")]),
    ("empty lines of data", b"data\ndata\n\n", [Event(b"\n")]),
    ("name before", b"event: x\ndata: a\n\n", [Event(b"a", b"x")]),
    ("name after", b"data: a\nevent: x\n\n", [Event(b"a", b"x")]),
    ("the last name counts", b"event: x\nevent\ndata: a\n\n", [Event(b"a")]),
    ("a name alone is no event", b"event: x\n\ndata: a\n\n", [Event(b"a")]),
    ("comments", b": c\n\n:\n\ndata: a\n: d\n\n", [Event(b"a")]),
    ("unknown fields", b"id: 1\nretry: 3\nfoo: b\nfoo\ndata: a\n\n", [Event(b"a")]),
    ("not quite data", b" data: a\n\nDATA: a\n\ndatax: a\n\n", []),
    ("colon in data", b"data: a: b\n\n", [Event(b"a: b")]),
    ("bom", b"\xef\xbb\xbfdata: a\n\n", [Event(b"a")]),
    ("bom later is data", b"data: \xef\xbb\xbf\n\n", [Event(b"\xef\xbb\xbf")]),
    ("blank lines first", b"\n\r\n\rdata: a\n\n", [Event(b"a")]),
    ("crlf", b"data: a\r\n\r\ndata: b\r\n\r\n", [Event(b"a"), Event(b"b")]),
    ("cr", b"data: a\r\rdata: b\r\r", [Event(b"a"), Event(b"b")]),
    (
        "mixed",
        b"data: a\r\n\ndata: b\n\rdata: c\r\r\ndata: d\n\r\n",
        [Event(b"a"), Event(b"b"), Event(b"c"), Event(b"d")],
    ),
    ("many blank lines", b"data: a\n\n\n\n\ndata: b\n\n", [Event(b"a"), Event(b"b")]),
    ("no last blank line", b"data: a\n\ndata: b", [Event(b"a"), Event(b"b")]),
    ("no last blank line, crlf", b"data: b\r\n", [Event(b"b")]),
    (
        "other unicode line ends are data",
        "data: a\u2028b\u0085c\x0bd\n\n".encode(),
        [Event("a\u2028b\u0085c\x0bd".encode())],
    ),
    ("not utf-8", b"data: \xff\xfe\n\n", [Event(b"\xff\xfe")]),
    ("null byte", b"data: \x00\n\n", [Event(b"\x00")]),
    ("nothing", b"", []),
]
# openai-python loses the first event after a BOM and the last without a blank line, and raises on what is no text.
NOT_THE_SDKS = {"bom", "no last blank line", "no last blank line, crlf", "not utf-8"}
each_case = pytest.mark.parametrize(("data", "events"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])


def decode(reads: list[bytes], limit: int = LIMIT) -> list[Event]:
    decoder = Decoder(limit)
    events = [event for read in reads for event in decoder.feed(read)]
    return events + decoder.end()


def plain_reading(data: bytes) -> list[Event]:
    """The standard, line by line, for a whole stream; an unterminated last event counts."""
    events, values, name = [], [], b""
    for line in [*re.split(rb"\r\n|\n|\r", re.sub(rb"^(?:\xef\xbb\xbf|[\r\n])*", b"", data)), b""]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            values.append(value)
        elif field == b"event":
            name = value
        elif not line:
            if values:
                events.append(Event(b"\n".join(values), name))
            values, name = [], b""
    return events


@each_case
def test_cases_at_every_split(data: bytes, events: list[Event]) -> None:
    assert decode([data]) == events
    assert decode(byte_by_byte(data)) == events
    for cut in two_part_splits(data):
        assert decode(cut) == events
    assert plain_reading(data) == events


@pytest.mark.parametrize(("data", "events"), [case[1:] for case in CASES if case[0] not in NOT_THE_SDKS])
def test_the_sdk_reads_the_same(data: bytes, events: list[Event]) -> None:
    read = [event.data for event in SSEDecoder().iter_bytes(iter([data]))]
    if b"id:" in data or b"event: x\n\n" in data:
        read = [value for value in read if value]  # it makes events of these without data
    assert read == [event.data.decode() for event in events]


PARTS = st.sampled_from(
    [b"\n", b"\r", b"\r\n", b"data: a", b"data:", b"event: x", b": c", b"id", b"\xef\xbb\xbf", b" ", b"x:"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PARTS, max_size=25).map(b"".join) | st.binary(max_size=60), st.lists(st.integers(1, 9), min_size=1))
def test_any_bytes_at_any_split(data: bytes, sizes: list[int]) -> None:
    assert decode([data]) == decode(pieces(data, sizes)) == plain_reading(data)


@settings(max_examples=100, deadline=None)
@given(st.lists(PARTS, max_size=25).map(b"".join), st.lists(st.integers(1, 9), min_size=1))
def test_a_framer_loses_and_changes_nothing(data: bytes, sizes: list[int]) -> None:
    framer = Framer()
    passed = [framer.feed(read) for read in pieces(data, sizes)]
    held = framer.held
    rest = framer.take()
    assert b"".join(passed) + rest == data
    assert held == len(rest)
    assert framer.held == 0
    for whole in passed:
        assert b"".join(sse.blocks(whole)) == whole
        assert not whole or sse.last_block_end(whole + b"x") == len(whole)


def test_a_read_of_whole_blocks_is_not_copied() -> None:
    read = b"data: a\n\ndata: b\n\n"
    assert Framer().feed(read) is read


def test_a_framer_can_take_back_what_it_let_through() -> None:
    framer = Framer()
    whole = framer.feed(b"data: a\n\ndata: b\r")
    framer.hold_back(whole)
    assert framer.held == 17
    assert framer.feed(b"\n\r\n") == b"data: a\n\ndata: b\r\n\r\n"
    framer.hold_back(b"data: c\n")
    assert framer.feed(b"\nx") == b"data: c\n\n"
    assert repr(framer) == "<Framer 1 bytes held>"


@pytest.mark.parametrize("cut", [lambda data: [data], byte_by_byte, lambda data: pieces(data, [3])])
def test_an_oversized_event_ends_the_decoding(cut: object) -> None:
    assert callable(cut)
    decoder = Decoder(10)
    events = [event for read in cut(b"data: 12\n\ndata: 345\n\ndata: 6\n\n") for event in decoder.feed(read)]
    assert events == [Event(b"12")]
    assert decoder.oversize
    assert decoder.feed(b"data: 7\n\n") == decoder.end() == []


def test_large_events_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = count_searched(monkeypatch)
    data = b"data: " + b"a" * 2_000_000 + b"\r\n\r\n"
    assert decode(pieces(data, [4096])) == [Event(b"a" * 2_000_000)]
    assert sum(searched) < 1.01 * len(data)


@given(st.binary(max_size=50), st.sampled_from([b"", b"x", b"message_start"]))
def test_encode_is_read_back(data: bytes, name: bytes) -> None:
    encoded = sse.encode(data, name)
    assert b"\r" not in encoded
    assert decode([encoded]) == [Event(re.sub(rb"\r\n|\r", b"\n", data), name)]


def test_encode() -> None:
    assert sse.encode(b"{}") == b"data: {}\n\n"
    assert sse.encode(b"a\nb", b"x") == b"event: x\ndata: a\ndata: b\n\n"


@pytest.mark.parametrize(
    ("block", "is_one"),
    [
        (b"data: a\n\n", True),
        (b"data\n\n", True),
        (b": c\n\n", True),
        (b":\r\n\r\n", True),
        (b"retry: 1\n\n", True),
        (b"foo: a\ndata: b\n\n", True),
        (b"foo: a\n\n", False),
        (b"database: a\n\n", False),
        (b'{"data": 1}\n\n', False),
        (b"<html>\n\n", False),
    ],
)
def test_is_event_stream(block: bytes, is_one: bool) -> None:
    assert sse.is_event_stream(block) is is_one
