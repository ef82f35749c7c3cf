"""Rules of custom kinds: what is wrong with them at definition, and what objects break them."""

from pathlib import Path
from typing import Any

import yaml

from apimachinery.schema.rule_checks import check_rules
from apimachinery.schema.rule_costs import Estimator
from apimachinery.schema.rule_types import Types
from apimachinery.schema.rules import compile_rules, syntax_tree

Object = dict[str, Any]
ITEM: Object = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "v": {"type": "integer"}},
    "x-kubernetes-validations": [
        {
            "rule": "self.v >= oldSelf.v",
            "messageExpression": "'shrunk to %d'.format([self.v])",
            "fieldPath": ".v",
            "reason": "FieldValueForbidden",
        }
    ],
}
SPEC: Object = {
    "x": {"type": "integer"},
    "y": {"type": "integer"},
    "at": {"type": "string", "format": "date-time"},
    "ratio": {"type": "number"},
    "data": {"type": "string", "format": "byte"},
    "port": {"x-kubernetes-int-or-string": True},
    "my-name": {"type": "string"},
    "fooBar": {"type": "string"},
    "foo_bar": {"type": "string"},
    "items": {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": ITEM,
    },
    "extra": {
        "type": "object",
        "additionalProperties": {"type": "string", "x-kubernetes-validations": [{"rule": "self.size() < 3"}]},
    },
}


def schema(*rules: Object, root: tuple[Object, ...] = ()) -> Object:
    spec = {"type": "object", "properties": SPEC, "x-kubernetes-validations": list(rules)}
    return {"type": "object", "properties": {"spec": spec}, "x-kubernetes-validations": list(root)}


def broken(rules: Object, spec: Object, old: Object | None = None) -> list[tuple[str, str]]:
    obj: Object = {"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"}, "spec": spec}
    before = {**obj, "spec": old} if old is not None else None
    return [(c.field, c.message) for c in compile_rules(rules).check(obj, before)]


def test_a_broken_rule_is_told_with_its_place() -> None:
    rules = schema({"rule": "self.x + self.y > 0"}, {"rule": "self.x < 10", "message": "too much", "fieldPath": ".x"})
    assert broken(rules, {"x": 1, "y": 0}) == []
    assert broken(rules, {"x": 0, "y": 0}) == [("spec", 'Invalid value: "object": failed rule: self.x + self.y > 0')]
    assert broken(rules, {"x": 10, "y": 0}) == [("spec.x", 'Invalid value: "object": too much')]


def test_values_have_the_types_of_the_schema() -> None:
    rules = schema(
        {"rule": "self.at < timestamp('2030-01-01T00:00:00Z') && self.ratio / 2.0 == 1.5 && self.data == b'hi'"},
        {"rule": "self.my__dash__name == 'a' && (self.port == 5 || self.port == '5')"},
        root=({"rule": "self.metadata.name == 'n' && self.kind == 'K'"},),
    )
    spec = {"at": "2029-12-31T23:00:00-00:30", "ratio": 3, "data": "aGk=", "my-name": "a", "port": "5"}
    assert broken(rules, spec) == []


def test_names_in_texts_and_fields_are_left_alone() -> None:
    member = {"type": "object", "properties": {"self": {"type": "string"}, "b": {"type": "string"}}}
    rule = """self.self == 'self' && self . self == "oldSelf".replace('oldSelf', r'self') && self.b == 'it\\'s self'"""
    spec = {**member, "x-kubernetes-validations": [{"rule": rule}]}
    rules = {"type": "object", "properties": {"spec": spec}}
    assert check_rules(rules, "schema") == []
    assert broken(rules, {"self": "self", "b": "it's self"}) == []


def test_transition_rules_need_an_old_value() -> None:
    rules = schema(
        {"rule": "self.x >= oldSelf.x"}, {"rule": "oldSelf.hasValue() || self.x == 1", "optionalOldSelf": True}
    )
    assert broken(rules, {"x": 1}) == []
    assert broken(rules, {"x": 1}, {"x": 2}) == [("spec", 'Invalid value: "object": failed rule: self.x >= oldSelf.x')]
    assert len(broken(rules, {"x": 2})) == 1


def test_items_of_a_map_list_correspond_by_key() -> None:
    spec = {"items": [{"name": "b", "v": 1}, {"name": "a", "v": 1}]}
    old = {"items": [{"name": "a", "v": 2}]}
    assert broken(schema(), spec, old) == [("spec.items[1].v", "Forbidden: shrunk to 1")]


def test_what_did_not_change_is_not_held_against_an_update() -> None:
    spec = {"extra": {"k": "long"}, "x": 1}
    assert broken(schema(), spec) == [("spec.extra[k]", 'Invalid value: "string": failed rule: self.size() < 3')]
    assert broken(schema(), {**spec, "x": 2}, spec) == []


def test_order_does_not_count_in_sets_and_maps() -> None:
    words = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}
    pairs = {**SPEC["items"], "items": {**ITEM, "x-kubernetes-validations": []}}
    spec = {"type": "object", "properties": {"a": words, "b": words, "c": pairs, "d": pairs}}
    spec["x-kubernetes-validations"] = [
        {"rule": "self.a == self.b && self.a + self.b == self.a && (self.a + ['z']).size() == 3"},
        {"rule": "self.c == self.d && (self.c + [self.d[0]]).size() == 2"},
        {"rule": "(self.c + self.d.map(p, p)).map(p, p.name) == ['x', 'y']"},
    ]
    rules = {"type": "object", "properties": {"spec": spec}}
    one, two = {"name": "x", "v": 1}, {"name": "y", "v": 2}
    assert broken(rules, {"a": ["p", "q"], "b": ["q", "p"], "c": [one, two], "d": [two, one]}) == []


def test_errors_at_run_time_break_a_rule() -> None:
    assert broken(schema({"rule": "self.x > 0"}), {}) == [
        ("spec", 'Invalid value: "object": no such key: x evaluating rule: self.x > 0')
    ]
    costly = {"type": "object", "properties": {"l": {"type": "array", "items": {"type": "integer"}}}}
    costly["x-kubernetes-validations"] = [{"rule": "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c > 0)))"}]
    (cause,) = compile_rules(costly).check({"l": [1] * 500})
    assert "no further validation rules will be run due to call cost exceeds limit for rule" in cause.message


def test_definitions_are_checked() -> None:
    def told(rule: Object) -> list[tuple[str, str]]:
        found = check_rules(schema(rule), "schema")
        return [(c.field.removeprefix("schema.properties[spec].x-kubernetes-validations[0]"), c.message) for c in found]

    assert told({"rule": "self.x > 0"}) == []
    (((field, message)),) = told({"rule": "self.z == 100"})
    assert field == ".rule"
    assert "compilation failed: ERROR: <input>:1:5: undefined field 'z'\n | self.z == 100" in message
    assert "Syntax error" in told({"rule": "self.x +"})[0][1]
    assert "must evaluate to bool" in told({"rule": "self.x"})[0][1]
    assert told({"rule": ""}) == [(".rule", "Required value: rule is not specified")]
    assert told({"rule": "true", "fieldPath": ".nope"})[0][0] == ".fieldPath"
    assert told({"rule": "true", "messageExpression": "1"})[0][0] == ".messageExpression"
    assert told({"rule": "true", "reason": "Because"})[0][0] == ".reason"


def test_old_values_are_refused_where_none_corresponds() -> None:
    rules = {"type": "object", "properties": {"l": {"type": "array", "items": ITEM}}}
    (cause,) = check_rules(rules, "schema")
    told = "oldSelf cannot be used on the uncorrelatable portion of the schema within schema.properties[l]"
    assert cause.message.endswith(told)


def test_rules_that_may_cost_too_much_are_refused() -> None:
    def told(items: Object, rule: str, **limits: int) -> list[str]:
        member = {"type": "array", "items": items, **limits}
        spec = {"type": "object", "properties": {"x": member}, "x-kubernetes-validations": [{"rule": rule}]}
        return [c.message for c in check_rules({"type": "object", "properties": {"spec": spec}}, "schema")]

    each, pairs = "self.x.all(a, a.startsWith('b'))", "self.x.all(a, self.x.all(b, a != b))"
    assert told({"type": "string"}, "self.x.size() < 10") == []
    assert told({"type": "string", "maxLength": 10}, each, maxItems=1000) == []
    cause, contributed, total = told({"type": "string"}, pairs)
    assert "contributed to estimated rule cost total" in contributed
    assert "estimated rule cost total for entire OpenAPIv3 schema exceeds budget" in total
    assert cause == (
        "Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or "
        "adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
    assert told({"type": "string", "maxLength": 10}, pairs, maxItems=100) == []
    inner = {"type": "string", "x-kubernetes-validations": [{"rule": "self.contains('abcdefghijkl')"}]}
    assert "exceeds budget" in told(inner, "true")[0]
    assert told({**inner, "maxLength": 10}, "true", maxItems=10) == []


def test_costs_are_estimated_as_upstream_does() -> None:
    """But one: ``optMap`` is 10 dearer in the library that these figures are from, which is newer than upstream's."""
    told = yaml.safe_load(Path(__file__).with_name("rule_costs.yaml").read_text())
    types = Types()
    cel_type = types.prepare(told["schema"])
    found = {}
    for rule in told["costs"]:
        tree = syntax_tree({"rule": rule}, "rule", cel_type, types)
        found[rule] = Estimator(tree, told["schema"]).estimate(tree.expr).cost
    assert found == told["costs"]


def test_a_message_of_unknown_length_is_refused() -> None:
    """As upstream does, github.com/kubernetes/kubernetes/issues/124234: ``format`` is what works."""
    rule = {"rule": "self.v > 0", "messageExpression": "'is ' + string(self.v)"}
    value = {"type": "object", "properties": {"v": {"type": "integer"}}, "x-kubernetes-validations": [rule]}
    cause, *_ = check_rules({"type": "object", "properties": {"spec": value}}, "schema")
    assert cause.field.endswith(".messageExpression")
    assert "estimated messageExpression cost exceeds budget by factor of more than 100x" in cause.message
