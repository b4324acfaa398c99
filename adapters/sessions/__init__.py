"""Sessions over a WebSocket: what the frames of either side mean, in the words that metering and budgets share.

A session is relayed frame by frame, as it came. Two questions are asked on the way: what of it has to be paid for
(`Session.read_server`), and whether the client asks for something it may not have (`Session.read_client`). One
implementation a protocol; this module holds what they have in common, and knows none of them.

Both questions are asked of every frame and most frames are audio or a few letters of text, so both are answered by a
look at the frame's beginning wherever that suffices. A frame that cannot be read means nothing: it is the receiver's
to complain about. Only under a policy the client's frames must be readable, or the policy would hold for nobody who
writes JSON a little oddly.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct

from adapters.errors import Failure
from adapters.usage import Usage

Frame = str | bytes
"""A message as it came: text or binary, whole."""


class Began(Struct, frozen=True):
    """A response is under way; its end will be a `Spent` of the same id, unless the connection ends before."""

    id: str


class Spent(Struct, frozen=True):
    """Something is to be paid for, told once. `id` is unique among what is the same `what` in its session.

    `seconds` is the length of sound that was transcribed, where that is counted by time. `model` is who did it where
    that is not the session's own model: a transcription is done by another one, None when nobody said by which.
    `status` is the response's own: completed, cancelled, failed, incomplete, or unknown. Usage that the upstream left
    out is zero and `estimated`.
    """

    id: str
    what: Literal["response", "transcription"]
    usage: Usage
    seconds: float = 0.0
    model: str | None = None
    status: str = "completed"


class Named(Struct, frozen=True):
    """The upstream said which model it is; said again only when it becomes another."""

    model: str


Event = Began | Spent | Named


class Policy(Struct, frozen=True):
    """What a client's frames may say. None leaves it to the client.

    `model` is the upstream's name of the one model that may be asked for, `also` are the names that the client may call
    it by; they are rewritten. `output_tokens_max` bounds each response.
    """

    model: str | None = None
    output_tokens_max: int | None = None
    also: frozenset[str] = frozenset()

    @property
    def is_free(self) -> bool:
        """Whether everything may be said."""
        return self.model is None and self.output_tokens_max is None


FREE = Policy()


class Session(Protocol):
    """One session's protocol state. It grows with what is under way, not with how long it lasts."""

    def read_server(self, frame: Frame) -> tuple[Event, ...]:
        """Return what a frame of the upstream's means. Never raises; most frames mean nothing."""

    def read_client(self, frame: Frame, policy: Policy) -> Frame:
        """Return the frame to pass on: the same object unless the policy, or a member said twice, changes it.

        Raises `ClientError`: `model_not_allowed` (403) for another model than the policy's, `invalid_json` (400) for a
        frame that cannot be held to a policy because it cannot be read. Neither ends a session.
        """

    def error_frame(self, failure: Failure, event_id: str) -> str:
        """Return the event that tells a client of a failure; `event_id` is the event's own, where events have one."""

    def cancel_frame(self) -> str | None:
        """Return what stops the oldest response under way that was not stopped before, None when there is none or no
        way to.
        """

    @property
    def responding(self) -> bool:
        """Whether a response is under way."""

    @property
    def unpaid(self) -> tuple[str, ...]:
        """The ids of the responses that began and were not paid for, oldest first."""


class Opening(Protocol):
    """A session whose settings can be said before the client says anything."""

    def opening_frame(self, settings: Mapping[str, object], policy: Policy = FREE) -> str:
        """Return the event that makes `settings`, within the policy, those of the session. Raises as `read_client`."""
