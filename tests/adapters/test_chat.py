"""Chat Completions: requests in and out, unary answers, usage, model lists."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Model
from openai.types.chat import ChatCompletion

from adapters import lenient, registry
from adapters.dialects import Dialect, ModelEntry, chat
from adapters.dialects.chat_usage import read_usage
from adapters.errors import ClientError, Failure, Kind
from adapters.usage import TOKENS_MAX, Usage, count

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", **members}, separators=(",", ":")).encode()


def refusal(data: bytes) -> Failure:
    with pytest.raises(ClientError) as caught:
        chat.parse_request(data)
    assert caught.value.failure.status == 400
    assert caught.value.failure.kind is Kind.INVALID_REQUEST
    return caught.value.failure


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "stream", "usage_wanted", "choices"),
    [
        ({}, False, False, 1),
        ({"stream": None, "stream_options": None, "n": None}, False, False, 1),
        ({"stream": True}, True, False, 1),
        ({"stream": True, "stream_options": {}}, True, False, 1),
        ({"stream": True, "stream_options": {"include_usage": None}}, True, False, 1),
        ({"stream": True, "stream_options": {"include_usage": False, "x": 1}}, True, False, 1),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, True, 1),
        ({"n": 3}, False, False, 3),
        ({"n": 0}, False, False, 1),
        ({"n": True}, False, False, 1),
        ({"n": "2"}, False, False, 1),
    ],
)
def test_what_routing_needs(members: dict[str, Any], stream: bool, usage_wanted: bool, choices: int) -> None:
    request = chat.parse_request(body(**members))
    assert (request.model, request.stream, request.usage_wanted) == ("m", stream, usage_wanted)
    assert request.choices == choices


@pytest.mark.parametrize(
    ("data", "param", "code", "message"),
    [
        (b"", None, "invalid_json", "The request body is empty; a JSON object is required."),
        (b" \n", None, "invalid_json", "The request body is empty; a JSON object is required."),
        (b"[1]", None, "invalid_json", "The request body must be a JSON object."),
        (b'"m"', None, "invalid_json", "The request body must be a JSON object."),
        (b'{"model":"m",}', None, "invalid_json", "byte 13"),
        (b'{"model":"m","a":01}', None, "invalid_json", "byte 18"),
        (b'{"model":"m","a":', None, "invalid_json", "byte 17"),
        (b'{"model":"m"} x', None, "invalid_json", "trailing characters (byte 15)"),
        (b'\xef\xbb\xbf{"model":"m"}', None, "invalid_json", "byte 0"),
        (b'{"model":"m","a":"\xff"}', None, "invalid_json", "The request body is not valid UTF-8 (byte 18)."),
        (b'{"model":"m","\xff":1}', None, "invalid_json", "The request body is not valid UTF-8 (byte 14)."),
        (b'{"model":"m","a":"\xed\xa0\x80"}', None, "invalid_json", "not valid UTF-8"),
        ('{"model":"m"}'.encode("utf-16"), None, "invalid_json", "not valid UTF-8"),
        (b'{"model":"m","a":' + b"[" * 100_000, None, "invalid_json", "The request body is nested too deeply."),
        (b"[" * 100_000, None, "invalid_json", "The request body must be a JSON object."),
        (b'{"model":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, None, "invalid_json", "nested too deeply"),
        (b'{"stream":true}', "model", "missing_required_parameter", "Missing required parameter: 'model'."),
        (b'{"model":null}', "model", "missing_required_parameter", "Missing required parameter: 'model'."),
        (
            b'{"model":1}',
            "model",
            "invalid_type",
            "Invalid type for 'model': expected a string, but got an integer instead.",
        ),
        (b'{"model":["m"]}', "model", "invalid_type", "got an array"),
        (b'{"model":""}', "model", "empty_string", "Invalid 'model': empty string."),
        (b'{"model":" "}', "model", "empty_string", "empty string"),
        (
            body(stream="yes"),
            "stream",
            "invalid_type",
            "Invalid type for 'stream': expected a boolean, but got a string",
        ),
        (body(stream=1), "stream", "invalid_type", "got an integer"),
        (body(stream_options=True), "stream_options", "invalid_type", "expected an object, but got a boolean"),
        (body(stream_options={"include_usage": 1.5}), "stream_options.include_usage", "invalid_type", "got a number"),
    ],
)
def test_refusals(data: bytes, param: str | None, code: str, message: str) -> None:
    failure = refusal(data)
    assert (failure.param, failure.code) == (param, code)
    assert message in failure.message


def test_untouched_members_keep_their_bytes() -> None:
    members = (
        b'"temperature":1.50,"big":123456789012345678901234567890,"t":"\\u00e9\\/","x":{ "b" : [ 1 ,2 ] },"e":1e400'
    )
    request = chat.parse_request(b'{"model":"alias",' + members + b',"stream":true}')
    rendered = chat.render_request(request, model="real/model-1", inject_usage=True)
    assert (
        rendered == b'{"model":"real/model-1",' + members + b',"stream":true,"stream_options":{"include_usage":true}}'
    )


@pytest.mark.parametrize(
    "data", [body(messages=[]), b' { "model" : "m" ,\n "a" : [ 1 ] } ', '{"model": "m", "é": "\u2028"}'.encode()]
)
def test_an_unchanged_request_is_the_same_object(data: bytes) -> None:
    request = chat.parse_request(data)
    assert chat.render_request(request, model="m") is data
    assert chat.render_request(request, model="m", inject_usage=True, drop_usage=True) is data  # unary


@pytest.mark.parametrize(
    "data",
    [
        b'{"model":"cheap","model":"m","a":1}',
        b'{"model":"cheap","mod\\u0065l":"m","a":1}',
        b'{"model":"m","a":0,   "a":1}',
    ],
)
def test_the_last_of_two_members_wins_and_goes_out_once(data: bytes) -> None:
    request = chat.parse_request(data)
    assert request.model == "m"
    assert chat.render_request(request, model="m") == b'{"model":"m","a":1}'


@pytest.mark.parametrize(
    ("options", "rendered"),
    [
        (b"", b',"stream_options":{"include_usage":true}'),
        (b',"stream_options":null', b',"stream_options":{"include_usage":true}'),
        (
            b',"stream_options":{"include_obfuscation":false}',
            b',"stream_options":{"include_obfuscation":false,"include_usage":true}',
        ),
        (b',"stream_options":{"include_usage":false,"a":1}', b',"stream_options":{"include_usage":true,"a":1}'),
        (b',"stream_options":{"include_usage":true}', b',"stream_options":{"include_usage":true}'),
    ],
)
def test_usage_is_asked_for_once(options: bytes, rendered: bytes) -> None:
    request = chat.parse_request(b'{"model":"m","stream":true' + options + b"}")
    assert chat.render_request(request, model="m", inject_usage=True) == b'{"model":"m","stream":true' + rendered + b"}"


@pytest.mark.parametrize(
    ("options", "rendered"),
    [
        (b"", b""),
        (b',"stream_options":{"include_usage":true}', b""),
        (b',"stream_options":{"include_usage":true,"a":1}', b',"stream_options":{"a":1}'),
    ],
)
def test_usage_is_not_asked_of_who_refuses_the_option(options: bytes, rendered: bytes) -> None:
    request = chat.parse_request(b'{"model":"m","stream":true' + options + b"}")
    assert chat.render_request(request, model="m", drop_usage=True) == b'{"model":"m","stream":true' + rendered + b"}"


def test_half_a_character_is_repaired() -> None:
    data = b'{"model":"m","a":"cut \\ud83d","b":"\\udE00 \\\\ud83d \\ud83d\\ude00 \\uD83D\\n\\ud83d\\ud83d\\ude00"}'
    request = chat.parse_request(data)
    repaired = b'{"model":"m","a":"cut \\ufffd","b":"\\ufffd \\\\ud83d \\ud83d\\ude00 \\ufffd\\n\\ufffd\\ud83d\\ude00"}'
    assert chat.render_request(request, model="m") == repaired
    assert len(repaired) == len(data)
    assert refusal(b'{"model":"m","a":"\\ud83d"').code == "invalid_json"
    assert refusal(b'["\\ud83d"]').code == "invalid_json"


def test_an_attack_on_the_repair_is_refused() -> None:
    refusal(b'{"model":"m","a":"' + b"\\ud83d" * (lenient.SURROGATE_REPAIRS_MAX + 1) + b'"}')


def test_a_large_body_is_not_copied_to_be_read() -> None:
    data = body(messages=[{"role": "user", "content": "A" * 20_000_000}])
    request = chat.parse_request(data)
    assert request.body is data
    assert len(chat.render_request(request, model="other")) == len(data) + 4


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda tail: b'{"model":"m","a":' + tail))
def test_any_body_is_a_request_or_a_client_error(data: bytes) -> None:
    try:
        request = chat.parse_request(data)
    except ClientError:
        chat.error_body(refusal(data))
    else:
        json.loads(chat.render_request(request, model="x", inject_usage=True))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4), st.text(min_size=1, max_size=5), st.booleans())
def test_members_survive_any_rendering(members: dict[str, Any], model: str, stream: bool) -> None:
    request_members = {**members, "model": "m", "stream": stream}
    try:
        data = json.dumps(request_members, allow_nan=False).encode()
    except ValueError:
        return
    request = chat.parse_request(data)
    rendered = json.loads(chat.render_request(request, model=model, inject_usage=True))
    wanted = {**request_members, "model": model}
    if stream:
        wanted["stream_options"] = {"include_usage": True}
    assert rendered == wanted


# -- unary answers -----------------------------------------------------------------------------------------------------


def answer(message: dict[str, Any], **members: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **members}).encode()


def test_an_answer() -> None:
    read = chat.read_answer(
        answer({"role": "assistant", "content": "Hi"}, usage={"prompt_tokens": 3, "completion_tokens": 2})
    )
    assert read.usage == Usage(input_tokens=3, output_tokens=2)
    assert read.content
    assert read.failure is None


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": None, "tool_calls": [{"id": "a"}]}, True),
        ({"content": "", "refusal": "no"}, True),
        ({"content": "", "tool_calls": []}, False),
        ({}, False),
    ],
)
def test_content_of_answers(message: dict[str, Any], content: bool) -> None:
    assert chat.read_answer(answer(message)).content is content


@pytest.mark.parametrize(
    ("data", "status", "code", "message"),
    [
        (b'{"error":{"message":"gone","code":503}}', 503, None, "gone"),
        (b'{"choices":[],"error":{"message":"gone","type":"server_error"}}', 500, None, "gone"),
        (b'{"choices":[{"error":{"message":"gone","code":"x"},"message":{"content":""}}]}', 502, "x", "gone"),
        (b'{"choices":[{"finish_reason":"error","message":{"content":"a"}}]}', 502, None, "finish_reason 'error'"),
        (b'{"choices":[]}', 502, "empty_answer", "without any choice"),
        (b'{"choices":null}', 502, "empty_answer", "without any choice"),
        (b"{}", 502, "empty_answer", "without any choice"),
        (b"data: {}\n\n", 502, "upstream_protocol_error", "is not an answer of this API: data: {}"),
        (b"<html><title>Login</title></html>", 502, "upstream_protocol_error", "Login"),
        (b"", 502, "upstream_protocol_error", "is not an answer of this API."),
        (b"[1]", 502, "upstream_protocol_error", "[1]"),
        (b"{" * 100_000, 502, "upstream_protocol_error", "{{{"),
        (b'{"a":' * 100_000, 502, "upstream_protocol_error", "{"),
    ],
)
def test_answers_that_are_none(data: bytes, status: int, code: str | None, message: str) -> None:
    read = chat.read_answer(data)
    assert read.failure is not None
    assert (read.failure.status, read.failure.code) == (status, code)
    assert message in read.failure.message
    assert not read.content


def test_nesting_at_the_edge_of_what_can_be_read_is_no_crash() -> None:
    for depth in range(700, 1010):
        deep = b"[" * depth + b"]" * depth
        for data in (
            b'{"choices":[{}],"usage":{"x":%b}}',
            b'{"error":{"x":%b}}',
            b'{"choices":[{"delta":{"content":%b}}]}',
        ):
            chat.read_answer(data % deep)
        read_usage(b'{"total_tokens":1,"x":%b}' % deep)


def test_an_answer_with_half_a_character_is_one() -> None:
    read = chat.read_answer(
        b'{"choices":[{"message":{"content":"\\ud83d"}}],"usage":{"total_tokens":5,"prompt_tokens":2}}'
    )
    assert read.content
    assert read.usage == Usage(input_tokens=2, output_tokens=3)


@settings(max_examples=100, deadline=None)
@given(JSON, JSON, JSON)
def test_any_json_is_an_answer_or_a_failure(choices: Any, usage: Any, error: Any) -> None:
    for document in (choices, {"choices": choices, "usage": usage}, {"choices": [choices], "error": error}):
        read = chat.read_answer(json.dumps(document).encode())
        assert read.failure is not None or read.content is not None
        if read.failure is not None:
            chat.error_body(read.failure)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_a_failure(data: bytes) -> None:
    chat.read_answer(data)


# -- usage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}, Usage(9, 4)),
        ({"prompt_tokens": 9.0, "completion_tokens": 4.0}, Usage(9, 4)),
        ({"prompt_tokens": 9, "total_tokens": 13}, Usage(9, 4)),
        ({"completion_tokens": 4, "total_tokens": 13, "prompt_tokens": None}, Usage(9, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 13}, Usage(9, 0)),
        ({"prompt_tokens": -1, "completion_tokens": 4}, Usage(0, 4)),
        ({"prompt_tokens": 2**80, "completion_tokens": 4}, Usage(TOKENS_MAX, 4)),
        ({"prompt_tokens": "9", "completion_tokens": True, "total_tokens": 3}, Usage(0, 0)),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {
                    "cached_tokens": 60,
                    "cache_write_tokens": 30,
                    "audio_tokens": 5,
                    "text_tokens": 1,
                },
                "completion_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 2},
            },
            Usage(100, 50, 60, 30, 40, 5, 2),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_tokens_details": None,
                "completion_tokens_details": [],
            },
            Usage(10, 5),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6},
            Usage(10, 5, 4),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 4}, Usage(10, 5, 4)),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 40}},
            Usage(10, 5, 10),
        ),
        # Reasoning outside the completion, told by the total, and inside it.
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 115,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
            Usage(10, 105, reasoning_tokens=100),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 105,
                "total_tokens": 115,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
            Usage(10, 105, reasoning_tokens=100),
        ),
    ],
)
def test_usage_in_the_normal_form(reported: dict[str, Any], usage: Usage) -> None:
    assert read_usage(json.dumps(reported).encode()) == usage


@pytest.mark.parametrize(
    "reported",
    [b"null", b"{}", b"[]", b"3", b"{", b'{"prompt_tokens":null}', b'{"prompt_tokens":0,"completion_tokens":0}'],
)
def test_no_usage(reported: bytes) -> None:
    assert read_usage(reported) is None


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            [
                "prompt_tokens",
                "completion_tokens",
                "total_tokens",
                "prompt_tokens_details",
                "completion_tokens_details",
                "cached_tokens",
            ],
            JSON,
        ),
    )
)
def test_any_usage_is_consistent(reported: dict[str, Any]) -> None:
    usage = read_usage(json.dumps(reported).encode())
    if usage is not None:
        assert all(
            0 <= part <= usage.input_tokens
            for part in (usage.cached_tokens + usage.cache_write_tokens, usage.input_audio_tokens)
        )
        assert all(0 <= part <= usage.output_tokens for part in (usage.reasoning_tokens, usage.output_audio_tokens))
        assert usage.total_tokens == usage.input_tokens + usage.output_tokens
        assert msgspec.json.decode(msgspec.json.encode(usage), type=Usage) == usage


def test_count() -> None:
    assert [count(value) for value in (float("nan"), float("inf"), -0.0, 1.9, None)] == [0, TOKENS_MAX, 0, 1, 0]


# -- model lists, the module as a whole --------------------------------------------------------------------------------


def test_model_lists() -> None:
    entries = [ModelEntry("a/b", "openai", 5), ModelEntry("é", "local")]
    data = json.loads(chat.models_body(iter(entries)))
    assert data["object"] == "list"
    assert [Model.model_validate(item).id for item in data["data"]] == ["a/b", "é"]
    assert json.loads(chat.model_body(entries[0])) == {
        "id": "a/b",
        "object": "model",
        "created": 5,
        "owned_by": "openai",
    }


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (
            b'{"object":"list","data":[{"id":"b","object":"model"},{"id":"a/b"},{"id":"b"},{"id":1},{},3,{"id":""}]}',
            ("b", "a/b"),
        ),
        (b'[{"id":"a"},{"id":"b\\ud83d"}]', ("a", "b?")),
        (b'{"data":[]}', ()),
    ],
)
def test_reading_a_model_list(data: bytes, names: tuple[str, ...]) -> None:
    assert chat.read_models(data) == names


@pytest.mark.parametrize("data", [b"", b"<html>", b"{}", b'{"data":null}', b"3", b"[" * 100_000])
def test_what_is_no_model_list(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a model list|not JSON|nested"):
        chat.read_models(data)


def test_a_model_list_reads_back() -> None:
    assert chat.read_models(chat.models_body([ModelEntry("a", "x"), ModelEntry("b", "y")])) == ("a", "b")


def test_the_module_is_a_dialect() -> None:
    module: Dialect = chat
    assert registry.dialect("chat") is module
    assert "chat" in registry.dialects()
    with pytest.raises(registry.UnknownNameError, match="no dialect 'x'; there are: chat"):
        registry.dialect("x")


def test_answers_pass_as_the_sdk_reads_them() -> None:
    data = answer({"role": "assistant", "content": "Hi"}, id="a", created=1, model="m", object="chat.completion")
    assert ChatCompletion.model_validate_json(data).choices[0].message.content == "Hi"
    assert chat.read_answer(data).content


@settings(deadline=None)
@given(st.text(max_size=20))
def test_lenient_text_can_be_encoded(value: str) -> None:
    assert lenient.text(value) == value
    assert lenient.text(value + "\ud83d") == value + "?"


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_lenient_decode_reads_or_says_no(data: bytes) -> None:
    with suppress(lenient.NotJsonError):
        lenient.decode(data)
    assert lenient.repair_surrogates(data) is data or b"\\ufffd" in lenient.repair_surrogates(data)
