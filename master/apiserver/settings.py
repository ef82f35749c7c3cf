"""The API server's settings: upstream's flags, grouped."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from apimachinery import flags
from apimachinery.flags import flag, group, required

from .auth.request_header import RequestHeaderConfig
from .auth.setup import AuthConfig
from .storage.etcd import EtcdAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSettings:
    """Where and how the server listens. ``advertise_address`` is where pods and nodes reach it."""

    bind_address: str = flag("0.0.0.0", "address to listen on")
    secure_port: int = flag(6443, "HTTPS port")
    grpc_port: int = flag(0, "inside gRPC, by client certificate (default: secure port + 1)")
    grpc_token_port: int = flag(0, "inside gRPC, by token (default: secure port + 2)")
    advertise_address: str = flag("", "address that nodes and pods use (default: this host's)")
    tls_cert_file: str = required("server certificate, PEM")
    tls_private_key_file: str = required("its key, PEM")
    client_ca_file: str = flag("", "CA of client certificates")


@dataclass(frozen=True, slots=True)
class KubeletSettings:
    """How the server reaches node agents, with mTLS."""

    client_certificate: str = flag("", "client certificate for node agents")
    client_key: str = flag("", "its key")
    certificate_authority: str = flag("", "CA of the node agents' certificates")


@dataclass(frozen=True, slots=True)
class FairnessSettings:
    """How many requests may be in flight: together with priority and fairness, else of each sort.

    Upstream's 400 and 200 are for a server on many cores: on one event loop they would only lengthen its queues.
    """

    enabled: bool = flag(True, "seats by FlowSchema and priority level", name="enable-priority-and-fairness")
    max_requests: int = flag(64, "reads at a time; 0 = any", name="max-requests-inflight")
    max_mutating_requests: int = flag(32, "writes at a time", name="max-mutating-requests-inflight")


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """``maxage`` in days, ``maxsize`` in MB, 0 = no limit; the webhook's wait and back-off in seconds."""

    policy_file: str = flag("", "audit.k8s.io/v1 Policy: what is recorded (default: nothing)")
    log_path: str = flag("", "file that events are written to; - is stdout")
    log_maxage: int = flag(0, "days that rotated files are kept (default: all)")
    log_maxbackup: int = flag(0, "rotated files that are kept (default: all)")
    log_maxsize: int = flag(100, "megabytes before a rotation")
    webhook_config_file: str = flag("", "kubeconfig of the server that events are posted to")
    webhook_batch_size: int = flag(400, "events in a batch", name="webhook-batch-max-size")
    webhook_batch_wait: float = flag(30.0, "how long one fills", name="webhook-batch-max-wait")
    webhook_backoff: float = flag(10.0, "before a retry", name="webhook-initial-backoff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``event_ttl``, ``compaction_interval``: seconds."""

    etcd: EtcdAccess = group(EtcdAccess, "etcd", "etcd-")
    etcd_prefix: str = flag("/registry", "prefix of all keys in etcd")
    compaction_interval: float = flag(300.0, "0 = never", name="etcd-compaction-interval")
    serving: ServingSettings = group(ServingSettings, "serving")
    auth: AuthConfig = group(AuthConfig, "authentication and authorization")
    request_header: RequestHeaderConfig = group(RequestHeaderConfig, "front proxies", "requestheader-")
    kubelet: KubeletSettings = group(KubeletSettings, "node agents", "kubelet-")
    fairness: FairnessSettings = group(FairnessSettings, "fairness")
    audit: AuditSettings = group(AuditSettings, "audit", "audit-")
    service_cidrs: tuple[str, ...] = flag(("10.96.0.0/16",), "of cluster IPs", name="service-cluster-ip-range")
    event_ttl: float = flag(3600.0, "how long events are kept")
    workers: int = flag(1, "processes that share the ports")
    shutdown_delay: float = flag(0.0, "unready, but serving", name="shutdown-delay-duration")
    verbosity: int = flag(2, "log verbosity", name="v")
    proxy_client_cert_file: str = flag("", "client certificate by which aggregated API servers know this one")
    proxy_client_key_file: str = flag("", "its key")

    @property
    def proxy_client(self) -> tuple[str, str] | None:
        return (self.proxy_client_cert_file, self.proxy_client_key_file) if self.proxy_client_cert_file else None


def _refused(name: str) -> Callable[[str], str]:
    def refuse(_: str) -> str:
        raise argparse.ArgumentTypeError(f"structured configuration is not supported: use the flags instead of {name}")

    return refuse


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Settings from the command line. Exits with a usage message if they make no sense."""
    parser = flags.parser(Settings, "kubeto-apiserver", "The API server: the cluster's state over HTTPS and gRPC.")
    parser.add_argument("--audit-log-format", choices=["json"], help="one event a line, as JSON")
    for name in ("--authentication-config", "--authorization-config"):
        parser.add_argument(name, type=_refused(name), help="not supported: use the flags of that group")
    chosen = flags.read(Settings, parser.parse_args(argv))
    given = chosen.serving
    inside, by_token = given.grpc_port or given.secure_port + 1, given.grpc_token_port or given.secure_port + 2
    return replace(chosen, serving=replace(given, grpc_port=inside, grpc_token_port=by_token))
