"""Endpoints and EndpointSlices."""

from collections.abc import Callable
from typing import Any

from apimachinery import validation
from apimachinery.errors import Cause

from ..strategy import Strategy
from .causes import Causes, at_most, duplicate, each_invalid, immutable, one_of, required
from .pod_defaults import set_default
from .printing import AGE, NAME, NONE, at, text

Object = dict[str, Any]

_SHOWN = 3
_MAX_ENDPOINTS = 1000
_MAX_PORTS = 20000


class EndpointsStrategy(Strategy):
    deprecated = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    has_generation = False
    create_on_update = True
    columns = (
        NAME,
        text("Endpoints", lambda e: _subsets(e), "The set of all endpoints is the union of all subsets."),
        AGE,
    )

    def default(self, obj: Object) -> None:
        for subset in obj.get("subsets") or ():
            for port in subset.get("ports") or ():
                set_default(port, "protocol", "TCP")

    def validate(self, obj: Object) -> Causes:
        causes: list[Cause] = []
        check = _address_check(obj)
        for si, subset in enumerate(obj.get("subsets") or ()):
            field = f"subsets[{si}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                causes.append(required(field, "must specify `addresses` or `notReadyAddresses`"))
            for key in ("addresses", "notReadyAddresses"):
                for index, address in enumerate(subset.get(key) or ()):
                    ip = address.get("ip", "")
                    causes += each_invalid(f"{field}.{key}[{index}].ip", ip, check(ip))
            for index, port in enumerate(subset.get("ports") or ()):
                if len(subset["ports"]) > 1 and not port.get("name"):
                    causes.append(required(f"{field}.ports[{index}].name"))
                number = port.get("port", 0)
                causes += each_invalid(f"{field}.ports[{index}].port", number, validation.port_number(number))
        return causes


def _address_check(obj: Object) -> Callable[[str], tuple[str, ...]]:
    """Where traffic may be sent: no address of the node's own. Only a server may be told to serve on one alone."""
    own = (at(obj, "metadata.namespace"), at(obj, "metadata.name")) == ("default", "kubernetes")
    return validation.ip_address if own else lambda ip: validation.ip_address(ip) or validation.unicast_ip(ip)


def _subsets(endpoints: Object) -> str:
    found = [
        f"{_host(address.get('ip', ''))}:{port.get('port')}"
        for subset in endpoints.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    if not any(s.get("ports") for s in endpoints.get("subsets") or ()):
        found = [a.get("ip", "") for s in endpoints.get("subsets") or () for a in s.get("addresses") or ()]
    return _some(found, " + {} more...") or NONE


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


def _some(items: list[str], more: str) -> str:
    text_ = ",".join(items[:_SHOWN])
    return text_ + more.format(len(items) - _SHOWN) if len(items) > _SHOWN else text_


class EndpointSliceStrategy(Strategy):
    columns = (
        NAME,
        text("AddressType", "addressType", "The type of addresses carried by this EndpointSlice."),
        text("Ports", lambda s: _slice_ports(s), "The list of network ports exposed by each endpoint in this slice."),
        text("Endpoints", lambda s: _addresses(s), "A list of unique endpoints in this slice."),
        AGE,
    )

    def default(self, obj: Object) -> None:
        for endpoint in obj.get("endpoints") or ():
            endpoint.setdefault("conditions", {})
        for port in obj.get("ports") or ():
            port.setdefault("name", "")
            set_default(port, "protocol", "TCP")

    def validate(self, obj: Object) -> Causes:
        kind = obj.get("addressType")
        causes = one_of("addressType", kind, ("FQDN", "IPv4", "IPv6"), optional=False)
        check = validation.dns_subdomain if kind == "FQDN" else _address_check(obj)
        causes += at_most("endpoints", obj.get("endpoints"), _MAX_ENDPOINTS)
        causes += at_most("ports", obj.get("ports"), _MAX_PORTS)
        names = [port.get("name", "") for port in obj.get("ports") or ()]
        for index, name in enumerate(names):
            if name in names[:index]:
                causes.append(duplicate(f"ports[{index}].name", name))
        for index, endpoint in enumerate(obj.get("endpoints") or ()):
            if not endpoint.get("addresses"):
                causes.append(required(f"endpoints[{index}].addresses", "must contain at least 1 address"))
            for ai, address in enumerate(endpoint.get("addresses") or ()):
                causes += each_invalid(f"endpoints[{index}].addresses[{ai}]", address, check(address))
        return causes

    def validate_update(self, obj: Object, old: Object) -> Causes:
        same = obj.get("addressType") == old.get("addressType")
        return [] if same else [immutable("addressType", obj.get("addressType"))]


def _slice_ports(slice_: Object) -> str:
    ports = [str(p["port"]) if p.get("port") else "*" for p in slice_.get("ports") or ()]
    return _some(ports, " + {} more...") or "<unset>"


def _addresses(slice_: Object) -> str:
    found = [e["addresses"][0] for e in slice_.get("endpoints") or () if at(e, "addresses")]
    return _some(found, " + {} more...") or "<unset>"
