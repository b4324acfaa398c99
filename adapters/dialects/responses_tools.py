"""The tools of a request: those the client runs, the upstream's web search, and which of them the model must call.

Tools come in `tools`, in items of the conversation (`additional_tools`, the result of a client's tool search), and in
namespaces; they are one list here, a later declaration of a tool replacing an earlier one at its place. A tool that a
provider runs is refused, but for the web search, which other providers have too. Marks in schemas that only their own
vendor reads are taken out: `encrypted` on a property means nothing to another model, and strict upstreams refuse it.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Raw

from adapters.body_fields import too_deep, wrong_type
from adapters.conversation import ChoiceKind, Tool, ToolChoice, WebSearch
from adapters.dialects.responses_parts import Members, invalid_value, objects, required_text, text_of
from adapters.losses import Losses
from adapters.tool_calls.names import Names, ToolName

_ENCRYPTED = b'"encrypted"'
_SCHEMA_MAPS = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
_CHOICES = {"auto": ChoiceKind.AUTO, "none": ChoiceKind.NONE, "required": ChoiceKind.ANY}


class Offer:
    """Collects the tools of one request, in order."""

    __slots__ = ("_losses", "_paths", "_tools", "web_search")

    def __init__(self, losses: Losses, paths: dict[str, str]) -> None:
        self._losses = losses
        self._paths = paths
        self._tools: dict[tuple[str | None, str], Tool] = {}
        self.web_search: WebSearch | None = None

    @property
    def tools(self) -> tuple[Tool, ...]:
        """All that the client runs."""
        return tuple(self._tools.values())

    def add(self, value: object, path: str, namespace: str | None = None) -> None:
        """Take an array of tools. Raises `ClientError`."""
        for at, members in objects(value, path):
            self._add(members, at, namespace)

    def _add(self, members: Members, path: str, namespace: str | None) -> None:
        kind = required_text(members, "type", path)
        if kind == "function":
            self._keep(_function(members, path, namespace))
        elif kind == "custom":
            tool = _custom(members, path, namespace)
            if tool.format is not None:
                self._paths.setdefault("grammar", f"{path}.format")
            self._keep(tool)
        elif kind == "namespace" and namespace is None:
            name = required_text(members, "name", path)
            self.add(members.get("tools", []), f"{path}.tools", name)
        elif kind == "tool_search":
            self._losses.note("client_search", path)
        elif kind.startswith("web_search"):
            self._paths["web_search"] = path
            self.web_search = _web_search(members)
        else:
            self._losses.note("hosted_tool", path)

    def _keep(self, tool: Tool) -> None:
        self._tools[tool.namespace, tool.name] = tool


def _function(members: Members, path: str, namespace: str | None) -> Tool:
    strict = members.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise wrong_type(f"{path}.strict", "a boolean", strict)
    schema = members.get("parameters")
    if schema is not None and not isinstance(schema, dict):
        raise wrong_type(f"{path}.parameters", "an object", schema)
    return Tool(
        required_text(members, "name", path),
        text_of(members, "description", path) or "",
        schema_of(schema, f"{path}.parameters") if schema is not None else None,
        strict,
        namespace=namespace,
    )


def _custom(members: Members, path: str, namespace: str | None) -> Tool:
    form = members.get("format")
    if form is not None and not isinstance(form, dict):
        raise wrong_type(f"{path}.format", "an object", form)
    return Tool(
        required_text(members, "name", path),
        text_of(members, "description", path) or "",
        custom=True,
        namespace=namespace,
        format=Raw(msgspec.json.encode(form)) if form is not None and form.get("type") != "text" else None,
    )


def _web_search(members: Members) -> WebSearch:
    filters = members.get("filters")
    filters = filters if isinstance(filters, dict) else {}
    size = members.get("search_context_size")
    return WebSearch(
        None,
        _names(filters.get("allowed_domains")),
        _names(filters.get("blocked_domains")),
        size if isinstance(size, str) else None,
    )


def _names(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def schema_of(schema: Members, path: str) -> Raw:
    """Return a JSON Schema, encoded, without the vendor's own marks. Raises `ClientError` for too deep a one."""
    try:
        encoded = msgspec.json.encode(schema)
        return Raw(msgspec.json.encode(_without_marks(schema)) if _ENCRYPTED in encoded else encoded)
    except RecursionError as exc:
        raise too_deep(path) from exc


def _without_marks(value: object) -> object:
    """Return a schema without the keyword `encrypted`; a property of that name stays."""
    if isinstance(value, list):
        return [_without_marks(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept: Members = {}
    for name, each in value.items():
        if name in _SCHEMA_MAPS and isinstance(each, dict):
            kept[name] = {inner: _without_marks(schema) for inner, schema in each.items()}
        elif name != "encrypted" or not isinstance(each, bool):
            kept[name] = _without_marks(each)
    return kept


# -- names and choice --------------------------------------------------------------------------------------------------


def names_of(tools: Iterable[Tool]) -> Names:
    """Return the flat names of the tools."""
    return Names(ToolName(tool.name, tool.namespace, tool.custom) for tool in tools)


def read_choice(value: object, names: Names, losses: Losses) -> ToolChoice | None:
    """Return what the model must call; None when the request does not say. Raises `ClientError`."""
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _CHOICES:
            raise invalid_value("tool_choice", value, _CHOICES)
        return ToolChoice(_CHOICES[value])
    if not isinstance(value, dict):
        raise wrong_type("tool_choice", "a string or an object", value)
    kind = required_text(value, "type", "tool_choice")
    if kind in {"function", "custom"}:
        return ToolChoice(ChoiceKind.ANY, (_flat(value, "tool_choice", names),))
    if kind != "allowed_tools":
        losses.note("tool_choice", "tool_choice")
        return None
    mode = text_of(value, "mode", "tool_choice")
    if mode not in {None, "auto", "required"}:
        raise invalid_value("tool_choice.mode", mode, ("auto", "required"))
    flat: list[str] = []
    for at, members in objects(value.get("tools", []), "tool_choice.tools"):
        if members.get("type") in ("function", "custom"):
            flat.append(_flat(members, at, names))
        else:
            losses.note("tool_choice", at)
    return ToolChoice(_CHOICES[mode or "auto"], tuple(flat))


def _flat(members: Members, path: str, names: Names) -> str:
    return names.flat(required_text(members, "name", path), text_of(members, "namespace", path))
