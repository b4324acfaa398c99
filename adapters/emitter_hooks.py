"""What a dialect's emitter writes: the hooks that `adapters.emitter` calls, one segment at a time.

Between an open and its close come only pieces of the same segment, never empty ones; nothing else is open meanwhile.
What a hook writes it appends to `_out`.
"""

from abc import ABC, abstractmethod

from adapters.operations import Citation, Reason
from adapters.segments import Lane, OpenCall
from adapters.signatures import Signature


class Hooks(ABC):
    """The half of an emitter that a dialect says."""

    __slots__ = ()

    def _begin(self) -> None:  # noqa: B027 - not every dialect writes it
        """Write what stands in front of everything; `id`, `model` and `created` are known."""

    @abstractmethod
    def _text_open(self, lane: Lane) -> None: ...

    @abstractmethod
    def _text(self, lane: Lane, text: str) -> None: ...

    @abstractmethod
    def _text_close(self, lane: Lane) -> None: ...

    @abstractmethod
    def _refusal_open(self, lane: Lane) -> None: ...

    @abstractmethod
    def _refusal(self, lane: Lane, text: str) -> None: ...

    @abstractmethod
    def _refusal_close(self, lane: Lane) -> None: ...

    @abstractmethod
    def _reasoning_open(self, lane: Lane) -> None: ...

    @abstractmethod
    def _reasoning(self, lane: Lane, text: str) -> None: ...

    @abstractmethod
    def _reasoning_close(self, lane: Lane, signature: Signature | None) -> None: ...

    @abstractmethod
    def _call_open(self, lane: Lane, call: OpenCall) -> None: ...

    @abstractmethod
    def _call_delta(self, lane: Lane, call: OpenCall, fragment: str) -> None: ...

    @abstractmethod
    def _call_close(self, lane: Lane, call: OpenCall, *, whole: bool) -> None:
        """Close a call; one that is not `whole` was cut by the end of the answer and must not look complete."""

    def _cite(self, lane: Lane, citation: Citation) -> None:  # noqa: B027 - not every dialect writes it
        """Name a source; nothing where the dialect cannot."""

    def _blob(self, lane: Lane, media_type: str, content: str) -> None:  # noqa: B027 - not every dialect writes it
        """Pass on a blob; nothing where the dialect cannot."""

    def _hosted(self, lane: Lane, kind: str, payload: dict[str, object]) -> None:  # noqa: B027 - not every dialect writes it
        """Say what the upstream's tool did; nothing where the dialect has no word for it."""

    def _end_lane(self, lane: Lane, reason: Reason) -> None:  # noqa: B027 - not every dialect writes it
        """Write why one alternative ended; nothing of it is open any more."""

    @abstractmethod
    def _end(self) -> None:
        """Write the end of the answer: usage, end marks."""
