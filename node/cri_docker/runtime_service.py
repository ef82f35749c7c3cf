"""CRI RuntimeService: each method finds its verb. What is not supported is refused by name."""

import platform
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
import orjson

from node.cgroups import series
from node.cri_docker import metrics
from node.cri_docker.records import selected
from node.cri_docker.rpc import interruptible, refuse, verb
from node.cri_docker.runtime import Runtime
from node.cri_docker.streaming.urls import StreamingUrls
from protos.cri.runtime.v1 import api_pb2 as cri
from protos.cri.runtime.v1 import api_pb2_grpc

RUNTIME_NAME = "docker"
API_VERSION = "v1"
Context = grpc.aio.ServicerContext[Any, Any]


class RuntimeService(api_pb2_grpc.RuntimeServiceServicer):
    def __init__(self, runtime: Runtime, urls: StreamingUrls) -> None:
        self._runtime, self._urls = runtime, urls
        self._cache = runtime.cache

    @verb
    async def Version(self, request: cri.VersionRequest, context: Context) -> cri.VersionResponse:
        return cri.VersionResponse(
            version="0.1.0",
            runtime_name=RUNTIME_NAME,
            runtime_version=self._runtime.limits().version,
            runtime_api_version=API_VERSION,
        )

    @verb
    async def Status(self, request: cri.StatusRequest, context: Context) -> cri.StatusResponse:
        away = self._cache.away
        not_ready = await self._runtime.network.status()
        response = cri.StatusResponse()
        response.status.conditions.add(
            type="RuntimeReady", status=not away, reason="EngineUnavailable" if away else "", message=away
        )
        response.status.conditions.add(
            type="NetworkReady",
            status=not not_ready,
            reason="NetworkPluginNotReady" if not_ready else "",
            message=not_ready,
        )
        handlers = () if away else self._runtime.limits().runtimes
        for name in ("", *handlers):
            response.runtime_handlers.add(name=name).features.recursive_read_only_mounts = False
        response.features.supplemental_groups_policy = True
        if not away:
            response.info["limits"] = _limits_json(self._runtime)
        return response

    @verb
    async def RuntimeConfig(self, request: cri.RuntimeConfigRequest, context: Context) -> cri.RuntimeConfigResponse:
        driver = self._runtime.limits().cgroup_driver
        return cri.RuntimeConfigResponse(
            linux=cri.LinuxRuntimeConfiguration(cgroup_driver=cri.SYSTEMD if driver == "systemd" else cri.CGROUPFS)
        )

    @verb
    async def UpdateRuntimeConfig(
        self, request: cri.UpdateRuntimeConfigRequest, context: Context
    ) -> cri.UpdateRuntimeConfigResponse:
        """The pod CIDR reaches the network through its own configuration: nothing to do here."""
        return cri.UpdateRuntimeConfigResponse()

    @verb
    async def RunPodSandbox(self, request: cri.RunPodSandboxRequest, context: Context) -> cri.RunPodSandboxResponse:
        sandbox_id = await self._runtime.sandboxes.run(request.config, request.runtime_handler)
        return cri.RunPodSandboxResponse(pod_sandbox_id=sandbox_id)

    @verb
    async def StopPodSandbox(self, request: cri.StopPodSandboxRequest, context: Context) -> cri.StopPodSandboxResponse:
        await self._runtime.sandboxes.stop(request.pod_sandbox_id)
        return cri.StopPodSandboxResponse()

    @verb
    async def RemovePodSandbox(
        self, request: cri.RemovePodSandboxRequest, context: Context
    ) -> cri.RemovePodSandboxResponse:
        await self._runtime.sandboxes.remove(request.pod_sandbox_id)
        return cri.RemovePodSandboxResponse()

    @verb
    async def PodSandboxStatus(
        self, request: cri.PodSandboxStatusRequest, context: Context
    ) -> cri.PodSandboxStatusResponse:
        record = self._cache.sandbox(request.pod_sandbox_id)
        name = self._runtime.images.name_of
        response = cri.PodSandboxStatusResponse(
            timestamp=time.time_ns(),
            status=record.status(),
            containers_statuses=[c.status(name) for c in self._cache.containers(record.id)],
        )
        if request.verbose:
            response.info["info"] = _json({"pid": record.pid, "netns": record.netns, "dockerName": record.name})
        return response

    @verb
    async def ListPodSandbox(self, request: cri.ListPodSandboxRequest, context: Context) -> cri.ListPodSandboxResponse:
        records = selected(self._cache.sandboxes(), request.filter)
        return cri.ListPodSandboxResponse(items=[record.summary() for record in records])

    @verb
    async def CreateContainer(
        self, request: cri.CreateContainerRequest, context: Context
    ) -> cri.CreateContainerResponse:
        container_id = await self._runtime.containers.create(request.pod_sandbox_id, request.config)
        return cri.CreateContainerResponse(container_id=container_id)

    @verb
    async def StartContainer(self, request: cri.StartContainerRequest, context: Context) -> cri.StartContainerResponse:
        await self._runtime.containers.start(request.container_id)
        return cri.StartContainerResponse()

    @verb
    async def StopContainer(self, request: cri.StopContainerRequest, context: Context) -> cri.StopContainerResponse:
        await self._runtime.containers.stop(request.container_id, request.timeout)
        return cri.StopContainerResponse()

    @verb
    async def RemoveContainer(
        self, request: cri.RemoveContainerRequest, context: Context
    ) -> cri.RemoveContainerResponse:
        await self._runtime.containers.remove(request.container_id)
        return cri.RemoveContainerResponse()

    @verb
    async def ListContainers(self, request: cri.ListContainersRequest, context: Context) -> cri.ListContainersResponse:
        name = self._runtime.images.name_of
        await self._runtime.images.refresh()
        records = selected(self._cache.containers(), request.filter)
        return cri.ListContainersResponse(containers=[record.summary(name) for record in records])

    @verb
    async def ContainerStatus(
        self, request: cri.ContainerStatusRequest, context: Context
    ) -> cri.ContainerStatusResponse:
        record = self._cache.container(request.container_id)
        await self._runtime.images.refresh()
        response = cri.ContainerStatusResponse(status=record.status(self._runtime.images.name_of))
        if request.verbose:
            response.info["info"] = _json(
                {"sandboxID": record.sandbox_id, "pid": record.pid, "dockerName": record.name}
            )
        return response

    @verb
    async def UpdateContainerResources(
        self, request: cri.UpdateContainerResourcesRequest, context: Context
    ) -> cri.UpdateContainerResourcesResponse:
        await self._runtime.containers.update(request.container_id, request.linux)
        return cri.UpdateContainerResourcesResponse()

    @verb
    async def ReopenContainerLog(
        self, request: cri.ReopenContainerLogRequest, context: Context
    ) -> cri.ReopenContainerLogResponse:
        self._runtime.containers.reopen_log(request.container_id)
        return cri.ReopenContainerLogResponse()

    @interruptible
    async def ExecSync(self, request: cri.ExecSyncRequest, context: Context) -> cri.ExecSyncResponse:
        return await self._runtime.execs.sync(request.container_id, request.cmd, request.timeout)

    @verb
    async def Exec(self, request: cri.ExecRequest, context: Context) -> cri.ExecResponse:
        return cri.ExecResponse(url=self._urls.exec(request))

    @verb
    async def Attach(self, request: cri.AttachRequest, context: Context) -> cri.AttachResponse:
        return cri.AttachResponse(url=self._urls.attach(request))

    @verb
    async def PortForward(self, request: cri.PortForwardRequest, context: Context) -> cri.PortForwardResponse:
        return cri.PortForwardResponse(url=self._urls.port_forward(request))

    @verb
    async def ContainerStats(self, request: cri.ContainerStatsRequest, context: Context) -> cri.ContainerStatsResponse:
        record = self._cache.container(request.container_id)
        stats = self._runtime.stats.container(record)
        self._runtime.stats.refresh_layers()
        return cri.ContainerStatsResponse(stats=stats)

    @verb
    async def ListContainerStats(
        self, request: cri.ListContainerStatsRequest, context: Context
    ) -> cri.ListContainerStatsResponse:
        records = selected(self._cache.containers(), request.filter)
        stats = [self._runtime.stats.container(record) for record in records if record.running]
        self._runtime.stats.refresh_layers()
        return cri.ListContainerStatsResponse(stats=stats)

    @verb
    async def PodSandboxStats(
        self, request: cri.PodSandboxStatsRequest, context: Context
    ) -> cri.PodSandboxStatsResponse:
        record = self._cache.sandbox(request.pod_sandbox_id)
        stats = self._runtime.stats.sandbox(record)
        self._runtime.stats.refresh_layers()
        return cri.PodSandboxStatsResponse(stats=stats)

    @verb
    async def ListPodSandboxStats(
        self, request: cri.ListPodSandboxStatsRequest, context: Context
    ) -> cri.ListPodSandboxStatsResponse:
        records = selected(self._cache.sandboxes(), request.filter)
        stats = [self._runtime.stats.sandbox(record) for record in records if record.ready]
        self._runtime.stats.refresh_layers()
        return cri.ListPodSandboxStatsResponse(stats=stats)

    async def CheckpointContainer(self, request: cri.CheckpointContainerRequest, context: Context) -> NoReturn:
        await refuse("CheckpointContainer", context)

    @verb
    async def ListMetricDescriptors(
        self, request: cri.ListMetricDescriptorsRequest, context: Context
    ) -> cri.ListMetricDescriptorsResponse:
        return cri.ListMetricDescriptorsResponse(descriptors=series.descriptors())

    @verb
    async def ListPodSandboxMetrics(
        self, request: cri.ListPodSandboxMetricsRequest, context: Context
    ) -> cri.ListPodSandboxMetricsResponse:
        stats = self._runtime.stats
        pods = metrics.pods(self._cache, stats, self._runtime.images.name_of)
        stats.refresh_layers()
        return cri.ListPodSandboxMetricsResponse(pod_metrics=pods)

    @verb
    async def UpdatePodSandboxResources(
        self, request: cri.UpdatePodSandboxResourcesRequest, context: Context
    ) -> cri.UpdatePodSandboxResourcesResponse:
        """News for sandboxes that are machines: here the pod's own cgroup is the kubelet's, who has changed it."""
        self._cache.sandbox(request.pod_sandbox_id)
        return cri.UpdatePodSandboxResourcesResponse()

    async def GetContainerEvents(
        self, request: cri.GetEventsRequest, context: Context
    ) -> AsyncIterator[cri.ContainerEventResponse]:
        async for event in self._cache.events():
            yield event


def _limits_json(runtime: Runtime) -> str:
    limits = runtime.limits()
    return _json(
        {
            "oomScoreAdjMin": limits.min_oom_score,
            "privileged": "native" if limits.can_privileged else "built from capabilities and devices",
            "cgroupVersion": 2 if limits.cgroup_v2 else 1,
            "machine": platform.machine(),
        }
    )


def _json(value: dict[str, object]) -> str:
    return orjson.dumps(value).decode()
