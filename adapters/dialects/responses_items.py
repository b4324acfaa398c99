"""Items of a response on their way in: what the parser keeps of each, so that nothing is said twice.

An `Item` is one entry of the output, a `Part` a stretch of text in it: of a message, a summary, raw reasoning or a
call's arguments, each in a `Channel` of its own. A part knows what of it was passed on, and at which character of the
visible text it began.
"""

from collections.abc import Mapping
from enum import Enum

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.dialects.responses_document import Members, read_members, text
from adapters.operations import Citation, Reason
from adapters.raw import NOTHING, says, written
from adapters.surrogates import Joiner, mended

INDEX_MAX = 1_000_000
"""Larger positions are an upstream's mistake."""


class Channel(Enum):
    """What a part of an item is."""

    TEXT = "text"
    REFUSAL = "refusal"
    SUMMARY = "summary"
    THOUGHT = "thought"
    """Raw reasoning, as open models give it."""
    ARGUMENTS = "arguments"
    INPUT = "input"

    __hash__ = object.__hash__
    """Channels are keys of every delta's lookup; Enum's own hash is a Python function."""

    @property
    def kind(self) -> str:
        """The type of the items that have such parts."""
        return _KINDS[self]


_KINDS = {
    Channel.TEXT: "message",
    Channel.REFUSAL: "message",
    Channel.SUMMARY: "reasoning",
    Channel.THOUGHT: "reasoning",
    Channel.ARGUMENTS: "function_call",
    Channel.INPUT: "custom_tool_call",
}


TEXT_DELTA = "response.output_text.delta"
ARGUMENTS_DELTA = "response.function_call_arguments.delta"

SPOKEN: Mapping[str, tuple[Channel, str]] = {
    TEXT_DELTA: (Channel.TEXT, "delta"),
    "response.output_text.done": (Channel.TEXT, "text"),
    "response.refusal.delta": (Channel.REFUSAL, "delta"),
    "response.refusal.done": (Channel.REFUSAL, "refusal"),
    "response.reasoning_summary_text.delta": (Channel.SUMMARY, "delta"),
    "response.reasoning_summary_text.done": (Channel.SUMMARY, "text"),
    "response.reasoning_text.delta": (Channel.THOUGHT, "delta"),
    "response.reasoning_text.done": (Channel.THOUGHT, "text"),
    ARGUMENTS_DELTA: (Channel.ARGUMENTS, "delta"),
    "response.function_call_arguments.done": (Channel.ARGUMENTS, "arguments"),
    "response.custom_tool_call_input.delta": (Channel.INPUT, "delta"),
    "response.custom_tool_call_input.done": (Channel.INPUT, "input"),
}
"""Events that bring text: whose, and in which member."""

PART_CHANNELS: Mapping[str, tuple[Channel, str]] = {
    "output_text": (Channel.TEXT, "text"),
    "text": (Channel.TEXT, "text"),
    "refusal": (Channel.REFUSAL, "refusal"),
    "summary_text": (Channel.SUMMARY, "text"),
    "reasoning_text": (Channel.THOUGHT, "text"),
}
"""Parts of an item: whose, and in which member their text is."""

CALLS: Mapping[str, tuple[Channel, str]] = {
    "function_call": (Channel.ARGUMENTS, "arguments"),
    "custom_tool_call": (Channel.INPUT, "input"),
}
"""Items that are calls: in which channel and which member their arguments are."""

INCOMPLETE = {
    "max_output_tokens": Reason.LENGTH,
    "content_filter": Reason.FILTER,
    "max_messages": Reason.OTHER,
    "steered": Reason.OTHER,
}
"""Why a response is incomplete; a reason nobody knows left it cut all the same."""

IMAGE_TYPES = {"jpeg": "image/jpeg", "jpg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}


class Part:
    """One stretch of text: `pieces` were passed on, `cited` of its sources told, `base` is where it began."""

    __slots__ = ("base", "cited", "joiner", "pieces")

    def __init__(self, base: int) -> None:
        self.pieces: list[str] = []
        self.cited = 0
        self.base = base
        self.joiner: Joiner | None = None
        """Set while half a character waits for its other half."""

    @property
    def said(self) -> str:
        """All that was passed on."""
        whole = "".join(self.pieces)
        self.pieces = [whole]
        return whole

    def join(self, said: str) -> str:
        """Return what of a piece can be passed on: half a character waits."""
        joiner = self.joiner or Joiner()
        said = joiner.join(said)
        self.joiner = joiner if joiner.held else None
        return said

    def rest(self, whole: str) -> str:
        """Return what the whole part says beyond what was passed on, "" if it does not go on from that."""
        self.joiner = None
        whole, said = mended(whole), self.said
        return whole[len(said) :] if len(whole) > len(said) and whole.startswith(said) else ""


class Item:
    """One item. `key` names it to the emitter; `opened`: its call was; `speaks`: which reasoning was passed on."""

    __slots__ = ("call_id", "done", "key", "kind", "opened", "parts", "speaks")

    def __init__(self, kind: str, key: int) -> None:
        self.kind = kind
        self.key = key
        self.call_id = ""
        self.opened = False
        self.done = False
        self.parts: dict[tuple[Channel, int], Part] = {}
        self.speaks: Channel | None = None

    def part(self, channel: Channel, at: int, base: int) -> Part:
        """Return the part at a position; a new one begins at `base`."""
        part = self.parts.get((channel, at))
        if part is None:
            part = self.parts[channel, at] = Part(base)
        return part

    def is_same(self, kind: str, call_id: str, *, begins: bool) -> bool:
        """Whether what an event says of the item at this index is about this one. `begins`: the event adds an item.

        Ids other than a call's may change with every event; a second item at one index comes only after the first.
        """
        if kind != self.kind:
            return False
        if call_id and self.call_id:
            return call_id == self.call_id
        return not (begins and self.done)


def place(members: Members, name: str) -> int:
    """Return the index a member is, 0 for anything else."""
    raw = members.get(name, NOTHING)
    if not says(raw):
        return 0
    value = decoded(raw)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < len(str(INDEX_MAX)):
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= INDEX_MAX else 0


def word(members: Members, name: str) -> str:
    """Return the text a member is, without half characters, "" for anything else."""
    return lenient.text(text(members.get(name, NOTHING)))


def decoded(raw: Raw) -> object:
    """Return a member's value, None when it is not even leniently JSON."""
    if not says(raw):
        return None
    try:
        return lenient.decode(raw)
    except lenient.NotJsonError:
        return None


def members_of(raw: Raw) -> list[Members]:
    """Return the objects of an array as their members; anything else in it, or in its place, is left out."""
    if not says(raw):
        return []
    try:
        each = msgspec.json.decode(raw, type=list[Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = decoded(raw)
        try:
            each = [written(one) for one in value] if isinstance(value, list) else []
        except RecursionError:
            each = []
    found = (read_members(one) for one in each)
    return [members for members in found if members is not None]


def citation_of(annotation: Raw | object, base: int) -> Citation | None:
    """Return the source an annotation names, its positions counted from where the visible text began."""
    value = decoded(annotation) if isinstance(annotation, Raw) else annotation
    if not isinstance(value, dict) or not isinstance(value.get("url"), str) or not value["url"]:
        return None
    title, start, end = value.get("title"), value.get("start_index"), value.get("end_index")
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end):
        start, end, base = 0, 0, 0
    title = lenient.text(title) if isinstance(title, str) else ""
    return Citation(lenient.text(value["url"]), title, start + base, end + base)
