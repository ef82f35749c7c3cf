"""Kubeto's own CNI plugin: a bridge on the node, a veth pair a pod, addresses from the node's range, host ports.

Configuration (besides the specification's): ``bridge`` (cbr0), ``subnet`` (the node's podCIDR; IPv4), ``mtu`` (bytes;
default: the uplink's), ``dataDir`` (allocations; one a node when nodes share a file system), and the capability
``portMappings``. Every command may be repeated; a failed ADD leaves nothing behind; DEL needs no namespace.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from apimachinery.netlink import Netlink
from cni import links
from cni.ipam.allocator import RangeFull, gateway_of
from cni.ipam.store import Owner, Store
from cni.spec import (
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    IO_FAILURE,
    NETWORK_FAILURE,
    NO_ADDRESS,
    NOT_AVAILABLE,
    SUPPORTED,
    UNKNOWN_CONTAINER,
    CniError,
    Object,
    Request,
    at_least,
)

if TYPE_CHECKING:
    from cni.hostports import PortMapping

TYPE = "kubeto"
_DATA_DIR = "/var/lib/kubeto/cni/ipam"


class Network(NamedTuple):
    """The parsed configuration."""

    version: str
    bridge: str
    subnet: IPv4Network
    mtu: int
    store: Store
    port_mappings: "list[PortMapping]"
    config: Object

    @property
    def gateway(self) -> IPv4Interface:
        return IPv4Interface(f"{gateway_of(self.subnet)}/{self.subnet.prefixlen}")


def execute(request: Request) -> Object | None:
    """Carry out one command; the result goes to stdout (None: print nothing). Raises CniError, and nothing else."""
    command = _COMMANDS.get(request.command)
    if command is None:
        raise CniError(4, "CNI_COMMAND is unknown", request.command)
    request.check()
    try:
        return command(request)
    except OSError as error:
        code = UNKNOWN_CONTAINER if isinstance(error, FileNotFoundError) else NETWORK_FAILURE
        raise CniError(code, f"{request.command} failed", str(error)) from error


def add(request: Request) -> Object:
    network, owner = _parse(request.config), _owner(request)
    try:
        address = network.store.allocate(owner)
    except RangeFull as error:
        raise CniError(NO_ADDRESS, "no address is left", str(error)) from error
    with _undone_on_failure(request, network):
        with Netlink() as netlink:
            mtu = network.mtu or links.uplink_mtu(netlink)
            bridge = links.ensure_bridge(netlink, network.bridge, network.gateway, mtu)
            wanted = _attachment(request, network, address, mtu)
            links.ensure_pod_link(netlink, bridge, wanted)
        if network.port_mappings:
            from cni import hostports

            hostports.ensure(wanted.host_name, network.bridge, address, network.port_mappings)
    return _result(network, wanted)


def delete(request: Request) -> None:
    network = _parse(request.config)
    _detach(request, network)
    network.store.release(_owner(request))


def check(request: Request) -> None:
    """Raises CniError saying what is no longer as ADD made it."""
    network, owner = _parse(request.config), _owner(request)
    if not request.config.get("prevResult"):
        raise CniError(INVALID_CONFIG, "CHECK needs prevResult")
    address = network.store.lookup(owner)
    if address is None:
        raise CniError(UNKNOWN_CONTAINER, "the attachment has no address", owner.container_id)
    with Netlink() as netlink:
        problem = links.problem(netlink, network.bridge, _attachment(request, network, address, 0))
    if problem:
        raise CniError(NETWORK_FAILURE, "the attachment is damaged", problem)


def status(request: Request) -> None:
    """Raises CniError(NOT_AVAILABLE) when an ADD would fail for want of an address."""
    network = _parse(request.config)
    taken = len(network.store.all())
    if taken >= network.subnet.num_addresses - 3:
        raise CniError(NOT_AVAILABLE, "no address is left", f"all {taken} of {network.subnet} are taken")


def collect(request: Request) -> None:
    """GC: free what belongs to attachments that the runtime does not know."""
    from cni import hostports

    network = _parse(request.config)
    valid = {Owner(each["containerID"], each["ifname"]) for each in request.config.get("cni.dev/valid-attachments", ())}
    gone = set(network.store.all().values()) - valid
    with Netlink() as netlink:
        for owner in gone:
            links.remove(netlink, links.host_name(owner.container_id, owner.ifname))
    hostports.collect({links.host_name(owner.container_id, owner.ifname) for owner in valid})
    network.store.collect(valid)


def version(request: Request) -> Object:
    return {"cniVersion": request.config.get("cniVersion", SUPPORTED[-1]), "supportedVersions": list(SUPPORTED)}


_COMMANDS: dict[str, Callable[[Request], Object | None]] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "STATUS": status,
    "GC": collect,
    "VERSION": version,
}


@contextmanager
def _undone_on_failure(request: Request, network: Network) -> Iterator[None]:
    try:
        yield
    except BaseException:
        try:
            _detach(request, network)
        finally:
            network.store.release(_owner(request))
        raise


def _detach(request: Request, network: Network) -> None:
    name = links.host_name(request.container_id, request.ifname)
    with Netlink() as netlink:
        links.remove(netlink, name)
    if network.port_mappings:
        from cni import hostports

        hostports.remove(name)


def _owner(request: Request) -> Owner:
    return Owner(request.container_id, request.ifname)


def _attachment(request: Request, network: Network, address: IPv4Address, mtu: int) -> links.Attachment:
    name = links.host_name(request.container_id, request.ifname)
    return links.Attachment(name, request.netns, request.ifname, address, network.gateway.ip, mtu)


def _result(network: Network, made: links.Attachment) -> Object:
    return {
        "cniVersion": network.version,
        "interfaces": [
            {"name": network.bridge, "mac": links.mac_of(network.gateway.ip)},
            {"name": made.host_name},
            {"name": made.ifname, "mac": links.mac_of(made.address), "sandbox": made.netns},
        ],
        "ips": [_ip(network, made)],
        "routes": [{"dst": "0.0.0.0/0", "gw": str(made.gateway)}],
        "dns": {},
    }


def _ip(network: Network, made: links.Attachment) -> Object:
    ip: Object = {"address": f"{made.address}/32", "gateway": str(made.gateway), "interface": 2}
    return ip if at_least(network.version, "1.0.0") else {"version": "4", **ip}


def _parse(config: Object) -> Network:
    """Raises CniError naming the field that is wrong."""
    version = config.get("cniVersion", "")
    if version not in SUPPORTED:
        raise CniError(INCOMPATIBLE_VERSION, "cniVersion is not supported", str(version))
    subnet = _subnet(config)
    directory = Path(config.get("dataDir") or _DATA_DIR) / str(config.get("name", "")) / str(subnet).replace("/", "-")
    try:
        store = Store(directory, subnet)
    except OSError as error:
        raise CniError(IO_FAILURE, "dataDir cannot be used", str(error)) from error
    mappings = (config.get("runtimeConfig") or {}).get("portMappings") or []
    mtu = int(config.get("mtu") or 0)
    return Network(version, config.get("bridge") or "cbr0", subnet, mtu, store, _port_mappings(mappings), config)


def _subnet(config: Object) -> IPv4Network:
    if "ipam" in config:
        raise CniError(INVALID_CONFIG, "ipam is not supported: this plugin has its own", str(config["ipam"]))
    try:
        return IPv4Network(config.get("subnet", ""))
    except ValueError as error:
        raise CniError(INVALID_CONFIG, "subnet is not an IPv4 network", str(error)) from error


def _port_mappings(entries: list[Any]) -> "list[PortMapping]":
    if not entries:
        return []
    from cni import hostports

    return hostports.parse(entries)
