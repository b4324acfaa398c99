"""The scripted upstream in all four dialects: what the vendors' own SDKs, straight against it, understand of it."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
import trio
import trio.testing
from google import genai
from hypothesis import given
from hypothesis import strategies as st

from adapters import registry
from bench import dialects, upstream
from bench.answers import Options, compose
from bench.asked import Asked, Tool, Turn, UnreadableError
from bench.dialects import Dialect
from bench.playbook import Ending
from bench.script import parse_script
from bench.upstream import ScriptedUpstream
from tests.engine.clients import ask
from tests.translation import oracle
from tests.translation.seen import Counts, Seen, call, reasoning, text

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:google.*")

NAMES = ("chat", "responses", "messages", "gemini")
SPOKEN: dict[str, Dialect] = dict(zip(NAMES, dialects.DIALECTS, strict=True))
HEARD = "The scripted upstream heard: Say hello"
ASKED = Asked(model="m", turns=(Turn("user", "Say hello"),))
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
CALLING = Asked(model="m", turns=ASKED.turns, tools=(Tool("weather", SCHEMA),), forced="weather")

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
}
STREAMS = {**PATHS, "gemini": "/v1beta/models/m:streamGenerateContent?alt=sse"}
SAY: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "Say hello"}]},
    "responses": {"model": "m", "input": "Say hello"},
    "messages": {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Say hello"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Say hello"}]}]},
}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedUpstream]:
    with trio.fail_after(30):
        async with upstream.running() as running:
            yield running


@pytest.fixture
async def http(server: ScriptedUpstream) -> AsyncIterator[httpx.AsyncClient]:
    origin = server.base_url.removesuffix("/v1")
    async with httpx.AsyncClient(base_url=origin, trust_env=False) as client:
        yield client


def body(dialect: str, *script: dict[str, Any], stream: bool = False) -> dict[str, Any]:
    fields = {**SAY[dialect], "x_script": list(script)} if script else SAY[dialect]
    return {**fields, "stream": True} if stream and dialect != "gemini" else fields


def path(dialect: str, *, stream: bool) -> str:
    return (STREAMS if stream else PATHS)[dialect]


# -- documents and streams, as the SDKs read them --


def seen(name: str, asked: Asked, options: Options, *, stream: bool) -> Seen:
    dialect = SPOKEN[name]
    answer = compose(asked, options, 7)
    if not stream:
        return oracle.whole(name, dialect.document(answer).encode())
    pieces = []
    for events in dialect.beats(answer):
        for event in events:
            lead = f"event: {event.name}\n" if event.name else ""
            pieces.append(f"{lead}data: {event.text}\n\n".encode())
    return oracle.streamed(name, pieces)


FORMS = [(name, stream) for name in NAMES for stream in (False, True)]


def in_all_forms(asked: Asked, options: Options) -> Iterator[tuple[str, Seen]]:
    for name, stream in FORMS:
        yield f"{name}, stream: {stream}", seen(name, asked, options, stream=stream)


def test_text_and_usage_are_understood() -> None:
    for where, found in in_all_forms(ASKED, Options()):
        assert found.blocks == (text(HEARD),), where
        assert found.usage == Counts(2, 6), where
        assert found.finish in {"stop", "completed", "end_turn", "STOP"}, where


def test_reasoning_is_understood() -> None:
    for where, found in in_all_forms(ASKED, Options(content="Hello there", reasoning="let me think")):
        assert found.blocks == (reasoning("let me think"), text("Hello there")), where
        assert found.usage is not None
        assert (found.usage.input, found.usage.output) == (2, 5), where


def test_a_forced_call_is_understood() -> None:
    for where, found in in_all_forms(CALLING, Options()):
        assert found.blocks == (call(found.blocks[0][1], "weather", '{"city":"example","days":1}'),), where
        assert found.blocks[0][1], where
        assert found.finish in {"tool_calls", "completed", "tool_use", "STOP"}, where


def test_a_limit_cuts() -> None:
    limited = Asked(model="m", turns=ASKED.turns, output_tokens_max=2)
    for where, found in in_all_forms(limited, Options()):
        assert found.blocks == (text("The scripted"),), where
        assert found.finish in {"length", "incomplete/max_output_tokens", "max_tokens", "MAX_TOKENS"}, where


def test_tokens_are_coalesced() -> None:
    for name, dialect in SPOKEN.items():
        for coalesce, chunks in ((1, 25), (4, 7)):
            answer = compose(ASKED, Options(tokens=25, coalesce=coalesce), 0)
            assert len(list(dialect.beats(answer))) == 1 + chunks + 1, name
            found = seen(name, ASKED, Options(tokens=25, coalesce=coalesce), stream=True)
            assert found.usage == Counts(2, 25), name


def test_an_answer_is_written_the_same_way_each_time() -> None:
    for name, dialect in SPOKEN.items():
        first, second = (list(dialect.beats(compose(CALLING, Options(reasoning="hm"), 3))) for _ in range(2))
        assert first == second, name


# -- requests, as the SDKs write them --

WEATHER: Any = {"name": "weather", "description": "Weather of a city"}
TOLD = {
    "model": "m",
    "system": "Be brief.",
    "turns": [
        ["user", "How is Rome?"],
        ["call", 'weather {"city": "Rome"}'],
        ["tool", "sunny"],
        ["user", "And Oslo?"],
    ],
    "tools": ["weather"],
    "forced": None,
    "shape": False,
    "output_tokens_max": 500,
    "temperature": 0.5,
}


def tell_chat(origin: str) -> str | None:
    function = {"name": "weather", "arguments": '{"city":"Rome"}'}
    with openai.OpenAI(base_url=f"{origin}/v1", api_key="k", max_retries=0) as client:
        said: Any = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How is Rome?"},
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": "c", "content": "sunny"},
            {"role": "user", "content": [{"type": "text", "text": "And Oslo?"}]},
        ]
        tools: Any = [{"type": "function", "function": {**WEATHER, "parameters": SCHEMA}}]
        answer = client.chat.completions.create(
            model="m", messages=said, tools=tools, max_completion_tokens=500, temperature=0.5
        )
        return answer.choices[0].message.content


def tell_responses(origin: str) -> str | None:
    with openai.OpenAI(base_url=f"{origin}/v1", api_key="k", max_retries=0) as client:
        items: Any = [
            {"role": "user", "content": "How is Rome?"},
            {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city":"Rome"}'},
            {"type": "function_call_output", "call_id": "c", "output": "sunny"},
            {"role": "user", "content": [{"type": "input_text", "text": "And Oslo?"}]},
        ]
        tools: Any = [{"type": "function", "strict": False, **WEATHER, "parameters": SCHEMA}]
        answer = client.responses.create(
            model="m", instructions="Be brief.", input=items, tools=tools, max_output_tokens=500, temperature=0.5
        )
        return answer.output_text


def tell_messages(origin: str) -> str | None:
    with anthropic.Anthropic(base_url=origin, api_key="k", max_retries=0) as client:
        use = {"type": "tool_use", "id": "c", "name": "weather", "input": {"city": "Rome"}}
        result = {"type": "tool_result", "tool_use_id": "c", "content": "sunny"}
        said: Any = [
            {"role": "user", "content": "How is Rome?"},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result, {"type": "text", "text": "And Oslo?"}]},
        ]
        tools: Any = [{**WEATHER, "input_schema": SCHEMA}]
        answer = client.messages.create(
            model="m",
            system="Be brief.",
            messages=said,
            tools=tools,
            max_tokens=500,
            extra_body={"temperature": 0.5},  # newer models take none, so this SDK has no argument for it
        )
        return answer.content[0].text if answer.content[0].type == "text" else None


def tell_gemini(origin: str) -> str | None:
    contents: Any = [
        {"role": "user", "parts": [{"text": "How is Rome?"}]},
        {"role": "model", "parts": [{"function_call": {"name": "weather", "args": {"city": "Rome"}}}]},
        {"role": "user", "parts": [{"function_response": {"name": "weather", "response": {"output": "sunny"}}}]},
        {"role": "user", "parts": [{"text": "And Oslo?"}]},
    ]
    config: Any = {
        "system_instruction": "Be brief.",
        "tools": [{"function_declarations": [{**WEATHER, "parameters_json_schema": SCHEMA}]}],
        "max_output_tokens": 500,
        "temperature": 0.5,
    }
    client = genai.Client(api_key="k", http_options={"base_url": origin})
    try:
        return client.models.generate_content(model="m", contents=contents, config=config).text
    finally:
        client.close()


TELL = {"chat": tell_chat, "responses": tell_responses, "messages": tell_messages, "gemini": tell_gemini}


@pytest.mark.parametrize("dialect", NAMES)
async def test_what_an_sdk_asks_is_told(server: ScriptedUpstream, dialect: str) -> None:
    server.set_default([{"answer": {"tell": True}}])
    told = await trio.to_thread.run_sync(TELL[dialect], server.base_url.removesuffix("/v1"))
    assert json.loads(told or "") == TOLD


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", NAMES)
async def test_an_sdk_hears_the_usual_answer(server: ScriptedUpstream, dialect: str, stream: bool) -> None:
    heard = await ask(dialect, server.base_url.removesuffix("/v1"), "m", stream=stream)
    assert (heard.text, heard.failed) == (HEARD, False)
    record = server.log[0]
    if "x-received-digest" in heard.headers:  # one SDK keeps the headers of streams to itself
        assert heard.headers["x-received-digest"] == hashlib.sha256(record.body).hexdigest()


WORDS = {
    "chat": "overloaded",
    "responses": "server_is_overloaded",
    "messages": "overloaded_error",
    "gemini": "UNAVAILABLE",
}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("dialect", NAMES)
async def test_an_sdk_raises_an_error_in_the_stream(server: ScriptedUpstream, dialect: str, begun: bool) -> None:
    begin: list[dict[str, Any]] = [{"answer": {"cut_after": 1}}] if begun else []
    server.set_default([*begin, {"error": 503, "message": "because"}])
    heard = await ask(dialect, server.base_url.removesuffix("/v1"), "m", stream=True)
    assert (heard.failed, heard.word, heard.text) == (True, WORDS[dialect], "The" if begun else "")
    assert "because" in heard.message


@pytest.mark.parametrize("dialect", NAMES)
async def test_an_sdk_raises_an_error_status(server: ScriptedUpstream, dialect: str) -> None:
    server.set_default([{"status": 429, "code": "rate_limit_exceeded"}])
    heard = await ask(dialect, server.base_url.removesuffix("/v1"), "m", stream=False)
    words = {"messages": "rate_limit_error", "gemini": "RESOURCE_EXHAUSTED"}
    assert (heard.status, heard.word) == (429, words.get(dialect, "rate_limit_exceeded"))


async def test_each_client_lists_models_in_its_own_shape(server: ScriptedUpstream) -> None:
    origin = server.base_url.removesuffix("/v1")

    def names() -> list[str | None]:
        with openai.OpenAI(base_url=f"{origin}/v1", api_key="k") as one:
            found = [entry.id for entry in one.models.list()]
        with anthropic.Anthropic(base_url=origin, api_key="k") as two:
            found += [entry.id for entry in two.models.list()]
        three = genai.Client(api_key="k", http_options={"base_url": origin})
        try:
            return [*found, *(entry.name for entry in three.models.list())]
        finally:
            three.close()

    assert await trio.to_thread.run_sync(names) == ["scripted", "scripted", "models/scripted"]


@pytest.mark.parametrize("dialect", NAMES)
def test_the_gateway_reads_the_models(dialect: str) -> None:
    assert registry.dialects()[dialect].read_models(SPOKEN[dialect].models(["a", "b"]).encode()) == ("a", "b")


# -- requests that make no sense --

KEYS = sorted(
    {"model", "messages", "input", "contents", "parts", "role", "content", "text", "type", "tools", "function", "name"}
    | {"parameters", "input_schema", "functionDeclarations", "tool_choice", "toolConfig", "functionCallingConfig"}
    | {"mode", "allowedFunctionNames", "generationConfig", "responseSchema", "response_format", "json_schema", "schema"}
    | {"enum", "properties", "items", "max_tokens", "stream", "stream_options", "system", "systemInstruction", "output"}
    | {"functionCall", "functionResponse", "tool_calls", "arguments", "args", "format", "output_config", "instructions"}
)
LEAVES = ["m", "", "any", "ANY", "tool", "function", "required", "json_schema", "user", "system", 0]
LEAVES += ["object", "array", "string"]
JSON = st.recursive(
    st.sampled_from([*LEAVES, None, True, 1.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)
NEEDED: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": []},
    "responses": {"model": "m", "input": []},
    "messages": {"model": "m", "messages": [], "max_tokens": 5},
    "gemini": {"contents": []},
}


@pytest.mark.parametrize("name", NAMES)
@given(fields=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8), complete=st.booleans())
def test_any_json_is_answered_or_refused(name: str, fields: dict[str, Any], complete: bool) -> None:
    dialect = SPOKEN[name]
    try:
        asked = dialect.read(NEEDED[name] | fields if complete else fields, PATHS[name], "")
    except UnreadableError:
        return
    answer = compose(asked, Options(), 0)
    json.loads(dialect.document(answer))
    assert list(dialect.beats(answer))


def the_only_tool(name: str, schema: Any, choice: Any) -> dict[str, Any]:
    declared = {"name": "f", "parameters": schema, "input_schema": schema, "type": "function"}
    if name == "gemini":
        calling = {"mode": "ANY", "allowedFunctionNames": choice}
        return {"tools": [{"functionDeclarations": [declared]}], "toolConfig": {"functionCallingConfig": calling}}
    tool = {"type": "function", "function": declared} if name == "chat" else declared
    return {"tools": [tool], "tool_choice": {"type": "any"} if name == "messages" else choice}


@pytest.mark.parametrize("name", NAMES)
@given(schema=JSON, choice=JSON | st.just("required"))
def test_any_schema_has_an_example(name: str, schema: Any, choice: Any) -> None:
    dialect = SPOKEN[name]
    asked = dialect.read(NEEDED[name] | the_only_tool(name, schema, choice), PATHS[name], "")
    json.loads(dialect.document(compose(asked, Options(), 0)))


# -- on the wire --


@pytest.mark.parametrize("dialect", NAMES)
async def test_the_digest_is_that_of_the_bytes(http: httpx.AsyncClient, dialect: str) -> None:
    for stream in (False, True):
        fields = json.dumps(body(dialect, stream=stream), indent=3).encode()
        answer = await http.post(path(dialect, stream=stream), content=fields)
        assert answer.headers["x-received-digest"] == hashlib.sha256(fields).hexdigest()


@pytest.mark.parametrize(
    ("dialect", "fields", "says"),
    [
        ("responses", {"model": "m"}, "Missing required parameter: 'input'."),
        ("messages", {"model": "m", "messages": []}, "max_tokens: Field required"),
        ("messages", {"model": "m", "max_tokens": 1}, "messages: Field required"),
        ("gemini", {}, "contents is not specified"),
        ("gemini", [], "no JSON object"),
    ],
)
async def test_a_refusal_is_in_the_dialects_form(http: httpx.AsyncClient, dialect: str, fields: Any, says: str) -> None:
    answer = await http.post(PATHS[dialect], json=fields)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert says in error["message"]
    assert error.get("status", error.get("type")) in {"INVALID_ARGUMENT", "invalid_request_error"}


@pytest.mark.parametrize("dialect", NAMES)
async def test_a_cut_stream_is_a_beginning_of_the_whole(
    server: ScriptedUpstream, http: httpx.AsyncClient, dialect: str
) -> None:
    async def stream(*script: dict[str, Any]) -> str:
        text = (await http.post(path(dialect, stream=True), json=body(dialect, *script, stream=True))).text
        return text.replace("000001", "000000")

    whole, cut = await stream({"answer": True}), await stream({"answer": {"cut_after": 2}})
    assert whole.startswith(cut)
    assert ("The" in cut, " scripted" in cut, " upstream" in cut) == (True, True, False)
    await server.log[1].ended.wait()
    assert server.log[1].ending is Ending.COMPLETE


async def test_a_cut_unary_answer_is_half_of_the_whole(http: httpx.AsyncClient) -> None:
    async def answer(*script: dict[str, Any]) -> str:
        return (await http.post(PATHS["messages"], json=body("messages", *script))).text.replace("000001", "000000")

    whole, cut = await answer({"answer": True}), await answer({"answer": {"cut_after": 3}})
    assert whole.startswith(cut)
    assert len(cut) == len(whole) // 2


async def test_a_stream_may_be_an_array(http: httpx.AsyncClient) -> None:
    target = STREAMS["gemini"].removesuffix("?alt=sse")
    whole = await http.post(target, json=SAY["gemini"])
    assert whole.headers["content-type"] == "application/json"
    parts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in whole.json()]
    assert "".join(parts) == HEARD
    for script in ([{"answer": {"cut_after": 1}}, {"error": 503}], [{"error": 503}]):
        failed = await http.post(target, json=body("gemini", *script))
        assert failed.json()[-1]["error"]["status"] == "UNAVAILABLE"


async def test_the_pace_is_as_told(autojump_clock: trio.testing.MockClock) -> None:
    async def lasts(dialect: str, options: dict[str, Any], *, stream: bool) -> tuple[float, float]:
        """Give when the first token was there, and when the end."""
        mine, theirs = trio.testing.memory_stream_pair()
        server = ScriptedUpstream(script=[{"answer": options}, {"close_after_response": "silent"}])
        content = json.dumps(body(dialect, stream=stream)).encode()
        head = f"POST {path(dialect, stream=stream)} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
        received, started_s, first_s = b"", trio.current_time(), 0.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve_connection, theirs)
            await mine.send_all(head.encode() + content)
            while data := await mine.receive_some(65_536):
                received += data
                if b"hedgerow" in received and not first_s:
                    first_s = trio.current_time() - started_s
            took_s = trio.current_time() - started_s
            await mine.aclose()
        return first_s, took_s

    paced = {"tokens": 10, "ttft_ms": 400, "interval_ms": 100, "coalesce": 2}
    for dialect in NAMES:
        first_s, took_s = await lasts(dialect, paced, stream=True)
        assert first_s == pytest.approx(0.4)
        assert took_s == pytest.approx(0.4 + 5 * 0.1)
        _, took_s = await lasts(dialect, paced, stream=False)
        assert took_s == pytest.approx(0.4)
        law = {"tokens": 10, "ttft_ms": {"median": 400, "sigma": 0.5}}
        drawn = [(await lasts(dialect, law, stream=True))[0] for _ in range(2)]
        assert drawn[0] == pytest.approx(drawn[1])
        assert drawn[0] != pytest.approx(0.4)


@pytest.mark.parametrize("options", [{"ttft": 1}, {"coalesce": 0}, {"ttft_ms": {"median": 1}}, 7])
def test_wrong_options_are_refused_before_anything_is_played(options: object) -> None:
    with pytest.raises(ValueError, match="true or options"):
        parse_script([{"answer": options}])


async def test_a_process_plays_a_failure_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "engine", "upstream", "--fault", "404, the upstream has no such model"]
    with trio.fail_after(20):
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        base = json.loads(await process.stdout.receive_some())["base_url"]
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{base}/responses", json=SAY["responses"])
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        await process.stdout.aclose()
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
