"""CustomResourceDefinitions: what the server is told that it shall serve besides.

Source: ``k8s.io/apiextensions-apiserver/pkg``: ``apis/apiextensions/validation``, ``registry``.
"""

from typing import Any
from urllib.parse import urlsplit

from apimachinery import validation
from apimachinery.meta import condition_is_true, now_time, with_condition
from apimachinery.schema import DecodingError
from apimachinery.schema.structural import Structural, compile_schema

from ..strategy import Strategy
from .causes import Causes, duplicate, forbidden, immutable, invalid, one_of, required
from .definition_schemas import check_schema, decode_schema
from .pod_defaults import set_default
from .policy import CREATED_AT
from .printing import NAME, at

Object = dict[str, Any]

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that keeps a definition until its objects are gone."""
APPROVAL = "api-approved.kubernetes.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_MAX_SELECTABLE = 8


class CustomResourceDefinitionStrategy(Strategy):
    status_metadata = ()
    unconditional_update = False
    columns = (NAME, CREATED_AT)

    def to_stored(self, obj: Object) -> None:
        """Raises DecodingError."""
        for version in at(obj, "spec.versions", ()):
            wrong = decode_schema(at(version, "schema.openAPIV3Schema", {}))
            if wrong:
                raise DecodingError(self.kind, wrong)

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        names = spec.setdefault("names", {})
        kind = names.get("kind", "")
        set_default(names, "singular", kind.lower())
        set_default(names, "listKind", f"{kind}List")
        if spec.get("conversion") is None:
            spec["conversion"] = {"strategy": "None"}
        for version in spec.get("versions") or ():
            version.setdefault("served", False)
            version.setdefault("storage", False)
        service = at(spec, "conversion.webhook.clientConfig.service")
        if service is not None:
            service.setdefault("port", 443)

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}
        self._note_storage(obj)

    def prepare_update(self, obj: Object, old: Object) -> None:
        obj["status"] = {**(obj.get("status") or {})}
        self._note_storage(obj)

    @staticmethod
    def _note_storage(obj: Object) -> None:
        """Every version that objects were ever stored in is remembered until somebody says that none is left."""
        stored = list(at(obj, "status.storedVersions", ()))
        used = [v.get("name") for v in at(obj, "spec.versions", ()) if v.get("storage")]
        obj["status"]["storedVersions"] = stored + [n for n in used if n and n not in stored]

    def mark_deleted(self, obj: Object) -> None:
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if CLEANUP not in finalizers:
            finalizers.append(CLEANUP)
        message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
        set_condition(obj["status"], "Terminating", True, "InstanceDeletionPending", message)

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        causes: Causes = []
        name = at(obj, "metadata.name", "")
        if name != f"{at(spec, 'names.plural', '')}.{spec.get('group', '')}":
            causes.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
        causes += _approval(obj) + _group(spec.get("group") or "")
        causes += one_of("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"), optional=False)
        if spec.get("preserveUnknownFields"):
            told = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema"
            told += " instead"
            causes.append(invalid("spec.preserveUnknownFields", True, told))
        for index, version in enumerate(spec.get("versions") or ()):
            causes += _version(version, f"spec.versions[{index}]")
        return causes + _versions(spec.get("versions") or []) + _names(spec) + _conversion(spec.get("conversion") or {})

    def validate_update(self, obj: Object, old: Object) -> Causes:
        fixed = ["group", "names.plural"]
        if condition_is_true(old, "Established"):
            fixed += ["scope", "names.kind"]
        changed = [k for k in fixed if at(obj, f"spec.{k}") != at(old, f"spec.{k}")]
        causes = [immutable(f"spec.{k}", at(obj, f"spec.{k}")) for k in changed]
        known = {v.get("name") for v in at(obj, "spec.versions", ())}
        for index, name in enumerate(at(obj, "status.storedVersions", ())):
            if name not in known:
                told = (
                    f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                    f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                    f"{name} from status.storedVersions"
                )
                causes.append(invalid(f"status.storedVersions[{index}]", name, told))
        return causes


def set_condition(status: Object, type_: str, holds: bool, reason: str, message: str) -> None:
    """Set a condition in place."""
    new = {"type": type_, "status": str(holds), "lastTransitionTime": now_time(), "reason": reason, "message": message}
    status["conditions"] = with_condition(status.get("conditions"), new)


def is_protected(group: str) -> bool:
    """Whether a group is the community's, so that its definitions need an approval."""
    return any(group == p or group.endswith(f".{p}") for p in _PROTECTED)


def approved(obj: Object) -> tuple[bool, str]:
    """Whether a definition of a protected group is approved, or says why it is not; and what is wrong if neither."""
    value = at(obj, "metadata.annotations", {}).get(APPROVAL, "")
    if not value:
        return (
            False,
            f'protected groups must have approval annotation "{APPROVAL}", see https://github.com/kubernetes/enhancements/pull/1111',
        )
    if value.startswith("unapproved") or (urlsplit(value).scheme and urlsplit(value).netloc):
        return not value.startswith("unapproved"), ""
    told = f'protected groups must have approval annotation "{APPROVAL}" with either a URL or a reason starting with '
    return False, f'{told}"unapproved", see https://github.com/kubernetes/enhancements/pull/1111'


def _approval(obj: Object) -> Causes:
    _, wrong = approved(obj) if is_protected(at(obj, "spec.group", "")) else (True, "")
    where = f"metadata.annotations[{APPROVAL}]"
    value = at(obj, "metadata.annotations", {}).get(APPROVAL)
    if not wrong:
        return []
    return [invalid(where, value, wrong) if value else required(where, wrong)]


def _group(group: str) -> Causes:
    if not group:
        return [required("spec.group")]
    wrong = validation.dns_subdomain(group)
    if not wrong and "." not in group:
        wrong = ("should be a domain with at least one dot",)
    return [invalid("spec.group", group, ",".join(wrong))] if wrong else []


def _versions(versions: list[Object]) -> Causes:
    causes: Causes = []
    names = [v.get("name") for v in versions]
    if len(set(names)) < len(names):
        causes.append(invalid("spec.versions", versions, "must contain unique version names"))
    if sum(bool(v.get("storage")) for v in versions) != 1:
        causes.append(invalid("spec.versions", versions, "must have exactly one version marked as storage version"))
    return causes


def _version(version: Object, path: str) -> Causes:
    name = version.get("name") or ""
    wrong = validation.dns_1035_label(name)
    causes = [invalid(f"{path}.name", name, ",".join(wrong))] if wrong else []
    warning = version.get("deprecationWarning")
    if warning is not None and not version.get("deprecated"):
        causes.append(invalid(f"{path}.deprecationWarning", warning, "can only be set for deprecated versions"))
    schema = at(version, "schema.openAPIV3Schema")
    subresources = version.get("subresources") or {}
    if schema is None:
        causes.append(required(f"{path}.schema.openAPIV3Schema", "schemas are required"))
    else:
        causes += check_schema(schema, f"{path}.schema.openAPIV3Schema", status=subresources.get("status") is not None)
    causes += _scale(subresources.get("scale"), f"{path}.subresources.scale")
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        causes += _column(column, f"{path}.additionalPrinterColumns[{index}]")
    return causes + _selectable(version.get("selectableFields") or (), schema or {}, f"{path}.selectableFields")


def _scale(scale: Object | None, path: str) -> Causes:
    causes: Causes = []
    for key, roots in (("specReplicasPath", "spec"), ("statusReplicasPath", "status"), ("labelSelectorPath", "")):
        value = (scale or {}).get(key)
        if scale is None or (not value and not roots):
            continue
        if not value:
            causes.append(required(f"{path}.{key}"))
        elif not value.startswith("."):
            causes.append(invalid(f"{path}.{key}", value, "must be a simple json path starting with ."))
        elif roots and not value.startswith(f".{roots}."):
            causes.append(invalid(f"{path}.{key}", value, f"should be a json path under .{roots}"))
        elif not value.startswith((".spec.", ".status.")):
            causes.append(invalid(f"{path}.{key}", value, "should be a json path under either .spec or .status"))
    return causes


def _column(column: Object, path: str) -> Causes:
    causes = [] if column.get("name") else [required(f"{path}.name")]
    kind, form = column.get("type") or "", column.get("format") or ""
    if kind not in _COLUMN_TYPES:
        told = f"must be one of {','.join(_COLUMN_TYPES)}"
        causes.append(invalid(f"{path}.type", kind, told) if kind else required(f"{path}.type", told))
    if form and form not in _COLUMN_FORMATS:
        causes.append(invalid(f"{path}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}"))
    where = column.get("jsonPath") or ""
    if not where:
        causes.append(required(f"{path}.JSONPath"))
    elif not where.startswith("."):
        causes.append(invalid(f"{path}.JSONPath", where, "must be a simple json path starting with ."))
    return causes


def _selectable(fields: Any, schema: Object, path: str) -> Causes:
    causes: Causes = []
    seen: set[str] = set()
    for index, field in enumerate(fields):
        where, json_path = f"{path}[{index}].jsonPath", field.get("jsonPath") or ""
        if not json_path:
            causes.append(required(where))
            continue
        found = _schema_at(json_path, compile_schema(schema))
        if found is None:
            causes.append(invalid(where, json_path, "is an invalid path: does not refer to a valid field"))
            continue
        if json_path.startswith(".metadata"):
            causes.append(invalid(where, json_path, "must not point to fields in metadata"))
        if found.type not in ("string", "boolean", "integer"):
            told = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats"
            )
            told += " are allowed."
            causes.append(invalid(where, json_path, told))
        if json_path in seen:
            causes.append(duplicate(where, json_path))
        seen.add(json_path)
    if len(seen) > _MAX_SELECTABLE:
        causes.append(invalid(path, len(seen), f"Too many: {len(seen)}: must have at most {_MAX_SELECTABLE} items"))
    return causes


def _schema_at(json_path: str, schema: Structural) -> Structural | None:
    node: Structural | None = schema
    for name in json_path.removeprefix(".").split("."):
        node = node.properties.get(name) if node is not None else None
    return node


def _names(spec: Object) -> Causes:
    names = spec.get("names") or {}
    causes = [required(f"spec.names.{k}") for k in ("plural", "singular", "kind", "listKind") if not names.get(k)]
    given = [(k, names.get(k) or "", "") for k in ("plural", "singular")]
    mixed = "may have mixed case, but should otherwise match: "
    given += [(k, names.get(k) or "", mixed) for k in ("kind", "listKind")]
    for key in ("shortNames", "categories"):
        given += [(f"{key}[{i}]", n, "") for i, n in enumerate(names.get(key) or ())]
    for key, name, prefix in given:
        wrong = validation.dns_1035_label(name.lower() if prefix else name) if name else ()
        if wrong:
            causes.append(invalid(f"spec.names.{key}", name, prefix + ",".join(wrong)))
    if names.get("kind") and names["kind"] == names.get("listKind"):
        causes.append(invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same"))
    return causes


def _conversion(conversion: Object) -> Causes:
    causes = one_of("spec.conversion.strategy", conversion.get("strategy"), ("None", "Webhook"), optional=False)
    webhook = conversion.get("webhook")
    if conversion.get("strategy") != "Webhook":
        if webhook is not None:
            told = "should not be set when strategy is not set to Webhook"
            causes.append(forbidden("spec.conversion.webhookClientConfig", told))
        return causes
    config = (webhook or {}).get("clientConfig")
    where = "spec.conversion.webhookClientConfig"
    if config is None:
        causes.append(required(where, "required when strategy is set to Webhook"))
    elif ("url" in config) == ("service" in config):
        causes.append(required(where, "exactly one of url or service is required"))
    elif "url" in config and urlsplit(config["url"]).scheme != "https":
        causes.append(
            invalid(
                f"{where}.url",
                config["url"],
                "'https' is the only allowed URL scheme; desired format: https://host[/path]",
            )
        )
    versions = (webhook or {}).get("conversionReviewVersions") or []
    where = "spec.conversion.conversionReviewVersions"
    if not versions:
        causes.append(required(where))
    elif not {"v1", "v1beta1"} & set(versions):
        causes.append(invalid(where, versions, "must include at least one of v1, v1beta1"))
    return causes
