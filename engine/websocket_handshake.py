"""The opening handshake of a WebSocket, both sides (RFC 6455, section 4): what is asked, granted and refused.

The rules: no extension is offered or granted, so that frames go through as they are. Of the subprotocols a client
offers, one is granted or none; an upstream may grant only what was offered. A field of the handshake is written here
alone. What a key, a model or a subprotocol means is the caller's business, and so is time.

trio-websocket's own handshake is not used: it waits for ever on a connection that ends before the answer, collects the
body of a refusal without a bound, takes an early hint (103) for a refusal, and lets h11's errors out of its reader task
when an upstream's answer is not one of RFC 6455.
"""

import binascii
import contextlib
import os
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha1
from typing import Final, NamedTuple

import trio

from engine import http1
from engine.http1 import ProtocolError, Request, ResponseParser
from engine.http1_grammar import BLANK_LINE, CRLF, FIELD_SECTION, index_fields
from engine.net import Broken, Stream

__all__ = ["VERSION", "Granted", "Refused", "answer_of", "check_upgrade", "offered_subprotocols", "open_upgrade"]

VERSION: Final = b"13"
"""What a refusal with 426 names in `sec-websocket-version` (RFC 6455, section 4.4)."""

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY_BYTES: Final = 16

HEAD_BYTES_MAX: Final = 65536
BODY_BYTES_MAX: Final = 65536
BODY_SECONDS_MAX: Final = 2.0
"""What is read of a refusal's body, and for how long: it is an error, not a download."""

OURS: Final = frozenset(
    {
        *(b"host", b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-accept"),
        *(b"sec-websocket-protocol", b"sec-websocket-extensions", b"content-length", b"transfer-encoding"),
    }
)
"""Fields of the handshake itself, and of a body that it does not have."""

Headers = Iterable[tuple[bytes, bytes]]


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """The upstream answered the handshake with a status. `body` is its beginning, at most `BODY_BYTES_MAX`."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class Granted(NamedTuple):
    """What the upstream granted; `leftover` is what came behind its answer: the first frames."""

    subprotocol: str | None
    headers: list[tuple[bytes, bytes]]
    leftover: bytes


def check_upgrade(request: Request) -> None:
    """Raise ProtocolError (400, or 426 for another version) unless `request` is a client's opening handshake."""
    upgrade = request.get(b"upgrade") or b""
    if request.method != "GET" or request.version != "1.1" or request.body:
        raise ProtocolError(400, "A WebSocket is asked for by a GET request of HTTP/1.1 without a body.")
    if not request.upgrade or b"websocket" not in _options(upgrade):
        raise ProtocolError(426, "This is a WebSocket: ask for it with the fields Connection and Upgrade.")
    if request.get(b"sec-websocket-version") != VERSION:
        raise ProtocolError(426, "The version of the WebSocket protocol is 13.")
    try:
        key = binascii.a2b_base64(request.get(b"sec-websocket-key") or b"", strict_mode=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ProtocolError(400, "Sec-WebSocket-Key is not 16 bytes in base64.")


def offered_subprotocols(request: Request) -> tuple[str, ...]:
    """Return the subprotocols a client offers, in its order. One may be a secret: never show them."""
    offered = (request.get(b"sec-websocket-protocol") or b"").split(b",")
    return tuple(token.decode("latin-1") for item in offered if (token := item.strip()))


def answer_of(request: Request, subprotocol: str | None, headers: Headers) -> bytes:
    """Return the answer that grants a checked `request`. Raises ValueError on a subprotocol that was not offered, or a
    header that is the handshake's own.
    """
    if subprotocol is not None and subprotocol not in offered_subprotocols(request):
        raise ValueError("the subprotocol was not offered")
    fields = [
        (b"upgrade", b"websocket"),
        (b"connection", b"upgrade"),
        (b"sec-websocket-accept", _accepting(request.get(b"sec-websocket-key") or b"")),
    ]
    if subprotocol is not None:
        fields.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
    return http1.render_head(101, [*fields, *_foreign(headers)])


async def open_upgrade(
    stream: Stream, *, host: str, resource: str, headers: Headers, subprotocols: Sequence[str] = ()
) -> Granted:
    """Ask the upstream on `stream` for a WebSocket and return what it granted.

    Raises `Refused` when it answers with a status, ProtocolError (502) when its answer is none of RFC 6455, `Broken`
    when the connection ended before the answer.
    """
    key = b64encode(os.urandom(KEY_BYTES))
    fields = [
        (b"host", host.encode("ascii")),
        (b"upgrade", b"websocket"),
        (b"connection", b"upgrade"),
        (b"sec-websocket-key", key),
        (b"sec-websocket-version", VERSION),
    ]
    if subprotocols:
        fields.append((b"sec-websocket-protocol", ", ".join(subprotocols).encode("ascii")))
    fields += _foreign(headers)
    lines = [b"GET %b HTTP/1.1" % resource.encode("ascii"), *map(b": ".join, fields), b"", b""]
    message = CRLF.join(lines)
    if len(message.splitlines()) != len(lines) - 1:
        raise ValueError("a field of the handshake holds a line end")
    await stream.send(message)
    data = b""
    while True:
        end = data.find(BLANK_LINE)
        if end >= 0 and not data.startswith((b"HTTP/1.1 100", b"HTTP/1.1 102", b"HTTP/1.1 103")):
            break
        if end >= 0:
            data = data[end + 4 :]
            continue
        if len(data) > HEAD_BYTES_MAX:
            raise ProtocolError(502, "The upstream's head is too large.")
        more = await stream.receive()
        if not more:
            raise Broken("closed", "the upstream closed before it answered the handshake")
        data += more
    if not data.startswith(b"HTTP/1.1 101"):
        raise await _refusal(stream, data)
    subprotocol, answered = _check_answer(data[: end + 4], key, subprotocols)
    return Granted(subprotocol, answered, data[end + 4 :])


async def _refusal(stream: Stream, data: bytes) -> Refused:
    """Read the status, and of the body as much as there is and is wanted. Raises ProtocolError."""
    parser = ResponseParser(head_bytes_max=HEAD_BYTES_MAX)
    body = parser.feed(data)
    assert parser.status is not None, "the head was whole"
    # The status is what counts: a body that breaks off or does not end takes nothing from it.
    with contextlib.suppress(Broken, ProtocolError), trio.move_on_after(BODY_SECONDS_MAX):
        while not parser.complete and len(body) < BODY_BYTES_MAX and (more := await stream.receive()):
            body += parser.feed(more)
    return Refused(parser.status, parser.headers, body[:BODY_BYTES_MAX])


def _check_answer(head: bytes, key: bytes, subprotocols: Sequence[str]) -> tuple[str | None, list[tuple[bytes, bytes]]]:
    """Check an answer with status 101 as RFC 6455 section 4.1 asks; return the subprotocol and the other fields."""
    _, _, section = head.partition(CRLF)
    if not FIELD_SECTION.fullmatch(section):
        raise ProtocolError(502, "The upstream's head is malformed.")
    fields = [
        (name.lower(), value.strip())
        for name, _, value in (line.partition(b":") for line in section.removesuffix(BLANK_LINE).split(CRLF))
    ]
    index = index_fields(fields, len(fields))
    if b"websocket" not in _options(index.get(b"upgrade", b"")) or b"upgrade" not in _options(
        index.get(b"connection", b"")
    ):
        raise ProtocolError(502, "The upstream changed to a protocol that was not asked for.")
    if index.get(b"sec-websocket-accept") != _accepting(key):
        raise ProtocolError(502, "The upstream's Sec-WebSocket-Accept does not answer the key.")
    if index.get(b"sec-websocket-extensions"):
        raise ProtocolError(502, "The upstream uses an extension that was not offered.")
    granted = index.get(b"sec-websocket-protocol")
    subprotocol = None if granted is None else granted.decode("latin-1")
    if subprotocol is not None and subprotocol not in subprotocols:
        raise ProtocolError(502, "The upstream chose a subprotocol that was not offered.")
    return subprotocol, [field for field in fields if field[0] not in OURS]


def _foreign(headers: Headers) -> list[tuple[bytes, bytes]]:
    fields = list(headers)
    if any(name.lower() in OURS for name, _ in fields):
        raise ValueError("a header is one of the handshake's own")
    return fields


def _accepting(key: bytes) -> bytes:
    return b64encode(sha1(key + GUID, usedforsecurity=False).digest())


def _options(value: bytes) -> list[bytes]:
    return [option.strip() for option in value.lower().split(b",")]
