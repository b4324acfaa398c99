"""The lane over other grounds than plain loopback TCP: TLS on both sides, Unix sockets, compressed and huge streams."""

import contextlib
import ssl
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio
import trustme

from bench import upstream
from tests.engine.live import KEY, Live, document, running

CHAT: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
HEADERS = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


def provider(base_url: str, **options: Any) -> dict[str, Any]:
    return {"scripted-1": {"kind": "compatible", "base_url": base_url, "models": ["scripted"], **options}}


async def stream(live: Live, verify: ssl.SSLContext | bool = True, **more: Any) -> str:
    async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=60) as client:
        body = {**CHAT, "stream": True, **more}
        answer = await client.post(f"{live.base_url}/chat/completions", json=body, headers=HEADERS)
        assert answer.status_code == 200, answer.text
        return answer.text


async def test_tls_on_both_sides(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    trust = ssl.create_default_context(cafile=str(ca_file))
    async with upstream.running(tls=server_context(authority, "127.0.0.1")) as server:
        configuration = document(server.base_url, providers=provider(server.base_url, ca_file=str(ca_file)))
        async with running(configuration, tls=server_context(authority, "127.0.0.1")) as live:
            assert live.origin.startswith("https://")
            for _ in range(3):
                assert "data: [DONE]" in await stream(live, trust)
            assert server.connections == 1


@pytest.mark.parametrize("trusted", [False, True], ids=["unknown authority", "another name"])
async def test_an_upstream_that_is_not_who_it_says_is_never_asked(
    authority: trustme.CA, tmp_path: Path, trusted: bool
) -> None:
    ca_file = tmp_path / "ca.pem"
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(ca_file))
    async with upstream.running(tls=server_context(authority, "somebody.test")) as server:
        configuration = document(server.base_url, providers=provider(server.base_url, ca_file=str(ca_file)))
        async with running(configuration) as live, httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{live.base_url}/chat/completions", json=CHAT, headers=HEADERS)
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == "upstream_unreachable"
            assert (await live.log.wait_entry()).attempts[0].outcome == "tls"
        assert server.log == []


async def test_a_plain_request_to_the_tls_port_costs_nothing(authority: trustme.CA) -> None:
    async with upstream.running() as server:
        context = server_context(authority, "127.0.0.1")
        async with running(document(server.base_url), tls=context) as live:
            raw = await live.connect()
            await raw.send_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            with trio.fail_after(5), contextlib.suppress(trio.BrokenResourceError):
                while await raw.receive_some():
                    continue
            trust = ssl.create_default_context()
            authority.configure_trust(trust)
            assert "data: [DONE]" in await stream(live, trust)


async def test_an_upstream_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "up.sock")
    async with upstream.running(unix=path) as server:
        base_url = f"unix:{path}:/v1"
        async with running(document(base_url, providers=provider(base_url))) as live:
            assert "data: [DONE]" in await stream(live)
        assert server.log[0].path == "/v1/chat/completions"


async def test_a_refused_connection_is_502_with_its_reason() -> None:
    base_url = "http://127.0.0.1:9/v1"
    async with running(document(base_url)) as live, httpx.AsyncClient(trust_env=False) as client:
        for streamed in (False, True):
            body = {**CHAT, "stream": streamed}
            answer = await client.post(f"{live.base_url}/chat/completions", json=body, headers=HEADERS)
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == "upstream_unreachable"
            assert "refused" in answer.json()["error"]["message"]


async def test_a_stream_compressed_against_our_wish_is_inflated() -> None:
    async with upstream.running() as server:
        server.enqueue([{"gzip": True}, {"answer": {"content": "words " * 50}}])
        async with running(document(server.base_url)) as live:
            text = await stream(live)
    events = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    content = "".join(msgspec.json.decode(e)["choices"][0]["delta"].get("content") or "" for e in events)
    assert content.strip() == ("words " * 50).strip()


async def test_an_event_of_20_megabytes_passes_whole() -> None:
    big = "x" * 20_000_000
    async with upstream.running() as server:
        server.enqueue([{"event": {"choices": [{"index": 0, "delta": {"content": big}}]}}, {"answer": True}])
        async with running(document(server.base_url)) as live:
            text = await stream(live)
    assert big in text
    assert text.endswith("data: [DONE]\n\n")


async def test_an_event_over_the_limit_is_an_error_and_bounded() -> None:
    async with upstream.running() as server:
        delta = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
        huge = {"choices": [{"index": 0, "delta": {"content": "x" * 300_000}}]}
        server.enqueue([{"event": delta}, {"event": huge}, {"answer": True}])
        async with running(document(server.base_url, limits={"event_bytes_max": 100_000})) as live:
            text = await stream(live)
    assert "event_too_large" in text
    assert "[DONE]" not in text


async def test_a_unary_answer_over_the_limit_is_502() -> None:
    async with upstream.running() as server:
        server.enqueue([{"answer": {"content": "x" * 300_000}}])
        limited = document(server.base_url, limits={"answer_bytes_max": 100_000})
        async with running(limited) as live, httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{live.base_url}/chat/completions", json=CHAT, headers=HEADERS)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "answer_too_large"


async def test_a_provider_behind_an_http_proxy_is_reached_through_connect() -> None:
    asked: list[bytes] = []

    async def serve_proxy(client: trio.SocketStream) -> None:
        head = b""
        async with client:
            while b"\r\n\r\n" not in head:
                head += await client.receive_some()
            asked.append(head)
            await client.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as far, trio.open_nursery() as nursery:

                async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
                    with contextlib.suppress(trio.BrokenResourceError):
                        async for data in source:
                            await sink.send_all(data)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(copy, client, far)
                nursery.start_soon(copy, far, client)

    async with upstream.running() as server, trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve_proxy, listeners)
        base_url = "http://somewhere.test:81/v1"
        options = provider(base_url, proxy=f"http://user:pa%20ss@127.0.0.1:{port}")
        async with running(document(base_url, providers=options)) as live:
            assert "data: [DONE]" in await stream(live)
        nursery.cancel_scope.cancel()
    assert asked[0].startswith(b"CONNECT somewhere.test:81 HTTP/1.1\r\n")
    assert b"Basic dXNlcjpwYSBzcw==" in asked[0]
    assert server.log[0].header("host") == "somewhere.test:81"
