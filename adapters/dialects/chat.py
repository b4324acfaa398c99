"""The Chat Completions dialect, as OpenAI's API reference has it and as its many compatible servers speak it.

This is the module the registry finds; its parts are `chat_request` (what a client asks), `chat_document` (what an
upstream says, unary or in one chunk), `chat_tap` (a stream on its way through) and `chat_errors` (what a client is
told instead). `chat_routing` says what routing asks of a request. Requests and streams keep every byte that need not
change.

Toward other dialects: `chat_reader` and `chat_writer` for requests, `chat_parser` for what an upstream says,
`chat_emitter` and `chat_answer` for what a client is told. `chat_completions_legacy` is the API before this one.
"""

from adapters.dialects import Request
from adapters.dialects.chat_answer import estimated_count, render_answer
from adapters.dialects.chat_completions_legacy import open_legacy_emitter, read_legacy, render_legacy_answer
from adapters.dialects.chat_document import read_answer
from adapters.dialects.chat_emitter import CALL_IDS, open_emitter
from adapters.dialects.chat_errors import error_body, error_event, error_status
from adapters.dialects.chat_parser import open_parser
from adapters.dialects.chat_reader import read_conversation
from adapters.dialects.chat_request import parse_request, render_request
from adapters.dialects.chat_routing import affinity, has_side_effects, output_tokens_max
from adapters.dialects.chat_tap import DONE, Tap
from adapters.dialects.chat_writer import generation_path, write_request
from adapters.errors import Failure
from adapters.model_list import model_body, models_body, read_models
from adapters.rate_headers import rate_headers

__all__ = [
    "ABORT_AFTER_ERROR",
    "CALL_IDS",
    "DONE",
    "FORWARDED_ANSWER_HEADERS",
    "FORWARDED_REQUEST_HEADERS",
    "KEEPALIVE",
    "PATH",
    "REQUEST_ID_HEADERS",
    "REQUIRED_REQUEST_HEADERS",
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
    "open_legacy_emitter",
    "open_parser",
    "open_tap",
    "output_tokens_max",
    "parse_request",
    "rate_headers",
    "read_answer",
    "read_conversation",
    "read_legacy",
    "read_models",
    "refusal_body",
    "render_answer",
    "render_legacy_answer",
    "render_request",
    "stream_content_type",
    "upstream_path",
    "write_request",
]

PATH = "/chat/completions"
"""Where servers usually have it, below the base URL."""

KEEPALIVE = b": keepalive\n"
"""A comment without a blank line: openai-python dispatches an empty event, and fails on it, when a blank line follows a
comment in a stream that ever had an `id` (openai-python #2722)."""

ABORT_AFTER_ERROR = False
"""Every client of this dialect notices the error itself."""

FORWARDED_REQUEST_HEADERS = frozenset({b"openai-beta", b"idempotency-key"})
"""`openai-organization` and `openai-project` are not among them: they belong to the client's account, not to ours."""

FORWARDED_ANSWER_HEADERS = frozenset({b"openai-processing-ms", b"openai-version"})
REQUIRED_REQUEST_HEADERS: tuple[tuple[bytes, bytes], ...] = ()
REQUEST_ID_HEADERS = (b"x-request-id",)
STREAM_CONTENT_TYPE = b"text/event-stream; charset=utf-8"


def stream_content_type(request: Request) -> bytes:
    """Return the content type of the stream that a request asks for."""
    return STREAM_CONTENT_TYPE


def refusal_body(failure: Failure, argument: bytes = b"", query: bytes = b"") -> bytes:
    """Return an error answer's body: the same for every request."""
    return error_body(failure)


def open_tap(request: Request, *, strip_usage: bool, event_bytes_max: int) -> Tap:
    """Return the tap of the stream that a request asks for."""
    return Tap(strip_usage=strip_usage, event_bytes_max=event_bytes_max, choices=request.choices)


def is_generation(argument: bytes) -> bool:
    """Whether the path asks for a generation: there is nothing else."""
    return True


def upstream_path(path: str, request: Request, *, model: str) -> str:
    """Return where to ask: where the provider serves this dialect."""
    return path
