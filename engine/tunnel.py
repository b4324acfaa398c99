"""One request handed to the console process, and bytes both ways until it is answered.

The console listens on a Unix socket that only workers can reach, so it believes what they say: this module decides what
that is. Hop-by-hop fields and everything a client could use to pose as somebody else (`x-forwarded-*`, `forwarded`,
`x-real-ip`, `x-request-id`) are taken out and set anew. A request goes out with `connection: close`: one request, one
console connection, and afterwards the caller closes the client's.

What a client sends after its request could be another request, with its own `x-forwarded-*`. So it is forwarded only
once the console has switched protocols (101), and only `websocket` may be asked for: with `h2c` it would be HTTP again.

Nothing else is parsed. Memory is one read per direction; a slow reader stops the other side's reading. What the
console serves is not known here.
"""

import contextlib
import math
import os
from binascii import hexlify
from typing import NamedTuple

import msgspec
import trio

from engine.http1 import Request, render_response
from engine.net import Broken, Stream

RECEIVE_BYTES_MAX = 65536

SILENCE_SECONDS_MAX = 120.0
"""How long a request may go without a byte of its answer; not a switched one, whose two ends ping each other."""

CONNECT_SECONDS_MAX = 5.0
"""A Unix socket answers at once unless the console's backlog is full."""

DISCARD_BYTES_MAX = 1 << 20
RETRY_SECONDS = 2
"""What a 503 tells the client: about the time in which the supervisor starts a dead console again."""

OURS = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"http2-settings", b"expect", b"content-length", b"forwarded", b"x-real-ip", b"x-request-id"),
    }
)
"""Fields that never pass: hop-by-hop (RFC 9110 section 7.6.1), framing (the body is whole), claims about the client."""

FORWARDED = b"x-forwarded-"
SWITCHED = b"HTTP/1.1 101 "


class Visitor(NamedTuple):
    """What the console is told about the client: facts of the connection, not claims of the request."""

    address: str
    secure: bool
    request_id: bytes


async def tunnel(
    downstream: Stream,
    request: Request,
    leftover: bytes,
    *,
    socket_path: str,
    client_address: str,
    secure: bool,
    request_id: bytes | None = None,
) -> None:
    """Forward one request (body whole) to the console at `socket_path` and relay until either end is through.

    `leftover` is what followed the head of an upgrade request. Answers 503 itself when the console cannot be reached or
    closes without a byte. Afterwards, also when cancelled, the console connection is closed and the caller must close
    `downstream`: after a half answer that is how the client learns of it. Raises nothing when either connection fails.
    """
    upgraded = is_websocket(request)
    visitor = Visitor(client_address, secure, request_id or b"req_" + hexlify(os.urandom(12)))
    try:
        with trio.fail_after(CONNECT_SECONDS_MAX):
            console = await trio.open_unix_socket(socket_path)
    except (OSError, trio.TooSlowError):
        await answer_unavailable(downstream, request)
        return
    relay = _Relay(downstream, console)
    try:
        message = render_request(request, visitor, upgraded=upgraded) + request.body
        await (relay.run_upgraded(message, leftover) if upgraded else relay.run(message))
    finally:
        await trio.aclose_forcefully(console)
    if not relay.answered:
        await answer_unavailable(downstream, request)


class _Relay:
    """Two directions between one client and one console connection; the console's end ends both."""

    __slots__ = ("answered", "console", "downstream", "scope", "seconds_max")

    def __init__(self, downstream: Stream, console: trio.SocketStream) -> None:
        self.downstream = downstream
        self.console = console
        self.seconds_max = SILENCE_SECONDS_MAX
        self.scope = trio.CancelScope()
        self.answered = False
        """Whether a byte went to the client, after which nothing but the console's own bytes may."""

    async def run(self, message: bytes) -> None:
        """Send `message` and relay the answer until the console closes, the client breaks, or there is silence."""
        with self.scope:
            self._heard()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._drain_client)
                await self._to_console(message)
                await self._from_console(b"")
                nursery.cancel_scope.cancel()

    async def run_upgraded(self, message: bytes, leftover: bytes) -> None:
        """As `run`, and once the console has switched protocols, `leftover` and all that the client sends go to it."""
        with self.scope:
            self._heard()
            async with trio.open_nursery() as nursery:
                await self._to_console(message)
                answer = b""
                while len(answer) < len(SWITCHED) and (data := await self._receive_from_console()):
                    answer += data
                if answer.startswith(SWITCHED):
                    self.seconds_max = math.inf
                    await self._to_console(leftover)
                    nursery.start_soon(self._from_client)
                else:
                    nursery.start_soon(self._drain_client)
                await self._from_console(answer)
                nursery.cancel_scope.cancel()

    async def _from_console(self, data: bytes) -> None:
        """Relay what the console says, `data` first, to its end or the client's."""
        try:
            while data or (data := await self._receive_from_console()):
                self._heard()
                self.answered = True
                await self.downstream.send(data)
                data = b""
        except Broken:
            return

    async def _receive_from_console(self) -> bytes:
        try:
            return bytes(await self.console.receive_some(RECEIVE_BYTES_MAX))
        except trio.BrokenResourceError:
            return b""

    async def _from_client(self) -> None:
        while data := await self._receive():
            self._heard()
            await self._to_console(data)
        # The client has said everything and may still listen.
        with contextlib.suppress(trio.BrokenResourceError):
            await self.console.send_eof()

    async def _drain_client(self) -> None:
        """Watch for a broken connection; what a client sends after its request is lost, since the connection closes.

        It is read nevertheless, up to a bound: closing with unread bytes resets the connection, and the reset can
        overtake the answer. A client that only closed its sending half still gets its answer, and the console is not
        told: it would take that for a client that is gone.
        """
        length = 0
        while length < DISCARD_BYTES_MAX and (data := await self._receive()):
            length += len(data)

    async def _receive(self) -> bytes:
        try:
            return await self.downstream.receive(RECEIVE_BYTES_MAX)
        except Broken:
            self.scope.cancel()
            return b""

    async def _to_console(self, data: bytes) -> None:
        # A console that closed early may have answered before it did (413): the reading side finds out.
        with contextlib.suppress(trio.BrokenResourceError):
            await self.console.send_all(data)

    def _heard(self) -> None:
        self.scope.deadline = trio.current_time() + self.seconds_max


def is_websocket(request: Request) -> bool:
    """Whether the request asks for a WebSocket and nothing else."""
    upgrade = request.get(b"upgrade")
    return request.upgrade and upgrade is not None and upgrade.strip().lower() == b"websocket"


def render_request(request: Request, visitor: Visitor, *, upgraded: bool) -> bytes:
    """Return the head of `request` as the console gets it."""
    named = {token.strip().lower() for token in (request.get(b"connection") or b"").split(b",")}
    host = request.get(b"host")
    target = request.path + b"?" + request.query if request.query else request.path
    lines = [request.method.encode() + b" " + target + b" HTTP/" + request.version.encode()]
    if host is not None:
        lines += [b"host: " + host, b"x-forwarded-host: " + host]
    lines += [
        name + b": " + value
        for name, value in request.headers
        if name not in OURS and name not in named and name != b"host" and not name.startswith(FORWARDED)
    ]
    lines += [
        b"x-forwarded-for: " + visitor.address.encode(),
        b"x-forwarded-proto: " + (b"https" if visitor.secure else b"http"),
        b"x-request-id: " + visitor.request_id,
    ]
    if request.body or request.get(b"content-length") is not None or request.get(b"transfer-encoding") is not None:
        lines.append(b"content-length: %d" % len(request.body))
    # An upgrade that is refused is an answered request like any other: the console is to close after it.
    lines += [b"connection: upgrade, close", b"upgrade: websocket"] if upgraded else [b"connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n"


UNAVAILABLE = "The gateway's pages are not available at this moment; its API is not affected."


async def answer_unavailable(downstream: Stream, request: Request) -> None:
    """Answer 503 in the form the client reads; a client that is gone is no failure."""
    if b"text/html" in (request.get(b"accept") or b""):
        title = b"<!doctype html><html lang=en><meta charset=utf-8><title>Hedgerow</title>"
        content_type, body = b"text/html; charset=utf-8", title + b"<p>" + UNAVAILABLE.encode() + b"</p></html>\n"
    else:
        error = {"message": UNAVAILABLE, "type": "server_error", "param": None, "code": "console_unavailable"}
        content_type, body = b"application/json", msgspec.json.encode({"error": error})
    headers = [
        (b"content-type", content_type),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"%d" % RETRY_SECONDS),
        (b"connection", b"close"),
    ]
    message = render_response(503, headers, body)
    if request.method == "HEAD":
        message = message[: len(message) - len(body)]
    with contextlib.suppress(Broken), trio.move_on_after(SILENCE_SECONDS_MAX):
        await downstream.send(message)
