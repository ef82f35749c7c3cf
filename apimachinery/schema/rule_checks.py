"""What is wrong with the rules of a schema, said when it is defined.

Source: ``k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from apimachinery import cel
from apimachinery.errors import Cause

from .rule_types import Types
from .rules import RULES, Rule, compile_rule, has_rules

Raw = Mapping[str, Any]
REASONS = ("FieldValueRequired", "FieldValueForbidden", "FieldValueInvalid", "FieldValueDuplicate")


def check_rules(schema: Raw, path: str) -> list[Cause]:
    """One cause for everything that is wrong with the rules of an ``openAPIV3Schema``, which stands at ``path``."""
    if not has_rules(schema):
        return []
    types = Types()
    return list(_check(schema, schema, path, types, types.declare(schema, resource=True), ""))


def _check(raw: Raw, spine: Raw, path: str, types: Types, cel_type: str, unsteady: str) -> Iterator[Cause]:
    """``unsteady`` is the path of the innermost list or map around whose members have no certain old value."""
    for index, rule in enumerate(raw.get(RULES) or ()):
        yield from _check_rule(rule, spine, f"{path}.{RULES}[{index}]", types, cel_type, unsteady)
    for index, part in enumerate(raw.get("allOf") or ()):
        yield from _check(part, spine, f"{path}.allOf[{index}]", types, cel_type, unsteady)
    here = unsteady or (path if spine.get("x-kubernetes-map-type") == "atomic" else "")
    for name, member in (raw.get("properties") or {}).items():
        known = (spine.get("properties") or {}).get(name)
        if known is not None:
            yield from _inside(member, known, f"{path}.properties[{name}]", types, here)
    if isinstance(raw.get("additionalProperties"), Mapping):
        member, known = raw["additionalProperties"], spine["additionalProperties"]
        yield from _inside(member, known, f"{path}.additionalProperties", types, here)
    if isinstance(raw.get("items"), Mapping) and isinstance(spine.get("items"), Mapping):
        steady = spine.get("x-kubernetes-list-type") == "map"
        yield from _inside(raw["items"], spine["items"], f"{path}.items", types, unsteady if steady else path)


def _inside(raw: Raw, spine: Raw, path: str, types: Types, unsteady: str) -> Iterator[Cause]:
    if has_rules(raw):
        yield from _check(raw, spine, path, types, types.declare(spine), unsteady)


def _check_rule(rule: Raw, schema: Raw, path: str, types: Types, cel_type: str, unsteady: str) -> Iterator[Cause]:
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
    yield from _compile(rule, path, types, cel_type, unsteady)


def _compile(rule: Raw, path: str, types: Types, cel_type: str, unsteady: str) -> Iterator[Cause]:
    for part in ("rule", "messageExpression"):
        if not rule.get(part):
            continue
        try:
            made: Rule = compile_rule({"messageExpression": None, **rule} if part != "rule" else
                                      {**rule, "messageExpression": None}, cel_type, types)  # fmt: skip
        except cel.CompilationError as error:
            yield _invalid(f"{path}.{part}", rule if part == "rule" else rule[part], error.told)
            return
        if part != "rule":
            continue
        if made.transition and unsteady:
            told = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {unsteady}"
            yield _invalid(f"{path}.rule", rule["rule"], told)
        if rule.get("optionalOldSelf") and not made.transition:
            told = "may not be set if oldSelf is not used in rule"
            yield _invalid(f"{path}.optionalOldSelf", True, told)


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
