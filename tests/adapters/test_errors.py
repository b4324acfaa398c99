"""Errors toward Chat Completions clients: every kind has words, and the official SDK raises its own classes."""

import json

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialects import chat
from adapters.dialects.chat_errors import STATUS_BY_WORD, WORDS_BY_KIND, read_error
from adapters.errors import KIND_BY_STATUS, ClientError, Failure, Kind, UpstreamError, kind_of_status

STATUS_BY_KIND = {kind: status for status, kind in reversed(KIND_BY_STATUS.items())} | {
    Kind.QUOTA: 429,
    Kind.INTERNAL: 500,
}


def ask(failure: Failure) -> None:
    """Let the SDK ask a gateway that answers with `failure`."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(
            chat.error_status(failure), headers=list(failure.headers), content=chat.error_body(failure)
        )

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    with openai.OpenAI(api_key="k", base_url="http://t/v1", http_client=http, max_retries=0) as client:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_words(kind: Kind) -> None:
    body = json.loads(chat.error_body(Failure(STATUS_BY_KIND[kind], kind, "what")))
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert body["error"]["message"] == "what"
    assert isinstance(body["error"]["type"], str)
    assert (body["error"]["type"], body["error"]["code"]) == WORDS_BY_KIND[kind]


@pytest.mark.parametrize(
    ("status", "raises", "code"),
    [
        (400, openai.BadRequestError, None),
        (401, openai.AuthenticationError, "invalid_api_key"),
        (402, openai.APIStatusError, "insufficient_quota"),
        (403, openai.PermissionDeniedError, None),
        (404, openai.NotFoundError, None),
        (409, openai.ConflictError, None),
        (413, openai.APIStatusError, "request_too_large"),
        (422, openai.UnprocessableEntityError, None),
        (429, openai.RateLimitError, "rate_limit_exceeded"),
        (500, openai.InternalServerError, "upstream_error"),
        (502, openai.InternalServerError, "upstream_error"),
        (503, openai.InternalServerError, "overloaded"),
        (504, openai.InternalServerError, "timeout"),
        (529, openai.InternalServerError, "overloaded"),
    ],
)
def test_the_sdk_raises_the_class_of_the_status(
    status: int, raises: type[openai.APIStatusError], code: str | None
) -> None:
    with pytest.raises(raises) as caught:
        ask(Failure(status, kind_of_status(status), "what happened", param="model"))
    error = caught.value
    assert type(error) is raises
    assert error.status_code == (503 if status == 529 else status)
    assert (error.code, error.param) == (code, "model")
    assert isinstance(error.body, dict)
    assert error.body["message"] == "what happened"


def test_an_upstreams_words_win() -> None:
    body = json.loads(chat.error_body(Failure(429, Kind.RATE_LIMIT, "m", type="tokens", code="slow_down", param="p")))
    assert body["error"] == {"message": "m", "type": "tokens", "param": "p", "code": "slow_down"}
    body = json.loads(chat.error_body(Failure(500, Kind.UPSTREAM, "m", type="server_error")))
    assert body["error"] == {"message": "m", "type": "server_error", "param": None, "code": None}


def test_a_model_that_is_not_there() -> None:
    failure = Failure(404, Kind.NOT_FOUND, "The model 'x' does not exist.", code="model_not_found", param="model")
    with pytest.raises(openai.NotFoundError) as caught:
        ask(failure)
    assert (caught.value.code, caught.value.type) == ("model_not_found", "invalid_request_error")


@given(st.text(max_size=20), st.sampled_from(Kind))
def test_an_error_event_is_one_event(message: str, kind: Kind) -> None:
    event = chat.error_event(Failure(500, kind, message + "\ud83d"))
    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2
    assert b"[DONE]" not in event.replace(message.encode(), b"")
    assert json.loads(event[6:])["error"]["message"] == message + "?"


@pytest.mark.parametrize("word", STATUS_BY_WORD)
def test_in_band_words_stand_for_statuses(word: str) -> None:
    status = STATUS_BY_WORD[word]
    for field in ("type", "code"):
        failure = read_error(json.dumps({"message": "m", field: word}).encode())
        assert failure.status == (502 if status == 401 else status)
        assert chat.error_status(failure) < 600


def test_a_status_in_the_error_wins_over_its_words() -> None:
    assert read_error(b'{"message":"m","type":"server_error","code":429}').status == 429
    assert read_error(b'{"message":"m","type":"server_error","status":503}').status == 503
    assert read_error(b'{"message":"m","code":200}').status == 502


def test_families_carry_their_failure() -> None:
    failure = Failure(502, Kind.UPSTREAM, "m")
    error = UpstreamError(failure, cause="reset", retryable=True)
    assert (error.failure, error.cause, error.retryable, str(error)) == (failure, "reset", True, "m")
    assert str(ClientError(failure)) == "m"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(418, Kind.INVALID_REQUEST), (499, Kind.INVALID_REQUEST), (501, Kind.UPSTREAM), (599, Kind.UPSTREAM)],
)
def test_kinds_of_unlisted_statuses(status: int, kind: Kind) -> None:
    assert kind_of_status(status) is kind
