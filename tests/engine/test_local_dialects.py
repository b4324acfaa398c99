"""The real local model in every client's dialect: those it imitates natively, the others translated.

A server that nobody here wrote and that imitates two vendors, not in all: its errors have one form in every dialect.
The model is too small to call tools; offered it gets them all the same.
"""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
import trio
from google import genai

from adapters.providers import local
from engine.demo.local_model import CONTEXT_TOKENS
from tests.engine.live import Live, document, running

pytestmark = pytest.mark.filterwarnings(
    # The SDKs leave their own generators to the garbage collector; trio notices, asyncio does not.
    "ignore:Async generator .* was garbage collected:ResourceWarning",
    "ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning",
)

SECONDS_MAX = 60
TOKENS = 6
QUESTION = "Why is the sky blue?"
SAY: list[Any] = [{"role": "user", "content": QUESTION}]
TOO_LONG = "word " * 2 * CONTEXT_TOKENS
AN_ASKED: dict[str, Any] = {"model": local.MODEL, "max_tokens": TOKENS, "messages": SAY}
RS_ASKED: dict[str, Any] = {"model": local.MODEL, "max_output_tokens": TOKENS, "temperature": 0, "input": QUESTION}
AN_TOOLS: Any = [{"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}]
RS_TOOLS: Any = [
    {"type": "function", "name": "weather", "strict": False, "parameters": {"type": "object", "properties": {}}}
]


@pytest.fixture
async def live(local_model_url: str) -> AsyncIterator[Live]:
    configuration = document("", providers=None, models=None) | {
        "providers": {local.PROVIDER.name: {"base_url": local_model_url, "models": [local.MODEL]}}
    }
    async with running(configuration) as gateway:
        with trio.fail_after(SECONDS_MAX):
            yield gateway


@pytest.fixture
async def messages(live: Live) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=live.origin, api_key=live.key, max_retries=0) as client:
        yield client


@pytest.fixture
async def responses(live: Live) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, max_retries=0) as client:
        yield client


async def test_messages_stream_says_what_the_unary_answer_says(live: Live, messages: anthropic.AsyncAnthropic) -> None:
    whole = await messages.messages.create(**AN_ASKED)
    async with messages.messages.stream(**AN_ASKED, tools=AN_TOOLS) as stream:
        pieces = [piece async for piece in stream.text_stream]
        streamed = await stream.get_final_message()
    assert len(pieces) > 1, "it came in one piece"
    assert streamed.content[0].type == whole.content[0].type == "text"
    assert (streamed.stop_reason, whole.stop_reason) == ("max_tokens", "max_tokens")
    assert streamed.usage.output_tokens == whole.usage.output_tokens == TOKENS
    assert "".join(pieces) == streamed.content[0].text
    entries = [await live.log.wait_entry(index) for index in range(2)]
    assert [(entry.surface, entry.outcome, entry.stream) for entry in entries] == [
        ("messages", "ok", False),
        ("messages", "ok", True),
    ]
    for entry in entries:
        assert entry.usage is not None
        assert (entry.usage.output_tokens, entry.usage.estimated) == (TOKENS, False)


async def test_messages_tokens_are_counted_by_the_model(messages: anthropic.AsyncAnthropic) -> None:
    counted = await messages.messages.count_tokens(model=local.MODEL, messages=SAY)
    whole = await messages.messages.create(**AN_ASKED)
    assert counted.input_tokens == whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0)


async def test_messages_errors_are_the_models(messages: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match=f"context size \\({CONTEXT_TOKENS} tokens\\)"):
        await messages.messages.create(**AN_ASKED | {"messages": [{"role": "user", "content": TOO_LONG}]})


async def test_responses_stream_says_what_the_unary_answer_says(live: Live, responses: openai.AsyncOpenAI) -> None:
    whole = await responses.responses.create(**RS_ASKED)
    async with responses.responses.stream(**RS_ASKED, tools=RS_TOOLS) as stream:
        events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    last = events[-1]
    assert last.type == "response.incomplete"
    streamed = last.response
    assert len(deltas) > 1, "it came in one piece"
    assert "".join(deltas) == streamed.output_text
    assert whole.output_text.strip()
    assert (streamed.status, whole.status) == ("incomplete", "incomplete")
    assert streamed.usage is not None
    assert whole.usage is not None
    assert streamed.usage.output_tokens == whole.usage.output_tokens == TOKENS
    entries = [await live.log.wait_entry(index) for index in range(2)]
    assert [(entry.surface, entry.outcome) for entry in entries] == [("responses", "ok")] * 2
    for entry in entries:
        assert entry.usage is not None
        assert (entry.usage.output_tokens, entry.usage.estimated) == (TOKENS, False)


@pytest.mark.parametrize("stream", [False, True])
async def test_gemini_is_translated(live: Live, stream: bool) -> None:
    options = genai.types.HttpOptions(base_url=live.origin, timeout=SECONDS_MAX * 1000)
    client = genai.Client(api_key=live.key, http_options=options)
    declared = genai.types.FunctionDeclaration(name="weather", description="d")
    config = genai.types.GenerateContentConfig(
        max_output_tokens=TOKENS,
        temperature=0,
        tools=[genai.types.Tool(function_declarations=[declared])],
        automatic_function_calling=genai.types.AutomaticFunctionCallingConfig(disable=True),
    )

    def ask() -> list[genai.types.GenerateContentResponse]:
        asked: dict[str, Any] = {"model": local.MODEL, "contents": QUESTION, "config": config}
        if stream:
            return list(client.models.generate_content_stream(**asked))
        return [client.models.generate_content(**asked)]

    chunks = await trio.to_thread.run_sync(ask)
    assert (len(chunks) > 2) is stream
    assert "".join(chunk.text or "" for chunk in chunks).strip()
    last = chunks[-1]
    assert last.candidates is not None
    assert last.candidates[0].finish_reason is genai.types.FinishReason.MAX_TOKENS
    assert last.usage_metadata is not None
    assert last.usage_metadata.candidates_token_count == TOKENS
    entry = await live.log.wait_entry(0)
    assert (entry.surface, entry.outcome, entry.stream) == ("gemini", "ok", stream)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_old_completions_are_its_own(live: Live, responses: openai.AsyncOpenAI, stream: bool) -> None:
    asked: dict[str, Any] = {"model": local.MODEL, "max_tokens": TOKENS, "prompt": "The sky is", "temperature": 0}
    if stream:
        pieces = [chunk.choices[0].text async for chunk in await responses.completions.create(**asked, stream=True)]
        assert len(pieces) > 1
        assert "".join(pieces).strip()
    else:
        whole = await responses.completions.create(**asked)
        assert whole.object == "text_completion"
        assert whole.choices[0].text.strip()
    entry = await live.log.wait_entry(0)
    assert (entry.surface, entry.outcome) == ("completions", "ok")


async def test_responses_errors_are_the_models(responses: openai.AsyncOpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=f"context size \\({CONTEXT_TOKENS} tokens\\)") as caught:
            await responses.responses.create(**RS_ASKED | {"input": TOO_LONG}, stream=stream)
        assert caught.value.type == "exceed_context_size_error"
