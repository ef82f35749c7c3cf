"""The API server's settings: upstream's flags, grouped."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apimachinery.flags import add_boolean, duration

from .auth.request_header import RequestHeaderConfig
from .auth.setup import DEFAULT_ISSUER, AuthConfig
from .storage.etcd import EtcdAccess


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Where and how the server listens. ``advertise_address`` is where pods and nodes reach it."""

    bind_address: str
    secure_port: int
    grpc_port: int
    grpc_token_port: int
    advertise_address: str
    tls_cert_file: str
    tls_private_key_file: str
    client_ca_file: str


@dataclass(frozen=True, slots=True)
class KubeletSettings:
    """How the server reaches node agents, with mTLS."""

    client_certificate: str
    client_key: str
    certificate_authority: str


@dataclass(frozen=True, slots=True)
class FairnessSettings:
    """How many requests may be in flight: together with priority and fairness, else of each sort."""

    enabled: bool
    max_requests: int
    max_mutating_requests: int


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """``maxage`` in days, ``maxsize`` in MB, 0 = no limit; the webhook's wait and back-off in seconds."""

    policy_file: str
    log_path: str
    log_maxage: int
    log_maxbackup: int
    log_maxsize: int
    webhook_config_file: str
    webhook_batch_size: int
    webhook_batch_wait: float
    webhook_backoff: float


@dataclass(frozen=True, slots=True)
class Settings:
    """``event_ttl``, ``compaction_interval``: seconds."""

    etcd: EtcdAccess
    etcd_prefix: str
    compaction_interval: float
    serving: ServingSettings
    auth: AuthConfig
    kubelet: KubeletSettings
    fairness: FairnessSettings
    audit: AuditSettings
    service_cidrs: tuple[str, ...]
    event_ttl: float
    workers: int
    shutdown_delay: float
    verbosity: int
    proxy_client: tuple[str, str] | None
    """Files of the certificate and key by which aggregated API servers know this one."""


def _refused(flag: str) -> Callable[[str], str]:
    def refuse(_: str) -> str:
        raise argparse.ArgumentTypeError(f"structured configuration is not supported: use the flags instead of {flag}")

    return refuse


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "kubeto-apiserver", description="The API server: the cluster's state over HTTPS and gRPC."
    )
    _etcd_flags(p.add_argument_group("etcd"))
    _serving_flags(p.add_argument_group("serving"))
    _auth_flags(p.add_argument_group("authentication and authorization"))
    _audit_flags(p.add_argument_group("audit"))
    _front_proxy_flags(p.add_argument_group("aggregation and front proxies"))
    _cluster_flags(p.add_argument_group("cluster"))
    return p


def _etcd_flags(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--etcd-servers", type=_list, required=True, metavar="URLS", help="etcd servers, comma separated")
    g.add_argument("--etcd-prefix", default="/registry", help="prefix of all keys in etcd (default: /registry)")
    g.add_argument("--etcd-cafile", default="", help="CA of etcd's certificates")
    g.add_argument("--etcd-certfile", default="", help="client certificate for etcd")
    g.add_argument("--etcd-keyfile", default="", help="its key")
    g.add_argument("--etcd-compaction-interval", type=duration, default=300.0, help="0 = never (default: 5m)")


def _serving_flags(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--bind-address", default="0.0.0.0", help="address to listen on (default: all)")
    g.add_argument("--secure-port", type=int, default=6443, help="HTTPS port (default: 6443)")
    g.add_argument(
        "--grpc-port", type=int, default=0, help="inside gRPC, by client certificate (default: secure port + 1)"
    )
    g.add_argument("--grpc-token-port", type=int, default=0, help="inside gRPC, by token (default: secure port + 2)")
    g.add_argument("--advertise-address", default="", help="address that nodes and pods use (default: this host's)")
    g.add_argument("--tls-cert-file", required=True, help="server certificate, PEM")
    g.add_argument("--tls-private-key-file", required=True, help="its key, PEM")
    g.add_argument("--client-ca-file", default="", help="CA of client certificates")
    g.add_argument("--workers", type=int, default=1, help="processes that share the ports (default: 1)")
    add_boolean(g, "--enable-priority-and-fairness", True, "seats by FlowSchema and priority level (default: true)")
    # Upstream's 400 and 200 are for a server on many cores: on one event loop they would only lengthen its queues.
    g.add_argument("--max-requests-inflight", type=int, default=64, help="reads at a time; 0 = any (default: 64)")
    g.add_argument("--max-mutating-requests-inflight", type=int, default=32, help="writes at a time (default: 32)")
    g.add_argument("--shutdown-delay-duration", type=duration, default=0.0, help="unready, but serving (default: 0s)")
    g.add_argument("--v", type=int, default=2, metavar="LEVEL", help="log verbosity (default: 2)")


def _auth_flags(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--authorization-mode", type=_list, default=("Node", "RBAC"), help="default: Node,RBAC")
    g.add_argument("--token-auth-file", default="", help='CSV: token,user,uid,"group1,group2"')
    add_boolean(g, "--anonymous-auth", True, "who shows no credentials is system:anonymous (default: true)")
    for flag in ("--authentication-config", "--authorization-config"):
        g.add_argument(flag, type=_refused(flag), help="not supported: use the flags of this group")
    add_boolean(g, "--enable-bootstrap-token-auth", True, "accept bootstrap tokens (default: true)")
    g.add_argument(
        "--service-account-key-file", action="append", default=[], help="key that verifies tokens; repeatable"
    )
    g.add_argument(
        "--service-account-signing-key-file", default="", help="key that signs tokens (default: one for this run)"
    )
    g.add_argument(
        "--service-account-issuer", action="append", default=[], help=f"repeatable (default: {DEFAULT_ISSUER})"
    )
    g.add_argument("--service-account-jwks-uri", default="", help="where the issuer's keys are, if not here")
    g.add_argument("--api-audiences", type=_list, default=(), help="audiences of tokens (default: the issuers)")


def _audit_flags(g: argparse._ArgumentGroup) -> None:
    g.add_argument(
        "--audit-policy-file", default="", help="audit.k8s.io/v1 Policy: what is recorded (default: nothing)"
    )
    g.add_argument("--audit-log-path", default="", help="file that events are written to; - is stdout")
    g.add_argument("--audit-log-maxage", type=int, default=0, help="days that rotated files are kept (default: all)")
    g.add_argument("--audit-log-maxbackup", type=int, default=0, help="rotated files that are kept (default: all)")
    g.add_argument("--audit-log-maxsize", type=int, default=100, help="megabytes before a rotation (default: 100)")
    g.add_argument("--audit-log-format", choices=["json"], default="json", help="one event a line, as JSON")
    g.add_argument("--audit-webhook-config-file", default="", help="kubeconfig of the server that events are posted to")
    g.add_argument("--audit-webhook-batch-max-size", type=int, default=400, help="events in a batch (default: 400)")
    g.add_argument(
        "--audit-webhook-batch-max-wait", type=duration, default=30.0, help="how long one fills (default: 30s)"
    )
    g.add_argument("--audit-webhook-initial-backoff", type=duration, default=10.0, help="before a retry (default: 10s)")


def _front_proxy_flags(g: argparse._ArgumentGroup) -> None:
    usual = RequestHeaderConfig()
    g.add_argument("--proxy-client-cert-file", default="", help="client certificate for aggregated API servers")
    g.add_argument("--proxy-client-key-file", default="", help="its key")
    g.add_argument("--requestheader-client-ca-file", default="", help="CA of front proxies, who name users in headers")
    g.add_argument("--requestheader-allowed-names", type=_list, default=(), help="their names (default: any)")
    for flag, names in (
        ("username-headers", usual.username_headers),
        ("uid-headers", usual.uid_headers),
        ("group-headers", usual.group_headers),
        ("extra-headers-prefix", usual.extra_headers_prefix),
    ):
        g.add_argument(f"--requestheader-{flag}", type=_list, default=names, help=f"default: {names[0]}")


def _cluster_flags(g: argparse._ArgumentGroup) -> None:
    g.add_argument("--service-cluster-ip-range", type=_list, default=("10.96.0.0/16",), help="default: 10.96.0.0/16")
    g.add_argument("--event-ttl", type=duration, default=3600.0, help="how long events are kept (default: 1h)")
    g.add_argument("--kubelet-client-certificate", default="", help="client certificate for node agents")
    g.add_argument("--kubelet-client-key", default="", help="its key")
    g.add_argument("--kubelet-certificate-authority", default="", help="CA of the node agents' certificates")


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Settings from the command line. Exits with a usage message if they make no sense."""
    a = parser().parse_args(argv)
    port = a.secure_port
    serving = ServingSettings(
        a.bind_address,
        port,
        a.grpc_port or port + 1,
        a.grpc_token_port or port + 2,
        a.advertise_address,
        a.tls_cert_file,
        a.tls_private_key_file,
        a.client_ca_file,
    )
    auth = AuthConfig(
        tuple(a.authorization_mode),
        a.token_auth_file,
        tuple(a.service_account_key_file),
        a.service_account_signing_key_file,
        tuple(a.service_account_issuer) or (DEFAULT_ISSUER,),
        a.service_account_jwks_uri,
        a.api_audiences,
        a.anonymous_auth,
        a.enable_bootstrap_token_auth,
        a.client_ca_file,
        RequestHeaderConfig(
            a.requestheader_client_ca_file,
            a.requestheader_allowed_names,
            a.requestheader_username_headers,
            a.requestheader_uid_headers,
            a.requestheader_group_headers,
            a.requestheader_extra_headers_prefix,
        ),
    )
    return Settings(
        EtcdAccess(a.etcd_servers, a.etcd_cafile, a.etcd_certfile, a.etcd_keyfile),
        a.etcd_prefix,
        a.etcd_compaction_interval,
        serving,
        auth,
        KubeletSettings(a.kubelet_client_certificate, a.kubelet_client_key, a.kubelet_certificate_authority),
        FairnessSettings(a.enable_priority_and_fairness, a.max_requests_inflight, a.max_mutating_requests_inflight),
        AuditSettings(
            a.audit_policy_file,
            a.audit_log_path,
            a.audit_log_maxage,
            a.audit_log_maxbackup,
            a.audit_log_maxsize,
            a.audit_webhook_config_file,
            a.audit_webhook_batch_max_size,
            a.audit_webhook_batch_max_wait,
            a.audit_webhook_initial_backoff,
        ),
        a.service_cluster_ip_range,
        a.event_ttl,
        a.workers,
        a.shutdown_delay_duration,
        a.v,
        (a.proxy_client_cert_file, a.proxy_client_key_file) if a.proxy_client_cert_file else None,
    )
