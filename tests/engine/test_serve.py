"""Connections: what a client may do, and what it is told when it may not. Real sockets, raw bytes."""

import gc
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import h11
import msgspec
import pytest
import trio
import trio.testing

from bench import upstream
from bench.upstream import Ending, ScriptedUpstream
from engine import http1
from tests.engine.live import KEY, Live, document, running

BODY = b'{"model":"scripted","messages":[{"role":"user","content":"hi"}]}'
STREAM_BODY = BODY[:-1] + b',"stream":true}'
AUTH = b"authorization: Bearer " + KEY.encode() + b"\r\n"


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedUpstream]:
    async with upstream.running() as server:
        yield server


@pytest.fixture
async def live(scripted: ScriptedUpstream) -> AsyncIterator[Live]:
    limits = {"head_seconds_max": 0.5, "body_seconds_max": 0.5, "body_bytes_max": 100_000}
    async with running(document(scripted.base_url, limits=limits)) as gateway:
        yield gateway


class Client:
    """A raw client; answers are read by h11, so that they are HTTP by another's judgement."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.connection = h11.Connection(h11.CLIENT)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(self, method: bytes = b"POST") -> tuple[int, dict[bytes, bytes], bytes]:
        """Read one whole answer."""
        connection = self.connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"x")]))
        connection.send(h11.EndOfMessage())
        head, body = None, b""
        with trio.fail_after(10):
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await self.stream.receive_some())
                elif isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    break
        assert head is not None
        return head.status_code, dict(head.headers), body

    async def closed(self) -> bool:
        """Whether nothing but the end follows."""
        with trio.fail_after(10):
            try:
                return await self.stream.receive_some() == b""
            except trio.BrokenResourceError:
                return True


async def connect(live: Live) -> Client:
    return Client(await live.connect())


def post(body: bytes = BODY, *, headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/%b\r\nhost: x\r\n%b%bcontent-length: %d\r\n\r\n"
        % (version, AUTH, headers, len(body))
        + body
    )


async def test_a_connection_serves_request_after_request(live: Live) -> None:
    client = await connect(live)
    for _ in range(3):
        await client.send(post())
        status, headers, body = await client.answer()
        assert status == 200
        assert b"connection" not in headers
        assert msgspec.json.decode(body)["object"] == "chat.completion"
    assert len(live.server.connections) == 1


async def test_pipelined_requests_are_answered_in_order(live: Live) -> None:
    client = await connect(live)
    requests = [post(headers=b"x-request-id: n%d\r\n" % number) for number in range(20)]
    await client.send(b"".join(requests))
    buffered = b""
    with trio.fail_after(10):
        while buffered.count(b"x-request-id: ") < 20:
            buffered += await client.stream.receive_some()
    ids = [line.split(b": ")[1] for line in buffered.split(b"\r\n") if line.startswith(b"x-request-id")]
    assert ids == [b"n%d" % number for number in range(20)]


async def test_chunked_bodies_and_bytes_one_at_a_time(live: Live, scripted: ScriptedUpstream) -> None:
    client = await connect(live)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + AUTH + b"transfer-encoding: chunked\r\n\r\n"
    wire = head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:])) + b"0\r\n\r\n"
    for n in range(len(wire)):
        await client.send(wire[n : n + 1])
    status, _, _ = await client.answer()
    assert status == 200
    assert scripted.log[0].json["model"] == "scripted"


async def test_expect_100_continue(live: Live) -> None:
    client = await connect(live)
    head, _, body = post(headers=b"expect: 100-continue\r\n").partition(b"\r\n\r\n")
    await client.send(head + b"\r\n\r\n")
    with trio.fail_after(5):
        assert await client.stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(body)
    assert (await client.answer())[0] == 200


async def test_a_pipelined_expectation_is_answered_without_another_byte(live: Live) -> None:
    client = await connect(live)
    head, _, body = post(headers=b"expect: 100-continue\r\n").partition(b"\r\n\r\n")
    await client.send(post() + head + b"\r\n\r\n")
    received = b""
    with trio.fail_after(5):
        while b"100 Continue" not in received:
            received += await client.stream.receive_some()
    await client.send(body)
    assert (await client.answer())[0] == 200


async def test_without_a_key_no_body_is_waited_for(live: Live, scripted: ScriptedUpstream) -> None:
    client = await connect(live)
    await client.send(post(b"x" * 90_000).replace(AUTH, b"authorization: Bearer wrong\r\n")[:300])
    status, headers, body = await client.answer()
    assert (status, headers[b"connection"]) == (401, b"close")
    assert msgspec.json.decode(body)["error"]["code"] == "invalid_api_key"
    assert await client.closed()
    assert scripted.log == []


async def test_http_1_0_keeps_alive_when_asked_and_says_so(live: Live) -> None:
    client = await connect(live)
    for _ in range(2):
        await client.send(post(version=b"1.0", headers=b"connection: keep-alive\r\n"))
        status, headers, _ = await client.answer()
        assert (status, headers[b"connection"]) == (200, b"keep-alive")


REFUSED: list[tuple[str, bytes, int]] = [
    ("both lengths", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    ("bare LF", b"GET /health HTTP/1.1\nhost: x\n\n", 400),
    ("TLS on a plain port", bytes.fromhex("160301020001000001fc0303") + b"\x00" * 100, 400),
    ("oversize head", b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 40_000, 431),
    ("long target", b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
    ("oversize body", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100001\r\n\r\n", 413),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("unknown coding", b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
    ("expectation", b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 200-maybe\r\ncontent-length: 1\r\n\r\n", 417),
]


@pytest.mark.parametrize(("wire", "status"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_what_is_not_a_request_is_refused_and_the_connection_closed(live: Live, wire: bytes, status: int) -> None:
    client = await connect(live)
    await client.send(wire)
    got, headers, body = await client.answer()
    assert got == status
    assert headers[b"connection"] == b"close"
    assert msgspec.json.decode(body)["error"]["message"]
    assert await client.closed()
    entry = await live.log.wait_entry()
    assert (entry.status, entry.outcome) == (status, "refused")


async def test_a_refusal_is_read_even_by_a_client_that_is_still_sending(live: Live) -> None:
    client = await connect(live)
    await client.send(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n" + b"x" * 900_000
    )
    assert (await client.answer())[0] == 413


@pytest.mark.parametrize("start", [b"POST /v1/chat/comp", post()[:-10]], ids=["head", "body"])
async def test_slowloris_is_told_408_and_closed(live: Live, start: bytes) -> None:
    client = await connect(live)
    await client.send(start)
    status, headers, _ = await client.answer()
    assert (status, headers[b"connection"]) == (408, b"close")
    assert await client.closed()


async def test_an_idle_connection_is_closed_without_a_word(scripted: ScriptedUpstream) -> None:
    async with running(document(scripted.base_url, limits={"idle_seconds_max": 0.2})) as live:
        client = await connect(live)
        await client.send(post())
        await client.answer()
        assert await client.closed()


async def test_a_unary_answer_that_takes_too_long_is_504_and_the_upstream_is_cancelled(
    scripted: ScriptedUpstream,
) -> None:
    scripted.enqueue([{"stall": True}], [{"head": {}}, {"send": "{"}, {"stall": True}])
    async with running(document(scripted.base_url, timeouts={"unary_seconds": 0.2})) as live:
        for index in range(2):
            client = await connect(live)
            await client.send(post())
            status, headers, body = await client.answer()
            assert (status, headers[b"connection"]) == (504, b"close")
            assert msgspec.json.decode(body)["error"]["code"] == "upstream_timeout"
            assert await client.closed()
            await scripted.log[index].ended.wait()
            assert scripted.log[index].ending is Ending.PEER_CLOSED
            entry = await live.log.wait_entry(index)
            assert (entry.status, entry.outcome, entry.attempts[0].outcome) == (504, "upstream_error", "timeout")


async def test_http_1_0_gets_a_stream_until_close(live: Live) -> None:
    client = await connect(live)
    await client.send(post(STREAM_BODY, version=b"1.0"))
    received = b""
    with trio.fail_after(10):
        while data := await client.stream.receive_some():
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        (b"GET", b"/v1/nothing", 404, "unknown_url"),
        (b"GET", b"/v1/chat/completions", 405, "method_not_allowed"),
        (b"DELETE", b"/v1/models", 405, "method_not_allowed"),
        (b"POST", b"/api/v1/nothing", 404, "unknown_url"),
        (b"POST", b"/v1/embeddings", 404, "unknown_url"),
    ],
)
async def test_unknown_routes_speak_the_api_and_keep_the_connection(
    live: Live, method: bytes, path: bytes, status: int, code: str
) -> None:
    client = await connect(live)
    for _ in range(2):
        await client.send(b"%b %b HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n" % (method, path))
        got, headers, body = await client.answer(method)
        assert got == status
        assert msgspec.json.decode(body)["error"]["code"] == code
        if status == 405:
            assert headers[b"allow"]


async def test_health_needs_no_key_and_head_has_no_body(live: Live) -> None:
    client = await connect(live)
    await client.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await client.answer(b"GET"))[::2] == (200, b'{"status":"ok"}')
    await client.send(b"HEAD /health HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await client.answer(b"HEAD"))[::2] == (200, b"")
    await client.send(b"GET /health/ready HTTP/1.1\r\nhost: x\r\n\r\n")
    status, _, body = await client.answer(b"GET")
    assert (status, msgspec.json.decode(body)["status"]) == (200, "ready")


async def test_cors_for_browsers(live: Live) -> None:
    client = await connect(live)
    ask = b"origin: https://app.test\r\naccess-control-request-method: POST\r\naccess-control-request-headers: x-a\r\n"
    await client.send(b"OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + ask + b"\r\n")
    status, headers, _ = await client.answer(b"OPTIONS")
    assert status == 200
    assert headers[b"access-control-allow-origin"] == b"*"
    assert headers[b"access-control-allow-headers"] == b"x-a"
    await client.send(post(headers=b"origin: https://app.test\r\n"))
    assert (await client.answer())[1][b"access-control-allow-origin"] == b"*"


CREDENTIALS: list[tuple[str, bytes, bytes]] = [
    ("x-api-key", b"", b"x-api-key: " + KEY.encode() + b"\r\n"),
    ("x-goog-api-key", b"", b"x-goog-api-key: " + KEY.encode() + b"\r\n"),
    ("query", b"?key=" + KEY.encode(), b""),
    ("bearer in any case", b"", b"Authorization: bearer " + KEY.encode() + b"\r\n"),
]


@pytest.mark.parametrize(("query", "header"), [row[1:] for row in CREDENTIALS], ids=[row[0] for row in CREDENTIALS])
async def test_every_carrier_of_a_key(live: Live, query: bytes, header: bytes) -> None:
    client = await connect(live)
    await client.send(b"GET /v1/models%b HTTP/1.1\r\nhost: x\r\n%b\r\n" % (query, header))
    assert (await client.answer(b"GET"))[0] == 200
    entry = await live.log.wait_entry()
    assert (entry.key, entry.path) == ("test", "/v1/models")


async def test_two_keys_in_one_request_are_no_key(live: Live) -> None:
    client = await connect(live)
    await client.send(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n" + AUTH + AUTH + b"\r\n")
    assert (await client.answer(b"GET"))[0] == 401


async def test_without_keys_only_loopback_names_are_served(scripted: ScriptedUpstream) -> None:
    keyless = document(scripted.base_url, keys=None)
    rows = [
        (b"host: 127.0.0.1:1\r\n", 200),
        (b"host: localhost\r\n", 200),
        (b"host: [::1]:80\r\n", 200),
        (b"host: evil.test\r\n", 403),
        (b"host: localhost\r\norigin: https://evil.test\r\n", 403),
        (b"host: localhost\r\norigin: null\r\n", 403),
        (b"host: localhost\r\norigin: http://localhost:3000\r\n", 200),
        (b"host: localhost.evil.test\r\n", 403),
    ]
    async with running(keyless) as live:
        client = await connect(live)
        for headers, status in rows:
            await client.send(b"GET /v1/models HTTP/1.1\r\n" + headers + b"\r\n")
            assert (headers, (await client.answer(b"GET"))[0]) == (headers, status)


# -- clients that leave --

DELTA: dict[str, Any] = {"event": {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hel"}}]}}
FINISH: dict[str, Any] = {"event": {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}}
STAGES: list[tuple[str, bytes, list[Any]]] = [
    ("unary, silent upstream", post(), [{"stall": True}]),
    ("stream, silent before the head", post(STREAM_BODY), [{"stall": True}]),
    ("stream, silent after the head", post(STREAM_BODY), [{"head": {}}, {"stall": True}]),
    ("stream, silent after content", post(STREAM_BODY), [DELTA, {"stall": True}]),
    ("stream, talking", post(STREAM_BODY), [{"repeat": [DELTA, {"sleep_ms": 5}], "times": 10_000}]),
    ("pipelined bytes in front of the end", post(STREAM_BODY) + post(), [DELTA, {"stall": True}]),
]


@pytest.mark.parametrize(("wire", "script"), [row[1:] for row in STAGES], ids=[row[0] for row in STAGES])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves_cancels_the_upstream(
    live: Live, scripted: ScriptedUpstream, wire: bytes, script: list[Any], how: str
) -> None:
    scripted.enqueue(script)
    client = await connect(live)
    await client.send(wire)
    record = await scripted.wait_request()
    if any("event" in step or "repeat" in step for step in script):
        with trio.fail_after(5):
            await client.stream.receive_some()
    if how == "reset":
        client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await client.stream.aclose()
    with trio.fail_after(5):
        await record.ended.wait()
    assert record.ending is Ending.PEER_CLOSED
    entry = await live.log.wait_entry()
    assert entry.outcome == "client_gone"
    assert live.leases() == 0


async def test_a_client_that_leaves_in_the_middle_of_its_request_costs_nothing(
    live: Live, scripted: ScriptedUpstream
) -> None:
    for cut in (1, 30, len(post()) - 5):
        client = await connect(live)
        await client.send(post()[:cut])
        await client.stream.aclose()
    client = await connect(live)
    await client.send(post())
    assert (await client.answer())[0] == 200
    assert len(scripted.log) == 1


# -- drains and limits --


async def test_a_drain_lets_streams_end_and_closes_idle_connections(scripted: ScriptedUpstream) -> None:
    scripted.enqueue([DELTA, {"wait": "go"}, {"answer": True}])
    async with running(document(scripted.base_url)) as live:
        idle, busy = await connect(live), await connect(live)
        await busy.send(post(STREAM_BODY))
        with trio.fail_after(5):
            first = await busy.stream.receive_some()
        live.server.drain()
        assert await idle.closed()
        scripted.gate("go").set()
        rest = first
        with trio.fail_after(5):
            while data := await busy.stream.receive_some():
                rest += data
        assert rest.endswith(b"0\r\n\r\n")
        assert b"[DONE]" in rest


async def test_over_the_limit_of_requests_in_flight_503_at_once(scripted: ScriptedUpstream) -> None:
    scripted.enqueue([{"wait": "go"}])
    async with running(document(scripted.base_url, limits={"requests_in_flight_max": 1})) as live:
        first, second = await connect(live), await connect(live)
        await first.send(post())
        await scripted.wait_request()
        await second.send(post())
        status, headers, _ = await second.answer()
        assert (status, headers[b"retry-after"]) == (503, b"1")
        scripted.gate("go").set()
        assert (await first.answer())[0] == 200
        await second.send(post())
        assert (await second.answer())[0] == 200


async def test_over_the_limit_of_connections_503_and_close(scripted: ScriptedUpstream) -> None:
    async with running(document(scripted.base_url, limits={"connections_max": 1})) as live:
        first = await connect(live)
        await first.send(post())
        assert (await first.answer())[0] == 200
        second = await connect(live)
        assert (await second.answer())[0] == 503
        assert [(entry.status, entry.outcome) for entry in live.log.entries] == [(200, "ok"), (503, "refused")]
        assert await second.closed()
        await first.send(post())
        assert (await first.answer())[0] == 200


async def test_whatever_clients_do_no_descriptor_and_no_task_is_left() -> None:
    def counts() -> tuple[int, int]:
        return len(os.listdir("/dev/fd")), trio.lowlevel.current_statistics().tasks_living

    before = counts()
    async with upstream.running() as server:
        server.set_default([DELTA, {"sleep_ms": 2}, FINISH, {"done": True}])
        async with running(document(server.base_url)) as live:
            for number in range(120):
                client = await connect(live)
                await client.send(post(STREAM_BODY if number % 2 else BODY)[: None if number % 3 else 200 + number])
                if number % 5 == 0:
                    with trio.move_on_after(0.001 * (number % 7)):
                        await client.stream.receive_some()
                if number % 4 == 0:
                    client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                await trio.aclose_forcefully(client.stream)
    with trio.fail_after(5):
        while counts() != before:
            await trio.sleep(0.01)


async def test_a_connection_that_waits_holds_no_body(live: Live) -> None:
    body = BODY[:-1] + b',"user":"' + b"x" * 50_000 + b'"}'
    client = await connect(live)
    async with client.stream:
        for _ in range(3):
            await client.send(post(body))
            assert (await client.answer())[0] == 200
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        held = [each for each in gc.get_objects() if isinstance(each, http1.Request) and len(each.body) == len(body)]
        assert held == []
