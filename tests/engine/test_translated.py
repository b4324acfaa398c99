"""Every client's SDK on every upstream's dialect, through the whole gateway: sixteen pairs, four of them native.

The upstream is canned: it says a sentence and calls a tool, unary and streamed, as its vendor writes that. What the SDK
makes of it must not depend on who said it. `tests/translation` holds the pairs to everything else.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import openai
import pytest
import trio
from google import genai

from tests.engine.canned import Reply, Upstream, serving
from tests.engine.live import KEY, Live, running
from tests.translation.cases import BY_DIALECT
from tests.translation.upstreams import Case

pytestmark = pytest.mark.filterwarnings(
    # The SDKs leave their own generators to the garbage collector; trio notices, asyncio does not.
    "ignore:Async generator .* was garbage collected:ResourceWarning",
    "ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning",
    "ignore::DeprecationWarning:google.*",
)

DIALECTS = ("chat", "responses", "messages", "gemini")
CASES: dict[str, Case] = {
    dialect: next(case for case in cases if case.name == "text and call") for dialect, cases in BY_DIALECT.items()
}
KINDS = {"chat": "compatible", "responses": "openai", "messages": "anthropic", "gemini": "gemini"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
SAY: list[Any] = [{"role": "user", "content": "Weather?"}]


@dataclass(frozen=True)
class Heard:
    """What an SDK made of an answer."""

    text: str
    calls: list[tuple[str, Any]]
    tokens: tuple[int, int]


class Canned(Upstream):
    """Answers in the dialect of the path it is asked at; `cut` streams end in the middle, `error` is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = False
        self.error: tuple[int, bytes] | None = None

    def answer(self, target: str, body: dict[str, Any]) -> Reply:
        if self.error is not None:
            return self.error[0], "application/json", self.error[1]
        marks = {"/chat/": "chat", "/responses": "responses", "/messages": "messages", "/models/": "gemini"}
        case = CASES[next(dialect for mark, dialect in marks.items() if mark in target)]
        if body.get("stream") or ":streamGenerateContent" in target:
            stream = case.stream()
            return 200, "text/event-stream", stream[: len(stream) // 2] if self.cut else stream
        return 200, "application/json", case.body


@pytest.fixture
async def canned() -> AsyncIterator[tuple[Canned, str]]:
    upstream = Canned()
    async with serving(upstream) as origin:
        yield upstream, origin


@pytest.fixture
async def live(canned: tuple[Canned, str]) -> AsyncIterator[Live]:
    _, origin = canned
    providers = {
        dialect: {
            "kind": kind,
            "base_url": f"{origin}/v1beta" if dialect == "gemini" else f"{origin}/v1",
            "key": "sk-upstream",
            "models": [f"{dialect}-1"],
            "dialects": [dialect],
        }
        for dialect, kind in KINDS.items()
    }
    providers["openai"] = {"base_url": f"{origin}/v1", "key": "sk-upstream", "models": ["gpt-5.5"]}
    document = {
        "server": {"environment_providers": False, "console": False},
        "keys": {"test": {"value": KEY}},
        "providers": providers,
        "models": {"strict": {"provider": "messages", "model": "messages-1", "on_loss": "strict"}},
    }
    async with running(document) as gateway:
        yield gateway


# -- the clients -------------------------------------------------------------------------------------------------------


async def ask_chat(live: Live, model: str, *, stream: bool) -> Heard:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    asked: dict[str, Any] = {"model": model, "messages": SAY, "tools": tools}
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, max_retries=0) as client:
        if stream:
            options: Any = {"include_usage": True}
            async with client.chat.completions.stream(**asked, stream_options=options) as events:
                async for _ in events:
                    pass
                answer: Any = await events.get_final_completion()
        else:
            answer = await client.chat.completions.create(**asked)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]
    return Heard(message.content, calls, (answer.usage.prompt_tokens, answer.usage.completion_tokens))


async def ask_responses(live: Live, model: str, *, stream: bool) -> Heard:
    tools: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
    asked: dict[str, Any] = {"model": model, "input": "Weather?", "tools": tools}
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, max_retries=0) as client:
        if stream:
            async with client.responses.stream(**asked) as events:
                answer: Any = await events.get_final_response()
        else:
            answer = await client.responses.create(**asked)
    assert answer.status == "completed"
    calls = [(item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
    return Heard(answer.output_text, calls, (answer.usage.input_tokens, answer.usage.output_tokens))


async def ask_messages(live: Live, model: str, *, stream: bool) -> Heard:
    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
    asked: dict[str, Any] = {"model": model, "messages": SAY, "tools": tools, "max_tokens": 100}
    async with anthropic.AsyncAnthropic(base_url=live.origin, api_key=live.key, max_retries=0) as client:
        if stream:
            async with client.messages.stream(**asked) as events:
                answer: Any = await events.get_final_message()
        else:
            answer = await client.messages.create(**asked)
    assert answer.stop_reason == "tool_use"
    text = "".join(block.text for block in answer.content if block.type == "text")
    calls = [(block.name, block.input) for block in answer.content if block.type == "tool_use"]
    return Heard(text, calls, (answer.usage.input_tokens, answer.usage.output_tokens))


async def ask_gemini(live: Live, model: str, *, stream: bool) -> Heard:
    types = genai.types
    declared = types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declared])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    client = genai.Client(api_key=live.key, http_options=types.HttpOptions(base_url=live.origin))

    def ask() -> list[Any]:
        asked: dict[str, Any] = {"model": model, "contents": "Weather?", "config": config}
        models = client.models
        return list(models.generate_content_stream(**asked)) if stream else [models.generate_content(**asked)]

    chunks = await trio.to_thread.run_sync(ask)
    parts = [
        part for chunk in chunks for part in (chunk.candidates[0].content.parts if chunk.candidates else None) or ()
    ]
    usage = chunks[-1].usage_metadata
    calls = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
    text = "".join(part.text for part in parts if part.text and not part.thought)
    return Heard(text, calls, (usage.prompt_token_count, usage.candidates_token_count))


CLIENTS: dict[str, Callable[..., Awaitable[Heard]]] = {
    "chat": ask_chat,
    "responses": ask_responses,
    "messages": ask_messages,
    "gemini": ask_gemini,
}


def expected(case: Case) -> tuple[str, list[tuple[str, Any]]]:
    texts = [block[1] for block in case.seen.blocks if block[0] == "text"]
    return "".join(texts), [(block[2], block[3]) for block in case.seen.blocks if block[0] == "call"]


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("upstream", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
async def test_every_client_understands_every_upstream(
    live: Live, canned: tuple[Canned, str], client: str, upstream: str, stream: bool
) -> None:
    heard = await CLIENTS[client](live, f"{upstream}-1", stream=stream)
    text, calls = expected(CASES[upstream])
    assert (heard.text, heard.calls) == (text, calls)
    usage = CASES[upstream].seen.usage
    if usage is not None:
        assert heard.tokens == (usage.input, usage.output)
    entry = await live.log.wait_entry(0)
    assert (entry.surface, entry.outcome, entry.provider, entry.stream) == (client, "ok", upstream, stream)
    assert entry.usage is not None
    target, headers, body = canned[0].asked[0]
    assert {"authorization", "x-api-key", "x-goog-api-key"} & headers.keys()
    assert KEY not in str(headers)
    assert "weather" in json.dumps(body)
    assert "Weather?" in json.dumps(body)
    assert target


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": SAY}),
    "responses": ("/v1/responses", {"input": "Hi"}),
    "messages": ("/v1/messages", {"messages": SAY, "max_tokens": 10}),
    "gemini": ("/v1beta/models/{model}:{method}", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}),
}


async def post(live: Live, client: str, model: str, *, stream: bool, **more: Any) -> httpx.Response:
    path, body = REQUESTS[client]
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    if client != "gemini":
        body = {**body, "model": model, "stream": stream}
    async with httpx.AsyncClient(base_url=live.origin, headers={"authorization": f"Bearer {live.key}"}) as http:
        return await http.post(path.format(model=model, method=method), json={**body, **more})


ERRORS = {
    "chat": b'{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded","param":null}}',
    "responses": b'{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded","param":null}}',
    "messages": b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}',
    "gemini": b'{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}',
}


@pytest.mark.parametrize("upstream", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
async def test_errors_come_in_the_clients_own_words(
    live: Live, canned: tuple[Canned, str], client: str, upstream: str
) -> None:
    canned[0].error = (429, ERRORS[upstream])
    answer = await post(live, client, f"{upstream}-1", stream=True)
    assert answer.status_code == 429
    assert answer.headers["retry-after"]
    error = answer.json()["error"]
    assert error["message"] == "slow down"
    own = {"chat": "code", "responses": "code", "messages": "type", "gemini": "status"}[client]
    words = {
        "chat": "rate_limit",
        "responses": "rate_limit",
        "messages": "rate_limit_error",
        "gemini": "RESOURCE_EXHAUSTED",
    }
    if client == upstream or client in {"messages", "gemini"}:
        assert words[client] in str(error[own])


@pytest.mark.parametrize("upstream", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
async def test_a_cut_stream_is_an_error_and_never_an_ending(
    live: Live, canned: tuple[Canned, str], client: str, upstream: str
) -> None:
    canned[0].cut = True
    try:
        answer = await post(live, client, f"{upstream}-1", stream=True)
        said = answer.text
    except httpx.RemoteProtocolError:
        assert client == "gemini", "only there a connection is cut behind the error"
        said = ""
    if client != "gemini":
        assert "error" in said
    for ending in ("[DONE]", "message_stop", "response.completed", 'finish_reason":"', "finishReason"):
        assert ending not in said
    entry = await live.log.wait_entry(0)
    assert entry.outcome in {"incomplete", "upstream_error"}


async def test_what_is_dropped_is_named_and_refused_where_the_route_is_strict(live: Live) -> None:
    answer = await post(live, "chat", "messages-1", stream=False, seed=7, user="u")
    assert answer.status_code == 200
    assert answer.headers["x-hedgerow-dropped"] == "seed"
    refused = await post(live, "chat", "strict", stream=False, seed=7)
    assert refused.status_code == 400
    assert (refused.json()["error"]["code"], refused.json()["error"]["param"]) == ("unsupported_parameter", "seed")
    impossible = await post(live, "chat", "messages-1", stream=False, logit_bias={"1": 5})
    assert impossible.status_code == 400
    assert impossible.json()["error"]["param"] == "logit_bias"
    native = await post(live, "chat", "chat-1", stream=False, seed=7, logit_bias={"1": 5})
    assert native.status_code == 200
    assert "x-hedgerow-dropped" not in native.headers


@pytest.mark.parametrize(
    ("path", "body", "member"),
    [
        ("/v1/messages/count_tokens", {"model": "chat-1", "messages": SAY}, "input_tokens"),
        ("/v1beta/models/chat-1:countTokens", {"contents": [{"parts": [{"text": "How many?"}]}]}, "totalTokens"),
    ],
)
async def test_tokens_are_estimated_where_the_upstream_has_no_word_for_a_count(
    live: Live, canned: tuple[Canned, str], path: str, body: dict[str, Any], member: str
) -> None:
    async with httpx.AsyncClient(base_url=live.origin, headers={"x-api-key": live.key}) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 200
    assert 0 < answer.json()[member] < 50
    assert canned[0].asked == []


@pytest.mark.parametrize("upstream", DIALECTS)
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_the_old_completions_are_translated(live: Live, upstream: str, stream: bool) -> None:
    async with openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, max_retries=0) as client:
        asked: dict[str, Any] = {"model": f"{upstream}-1", "prompt": "Weather?"}
        if stream:
            chunks = [chunk async for chunk in await client.completions.create(**asked, stream=True)]
        else:
            chunks = [await client.completions.create(**asked)]
    assert "".join(chunk.choices[0].text for chunk in chunks) == expected(CASES[upstream])[0]
    assert chunks[-1].choices[0].finish_reason == "stop"
    entry = await live.log.wait_entry(0)
    assert (entry.surface, entry.outcome) == ("completions", "ok")


@pytest.mark.parametrize("upstream", DIALECTS)
async def test_a_stream_may_be_one_json_array(live: Live, upstream: str) -> None:
    async with httpx.AsyncClient(base_url=live.origin, headers={"x-goog-api-key": live.key}) as http:
        body = {"contents": [{"role": "user", "parts": [{"text": "Weather?"}]}]}
        answer = await http.post(f"/v1beta/models/{upstream}-1:streamGenerateContent", json=body)
    assert answer.headers["content-type"].startswith("application/json")
    chunks = answer.json()
    assert len(chunks) > 1
    contents = [chunk["candidates"][0].get("content", {}) for chunk in chunks if chunk.get("candidates")]
    parts = [part for content in contents for part in content.get("parts", ())]
    text = "".join(part["text"] for part in parts if "text" in part and not part.get("thought"))
    calls = [(part["functionCall"]["name"], part["functionCall"]["args"]) for part in parts if "functionCall" in part]
    assert (text, calls) == expected(CASES[upstream])


async def test_a_model_that_thinks_and_calls_in_one_dialect_alone_is_asked_in_that(
    live: Live, canned: tuple[Canned, str]
) -> None:
    async with httpx.AsyncClient(base_url=live.origin, headers={"x-api-key": live.key}) as http:
        tools = [{"name": "weather", "input_schema": SCHEMA}]
        body = {"model": "gpt-5.5", "max_tokens": 100, "messages": SAY, "tools": tools}
        translated = await http.post("/v1/messages", json=body)
        native = await http.post("/v1/chat/completions", json={"model": "gpt-5.5", "messages": SAY})
    assert (translated.status_code, native.status_code) == (200, 200)
    assert [target for target, _, _ in canned[0].asked] == ["/v1/responses", "/v1/chat/completions"]
