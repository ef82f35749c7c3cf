"""The cluster's domain: what each of its names means, from Services and EndpointSlices.

``a-b-c-d.NAMESPACE.pod`` is answered from the name itself, without a look at the pods: watching all pods of a cluster
on every node would cost each agent more than all its other work.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address

from apimachinery.client.informer import InformerFactory
from apimachinery.meta import Object
from apimachinery.scheme import ENDPOINT_SLICES, SERVICES
from node.dns import message
from node.dns.message import AAAA, ANY, CNAME, NOERROR, NS, NXDOMAIN, PTR, SOA, SRV, TXT, A, Record
from node.proxy.model import BY_SERVICE, service_of

SPECIFICATION = "1.1.0"
TTL_SECONDS = 5
"""Of every record, and of the word that there is none: search paths ask for many names that do not exist, some of
which are about to."""
_BY_ADDRESS, _BY_NAMESPACE = "dns-address", "dns-namespace"
_REVERSE = ".in-addr.arpa"
_WEIGHT = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """``alias``: the name that an ExternalName Service stands for; the server adds what that resolves to."""

    rcode: int = NOERROR
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    alias: str = ""


@dataclass(slots=True)
class _Name:
    """All records of an existing name."""

    records: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    alias: str = ""

    def add(self, type_: int, data: bytes) -> None:
        self.records.append(Record(type_, data, TTL_SECONDS))


class Zone:
    """``domain`` without dots at its ends; ``server_ip`` is what ``ns.dns.DOMAIN`` means."""

    def __init__(self, informers: InformerFactory, domain: str, server_ip: str) -> None:
        self._domain, self._server_ip = domain.lower(), server_ip
        services, slices = informers.informer(SERVICES), informers.informer(ENDPOINT_SLICES)
        slices.add_index(BY_SERVICE, service_of)
        slices.add_index(_BY_ADDRESS, lambda slice_: [ip for each in _entries([slice_]) for ip in each["addresses"]])
        services.add_index(_BY_ADDRESS, _cluster_ips)
        services.add_index(_BY_NAMESPACE, lambda service: [service["metadata"]["namespace"]])
        self._services, self._slices = services.store, slices.store

    def lookup(self, name: str, type_: int) -> Answer | None:
        """None: not a name of this zone (ask upstream)."""
        if name.endswith(_REVERSE):
            found = self._reverse(name)
            return _select(found, type_) if found else None
        if name == self._domain:
            return _select(self._apex(), type_)
        if not name.endswith("." + self._domain):
            return None
        found = self._find(name[: -len(self._domain) - 1].split("."))
        return _select(found, type_) if found else Answer(NXDOMAIN)

    def authority(self) -> Record:
        """The SOA record that goes with "no such name" and "no such record": it says how long to believe that."""
        timers = b"".join(number.to_bytes(4, "big") for number in (1, 7200, 1800, 86400, TTL_SECONDS))
        names = self._encode("ns.dns", "hostmaster")
        return Record(SOA, names + timers, TTL_SECONDS, self._domain)

    def _apex(self) -> _Name:
        found = _Name()
        found.records.append(Record(SOA, self.authority().data, TTL_SECONDS))
        found.add(NS, self._encode("ns.dns"))
        return found

    def _find(self, labels: list[str]) -> _Name | None:
        match labels:
            case ["dns-version"]:
                return _of(TXT, message.text(SPECIFICATION))
            case ["ns", "dns"]:
                return _of(A, message.address(self._server_ip))
            case ["dns"] | ["svc"] | ["pod"] | [_, "pod"]:
                return _Name()
            case [dashed, _, "pod"]:
                return _pod(dashed)
            case [namespace, "svc"]:
                return _Name() if self._services.by_index(_BY_NAMESPACE, namespace) else None
            case [*rest, name, namespace, "svc"]:
                service = self._services.get(namespace, name)
                return self._service(service, rest) if service else None
        return None

    def _service(self, service: Object, labels: list[str]) -> _Name | None:
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            alias = str(spec.get("externalName") or "").rstrip(".").lower()
            return _Name(alias=alias) if alias and not labels else None
        match labels:
            case []:
                return self._all_of(service)
            case [endpoint] if not endpoint.startswith("_"):
                return self._endpoint(service, endpoint)
            case [protocol] if protocol in ("_tcp", "_udp", "_sctp"):
                return _Name()
            case [port, protocol] if port.startswith("_") and protocol.startswith("_"):
                found = self._ports(service, port[1:], protocol[1:])
                return found if found.records else None
        return None

    def _all_of(self, service: Object) -> _Name | None:
        found = self._ports(service, "", "")
        addresses = _cluster_ips(service) or [ip for each in self._endpoints(service) for ip in each["addresses"]]
        if not addresses:
            return None
        for ip in dict.fromkeys(addresses):
            found.records.append(_address(ip))
        return found

    def _endpoint(self, service: Object, hostname: str) -> _Name | None:
        found = _Name()
        for each in self._endpoints(service):
            if _hostname(each) == hostname:
                found.records += [_address(ip) for ip in each["addresses"]]
        return found if found.records else None

    def _ports(self, service: Object, port_name: str, protocol: str) -> _Name:
        """SRV records of the ports so named ("" = all): of the Service, or of each endpoint of a headless one."""
        found = _Name()
        own = self._own_name(service)
        if cluster_ips := _cluster_ips(service):
            for port in _matching(service["spec"].get("ports") or (), port_name, protocol):
                found.add(SRV, message.service(port, own, _WEIGHT))
            found.additional = [_address(ip, own) for ip in cluster_ips] if found.records else []
            return found
        for slice_ in self._slices_of(service):
            numbers = list(_matching(slice_.get("ports") or (), port_name, protocol))
            for each in _entries([slice_]) if numbers else ():
                target = f"{_hostname(each)}.{own}"
                for number in numbers:
                    found.add(SRV, message.service(number, target, _WEIGHT))
                found.additional += [_address(ip, target) for ip in each["addresses"]]
        return found

    def _reverse(self, name: str) -> _Name | None:
        """None for an address that is nobody's here."""
        ip = ".".join(reversed(name[: -len(_REVERSE)].split(".")))
        found = _Name()
        for service in self._services.by_index(_BY_ADDRESS, ip):
            found.add(PTR, message.encode_name(self._own_name(service)))
        for slice_ in self._slices.by_index(_BY_ADDRESS, ip) if not found.records else ():
            for owner in service_of(slice_):
                namespace, _, service_name = owner.partition("/")
                hosts = {_hostname(each) for each in _entries([slice_]) if ip in each["addresses"]}
                for host in sorted(hosts):
                    found.add(PTR, self._encode(f"{host}.{service_name}.{namespace}.svc"))
        return found if found.records else None

    def _own_name(self, service: Object) -> str:
        meta = service["metadata"]
        return f"{meta['name']}.{meta['namespace']}.svc.{self._domain}"

    def _slices_of(self, service: Object) -> list[Object]:
        meta = service["metadata"]
        return self._slices.by_index(BY_SERVICE, f"{meta['namespace']}/{meta['name']}")

    def _endpoints(self, service: Object) -> Iterator[Object]:
        return _entries(self._slices_of(service))

    def _encode(self, *names: str) -> bytes:
        return b"".join(message.encode_name(f"{name}.{self._domain}") for name in names)


def _select(found: _Name, type_: int) -> Answer:
    """The records of the asked type; none of it, but an existing name, is an empty answer without error."""
    if found.alias:
        record = Record(CNAME, message.encode_name(found.alias), TTL_SECONDS)
        return Answer(records=(record,), alias=found.alias if type_ != CNAME else "")
    records = tuple(record for record in found.records if type_ in (record.type, ANY))
    return Answer(records=records, additional=tuple(found.additional) if type_ == SRV else ())


def _of(type_: int, data: bytes) -> _Name:
    found = _Name()
    found.add(type_, data)
    return found


def _pod(dashed: str) -> _Name | None:
    try:
        return _of(A, IPv4Address(dashed.replace("-", ".")).packed)
    except AddressValueError:
        return None


def _address(ip: str, name: str = "") -> Record:
    return Record(AAAA if ":" in ip else A, message.address(ip), TTL_SECONDS, name)


def _cluster_ips(service: Object) -> list[str]:
    spec = service.get("spec") or {}
    ips = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return [ip for ip in ips if ip and ip != "None"]


def _entries(slices: Iterable[Object]) -> Iterator[Object]:
    """The ready endpoints (publishNotReadyAddresses makes all of them so) that have an IP address."""
    for slice_ in slices:
        if slice_.get("addressType") == "FQDN":
            continue
        for endpoint in slice_.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                yield endpoint


def _hostname(endpoint: Object) -> str:
    return str(endpoint.get("hostname") or endpoint["addresses"][0].replace(".", "-").replace(":", "-"))


def _matching(ports: Iterable[Object], name: str, protocol: str) -> Iterator[int]:
    for port in ports:
        names_match = not name or (port.get("name") or "") == name
        if names_match and (not protocol or (port.get("protocol") or "TCP").lower() == protocol):
            number = port.get("port")
            if number is not None:
                yield number
