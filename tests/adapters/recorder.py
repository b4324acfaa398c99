"""An emitter that writes nothing and remembers everything, for tests of parsers; and openings for tests of emitters."""

from collections.abc import Iterable
from typing import Any

from adapters.conversation import Conversation, Role, Text, Turn
from adapters.dialects import Request
from adapters.emitter import Emitter, Lane, OpenCall, Opening
from adapters.errors import Failure
from adapters.operations import Citation, Reason
from adapters.signatures import Signature
from adapters.tool_calls.names import Names, ToolName


def conversation(**changes: Any) -> Conversation:
    """Return a conversation of one greeting, but for `changes`."""
    values: dict[str, Any] = {"model": "asked", "turns": (Turn(Role.USER, (Text("Hi"),)),), "stream": True, **changes}
    tools = values.get("tools", ())
    if tools and "names" not in values:
        values["names"] = Names(ToolName(tool.name, tool.namespace, tool.custom) for tool in tools)
    return Conversation(**values)


def opening(request: Request | None = None, *, seed: str = "seed", **changes: Any) -> Opening:
    """Return an opening: of `changes`, those that an opening has go there, the others into its conversation."""
    own = {name: changes.pop(name) for name in list(changes) if name in Opening.__struct_fields__}
    asked = conversation(**changes)
    if request is None:
        request = Request(
            model=asked.model, stream=asked.stream, usage_wanted=asked.usage_wanted, choices=1, fields={}, body=b"{}"
        )
    values: dict[str, Any] = {"model": asked.model, "created": 1_700_000_000, "input_tokens": 7, **own}
    return Opening(request=request, conversation=asked, seed=seed, **values)


class Recorder(Emitter):
    """Remembers in `log` what would be written, in the order it would be: (what, lane, ...) tuples.

    Consecutive pieces of one segment are joined, so that a log does not depend on how the upstream cut its text.
    """

    def __init__(self, given: Opening | None = None) -> None:
        super().__init__(given or opening())
        self.log: list[tuple[Any, ...]] = []

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        """Return the entries of these names."""
        return [entry for entry in self.log if entry[0] in names]

    def error(self, failure: Failure) -> bytes:
        return b"error"

    def _begin(self) -> None:
        self.log.append(("start", self.id, self.model, self.created))

    def _piece(self, what: str, lane: Lane, piece: str) -> None:
        if self.log and self.log[-1][:2] == (what, lane.index):
            piece = self.log.pop()[2] + piece
        self.log.append((what, lane.index, piece))

    def _text_open(self, lane: Lane) -> None:
        self.log.append(("text_open", lane.index))

    def _text(self, lane: Lane, text: str) -> None:
        self._piece("text", lane, text)

    def _text_close(self, lane: Lane) -> None:
        self.log.append(("text_close", lane.index))

    def _refusal_open(self, lane: Lane) -> None:
        self.log.append(("refusal_open", lane.index))

    def _refusal(self, lane: Lane, text: str) -> None:
        self._piece("refusal", lane, text)

    def _refusal_close(self, lane: Lane) -> None:
        self.log.append(("refusal_close", lane.index))

    def _reasoning_open(self, lane: Lane) -> None:
        self.log.append(("reasoning_open", lane.index))

    def _reasoning(self, lane: Lane, text: str) -> None:
        self._piece("reasoning", lane, text)

    def _reasoning_close(self, lane: Lane, signature: Signature | None) -> None:
        self.log.append(("reasoning_close", lane.index, signature))

    def _call_open(self, lane: Lane, call: OpenCall) -> None:
        self.log.append(("call_open", lane.index, call.id, call.name, call.namespace, call.custom))

    def _call_delta(self, lane: Lane, call: OpenCall, fragment: str) -> None:
        self._piece("arguments", lane, fragment)

    def _call_close(self, lane: Lane, call: OpenCall, *, whole: bool) -> None:
        self.log.append(("call_close", lane.index, whole))

    def _cite(self, lane: Lane, citation: Citation) -> None:
        self.log.append(("cite", lane.index, citation))

    def _blob(self, lane: Lane, media_type: str, content: str) -> None:
        self.log.append(("blob", lane.index, media_type, content))

    def _hosted(self, lane: Lane, kind: str, payload: dict[str, object]) -> None:
        self.log.append(("hosted", lane.index, kind, payload))

    def _end_lane(self, lane: Lane, reason: Reason) -> None:
        self.log.append(("finish", lane.index, reason, lane.sequence, lane.explanation))

    def _end(self) -> None:
        self.log.append(("end", self.usage_seen))


def drive(emitter: Emitter, operations: Iterable[tuple[Any, ...]]) -> bytes:
    """Call operations, as ("text", "Hi"), one after the other; return all that was written."""
    written = []
    for name, *arguments in operations:
        getattr(emitter, name)(*arguments)
        written.append(emitter.take())
    return b"".join(written)
