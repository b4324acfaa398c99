"""The Messages dialect, as Anthropic's API reference has it and as its compatible servers speak it.

This is the module the registry finds; its parts are `messages_request` (what a client asks), `messages_document` and
`messages_usage` (what an upstream says, unary or in one event), `messages_tap` (a stream on its way through) and
`messages_errors` (what a client is told instead). Requests and streams keep every byte that need not change.

Between dialects, `messages_reader` and `messages_writer` translate requests, `messages_parser`, `messages_emitter` and
`messages_answer` answers; the other modules are parts of these.
"""

from collections.abc import Iterable

import msgspec

from adapters import lenient
from adapters.dialects import ModelEntry, Request
from adapters.dialects.messages_answer import estimated_count, render_answer
from adapters.dialects.messages_document import read_answer
from adapters.dialects.messages_emitter import CALL_IDS, open_emitter
from adapters.dialects.messages_errors import error_body, error_event, error_status
from adapters.dialects.messages_parser import open_parser
from adapters.dialects.messages_rates import rate_headers, timestamp
from adapters.dialects.messages_reader import read_conversation
from adapters.dialects.messages_request import is_generation, parse_request, render_request, upstream_path
from adapters.dialects.messages_routing import affinity, has_side_effects, output_tokens_max
from adapters.dialects.messages_tap import Tap
from adapters.dialects.messages_writer import generation_path, write_request
from adapters.errors import Failure

__all__ = [
    "ABORT_AFTER_ERROR",
    "CALL_IDS",
    "FORWARDED_ANSWER_HEADERS",
    "FORWARDED_REQUEST_HEADERS",
    "KEEPALIVE",
    "PATH",
    "REQUEST_ID_HEADERS",
    "REQUIRED_REQUEST_HEADERS",
    "STREAM_CONTENT_TYPE",
    "Tap",
    "affinity",
    "error_body",
    "error_event",
    "error_status",
    "estimated_count",
    "generation_path",
    "has_side_effects",
    "is_generation",
    "model_body",
    "models_body",
    "open_emitter",
    "open_parser",
    "open_tap",
    "output_tokens_max",
    "parse_request",
    "rate_headers",
    "read_answer",
    "read_conversation",
    "read_models",
    "refusal_body",
    "render_answer",
    "render_request",
    "stream_content_type",
    "upstream_path",
    "write_request",
]

PATH = "/messages"
"""Where servers usually have it, below the base URL."""

KEEPALIVE = b'event: ping\ndata: {"type": "ping"}\n\n'
"""What the vendor sends; legal anywhere in a stream, in front of `message_start` too."""

ABORT_AFTER_ERROR = False
"""Every client of this dialect notices the error itself."""

STREAM_CONTENT_TYPE = b"text/event-stream; charset=utf-8"

REQUEST_ID_HEADERS = (b"x-request-id", b"request-id")
"""The second is where the SDKs of this dialect look for the id that they show on errors."""

FORWARDED_REQUEST_HEADERS = frozenset({b"anthropic-version", b"anthropic-beta"})
"""Upstreams of this dialect judge both; agents repair themselves by what a refused beta's 400 says."""

REQUIRED_REQUEST_HEADERS = ((b"anthropic-version", b"2023-06-01"),)
"""Sent when the client sent none. The version that every server of this dialect knows: later ones refuse requests that
were legal under it (platform.claude.com, versions).
"""

FORWARDED_ANSWER_HEADERS: frozenset[bytes] = frozenset()
"""The vendor's own (`anthropic-organization-id`, rate limits) speak of the gateway's account, not of the client's."""

_ENCODER = msgspec.json.Encoder()


def stream_content_type(request: Request) -> bytes:
    """Return the content type of the stream that a request asks for."""
    return STREAM_CONTENT_TYPE


def refusal_body(failure: Failure, argument: bytes = b"", query: bytes = b"") -> bytes:
    """Return an error answer's body: the same for every request."""
    return error_body(failure)


def open_tap(request: Request, *, strip_usage: bool, event_bytes_max: int) -> Tap:
    """Return the tap of the stream that a request asks for."""
    return Tap(strip_usage=strip_usage, event_bytes_max=event_bytes_max, choices=request.choices)


def models_body(entries: Iterable[ModelEntry], query: bytes = b"") -> bytes:
    """Return GET /models: every entry, in order, on one page."""
    items = [_model(entry) for entry in entries]
    first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return _ENCODER.encode({"data": items, "has_more": False, "first_id": first, "last_id": last})


def model_body(entry: ModelEntry) -> bytes:
    """Return GET /models/{model}."""
    return _ENCODER.encode(_model(entry))


def read_models(body: bytes) -> tuple[str, ...]:
    """Return the model names of an upstream's list, each once, in its order. Raises `ValueError` when it is none."""
    document = lenient.decode(body)
    items = document.get("data") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise ValueError("not a model list")  # noqa: TRY004 - the bytes are at fault, not a caller's argument
    names = [item["id"] for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)]
    return tuple(dict.fromkeys(lenient.text(name) for name in names if name))


def _model(entry: ModelEntry) -> dict[str, str]:
    return {
        "type": "model",
        "id": entry.id,
        "display_name": entry.id,
        "created_at": timestamp(entry.created),
        "lifecycle": "active",
    }
