"""What the canned upstream writes for a request, as whole wire images; and the marks by which the load reads it.

Both ends of a measurement import this file, so what one writes the other recognises. The shapes are those of real
answers: a unary one of ~600 bytes, an event of ~330, `"usage": null` in each event when usage was asked for.
"""

import json
from typing import Any, NamedTuple

FIELD = "x_canned"
CARRIER = "stop"
"""A field that everybody passes on, also who drops those that it does not know; FIELD may be in it, as JSON."""

CONTENT_MARK = b'"content":" '
EVENT_MARK = b"data: {"
LAST_CHUNK = b"\r\n0\r\n\r\n"
STREAM_END = b"data: [DONE]\n\n" + LAST_CHUNK
"""How a whole stream ends: one with an error event ends without the first part."""


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _chunk(delta: dict[str, Any], finish: str | None, *, usage: bool) -> bytes:
    """Frame one event as a chunk of the body, with what real upstreams put in each."""
    event: dict[str, Any] = {
        "id": "chatcmpl-BcannedAbCdEfGhIjKlMnOpQrStUvWx",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "canned-2026-01-01",
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "obfuscation": "aB3dE6gH9jK2mN5p",
    }
    if usage:
        event["usage"] = None
    data = b"data: %s\n\n" % _dump(event)
    return b"%x\r\n%s\r\n" % (len(data), data)


_USAGE = {
    "prompt_tokens": 24,
    "completion_tokens": 20,
    "total_tokens": 44,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
_HEAD = b"HTTP/1.1 200 OK\r\ndate: Tue, 14 Nov 2023 22:13:20 GMT\r\nx-request-id: req_0123456789abcdef\r\n"
_STREAM_HEAD = _HEAD + b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def _whole(document: object, head: bytes = _HEAD) -> bytes:
    body = _dump(document)
    return head + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _refusal(status: int) -> bytes:
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": "As you asked.", "type": kind, "param": None, "code": None}
    return _whole({"error": error}, _HEAD.replace(b"200 OK", b"%d Refused" % status))


def _unary() -> bytes:
    message = {"role": "assistant", "content": " token" * 20, "refusal": None}
    answer = {
        "id": "chatcmpl-BcannedAbCdEfGhIjKlMnOpQrStUvWx",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "canned-2026-01-01",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }
    return _whole(answer)


class Plan(NamedTuple):
    """What one request body gets: a head with what precedes the first content, `events` times the event, the end."""

    head: bytes
    event: bytes
    end: bytes
    events: int
    interval_s: float
    spread: bool


def _options(request: dict[str, Any]) -> dict[str, Any]:
    carried = request.get(CARRIER)
    carried = carried[0] if isinstance(carried, list) and carried else carried
    found: dict[str, Any] = request if not isinstance(carried, str) or FIELD not in carried else json.loads(carried)
    options: dict[str, Any] = found.get(FIELD, {})
    return options


def plan_for(body: bytes) -> Plan:
    """Read a request's body; one that is no JSON object gets the unary answer."""
    request = json.loads(body) if body.startswith(b"{") else {}
    options = _options(request)
    if "status" in options:
        return Plan(_refusal(int(options["status"])), b"", b"", 0, 0.0, spread=False)
    if not request.get("stream"):
        return Plan(_unary(), b"", b"", 0, 0.0, spread=False)
    usage = bool((request.get("stream_options") or {}).get("include_usage"))
    end = _chunk({}, "stop", usage=usage)
    if usage:
        last = b"data: %s\n\n" % _dump({"id": "chatcmpl-B", "model": "canned", "choices": [], "usage": _USAGE})
        end += b"%x\r\n%s\r\n" % (len(last), last)
    return Plan(
        head=_STREAM_HEAD + _chunk({"role": "assistant", "content": "", "refusal": None}, None, usage=usage),
        event=_chunk({"content": " token"}, None, usage=usage),
        end=end + b"e\r\ndata: [DONE]\n\n" + LAST_CHUNK,
        events=int(options.get("events", 20)),
        interval_s=float(options.get("interval_ms", 0)) / 1000,
        spread=bool(options.get("spread")),
    )


def events_in(total_bytes: int) -> int:
    """Give how many events make a stream of about so many bytes."""
    return max(1, total_bytes // len(plan_for(b'{"stream": true}').event))


def listing() -> Plan:
    """Give the answer to GET /models."""
    entry = {"id": "canned", "object": "model", "created": 1_700_000_000, "owned_by": "canned"}
    return Plan(_whole({"object": "list", "data": [entry]}), b"", b"", 0, 0.0, spread=False)
