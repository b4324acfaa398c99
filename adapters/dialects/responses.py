"""The Responses dialect, as OpenAI's API reference has it and as its compatible servers speak it.

This is the module the registry finds; its parts are `responses_request` (what a client asks), `responses_document`
and `responses_usage` (what an upstream says, unary or in one event), `responses_tap` (a stream on its way through) and
`responses_errors` (what a client is told instead). `responses_routing` says what routing asks of a request. Requests
and streams keep every byte that need not change.

Between this dialect and others stand `responses_reader` (with `responses_input`, `responses_plain`,
`responses_parts` and `responses_tools`) and `responses_writer` (with `responses_items_writer`) for requests,
`responses_parser` (with `responses_items`) for what an upstream answers, and `responses_emitter`, `responses_answer`
(with `responses_output`) for what a client is answered.
"""

from adapters.dialects import Request
from adapters.dialects.responses_answer import estimated_count, render_answer
from adapters.dialects.responses_document import read_answer
from adapters.dialects.responses_emitter import CALL_IDS, open_emitter
from adapters.dialects.responses_errors import error_body, error_event, error_status
from adapters.dialects.responses_parser import open_parser
from adapters.dialects.responses_reader import read_conversation
from adapters.dialects.responses_request import is_generation, parse_request, render_request, upstream_path
from adapters.dialects.responses_routing import affinity, has_side_effects, output_tokens_max
from adapters.dialects.responses_tap import Tap
from adapters.dialects.responses_writer import generation_path, write_request
from adapters.errors import Failure
from adapters.model_list import model_body, models_body, read_models
from adapters.rate_headers import rate_headers

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
    "Request",
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

PATH = "/responses"
"""Where servers usually have it, below the base URL."""

KEEPALIVE = b": keepalive\n"
"""A comment without a blank line: openai-python dispatches an empty event, and fails on it, when a blank line follows a
comment in a stream that ever had an `id` (openai-python #2722)."""

ABORT_AFTER_ERROR = False
"""Every client of this dialect notices the error itself."""

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


def refusal_body(failure: Failure, argument: bytes = b"", query: bytes = b"") -> bytes:
    """Return an error answer's body: the same for every request."""
    return error_body(failure)


def open_tap(request: Request, *, strip_usage: bool, event_bytes_max: int) -> Tap:
    """Return the tap of the stream that a request asks for."""
    return Tap(strip_usage=strip_usage, event_bytes_max=event_bytes_max, choices=request.choices)
