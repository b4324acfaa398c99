"""What both directions of HTTP/1.1 share: the grammar of a head's lines, and the one error.

llhttp parses heads; this file holds the rules we check ourselves, because llhttp is lenient there, because a status
must be chosen, or because a second lock on message framing is cheap. The rule: every decision is taken on the bytes (or
on which parser refused them), never on the text of somebody's exception. It knows nothing of connections or of time.

Grammar: RFC 9110 section 5 (fields), RFC 9112 sections 2 to 7 (lines, framing).
"""

import re
from collections.abc import Iterable
from typing import Final

__all__ = [
    "BLANK_LINE",
    "CRLF",
    "FIELD_SECTION",
    "TOKEN",
    "FieldLines",
    "ProtocolError",
    "connection_options",
    "index_fields",
    "stays_open",
    "stray_bytes",
]

CRLF: Final = b"\r\n"
BLANK_LINE: Final = b"\r\n\r\n"

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"

FIELD_SECTION: Final = re.compile(rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")
"""A whole field section with its blank line: no obs-fold, no space before the colon, no control character."""

_TEXT: Final = b"\t\r\n" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))


class ProtocolError(Exception):
    """The peer broke HTTP/1.1 or a limit; nothing it sends on this connection can be trusted any more.

    `status` is the answer it asks for: for a request what the client gets (400, 413, 414, 417, 431, 501, 505), for an
    upstream's response 502. `message` is one constant English sentence without any byte of the peer's in it.
    """

    __slots__ = ("message", "status")

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"


class FieldLines:
    """What llhttp calls back while it parses a head: collects `fields`, names lower-cased.

    llhttp keeps the white space behind a value, which is not part of it (RFC 9112 section 5.1).
    """

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field line; llhttp calls this for trailers, too."""
        self.fields.append((name.lower(), value.rstrip()))


def stray_bytes(data: bytes) -> bool:
    """Tell whether `data` holds a control character, or a CR or LF outside of a CRLF pair.

    RFC 9112 section 2.2 allows a recipient to take a bare LF for a line end. We do not: a proxy in front of us may
    disagree, and then so do our ideas of where a request ends. The caller cuts off a CR whose LF is still to come.
    """
    lines = data.count(CRLF)
    return data.count(b"\r") != lines or data.count(b"\n") != lines or bool(data.translate(None, _TEXT))


def index_fields(fields: Iterable[tuple[bytes, bytes]], count: int) -> dict[bytes, bytes]:
    """Map each name to its value, the values of a repeated name joined by a comma (RFC 9110 section 5.3).

    `count` is the number of fields. The joining is also how repeated framing fields get caught: `5, 5` is no
    Content-Length and `a, b` no Host, while `gzip, chunked` is just what two Transfer-Encoding lines mean.
    """
    index = dict(fields)
    if len(index) == count:
        return index
    joined: dict[bytes, bytes] = {}
    for name, value in fields:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


def stays_open(version: bytes, connection: bytes | None) -> bool:
    """Tell whether the connection outlives a message with this Connection field: RFC 9112 section 9.3, close wins."""
    if connection is None or connection == b"keep-alive":
        return connection is not None or version == b"1.1"
    options = connection_options(connection)
    return b"close" not in options and (version == b"1.1" or b"keep-alive" in options)


def connection_options(connection: bytes) -> list[bytes]:
    """Split the value of a Connection field into its lower-cased options."""
    return [option.strip() for option in connection.lower().split(b",")]
