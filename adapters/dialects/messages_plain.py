"""Messages and tools of a request as nearly all are written, each read by one typed decoding.

Plain are text, thinking, calls, and results of text, in the members that every client writes. The types here refuse all
else (cache marks, media, sources, unknown members, nulls, a block in the wrong role, what is malformed): that is read
member by member in `messages_turns` and `messages_reader`, which know where they are and what they lose. Both ways make
the same of what is plain. Nothing here raises, notes a loss or keeps a path.
"""

from itertools import groupby
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from adapters.conversation import Call, Part, Reasoning, Result, Role, Text, Tool, Turn
from adapters.dialects.messages_blocks import DIALECT, REDACTED
from adapters.signatures import Signature, is_token, unpack


class _Text(Struct, tag="text", forbid_unknown_fields=True, gc=False):
    text: str

    def part(self, _tool_names: dict[str, str]) -> Text:
        return Text(self.text)


class _Thinking(Struct, tag="thinking", forbid_unknown_fields=True, gc=False):
    thinking: str
    signature: str

    def part(self, _tool_names: dict[str, str]) -> Reasoning:
        signature = read_signature(self.signature)
        return Reasoning(self.thinking, signature, is_hidden(signature))


class _Call(Struct, tag="tool_use", forbid_unknown_fields=True, gc=False):
    id: str
    name: str
    input: Raw

    def part(self, tool_names: dict[str, str]) -> Call:
        arguments, call_id, name = str(self.input, "utf-8"), self.id, self.name
        if arguments[0] != "{":
            raise msgspec.ValidationError("an input that is no object")
        tool_names[call_id] = name
        return Call(call_id, name, arguments)


class _Result(Struct, tag="tool_result", forbid_unknown_fields=True, gc=False):
    tool_use_id: str
    content: str | list[_Text]
    is_error: bool = False

    def part(self, tool_names: dict[str, str]) -> Result:
        content, call_id = self.content, self.tool_use_id
        parts = (Text(content),) if isinstance(content, str) else tuple([Text(block.text) for block in content])
        return Result(call_id, parts, self.is_error, tool_names.get(call_id))


class _User(Struct, tag_field="role", tag="user", forbid_unknown_fields=True, gc=False):
    content: str | list[_Text | _Result]


class _Assistant(Struct, tag_field="role", tag="assistant", forbid_unknown_fields=True, gc=False):
    content: str | list[_Text | _Thinking | _Call]


class _Tool(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    input_schema: Raw
    description: str = ""
    type: Literal["custom"] = "custom"


_decode = msgspec.json.Decoder(_User | _Assistant).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode
_REFUSALS = (msgspec.DecodeError, RecursionError)
_ROLES = {_User: Role.USER, _Assistant: Role.ASSISTANT}
_TOOL, _USER = Role.TOOL, Role.USER


def plain_turns(message: Raw, tool_names: dict[str, str]) -> tuple[Turn, ...] | None:
    """Return what a message says as turns; None for one that must be read with care.

    `tool_names` are those of the calls so far, by id; the message's own are added.
    """
    try:
        plain = _decode(message)
        content = plain.content
        if isinstance(content, str):
            return (Turn(_ROLES[type(plain)], (Text(content),)),)
        if len(content) == 1:
            part = content[0].part(tool_names)
            return (Turn(_TOOL if type(part) is Result else _ROLES[type(plain)], (part,)),)
        parts: list[Part] = [block.part(tool_names) for block in content]
    except _REFUSALS:
        return None
    return user_turns(parts) if type(plain) is _User else (Turn(_ROLES[_Assistant], tuple(parts)),)


def user_turns(parts: list[Part]) -> tuple[Turn, ...]:
    """Return a user's message as a TOOL turn for each run of results in it, and a USER turn for what stands between."""
    runs = groupby(parts, lambda part: type(part) is Result)
    turns = tuple(Turn(_TOOL if results else _USER, tuple(run)) for results, run in runs)
    return turns or (Turn(_USER, ()),)


def plain_tool(tool: Raw) -> Tool | None:
    """Return a tool of the client's; None for one that must be read with care, and for every tool of the vendor's."""
    try:
        plain = _decode_tool(tool)
    except _REFUSALS:
        return None
    schema = plain.input_schema
    return Tool(plain.name, plain.description, schema) if memoryview(schema)[0] == ord("{") else None


def read_signature(value: str, kind: str = "") -> Signature | None:
    """Return the signature in a block's member: one of ours unpacked, any other is this dialect's."""
    if is_token(value):
        return unpack(value)
    return Signature(DIALECT, "", value, kind) if value else None


def is_hidden(signature: Signature | None) -> bool:
    """Whether a signature stands for a whole block that nobody may read."""
    return signature is not None and signature.dialect == DIALECT and signature.kind == REDACTED
