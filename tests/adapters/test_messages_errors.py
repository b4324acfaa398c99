"""Errors toward Messages clients: every kind has a type, and the official SDK raises its own classes."""

import json

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialects import messages
from adapters.dialects.messages_errors import STATUS_BY_TYPE, TYPE_BY_KIND, read_error
from adapters.errors import Failure, Kind, kind_of_status
from tests.adapters.test_messages_tap import sdk_message


def ask(failure: Failure) -> None:
    """Let the SDK ask a gateway that answers with `failure`."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        headers = [*failure.headers, (messages.REQUEST_ID_HEADERS[1], b"req_1")]
        return httpx2.Response(messages.error_status(failure), headers=headers, content=messages.error_body(failure))

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    with anthropic.Anthropic(api_key="k", base_url="http://t", http_client=http, max_retries=0) as client:
        client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_type(kind: Kind) -> None:
    body = json.loads(messages.error_body(Failure(400, kind, "what")))
    assert body == {"type": "error", "error": {"type": TYPE_BY_KIND[kind], "message": "what"}}
    assert TYPE_BY_KIND[kind] in STATUS_BY_TYPE


@pytest.mark.parametrize(
    ("status", "raises", "word"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (402, anthropic.APIStatusError, "billing_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (409, anthropic.ConflictError, "conflict_error"),
        (413, anthropic.APIStatusError, "request_too_large"),
        (422, anthropic.UnprocessableEntityError, "invalid_request_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (502, anthropic.InternalServerError, "api_error"),
        (503, anthropic.InternalServerError, "overloaded_error"),
        (504, anthropic.InternalServerError, "timeout_error"),
        (529, anthropic.InternalServerError, "overloaded_error"),
    ],
)
def test_the_sdk_raises_the_class_of_the_status(status: int, raises: type[anthropic.APIStatusError], word: str) -> None:
    with pytest.raises(raises) as caught:
        ask(Failure(status, kind_of_status(status), "what happened", code="why"))
    error = caught.value
    assert (error.status_code, error.type, error.api_message) == (status, word, "what happened")
    assert (error.error_code, error.request_id) == ("why", "req_1")


@pytest.mark.parametrize("word", ["requests", "server_error", "insufficient_quota"])
def test_words_of_other_dialects_do_not(word: str) -> None:
    body = json.loads(messages.error_body(Failure(429, Kind.RATE_LIMIT, "m", type=word)))
    assert body["error"]["type"] == "rate_limit_error"


def test_an_upstreams_words_win() -> None:
    body = json.loads(
        messages.error_body(Failure(400, Kind.INVALID_REQUEST, "m", type="brand_new_error", code="c", param="p"))
    )
    assert body["error"] == {"type": "brand_new_error", "message": "m", "details": {"error_code": "c"}}


@given(st.text(max_size=20), st.sampled_from(Kind))
def test_an_error_event_is_one_event(message: str, kind: Kind) -> None:
    event = messages.error_event(Failure(500, kind, message + "\ud83d"))
    name, data = event.removesuffix(b"\n\n").split(b"\n")
    assert name == b"event: error"
    assert json.loads(data.removeprefix(b"data: "))["error"]["message"] == message + "?"


def test_the_sdk_raises_on_an_error_event() -> None:
    with pytest.raises(anthropic.APIStatusError, match="gone away") as caught:
        sdk_message(messages.error_event(Failure(529, Kind.OVERLOADED, "gone away", code="why")))
    assert (caught.value.type, caught.value.api_message) == ("overloaded_error", "gone away")
    assert caught.value.error_code == "why"


@pytest.mark.parametrize(("word", "status"), STATUS_BY_TYPE.items())
def test_in_band_types_stand_for_statuses(word: str, status: int) -> None:
    failure = read_error(json.dumps({"type": "error", "error": {"type": word, "message": "m", "code": 418}}).encode())
    if status in {401, 403}:
        assert (failure.status, failure.code) == (502, "upstream_credentials_refused")
        assert failure.message != "m"
    else:
        assert (failure.status, failure.type, failure.message) == (status, word, "m")
        assert failure.kind is kind_of_status(status)
