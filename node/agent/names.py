"""What a pod's files know of names: /etc/hosts, host name, resolver settings.

Source: kubelet ``kubelet_pods.go`` (hosts file, GeneratePodHostNameAndDomain), ``network/dns/dns.go``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.agent.pod_state import Object
from protos.cri.runtime.v1 import api_pb2 as pb

MANAGED_HEADER: Final = "# Kubernetes-managed hosts file.\n"
MANAGED_HOST_HEADER: Final = "# Kubernetes-managed hosts file (host network).\n"
_LOOPBACK: Final = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)
TAB: Final = "\t"
_MAX_HOSTNAME: Final = 63
_MAX_SEARCHES: Final = 32


def hostname(pod: Object) -> str:
    """The pod's short host name, at most 63 characters."""
    name = pod["spec"].get("hostname") or pod["metadata"]["name"]
    return str(name)[:_MAX_HOSTNAME].rstrip("-.")


def domain(pod: Object, cluster_domain: str) -> str:
    """The domain of a pod with a subdomain; "" without."""
    subdomain = pod["spec"].get("subdomain")
    return f"{subdomain}.{pod['metadata'].get('namespace', '')}.svc.{cluster_domain}" if subdomain else ""


def sandbox_hostname(pod: Object, cluster_domain: str) -> str:
    """What the sandbox's UTS namespace is given; "" on the host's network."""
    if pod["spec"].get("hostNetwork"):
        return ""
    if pod["spec"].get("hostnameOverride"):
        return str(pod["spec"]["hostnameOverride"])
    full = ".".join(part for part in (hostname(pod), domain(pod, cluster_domain)) if part)
    return full if pod["spec"].get("setHostnameAsFQDN") else hostname(pod)


def hosts_file(pod: Object, ips: Sequence[str], cluster_domain: str) -> str:
    """The /etc/hosts of a pod with its own network."""
    lines = [MANAGED_HEADER, _LOOPBACK]
    name, zone = hostname(pod), domain(pod, cluster_domain)
    lines += [f"{ip}\t{name}.{zone}\t{name}\n" if zone else f"{ip}\t{name}\n" for ip in ips]
    return "".join(lines) + _aliases(pod)


def host_network_hosts_file(pod: Object, node_hosts: str) -> str:
    return MANAGED_HOST_HEADER + node_hosts + _aliases(pod)


def _aliases(pod: Object) -> str:
    aliases = pod["spec"].get("hostAliases") or ()
    if not aliases:
        return ""
    return "\n# Entries added by HostAliases.\n" + "".join(
        f"{a['ip']}\t{TAB.join(a.get('hostnames') or ())}\n" for a in aliases
    )


@dataclass(frozen=True, slots=True)
class Resolver:
    """A resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolver(text: str) -> Resolver:
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] == "search":
            searches = words[1:]
        elif words[0] == "options":
            options = words[1:]
    return Resolver(tuple(servers), tuple(searches), tuple(options))


def pod_resolver(pod: Object, node: Resolver, cluster_dns: Sequence[str], cluster_domain: str) -> Resolver:
    """The resolver settings of a pod, by its dnsPolicy and dnsConfig."""
    policy = pod["spec"].get("dnsPolicy") or "ClusterFirst"
    clustered = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod["spec"].get("hostNetwork"))
    if policy == "None":
        base = Resolver()
    elif clustered and cluster_dns:
        namespace = pod["metadata"].get("namespace", "")
        own = (f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain)
        base = Resolver(tuple(cluster_dns), _unique([*own, *node.searches]), ("ndots:5",))
    else:
        base = node
    return _merged(base, pod["spec"].get("dnsConfig") or {})


def _merged(base: Resolver, config: Object) -> Resolver:
    options = {o.partition(":")[0]: o for o in base.options}
    for option in config.get("options") or ():
        value = option.get("value")
        options[option["name"]] = f"{option['name']}:{value}" if value else option["name"]
    return Resolver(
        _unique([*base.servers, *(config.get("nameservers") or ())]),
        _unique([*base.searches, *(config.get("searches") or ())])[:_MAX_SEARCHES],
        tuple(options.values()),
    )


def _unique(items: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def cri_dns(resolver: Resolver) -> pb.DNSConfig:
    return pb.DNSConfig(servers=resolver.servers, searches=resolver.searches, options=resolver.options)
