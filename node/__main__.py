"""``kubeto-node``: the agent of one node, with its service proxy, cluster DNS and routes; or many hollow nodes.

All parts are named tasks of one process and share one connection and its watches. Flags that upstream's components
have are named as there.
"""

import argparse
import asyncio
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal
from urllib.parse import urlsplit

from grpc import aio

from apimachinery import logging
from apimachinery.client.api import ApiClient
from apimachinery.client.informer import InformerFactory
from apimachinery.config import ClusterAccess, ConfigError, load_kubeconfig
from apimachinery.flags import duration, names
from apimachinery.lifecycle import Tasks, run
from apimachinery.quantity import QuantityError, parse, value
from apimachinery.rpc import SERVER_OPTIONS
from apimachinery.scheme import NODES, PODS, SERVICES
from node import network
from node.agent import pressure
from node.agent.agent import NodeAgent, ProcessParts, run_nodes
from node.agent.host import HostReader
from node.agent.leases import LeaseRenewer
from node.agent.server import NodeAgentService
from node.agent.settings import DEFAULT_EVICTION, KUBELET_VERSION, AgentSettings
from node.agent.shutdown import periods
from node.agent.status_writer import StatusWriter
from node.agent.tls import TlsFiles, server_credentials
from node.cri.client import CriClient
from node.cri.fake import FakeRuntime
from node.cri.fake_images import FakeOptions
from node.cri.runtime import Runtime
from protos.kubeto.v1 import node_pb2_grpc as rpc

_log = logging.get_logger(__name__)
_HOLLOW_STATUS_SECONDS = 60.0
_HOLLOW_WITH_LOGS = 100  # more nodes are there for load, and nobody reads so many logs


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="kubeto-node", description=__doc__, allow_abbrev=False)
    p.add_argument("--kubeconfig", default="", help="how to reach the API server, and as whom")
    p.add_argument("--cleanup", action="store_true", help="take a node's routes and rules off this machine, and exit")
    p.add_argument("--hostname-override", default=socket.gethostname(), help="the node's name")
    p.add_argument(
        "--node-ip", default="", help="the node's address(es), comma-separated; default: towards the API server"
    )
    p.add_argument("--node-labels", default="", help="labels to register with: a=b,c=d")
    p.add_argument("--register-with-taints", default="", help="taints to register with: key=value:effect,...")
    p.add_argument("--runtime", choices=("cri", "fake"), default="cri", help="fake: containers in memory only")
    p.add_argument("--container-runtime-endpoint", default="unix:///run/containerd/containerd.sock")
    p.add_argument("--root-dir", default="/var/lib/kubeto", help="where volumes and logs of pods are")
    p.add_argument("--cluster-dns", default="10.96.0.10", help="address(es) of the cluster's DNS, comma-separated")
    p.add_argument("--cluster-domain", default="cluster.local")
    p.add_argument("--cluster-cidr", default="10.244.0.0/16", help="the range of all pods")
    p.add_argument("--service-cluster-ip-range", default="10.96.0.0/16")
    p.add_argument("--port", type=int, default=10250, help="of the gRPC server; 0 serves nothing")
    p.add_argument("--address", default="0.0.0.0", help="where the gRPC server listens")
    p.add_argument("--tls-cert-file", default="")
    p.add_argument("--tls-private-key-file", default="")
    p.add_argument("--client-ca-file", default="", help="the CA of those who may call")
    p.add_argument("--cni-conf-dir", default="/etc/cni/net.d")
    p.add_argument("--max-pods", type=int, default=110)
    p.add_argument("--cpus", default="", help="report this many cores instead of the machine's")
    p.add_argument("--memory", default="", help="report this much memory instead of the machine's, e.g. 4Gi")
    p.add_argument("--eviction-hard", default=DEFAULT_EVICTION, help="when the node is short, and pods have to go")
    p.add_argument("--eviction-soft", default="", help="when pods have to go if the shortage lasts")
    p.add_argument("--eviction-soft-grace-period", default="", help="how long it has to last: SIGNAL=DURATION,...")
    p.add_argument("--eviction-max-pod-grace-period", type=int, default=0, help="seconds a pod then has to end")
    p.add_argument("--eviction-minimum-reclaim", default="", help="what to free beyond a threshold: SIGNAL=AMOUNT,...")
    p.add_argument("--eviction-pressure-transition-period", type=duration, default=300.0)
    p.add_argument("--shutdown-grace-period", type=duration, default=0.0, help="how long a shutdown waits for all pods")
    p.add_argument(
        "--shutdown-grace-period-critical-pods", type=duration, default=0.0, help="its last part, for critical pods"
    )
    p.add_argument(
        "--shutdown-grace-period-by-pod-priority",
        default="",
        help="instead of both: PRIORITY=SECONDS,...",
    )
    p.add_argument("--allowed-unsafe-sysctls", default="", help="that pods may set too: kernel.msg*,net.core.somaxconn")
    p.add_argument("--pod-manifest-path", default="", help="a folder of static pods to run")
    p.add_argument("--proxy", action=argparse.BooleanOptionalAction, default=True, help="run the service proxy")
    p.add_argument("--dns", action=argparse.BooleanOptionalAction, default=True, help="run the cluster DNS")
    p.add_argument("--routes", action=argparse.BooleanOptionalAction, default=True, help="keep routes to other nodes")
    p.add_argument(
        "--hollow", type=int, default=0, metavar="N", help="run N nodes NAME-0.. whose containers are in memory"
    )
    p.add_argument("--v", type=int, default=0, help="verbosity; 4 and above show debug lines")
    p.add_argument("--version", action="version", version=f"kubeto-node {KUBELET_VERSION}")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    logging.setup(args.v)
    if args.cleanup:
        network.cleanup()
        return 0
    if not args.kubeconfig:
        parser().error("--kubeconfig is required")
    try:
        access = load_kubeconfig(args.kubeconfig)
        settings = make_settings(args, access)
    except (ConfigError, QuantityError, OSError) as error:
        _log.error("Cannot start", error=str(error))
        return 2
    return run(lambda: _run(args, access, settings))


def make_settings(args: argparse.Namespace, access: ClusterAccess) -> AgentSettings:
    """Raises ConfigError; QuantityError for amounts that are none, OSError when no address can be found."""
    ips = names(args.node_ip) or (_own_address(access.server),)
    return AgentSettings(
        node_name=args.hostname_override.lower(),
        root_dir=args.root_dir,
        node_ips=ips,
        cluster_dns=names(args.cluster_dns),
        cluster_domain=args.cluster_domain,
        port=args.port,
        cni_conf_dir=args.cni_conf_dir,
        max_pods=args.max_pods,
        labels=dict(pair.partition("=")[::2] for pair in names(args.node_labels)),
        taints=tuple(_taint(text) for text in names(args.register_with_taints)),
        cpus=Decimal(parse(args.cpus)) if args.cpus else None,
        memory_bytes=value(args.memory) if args.memory else None,
        eviction_thresholds=pressure.parse(
            args.eviction_hard, args.eviction_soft, args.eviction_soft_grace_period, args.eviction_minimum_reclaim
        ),
        eviction_max_grace=args.eviction_max_pod_grace_period,
        eviction_transition=args.eviction_pressure_transition_period,
        pod_manifest_path=args.pod_manifest_path,
        unsafe_sysctls=tuple(filter(None, args.allowed_unsafe_sysctls.split(","))),
        shutdown_periods=periods(
            args.shutdown_grace_period,
            args.shutdown_grace_period_critical_pods,
            _seconds_by_priority(args.shutdown_grace_period_by_pod_priority),
        ),
    )


def _seconds_by_priority(text: str) -> dict[int, int]:
    try:
        return {int(priority): int(seconds) for priority, _, seconds in (p.partition("=") for p in names(text))}
    except ValueError as error:
        raise ConfigError(f"--shutdown-grace-period-by-pod-priority: {text!r} is not PRIORITY=SECONDS,...") from error


def _taint(text: str) -> dict[str, str]:
    head, _, effect = text.rpartition(":")
    key, _, val = head.partition("=")
    return {"key": key, "effect": effect} | ({"value": val} if val else {})


def _own_address(server: str) -> str:
    """The address of this machine (or network namespace) that the API server would see."""
    parts = urlsplit(server)
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname, parts.port or 443))
        return str(probe.getsockname()[0])


async def _run(args: argparse.Namespace, access: ClusterAccess, settings: AgentSettings) -> None:
    async with AsyncExitStack() as stack:
        client = await ApiClient.connect(access, user_agent=f"kubeto-node/{KUBELET_VERSION}")
        stack.push_async_callback(client.close)
        informers = InformerFactory(client)
        parts = _make_parts(client, informers, settings, hollow=args.hollow > 0)
        agents = _make_agents(args, parts, settings, stack)
        server = await _serve(args, agents)
        if server is not None:
            stack.push_async_callback(server.stop, 1.0)
        async with Tasks() as tasks:
            tasks.start("informers", informers.run())
            tasks.start("nodes", run_nodes(parts, agents))
            if not args.hollow and args.runtime != "fake":
                network.start(tasks, informers, args, settings)
            await tasks.wait()


def _make_parts(client: ApiClient, informers: InformerFactory, settings: AgentSettings, hollow: bool) -> ProcessParts:
    name = settings.node_name
    bound = "spec.nodeName!=" if hollow else f"spec.nodeName={name}"
    services = informers.informer(SERVICES) if not hollow else None
    return ProcessParts(
        client=client,
        writer=StatusWriter(client),
        leases=LeaseRenewer(client, settings.lease_interval, settings.lease_duration),
        host=HostReader(settings.root_dir),
        nodes=informers.informer(NODES, field_selector="" if hollow else f"metadata.name={name}"),
        pods=informers.informer(PODS, field_selector=bound),
        services=services.store.list if services is not None else list,
    )


def _make_agents(
    args: argparse.Namespace, parts: ProcessParts, settings: AgentSettings, stack: AsyncExitStack
) -> dict[str, NodeAgent]:
    if args.hollow:
        many = [_hollow_settings(settings, index) for index in range(args.hollow)]
        options = FakeOptions(write_logs=args.hollow <= _HOLLOW_WITH_LOGS, pod_cidr="")
        return {s.node_name: NodeAgent(parts, FakeRuntime(options), s, hollow=True) for s in many}
    runtime: Runtime
    if args.runtime == "fake":
        runtime = FakeRuntime(FakeOptions(pod_cidr=""))
    else:
        cri = CriClient(args.container_runtime_endpoint)
        stack.push_async_callback(cri.close)
        runtime = parts.metrics.runtime(cri)
    return {settings.node_name: NodeAgent(parts, runtime, settings, network=args.runtime != "fake")}


def _hollow_settings(settings: AgentSettings, index: int) -> AgentSettings:
    return replace(settings, node_name=f"{settings.node_name}-{index}", status_interval=_HOLLOW_STATUS_SECONDS)


async def _serve(args: argparse.Namespace, agents: dict[str, NodeAgent]) -> aio.Server | None:
    """The gRPC server, started. It is never served in clear text.

    Raises OSError when port or files are not to be had.
    """
    if not args.port:
        return None
    if not (args.tls_cert_file and args.tls_private_key_file and args.client_ca_file):
        _log.warning("Not serving logs and commands: needs --tls-cert-file, --tls-private-key-file, --client-ca-file")
        return None
    server = aio.server(options=SERVER_OPTIONS)
    service = NodeAgentService({name: agent.local for name, agent in agents.items()})
    rpc.add_NodeAgentServicer_to_server(service, server)
    files = TlsFiles(args.tls_cert_file, args.tls_private_key_file, args.client_ca_file)
    address = f"{args.address}:{args.port}"
    try:
        server.add_secure_port(address, await asyncio.to_thread(server_credentials, files))
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    await server.start()
    _log.info("Serving node agent", address=address, nodes=len(agents))
    return server


if __name__ == "__main__":
    sys.exit(main())
