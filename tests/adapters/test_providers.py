"""Providers: where they are, how the environment registers them, how requests are signed, what their errors mean."""

import json
import pkgutil
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import providers as package
from adapters import registry
from adapters.dialects import chat
from adapters.errors import Failure, Kind
from adapters.providers import Provider, SettingError, UsageInStream, bearer, plain_base_url
from adapters.providers.local import MODEL
from adapters.providers.ollama import read_host

KEY = "sk-secret-0123456789"
VENDORS = {
    "openai": ("OPENAI", "https://api.openai.com/v1"),
    "openrouter": ("OPENROUTER", "https://openrouter.ai/api/v1"),
    "deepseek": ("DEEPSEEK", "https://api.deepseek.com"),
    "groq": ("GROQ", "https://api.groq.com/openai/v1"),
    "mistral": ("MISTRAL", "https://api.mistral.ai/v1"),
    "xai": ("XAI", "https://api.x.ai/v1"),
    "together": ("TOGETHER", "https://api.together.xyz/v1"),
    "fireworks": ("FIREWORKS", "https://api.fireworks.ai/inference/v1"),
    "cerebras": ("CEREBRAS", "https://api.cerebras.ai/v1"),
}
OWN_WAYS = {"anthropic": "ANTHROPIC", "gemini": "GEMINI"}
"""Vendors with a key of their own and rules for addresses of their own, tested beside their dialects."""
CONFIGURED = {"compatible", "local", "scripted"}
OPENAI = registry.provider("openai")


def fail(status: int, body: Any, headers: Any = (), provider: Provider = OPENAI) -> Failure:
    return provider.failure(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


# -- what there is -----------------------------------------------------------------------------------------------------


def test_every_file_is_found_and_nothing_else() -> None:
    files = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert set(registry.providers()) == files == VENDORS.keys() | OWN_WAYS.keys() | CONFIGURED | {"ollama"}
    with pytest.raises(registry.UnknownNameError, match="no provider 'x'; there are: anthropic, "):
        registry.provider("x")


@pytest.mark.parametrize("provider", registry.providers().values(), ids=lambda provider: provider.name)
def test_every_provider_is_whole(provider: Provider) -> None:
    assert provider.title
    assert provider.dialects
    for dialect, path in provider.dialects:
        assert dialect in registry.dialects()
        assert provider.path(dialect) == path
        assert path.startswith("/")
    assert provider.path("none") is None
    assert provider.models_path.startswith("/")
    assert provider.base_url is None or plain_base_url(provider.base_url) == provider.base_url
    assert provider.key_required is (provider.name in VENDORS or provider.name in OWN_WAYS)
    hash(provider)


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("openai", {"chat": "/chat/completions", "responses": "/responses"}),
        ("deepseek", {"chat": "/chat/completions", "messages": "/anthropic/v1/messages"}),
        ("local", {"chat": "/chat/completions", "messages": "/messages", "legacy": "/completions"}),
        ("anthropic", {"messages": "/messages"}),
        ("gemini", {"gemini": "/models"}),
        ("mistral", {"chat": "/chat/completions"}),
    ],
)
def test_where_each_dialect_is_spoken(name: str, paths: dict[str, str]) -> None:
    assert dict(registry.provider(name).dialects) == paths


def test_who_reports_usage_unasked() -> None:
    always = {name for name, each in registry.providers().items() if each.usage_in_stream is UsageInStream.ALWAYS}
    assert always == {"anthropic", "gemini", "openrouter", "mistral", "fireworks"}


# -- the environment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VENDORS)
def test_a_key_registers_a_vendor(name: str) -> None:
    prefix, base_url = VENDORS[name]
    (found,) = registry.providers_from_environment({f"{prefix}_API_KEY": f" {KEY}\n", "PATH": "/bin"})
    assert (found.provider.name, found.base_url, found.key) == (name, base_url, KEY)
    assert KEY not in repr(found)
    (found,) = registry.providers_from_environment(
        {f"{prefix}_API_KEY": KEY, f"{prefix}_BASE_URL": "http://proxy:1/x/"}
    )
    assert found.base_url == "http://proxy:1/x"


def test_what_registers_nothing() -> None:
    assert registry.providers_from_environment({}) == []
    assert registry.providers_from_environment({"OPENAI_BASE_URL": "https://x/v1", "GROQ_API_KEY": " "}) == []
    assert registry.providers_from_environment({"OLLAMA_API_KEY": KEY}) == []


def test_all_at_once_come_by_name() -> None:
    prefixes = [prefix for prefix, _ in VENDORS.values()] + list(OWN_WAYS.values())
    environ = {f"{prefix}_API_KEY": KEY for prefix in prefixes} | {"OLLAMA_HOST": "box"}
    found = registry.providers_from_environment(environ)
    assert [each.provider.name for each in found] == sorted([*VENDORS, *OWN_WAYS, "ollama"])


@pytest.mark.parametrize(
    ("name", "value", "base_url"),
    [
        ("GROQ", "https://api.groq.com/", "https://api.groq.com/openai/v1"),
        ("CEREBRAS", "http://c:8/v2", "http://c:8/v2"),
    ],
)
def test_addresses_as_the_vendors_sdk_has_them(name: str, value: str, base_url: str) -> None:
    (found,) = registry.providers_from_environment({f"{name}_API_KEY": KEY, f"{name}_BASE_URL": value})
    assert found.base_url == base_url


@pytest.mark.parametrize(
    ("value", "base_url"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("box", "http://box:11434/v1"),
        ("box:8080", "http://box:8080/v1"),
        (":8080", "http://127.0.0.1:8080/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0:1", "http://127.0.0.1:1/v1"),
        ("[::]:1", "http://[::1]:1/v1"),
        ("::1", "http://[::1]:11434/v1"),
        ("[fe80::1]", "http://[fe80::1]:11434/v1"),
        ("http://box", "http://box/v1"),
        ("https://ollama.example/", "https://ollama.example/v1"),
        ("https://ollama.example:8/base/", "https://ollama.example:8/base/v1"),
        ("http://box:11434/v1", "http://box:11434/v1"),
        (' "box:1" ', "http://box:1/v1"),
    ],
)
def test_ollama_host(value: str, base_url: str) -> None:
    (found,) = registry.providers_from_environment({"OLLAMA_HOST": value})
    assert (found.provider.name, found.base_url, found.key) == ("ollama", base_url, None)
    assert plain_base_url(base_url) == base_url


@pytest.mark.parametrize(
    "environ",
    [
        {"OLLAMA_HOST": "ftp://box"},
        {"OLLAMA_HOST": "box:port"},
        {"OLLAMA_HOST": "box:99999"},
        {"OLLAMA_HOST": "http://me:secret-0123456789@box"},
        {"OLLAMA_HOST": "bo x"},
        {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "api.openai.com/v1"},
        {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://me:secret-0123456789@x/v1"},
        {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://x/v1?key=secret-0123456789"},
        {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://x:0x50/v1"},
        {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://[x/v1"},
        {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://x:secret-0123456789/v1"},
        {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://secret-0123456789\u2100/v1"},
        {"OLLAMA_HOST": "box:secret-0123456789"},
        {"OPENAI_API_KEY": "sk-secret-0123456789\r\nx-evil: 1"},
        {"OPENAI_API_KEY": "sk-secret-0123456789é"},
    ],
)
def test_settings_that_cannot_be_used(environ: dict[str, str]) -> None:
    with pytest.raises(SettingError) as caught:
        registry.providers_from_environment(environ)
    assert caught.value.variable == list(environ)[-1]
    assert "secret-0123456789" not in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=15))
def test_any_host_is_a_url_or_an_error(value: str) -> None:
    with suppress(ValueError):
        assert read_host(value).startswith("http")


def test_signing() -> None:
    assert OPENAI.sign(KEY) == ((b"authorization", b"Bearer " + KEY.encode()),)
    assert OPENAI.sign(None) == OPENAI.sign("") == ()
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        bearer(f"{KEY}\n")
    assert KEY not in str(caught.value)


def test_the_local_model_is_described() -> None:
    local = registry.provider("local")
    assert local.models == (MODEL,)
    assert (local.base_url, local.key_env) == (None, None)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_openai_words_pass_unchanged() -> None:
    error = {
        "message": "Unsupported value",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": "unsupported_value",
    }
    failure = fail(400, {"error": error})
    assert (failure.status, failure.kind) == (400, Kind.INVALID_REQUEST)
    assert json.loads(chat.error_body(failure)) == {"error": error}


@pytest.mark.parametrize(
    ("status", "document", "words"),
    [
        (400, {"error": {"message": "m", "code": 400, "metadata": {}}}, ("m", None, None, None)),
        (404, {"error": {"message": "m", "code": "404"}}, ("m", None, None, None)),
        (400, {"error": "m"}, ("m", None, None, None)),
        (
            400,
            {"code": "Client specified an invalid argument", "error": "m"},
            ("m", None, "Client specified an invalid argument", None),
        ),
        (422, {"message": "m", "type": "t", "param": "p", "code": "wrong"}, ("m", "t", "wrong", "p")),
        (
            400,
            {"object": "error", "message": "m", "type": "BadRequestError", "param": None, "code": 1500},
            ("m", "BadRequestError", "1500", None),
        ),
        (
            422,
            {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "stream_options", "include_usage"],
                        "msg": "Extra inputs are not permitted",
                    }
                ]
            },
            (
                "stream_options.include_usage: Extra inputs are not permitted",
                None,
                "extra_forbidden",
                "stream_options.include_usage",
            ),
        ),
        (422, {"message": {"detail": [{"loc": ["body"], "msg": "m"}]}}, ("m", None, None, None)),
        (400, {"detail": "m"}, ("m", None, None, None)),
        (400, [{"error": {"message": "m", "status": "INVALID"}}], ("m", None, None, None)),
        (400, {"error": {"message": {"a": 1}, "type": "t"}}, ('{"a":1}', "t", None, None)),
        (400, {"error": {"code": "c"}}, ("OpenAI answered HTTP 400.", None, "c", None)),
        (400, "m", ("m", None, None, None)),
    ],
)
def test_every_form_of_error(status: int, document: Any, words: tuple[str | None, ...]) -> None:
    failure = fail(status, document)
    assert (failure.message, failure.type, failure.code, failure.param) == words
    assert failure.status == status


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            502,
            b"<html><head><title>502 Bad Gateway</title></head>\r\n<body>\x00</body></html>",
            "OpenAI answered HTTP 502: 502 Bad Gateway",
        ),
        (503, b"", "OpenAI answered HTTP 503 without an explanation."),
        (500, b'{"error":', 'OpenAI answered HTTP 500: {"error":'),
        (500, b"{}", "OpenAI answered HTTP 500: {}"),
        (400, b"a" * 5000, "OpenAI answered HTTP 400: " + "a" * 199 + "…"),
        (500, b"\xff\xfe\x00x\x1b[31m", "OpenAI answered HTTP 500: x [31m"),
        (500, b"<style>" + b"a" * 300 + b"</style>down", "OpenAI answered HTTP 500: down"),
    ],
)
def test_bodies_that_are_no_error_document(status: int, body: bytes, message: str) -> None:
    failure = fail(status, body)
    assert failure.message == message
    assert failure.status == status


@pytest.mark.parametrize("status", [401, 403])
def test_our_credentials_are_not_the_clients(status: int) -> None:
    document = {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}}
    failure = fail(status, document, [(b"retry-after", b"1")])
    assert (failure.status, failure.kind, failure.code) == (502, Kind.UPSTREAM, "upstream_credentials_refused")
    assert failure.message == f"OpenAI refused the gateway's credentials (HTTP {status})."
    assert failure.headers == ((b"x-should-retry", b"false"),)
    assert OPENAI.retryable(failure)


def test_a_403_about_the_request_passes() -> None:
    failure = fail(403, {"error": {"message": "no access to model", "code": "model_not_found"}})
    assert (failure.status, failure.kind, failure.code) == (403, Kind.PERMISSION, "model_not_found")
    flagged = fail(403, {"error": {"message": "flagged", "code": 403}}, provider=registry.provider("openrouter"))
    assert (flagged.status, flagged.message) == (403, "flagged")
    assert not OPENAI.retryable(flagged)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, Kind.INVALID_REQUEST, False),
        (402, Kind.BILLING, True),
        (404, Kind.NOT_FOUND, False),
        (405, Kind.INVALID_REQUEST, False),
        (408, Kind.TIMEOUT, True),
        (409, Kind.CONFLICT, True),
        (413, Kind.TOO_LARGE, False),
        (422, Kind.UNPROCESSABLE, False),
        (425, Kind.INVALID_REQUEST, True),
        (429, Kind.RATE_LIMIT, True),
        (500, Kind.UPSTREAM, True),
        (503, Kind.OVERLOADED, True),
        (504, Kind.TIMEOUT, True),
        (529, Kind.OVERLOADED, True),
        (599, Kind.UPSTREAM, True),
    ],
)
def test_statuses_pass(status: int, kind: Kind, retryable: bool) -> None:
    failure = fail(status, {"error": {"message": "m"}})
    assert (failure.status, failure.kind, failure.message) == (status, kind, "m")
    assert OPENAI.retryable(failure) is retryable


@pytest.mark.parametrize("status", [101, 204, 301, 304, 600, 999])
def test_statuses_that_are_no_answer(status: int) -> None:
    failure = fail(status, b"")
    assert (failure.status, failure.code) == (502, "upstream_protocol_error")


def test_headers_a_client_can_act_on_are_kept() -> None:
    headers = [
        (b"retry-after", b"20"),
        (b"retry-after-ms", b"20000"),
        (b"x-should-retry", b"true"),
        (b"x-ratelimit-reset-tokens", b"6m0s"),
        (b"set-cookie", b"a=b"),
        (b"content-type", b"application/json"),
        (b"openai-organization", b"ours"),
    ]
    assert fail(429, {"error": {"message": "slow"}}, headers).headers == tuple(headers[:4])
    assert fail(503, b"", headers).headers == tuple(headers[:4])


@pytest.mark.parametrize(
    "words", [{"type": "insufficient_quota"}, {"code": "insufficient_quota"}, {"code": "billing_hard_limit_reached"}]
)
def test_a_quota_is_not_retried_by_clients(words: dict[str, str]) -> None:
    failure = fail(429, {"error": {"message": "pay", **words}}, [(b"x-should-retry", b"true"), (b"retry-after", b"1")])
    assert (failure.status, failure.kind) == (429, Kind.QUOTA)
    assert failure.headers == ((b"retry-after", b"1"), (b"x-should-retry", b"false"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "code", "type", "loc", "msg"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.integers(100, 999), st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_error_answer_is_a_failure_that_can_be_told(status: int, body: bytes) -> None:
    for provider in registry.providers().values():
        failure = provider.failure(status, [(b"retry-after", b"1")], body)
        assert 400 <= failure.status <= 599
        assert failure.message
        chat.error_event(failure)


def test_a_deeply_nested_error_is_no_crash() -> None:
    for body in (b'{"error":' * 100_000, b"[" * 100_000, b'{"error":{"message":' + b"[" * 900 + b"]" * 900 + b"}}"):
        assert fail(500, body).status == 500


def test_half_a_character_can_be_told() -> None:
    failure = fail(400, b'{"error":{"message":"cut \\ud83d","code":"\\ud83d","type":"t"}}')
    assert (failure.message, failure.code) == ("cut ?", "?")


def test_a_long_message_is_cut() -> None:
    assert len(fail(400, {"error": {"message": "a" * 100_000}}).message) == 16_384
