"""Realtime sessions: what of their events has to be paid for, and what a client may set.

Paid for is each response, by the usage in its `response.done`, whatever became of it: a response bills the whole
conversation again, so a session is the sum of its responses. Beside them the transcription of what the client said, by
another model, in tokens or in seconds; which model that is stands in the session's settings. Event names are those of
the GA interface; of what the beta called otherwise only settings matter here, and both shapes of them are read
(developers.openai.com, api/reference/resources/realtime and api/docs/guides/realtime-costs).

A response's end is told by its id once. One that never ends, because the connection did, stays in `unpaid`.

A limit that a client does not set is the session's, and the session's is infinite until somebody sets it: a policy
that bounds output begins with an `opening_frame`.
"""

from collections.abc import Mapping

from adapters.errors import Failure
from adapters.raw import NOTHING
from adapters.sessions import FREE, Began, Event, Frame, Named, Policy, Spent
from adapters.sessions.counts import UNREPORTED, read_seconds, read_usage
from adapters.sessions.frames import (
    Members,
    at,
    bytes_of,
    encoded,
    kind_at_head,
    members_of,
    plainly,
    text_of,
    value_of,
)
from adapters.sessions.pinning import LIMITS, held, held_inside, held_to, members_from
from adapters.sessions.under_way import UnderWay
from adapters.sessions.wording import error_members
from adapters.usage import Usage, count

STATUSES = frozenset({"completed", "cancelled", "failed", "incomplete"})

_SETTINGS = frozenset(
    {"session.created", "session.updated", "transcription_session.created", "transcription_session.updated"}
)
_BEGAN, _DONE = "response.created", "response.done"
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
_TOLD = _SETTINGS | {_BEGAN, _DONE, _TRANSCRIBED}

_TRANSCRIBERS = (("audio", "input", "transcription", "model"), ("input_audio_transcription", "model"))
"""Where a session's settings name the model that transcribes: in the GA interface, and in the beta."""

_APPEND = "input_audio_buffer.append"
_HOLDERS = {"session.update": "session", "transcription_session.update": "session", "response.create": "response"}
"""Which member of a client's event holds settings."""

_NOTHING_TOLD: tuple[Event, ...] = ()


class RealtimeSession:
    """One realtime session; see `adapters.sessions.Session`."""

    __slots__ = ("_model", "_transcriber", "_under_way")

    def __init__(self) -> None:
        self._model: str | None = None
        self._transcriber: str | None = None
        self._under_way = UnderWay()

    def __repr__(self) -> str:
        return f"<RealtimeSession {self._model} {self._under_way!r}>"

    @property
    def responding(self) -> bool:
        """Whether a response is under way."""
        return self._under_way.responding

    @property
    def unpaid(self) -> tuple[str, ...]:
        """The ids of the responses that began and were not paid for, oldest first."""
        return self._under_way.unpaid

    def read_server(self, frame: Frame) -> tuple[Event, ...]:
        """Return what a frame of the upstream's means. Never raises. A frame of audio costs about a microsecond."""
        kind = kind_at_head(frame)
        if kind and kind not in _TOLD:
            return _NOTHING_TOLD
        members = members_of(bytes_of(frame))
        if members is None:
            return _NOTHING_TOLD
        kind = text_of(members.get("type", NOTHING))
        if kind == _DONE:
            return self._done(members)
        if kind == _BEGAN:
            response_id = text_of(at(members, "response", "id"))
            return (Began(response_id),) if self._under_way.begin(response_id) else _NOTHING_TOLD
        if kind == _TRANSCRIBED:
            return self._transcribed(members)
        return self._set(members) if kind in _SETTINGS else _NOTHING_TOLD

    def read_client(self, frame: Frame, policy: Policy) -> Frame:
        """Return the frame to pass on. Raises `ClientError`; see `adapters.sessions.Session`."""
        if policy.is_free or plainly(frame, _APPEND):
            return frame

        def hold(members: Members) -> Members:
            holder = _HOLDERS.get(text_of(members.get("type", NOTHING)))
            if holder is None:
                return members
            return held_inside(members, holder, lambda settings: held_to(settings, policy, holder))

        return held(frame, hold)

    def opening_frame(self, settings: Mapping[str, object], policy: Policy = FREE) -> str:
        """Return the `session.update` that makes `settings` those of the session, within the policy.

        Without a limit of their own they get the policy's. Raises `ClientError` (`model_not_allowed`).
        """
        session = held_to(members_from({"type": "realtime", **settings}), policy, "session")
        if policy.output_tokens_max is not None and not any(name in session for name in LIMITS):
            session = session | members_from({LIMITS[0]: policy.output_tokens_max})
        return encoded({"type": "session.update", "session": session})

    def error_frame(self, failure: Failure, event_id: str) -> str:
        """Return the `error` event of a failure, `event_id` being its own."""
        error = {**error_members(failure), "event_id": None}
        return encoded({"type": "error", "event_id": event_id, "error": error})

    def cancel_frame(self) -> str | None:
        """Return the event that cancels the oldest response that was not cancelled before, None without one.

        The response is named: without its id the event would mean the one in the conversation, and there may be others
        beside it.
        """
        response_id = self._under_way.cancel()
        return None if response_id is None else encoded({"type": "response.cancel", "response_id": response_id})

    # -- what has to be paid for ---------------------------------------------------------------------------------------

    def _done(self, members: Members) -> tuple[Event, ...]:
        response = members_of(members.get("response", NOTHING)) or {}
        paid_id = self._under_way.pay("response", text_of(response.get("id", NOTHING)))
        if paid_id is None:
            return _NOTHING_TOLD
        status = text_of(response.get("status", NOTHING))
        usage = read_usage(response.get("usage", NOTHING))
        return (Spent(paid_id, "response", usage, status=status if status in STATUSES else "unknown"),)

    def _transcribed(self, members: Members) -> tuple[Event, ...]:
        item_id, part = text_of(members.get("item_id", NOTHING)), count(value_of(members.get("content_index", NOTHING)))
        # An item may hold several pieces of sound, and nearly always holds one.
        paid_id = self._under_way.pay("transcription", f"{item_id}.{part}" if item_id and part else item_id)
        if paid_id is None:
            return _NOTHING_TOLD
        raw = members.get("usage", NOTHING)
        seconds, usage = read_seconds(raw), read_usage(raw)
        if seconds is not None and usage is UNREPORTED:
            usage = Usage()
        return (Spent(paid_id, "transcription", usage, seconds or 0.0, self._transcriber),)

    def _set(self, members: Members) -> tuple[Event, ...]:
        settings = members_of(members.get("session", NOTHING)) or {}
        for path in _TRANSCRIBERS:
            # Transcription that was switched off may still be under way.
            self._transcriber = text_of(at(settings, *path)) or self._transcriber
        model = text_of(settings.get("model", NOTHING))
        if not model or model == self._model:
            return _NOTHING_TOLD
        self._model = model
        return (Named(model),)
