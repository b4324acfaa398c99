"""Gemini requests, written: tools, what of them may be called, and schemas.

A schema goes out in the form the model reads (`gemini_schema`), and is left out when it has no parameters. The same
schema comes with every request of an agent's, so conversions are remembered by the bytes of the schema. A subset of
tools without force, and strict schemas, are the mode VALIDATED: calls keep to the schema, text is allowed (API
reference, FunctionCallingConfig). Models below generation 3, those without a thinking level, take no search beside
functions; above, the two together need a switch (ai.google.dev/gemini-api/docs/tool-combination, 2026).
"""

from functools import lru_cache

import msgspec
from msgspec import Raw

from adapters import lenient
from adapters.capabilities import Thinking
from adapters.conversation import ChoiceKind, Conversation, Tool, ToolChoice, WebSearch
from adapters.dialects import gemini_schema
from adapters.effort import allows_forced_choice
from adapters.losses import Losses
from adapters.target import Target
from adapters.tool_calls import custom_input

Members = dict[str, object]

_ENCODER = msgspec.json.Encoder()
_FREE_FORM = Raw(_ENCODER.encode(custom_input.SCHEMA))


def write_tools(conversation: Conversation, target: Target, losses: Losses) -> list[Members]:
    """Return the tools."""
    tools: list[Members] = []
    if conversation.tools:
        tools.append(
            {"functionDeclarations": [_tool(tool, conversation, target, losses) for tool in conversation.tools]}
        )
    if conversation.web_search is not None:
        if tools and target.capabilities.thinking is not Thinking.LEVEL:
            losses.note("web_search", conversation.paths.get("web_search", "web_search"))
        if conversation.web_search != WebSearch():
            losses.note("search_limits", conversation.paths.get("web_search", "web_search"))
        tools.append({"googleSearch": {}})
    return tools


def write_choice(conversation: Conversation, target: Target, losses: Losses, *, thinking: bool) -> Members | None:
    """Return the `toolConfig`, None when the model may do as it likes."""
    if not conversation.tools:
        return None
    configuration: Members = {}
    calling = _calling(conversation, target, losses, thinking=thinking)
    if calling is not None:
        configuration["functionCallingConfig"] = calling
    if conversation.web_search is not None:
        configuration["includeServerSideToolInvocations"] = True
    return configuration or None


def written_schema(schema: Raw, *, json_schema: bool) -> Raw | None:
    """Return a JSON Schema in one of the two forms, None for one without parameters."""
    converted = _converted(bytes(schema), json_schema)
    return None if converted is None else Raw(converted)


def _tool(tool: Tool, conversation: Conversation, target: Target, losses: Losses) -> Members:
    declaration: Members = {"name": conversation.names.flat(tool.name, tool.namespace)}
    description = tool.description
    if tool.format is not None:
        losses.note("grammar", conversation.paths.get("grammar", "grammar"))
        description += f"\n\nThe input has this format: {bytes(tool.format).decode('utf-8', 'replace')}"
    if description:
        declaration["description"] = description
    schema = _FREE_FORM if tool.custom else tool.schema
    json_schema = target.capabilities.json_schema
    written = written_schema(schema, json_schema=json_schema) if schema is not None else None
    if written is not None:
        declaration["parametersJsonSchema" if json_schema else "parameters"] = written
    return declaration


def _calling(conversation: Conversation, target: Target, losses: Losses, *, thinking: bool) -> Members | None:
    choice = conversation.tool_choice or ToolChoice()
    kind = choice.kind
    if kind is ChoiceKind.ANY and not allows_forced_choice(target.capabilities, thinking=thinking):
        losses.note("tool_choice", conversation.paths.get("tool_choice", "tool_choice"))
        kind = ChoiceKind.AUTO
    if kind is ChoiceKind.NONE:
        return {"mode": "NONE"}
    calling: Members = {"mode": "ANY"}
    if kind is ChoiceKind.AUTO:
        if not choice.names and not any(tool.strict for tool in conversation.tools):
            return None
        calling["mode"] = "VALIDATED"
    if choice.names:
        calling["allowedFunctionNames"] = list(choice.names)
    return calling


@lru_cache(maxsize=512)
def _converted(schema: bytes, json_schema: bool) -> bytes | None:
    try:
        decoded = lenient.decode(schema)
    except lenient.NotJsonError:
        return None
    if gemini_schema.is_empty(decoded):
        return None
    converted = gemini_schema.to_json_schema(decoded) if json_schema else gemini_schema.to_openapi(decoded)
    return _ENCODER.encode(converted) if converted is not None else None
