"""Bytes of an answer: status line, fields, chunks. Everything here is a pure function of its arguments.

The rule: what is rendered is well-formed whatever it was made of. A field that would smuggle a line end into a head
raises ValueError. That is a bug of ours: every name and value that came from a peer went through a strict parser.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

__all__ = ["CONTINUE", "LAST_CHUNK", "REASONS", "chunk", "render_head", "render_response"]

REASONS: Final[dict[int, str]] = {status.value: status.phrase for status in HTTPStatus}
"""The phrase of each registered status; others are rendered with an empty one, as RFC 9112 section 4 allows."""

LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %b" % (status, REASONS.get(status, "").encode()) for status in range(100, 1000)
}


def render_head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Render a response head as it is given: framing is the caller's business. Raises ValueError on a line end."""
    lines = [_STATUS_LINES[status], *map(b": ".join, headers), b"", b""]
    head = b"\r\n".join(lines)
    if len(head.splitlines()) != len(lines) - 1:
        raise ValueError("a response header holds a line end")
    return head


def render_response(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes | None) -> bytes:
    """Render a whole response, with a content-length when there is a body, also an empty one.

    None stands for the statuses that have none (204, 304). Raises ValueError on a line end in a header.
    """
    if body is None:
        return render_head(status, headers)
    return render_head(status, [*headers, (b"content-length", b"%d" % len(body))]) + body


def chunk(data: bytes) -> bytes:
    """Frame `data` as one chunk. Nothing becomes nothing, since a chunk of no bytes would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
