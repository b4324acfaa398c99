"""Gemini requests: the path names the model and the action, the body passes as the bytes it came in.

What follows `/models/` is `{model}:{action}`; a model's name may hold slashes, colons and percent-encoding, so the last
colon divides. The action decides whether the answer is a stream, and the query how a stream is written: server-sent
events with `alt=sse`, else one JSON array. Of the body only the number of candidates is read; field names may be
camelCase or snake_case, as protobuf's JSON has it (both are in use by Google's own SDKs). A body is refused when it is
not JSON in UTF-8; anything else in it is the upstream's to judge.

The query goes no further: it may hold the client's key, and `alt` is set anew.
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote

import msgspec
from msgspec import Raw

from adapters import capabilities, json_body
from adapters.capabilities import Thinking
from adapters.dialects import Request
from adapters.dialects.gemini_signatures import without_tokens
from adapters.errors import ClientError, Failure, Kind
from adapters.signatures import PREFIX

GENERATE = "generateContent"
STREAM = "streamGenerateContent"
COUNT = "countTokens"
ACTIONS = frozenset({GENERATE, STREAM, COUNT})
"""What may be asked of an upstream with its key; other methods of a model are not served."""

RESOURCE = "models/"
"""What names of models begin with in this API, except in the path itself, where it is written already."""

PATH_SAFE = "/:@!$&'()*+,;=~"

_CONFIGURATIONS = ("generationConfig", "generation_config")
_CANDIDATE_COUNTS = ("candidateCount", "candidate_count")
_COUNTED_REQUESTS = ("generateContentRequest", "generate_content_request")
_ALT = frozenset({"alt", "$alt"})
_STEP = re.compile(r"\.{0,2}")
_MODEL_CHARACTERS_MAX = 1024
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_ENCODER = msgspec.json.Encoder()
_PREFIX = PREFIX.encode()


class GeminiRequest(Request, frozen=True):
    """A request and what its path and query say about the answer."""

    action: str = GENERATE
    array: bool = False
    """Whether the stream is to be one JSON array instead of server-sent events."""


def is_generation(argument: bytes) -> bool:
    """Whether what the path asks for is a generation; anything else is a unary question about one."""
    return asked_action(argument) in {GENERATE, STREAM}


def wants_array(argument: bytes, query: bytes) -> bool:
    """Whether path and query ask for a stream as one JSON array."""
    return asked_action(argument) == STREAM and _alt(query) != "sse"


def asked_action(argument: bytes) -> str:
    """Return what the path asks of its model: the same word however it is percent-encoded, or what is billed as a
    generation would not be what is asked for.
    """
    return _text(argument).rpartition(":")[2]


def parse_request(body: bytes, argument: bytes = b"", query: bytes = b"") -> GeminiRequest:
    """Read a request. Raises `ClientError` that names what is wrong and where; takes linear time.

    `argument` is the rest of the path behind `/models/`, still percent-encoded; `query` the raw query.
    """
    model, action = _target(argument)
    fields, body = json_body.read(body, _unreadable, not_json="Invalid JSON payload received")
    stream = action == STREAM
    return GeminiRequest(
        model=model,
        stream=stream,
        usage_wanted=True,
        choices=_choices(fields),
        fields=fields,
        body=body,
        action=action,
        array=stream and _alt(query) != "sse",
    )


def render_request(request: Request, *, model: str, inject_usage: bool = False, drop_usage: bool = False) -> bytes:
    """Return the body for an upstream that calls the model `model`: the original bytes, for the path names the model.

    Only a body that names it too is written anew, and one that bears signatures which this gateway packed for another
    upstream (B34). Usage is always reported, so both options change nothing.
    """
    named = request.fields
    if _PREFIX in request.body:
        named = without_tokens(named, request.body, dummy=capabilities.of(model).thinking is Thinking.LEVEL)
    if model == request.model:
        return request.body if named is request.fields else _ENCODER.encode(named)
    fields = _renamed(named, model)
    for name in _COUNTED_REQUESTS:
        raw = request.fields.get(name)
        if raw is not None:
            inner = _members(raw)
            renamed = _renamed(inner, model)
            if renamed is not inner:
                fields = {**fields, name: Raw(_ENCODER.encode(renamed))}
    return request.body if fields is request.fields else _ENCODER.encode(fields)


def upstream_path(path: str, request: Request, *, model: str) -> str:
    """Return where to ask, below the provider's base URL: `path` is where it keeps its models.

    A stream is always asked for as server-sent events, however the client wants it written.
    """
    assert isinstance(request, GeminiRequest)
    name = quote(model.removeprefix(RESOURCE), safe=PATH_SAFE)
    return f"{path}/{name}:{request.action}" + ("?alt=sse" if request.stream else "")


def refusal(status: int, message: str, *, param: str | None = None, code: str | None = None) -> ClientError:
    """Return the error of a request that cannot be served as it stands."""
    kind = Kind.NOT_FOUND if status == 404 else Kind.INVALID_REQUEST
    return ClientError(Failure(status, kind, message, code=code, param=param))


def _unreadable(message: str) -> ClientError:
    return refusal(400, message)


def _target(argument: bytes) -> tuple[str, str]:
    text = _text(argument)
    model, _, action = text.rpartition(":")
    if action not in ACTIONS or not model:
        shown = text if len(text) < 200 else text[:200] + "…"
        served = ", ".join(sorted(ACTIONS))
        raise refusal(404, f"Unknown method: models/{shown!s}. Ask a model, as models/MODEL:METHOD, for {served}.")
    model = model.removeprefix(RESOURCE)
    # A step of "..", in whatever disguise, must not lead to another resource than a model.
    if len(model) > _MODEL_CHARACTERS_MAX or any(_STEP.fullmatch(step) for step in model.split("/")):
        raise refusal(400, "Invalid model name in the path.", param="model")
    if not model.isprintable() or "\ufffd" in model or "\\" in model:
        raise refusal(400, "Invalid characters in the model name in the path.", param="model")
    return model, action


def _text(argument: bytes) -> str:
    return unquote(argument.decode("ascii", "replace"), errors="replace")


def _alt(query: bytes) -> str:
    """Return how the answer is to be written; the last `alt` counts, as Google has it."""
    if b"alt" not in query:
        return ""
    values = [value for name, value in parse_qsl(query.decode("ascii", "replace")) if name in _ALT]
    return values[-1].lower() if values else ""


def _choices(fields: Mapping[str, Raw]) -> int:
    most = 1
    for configuration in map(fields.get, _CONFIGURATIONS):
        members = {} if configuration is None else _members(configuration)
        for value in map(members.get, _CANDIDATE_COUNTS):
            digits = b"" if value is None else bytes(value)
            if digits.isdigit() and len(digits) < 5:
                most = max(most, int(digits))
    return most


def _renamed(fields: dict[str, Raw], model: str) -> dict[str, Raw]:
    """Return the members with `model` named anew, the same object when they name none."""
    raw = fields.get("model")
    if raw is None or bytes(raw)[:1] != b'"':
        return fields
    return {**fields, "model": Raw(_ENCODER.encode(RESOURCE + model.removeprefix(RESOURCE)))}


def _members(raw: Raw) -> dict[str, Raw]:
    """Return an object's members; none of what is no object, which the upstream may judge."""
    try:
        return _MEMBERS.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return {}
