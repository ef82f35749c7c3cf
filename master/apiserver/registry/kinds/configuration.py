"""ConfigMaps, Secrets and ServiceAccounts: what pods are given."""

import base64
from collections.abc import Iterable
from typing import Any

import orjson

from apimachinery import validation
from apimachinery.errors import Cause

from ..strategy import Strategy
from .causes import Causes, each_invalid, forbidden, immutable, invalid, required, too_long
from .printing import AGE, NAME, at, number, text

Object = dict[str, Any]

MAX_BYTES = 1024 * 1024
_DOCKER_JSON = ".dockerconfigjson"
_REQUIRED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (_DOCKER_JSON,),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _is_json(encoded: str) -> bool:
    try:
        return isinstance(orjson.loads(base64.b64decode(encoded)), dict)
    except ValueError:
        return False


def _keys(field: str, keys: Iterable[str]) -> Causes:
    return [c for k in keys for c in each_invalid(f"{field}[{k}]", k, validation.config_key(k))]


def _frozen(obj: Object, old: Object, *fields: str) -> Causes:
    """What ``immutable: true`` forbids, itself included."""
    if not old.get("immutable"):
        return []
    causes: list[Cause] = []
    if not obj.get("immutable"):
        causes.append(forbidden("immutable", "field is immutable when `immutable` is set"))
    causes += [
        forbidden(f, "field is immutable when `immutable` is set")
        for f in fields
        if (obj.get(f) or {}) != (old.get(f) or {})
    ]
    return causes


class ConfigMapStrategy(Strategy):
    has_generation = False
    columns = (
        NAME,
        number(
            "Data",
            lambda c: len(c.get("data") or ()) + len(c.get("binaryData") or ()),
            "Data contains the configuration data.",
        ),
        AGE,
    )

    def validate(self, obj: Object) -> Causes:
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        causes = _keys("data", data) + _keys("binaryData", binary)
        causes += [invalid(f"data[{k}]", k, "duplicate of key present in binaryData") for k in data if k in binary]
        size = sum(len(v.encode()) for v in data.values()) + sum(len(v) * 3 // 4 for v in binary.values())
        return [*causes, too_long("", MAX_BYTES)] if size > MAX_BYTES else causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        return _frozen(obj, old, "data", "binaryData")


class SecretStrategy(Strategy):
    has_generation = False
    columns = (
        NAME,
        text("Type", "type", "Used to facilitate programmatic handling of secret data."),
        number("Data", lambda s: len(s.get("data") or ()), "Data contains the secret data."),
        AGE,
    )
    field_labels = {"type": lambda s: str(s.get("type") or "")}

    def default(self, obj: Object) -> None:
        """``stringData`` is write-only: it ends up in ``data``."""
        given = obj.pop("stringData", None)
        if given:
            encoded = {k: base64.b64encode(v.encode()).decode() for k, v in given.items()}
            obj["data"] = (obj.get("data") or {}) | encoded
        if not obj.get("type"):
            obj["type"] = "Opaque"

    def validate(self, obj: Object) -> Causes:
        data = obj.get("data") or {}
        causes = _keys("data", data)
        if sum(len(v) * 3 // 4 for v in data.values()) > MAX_BYTES:
            causes.append(too_long("data", MAX_BYTES))
        causes += [required(f"data[{k}]") for k in _REQUIRED_KEYS.get(obj.get("type", ""), ()) if k not in data]
        if obj.get("type") == "kubernetes.io/service-account-token":
            owner = at(obj, "metadata.annotations", {}).get("kubernetes.io/service-account.name")
            if not owner:
                causes.append(required("metadata.annotations[kubernetes.io/service-account.name]"))
        for kind, key in (("kubernetes.io/dockercfg", ".dockercfg"), ("kubernetes.io/dockerconfigjson", _DOCKER_JSON)):
            if obj.get("type") == kind and key in data and not _is_json(data[key]):
                causes.append(invalid(f"data[{key}]", "<secret contents redacted>", "not a JSON object"))
        if obj.get("type") == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
            causes += [required("data[username]"), required("data[password]")]
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        causes = _frozen(obj, old, "data")
        return causes if obj.get("type") == old.get("type") else [*causes, immutable("type", obj.get("type"))]


class ServiceAccountStrategy(Strategy):
    has_generation = False
    columns = (NAME, number("Secrets", lambda a: len(a.get("secrets") or ()), "Secrets pods may use."), AGE)
