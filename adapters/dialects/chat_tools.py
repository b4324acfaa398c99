"""Tools in Chat Completions requests, and which of them the model may or must call.

`functions` and `function_call` are what tools were called before there were others; they count only where `tools` and
`tool_choice` are absent. A tool that the provider runs is none the client could run: it is noted as lost.
"""

from typing import Any

import msgspec
from msgspec import Raw

from adapters.body_fields import wrong_type
from adapters.conversation import Cache, ChoiceKind, Tool, ToolChoice
from adapters.dialects.chat_message import FunctionTool, ToolEntry, invalid, member, missing
from adapters.json_body import Members
from adapters.losses import Losses
from adapters.raw import NOTHING, says
from adapters.tool_calls.names import Names

_KINDS = {"auto": ChoiceKind.AUTO, "none": ChoiceKind.NONE, "required": ChoiceKind.ANY, "any": ChoiceKind.ANY}
"""`any` is Mistral's word for `required`."""


def uses_functions(fields: Members) -> bool:
    """Whether a request speaks of `functions`, as before there were tools."""
    return says(fields.get("functions", NOTHING)) and not says(fields.get("tools", NOTHING))


def read_tools(fields: Members, losses: Losses, paths: dict[str, str]) -> tuple[Tool, ...]:
    """Return the tools that a request offers. Raises `ClientError` 400."""
    entries = member(fields, "tools", list[ToolEntry])
    if entries is None:
        functions = member(fields, "functions", list[FunctionTool]) or []
        return tuple(_function(function, f"functions[{index}]") for index, function in enumerate(functions))
    tools: list[Tool] = []
    for index, entry in enumerate(entries):
        path = f"tools[{index}]"
        cache = Cache(entry.cache_control.ttl) if entry.cache_control is not None else None
        if cache is not None:
            paths.setdefault("cache", f"{path}.cache_control")
        if entry.type == "function":
            if entry.function is None:
                raise missing(f"{path}.function")
            if entry.function.strict:
                paths.setdefault("strict_schema", f"{path}.function.strict")
            tools.append(_function(entry.function, f"{path}.function", cache))
        elif entry.type == "custom":
            if entry.custom is None:
                raise missing(f"{path}.custom")
            custom = entry.custom
            if _given(custom.format) is not None:
                paths.setdefault("grammar", f"{path}.custom.format")
            tools.append(
                Tool(custom.name, custom.description or "", custom=True, format=_given(custom.format), cache=cache)
            )
        else:
            losses.note("hosted_tool", path)
    return tuple(tools)


def read_choice(fields: Members, names: Names) -> ToolChoice | None:
    """Return what the model may call, None when the request does not say. Raises `ClientError` 400."""
    name = "tool_choice" if "tool_choice" in fields else "function_call"
    choice = member(fields, name, Any)
    if choice is None:
        return None
    if isinstance(choice, str):
        kind = _KINDS.get(choice)
        if kind is None:
            raise invalid(name, choice, "'none', 'auto', and 'required'")
        return ToolChoice(kind)
    if not isinstance(choice, dict):
        raise wrong_type(name, "an object or a string", choice)
    if choice.get("type") == "allowed_tools":
        return _allowed(choice, name, names)
    return ToolChoice(ChoiceKind.ANY, (names.flat(_named(choice, name)),))


def _allowed(choice: dict[str, Any], path: str, names: Names) -> ToolChoice:
    allowed = choice.get("allowed_tools")
    allowed = allowed if isinstance(allowed, dict) else choice
    entries = allowed.get("tools")
    if not isinstance(entries, list):
        raise missing(f"{path}.allowed_tools.tools")
    where = f"{path}.allowed_tools.tools"
    flat = [
        names.flat(_named(entry if isinstance(entry, dict) else {}, f"{where}[{index}]"))
        for index, entry in enumerate(entries)
    ]
    return ToolChoice(ChoiceKind.ANY if allowed.get("mode") == "required" else ChoiceKind.AUTO, tuple(flat))


def _named(entry: dict[str, Any], path: str) -> str:
    """Return the name in `{"type": T, T: {"name"}}`, or in the older `{"name"}`."""
    inner = entry.get("custom") if entry.get("type") == "custom" else entry.get("function")
    name = (inner if isinstance(inner, dict) else entry).get("name")
    if not isinstance(name, str) or not name:
        raise missing(f"{path}.function.name")
    return name


def _function(function: FunctionTool, path: str, cache: Cache | None = None) -> Tool:
    schema = _given(function.parameters)
    begin = bytes(memoryview(schema)[:1]) if schema is not None else b"{"
    if schema is not None and begin != b"{":
        raise wrong_type(f"{path}.parameters", "an object", [] if begin == b"[" else msgspec.json.decode(schema))
    return Tool(function.name, function.description or "", schema, function.strict, cache=cache)


def _given(raw: Raw) -> Raw | None:
    """Return a member that is there and not null, as it was written."""
    return raw if bytes(memoryview(raw)[:5]) not in {b"", b"null"} else None
