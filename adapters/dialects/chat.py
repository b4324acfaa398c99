"""The Chat Completions dialect, as OpenAI's API reference has it and as its many compatible servers speak it.

This is the module the registry finds; its parts are `chat_request` (what a client asks), `chat_document` (what an
upstream says, unary or in one chunk), `chat_tap` (a stream on its way through) and `chat_errors` (what a client is
told instead). Requests and streams keep every byte that need not change.
"""

from collections.abc import Iterable

import msgspec

from adapters import lenient
from adapters.dialects import ModelEntry, Request
from adapters.dialects.chat_document import read_answer
from adapters.dialects.chat_errors import error_body, error_event, error_status
from adapters.dialects.chat_request import parse_request, render_request
from adapters.dialects.chat_tap import DONE, Tap

__all__ = [
    "DONE",
    "FORWARDED_ANSWER_HEADERS",
    "FORWARDED_REQUEST_HEADERS",
    "KEEPALIVE",
    "Request",
    "Tap",
    "error_body",
    "error_event",
    "error_status",
    "model_body",
    "models_body",
    "parse_request",
    "read_answer",
    "read_models",
    "render_request",
]

KEEPALIVE = b": keepalive\n"
"""A comment without a blank line: openai-python dispatches an empty event, and fails on it, when a blank line follows a
comment in a stream that ever had an `id` (openai-python #2722)."""

FORWARDED_REQUEST_HEADERS = frozenset({b"openai-beta", b"idempotency-key"})
"""`openai-organization` and `openai-project` are not among them: they belong to the client's account, not to ours."""

FORWARDED_ANSWER_HEADERS = frozenset({b"openai-processing-ms", b"openai-version"})


def models_body(entries: Iterable[ModelEntry]) -> bytes:
    """Return GET /models: every entry, in order."""
    return msgspec.json.encode({"object": "list", "data": [_model(entry) for entry in entries]})


def model_body(entry: ModelEntry) -> bytes:
    """Return GET /models/{model}."""
    return msgspec.json.encode(_model(entry))


def read_models(body: bytes) -> tuple[str, ...]:
    """Return the model names of an upstream's list, each once, in its order. Raises `ValueError` when it is none.

    Most send `{"data": [{"id"}]}`, one vendor sends the bare array.
    """
    document = lenient.decode(body)
    items = document.get("data") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise ValueError("not a model list")  # noqa: TRY004 - the bytes are at fault, not a caller's argument
    names = [item["id"] for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)]
    return tuple(dict.fromkeys(lenient.text(name) for name in names if name))


def _model(entry: ModelEntry) -> dict[str, object]:
    return {"id": entry.id, "object": "model", "created": entry.created, "owned_by": entry.owned_by}
