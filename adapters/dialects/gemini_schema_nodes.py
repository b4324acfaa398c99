"""One node of a JSON Schema, made simpler: what both schema forms of this dialect need alike.

Opening a node follows what it refers to and merges what all applies to it; simplifying it writes rarer keywords as
commoner ones. Both return a new mapping and leave the client's schema alone; values below it are shared and only read.

Following references is bounded twice: a reference is followed again inside itself only so often, and all that is
followed together has a budget, for references that each refer twice to the next one double with every step.
"""

import math
from collections.abc import Iterable
from urllib.parse import unquote

Node = dict[str, object]

DEPTH_MAX = 50
"""Levels of a schema that are read; the vendor refuses schemas far less deep."""

FOLLOWED_NODES_MAX = 2000
"""Nodes behind references, each counted as often as it is written out."""

BRANCHES_MAX = 200
"""Schemas that may apply together to one node."""

TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})


class References:
    """Follows one schema's references, each at most `again_max` times inside itself."""

    def __init__(self, root: Node, again_max: int) -> None:
        self.exhausted = False
        """Whether the budget did not suffice."""
        self._root = root
        self._again_max = again_max
        self._path: list[str] = []
        self._nodes = 0

    def open(self, schema: Node) -> tuple[Node, int]:
        """Return the node with its `$ref` and `allOf` merged into it, and how often to `leave` behind it."""
        if self._path:
            self._nodes += 1
            self.exhausted = self.exhausted or self._nodes > FOLLOWED_NODES_MAX
        if "$ref" not in schema and "allOf" not in schema:
            return dict(schema), 0
        merged: Node = {}
        pending: list[object] = [schema]
        followed = branches = 0
        while pending and branches < BRANCHES_MAX:
            branch = pending.pop()
            branches += 1
            if not isinstance(branch, dict):
                continue
            merge(merged, branch)
            pending += reversed(_listed(branch.get("allOf")))
            reference = branch.get("$ref")
            if isinstance(reference, str):
                target = self._follow(reference)
                if target is None:
                    merged.setdefault("type", "object")
                else:
                    followed += 1
                    pending.append(target)
        return merged, followed

    def leave(self, followed: int) -> None:
        """Take back as many references as opening a node has followed."""
        if followed:
            del self._path[-followed:]

    def _follow(self, reference: str) -> object:
        if self.exhausted or self._path.count(reference) >= self._again_max:
            return None
        target = self._target(reference)
        if target is not None:
            self._path.append(reference)
        return target

    def _target(self, reference: str) -> object:
        """Return what a reference within the document points to (RFC 6901), None for nothing or another document."""
        if not reference.startswith("#"):
            return None
        target: object = self._root
        for step in unquote(reference[1:]).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict):
                target = target.get(name)
            elif isinstance(target, list) and name.isascii() and name.isdigit() and len(name) < 9:
                target = target[int(name)] if int(name) < len(target) else None
            else:
                return None
        return target if isinstance(target, dict) and (reference == "#" or reference.startswith("#/")) else None


def merge(merged: Node, branch: Node) -> None:
    """Add what another schema demands of the same value; where both say something, the first one counts."""
    for keyword, value in branch.items():
        held = merged.get(keyword)
        if keyword in {"$ref", "allOf"}:
            continue
        if keyword == "properties" and isinstance(held, dict) and isinstance(value, dict):
            merged[keyword] = held | {name: schema for name, schema in value.items() if name not in held}
        elif keyword == "required" and isinstance(held, list):
            merged[keyword] = held + _listed(value)
        else:
            merged.setdefault(keyword, value)


def simplify(node: Node) -> None:
    """Write `const`, `nullable`, exclusive bounds and tuples as what says nearly the same, in place."""
    if "const" in node:
        node.setdefault("enum", [node.pop("const")])
    if isinstance(node.get("items"), list):
        node.setdefault("prefixItems", node.pop("items"))
    found = types(node)
    if node.pop("nullable", None) is True and found and "null" not in found:
        node["type"] = [*found, "null"]
    _bound(node, "minimum", "exclusiveMinimum")
    _bound(node, "maximum", "exclusiveMaximum")


def types(node: Node) -> list[str]:
    """Return the types a node names, in lower case, each once."""
    named = node.get("type")
    listed = [named] if isinstance(named, str) else _listed(named)
    return distinct(name.lower() for name in listed if isinstance(name, str) and name.lower() in TYPES)


def names(value: object, among: Iterable[str] | None = None) -> list[str]:
    """Return the names in a list, each once, and only those `among` others if these are given."""
    known = None if among is None else set(among)
    return distinct(name for name in _listed(value) if isinstance(name, str) and (known is None or name in known))


def schemas(value: object) -> list[object]:
    """Return a list of schemas, none for what is no list."""
    return _listed(value)


def distinct(listed: Iterable[str]) -> list[str]:
    """Return each one once, in the order of their first."""
    return list(dict.fromkeys(listed))


def is_number(value: object) -> bool:
    """Whether JSON can write the value as a number."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _bound(node: Node, inclusive: str, exclusive: str) -> None:
    """Replace an exclusive bound by an inclusive one, the stricter of two."""
    bound = node.pop(exclusive, None)
    other = node.get(inclusive)
    # Up to draft 4 it was a flag beside the bound.
    if bound is True:
        bound = other
    if not isinstance(bound, int | float) or not is_number(bound):
        return
    lower = inclusive == "minimum"
    if types(node) == ["integer"]:
        bound = math.floor(bound) + 1 if lower else math.ceil(bound) - 1
    if isinstance(other, int | float) and is_number(other):
        bound = max(bound, other) if lower else min(bound, other)
    node[inclusive] = bound


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
