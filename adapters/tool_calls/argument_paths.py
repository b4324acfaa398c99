"""Arguments that arrive as paths and values: `$.a.b[0]` is "x", put together to the object they describe.

One upstream streams arguments not as text but as parts, each the value of one place in the object, a string in several
pieces. A path is `$` and steps: `.name`, `[0]`, `['name']` or `["name"]`. Parts with one place's strings concatenate,
other values of a place replace each other. Places need not come in order: a place skipped in an array is null until it
gets a value.

The parts are the upstream's word, so none raises: one without a path or value that makes sense is passed over, and so
is one that would build a value inside another value, skip absurdly much of an array or nest absurdly deep.
"""

import math
import re
from itertools import pairwise

import msgspec

from adapters import surrogates
from adapters.tool_calls.arguments import NESTING_MAX

INDEX_MAX = 10_000
"""A model writes the elements it counts; a larger index is a mistake or an attack on memory."""

GAPS_MAX = 10_000
"""Skipped places of all arrays together, for arrays in arrays multiply what one index may cost."""

INTEGER_BITS_MAX = 1024
"""As large as any double; the value is one on the wire."""

_STEP = re.compile(
    r"""\.(?P<name>[^.\[\]'"]+)
      | \[(?P<index>[0-9]{1,9})\]
      | \[(?:'(?P<single>(?:[^'\\]|\\.)*+)'|"(?P<double>(?:[^"\\]|\\.)*+)")\]""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class _Text:
    """A string in pieces, joined once."""

    __slots__ = ("pieces",)

    def __init__(self, piece: str) -> None:
        self.pieces = [piece]


_NOTHING = object()

_Step = str | int
_Node = dict[str, object] | list[object]


class Assembler:
    """Builds the arguments of one call. It takes time linear in its parts, strings in many pieces included."""

    __slots__ = ("_gaps", "_root")

    def __init__(self) -> None:
        self._gaps = 0
        self._root: dict[str, object] = {}

    def __repr__(self) -> str:
        return f"<Assembler of {len(self._root)} members>"

    def feed(self, parts: list[object]) -> None:
        """Take the parts of one event, as decoded."""
        for part in parts:
            if isinstance(part, dict):
                value = _value(part)
                steps = _steps(part.get("jsonPath"))
                if steps and value is not _NOTHING:
                    self._put(steps, value)

    def text(self) -> str:
        """Return the object built so far as compact JSON text."""
        return msgspec.json.encode(self._root, enc_hook=_joined).decode()

    def _put(self, steps: list[_Step], value: object) -> None:
        node: _Node = self._root
        for step, following in pairwise(steps):
            place = self._place(node, step)
            if place is None:
                place = [] if isinstance(following, int) else {}
                if not self._set(node, step, place):
                    return
            if not isinstance(place, dict | list):
                return
            node = place
        held = self._place(node, steps[-1])
        if isinstance(held, _Text) and isinstance(value, _Text):
            held.pieces += value.pieces
        elif not isinstance(held, dict | list):
            self._set(node, steps[-1], value)

    @staticmethod
    def _place(node: _Node, step: _Step) -> object:
        if isinstance(node, dict):
            return node.get(step) if isinstance(step, str) else None
        return node[step] if isinstance(step, int) and step < len(node) else None

    def _set(self, node: _Node, step: _Step, value: object) -> bool:
        """Put a value into its place, unless the place is not one of this node."""
        if isinstance(node, dict):
            if isinstance(step, str):
                node[step] = value
            return isinstance(step, str)
        if not isinstance(step, int):
            return False
        missing = step - len(node)
        if missing < 0:
            node[step] = value
            return True
        if self._gaps + missing > GAPS_MAX:
            return False
        self._gaps += missing
        node.extend([None] * missing)
        node.append(value)
        return True


def _value(part: dict[object, object]) -> object:
    """Return a part's value, `_NOTHING` if it has none that makes sense."""
    text = part.get("stringValue")
    if isinstance(text, str):
        return _Text(text)
    number = part.get("numberValue")
    if isinstance(number, float) and math.isfinite(number):
        return number
    if isinstance(number, int) and not isinstance(number, bool) and number.bit_length() <= INTEGER_BITS_MAX:
        return number
    flag = part.get("boolValue")
    if isinstance(flag, bool):
        return flag
    return None if "nullValue" in part else _NOTHING


def _steps(path: object) -> list[_Step]:
    """Return the steps of a path, none if it is not one of a member of the object."""
    if not isinstance(path, str) or not path.startswith("$"):
        return []
    steps: list[_Step] = []
    position = 1
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or len(steps) >= NESTING_MAX:
            return []
        position = match.end()
        if match["index"] is not None:
            index = int(match["index"])
            if index > INDEX_MAX:
                return []
            steps.append(index)
        else:
            steps.append(surrogates.mended(match["name"] or _quoted(match)))
    return steps if steps and isinstance(steps[0], str) else []


def _quoted(match: re.Match[str]) -> str:
    return _ESCAPE.sub(r"\1", match["single"] if match["single"] is not None else match["double"])


def _joined(text: object) -> str:
    assert isinstance(text, _Text), "nothing else is put into the tree"
    return surrogates.mended("".join(text.pieces))
