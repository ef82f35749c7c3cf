"""What the workers of one node share."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from apimachinery.client.events import EventRecorder
from node.agent import log_files
from node.agent.images import Images, pod_reference
from node.agent.metrics import AgentMetrics
from node.agent.paths import NodePaths
from node.agent.pod_state import ContainerView, Object, uid_of
from node.agent.preparer import Preparer
from node.agent.probes import Prober
from node.agent.settings import AgentSettings, NodeFacts
from node.agent.sources import WatchedObjects
from node.agent.status_writer import StatusWriter
from node.agent.tokens import TokenManager
from node.cri.runtime import Runtime


@dataclass(frozen=True, slots=True)
class NodeServices:
    """``objects`` and ``tokens`` are None on a hollow node.

    ``gone`` is told of a pod of which nothing is left. ``runtime_handler`` gives the handler of a RuntimeClass by
    name and raises ApiError when there is none.
    """

    settings: AgentSettings
    facts: NodeFacts
    runtime: Runtime
    writer: StatusWriter
    recorder: EventRecorder
    images: Images
    preparer: Preparer
    prober: Prober
    gone: Callable[[str], None]
    runtime_handler: Callable[[str], Awaitable[str]]
    metrics: AgentMetrics = field(default_factory=AgentMetrics)
    objects: WatchedObjects | None = None
    tokens: TokenManager | None = None

    @property
    def paths(self) -> NodePaths:
        return NodePaths(self.settings.root_dir)

    def track(self, pod: Object) -> None:
        if self.objects is not None:
            self.objects.track(pod)

    def untrack(self, uid: str) -> None:
        if self.objects is not None:
            self.objects.untrack(uid)
        if self.tokens is not None:
            self.tokens.forget(uid)

    def event(self, pod: Object, kind: str, reason: str, message: str, container: str = "") -> None:
        """Tell of a pod, or of one of its containers."""
        self.recorder.event(pod_reference(pod, container), kind, reason, message)

    def node_event(self, kind: str, reason: str, message: str) -> None:
        """Upstream's agents, too, write events of their node with its name as the uid."""
        name = self.settings.node_name
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}}
        self.recorder.event(node, kind, reason, message)

    async def remove_container(self, container: ContainerView) -> None:
        """A dead container and its logs. Source: kubelet ``removeContainerLog``."""
        await self.runtime.remove_container(container.id)
        if container.log_path:
            await asyncio.to_thread(log_files.remove, container.log_path)

    def forget(self, pod: Object) -> None:
        uid = uid_of(pod)
        self.untrack(uid)
        self.writer.forget(uid)
        self.gone(uid)
