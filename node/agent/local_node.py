"""One node as the gRPC server sees it: finds pods, containers and logs, and tells health and load."""

from apimachinery.errors import BadRequest, NotFound
from node.agent import cadvisor
from node.agent.events import RuntimeWatch
from node.agent.host import HostReader
from node.agent.metrics import AgentMetrics
from node.agent.node_metrics import NodeMetrics
from node.agent.observe import PodObserver
from node.agent.pod_state import Object, PodRuntime, ephemeral_containers, init_containers, regular_containers, uid_of
from node.agent.pods import Pods
from node.agent.stats import StatsReader
from node.agent.volume_stats import VolumeReader
from node.cri.runtime import Runtime, RuntimeFault
from protos.cri.runtime.v1 import api_pb2 as cri
from protos.kubeto.v1 import node_pb2 as pb


class LocalNode:
    """A node of this process."""

    def __init__(
        self,
        name: str,
        runtime: Runtime,
        pods: Pods,
        watch: RuntimeWatch,
        host: HostReader,
        local_volumes: str,
        metrics: AgentMetrics,
        volume_stats: VolumeReader | None = None,
    ) -> None:
        self.name, self.runtime, self.local_volumes = name, runtime, local_volumes
        self._pods, self._watch, self._host = pods, watch, host
        self.stats = StatsReader(name, runtime, host, volume_stats)
        self.metrics = NodeMetrics(name, runtime, pods, metrics, volume_stats)

    def problem(self) -> str:
        """What is wrong with the node; "" when nothing is."""
        return "" if self._watch.healthy else "the container runtime does not answer"

    def load(self) -> pb.NodeLoad:
        load = self._host.load()
        return pb.NodeLoad(
            node=self.name,
            cpu_fraction=load.cpu_fraction,
            memory_total_bytes=self._host.machine.memory,
            memory_available_bytes=load.memory_available,
            load1=load.load1,
        )

    async def cadvisor(self) -> bytes:
        """What ``/metrics/cadvisor`` answers. Raises RuntimeFault."""
        return await cadvisor.text(self.runtime, await self.stats.summary(False), self._host.machine)

    # -- pods and containers

    def _pod(self, namespace: str, name: str, uid: str) -> Object:
        pod = self._pods.get(namespace, name, uid)
        if pod is None:
            raise NotFound(f'pod "{name}" not found on node {self.name}', kind="pods", name=name)
        return pod

    async def _observe(self, pod: Object) -> PodRuntime:
        return await PodObserver(self.runtime, uid_of(pod)).observe()

    async def sandbox_of(self, namespace: str, name: str, uid: str) -> str:
        """The id of a pod's ready sandbox. Raises NotFound, BadRequest, RuntimeFault."""
        runtime = await self._observe(self._pod(namespace, name, uid))
        if runtime.sandbox is None or not runtime.sandbox.ready:
            raise BadRequest(f"unable to forward port because pod is not running: {name}")
        return runtime.sandbox.id

    async def running_container(self, namespace: str, name: str, uid: str, container: str) -> str:
        """The id of a running container; "" names the first. Raises NotFound, BadRequest, RuntimeFault."""
        pod = self._pod(namespace, name, uid)
        wanted = _container_name(pod, container)
        view = (await self._observe(pod)).latest(wanted)
        if view is None or not view.running:
            raise NotFound(f'container not found ("{wanted}")')
        return view.id

    async def log_of(self, request: pb.LogsRequest) -> tuple[str, str]:
        """The log file and the id of the container whose logs are asked for. Raises as the others do."""
        pod = self._pod(request.namespace, request.pod, request.pod_uid)
        name = _container_name(pod, request.container)
        runtime = await self._observe(pod)
        view = runtime.previous(name) if request.previous else runtime.latest(name)
        about = f'container "{name}" in pod "{request.pod}"'
        if view is None and request.previous:
            raise BadRequest(f"previous terminated {about} not found")
        if view is None or not view.log_path:
            raise BadRequest(f"{about} is waiting to start: {_waiting_reason(pod, name)}")
        return view.log_path, view.id

    async def is_running(self, container_id: str) -> bool:
        try:
            return (await self.runtime.container_status(container_id)).state == cri.CONTAINER_RUNNING
        except RuntimeFault:
            return False


def _container_name(pod: Object, name: str) -> str:
    specs = (*regular_containers(pod), *init_containers(pod), *ephemeral_containers(pod))
    if not name:
        return str(specs[0]["name"])
    if not any(spec["name"] == name for spec in specs):
        raise BadRequest(f"container {name} is not valid for pod {pod['metadata']['name']}")
    return name


def _waiting_reason(pod: Object, name: str) -> str:
    status = pod.get("status") or {}
    for known in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        if known["name"] == name and "waiting" in (known.get("state") or {}):
            return str(known["state"]["waiting"].get("reason") or "ContainerCreating")
    return "ContainerCreating"
