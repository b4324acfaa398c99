"""The legacy dialect, Completions, which Chat Completions followed: one prompt in, text out. For clients alone.

It shares vendor, envelope, errors and stream framing with its successor, of whose parts it is made. On an upstream that
still has it, bytes pass as everywhere; on any other a request is translated, `chat_completions_legacy` says how. No
upstream is asked in it for a client of another dialect: there is nothing it could say that its successor cannot, so
what writes requests and reads answers here is the successor's.
"""

from adapters.conversation import Conversation
from adapters.dialects import Request
from adapters.dialects.chat import (
    ABORT_AFTER_ERROR,
    CALL_IDS,
    FORWARDED_ANSWER_HEADERS,
    FORWARDED_REQUEST_HEADERS,
    KEEPALIVE,
    REQUEST_ID_HEADERS,
    REQUIRED_REQUEST_HEADERS,
    error_body,
    error_event,
    error_status,
    estimated_count,
    generation_path,
    is_generation,
    model_body,
    models_body,
    open_parser,
    open_tap,
    output_tokens_max,
    parse_request,
    rate_headers,
    read_answer,
    read_legacy,
    read_models,
    refusal_body,
    render_request,
    stream_content_type,
    upstream_path,
    write_request,
)
from adapters.dialects.chat import open_legacy_emitter as open_emitter
from adapters.dialects.chat import read_conversation as read_chat
from adapters.dialects.chat import render_legacy_answer as render_answer
from adapters.losses import Losses

__all__ = [
    "ABORT_AFTER_ERROR",
    "CALL_IDS",
    "FORWARDED_ANSWER_HEADERS",
    "FORWARDED_REQUEST_HEADERS",
    "KEEPALIVE",
    "PATH",
    "REQUEST_ID_HEADERS",
    "REQUIRED_REQUEST_HEADERS",
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

PATH = "/completions"
"""Where servers usually have it, below the base URL."""


def read_conversation(request: Request, losses: Losses) -> Conversation:
    """Return what a client asks, in neutral form. Raises `ClientError` for what only the old API could do."""
    return read_chat(read_legacy(request.body), losses)


def affinity(request: Request) -> bytes | None:
    """Return what requests have in common: nothing, a prompt is no conversation."""
    return None


def has_side_effects(request: Request) -> bool:
    """Whether the provider would do more than to answer: it never does."""
    return False
