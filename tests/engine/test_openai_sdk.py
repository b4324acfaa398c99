"""The official OpenAI SDK against the gateway, with nothing changed but `base_url` and `api_key`."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
import trio

from bench import upstream
from bench.upstream import ScriptedUpstream
from tests.engine.live import Live, document, running

pytestmark = pytest.mark.filterwarnings(
    # The SDK leaves its own generators to the garbage collector when it stops at [DONE]; trio notices, asyncio does
    # not.
    "ignore:Async generator .* was garbage collected:ResourceWarning",
    "ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning",
)

MESSAGES: list[Any] = [{"role": "user", "content": "Say hello"}]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
VISION: list[Any] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {
                "type": "image_url",
                "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 5000, "detail": "low"},
            },
        ],
    }
]


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedUpstream]:
    async with upstream.running() as server:
        yield server


@pytest.fixture
async def live(scripted: ScriptedUpstream) -> AsyncIterator[Live]:
    async with running(document(scripted.base_url)) as gateway:
        yield gateway


async def blocking(function: Callable[[openai.OpenAI], Any], live: Live, **options: Any) -> Any:
    """Run `function` with a synchronous client in a thread, where synchronous clients live."""

    def run() -> Any:
        with openai.OpenAI(
            base_url=live.base_url, api_key=live.key, **{"max_retries": 0, "timeout": 30, **options}
        ) as client:
            return function(client)

    return await trio.to_thread.run_sync(run)


def client_of(live: Live, **options: Any) -> openai.AsyncOpenAI:
    """An asynchronous client, on trio."""
    return openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, **{"max_retries": 0, "timeout": 30, **options})


# -- unary --


async def test_a_unary_answer_is_the_upstreams_own(live: Live, scripted: ScriptedUpstream) -> None:
    completion = await blocking(
        lambda client: client.chat.completions.create(model="scripted", messages=MESSAGES), live
    )
    assert completion.object == "chat.completion"
    assert completion.choices[0].message.content
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0
    record = scripted.log[0]
    assert record.header("authorization") == "Bearer sk-upstream"
    assert record.header("accept-encoding") == "identity"
    assert record.header("x-stainless-lang") is None
    assert record.json["messages"] == MESSAGES


async def test_async_unary_on_trio(live: Live) -> None:
    async with client_of(live) as client:
        completion = await client.chat.completions.create(model="scripted", messages=MESSAGES)
    assert completion.choices[0].message.content


async def test_request_ids_go_in_and_come_out(live: Live) -> None:
    async with client_of(live) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="scripted", messages=MESSAGES, extra_headers={"x-request-id": "mine-42"}
        )
        assert raw.headers["x-request-id"] == "mine-42"
        completion = await client.chat.completions.create(model="scripted", messages=MESSAGES)
    assert completion._request_id
    assert completion._request_id.startswith("req_")
    assert [entry.request_id for entry in live.log.entries] == ["mine-42", completion._request_id]


async def test_unknown_fields_pass_and_an_alias_is_replaced(live: Live, scripted: ScriptedUpstream) -> None:
    async with client_of(live) as client:
        await client.chat.completions.create(
            model="fast", messages=MESSAGES, extra_body={"top_k": 40, "x_vendor": {"deep": [1.50, None]}}, seed=7
        )
    body = scripted.log[0].body
    assert scripted.log[0].json["model"] == "scripted"
    assert b'"x_vendor":{"deep":[1.5,null]}' in body.replace(b" ", b"")
    assert scripted.log[0].json["seed"] == 7


async def test_vision_and_tools_pass_through(live: Live, scripted: ScriptedUpstream) -> None:
    async with client_of(live) as client:
        await client.chat.completions.create(model="scripted", messages=VISION)
        called = await client.chat.completions.create(
            model="scripted",
            messages=MESSAGES,
            tools=TOOLS,
            tool_choice={"type": "function", "function": {"name": "weather"}},
        )
    assert scripted.log[0].json["messages"] == VISION
    assert scripted.log[1].json["tools"] == TOOLS
    assert called.choices[0].finish_reason == "tool_calls"
    calls = called.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "weather"
    assert "city" in json.loads(calls[0].function.arguments)


# -- streams --


async def test_a_stream_without_usage_asked_has_none_and_is_metered_all_the_same(
    live: Live, scripted: ScriptedUpstream
) -> None:
    async with client_of(live) as client:
        chunks = [
            c async for c in await client.chat.completions.create(model="scripted", messages=MESSAGES, stream=True)
        ]
    assert "".join(c.choices[0].delta.content or "" for c in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(c.usage is None for c in chunks)
    assert len({c.id for c in chunks}) == 1
    assert scripted.log[0].json["stream_options"] == {"include_usage": True}
    entry = await live.log.wait_entry()
    assert entry.usage is not None
    assert entry.usage.output_tokens > 0
    assert entry.outcome == "ok"
    assert entry.ttft_ms is not None


async def test_a_stream_with_usage_asked_ends_with_it(live: Live) -> None:
    def run(client: openai.OpenAI) -> list[Any]:
        asked: Any = {"include_usage": True}
        return list(
            client.chat.completions.create(model="scripted", messages=MESSAGES, stream=True, stream_options=asked)
        )

    chunks = await blocking(run, live)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0


async def test_streamed_tool_calls_accumulate(live: Live) -> None:
    async with (
        client_of(live) as client,
        client.chat.completions.stream(
            model="scripted",
            messages=MESSAGES,
            tools=TOOLS,
            tool_choice={"type": "function", "function": {"name": "weather"}},
        ) as stream,
    ):
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.name == "weather"
    assert "city" in json.loads(calls[0].function.arguments)


async def test_the_wire_ends_with_done_exactly_once(live: Live) -> None:
    async with client_of(live) as client:
        raw = await client.chat.completions.with_raw_response.create(model="scripted", messages=MESSAGES, stream=True)
        text = (await raw.http_response.aread()).decode()
    assert raw.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert text.count("data: [DONE]\n\n") == 1
    assert text.endswith("data: [DONE]\n\n")


async def test_a_stream_cut_in_the_middle_raises(live: Live, scripted: ScriptedUpstream) -> None:
    delta = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Hel"}}]}
    scripted.enqueue([{"event": delta}, {"chunked_cut": True}])
    seen = []
    async with client_of(live) as client:
        stream = await client.chat.completions.create(model="scripted", messages=MESSAGES, stream=True)
        seen.append((await anext(stream)).choices[0].delta.content)
        with pytest.raises(openai.APIError) as caught:
            await anext(stream)
    assert seen == ["Hel"]
    assert caught.value.code == "stream_incomplete"
    assert (await live.log.wait_entry()).outcome == "incomplete"


# -- errors --

ERRORS: list[tuple[str, list[Any], type[openai.APIStatusError], int]] = [
    (
        "400",
        [
            {
                "status": 400,
                "body": {
                    "error": {
                        "message": "bad temperature",
                        "type": "invalid_request_error",
                        "param": "temperature",
                        "code": "invalid_value",
                    }
                },
            }
        ],
        openai.BadRequestError,
        400,
    ),
    (
        "404",
        [
            {
                "status": 404,
                "body": {
                    "error": {"message": "no such model", "type": "invalid_request_error", "code": "model_not_found"}
                },
            }
        ],
        openai.NotFoundError,
        404,
    ),
    ("422", [{"status": 422, "body": {"error": {"message": "unprocessable"}}}], openai.UnprocessableEntityError, 422),
    (
        "429",
        [
            {
                "status": 429,
                "headers": {"retry-after": "7"},
                "body": {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}},
            }
        ],
        openai.RateLimitError,
        429,
    ),
    ("500", [{"status": 500, "body": {"error": {"message": "oops"}}}], openai.InternalServerError, 500),
    (
        "503 html",
        [{"status": 503, "headers": {"content-type": "text/html"}, "body": "<html>busy</html>"}],
        openai.InternalServerError,
        503,
    ),
    ("reset", [{"reset": True}], openai.InternalServerError, 502),
    ("closed", [{"close": True}], openai.InternalServerError, 502),
    ("garbage", [{"garbage": True}], openai.InternalServerError, 502),
    (
        "error in a 200",
        [{"status": 200, "body": {"error": {"message": "hidden", "code": 529}}}],
        openai.InternalServerError,
        503,
    ),
    (
        "our credential refused",
        [{"status": 401, "body": {"error": {"message": "bad key sk-upstream"}}}],
        openai.InternalServerError,
        502,
    ),
]


@pytest.mark.parametrize(("script", "kind", "status"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_upstream_errors_are_typed_exceptions(
    live: Live,
    scripted: ScriptedUpstream,
    script: list[Any],
    kind: type[openai.APIStatusError],
    status: int,
    stream: bool,
) -> None:
    scripted.enqueue(script)
    async with client_of(live) as client:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(model="scripted", messages=MESSAGES, stream=stream)
    assert caught.value.status_code == status
    assert "sk-upstream" not in str(caught.value.body)
    body = script[0].get("body")
    if isinstance(body, dict) and status < 500:
        assert caught.value.body == {"type": None, "param": None, "code": None, **body["error"]} | {
            "type": caught.value.type,
            "code": caught.value.code,
        }
        assert (
            caught.value.message.endswith(body["error"]["message"]) or body["error"]["message"] in caught.value.message
        )
    if status == 429:
        assert caught.value.response.headers["retry-after"] == "7"
    assert (await live.log.wait_entry()).status == status


async def test_our_own_refusals_are_typed_exceptions_too(live: Live) -> None:
    async with client_of(live) as client:
        with pytest.raises(openai.AuthenticationError) as unauthorized:
            await client.with_options(api_key="sk-wrong").chat.completions.create(model="scripted", messages=MESSAGES)
        assert unauthorized.value.code == "invalid_api_key"
        with pytest.raises(openai.BadRequestError) as missing:
            await client.post("/chat/completions", body={"messages": MESSAGES}, cast_to=object)
        assert missing.value.param == "model"
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.get("/nonsense", cast_to=object)
        assert unknown.value.code == "unknown_url"


async def test_sdk_retries_reach_the_next_answer(live: Live, scripted: ScriptedUpstream) -> None:
    scripted.enqueue([{"status": 503, "headers": {"retry-after-ms": "10"}, "body": {"error": {"message": "busy"}}}])
    async with client_of(live, max_retries=2) as client:
        completion = await client.chat.completions.create(model="scripted", messages=MESSAGES)
    assert completion.choices
    assert len(scripted.log) == 2


# -- models --


async def test_model_lists_and_names_with_slashes(live: Live) -> None:
    async with client_of(live) as client:
        names = [model.id async for model in client.models.list()]
        assert names == ["fast", "scripted"]
        assert (await client.models.retrieve("scripted")).owned_by == "scripted-1"
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("no/such")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("name", ["scripted", "fast", "scripted-1/scripted", "scripted-1/any/thing", "unlisted"])
async def test_every_way_to_name_a_model(live: Live, scripted: ScriptedUpstream, name: str) -> None:
    async with client_of(live) as client:
        await client.chat.completions.create(model=name, messages=MESSAGES)
    expected = {"fast": "scripted", "scripted-1/scripted": "scripted", "scripted-1/any/thing": "any/thing"}.get(
        name, name
    )
    assert scripted.log[0].json["model"] == expected


async def test_api_v1_serves_what_v1_serves(live: Live) -> None:
    client = openai.AsyncOpenAI(base_url=f"{live.origin}/api/v1", api_key=live.key, max_retries=0)
    async with client:
        assert (await client.chat.completions.create(model="scripted", messages=MESSAGES)).choices
        assert [model.id async for model in client.models.list()]
