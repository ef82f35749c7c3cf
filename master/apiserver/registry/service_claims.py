"""Service IPs and node ports, unique in the cluster however many API servers there are.

A service IP is claimed by its IPAddress object (as upstream since v1.33), a node port by a key of its own, both in the
transaction that writes the Service. Addresses are of any ServiceCIDR that is ready, drawn at random from the part of it
that is not set aside for those asked for by value (KEP-3070), ports likewise (KEP-3668).
"""

import ipaddress
import random
from collections.abc import Iterator, Sequence
from typing import Any

from apimachinery import scheme
from apimachinery.errors import InternalError
from apimachinery.service_cidrs import SERVICE_CIDRS, Network, gives_addresses, networks

from ..identifiers import new_uid
from ..storage import codec
from ..storage.interface import Delete, Op, Put
from ..storage.keys import KeySpace
from . import metadata, refusals
from .kinds.causes import invalid
from .reader import Reader

Object = dict[str, Any]

IP_ADDRESSES = scheme.kind_of("ipaddresses", "networking.k8s.io")
NODE_PORTS = range(30000, 32768)
_EXPOSED = ("NodePort", "LoadBalancer")
_TRIES = 64
_random = random.SystemRandom()


class ServiceClaims:
    """Implements ``Claimer`` for Services. ``cidrs`` is ``--service-cluster-ip-range``: one a family, primary first; it
    decides which families Services have, and gives their addresses until there is a ServiceCIDR."""

    def __init__(self, reader: Reader, keys: KeySpace, cidrs: Sequence[str], node_ports: range = NODE_PORTS) -> None:
        self._reader = reader
        self._keys = keys
        self._first: list[Network] = [ipaddress.ip_network(c) for c in cidrs]
        self._families = [_family(n) for n in self._first]
        self._node_ports = node_ports

    def claim(self, obj: Object, old: Object | None) -> Sequence[Op]:
        had_ips, had_ports = _ips(old), _ports(old)
        self._assign_ips(obj, had_ips)
        self._assign_ports(obj, had_ports)
        ips, ports = _ips(obj), _ports(obj)
        return [
            *(self._claim_ip(obj, ip) for ip in ips - had_ips),
            *(Put(self._port_key(p), obj["metadata"]["name"].encode(), 0) for p in ports - had_ports),
            *(self._release_ip(ip) for ip in had_ips - ips),
            *(Delete(self._port_key(p)) for p in had_ports - ports),
        ]

    def release(self, obj: Object) -> Sequence[Op]:
        ips, ports = _ips(obj), _ports(obj)
        return [*(self._release_ip(ip) for ip in ips), *(Delete(self._port_key(p)) for p in ports)]

    # Addresses.

    def _assign_ips(self, obj: Object, had: set[str]) -> None:
        spec = obj["spec"]
        if spec.get("type") == "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(field, None)
            return
        if spec.get("clusterIP") == "None" or spec.get("clusterIPs") == ["None"]:
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            spec.setdefault("ipFamilies", self._families[:1])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
            return
        asked = [spec["clusterIP"]] if spec.get("clusterIP") else []
        asked = spec.get("clusterIPs") or asked
        for index, ip in enumerate(asked):
            if ip not in had:
                self._check_asked(obj, asked, index)
        families = self._wanted_families(spec, asked)
        spec["clusterIPs"] = asked + [self._free_ip(f) for f in families[len(asked) :]]
        spec["clusterIP"] = spec["clusterIPs"][0]
        spec["ipFamilies"] = families
        spec.setdefault("ipFamilyPolicy", "SingleStack")

    def _networks(self) -> list[Network]:
        """The blocks that addresses may be of now."""
        cidrs = list(self._reader.list(SERVICE_CIDRS))
        return [n for c in cidrs if gives_addresses(c) for n in networks(c)] if cidrs else self._first

    def _wanted_families(self, spec: Object, asked: list[str]) -> list[str]:
        """One for each address that the service shall have."""
        families = spec.get("ipFamilies") or [f"IPv{ipaddress.ip_address(ip).version}" for ip in asked]
        chosen = [f for f in families if f in self._families] or self._families[:1]
        if spec.get("ipFamilyPolicy") in ("PreferDualStack", "RequireDualStack"):
            return chosen + [f for f in self._families if f not in chosen]
        return chosen[: max(len(asked), 1)]

    def _check_asked(self, obj: Object, asked: list[str], index: int) -> None:
        """Raises Invalid."""
        ip = asked[index]
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            raise _invalid(obj, ip, f"spec.clusterIPs[{index}]", why) from None
        if not any(address in n for n in self._networks()):
            why = f"failed to allocate IP {ip}: the provided network does not match the current range"
            raise _invalid(obj, asked, "spec.clusterIPs", why)
        if self._reader.get(IP_ADDRESSES, "", ip) is not None:
            why = f"failed to allocate IP {ip}: provided IP is already allocated"
            raise _invalid(obj, asked, "spec.clusterIPs", why)

    def _free_ip(self, family: str) -> str:
        """An address that nobody has, as far as the cache knows. Raises InternalError if there is none."""
        for network in self._networks():
            if _family(network) == family and (ip := self._free_ip_of(network)):
                return ip
        raise InternalError("failed to allocate a serviceIP: range is full")

    def _free_ip_of(self, network: Network) -> str:
        size = min(network.num_addresses, 1 << 62)
        set_aside = min(max(16, size // 16), 256)
        last = size - (2 if network.version == 4 else 1)  # an IPv4 network's last address is for broadcast
        if last > set_aside:
            for _ in range(_TRIES):
                ip = str(network[_random.randrange(set_aside, last + 1)])
                if self._reader.get(IP_ADDRESSES, "", ip) is None:
                    return ip
        for offset in range(1, min(last, 1 << 20) + 1):
            ip = str(network[offset])
            if self._reader.get(IP_ADDRESSES, "", ip) is None:
                return ip
        return ""

    def _claim_ip(self, service: Object, ip: str) -> Op:
        meta = service["metadata"]
        labels = {
            "ipaddress.kubernetes.io/ip-family": f"IPv{ipaddress.ip_address(ip).version}",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }
        parent = {"group": "", "resource": "services", "namespace": meta["namespace"], "name": meta["name"]}
        address = {
            "apiVersion": IP_ADDRESSES.api_version,
            "kind": IP_ADDRESSES.kind,
            "metadata": {
                "name": ip,
                "uid": new_uid(),
                "creationTimestamp": metadata.now(),
                "labels": labels,
            },
            "spec": {"parentRef": parent},
        }
        return Put(self._keys.key(IP_ADDRESSES, "", ip), codec.encode(address), 0)

    def _release_ip(self, ip: str) -> Op:
        return Delete(self._keys.key(IP_ADDRESSES, "", ip))

    # Node ports.

    def _assign_ports(self, obj: Object, had: set[int]) -> None:
        spec = obj["spec"]
        exposed = _exposed(spec)
        taken: set[int] | None = None
        given: dict[tuple[int, str], int] = {}
        for index, port in enumerate(spec.get("ports") or ()):
            if not exposed:
                port.pop("nodePort", None)
                continue
            taken = self._taken_ports() - had if taken is None else taken
            wanted = port.get("nodePort")
            if not wanted:
                wanted = port["nodePort"] = self._free_port(taken | set(given.values()) | had)
            elif wanted not in self._node_ports:
                valid = f"{self._node_ports.start}-{self._node_ports.stop - 1}"
                why = f"provided port is not in the valid range. The range of valid ports is {valid}"
                raise _invalid(obj, wanted, f"spec.ports[{index}].nodePort", why)
            elif wanted in taken:
                raise _invalid(obj, wanted, f"spec.ports[{index}].nodePort", "provided port is already allocated")
            given[index, port.get("protocol", "TCP")] = wanted

    def _taken_ports(self) -> set[int]:
        return {p for service in self._reader.list(scheme.SERVICES) for p in _ports(service)}

    def _free_port(self, taken: set[int]) -> int:
        """Raises InternalError if there is none."""
        ports = self._node_ports
        set_aside = min(max(16, len(ports) // 32), 128)
        for _ in range(_TRIES):
            port = ports[_random.randrange(set_aside, len(ports))]
            if port not in taken:
                return port
        free = next((p for p in ports if p not in taken), None)
        if free is None:
            raise InternalError(f"failed to allocate a nodePort: range {ports.start}-{ports.stop - 1} is full")
        return free

    def _port_key(self, port: int) -> str:
        return f"{self._keys.root}ranges/servicenodeports/{port}"


def _invalid(obj: Object, value: object, field: str, why: str) -> Exception:
    return refusals.invalid(scheme.SERVICES, obj["metadata"]["name"], [invalid(field, value, why)])


def _family(network: Network) -> str:
    return f"IPv{network.version}"


def _exposed(spec: Object) -> bool:
    type_ = spec.get("type")
    return type_ in _EXPOSED and not (type_ == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False)


def _ips(service: Object | None) -> set[str]:
    spec = (service or {}).get("spec") or {}
    ips: list[str] = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return {ip for ip in ips if ip and ip != "None"}


def _ports(service: Object | None) -> set[int]:
    return set(_port_numbers(service or {}))


def _port_numbers(service: Object) -> Iterator[int]:
    spec = service.get("spec") or {}
    yield from (p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort"))
    if spec.get("healthCheckNodePort"):
        yield spec["healthCheckNodePort"]
