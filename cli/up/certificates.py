"""A cluster's certificates, keys and kubeconfigs, made with ``apimachinery.pki`` and kept when they still fit.

Layout of the ``pki`` folder: ``ca``, ``apiserver`` (serving), ``apiserver-kubelet-client``, ``sa`` (signing key of
service accounts), ``front-proxy-ca`` and ``front-proxy-client``, ``etcd`` when etcd is reached over a network,
``scheduler`` (serving), and ``node-*``. Each component's kubeconfig has its client certificate inline.
"""

import yaml

from apimachinery import pki, whole_file
from apimachinery.config import kubeconfig
from cli.up.config import CLUSTER_DOMAIN, ClusterConfig
from cli.up.identities import ADMIN, HOLLOW, HOLLOW_IDENTITY, IDENTITIES, NODE_SERVER_NAME, Certificates


def ensure_certificates(config: ClusterConfig) -> Certificates:
    """Make what is missing, for all components and all nodes."""
    certificates = Certificates(config.pki)
    config.pki.mkdir(parents=True, exist_ok=True, mode=0o755)
    ca = pki.ensure_ca(config.pki)
    _ensure_serving(ca, config)
    ca.ensure_client(config.pki / "apiserver-kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
    pki.ensure_key(config.pki / "sa.key")
    front = pki.ensure_ca(config.pki, "front-proxy-ca", "front-proxy-ca")
    front.ensure_client(config.pki / "front-proxy-client", "front-proxy-client")
    for component, (user, groups) in IDENTITIES.items():
        pair = ca.ensure_client(config.pki / f"{component}-client", user, groups)
        _write_kubeconfig(certificates, component, config.api_url, ca, pair)
    if config.hollow:
        _ensure_node(config, ca, HOLLOW, HOLLOW_IDENTITY, HOLLOW_IDENTITY)
    for node in [] if config.hollow else config.node_names():
        _ensure_node(config, ca, node, f"system:node:{node}", "system:nodes")
    return certificates


def _ensure_node(config: ClusterConfig, ca: pki.CertificateAuthority, node: str, user: str, group: str) -> None:
    """The certificate and kubeconfig of one node: the same pair serves its agent and names it as a client."""
    dns = [node, NODE_SERVER_NAME]
    pair = ca.ensure_server(config.pki / node, user, dns=dns, groups=[group], client=True)
    _write_kubeconfig(Certificates(config.pki), node, config.api_url, ca, pair)


def _ensure_serving(ca: pki.CertificateAuthority, config: ClusterConfig) -> None:
    service = "kubernetes.default.svc"
    dns = ["kubernetes", "kubernetes.default", service, f"{service}.{CLUSTER_DOMAIN}", "localhost", "apiserver"]
    ips = list(dict.fromkeys([config.service_ip, "127.0.0.1", config.gateway]))
    ca.ensure_server(config.pki / "apiserver", "kube-apiserver", dns=dns, ips=ips)
    ca.ensure_server(config.pki / "kube-scheduler", "system:kube-scheduler", dns=["kube-scheduler"], ips=ips)
    ca.ensure_server(
        config.pki / "etcd", "etcd", dns=["localhost", *(f"etcd-{i}" for i in range(3))], ips=["127.0.0.1"], client=True
    )


def _write_kubeconfig(
    certificates: Certificates, name: str, server: str, ca: pki.CertificateAuthority, pair: pki.KeyPair
) -> None:
    document = kubeconfig(server, ca.pem, pair.certificate_pem, pair.key_pem, user=name)
    whole_file.replace(certificates.kubeconfig(name), yaml.safe_dump(document, sort_keys=False).encode(), 0o600)


def write_admin_kubeconfig(config: ClusterConfig) -> None:
    """``<dir>/admin.conf``: the administrator's kubeconfig, by the machine's loopback address."""
    ca = pki.ensure_ca(config.pki)
    user, groups = IDENTITIES[ADMIN]
    pair = ca.ensure_client(config.pki / f"{ADMIN}-client", user, groups)
    server = f"https://127.0.0.1:{config.port}"
    document = kubeconfig(server, ca.pem, pair.certificate_pem, pair.key_pem, cluster=config.name)
    whole_file.replace(config.admin_kubeconfig, yaml.safe_dump(document, sort_keys=False).encode(), 0o600)
