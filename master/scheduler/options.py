"""The scheduler's flags: those of kube-scheduler have its names and defaults."""

from dataclasses import dataclass

from apimachinery import flags
from apimachinery.client.options import LeaderOptions
from apimachinery.flags import flag


@dataclass(frozen=True, kw_only=True)
class Options(LeaderOptions):
    """Without a serving certificate nothing is served, and nobody can ask for reasons."""

    leader_elect_resource_name: str = flag("kube-scheduler", "the lease's name in kube-system")
    bind_address: str = flag("0.0.0.0", "where explanations are served")
    secure_port: int = flag(10259, "the port of that")
    tls_cert_file: str = flag("", "the serving certificate; without it nothing is served")
    tls_private_key_file: str = flag("", "its key")
    client_ca_file: str = flag("", "the CA that clients' certificates must come from")
    healthz_port: int = flag(0, "of /metrics and /healthz on 127.0.0.1, in clear text; 0 = none")

    @property
    def serves(self) -> bool:
        return bool(self.tls_cert_file and self.tls_private_key_file and self.client_ca_file)


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line. Ends the program with a message if it is wrong."""
    return flags.parse(Options, "kubeto-scheduler", "Binds pods to nodes.", arguments)
