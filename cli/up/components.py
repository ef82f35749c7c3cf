"""The processes of a process-mode cluster and their command lines: a pure function of the choices."""

import json
import socket
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cli.up import etcd
from cli.up.config import CLUSTER_DOMAIN, COMPOSE_ENGINE, SERVICE_ACCOUNT_ISSUER, ClusterConfig
from cli.up.identities import CONTROLLER_MANAGER, HOLLOW, SCHEDULER, Certificates

SANDBOX_IMAGE = "kubeto/pause:2"
CNI_BIN_DIR = "/usr/lib/cni"
_NODE_PORT_BASE = 10250

# Stopped first: what would otherwise act on the stop of the others.
_STOP_CONTROL, _STOP_NODES, _STOP_API, _STOP_ETCD = 4, 3, 2, 1


@dataclass(frozen=True, slots=True)
class Component:
    """One process of the cluster. ``node`` is the index of the node in whose namespace it runs, or -1."""

    name: str
    argv: list[str]
    node: int = -1
    env: dict[str, str] = field(default_factory=dict)
    stop_after: int = 0  # components with a higher number are stopped first
    before_stop: list[str] = field(default_factory=list)  # a command that makes an orderly end of what it runs


def save_components(path: Path, components: list[Component]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(c) for c in components], indent=2) + "\n")


def load_components(path: Path) -> list[Component]:
    return [Component(**c) for c in json.loads(path.read_text())]


def program(name: str) -> str:
    """The console script beside the Python that runs this."""
    return str(Path(sys.executable).parent / name)


def control_plane(config: ClusterConfig, certificates: Certificates) -> list[Component]:
    return [
        *_etcd(config, certificates),
        api_server(config, certificates),
        controller_manager(config, certificates),
        scheduler(config, certificates),
    ]


def _etcd(config: ClusterConfig, certificates: Certificates) -> list[Component]:
    return [
        Component(
            name=f"etcd-{member}",
            argv=etcd.command(config, certificates, member),
            env=etcd.environment(),
            stop_after=_STOP_ETCD,
        )
        for member in range(config.etcd_members)
    ]


def api_server(config: ClusterConfig, certificates: Certificates) -> Component:
    return Component(
        name="kubeto-apiserver",
        argv=[
            program("kubeto-apiserver"),
            f"--etcd-servers={','.join(map(config.etcd_client_url, range(config.etcd_members)))}",
            *etcd.client_flags(config, certificates),
            "--bind-address=0.0.0.0",
            f"--secure-port={config.secure_port}",
            f"--advertise-address={own_address() if config.mode == 'compose' else config.gateway}",
            f"--tls-cert-file={certificates.certificate('apiserver')}",
            f"--tls-private-key-file={certificates.key('apiserver')}",
            f"--client-ca-file={certificates.certificate('ca')}",
            f"--service-account-key-file={certificates.directory / 'sa.key.pub'}",
            f"--service-account-signing-key-file={certificates.key('sa')}",
            f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}",
            f"--service-cluster-ip-range={config.service_cidr}",
            "--authorization-mode=Node,RBAC",
            f"--kubelet-client-certificate={certificates.certificate('apiserver-kubelet-client')}",
            f"--kubelet-client-key={certificates.key('apiserver-kubelet-client')}",
            f"--kubelet-certificate-authority={certificates.certificate('ca')}",
            f"--proxy-client-cert-file={certificates.certificate('front-proxy-client')}",
            f"--proxy-client-key-file={certificates.key('front-proxy-client')}",
            f"--requestheader-client-ca-file={certificates.certificate('front-proxy-ca')}",
            "--requestheader-allowed-names=front-proxy-client",
            f"--v={config.verbosity}",
        ],
        stop_after=_STOP_API,
    )


def own_address() -> str:
    """The address of the container that this runs in."""
    return socket.gethostbyname(socket.gethostname())


def controller_manager(config: ClusterConfig, certificates: Certificates) -> Component:
    return Component(
        name="kubeto-controller-manager",
        argv=[
            program("kubeto-controller-manager"),
            f"--kubeconfig={certificates.kubeconfig(CONTROLLER_MANAGER)}",
            f"--cluster-cidr={config.cluster_cidr}",
            f"--service-cluster-ip-range={config.service_cidr}",
            f"--root-ca-file={certificates.certificate('ca')}",
            f"--cluster-signing-cert-file={certificates.certificate('ca')}",
            f"--cluster-signing-key-file={certificates.key('ca')}",
            f"--healthz-port={config.secure_port + 7}",
            "--leader-elect=true",
            f"--v={config.verbosity}",
        ],
        stop_after=_STOP_CONTROL,
    )


def scheduler(config: ClusterConfig, certificates: Certificates) -> Component:
    return Component(
        name="kubeto-scheduler",
        argv=[
            program("kubeto-scheduler"),
            f"--kubeconfig={certificates.kubeconfig(SCHEDULER)}",
            f"--bind-address={own_address() if config.mode == 'compose' else '127.0.0.1'}",
            f"--secure-port={config.secure_port + 9}",
            f"--healthz-port={config.secure_port + 8}",
            f"--tls-cert-file={certificates.certificate('kube-scheduler')}",
            f"--tls-private-key-file={certificates.key('kube-scheduler')}",
            f"--client-ca-file={certificates.certificate('ca')}",
            "--leader-elect=true",
            f"--v={config.verbosity}",
        ],
        stop_after=_STOP_CONTROL,
    )


def node_agent(config: ClusterConfig, certificates: Certificates, node: str, extra: list[str]) -> list[str]:
    """The agent's command line, without what depends on where it runs."""
    return [
        program("kubeto-node"),
        f"--kubeconfig={certificates.kubeconfig(node)}",
        f"--hostname-override={node}",
        f"--cluster-cidr={config.cluster_cidr}",
        f"--service-cluster-ip-range={config.service_cidr}",
        f"--cluster-dns={config.cluster_dns}",
        f"--cluster-domain={CLUSTER_DOMAIN}",
        f"--tls-cert-file={certificates.certificate(node)}",
        f"--tls-private-key-file={certificates.key(node)}",
        f"--client-ca-file={certificates.certificate('ca')}",
        f"--root-dir={config.data / 'nodes' / node}",
        # The disk is the user's, and how full it is their affair: no pod is evicted for it.
        "--eviction-hard=memory.available<100Mi,nodefs.available<1%,pid.available<5%",
        f"--v={config.verbosity}",
        *extra,
    ]


def hollow_nodes(config: ClusterConfig, certificates: Certificates) -> list[Component]:
    """One process that pretends to be every node, on the in-memory runtime."""
    extra = [
        f"--hollow={config.nodes}",
        "--node-ip=127.0.0.1",
        f"--port={config.port + 10}",
        "--no-proxy",
        "--no-dns",
    ]
    argv = node_agent(config, certificates, HOLLOW, extra)
    return [Component(name="kubeto-node", argv=argv, stop_after=_STOP_NODES)]


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where one node runs: its name and address, the namespace it is started in (see Component) and, under Docker,
    the container whose network its pods on the host's network join."""

    name: str
    address: str
    namespace: int = -1
    container: str = ""


def place(config: ClusterConfig, index: int) -> NodePlace:
    """The place of a process-mode node."""
    name = config.node_names()[index]
    return NodePlace(name, config.node_ip(index), index, f"{config.name}-{name}")


def real_node(config: ClusterConfig, certificates: Certificates, node: NodePlace) -> list[Component]:
    """The agent of one node and its container runtime, in the node's network namespace."""
    extra = [
        f"--container-runtime-endpoint=unix://{_socket(config, node.name)}",
        f"--cni-conf-dir={config.data / 'nodes' / node.name / 'cni'}",
        f"--node-ip={node.address}",
        f"--port={_NODE_PORT_BASE}",
    ]
    argv = node_agent(config, certificates, node.name, extra)
    agent = Component(name=f"kubeto-{node.name}", argv=argv, node=node.namespace, stop_after=_STOP_NODES)
    return [_runtime(config, node), agent]


def _socket(config: ClusterConfig, node: str) -> Path:
    return config.run / f"{node}.sock"


def _runtime(config: ClusterConfig, node: NodePlace) -> Component:
    state = config.data / "nodes" / node.name
    if config.runtime == "containerd":
        argv = ["containerd", f"--config={state / 'containerd.toml'}", "--log-level=warn"]
        remove_pods = [sys.executable, "-m", "cli.up.containerd", str(_socket(config, node.name))]
        return Component(f"containerd-{node.name}", argv, node.namespace, stop_after=_STOP_API, before_stop=remove_pods)
    argv = [
        program("kubeto-cri-docker"),
        f"--listen=unix://{_socket(config, node.name)}",
        f"--docker-host={COMPOSE_ENGINE if config.mode == 'compose' else config.engine}",
        f"--state-dir={state / 'cri'}",
        f"--node-name={config.name}-{node.name}",
        f"--sandbox-image={SANDBOX_IMAGE}",
        f"--cni-conf-dir={state / 'cni'}",
        f"--cni-bin-dir={CNI_BIN_DIR}",
        f"--host-network-container={node.container}",
        f"--v={config.verbosity}",
    ]
    return Component(name=f"kubeto-cri-docker-{node.name}", argv=argv, node=node.namespace, stop_after=_STOP_API)
