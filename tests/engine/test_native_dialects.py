"""Every dialect on an upstream that speaks it: the vendors' own SDKs, with nothing changed but address and key.

The upstream is canned: it answers by path with bytes as the vendors send them, and keeps what it was asked.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx
import msgspec
import openai
import pytest
import trio
from google import genai
from google.genai import errors as genai_errors

from tests.engine.canned import Reply, Upstream, serving
from tests.engine.live import KEY, Live, running

pytestmark = pytest.mark.filterwarnings(
    # The SDKs leave their own generators to the garbage collector; trio notices, asyncio does not.
    "ignore:Async generator .* was garbage collected:ResourceWarning",
    "ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning",
    "ignore::DeprecationWarning:google.*",
)


def events(*payloads: dict[str, Any], named: bool = True) -> bytes:
    return b"".join(
        (b"event: %b\n" % payload["type"].encode() if named else b"")
        + b"data: "
        + msgspec.json.encode(payload)
        + b"\n\n"
        for payload in payloads
    )


# -- what the vendors send --

AN_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 7, "output_tokens": 2},
}
AN_STREAM = events(
    {"type": "message_start", "message": {**AN_MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"input_tokens": 7, "output_tokens": 2},
    },
    {"type": "message_stop"},
)
AN_CUT = AN_STREAM[: AN_STREAM.index(b"event: content_block_stop")]

RS_ITEM = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
}
RS_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-x",
    "status": "completed",
    "output": [RS_ITEM],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 7,
        "output_tokens": 2,
        "total_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}
RS_OPEN = {**RS_RESPONSE, "status": "in_progress", "output": [], "usage": None}
RS_PART = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
RS_AT = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
RS_EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": RS_OPEN},
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {**RS_ITEM, "status": "in_progress", "content": []},
    },
    {"type": "response.content_part.added", **RS_AT, "part": RS_PART},
    {"type": "response.output_text.delta", **RS_AT, "delta": "Hello", "logprobs": []},
    {"type": "response.output_text.done", **RS_AT, "text": "Hello", "logprobs": []},
    {"type": "response.content_part.done", **RS_AT, "part": {**RS_PART, "text": "Hello"}},
    {"type": "response.output_item.done", "output_index": 0, "item": RS_ITEM},
    {"type": "response.completed", "response": RS_RESPONSE},
]
RS_STREAM = events(*({**event, "sequence_number": number} for number, event in enumerate(RS_EVENTS)))
RS_CUT = RS_STREAM[: RS_STREAM.index(b"event: response.output_text.done")]

GM_USAGE = {"promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 9}


def gm_chunk(text: str, **more: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}
    return {"candidates": [candidate], "usageMetadata": GM_USAGE, "modelVersion": "gemini-x", "responseId": "r1"}


GM_ANSWER = gm_chunk("Hello", finishReason="STOP")
GM_STREAM = events(gm_chunk("Hel"), gm_chunk("lo", finishReason="STOP"), named=False)
GM_CUT = events(gm_chunk("Hel"), named=False)


CUT = {"incomplete", "upstream_error"}
"""A cut that comes in one read with all before it is an HTTP error, since nothing was sent yet; otherwise it is
in-band.
"""


class Canned(Upstream):
    """What the upstream answers and was asked. `cut`: streams end in the middle. `status`: an error instead."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = False
        self.error: tuple[int, dict[str, Any]] | None = None

    def answer(self, target: str, body: dict[str, Any]) -> Reply:
        if self.error is not None:
            return self.error[0], "application/json", msgspec.json.encode(self.error[1])
        if "count_tokens" in target:
            return 200, "application/json", b'{"input_tokens":7}'
        if ":countTokens" in target:
            return 200, "application/json", b'{"totalTokens":7}'
        stream = body.get("stream") or ":streamGenerateContent" in target
        whole, streamed, cut = next(
            forms
            for mark, forms in (
                ("/messages", (AN_MESSAGE, AN_STREAM, AN_CUT)),
                ("/responses", (RS_RESPONSE, RS_STREAM, RS_CUT)),
                ("/models/", (GM_ANSWER, GM_STREAM, GM_CUT)),
            )
            if mark in target
        )
        if stream:
            return 200, "text/event-stream", cut if self.cut else streamed
        return 200, "application/json", msgspec.json.encode(whole)


@pytest.fixture
async def canned() -> AsyncIterator[tuple[Canned, str]]:
    upstream = Canned()
    async with serving(upstream) as origin:
        yield upstream, origin


@pytest.fixture
async def live(canned: tuple[Canned, str]) -> AsyncIterator[Live]:
    _, origin = canned
    providers = {
        "an": {"kind": "anthropic", "base_url": f"{origin}/v1", "key": "sk-upstream", "models": ["claude-x"]},
        "rs": {"kind": "openai", "base_url": f"{origin}/v1", "key": "sk-upstream", "models": ["gpt-x"]},
        "gm": {"kind": "gemini", "base_url": f"{origin}/v1beta", "key": "sk-upstream", "models": ["gemini-x"]},
    }
    document = {
        "server": {"environment_providers": False, "console": False},
        "keys": {"test": {"value": KEY}},
        "providers": providers,
        "models": {"fast": {"provider": "gm", "model": "gemini-x"}},
    }
    async with running(document) as gateway:
        yield gateway


# -- Anthropic Messages --


@asynccontextmanager
async def anthropic_client(live: Live, path: str = "") -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=live.origin + path, api_key=live.key, max_retries=0) as client:
        yield client


SAY: list[Any] = [{"role": "user", "content": "Say hello"}]


@pytest.mark.parametrize("path", ["", "/anthropic"])
async def test_messages_unary_and_streamed_agree(live: Live, canned: tuple[Canned, str], path: str) -> None:
    async with anthropic_client(live, path) as client:
        whole = await client.messages.create(model="claude-x", max_tokens=64, messages=SAY)
        async with client.messages.stream(model="claude-x", max_tokens=64, messages=SAY) as stream:
            text = "".join([part async for part in stream.text_stream])
            streamed = await stream.get_final_message()
        counted = await client.messages.count_tokens(model="claude-x", messages=SAY)
    assert text == "Hello"
    assert streamed.content[0].model_dump() == whole.content[0].model_dump()
    assert streamed.usage.input_tokens == whole.usage.input_tokens == counted.input_tokens == 7
    target, headers, body = canned[0].asked[0]
    assert target.startswith("/v1/messages")
    assert headers["x-api-key"] == "sk-upstream"
    assert headers["anthropic-version"]
    assert "authorization" not in headers
    assert body["messages"] == SAY
    entries = live.log.entries
    assert [(e.surface, e.outcome, e.stream) for e in entries] == [
        ("messages", "ok", False),
        ("messages", "ok", True),
        ("messages", "ok", False),
    ]
    assert entries[1].usage is not None
    assert (entries[1].usage.input_tokens, entries[1].usage.output_tokens) == (7, 2)


async def test_messages_errors_are_the_sdks_own_classes(live: Live, canned: tuple[Canned, str]) -> None:
    async with anthropic_client(live) as client:
        canned[0].error = (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        with pytest.raises(anthropic.APIStatusError) as overloaded:
            await client.messages.create(model="claude-x", max_tokens=64, messages=SAY)
        assert (overloaded.value.status_code, overloaded.value.request_id is not None) == (529, True)
        canned[0].error = (
            400,
            {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: 5 > 4"}},
        )
        with pytest.raises(anthropic.BadRequestError, match="max_tokens: 5 > 4"):
            await client.messages.create(model="claude-x", max_tokens=64, messages=SAY)
        with pytest.raises(anthropic.AuthenticationError):
            await client.with_options(api_key="wrong").messages.create(model="claude-x", max_tokens=64, messages=SAY)
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.create(model="no-such", max_tokens=64, messages=SAY)
        canned[0].error, canned[0].cut = None, True
        with pytest.raises(anthropic.APIStatusError):
            async with client.messages.stream(model="claude-x", max_tokens=64, messages=SAY) as stream:
                await stream.get_final_message()
    assert live.log.entries[-1].outcome in CUT


# -- OpenAI Responses --


async def test_responses_unary_and_streamed_agree(live: Live, canned: tuple[Canned, str]) -> None:
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, max_retries=0) as client:
        whole = await client.responses.create(model="gpt-x", input="Say hello")
        async with client.responses.stream(model="gpt-x", input="Say hello") as stream:
            streamed = await stream.get_final_response()
    assert streamed.output_text == whole.output_text == "Hello"
    assert streamed.usage is not None
    assert whole.usage is not None
    assert streamed.usage.total_tokens == whole.usage.total_tokens == 9
    target, headers, body = canned[0].asked[0]
    assert (target, headers["authorization"], body["input"]) == ("/v1/responses", "Bearer sk-upstream", "Say hello")
    usage = live.log.entries[1].usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (7, 2)


async def test_a_cut_responses_stream_raises(live: Live, canned: tuple[Canned, str]) -> None:
    canned[0].cut = True
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, max_retries=0) as client:
        with pytest.raises(openai.APIError):
            async with client.responses.stream(model="gpt-x", input="Say hello") as stream:
                await stream.get_final_response()
    assert live.log.entries[-1].outcome in CUT


async def test_a_websocket_upgrade_on_responses_is_426(live: Live) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"authorization": f"Bearer {KEY}", "connection": "upgrade", "upgrade": "websocket"}
        answer = await client.get(f"{live.base_url}/responses", headers=headers)
    assert answer.status_code == 426


# -- Gemini --


@pytest.fixture(params=["", "/compatible"])
def google(live: Live, request: pytest.FixtureRequest) -> Iterator[genai.Client]:
    client = genai.Client(api_key=live.key, http_options={"base_url": live.origin + request.param})
    yield client
    client.close()


async def in_thread(function: Any) -> Any:
    with trio.fail_after(30):
        return await trio.to_thread.run_sync(function)


async def test_gemini_unary_and_streamed_agree(live: Live, google: genai.Client, canned: tuple[Canned, str]) -> None:
    models = google.models
    whole = await in_thread(lambda: models.generate_content(model="gemini-x", contents="Say hello"))
    parts = await in_thread(lambda: list(models.generate_content_stream(model="fast", contents="Say hello")))
    counted = await in_thread(lambda: models.count_tokens(model="gemini-x", contents="Say hello"))
    assert whole.text == "".join(part.text for part in parts) == "Hello"
    assert counted.total_tokens == 7
    targets = [target for target, _, _ in canned[0].asked]
    assert targets[1] == "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
    assert canned[0].asked[0][1]["x-goog-api-key"] == "sk-upstream"
    usage = live.log.entries[1].usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (7, 2)


@pytest.mark.parametrize("prefix", ["/v1beta", "/compatible/v1beta", "/v1", "/compatible/v1"])
async def test_gemini_without_alt_sse_is_one_json_array(live: Live, prefix: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"{live.origin}{prefix}/models/gm/gemini-x:streamGenerateContent?key={KEY}"
        answer = await client.post(url, json={"contents": []})
    assert answer.headers["content-type"].startswith("application/json")
    assert [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in answer.json()] == ["Hel", "lo"]


async def test_gemini_errors_are_the_sdks_own_classes(
    live: Live, google: genai.Client, canned: tuple[Canned, str]
) -> None:
    models = google.models
    canned[0].error = (400, {"error": {"code": 400, "message": "bad contents", "status": "INVALID_ARGUMENT"}})
    with pytest.raises(genai_errors.ClientError, match="bad contents"):
        await in_thread(lambda: models.generate_content(model="gemini-x", contents="x"))
    with pytest.raises(genai_errors.ClientError) as unknown:
        await in_thread(lambda: models.generate_content(model="no-such", contents="x"))
    assert unknown.value.code == 404
    canned[0].error, canned[0].cut = None, True
    with pytest.raises(genai_errors.APIError):
        await in_thread(lambda: list(models.generate_content_stream(model="gemini-x", contents="x")))


# -- lists --


async def test_each_family_lists_models_in_its_own_shape(live: Live, google: genai.Client) -> None:
    expected = {"fast", "claude-x", "gpt-x", "gemini-x"}
    async with anthropic_client(live) as client:
        assert {model.id async for model in client.models.list()} == expected
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key) as openai_client:
        assert {model.id async for model in openai_client.models.list()} == expected
    names = await in_thread(lambda: {model.name for model in google.models.list()})
    assert names == {f"models/{name}" for name in expected}
