"""Every failure of an upstream that the gateway has an answer to, as a script, in whichever dialect is spoken.

By hand: `python -m bench.upstream --fault "cut in the middle"`. The names are those of README's table. Not here are
the failures to connect: they are addresses where no upstream is. What happens in the middle of a stream happens a
moment after its first tokens, so that these are read before.
"""

from typing import Any

Steps = list[dict[str, Any]]

LONG = 5000
"""Bytes of what is too long, where limits are set below that."""

_STALL: dict[str, Any] = {"stall": True}
_BEGUN: dict[str, Any] = {"answer": {"cut_after": 0}}
_MIDDLE: Steps = [{"answer": {"cut_after": 2}}, {"sleep_ms": 50}]
_OVERLOADED: dict[str, Any] = {"error": 503, "message": "because"}
_STATUSES = (400, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)

SCRIPTS: dict[str, Steps] = {
    "kept-alive connection closed while idle": [{"reset": True}],
    **{str(status): [{"status": status}] for status in _STATUSES},
    "401 (our credential)": [{"status": 401}],
    "403 (our credential)": [{"status": 403}],
    "404, the upstream has no such model": [{"status": 404, "code": "model_not_found"}],
    "400, content policy": [{"status": 400, "code": "content_filter"}],
    "error object in a 200": [_OVERLOADED],
    "error as the first event": [_BEGUN, _OVERLOADED],
    "empty 200": [{"status": 200, "body": ""}],
    "no choice in the answer": [{"answer": {"empty": True}}],
    "HTML in a 200": [{"status": 200, "headers": {"content-type": "text/html"}, "body": "<html>Welcome</html>"}],
    "not HTTP": [{"garbage": True}],
    "longer than `limits.answer_bytes_max`": [{"answer": {"content": "x" * LONG}}],
    "first event longer than `limits.event_bytes_max`": [{"answer": {"content": "x" * LONG}}],
    "gzip that nobody asked for": [{"gzip": True}, {"answer": True}],
    "closed without a byte": [{"close": True}],
    "reset without a byte": [{"reset": True}],
    "ended before content": [_BEGUN],
    "cut before content": [_BEGUN, {"chunked_cut": True}],
    "stall before headers": [_STALL],
    "stall before content": [_BEGUN, _STALL],
    "stall in the middle": [*_MIDDLE, _STALL],
    "ended in the middle": _MIDDLE,
    "cut in the middle": [*_MIDDLE, {"chunked_cut": True}],
    "reset in the middle": [*_MIDDLE, {"reset": True}],
    "error in the middle": [*_MIDDLE, _OVERLOADED],
    "garbage in the middle": [*_MIDDLE, {"garbage": True}],
    "event longer than `limits.event_bytes_max` in the middle": [
        {"answer": {"content": f"It was {'x' * LONG}", "interval_ms": 50}}
    ],
}
