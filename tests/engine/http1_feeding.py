"""How the HTTP/1.1 tests drive the parsers: one way in, comparable outcomes out, and how bytes are cut into reads."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from engine.http1 import ProtocolError, Request, RequestParser, ResponseParser


class Limits(NamedTuple):
    head_bytes_max: int = 2048
    headers_max: int = 50
    target_bytes_max: int = 512
    body_bytes_max: int = 65536


LIMITS = Limits()


class Seen(NamedTuple):
    """What matters of a request."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    version: str
    keep_alive: bool
    upgrade: bool
    expect_continue: bool


class Outcome(NamedTuple):
    """The requests that came out, and how it ended: a status, or None while the parser is still willing."""

    requests: list[Seen]
    refused: int | None


class Answer(NamedTuple):
    """What came out of a response parser; `refused` tells whether it raised."""

    status: int | None
    headers: list[tuple[bytes, bytes]]
    body: bytes
    complete: bool
    reusable: bool
    refused: bool


def see(request: Request) -> Seen:
    return Seen(
        request.method,
        request.target,
        request.headers,
        request.body,
        request.version,
        request.keep_alive,
        request.upgrade,
        request.expect_continue,
    )


def serve(pieces: Iterable[bytes], limits: Limits = LIMITS) -> Outcome:
    """Feed `pieces` as a connection would: ask for requests after each, and stop at the first refusal."""
    parser = RequestParser(limits)
    requests: list[Seen] = []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (request := parser.pop()) is not None:
                requests.append(see(request))
    except ProtocolError as error:
        return Outcome(requests, error.status)
    return Outcome(requests, None)


def listen(pieces: Iterable[bytes], *, closed: bool = False, no_body: bool = False) -> Answer:
    """Feed `pieces` to a response parser, then the end of the connection when `closed`."""
    parser = ResponseParser(head_bytes_max=LIMITS.head_bytes_max, no_body=no_body)
    body = b""
    refused = False
    try:
        for piece in pieces:
            body += parser.feed(piece)
        if closed:
            parser.eof()
    except ProtocolError:
        refused = True
    return Answer(parser.status, parser.headers, body, parser.complete, parser.reusable, refused)


def bytewise(message: bytes) -> list[bytes]:
    return [message[i : i + 1] for i in range(len(message))]


def cuts(message: bytes) -> Iterator[list[bytes]]:
    """Every way to receive `message` in two reads, in one, and byte by byte."""
    yield [message]
    yield bytewise(message)
    for i in range(1, len(message)):
        yield [message[:i], message[i:]]


def cut_at(message: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut `message` at `places`, taken modulo its length."""
    edges = sorted({place % (len(message) + 1) for place in places} | {0, len(message)})
    return [message[start:end] for start, end in pairwise(edges)]
