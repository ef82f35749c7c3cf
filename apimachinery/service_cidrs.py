"""ServiceCIDR: the blocks of addresses that Services are given theirs of (KEP-1880)."""

import ipaddress
from collections.abc import Iterator

from apimachinery.meta import Object, get_condition, is_deleting
from apimachinery.scheme import kind_of

SERVICE_CIDRS = kind_of("servicecidrs", "networking.k8s.io")
DEFAULT = "kubernetes"
"""The name of the one that has the API server's ``--service-cluster-ip-range``."""
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
DELETION_SECONDS = 10
"""How long API servers may take to hear that addresses of a deleted one are not to be given any more."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(cidr: Object) -> Iterator[Network]:
    for block in (cidr.get("spec") or {}).get("cidrs") or ():
        yield ipaddress.ip_network(block)


def gives_addresses(cidr: Object) -> bool:
    """Unless it is going away or not ready; one that no controller has looked at is taken to be ready."""
    ready = get_condition(cidr, "Ready")
    return not is_deleting(cidr) and (ready is None or ready.get("status") == "True")
