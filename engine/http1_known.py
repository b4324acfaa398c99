"""A head that was read before: the next one on a kept connection hardly ever differs from it but for its length.

Clients send the same head again and again, and only the digits of their Content-Length change. To read such a head anew
costs 90,000 instructions, a seventh of a whole unary request; to see that it is the same costs a twentieth of that.

The rule: what is in front of the digits and what is behind them is compared byte by byte with a head that was read and
found sound, and digits are all that stands between. So the fields are the same ones, but for that value. Whatever is
the least bit different is read as if nothing were known.
"""

import re
from typing import Final, NamedTuple

from engine.http1_grammar import CRLF
from engine.http1_head import Request, RequestLimits

__all__ = ["KnownHead", "known"]

_DIGITS_MAX: Final = 18
"""More may not fit into 64 bits, and llhttp decides about those."""

_LENGTH_LINE: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,18})\r\n")
_LENGTH: Final = b"content-length"


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
