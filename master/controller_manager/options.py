"""The controller manager's flags: those of kube-controller-manager have its names and defaults."""

from dataclasses import dataclass

from apimachinery import flags
from apimachinery.client.options import LeaderOptions
from apimachinery.flags import flag


@dataclass(frozen=True, kw_only=True)
class Options(LeaderOptions):
    """Durations are in seconds; networks are CIDRs, "" if there is none."""

    leader_elect_resource_name: str = flag("kube-controller-manager", "the lease's name in kube-system")
    controllers: tuple[str, ...] = flag(("*",), "'*' = all, 'NAME' = this one, '-NAME' = not this one")
    cluster_cidr: str = flag("", "the network of pods: node IPAM gives each node a part of it")
    node_cidr_mask_size: int = flag(24, "the prefix length of a node's part of it")
    service_cluster_ip_range: str = flag("", "the network of services")
    root_ca_file: str = flag("", "the CA certificate for kube-root-ca.crt; default: the kubeconfig's")
    cluster_signing_cert_file: str = flag("", "the CA certificate to sign certificate requests with; default: none are")
    cluster_signing_key_file: str = flag("", "its key")
    cluster_signing_duration: float = flag(31_536_000.0, "the longest that these certificates last")
    node_monitor_grace_period: float = flag(40.0, "a silent node is Unknown after this")
    terminated_pod_gc_threshold: int = flag(12500, "finished pods kept before old ones go; 0 = all")
    healthz_port: int = flag(10257, "of /metrics and /healthz on 127.0.0.1")
    """Taken by one process only, so it is part of the leader's identity."""


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line. Ends the program with a message if it is wrong."""
    return flags.parse(Options, "kubeto-controller-manager", "Runs the cluster's controllers.", arguments)


def is_enabled(name: str, wanted: tuple[str, ...]) -> bool:
    """Whether ``--controllers`` lets a controller run; the first entry that names it decides, then ``*``.

    A name may be given without its ``-controller``.
    """
    names = {name, name.removesuffix("-controller")}
    for entry in wanted:
        if entry in names:
            return True
        if entry.startswith("-") and entry[1:] in names:
            return False
    return "*" in wanted
