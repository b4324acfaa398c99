"""Messages requests: decoded just as far as routing needs, rendered with only the model's name changed.

The members of the body are kept as the bytes they came in (`msgspec.Raw`), so unknown ones pass untouched; thinking
blocks and their signatures must, to the byte. What is decoded is checked, and refused with the place and the reason in
the words of Anthropic's own validation, which agents read; what is not decoded is the upstream's to judge, except that
the body must be JSON in UTF-8 as a whole (RFC 8259, section 8.1). A body that says a member twice means the last one,
here and upstream alike: it is never passed on as it came, or two readers could disagree about the model.

Thinking that another dialect's model signed comes back as a token of ours (`adapters.signatures`). No upstream of this
dialect takes it, so its block is left out, and nothing else of the message is touched (B34).

The rest of the path is the action: nothing to generate, `count_tokens` to count. Of the query only `beta=true` goes on
(what the SDKs' beta resources and coding agents ask for); anything else in it, a key perhaps, is the gateway's.
"""

import msgspec
from msgspec import Raw

from adapters import json_body
from adapters.body_fields import refusal, unreadable
from adapters.dialects import Request
from adapters.dialects.messages_document import items, members, word
from adapters.errors import ClientError, Failure, Kind
from adapters.json_body import Members
from adapters.raw import NOTHING
from adapters.signatures import PREFIX, is_token

GENERATE = b""
COUNT_TOKENS = b"count_tokens"

_ACTIONS = frozenset({GENERATE, COUNT_TOKENS})
_BETA = b"beta=true"
_ASSISTANT = b'"assistant"'
_TOKEN = PREFIX.encode("ascii")
_SIGNED = {"thinking": "signature", "redacted_thinking": "data"}
_ENCODER = msgspec.json.Encoder()


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
    fields, body = json_body.read(body, unreadable)
    model = json_body.field(fields, "model", _too_deep)
    if model is None:
        raise refusal("model: Field required", "model", "missing_required_parameter")
    if not isinstance(model, str):
        raise refusal("model: Input should be a valid string", "model", "invalid_type")
    if not model.strip():
        raise refusal("model: String should have at least 1 character", "model", "empty_string")
    stream = json_body.field(fields, "stream", _too_deep)
    if stream is not None and not isinstance(stream, bool):
        raise refusal("stream: Input should be a valid boolean", "stream", "invalid_type")
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
    if _TOKEN in request.body:
        fields = _without_tokens(request.fields)
        if fields is not request.fields:
            return _ENCODER.encode(fields | {"model": Raw(_ENCODER.encode(model))})
    if model != request.model:
        return json_body.render_renamed(request.fields, model)
    return json_body.render(request.fields, request.body)


def upstream_path(path: str, request: Request, *, model: str) -> str:
    """Return the path and query to ask below the base URL, `path` being where the provider serves this dialect."""
    assert isinstance(request, MessagesRequest)
    if request.action:
        path = f"{path}/{request.action.decode('ascii')}"
    return f"{path}?{_BETA.decode('ascii')}" if request.beta else path


def _without_tokens(fields: Members) -> Members:
    """Return the members without thinking that carries a token: the same ones if none does.

    A message of which nothing is left goes as well. Where the running tool call loses its thinking, a thinking budget
    goes with it, and the editing of thinking: the vendor refuses either without the block (B54).
    """
    messages = items(fields.get("messages", NOTHING))
    kept: list[Raw] = []
    is_last_bare = False
    for message in messages:
        cleaned = _cleaned(message)
        if cleaned is not None:
            kept.append(cleaned)
        if cleaned is not message or bytes(members(message).get("role", NOTHING)) == _ASSISTANT:
            is_last_bare = cleaned is not message
    if len(kept) == len(messages) and all(now is then for now, then in zip(kept, messages, strict=True)):
        return fields
    cleaned_fields = fields | {"messages": Raw(_ENCODER.encode(kept))}
    if (
        is_last_bare
        and _holds_result(messages[-1])
        and word(members(fields.get("thinking", NOTHING)), "type") == "enabled"
    ):
        for name in ("thinking", "context_management"):
            cleaned_fields.pop(name, None)
    return cleaned_fields


def _holds_result(message: Raw) -> bool:
    blocks = items(members(message).get("content", NOTHING))
    return any(word(members(block), "type") == "tool_result" for block in blocks)


def _cleaned(message: Raw) -> Raw | None:
    """Return a message without the blocks that carry a token: the same one if none does, None if nothing is left."""
    if _TOKEN not in bytes(message):
        return message
    parts = members(message)
    blocks = items(parts.get("content", NOTHING))
    kept = [block for block in blocks if not _carries_token(block)]
    if len(kept) == len(blocks):
        return message
    return Raw(_ENCODER.encode(parts | {"content": Raw(_ENCODER.encode(kept))})) if kept else None


def _carries_token(block: Raw) -> bool:
    if _TOKEN not in bytes(block):
        return False
    parts = members(block)
    name = _SIGNED.get(word(parts, "type"))
    return name is not None and is_token(word(parts, name))


def _action(argument: bytes) -> bytes:
    return argument.strip(b"/")


def _too_deep(name: str) -> ClientError:
    return refusal(f"{name}: nested too deeply", name, "invalid_type")
