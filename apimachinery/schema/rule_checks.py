"""What is wrong with the rules of a schema, said when it is defined.

Source: ``k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from apimachinery import cel
from apimachinery.errors import Cause

from .rule_costs import DEFINITION_LIMIT, MOST, RULE_LIMIT, Estimator, exceeded
from .rule_sizes import REQUEST_BYTES, resource, smallest
from .rule_types import Types
from .rules import RULES, Rule, compile_rule, has_rules, syntax_tree

Raw = Mapping[str, Any]
_CONTRIBUTED = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
_MOST_TOLD = 4
REASONS = ("FieldValueRequired", "FieldValueForbidden", "FieldValueInvalid", "FieldValueDuplicate")


@dataclass(slots=True)
class _Place:
    """Where rules stand. ``often`` is how many such values an object may have, None as many as fit; ``unsteady`` is the
    path of the innermost list or map around whose members have no certain old value."""

    raw: Raw
    spine: Raw
    path: str
    often: int | None = 1
    unsteady: str = ""
    is_root: bool = False

    def inside(self, raw: Raw, spine: Raw, step: str, *, many: str = "", unsteady: str = "") -> "_Place":
        often = self.often
        if many:
            often = often * int(self.spine[many]) if often is not None and many in self.spine else None
        return _Place(raw, spine, f"{self.path}.{step}", often, self.unsteady or unsteady)


def check_rules(schema: Raw, path: str) -> list[Cause]:
    """One cause for everything that is wrong with the rules of an ``openAPIV3Schema``, which stands at ``path``."""
    if not has_rules(schema):
        return []
    return _Check().all(schema, path)


class _Check:
    def __init__(self) -> None:
        self._types = Types()
        self._costs: list[tuple[int, str]] = []

    def all(self, schema: Raw, path: str) -> list[Cause]:
        cel_type = self._types.prepare(schema, resource=True)
        causes = list(self._check(_Place(schema, schema, path, is_root=True), cel_type))
        return [*causes, *self._too_much(path)]

    def _too_much(self, path: str) -> Iterator[Cause]:
        """Whether all rules together cost too much, and which contribute most to that."""
        total = min(sum(cost for cost, _ in self._costs), MOST)
        told = exceeded(total, DEFINITION_LIMIT, f"{RULES} estimated rule cost total for entire OpenAPIv3 schema")
        if not told:
            return
        costly = sorted((c for c in self._costs if c[0] >= DEFINITION_LIMIT // 100), key=lambda c: -c[0])
        for _, place in costly[:_MOST_TOLD]:
            yield Cause("FieldValueForbidden", f"Forbidden: {_CONTRIBUTED}", place)
        yield Cause("FieldValueForbidden", f"Forbidden: {told}", path)

    def _check(self, at: _Place, cel_type: str) -> Iterator[Cause]:
        for index, rule in enumerate(at.raw.get(RULES) or ()):
            yield from _form(rule, at.spine, f"{at.path}.{RULES}[{index}]")
            if str(rule.get("rule") or "").strip():
                yield from self._compile(rule, f"{at.path}.{RULES}[{index}]", at, cel_type)
        for index, part in enumerate(at.raw.get("allOf") or ()):
            yield from self._check(at.inside(part, at.spine, f"allOf[{index}]"), cel_type)
        for place in _below(at):
            if has_rules(place.raw):
                yield from self._check(place, self._types.declare(place.spine))

    def _compile(self, rule: Raw, path: str, at: _Place, cel_type: str) -> Iterator[Cause]:
        for part in ("rule", "messageExpression"):
            if not rule.get(part):
                continue
            try:
                made = compile_rule({**rule, "messageExpression": rule.get(part) if part != "rule" else None}, cel_type,
                                    self._types)  # fmt: skip
            except cel.CompilationError as error:
                yield _invalid(f"{path}.{part}", rule if part == "rule" else rule[part], error.told)
                return
            cost = self._cost(rule, part, at, cel_type)
            self._costs.append((cost, f"{path}.{part}"))
            if told := exceeded(cost, RULE_LIMIT, f"estimated {part} cost"):
                yield Cause("FieldValueForbidden", f"Forbidden: {told}", f"{path}.{part}")
            if part == "rule":
                yield from _old_value(rule, path, made, at.unsteady)

    def _cost(self, rule: Raw, part: str, at: _Place, cel_type: str) -> int:
        """Of a rule, as often as it may be asked, or of its message."""
        tree = syntax_tree(rule, part, cel_type, self._types)
        whole = at.is_root or at.spine.get("x-kubernetes-embedded-resource")
        root = resource(at.spine) if whole else at.spine
        cost = Estimator(tree, root).estimate(tree.expr).cost
        if part == "rule":
            cost *= at.often if at.often is not None else REQUEST_BYTES // (smallest(root) + 1)
        return min(cost, MOST)


def _below(at: _Place) -> Iterator[_Place]:
    raw, spine = at.raw, at.spine
    atomic = at.path if spine.get("x-kubernetes-map-type") == "atomic" else ""
    for name, member in (raw.get("properties") or {}).items():
        known = (spine.get("properties") or {}).get(name)
        if known is not None:
            yield at.inside(member, known, f"properties[{name}]", unsteady=atomic)
    extra, items = raw.get("additionalProperties"), raw.get("items")
    if isinstance(extra, Mapping) and isinstance(spine.get("additionalProperties"), Mapping):
        known = spine["additionalProperties"]
        yield at.inside(extra, known, "additionalProperties", many="maxProperties", unsteady=atomic)
    if isinstance(items, Mapping) and isinstance(spine.get("items"), Mapping):
        unsteady = "" if spine.get("x-kubernetes-list-type") == "map" else at.path
        yield at.inside(items, spine["items"], "items", many="maxItems", unsteady=unsteady)


def _form(rule: Raw, schema: Raw, path: str) -> Iterator[Cause]:
    """What is wrong with a rule besides its expressions."""
    text, message = str(rule.get("rule") or ""), rule.get("message")
    if not text.strip():
        yield Cause("FieldValueRequired", "Required value: rule is not specified", f"{path}.rule")
        return
    if message is not None and not message.strip():
        yield _invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif message and "\n" in message:
        yield _invalid(f"{path}.message", message, "message must not contain line breaks")
    elif not message and not rule.get("messageExpression") and "\n" in text.strip():
        told = "message must be specified if rule contains line breaks"
        yield Cause("FieldValueRequired", f"Required value: {told}", f"{path}.message")
    if rule.get("reason") and rule["reason"] not in REASONS:
        listed = ", ".join(f'"{r}"' for r in sorted(REASONS))
        told = f"Unsupported value: {orjson.dumps(rule['reason']).decode()}: supported values: {listed}"
        yield Cause("FieldValueNotSupported", told, f"{path}.reason")
    if rule.get("fieldPath") and not _leads_somewhere(str(rule["fieldPath"]), schema):
        yield _invalid(f"{path}.fieldPath", rule["fieldPath"], "fieldPath must be a valid path")


def _old_value(rule: Raw, path: str, made: Rule, unsteady: str) -> Iterator[Cause]:
    if made.transition and unsteady:
        told = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {unsteady}"
        yield _invalid(f"{path}.rule", rule["rule"], told)
    if rule.get("optionalOldSelf") and not made.transition:
        yield _invalid(f"{path}.optionalOldSelf", True, "may not be set if oldSelf is not used in rule")


def _leads_somewhere(field_path: str, schema: Raw) -> bool:
    """Whether a path such as ``.spec.items['a.b']`` names fields of the schema."""
    rest = field_path
    while rest:
        if rest.startswith("['") and "']" in rest:
            name, _, rest = rest[2:].partition("']")
        elif rest.startswith("."):
            end = min((i for i in (rest.find(c, 1) for c in ".[") if i > 0), default=len(rest))
            name, rest = rest[1:end], rest[end:]
        else:
            return False
        extra = schema.get("additionalProperties")
        found = (schema.get("properties") or {}).get(name, extra if isinstance(extra, Mapping) else None)
        if found is None:
            return False
        schema = found
    return True


def _invalid(path: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {orjson.dumps(value).decode()}: {detail}", path)
