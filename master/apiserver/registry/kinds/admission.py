"""Admission policies and their bindings: defaults, and what is wrong with them; every expression is compiled.

Source: ``k8s.io/kubernetes/pkg/apis/admissionregistration/validation``.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from apimachinery import validation
from apimachinery.cel import CompilationError
from apimachinery.cel.names import RESERVED

from ...admission.policies.environment import Environment
from ...admission.policies.mutating import FIELDS, RESULTS
from ...admission.policies.scope import environment_of
from ..strategy import Column, Strategy
from .causes import Causes, duplicate, each_invalid, forbidden, invalid, not_supported, one_of, required, too_many
from .metadata import validate_label_selector
from .pod_defaults import set_default
from .printing import AGE, NAME, at, number, text
from .webhooks import default_match, validate_match_conditions, validate_rule, validate_selectors

Object = dict[str, Any]
MAX_ANNOTATIONS = 20
MAX_ANNOTATION_EXPRESSION = 5 * 1024
ACTIONS = ("Audit", "Deny", "Warn")
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")


def _param_kind(policy: Object) -> object:
    kind = at(policy, "spec.paramKind")
    return f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else "<unset>"


def _policy_columns(rules: str) -> tuple[Column, ...]:
    return (
        NAME,
        number(
            rules,
            lambda p: len(at(p, f"spec.{rules.lower()}", ())),
            f"{rules} indicates the number of {rules.lower()} rules defined.",
        ),
        text("ParamKind", _param_kind, "ParamKind specifies the kind of resources used to parameterize this policy"),
        AGE,
    )


class _PolicyStrategy(Strategy):
    unconditional_update = False
    patches: ClassVar[bool] = False

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        set_default(spec, "failurePolicy", "Fail")
        if spec.get("matchConstraints") is not None:
            default_match(spec["matchConstraints"])

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        causes = one_of("spec.failurePolicy", spec.get("failurePolicy"), ("Fail", "Ignore"), optional=False)
        if spec.get("paramKind") is not None:
            causes += _validate_param_kind(spec["paramKind"])
        match = spec.get("matchConstraints")
        if match is None:
            causes.append(required("spec.matchConstraints"))
        else:
            causes += _validate_match(match, "spec.matchConstraints")
            if not match.get("resourceRules"):
                causes.append(required("spec.matchConstraints.resourceRules"))
        params = bool(spec.get("paramKind"))
        causes += validate_match_conditions(spec.get("matchConditions") or (), "spec.matchConditions", params=params)
        environment = environment_of(spec, patches=self.patches)
        causes += _validate_variables(spec, environment)
        return causes + self._validate_rules(obj, spec, environment)

    def _validate_rules(self, obj: Object, spec: Object, environment: Environment) -> Causes:
        raise NotImplementedError


class ValidatingPolicyStrategy(_PolicyStrategy):
    status_zeros: ClassVar[Mapping[str, Any] | None] = {}
    columns = _policy_columns("Validations")

    def _validate_rules(self, obj: Object, spec: Object, environment: Environment) -> Causes:
        validations, annotations = (spec.get(k) or () for k in ("validations", "auditAnnotations"))
        if not validations and not annotations:
            told = "validations or auditAnnotations must contain at least one item"
            return [required("spec.validations", told), required("spec.auditAnnotations", told)]
        causes: Causes = []
        for index, rule in enumerate(validations):
            causes += _validate_validation(rule, f"spec.validations[{index}]", environment)
        if len(annotations) > MAX_ANNOTATIONS:
            causes.append(too_many("spec.auditAnnotations", len(annotations), MAX_ANNOTATIONS))
        keys: set[str] = set()
        for index, annotation in enumerate(annotations):
            field, key = f"spec.auditAnnotations[{index}]", annotation.get("key") or ""
            name = f"{at(obj, 'metadata.name', '')}/{key}"
            causes += each_invalid(f"{field}.key", name, validation.qualified_name(name))
            causes += [duplicate(f"{field}.key", key)] if key in keys else []
            keys.add(key)
            value = annotation.get("valueExpression") or ""
            if len(value.strip()) > MAX_ANNOTATION_EXPRESSION:
                told = f"must not exceed {MAX_ANNOTATION_EXPRESSION} bytes in length"
                causes.append(required(f"{field}.valueExpression", told))
            else:
                causes += _compile(environment, value, f"{field}.valueExpression")
        return causes


class MutatingPolicyStrategy(_PolicyStrategy):
    columns = _policy_columns("Mutations")
    patches = True

    def default(self, obj: Object) -> None:
        super().default(obj)
        set_default(obj["spec"], "reinvocationPolicy", "Never")

    def _validate_rules(self, obj: Object, spec: Object, environment: Environment) -> Causes:
        reinvocation, field = spec.get("reinvocationPolicy"), "spec.mutations"
        causes = one_of("spec.reinvocationPolicy", reinvocation, ("IfNeeded", "Never"), optional=False)
        if not spec.get("mutations"):
            causes.append(required(field, "mutations must contain at least one item"))
        for index, mutation in enumerate(spec.get("mutations") or ()):
            causes += _validate_mutation(mutation, f"{field}[{index}]", environment)
        return causes


class ValidatingBindingStrategy(Strategy):
    unconditional_update = False
    columns = (
        NAME,
        text("PolicyName", "spec.policyName", "The policy this binding is for."),
        text("ParamRef", lambda b: at(b, "spec.paramRef.name", "<unset>"), "The parameter resource."),
        AGE,
    )

    def default(self, obj: Object) -> None:
        match = at(obj, "spec.matchResources")
        if match is not None:
            default_match(match)

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        name = spec.get("policyName") or ""
        causes = (
            each_invalid("spec.policyName", name, validation.dns_subdomain(name))
            if name
            else [required("spec.policyName")]
        )
        if spec.get("paramRef") is not None:
            causes += _validate_param_ref(spec["paramRef"])
        if spec.get("matchResources") is not None:
            causes += _validate_match(spec["matchResources"], "spec.matchResources")
        return causes + self._validate_actions(spec)

    def _validate_actions(self, spec: Object) -> Causes:
        field, actions = "spec.validationActions", spec.get("validationActions") or []
        causes = [not_supported(f"{field}[{i}]", a, ACTIONS) for i, a in enumerate(actions) if a not in ACTIONS]
        causes += [duplicate(f"{field}[{i}]", a) for i, a in enumerate(actions) if a in actions[:i]]
        if "Deny" in actions and "Warn" in actions:
            told = (
                "must not contain both Deny and Warn (repeating the same validation failure information in the "
                "API response and headers serves no purpose)"
            )
            causes.append(invalid(field, actions, told))
        return causes if actions else [required(field, "at least one validation action is required")]


class MutatingBindingStrategy(ValidatingBindingStrategy):
    def _validate_actions(self, spec: Object) -> Causes:
        return []


def _validate_param_kind(kind: Object) -> Causes:
    field, version, name = "spec.paramKind", kind.get("apiVersion") or "", kind.get("kind") or ""
    causes: Causes = []
    if not version:
        causes.append(required(f"{field}.apiVersion"))
    elif version.count("/") > 1:
        causes.append(invalid(f"{field}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    else:
        group, _, short = version.rpartition("/")
        causes += each_invalid(f"{field}.apiVersion", group, validation.dns_subdomain(group)) if group else []
        causes += each_invalid(f"{field}.apiVersion", short, validation.dns_1035_label(short))
    if not name:
        causes.append(required(f"{field}.kind"))
    return causes + [
        invalid(f"{field}.kind", name, f"may have mixed case, but should otherwise match: {told}")
        for told in (validation.dns_1035_label(name.lower()) if name else ())
    ]


def _validate_match(match: Object, field: str) -> Causes:
    causes = one_of(f"{field}.matchPolicy", match.get("matchPolicy"), ("Equivalent", "Exact"), optional=False)
    causes += validate_selectors(match, field)
    for key in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(match.get(key) or ()):
            place, names = f"{field}.{key}[{index}]", rule.get("resourceNames") or []
            for at_, name in enumerate(names):
                causes += each_invalid(f"{place}.resourceNames[{at_}]", name, validation.path_segment(name))
                causes += [duplicate(f"{place}.resourceNames[{at_}]", name)] if name in names[:at_] else []
            causes += validate_rule(rule, place)
    return causes


def _validate_param_ref(reference: Object) -> Causes:
    field, name, selector = "spec.paramRef", reference.get("name"), reference.get("selector")
    causes: Causes = each_invalid(f"{field}.name", name, validation.path_segment(name)) if name else []
    if name and selector is not None:
        causes += [forbidden(f"{field}.{k}", "name and selector are mutually exclusive") for k in ("name", "selector")]
    if not name and selector is None:
        causes.append(required(field, "one of name or selector must be specified"))
    causes += validate_label_selector(selector, f"{field}.selector") if selector is not None else []
    action = reference.get("parameterNotFoundAction")
    return causes + one_of(f"{field}.parameterNotFoundAction", action, ("Deny", "Allow"), optional=False)


def _validate_variables(spec: Object, environment: Environment) -> Causes:
    causes: Causes = []
    for index, variable in enumerate(spec.get("variables") or ()):
        field, name = f"spec.variables[{index}]", variable.get("name") or ""
        if not name.strip():
            causes.append(required(f"{field}.name", "name is not specified"))
        elif not _IDENTIFIER.fullmatch(name) or name in RESERVED:
            causes.append(invalid(f"{field}.name", name, "name is not a valid CEL identifier"))
        else:
            causes += _compile(environment, variable.get("expression") or "", f"{field}.expression", define=name)
    return causes


def _validate_validation(rule: Object, field: str, environment: Environment) -> Causes:
    causes = _compile(environment, rule.get("expression") or "", f"{field}.expression", "bool")
    message, told = rule.get("messageExpression") or "", rule.get("message") or ""
    if message and not message.strip():
        causes.append(invalid(f"{field}.messageExpression", message, "must be non-empty if specified"))
    elif message:
        causes += _compile(environment, message, f"{field}.messageExpression", "string", authorizer=False)
    if told and not told.strip():
        causes.append(invalid(f"{field}.message", told, "message must be non-empty if specified"))
    elif "\n" in told.strip():
        causes.append(invalid(f"{field}.message", told, "message must not contain line breaks"))
    return causes + one_of(f"{field}.reason", rule.get("reason"), REASONS)


def _validate_mutation(mutation: Object, field: str, environment: Environment) -> Causes:
    form = mutation.get("patchType")
    causes = one_of(f"{field}.patchType", form, tuple(FIELDS), optional=False)
    if causes or form is None:
        return causes
    for other, key in FIELDS.items():
        if other != form and mutation.get(key) is not None:
            told = f"must not be set when patchType is {form}"
            causes.append(invalid(f"{field}.{key}", mutation[key], told))
    patch = mutation.get(FIELDS[form])
    if patch is None:
        return [*causes, required(f"{field}.{FIELDS[form]}", f"must be specified when patchType is {form}")]
    expression = patch.get("expression") or ""
    return causes + _compile(environment, expression, f"{field}.{FIELDS[form]}.expression", RESULTS[form])


def _compile(
    environment: Environment,
    expression: str,
    field: str,
    result: str = "",
    *,
    define: str = "",
    authorizer: bool = True,
) -> Causes:
    if not expression.strip():
        return [required(field, f"{field.rpartition('.')[2]} is not specified")]
    try:
        if define:
            environment.define(define, expression)
        else:
            environment.compile(expression, result, authorizer=authorizer)
    except CompilationError as error:
        return [invalid(field, expression, error.told)]
    return []
