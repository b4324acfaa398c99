"""Responses over a WebSocket: the events of a stream as frames, and many requests in one session.

A client's `response.create` is a request body with a `type`: it names its model each time, so who holds the session to
one model says so in the policy, and reads in `model` which was asked for. What comes back are the events of the same
response as a stream, several responses interleaved when the client named lanes (`stream_id`). A response is paid for by
the usage in the event that ends it: completed, failed or incomplete (developers.openai.com, api/docs/guides/
websocket-mode). A request that only warms up (`generate: false`) is a response of zero tokens.

An `error` with a sequence number ends the responses of its lane, though a `response.failed` with their usage may
follow; any other is about a request that was not begun. There is no way to cancel a response but to close the
connection.
"""

from msgspec import Raw

from adapters import output_limit
from adapters.errors import Failure
from adapters.raw import NOTHING, says
from adapters.sessions import Began, Event, Frame, Named, Policy, Spent
from adapters.sessions.counts import read_usage
from adapters.sessions.frames import Members, at, bytes_of, encoded, kind_at_head, members_of, text_of
from adapters.sessions.pinning import LIMITS, MODEL, held, held_inside, held_to, members_from
from adapters.sessions.under_way import UnderWay
from adapters.sessions.wording import error_members

_CREATE = "response.create"
_ENVELOPE = "response"
"""Some clients put the request into a member of this name."""

_BEGAN = "response.created"
_STATUS_BY_END = {
    "response.completed": "completed",
    "response.failed": "failed",
    "response.incomplete": "incomplete",
    "response.cancelled": "cancelled",
}
_ERROR = "error"
_TOLD = frozenset({_BEGAN, *_STATUS_BY_END, _ERROR})
_LANE = "stream_id"
_NULL = Raw(b"null")
_NOTHING_TOLD: tuple[Event, ...] = ()


class SocketedSession:
    """One session; see `adapters.sessions.Session`.

    `model` and `output_tokens_max` are what the client's last `response.create` asked for, in the client's words: to be
    read after `read_client`. None where it did not say, or there was none.
    """

    __slots__ = ("_named", "_under_way", "model", "output_tokens_max")

    def __init__(self) -> None:
        self.model: str | None = None
        self.output_tokens_max: int | None = None
        self._named: str | None = None
        self._under_way = UnderWay()

    def __repr__(self) -> str:
        return f"<SocketedSession {self._named} {self._under_way!r}>"

    @property
    def responding(self) -> bool:
        """Whether a response is under way."""
        return self._under_way.responding

    @property
    def unpaid(self) -> tuple[str, ...]:
        """The ids of the responses that began and were not paid for, oldest first."""
        return self._under_way.unpaid

    def read_server(self, frame: Frame) -> tuple[Event, ...]:
        """Return what a frame of the upstream's means. Never raises. A delta costs about a microsecond."""
        kind = kind_at_head(frame)
        if kind and kind not in _TOLD:
            return _NOTHING_TOLD
        members = members_of(bytes_of(frame))
        if members is None:
            return _NOTHING_TOLD
        kind = text_of(members.get("type", NOTHING))
        if kind == _BEGAN:
            return self._began(members)
        if kind in _STATUS_BY_END:
            return self._ended(members, _STATUS_BY_END[kind])
        if kind == _ERROR and members.get("sequence_number", _NULL) != _NULL:
            self._under_way.end(text_of(members.get(_LANE, NOTHING)))
        return _NOTHING_TOLD

    def read_client(self, frame: Frame, policy: Policy) -> Frame:
        """Return the frame to pass on. Raises `ClientError`; see `adapters.sessions.Session`.

        Under a policy a request without a model or a limit gets the policy's: there are no settings to fall back on.
        """

        def hold(members: Members) -> Members:
            if text_of(members.get("type", NOTHING)) != _CREATE:
                return members
            self._ask(members)
            if policy.is_free:
                return members
            if members_of(members.get(_ENVELOPE, NOTHING)) is None:
                return _filled(held_to(members, policy, ""), policy)
            inside = held_inside(
                members, _ENVELOPE, lambda request: _filled(held_to(request, policy, _ENVELOPE), policy)
            )
            return held_to(inside, policy, "")

        if not policy.is_free:
            return held(frame, hold)
        kind = kind_at_head(frame)
        if not kind or kind == _CREATE:
            members = members_of(bytes_of(frame))
            if members is not None:
                hold(members)
        return frame

    def error_frame(self, failure: Failure, event_id: str) -> str:
        """Return the `error` event of a failure, with the HTTP status it stands for. Events have no ids here."""
        return encoded({"type": _ERROR, "status": failure.status, "error": error_members(failure)})

    def cancel_frame(self) -> str | None:
        """Return None: a client has no word for it."""
        return None

    # -- the two sides -------------------------------------------------------------------------------------------------

    def _ask(self, members: Members) -> None:
        inner = members_of(members.get(_ENVELOPE, NOTHING)) or {}
        self.model = text_of(members.get(MODEL, NOTHING)) or text_of(inner.get(MODEL, NOTHING)) or None
        limits = (output_limit.greatest(members, LIMITS), output_limit.greatest(inner, LIMITS))
        self.output_tokens_max = max((limit for limit in limits if limit is not None), default=None)

    def _began(self, members: Members) -> tuple[Event, ...]:
        response_id = text_of(at(members, "response", "id"))
        if not self._under_way.begin(response_id, text_of(members.get(_LANE, NOTHING))):
            return _NOTHING_TOLD
        model = text_of(at(members, "response", MODEL))
        if not model or model == self._named:
            return (Began(response_id),)
        self._named = model
        return (Began(response_id), Named(model))

    def _ended(self, members: Members, status: str) -> tuple[Event, ...]:
        response = members_of(members.get("response", NOTHING)) or {}
        paid_id = self._under_way.pay("response", text_of(response.get("id", NOTHING)))
        if paid_id is None:
            return _NOTHING_TOLD
        return (Spent(paid_id, "response", read_usage(response.get("usage", NOTHING)), status=status),)


def _filled(members: Members, policy: Policy) -> Members:
    """Return a request with the policy's model and limit where it has none of its own."""
    missing: dict[str, object] = {}
    if policy.model is not None and not says(members.get(MODEL, NOTHING)):
        missing[MODEL] = policy.model
    if policy.output_tokens_max is not None and LIMITS[0] not in members:
        missing[LIMITS[0]] = policy.output_tokens_max
    return members | members_from(missing) if missing else members
