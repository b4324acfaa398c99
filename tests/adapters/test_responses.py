"""Responses: requests in and out, unary answers, usage, errors over HTTP, model lists."""

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Model
from openai.types.responses import Response, ResponseError, ResponseFailedEvent

from adapters import registry
from adapters.dialects import Dialect, ModelEntry, responses
from adapters.dialects.responses_errors import STATUS_BY_CODE, STATUS_BY_WORD, WORDS_BY_KIND, read_error
from adapters.dialects.responses_usage import read_usage
from adapters.errors import KIND_BY_STATUS, ClientError, Failure, Kind, kind_of_status
from adapters.usage import TOKENS_MAX, Usage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", **members}, separators=(",", ":")).encode()


def refusal(data: bytes) -> Failure:
    with pytest.raises(ClientError) as caught:
        responses.parse_request(data)
    assert caught.value.failure.status == 400
    assert caught.value.failure.kind is Kind.INVALID_REQUEST
    return caught.value.failure


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "stream"),
    [
        ({}, False),
        ({"stream": None}, False),
        ({"stream": False, "background": True}, False),
        ({"stream": True}, True),
        ({"stream": True, "stream_options": {"include_obfuscation": False}, "n": 3}, True),
    ],
)
def test_what_routing_needs(members: dict[str, Any], stream: bool) -> None:
    request = responses.parse_request(body(**members), b"", b"x=1")
    assert (request.model, request.stream, request.usage_wanted, request.choices) == ("m", stream, True, 1)


@pytest.mark.parametrize(
    ("data", "param", "code", "message"),
    [
        (b"", None, "invalid_json", "The request body is empty; a JSON object is required."),
        (b"[1]", None, "invalid_json", "The request body must be a JSON object."),
        (b'{"model":"m",}', None, "invalid_json", "byte 13"),
        (b'{"model":"m","a":', None, "invalid_json", "byte 17"),
        (b'{"model":"m"} x', None, "invalid_json", "trailing characters (byte 15)"),
        (b'{"model":"m","a":"\xff"}', None, "invalid_json", "The request body is not valid UTF-8 (byte 18)."),
        (b'{"model":"m","a":' + b"[" * 100_000, None, "invalid_json", "The request body is nested too deeply."),
        (b'{"model":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, None, "invalid_json", "nested too deeply"),
        (b'{"stream":true}', "model", "missing_required_parameter", "Missing required parameter: 'model'."),
        (b'{"model":null}', "model", "missing_required_parameter", "Missing required parameter: 'model'."),
        (b'{"model":1}', "model", "invalid_type", "expected a string, but got an integer instead."),
        (b'{"model":" "}', "model", "empty_string", "empty string"),
        (body(stream="yes"), "stream", "invalid_type", "Invalid type for 'stream': expected a boolean"),
    ],
)
def test_refusals(data: bytes, param: str | None, code: str, message: str) -> None:
    failure = refusal(data)
    assert (failure.param, failure.code) == (param, code)
    assert message in failure.message


CODEX = (
    b'"store":false,"previous_response_id":"resp_1","input":[ {"type":"additional_tools","role":"developer","tools":'
    b'[{"type":"namespace","name":"functions"}]},{"type":"reasoning","id":"rs_1","summary":[],"content":null,'
    b'"encrypted_content":"gA\\/="},{"type":"function_call_output","id":"fco_1","call_id":"call_1","output":"\\u00e9"},'
    b'{"type":"item_reference","id":"msg_1"},{"type":"compaction_trigger"}],"stream_options":{"include_usage":true},'
    b'"include":["reasoning.encrypted_content"],"background":null,"client_metadata":{"n":1.50,"e":1e400}'
)


def test_everything_but_the_model_keeps_its_bytes() -> None:
    request = responses.parse_request(b'{"model":"alias",' + CODEX + b',"stream":true}')
    for inject, drop in ((False, False), (True, False), (False, True)):
        rendered = responses.render_request(request, model="real/model-1", inject_usage=inject, drop_usage=drop)
        assert rendered == b'{"model":"real/model-1",' + CODEX + b',"stream":true}'
        assert responses.render_request(request, model="alias", inject_usage=inject, drop_usage=drop) is request.body


@pytest.mark.parametrize(
    "data", [body(input=[]), b' { "model" : "m" ,\n "a" : [ 1 ] } ', '{"model": "m", "é": "\u2028"}'.encode()]
)
def test_an_unchanged_request_is_the_same_object(data: bytes) -> None:
    request = responses.parse_request(data)
    assert responses.render_request(request, model="m") is data


@pytest.mark.parametrize(
    "data",
    [
        b'{"model":"cheap","model":"m","a":1}',
        b'{"model":"cheap","mod\\u0065l":"m","a":1}',
        b'{"model":"m","a":0,   "a":1}',
    ],
)
def test_the_last_of_two_members_wins_and_goes_out_once(data: bytes) -> None:
    request = responses.parse_request(data)
    assert request.model == "m"
    assert responses.render_request(request, model="m") == b'{"model":"m","a":1}'


def test_b20_half_a_character_is_repaired() -> None:
    data = b'{"model":"m","a":"cut \\ud83d","b":"\\udE00 \\\\ud83d \\ud83d\\ude00"}'
    request = responses.parse_request(data)
    repaired = b'{"model":"m","a":"cut \\ufffd","b":"\\ufffd \\\\ud83d \\ud83d\\ude00"}'
    assert responses.render_request(request, model="m") == repaired
    assert refusal(b'{"model":"m","a":"\\ud83d"').code == "invalid_json"


def test_a_large_body_is_not_copied_to_be_read() -> None:
    data = body(input="A" * 20_000_000)
    request = responses.parse_request(data)
    assert request.body is data
    assert len(responses.render_request(request, model="other")) == len(data) + 4


def test_where_requests_go() -> None:
    request = responses.parse_request(body())
    assert responses.upstream_path("/responses", request, model="x/y") == "/responses"
    assert [responses.is_generation(rest) for rest in (b"", b"/", b"input_tokens", b"/compact")] == [
        *(True, True, False, False)
    ]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda tail: b'{"model":"m","a":' + tail))
def test_any_body_is_a_request_or_a_client_error(data: bytes) -> None:
    try:
        request = responses.parse_request(data)
    except ClientError:
        responses.error_body(refusal(data))
    else:
        json.loads(responses.render_request(request, model="x"))


# -- unary answers -----------------------------------------------------------------------------------------------------

TEXT = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}


def answer(*items: Any, **members: Any) -> bytes:
    document = {"id": "resp_1", "object": "response", "status": "completed", "error": None, "output": items}
    return json.dumps(document | members).encode()


def test_an_answer() -> None:
    data = answer(TEXT, usage={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}, model="m", created_at=1)
    read = responses.read_answer(data)
    assert (read.usage, read.content, read.failure) == (Usage(3, 2), True, None)
    assert Response.model_construct(**json.loads(data)).id == "resp_1"


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (answer(TEXT), True),
        (answer(CALL), True),
        (answer({"type": "reasoning", "summary": [], "encrypted_content": "gA"}), True),
        (answer({**TEXT, "content": [{"type": "refusal", "refusal": "no"}]}), True),
        (answer({**TEXT, "content": [{"type": "output_text", "text": ""}]}), False),
        (answer({"type": "reasoning", "summary": []}), False),
        (answer(), False),
        (answer(TEXT, status="incomplete", incomplete_details={"reason": "max_output_tokens"}), True),
        (answer(status="queued", background=True), True),
        (answer(status="in_progress", output=None), True),
        (answer(status="cancelled"), False),
        (b'{"object":"response.input_tokens","input_tokens":123}', True),
        (b'{"id":"c","object":"response.compaction","output":[{"type":"compaction"}]}', True),
        (answer({**TEXT, "content": [{"type": "output_text", "text": "\ud83d"}]}), True),
    ],
)
def test_answers(data: bytes, content: bool) -> None:
    read = responses.read_answer(data)
    assert read.failure is None
    assert read.content is content


@pytest.mark.parametrize(
    ("data", "status", "code", "message"),
    [
        (answer(status="failed", error={"code": "server_error", "message": "gone"}), 500, "server_error", "gone"),
        (answer(TEXT, status="failed"), 502, None, "without saying which"),
        (answer(error={"code": "rate_limit_exceeded", "message": "m"}), 429, "rate_limit_exceeded", "m"),
        (b'{"error":{"message":"gone","code":503}}', 503, None, "gone"),
        (b'{"type":"error","error":{"message":"gone","type":"overloaded_error"}}', 503, None, "gone"),
        (b'{"object":"response.input_tokens","error":"no"}', 502, None, "no"),
        (b"{}", 502, "empty_answer", "without any output"),
        (b'{"object":"response","output":null}', 502, "empty_answer", "without any output"),
        (b'{"choices":[{"message":{"content":"a"}}]}', 502, "empty_answer", "without any output"),
        (b"event: x\ndata: {}\n\n", 502, "upstream_protocol_error", "is not an answer of this API: event: x data: {}"),
        (b"<html><title>Login</title></html>", 502, "upstream_protocol_error", "Login"),
        (b"", 502, "upstream_protocol_error", "is not an answer of this API."),
        (b"[1]", 502, "upstream_protocol_error", "[1]"),
        (b'{"a":' * 100_000, 502, "upstream_protocol_error", "{"),
    ],
)
def test_answers_that_are_none(data: bytes, status: int, code: str | None, message: str) -> None:
    read = responses.read_answer(data)
    assert read.failure is not None
    assert (read.failure.status, read.failure.code) == (status, code)
    assert message in read.failure.message
    assert not read.content


def test_b40_a_failed_answer_is_metered() -> None:
    failed = answer(status="failed", usage={"input_tokens": 7, "output_tokens": 1})
    assert responses.read_answer(failed).usage == Usage(7, 1)


def test_nesting_at_the_edge_of_what_can_be_read_is_no_crash() -> None:
    for depth in range(700, 1010, 3):
        deep = b"[" * depth + b"]" * depth
        for data in (
            b'{"output":[{"type":"message","content":%b}]}',
            b'{"output":[{"type":%b}]}',
            b'{"status":%b,"error":{"x":1}}',
            b'{"error":{"x":%b}}',
            b'{"output":[],"usage":{"x":%b}}',
        ):
            responses.read_answer(data % deep)


@settings(max_examples=100, deadline=None)
@given(JSON, JSON, JSON)
def test_any_json_is_an_answer_or_a_failure(output: Any, usage: Any, error: Any) -> None:
    for document in (
        output,
        {"output": output, "usage": usage, "status": error},
        {"output": [output, {"type": "message", "content": usage}, {"type": error}], "error": error},
    ):
        read = responses.read_answer(json.dumps(document).encode())
        if read.failure is not None:
            responses.error_body(read.failure)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_a_failure(data: bytes) -> None:
    responses.read_answer(data)


# -- usage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        ({"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}, Usage(9, 4)),
        ({"input_tokens": 9.0, "output_tokens": 4.0}, Usage(9, 4)),
        ({"input_tokens": 9, "total_tokens": 13}, Usage(9, 4)),
        ({"output_tokens": 4, "total_tokens": 13, "input_tokens": None}, Usage(9, 4)),
        ({"input_tokens": -1, "output_tokens": 4}, Usage(0, 4)),
        ({"input_tokens": 2**80, "output_tokens": 4}, Usage(TOKENS_MAX, 4)),
        (
            {
                "input_tokens": 100,
                "output_tokens": 50,
                "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30, "audio_tokens": 5},
                "output_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 2},
            },
            Usage(100, 50, 60, 30, 40, 5, 2),
        ),
        ({"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 40}}, Usage(10, 5, 10)),
        ({"input_tokens": 10, "output_tokens": 5, "input_tokens_details": [1]}, Usage(10, 5)),
        # B39: reasoning outside the output, told by the total.
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "total_tokens": 115,
                "output_tokens_details": {"reasoning_tokens": 100},
            },
            Usage(10, 105, reasoning_tokens=100),
        ),
    ],
)
def test_usage_in_the_normal_form(reported: dict[str, Any], usage: Usage) -> None:
    assert read_usage(json.dumps(reported).encode()) == usage


@pytest.mark.parametrize("reported", [b"", b"null", b"{}", b"[]", b"3", b"{", b'{"input_tokens":0}', b'"x"'])
def test_no_usage(reported: bytes) -> None:
    assert read_usage(reported) is None


MEMBERS = ["input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"]


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, JSON)))
def test_any_usage_is_consistent(reported: dict[str, Any]) -> None:
    usage = read_usage(json.dumps(reported).encode())
    if usage is not None:
        parts = (usage.cached_tokens + usage.cache_write_tokens, usage.input_audio_tokens)
        assert all(0 <= part <= usage.input_tokens for part in parts)
        assert all(0 <= part <= usage.output_tokens for part in (usage.reasoning_tokens, usage.output_audio_tokens))


# -- errors ------------------------------------------------------------------------------------------------------------

STATUS_BY_KIND = {kind: status for status, kind in reversed(KIND_BY_STATUS.items())} | {
    Kind.QUOTA: 429,
    Kind.INTERNAL: 500,
}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_words(kind: Kind) -> None:
    failure = Failure(STATUS_BY_KIND[kind], kind, "what")
    kind_type, code, in_response = WORDS_BY_KIND[kind]
    error = {"message": "what", "type": kind_type, "param": None, "code": code}
    assert json.loads(responses.error_body(failure)) == {"error": error}
    nested, failed = (json.loads(line[6:]) for line in responses.error_event(failure).split(b"\n") if line[:1] == b"d")
    assert nested == {"type": "error", "sequence_number": 0, "error": error}
    assert failed["sequence_number"] == 1
    assert failed["response"]["error"] == {"code": in_response, "message": "what"}
    assert in_response in STATUS_BY_CODE
    # Codex gives up at once where trying again is of no use, and only there.
    final = in_response in {"invalid_prompt", "insufficient_quota"}
    assert final is (failure.status < 500 and kind not in {Kind.RATE_LIMIT, Kind.CONFLICT, Kind.TIMEOUT})


def test_the_ending_of_a_stream_that_never_began_is_whole() -> None:
    ending = responses.error_event(Failure(502, Kind.UPSTREAM, "m", code="upstream_reset"))
    first, second, rest = ending.split(b"\n\n")
    assert rest == b""
    assert first.startswith(b'event: error\ndata: {"type":"error",')
    assert second.startswith(b'event: response.failed\ndata: {"type":"response.failed",')
    failed = ResponseFailedEvent.model_validate_json(second.partition(b"data: ")[2])
    assert failed.response.error == ResponseError(code="server_error", message="m")
    assert failed.response.id


@given(st.text(max_size=20), st.sampled_from(Kind))
def test_an_ending_is_two_events(message: str, kind: Kind) -> None:
    ending = responses.error_event(Failure(500, kind, message + "\ud83d"))
    assert ending.count(b"\n") == 6
    assert [json.loads(line[6:])["type"] for line in ending.split(b"\n") if line.startswith(b"data: ")] == [
        *("error", "response.failed")
    ]


@pytest.mark.parametrize(
    ("status", "raises"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (502, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
def test_the_sdk_raises_the_class_of_the_status(status: int, raises: type[openai.APIStatusError]) -> None:
    failure = Failure(status, kind_of_status(status), "what happened", code="a_code", param="model")

    def refuse(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(responses.error_status(failure), content=responses.error_body(failure))

    http = httpx2.Client(transport=httpx2.MockTransport(refuse))
    with (
        openai.OpenAI(api_key="k", base_url="http://t/v1", http_client=http, max_retries=0) as client,
        pytest.raises(raises) as caught,
    ):
        client.responses.create(model="m", input="x")
    assert (caught.value.code, caught.value.param) == ("a_code", "model")
    assert caught.value.status_code == (503 if status == 529 else status)


@pytest.mark.parametrize("word", STATUS_BY_WORD)
def test_in_band_words_stand_for_statuses(word: str) -> None:
    status = STATUS_BY_WORD[word]
    for field in ("type", "code"):
        assert read_error(json.dumps({"message": "m", field: word}).encode()).status == (
            502 if status == 401 else status
        )


# -- model lists, the module as a whole --------------------------------------------------------------------------------


def test_model_lists() -> None:
    entries = [ModelEntry("a/b", "openai", 5), ModelEntry("é", "local")]
    data = json.loads(responses.models_body(iter(entries)))
    assert data["object"] == "list"
    assert [Model.model_validate(item).id for item in data["data"]] == ["a/b", "é"]
    assert json.loads(responses.model_body(entries[0])) == data["data"][0]
    assert responses.read_models(responses.models_body(entries)) == ("a/b", "é")


@pytest.mark.parametrize("data", [b"", b"<html>", b"{}", b'{"data":null}', b"3", b"[" * 100_000])
def test_what_is_no_model_list(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a model list|not JSON|nested"):
        responses.read_models(data)


def test_the_module_is_a_dialect() -> None:
    module: Dialect = responses
    assert registry.dialect("responses") is module
    assert registry.provider("openai").path("responses") == "/responses"
    assert next(iter(registry.provider("openai").dialects))[0] == "chat"
