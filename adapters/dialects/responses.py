"""The Responses dialect, as OpenAI's API reference has it and as its compatible servers speak it.

This is the module the registry finds; its parts are `responses_request` (what a client asks), `responses_document`
and `responses_usage` (what an upstream says, unary or in one event), `responses_tap` (a stream on its way through) and
`responses_errors` (what a client is told instead). Requests and streams keep every byte that need not change.
"""

from adapters.dialects import Request
from adapters.dialects.responses_document import read_answer
from adapters.dialects.responses_errors import error_body, error_event, error_status
from adapters.dialects.responses_request import is_generation, parse_request, render_request, upstream_path
from adapters.dialects.responses_tap import Tap
from adapters.model_list import model_body, models_body, read_models

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
    "open_tap",
    "parse_request",
    "read_answer",
    "read_models",
    "render_request",
    "stream_content_type",
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


def stream_content_type(request: Request) -> bytes:
    """Return the content type of the stream that a request asks for."""
    return STREAM_CONTENT_TYPE


def open_tap(request: Request, *, strip_usage: bool, event_bytes_max: int) -> Tap:
    """Return the tap of the stream that a request asks for."""
    return Tap(strip_usage=strip_usage, event_bytes_max=event_bytes_max, choices=request.choices)
