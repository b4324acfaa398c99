"""The Chat Completions dialect, as OpenAI's API reference has it and as its many compatible servers speak it.

This is the module the registry finds; its parts are `chat_request` (what a client asks), `chat_document` (what an
upstream says, unary or in one chunk), `chat_tap` (a stream on its way through) and `chat_errors` (what a client is
told instead). Requests and streams keep every byte that need not change.
"""

from adapters.dialects import Request
from adapters.dialects.chat_document import read_answer
from adapters.dialects.chat_errors import error_body, error_event, error_status
from adapters.dialects.chat_request import parse_request, render_request
from adapters.dialects.chat_tap import DONE, Tap
from adapters.model_list import model_body, models_body, read_models

__all__ = [
    "DONE",
    "FORWARDED_ANSWER_HEADERS",
    "FORWARDED_REQUEST_HEADERS",
    "KEEPALIVE",
    "REQUEST_ID_HEADERS",
    "REQUIRED_REQUEST_HEADERS",
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

FORWARDED_REQUEST_HEADERS = frozenset({b"openai-beta", b"idempotency-key"})
"""`openai-organization` and `openai-project` are not among them: they belong to the client's account, not to ours."""

FORWARDED_ANSWER_HEADERS = frozenset({b"openai-processing-ms", b"openai-version"})
REQUIRED_REQUEST_HEADERS: tuple[tuple[bytes, bytes], ...] = ()
REQUEST_ID_HEADERS = (b"x-request-id",)
STREAM_CONTENT_TYPE = b"text/event-stream; charset=utf-8"


def stream_content_type(request: Request) -> bytes:
    """Return the content type of the stream that a request asks for."""
    return STREAM_CONTENT_TYPE


def open_tap(request: Request, *, strip_usage: bool, event_bytes_max: int) -> Tap:
    """Return the tap of the stream that a request asks for."""
    return Tap(strip_usage=strip_usage, event_bytes_max=event_bytes_max, choices=request.choices)


def is_generation(argument: bytes) -> bool:
    """Whether the path asks for a generation: there is nothing else."""
    return True


def upstream_path(path: str, request: Request, *, model: str) -> str:
    """Return where to ask: where the provider serves this dialect."""
    return path
