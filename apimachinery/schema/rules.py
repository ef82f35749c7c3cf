"""``x-kubernetes-validations``: the rules of a custom kind's schema, checked when it is defined, kept when it is used.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules,
``k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from apimachinery import cel
from apimachinery.errors import Cause

from .rule_types import Types

if TYPE_CHECKING:
    from apimachinery.cel.program import Program

Object = dict[str, Any]
Raw = Mapping[str, Any]

RULES = "x-kubernetes-validations"
MAX_MESSAGE = 5 * 1024
MISSING: Any = object()
"""The old value where there is none to compare with."""

_REASONS = {
    "FieldValueForbidden": "Forbidden: {detail}",
    "FieldValueRequired": "Required value: {detail}",
    "FieldValueDuplicate": 'Duplicate value: "{type}"',
    "FieldValueInvalid": 'Invalid value: "{type}": {detail}',
}


@dataclass(frozen=True, slots=True)
class Rule:
    """``names`` are what its programs call ``self`` and ``oldSelf``. ``transition``: it compares with the old value,
    and is kept only where there is one, or if that is optional."""

    raw: Raw
    program: "Program"
    message: "Program | None"
    names: tuple[str, str]
    transition: bool
    optional_old: bool

    @property
    def text(self) -> str:
        return str(self.raw.get("message") or self.raw["rule"]).strip()


@dataclass(slots=True)
class Node:
    """The rules of one value, and of what is inside. Parts without any rule are absent. ``unordered``: there are lists
    inside whose order does not count."""

    raw: Raw
    unordered: bool
    rules: list[Rule] = field(default_factory=list)
    properties: dict[str, "Node"] = field(default_factory=dict)
    extra: "Node | None" = None
    items: "Node | None" = None
    all_of: list["Node"] = field(default_factory=list)

    def any(self) -> bool:
        return bool(self.rules or self.properties or self.extra or self.items or self.all_of)


class Rules:
    """The rules of a schema; nothing is loaded or done for a schema that has none."""

    def __init__(self, root: Node | None) -> None:
        self._root = root

    def __bool__(self) -> bool:
        return self._root is not None

    def check(self, obj: Object, old: Object | None = None, budget: cel.Budget | None = None) -> list[Cause]:
        """Every rule that ``obj`` breaks. What an update leaves as it was is not checked again. ``budget``: None is
        one object's."""
        if self._root is None:
            return []
        causes: list[Cause] = []
        budget = budget or cel.Budget(cel.OBJECT_BUDGET)
        try:
            for cause in _check(self._root, "", obj, MISSING if old is None else old, budget):
                causes.append(cause)  # noqa: PERF402 - those found before the budget ends count
        except _Exhausted as error:
            causes.append(error.cause)
        return causes


def compile_rules(schema: Raw) -> Rules:
    """The rules of an ``openAPIV3Schema`` whose rules have been found right by ``check_rules``. Raises
    CompilationError."""
    if not has_rules(schema):
        return Rules(None)
    types = Types()
    root = _compile(schema, schema, types.prepare(schema, resource=True), types)
    return Rules(root if root.any() else None)


def has_rules(schema: Any) -> bool:
    """Whether there are rules anywhere in a schema."""
    if isinstance(schema, Mapping):
        return bool(schema.get(RULES)) or any(map(has_rules, schema.values()))
    return isinstance(schema, list) and any(map(has_rules, schema))


def _compile(raw: Raw, spine: Raw, cel_type: str, types: Types) -> Node:
    """``spine`` is the schema that says what the value is; ``raw`` may be one of its ``allOf``."""
    node = Node(spine, _has_unordered(spine), [compile_rule(rule, cel_type, types) for rule in raw.get(RULES) or ()])
    for name, member in (raw.get("properties") or {}).items():
        known = (spine.get("properties") or {}).get(name)
        if known is not None and (made := _inner(member, known, types)):
            node.properties[name] = made
    for key, attribute in (("additionalProperties", "extra"), ("items", "items")):
        if isinstance(raw.get(key), Mapping) and isinstance(spine.get(key), Mapping):
            setattr(node, attribute, _inner(raw[key], spine[key], types))
    node.all_of = [n for part in raw.get("allOf") or () if (n := _compile(part, spine, cel_type, types)).any()]
    return node


def _inner(raw: Raw, spine: Raw, types: Types) -> Node | None:
    if not has_rules(raw):
        return None
    node = _compile(raw, spine, types.declare(spine), types)
    return node if node.any() else None


def compile_rule(rule: Raw, cel_type: str, types: Types) -> Rule:
    """Raises CompilationError."""
    names, optional = types.names(cel_type), bool(rule.get("optionalOldSelf"))

    def make(part: str, result: str) -> "Program":
        try:
            translated = names.translate(rule[part], optional)
            return cel.compile(translated, types.variables, result=result, messages=types.messages)
        except cel.CompilationError as error:
            raise cel.CompilationError(names.restore(str(error))) from None

    program = make("rule", "bool")
    message = make("messageExpression", "string") if rule.get("messageExpression") else None
    old = names.optional_old if optional else names.old
    return Rule(rule, program, message, (names.own, old), old in program.variables, optional)


def syntax_tree(rule: Raw, part: str, cel_type: str, types: Types) -> Any:
    """Of the rule's expression, or of its ``messageExpression``."""
    from apimachinery.cel import checker

    names, optional = types.names(cel_type), bool(rule.get("optionalOldSelf"))
    text = names.translate(rule[part], optional)
    return checker.check(text, types.variables, types.messages).tree


class _Exhausted(Exception):
    def __init__(self, cause: Cause) -> None:
        super().__init__()
        self.cause = cause


def _check(node: Node, path: str, value: Any, old: Any, budget: cel.Budget) -> Iterator[Cause]:
    """Depth first. ``old`` is MISSING where no old value corresponds."""
    if value is None:
        return
    unchanged = old is not MISSING and old == value
    for rule in node.rules:
        if not (unchanged and not rule.transition):
            yield from _keep(rule, node, path, value, old, budget)
    for part in node.all_of:
        yield from _check(part, path, value, old, budget)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) and node.raw.get("x-kubernetes-map-type") != "atomic" else {}
        for key, member in value.items():
            inner = node.properties.get(key, node.extra)
            if inner is not None:
                place = f"{path}.{key}" if key in node.properties else f"{path}[{key}]"
                yield from _check(inner, place.lstrip("."), member, before.get(key, MISSING), budget)
    elif isinstance(value, list) and node.items is not None:
        correspond = _correspondents(node.raw, old)
        for index, item in enumerate(value):
            yield from _check(node.items, f"{path}[{index}]", item, correspond(item, index, unchanged), budget)


def _correspondents(raw: Raw, old: Any) -> Any:
    """Finds an item's old value: by its keys in a list that is a map; by its place in a list that has not changed."""
    keys = raw.get("x-kubernetes-list-map-keys") or ()
    known: dict[tuple[Any, ...], Any] = {}
    if raw.get("x-kubernetes-list-type") == "map" and isinstance(old, list):
        known = {_key(item, keys): item for item in old if isinstance(item, dict)}

    def find(item: Any, index: int, unchanged: bool) -> Any:
        if known and isinstance(item, dict):
            return known.get(_key(item, keys), MISSING)
        return old[index] if unchanged else MISSING

    return find


def _key(item: Object, keys: Any) -> tuple[Any, ...]:
    return tuple(str(item.get(k)) for k in keys)


def _keep(rule: Rule, node: Node, path: str, value: Any, old: Any, budget: cel.Budget) -> Iterator[Cause]:
    if rule.transition and old is MISSING and not rule.optional_old:
        return
    shown = str(node.raw.get("type") or "")
    if node.unordered:
        value, old = _typed(value, node.raw), old if old is MISSING else _typed(old, node.raw)
    try:
        values = {rule.names[0]: value, rule.names[1]: _old(rule, old)}
        if rule.program.evaluate(values, budget) is not True:
            yield _broken(rule, path, shown, values, budget)
    except cel.BudgetExceeded as error:
        spent = "validation failed due to running out of cost budget, no further validation rules will be run"
        limit = (
            f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.text}"
        )
        raise _Exhausted(invalid(path, shown, spent if budget.left < 0 else limit)) from error
    except cel.EvaluationError as error:
        if str(error).startswith("no such overload"):
            told = "call arguments did not match a supported operator, function or macro signature for rule"
            yield invalid(path, shown, f"'{error}': {told}: {rule.text}")
        else:
            yield invalid(path, shown, f"{error} evaluating rule: {rule.text}")


def _has_unordered(schema: Any) -> bool:
    """Whether a list in a schema is a set or a map."""
    if not isinstance(schema, Mapping):
        return False
    if schema.get("x-kubernetes-list-type") in ("set", "map"):
        return True
    inner = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return any(map(_has_unordered, inner))


def _typed(value: Any, schema: Any) -> Any:
    """A value whose lists compare and add up as its schema says."""
    from apimachinery.cel.values import Unordered

    if not isinstance(schema, Mapping) or not isinstance(value, dict | list):
        return value
    if isinstance(value, dict):
        members, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        return {k: _typed(v, members.get(k, extra)) for k, v in value.items()}
    items = [_typed(v, schema.get("items")) for v in value]
    if schema.get("x-kubernetes-list-type") not in ("set", "map"):
        return items
    return Unordered(items, schema.get("x-kubernetes-list-map-keys") or ())


def _old(rule: Rule, old: Any) -> Any:
    if not rule.optional_old:
        return None if old is MISSING else old
    from apimachinery.cel.values import NONE, Optional

    return NONE if old is MISSING else Optional.of(old)


def _broken(rule: Rule, path: str, shown: str, values: Object, budget: cel.Budget) -> Cause:
    reason = rule.raw.get("reason") or "FieldValueInvalid"
    detail = _message(rule, values, budget)
    place = (path + str(rule.raw.get("fieldPath") or "")).lstrip(".")
    return Cause(reason, _REASONS[reason].format(type=shown, detail=detail), place)


def _message(rule: Rule, values: Object, budget: cel.Budget) -> str:
    """The evaluated message if there is a usable one, else the written one, else the rule itself."""
    if rule.message is not None:
        try:
            told = str(rule.message.evaluate(values, budget)).strip()
            if told and "\n" not in told and len(told) <= MAX_MESSAGE:
                return told
        except cel.BudgetExceeded:
            raise
        except cel.EvaluationError:
            pass  # upstream: the message falls back, the rule has failed all the same
    return rule.text if rule.raw.get("message") else f"failed rule: {rule.text}"


def invalid(path: str, shown: str, detail: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "{shown}": {detail}', path)
