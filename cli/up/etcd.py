"""The members of a cluster's etcd: on loopback in process mode, over TLS on compose's network."""

import os

from cli.up.config import ClusterConfig
from cli.up.identities import Certificates
from cli.up.prerequisites import CannotStart

METRICS_URL = "http://127.0.0.1:2381"  # in compose: what the health check looks at
_QUOTA_BYTES = 8 << 30
_ALONE = ("--heartbeat-interval=500", "--election-timeout=5000")
"""With nobody to send heartbeats to, ten ticks a second are a third of what an idle etcd costs."""


def command(config: ClusterConfig, certificates: Certificates, member: int) -> list[str]:
    """The command line of one member."""
    cluster = ",".join(f"etcd-{i}={config.etcd_peer_url(i)}" for i in range(config.etcd_members))
    return [
        "etcd",
        f"--name=etcd-{member}",
        f"--data-dir={config.data / f'etcd-{member}'}",
        f"--listen-client-urls={_listen(config, config.etcd_client_url(member))}",
        f"--advertise-client-urls={config.etcd_client_url(member)}",
        f"--listen-peer-urls={_listen(config, config.etcd_peer_url(member))}",
        f"--initial-advertise-peer-urls={config.etcd_peer_url(member)}",
        f"--initial-cluster={cluster}",
        f"--initial-cluster-token={config.name}",
        f"--quota-backend-bytes={_QUOTA_BYTES}",
        "--logger=zap",
        "--log-level=warn",
        *(_ALONE if config.etcd_members == 1 else []),
        *(_tls(certificates) if config.mode == "compose" else []),
    ]


def environment() -> dict[str, str]:
    """etcd refuses to start on some machines until it is told that this is known."""
    machine = os.uname().machine
    return {} if machine == "x86_64" else {"ETCD_UNSUPPORTED_ARCH": machine}


def client_flags(config: ClusterConfig, certificates: Certificates) -> list[str]:
    """What the API server needs to be let in."""
    if config.mode != "compose":
        return []
    return [
        f"--etcd-cafile={certificates.certificate('ca')}",
        f"--etcd-certfile={certificates.certificate('etcd')}",
        f"--etcd-keyfile={certificates.key('etcd')}",
    ]


def check_members(config: ClusterConfig) -> None:
    """Raise CannotStart where the data are of an etcd with another number of members: it cannot change at a start."""
    kept = len(list(config.data.glob("etcd-*")))
    if kept and kept != config.etcd_members:
        raise CannotStart(
            f"the data in {config.data} are of an etcd with {kept} member{'s' if kept > 1 else ''}: start with "
            f"--etcd {kept}, or remove the data with 'kubeto down --clean'"
        )


def _listen(config: ClusterConfig, url: str) -> str:
    """In a container the advertised name may not be resolved yet when etcd binds."""
    return f"https://0.0.0.0:{url.rpartition(':')[2]}" if config.mode == "compose" else url


def _tls(certificates: Certificates) -> list[str]:
    ca, certificate, key = certificates.certificate("ca"), certificates.certificate("etcd"), certificates.key("etcd")
    client = ["--client-cert-auth", f"--trusted-ca-file={ca}", f"--cert-file={certificate}", f"--key-file={key}"]
    peer = ["--peer-client-cert-auth", f"--peer-trusted-ca-file={ca}"]
    return [
        *client,
        *peer,
        f"--peer-cert-file={certificate}",
        f"--peer-key-file={key}",
        f"--listen-metrics-urls={METRICS_URL}",
    ]
