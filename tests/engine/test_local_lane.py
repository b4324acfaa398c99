"""The official OpenAI SDK against the real local model, through the gateway: only `base_url` and `api_key` are changed.

What the scripted upstream cannot show: that the lane holds with a server nobody here wrote. This one closes its
connection after every stream and after every error, knows no tools and no images, and is slow enough to be left.
"""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import trio

from adapters.providers import local
from engine.demo.local_model import CONTEXT_TOKENS, SLOTS
from tests.engine.live import Live, document, running

pytestmark = pytest.mark.filterwarnings(
    # The SDK leaves its own generators to the garbage collector when it stops at [DONE]; trio notices, asyncio does
    # not.
    "ignore:Async generator .* was garbage collected:ResourceWarning",
    "ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning",
)

SECONDS_MAX = 60
"""For an answer of a few tokens on a machine that is busy with something else."""

FREE_SECONDS_MAX = 15
"""For the next answer when all slots were left. Had they not been freed it would wait a minute on two cores."""

TOKENS = 6
ASKED: dict[str, Any] = {
    "model": local.MODEL,
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    "max_tokens": TOKENS,
    "temperature": 0,
}
USAGE = {"stream_options": {"include_usage": True}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}

both_clients = pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])


@pytest.fixture
async def live(local_model_url: str) -> AsyncIterator[Live]:
    provider = {"base_url": local_model_url, "models": [local.MODEL]}
    alias = {"provider": local.PROVIDER.name, "model": local.MODEL}
    configuration = document("", providers=None, models=None) | {
        "providers": {local.PROVIDER.name: provider},
        "models": {"fast": alias},
    }
    async with running(configuration) as gateway:
        with trio.fail_after(SECONDS_MAX):
            yield gateway


async def create(live: Live, *, sync: bool = False, **options: Any) -> Any:
    """Ask with one client of the SDK, sync in a thread or async on trio. Returns the answer, of a stream its chunks."""
    asked: Any = ASKED | options
    if sync:

        def ask() -> Any:
            with openai.OpenAI(base_url=live.base_url, api_key=live.key) as client:
                answer = client.chat.completions.create(**asked)
                return list(answer) if asked.get("stream") else answer

        return await trio.to_thread.run_sync(ask)
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key) as client:
        answer = await client.chat.completions.create(**asked)
        return [chunk async for chunk in answer] if asked.get("stream") else answer


def content_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# -- answers --


@both_clients
async def test_a_unary_answer(live: Live, sync: bool) -> None:
    completion = await create(live, sync=sync)
    assert completion.object == "chat.completion"
    assert completion.id.startswith("chatcmpl-")
    assert completion.model == local.MODEL
    (choice,) = completion.choices
    assert (choice.message.role, choice.finish_reason) == ("assistant", "length")
    assert choice.message.content.strip()
    assert completion.usage.completion_tokens == TOKENS
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + TOKENS > TOKENS
    assert completion._request_id == (await live.log.wait_entry()).request_id


@both_clients
async def test_a_stream_says_what_the_unary_answer_says(live: Live, sync: bool) -> None:
    chunks = await create(live, sync=sync, stream=True)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].id.startswith("chatcmpl-")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len([chunk for chunk in chunks if content_of([chunk])]) > 1, "it came in one piece"
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, "length"]
    assert content_of(chunks) == (await create(live)).choices[0].message.content


@both_clients
async def test_usage_that_is_asked_for_comes_last(live: Live, sync: bool) -> None:
    *chunks, last = await create(live, sync=sync, stream=True, **USAGE)
    assert all(chunk.usage is None for chunk in chunks)
    assert (last.choices, last.usage.completion_tokens, last.id) == ([], TOKENS, chunks[0].id)


@both_clients
async def test_usage_that_is_not_asked_for_is_metered_and_not_seen(live: Live, sync: bool) -> None:
    chunks = await create(live, sync=sync, stream=True)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    entry = await live.log.wait_entry()
    assert entry.usage is not None
    assert (entry.usage.output_tokens, entry.usage.estimated) == (TOKENS, False)


async def test_the_wire_ends_with_done_exactly_once(live: Live) -> None:
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key) as client:
        raw = await client.chat.completions.with_raw_response.create(**ASKED, stream=True)
        text = (await raw.http_response.aread()).decode()
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.headers["x-hedgerow-provider"] == local.PROVIDER.name
    assert text.count("[DONE]") == 1
    assert text.endswith("data: [DONE]\n\n")


async def test_a_stop_string_ends_the_answer(live: Live) -> None:
    said = content_of(await create(live, stream=True))
    chunks = await create(live, stream=True, stop=[said[-3:]])
    assert said.startswith(content_of(chunks))
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_one_request_after_another_though_the_server_closes_every_connection(live: Live) -> None:
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, max_retries=0) as client:
        for stream in (True, False, True, True, False, False):
            answer: Any = await client.chat.completions.create(**ASKED | {"max_tokens": 1}, stream=stream)
            if stream:
                assert [chunk async for chunk in answer]
    assert [entry.outcome for entry in live.log.entries] == ["ok"] * 6


async def test_models_are_listed_and_named_in_every_way(live: Live) -> None:
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key) as client:
        assert [model.id async for model in client.models.list()] == ["fast", local.MODEL]
        assert (await client.models.retrieve(local.MODEL)).owned_by == local.PROVIDER.name
    for name in ("fast", f"{local.PROVIDER.name}/{local.MODEL}"):
        assert (await create(live, model=name, max_tokens=1)).choices


# -- what the model does not know --


@both_ways
async def test_tools_pass_and_a_model_without_tools_answers_in_words(live: Live, stream: bool) -> None:
    answer = await create(live, stream=stream, tools=TOOLS, tool_choice="auto")
    said = content_of(answer) if stream else answer.choices[0].message.content
    assert said.strip()


@both_ways
async def test_an_image_is_refused_by_the_model_in_its_own_words(live: Live, stream: bool) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, IMAGE]}]
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, max_retries=0) as client:
        with pytest.raises(openai.InternalServerError, match="image input is not supported") as caught:
            await client.chat.completions.create(**ASKED | {"messages": messages}, stream=stream)
    assert (caught.value.status_code, caught.value.type) == (500, "server_error")


@both_clients
@both_ways
async def test_a_prompt_that_is_too_long_is_a_bad_request_in_the_models_words(
    live: Live, sync: bool, stream: bool
) -> None:
    messages = [{"role": "user", "content": "word " * 2 * CONTEXT_TOKENS}]
    with pytest.raises(openai.BadRequestError, match=f"context size \\({CONTEXT_TOKENS} tokens\\)") as caught:
        await create(live, sync=sync, stream=stream, messages=messages)
    assert caught.value.type == "exceed_context_size_error"
    assert len(live.log.entries) == 1, "the SDK does not try a bad request again"


async def test_content_in_parts_is_read(live: Live) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "Why is the sky blue?"}]}]
    parts = await create(live, messages=messages)
    assert parts.choices[0].message.content == (await create(live)).choices[0].message.content


# -- clients that leave --


async def test_clients_that_leave_in_the_middle_free_the_model(live: Live) -> None:
    endless: dict[str, Any] = {"max_tokens": CONTEXT_TOKENS // SLOTS - 100, "extra_body": {"ignore_eos": True}}
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, max_retries=0) as client:
        streams = [await client.chat.completions.create(**ASKED | endless, stream=True) for _ in range(SLOTS)]
        for stream in streams:
            while not content_of([await anext(stream)]):
                pass
        assert live.leases() == SLOTS
        for stream in streams:
            await stream.close()
    for index in range(SLOTS):
        assert (await live.log.wait_entry(index)).outcome == "client_gone"
    assert live.leases() == 0
    with trio.fail_after(FREE_SECONDS_MAX):
        assert (await create(live, max_tokens=1)).choices
