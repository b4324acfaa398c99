"""The tunnel to the console: what it tells, what it withholds, and how both directions end."""

import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import h11
import msgspec
import pytest
import trio
import trio.testing
import wsproto
from hypercorn.config import Config
from hypercorn.trio import serve as serve_app
from quart import websocket
from quart_trio import QuartTrio
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, TextMessage
from wsproto.events import Request as WebSocketRequest

from engine import tunnel as tunnel_module
from engine.config import Limits
from engine.http1 import Request, RequestParser
from engine.net import Stream
from engine.tunnel import Visitor, is_websocket, render_request, tunnel

VISITOR = Visitor("192.0.2.7", secure=False, request_id=b"req_test")
Handler = Callable[[trio.SocketStream], Awaitable[None]]


def parsed(raw: bytes) -> tuple[Request, bytes]:
    parser = RequestParser(Limits())
    parser.feed(raw)
    request = parser.pop()
    assert request is not None
    return request, parser.leftover


def get(*headers: bytes, method: bytes = b"GET", target: bytes = b"/") -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"host: gateway.test", *headers, b"", b""])


WEBSOCKET = (
    *(b"connection: Upgrade", b"upgrade: WebSocket", b"sec-websocket-version: 13"),
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)


@dataclass
class Console:
    """A console that does what a handler says on a Unix socket, and how often it was asked."""

    path: str
    asked: int = 0
    heads: list[bytes] = field(default_factory=list)


async def serve_console(
    path: Path, handler: Handler, *, task_status: trio.TaskStatus[Console] = trio.TASK_STATUS_IGNORED
) -> None:
    console = Console(str(path))
    sock = trio.socket.socket(socket.AF_UNIX)
    await sock.bind(str(path))
    sock.listen()

    async def serve(stream: trio.SocketStream) -> None:
        console.asked += 1
        async with stream:
            await handler(stream)

    task_status.started(console)
    await trio.serve_listeners(serve, [trio.SocketListener(sock)])


async def read_until(stream: trio.SocketStream, marker: bytes) -> bytes:
    received = b""
    while marker not in received:
        data = await stream.receive_some()
        assert data, f"ended after {received!r}"
        received += data
    return received


async def read_all(stream: trio.SocketStream) -> bytes:
    received = b""
    while data := await stream.receive_some():
        received += data
    return received


def connection() -> tuple[Stream, trio.SocketStream]:
    """The worker's end and the client's end of one client connection."""
    ours, theirs = socket.socketpair()
    return Stream(ours), trio.SocketStream(trio.socket.from_stdlib_socket(theirs))


async def run_tunnel(raw: bytes, stream: Stream, path: str, *, secure: bool = False) -> None:
    """What the worker does: tunnel, then close."""
    request, leftover = parsed(raw)
    try:
        await tunnel(
            stream,
            request,
            leftover,
            socket_path=path,
            client_address="192.0.2.7",
            secure=secure,
            request_id=b"req_test",
        )
    finally:
        stream.close()


@pytest.fixture
async def client() -> AsyncIterator[tuple[Stream, trio.SocketStream]]:
    ours, theirs = connection()
    yield ours, theirs
    ours.close()
    await theirs.aclose()


def head_fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of a rendered head, as h11 understands them."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(head)
    event = server.next_event()
    assert isinstance(event, h11.Request)
    return list(event.headers)


# -- the head ----------------------------------------------------------------------------------------------------------


def test_the_console_hears_facts_of_the_connection_not_claims_of_the_client() -> None:
    request, _ = parsed(
        get(
            b"x-forwarded-for: 10.0.0.1",
            b"X-Forwarded-Proto: https",
            b"x-forwarded-host: evil.test",
            b"x-forwarded-user: root",
            b"forwarded: for=10.0.0.1;host=evil.test",
            b"x-real-ip: 10.0.0.1",
            b"x-request-id: chosen",
            b"accept: text/html",
            b"cookie: a=b",
        )
    )
    assert head_fields(render_request(request, VISITOR, upgraded=False)) == [
        (b"host", b"gateway.test"),
        (b"x-forwarded-host", b"gateway.test"),
        (b"accept", b"text/html"),
        (b"cookie", b"a=b"),
        (b"x-forwarded-for", b"192.0.2.7"),
        (b"x-forwarded-proto", b"http"),
        (b"x-request-id", b"req_test"),
        (b"connection", b"close"),
    ]


def test_hop_by_hop_fields_stay_on_their_hop() -> None:
    request, _ = parsed(
        get(
            b"connection: keep-alive, X-Mine",
            b"keep-alive: 5",
            b"x-mine: 1",
            b"te: trailers",
            b"proxy-connection: close",
        )
    )
    names = [name for name, _ in head_fields(render_request(request, VISITOR, upgraded=False))]
    assert names == [
        b"host",
        b"x-forwarded-host",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-request-id",
        b"connection",
    ]


def test_a_chunked_body_goes_on_with_its_length() -> None:
    raw = get(b"transfer-encoding: chunked", b"expect: 100-continue", method=b"POST") + b"5\r\nhello\r\n0\r\n\r\n"
    request, _ = parsed(raw)
    fields = dict(head_fields(render_request(request, VISITOR, upgraded=False)))
    assert fields[b"content-length"] == b"5"
    assert b"transfer-encoding" not in fields
    assert b"expect" not in fields


def test_an_absolute_target_is_reduced_and_its_host_wins() -> None:
    request, _ = parsed(get(target=b"http://real.test:8080/a%20b?c=d"))
    head = render_request(request, VISITOR, upgraded=False)
    assert head.startswith(b"GET /a%20b?c=d HTTP/1.1\r\n")
    assert dict(head_fields(head))[b"x-forwarded-host"] == b"real.test:8080"


def test_tls_is_told() -> None:
    request, _ = parsed(get())
    fields = dict(head_fields(render_request(request, VISITOR._replace(secure=True), upgraded=False)))
    assert fields[b"x-forwarded-proto"] == b"https"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (WEBSOCKET, True),
        ((b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABk"), False),
        ((b"connection: Upgrade", b"upgrade: websocket, h2c"), False),
        ((b"upgrade: websocket",), False),
        ((), False),
    ],
)
def test_only_a_websocket_is_an_upgrade(headers: tuple[bytes, ...], expected: bool) -> None:
    request, _ = parsed(get(*headers))
    assert is_websocket(request) is expected
    fields = dict(head_fields(render_request(request, VISITOR, upgraded=is_websocket(request))))
    assert (b"upgrade" in fields) is expected
    assert b"http2-settings" not in fields


# -- plain requests ----------------------------------------------------------------------------------------------------

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"


async def test_a_request_and_its_body_go_there_and_the_answer_comes_back(
    nursery: trio.Nursery, tmp_path: Path, client: tuple[Stream, trio.SocketStream]
) -> None:
    body = os.urandom(1 << 20)
    received: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        received.append(await read_until(stream, body[-64:]))
        await stream.send_all(ANSWER)

    console = await nursery.start(serve_console, tmp_path / "c", answer)
    raw = get(b"content-length: %d" % len(body), method=b"POST") + body
    nursery.start_soon(run_tunnel, raw, client[0], console.path)
    assert await read_all(client[1]) == ANSWER
    head, _, received_body = received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert received_body == body
    nursery.cancel_scope.cancel()


async def test_a_client_that_closed_its_sending_half_still_gets_its_answer(
    nursery: trio.Nursery, tmp_path: Path, client: tuple[Stream, trio.SocketStream]
) -> None:
    asked, go = trio.Event(), trio.Event()

    async def answer(stream: trio.SocketStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        asked.set()
        await go.wait()
        await stream.send_all(ANSWER)

    console = await nursery.start(serve_console, tmp_path / "c", answer)
    await client[1].send_eof()
    nursery.start_soon(run_tunnel, get(), client[0], console.path)
    await asked.wait()
    await trio.testing.wait_all_tasks_blocked()
    go.set()
    assert await read_all(client[1]) == ANSWER
    nursery.cancel_scope.cancel()


async def test_what_follows_a_request_does_not_reach_the_console(
    nursery: trio.Nursery, tmp_path: Path, client: tuple[Stream, trio.SocketStream]
) -> None:
    received: list[bytes] = []
    go = trio.Event()

    async def answer(stream: trio.SocketStream) -> None:
        received.append(await read_until(stream, b"\r\n\r\n"))
        await go.wait()
        await stream.send_all(ANSWER)
        await stream.send_eof()
        received.append(await read_all(stream))

    console = await nursery.start(serve_console, tmp_path / "c", answer)
    smuggled = get(b"x-forwarded-for: 127.0.0.1", target=b"/admin")
    nursery.start_soon(run_tunnel, get() + smuggled, client[0], console.path)
    await client[1].send_all(smuggled)
    await trio.testing.wait_all_tasks_blocked()
    go.set()
    assert await read_all(client[1]) == ANSWER
    await trio.testing.wait_all_tasks_blocked()
    assert b"admin" not in b"".join(received)
    assert console.asked == 1
    nursery.cancel_scope.cancel()


async def test_a_client_that_resets_frees_the_console(tmp_path: Path) -> None:
    ended = trio.Event()

    async def silent(stream: trio.SocketStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        assert await read_all(stream) == b""
        ended.set()

    async with trio.open_nursery() as nursery:
        console = await nursery.start(serve_console, tmp_path / "c", silent)
        listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
        theirs = await trio.open_tcp_stream(*listener[0].socket.getsockname())
        accepted = await listener[0].accept()
        ours = Stream(socket.socket(fileno=accepted.socket.detach()))
        nursery.start_soon(run_tunnel, get(), ours, console.path)
        await trio.testing.wait_all_tasks_blocked()
        theirs.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        theirs.socket.close()
        await ended.wait()
        await listener[0].aclose()
        nursery.cancel_scope.cancel()


async def test_a_slow_client_stops_the_console(
    nursery: trio.Nursery, tmp_path: Path, client: tuple[Stream, trio.SocketStream]
) -> None:
    length = 32 << 20
    sent = 0

    async def answer(stream: trio.SocketStream) -> None:
        nonlocal sent
        await read_until(stream, b"\r\n\r\n")
        piece = bytes(1 << 16)
        while sent < length:
            await stream.send_all(piece)
            sent += len(piece)

    console = await nursery.start(serve_console, tmp_path / "c", answer)
    nursery.start_soon(run_tunnel, get(), client[0], console.path)
    await trio.testing.wait_all_tasks_blocked(cushion=0.05)
    assert sent < 4 << 20
    received = 0
    while data := await client[1].receive_some():
        received += len(data)
    assert received == length
    nursery.cancel_scope.cancel()


async def test_a_console_that_dies_in_the_middle_ends_the_answer_there(
    nursery: trio.Nursery, tmp_path: Path, client: tuple[Stream, trio.SocketStream]
) -> None:
    async def die(stream: trio.SocketStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send_all(ANSWER[:-2])

    console = await nursery.start(serve_console, tmp_path / "c", die)
    nursery.start_soon(run_tunnel, get(), client[0], console.path)
    assert await read_all(client[1]) == ANSWER[:-2]
    nursery.cancel_scope.cancel()


# -- no console --------------------------------------------------------------------------------------------------------


def response_of(raw: bytes, *, method: bytes = b"GET") -> tuple[int, dict[bytes, bytes], bytes]:
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(raw)
    reader.receive_data(b"")
    head = reader.next_event()
    assert isinstance(head, h11.Response)
    body = b""
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += event.data
    return head.status_code, dict(head.headers), body


async def missing(path: Path) -> None:
    """No socket at all: the console has not started."""


async def dead(path: Path) -> None:
    """A socket whose process is gone."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize("absence", [missing, dead])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_without_a_console_a_program_gets_the_json_envelope(
    nursery: trio.Nursery,
    tmp_path: Path,
    client: tuple[Stream, trio.SocketStream],
    absence: Callable[[Path], Awaitable[None]],
    method: bytes,
) -> None:
    await absence(tmp_path / "c")
    nursery.start_soon(run_tunnel, get(b"accept: */*", method=method), client[0], str(tmp_path / "c"))
    status, headers, body = response_of(await read_all(client[1]), method=method)
    assert status == 503
    assert headers[b"retry-after"] == b"2"
    assert headers[b"connection"] == b"close"
    if method == b"HEAD":
        assert body == b""
    else:
        assert msgspec.json.decode(body)["error"]["code"] == "console_unavailable"


async def test_without_a_console_a_browser_gets_a_page(
    nursery: trio.Nursery, tmp_path: Path, client: tuple[Stream, trio.SocketStream]
) -> None:
    raw = get(b"accept: text/html,application/xhtml+xml")
    nursery.start_soon(run_tunnel, raw, client[0], str(tmp_path / "c"))
    status, headers, body = response_of(await read_all(client[1]))
    assert status == 503
    assert headers[b"content-type"].startswith(b"text/html")
    assert body.startswith(b"<!doctype html>")


async def test_a_console_that_closes_without_a_word_is_no_console(
    nursery: trio.Nursery, tmp_path: Path, client: tuple[Stream, trio.SocketStream]
) -> None:
    async def close(stream: trio.SocketStream) -> None:
        await read_until(stream, b"\r\n\r\n")

    console = await nursery.start(serve_console, tmp_path / "c", close)
    nursery.start_soon(run_tunnel, get(), client[0], console.path)
    assert response_of(await read_all(client[1]))[0] == 503
    nursery.cancel_scope.cancel()


async def test_a_console_that_says_nothing_is_given_up(
    nursery: trio.Nursery,
    tmp_path: Path,
    client: tuple[Stream, trio.SocketStream],
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await read_all(stream)

    console = await nursery.start(serve_console, tmp_path / "c", silent)
    start = trio.current_time()
    nursery.start_soon(run_tunnel, get(), client[0], console.path)
    assert response_of(await read_all(client[1]))[0] == 503
    assert trio.current_time() - start == pytest.approx(tunnel_module.SILENCE_SECONDS_MAX)
    nursery.cancel_scope.cancel()


async def test_a_cancelled_tunnel_lets_go_of_the_console(
    nursery: trio.Nursery, tmp_path: Path, client: tuple[Stream, trio.SocketStream]
) -> None:
    asked, ended = trio.Event(), trio.Event()

    async def silent(stream: trio.SocketStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        asked.set()
        await read_all(stream)
        ended.set()

    console = await nursery.start(serve_console, tmp_path / "c", silent)
    async with trio.open_nursery() as worker:
        worker.start_soon(run_tunnel, get(), client[0], console.path)
        await asked.wait()
        worker.cancel_scope.cancel()
    await ended.wait()
    nursery.cancel_scope.cancel()


# -- WebSockets --------------------------------------------------------------------------------------------------------

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


async def test_after_101_bytes_pass_both_ways_and_the_clients_end_is_passed_on(
    nursery: trio.Nursery, tmp_path: Path, client: tuple[Stream, trio.SocketStream]
) -> None:
    async def echo(stream: trio.SocketStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send_all(SWITCHING[:20])
        await stream.send_all(SWITCHING[20:])
        while data := await stream.receive_some():
            await stream.send_all(data.upper())
        await stream.send_all(b"END")

    console = await nursery.start(serve_console, tmp_path / "c", echo)
    nursery.start_soon(run_tunnel, get(*WEBSOCKET) + b"early", client[0], console.path)
    assert await read_until(client[1], b"EARLY") == SWITCHING + b"EARLY"
    await client[1].send_all(b"late")
    assert await read_until(client[1], b"LATE") == b"LATE"
    await client[1].send_eof()
    assert await read_all(client[1]) == b"END"
    nursery.cancel_scope.cancel()


async def test_an_open_websocket_may_be_silent_for_hours(
    nursery: trio.Nursery,
    tmp_path: Path,
    client: tuple[Stream, trio.SocketStream],
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def late(stream: trio.SocketStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send_all(SWITCHING)
        await trio.sleep(4 * 3600)
        await stream.send_all(b"still there")

    console = await nursery.start(serve_console, tmp_path / "c", late)
    nursery.start_soon(run_tunnel, get(*WEBSOCKET), client[0], console.path)
    assert await read_all(client[1]) == SWITCHING + b"still there"
    nursery.cancel_scope.cancel()


async def test_a_refused_upgrade_does_not_open_the_way_to_the_console(
    nursery: trio.Nursery, tmp_path: Path, client: tuple[Stream, trio.SocketStream]
) -> None:
    received: list[bytes] = []
    go = trio.Event()

    async def refuse(stream: trio.SocketStream) -> None:
        received.append(await read_until(stream, b"\r\n\r\n"))
        await stream.send_all(ANSWER)
        await go.wait()
        await stream.send_eof()
        received.append(await read_all(stream))

    console = await nursery.start(serve_console, tmp_path / "c", refuse)
    smuggled = get(b"x-forwarded-for: 127.0.0.1", target=b"/admin")
    nursery.start_soon(run_tunnel, get(*WEBSOCKET) + smuggled, client[0], console.path)
    assert await read_until(client[1], b"hello") == ANSWER
    await client[1].send_all(smuggled)
    await trio.testing.wait_all_tasks_blocked()
    go.set()
    assert await read_all(client[1]) == b""
    await trio.testing.wait_all_tasks_blocked()
    assert b"admin" not in b"".join(received)
    nursery.cancel_scope.cancel()


def echo_app() -> QuartTrio:
    app = QuartTrio(__name__)

    @app.websocket("/echo")
    async def echo() -> None:
        await websocket.accept()
        while True:
            message = await websocket.receive()
            assert isinstance(message, str)
            await websocket.send(f"{websocket.headers['x-forwarded-for']}: {message}")

    return app


async def serve_hypercorn(path: Path, *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED) -> None:
    config = Config()
    config.bind = [f"unix:{path}"]
    config.errorlog = None
    await serve_app(echo_app(), config, mode="asgi", shutdown_trigger=trio.sleep_forever, task_status=task_status)


async def websocket_events(
    client: trio.SocketStream, session: wsproto.WSConnection, count: int
) -> list[wsproto.events.Event]:
    events: list[wsproto.events.Event] = []
    while len(events) < count:
        session.receive_data(await client.receive_some() or None)
        events += session.events()
    return events


@pytest.mark.parametrize("path", ["/echo", "/nowhere"])
async def test_a_websocket_of_the_real_console_server(
    nursery: trio.Nursery, tmp_path: Path, client: tuple[Stream, trio.SocketStream], path: str
) -> None:
    await nursery.start(serve_hypercorn, tmp_path / "c")
    assert stat.S_ISSOCK((tmp_path / "c").stat().st_mode)
    session = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    raw = session.send(WebSocketRequest(host="gateway.test", target=path))
    nursery.start_soon(partial(run_tunnel, secure=True), raw, client[0], str(tmp_path / "c"))
    opened = (await websocket_events(client[1], session, 1))[0]
    if path == "/nowhere":
        assert isinstance(opened, RejectConnection)
        assert opened.status_code == 404
    else:
        assert isinstance(opened, AcceptConnection)
        await client[1].send_all(session.send(TextMessage("hello " * 20_000)))
        answer = b""
        while not answer.endswith(b"hello "):
            for event in await websocket_events(client[1], session, 1):
                assert isinstance(event, TextMessage)
                answer += event.data.encode()
        assert answer == b"192.0.2.7: " + b"hello " * 20_000
        await client[1].send_all(session.send(CloseConnection(1000)))
        closed = (await websocket_events(client[1], session, 1))[0]
        assert isinstance(closed, CloseConnection)
        assert await read_all(client[1]) == b""
    nursery.cancel_scope.cancel()
