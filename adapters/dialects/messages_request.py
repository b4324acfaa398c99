"""Messages requests: decoded just as far as routing needs, rendered with only the model's name changed.

The members of the body are kept as the bytes they came in (`msgspec.Raw`), so unknown ones pass untouched; thinking
blocks and their signatures must, to the byte. What is decoded is checked, and refused with the place and the reason in
the words of Anthropic's own validation, which agents read; what is not decoded is the upstream's to judge, except that
the body must be JSON in UTF-8 as a whole (RFC 8259, section 8.1). A body that says a member twice means the last one,
here and upstream alike: it is never passed on as it came, or two readers could disagree about the model.

The rest of the path is the action: nothing to generate, `count_tokens` to count. Of the query only `beta=true` goes on
(what the SDKs' beta resources and coding agents ask for); anything else in it, a key perhaps, is the gateway's.
"""

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.dialects import Request
from adapters.errors import ClientError, Failure, Kind

GENERATE = b""
COUNT_TOKENS = b"count_tokens"

_ACTIONS = frozenset({GENERATE, COUNT_TOKENS})
_BETA = b"beta=true"
_DECODER = msgspec.json.Decoder(dict[str, Raw])
_ENCODER = msgspec.json.Encoder()
_WHITESPACE = (b" ", b"\n", b"\t", b"\r")


class MessagesRequest(Request, frozen=True):
    """A decoded request, and what its path and query asked for."""

    action: bytes = GENERATE
    beta: bool = False


def is_generation(argument: bytes) -> bool:
    """Whether the rest of the path asks for a generation; other actions are unary and say no usage."""
    return _action(argument) == GENERATE


def parse_request(body: bytes, argument: bytes = b"", query: bytes = b"") -> MessagesRequest:
    """Read a request. Raises `ClientError`: 404 for an unknown action, else 400 that names what is wrong and where.

    `argument` is the rest of the path, `query` the raw query string. Takes linear time.
    """
    action = _action(argument)
    if action not in _ACTIONS:
        message = f"No such endpoint: {argument[:100].decode('ascii', 'replace')}"
        raise ClientError(Failure(404, Kind.NOT_FOUND, message, code="unknown_endpoint"))
    fields, body = _fields(body)
    model = _field(fields, "model")
    if model is None:
        raise _refusal("model: Field required", "model", "missing_required_parameter")
    if not isinstance(model, str):
        raise _refusal("model: Input should be a valid string", "model", "invalid_type")
    if not model.strip():
        raise _refusal("model: String should have at least 1 character", "model", "empty_string")
    stream = _field(fields, "stream")
    if stream is not None and not isinstance(stream, bool):
        raise _refusal("stream: Input should be a valid boolean", "stream", "invalid_type")
    return MessagesRequest(
        model=model,
        stream=bool(stream) and action == GENERATE,
        usage_wanted=True,
        choices=1,
        fields=fields,
        body=body,
        action=action,
        beta=_BETA in query.split(b"&"),
    )


def render_request(request: Request, *, model: str, inject_usage: bool = False, drop_usage: bool = False) -> bytes:
    """Return the body for an upstream that calls the model `model`: the original bytes when nothing changes.

    Usage is neither asked for nor refused in this dialect, so the two options change nothing.
    """
    fields = request.fields
    if model != request.model:
        fields = fields | {"model": Raw(_ENCODER.encode(model))}
    rendered = _ENCODER.encode(fields)
    if fields is request.fields and _says_the_same(rendered, request.body):
        return request.body
    return rendered


def upstream_path(path: str, request: Request, *, model: str) -> str:
    """Return the path and query to ask below the base URL, `path` being where the provider serves this dialect."""
    assert isinstance(request, MessagesRequest)
    if request.action:
        path = f"{path}/{request.action.decode('ascii')}"
    return f"{path}?{_BETA.decode('ascii')}" if request.beta else path


def _action(argument: bytes) -> bytes:
    return argument.strip(b"/")


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
        return _decode(body), body
    except msgspec.DecodeError as exc:
        # Agents cut tool results by UTF-16 length and send half a character; U+FFFD says so, and upstreams accept it.
        repaired = lenient.repair_surrogates(body)
        if repaired is body:
            raise _not_json(exc, body) from exc
    try:
        return _decode(repaired), repaired
    except msgspec.DecodeError as exc:
        raise _not_json(exc, repaired) from exc


def _decode(body: bytes) -> dict[str, Raw]:
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as exc:
        raise _refusal("The request body must be a JSON object.", None, "invalid_json") from exc
    except RecursionError as exc:
        raise _refusal("The request body is nested too deeply.", None, "invalid_json") from exc


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
        raise _refusal(f"{name}: nested too deeply", name, "invalid_type") from exc


def _says_the_same(rendered: bytes, original: bytes) -> bool:
    """Whether only whitespace tells them apart: a member said twice, or a name written with escapes, makes more."""
    return len(rendered) == len(original) or _ink(rendered) == _ink(original)


def _ink(document: bytes) -> int:
    return len(document) - sum(map(document.count, _WHITESPACE))


def _refusal(message: str, param: str | None, code: str) -> ClientError:
    return ClientError(Failure(400, Kind.INVALID_REQUEST, message, code=code, param=param))
