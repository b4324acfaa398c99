"""A JSON Schema as the older `Schema` of this vendor's API: a part of OpenAPI 3.0, strictly checked.

Everything unknown in it is refused with the whole request, and so is a keyword beside a type it does not belong to
("only allowed for OBJECT type"). So a node is written anew from its one type: what is known of that type is taken over,
the rest dropped. What the form cannot say becomes the nearest thing it can: a choice of types is an `anyOf`, null is
`nullable`, every enumerated value a string, a reference what it refers to.

Source: the `Schema` reference of the vendor's API (ai.google.dev/api/caching#Schema, 2026-11): fields, and formats by
type. `anyOf` bears no other field than its type and `nullable`: a refusal on the vendor's cloud.
"""

import msgspec

from adapters.dialects import gemini_schema_nodes as nodes
from adapters.dialects.gemini_schema_nodes import Node, References

RECURSION_MAX = 5
"""How often a schema is written out inside itself before it is just an object."""

RECURSIONS_TRIED = (RECURSION_MAX, 2, 1)
"""A schema with many references to itself fills the budget with its first members: with less recursion all get some."""

_FORMATS = {
    "string": ("date-time", "enum"),
    "number": ("float", "double"),
    "integer": ("int32", "int64"),
}

_NUMBERS = {
    "string": ("minLength", "maxLength"),
    "number": ("minimum", "maximum"),
    "integer": ("minimum", "maximum"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}

_TELLING = (
    ("object", ("properties", "additionalProperties", "required", "patternProperties")),
    ("array", ("items", "prefixItems")),
    ("number", ("minimum", "maximum")),
)
"""Keywords that tell the type of a node that names none."""

_PLAIN_OBJECT = "OBJECT"


def convert(schema: Node) -> Node:
    """Return the schema in the older form, with as much recursion written out as fits the budget."""
    converted: Node = {}
    for again_max in RECURSIONS_TRIED:
        references = References(schema, again_max)
        converted = _Conversion(references).node(schema, 0)
        if not references.exhausted:
            break
    return converted


class _Conversion:
    """One pass over a schema."""

    def __init__(self, references: References) -> None:
        self._references = references

    def node(self, schema: object, depth: int) -> Node:
        """Return one schema converted; it always has a type."""
        if not isinstance(schema, dict):
            return {"type": "STRING"}
        if depth >= nodes.DEPTH_MAX:
            return {"type": _PLAIN_OBJECT}
        node, followed = self._references.open(schema)
        nodes.simplify(node)
        converted = self._opened(node, depth)
        self._references.leave(followed)
        return converted

    def _opened(self, node: Node, depth: int) -> Node:
        offered = nodes.schemas(node.pop("anyOf", None)) + nodes.schemas(node.pop("oneOf", None))
        found = nodes.types(node)
        nullable = "null" in found
        found = [name for name in found if name != "null"]
        alternatives = [one for one in offered if isinstance(one, dict) and nodes.types(one) != ["null"]]
        nullable = nullable or len(alternatives) < len([one for one in offered if isinstance(one, dict)])
        if node.get("properties"):
            followed = self._take_properties(node, alternatives)
            converted = self._of_type(node, "object", depth)
            self._references.leave(followed)
        elif alternatives:
            converted = self._choice(node, alternatives, depth)
        elif len(found) > 1:
            converted = self._choice(node, [{**node, "type": name} for name in found], depth)
        else:
            converted = self._of_type(node, found[0] if found else _told(node), depth)
        if nullable:
            converted["nullable"] = True
        return converted

    def _take_properties(self, node: Node, alternatives: list[Node]) -> int:
        """Add what only some alternatives of an object have, as optional; return how many references to leave."""
        left = 0
        for alternative in alternatives:
            opened, followed = self._references.open(alternative)
            left += followed
            nodes.merge(node, {"properties": opened.get("properties")})
        return left

    def _choice(self, node: Node, alternatives: list[Node], depth: int) -> Node:
        if len(alternatives) == 1:
            rest = {keyword: value for keyword, value in node.items() if keyword != "type"}
            return self.node({**rest, "allOf": [_typed(alternatives[0], node)]}, depth + 1)
        described = {key: node[key] for key in ("title", "description") if isinstance(node.get(key), str)}
        branches: list[Node] = []
        for alternative in alternatives:
            branch = self.node(_typed(alternative, node), depth + 1)
            branch = described | branch
            if branch not in branches:
                branches.append(branch)
        if len(branches) == 1:
            return branches[0]
        shared = {str(branch["type"]) for branch in branches}
        return {"type": shared.pop() if len(shared) == 1 else _PLAIN_OBJECT, "anyOf": branches}

    def _of_type(self, node: Node, name: str, depth: int) -> Node:
        converted: Node = {"type": name.upper()}
        for key in ("title", "description"):
            if isinstance(node.get(key), str):
                converted[key] = node[key]
        enumerated = nodes.schemas(node.get("enum"))
        values = [] if name in {"boolean", "array", "object"} else _as_strings(enumerated)
        if values:
            # Only strings can be enumerated.
            name = "string"
            converted |= {"type": "STRING", "enum": values}
        if None in enumerated:
            converted["nullable"] = True
        if node.get("format") in _FORMATS.get(name, ()):
            converted["format"] = node["format"]
        for key in _NUMBERS.get(name, ()):
            if nodes.is_number(node.get(key)):
                converted[key] = node[key]
        if name == "string" and isinstance(node.get("pattern"), str):
            converted["pattern"] = node["pattern"]
        elif name == "array":
            converted["items"] = self._items(node, depth)
        elif name == "object":
            converted |= self._members(node, depth)
        return converted

    def _items(self, node: Node, depth: int) -> Node:
        places = nodes.schemas(node.get("prefixItems"))
        if not places:
            return self.node(node.get("items"), depth + 1)
        return self.node({"anyOf": places}, depth + 1)

    def _members(self, node: Node, depth: int) -> Node:
        properties = node.get("properties")
        if not isinstance(properties, dict) or not properties:
            return {}
        members: Node = {"properties": {name: self.node(schema, depth + 1) for name, schema in properties.items()}}
        for key in ("required", "propertyOrdering"):
            named = nodes.names(node.get(key), among=properties)
            if named:
                members[key] = named
        return members


def _typed(alternative: Node, node: Node) -> Node:
    """Return an alternative that names no type with the one its choice names."""
    outer = [name for name in nodes.types(node) if name != "null"]
    if len(outer) != 1 or nodes.types(alternative) or not alternative.keys().isdisjoint({"$ref", "allOf", "anyOf"}):
        return alternative
    return {**alternative, "type": outer[0]}


def _told(node: Node) -> str:
    """Return the type that the keywords or values of a node tell; text where nothing does, which can say anything."""
    for name, telling in _TELLING:
        if not node.keys().isdisjoint(telling):
            return name
    values = [value for value in nodes.schemas(node.get("enum")) if value is not None]
    return "boolean" if values and all(isinstance(value, bool) for value in values) else "string"


def _as_strings(values: list[object]) -> list[str]:
    """Return enumerated values as strings; an empty one is refused."""
    strings: list[str] = []
    for value in values:
        if isinstance(value, str):
            strings.append(value)
        elif isinstance(value, bool) or nodes.is_number(value):
            strings.append(msgspec.json.encode(value).decode())
    return nodes.distinct(string for string in strings if string)
