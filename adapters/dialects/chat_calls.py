"""Tool calls in a Chat Completions stream: which of its calls a fragment belongs to.

As documented a call is its `index`; the first fragment brings id and name, the others arguments alone. Servers leave
out the index, give every call the same one, repeat id and name, send empty ones, or send the name late (B16, B17). The
rule: an empty id or name is absent; a call is known by its index, without one it is the last; but what brings another
id and a name, or another name, or the same name after whole arguments, begins a call of its own. A call is opened when
its name is known, and what came before waits for that.
"""

from adapters.dialects.chat_chunk import Function, ToolCall
from adapters.emitter import Emitter
from adapters.tool_calls.arguments import Depth

_NOTHING = Function()


class _Call:
    """One call: `pieces` are its arguments so far."""

    __slots__ = ("id", "key", "name", "pieces")

    def __init__(self, key: int) -> None:
        self.key = key
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []

    def is_whole(self) -> bool:
        depth = Depth()
        for piece in self.pieces:
            depth.feed(piece)
        return depth.complete


class Calls:
    """The calls of one alternative, told to an emitter as they come."""

    __slots__ = ("_by_index", "_calls", "_last")

    def __init__(self) -> None:
        self._by_index: dict[int, _Call] = {}
        self._calls: list[_Call] = []
        self._last: _Call | None = None

    def take(self, fragment: ToolCall, emitter: Emitter) -> None:
        """Take one fragment."""
        custom = fragment.custom
        function = fragment.function or _NOTHING
        known = self._by_index.get(fragment.index) if fragment.index is not None else None
        if known is not None and known.name and custom is None and not (fragment.id or function.name):
            self._last = known
            if function.arguments:
                known.pieces.append(function.arguments)
                emitter.call_arguments(known.key, function.arguments)
            return
        text = (custom.input if custom is not None else function.arguments) or ""
        name = (custom.name if custom is not None else function.name) or ""
        call = self._find(fragment.index, fragment.id or "", name, text)
        if text:
            call.pieces.append(text)
        is_open = call.name != ""
        call.id = call.id or fragment.id or ""
        call.name = call.name or name
        if is_open:
            if text:
                emitter.call_arguments(call.key, text)
        elif call.name:
            emitter.call_open(call.key, call.id, call.name, custom is not None or fragment.type == "custom")
            emitter.call_arguments(call.key, "".join(call.pieces))

    def take_whole(self, fragment: ToolCall, emitter: Emitter) -> None:
        """Take a call of a unary answer: one entry is one call, whatever its index says."""
        if fragment.function is None and fragment.custom is None:
            return
        self._last = None
        self.take(ToolCall(None, fragment.id, fragment.type, fragment.function, fragment.custom), emitter)
        emitter.call_close(self._calls[-1].key)

    def take_function_call(self, piece: Function, emitter: Emitter) -> None:
        """Take a piece of the one call of the older `function_call` member."""
        self.take(ToolCall(index=-1, function=piece), emitter)

    def nameless(self) -> bool:
        """Whether a call brought arguments but never a name: nobody can run it."""
        return any(not call.name and "".join(call.pieces).strip() for call in self._calls)

    def _find(self, index: int | None, call_id: str, name: str, text: str) -> _Call:
        call = self._last if index is None else self._by_index.get(index)
        if call is None or _begins_another(call, index, call_id, name, text):
            call = _Call(len(self._calls))
            self._calls.append(call)
            if index is not None:
                self._by_index[index] = call
        self._last = call
        return call


def _begins_another(call: _Call, index: int | None, call_id: str, name: str, text: str) -> bool:
    """Whether a fragment at this call's place is another call's."""
    if call_id and call.id and call_id != call.id:
        return bool(name) or index is None
    if not name or not call.name or (call_id and call_id == call.id):
        return False
    return name != call.name or (bool(text.strip()) and call.is_whole())
