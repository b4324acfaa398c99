"""Frames against two oracles (wsproto, websockets), by table, and whatever bytes hypothesis finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT, SERVER, Protocol
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage
from wsproto.frame_protocol import XorMaskerSimple

from engine.websocket_codes import REASON_BYTES_MAX, fitting, is_code, sendable
from engine.websocket_frames import Framing

LIMIT = 1 << 20

MESSAGES = st.lists(st.one_of(st.text(), st.binary(), st.integers(0, 70_000).map(bytes)), max_size=5)
CUTS = st.lists(st.integers(1, 5000), max_size=20)


def framing(*, masks: bool, frame_bytes_max: int = LIMIT) -> Framing:
    return Framing(masks=masks, frame_bytes_max=frame_bytes_max, on_ping=lambda: None)


def raw(first: int, payload: bytes = b"", *, masked: bool = True, length: int | None = None) -> bytes:
    """Return a frame as it is said to be, whatever the rules; in the fewest bytes unless `length` is given."""
    count = len(payload)
    bit = 0x80 if masked else 0
    if length is None:
        length = 7 if count < 126 else 16 if count < 1 << 16 else 64
    head = {
        7: bytes((first, bit | min(count, 125))),
        16: bytes((first, bit | 126)) + count.to_bytes(2, "big"),
        64: bytes((first, bit | 127)) + count.to_bytes(8, "big"),
    }[length]
    if not masked:
        return head + payload
    return head + b"\x01\x02\x03\x04" + bytes(XorMaskerSimple(b"\x01\x02\x03\x04").process(bytearray(payload)))


def read(ours: Framing, data: bytes, cuts: list[int] | None = None) -> list[Event]:
    """Feed `data` in pieces of the sizes `cuts`, again and again, and return all events."""
    events: list[Event] = []
    turn = 0
    size_min = len(data) // 2000
    while data:
        size = max(size_min, cuts[turn % len(cuts)]) if cuts else len(data)
        turn += 1
        ours.receive_data(data[:size])
        data = data[size:]
        events += ours.events()
    return events


def said(events: list[Event]) -> list[str | bytes | int]:
    """Return messages, and the code of the end."""
    return [int(event.code) if isinstance(event, CloseConnection) else event.data for event in events]  # type: ignore[attr-defined]


def message(frame: str | bytes, *, finished: bool = True) -> TextMessage | BytesMessage:
    if isinstance(frame, str):
        return TextMessage(data=frame, message_finished=finished)
    return BytesMessage(data=frame, message_finished=finished)


@given(frames=MESSAGES, cuts=CUTS, masked=st.booleans(), fragment_bytes=st.integers(1, 3000), pings=st.booleans())
def test_what_wsproto_sends_arrives_whole(
    frames: list[str | bytes], cuts: list[int], masked: bool, fragment_bytes: int, pings: bool
) -> None:
    theirs = Connection(ConnectionType.CLIENT if masked else ConnectionType.SERVER)
    wire = b""
    for frame in frames:
        size = max(fragment_bytes, len(frame) // 50 + 1)
        pieces = [frame[at : at + size] for at in range(0, len(frame), size)] or [frame]
        for number, piece in enumerate(pieces, 1):
            wire += theirs.send(message(piece, finished=number == len(pieces)))
            if pings:
                wire += theirs.send(Ping(b"%d" % number))
    wire += theirs.send(CloseConnection(code=4321, reason="é"))
    ours = framing(masks=not masked)
    events = read(ours, wire + b"junk behind the end", cuts)
    assert said(events) == [*frames, 4321]
    assert isinstance(events[-1], CloseConnection)
    assert events[-1].reason == "é"
    assert not ours.fault
    assert ours.messages_received == len(frames)
    assert ours.bytes_received == sum(len(frame.encode() if isinstance(frame, str) else frame) for frame in frames)


@given(frames=MESSAGES, cuts=CUTS, masks=st.booleans())
def test_both_oracles_read_what_we_send(frames: list[str | bytes], cuts: list[int], masks: bool) -> None:
    ours = framing(masks=masks)
    wire = b"".join(ours.send(message(frame)) for frame in frames)
    wire += ours.send(Ping(b"p")) + ours.send(Pong(b"q"))
    wire += ours.send(CloseConnection(code=1001, reason="bye"))

    theirs = Connection(ConnectionType.SERVER if masks else ConnectionType.CLIENT)
    theirs.receive_data(wire)
    got: list[str | bytes | int] = []
    for event in theirs.events():
        if isinstance(event, Message | CloseConnection):
            got += said([event])
    assert got == [*frames, 1001]

    other = Protocol(SERVER if masks else CLIENT, max_size=None)
    other.receive_data(wire)
    seen = [(frame.opcode, bytes(frame.data)) for frame in other.events_received()]  # type: ignore[union-attr]
    assert seen[: len(frames)] == [
        (Opcode.TEXT, frame.encode()) if isinstance(frame, str) else (Opcode.BINARY, frame) for frame in frames
    ]
    assert other.close_rcvd is not None
    assert (other.close_rcvd.code, other.close_rcvd.reason) == (1001, "bye")


FRAMES = st.lists(
    st.builds(
        raw,
        st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88, 0x09, 0x83, 0x8B, 0xC1, 0x91]),
        st.one_of(st.binary(max_size=130), st.text(max_size=40).map(str.encode), st.just(b"\x03\xe8bye")),
        masked=st.sampled_from([True] * 9 + [False]),
    ),
    max_size=6,
)


@given(frames=FRAMES, cuts=CUTS)
def test_the_verdict_is_wsprotos(frames: list[bytes], cuts: list[int]) -> None:
    """On good and bad frames in any order; wsproto sees a broken text in the middle of a message, we at its end."""
    wire = b"".join(frames)
    theirs = Connection(ConnectionType.SERVER)
    theirs.receive_data(wire)
    expected: list[str | bytes | int] = []
    parts: list[str | bytes] = []
    for event in theirs.events():
        if isinstance(event, CloseConnection):
            expected.append(int(event.code))
            break
        if isinstance(event, Message):
            parts.append(event.data)
            if event.message_finished:
                expected.append(parts[0][:0].join(parts))  # type: ignore[arg-type]
                parts = []
    got = said(read(framing(masks=False), wire, cuts))
    if expected and expected[-1] == 1007:
        assert got[: len(expected) - 1] == expected[:-1]
    else:
        assert got == expected


@given(data=st.binary(max_size=4000), cuts=CUTS, masks=st.booleans())
def test_any_bytes_end_in_at_most_one_close(data: bytes, cuts: list[int], masks: bool) -> None:
    ours = framing(masks=masks, frame_bytes_max=500)
    events = read(ours, data, cuts)
    ends = [event for event in events if isinstance(event, CloseConnection)]
    assert ends == events[-1:] or not ends
    assert said(events) == said(read(framing(masks=masks, frame_bytes_max=500), data))
    if ours.fault:
        assert ours.send(ends[0].response())[0] == 0x88
        assert ours.state is ConnectionState.CLOSED


CLOSE_1000 = raw(0x88, b"\x03\xe8")


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (raw(0x83), 1002),
        (raw(0x8B), 1002),
        (raw(0x8F, length=64), 1002),
        (raw(0xC1, b"deflated"), 1002),
        (raw(0xA1), 1002),
        (raw(0x90), 1002),
        (raw(0x80, b"continues nothing"), 1002),
        (raw(0x01, b"a") + raw(0x81, b"b"), 1002),
        (raw(0x01, b"a") + raw(0x02, b"b"), 1002),
        (raw(0x09, b"a fragmented ping"), 1002),
        (raw(0x89, bytes(126)), 1002),
        (raw(0x88, b"\x03"), 1002),
        (raw(0x88, b"\x03\xec"), 1002),
        (raw(0x88, b"\x03\xed"), 1002),
        (raw(0x88, b"\x03\xee"), 1002),
        (raw(0x88, b"\x03\xf7"), 1002),
        (raw(0x88, b"\x00\x00"), 1002),
        (raw(0x88, b"\xff\xff"), 1002),
        (raw(0x88, b"\x03\xe8\xff"), 1007),
        (raw(0x81, b"\xc3"), 1007),
        (raw(0x81, b"\xed\xa0\x80"), 1007),
        (raw(0x01, b"\xc3") + raw(0x80, b"\x28"), 1007),
        (raw(0x82, bytes(10), length=16), 1002),
        (raw(0x82, bytes(300), length=64), 1002),
        (raw(0x82, bytes(10), masked=False), 1002),
        (b"\x82\xff\xff" + bytes(7), 1009),
        (b"\x82\xff" + (501).to_bytes(8, "big"), 1002),
        (raw(0x82, bytes(501))[:4], 1009),
        (raw(0x02, bytes(500)) + raw(0x00) * 3 + raw(0x80, b"x"), 1009),
    ],
)
def test_a_broken_rule_has_its_code(wire: bytes, code: int) -> None:
    ours = framing(masks=False, frame_bytes_max=500)
    events = read(ours, wire + raw(0x81, b"never seen"))
    assert said(events) == [code]
    assert ours.fault
    assert ours.state is ConnectionState.REMOTE_CLOSING


def test_a_server_that_masks_breaks_a_rule() -> None:
    assert said(read(framing(masks=True), raw(0x81, b"x", masked=True))) == [1002]


@pytest.mark.parametrize("fragments", [1, 4])
def test_the_limit_is_in_bytes_and_exact(fragments: int) -> None:
    text = "é" * 250
    size = 500 // fragments
    pieces = [text.encode()[at : at + size] for at in range(0, 500, size)]
    wire = b"".join(
        raw((0x80 if number == fragments else 0) | (1 if number == 1 else 0), piece)
        for number, piece in enumerate(pieces, 1)
    )
    assert said(read(framing(masks=False, frame_bytes_max=500), wire)) == [text]
    assert said(read(framing(masks=False, frame_bytes_max=499), wire)) == [1009]


def test_fragments_of_nothing_take_no_memory() -> None:
    ours = framing(masks=False)
    read(ours, raw(0x01, b"x"))
    before = ours._message.__sizeof__()
    assert read(ours, raw(0x00) * 10_000) == []
    assert ours._message.__sizeof__() == before
    assert said(read(ours, raw(0x80, b"y"))) == ["xy"]


def test_only_the_latest_ping_is_owed_and_none_behind_our_close() -> None:
    woken: list[None] = []
    ours = Framing(masks=False, frame_bytes_max=LIMIT, on_ping=lambda: woken.append(None))
    assert read(ours, raw(0x89, b"1") + raw(0x89, b"2") + raw(0x8A, b"unasked")) == []
    assert ours.pong_owed == b"2"
    assert len(woken) == 2
    ours.pong_owed = None
    ours.send(CloseConnection(code=1000))
    assert said(read(ours, raw(0x89, b"3") + raw(0x81, b"late") + CLOSE_1000)) == ["late", 1000]
    assert ours.pong_owed is None
    assert ours.state is ConnectionState.CLOSED


def test_nothing_is_sent_when_it_is_too_late() -> None:
    ours = framing(masks=False)
    assert ours.send(CloseConnection(code=1000)) == b"\x88\x02\x03\xe8"
    for event in (CloseConnection(code=1000), Ping(), Pong()):
        assert ours.send(event) == b""
    assert said(read(ours, raw(0x83))) == [1002]
    assert ours.state is ConnectionState.CLOSED
    assert ours.send(CloseConnection(code=1002)) == b""


def test_a_close_without_a_code_is_answered_without_one() -> None:
    ours = framing(masks=False)
    (end,) = read(ours, raw(0x88))
    assert isinstance(end, CloseConnection)
    assert end.code == 1005
    assert ours.send(end.response()) == b"\x88\x00"


@pytest.mark.parametrize(
    ("code", "sent"),
    [
        *((code, code) for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)),
        *((code, code) for code in (3000, 3999, 4000, 4999)),
        (1005, 1000),
        *((code, 1011) for code in (-1, 0, 999, 1004, 1006, 1015, 1016, 2000, 2999, 5000, 65535, 65536)),
    ],
)
def test_what_another_connection_is_closed_with(code: int, sent: int) -> None:
    assert sendable(code) == sent
    assert is_code(sendable(code))


@given(st.text(max_size=200))
def test_a_reason_is_cut_at_a_character(reason: str) -> None:
    cut = fitting(reason)
    assert reason.startswith(cut)
    assert len(cut.encode()) <= REASON_BYTES_MAX
    if cut != reason:
        assert len((cut + reason[len(cut)]).encode()) > REASON_BYTES_MAX
