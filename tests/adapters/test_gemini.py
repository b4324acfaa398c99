"""Gemini: requests in and out, unary answers, usage, errors, model lists, and the provider of that name."""

import json
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import registry, rpc_status
from adapters.dialects import ModelEntry, Request, gemini
from adapters.dialects.gemini_document import read_usage
from adapters.dialects.gemini_tap import Tap
from adapters.errors import ClientError, Failure, Kind
from adapters.providers import SettingError
from adapters.usage import TOKENS_MAX, Usage
from tests.adapters.gemini_streams import BARE_STOP, BLOCKED, CALL, ERROR, HI, STOP, USAGE, chunk

PROVIDER = registry.provider("gemini")
KEY = "AIza-secret-0123456789"
STREAM = b"m:streamGenerateContent"
UNARY = b"m:generateContent"


def refusal(body: bytes, argument: bytes = UNARY, status: int = 400) -> Failure:
    with pytest.raises(ClientError) as caught:
        gemini.parse_request(body, argument)
    assert caught.value.failure.status == status
    return caught.value.failure


def of(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


# -- requests: the path ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "model", "stream"),
    [
        (b"gemini-2.5-pro:generateContent", "gemini-2.5-pro", False),
        (b"gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro", True),
        (b"gemini-2.5-pro:countTokens", "gemini-2.5-pro", False),
        (b"gemini-2.5-pro%3AstreamGenerateContent", "gemini-2.5-pro", True),
        (b"google/gemini-2.5-pro:generateContent", "google/gemini-2.5-pro", False),
        (b"google%2Fgemini-2.5-pro:generateContent", "google/gemini-2.5-pro", False),
        (b"models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", False),
        (b"ollama/llama3:8b:streamGenerateContent", "ollama/llama3:8b", True),
        (b"m%C3%B6del%20x:generateContent", "m\u00f6del x", False),
        (b"a..b/.c:generateContent", "a..b/.c", False),
    ],
)
def test_the_path_names_the_model_and_the_action(argument: bytes, model: str, stream: bool) -> None:
    request = gemini.parse_request(b"{}", argument)
    assert (request.model, request.stream, request.usage_wanted, request.choices) == (model, stream, True, 1)


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b"m",
        b"m:",
        b":generateContent",
        b"m:embedContent",
        b"m:GenerateContent",
        b"m:generateContent/x",
        b"m:predict",
    ],
)
def test_unknown_methods_are_not_found(argument: bytes) -> None:
    failure = refusal(b"{}", argument, 404)
    assert failure.kind is Kind.NOT_FOUND
    assert "Unknown method" in failure.message


@pytest.mark.parametrize(
    "model",
    [
        *(b"..", b"../files/x", b"a/../../b", b"a//b", b"a/", b"/a", b"%2e%2e/a", b"a/.%2E", b".", b"models/.."),
        *(b"a%0d%0ab", b"a%ff", b"%5c..", b"a\xff", b"a" * 2000),
    ],
)
def test_a_path_leads_to_a_model_and_nowhere_else(model: bytes) -> None:
    assert refusal(b"{}", model + b":generateContent").param == "model"


@pytest.mark.parametrize(
    ("query", "array"),
    [
        (b"alt=sse", False),
        (b"key=k&alt=sse", False),
        (b"%24alt=sse", False),
        (b"$alt=sse", False),
        (b"alt=json&alt=sse", False),
        (b"alt=SSE", False),
        (b"", True),
        (b"alt=json", True),
        (b"alt=sse&alt=json", True),
        (b"alt", True),
        (b"default=sse", True),
        (b"key=alt%3Dsse", True),
    ],
)
def test_how_a_stream_is_to_be_written(query: bytes, array: bool) -> None:
    request = gemini.parse_request(b"{}", STREAM, query)
    assert request.array is array
    assert gemini.stream_content_type(request).startswith(b"application/json" if array else b"text/event-stream")
    tap = gemini.open_tap(request, event_bytes_max=1000)
    assert tap.feed(b"data: {}\n\n") == (b"[{}\n" if array else b"data: {}\n\n")
    assert gemini.upstream_path("/models", request, model="m") == "/models/m:streamGenerateContent?alt=sse"
    assert not gemini.parse_request(b"{}", UNARY, query).array


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-pro", "/models/gemini-2.5-pro:generateContent"),
        ("models/gemini-2.5-pro", "/models/gemini-2.5-pro:generateContent"),
        ("google/gemini", "/models/google/gemini:generateContent"),
        ("a b?c#d%e\u00f6", "/models/a%20b%3Fc%23d%25e%C3%B6:generateContent"),
        ("llama3:8b", "/models/llama3:8b:generateContent"),
    ],
)
def test_where_the_upstream_is_asked(model: str, path: str) -> None:
    request = gemini.parse_request(b"{}", b"x:generateContent", b"key=secret&fields=a&alt=sse")
    assert gemini.upstream_path("/models", request, model=model) == path
    assert gemini.parse_request(b"{}", path.removeprefix("/models/").encode()).model == model.removeprefix("models/")


def test_what_is_a_generation() -> None:
    assert gemini.is_generation(b"a:b:generateContent")
    assert gemini.is_generation(b"m:streamGenerateContent")
    assert not gemini.is_generation(b"m:countTokens")
    assert not gemini.is_generation(b"generateContent/m")


# -- requests: the body ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "choices"),
    [
        ({}, 1),
        ({"generationConfig": None}, 1),
        ({"generationConfig": {"candidateCount": 3, "responseJsonSchema": {"type": "OBJECT"}}}, 3),
        ({"generation_config": {"candidate_count": 2}}, 2),
        ({"generationConfig": {"candidateCount": 0}}, 1),
        ({"generationConfig": {"candidateCount": -1}}, 1),
        ({"generationConfig": {"candidateCount": "2"}}, 1),
        ({"generationConfig": {"candidateCount": 99999999}}, 1),
        ({"generationConfig": []}, 1),
        ({"generationConfig": "x"}, 1),
    ],
)
def test_how_many_candidates(body: dict[str, Any], choices: int) -> None:
    assert gemini.parse_request(of(body), STREAM).choices == choices


def test_a_body_passes_byte_for_byte() -> None:
    bodies = [
        b'{ "contents" : [{"parts":[{"text":"\\u0041 \xe2\x82\xac"}]}],\n "x_new": 1.50, "x_new": 2 }',
        b'{"system_instruction":{"parts":[]},"generationConfig":{"responseJsonSchema":{"type":"OBJECT"}},"tools":null}',
        b'{"contents":[{"parts":[{"functionCall":{"name":"f"},"thoughtSignature":"skip_thought_signature_validator"}]}]}',
        b'{"model":7}',
    ]
    for body in bodies:
        request = gemini.parse_request(body, STREAM)
        for model in ("m", "other"):
            for options in ({}, {"inject_usage": True}, {"drop_usage": True}):
                assert gemini.render_request(request, model=model, **options) is body


def test_a_body_that_names_the_model_follows_the_path() -> None:
    count = b'{"generateContentRequest":{"model":"models/m","contents":[ 1.50 ]},"a":[ 1 ]}'
    request = gemini.parse_request(count, b"m:countTokens")
    assert gemini.render_request(request, model="m") is count
    assert gemini.render_request(request, model="other") == count.replace(b"models/m", b"models/other")
    for name in ("model", "generate_content_request"):
        body = of({name: "models/m" if name == "model" else {"model": "m"}, "b": 1})
        rendered = json.loads(gemini.render_request(gemini.parse_request(body, UNARY), model="models/other"))
        assert rendered == {name: "models/other" if name == "model" else {"model": "models/other"}, "b": 1}
    odd = b'{"generateContentRequest":[1]}'
    assert gemini.render_request(gemini.parse_request(odd, UNARY), model="other") is odd


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The request body is empty; a JSON object is required."),
        (b" \n", "The request body is empty"),
        (b"[1]", "The request body must be a JSON object."),
        (b'"m"', "The request body must be a JSON object."),
        (b'{"a":1,}', "byte 7"),
        (b'{"a":', "byte 5"),
        (b'{"a":1} x', "trailing characters (byte 9)"),
        (b'\xef\xbb\xbf{"a":1}', "byte 0"),
        (b'{"a":"\xff"}', "The request body is not valid UTF-8 (byte 6)."),
        (b'{"a":"\\ud83d" x}', "Invalid JSON payload received: "),
        ("{}".encode("utf-16"), "not valid UTF-8"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_bodies_that_are_refused(body: bytes, message: str) -> None:
    failure = refusal(body)
    assert message in failure.message
    assert json.loads(gemini.error_body(failure))["error"]["status"] == "INVALID_ARGUMENT"


def test_b20_half_a_character_is_repaired() -> None:
    request = gemini.parse_request(b'{"a":"\\ud83d","b":"\\ud83d\\ude00"}', UNARY)
    assert gemini.render_request(request, model="x") == b'{"a":"\\ufffd","b":"\\ud83d\\ude00"}'


@settings(deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=30), st.binary(max_size=20))
def test_any_bytes_are_a_request_or_refused(body: bytes, argument: bytes, query: bytes) -> None:
    for method in (argument, argument + b":generateContent", argument + b":streamGenerateContent"):
        for content in (body, b"{}"):
            with suppress(ClientError):
                request = gemini.parse_request(content, method, query)
                path = gemini.upstream_path("/models", request, model=request.model)
                assert path.isascii()
                assert path.isprintable()
                assert " " not in path
                assert gemini.render_request(request, model="y")


# -- unary answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "content", "usage", "code"),
    [
        (chunk({"text": "a"}, finish="STOP", usageMetadata=USAGE), True, True, None),
        (CALL, True, False, None),
        (BARE_STOP, False, True, None),
        (BLOCKED, False, True, None),
        (ERROR, False, False, "UNAVAILABLE"),
        ({"candidates": [], "usageMetadata": USAGE, "modelVersion": "m"}, False, True, "empty_answer"),
        ({"usageMetadata": USAGE, "responseId": "r"}, False, True, "empty_answer"),
        ({}, False, False, "empty_answer"),
        ({"totalTokens": 31, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 31}]}, True, False, None),
        ({"embedding": {"values": [1.5]}}, True, False, None),
        ([], False, False, "upstream_protocol_error"),
        ("x", False, False, "upstream_protocol_error"),
    ],
)
def test_answers(document: Any, content: bool, usage: bool, code: str | None) -> None:
    answer = gemini.read_answer(of(document))
    assert answer.content is content
    assert answer.usage == (Usage(input_tokens=9, output_tokens=4) if usage else None)
    assert (answer.failure.code if answer.failure else None) == code


def test_answers_that_are_no_json() -> None:
    for body in (b"", b"<html>", b"\xff", b"[" * 100_000, b'{"candidates":' + b"[" * 100_000):
        failure = gemini.read_answer(body).failure
        assert failure is not None
        assert failure.code == "upstream_protocol_error"


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *("candidates", "content", "parts", "text", "finishReason", "usageMetadata", "promptFeedback"),
                        *("blockReason", "index", "promptTokenCount", "error", "code", "status", "details"),
                        *("reason", "retryDelay", "violations", "quotaId"),
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=14,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_an_answer_or_a_failure(body: bytes) -> None:
    answer = gemini.read_answer(body)
    assert not (answer.failure and answer.content)
    if answer.failure is not None:
        gemini.error_event(answer.failure)
    PROVIDER.failure(400, [], body)
    tap = Tap(event_bytes_max=1000)
    tap.feed(b"data: " + body + b"\n\n")
    tap.end()
    assert (tap.failure is None) == tap.done


# -- usage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "usage"),
    [
        (USAGE, Usage(input_tokens=9, output_tokens=4)),
        ({"promptTokenCount": 9, "totalTokenCount": 9}, Usage(input_tokens=9)),
        (
            {"promptTokenCount": 100, "cachedContentTokenCount": 90, "candidatesTokenCount": 4, "totalTokenCount": 104},
            Usage(input_tokens=100, output_tokens=4, cached_tokens=90),
        ),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 105, "thoughtsTokenCount": 100, "totalTokenCount": 115},
            Usage(input_tokens=10, output_tokens=105, reasoning_tokens=100),
        ),
        (
            {"promptTokenCount": 10, "thoughtsTokenCount": 100, "totalTokenCount": 115},
            Usage(input_tokens=10, output_tokens=105, reasoning_tokens=100),
        ),
        ({"promptTokenCount": 10, "totalTokenCount": 15}, Usage(input_tokens=10, output_tokens=5)),
        (
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 20,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}, {"modality": "AUDIO", "tokenCount": 6}],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}, {"modality": "AUDIO"}],
            },
            Usage(input_tokens=10, output_tokens=20, input_audio_tokens=6, output_audio_tokens=20),
        ),
        ({"promptTokenCount": 3.0, "candidatesTokenCount": -5, "x": "y"}, Usage(input_tokens=3)),
        ({"promptTokenCount": None, "candidatesTokenCount": 2}, Usage(output_tokens=2)),
        ({"promptTokenCount": 10**30}, Usage(input_tokens=TOKENS_MAX)),
        ({"promptTokenCount": 5, "cachedContentTokenCount": 50}, Usage(input_tokens=5, cached_tokens=5)),
        ({"promptTokenCount": 5, "promptTokensDetails": {"a": 1}}, Usage(input_tokens=5)),
        ({"trafficType": "ON_DEMAND"}, None),
        ({"promptTokenCount": 0}, None),
        ([1], None),
        ("x", None),
    ],
)
def test_usage(metadata: Any, usage: Usage | None) -> None:
    assert read_usage(of(metadata)) == usage


def test_b39_reasoning_and_tools_are_counted_beside() -> None:
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 100}
    usage = read_usage(of({**counts, "toolUsePromptTokenCount": 7, "totalTokenCount": 122}))
    assert usage == Usage(input_tokens=17, output_tokens=105, reasoning_tokens=100)
    assert usage.total_tokens == 122


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "told", "word"),
    [
        (400, 400, "INVALID_ARGUMENT"),
        (401, 401, "UNAUTHENTICATED"),
        (402, 402, "FAILED_PRECONDITION"),
        (403, 403, "PERMISSION_DENIED"),
        (404, 404, "NOT_FOUND"),
        (405, 405, "INVALID_ARGUMENT"),
        (408, 408, "CANCELLED"),
        (409, 409, "ABORTED"),
        (413, 413, "INVALID_ARGUMENT"),
        (422, 422, "INVALID_ARGUMENT"),
        (429, 429, "RESOURCE_EXHAUSTED"),
        (500, 500, "INTERNAL"),
        (502, 502, "UNAVAILABLE"),
        (503, 503, "UNAVAILABLE"),
        (504, 504, "DEADLINE_EXCEEDED"),
        (529, 503, "UNAVAILABLE"),
        (599, 599, "INTERNAL"),
    ],
)
def test_statuses_and_their_words(status: int, told: int, word: str) -> None:
    failure = Failure(status, Kind.UPSTREAM, "half \ud83d")
    assert gemini.error_status(failure) == told
    body = gemini.error_body(failure)
    assert json.loads(body) == {"error": {"code": told, "message": "half ?", "status": word}}
    assert body.startswith(b'{"error":')
    assert gemini.error_event(failure) == b"data: " + body + b"\n\n"
    assert gemini.error_body(failure, array=True) == b"[" + body + b"]"


def test_what_details_tell() -> None:
    headers = ((b"retry-after", b"7"), (b"x-should-retry", b"false"))
    failure = Failure(429, Kind.QUOTA, "budget", code="budget_exceeded", param="model", headers=headers)
    error = json.loads(gemini.error_body(failure))["error"]
    assert error["status"] == "RESOURCE_EXHAUSTED"
    prefix = "type.googleapis.com/google.rpc."
    assert error["details"] == [
        {"@type": prefix + "QuotaFailure", "violations": [{"quotaId": "GatewayQuotaPerDay"}]},
        {"@type": prefix + "ErrorInfo", "reason": "BUDGET_EXCEEDED", "domain": "hedgerow"},
        {"@type": prefix + "BadRequest", "fieldViolations": [{"field": "model"}]},
        {"@type": prefix + "RetryInfo", "retryDelay": "7s"},
    ]


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        (((b"retry-after", b"20"),), "20s"),
        (((b"retry-after", b"20"), (b"retry-after-ms", b"1500")), "1.5s"),
        (((b"retry-after-ms", b"0"),), "0s"),
        (((b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT"),), None),
        (((b"retry-after", b"-1"),), None),
    ],
)
def test_the_delay_to_wait(headers: tuple[tuple[bytes, bytes], ...], delay: str | None) -> None:
    error = json.loads(gemini.error_body(Failure(429, Kind.RATE_LIMIT, "slow", headers=headers)))["error"]
    assert error.get("details", [{}])[0].get("retryDelay") == delay


@pytest.mark.parametrize(("word", "reason"), [("a b-\u00e9c", "A_B_C"), ("\u00e9", "UNKNOWN"), ("x" * 99, "X" * 63)])
def test_reasons_are_spelled_as_reasons(word: str, reason: str) -> None:
    error = json.loads(gemini.error_body(Failure(400, Kind.INVALID_REQUEST, "m", code=word)))["error"]
    assert error["details"][0]["reason"] == reason


# -- model lists -------------------------------------------------------------------------------------------------------

ENTRIES = [ModelEntry(f"google/m-{number}", "google") for number in range(5)]


def test_a_model_list_is_the_sdks() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=gemini.models_body(ENTRIES, request.url.query))

    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    options = genai_types.HttpOptions(base_url="http://t", httpx_client=transport)
    with genai.Client(api_key="k", http_options=options) as client:
        for page_size in (None, 2, 5):
            listed = list(client.models.list(config=genai_types.ListModelsConfig(page_size=page_size)))
            assert [model.name for model in listed] == [f"models/{entry.id}" for entry in ENTRIES]
            assert listed[0].supported_actions == ["generateContent", "streamGenerateContent", "countTokens"]


def test_pages() -> None:
    pages, token = [], ""
    while True:
        page = json.loads(gemini.models_body(ENTRIES, f"pageSize=2&pageToken={token}&key=k".encode()))
        pages.append([model["displayName"][-1] for model in page["models"]])
        token = page.get("nextPageToken", "").replace("/", "%2F")
        if not token:
            break
    assert pages == [["0", "1"], ["2", "3"], ["4"]]
    assert json.loads(gemini.models_body([], b"pageSize=2")) == {"models": []}
    assert len(json.loads(gemini.models_body(ENTRIES, b"pageSize=0"))["models"]) == 5
    for query in (b"pageSize=x", b"pageSize=-1", b"pageToken=gone"):
        with pytest.raises(ClientError) as caught:
            gemini.models_body(ENTRIES, query)
        assert caught.value.failure.status == 400


def test_one_model() -> None:
    model = genai_types.Model.model_validate(
        {
            "name": (document := json.loads(gemini.model_body(ENTRIES[0])))["name"],
            "displayName": document["displayName"],
        }
    )
    assert (model.name, model.display_name) == ("models/google/m-0", "google/m-0")


def test_an_upstreams_list() -> None:
    listed = [
        {"name": "models/a", "supportedGenerationMethods": ["generateContent", "countTokens"]},
        {"name": "models/embed", "supportedGenerationMethods": ["embedContent"]},
        {"name": "b"},
        {"name": "models/a"},
        {"name": 1},
        {"name": "models/"},
        7,
    ]
    assert gemini.read_models(of({"models": listed, "nextPageToken": "x"})) == ("a", "b")
    assert gemini.read_models(gemini.models_body(ENTRIES)) == tuple(entry.id for entry in ENTRIES)
    for other in (b"", b"{}", b"[]", b'{"models":1}', b'{"data":[]}'):
        with pytest.raises(ValueError, match=r"."):
            gemini.read_models(other)


# -- the provider ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "base_url", "key", "variable"),
    [
        ({"GEMINI_API_KEY": "a"}, "https://generativelanguage.googleapis.com/v1beta", "a", "GEMINI_API_KEY"),
        ({"GOOGLE_API_KEY": "b"}, "https://generativelanguage.googleapis.com/v1beta", "b", "GOOGLE_API_KEY"),
        ({"GOOGLE_API_KEY": "b", "GEMINI_API_KEY": "a"}, None, "a", "GEMINI_API_KEY"),
        ({"GOOGLE_API_KEY": "b", "GEMINI_API_KEY": " "}, None, "b", "GOOGLE_API_KEY"),
        ({"GEMINI_API_KEY": "a", "GOOGLE_GEMINI_BASE_URL": "http://p:1/"}, "http://p:1/v1beta", "a", "GEMINI_API_KEY"),
        ({"GEMINI_API_KEY": "a", "GOOGLE_GEMINI_BASE_URL": "http://p/v1/"}, "http://p/v1", "a", "GEMINI_API_KEY"),
    ],
)
def test_the_environment_registers_it(environ: dict[str, str], base_url: str | None, key: str, variable: str) -> None:
    (found,) = registry.providers_from_environment(environ)
    assert found.provider is PROVIDER
    assert (found.key, found.key_env) == (key, variable)
    assert PROVIDER.key_variable(environ) == variable
    assert base_url is None or found.base_url == base_url


def test_what_registers_nothing() -> None:
    assert registry.providers_from_environment({"GOOGLE_GEMINI_BASE_URL": "http://p"}) == []
    assert PROVIDER.key_variable({}) == "GEMINI_API_KEY"
    with pytest.raises(SettingError) as caught:
        registry.providers_from_environment({"GOOGLE_API_KEY": f"{KEY}\r\nx: 1"})
    assert caught.value.variable == "GOOGLE_API_KEY"
    assert KEY not in str(caught.value)


def test_signing() -> None:
    assert PROVIDER.sign(KEY) == ((b"x-goog-api-key", KEY.encode()),)
    assert PROVIDER.sign(None) == PROVIDER.sign("") == ()
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        PROVIDER.sign(f"{KEY}\n")
    assert KEY not in str(caught.value)


RPC = "type.googleapis.com/google.rpc."


def fail(status: int, error: Any, headers: Any = ()) -> Failure:
    return PROVIDER.failure(status, headers, of({"error": error}))


@pytest.mark.parametrize("word", ["INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"])
def test_googles_words_pass_unchanged(word: str) -> None:
    error = {"code": 400, "message": "* GenerateContentRequest.contents: contents is not specified", "status": word}
    for body in (of({"error": error}), of([{"error": error}])):
        failure = PROVIDER.failure(400, (), body)
        assert (failure.status, failure.kind) == (400, Kind.INVALID_REQUEST)
        assert json.loads(gemini.error_body(failure)) == {"error": error}
    assert not PROVIDER.retryable(failure)


def test_a_wrong_key_is_a_400_and_not_the_clients() -> None:
    details = [{"@type": RPC + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
    message = f"API key not valid: {KEY}"
    failure = fail(400, {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": details})
    assert (failure.status, failure.code) == (502, "upstream_credentials_refused")
    assert KEY not in failure.message
    assert PROVIDER.retryable(failure)
    other = [{"@type": RPC + "ErrorInfo", "reason": "SOMETHING_ELSE"}]
    assert fail(400, {"code": 400, "message": "m", "details": other}).type == "SOMETHING_ELSE"
    assert fail(403, {"code": 403, "message": KEY, "status": "PERMISSION_DENIED"}).status == 502


def test_a_quota_of_the_minute_says_when_to_come_back() -> None:
    details = [
        {"@type": RPC + "QuotaFailure", "violations": [{"quotaId": "RequestsPerMinutePerProject"}]},
        {"@type": RPC + "RetryInfo", "retryDelay": "34.2s"},
    ]
    error = {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED", "details": details}
    failure = fail(429, error)
    assert (failure.kind, failure.type) == (Kind.RATE_LIMIT, "RequestsPerMinutePerProject")
    assert failure.headers == ((b"retry-after", b"35"), (b"retry-after-ms", b"34200"))
    assert json.loads(gemini.error_body(failure)) == {"error": error}
    assert fail(429, error, [(b"retry-after", b"9")]).headers == ((b"retry-after", b"9"),)


def test_a_quota_of_the_day_ends_retries() -> None:
    details = [
        {"@type": RPC + "QuotaFailure", "violations": [{"quotaId": "APerMinute"}, {"quotaId": "BPerDay-FreeTier"}, 7]},
        {"@type": RPC + "RetryInfo", "retryDelay": "10s"},
    ]
    failure = fail(429, {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": details})
    assert (failure.kind, failure.type) == (Kind.QUOTA, "BPerDay-FreeTier")
    assert failure.headers[-1] == (b"x-should-retry", b"false")
    told = json.loads(gemini.error_body(failure))["error"]["details"]
    assert told[0]["violations"] == [{"quotaId": "BPerDay-FreeTier"}]


@pytest.mark.parametrize(
    "delay", ["34", "s", "-1s", "1e9s", "nans", "9" * 400 + "s", 34, None, "1.s", "\u0663s", "1.0000000000s"]
)
def test_delays_that_are_none(delay: object) -> None:
    assert rpc_status.details_of({"details": [{"retryDelay": delay}]}).retry_seconds is None


def test_an_absurd_delay_is_cut() -> None:
    assert rpc_status.details_of({"details": [{"retryDelay": "999999999999s"}]}).retry_seconds == 7 * 86_400


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"[1]", b'{"error":1}', b'{"error":{"details":{},"status":[]}}'])
def test_documents_without_details(body: bytes) -> None:
    assert rpc_status.read_document(body) == rpc_status.NONE
    assert PROVIDER.failure(503, (), body).status == 503


# -- the official client -----------------------------------------------------------------------------------------------


def client_of(answer: Any) -> genai.Client:
    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    return genai.Client(api_key=KEY, http_options=genai_types.HttpOptions(base_url="http://t", httpx_client=transport))


def test_the_sdks_requests_pass() -> None:
    asked: list[Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        _, _, argument = request.url.raw_path.partition(b"?")[0].partition(b"/models/")
        parsed = gemini.parse_request(request.read(), argument, request.url.query)
        assert gemini.render_request(parsed, model="other") is parsed.body
        asked.append(parsed)
        if not gemini.is_generation(argument):
            return httpx2.Response(200, content=b'{"totalTokens":31}')
        return httpx2.Response(200, content=of(STOP if not parsed.stream else HI))

    with client_of(answer) as client:
        config = genai_types.GenerateContentConfig(candidate_count=2, temperature=0.5)
        client.models.generate_content(model="google/gemini-3", contents="hi", config=config)
        list(client.models.generate_content_stream(model="gemini-3", contents="hi"))
        assert client.models.count_tokens(model="gemini-3", contents="hi").total_tokens == 31
    assert [(each.model, each.stream, each.choices) for each in asked] == [
        ("google/gemini-3", False, 2),
        ("gemini-3", True, 1),
        ("gemini-3", False, 1),
    ]


def test_the_sdk_shows_our_words() -> None:
    failure = fail(400, {"code": 400, "message": "because", "status": "FAILED_PRECONDITION"})

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(gemini.error_status(failure), content=gemini.error_body(failure))

    with client_of(answer) as client, pytest.raises(genai_errors.ClientError) as caught:
        client.models.generate_content(model="m", contents="hi")
    assert (caught.value.code, caught.value.status, caught.value.message) == (400, "FAILED_PRECONDITION", "because")
