"""Ingresses, NetworkPolicies and their relatives."""

from typing import Any

from apimachinery import validation

from ..strategy import Strategy
from .causes import Causes, each_invalid, immutable, invalid, one_of, required
from .metadata import validate_label_selector
from .pod_defaults import set_default
from .printing import AGE, NAME, NONE, at, label_selector, text

Object = dict[str, Any]


class IngressStrategy(Strategy):
    status_zeros = {"loadBalancer": {}}
    columns = (
        NAME,
        text(
            "Class",
            lambda i: at(i, "spec.ingressClassName") or _annotated_class(i),
            "The name of the IngressClass resource.",
        ),
        text("Hosts", lambda i: _hosts(i), "Hosts that incoming requests are matched against before the ingress rule"),
        text("Address", lambda i: _addresses(i), "Address is a list containing ingress points for the load-balancer"),
        text("Ports", lambda i: "80, 443" if at(i, "spec.tls") else "80", "Ports of TLS configurations that open"),
        AGE,
    )

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        if not spec.get("rules") and not spec.get("defaultBackend"):
            return [invalid("spec", spec, "either `defaultBackend` or `rules` must be specified")]
        causes: Causes = []
        for ri, rule in enumerate(spec.get("rules") or ()):
            for pi, path in enumerate(at(rule, "http.paths", ())):
                causes += _path(path, f"spec.rules[{ri}].http.paths[{pi}]")
        return causes


def _path(path: Object, field: str) -> Causes:
    kinds = ("Exact", "ImplementationSpecific", "Prefix")
    if not path.get("pathType"):
        return [required(f"{field}.pathType", "pathType must be specified")]
    causes = one_of(f"{field}.pathType", path["pathType"], kinds, optional=False)
    if path["pathType"] != "ImplementationSpecific" and not (path.get("path") or "").startswith("/"):
        causes.append(invalid(f"{field}.path", path.get("path", ""), "must be an absolute path"))
    service = at(path, "backend.service")
    if service is not None and not service.get("name"):
        causes.append(required(f"{field}.backend.service.name"))
    return causes


def _annotated_class(ingress: Object) -> str:
    return str(at(ingress, "metadata.annotations", {}).get("kubernetes.io/ingress.class") or NONE)


def _hosts(ingress: Object) -> str:
    hosts = [r["host"] for r in at(ingress, "spec.rules", ()) if r.get("host")]
    shown = ",".join(hosts[:3])
    return f"{shown} + {len(hosts) - 3} more..." if len(hosts) > 3 else shown or "*"


def _addresses(ingress: Object) -> str:
    return ",".join(i.get("ip") or i.get("hostname") or "" for i in at(ingress, "status.loadBalancer.ingress", ()))


class IngressClassStrategy(Strategy):
    columns = (
        NAME,
        text("Controller", "spec.controller", "Controller that is responsible for handling this class"),
        text(
            "Parameters",
            lambda c: _parameters(at(c, "spec.parameters")),
            "A reference to a resource with additional parameters",
        ),
        AGE,
    )

    def default(self, obj: Object) -> None:
        parameters = at(obj, "spec.parameters")
        if parameters is not None:
            set_default(parameters, "scope", "Cluster")

    def validate_update(self, obj: Object, old: Object) -> Causes:
        new = at(obj, "spec.controller")
        return [] if new == at(old, "spec.controller") else [immutable("spec.controller", new)]


def _parameters(reference: Object | None) -> str:
    if not reference:
        return NONE
    group = f".{reference['apiGroup']}" if reference.get("apiGroup") else ""
    return f"{reference.get('kind', '')}{group}/{reference.get('name', '')}"


class NetworkPolicyStrategy(Strategy):
    columns = (
        NAME,
        text(
            "Pod-Selector",
            lambda p: label_selector(at(p, "spec.podSelector")),
            "selects the pods to which this policy applies.",
        ),
        AGE,
    )

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("podSelector", {})
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
        for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
            for port in rule.get("ports") or ():
                set_default(port, "protocol", "TCP")

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        causes = validate_label_selector(spec.get("podSelector"), "spec.podSelector")
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for ri, rule in enumerate(spec.get(direction) or ()):
                for pi, peer in enumerate(rule.get(peers) or ()):
                    causes += _peer(peer, f"spec.{direction}[{ri}].{peers}[{pi}]")
        return causes


def _peer(peer: Object, field: str) -> Causes:
    given = [k for k in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(k) is not None]
    if not given:
        return [required(field, "must specify a peer")]
    if "ipBlock" in given:
        if len(given) > 1:
            return [invalid(field, peer, "may not specify both ipBlock and another peer")]
        block = at(peer, "ipBlock.cidr", "")
        return each_invalid(f"{field}.ipBlock.cidr", block, validation.cidr(block))
    return [c for k in given for c in validate_label_selector(peer[k], f"{field}.{k}")]


class ServiceCIDRStrategy(Strategy):
    has_generation = False
    status_zeros = {}
    columns = (
        NAME,
        text(
            "CIDRs", lambda c: ",".join(at(c, "spec.cidrs", ())), "The IP blocks that Services are given addresses of."
        ),
        AGE,
    )

    def validate(self, obj: Object) -> Causes:
        blocks = at(obj, "spec.cidrs", [])
        if not blocks:
            return [required("spec.cidrs", "at least one CIDR required")]
        return [c for i, b in enumerate(blocks) for c in each_invalid(f"spec.cidrs[{i}]", b, validation.cidr(b))]

    def validate_update(self, obj: Object, old: Object) -> Causes:
        new = at(obj, "spec.cidrs")
        return [] if new == at(old, "spec.cidrs") else [immutable("spec.cidrs", new)]


class IPAddressStrategy(Strategy):
    has_generation = False
    columns = (
        NAME,
        text(
            "ParentRef",
            lambda i: "/".join(
                str(v) for k in ("resource", "namespace", "name") if (v := at(i, f"spec.parentRef.{k}"))
            ),
        ),
        AGE,
    )
