"""What one alternative of an answer has open, and what waits behind it: the state of an emitter, without its rules.

A *segment* is a stretch of one kind: text, refusal, reasoning, or one call. `adapters.emitter` decides which is open.
"""

from collections import deque
from collections.abc import Hashable
from enum import Enum

from adapters.operations import Reason
from adapters.signatures import Signature
from adapters.tool_calls.arguments import Depth
from adapters.tool_calls.custom_input import Unwrapper
from adapters.tool_calls.names import ToolName


class Segment(Enum):
    """What an alternative has open. The first four are its contents, the last is none."""

    TEXT = "text"
    REFUSAL = "refusal"
    REASONING = "reasoning"
    CALL = "call"
    NONE = "none"


class OpenCall:
    """One call on its way. `name`, `namespace` and `custom` are the client's; `sent` says that arguments went out."""

    __slots__ = (
        "closing",
        "custom",
        "depth",
        "id",
        "index",
        "key",
        "name",
        "namespace",
        "sent",
        "unscanned",
        "unwrapper",
        "waiting",
    )

    def __init__(self, key: Hashable, call_id: str, tool: ToolName, index: int, *, wrapped: bool, custom: bool) -> None:
        self.key = key
        self.id = call_id
        self.name = tool.name
        self.namespace = tool.namespace
        self.custom = custom
        self.index = index
        """Its place among the calls of its alternative."""
        self.sent = False
        self.closing = False
        """Whether the parser has said that its arguments are all there."""
        self.depth = Depth()
        self.unscanned: list[str] = []
        self.unwrapper = Unwrapper() if wrapped else None
        self.waiting: list[str] = []
        """Pieces that came while another segment was open."""

    def is_whole(self) -> bool:
        """Whether nothing more is expected: said so, or its JSON is closed."""
        if self.unscanned:
            self.depth.feed("".join(self.unscanned))
            self.unscanned.clear()
        return self.closing or self.depth.complete


class Waiting:
    """A segment that waits for the open call: its text, and for reasoning its signature."""

    __slots__ = ("call", "closed", "pieces", "segment", "signature")

    def __init__(self, segment: Segment, call: OpenCall | None = None) -> None:
        self.segment = segment
        self.call = call
        self.pieces: list[str] = []
        self.signature: Signature | None = None
        self.closed = False


class Lane:
    """One alternative: what is open in it, what waits, which calls it made, how it ended."""

    __slots__ = ("call", "calls", "explanation", "index", "reason", "segment", "sequence", "signature", "waiting")

    def __init__(self, index: int) -> None:
        self.index = index
        self.segment = Segment.NONE
        self.call: OpenCall | None = None
        self.signature: Signature | None = None
        self.calls: dict[Hashable, OpenCall | None] = {}
        """By the parser's keys; None for one that is closed."""
        self.waiting: deque[Waiting] = deque()
        self.reason: Reason | None = None
        self.sequence: str | None = None
        self.explanation: str | None = None
