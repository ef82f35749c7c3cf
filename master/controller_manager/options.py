"""The controller manager's flags: those of kube-controller-manager have its names and defaults."""

import argparse
from dataclasses import dataclass, fields

from apimachinery.client.leader import LeaseTimes
from apimachinery.flags import add_boolean, duration


@dataclass(frozen=True)
class Options:
    """Durations are in seconds; networks are CIDRs, "" if there is none."""

    kubeconfig: str
    leader_elect: bool = True
    leader_elect_lease_duration: float = 15.0
    leader_elect_renew_deadline: float = 10.0
    leader_elect_retry_period: float = 2.0
    leader_elect_resource_name: str = "kube-controller-manager"
    controllers: tuple[str, ...] = ("*",)
    cluster_cidr: str = ""
    """Pods' network: node IPAM gives each node a part of it."""
    node_cidr_mask_size: int = 24
    service_cluster_ip_range: str = ""
    root_ca_file: str = ""
    """The CA that pods get as ``kube-root-ca.crt``; "" = that of the kubeconfig."""
    cluster_signing_cert_file: str = ""
    """With its key, what certificate requests are signed with; "" = they are not."""
    cluster_signing_key_file: str = ""
    cluster_signing_duration: float = 31_536_000.0
    """The longest that a signed certificate lasts."""
    node_monitor_grace_period: float = 40.0
    """A node that was silent for so long is Unknown."""
    terminated_pod_gc_threshold: int = 12500
    healthz_port: int = 10257
    """On 127.0.0.1: /metrics, /healthz. Taken by one process only, so it is part of the leader's identity."""
    v: int = 2

    @property
    def lease_times(self) -> LeaseTimes:
        return LeaseTimes(
            int(self.leader_elect_lease_duration), self.leader_elect_renew_deadline, self.leader_elect_retry_period
        )


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line. Ends the program with a message if it is wrong."""
    parser = argparse.ArgumentParser("kubeto-controller-manager", description="Runs the cluster's controllers.")
    add = parser.add_argument
    add("--kubeconfig", required=True, help="how to reach the API server")
    add_boolean(parser, "--leader-elect", True, "of several controller managers, let one work")
    add("--leader-elect-lease-duration", type=duration, default=15.0, help="a silent leader is replaced after this")
    add("--leader-elect-renew-deadline", type=duration, default=10.0, help="a leader gives up after this")
    add("--leader-elect-retry-period", type=duration, default=2.0, help="between attempts to take or renew the lease")
    add("--leader-elect-resource-name", default="kube-controller-manager", help="the lease's name in kube-system")
    add("--controllers", type=_names, default=("*",), help="'*' = all, 'NAME' = this one, '-NAME' = not this one")
    add("--cluster-cidr", default="", help="the network of pods")
    add("--node-cidr-mask-size", type=int, default=24, help="the prefix length of a node's part of it")
    add("--service-cluster-ip-range", default="", help="the network of services")
    add("--root-ca-file", default="", help="the CA certificate for kube-root-ca.crt; default: the kubeconfig's")
    add("--cluster-signing-cert-file", default="", help="the CA certificate to sign certificate requests with")
    add("--cluster-signing-key-file", default="", help="its key")
    add(
        "--cluster-signing-duration",
        type=duration,
        default=31_536_000.0,
        help="the longest that these certificates last",
    )
    add("--node-monitor-grace-period", type=duration, default=40.0, help="a silent node is Unknown after this")
    add("--terminated-pod-gc-threshold", type=int, default=12500, help="finished pods kept before old ones go; 0 = all")
    add("--healthz-port", type=int, default=10257, help="of /metrics and /healthz on 127.0.0.1")
    add("--v", type=int, default=2, help="how much is logged: 0 warnings, 2 usual, 4 debug")
    given = vars(parser.parse_args(arguments))
    return Options(**{f.name: given[f.name] for f in fields(Options)})


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


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
