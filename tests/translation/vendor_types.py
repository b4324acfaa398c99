"""Request bodies judged by the types of the vendors' own SDKs: no member they do not know, none missing, each as typed.

The SDKs describe two vendors' requests as typed dictionaries, which are walked here by hand: a validating library takes
seconds to compile them, lets unknown members through and does not look into iterables. The third's are pydantic models
that forbid extras; a body is put together from the ones that its REST members have.

What imitators of a dialect have added is no type of the vendor's: a test names it in `extra`.
"""

import json
import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, Union

import typing_extensions
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from google.genai import types as genai
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import BaseModel, ValidationError

Body = dict[str, Any]

_BODIES: Mapping[str, tuple[Any, Any]] = {
    "chat": (CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming),
    "responses": (ResponseCreateParamsNonStreaming, ResponseCreateParamsStreaming),
    "messages": (MessageCreateParamsNonStreaming, MessageCreateParamsStreaming),
}
_MODELS: Mapping[str, type[BaseModel]] = {
    "contents": genai.Content,
    "systemInstruction": genai.Content,
    "tools": genai.Tool,
    "toolConfig": genai.ToolConfig,
    "generationConfig": genai.GenerationConfig,
    "safetySettings": genai.SafetySetting,
}
_OPTIONAL = frozenset({("ResponseReasoningItemParam", "id")})
"""Required by the type alone: where nothing is stored an id means nothing, and the vendor's own agent sends none."""


def faults(dialect: str, body: Body, extra: Iterable[str] = ()) -> list[str]:
    """Return what the vendor's types find wrong with a body, [] for nothing. `extra` are members that may stand."""
    if dialect == "gemini":
        return _genai_faults(body)
    plain, streaming = _BODIES[dialect]
    return _faults(streaming if body.get("stream") else plain, body, "", frozenset(extra))


def _genai_faults(body: Body) -> list[str]:
    found = [f"{name}: unknown" for name in body.keys() - _MODELS.keys() - {"serviceTier"}]
    for name, model in _MODELS.items():
        values = body.get(name, [])
        for value in values if isinstance(values, list) else [values]:
            try:
                model.model_validate_json(json.dumps(value))
            except ValidationError as error:
                found.append(f"{name}: {error}")
    return found


# -- typed dictionaries ------------------------------------------------------------------------------------------------


@cache
def _members(hint: Any) -> dict[str, tuple[Any, bool]]:
    """Return the members of a typed dictionary: type, and whether they must be there."""
    members: dict[str, tuple[Any, bool]] = {}
    for name, annotation in typing_extensions.get_type_hints(hint, include_extras=True).items():
        required = name in hint.__required_keys__
        inner = annotation
        while True:
            marker: Any = typing.get_origin(inner)
            if marker in {typing.Required, typing_extensions.Required}:
                required = True
            elif marker in {typing.NotRequired, typing_extensions.NotRequired}:
                required = False
            elif marker is not typing.Annotated:
                break
            inner = typing.get_args(inner)[0]
        members[name] = (inner, required)
    return members


def _faults(hint: Any, value: Any, path: str, extra: frozenset[str]) -> list[str]:
    if typing_extensions.is_typeddict(hint):
        return _dictionary_faults(hint, value, path, extra)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in {Any, object}:
        return []
    if origin in {Union, types.UnionType}:
        return _union_faults(arguments, value, path, extra)
    if origin is Literal:
        return [] if value in arguments else [f"{path}: {value!r} is none of {arguments}"]
    if origin is typing.Annotated:
        return _faults(arguments[0], value, path, extra)
    if origin is dict or hint is dict:
        return [] if isinstance(value, dict) else [f"{path}: not an object"]
    if origin is not None and issubclass(origin, Iterable):
        if not isinstance(value, list):
            return [f"{path}: not an array"]
        return [fault for at, each in enumerate(value) for fault in _faults(arguments[0], each, f"{path}[{at}]", extra)]
    if hint is float:
        return [] if isinstance(value, int | float) and not isinstance(value, bool) else [f"{path}: not a number"]
    if isinstance(hint, type):
        return [] if type(value) is hint else [f"{path}: {type(value).__name__} instead of {hint.__name__}"]
    return []


def _dictionary_faults(hint: Any, value: Any, path: str, extra: frozenset[str]) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: not an object"]
    members = _members(hint)
    found = [f"{path}.{name}: unknown to {hint.__name__}" for name in value.keys() - members.keys() - extra]
    found += [
        f"{path}.{name}: missing in {hint.__name__}"
        for name, (_, required) in members.items()
        if required and name not in value and (hint.__name__, name) not in _OPTIONAL
    ]
    for name, each in value.items():
        if name in members:
            found += _faults(members[name][0], each, f"{path}.{name}", extra)
    return found


def _union_faults(variants: Iterable[Any], value: Any, path: str, extra: frozenset[str]) -> list[str]:
    """Return the faults of the variant that has the least of them; a wrong `type` or `role` weighs most."""
    best: list[str] | None = None
    for variant in variants:
        found = _faults(variant, value, path, extra)
        if not found:
            return []
        if best is None or _weight(found, path) < _weight(best, path):
            best = found
    return best or []


def _weight(found: list[str], path: str) -> tuple[bool, int]:
    return any(fault.startswith((f"{path}.type:", f"{path}.role:", f"{path}: ")) for fault in found), len(found)
