"""The Responses dialect, as OpenAI's API reference has it and as its compatible servers speak it.

This is the module the registry finds; its parts are `responses_request` (what a client asks), `responses_document`
and `responses_usage` (what an upstream says, unary or in one event), `responses_tap` (a stream on its way through) and
`responses_errors` (what a client is told instead). Requests and streams keep every byte that need not change.
"""

from collections.abc import Iterable

import msgspec

from adapters import lenient
from adapters.dialects import ModelEntry, Request
from adapters.dialects.responses_document import read_answer
from adapters.dialects.responses_errors import error_body, error_event, error_status
from adapters.dialects.responses_request import is_generation, parse_request, render_request, upstream_path
from adapters.dialects.responses_tap import Tap

__all__ = [
    "FORWARDED_ANSWER_HEADERS",
    "FORWARDED_REQUEST_HEADERS",
    "KEEPALIVE",
    "REQUEST_ID_HEADERS",
    "REQUIRED_REQUEST_HEADERS",
    "STREAM_CONTENT_TYPE",
    "Request",
    "Tap",
    "error_body",
    "error_event",
    "error_status",
    "is_generation",
    "model_body",
    "models_body",
    "parse_request",
    "read_answer",
    "read_models",
    "render_request",
    "upstream_path",
]

KEEPALIVE = b": keepalive\n"
"""A comment without a blank line: openai-python dispatches an empty event, and fails on it, when a blank line follows a
comment in a stream that ever had an `id` (openai-python #2722)."""

FORWARDED_REQUEST_HEADERS = frozenset(
    {
        *(b"openai-beta", b"idempotency-key", b"x-client-request-id"),
        *(b"x-codex-beta-features", b"x-openai-internal-codex-responses-lite"),
    }
)
"""What changes how the body is read, and the client's own id of the request. `openai-organization` and
`openai-project` are not among them: they belong to the client's account, not to ours."""

REQUIRED_REQUEST_HEADERS: tuple[tuple[bytes, bytes], ...] = ()

FORWARDED_ANSWER_HEADERS = frozenset({b"openai-processing-ms", b"openai-version"})

STREAM_CONTENT_TYPE = b"text/event-stream; charset=utf-8"

REQUEST_ID_HEADERS = (b"x-request-id",)


def models_body(entries: Iterable[ModelEntry]) -> bytes:
    """Return GET /models: every entry, in order."""
    return msgspec.json.encode({"object": "list", "data": [_model(entry) for entry in entries]})


def model_body(entry: ModelEntry) -> bytes:
    """Return GET /models/{model}."""
    return msgspec.json.encode(_model(entry))


def read_models(body: bytes) -> tuple[str, ...]:
    """Return the model names of an upstream's list, each once, in its order. Raises `ValueError` when it is none."""
    document = lenient.decode(body)
    items = document.get("data") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise ValueError("not a model list")  # noqa: TRY004 - the bytes are at fault, not a caller's argument
    names = [item["id"] for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)]
    return tuple(dict.fromkeys(lenient.text(name) for name in names if name))


def _model(entry: ModelEntry) -> dict[str, object]:
    return {"id": entry.id, "object": "model", "created": entry.created, "owned_by": entry.owned_by}
