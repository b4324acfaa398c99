"""Chat Completions requests: decoded just as far as routing and metering need, rendered with only that changed.

The members of the body are kept as the bytes they came in (`msgspec.Raw`), so unknown ones pass untouched. What is
decoded is checked, and refused with the place and the reason in OpenAI's words; what is not decoded is the upstream's
to judge, except that the body must be JSON in UTF-8 as a whole (RFC 8259, section 8.1). A body that says a member
twice means the last one, here and upstream alike: it is never passed on as it came, or two readers could disagree
about the model.
"""

import msgspec
from msgspec import Raw

from adapters import json_body
from adapters.body_fields import field, read_model, read_stream, too_deep, unreadable, wrong_type
from adapters.dialects import Request
from adapters.dialects.chat_tokens import TOKEN_PREFIX, without_tokens
from adapters.usage import count

_DECODER = msgspec.json.Decoder(dict[str, Raw])
_ENCODER = msgspec.json.Encoder()
_TRUE = Raw(b"true")
_NULL = b"null"


def parse_request(body: bytes, argument: bytes = b"", query: bytes = b"") -> Request:
    """Read a request's body. Raises `ClientError` 400 that names what is wrong and where; takes linear time."""
    fields, body = json_body.read(body, unreadable)
    model, stream = read_model(fields), read_stream(fields)
    choices = field(fields, "n")
    return Request(
        model=model,
        stream=stream,
        usage_wanted=_usage_wanted(fields),
        choices=max(count(choices), 1),  # 2.0 too: there are servers that take it for 2
        fields=fields,
        body=body,
    )


def render_request(request: Request, *, model: str, inject_usage: bool = False, drop_usage: bool = False) -> bytes:
    """Return the body for an upstream that calls the model `model`: the original bytes when nothing changes.

    `inject_usage` asks for usage in a stream whose client did not; `drop_usage` takes the option away, for upstreams
    that report usage unasked and refuse the option. Neither touches a unary request. Raises `ClientError` for options
    nested deeper than can be read.

    Tokens of foreign signatures are taken out (B34): no upstream that is asked in its own dialect has made them.
    """
    changes: dict[str, Raw] = {}
    if model != request.model:
        changes["model"] = Raw(_ENCODER.encode(model))
    if request.stream and inject_usage and not request.usage_wanted:
        options = _stream_options(request.fields)
        options["include_usage"] = _TRUE
        changes["stream_options"] = Raw(_ENCODER.encode(options))
    fields = request.fields | changes if changes else request.fields
    if TOKEN_PREFIX in request.body:
        fields = without_tokens(fields)
    if request.stream and drop_usage and "stream_options" in fields:
        options = _stream_options(fields)
        options.pop("include_usage", None)
        fields = {name: value for name, value in fields.items() if name != "stream_options"}
        if options:
            fields["stream_options"] = Raw(_ENCODER.encode(options))
    return json_body.render(fields, request.body) if fields is request.fields else _ENCODER.encode(fields)


def _usage_wanted(fields: dict[str, Raw]) -> bool:
    options = field(fields, "stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise wrong_type("stream_options", "an object", options)
    wanted = options.get("include_usage")
    if wanted is not None and not isinstance(wanted, bool):
        raise wrong_type("stream_options.include_usage", "a boolean", wanted)
    return bool(wanted)


def _stream_options(fields: dict[str, Raw]) -> dict[str, Raw]:
    raw = fields.get("stream_options")
    if raw is None or bytes(raw) == _NULL:
        return {}
    try:
        return _DECODER.decode(raw)
    except RecursionError as exc:
        raise too_deep("stream_options") from exc
