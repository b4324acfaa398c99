"""Agents and frameworks as clients: what each sends first, and what it sends after a tool call.

The bodies are composed from what recording servers saw of the real ones: the members, the roles, the odd items, the ids
that are made up, dropped or sent twice. The words in them are ours. There is one module a family; `Agent` is what they
have in common, and what a client does with an answer is its own `then`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]
Prompt = tuple[tuple[str, str], ...]
"""What is said before the answer, in order: ("system" or "user", text)."""

QUESTION = "Which files are here?"
RULES = "You work in a terminal. Be brief."
LISTING = "a.txt\nb \u00e9.txt"
"""What the tool returns."""

DESCRIPTION = "List the files of a folder."
SCHEMA: Body = {
    "type": "object",
    "properties": {"path": {"type": "string", "description": "The folder."}, "depth": {"type": "integer"}},
    "required": ["path"],
}
CLOSED: Body = {**SCHEMA, "additionalProperties": False}
STRICT: Body = {**CLOSED, "required": ["path", "depth"]}
DRAFT: Body = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **CLOSED,
    "properties": {
        **SCHEMA["properties"],
        "depth": {"type": "integer", "exclusiveMinimum": 0, "default": 1},
        "glob": {"type": "string", "pattern": "^[a-z*]+$"},
    },
    "allOf": [{"required": ["path"]}],
}
"""As agents of today write schemas: with their draft, and with keywords that not every vendor knows."""


@dataclass(frozen=True)
class Agent:
    """A client. `then` makes its second request of the first and of the answer's document, as its SDK gathers it.

    `tool` is the one that the answer calls, by the names of the client (`namespace` and name). `restores`: it sends
    signatures back. `path` is the rest of the path where that names the model.
    """

    name: str
    dialect: str
    first: Body
    then: Callable[[Body, Body], Body]
    prompt: Prompt = (("system", RULES), ("user", QUESTION))
    trailer: Prompt = ()
    """What it says behind the result."""
    tool: str = "list_files"
    namespace: str | None = None
    custom: bool = False
    restores: bool = True
    result: str = LISTING
    path: bytes = field(default=b"")
    query: bytes = field(default=b"")

    def __str__(self) -> str:
        return self.name


def dump(body: Body) -> bytes:
    """Return a body as many clients write it: with spaces, and escapes for what is not ASCII."""
    return json.dumps(body).encode()


def continued(body: Body, member: str, *more: Any) -> Body:
    """Return a request with more in one of its lists."""
    return {**body, member: [*body[member], *more]}
