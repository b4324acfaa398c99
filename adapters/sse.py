"""Server-sent events: bytes of an event stream into events, and back, for every dialect.

Decides where one event ends, by the rules of the WHATWG HTML standard, section 9.2.6: lines end with LF, CR or CRLF,
mixed as they like; a blank line ends an event; a leading BOM is dropped; `:` starts a comment; one space after the
colon is not data; several `data:` lines join with LF. It does not know what the data mean.

Two layers. A *block* is the bytes of one event with its line ends and its blank line, as received: `Framer` cuts a
stream after its last complete block, `blocks` cuts that into single ones, and who only forwards never looks inside.
An `Event` is a block's meaning: `parse`, or `Decoder` for a whole stream. Bytes are decoded as UTF-8 nowhere here, so
a character split between two reads is nobody's problem.

Cost: a read is searched for its last block end and nothing held is searched again or copied before its end has come, so
an event of any size takes linear time however it is cut. The same events come out at every split of the bytes, with one
latitude: a CR as the last byte of a read after an LF waits for the LF that nearly always follows.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLOCK_END = re.compile(rb"\n\r?\n|\r\r|\n\r")
_PREAMBLE = re.compile(rb"(?:\xef\xbb\xbf|[\r\n])*")
_FIELD = re.compile(rb"(?:data|event|id|retry)(?::|\Z)|:")


class Event(NamedTuple):
    """One event: its `data`, and the name an `event:` line gave it, b"" for none."""

    data: bytes
    name: bytes = b""


class Framer:
    """Cuts a stream after its last complete block; what follows is held: `held` bytes, the caller's to bound."""

    __slots__ = ("_pieces", "_tail", "held")

    def __init__(self) -> None:
        self.held = 0
        self._pieces: list[bytes] = []
        self._tail = b""
        """The last two held bytes: as much of a blank line as can be in front of a read."""

    def __repr__(self) -> str:
        return f"<Framer {self.held} bytes held>"

    def feed(self, read: bytes) -> bytes:
        """Take one read, return all whole blocks up to here: the same object when it is exactly that."""
        end = last_block_end(read)
        if not self.held:
            if end == len(read):
                return read
            whole = read[:end] if end > 0 else b""
        else:
            if end < 0:
                end = self._end_at_seam(read)
                if end < 0:
                    self.hold(read)
                    return b""
            whole = b"".join([*self._pieces, read[:end]])
            self._release()
        self.hold(read[end:] if end > 0 else read)
        return whole

    def take(self) -> bytes:
        """Return what is held and forget it: the stream has ended, or is something else."""
        rest = b"".join(self._pieces)
        self._release()
        return rest

    def hold_back(self, whole: bytes) -> None:
        """Take back what `feed` has let through: it belongs in front of what is held."""
        if whole:
            self._pieces.insert(0, whole)
            self.held += len(whole)
            self._tail = (whole[-2:] + self._tail)[-2:]

    def hold(self, rest: bytes) -> None:
        """Hold more bytes without looking for an end in them."""
        if rest:
            self._pieces.append(rest)
            self.held += len(rest)
            self._tail = (self._tail + rest[-2:])[-2:]

    def _end_at_seam(self, read: bytes) -> int:
        end = last_block_end(self._tail + read[:2])
        return end - len(self._tail) if end > 0 else -1

    def _release(self) -> None:
        self._pieces.clear()
        self.held = 0
        self._tail = b""


class Decoder:
    """A stream's bytes into `Event`s, incrementally.

    An event longer than `event_bytes_max` sets `oversize` and ends the decoding: later calls return nothing.
    """

    __slots__ = ("_event_bytes_max", "_framer", "_started", "oversize")

    def __init__(self, event_bytes_max: int) -> None:
        self.oversize = False
        self._event_bytes_max = event_bytes_max
        self._framer = Framer()
        self._started = False

    def feed(self, read: bytes) -> list[Event]:
        """Take one read, return the events it completes."""
        if self.oversize:
            return []
        events = self._events(self._framer.feed(read))
        if self._framer.held > self._event_bytes_max:
            self.oversize = True
        return events

    def end(self) -> list[Event]:
        """Take the end of the stream: an event that lacks only its blank line still counts, as vendors leave it out."""
        return [] if self.oversize else self._events(self._framer.take())

    def _events(self, whole: bytes) -> list[Event]:
        if not self._started:
            whole = without_preamble(whole)
            self._started = bool(whole)
        events = []
        for block in blocks(whole):
            if len(block) > self._event_bytes_max:
                self.oversize = True
                break
            event = parse(block)
            if event is not None:
                events.append(event)
        return events


def last_block_end(window: bytes) -> int:
    """Return the position behind the last block end in `window`, -1 when there is none.

    A trailing LF CR is none yet: an LF would still belong to it. After CR CR an LF would too, but is taken for a blank
    line of its own, so that streams with CR alone need not wait.
    """
    end = window.rfind(b"\n\n") + 2
    if b"\r" in window:
        end = max(end, window.rfind(b"\r\r") + 2)
        at = window.rfind(b"\n\r\n")
        end = max(end, at + 3 if at >= 0 else 0)
        at = window.rfind(b"\n\r")
        if at >= 0 and at + 2 == len(window):
            at = window.rfind(b"\n\r", 0, at + 1)
        # Followed by LF, it was found above and ends later.
        end = max(end, at + 2)
    return end if end > 1 else -1


def blocks(whole: bytes) -> Iterator[bytes]:
    """Yield the blocks of what a `Framer` let through, as received; joined they are `whole` again."""
    start = 0
    if b"\r" in whole:
        for match in _BLOCK_END.finditer(whole):
            yield whole[start : match.end()]
            start = match.end()
    else:
        end = whole.find(b"\n\n")
        while end >= 0:
            yield whole[start : end + 2]
            start = end + 2
            end = whole.find(b"\n\n", start)
    if start < len(whole):
        yield whole[start:]


def lines(block: bytes) -> list[bytes]:
    """Return a block's lines without their ends."""
    return _LINE_END.split(block) if b"\r" in block else block.split(b"\n")


def payload(block: bytes) -> bytes | None:
    """Return a block's data, None when it has no `data` line (comments, other fields, blank lines)."""
    if block.startswith(b"data: ") and block.find(b"\n") == len(block) - 2 and b"\r" not in block:
        return block[6:-2]
    values = [_value(line) for line in lines(block) if line.startswith(b"data:") or line == b"data"]
    return b"\n".join(values) if values else None


def parse(block: bytes) -> Event | None:
    """Return the event a block is, None when it dispatches none. An `event` line may stand before or after the data."""
    data = payload(block)
    if data is None:
        return None
    name = b""
    if b"event" in block:
        for line in lines(block):
            if line.startswith(b"event:") or line == b"event":
                name = _value(line)
    return Event(data, name)


def without_preamble(whole: bytes) -> bytes:
    """Return the start of a stream without its BOM and blank lines."""
    match = _PREAMBLE.match(whole)
    return whole[match.end() :] if match is not None and match.end() else whole


def is_event_stream(block: bytes) -> bool:
    """Whether a stream's first block has any line that event streams have: a known field or a comment."""
    return block.startswith(b"data:") or any(_FIELD.match(line) for line in lines(block))


def encode(data: bytes, name: bytes = b"") -> bytes:
    """Return an event as every client reads it: LF only, the name first, one space, a blank line."""
    head = b"event: " + name + b"\n" if name else b""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(lines(data))
    return b"%bdata: %b\n\n" % (head, data)


def _value(line: bytes) -> bytes:
    _, _, value = line.partition(b":")
    return value[1:] if value.startswith(b" ") else value
