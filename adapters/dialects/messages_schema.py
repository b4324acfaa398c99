"""JSON Schemas in Messages requests: what a tool's input must look like, and what the form of a text may say.

A tool takes any schema of an object, as it was written; what is missing of that is added and nothing else is touched.
The form of a text, and a strict tool, are compiled to a grammar that knows less (platform.claude.com, structured
outputs, JSON Schema limitations; anthropic-python, `transform_schema`): objects are closed, and what cannot be compiled
is said in the description instead, for the model to read.
"""

import msgspec
from msgspec import Raw

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_ENCODER = msgspec.json.Encoder()
_REFUSALS = (msgspec.DecodeError, RecursionError)

NO_INPUT = Raw(b'{"type":"object","properties":{}}')
"""The input of a tool that takes none."""

_OBJECT = Raw(b'"object"')
_NO_PROPERTIES = Raw(b"{}")
_NULL = b"null"

_KEPT = frozenset(
    {
        *("type", "title", "description", "enum", "const", "default", "required", "properties", "additionalProperties"),
        *("items", "anyOf", "allOf", "$ref", "$defs", "definitions"),
    }
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_OF_SCHEMAS = frozenset({"properties", "$defs", "definitions"})
_LISTS = frozenset({"anyOf", "allOf"})


def input_schema(schema: Raw | None) -> Raw:
    """Return a tool's schema as one of an object: the same bytes when it is one already (B53)."""
    if schema is None:
        return NO_INPUT
    try:
        members = _MEMBERS.decode(schema)
    except _REFUSALS:
        return NO_INPUT
    missing: dict[str, Raw] = {}
    if bytes(members.get("type", _OBJECT)) == _NULL or "type" not in members:
        missing["type"] = _OBJECT
    if bytes(members.get("properties", _NO_PROPERTIES)) == _NULL or "properties" not in members:
        missing["properties"] = _NO_PROPERTIES
    return Raw(_ENCODER.encode(members | missing)) if missing else schema


def is_object(schema: Raw) -> bool:
    """Whether a schema is one of an object, so that a tool can have it."""
    try:
        return bytes(_MEMBERS.decode(schema).get("type", _OBJECT)) == bytes(_OBJECT)
    except _REFUSALS:
        return False


def compiled(schema: Raw) -> Raw:
    """Return a schema that can be compiled: the same bytes when it is one already."""
    try:
        value = msgspec.json.decode(schema)
        changed = _compiled(value)
        return schema if changed == value else Raw(_ENCODER.encode(changed))
    except _REFUSALS:
        return schema


def is_compiled(schema: Raw) -> bool:
    """Whether a schema can be compiled as it is."""
    return compiled(schema) is schema


def _compiled(schema: object) -> object:
    if not isinstance(schema, dict):
        return schema
    if "oneOf" in schema and "anyOf" not in schema:
        schema = {("anyOf" if name == "oneOf" else name): value for name, value in schema.items()}
    written: dict[str, object] = {}
    said: list[str] = []
    for name, value in schema.items():
        if name in _OF_SCHEMAS and isinstance(value, dict):
            written[name] = {key: _compiled(each) for key, each in value.items()}
        elif name in _LISTS and isinstance(value, list):
            written[name] = [_compiled(each) for each in value]
        elif name == "items":
            written[name] = _compiled(value)
        elif _is_kept(name, value):
            written[name] = value
        elif not name.startswith("$"):
            said.append(f"{name}: {_ENCODER.encode(value).decode()}")
    if _is_object(schema):
        written["additionalProperties"] = False
    if said:
        described = written.get("description")
        head = f"{described}\n\n" if isinstance(described, str) and described else ""
        written["description"] = f"{head}{{{', '.join(said)}}}"
    return written


def _is_kept(name: str, value: object) -> bool:
    if name == "format":
        return value in _FORMATS
    if name == "minItems":
        return value in {0, 1}
    return name in _KEPT


def _is_object(schema: dict[str, object]) -> bool:
    return schema.get("type") == "object" or "properties" in schema
