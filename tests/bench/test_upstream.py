"""The scripted upstream does exactly what its script says, seen by an h11 client on a real socket."""

import gzip
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import httpx
import pytest
import trio
import trio.testing
import trustme

from bench import upstream
from bench.playbook import Ending
from bench.script import ScriptError, parse_script, walk
from bench.upstream import ScriptedUpstream

HEAD = {"head": {"status": 200, "headers": {"content-type": "text/event-stream"}}}
HELLO: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "hello there"}]}


class Client:
    """One connection to the upstream; h11 judges what comes back."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.h11 = h11.Connection(h11.CLIENT)
        self.reads: list[bytes] = []

    async def ask(self, fields: dict[str, Any], *, method: str = "POST", target: str = "/v1/chat/completions") -> None:
        body = json.dumps(fields).encode() if method in {"POST", "PUT"} else b""
        head = h11.Request(
            method=method, target=target, headers=[("host", "upstream"), ("content-length", str(len(body)))]
        )
        data = self.h11.send(head) or b""
        if body:
            data += self.h11.send(h11.Data(data=body)) or b""
        await self.stream.send_all(data + (self.h11.send(h11.EndOfMessage()) or b""))

    async def event(self) -> Any:
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.reads.append(bytes(await self.stream.receive_some(65536)))
            self.h11.receive_data(self.reads[-1])
        return event

    async def response(self) -> tuple[int, dict[bytes, bytes], bytes]:
        body = b""
        while not isinstance(event := await self.event(), h11.Response):
            assert isinstance(event, h11.InformationalResponse)
        head = event
        while isinstance(event := await self.event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        return head.status_code, dict(head.headers), body

    async def play(self, *script: dict[str, Any], **fields: Any) -> tuple[int, dict[bytes, bytes], bytes]:
        await self.ask(HELLO | {"x_script": list(script)} | fields)
        return await self.response()

    async def play_raw(self, *script: dict[str, Any], **fields: Any) -> bytes:
        """Give every byte until the connection ends."""
        await self.ask(HELLO | {"x_script": list(script)} | fields)
        received = b""
        while data := await self.stream.receive_some(65536):
            received += data
        return received


@asynccontextmanager
async def connected(server: ScriptedUpstream) -> AsyncIterator[Client]:
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    async with stream:
        yield Client(stream)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedUpstream]:
    with trio.fail_after(5):
        async with upstream.running() as running:
            yield running


@pytest.fixture
async def client(server: ScriptedUpstream) -> AsyncIterator[Client]:
    async with connected(server) as client:
        yield client


async def ending(server: ScriptedUpstream, index: int = 0) -> Ending:
    record = await server.wait_request(index)
    await record.ended.wait()
    return record.ending


def payloads(body: bytes) -> list[Any]:
    events = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line.startswith("data: ")]
    return [event if event == "[DONE]" else json.loads(event) for event in events]


async def test_the_usual_unary_answer(client: Client) -> None:
    await client.ask(HELLO)
    status, headers, body = await client.response()
    answer = json.loads(body)
    assert (status, headers[b"content-type"]) == (200, b"application/json")
    assert answer["choices"][0]["message"]["content"] == "The scripted upstream heard: hello there"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == 2 + 6


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_usual_stream(client: Client, wanted: bool) -> None:
    await client.ask(HELLO | {"stream": True, "stream_options": {"include_usage": wanted}})
    _, headers, body = await client.response()
    events = payloads(body)
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert events.pop() == "[DONE]"
    if wanted:
        last = events.pop()
        assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 6)
    assert all(("usage" in event) is wanted for event in events)
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content") or "" for delta in deltas) == "The scripted upstream heard: hello there"
    assert [event["choices"][0]["finish_reason"] for event in events] == [None] * (len(events) - 1) + ["stop"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_forced_tool_is_called(client: Client, stream: bool) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    choice = {"type": "function", "function": {"name": "weather"}}
    await client.ask(HELLO | {"tools": tools, "tool_choice": choice, "stream": stream})
    _, _, body = await client.response()
    if stream:
        choices = [event["choices"][0] for event in payloads(body)[:-1]]
        calls = [call for item in choices for call in item["delta"].get("tool_calls", [])]
        arguments, finish = "".join(call["function"]["arguments"] for call in calls), choices[-1]["finish_reason"]
    else:
        calls = json.loads(body)["choices"][0]["message"]["tool_calls"]
        arguments, finish = calls[0]["function"]["arguments"], json.loads(body)["choices"][0]["finish_reason"]
    assert calls[0]["function"]["name"] == "weather"
    assert json.loads(arguments) == {"city": "example", "days": 1}
    assert finish == "tool_calls"


async def test_answers_vary_only_as_the_request_asks(client: Client) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["a", "b"]}}}
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    _, _, shaped = await client.play({"answer": True}, response_format=shape)
    client.h11.start_next_cycle()
    _, _, cut = await client.play({"answer": True}, max_tokens=2)
    client.h11.start_next_cycle()
    _, _, chosen = await client.play(
        {"answer": {"content": "bye", "reasoning": "hm", "finish_reason": "content_filter"}}
    )
    assert json.loads(json.loads(shaped)["choices"][0]["message"]["content"]) == {"ok": True, "kind": "a"}
    choice = json.loads(cut)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("The scripted", "length")
    choice = json.loads(chosen)["choices"][0]
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == ("bye", "hm")
    assert choice["finish_reason"] == "content_filter"


@pytest.mark.parametrize(
    ("target", "status", "names"),
    [("/v1/models", 200, ["scripted"]), ("/v1/models/scripted", 200, "scripted"), ("/v1/models/none", 404, None)],
)
async def test_models(client: Client, target: str, status: int, names: object) -> None:
    await client.ask({}, method="GET", target=target)
    got, _, body = await client.response()
    document = json.loads(body)
    assert got == status
    listed = [entry["id"] for entry in document["data"]] if "data" in document else document.get("id")
    assert listed == names


@pytest.mark.parametrize(
    ("fields", "target", "status"),
    [
        ({"messages": []}, "/v1/chat/completions", 400),
        ({"model": "m"}, "/v1/chat/completions", 400),
        ({}, "/v1/x", 404),
    ],
)
async def test_bad_requests_get_an_error_envelope(client: Client, fields: Any, target: str, status: int) -> None:
    await client.ask(fields, target=target)
    got, _, body = await client.response()
    assert got == status
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


async def test_status_step(client: Client) -> None:
    step = {"status": 503, "headers": {"retry-after": "2"}, "body": {"error": {"message": "busy"}}}
    status, headers, body = await client.play(step)
    assert (status, headers[b"retry-after"], json.loads(body)["error"]["message"]) == (503, b"2", "busy")
    client.h11.start_next_cycle()
    status, headers, body = await client.play({"status": 429, "body": "slow down"})
    assert (status, headers[b"content-type"], body) == (429, b"text/plain", b"slow down")
    client.h11.start_next_cycle()
    _, _, body = await client.play({"status": 500})
    assert json.loads(body)["error"]["type"] == "server_error"


async def test_pieces_of_a_body(client: Client) -> None:
    _, headers, body = await client.play(
        HEAD,
        {"comment": "hold on"},
        {"event": {"a": 1}},
        {"newline": "\r\n"},
        {"event": {"b": 2}, "name": "ping"},
        {"repeat": [{"send": "x"}], "times": 3},
        {"newline": "\n"},
        {"done": True},
    )
    assert headers[b"transfer-encoding"] == b"chunked"
    assert body == (b': hold on\n\ndata: {"a":1}\n\nevent: ping\r\ndata: {"b":2}\r\n\r\nxxxdata: [DONE]\n\n')


async def test_a_content_length_and_a_close_delimited_body(client: Client, server: ScriptedUpstream) -> None:
    head = {"head": {"headers": {"content-length": "5"}}}
    assert (await client.play(head, {"send": "hello"}))[2] == b"hello"
    async with connected(server) as other:
        raw = await other.play_raw({"head": {"headers": {}, "close_delimited": True}}, {"send": "bye"})
    assert raw == b"HTTP/1.1 200 Scripted\r\nconnection: close\r\n\r\nbye"


async def test_gzip(client: Client) -> None:
    _, headers, body = await client.play({"gzip": True}, {"event": 1}, {"event": 2})
    assert headers[b"content-encoding"] == b"gzip"
    assert gzip.decompress(body) == b"data: 1\n\ndata: 2\n\n"
    client.h11.start_next_cycle()
    _, headers, body = await client.play({"gzip": True}, {"answer": True})
    assert json.loads(gzip.decompress(body))["object"] == "chat.completion"


async def test_informational_responses_come_first(client: Client) -> None:
    await client.ask(HELLO | {"x_script": [{"informational": 103, "headers": {"link": "</x>"}}]})
    event = await client.event()
    assert (event.status_code, dict(event.headers)) == (103, {b"link": b"</x>"})
    assert (await client.response())[0] == 200


async def test_a_sleep_alone_is_followed_by_the_answer(server: ScriptedUpstream, client: Client) -> None:
    status, _, body = await client.play({"sleep_ms": 1})
    assert (status, json.loads(body)["object"]) == (200, "chat.completion")
    assert await ending(server) is Ending.COMPLETE


async def test_a_gate_holds_the_script(server: ScriptedUpstream, client: Client) -> None:
    await client.ask(HELLO | {"x_script": [HEAD, {"wait": "go"}, {"send": "after"}]})
    assert isinstance(await client.event(), h11.Response)
    await trio.testing.wait_all_tasks_blocked()
    assert server.log[0].body_bytes_sent == 0
    server.gate("go").set()
    assert (await client.event()).data == b"after"


async def test_write_bytes_splits_the_wire(client: Client) -> None:
    sent: list[bytes] = []
    client_end, server_end = trio.testing.memory_stream_pair()
    hook = server_end.send_stream.send_all

    async def send_all(data: bytes) -> None:
        sent.append(bytes(data))
        await hook(data)

    server_end.send_stream.send_all = send_all  # type: ignore[method-assign, assignment]
    memory = Client(client_end)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ScriptedUpstream().serve_connection, server_end)
        assert (await memory.play({"write_bytes": 3}, HEAD, {"send": "abcdefg"}))[2] == b"abcdefg"
        await client_end.aclose()
    assert {len(piece) for piece in sent} <= {1, 2, 3}


async def test_stall_records_when_the_peer_leaves(server: ScriptedUpstream) -> None:
    async with connected(server) as client:
        await client.ask(HELLO | {"x_script": [HEAD, {"event": 1}, {"stall": True}]})
        assert isinstance(await client.event(), h11.Response)
        record = await server.wait_request()
        left_after = server.clock()
    await record.ended.wait()
    assert record.ending is Ending.PEER_CLOSED
    assert record.peer_closed_s is not None
    assert record.peer_closed_s >= left_after
    assert record.body_bytes_sent == len(b"data: 1\n\n")
    await trio.testing.wait_all_tasks_blocked()
    assert server.connections_open == 0


async def test_a_peer_that_stops_reading_and_resets(server: ScriptedUpstream) -> None:
    async with connected(server) as client:
        await client.ask(HELLO | {"x_script": [{"repeat": [{"send": "x" * 65536}], "times": 10_000}]})
        assert isinstance(client.stream, trio.SocketStream)
        record = await server.wait_request()
        await client.stream.receive_some(1)  # unread bytes turn the close into a reset
    await record.ended.wait()
    assert record.ending is Ending.PEER_CLOSED


@pytest.mark.parametrize("begun", [True, False])
async def test_close(server: ScriptedUpstream, client: Client, begun: bool) -> None:
    first: list[dict[str, Any]] = [HEAD, {"event": 1}] if begun else []
    raw = await client.play_raw(*first, {"close": True})
    assert raw.endswith(b"9\r\ndata: 1\n\n\r\n") if begun else raw == b""
    assert await ending(server) is Ending.FAULT


async def test_reset(server: ScriptedUpstream, client: Client) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await client.play_raw({"reset": True})
    assert await ending(server) is Ending.FAULT


@pytest.mark.parametrize(("value", "tail"), [(True, b"1\n\n\r\n"), (16, b"1\n\n\r\n10\r\n" + b"x" * 8)])
async def test_chunked_cut(client: Client, value: object, tail: bytes) -> None:
    await client.ask(HELLO | {"x_script": [HEAD, {"event": 1}, {"chunked_cut": value}]})
    with pytest.raises(h11.RemoteProtocolError):
        await client.response()
    assert b"".join(client.reads).endswith(tail)


async def test_content_length_cut(client: Client) -> None:
    await client.ask(HELLO | {"x_script": [{"content_length_cut": 10}]})
    with pytest.raises(h11.RemoteProtocolError):
        await client.response()
    assert b"".join(client.reads).endswith(b'\r\n\r\n{"id":"cha')


async def test_garbage_instead_of_and_inside_a_response(server: ScriptedUpstream, client: Client) -> None:
    assert await client.play_raw({"garbage": "HTTP/9 what\r\n"}) == b"HTTP/9 what\r\n"
    async with connected(server) as other:
        raw = await other.play_raw(HEAD, {"event": 1}, {"garbage": True})
    assert b"data: 1\n\n\r\n\x00\xff not HTTP" in raw
    assert [await ending(server, 0), await ending(server, 1)] == [Ending.FAULT, Ending.FAULT]


@pytest.mark.parametrize("value", [True, "silent"])
async def test_close_after_response(server: ScriptedUpstream, client: Client, value: object) -> None:
    _, headers, _ = await client.play({"close_after_response": value}, {"answer": True})
    assert (b"connection" in headers) is (value is True)
    assert await client.stream.receive_some(1) == b""
    assert await ending(server) is Ending.COMPLETE


async def test_reuse_pipelining_and_the_order_of_scripts(server: ScriptedUpstream, client: Client) -> None:
    server.set_default([{"status": 418}])
    server.enqueue([{"status": 501}], [{"status": 502}])
    body = json.dumps(HELLO).encode()
    one = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    await client.stream.send_all(one * 3)
    client.h11.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    client.h11.send(h11.EndOfMessage())
    statuses = [(await client.response())[0]]
    for _ in range(2):
        client.h11.start_next_cycle()
        client.h11.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        client.h11.send(h11.EndOfMessage())
        statuses.append((await client.response())[0])
    assert statuses == [501, 502, 418]
    assert [(record.connection, record.connection_request) for record in server.log] == [(1, 0), (1, 1), (1, 2)]


async def test_what_is_recorded(server: ScriptedUpstream, client: Client) -> None:
    await client.ask(HELLO | {"seed": 7}, target="/v1/chat/completions?a=b")
    await client.response()
    record = server.log[0]
    await record.ended.wait()
    assert (record.method, record.target, record.path) == ("POST", "/v1/chat/completions?a=b", "/v1/chat/completions")
    assert (record.header("Host"), record.header("x-none")) == ("upstream", None)
    assert record.json["seed"] == 7
    assert record.ended_s is not None
    assert record.ended_s >= record.started_s


async def test_expect_continue_and_malformed_requests(server: ScriptedUpstream, client: Client) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    await client.stream.send_all(head)
    assert (await client.stream.receive_some(100)).startswith(b"HTTP/1.1 100 ")
    await client.stream.send_all(b"{}")
    assert (await client.stream.receive_some(100)).startswith(b"HTTP/1.1 400 ")
    async with connected(server) as other:
        await other.stream.send_all(b"nonsense\r\n\r\n")
        assert (await other.stream.receive_some(100)).startswith(b"HTTP/1.1 400 ")
    assert server.log[-1].ending is Ending.MALFORMED


async def test_the_controls_of_a_process() -> None:
    command = [sys.executable, "-m", "bench.upstream", "--follow-stdin", "--model", "one"]
    with trio.fail_after(10):
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        base = json.loads(await process.stdout.receive_some())["base_url"]
        root = base.removesuffix("/v1")
        async with httpx.AsyncClient(trust_env=False) as client:
            put = await client.put(f"{root}/_script", json={"queue": [[{"wait": "go"}, {"status": 503}]]})
            assert put.status_code == 200
            opened = await client.put(f"{root}/_gate/go")
            failed = await client.post(f"{base}/chat/completions", json=HELLO)
            listed = await client.get(f"{base}/models")
            log = (await client.get(f"{root}/_log")).json()
            cleared = await client.request("DELETE", f"{root}/_log")
            empty = (await client.get(f"{root}/_log")).json()
            unknown = await client.get(f"{root}/_nothing")
        await process.stdin.aclose()
        assert await process.wait() == 0
        await process.stdout.aclose()
    assert (opened.status_code, failed.status_code, cleared.status_code, unknown.status_code) == (200, 503, 200, 400)
    assert listed.json()["data"][0]["id"] == "one"
    assert [entry["target"] for entry in log] == ["/v1/chat/completions", "/v1/models"]
    assert (log[0]["ending"], json.loads(log[0]["body"])) == ("complete", HELLO)
    assert empty == []


async def test_a_unix_socket_and_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    serving, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(serving)
    authority.configure_trust(trusting)
    path = str(tmp_path / "upstream.sock")
    with trio.fail_after(5):
        async with upstream.running(unix=path):
            client = Client(await trio.open_unix_socket(path))
            assert (await client.play({"status": 201}))[0] == 201
            await client.stream.aclose()
        async with upstream.running(tls=serving) as server:
            tcp = await trio.open_tcp_stream("127.0.0.1", server.port)
            client = Client(trio.SSLStream(tcp, trusting, server_hostname="localhost", https_compatible=True))
            assert server.base_url.startswith("https://")
            assert (await client.play({"close_after_response": "silent"}, {"status": 202}))[0] == 202
            assert await client.stream.receive_some(1) == b""
            await client.stream.aclose()
            tcp = await trio.open_tcp_stream("127.0.0.1", server.port)
            client = Client(trio.SSLStream(tcp, trusting, server_hostname="localhost", https_compatible=True))
            with pytest.raises(trio.BrokenResourceError):
                await client.play_raw({"reset": True})
            await client.stream.aclose()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({}, "list of steps"),
        ([1], "not an object"),
        ([{"sleep": 1}], "exactly one verb"),
        ([{"send": "a", "event": 1}], "exactly one verb"),
        ([{"send": 1}], "takes text"),
        ([{"status": 200, "name": "x"}], "does not take"),
        ([{"close": True}, {"send": "a"}], "nothing can follow"),
        ([{"repeat": [{"close": True}]}], "cannot be repeated"),
        ([{"repeat": [], "times": 0}], "takes a count"),
        ([{"newline": "\t"}], "LF, CRLF or CR"),
        ([{"sleep_ms": {"median": 60}}], "milliseconds, or the median"),
        ([{"sleep_ms": {"median": 0, "sigma": 1}}], "milliseconds, or the median"),
        ([{"sleep_ms": -1}], "milliseconds, or the median"),
        ([{"choose": []}], "shares of at most 1"),
        ([{"choose": [{"share": 0.6, "steps": []}, {"share": 0.5, "steps": []}]}], "shares of at most 1"),
        ([{"choose": [{"share": 0.5}]}], "shares of at most 1"),
        ([{"choose": [7]}], "shares of at most 1"),
        ([{"choose": [{"share": 0.5, "steps": [{"stal": True}]}]}], "exactly one verb"),
        ([{"choose": [{"share": 0.5, "steps": []}]}, {"send": "a"}], "nothing can follow"),
        ([{"repeat": [{"choose": [{"share": 0.5, "steps": []}]}]}], "cannot be repeated"),
    ],
)
def test_a_wrong_script_is_refused_with_its_reason(script: object, words: str) -> None:
    with pytest.raises(ScriptError, match=words):
        parse_script(script)


async def test_a_wrong_script_in_a_request_is_a_400(client: Client) -> None:
    status, _, body = await client.play({"stal": True})
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_script")


def test_repetition_is_lazy() -> None:
    steps = walk(parse_script([{"repeat": [{"repeat": [{"send": "x"}], "times": 10**9}], "times": 10**9}]), float)
    assert [next(steps).value for _ in range(3)] == ["x"] * 3


FATES = [{"choose": [{"share": 0.3, "steps": [{"status": 503}]}, {"share": 0.3, "steps": [{"status": 429}]}]}]


async def fates(seeds: list[int], upstream_seed: int) -> dict[int, int]:
    """Ask on one connection after the other, in this order; give the status that each seed met."""
    met = {}
    async with upstream.running(script=FATES, seed=upstream_seed) as server:
        for seed in seeds:
            async with connected(server) as client:
                await client.ask(HELLO | {"seed": seed})
                met[seed] = (await client.response())[0]
    return met


async def test_the_fate_of_a_request_is_its_own() -> None:
    with trio.fail_after(10):
        there, back = await fates(list(range(60)), 1), await fates(list(range(59, -1, -1)), 1)
        elsewhere = await fates(list(range(60)), 2)
    assert there == back
    assert there != elsewhere
    assert set(there.values()) == {200, 429, 503}


async def test_without_a_seed_fates_come_in_order_of_arrival() -> None:
    async def statuses() -> list[int]:
        met = []
        async with upstream.running(script=FATES) as server:
            for _ in range(20):
                async with connected(server) as client:
                    await client.ask(HELLO)
                    met.append((await client.response())[0])
        return met

    with trio.fail_after(10):
        assert await statuses() == await statuses()


def test_a_choice_is_made_by_share() -> None:
    script = parse_script([{"send": "a"}, *FATES])
    draws = [0.0, 0.29, 0.3, 0.59, 0.6, 0.99]
    drawn = [[step.value for step in walk(script, iter([at]).__next__)] for at in draws]
    assert drawn == [["a", 503], ["a", 503], ["a", 429], ["a", 429], ["a"], ["a"]]


async def test_a_drawn_pause_is_the_requests_own(autojump_clock: trio.testing.MockClock) -> None:
    async def pauses(maximum: float) -> list[float]:
        took = []
        for seed in range(30):
            stream, server = trio.testing.memory_stream_pair()
            pause = {"median": 60_000, "sigma": 0.8, "max": maximum}
            playing = ScriptedUpstream(script=[{"sleep_ms": pause}, {"status": 204}])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playing.serve_connection, server)
                client, before = Client(stream), trio.current_time()
                await client.ask(HELLO | {"seed": seed})
                assert isinstance(await client.event(), h11.Response)
                took.append(trio.current_time() - before)
                nursery.cancel_scope.cancel()
        return took

    free = await pauses(1e9)
    assert await pauses(1e9) == pytest.approx(free)
    assert sorted(free)[15] == pytest.approx(60, rel=0.5)
    assert max(free) > 100
    assert await pauses(100_000) == pytest.approx([min(pause, 100) for pause in free])
