"""A sandbox's network: the protocol it is set by, found at run time, and what the sandbox sees of it.

Whoever offers the entry point group ``kubeto.sandbox_network`` gives pods their network; this package knows no
CNI. ``loopback`` is always there: pods that talk to nobody, for tests of everything else.
"""

import fcntl
import socket
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol

from protos.cri.runtime.v1 import api_pb2 as cri

INTERFACE = "eth0"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_HOSTS = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


class AddResult(Protocol):
    @property
    def ips(self) -> list[str]: ...


class SandboxNetwork(Protocol):
    """Gives a network namespace its interfaces and takes them back. Every verb may be repeated."""

    def __init__(self, conf_dir: str, bin_dirs: Sequence[str], cache_dir: str) -> None: ...

    async def add(
        self, container_id: str, netns: str, ifname: str, args: Mapping[str, str], capabilities: Mapping[str, Any]
    ) -> AddResult: ...

    async def delete(
        self, container_id: str, netns: str, ifname: str, args: Mapping[str, str], capabilities: Mapping[str, Any]
    ) -> None:
        """``netns`` may be gone, and ""."""

    async def check(
        self, container_id: str, netns: str, ifname: str, args: Mapping[str, str], capabilities: Mapping[str, Any]
    ) -> None: ...

    async def status(self) -> str:
        """ "" when ready, else why not."""

    async def gc(self, valid: Collection[tuple[str, str]]) -> None:
        """Give back what belongs to none of these (container id, interface name)."""


class _NoAddresses:
    @property
    def ips(self) -> list[str]:
        return []


class Loopback:
    """No network but ``lo``, which every sandbox has anyway."""

    def __init__(self, conf_dir: str, bin_dirs: Sequence[str], cache_dir: str) -> None:
        pass

    async def add(
        self, container_id: str, netns: str, ifname: str, args: Mapping[str, str], capabilities: Mapping[str, Any]
    ) -> AddResult:
        return _NoAddresses()

    async def delete(
        self, container_id: str, netns: str, ifname: str, args: Mapping[str, str], capabilities: Mapping[str, Any]
    ) -> None:
        pass

    async def check(
        self, container_id: str, netns: str, ifname: str, args: Mapping[str, str], capabilities: Mapping[str, Any]
    ) -> None:
        pass

    async def status(self) -> str:
        return ""

    async def gc(self, valid: Collection[tuple[str, str]]) -> None:
        pass


def load(name: str) -> Callable[[str, Sequence[str], str], SandboxNetwork]:
    """The network called ``name``. Raises LookupError with the names there are."""
    if name == "loopback":
        return Loopback
    offers = {offer.name: offer for offer in entry_points(group="kubeto.sandbox_network")}
    if name not in offers:
        raise LookupError(f"no sandbox network {name!r}; there are: {', '.join(['loopback', *sorted(offers)])}")
    factory: Callable[[str, Sequence[str], str], SandboxNetwork] = offers[name].load()
    return factory


def cni_args(sandbox_id: str, meta: cri.PodSandboxMetadata) -> dict[str, str]:
    return {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": meta.namespace,
        "K8S_POD_NAME": meta.name,
        "K8S_POD_INFRA_CONTAINER_ID": sandbox_id,
        "K8S_POD_UID": meta.uid,
    }


def capabilities(config: cri.PodSandboxConfig) -> dict[str, Any]:
    """The runtime configuration of CNI's conventions: port mappings and DNS."""
    out: dict[str, Any] = {}
    mappings = [
        {
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": cri.Protocol.Name(port.protocol).lower(),
            "hostIP": port.host_ip,
        }
        for port in config.port_mappings
        if port.host_port > 0
    ]
    if mappings:
        out["portMappings"] = mappings
    if config.HasField("dns_config"):
        dns = config.dns_config
        out["dns"] = {"servers": list(dns.servers), "searches": list(dns.searches), "options": list(dns.options)}
    return out


def resolv_conf(dns: cri.DNSConfig) -> str:
    lines = ["search " + " ".join(dns.searches)] if dns.searches else []
    lines += [f"nameserver {server}" for server in dns.servers]
    lines += ["options " + " ".join(dns.options)] if dns.options else []
    return "".join(line + "\n" for line in lines)


def hosts_file(hostname: str, ips: Sequence[str]) -> str:
    return _HOSTS + "".join(f"{ip}\t{hostname}\n" for ip in ips if hostname)


def raise_loopback() -> None:
    """Bring ``lo`` up in the namespace of the calling thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = fcntl.ioctl(probe, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags: int = struct.unpack("16sH14x", request)[1]
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def has_interface() -> bool:
    """Whether the namespace of the calling thread has the interface that a sandbox is given."""
    return any(name == INTERFACE for _, name in socket.if_nameindex())
