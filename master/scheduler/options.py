"""The scheduler's flags: those of kube-scheduler have its names and defaults."""

import argparse
from dataclasses import dataclass, fields

from apimachinery.client.leader import LeaseTimes
from apimachinery.flags import add_boolean, duration


@dataclass(frozen=True)
class Options:
    """Durations are in seconds. Without a serving certificate nothing is served, and nobody can ask for reasons."""

    kubeconfig: str
    leader_elect: bool = True
    leader_elect_lease_duration: float = 15.0
    leader_elect_renew_deadline: float = 10.0
    leader_elect_retry_period: float = 2.0
    leader_elect_resource_name: str = "kube-scheduler"
    bind_address: str = "0.0.0.0"
    secure_port: int = 10259
    tls_cert_file: str = ""
    tls_private_key_file: str = ""
    client_ca_file: str = ""
    healthz_port: int = 0
    """On 127.0.0.1, in clear text: /metrics, /healthz. 0 = not served."""
    v: int = 2

    @property
    def lease_times(self) -> LeaseTimes:
        return LeaseTimes(
            int(self.leader_elect_lease_duration), self.leader_elect_renew_deadline, self.leader_elect_retry_period
        )

    @property
    def serves(self) -> bool:
        return bool(self.tls_cert_file and self.tls_private_key_file and self.client_ca_file)


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line. Ends the program with a message if it is wrong."""
    parser = argparse.ArgumentParser("kubeto-scheduler", description="Binds pods to nodes.")
    add = parser.add_argument
    add("--kubeconfig", required=True, help="how to reach the API server")
    add_boolean(parser, "--leader-elect", True, "of several schedulers, let one work")
    add("--leader-elect-lease-duration", type=duration, default=15.0, help="a silent leader is replaced after this")
    add("--leader-elect-renew-deadline", type=duration, default=10.0, help="a leader gives up after this")
    add("--leader-elect-retry-period", type=duration, default=2.0, help="between attempts to take or renew the lease")
    add("--leader-elect-resource-name", default="kube-scheduler", help="the lease's name in kube-system")
    add("--bind-address", default="0.0.0.0", help="where explanations are served")
    add("--secure-port", type=int, default=10259, help="the port of that")
    add("--tls-cert-file", default="", help="the serving certificate; without it nothing is served")
    add("--tls-private-key-file", default="", help="its key")
    add("--client-ca-file", default="", help="the CA that clients' certificates must come from")
    add("--healthz-port", type=int, default=0, help="of /metrics and /healthz on 127.0.0.1; 0 = none")
    add("--v", type=int, default=2, help="how much is logged: 0 warnings, 2 usual, 4 debug")
    given = vars(parser.parse_args(arguments))
    return Options(**{f.name: given[f.name] for f in fields(Options)})
