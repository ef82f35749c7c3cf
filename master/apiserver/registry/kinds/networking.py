"""Ingresses, NetworkPolicies and their relatives."""

import ipaddress
from typing import Any

from apimachinery import validation

from ..strategy import Strategy
from .causes import Causes, at_most, each_invalid, forbidden, immutable, invalid, one_of, required
from .metadata import validate_label_selector
from .pod_defaults import set_default
from .printing import AGE, NAME, NONE, at, label_selector, text

Object = dict[str, Any]

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"


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
        backend = spec.get("defaultBackend")
        causes = _backend(backend, "spec.defaultBackend") if backend is not None else []
        for ri, rule in enumerate(spec.get("rules") or ()):
            causes += _host(rule.get("host") or "", f"spec.rules[{ri}].host")
            if rule.get("http") is not None and not at(rule, "http.paths"):
                causes.append(required(f"spec.rules[{ri}].http.paths"))
            for pi, path in enumerate(at(rule, "http.paths", ())):
                causes += _path(path, f"spec.rules[{ri}].http.paths[{pi}]")
        for ti, tls in enumerate(spec.get("tls") or ()):
            for hi, host in enumerate(tls.get("hosts") or ()):
                causes += _host(host, f"spec.tls[{ti}].hosts[{hi}]")
        return causes

    def validate_create(self, obj: Object) -> Causes:
        named = at(obj, "metadata.annotations", {}).get(_CLASS_ANNOTATION)
        if named is None or at(obj, "spec.ingressClassName") is None:
            return []
        return [invalid(f"annotations.{_CLASS_ANNOTATION}", named, "can not be set when the class field is also set")]


def _path(path: Object, field: str) -> Causes:
    kinds = ("Exact", "ImplementationSpecific", "Prefix")
    if not path.get("pathType"):
        return [required(f"{field}.pathType", "pathType must be specified")]
    causes = one_of(f"{field}.pathType", path["pathType"], kinds, optional=False)
    text_ = path.get("path") or ""
    if path["pathType"] != "ImplementationSpecific":
        if not text_.startswith("/"):
            causes.append(invalid(f"{field}.path", text_, "must be an absolute path"))
        for part in ("//", "/./", "/../", "%2f", "%2F"):
            if part in text_:
                causes.append(invalid(f"{field}.path", text_, f"must not contain '{part}'"))
        for end in ("/..", "/."):
            if text_.endswith(end):
                causes.append(invalid(f"{field}.path", text_, f"cannot end with '{end}'"))
    return causes + _backend(path.get("backend") or {}, f"{field}.backend")


def _backend(backend: Object, field: str) -> Causes:
    service, resource = backend.get("service"), backend.get("resource")
    if resource is not None:
        if service is not None:
            return [invalid(field, "", "cannot set both resource and service backends")]
        return [required(f"{field}.resource.{key}") for key in ("kind", "name") if not resource.get(key)]
    if service is None:
        return [required(field, "port name or number is required")]
    name, port = service.get("name") or "", service.get("port") or {}
    causes = each_invalid(f"{field}.service.name", name, validation.dns_label(name)) if name else [
        required(f"{field}.service.name")
    ]  # fmt: skip
    if port.get("name") and port.get("number"):
        causes.append(invalid(field, "", "cannot set both port name & port number"))
    elif port.get("name"):
        causes += each_invalid(f"{field}.service.port.name", port["name"], validation.port_name(port["name"]))
    elif port.get("number"):
        causes += each_invalid(f"{field}.service.port.number", port["number"], validation.port_number(port["number"]))
    else:
        causes.append(required(field, "port name or number is required"))
    return causes


def _host(host: str, field: str) -> Causes:
    if not host:
        return []
    if not validation.ip_address(host):
        return [invalid(field, host, "must be a DNS name, not an IP address")]
    return each_invalid(field, host, validation.dns_subdomain(host.removeprefix("*.")))


def _annotated_class(ingress: Object) -> str:
    return str(at(ingress, "metadata.annotations", {}).get(_CLASS_ANNOTATION) or NONE)


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

    def validate(self, obj: Object) -> Causes:
        controller = at(obj, "spec.controller", "")
        if controller and "/" not in controller:
            return [invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")')]
        return []

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
                for pi, port in enumerate(rule.get("ports") or ()):
                    causes += _policy_port(port, f"spec.{direction}[{ri}].ports[{pi}]")
                for pi, peer in enumerate(rule.get(peers) or ()):
                    causes += _peer(peer, f"spec.{direction}[{ri}].{peers}[{pi}]")
        types = spec.get("policyTypes") or ()
        if len(types) > 2:
            return [*causes, invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
        for index, kind in enumerate(types):
            causes += one_of(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"), optional=False)
        return causes


def _policy_port(port: Object, field: str) -> Causes:
    causes = one_of(f"{field}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"))
    number, end = port.get("port"), port.get("endPort")
    if isinstance(number, str):
        causes += each_invalid(f"{field}.port", number, validation.port_name(number))
    elif number is not None:
        causes += each_invalid(f"{field}.port", number, validation.port_number(number))
    if end is None:
        return causes
    if number is None:
        return [*causes, invalid(f"{field}.endPort", end, "may not be specified when `port` is not specified")]
    if isinstance(number, str):
        return [*causes, invalid(f"{field}.endPort", end, "may not be specified when `port` is non-numeric")]
    if end < number:
        causes.append(invalid(f"{field}.endPort", end, "must be greater than or equal to `port`"))
    return causes + each_invalid(f"{field}.endPort", end, validation.port_number(end))


def _peer(peer: Object, field: str) -> Causes:
    given = [k for k in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(k) is not None]
    if not given:
        return [required(field, "must specify a peer")]
    if "ipBlock" in given:
        if len(given) > 1:
            return [forbidden(field, "may not specify both ipBlock and another peer")]
        return _ip_block(peer["ipBlock"], f"{field}.ipBlock")
    return [c for k in given for c in validate_label_selector(peer[k], f"{field}.{k}")]


def _ip_block(block: Object, field: str) -> Causes:
    whole = block.get("cidr") or ""
    causes = each_invalid(f"{field}.cidr", whole, validation.cidr(whole)) if whole else [required(f"{field}.cidr")]
    for index, part in enumerate(block.get("except") or ()):
        problems = each_invalid(f"{field}.except[{index}]", part, validation.cidr(part))
        if not problems and not causes and not _inside(part, whole):
            problems = [invalid(f"{field}.except[{index}]", part, "must be a strict subset of `cidr`")]
        causes += problems
    return causes


def _inside(part: str, whole: str) -> bool:
    small, big = (ipaddress.ip_network(text_, strict=False) for text_ in (part, whole))
    if small.version != big.version or small.prefixlen <= big.prefixlen:
        return False
    return small.network_address in big


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
        if causes := at_most("spec.cidrs", blocks, 2):
            return causes
        causes = [c for i, b in enumerate(blocks) for c in each_invalid(f"spec.cidrs[{i}]", b, validation.cidr(b))]
        if not causes and len({":" in b for b in blocks}) < len(blocks):
            told = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
            causes = [invalid("spec.cidrs", blocks, told)]
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        """Nothing changes, but that a second family may come to the first."""
        new, had = at(obj, "spec.cidrs", ()), at(old, "spec.cidrs", ())
        if len(new) < len(had):
            return [immutable("spec.cidrs", new)]
        return [immutable(f"spec.cidrs[{i}]", new[i]) for i, block in enumerate(had) if new[i] != block]


class IPAddressStrategy(Strategy):
    has_generation = False

    def validate(self, obj: Object) -> Causes:
        parent = at(obj, "spec.parentRef")
        if parent is None:
            return [required("spec.parentRef")]
        return [required(f"spec.parentRef.{key}") for key in ("resource", "name") if not parent.get(key)]

    def validate_update(self, obj: Object, old: Object) -> Causes:
        parent = at(obj, "spec.parentRef")
        return [] if parent == at(old, "spec.parentRef") else [immutable("spec.parentRef", parent)]

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
