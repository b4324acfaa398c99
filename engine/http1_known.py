"""A head that was read before: the next one on a kept connection hardly ever differs from it but for some values.

Clients send the same head again and again, and only the digits of their Content-Length change. To read such a head anew
costs 90,000 instructions, a seventh of a whole unary request; to see that it is the same costs a twentieth of that.
Upstreams send the same lines, with another date, id, length and rest of a rate limit: 45,000 to 100,000 instructions,
where a look at what has changed costs 4,000 to 50,000.

The rule for requests: what is in front of the digits and what is behind them is compared byte by byte with a head that
was read and found sound, and digits are all that stands between. The rule for responses: line by line the name is the
same to the byte, and so is the value, or it is made of bytes that any value may have and llhttp reads no meaning into
it; of a Content-Length it is digits. Whatever is the least bit different is read as if nothing were known.
"""

import re
from itertools import compress
from operator import ne
from typing import Final, NamedTuple

from engine.http1_grammar import CRLF
from engine.http1_head import Request, RequestLimits

__all__ = ["KnownAnswer", "KnownHead", "known"]

_DIGITS_MAX: Final = 18
"""More may not fit into 64 bits, and llhttp decides about those."""

_LENGTH_LINE: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,18})\r\n")
_LENGTH: Final = b"content-length"

_READ_BY_LLHTTP: Final = frozenset({b"connection", b"proxy-connection", b"transfer-encoding", b"upgrade"})
"""Beside the length, the names whose values it looks into: they must not change."""

_NOTHING: Final = CRLF
"""What no line begins with."""

_TEXT: Final = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))


class KnownHead(NamedTuple):
    """The bytes around the digits, the request that they made, and where among its headers the length is."""

    front: bytes
    back: bytes
    request: Request
    position: int

    def read(self, data: bytes, at: int, limits: RequestLimits) -> tuple[Request, int, int] | None:
        """Read the same head at offset `at`: return the request, the head's end and its body's length.

        None when it is another one, is not there as a whole, is larger than may be, or announces more than may be.
        """
        if not data.startswith(self.front, at):
            return None
        start = at + len(self.front)
        stop = data.find(CRLF, start, start + _DIGITS_MAX + 2)
        digits = data[start:stop]
        if stop < 0 or not digits.isdigit() or not data.startswith(self.back, stop):
            return None
        length, end = int(digits), stop + len(self.back)
        if length > limits.body_bytes_max or end - at > limits.head_bytes_max:
            return None
        before = self.request
        headers, index = before.headers.copy(), before.index.copy()
        headers[self.position] = (_LENGTH, digits)
        index[_LENGTH] = digits
        request = Request(before.method, before.target, before.path, before.query, headers, index=index)
        request.version = before.version
        return request, end, length


def known(head: bytes, request: Request) -> KnownHead | None:
    """Return what is to be kept of a head that was read; None of one that means more than its fields and a length."""
    if not request.keep_alive or request.upgrade or b"expect" in request.index:
        return None
    line = _LENGTH_LINE.search(head)
    # One field, spelled as nearly everybody does: then the digits that are found are its value.
    if line is None or request.index.get(_LENGTH) != line.group(1):
        return None
    position = request.headers.index((_LENGTH, line.group(1)))
    # Without its body, which may be large.
    bare = Request(request.method, request.target, request.path, request.query, request.headers, index=request.index)
    bare.version = request.version
    return KnownHead(head[: line.start(1)], head[line.end(1) :], bare, position)


class KnownAnswer:
    """A response's final head as it was read last: its lines, the names in them, and what must not change.

    Behind it the connection stays open, so it has either one Content-Length or a chunked body, not both. `length` is
    the body's, None for a chunked one; both it and `lines` are the latest head's.
    """

    __slots__ = ("_beginnings", "_length_at", "_names", "index", "length", "lines", "status")

    def __init__(self, head: bytes, status: int, headers: list[tuple[bytes, bytes]], index: dict[bytes, bytes]) -> None:
        """Keep a head that was found sound, and the fields that it has."""
        self.lines = lines = head.split(CRLF)
        self.status = status
        self.index = index
        """Of its names only; the values are of the head that was kept first."""
        self._names = names = [name for name, _ in headers]
        # The status and the blank line stay as they are, too.
        self._beginnings = [_NOTHING] * len(lines)
        for number, name in enumerate(names, 1):
            if name not in _READ_BY_LLHTTP:
                self._beginnings[number] = lines[number][: len(name) + 1]
        self._length_at = names.index(_LENGTH) + 1 if _LENGTH in index else 0
        self.length = int(index[_LENGTH]) if self._length_at else None

    def read(self, head: bytes) -> bool:
        """Tell whether a whole head is the same but for some values, and keep it if it is."""
        lines, before = head.split(CRLF), self.lines
        if lines != before:
            if len(lines) != len(before):
                return False
            beginnings, length = self._beginnings, self.length
            for number in compress(range(len(lines)), map(ne, lines, before)):
                if not lines[number].startswith(beginnings[number]):
                    return False
                if number == self._length_at:
                    digits = value_of(lines[number])
                    if not digits.isdigit() or len(digits) > _DIGITS_MAX:
                        return False
                    length = int(digits)
            # Nothing but text and the line ends between: no control character, no bare CR or LF.
            if len(head.translate(None, _TEXT)) != 2 * len(lines) - 2:
                return False
            self.lines, self.length = lines, length
        return True

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return what the latest head says."""
        return [(name, value_of(line)) for name, line in zip(self._names, self.lines[1:-2], strict=True)]


def value_of(line: bytes) -> bytes:
    """Return the value of a field's line that is known to be sound."""
    return line[line.index(b":") + 1 :].strip(b" \t")
