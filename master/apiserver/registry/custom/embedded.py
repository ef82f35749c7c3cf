"""What an embedded resource must have.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta``.
"""

from typing import Any

from apimachinery.validation import dns_1035_label

from ..kinds.causes import Causes, each_invalid, invalid, required
from ..kinds.metadata import validate_annotations, validate_labels

Object = dict[str, Any]


def check_resource(resource: Object, path: str) -> Causes:
    """An embedded resource says what it is, and its metadata is well formed."""
    causes: Causes = []
    for key, wrong in (("apiVersion", _wrong_version), ("kind", _wrong_kind)):
        place, value = f"{path}.{key}", resource.get(key)
        if key not in resource:
            causes.append(required(place))
        elif not isinstance(value, str):
            causes.append(invalid(place, value, "must be a string"))
        else:
            causes += each_invalid(place, value, wrong(value) if value else ["must not be empty"])
    metadata = resource.get("metadata") or {}
    causes += validate_labels(metadata.get("labels"), f"{path}.metadata.labels")
    return causes + validate_annotations(metadata.get("annotations"), f"{path}.metadata.annotations")


def _wrong_version(value: str) -> list[str]:
    return [f"unexpected GroupVersion string: {value}"] if value.count("/") > 1 else []


def _wrong_kind(value: str) -> list[str]:
    wrong = dns_1035_label(value.lower())
    return [f"may have mixed case, but should otherwise match: {','.join(wrong)}"] if wrong else []
