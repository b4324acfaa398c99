"""Gemini requests, read: tools, what of them may be called, and schemas.

A schema comes in two forms: JSON Schema (`parametersJsonSchema`, `responseJsonSchema`), which passes as it is, and a
part of OpenAPI 3.0 (`parameters`, `responseSchema`) with types in upper case, numbers as strings and `nullable`, which
is translated: other vendors read JSON Schema. There are clients that write upper-case types into the first form too, so
that is looked for. A property that is called like a keyword stays what it is.
"""

import re
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw

from adapters.conversation import ChoiceKind, Tool, ToolChoice, WebSearch
from adapters.dialects.gemini_members import Members, invalid
from adapters.dialects.gemini_request import refusal
from adapters.losses import Losses
from adapters.tool_calls.names import Names

DEPTH_MAX = 100
"""Of nested schemas; the vendor's own reader takes no more."""

_DECLARATION = (
    *("name", "description", "parameters", "parametersJsonSchema"),
    *("response", "responseJsonSchema", "behavior"),
)
_SEARCHES = ("googleSearch", "googleSearchRetrieval")
_KINDS = {"AUTO": ChoiceKind.AUTO, "VALIDATED": ChoiceKind.AUTO, "ANY": ChoiceKind.ANY, "NONE": ChoiceKind.NONE}
_COUNT = re.compile("[0-9]{1,18}")
_UPPER_CASE_TYPE = re.compile(rb'"type"\s*:\s*\[?\s*"[A-Z]')
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_ENCODER = msgspec.json.Encoder()


class ToolsRead(msgspec.Struct, frozen=True):
    """What `tools` offers; `search_path` is where web search stood."""

    tools: tuple[Tool, ...] = ()
    web_search: WebSearch | None = None
    search_path: str = ""


def read_tools(entries: list[Members], losses: Losses) -> ToolsRead:
    """Return the tools. Raises `ClientError` for those that only this vendor runs, and for malformed ones."""
    tools: list[Tool] = []
    search, search_path = None, ""
    for entry in entries:
        for name in entry.names():
            if name == "functionDeclarations":
                tools += [_tool(declaration, losses) for declaration in entry.objects(name)]
            elif name in _SEARCHES:
                search, search_path = _search(entry.object(name)), entry.path_of(name)
            else:
                losses.note("hosted_tool", entry.path_of(name))
    return ToolsRead(tuple(tools), search, search_path)


def read_choice(configuration: Members | None, names: Names, losses: Losses) -> ToolChoice | None:
    """Return which of the tools may be called, None when the client did not say."""
    if configuration is None:
        return None
    configuration.note_others(losses, ("functionCallingConfig",))
    calling = configuration.object("functionCallingConfig")
    if calling is None:
        return None
    calling.note_others(losses, ("mode", "allowedFunctionNames", "streamFunctionCallArguments"))
    word = calling.word("mode")
    allowed = tuple(names.flat(name) for name in calling.texts("allowedFunctionNames"))
    if word is None:
        return ToolChoice(names=allowed) if allowed else None
    if word not in _KINDS:
        raise invalid(calling.path_of("mode"), "one of AUTO, ANY, NONE and VALIDATED")
    return ToolChoice(_KINDS[word], allowed)


def read_schema(members: Members, openapi: str, json_schema: str) -> Raw | None:
    """Return the JSON Schema in one of two members, None when there is neither."""
    raw = members.raw(json_schema)
    name = json_schema
    if raw is not None and _UPPER_CASE_TYPE.search(raw) is None:
        members.object(json_schema)
        return raw
    if raw is None:
        name, raw = openapi, members.raw(openapi)
    if raw is None:
        return None
    members.object(name)
    return Raw(_ENCODER.encode(_json_schema(members.value(name), members.path_of(name), 0)))


def _tool(declaration: Members, losses: Losses) -> Tool:
    name = declaration.text("name")
    if not name:
        raise invalid(declaration.path_of("name"), "the name of a function")
    declaration.note_others(losses, _DECLARATION)
    schema = read_schema(declaration, "parameters", "parametersJsonSchema")
    return Tool(name, declaration.text("description") or "", schema)


def _search(search: Members | None) -> WebSearch:
    return WebSearch(blocked_domains=search.texts("excludeDomains") if search is not None else ())


# -- schemas -----------------------------------------------------------------------------------------------------------


def _json_schema(schema: object, path: str, depth: int) -> object:
    """Return a schema of the OpenAPI form as JSON Schema; what is no schema stays what it is."""
    if depth > DEPTH_MAX:
        raise refusal(400, f"Invalid value at '{path}': nested too deeply.", param=path)
    if not isinstance(schema, dict):
        return schema
    converted: dict[str, object] = {}
    for keyword, value in schema.items():
        read = _READ.get(keyword)
        if read is not None:
            converted[keyword] = read(value, path, depth + 1)
        elif keyword in _COUNTS:
            converted[keyword] = int(value) if isinstance(value, str) and _COUNT.fullmatch(value) else value
        elif keyword not in {"nullable", "propertyOrdering", "example"}:
            converted[keyword] = value
    return _with_null(converted) if schema.get("nullable") is True else converted


def _with_null(schema: dict[str, object]) -> dict[str, object]:
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
        values = schema.get("enum")
        if isinstance(values, list) and None not in values:
            schema["enum"] = [*values, None]
    elif isinstance(schema.get("anyOf"), list):
        branches = schema["anyOf"]
        assert isinstance(branches, list)
        schema["anyOf"] = [*branches, {"type": "null"}]
    return schema


def _type(value: object, _path: str, _depth: int) -> object:
    return [_word(each) for each in value] if isinstance(value, list) else _word(value)


def _word(value: object) -> object:
    return value.lower() if isinstance(value, str) and value.lower() in _TYPES else value


def _listed(value: object, path: str, depth: int) -> object:
    return [_json_schema(each, path, depth) for each in value] if isinstance(value, list) else value


def _named(value: object, path: str, depth: int) -> object:
    return {name: _json_schema(each, path, depth) for name, each in value.items()} if isinstance(value, dict) else value


_READ: Mapping[str, Callable[[object, str, int], object]] = {
    "type": _type,
    **dict.fromkeys(("items", "additionalProperties", "not", "if", "then", "else", "contains"), _json_schema),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _listed),
    **dict.fromkeys(("properties", "$defs", "defs", "definitions", "patternProperties"), _named),
}
