"""What clients are told about asking again, whose fault an in-band error is, and how a failed stream ends."""

import re
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import msgspec
import pytest
import trio
from trio.testing import MockClock

from adapters import registry
from adapters.dialects import gemini
from adapters.errors import ClientError, Failure, Kind, UpstreamError
from adapters.retry_hints import OVERLOAD_RETRY_SECONDS, RATE_LIMIT_RETRY_SECONDS
from engine import routes
from engine.downstream import Reply
from engine.gateway import Gateway
from engine.pipeline import refuse
from engine.pool import PoolFull
from engine.upstream_failures import no_connection
from tests.engine.fakes import END, HEAD, ORIGIN, ROLE, FakeEndpoint, Row, Run, chunked, delta, sse, unchunk
from tests.engine.live import KEY, Live, running

SAY = [{"role": "user", "content": "hi"}]
ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": "chat-x", "messages": SAY}),
    "responses": ("/v1/responses", {"model": "chat-x", "input": "hi"}),
    "messages": ("/v1/messages", {"model": "messages-x", "max_tokens": 9, "messages": SAY}),
    "gemini": ("/v1beta/models/gemini-x:generateContent", {"contents": []}),
}
"""How each dialect asks a provider that speaks it."""

dialects = pytest.mark.parametrize("dialect", ASKS)


class Saying:
    """An upstream that answers every request with the same bytes, the `rest` of them once it is told to go on."""

    def __init__(self) -> None:
        self.answer = b""
        self.rest = b""
        self.go_on = trio.Event()

    def error(self, status: int, error: object, *headers: bytes) -> None:
        """Answer with an error document."""
        body = msgspec.json.encode({"error": error})
        self.say(b"HTTP/1.1 %d X" % status, body, *headers, b"content-type: application/json")

    def stream(self, *payloads: object) -> None:
        """Answer with events."""
        self.say(b"HTTP/1.1 200 OK", sse(*payloads), b"content-type: text/event-stream")

    def say(self, *lines: bytes) -> None:
        """Answer with a status line, a body, and headers."""
        first, body, *headers = lines
        length = b"content-length: %d" % len(body)
        self.answer = b"\r\n".join([first, *headers, length, b"connection: close", b"", body])

    async def serve(self, stream: trio.SocketStream) -> None:
        received = b""
        async with stream:
            while True:
                head, blank, body = received.partition(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                if blank and length is not None and len(body) >= int(length[1]):
                    break
                received += await stream.receive_some()
            await stream.send_all(self.answer)
            if self.rest:
                await self.go_on.wait()
                await stream.send_all(self.rest)


@pytest.fixture
async def saying() -> AsyncIterator[tuple[Saying, str]]:
    upstream = Saying()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, upstream.serve, listeners)
        yield upstream, f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.fixture
async def live(saying: tuple[Saying, str]) -> AsyncIterator[Live]:
    _, origin = saying
    kinds = {"openai": "chat-x", "anthropic": "messages-x", "gemini": "gemini-x"}
    document = {
        "server": {"environment_providers": False, "console": False},
        "keys": {"test": {"value": KEY}},
        "providers": {
            kind: {"kind": kind, "base_url": f"{origin}/v1", "key": "sk-upstream", "models": [model]}
            for kind, model in kinds.items()
        },
    }
    async with running(document) as gateway:
        yield gateway


async def ask(live: Live, dialect: str, *, path: str | None = None, key: str = KEY, **more: Any) -> httpx.Response:
    where, body = ASKS[dialect]
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"authorization": f"Bearer {key}"}
        return await client.post(f"{live.origin}{path or where}", json=body | more, headers=headers)


def details(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    """Return the details of an error that has any, by the last part of their type."""
    found = answer.json()["error"].get("details", [])
    return {detail["@type"].rpartition(".")[2]: detail for detail in found} if isinstance(found, list) else {}


# -- when to ask again -------------------------------------------------------------------------------------------------


@dialects
async def test_every_429_says_when_to_come_back(live: Live, saying: tuple[Saying, str], dialect: str) -> None:
    saying[0].error(429, {"message": "slow"})
    answer = await ask(live, dialect)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, str(RATE_LIMIT_RETRY_SECONDS))
    assert "x-should-retry" not in answer.headers
    saying[0].error(429, {"message": "slow"}, b"retry-after: 7")
    assert (await ask(live, dialect)).headers["retry-after"] == "7"
    saying[0].error(429, {"message": "slow"}, b"retry-after-ms: 1500")
    answer = await ask(live, dialect)
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("2", "1500")


async def test_a_429_says_so_among_its_details_where_clients_look_there(live: Live, saying: tuple[Saying, str]) -> None:
    saying[0].error(429, {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"})
    answer = await ask(live, "gemini")
    assert details(answer)["RetryInfo"]["retryDelay"] == f"{RATE_LIMIT_RETRY_SECONDS}s"
    delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.2s"}
    saying[0].error(429, {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED", "details": [delay]})
    answer = await ask(live, "gemini")
    assert (answer.headers["retry-after"], details(answer)["RetryInfo"]) == ("35", delay)


@dialects
async def test_a_503_of_the_upstream_leaves_the_pause_to_the_client(
    live: Live, saying: tuple[Saying, str], dialect: str
) -> None:
    saying[0].error(503, {"message": "busy"})
    answer = await ask(live, dialect)
    assert answer.status_code == 503
    assert "retry-after" not in answer.headers


@dialects
async def test_a_503_of_our_own_says_when_to_come_back(live: Live, dialect: str) -> None:
    live.gateway.admission.in_flight_max = 0
    answer = await ask(live, dialect)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, str(OVERLOAD_RETRY_SECONDS))
    assert (dialect == "gemini") is ("RetryInfo" in details(answer))


def test_a_pool_that_is_full_says_when_to_come_back() -> None:
    failure, cause = no_connection("fake", PoolFull(ORIGIN, 1), 1.0)
    assert (failure.status, failure.headers, cause) == (503, ((b"retry-after", b"1"),), "pool_full")


# -- when not to ask again ---------------------------------------------------------------------------------------------


@dialects
@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (402, {"message": "pay", "type": "billing_error"}, 402),
        (401, {"message": "no such key"}, 502),
        (501, {"message": "never"}, 501),
    ],
)
async def test_what_asking_again_does_not_cure_is_said_to_be_so(
    live: Live, saying: tuple[Saying, str], dialect: str, status: int, error: dict[str, Any], told: int
) -> None:
    saying[0].error(status, error)
    answer = await ask(live, dialect)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (told, "false")
    assert (dialect == "gemini" and status == 402) is ("QuotaFailure" in details(answer))


async def test_a_spent_quota_is_not_asked_for_again(live: Live, saying: tuple[Saying, str]) -> None:
    saying[0].error(429, {"message": "pay", "type": "insufficient_quota", "code": "insufficient_quota"})
    answers = [await ask(live, dialect) for dialect in ("chat", "responses")]
    daily = {"violations": [{"quotaId": "RequestsPerDay-FreeTier"}]}
    saying[0].error(429, {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": [daily]})
    answers.append(await ask(live, "gemini"))
    for answer in answers:
        assert (answer.status_code, answer.headers["x-should-retry"]) == (429, "false")
        assert answer.headers["retry-after"]
    assert details(answers[-1])["QuotaFailure"]["violations"] == daily["violations"]


@dialects
async def test_a_wrong_key_is_not_tried_for_minutes(live: Live, dialect: str) -> None:
    answer = await ask(live, dialect, key="wrong")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (401, "false")


@dialects
async def test_a_faulty_request_needs_no_such_word(live: Live, saying: tuple[Saying, str], dialect: str) -> None:
    for status in (400, 404, 413, 422):
        saying[0].error(status, {"message": "m"})
        answer = await ask(live, dialect)
        assert answer.status_code == status
        assert not {"x-should-retry", "retry-after"} & set(answer.headers)


# -- errors inside of an answer ----------------------------------------------------------------------------------------

CHAT_ERRORS: list[tuple[dict[str, Any], int, str]] = [
    ({"type": "invalid_request_error", "code": "context_length_exceeded"}, 400, "client_error"),
    ({"code": "content_filter"}, 400, "client_error"),
    ({"code": "model_not_found"}, 404, "client_error"),
    ({"code": 413}, 413, "client_error"),
    ({"code": 422}, 422, "client_error"),
    ({"code": "rate_limit_exceeded"}, 429, "upstream_error"),
    ({"type": "server_error"}, 500, "upstream_error"),
    ({"type": "overloaded"}, 503, "upstream_error"),
]


@pytest.mark.parametrize(("error", "status", "outcome"), CHAT_ERRORS)
async def test_an_error_as_the_first_event_is_an_http_error_of_who_is_at_fault(
    live: Live, saying: tuple[Saying, str], error: dict[str, Any], status: int, outcome: str
) -> None:
    saying[0].stream(ROLE, {"error": {"message": "because", **error}})
    answer = await ask(live, "chat", stream=True)
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, "because")
    entry = live.log.entries[-1]
    assert (entry.outcome, entry.attempts[0].outcome) == (outcome, "in_band")
    assert ("retry-after" in answer.headers) is (status == 429)


@pytest.mark.parametrize(
    ("failure", "raised", "retryable"),
    [
        (Failure(400, Kind.INVALID_REQUEST, "m"), ClientError, None),
        (Failure(404, Kind.NOT_FOUND, "m"), ClientError, None),
        (Failure(413, Kind.TOO_LARGE, "m"), ClientError, None),
        (Failure(422, Kind.UNPROCESSABLE, "m"), ClientError, None),
        (Failure(403, Kind.PERMISSION, "m"), ClientError, None),
        (Failure(429, Kind.RATE_LIMIT, "m"), UpstreamError, True),
        (Failure(503, Kind.OVERLOADED, "m"), UpstreamError, True),
        (Failure(502, Kind.UPSTREAM, "m"), UpstreamError, True),
        (Failure(500, Kind.INVALID_REQUEST, "m"), UpstreamError, False),
    ],
)
async def test_the_provider_judges_what_an_answer_says(
    autojump_clock: MockClock, failure: Failure, raised: type[Exception], retryable: bool | None
) -> None:
    attempt = Run(FakeEndpoint()).attempt
    error = attempt.in_band(failure)
    assert type(error) is raised
    assert getattr(error, "retryable", None) is retryable
    assert (error.failure, attempt.record.cause) == (failure, "in_band")


async def test_a_faulty_request_that_shows_after_a_comment_is_told_in_band(autojump_clock: MockClock) -> None:
    error = {"error": {"message": "too long", "type": "invalid_request_error"}}
    run = Run(FakeEndpoint([(1.0, HEAD), (20.0, chunked(sse(error)))]))
    with pytest.raises(ClientError):
        await run.stream()
    assert run.downstream.reply is Reply.STREAMING


# -- how a failed stream ends ------------------------------------------------------------------------------------------

CHUNK = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "index": 0}]}


def spoken(run: Run, dialect: str, *, array: bool = False) -> Run:
    """Return `run` as of a client of a dialect whose clients notice a cut only."""
    run.relay.dialect = registry.dialect(dialect)
    run.attempt.tap = gemini.Tap(event_bytes_max=1 << 20, array=array)
    return run


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("error", [{"code": 503, "message": "busy", "status": "UNAVAILABLE"}, None])
async def test_a_failed_stream_is_cut_where_clients_notice_nothing_else(
    autojump_clock: MockClock, array: bool, error: object
) -> None:
    rest: list[Row] = [(2.0, chunked(sse({"error": error})))] if error else [(2.0, END)]
    run = spoken(Run(FakeEndpoint([(1.0, HEAD), (1.0, chunked(sse(CHUNK))), *rest])), "gemini", array=array)
    failure = await run.stream()
    assert failure is not None
    _, body, ended = run.answer
    assert b'"error":{"code":%d' % failure.status in body
    assert not ended
    assert run.downstream.reply is Reply.STREAMING


async def test_a_429_in_the_middle_names_its_delay(autojump_clock: MockClock) -> None:
    error = {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}
    rows: list[Row] = [(1.0, HEAD), (1.0, chunked(sse(CHUNK))), (2.0, chunked(sse({"error": error})))]
    run = spoken(Run(FakeEndpoint(rows)), "gemini")
    assert await run.stream() is not None
    assert b'"retryDelay":"%ds"' % RATE_LIMIT_RETRY_SECONDS in run.answer[1]


async def test_a_finished_stream_is_not_cut(autojump_clock: MockClock) -> None:
    last = {"candidates": [{"content": {"parts": [{"text": "!"}]}, "finishReason": "STOP", "index": 0}]}
    run = spoken(Run(FakeEndpoint([(1.0, HEAD), (1.0, chunked(sse(CHUNK, last))), (2.0, END)])), "gemini")
    assert await run.stream() is None
    assert run.answer[2]
    assert run.downstream.reply is Reply.ENDED


async def test_other_clients_get_an_end_behind_the_error(autojump_clock: MockClock) -> None:
    run = Run(FakeEndpoint([(1.0, HEAD), (1.0, chunked(sse(delta("Hi")))), (2.0, END)]))
    assert await run.stream() is not None
    assert run.answer[2]


@pytest.mark.parametrize(("surface", "ended"), [(routes.CHAT, True), (routes.MESSAGES, True), (routes.GEMINI, False)])
async def test_what_fails_outside_of_the_relay_ends_in_the_same_way(surface: routes.Surface, ended: bool) -> None:
    run, gateway = Run(FakeEndpoint()), cast(Gateway, None)
    run.exchange.surface = surface
    await run.downstream.send(run.downstream.stream_head(200, []))
    await refuse(gateway, run.exchange, run.downstream, Failure(400, Kind.INVALID_REQUEST, "because"))
    assert b"because" in run.answer[1]
    assert run.answer[2] is ended


async def test_the_connection_of_a_failed_stream_is_closed_without_a_last_chunk(
    live: Live, saying: tuple[Saying, str]
) -> None:
    saying[0].answer = HEAD.replace(b"transfer-encoding: chunked", b"connection: close") + sse(CHUNK)
    saying[0].rest = sse({"error": {"code": 503, "message": "busy"}})
    path = "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
    stream = await live.connect()
    body = b'{"contents":[]}'
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-goog-api-key: {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    await stream.send_all(head.encode() + body)
    received = b""
    with trio.fail_after(10):
        while data := await stream.receive_some():
            received += data
            saying[0].go_on.set()
    _, body, ended = unchunk(received)
    assert b'"error":{"code":503' in body
    assert not ended
    entry = await live.log.wait_entry()
    assert (entry.status, entry.outcome) == (200, "incomplete")


@pytest.mark.parametrize(("query", "wrapped"), [("", True), ("?alt=json", True), ("?alt=sse", False)])
async def test_an_error_before_an_array_is_in_a_list(
    live: Live, saying: tuple[Saying, str], query: str, wrapped: bool
) -> None:
    saying[0].error(400, {"code": 400, "message": "because", "status": "INVALID_ARGUMENT"})
    for model, status in (("gemini-x", 400), ("no-such", 404)):
        answer = await ask(live, "gemini", path=f"/v1beta/models/{model}:streamGenerateContent{query}")
        document = answer.json()
        assert answer.status_code == status
        assert isinstance(document, list) is wrapped
        assert (document[0] if wrapped else document)["error"]["code"] == status


# -- probes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/api/hello", "/v1/models", "/api/v1/models", "/health"])
async def test_a_probe_needs_no_key(live: Live, path: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.head(live.origin + path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert live.log.entries[-1].outcome == "ok"


async def test_a_probe_tells_nothing(live: Live) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        probed = await client.head(f"{live.base_url}/models")
        unknown = await client.get(f"{live.base_url}/models")
    assert probed.headers["content-length"] == "0"
    assert unknown.status_code == 401


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_websocket_that_is_not_served_is_426_with_and_without_a_key(live: Live, path: str) -> None:
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    async with httpx.AsyncClient(trust_env=False) as client:
        for headers in (upgrade, upgrade | {"authorization": f"Bearer {KEY}"}):
            answer = await client.get(live.origin + path, headers=headers)
            assert answer.status_code == 426
