"""The items of a request's `input`, as turns: who says what, calls and results, reasoning, in the order they stand.

What the assistant says, thinks and calls between two words of others is one turn, since it came from one answer; so are
results that follow each other. Ids of items other than calls mean nothing elsewhere and are dropped, and so are marks
of the vendor's own (`phase`, `status`). What a provider's own tools did in earlier turns is lost, and said to be.

A reference to an item that only the provider has is refused, for it may be anything; one to reasoning may be left out,
as clients that believe in stored answers send one after every tool call.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from adapters import signatures
from adapters.body_fields import refusal, too_deep, wrong_type
from adapters.conversation import Call, Media, Part, Reasoning, Refusal, Result, Role, Text, Turn
from adapters.dialects import responses_plain as plain
from adapters.dialects.responses_parts import Members, invalid_value, objects, read_content, required_text, text_of
from adapters.dialects.responses_plain import (
    PlainCall,
    PlainCustomCall,
    PlainCustomOutput,
    PlainMessage,
    PlainOutput,
    PlainReasoning,
    texts,
)
from adapters.dialects.responses_tools import Offer
from adapters.losses import Losses
from adapters.signatures import Signature

_USER, _ASSISTANT, _SYSTEM, _TOOL = Role.USER, Role.ASSISTANT, Role.SYSTEM, Role.TOOL
"""Looked up once: an Enum's member costs 0.1 us each time it is reached through its class (3.11)."""

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM, "developer": Role.SYSTEM}

_HOSTED = frozenset(
    {
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
        *("computer_call", "computer_call_output", "local_shell_call", "local_shell_call_output"),
        *("shell_call", "shell_call_output", "apply_patch_call", "apply_patch_call_output", "mcp_call"),
        *("mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "program", "program_output"),
        *("tool_search_call", "tool_search_output"),
    }
)

_REFUSED = {"compaction": "stored_state", "compaction_trigger": "hosted_tool"}
"""What only the provider could read or make: history without it would be another history."""

_MARKS = {"cache": b'"prompt_cache_breakpoint"', "image_detail": b'"detail"'}
"""Members of single parts that a writer may have to drop, by feature."""


class Turns:
    """Collects the turns of one request; tools that stand among the items go to `offer`.

    `paths` gets the places of what writers may have to drop, unless they are known already.
    """

    __slots__ = ("_losses", "_offer", "_parts", "_paths", "_role", "_turns")

    def __init__(self, offer: Offer, losses: Losses, paths: dict[str, str]) -> None:
        self._offer = offer
        self._losses = losses
        self._paths = paths
        self._turns: list[Turn] = []
        self._role: Role | None = None
        """Whose turn is open; the assistant's, or that of results."""
        self._parts: list[Part] = []

    def read(self, raw: Raw, path: str) -> None:
        """Take `input`: text, or an array of items. Raises `ClientError`."""
        items = plain.read_all(raw)
        if items is None:
            text = _decoded(raw, path)
            if not isinstance(text, str):
                raise wrong_type(path, "a string or an array", text)
            self.say(_USER, (Text(text),))
            return
        for index, item in enumerate(items):
            if isinstance(item, Raw):
                self._odd(item, path, index)
            else:
                _PLAIN_READERS[type(item)](self, item, path, index)

    def say(self, role: Role, parts: tuple[Part, ...], name: str | None = None) -> None:
        """Add a turn of its own."""
        if self._role is not None:
            self._close()
        if parts or role is _USER:
            self._turns.append(Turn(role, parts, name))

    def end(self) -> tuple[Turn, ...]:
        """Return the turns."""
        self._close()
        return tuple(self._turns)

    def _close(self) -> None:
        if self._role is not None and self._parts:
            self._turns.append(Turn(self._role, tuple(self._parts)))
        self._role, self._parts = None, []

    def _go_on(self, role: Role, *parts: Part) -> None:
        if self._role is not role:
            if self._role is not None:
                self._close()
            self._role = role
        self._parts += parts

    def _odd(self, raw: Raw, path: str, index: int) -> None:
        """Take an item that is not plain."""
        members = _decoded(raw, path)
        at = f"{path}[{index}]"
        if not isinstance(members, dict):
            raise wrong_type(at, "an object", members)
        for feature, mark in _MARKS.items():
            if mark in bytes(raw):
                self._paths.setdefault(feature, path)
        self._item(members, at)

    def _think(self, thought: str, signature: Signature | None) -> None:
        if thought or signature is not None:
            hidden = signature is not None and signature.dialect != "responses" and bool(signature.kind)
            self._go_on(_ASSISTANT, Reasoning(thought, signature, hidden))

    def _item(self, members: Members, path: str) -> None:
        kind = text_of(members, "type", path)
        if kind is None:
            kind = "message" if "role" in members or "content" in members else "item_reference"
        read = _READERS.get(kind)
        if read is not None:
            read(self, members, path)
        elif kind in _HOSTED:
            self._losses.note("hosted_history", path)
            if kind == "tool_search_output" and isinstance(members.get("tools"), list):
                self._offer.add(members["tools"], f"{path}.tools")
        elif kind == "configuration_update":
            self._losses.note("context_management", path)
        else:
            self._losses.note(_REFUSED.get(kind, "unknown_part"), path)

    # -- items that hold text alone ------------------------------------------------------------------------------------

    def _plain_message(self, item: PlainMessage, path: str, index: int) -> None:
        role = _ROLES.get(item.role)
        if role is None:
            raise invalid_value(f"{path}[{index}].role", item.role, _ROLES)
        if role is _ASSISTANT:
            self._go_on(role, *texts(item.content))
        else:
            self.say(role, texts(item.content))

    def _plain_reasoning(self, item: PlainReasoning, path: str, index: int) -> None:
        said = "\n\n".join([part.text for part in item.summary])
        self._think(said, _signature_of(item.encrypted_content, "", item.id or ""))

    def _plain_call(self, item: PlainCall, path: str, index: int) -> None:
        self._go_on(_ASSISTANT, Call(item.call_id, item.name, item.arguments, namespace=item.namespace or None))

    def _plain_custom_call(self, item: PlainCustomCall, path: str, index: int) -> None:
        call = Call(item.call_id, item.name, item.input, custom=True, namespace=item.namespace or None)
        self._go_on(_ASSISTANT, call)

    def _plain_output(self, item: PlainOutput, path: str, index: int) -> None:
        self._go_on(_TOOL, Result(item.call_id, texts(item.output), name=item.name))

    def _plain_custom_output(self, item: PlainCustomOutput, path: str, index: int) -> None:
        self._go_on(_TOOL, Result(item.call_id, texts(item.output), name=item.name, custom=True))

    # -- items ---------------------------------------------------------------------------------------------------------

    def _message(self, members: Members, path: str) -> None:
        word = required_text(members, "role", path)
        role = _ROLES.get(word)
        if role is None:
            raise invalid_value(f"{path}.role", word, _ROLES)
        parts = read_content(members.get("content"), f"{path}.content", self._losses)
        if role is _ASSISTANT:
            self._go_on(role, *parts)
        elif role is _SYSTEM:
            self.say(role, tuple(part for part in parts if self._is_text(part)))
        else:
            self.say(role, parts)

    def _is_text(self, part: Text | Refusal | Media) -> bool:
        if isinstance(part, Media):
            self._losses.note("image_input", part.where)
        return isinstance(part, Text)

    def _agent_message(self, members: Members, path: str) -> None:
        """Take what another agent said to this one: to the model it is the user who speaks."""
        parts = read_content(members.get("content"), f"{path}.content", self._losses)
        self.say(_USER, parts, text_of(members, "author", path))

    def _reasoning(self, members: Members, path: str) -> None:
        thought = _said(members.get("content"), f"{path}.content") or _said(members.get("summary"), f"{path}.summary")
        self._think(thought, _signature(members, path))

    def _call(self, members: Members, path: str) -> None:
        arguments = members.get("arguments")
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        if arguments is not None and not isinstance(arguments, str):
            raise wrong_type(f"{path}.arguments", "a string", arguments)
        call_id, name = required_text(members, "call_id", path), required_text(members, "name", path)
        namespace = text_of(members, "namespace", path)
        self._go_on(_ASSISTANT, Call(call_id, name, arguments or "", namespace=namespace or None))

    def _custom_call(self, members: Members, path: str) -> None:
        call_id, name = required_text(members, "call_id", path), required_text(members, "name", path)
        namespace, given = text_of(members, "namespace", path), text_of(members, "input", path)
        self._go_on(_ASSISTANT, Call(call_id, name, given or "", custom=True, namespace=namespace or None))

    def _output(self, members: Members, path: str) -> None:
        self._result(members, path, custom=False)

    def _custom_output(self, members: Members, path: str) -> None:
        self._result(members, path, custom=True)

    def _result(self, members: Members, path: str, *, custom: bool) -> None:
        if "output" not in members:
            raise refusal(
                f"Missing required parameter: '{path}.output'.", f"{path}.output", "missing_required_parameter"
            )
        content = read_content(members["output"], f"{path}.output", self._losses)
        parts = tuple(Text(part.text) if isinstance(part, Refusal) else part for part in content)
        name = text_of(members, "name", path)
        self._go_on(_TOOL, Result(required_text(members, "call_id", path), parts, name=name, custom=custom))

    def _reference(self, members: Members, path: str) -> None:
        item_id = required_text(members, "id", path)
        self._losses.note("reasoning_reference" if item_id.startswith("rs_") else "item_reference", path)

    def _tools(self, members: Members, path: str) -> None:
        self._offer.add(members.get("tools", []), f"{path}.tools")


def _decoded(raw: Raw, path: str) -> object:
    """Decode a member or an item. Raises `ClientError` for one that is nested too deeply."""
    try:
        return msgspec.json.decode(raw)
    except RecursionError as exc:
        raise too_deep(path) from exc


_PLAIN_READERS: dict[type, Callable[[Turns, Any, str, int], None]] = {
    PlainMessage: Turns._plain_message,
    PlainReasoning: Turns._plain_reasoning,
    PlainCall: Turns._plain_call,
    PlainCustomCall: Turns._plain_custom_call,
    PlainOutput: Turns._plain_output,
    PlainCustomOutput: Turns._plain_custom_output,
}

_READERS: dict[str, Callable[[Turns, Members, str], None]] = {
    "message": Turns._message,
    "agent_message": Turns._agent_message,
    "reasoning": Turns._reasoning,
    "function_call": Turns._call,
    "custom_tool_call": Turns._custom_call,
    "function_call_output": Turns._output,
    "custom_tool_call_output": Turns._custom_output,
    "item_reference": Turns._reference,
    "additional_tools": Turns._tools,
}


def _said(value: object, path: str) -> str:
    """Return the text of a summary, or of raw reasoning: its parts as paragraphs."""
    if value is None:
        return ""
    return "\n\n".join(required_text(members, "text", at) for at, members in objects(value, path))


def _signature(members: Members, path: str) -> Signature | None:
    encrypted = text_of(members, "encrypted_content", path)
    if not encrypted:
        return None
    kind = "content" if members.get("content") else ""
    own = not signatures.is_token(encrypted)
    return _signature_of(encrypted, kind, (text_of(members, "id", path) or "") if own else "")


def _signature_of(encrypted: str | None, kind: str, item_id: str) -> Signature | None:
    """Return what signs the reasoning: another maker's signature that we packed, or the client's own upstream's."""
    if not encrypted:
        return None
    if signatures.is_token(encrypted):
        return signatures.unpack(encrypted)
    return Signature("responses", "", encrypted, kind, item_id)
