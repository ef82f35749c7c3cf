"""Namespaces and Nodes: what the cluster consists of."""

from collections.abc import Sequence
from typing import Any

from apimachinery import validation

from ..strategy import Strategy
from .causes import Causes, duplicate, each_invalid, forbidden, one_of
from .pod_validation import TAINT_EFFECTS
from .printing import AGE, NAME, at, or_none, text

Object = dict[str, Any]

_ROLE = "node-role.kubernetes.io/"


class NamespaceStrategy(Strategy):
    has_generation = False
    columns = (NAME, text("Status", "status.phase", "The status of the namespace"), AGE)
    field_labels = {"status.phase": lambda ns: str(at(ns, "status.phase", ""))}

    def default(self, obj: Object) -> None:
        name = at(obj, "metadata.name")
        if name:
            labels = obj["metadata"].get("labels") or {}
            obj["metadata"]["labels"] = labels | {"kubernetes.io/metadata.name": name}

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Active"}
        finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")

    def prepare_update(self, obj: Object, old: Object) -> None:
        """spec.finalizers changes through the finalize subresource only."""
        if old.get("spec") is not None:
            obj["spec"] = old["spec"]

    def holders(self, obj: Object) -> Sequence[str]:
        """Who emptied the namespace takes its own finalizer out of spec, by the finalize subresource."""
        return [*super().holders(obj), *at(obj, "spec.finalizers", ())]

    def mark_deleted(self, obj: Object) -> None:
        obj.setdefault("status", {})["phase"] = "Terminating"

    def validate(self, obj: Object) -> Causes:
        return [
            cause
            for index, name in enumerate(at(obj, "spec.finalizers", ()))
            for cause in each_invalid(f"spec.finalizers[{index}]", name, validation.qualified_name(name))
        ]


class NodeStrategy(Strategy):
    has_generation = False
    status_on_create = True
    columns = (
        NAME,
        text("Status", lambda n: _status(n), "The status of the node"),
        text("Roles", lambda n: _roles(n), "The roles of the node"),
        AGE,
        text("Version", "status.nodeInfo.kubeletVersion", "Kubelet Version reported by the node."),
        text("Internal-IP", lambda n: _address(n, "InternalIP"), wide=True),
        text("External-IP", lambda n: _address(n, "ExternalIP"), wide=True),
        text("OS-Image", lambda n: _info(n, "osImage"), wide=True),
        text("Kernel-Version", lambda n: _info(n, "kernelVersion"), wide=True),
        text("Container-Runtime", lambda n: _info(n, "containerRuntimeVersion"), wide=True),
    )
    field_labels = {"spec.unschedulable": lambda n: "true" if at(n, "spec.unschedulable") else "false"}

    def default(self, obj: Object) -> None:
        status = obj.get("status")
        if status and status.get("capacity") and not status.get("allocatable"):
            status["allocatable"] = dict(status["capacity"])
        spec = obj.setdefault("spec", {})
        if spec.get("podCIDR") and not spec.get("podCIDRs"):
            spec["podCIDRs"] = [spec["podCIDR"]]

    def validate(self, obj: Object) -> Causes:
        causes: Causes = []
        seen: set[tuple[Any, Any]] = set()
        for index, taint in enumerate(at(obj, "spec.taints", ())):
            field, key = f"spec.taints[{index}]", taint.get("key", "")
            causes += each_invalid(f"{field}.key", key, validation.qualified_name(key))
            causes += each_invalid(
                f"{field}.value", taint.get("value", ""), validation.label_value(taint.get("value", ""))
            )
            causes += one_of(f"{field}.effect", taint.get("effect"), TAINT_EFFECTS, optional=False)
            if (key, taint.get("effect")) in seen:
                causes.append(duplicate(field, taint))
            seen.add((key, taint.get("effect")))
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        causes: Causes = []
        for key, field in (("podCIDR", "podCIDRs"), ("providerID", "providerID")):
            before = at(old, f"spec.{key}")
            if before and at(obj, f"spec.{key}") != before:
                detail = f'node updates may not change {key} except from "" to valid'
                causes.append(forbidden(f"spec.{field}", detail))
        return causes


def _status(node: Object) -> str:
    ready = next((c for c in at(node, "status.conditions", ()) if c.get("type") == "Ready"), None)
    shown = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{shown},SchedulingDisabled" if at(node, "spec.unschedulable") else shown


def _roles(node: Object) -> object:
    labels = at(node, "metadata.labels", {})
    roles = {k.removeprefix(_ROLE) for k in labels if k.startswith(_ROLE)} | {labels.get("kubernetes.io/role", "")}
    return or_none(",".join(sorted(roles - {""})))


def _address(node: Object, kind: str) -> object:
    return or_none(next((a["address"] for a in at(node, "status.addresses", ()) if a.get("type") == kind), ""))


def _info(node: Object, key: str) -> object:
    return at(node, f"status.nodeInfo.{key}") or "<unknown>"
