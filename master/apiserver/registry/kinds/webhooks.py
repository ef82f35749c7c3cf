"""Webhook configurations, and what others share with them: rules, selectors and where a webhook is.

Source: ``k8s.io/kubernetes/pkg/apis/admissionregistration/validation``, ``k8s.io/apiserver/pkg/util/webhook``.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from apimachinery import validation
from apimachinery.cel import CompilationError

from ...admission.expressions import compile_condition
from ..strategy import Strategy
from .causes import Causes, duplicate, each_invalid, invalid, not_supported, one_of, required, too_many
from .metadata import validate_label_selector
from .pod_defaults import set_default
from .printing import AGE, NAME, at, number

Object = dict[str, Any]
MAX_CONDITIONS = 64
REVIEW_VERSIONS = ("v1", "v1beta1")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_FORM = "; desired format: https://host[/path]"


class WebhookConfigurationStrategy(Strategy):
    unconditional_update = False
    columns = (
        NAME,
        number(
            "Webhooks", lambda c: len(c.get("webhooks") or ()), "Webhooks indicates the number of webhooks registered."
        ),
        AGE,
    )

    def default(self, obj: Object) -> None:
        for webhook in obj.get("webhooks") or ():
            default_match(webhook)
            set_default(webhook, "failurePolicy", "Fail")
            webhook.setdefault("timeoutSeconds", 10)
            if self.kind.kind.startswith("Mutating"):
                set_default(webhook, "reinvocationPolicy", "Never")
            service = at(webhook, "clientConfig.service")
            if service is not None:
                service.setdefault("port", 443)

    def validate(self, obj: Object) -> Causes:
        causes: Causes = []
        names: set[str] = set()
        for index, webhook in enumerate(obj.get("webhooks") or ()):
            field, name = f"webhooks[{index}]", webhook.get("name") or ""
            causes += _webhook(webhook, field)
            if name in names:
                causes.append(duplicate(f"{field}.name", name))
            names.add(name)
        return causes


def default_match(match: Object) -> None:
    """Of a webhook, or of a policy's ``matchConstraints``."""
    set_default(match, "matchPolicy", "Equivalent")
    for key in ("namespaceSelector", "objectSelector"):
        if match.get(key) is None:
            match[key] = {}
    for key in ("resourceRules", "excludeResourceRules", "rules"):
        for rule in match.get(key) or ():
            set_default(rule, "scope", "*")


def _webhook(webhook: Object, field: str) -> Causes:
    name, effects = webhook.get("name") or "", ("None", "NoneOnDryRun")
    causes = qualified_name(f"{field}.name", name)
    for index, rule in enumerate(webhook.get("rules") or ()):
        causes += validate_rule(rule, f"{field}.rules[{index}]")
    causes += one_of(f"{field}.failurePolicy", webhook.get("failurePolicy"), ("Fail", "Ignore"))
    causes += one_of(f"{field}.matchPolicy", webhook.get("matchPolicy"), ("Equivalent", "Exact"))
    causes += one_of(f"{field}.reinvocationPolicy", webhook.get("reinvocationPolicy"), ("IfNeeded", "Never"))
    if not webhook.get("sideEffects"):
        causes.append(required(f"{field}.sideEffects", f"must specify one of {', '.join(effects)}"))
    else:
        causes += one_of(f"{field}.sideEffects", webhook["sideEffects"], effects)
    if not 1 <= webhook.get("timeoutSeconds", 10) <= 30:
        detail = "the timeout value must be between 1 and 30 seconds"
        causes.append(invalid(f"{field}.timeoutSeconds", webhook["timeoutSeconds"], detail))
    causes += validate_selectors(webhook, field)
    causes += validate_match_conditions(webhook.get("matchConditions") or (), f"{field}.matchConditions")
    causes += validate_client_config(webhook.get("clientConfig") or {}, f"{field}.clientConfig")
    return causes + review_versions(webhook.get("admissionReviewVersions") or (), f"{field}.admissionReviewVersions")


def validate_match_conditions(conditions: Sequence[Object], field: str, *, params: bool = False) -> Causes:
    """``params``: the conditions are those of a policy with parameters."""
    causes: Causes = []
    if len(conditions) > MAX_CONDITIONS:
        causes.append(too_many(field, len(conditions), MAX_CONDITIONS))
    names: set[str] = set()
    for index, condition in enumerate(conditions[:MAX_CONDITIONS]):
        where, name = f"{field}[{index}]", condition.get("name") or ""
        causes += (
            each_invalid(f"{where}.name", name, validation.qualified_name(name))
            if name
            else [required(f"{where}.name")]
        )
        if name in names:
            causes.append(duplicate(f"{where}.name", name))
        names.add(name)
        causes += _expression(condition.get("expression") or "", f"{where}.expression", params)
    return causes


def _expression(expression: str, field: str, params: bool) -> Causes:
    if not expression.strip():
        return [required(field)]
    try:
        compile_condition(expression, params=params)
    except CompilationError as error:
        return [invalid(field, expression, error.told)]
    return []


def qualified_name(field: str, name: str) -> Causes:
    """A name of a domain: three labels or more."""
    if not name:
        return [required(field)]
    if complaints := validation.dns_subdomain(name):
        return each_invalid(field, name, complaints)
    if name.count(".") < 2:
        return [invalid(field, name, "should be a domain with at least three segments separated by dots")]
    return []


def validate_selectors(match: Object, field: str) -> Causes:
    return [
        cause
        for key in ("namespaceSelector", "objectSelector")
        for cause in validate_label_selector(match.get(key), f"{field}.{key}")
    ]


def validate_rule(rule: Object, field: str) -> Causes:
    """A ``RuleWithOperations``."""
    causes: Causes = []
    for key, what in (("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(key) or []
        if not values:
            causes.append(required(f"{field}.{key}"))
        if len(values) > 1 and "*" in values:
            causes.append(invalid(f"{field}.{key}", values, f"if '*' is present, must not specify other {what}"))
    for index, operation in enumerate(rule.get("operations") or ()):
        if operation not in _OPERATIONS:
            causes.append(not_supported(f"{field}.operations[{index}]", operation, _OPERATIONS))
    versions = enumerate(rule.get("apiVersions") or ())
    causes += [required(f"{field}.apiVersions[{index}]") for index, version in versions if not version]
    causes += _resources(rule.get("resources") or [], f"{field}.resources")
    return causes + one_of(f"{field}.scope", rule.get("scope"), ("*", "Cluster", "Namespaced"))


def _resources(resources: Sequence[str], field: str) -> Causes:
    causes: Causes = [] if resources else [required(field)]
    whole: set[str] = set()
    everywhere: set[str] = set()
    for index, text in enumerate(resources):
        resource, slash, subresource = text.partition("/")
        if not text:
            causes.append(required(f"{field}[{index}]"))
        if not slash:
            continue
        if resource in whole:
            detail = f"if '{resource}/*' is present, must not specify {text}"
            causes.append(invalid(f"{field}[{index}]", text, detail))
        if subresource in everywhere:
            detail = f"if '*/{subresource}' is present, must not specify {text}"
            causes.append(invalid(f"{field}[{index}]", text, detail))
        whole |= {resource} if subresource == "*" else set()
        everywhere |= {subresource} if resource == "*" else set()
    if len(resources) > 1 and "*/*" in resources:
        causes.append(invalid(field, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and any("/" not in r and r != "*" for r in resources):
        detail = "if '*' is present, must not specify other resources without subresources"
        causes.append(invalid(field, resources, detail))
    return causes


def review_versions(versions: Sequence[str], field: str) -> Causes:
    """Which versions of a review a webhook understands: one of ours must be among them."""
    ours = ", ".join(REVIEW_VERSIONS)
    if not versions:
        return [required(field, f"must specify one of {ours}")]
    causes: Causes = []
    for index, version in enumerate(versions):
        if version in versions[:index]:
            causes.append(invalid(f"{field}[{index}]", version, "duplicate version"))
        causes += each_invalid(f"{field}[{index}]", version, validation.dns_1035_label(version))
    if not set(versions) & set(REVIEW_VERSIONS):
        causes.append(invalid(field, versions, f"must include at least one of {ours}"))
    return causes


def validate_client_config(config: Object, field: str) -> Causes:
    """Where a webhook is: of admission, or of a definition's conversion."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [required(field, "exactly one of url or service is required")]
    return _url(str(url), f"{field}.url") if service is None else _service(service, f"{field}.service")


def _url(text: str, field: str) -> Causes:
    try:
        url = urlsplit(text)
    except ValueError as error:
        return [required(field, f"url must be a valid URL: {error}{_FORM}")]
    causes: Causes = []
    if url.scheme != "https":
        causes.append(invalid(field, url.scheme, f"'https' is the only allowed URL scheme{_FORM}"))
    if not url.netloc:
        causes.append(invalid(field, "", f"host must be provided{_FORM}"))
    if "@" in url.netloc:
        user = url.netloc.rpartition("@")[0]
        causes.append(invalid(field, user, "user information is not permitted in the URL"))
    if url.fragment:
        causes.append(invalid(field, url.fragment, "fragments are not permitted in the URL"))
    if url.query:
        causes.append(invalid(field, url.query, "query parameters are not permitted in the URL"))
    return causes


def _service(service: Object, field: str) -> Causes:
    keys = (k for k in ("name", "namespace") if not service.get(k))
    causes = [required(f"{field}.{key}", f"service {key} is required") for key in keys]
    port = service.get("port", 443)
    causes += [invalid(f"{field}.port", port, f"port is not valid: {c}") for c in validation.port_number(port)]
    path = service.get("path") or "/"
    return causes + [invalid(f"{field}.path", path, complaint) for complaint in _path(path)]


def _path(path: str) -> Iterable[str]:
    if path == "/":
        return
    if not path.startswith("/"):
        yield "must start with a '/'"
    for index, segment in enumerate(path[1:].removesuffix("/").split("/")):
        if not segment:
            yield f"segment[{index}] may not be empty"
        else:
            yield from (f"segment[{index}]: {c}" for c in validation.dns_subdomain(segment))
