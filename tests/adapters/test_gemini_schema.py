"""Tests of the schema forms of the gemini dialect: what each keeps, and that neither raises, changes or explodes."""

import copy
import json

import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialects.gemini_schema import is_empty, to_json_schema, to_openapi
from adapters.dialects.gemini_schema_nodes import FOLLOWED_NODES_MAX

B52: dict[str, object] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "exclusiveMinimum": {"type": "number", "exclusiveMinimum": 0},
        "m": {"const": "x"},
        "t": {"type": ["string", "null"]},
        "u": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "r": {"$ref": "#/$defs/R"},
    },
    "$defs": {"R": {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]}},
}


def properties(**schemas: object) -> dict[str, object]:
    return {"type": "object", "properties": schemas}


def json_of(schema: object) -> object:
    """The one property of an object, as newer models read it."""
    return to_json_schema(properties(x=schema))["properties"]["x"]  # type: ignore[index]


def openapi_of(schema: object, **more: object) -> object:
    """The one property of an object, as older models read it."""
    converted = to_openapi({**properties(x=schema), **more})
    assert converted is not None
    return converted["properties"]["x"]  # type: ignore[index]


def test_b52_newer_models_read_it_nearly_as_it_is() -> None:
    assert to_json_schema(B52) == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "exclusiveMinimum": {"type": "number", "minimum": 0},
            "m": {"enum": ["x"]},
            "t": {"type": ["string", "null"]},
            "u": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "r": {"$ref": "#/$defs/R"},
        },
        "$defs": {"R": {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]}},
    }


def test_b52_older_models_get_it_converted() -> None:
    converted = to_openapi(B52)
    assert converted == {
        "type": "OBJECT",
        "properties": {
            "exclusiveMinimum": {"type": "NUMBER", "minimum": 0},
            "m": {"type": "STRING", "enum": ["x"]},
            "t": {"type": "STRING", "nullable": True},
            "u": {"type": "OBJECT", "anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]},
            "r": {"type": "OBJECT", "properties": {"n": {"type": "STRING"}}, "required": ["n"]},
        },
    }
    types.Schema.model_validate(converted)


def test_b52_the_clients_schema_is_never_changed() -> None:
    before = copy.deepcopy(B52)
    to_json_schema(B52)
    to_openapi(B52)
    assert before == B52


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 0, "exclusiveMinimum": 5}, {"type": "INTEGER", "minimum": 6}),
        ({"type": "integer", "exclusiveMinimum": 4.5}, {"type": "INTEGER", "minimum": 5}),
        ({"type": "integer", "maximum": 9, "exclusiveMaximum": 20}, {"type": "INTEGER", "maximum": 9}),
        ({"type": "integer", "minimum": 5, "exclusiveMinimum": True}, {"type": "INTEGER", "minimum": 6}),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": 5}, {"type": "NUMBER", "minimum": 5}),
        ({"type": "number", "exclusiveMaximum": 1.5}, {"type": "NUMBER", "maximum": 1.5}),
        ({"type": "number", "exclusiveMinimum": 10**400, "minimum": 0.5}, {"type": "NUMBER", "minimum": 10**400}),
        ({"type": "number", "exclusiveMinimum": "0"}, {"type": "NUMBER"}),
    ],
)
def test_b52_the_stricter_bound_counts(schema: object, expected: object) -> None:
    assert openapi_of(schema) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (True, {"type": "STRING"}),
        ({"type": "string", "format": []}, {"type": "STRING"}),
        ({}, {"type": "STRING"}),
        ({"type": "OBJECT"}, {"type": "OBJECT"}),
        ({"properties": {"a": {"type": "string"}}}, {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}),
        (
            {"enum": [1, 2.5, True, "", "a", "a", None]},
            {"type": "STRING", "enum": ["1", "2.5", "true", "a"], "nullable": True},
        ),
        ({"type": "integer", "enum": [1, 2]}, {"type": "STRING", "enum": ["1", "2"]}),
        ({"const": True}, {"type": "BOOLEAN"}),
        ({"type": "boolean", "enum": [True]}, {"type": "BOOLEAN"}),
        ({"type": "string", "nullable": True}, {"type": "STRING", "nullable": True}),
        ({"type": "null"}, {"type": "STRING", "nullable": True}),
        ({"type": "string", "format": "uri", "pattern": "^a", "default": "a"}, {"type": "STRING", "pattern": "^a"}),
        ({"type": "string", "format": "date-time"}, {"type": "STRING", "format": "date-time"}),
        ({"type": "array"}, {"type": "ARRAY", "items": {"type": "STRING"}}),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 1, "uniqueItems": True},
            {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": 1},
        ),
        ({"items": [{"type": "number"}, {"type": "number"}]}, {"type": "ARRAY", "items": {"type": "NUMBER"}}),
        ({"type": "string", "required": ["a"], "minItems": 1}, {"type": "STRING"}),
        (
            {"type": ["string", "integer", "null"]},
            {"type": "OBJECT", "anyOf": [{"type": "STRING"}, {"type": "INTEGER"}], "nullable": True},
        ),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "d"},
            {"type": "STRING", "description": "d", "nullable": True},
        ),
        (
            {"oneOf": [{"const": "a"}, {"const": "b"}], "description": "d"},
            {
                "type": "STRING",
                "anyOf": [
                    {"type": "STRING", "description": "d", "enum": ["a"]},
                    {"type": "STRING", "description": "d", "enum": ["b"]},
                ],
            },
        ),
        ({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"type": "OBJECT"}),
        (
            {"properties": {"a": {}}, "required": ["a"], "anyOf": [{"properties": {"b": {}}, "required": ["b"]}]},
            {"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "STRING"}}, "required": ["a"]},
        ),
        (
            {"allOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}]},
            {
                "type": "OBJECT",
                "properties": {"a": {"type": "STRING"}, "b": {"type": "STRING"}},
                "required": ["a", "b"],
            },
        ),
        ({"$ref": "https://elsewhere/x"}, {"type": "OBJECT"}),
        ({"$ref": "#/$defs/gone", "description": "d"}, {"type": "OBJECT", "description": "d"}),
        ({"type": "string", "not": {}, "if": {}, "then": {}, "$comment": "c", "examples": [1]}, {"type": "STRING"}),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_b52_older_models_get_one_type_and_what_belongs_to_it(schema: object, expected: object) -> None:
    converted = openapi_of(schema)
    assert converted == expected
    types.Schema.model_validate(converted)


def test_b52_required_names_only_what_exists() -> None:
    schema = {**properties(a={}, b={}), "required": ["a", "gone", 5, "a"], "propertyOrdering": ["b", "gone", "a"]}
    assert to_json_schema(schema)["required"] == ["a"]
    converted = to_openapi(schema)
    assert converted is not None
    assert converted["required"] == ["a"]
    assert converted["propertyOrdering"] == ["b", "a"]
    assert "required" not in to_json_schema({**schema, "required": ["gone"]})


def test_b52_recursion_is_cut_to_an_object() -> None:
    schema = {
        **properties(tree={"$ref": "#/$defs/T"}),
        "$defs": {"T": properties(name={"type": "string"}, kids={"type": "array", "items": {"$ref": "#/$defs/T"}})},
    }
    text = json.dumps(to_openapi(schema))
    assert text.count('"name"') == 5
    assert text.count('"kids"') == 5
    assert '"items": {"type": "OBJECT"}' in text
    assert to_json_schema(schema)["$defs"] == schema["$defs"]


def test_a_schema_that_is_a_reference_is_followed() -> None:
    schema = {"$ref": "#/definitions/A~1B%20", "definitions": {"A/B ": properties(x={"type": "string"})}}
    assert to_openapi(schema) == {"type": "OBJECT", "properties": {"x": {"type": "STRING"}}}
    assert to_openapi({"$ref": "#/definitions/E", "definitions": {"E": {"type": "object"}}}) is None


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}]
)
def test_a_schema_that_is_only_itself_ends(schema: object) -> None:
    to_openapi(schema)
    to_json_schema(schema)


@pytest.mark.parametrize("keyword", ["$ref", "allOf", "anyOf", "properties", "both"])
def test_references_that_double_do_not_explode(keyword: str) -> None:
    def following(n: int) -> dict[str, object]:
        one: dict[str, object] = {"$ref": f"#/$defs/D{n}"}
        match keyword:
            case "allOf":
                return properties(a={"allOf": [one, {"title": "t"}]}, b={"allOf": [one, {"title": "t"}]})
            case "anyOf":
                return {"anyOf": [{"type": "array", "items": one}, properties(b=one)]}
            case "both":
                return {**properties(a={**properties(), "anyOf": [one]}, b=one), "anyOf": [one]}
            case _:
                return properties(a=one, b=one)

    definitions = {f"D{n}": following((n + 1) % 40) for n in range(40)}
    schema = {**properties(first={"$ref": "#/$defs/D0"}, last={"type": "string"}), "$defs": definitions}
    converted = to_openapi(schema)
    assert converted is not None
    assert json.dumps(converted).count('"type"') < 3 * FOLLOWED_NODES_MAX
    assert converted["properties"]["last"] == {"type": "STRING"}  # type: ignore[index]
    assert json.dumps(to_json_schema(schema)).count('"') < 100 * FOLLOWED_NODES_MAX


def test_a_schema_with_many_references_to_itself_keeps_every_member() -> None:
    schema = properties(**{f"p{n}": {"$ref": "#"} for n in range(20)})
    converted = to_openapi(schema)
    assert converted is not None
    members = converted["properties"]
    assert isinstance(members, dict)
    assert len(members) == 20
    assert all("properties" in member for member in members.values())


def test_a_schema_nested_too_deeply_ends_in_an_object() -> None:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(300):
        schema = properties(a=schema)
    assert '"a": {"type": "OBJECT"}' in json.dumps(to_openapi(schema))
    assert json.dumps(to_json_schema(schema)).count('"a"') == 50


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "OBJECT"}, {"type": "object"}),
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        ({"properties": {"a": True}}, {"properties": {"a": {}}, "type": "object"}),
        ({"type": "nonsense", "title": "t"}, {"title": "t"}),
        ({"enum": ["a", None, 1]}, {"enum": ["a", 1], "type": ["string", "null", "integer"]}),
        ({"const": True}, {"type": "boolean"}),
        ({"type": "string", "pattern": "^a", "minLength": 1, "default": "a"}, {"type": "string"}),
        ({"$ref": "#/$defs/R", "description": "d"}, {"description": "d", "anyOf": [{"$ref": "#/$defs/R"}]}),
        ({"allOf": [{"$ref": "#/$defs/R"}], "title": "t"}, {"title": "t", "anyOf": [{"$ref": "#/$defs/R"}]}),
        ({"$ref": "#/definitions/R"}, {"$ref": "#/$defs/R"}),
        ({"items": [{"type": "string"}, True]}, {"prefixItems": [{"type": "string"}]}),
        ({"additionalProperties": {"type": "STRING", "x": 1}}, {"additionalProperties": {"type": "string"}}),
        ({"allOf": [{"title": "a"}, {"type": "string", "title": "b"}]}, {"title": "a", "type": "string"}),
        ({"minItems": "1", "properties": [], "required": "a", "anyOf": {}, "items": 5}, {}),
        (True, {}),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_newer_models_get_what_they_read(schema: object, expected: object) -> None:
    assert json_of(schema) == expected


def test_a_property_called_like_a_keyword_survives() -> None:
    named = ["const", "$ref", "type", "enum", "required", "anyOf", "properties", "items", "not", "$schema", "title"]
    schema = {**properties(**{name: {"type": "string"} for name in named}), "required": named}
    assert to_json_schema(schema) == schema
    converted = to_openapi(schema)
    assert converted is not None
    assert converted["properties"] == {name: {"type": "STRING"} for name in named}
    assert converted["required"] == named


@pytest.mark.parametrize(
    "schema", [None, {}, {"type": "object"}, {"type": "object", "properties": {}}, {"properties": None}, {"title": "T"}]
)
def test_b53_a_tool_without_parameters_has_no_schema(schema: object) -> None:
    assert is_empty(schema)
    assert to_openapi(schema) is None


@pytest.mark.parametrize(
    "schema",
    [
        properties(a={}),
        {"properties": {"a": {}}},
        {"$ref": "#/$defs/A"},
        {"anyOf": [{"type": "object"}]},
        {"type": "array"},
        {"type": "string"},
        {"type": "object", "additionalProperties": {"type": "string"}},
    ],
)
def test_b53_a_schema_that_says_something_is_not_empty(schema: object) -> None:
    assert not is_empty(schema)


KEYWORDS = ["type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions", "enum", "const"]
KEYWORDS += [
    "required",
    "minimum",
    "exclusiveMinimum",
    "prefixItems",
    "nullable",
    "format",
    "title",
    "additionalProperties",
]
SCALAR = st.sampled_from(
    ["string", "object", "ARRAY", "null", "#", "#/$defs/a", "#/properties/type", "a", 0, 2.5, True, None]
)
SCHEMA = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYWORDS, "a"]), inner, max_size=4),
    max_leaves=30,
)


@given(schema=SCHEMA)
def test_anything_is_converted_without_raising_or_being_changed(schema: object) -> None:
    before = copy.deepcopy(schema)
    selected = to_json_schema(schema)
    converted = to_openapi(schema)
    is_empty(schema)
    assert schema == before
    assert to_json_schema(selected) == selected
    if converted is not None:
        types.Schema.model_validate(converted)
        check(converted)


def check(schema: object) -> None:
    """What the vendor demands of every node."""
    assert isinstance(schema, dict)
    kind = schema["type"]
    assert kind in {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"}
    if "anyOf" in schema:
        assert schema.keys() <= {"type", "anyOf", "nullable"}
        assert len(schema["anyOf"]) > 1
    if "enum" in schema:
        assert kind == "STRING"
        assert schema["enum"]
        assert all(schema["enum"])
    if kind == "ARRAY" and "anyOf" not in schema:
        check(schema["items"])
    assert set(schema.get("required", [])) <= set(schema.get("properties", {}))
    for below in [*schema.get("anyOf", []), *schema.get("properties", {}).values()]:
        check(below)
