"""Responses requests: decoded just as far as routing and metering need, rendered with only the model's name changed.

The members of the body are kept as the bytes they came in (`msgspec.Raw`), so input items, their ids, `store`,
`background`, `previous_response_id` and whatever is new pass untouched. What is decoded is checked, and refused with
the place and the reason in OpenAI's words; what is not decoded is the upstream's to judge, except that the body must
be JSON in UTF-8 as a whole (RFC 8259, section 8.1). A body that says a member twice means the last one, here and
upstream alike: it is never passed on as it came, or two readers could disagree about the model.
"""

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.dialects import Request
from adapters.errors import ClientError, Failure, Kind

_DECODER = msgspec.json.Decoder(dict[str, Raw])
_ENCODER = msgspec.json.Encoder()
_WHITESPACE = (b" ", b"\n", b"\t", b"\r")
_JSON_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
}


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
    return Request(model=model, stream=bool(stream), usage_wanted=True, choices=1, fields=fields, body=body)


def render_request(
    request: Request,
    *,
    model: str,
    inject_usage: bool = False,
    drop_usage: bool = False,
) -> bytes:
    """Return the body for an upstream that calls the model `model`: the original bytes when nothing changes."""
    if model != request.model:
        return _ENCODER.encode(request.fields | {"model": Raw(_ENCODER.encode(model))})
    rendered = _ENCODER.encode(request.fields)
    return request.body if _says_the_same(rendered, request.body) else rendered


def _fields(body: bytes) -> tuple[dict[str, Raw], bytes]:
    """Return the members and the body they stand in, which differs from `body` only in repaired surrogates.

    Agents cut tool results by UTF-16 length and send half a character; U+FFFD says so, and upstreams accept it.
    """
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
    except (msgspec.DecodeError, RecursionError) as exc:
        repaired = body if isinstance(exc, RecursionError) else lenient.repair_surrogates(body)
        if repaired is body:
            raise _not_an_object(exc, body) from exc
    try:
        return _DECODER.decode(repaired), repaired
    except (msgspec.DecodeError, RecursionError) as exc:
        raise _not_an_object(exc, repaired) from exc


def _not_an_object(exc: msgspec.DecodeError | RecursionError, body: bytes) -> ClientError:
    if isinstance(exc, RecursionError):
        return _refusal("The request body is nested too deeply.", None, "invalid_json")
    if isinstance(exc, msgspec.ValidationError):
        return _refusal("The request body must be a JSON object.", None, "invalid_json")
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
