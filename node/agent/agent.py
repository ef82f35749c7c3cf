"""One node: puts its parts together and runs them.

``ProcessParts`` are shared by all nodes of a process (thousands, when they are hollow); ``NodeAgent`` is one node.
How a pod comes to run: informer -> ``pods`` -> ``pod_worker`` -> ``pod_actions`` (decides) -> ``pod_starter`` ->
runtime; and back: runtime -> ``events`` -> ``pod_worker`` -> ``status`` -> ``status_writer`` -> API server.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from apimachinery.client.api import ApiClient
from apimachinery.client.events import EventRecorder
from apimachinery.client.informer import Informer
from apimachinery.lifecycle import Tasks
from apimachinery.meta import get_condition
from apimachinery.scheme import kind_of
from node.agent.csi.service import Csi
from node.agent.csi.stats import by_pod
from node.agent.events import RuntimeWatch
from node.agent.eviction import EvictionManager
from node.agent.host import HostReader
from node.agent.image_gc import ImageGc, PulledImages
from node.agent.images import Images
from node.agent.leases import LeaseRenewer
from node.agent.local_node import LocalNode
from node.agent.log_rotation import LogRotation
from node.agent.metrics import AgentMetrics
from node.agent.names import parse_resolver
from node.agent.node_reporter import NodeReporter
from node.agent.node_services import NodeServices
from node.agent.node_status import capacity
from node.agent.paths import NodePaths
from node.agent.pod_state import Object
from node.agent.pods import Pods
from node.agent.preparer import BarePreparer, PodPreparer, Preparer
from node.agent.probes import AlwaysReady, NetworkProber, Prober
from node.agent.settings import AgentSettings, NodeFacts
from node.agent.shutdown import ShutdownManager
from node.agent.sources import WatchedObjects
from node.agent.static_pods import StaticPods
from node.agent.status_writer import StatusWriter
from node.agent.storage import BoundVolumes
from node.agent.tokens import TokenManager
from node.agent.volume_stats import VolumeStats
from node.cri.runtime import Runtime

COMPONENT: Final = "kubelet"
_RUNTIME_CLASSES: Final = kind_of("runtimeclasses", "node.k8s.io")


@dataclass(frozen=True, slots=True)
class ProcessParts:
    """What all nodes of a process share. ``pods`` holds at least their pods; ``services`` lists all Services."""

    client: ApiClient
    writer: StatusWriter
    leases: LeaseRenewer
    host: HostReader
    nodes: Informer
    pods: Informer
    services: Callable[[], Iterable[Object]]
    metrics: AgentMetrics = field(default_factory=AgentMetrics)


class _QuietRecorder(EventRecorder):
    """For hollow nodes: what is normal is not told, or events would be most of what the API server stores."""

    def event(self, obj: object, type_: str, reason: str, message: str) -> None:
        if type_ == "Warning":
            super().event(obj, type_, reason, message)  # type: ignore[arg-type]


class NodeAgent:
    """The agent of one node.

    A ``hollow`` one has no volumes and no files behind its containers; without ``network`` there is nothing to probe.
    """

    def __init__(
        self,
        parts: ProcessParts,
        runtime: Runtime,
        settings: AgentSettings,
        *,
        hollow: bool = False,
        network: bool = True,
    ) -> None:
        self.settings, self._runtime, self._parts, self._hollow = settings, runtime, parts, hollow
        self._network = network and not hollow
        self._facts = NodeFacts(
            host_ips=settings.node_ips,
            allocatable=capacity(settings, parts.host.machine, parts.host.load()),
            resolver=parse_resolver(_read_resolver()),
        )
        self._csi: Csi | None = None
        self._bound = BoundVolumes(parts.client, self._node)
        self._pulled = None if hollow else PulledImages(NodePaths(settings.root_dir).pulled_images)
        self._services = self._make_services()
        self.pods = Pods(self._services, self._mirror_changed)
        self._static = StaticPods(settings.pod_manifest_path, parts.client, self._node, self.pods)
        self.watch = RuntimeWatch(runtime, settings, self.pods.wake, parts.metrics)
        self.reporter = NodeReporter(
            parts.client,
            runtime,
            settings,
            self._facts,
            parts.host,
            parts.nodes,
            became_ready=self.pods.reconcile,
            tell=self._services.node_event,
            write_cni=self._network,
        )

    def _make_services(self) -> NodeServices:
        parts, settings = self._parts, self.settings
        recorder_type = _QuietRecorder if self._hollow else EventRecorder
        recorder = recorder_type(parts.client, COMPONENT, settings.node_name)
        objects = tokens = None
        preparer: Preparer = BarePreparer(NodePaths(settings.root_dir))
        prober: Prober = AlwaysReady()
        if not self._hollow:
            objects, tokens = WatchedObjects(parts.client, self._wake), TokenManager(parts.client)
            self._csi = Csi(
                parts.client, settings, self._facts, tokens, recorder, self._node, self._report_anew,
                parts.metrics.storage,
            )  # fmt: skip
            preparer = PodPreparer(
                settings, self._facts, objects, tokens, self._bound, self._csi.volumes, parts.services,
                parts.metrics.storage, cgroups=self._network,
            )  # fmt: skip
        if self._network:
            prober = NetworkProber(self._runtime)
        return NodeServices(
            settings=settings,
            facts=self._facts,
            runtime=self._runtime,
            writer=parts.writer,
            recorder=recorder,
            images=Images(self._runtime, recorder, objects, pulled=self._pulled),
            preparer=preparer,
            prober=prober,
            gone=self._forget,
            runtime_handler=self._runtime_handler,
            metrics=parts.metrics,
            objects=objects,
            tokens=tokens,
        )

    async def _runtime_handler(self, name: str) -> str:
        return str((await self._parts.client.get(_RUNTIME_CLASSES, name))["handler"])

    def _node(self) -> Object:
        name = self.settings.node_name
        return self._parts.nodes.store.get("", name) or {"metadata": {"name": name}}

    def _report_anew(self) -> None:
        self.reporter.node_changed()

    def _mirror_changed(self, mirror: Object, gone: bool) -> None:
        self._static.on_mirror(mirror, gone)

    def _wake(self, uid: str) -> None:
        self.pods.wake(uid)

    def _forget(self, uid: str) -> None:
        self.pods.forget(uid)

    @property
    def local(self) -> LocalNode:
        """The node as the gRPC server answers for it."""
        paths, parts, csi = NodePaths(self.settings.root_dir), self._parts, self._csi
        volumes = None
        if csi is not None:
            volumes = VolumeStats(self.pods.list, paths, self._bound, lambda: by_pod(csi.volumes.mounted())).by_pod
        name, runtime = self.settings.node_name, self._runtime
        return LocalNode(name, runtime, self.pods, self.watch, parts.host, paths.local_volumes, parts.metrics, volumes)

    def node_changed(self, node: Object | None) -> None:
        """The Node object has changed: a pod range, readiness; None = it was deleted."""
        if node is not None:
            self._parts.leases.set_owner(node)
            if self._csi is not None:
                self._csi.node_changed(node)
        self.reporter.node_changed()

    def start(self, tasks: Tasks) -> None:
        name = self.settings.node_name
        tasks.start(f"node-{name}", self.reporter.run())
        tasks.start(f"runtime-watch-{name}", self.watch.run())
        if not self._hollow:
            self._start_static(tasks)
            if self._csi is not None:
                self._csi.start(tasks)
            tasks.start(f"housekeeping-{name}", self._housekeep())
            self._start_collecting(tasks)
            if self.settings.shutdown_periods:
                shutdown = ShutdownManager(self._services, self.pods, self.reporter.node_changed)
                tasks.start(f"shutdown-{name}", shutdown.run(), may_end=True)
            tasks.start(f"log-rotation-{name}", LogRotation(self._runtime, self._services.paths.logs).run())

    def _start_static(self, tasks: Tasks) -> None:
        """Before the housekeeping, to which a pod that is not known yet looks like an orphan."""
        self._static.load()
        tasks.start(f"static-pods-{self.settings.node_name}", self._static.run())

    def _start_collecting(self, tasks: Tasks) -> None:
        """What keeps the node from running out of memory and disk."""
        name, host = self.settings.node_name, self._parts.host
        if self._pulled is not None:
            images = ImageGc(self._runtime, self._pulled, host)
            eviction = EvictionManager(self._services, self.pods, host, images, self.reporter.node_changed)
            tasks.start(f"image-gc-{name}", images.run())
            tasks.start(f"eviction-{name}", eviction.run())

    async def _housekeep(self) -> None:
        await self._parts.pods.wait_synced()
        await self.pods.housekeeping(self.watch)

    async def close(self) -> None:
        """End; the node's containers go on."""
        await self.pods.close()
        if self._csi is not None:
            await self._csi.close()


def _read_resolver() -> str:
    path = Path("/etc/resolv.conf")
    return path.read_text(encoding="utf-8") if path.exists() else ""


async def run_nodes(parts: ProcessParts, agents: dict[str, NodeAgent]) -> None:
    """Feed the nodes of a process with their pods and run them until cancelled."""

    def on_pod(event: str, old: Object | None, new: Object | None) -> None:
        agent = agents.get(((new or old or {}).get("spec") or {}).get("nodeName", ""))
        if agent is not None:
            agent.pods.on_pod(event, old, new)  # type: ignore[arg-type]

    def on_node(event: str, old: Object | None, new: Object | None) -> None:
        agent = agents.get((new or old or {})["metadata"]["name"])
        if agent is not None and _interesting(old, new):
            agent.node_changed(new)

    parts.nodes.add_handler(on_node)
    parts.pods.add_handler(on_pod)
    try:
        async with Tasks() as tasks:
            tasks.start("status-writer", parts.writer.run())
            tasks.start("leases", parts.leases.run())
            for agent in agents.values():
                agent.start(tasks)
            await tasks.wait()
    finally:
        await asyncio.gather(*(agent.close() for agent in agents.values()))


def _interesting(old: Object | None, new: Object | None) -> bool:
    """Most updates of a Node are its own reports."""
    if old is None or new is None or old.get("spec") != new.get("spec"):
        return True
    return get_condition(old, "Ready") != get_condition(new, "Ready")
