"""Responses errors: how a failure is spelled for a client, and what an upstream's in-band error means.

Over HTTP the envelope, statuses, types and codes are those of OpenAI's other endpoints. In a stream there are two
events. The nested `error` is what the SDKs raise on (the flat form of the reference is merely yielded by them), and
`response.failed`, always the last, is what Codex waits for: it decides by `error.code` whether to try again, so there
the code is one of a closed set. An upstream's own type and code win over the tables, since clients match on them.
"""

from collections.abc import Mapping
from contextlib import suppress

import msgspec
from msgspec import Raw

from adapters import lenient, sse
from adapters.errors import Failure, Kind, kind_of_status
from adapters.upstream_errors import Words, words_of

WORDS_BY_KIND: dict[Kind, tuple[str, str | None, str]] = {
    Kind.INVALID_REQUEST: ("invalid_request_error", None, "invalid_prompt"),
    Kind.AUTHENTICATION: ("invalid_request_error", "invalid_api_key", "invalid_prompt"),
    Kind.BILLING: ("insufficient_quota", "insufficient_quota", "insufficient_quota"),
    Kind.PERMISSION: ("permission_error", None, "invalid_prompt"),
    Kind.NOT_FOUND: ("invalid_request_error", None, "invalid_prompt"),
    Kind.CONFLICT: ("conflict_error", None, "server_error"),
    Kind.TOO_LARGE: ("invalid_request_error", "request_too_large", "invalid_prompt"),
    Kind.UNPROCESSABLE: ("invalid_request_error", None, "invalid_prompt"),
    Kind.RATE_LIMIT: ("requests", "rate_limit_exceeded", "rate_limit_exceeded"),
    Kind.QUOTA: ("insufficient_quota", "insufficient_quota", "insufficient_quota"),
    Kind.TIMEOUT: ("timeout", "timeout", "server_error"),
    Kind.OVERLOADED: ("server_error", "overloaded", "server_error"),
    Kind.UPSTREAM: ("server_error", "upstream_error", "server_error"),
    Kind.INTERNAL: ("server_error", "internal_error", "server_error"),
}
"""The type and the code of a failure that brings no words of its own, and its code inside a failed response."""

STATUS_BY_CODE: dict[str, int] = {
    "server_error": 500,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "server_is_overloaded": 503,
    "vector_store_timeout": 504,
    **dict.fromkeys(
        (
            *("invalid_prompt", "context_length_exceeded", "data_residency_mismatch", "bio_policy"),
            *("misalignment_policy_violation", "invalid_image", "invalid_image_format", "invalid_base64_image"),
            *("invalid_image_url", "image_too_large", "image_too_small", "image_parse_error", "invalid_image_mode"),
            *("image_content_policy_violation", "image_file_too_large", "unsupported_image_media_type"),
            *("empty_image_file", "failed_to_download_image", "image_file_not_found"),
        ),
        400,
    ),
}
"""The codes of a failed response (ResponseError in openai-python, and those Codex acts on), and the HTTP status each
stands for."""

STATUS_BY_WORD: dict[str, int] = {
    **STATUS_BY_CODE,
    "invalid_request_error": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "requests": 429,
    "tokens": 429,
    "api_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "overloaded": 503,
    "overloaded_error": 503,
    "service_unavailable": 503,
    "timeout": 504,
    "timeout_error": 504,
}
"""The HTTP status an in-band error's code or type stands for; an unlisted one is the upstream's fault, 502."""

_QUOTA_WORD = "insufficient_quota"
_RESPONSE: dict[str, object] = {
    "id": "resp_failed",
    "object": "response",
    "created_at": 0,
    "status": "failed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "model": "",
    "output": [],
    "parallel_tool_calls": True,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "usage": None,
}
"""A failed response of which nothing is known: the members that typed clients require."""

_ENCODER = msgspec.json.Encoder()
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_NOTHING: Mapping[str, Raw] = {}


def error_status(failure: Failure) -> int:
    """Return the HTTP status of a failure for clients of this dialect: 529, an extension of others, is 503 here."""
    return 503 if failure.status == 529 else failure.status


def error_body(failure: Failure) -> bytes:
    """Return an error answer's body: OpenAI's envelope, all four members always there."""
    kind_type, kind_code, _ = WORDS_BY_KIND[failure.kind]
    error = {
        "message": lenient.text(failure.message),
        "type": failure.type or kind_type,
        "param": failure.param,
        "code": failure.code or (None if failure.type else kind_code),
    }
    return _ENCODER.encode({"error": error})


def error_event(failure: Failure, *, response: Mapping[str, Raw] = _NOTHING, sequence_number: int = 0) -> bytes:
    """Return the two events that end a failed stream: the nested `error`, then `response.failed`.

    `response` is what the client knows of its response so far, `sequence_number` is the next one. Without them it is
    the error of a stream that had not begun.
    """
    error = _MEMBERS.decode(error_body(failure))["error"]
    failed = {**_RESPONSE, **response, "status": "failed", "error": _response_error(failure, response.get("error"))}
    return sse.encode(
        _ENCODER.encode({"type": "error", "sequence_number": sequence_number, "error": error}), b"error"
    ) + sse.encode(
        _ENCODER.encode({"type": "response.failed", "sequence_number": sequence_number + 1, "response": failed}),
        b"response.failed",
    )


def _response_error(failure: Failure, given: Raw | None) -> object:
    """Return the `error` of a failed response: the upstream's own object when it is that failure it speaks of.

    A code that is no text is not passed on: typed clients would refuse the whole event.
    """
    message = lenient.text(failure.message)
    if given is not None:
        with suppress(KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            members = _MEMBERS.decode(given)
            words = [msgspec.json.decode(members[name]) for name in ("message", "code")]
            if words[0] == message and isinstance(words[1], str):
                return given
    return {"code": _response_code(failure), "message": message}


def _response_code(failure: Failure) -> str:
    return failure.code if failure.code in STATUS_BY_CODE else WORDS_BY_KIND[failure.kind][2]


def read_error(error: Raw | bytes) -> Failure:
    """Return what the value of an `error` member means: an object, or any other truthy JSON."""
    try:
        words = words_of({"error": lenient.decode(error)})
    except lenient.NotJsonError:
        words = None
    return _failure(words or Words(""))


def read_error_event(payload: bytes) -> Failure:
    """Return what an `error` event in the reference's flat form means; its `type` says only that it is an error."""
    try:
        document = lenient.decode(payload)
    except lenient.NotJsonError:
        document = None
    members = {name: value for name, value in document.items() if name != "type"} if isinstance(document, dict) else {}
    return _failure(words_of({"error": members}) or Words(""))


def _failure(words: Words) -> Failure:
    status = words.status or STATUS_BY_WORD.get(words.code or "") or STATUS_BY_WORD.get(words.type or "") or 502
    if status == 401:
        # It is our key that the upstream refused; a client would take a 401 for its own.
        message = "The upstream refused the gateway's credentials."
        return Failure(502, Kind.UPSTREAM, message, code="upstream_credentials_refused")
    quota = _QUOTA_WORD in {words.code, words.type}
    kind = Kind.QUOTA if status == 429 and quota else kind_of_status(status)
    message = words.message or "The upstream reported an error without saying which."
    return Failure(status, kind, message, type=words.type, code=words.code, param=words.param)
