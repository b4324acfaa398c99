"""A tool's or an answer's JSON Schema in the two forms this vendor takes.

Newer models read JSON Schema itself, but only some keywords of it: `to_json_schema` keeps these. Older ones read a part
of OpenAPI 3.0 in which references, unions and most keywords do not exist: `to_openapi`. Which of the two a model takes
is not decided here, only that a tool without parameters has no schema at all in either.

Both walk through schemas only, so a property that is called like a keyword stays. Neither changes what the client sent,
raises, or grows beyond a budget, whatever the schema refers to.
"""

from collections.abc import Callable

from adapters.dialects import gemini_schema_nodes as nodes
from adapters.dialects import gemini_schema_openapi as openapi
from adapters.dialects.gemini_schema_nodes import Node, References

_SHAPED_BY = ("$ref", "allOf", "anyOf", "oneOf", "enum", "const", "items", "prefixItems")
"""Keywords that say something of a value without `properties`."""


def is_empty(schema: object) -> bool:
    """Whether a schema has no parameters at all: none, `{}`, or an object without properties.

    An object whose `additionalProperties` is a schema of its own takes parameters, if unnamed ones.
    """
    if not isinstance(schema, dict):
        return True
    if schema.get("properties") or any(keyword in schema for keyword in _SHAPED_BY):
        return False
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict) and additional:
        return False
    found = nodes.types(schema)
    return not found or "object" in found


def to_openapi(schema: object) -> Node | None:
    """Return the schema in the older form, None for one without a single property."""
    if not isinstance(schema, dict) or is_empty(schema):
        return None
    converted = openapi.convert(schema)
    if converted["type"] == "OBJECT" and "properties" not in converted and "anyOf" not in converted:
        return None
    return converted


def to_json_schema(schema: object) -> Node:
    """Return the schema with the keywords newer models read, `{}` for what is no schema.

    Source: `responseJsonSchema` in the vendor's API reference (2026-11). References stay; one with other keywords
    beside it is refused, so it becomes the only choice of an `anyOf`.
    """
    if not isinstance(schema, dict):
        return {}
    references = References(schema, 1)
    definitions = schema.get("definitions")
    if isinstance(definitions, dict):
        own = schema.get("$defs")
        schema = {key: value for key, value in schema.items() if key != "definitions"}
        schema["$defs"] = definitions | own if isinstance(own, dict) else definitions
    return _Selection(references).node(schema, 0)


class _Dropped:
    """What a keyword's value is worth that cannot be sent."""


_DROPPED = _Dropped()


class _Selection:
    """One pass over a schema that keeps what newer models read."""

    def __init__(self, references: References) -> None:
        self._references = references

    def node(self, schema: object, depth: int) -> Node:
        """Return one schema with its supported keywords, in their order."""
        if not isinstance(schema, dict) or depth >= nodes.DEPTH_MAX:
            return {}
        branches = schema.get("allOf")
        if isinstance(branches, list) and len(branches) == 1 and _is_reference(branches[0]) and "$ref" not in schema:
            schema = {**schema, "$ref": branches[0]["$ref"]}
            del schema["allOf"]
        followed = 0
        reference = schema.get("$ref")
        if isinstance(schema.get("allOf"), list):
            opened, followed = self._references.open(schema)
            reference = None
        else:
            opened = {key: value for key, value in schema.items() if key != "$ref"}
        nodes.simplify(opened)
        _enumerate(opened)
        kept: Node = {}
        for keyword, value in opened.items():
            read = _READ.get(keyword)
            if read is not None:
                result = read(self, value, depth + 1)
                if result is not _DROPPED:
                    kept[keyword] = result
        _settle_members(kept)
        self._references.leave(followed)
        return _referring(kept, reference) if isinstance(reference, str) else kept

    def listed(self, value: object, depth: int) -> object:
        """Return a list of schemas."""
        selected = [self.node(schema, depth) for schema in nodes.schemas(value) if isinstance(schema, dict)]
        return selected or _DROPPED

    def named(self, value: object, depth: int) -> object:
        """Return schemas by name: names are nobody's keywords."""
        return {name: self.node(one, depth) for name, one in value.items()} if isinstance(value, dict) else _DROPPED

    def single(self, value: object, depth: int) -> object:
        """Return a schema; `true` and `false` are schemas too."""
        return value if isinstance(value, bool) else self.node(value, depth) if isinstance(value, dict) else _DROPPED

    def text(self, value: object, _: int) -> object:
        """Return text."""
        return value if isinstance(value, str) else _DROPPED

    def number(self, value: object, _: int) -> object:
        """Return a number."""
        return value if nodes.is_number(value) else _DROPPED

    def names(self, value: object, _: int) -> object:
        """Return a list of names."""
        return nodes.names(value) or _DROPPED

    def types(self, value: object, _: int) -> object:
        """Return one type or several."""
        found = nodes.types({"type": value})
        return found if len(found) > 1 else found[0] if found else _DROPPED

    def values(self, value: object, _: int) -> object:
        """Return enumerated values: `_enumerate` has left strings and numbers."""
        return list(nodes.schemas(value)) or _DROPPED


_READ: dict[str, Callable[[_Selection, object, int], object]] = {
    "$id": _Selection.text,
    "$anchor": _Selection.text,
    "$defs": _Selection.named,
    "type": _Selection.types,
    "format": _Selection.text,
    "title": _Selection.text,
    "description": _Selection.text,
    "enum": _Selection.values,
    "items": _Selection.single,
    "prefixItems": _Selection.listed,
    "minItems": _Selection.number,
    "maxItems": _Selection.number,
    "minimum": _Selection.number,
    "maximum": _Selection.number,
    "anyOf": _Selection.listed,
    "oneOf": _Selection.listed,
    "properties": _Selection.named,
    "additionalProperties": _Selection.single,
    "required": _Selection.names,
    "propertyOrdering": _Selection.names,
}

_TYPE_OF = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null", list: "array"}


def _is_reference(branch: object) -> bool:
    return isinstance(branch, dict) and branch.keys() == {"$ref"}


def _referring(kept: Node, reference: str) -> Node:
    """Return a reference with what stood beside it."""
    if reference.startswith("#/definitions/"):
        reference = "#/$defs/" + reference.removeprefix("#/definitions/")
    beside = {key: value for key, value in kept.items() if not key.startswith("$")}
    if not beside or "anyOf" in beside:
        return {"$ref": reference} | {key: value for key, value in kept.items() if key.startswith("$")}
    return kept | {"anyOf": [{"$ref": reference}]}


def _settle_members(kept: Node) -> None:
    """Say of a node with properties that it is an object, and require only what it has."""
    properties = kept.get("properties")
    if not isinstance(properties, dict) or not properties:
        return
    kept.setdefault("type", "object")
    if "required" in kept:
        kept["required"] = nodes.names(kept["required"], among=properties)
        if not kept["required"]:
            del kept["required"]


def _enumerate(node: Node) -> None:
    """Leave strings and numbers in an enumeration; of other values only their types can be said."""
    if "enum" not in node:
        return
    values = nodes.schemas(node["enum"])
    node["enum"] = [value for value in values if isinstance(value, str) or nodes.is_number(value)]
    if len(values) != len(nodes.schemas(node["enum"])) and not nodes.types(node):
        node["type"] = nodes.distinct(_TYPE_OF.get(type(value), "object") for value in values)
