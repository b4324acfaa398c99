"""Chat Completions requests: decoded just as far as routing and metering need, rendered with only that changed.

The members of the body are kept as the bytes they came in (`msgspec.Raw`), so unknown ones pass untouched. What is
decoded is checked, and refused with the place and the reason in OpenAI's words; what is not decoded is the upstream's
to judge, except that the body must be JSON in UTF-8 as a whole (RFC 8259, section 8.1). A body that says a member
twice means the last one, here and upstream alike: it is never passed on as it came, or two readers could disagree
about the model.
"""

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.dialects import Request
from adapters.errors import ClientError, Failure, Kind

_DECODER = msgspec.json.Decoder(dict[str, Raw])
_ENCODER = msgspec.json.Encoder()
_TRUE = Raw(b"true")
_NULL = b"null"
_WHITESPACE = (b" ", b"\n", b"\t", b"\r")
_JSON_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
}


def parse_request(body: bytes) -> Request:
    """Read a request's body. Raises `ClientError` 400 that names what is wrong and where; takes linear time."""
    fields, body = _fields(body)
    model = _field(fields, "model")
    if model is None:
        raise _refusal("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    if not isinstance(model, str):
        raise _wrong_type("model", "a string", model)
    if not model.strip():
        raise _refusal(
            "Invalid 'model': empty string. Name a model, as GET /models lists them.", "model", "empty_string"
        )
    stream = _field(fields, "stream")
    if stream is not None and not isinstance(stream, bool):
        raise _wrong_type("stream", "a boolean", stream)
    choices = _field(fields, "n")
    return Request(
        model=model,
        stream=bool(stream),
        usage_wanted=_usage_wanted(fields),
        choices=choices if type(choices) is int and choices > 0 else 1,
        fields=fields,
        body=body,
    )


def render_request(request: Request, *, model: str, inject_usage: bool = False, drop_usage: bool = False) -> bytes:
    """Return the body for an upstream that calls the model `model`: the original bytes when nothing changes.

    `inject_usage` asks for usage in a stream whose client did not; `drop_usage` takes the option away, for upstreams
    that report usage unasked and refuse the option. Neither touches a unary request. Raises `ClientError` for options
    nested deeper than can be read.
    """
    changes: dict[str, Raw] = {}
    if model != request.model:
        changes["model"] = Raw(_ENCODER.encode(model))
    if request.stream and inject_usage and not request.usage_wanted:
        options = _stream_options(request.fields)
        options["include_usage"] = _TRUE
        changes["stream_options"] = Raw(_ENCODER.encode(options))
    fields = request.fields | changes if changes else request.fields
    if request.stream and drop_usage and "stream_options" in fields:
        options = _stream_options(fields)
        options.pop("include_usage", None)
        fields = {name: value for name, value in fields.items() if name != "stream_options"}
        if options:
            fields["stream_options"] = Raw(_ENCODER.encode(options))
    rendered = _ENCODER.encode(fields)
    if fields is request.fields and _says_the_same(rendered, request.body):
        return request.body
    return rendered


def _fields(body: bytes) -> tuple[dict[str, Raw], bytes]:
    """Return the members and the body they stand in, which differs from `body` only in repaired surrogates."""
    if not body or body.isspace():
        raise _refusal("The request body is empty; a JSON object is required.", None, "invalid_json")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as exc:
            message = f"The request body is not valid UTF-8 (byte {exc.start})."
            raise _refusal(message, None, "invalid_json") from exc
    try:
        return _DECODER.decode(body), body
    except msgspec.ValidationError as exc:
        raise _refusal("The request body must be a JSON object.", None, "invalid_json") from exc
    except RecursionError as exc:
        raise _refusal("The request body is nested too deeply.", None, "invalid_json") from exc
    except msgspec.DecodeError as exc:
        repaired = lenient.repair_surrogates(body)
        if repaired is not body:
            return _fields_of_repaired(repaired)
        raise _not_json(exc, body) from exc


def _fields_of_repaired(body: bytes) -> tuple[dict[str, Raw], bytes]:
    """Agents cut tool results by UTF-16 length and send half a character; U+FFFD says so, and upstreams accept it."""
    try:
        return _DECODER.decode(body), body
    except msgspec.ValidationError as exc:
        raise _refusal("The request body must be a JSON object.", None, "invalid_json") from exc
    except RecursionError as exc:
        raise _refusal("The request body is nested too deeply.", None, "invalid_json") from exc
    except msgspec.DecodeError as exc:
        raise _not_json(exc, body) from exc


def _not_json(exc: msgspec.DecodeError, body: bytes) -> ClientError:
    # The decoder's sentence holds the position, or says that the input ended too early.
    where = str(exc) if "byte" in str(exc) else f"{exc} (byte {len(body)})"
    return _refusal(f"The request body is not valid JSON: {where}.", None, "invalid_json")


def _field(fields: dict[str, Raw], name: str) -> object:
    """Decode one member; an absent one is None, like a null."""
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except RecursionError as exc:
        raise _refusal(f"'{name}' is nested too deeply.", name, "invalid_type") from exc


def _usage_wanted(fields: dict[str, Raw]) -> bool:
    options = _field(fields, "stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise _wrong_type("stream_options", "an object", options)
    wanted = options.get("include_usage")
    if wanted is not None and not isinstance(wanted, bool):
        raise _wrong_type("stream_options.include_usage", "a boolean", wanted)
    return bool(wanted)


def _stream_options(fields: dict[str, Raw]) -> dict[str, Raw]:
    raw = fields.get("stream_options")
    if raw is None or bytes(raw) == _NULL:
        return {}
    try:
        return _DECODER.decode(raw)
    except RecursionError as exc:
        raise _refusal("'stream_options' is nested too deeply.", "stream_options", "invalid_type") from exc


def _says_the_same(rendered: bytes, original: bytes) -> bool:
    """Whether only whitespace tells them apart: a member said twice, or a name written with escapes, makes more."""
    return len(rendered) == len(original) or _ink(rendered) == _ink(original)


def _ink(document: bytes) -> int:
    return len(document) - sum(map(document.count, _WHITESPACE))


def _wrong_type(name: str, wanted: str, value: object) -> ClientError:
    given = _JSON_TYPES.get(type(value), "null")
    message = f"Invalid type for '{name}': expected {wanted}, but got {given} instead."
    return _refusal(message, name, "invalid_type")


def _refusal(message: str, param: str | None, code: str) -> ClientError:
    return ClientError(Failure(400, Kind.INVALID_REQUEST, message, code=code, param=param))
