"""Services, Endpoints and EndpointSlices. Addresses and node ports are claimed by the pipeline, not here."""

import ipaddress
from typing import Any

from apimachinery import validation
from apimachinery.errors import Cause

from ..strategy import Strategy
from .causes import Causes, duplicate, each_invalid, forbidden, invalid, one_of, required
from .metadata import validate_labels
from .pod_containers import PROTOCOLS
from .pod_defaults import set_default
from .printing import AGE, NAME, NONE, at, labels, text

Object = dict[str, Any]

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_EXTERNAL = ("NodePort", "LoadBalancer")
_AFFINITY_SECONDS = 10800
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")


class ServiceStrategy(Strategy):
    has_generation = False
    columns = (
        NAME,
        text("Type", "spec.type", "type determines how the Service is exposed."),
        text("Cluster-IP", lambda s: at(s, "spec.clusterIP") or NONE, "clusterIP is the IP address of the service."),
        text("External-IP", lambda s: _external(s), "addresses for which nodes accept traffic for this service."),
        text("Port(s)", lambda s: _ports(s), "The list of ports that are exposed by this service."),
        AGE,
        text("Selector", lambda s: labels(at(s, "spec.selector")), wide=True),
    )
    field_labels = {
        "spec.clusterIP": lambda s: str(at(s, "spec.clusterIP", "")),
        "spec.type": lambda s: str(at(s, "spec.type", "")),
    }

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        set_default(spec, "type", "ClusterIP")
        _default_affinity(spec)
        for port in spec.get("ports") or ():
            set_default(port, "protocol", "TCP")
            set_default(port, "targetPort", port.get("port"))
        if spec["type"] in _EXTERNAL or (spec["type"] == "ClusterIP" and spec.get("externalIPs")):
            set_default(spec, "externalTrafficPolicy", "Cluster")
        if spec["type"] != "ExternalName":
            spec.setdefault("internalTrafficPolicy", "Cluster")
        if spec["type"] == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in obj.setdefault("status", {}).setdefault("loadBalancer", {}).get("ingress") or ():
            if ingress.get("ip"):
                set_default(ingress, "ipMode", "VIP")

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"loadBalancer": {}}

    def prepare_update(self, obj: Object, old: Object) -> None:
        """What the client did not repeat stays, and what a change of type takes away goes."""
        spec, before = obj["spec"], old.get("spec") or {}
        if spec["type"] != "ExternalName" and before.get("type") != "ExternalName":
            for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if not spec.get(key) and before.get(key):
                    spec[key] = before[key]
        if spec["type"] in _EXTERNAL and before.get("type") in _EXTERNAL:
            _keep_node_ports(spec, before)
        _drop_type_dependent(spec, before)
        _drop_unused(obj)

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        affinities = ("ClientIP", "None")
        return [
            *one_of("spec.type", spec.get("type"), TYPES, optional=False),
            *_validate_ports(spec),
            *validate_labels(spec.get("selector"), "spec.selector"),
            *one_of("spec.sessionAffinity", spec.get("sessionAffinity"), affinities, optional=False),
            *_validate_affinity(spec),
            *_validate_cluster_ip(spec),
            *_validate_external(spec),
        ]

    def validate_update(self, obj: Object, old: Object) -> Causes:
        new, before = obj.get("spec") or {}, old.get("spec") or {}
        if "ExternalName" in (new.get("type"), before.get("type")):
            return []
        address = before.get("clusterIP")
        if new.get("type") == before.get("type") == "LoadBalancer" and (
            new.get("loadBalancerClass") != before.get("loadBalancerClass")
        ):
            return [invalid("spec.loadBalancerClass", new.get("loadBalancerClass"), "may not change once set")]
        if address and new.get("clusterIP") != address:
            return [invalid("spec.clusterIPs[0]", new.get("clusterIPs"), "may not change once set")]
        return []


def _default_affinity(spec: Object) -> None:
    set_default(spec, "sessionAffinity", "None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif at(spec, "sessionAffinityConfig.clientIP.timeoutSeconds") is None:
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": _AFFINITY_SECONDS}}


def _keep_node_ports(spec: Object, before: Object) -> None:
    kept = {(p.get("port"), p.get("protocol")): p.get("nodePort") for p in before.get("ports") or ()}
    taken = {p.get("nodePort") for p in spec.get("ports") or ()}
    for port in spec.get("ports") or ():
        known = kept.get((port.get("port"), port.get("protocol")))
        if not port.get("nodePort") and known and known not in taken:
            port["nodePort"] = known


def _drop_type_dependent(spec: Object, before: Object) -> None:
    """A field that only the old type had goes with it, if the client merely sent it back."""
    if spec["type"] == before.get("type"):
        return
    if spec["type"] not in _EXTERNAL:
        kept = {p.get("nodePort") for p in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in kept:
                port.pop("nodePort", None)
    if spec["type"] == "ExternalName" and spec.get("clusterIP") == before.get("clusterIP"):
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            spec.pop(key, None)
    for key, types in (
        ("externalTrafficPolicy", _EXTERNAL),
        ("healthCheckNodePort", ("LoadBalancer",)),
        ("allocateLoadBalancerNodePorts", ("LoadBalancer",)),
        ("loadBalancerClass", ("LoadBalancer",)),
        ("externalName", ("ExternalName",)),
    ):
        if spec["type"] not in types and spec.get(key) == before.get(key):
            spec.pop(key, None)


def _drop_unused(obj: Object) -> None:
    if obj["spec"]["type"] != "LoadBalancer" and at(obj, "status.loadBalancer.ingress"):
        obj["status"]["loadBalancer"] = {}


def _validate_ports(spec: Object) -> Causes:
    ports = spec.get("ports") or []
    headless = spec.get("clusterIP") == "None"
    if not ports and not headless and spec.get("type") != "ExternalName":
        return [required("spec.ports")]
    causes: list[Cause] = []
    names: set[str] = set()
    pairs: set[tuple[Any, ...]] = set()
    for index, port in enumerate(ports):
        field, name = f"spec.ports[{index}]", port.get("name") or ""
        if name:
            causes += each_invalid(f"{field}.name", name, validation.dns_label(name))
        elif len(ports) > 1:
            causes.append(required(f"{field}.name"))
        if name and name in names:
            causes.append(duplicate(f"{field}.name", name))
        names.add(name)
        causes += _validate_port(port, spec, field)
        pair = (port.get("port"), port.get("protocol"))
        if pair in pairs:
            causes.append(duplicate(field, port))
        pairs.add(pair)
    return causes


def _validate_port(port: Object, spec: Object, field: str) -> Causes:
    causes = each_invalid(f"{field}.port", port.get("port", 0), validation.port_number(port.get("port", 0)))
    causes += one_of(f"{field}.protocol", port.get("protocol"), PROTOCOLS, optional=False)
    target = port.get("targetPort")
    check = validation.port_name(target) if isinstance(target, str) else validation.port_number(target or 0)
    causes += each_invalid(f"{field}.targetPort", target, check)
    if port.get("nodePort") and spec.get("type") not in _EXTERNAL:
        causes.append(forbidden(f"{field}.nodePort", "may not be used when `type` is 'ClusterIP'"))
    return causes


def _validate_affinity(spec: Object) -> Causes:
    seconds = at(spec, "sessionAffinityConfig.clientIP.timeoutSeconds")
    if spec.get("sessionAffinity") == "ClientIP" and seconds is not None and not 0 < seconds <= 86400:
        field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        return [invalid(field, seconds, "must be greater than 0 and less than 86400")]
    return []


def _validate_cluster_ip(spec: Object) -> Causes:
    address = spec.get("clusterIP")
    if spec.get("type") == "ExternalName":
        if address:
            return [forbidden("spec.clusterIP", "may not be set for ExternalName services")]
        return _external_name(spec)
    if address == "None":
        if spec.get("type") != "ClusterIP":
            return [invalid("spec.clusterIPs[0]", address, f"may not be set to 'None' for {spec.get('type')} services")]
        return []
    if not address:
        return []
    return each_invalid("spec.clusterIPs[0]", address, validation.ip_address(address))


def _external_name(spec: Object) -> Causes:
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        return [required("spec.externalName")]
    return each_invalid("spec.externalName", name, validation.dns_subdomain(name))


def _validate_external(spec: Object) -> Causes:
    causes: list[Cause] = []
    for index, address in enumerate(spec.get("externalIPs") or ()):
        field = f"spec.externalIPs[{index}]"
        problems = each_invalid(field, address, validation.ip_address(address))
        if not problems:
            parsed = ipaddress.ip_address(address)
            if parsed.is_loopback or parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified:
                problems = [
                    invalid(field, address, "may not be a loopback, link-local, multicast or unspecified address")
                ]
        causes += problems
    for key in ("externalTrafficPolicy", "internalTrafficPolicy"):
        causes += one_of(f"spec.{key}", spec.get(key), ("Cluster", "Local"))
    preferences = ("PreferClose", "PreferSameNode", "PreferSameZone")
    causes += one_of("spec.trafficDistribution", spec.get("trafficDistribution"), preferences)
    causes += one_of("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), _FAMILY_POLICIES)
    return causes + _load_balancer(spec)


def _load_balancer(spec: Object) -> Causes:
    """What only a Service has that a load balancer, or at least a node port, brings traffic to."""
    causes: list[Cause] = []
    if spec.get("type") != "LoadBalancer":
        causes += [
            forbidden(f"spec.{key}", "may only be used when `type` is 'LoadBalancer'")
            for key in ("loadBalancerSourceRanges", "loadBalancerClass", "allocateLoadBalancerNodePorts")
            if spec.get(key) is not None
        ]
    external = spec.get("type") in _EXTERNAL or (spec.get("type") == "ClusterIP" and spec.get("externalIPs"))
    policy, port = spec.get("externalTrafficPolicy"), spec.get("healthCheckNodePort")
    if policy and not external:
        detail = "may only be set for externally-accessible services"
        causes.append(invalid("spec.externalTrafficPolicy", policy, detail))
    if port and not (spec.get("type") == "LoadBalancer" and policy == "Local"):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        causes.append(invalid("spec.healthCheckNodePort", port, detail))
    for index, block in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        causes += each_invalid(f"spec.loadBalancerSourceRanges[{index}]", block, validation.cidr(block.strip()))
    return causes


def _external(service: Object) -> str:
    spec = service.get("spec") or {}
    given = list(spec.get("externalIPs") or ())
    if spec.get("type") == "ExternalName":
        return spec.get("externalName") or NONE
    if spec.get("type") == "LoadBalancer":
        ingress = at(service, "status.loadBalancer.ingress", ())
        found = [i.get("ip") or i.get("hostname") or "" for i in ingress] + given
        return ",".join(found) or "<pending>"
    return ",".join(given) or NONE


def _ports(service: Object) -> str:
    shown = []
    for port in at(service, "spec.ports", ()):
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port.get('port')}{node}/{port.get('protocol')}")
    return ",".join(shown) or NONE
