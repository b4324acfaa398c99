"""Responses requests: decoded just as far as routing and metering need, rendered with only the model's name changed
and without what only the gateway could read.

The members of the body are kept as the bytes they came in (`msgspec.Raw`), so input items, their ids, `store`,
`background`, `previous_response_id` and whatever is new pass untouched. What is decoded is checked, and refused with
the place and the reason in OpenAI's words; what is not decoded is the upstream's to judge, except that the body must
be JSON in UTF-8 as a whole (RFC 8259, section 8.1). A body that says a member twice means the last one, here and
upstream alike: it is never passed on as it came, or two readers could disagree about the model.
"""

import msgspec
from msgspec import Raw

from adapters import json_body, signatures
from adapters.body_fields import read_model, read_stream, unreadable
from adapters.dialects import Request

_TOKEN = signatures.PREFIX.encode()


class _Item(msgspec.Struct):
    """Of an item what says whether it is somebody else's reasoning."""

    type: str | None = None
    encrypted_content: str | None = None


_ITEM = msgspec.json.Decoder(_Item)


def is_generation(argument: bytes) -> bool:
    """Whether what follows the route's prefix asks for a response: nothing does; `/input_tokens` counts."""
    return not argument.strip(b"/")


def upstream_path(path: str, request: Request, *, model: str) -> str:
    """Return the path below the provider's base URL: the provider's own, the model stands in the body."""
    return path


def parse_request(body: bytes, argument: bytes = b"", query: bytes = b"") -> Request:
    """Read a request's body. Raises `ClientError` 400 that names what is wrong and where; takes linear time.

    Usage needs no asking in this dialect, so it always counts as wanted, and there is always one answer.
    """
    fields, body = json_body.read(body, unreadable)
    model, stream = read_model(fields), read_stream(fields)
    return Request(model=model, stream=stream, usage_wanted=True, choices=1, fields=fields, body=body)


def render_request(
    request: Request,
    *,
    model: str,
    inject_usage: bool = False,
    drop_usage: bool = False,
) -> bytes:
    """Return the body for an upstream that calls the model `model`: the original bytes when nothing changes.

    Reasoning that another dialect's upstream signed is left out, and all else stays as it is: its token means nothing
    to this one.
    """
    fields = request.fields
    given = fields.get("input")
    if given is not None and _TOKEN in request.body:
        kept = _without_foreign_reasoning(given)
        if kept is not given:
            return json_body.render_renamed(fields | {"input": kept}, model)
    if model != request.model:
        return json_body.render_renamed(fields, model)
    return json_body.render(fields, request.body)


def _without_foreign_reasoning(given: Raw) -> Raw:
    """Return the items without reasoning that carries a token of ours; the same object if there is none."""
    try:
        items = msgspec.json.decode(given, type=list[Raw])
    except (msgspec.DecodeError, RecursionError):
        return given
    kept = [item for item in items if _TOKEN not in bytes(item) or not _is_foreign_reasoning(item)]
    return given if len(kept) == len(items) else Raw(b"[%b]" % b",".join(map(bytes, kept)))


def _is_foreign_reasoning(item: Raw) -> bool:
    try:
        read = _ITEM.decode(item)
    except (msgspec.DecodeError, RecursionError):
        return False
    return read.type == "reasoning" and signatures.is_token(read.encrypted_content or "")
