"""Services and EndpointSlices as the proxy sees them: only what decides where a packet goes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from apimachinery.meta import Object

BY_SERVICE = "service"
"""The index of EndpointSlices by their Service, ``namespace/name``; its function is ``service_of``."""
_SERVICE_NAME = "kubernetes.io/service-name"
_OTHER_PROXY = "service.kubernetes.io/service-proxy-name"
_AFFINITY_SECONDS = 10800


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    ip: str
    port: int
    local: bool
    """On this node."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service with all its usable endpoints."""

    name: str
    """namespace/name/protocol/port: names the port's chains, and is what ``nft list`` shows to people."""
    protocol: str
    port: int
    node_port: int
    cluster_ips: tuple[str, ...]
    external_ips: tuple[str, ...]
    affinity_seconds: int
    """0 = none."""
    internal_local: bool
    external_local: bool
    endpoints: tuple[Endpoint, ...]


def service_ports(service: Object, slices: Iterable[Object], node_name: str) -> Iterator[ServicePort]:
    """The ports to proxy: none for a headless or ExternalName Service, or one that another proxy claims."""
    spec, meta = service.get("spec") or {}, service["metadata"]
    cluster_ips = _ipv4(spec.get("clusterIPs") or [spec.get("clusterIP") or ""])
    if spec.get("type") == "ExternalName" or not cluster_ips or _OTHER_PROXY in (meta.get("labels") or {}):
        return
    slices = [each for each in slices if each.get("addressType") == "IPv4"]
    external = _ipv4(spec.get("externalIPs") or ()) + _load_balancer_ips(service)
    for port in spec.get("ports") or ():
        protocol = (port.get("protocol") or "TCP").lower()
        yield ServicePort(
            name=f"{meta['namespace']}/{meta['name']}/{protocol}/{port.get('name') or port['port']}",
            protocol=protocol,
            port=port["port"],
            node_port=port.get("nodePort") or 0,
            cluster_ips=cluster_ips,
            external_ips=external,
            affinity_seconds=_affinity(spec),
            internal_local=spec.get("internalTrafficPolicy") == "Local",
            external_local=spec.get("externalTrafficPolicy") == "Local",
            endpoints=_endpoints(slices, port.get("name") or "", node_name),
        )


def _ipv4(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(each for each in addresses if each and each != "None" and ":" not in each)


def _load_balancer_ips(service: Object) -> tuple[str, ...]:
    if (service.get("spec") or {}).get("loadBalancerSourceRanges"):
        return ()  # without the ranges' filter, nothing is safer than all
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return _ipv4(each.get("ip") or "" for each in ingress if each.get("ipMode", "VIP") == "VIP")


def _affinity(spec: Object) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    client_ip = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(client_ip.get("timeoutSeconds") or _AFFINITY_SECONDS)


def _endpoints(slices: Iterable[Object], port_name: str, node_name: str) -> tuple[Endpoint, ...]:
    """The ready endpoints of a port or, when there is none, those that still serve while they terminate (KEP-1669)."""
    ready: dict[tuple[str, int], Endpoint] = {}
    terminating: dict[tuple[str, int], Endpoint] = {}
    for each in slices:
        number = next((p.get("port") for p in each.get("ports") or () if (p.get("name") or "") == port_name), None)
        if number is None:
            continue
        for endpoint in each.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            pool = ready if conditions.get("ready") is not False else terminating
            if pool is terminating and not (conditions.get("serving") and conditions.get("terminating")):
                continue
            for ip in endpoint["addresses"][:1]:  # the others of one endpoint mean the same (API: fungible)
                pool[ip, number] = Endpoint(ip, number, endpoint.get("nodeName") == node_name)
    return tuple(sorted((ready or terminating).values()))


def service_of(slice_: Object) -> list[str]:
    """The Service that a slice belongs to, as ``namespace/name``; none for one without the label."""
    meta = slice_["metadata"]
    name = (meta.get("labels") or {}).get(_SERVICE_NAME)
    return [f"{meta['namespace']}/{name}"] if name else []
