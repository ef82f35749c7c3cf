"""Structural schemas: what they prune, fill in and refuse, and what is refused as a schema."""

from typing import Any

import pytest

from apimachinery.errors import Cause
from apimachinery.schema.structural import compile_root, compile_schema, fill_defaults, prune
from master.apiserver.registry.custom import validation
from master.apiserver.registry.custom.formats import fits
from master.apiserver.registry.kinds.definition_schemas import check_schema, decode_schema

PRESERVE = "x-kubernetes-preserve-unknown-fields"
STRING = {"type": "string"}


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def told(causes: list[Cause]) -> list[str]:
    return [f"{c.field}: {c.message}" for c in causes]


def test_pruning_keeps_what_is_named_or_preserved() -> None:
    schema = an_object(
        spec=an_object(
            a=STRING,
            list={"type": "array", "items": an_object(b=STRING)},
            map={"type": "object", "additionalProperties": an_object(c=STRING)},
            free={"type": "object", PRESERVE: True, "properties": {"known": an_object(d=STRING)}},
        )
    )
    value: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "K",
        "metadata": {"anything": 1},
        "root": 1,
        "spec": {
            "a": "x",
            "z": 1,
            "list": [{"b": "x"}, {"b": "x", "z": 1}],
            "map": {"k": {"c": "x", "z": 1}},
            "free": {"unknown": {"z": 1}, "known": {"d": "x", "z": 1}},
        },
    }
    assert prune(value, compile_root(schema)) == [
        "root",
        "spec.free.known.z",
        "spec.list[1].z",
        "spec.map.k.z",
        "spec.z",
    ]
    assert value["metadata"] == {"anything": 1}
    assert value["spec"]["free"] == {"unknown": {"z": 1}, "known": {"d": "x"}}
    assert prune(value, compile_root(schema)) == []


def test_defaults_reach_into_what_is_there_and_replace_nulls() -> None:
    schema = compile_schema(
        an_object(
            a={"type": "string", "default": "A"},
            b={"type": "string", "default": "B", "nullable": True},
            c={"type": "string"},
            d={"type": "object", "default": {}, "properties": {"e": {"type": "integer", "default": 1}}},
            f=an_object(g={"type": "integer", "default": 2}),
            h={"type": "array", "items": {"type": "string", "default": "H"}},
        )
    )
    value: dict[str, Any] = {"a": None, "b": None, "c": None, "h": [None, "x"]}
    fill_defaults(value, schema)
    assert value == {"a": "A", "b": None, "d": {"e": 1}, "h": ["H", "x"]}


@pytest.mark.parametrize(
    ("schema", "value", "wrong"),
    [
        ({"type": "integer"}, "x", 'Invalid value: "string": v in body must be of type integer: "string"'),
        ({"type": "integer"}, 1.5, 'Invalid value: "number": v in body must be of type integer: "number"'),
        ({"type": "string"}, None, 'Invalid value: "null": v in body must be of type string: "null"'),
        ({"type": "integer", "maximum": 3}, 4, "Invalid value: 4: v in body should be less than or equal to 3"),
        (
            {"type": "number", "minimum": 0.5, "exclusiveMinimum": True},
            0.5,
            "Invalid value: 0.5: v in body should be greater than 0.5",
        ),
        ({"type": "number", "multipleOf": 0.1}, 0.25, "Invalid value: 0.25: v in body should be a multiple of 0.1"),
        (
            {"type": "integer", "format": "int32"},
            2**31,
            "Invalid value: 2147483648: Checked value must be of type integer with format int32 in v",
        ),
        ({"type": "string", "maxLength": 2}, "abc", "Too long: may not be more than 2 bytes"),
        ({"type": "string", "minLength": 2}, "a", 'Invalid value: "a": v in body should be at least 2 chars long'),
        ({"type": "string", "pattern": "^a$"}, "a\n", "Invalid value: \"a\\n\": v in body should match '^a$'"),
        ({"type": "string", "format": "ipv4"}, "x", 'Invalid value: "x": v in body must be of type ipv4: "x"'),
        ({"type": "string", "enum": ["a", "b"]}, "c", 'Unsupported value: "c": supported values: "a", "b"'),
        ({"type": "array", "maxItems": 1}, [1, 2], "Too many: 2: must have at most 1 item"),
        ({"type": "array", "minItems": 1}, [], "Invalid value: 0: v in body should have at least 1 items"),
        ({"type": "object", "maxProperties": 0}, {"a": 1}, "Too many: 1: must have at most 0 items"),
        (
            {"x-kubernetes-int-or-string": True},
            [],
            'Invalid value: "array": v in body must be of type integer,string: "array"',
        ),
    ],
)
def test_what_a_schema_refuses(schema: dict[str, Any], value: Any, wrong: str) -> None:
    assert told(validation.check(value, compile_schema(schema), path="v")) == [f"v: {wrong}"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "nullable": True}, None),
        ({"type": "integer"}, 3.0),
        ({"type": "number"}, 3),
        ({"type": "string", "pattern": "b"}, "abc"),
        ({"type": "string", "format": "nonsense"}, "x"),
        ({"x-kubernetes-int-or-string": True}, "80%"),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"}, {"a": 1}),
    ],
)
def test_what_a_schema_takes(schema: dict[str, Any], value: Any) -> None:
    assert validation.check(value, compile_schema(schema), path="v") == []


def test_branches_are_told_with_the_nearest_one() -> None:
    schema = {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    causes = told(
        validation.check({"a": 1, "b": 1}, compile_schema(an_object(v=schema)) and compile_schema(schema), path="v")
    )
    assert causes == [
        '<nil>: Invalid value: "": "v" must validate one and only one schema (oneOf). Found 2 valid alternatives'
    ]
    schema = {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b", "c"]}], "not": {"required": ["z"]}}
    assert told(validation.check({"z": 1}, compile_schema(schema), path="v")) == [
        '<nil>: Invalid value: "": "v" must validate at least one schema (anyOf)',
        "v.a: Required value",
        '<nil>: Invalid value: "": "v" must not validate the schema (not)',
    ]


def test_sets_and_maps_have_nothing_twice() -> None:
    schema = compile_schema(
        an_object(
            s={"type": "array", "x-kubernetes-list-type": "set", "items": STRING},
            m={
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": an_object(k=STRING, v=STRING),
            },
        )
    )
    value = {"s": ["a", "b", "a", "a"], "m": [{"k": "a"}, {"k": "b"}, {"k": "a", "v": "x"}]}
    assert told(validation.check(value, schema)) == ['s[2]: Duplicate value: "a"', 'm[2]: Duplicate value: {"k":"a"}']


def test_what_was_wrong_before_may_stay() -> None:
    items = an_object(k=STRING, v={"type": "string", "maxLength": 1})
    listed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": items}
    schema = compile_schema(an_object(a={"type": "string", "enum": ["x"]}, l=listed, b=STRING))
    old = {"a": "wrong", "l": [{"k": "1", "v": "long"}], "b": "1"}
    new = {"a": "wrong", "l": [{"k": "2", "v": "y"}, {"k": "1", "v": "long"}], "b": "2"}
    assert validation.check(new, schema, old) == []
    new["l"][1]["v"] = "longer"  # type: ignore[index]
    assert told(validation.check(new, schema, old)) == ["l[1].v: Too long: may not be more than 1 byte"]


def test_an_embedded_resource_says_what_it_is() -> None:
    schema = compile_schema(an_object(t={"type": "object", "x-kubernetes-embedded-resource": True, PRESERVE: True}))
    causes = told(validation.check({"t": {"metadata": {"labels": {"a b": "c"}}}}, schema))
    assert causes[:2] == [
        "t.apiVersion: Required value",
        "t.kind: Required value",
    ]
    assert causes[2].startswith('t.metadata.labels: Invalid value: "a b"')


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2024-01-02T03:04:05Z", "2024-01-02"),
        ("datetime", "2024-01-02T03:04:05+01:00", "yesterday"),
        ("date", "2024-01-02", "2024-13-02"),
        ("duration", "1h30m", "soon"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("ipv6", "::1", "1.2.3.4"),
        ("uri", "https://example.com/x", "not a uri"),
        ("email", "a@b.c", "a"),
        ("hostname", "example.com", "-x"),
        ("mac", "00:11:22:33:44:55", "00"),
        ("byte", "aGVsbG8=", "a"),
        ("hexcolor", "#ffaa00", "#xyz"),
        ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("isbn", "0-306-40615-2", "1"),
    ],
)
def test_formats(name: str, good: str, bad: str) -> None:
    assert fits(name, good)
    assert not fits(name, bad)


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        ({}, "s.type: Required value: must not be empty at the root"),
        ({"type": "array", "items": STRING}, 's.type: Invalid value: "array": must be object at the root'),
        (an_object(a={}), "s.properties[a].type: Required value: must not be empty for specified object fields"),
        (an_object(a={"type": "array"}), "s.properties[a].items: Required value: must be specified"),
        (an_object(a={"type": "text"}), 's.properties[a].type: Unsupported value: "text": supported values: '),
        (an_object(a={"type": "string", "$ref": "#/x"}), "s.properties[a].$ref: Forbidden: $ref is not supported"),
        (
            an_object(a={"type": "string", "anyOf": [{"type": "string"}]}),
            "s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            {"type": "object", "anyOf": [{"properties": {"a": {"minLength": 1}}}]},
            "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
        ),
        (
            an_object(a={"type": "integer", "default": "x"}),
            's.properties[a].default: Invalid value: "string":  in body must be of type integer: "string"',
        ),
        (an_object(a={"type": "object", "default": {"z": 1}}), "s.properties[a].default: Invalid value: "),
        (
            an_object(metadata={"type": "object", "properties": {"labels": {"type": "object"}}}),
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName",
        ),
        (
            an_object(a={"type": "string", PRESERVE: False}),
            f"s.properties[a].{PRESERVE}: Invalid value: false: must be true or undefined",
        ),
        (
            an_object(
                a={
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": an_object(k=STRING),
                }
            ),
            "s.properties[a].items.properties[k].default: Required value: this property is in",
        ),
        (
            an_object(a={"type": "string", "pattern": "("}),
            's.properties[a].pattern: Invalid value: "(": must be a valid',
        ),
        (
            an_object(a={"type": "object", "properties": {"b": STRING}, "additionalProperties": STRING}),
            "s.properties[a].additionalProperties: Forbidden: additionalProperties and properties are",
        ),
        (
            an_object(a={"type": "string", "x-kubernetes-validations": [{"rule": "self.x"}]}),
            "s.properties[a].x-kubernetes-validations[0].rule: Invalid value: ",
        ),
    ],
)
def test_what_is_no_structural_schema(schema: dict[str, Any], wrong: str) -> None:
    causes = told(check_schema(schema, "s", status=False))
    assert [c for c in causes if c.startswith(wrong)], causes


def test_what_stands_in_real_definitions() -> None:
    either = {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": "^[0-9]",
    }
    schema = an_object(
        spec={
            **an_object(a=either, b={"type": "array", "items": STRING, "x-kubernetes-list-type": "atomic"}),
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
            "not": {"required": ["a", "b"]},
        },
        metadata={"type": "object"},
    )
    assert check_schema(schema, "s", status=True) == []


def test_schemas_inside_of_lists_and_maps_are_decoded_too() -> None:
    inner = {"type": "string", "unknown": 1, "items": None, "maxLength": 3}
    raw = an_object(a={"type": "array", "items": inner}, b={"type": "object", "additionalProperties": True})
    assert decode_schema(raw) == ""
    assert raw["properties"]["a"]["items"] == {"type": "string", "maxLength": 3}
    inner["maxLength"] = "x"
    assert "cannot unmarshal string into Go struct field JSONSchemaProps.maxLength" in decode_schema(raw)
    assert "cannot unmarshal 5 into items" in decode_schema(an_object(a={"type": "array", "items": 5}))


def test_every_keyword_is_asked_whatever_the_type_is() -> None:
    schema = {"type": "string", "enum": ["a"], "allOf": [{"required": ["x"]}, {"required": ["y"]}, {"required": ["y"]}]}
    assert told(validation.check({}, compile_schema(schema), path="v")) == [
        'v: Invalid value: "object": v in body must be of type string: "object"',
        'v: Unsupported value: {}: supported values: "a"',
        "v.x: Required value",
        "v.y: Required value",
        '<nil>: Invalid value: "": "v" must validate all the schemas (allOf). None validated',
    ]


def test_an_embedded_resource_has_a_kind_that_can_be_one() -> None:
    schema = compile_schema(an_object(t={"type": "object", "x-kubernetes-embedded-resource": True, PRESERVE: True}))
    first, second = told(validation.check({"t": {"apiVersion": "a/b/c", "kind": "a/b"}}, schema))
    assert first == 't.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'
    assert second.startswith(
        't.kind: Invalid value: "a/b": may have mixed case, but should otherwise match: a DNS-1035'
    )
    assert told(validation.check({"t": {"apiVersion": "", "kind": "Pod"}}, schema)) == [
        't.apiVersion: Invalid value: "": must not be empty'
    ]
