"""One downstream request and all that happens to it.

An `Exchange` is a record, not an actor: the layers and the relay write into it, and the record layer reads it once, at
the end, whatever happened. Clock readings are trio's (seconds, monotonic). It knows no dialect and does no I/O.
"""

import os
from binascii import hexlify
from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from math import floor

from msgspec import Struct

from adapters.usage import Usage
from engine.http1 import Request
from engine.principal import NOBODY
from engine.routes import Match

REQUEST_ID_LENGTH_MAX = 128
ID_BYTES = 12
IDS_PER_BLOCK = 256


CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left before an answer began; only ever logged, never sent."""


class Outcome(StrEnum):
    """How an exchange ended; the closed set of the access log and the metrics."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    CLIENT_GONE = "client_gone"
    UPSTREAM_ERROR = "upstream_error"
    INCOMPLETE = "incomplete"
    INTERNAL_ERROR = "internal_error"
    REFUSED = "refused"


class AttemptRecord(Struct, eq=False, gc=False):
    """One try of one candidate: for the access log and the metrics, never for decisions."""

    provider: str
    model: str
    kind: str = ""
    status: int | None = None
    cause: str = "cancelled"
    reused: bool = False
    offset_seconds: float = 0.0
    """From the request's start to this attempt's."""
    seconds: float = 0.0
    usage: Usage | None = None
    """What an attempt that lost has cost: nobody is charged for it."""


class Exchange:
    """One request's surface, principal, timings, usage and outcome."""

    __slots__ = (
        "address",
        "amount_nanos",
        "argument",
        "attempts",
        "cost_nanos",
        "drained",
        "hedged",
        "id",
        "model",
        "outcome",
        "principal",
        "provider",
        "request",
        "request_id",
        "started",
        "status",
        "stream",
        "surface",
        "ttft_seconds",
        "upstream_dialect",
        "upstream_model",
        "usage",
    )

    def __init__(self, request: Request, match: Match, started: float, address: str = "") -> None:
        self.request = request
        self.address = address
        self.surface = match.surface
        self.argument = match.argument
        self.started = started
        self.request_id = request_id(request)
        self.id = ""
        """What the ledger and the request log know it by; the request's id is the client's to choose."""
        self.principal = NOBODY
        self.model: str | None = None
        self.provider: str | None = None
        self.upstream_model: str | None = None
        self.upstream_dialect: str | None = None
        self.stream = False
        self.status = 0
        self.ttft_seconds: float | None = None
        self.usage: Usage | None = None
        self.outcome: Outcome | None = None
        self.attempts: list[AttemptRecord] = []
        self.hedged = False
        self.cost_nanos: int | None = None
        """What the answer's upstream asks for it, None when there is no price."""
        self.amount_nanos = 0
        """What was charged for it."""
        self.drained = False
        """Whether its answer is read on although the client is gone; its row of the request log follows then."""

    @property
    def key(self) -> str | None:
        """The id of the key it came with."""
        return self.principal.id

    def __repr__(self) -> str:
        return f"<Exchange {self.request_id.decode()} {self.surface.name} {self.model} status={self.status}>"


def _make_ids() -> Iterator[list[bytes]]:
    """Yield random ids for ever, many at a time: to ask the system for each, and to cut it out, costs more than it."""
    while True:
        digits = hexlify(os.urandom(ID_BYTES * IDS_PER_BLOCK), b" ", ID_BYTES)
        yield (b"req_" + digits.replace(b" ", b" req_")).split(b" ")


_made_ids = chain.from_iterable(_make_ids())
_unsafe = bytes(set(range(256)) - set(range(0x21, 0x7F)))


def fresh_id() -> str:
    """Return digits that no other answer has, for the ids in it."""
    return next(_made_ids)[4:].decode("ascii")


def request_id(request: Request) -> bytes:
    """Keep the client's `x-request-id` when it is short and printable ASCII without spaces; otherwise make one."""
    given = request.get(b"x-request-id")
    if given and len(given) <= REQUEST_ID_LENGTH_MAX and given == given.translate(None, _unsafe):
        return given
    return next(_made_ids)


def milliseconds(seconds: float) -> float:
    """Return a duration as logged: in whole microseconds, cut, which is a third of the price of `round`."""
    return floor(seconds * 1e6) / 1e3
