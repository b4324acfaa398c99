"""What all taps share, with a dialect of three words: `hello` is content, `bye` finishes, `over` ends."""

import pytest

from adapters import sse
from adapters.errors import Failure, Kind
from adapters.event_tap import TRANSITIONS, EventTap, Stage
from tests.adapters.streams import byte_by_byte, two_part_splits

LIMIT = 64
STAGES = {b"hello": Stage.CONTENT, b"bye": Stage.FINISHED, b"over": Stage.DONE}


class Tap(EventTap):
    """Knows its three words by the data of an event, forwards every event, drops what is none."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        if self.stage is not Stage.CONTENT:
            return self._feed_slowly(data)
        forward = self._inspect(self._framer.feed(data))
        if self.held > self._event_bytes_max:
            self._fail_oversize()
        return forward

    def _block(self, block: bytes) -> bytes:
        payload = sse.payload(block)
        if payload is None:
            return self._block_without_payload(block)
        stage = STAGES.get(payload)
        if stage is not None and stage is not self.stage:
            self._become(stage)
        return block

    def _block_without_payload(self, block: bytes) -> bytes:
        return b""

    def _is_whole(self, payload: bytes) -> bool:
        return payload in STAGES

    def _fail_document(self, document: bytes) -> None:
        self._fail(Failure(502, Kind.UPSTREAM, document.decode(), code="document"))


def run(reads: list[bytes], limit: int = LIMIT) -> tuple[bytes, Tap]:
    tap = Tap(event_bytes_max=limit)
    forward = b"".join([tap.feed(read) for read in reads])
    return forward + tap.end(), tap


def code(tap: Tap) -> str | None:
    return tap.failure.code if tap.failure else None


def test_what_a_whole_stream_becomes_however_it_is_cut() -> None:
    received = b"\xef\xbb\xbf\n\ndata: hello\n\n: c\n\n\ndata: bye\r\n\r\n"
    for reads in (*two_part_splits(received), byte_by_byte(received)):
        forward, tap = run(reads)
        assert forward == b"data: hello\n\n\ndata: bye\r\n\r\n"
        assert (tap.stage, tap.finished, tap.done, code(tap)) == (Stage.DONE, True, True, None)


@pytest.mark.parametrize(
    ("received", "forwarded", "expected"),
    [
        pytest.param(b"", b"", "stream_incomplete", id="nothing at all"),
        pytest.param(b"\xef\xbb\xbf\r\n", b"", "stream_incomplete", id="a preamble alone"),
        pytest.param(b"data: hello\n\n", b"data: hello\n\n", "stream_incomplete", id="no finish"),
        pytest.param(b"data: hello\n\ndata: by", b"data: hello\n\n", "stream_incomplete", id="a cut finish"),
        pytest.param(b"data: hello\n\ndata: bye", b"data: hello\n\ndata: bye\n\n", None, id="a finish at the end"),
        pytest.param(b"data: bye", b"data: bye\n\n", None, id="a stream without any blank line"),
        pytest.param(b'{\n\n"a": 1}', b"", "document", id="a document"),
        pytest.param(b"<html>", b"", "upstream_protocol_error", id="something else"),
        pytest.param(b"data: over\n\ndata: hello\n\n", b"data: over\n\n", None, id="more after the end"),
        pytest.param(b"data: hello\n\ndata: %b\n\n" % (b"x" * LIMIT), b"data: hello\n\n", "event_too_large", id="long"),
        pytest.param(b"data: hello\n\ndata: %b" % (b"x" * LIMIT), b"data: hello\n\n", "event_too_large", id="endless"),
    ],
)
def test_how_streams_end(received: bytes, forwarded: bytes, expected: str | None) -> None:
    for reads in ([received], byte_by_byte(received)):
        forward, tap = run(reads)
        assert (forward, code(tap)) == (forwarded, expected)
        assert tap.held == 0
        assert tap.feed(b"data: hello\n\n") == b""


def test_a_document_is_taken_whole() -> None:
    _, tap = run(byte_by_byte(b'\n{\n\n"a": 1\n\n}'))
    assert tap.failure is not None
    assert tap.failure.message == '{\n\n"a": 1\n\n}'


def test_every_stage_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(Stage)
