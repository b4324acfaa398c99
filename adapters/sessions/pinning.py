"""Pinning: a client's event held to a policy, by rewriting the members that a policy speaks of.

Which those are, and what object they stand in, the protocol says; here is what becomes of them. A limit above the
policy's, or none at all where one is written down (`null`, `"inf"`), becomes the policy's. A model that is called by
another of its names gets its own; any other is refused. What a member is that should be a number or a name, and is
neither, does not matter: it is not let through.

An event under a policy is passed on as it was read. One with a member said twice, or in JSON that only lenient readers
accept, is written anew, for two readers could disagree about it.
"""

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw

from adapters import json_body
from adapters.errors import ClientError, Failure, Kind
from adapters.raw import NOTHING
from adapters.sessions import Frame, Policy
from adapters.sessions.frames import Members, bytes_of, read, text_of, value_of
from adapters.usage import TOKENS_MAX

MODEL = "model"
LIMITS = ("max_output_tokens", "max_response_output_tokens")
"""What a limit is called, and what it was called in the beta."""

_ENCODER = msgspec.json.Encoder()
_NULL = Raw(b"null")

Hold = Callable[[Members], Members]
"""Returns the members of an event as they may be passed on: the same object when nothing is to change."""


def held(frame: Frame, hold: Hold) -> Frame:
    """Return an event as `hold` leaves it, the same object when it changes nothing. Raises `ClientError`."""
    body = bytes_of(frame)
    members, strictly = read(body)
    if members is None:
        if isinstance(frame, bytes) and body.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] != b"{":
            return frame  # no event, but what else a binary frame may be
        raise unreadable()
    written = _rewritten(members, hold(members), body if strictly else None)
    if written is body:
        return frame
    return written.decode() if isinstance(frame, str) else written


def held_inside(members: Members, name: str, hold: Hold) -> Members:
    """Return the members with what is held of the object `name`; the same object when it is none, or stays."""
    raw = members.get(name, NOTHING)
    inner, strictly = read(raw)
    if inner is None:
        return members
    document = bytes(raw)
    written = _rewritten(inner, hold(inner), document if strictly else None)
    return members if written is document else members | {name: Raw(written)}


def held_to(members: Members, policy: Policy, where: str) -> Members:
    """Return the members that set a session or a response, within the policy. Raises `ClientError`.

    `where` is their path in the event, "" for the event itself: the error names it.
    """
    changes: Members = {}
    if policy.model is not None and MODEL in members:
        changes |= _model(members[MODEL], policy, policy.model, f"{where}.{MODEL}" if where else MODEL)
    if policy.output_tokens_max is not None:
        limit = Raw(str(policy.output_tokens_max).encode())
        changes |= {
            name: limit
            for name in LIMITS
            if name in members and not _is_within(value_of(members[name]), policy.output_tokens_max)
        }
    return members | changes if changes else members


def members_from(settings: Mapping[str, object]) -> Members:
    """Return settings of our own as members."""
    return {name: Raw(_ENCODER.encode(value)) for name, value in settings.items()}


def unreadable() -> ClientError:
    """Return the refusal of a frame that is no event."""
    message = "The event is not valid JSON; a JSON object is required."
    return ClientError(Failure(400, Kind.INVALID_REQUEST, message, code="invalid_json"))


def _rewritten(before: Members, after: Members, document: bytes | None) -> bytes:
    """Return the document of `after`; `document` itself when nothing was changed and nobody reads it otherwise."""
    return _ENCODER.encode(after) if document is None or after is not before else json_body.render(after, document)


def _model(raw: Raw, policy: Policy, pinned: str, where: str) -> Members:
    if bytes(raw) == bytes(_NULL):
        return {}
    asked = text_of(raw)
    if asked == pinned:
        return {}
    if asked in policy.also:
        return {MODEL: Raw(_ENCODER.encode(pinned))}
    message = f"This session is for the model {pinned!r}; no other one may be asked for in it."
    raise ClientError(Failure(403, Kind.PERMISSION, message, code="model_not_allowed", param=where))


def _is_within(value: object, output_tokens_max: int) -> bool:
    """Whether a written limit is a number, and not above the policy's."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -TOKENS_MAX <= value <= output_tokens_max
