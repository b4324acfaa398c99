"""The Gemini dialect: generateContent, streamGenerateContent and countTokens, as Google's API reference has them.

This is the module the registry finds; its parts are `gemini_request` (what a client asks), `gemini_document` (what an
upstream says, unary or in one chunk), `gemini_tap` (a stream on its way through) and `gemini_errors` (what a client is
told instead). Requests and streams keep every byte that need not change.

For a side that speaks another dialect there are `gemini_reader` and `gemini_writer` (requests), `gemini_parser`,
`gemini_emitter` and `gemini_answer` (answers).
"""

from collections.abc import Iterable, Sequence
from urllib.parse import parse_qs

import msgspec

from adapters import lenient
from adapters.dialects import ModelEntry, Request
from adapters.dialects.gemini_answer import estimated_count, render_answer
from adapters.dialects.gemini_document import read_answer
from adapters.dialects.gemini_emitter import CALL_IDS, open_emitter
from adapters.dialects.gemini_errors import error_body, error_event, error_status
from adapters.dialects.gemini_parser import open_parser
from adapters.dialects.gemini_reader import read_conversation
from adapters.dialects.gemini_request import (
    COUNT,
    GENERATE,
    RESOURCE,
    STREAM,
    GeminiRequest,
    is_generation,
    parse_request,
    refusal,
    render_request,
    upstream_path,
    wants_array,
)
from adapters.dialects.gemini_routing import affinity, has_side_effects, output_tokens_max
from adapters.dialects.gemini_tap import Tap
from adapters.dialects.gemini_writer import generation_path, write_request
from adapters.errors import Failure
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
    "GeminiRequest",
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

PATH = "/models"
"""Where servers usually have it, below the base URL; the model and the method follow."""

KEEPALIVE = b""
"""Nothing: google-genai raises on a comment, the Gemini CLI breaks on one, and there is no event without a meaning."""

ABORT_AFTER_ERROR = True
"""The Gemini CLI takes an error chunk for one without content and asks again; it notices a cut connection."""

FORWARDED_REQUEST_HEADERS = frozenset({b"x-server-timeout"})
"""How long the client means to wait. `x-goog-user-project` is not among them: it belongs to the client's account."""

FORWARDED_ANSWER_HEADERS = frozenset({b"server-timing"})

REQUIRED_REQUEST_HEADERS: tuple[tuple[bytes, bytes], ...] = ()

REQUEST_ID_HEADERS: tuple[bytes, ...] = (b"x-request-id",)
"""Google's own answers have their id in the body, as `responseId`."""

STREAM_CONTENT_TYPE = b"text/event-stream"
ARRAY_CONTENT_TYPE = b"application/json; charset=UTF-8"

PAGE_MODELS_MAX = 1000
"""The largest page there is (API reference, models.list)."""


def stream_content_type(request: Request) -> bytes:
    """Return the content type of the stream that a request asks for."""
    array = isinstance(request, GeminiRequest) and request.array
    return ARRAY_CONTENT_TYPE if array else STREAM_CONTENT_TYPE


def refusal_body(failure: Failure, argument: bytes = b"", query: bytes = b"") -> bytes:
    """Return an error answer's body, in a list for who asked for a stream as one array."""
    return error_body(failure, array=wants_array(argument, query))


def open_tap(request: Request, *, strip_usage: bool = False, event_bytes_max: int) -> Tap:
    """Return the tap of the stream that a request asks for."""
    array = isinstance(request, GeminiRequest) and request.array
    return Tap(strip_usage=strip_usage, event_bytes_max=event_bytes_max, choices=request.choices, array=array)


def models_body(entries: Iterable[ModelEntry], query: bytes = b"") -> bytes:
    """Return GET /models: all entries in order, or the page that `pageSize` and `pageToken` name.

    A token is the name of the last model before the page, so that a list that changes meanwhile still has no gap.
    Raises `ClientError` for a size or a token that is none.
    """
    page, token = _page(list(entries), query)
    document: dict[str, object] = {"models": [_model(entry) for entry in page]}
    if token is not None:
        document["nextPageToken"] = token
    return msgspec.json.encode(document)


def model_body(entry: ModelEntry) -> bytes:
    """Return GET /models/{model}."""
    return msgspec.json.encode(_model(entry))


def read_models(body: bytes) -> tuple[str, ...]:
    """Return the model names of an upstream's list, each once, in its order. Raises `ValueError` when it is none.

    Models that say what they can do, and do not generate content (embeddings, images, video), are left out.
    """
    document = lenient.decode(body)
    items = document.get("models") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise ValueError("not a model list")  # noqa: TRY004 - the bytes are at fault, not a caller's argument
    names = []
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if isinstance(name, str) and GENERATE in (item.get("supportedGenerationMethods") or [GENERATE]):
            names.append(lenient.text(name.removeprefix(RESOURCE)))
    return tuple(name for name in dict.fromkeys(names) if name)


def _page(entries: Sequence[ModelEntry], query: bytes) -> tuple[Sequence[ModelEntry], str | None]:
    asked = parse_qs(query.decode("ascii", "replace"))
    size, token = asked.get("pageSize", [""])[-1], asked.get("pageToken", [""])[-1]
    first = 0
    if token:
        found = [i for i, entry in enumerate(entries) if entry.id == token]
        if not found:
            raise refusal(400, "Invalid page token: the list does not have it any more.", param="pageToken")
        first = found[0] + 1
    if not size:
        return entries[first:], None
    if not (size.isascii() and size.isdigit()) or len(size) > 9:
        raise refusal(400, "Invalid page size: must be a whole number.", param="pageSize")
    page = entries[first : first + min(int(size) or PAGE_MODELS_MAX, PAGE_MODELS_MAX)]
    more = bool(page) and first + len(page) < len(entries)
    return page, page[-1].id if more else None


def _model(entry: ModelEntry) -> dict[str, object]:
    return {
        "name": RESOURCE + entry.id,
        "version": "",
        "displayName": entry.id,
        "description": f"Served by {entry.owned_by}.",
        "supportedGenerationMethods": [GENERATE, STREAM, COUNT],
    }
