"""Names of tools: from a name in a namespace to the one flat name every upstream takes, and back.

A client may group its tools in namespaces and give them names that another vendor refuses. Upstream a tool has one name
of letters, digits, `_` and `-` that does not begin with a digit or `-` and has at most 64 characters: the strictest
rule of all dialects. A name that keeps the rule is sent as it is, a namespace stands in front as `namespace__name`, and
only what breaks the rule, or would take another tool's name, is cleaned and ends in a hash.

One `Names` belongs to one request: it knows the declared tools and remembers the names of the history, for a call in
the answer may bear any of them. Asked in the same order, it gives the same names, which keeps the upstream's prompt
cache. It does not know what a custom tool is, only that one was declared so.
"""

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

LENGTH_MAX = 64
HASH_CHARACTERS = 8

_FLAT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_REFUSED = re.compile(r"[^A-Za-z0-9_-]")


class ToolName(NamedTuple):
    """A tool as the client calls it; `custom` when it takes free text instead of an object."""

    name: str
    namespace: str | None = None
    custom: bool = False


class Names:
    """The flat names of one request's tools. Two tools, declared or not, never get the same one.

    A tool is its namespace and name: when both are declared twice, the first declaration counts.
    """

    __slots__ = ("_flat", "_original")

    def __init__(self, tools: Iterable[ToolName]) -> None:
        self._flat: dict[tuple[str | None, str], str] = {}
        self._original: dict[str, ToolName] = {}
        # A name that can stay as it is must not be lost to a namespace whose flat form happens to be the same.
        for tool in sorted(tools, key=_is_changed):
            if (tool.namespace or None, tool.name) not in self._flat:
                self._assign(tool)

    def __repr__(self) -> str:
        return f"<Names of {len(self._flat)} tools>"

    def flat(self, name: str, namespace: str | None = None) -> str:
        """Return the upstream's name of a tool; one that was not declared is remembered."""
        flat = self._flat.get((namespace or None, name))
        return self._assign(ToolName(name, namespace)) if flat is None else flat

    def original(self, flat: str) -> ToolName:
        """Return the tool that has a flat name; a name never given out is the tool's own."""
        return self._original.get(flat) or ToolName(flat)

    def _assign(self, tool: ToolName) -> str:
        joined = _joined(tool)
        flat = joined
        attempt = 0
        if not _FLAT.fullmatch(joined):
            flat = _rewritten(tool, joined, attempt)
        while flat in self._original:
            attempt += 1
            flat = _rewritten(tool, joined, attempt)
        self._original[flat] = tool
        self._flat[tool.namespace or None, tool.name] = flat
        return flat


def _is_changed(tool: ToolName) -> int:
    if not _FLAT.fullmatch(_joined(tool)):
        return 2
    return 1 if tool.namespace else 0


def _joined(tool: ToolName) -> str:
    return f"{tool.namespace}__{tool.name}" if tool.namespace else tool.name


def _rewritten(tool: ToolName, joined: str, attempt: int) -> str:
    identity = f"{attempt}:{len(tool.namespace or '')}:{joined}"
    digest = sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARACTERS]
    # The end of a long name says what the tool does, its beginning only whose it is.
    clean = _REFUSED.sub("_", joined[-LENGTH_MAX:])[-(LENGTH_MAX - HASH_CHARACTERS - 2) :]
    if not clean or not (clean[0].isalpha() or clean[0] == "_"):
        clean = "_" + clean
    return f"{clean}_{digest}"
