"""Brings the default roles and bindings into being, at each start of the API server.

What is missing is made. What is there keeps the operator's additions and gets back what it lacks, unless its
annotation ``rbac.authorization.kubernetes.io/autoupdate`` is "false".
"""

import copy
from pathlib import Path
from typing import Protocol

import orjson

from apimachinery import scheme
from apimachinery.errors import AlreadyExists
from apimachinery.scheme import Kind

from ..registry.reader import Object, Reader
from . import bootstrap_policy as policy
from .rbac import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from .rbac_rules import rules_of, uncovered
from .request_header import RequestHeaderConfig


class Writer(Protocol):
    """Writes as the API server itself. Raises ApiError."""

    async def create(self, kind: Kind, obj: Object) -> object: ...

    async def update(self, kind: Kind, obj: Object) -> object: ...


async def ensure_rbac_defaults(reader: Reader, writer: Writer) -> None:
    """Make the cluster's roles and bindings what ``bootstrap_policy`` says. Needs the kube-system namespace."""
    defaults = (
        (CLUSTER_ROLES, policy.cluster_roles()),
        (CLUSTER_ROLE_BINDINGS, policy.cluster_role_bindings()),
        (ROLES, policy.roles()),
        (ROLE_BINDINGS, policy.role_bindings()),
    )
    for kind, objects in defaults:
        for wanted in objects:
            await _ensure(kind, wanted, reader, writer)


def auth_config_data(client_ca_file: str, config: RequestHeaderConfig) -> dict[str, str]:
    """What extension API servers must know to authenticate users and us. Raises OSError."""
    data = {"client-ca-file": Path(client_ca_file).read_text()} if client_ca_file else {}
    if config.client_ca_file:
        data["requestheader-client-ca-file"] = Path(config.client_ca_file).read_text()
        for key in ("allowed_names", "username_headers", "uid_headers", "group_headers", "extra_headers_prefix"):
            data[f"requestheader-{key.replace('_', '-')}"] = orjson.dumps(getattr(config, key)).decode()
    return data


async def ensure_auth_config_map(reader: Reader, writer: Writer, data: dict[str, str]) -> None:
    """The ConfigMap by which extension API servers learn ``auth_config_data``. Needs the kube-system namespace."""
    name = policy.AUTH_CONFIG_MAP
    existing = reader.get(scheme.CONFIG_MAPS, "kube-system", name)
    if existing is None:
        meta = {"name": name, "namespace": "kube-system"}
        await create_missing(
            scheme.CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}, writer
        )
    elif not data.items() <= (existing.get("data") or {}).items():
        await writer.update(scheme.CONFIG_MAPS, existing | {"data": (existing.get("data") or {}) | data})


async def _ensure(kind: Kind, wanted: Object, reader: Reader, writer: Writer) -> None:
    meta = wanted["metadata"]
    existing = reader.get(kind, meta.get("namespace", ""), meta["name"])
    if existing is None:
        await create_missing(kind, wanted, writer)
    elif (changed := reconciled(existing, wanted)) is not None:
        await writer.update(kind, changed)


async def create_missing(kind: Kind, obj: Object, writer: Writer) -> None:
    """Create what may be there meanwhile."""
    try:
        await writer.create(kind, obj)
    except AlreadyExists:
        return  # Another API server of this cluster starts at the same time.


def reconciled(existing: Object, wanted: Object) -> Object | None:
    """``existing`` with what it lacks of ``wanted``, or None where it lacks nothing or may not be touched."""
    if (existing["metadata"].get("annotations") or {}).get(policy.AUTOUPDATE) == "false":
        return None
    changed = copy.deepcopy(existing)
    if "aggregationRule" in wanted:
        changed.setdefault("aggregationRule", wanted["aggregationRule"])
    if missing := uncovered(rules_of(wanted), rules_of(existing)):
        changed["rules"] = [*(existing.get("rules") or ()), *(rule.to_json() for rule in missing)]
    subjects = [s for s in wanted.get("subjects") or () if s not in (existing.get("subjects") or ())]
    if subjects:
        changed["subjects"] = [*(existing.get("subjects") or ()), *subjects]
    return changed if changed != existing else None
