"""The front door to WebSockets: a client's accepted, an upstream's asked for, each over one of our own streams.

Decides how long a connection lives: as long as the `async with` that `accept` and `connect` return, at whose end it is
closed, politely for a while, then cut, with no task and no socket left behind. How long opening may take it is told:
a scope around the entering would end while the tasks inside go on.

The parts, each with its reasons: the opening handshake (`engine.websocket_handshake`), the frames
(`engine.websocket_frames`), the bytes (`engine.websocket_stream`), the codes (`engine.websocket_codes`), and what goes
on in between (`engine.websocket_socket`). Import the names from here. What messages mean and who may connect is not
known.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from math import inf
from types import TracebackType

import trio

from engine.http1 import Request
from engine.net import Stream
from engine.websocket_codes import INTERNAL_ERROR, NORMAL, sendable
from engine.websocket_handshake import Granted, Refused, answer_of, check_upgrade, offered_subprotocols, open_upgrade
from engine.websocket_socket import DEFAULTS, Closed, Socket, Statistics, Terms

__all__ = [
    "DEFAULTS",
    "Closed",
    "Refused",
    "Socket",
    "Statistics",
    "Terms",
    "accept",
    "check_upgrade",
    "connect",
    "offered_subprotocols",
    "sendable",
]


class _Opening(AbstractAsyncContextManager[Socket]):
    """The life of a `Socket`: opened, its tasks run beside the body, closed.

    A class, not a generator around a nursery: so the body's exceptions pass as they are, in no group.
    """

    __slots__ = ("_masks", "_nursery", "_opening", "_opening_seconds_max", "_socket", "_stream", "_tasks", "_terms")

    def __init__(
        self,
        stream: Stream,
        opening: Callable[[], Awaitable[Granted]],
        *,
        masks: bool,
        terms: Terms,
        opening_seconds_max: float = inf,
    ) -> None:
        self._stream = stream
        self._opening_seconds_max = opening_seconds_max
        self._opening = opening
        self._masks = masks
        self._terms = terms

    async def __aenter__(self) -> Socket:
        try:
            with trio.fail_after(self._opening_seconds_max):
                granted = await self._opening()
        except BaseException:
            self._stream.close()
            raise
        self._tasks = trio.open_nursery()
        self._nursery = await self._tasks.__aenter__()
        self._socket = Socket(self._stream, granted, masks=self._masks, terms=self._terms)
        self._nursery.start_soon(self._socket.run)
        return self._socket

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._socket.close(NORMAL if error is None else INTERNAL_ERROR)
        finally:
            self._stream.close()
            self._nursery.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)


def accept(
    stream: Stream,
    request: Request,
    leftover: bytes = b"",
    *,
    subprotocol: str | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
    terms: Terms = DEFAULTS,
) -> AbstractAsyncContextManager[Socket]:
    """Grant a client's `request` for a WebSocket on `stream`, and own the stream: it is closed at the end, also when
    entering fails. `leftover` is what followed the request.

    Raises at once: ProtocolError as `check_upgrade` does, ValueError for a subprotocol that was not offered. Entering
    raises `engine.net.Broken`. A body that raises closes with 1011.
    """
    check_upgrade(request)
    answer = answer_of(request, subprotocol, headers)

    async def grant() -> Granted:
        await stream.send(answer)
        return Granted(subprotocol, [], leftover)

    return _Opening(stream, grant, masks=False, terms=terms)


def connect(
    stream: Stream,
    *,
    host: str,
    resource: str,
    headers: Iterable[tuple[bytes, bytes]] = (),
    subprotocols: Sequence[str] = (),
    terms: Terms = DEFAULTS,
    opening_seconds_max: float = inf,
) -> AbstractAsyncContextManager[Socket]:
    """Ask the upstream on `stream` for a WebSocket, and own the stream: it is closed at the end, also when entering
    fails. `host` is the Host field, `resource` the path and query.

    Entering raises `Refused`, ProtocolError (502), `engine.net.Broken`, `trio.TooSlowError` after
    `opening_seconds_max`; ValueError for a field that cannot be written.
    """
    opening = partial(open_upgrade, stream, host=host, resource=resource, headers=headers, subprotocols=subprotocols)
    return _Opening(stream, opening, masks=True, terms=terms, opening_seconds_max=opening_seconds_max)
