"""Messages: requests in and out, unary answers, usage, model lists, headers."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from anthropic.types import Message, MessageTokensCount, ModelInfo
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import lenient, registry
from adapters.dialects import ModelEntry, messages
from adapters.dialects.messages_request import MessagesRequest
from adapters.dialects.messages_usage import read_counts
from adapters.errors import ClientError, Failure, Kind
from adapters.usage import TOKENS_MAX, Usage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", **members}, separators=(",", ":")).encode()


def refusal(data: bytes, argument: bytes = b"") -> Failure:
    with pytest.raises(ClientError) as caught:
        messages.parse_request(data, argument)
    return caught.value.failure


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("members", "stream"), [({}, False), ({"stream": None}, False), ({"stream": True}, True)])
def test_what_routing_needs(members: dict[str, Any], stream: bool) -> None:
    request = messages.parse_request(body(**members))
    assert (request.model, request.stream, request.usage_wanted, request.choices) == ("m", stream, True, 1)


@pytest.mark.parametrize(
    ("data", "param", "code", "message"),
    [
        (b"", None, "invalid_json", "The request body is empty; a JSON object is required."),
        (b"[1]", None, "invalid_json", "The request body must be a JSON object."),
        (b'{"model":"m",}', None, "invalid_json", "byte 13"),
        (b'{"model":"m","a":', None, "invalid_json", "byte 17"),
        (b'{"model":"m"} x', None, "invalid_json", "trailing characters (byte 15)"),
        (b'\xef\xbb\xbf{"model":"m"}', None, "invalid_json", "byte 0"),
        (b'{"model":"m","a":"\xff"}', None, "invalid_json", "The request body is not valid UTF-8 (byte 18)."),
        ('{"model":"m"}'.encode("utf-16"), None, "invalid_json", "not valid UTF-8"),
        (b'{"model":"m","a":' + b"[" * 100_000, None, "invalid_json", "The request body is nested too deeply."),
        (b'{"model":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, None, "invalid_json", "nested too deeply"),
        (b'{"stream":true}', "model", "missing_required_parameter", "model: Field required"),
        (b'{"model":null}', "model", "missing_required_parameter", "model: Field required"),
        (b'{"model":1}', "model", "invalid_type", "model: Input should be a valid string"),
        (b'{"model":" "}', "model", "empty_string", "model: String should have at least 1 character"),
        (body(stream="yes"), "stream", "invalid_type", "stream: Input should be a valid boolean"),
        (b'["\\ud83d"]', None, "invalid_json", "must be a JSON object"),
        (b'{"model":"m","a":"\\ud83d"', None, "invalid_json", "is not valid JSON"),
    ],
)
def test_refusals(data: bytes, param: str | None, code: str, message: str) -> None:
    failure = refusal(data)
    assert (failure.status, failure.kind) == (400, Kind.INVALID_REQUEST)
    assert (failure.param, failure.code) == (param, code)
    assert message in failure.message


def test_untouched_members_keep_their_bytes() -> None:
    members = (
        b'"temperature":1.50,"big":123456789012345678901234567890,"t":"\\u00e9\\/","x":{ "b" : [ 1 ,2 ] },"e":1e400'
    )
    request = messages.parse_request(b'{"model":"alias",' + members + b',"stream":true}')
    rendered = messages.render_request(request, model="real/model-1", inject_usage=True, drop_usage=True)
    assert rendered == b'{"model":"real/model-1",' + members + b',"stream":true}'


@pytest.mark.parametrize(
    "data", [body(messages=[]), b' { "model" : "m" ,\n "a" : [ 1 ] } ', '{"model": "m", "é": 1}'.encode()]
)
def test_an_unchanged_request_is_the_same_object(data: bytes) -> None:
    assert messages.render_request(messages.parse_request(data), model="m", inject_usage=True) is data


@pytest.mark.parametrize("data", [b'{"model":"cheap","model":"m","a":1}', b'{"model":"cheap","mod\\u0065l":"m","a":1}'])
def test_the_last_of_two_members_wins_and_goes_out_once(data: bytes) -> None:
    request = messages.parse_request(data)
    assert request.model == "m"
    assert messages.render_request(request, model="m") == b'{"model":"m","a":1}'


@pytest.mark.parametrize(
    ("argument", "query", "path"),
    [
        (b"", b"", "/messages"),
        (b"/", b"", "/messages"),
        (b"", b"beta=true", "/messages?beta=true"),
        (b"", b"key=sk-secret&beta=true&x=1", "/messages?beta=true"),
        (b"", b"beta=false&alphabeta=true", "/messages"),
        (b"count_tokens", b"", "/messages/count_tokens"),
        (b"/count_tokens", b"beta=true", "/messages/count_tokens?beta=true"),
    ],
)
def test_where_the_upstream_is_asked(argument: bytes, query: bytes, path: str) -> None:
    request = messages.parse_request(body(stream=True), argument, query)
    assert messages.upstream_path("/messages", request, model="m") == path
    is_generation = b"count" not in argument
    assert messages.is_generation(argument) is is_generation
    assert request.stream is is_generation


@pytest.mark.parametrize("argument", [b"batches", b"count_tokens/x", b"x%20\xff", b"../models"])
def test_unknown_actions(argument: bytes) -> None:
    failure = refusal(body(), argument)
    assert (failure.status, failure.kind) == (404, Kind.NOT_FOUND)
    assert not messages.is_generation(argument)


def test_a_large_body_is_not_copied_to_be_read() -> None:
    data = body(messages=[{"role": "user", "content": "A" * 20_000_000}])
    request = messages.parse_request(data)
    assert request.body is data
    assert len(messages.render_request(request, model="other")) == len(data) + 4


def test_an_attack_on_the_repair_is_refused() -> None:
    assert refusal(b'{"model":"m","a":"' + b"\\ud83d" * (lenient.SURROGATE_REPAIRS_MAX + 1) + b'"}').status == 400


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=40) | st.binary(max_size=20).map(lambda tail: b'{"model":"m","a":' + tail), st.binary(max_size=9)
)
def test_any_body_is_a_request_or_a_client_error(data: bytes, argument: bytes) -> None:
    try:
        request = messages.parse_request(data, argument)
    except ClientError as exc:
        messages.error_body(exc.failure)
    else:
        json.loads(messages.render_request(request, model="x"))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4), st.text(min_size=1, max_size=5))
def test_members_survive_any_rendering(members: dict[str, Any], model: str) -> None:
    try:
        data = json.dumps({**members, "model": "m", "stream": True}, allow_nan=False).encode()
    except ValueError:
        return
    rendered = json.loads(messages.render_request(messages.parse_request(data), model=model))
    assert rendered == {**members, "model": model, "stream": True}


# -- unary answers -----------------------------------------------------------------------------------------------------

REPORTED = {"input_tokens": 3, "output_tokens": 2}


def answer(*content: dict[str, Any], **members: Any) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
    return json.dumps({**message, "stop_reason": "end_turn", "usage": REPORTED, **members}).encode()


@pytest.mark.parametrize(
    ("content", "has_content"),
    [
        ([{"type": "text", "text": "Hi"}], True),
        ([{"type": "text", "text": ""}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}], True),
        ([{"type": "thinking", "thinking": "", "signature": "c2ln"}], True),
        ([{"type": "text", "text": ""}], False),
        ([], False),
        (["odd", None, 3], False),
        ([{"type": "text", "text": "half \ud83d"}], True),
    ],
)
def test_answers(content: list[Any], has_content: bool) -> None:
    data = answer(*content)
    read = messages.read_answer(data)
    assert (read.usage, read.content, read.failure) == (Usage(3, 2), has_content, None)
    if all(isinstance(block, dict) for block in content):
        assert len(Message.model_validate_json(data.replace(b"\\ud83d", b"")).content) == len(content)


def test_a_token_count_is_an_answer_without_usage() -> None:
    for data in (b'{"input_tokens":2095}', b'{"input_tokens": 0, "context_management": {"original_input_tokens": 9}}'):
        read = messages.read_answer(data)
        assert (read.usage, read.content, read.failure) == (None, True, None)
        assert MessageTokensCount.model_validate_json(data)


@pytest.mark.parametrize(
    ("data", "status", "code", "message"),
    [
        (b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}', 529, None, "m"),
        (b'{"type":"error","message":"m"}', 502, None, "m"),
        (b'{"type":"error"}', 502, None, "without saying which"),
        (b'{"error":{"message":"gone","code":503}}', 503, None, "gone"),
        (answer(error="boom"), 502, None, "boom"),
        (b'{"choices":[{"message":{"content":"Hi"}}]}', 502, "upstream_protocol_error", "choices"),
        (b'{"content":"Hi"}', 502, "upstream_protocol_error", "Hi"),
        (b"{}", 502, "upstream_protocol_error", "is not an answer of this API: {}"),
        (b"event: ping\n\n", 502, "upstream_protocol_error", "is not an answer of this API: event: ping"),
        (b"<html><title>Login</title></html>", 502, "upstream_protocol_error", "Login"),
        (b"", 502, "upstream_protocol_error", "is not an answer of this API."),
        (b'{"a":' * 100_000, 502, "upstream_protocol_error", "{"),
    ],
)
def test_answers_that_are_none(data: bytes, status: int, code: str | None, message: str) -> None:
    read = messages.read_answer(data)
    assert read.failure is not None
    assert (read.failure.status, read.failure.code) == (status, code)
    assert message in read.failure.message
    assert not read.content


def test_nesting_at_the_edge_of_what_can_be_read_is_no_crash() -> None:
    for depth in range(300, 1010, 7):
        deep = b"[" * depth + b'"\\ud83d"' + b"]" * depth
        for form in (b'{"content":[{"x":%b}]}', b'{"content":[],"usage":{"x":%b}}', b'{"error":{"x":%b}}'):
            messages.read_answer(form % deep)


@settings(max_examples=100, deadline=None)
@given(JSON, JSON, JSON)
def test_any_json_is_an_answer_or_a_failure(content: Any, usage: Any, error: Any) -> None:
    for document in (content, {"content": content, "usage": usage}, {"content": [content], "error": error}):
        read = messages.read_answer(json.dumps(document).encode())
        if read.failure is not None:
            messages.error_body(read.failure)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_a_failure(data: bytes) -> None:
    messages.read_answer(data)


# -- usage -------------------------------------------------------------------------------------------------------------

CACHED = {"input_tokens": 10, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 90, "output_tokens": 7}
ITERATION = {"type": "message", "input_tokens": 10, "output_tokens": 5}


@pytest.mark.parametrize(
    ("reports", "usage"),
    [
        ([{"input_tokens": 10, "output_tokens": 1}], Usage(10, 1)),
        ([CACHED], Usage(1000, 7, 900, 90)),
        ([CACHED, {"output_tokens": 15}], Usage(1000, 15, 900, 90)),
        ([CACHED, {"output_tokens": 15, "input_tokens": None}], Usage(1000, 15, 900, 90)),
        ([CACHED, {"output_tokens": 15, "input_tokens": 2300}], Usage(3290, 15, 900, 90)),
        ([CACHED, {"output_tokens": 15, "input_tokens": 0, "cache_read_input_tokens": 0}], Usage(1000, 15, 900, 90)),
        # An estimate, then the truth: all of it came from the cache.
        (
            [{"input_tokens": 800, "output_tokens": 0}, {"input_tokens": 0, "cache_read_input_tokens": 1000}],
            Usage(1000, 0, 1000),
        ),
        ([CACHED, {}], Usage(1000, 7, 900, 90)),
        ([{"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}], Usage(0, 9, reasoning_tokens=4)),
        ([{"output_tokens": 3, "output_tokens_details": {"thinking_tokens": 4}}], Usage(0, 3, reasoning_tokens=3)),
        (
            [{**CACHED, "iterations": [ITERATION, {**ITERATION, "type": "compaction", "cache_read_input_tokens": 2}]}],
            Usage(1012, 12, 902, 90),
        ),
        ([{**CACHED, "iterations": [{**ITERATION, "type": "advisor_message"}, 7, None]}], Usage(1010, 12, 900, 90)),
        ([{"iterations": [{**ITERATION, "type": "compaction"}]}, {"output_tokens": 1}], Usage(10, 6)),
        ([{"input_tokens": 9.0, "output_tokens": -1}], Usage(9, 0)),
        ([{"input_tokens": 2**80, "cache_read_input_tokens": 2**80}], Usage(TOKENS_MAX, 0, TOKENS_MAX)),
        ([{"input_tokens": "9", "output_tokens": True}], None),
        ([{"input_tokens": 0, "output_tokens": 0}], None),
        ([None], None),
        ([[1]], None),
    ],
)
def test_usage_in_the_normal_form(reports: list[Any], usage: Usage | None) -> None:
    counts = read_counts(b"{}")
    for report in reports:
        counts = counts.updated(read_counts(json.dumps(report).encode()))
    assert counts.usage() == usage


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([*CACHED, "output_tokens_details", "iterations"]), JSON), max_size=3))
def test_any_usage_is_consistent(reports: list[Any]) -> None:
    counts = read_counts(b"{")
    for report in reports:
        counts = counts.updated(read_counts(json.dumps(report).encode()))
    usage = counts.usage()
    if usage is not None:
        assert 0 <= usage.cached_tokens + usage.cache_write_tokens <= usage.input_tokens <= TOKENS_MAX
        assert 0 <= usage.reasoning_tokens <= usage.output_tokens <= TOKENS_MAX


# -- model lists, headers, the module as a whole -----------------------------------------------------------------------


def test_model_lists() -> None:
    entries = [ModelEntry("a/b", "openai", 1_740_000_000), ModelEntry("é", "local")]
    page = json.loads(messages.models_body(iter(entries)))
    assert (page["has_more"], page["first_id"], page["last_id"]) == (False, "a/b", "é")
    models = [ModelInfo.model_validate(item) for item in page["data"]]
    assert [(model.id, model.display_name) for model in models] == [("a/b", "a/b"), ("é", "é")]
    assert models[0].created_at == datetime(2025, 2, 19, 21, 20, tzinfo=UTC)
    assert page["data"][1]["created_at"] == "1970-01-01T00:00:00Z"
    assert json.loads(messages.model_body(entries[0])) == page["data"][0]
    assert json.loads(messages.models_body([])) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert messages.read_models(messages.models_body(entries)) == ("a/b", "é")


@settings(deadline=None)
@given(st.integers(-5, 253_402_300_799))
def test_any_moment_is_a_timestamp(seconds: int) -> None:
    text = json.loads(messages.model_body(ModelEntry("a", "b", seconds)))["created_at"]
    assert text == datetime.fromtimestamp(max(seconds, 0), UTC).isoformat().replace("+00:00", "Z")


def test_reading_a_model_list() -> None:
    data = b'{"data":[{"type":"model","id":"b"},{"id":"a\\ud83d"},{"id":"b"},{"id":1},{},3,{"id":""}],"has_more":false}'
    assert messages.read_models(data) == ("b", "a?")
    assert messages.read_models(b'{"data":[]}') == ()
    for none in (b"", b"<html>", b"{}", b'{"data":null}', b'[{"id":"a"}]', b"[" * 100_000):
        with pytest.raises(ValueError, match=r"not a model list|not JSON|nested"):
            messages.read_models(none)


def test_the_module_is_a_dialect() -> None:
    assert registry.dialect("messages") is messages
    assert isinstance(messages.parse_request(body()), MessagesRequest)
    headers = {*messages.FORWARDED_REQUEST_HEADERS, *messages.FORWARDED_ANSWER_HEADERS, *messages.REQUEST_ID_HEADERS}
    assert all(name == name.lower() for name in headers)
    assert {name for name, _ in messages.REQUIRED_REQUEST_HEADERS} <= messages.FORWARDED_REQUEST_HEADERS
    assert not headers & {b"x-api-key", b"authorization", b"cookie"}
