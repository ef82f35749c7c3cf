"""A container runtime in memory: a real state machine with nothing behind it.

It is how hollow nodes and test clusters run: thousands of pods in a process, without root or an engine. It keeps
CRI's rules (a container needs a ready sandbox; stopping a sandbox stops its containers; removing what runs kills it;
stop and remove tolerate absence), emits events, and writes log files. What a container does is told by its command
(``fake_program``). Commands of ``exec_sync`` are read the same way. It cannot stream (exec, attach, port-forward).
"""

import asyncio
import ipaddress
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final

from node.cri import fake_program
from node.cri.fake_images import FakeImages, FakeOptions, pause
from node.cri.fake_state import Container, Sandbox
from node.cri.logs import format_record
from node.cri.runtime import ExecResult, RuntimeDeadline, RuntimeFault, RuntimeNotFound, RuntimeUnimplemented
from protos.cri.runtime.v1 import api_pb2 as pb

SIGTERM_CODE: Final = 143
SIGKILL_CODE: Final = 137
_RANGE_SECONDS: Final = 10.0


def _matches(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


class FakeRuntime(FakeImages):
    """A ``Runtime`` in memory. Must be used from one running event loop."""

    def __init__(self, options: FakeOptions | None = None) -> None:
        super().__init__(options or FakeOptions())
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}
        self._listeners: list[asyncio.Queue[pb.ContainerEventResponse]] = []
        self._has_range = asyncio.Event()
        self._addresses: Iterator[str] = iter(())
        if self.options.pod_cidr:
            self._take_range(self.options.pod_cidr)

    # -- the runtime itself

    async def version(self) -> pb.VersionResponse:
        return pb.VersionResponse(
            version="0.1.0", runtime_name="fake", runtime_version="1.0.0", runtime_api_version="v1"
        )

    async def status(self) -> pb.StatusResponse:
        conditions = [pb.RuntimeCondition(type=name, status=True) for name in ("RuntimeReady", "NetworkReady")]
        return pb.StatusResponse(
            status=pb.RuntimeStatus(conditions=conditions),
            runtime_handlers=[pb.RuntimeHandler(features=pb.RuntimeHandlerFeatures(recursive_read_only_mounts=True))],
            features=pb.RuntimeFeatures(supplemental_groups_policy=self.options.strict_groups),
        )

    async def update_pod_cidr(self, pod_cidr: str) -> None:
        self._take_range(pod_cidr)

    def _take_range(self, pod_cidr: str) -> None:
        self._addresses = _addresses(pod_cidr)
        self._has_range.set()

    async def events(self) -> AsyncIterator[pb.ContainerEventResponse]:
        if not self.options.events:
            raise RuntimeUnimplemented("method GetContainerEvents not implemented")
        queue: asyncio.Queue[pb.ContainerEventResponse] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)

    def _emit(self, container_id: str, kind: pb.ContainerEventType, sandbox: Sandbox) -> None:
        if not self._listeners:
            return
        status = sandbox.status()
        event = pb.ContainerEventResponse(
            container_id=container_id, container_event_type=kind, created_at=time.time_ns(), pod_sandbox_status=status
        )
        for queue in self._listeners:
            queue.put_nowait(event)

    # -- sandboxes

    async def run_pod_sandbox(self, config: pb.PodSandboxConfig, handler: str = "") -> str:
        try:
            async with asyncio.timeout(_RANGE_SECONDS):
                await self._has_range.wait()
        except TimeoutError as error:
            raise RuntimeFault("network is not ready: the node has no pod range yet") from error
        if handler:
            raise RuntimeFault(f"no runtime for {handler!r} is configured")
        await pause(self.options.sandbox_latency)
        host = config.linux.security_context.namespace_options.network == pb.NODE
        sandbox = Sandbox(uuid.uuid4().hex * 2, config, "" if host else self._next_ip(), time.time_ns())
        self._sandboxes[sandbox.id] = sandbox
        self._emit(sandbox.id, pb.CONTAINER_CREATED_EVENT, sandbox)
        self._emit(sandbox.id, pb.CONTAINER_STARTED_EVENT, sandbox)
        return sandbox.id

    def _next_ip(self) -> str:
        used = {s.ip for s in self._sandboxes.values()}
        for ip in self._addresses:
            if ip not in used:
                return ip
        raise RuntimeFault("failed to allocate for range 0: no IP addresses available in range set")

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or not sandbox.ready:
            return
        for container in self._of(sandbox):
            self._finish(container, SIGKILL_CODE, "Error")
        await pause(self.options.stop_latency)
        sandbox.ready = False
        self._emit(sandbox.id, pb.CONTAINER_STOPPED_EVENT, sandbox)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        await self.stop_pod_sandbox(sandbox_id)
        for container in self._of(sandbox):
            await self.remove_container(container.id)
        self._sandboxes.pop(sandbox_id, None)
        self._emit(sandbox_id, pb.CONTAINER_DELETED_EVENT, sandbox)

    def _of(self, sandbox: Sandbox) -> list[Container]:
        return [c for c in self._containers.values() if c.sandbox is sandbox]

    def _sandbox(self, sandbox_id: str) -> Sandbox:
        try:
            return self._sandboxes[sandbox_id]
        except KeyError:
            raise RuntimeNotFound(f"an error occurred when try to find sandbox {sandbox_id!r}: not found") from None

    async def pod_sandbox_status(self, sandbox_id: str) -> pb.PodSandboxStatus:
        return self._sandbox(sandbox_id).status()

    async def list_pod_sandboxes(self, labels: Mapping[str, str]) -> Sequence[pb.PodSandbox]:
        return [s.listed() for s in self._sandboxes.values() if _matches(labels, s.config.labels)]

    # -- containers

    async def create_container(
        self, sandbox_id: str, config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig
    ) -> str:
        sandbox = self._sandbox(sandbox_id)
        if not sandbox.ready:
            raise RuntimeFault(f"sandbox {sandbox_id!r} is not running")
        if not self._has(config.image.image):
            raise RuntimeNotFound(f"image {config.image.image!r} not found")
        await pause(self.options.create_latency)
        program = fake_program.parse([*config.command, *config.args])
        container = Container(uuid.uuid4().hex * 2, sandbox, config, program, time.time_ns())
        self._containers[container.id] = container
        self._emit(container.id, pb.CONTAINER_CREATED_EVENT, sandbox)
        return container.id

    def _container(self, container_id: str) -> Container:
        try:
            return self._containers[container_id]
        except KeyError:
            raise RuntimeNotFound(f"an error occurred when try to find container {container_id!r}: not found") from None

    async def start_container(self, container_id: str) -> None:
        container = self._container(container_id)
        if container.state != pb.CONTAINER_CREATED:
            raise RuntimeFault(f"container {container_id!r} is in {_state_name(container)} state")
        await pause(self.options.start_latency)
        container.state, container.started_at = pb.CONTAINER_RUNNING, time.time_ns()
        self._emit(container.id, pb.CONTAINER_STARTED_EVENT, container.sandbox)
        self._schedule(container)

    def _schedule(self, container: Container) -> None:
        loop, program = asyncio.get_running_loop(), container.program
        self._log(container, "")
        for at, line in program.output:
            if at == 0:
                self._log(container, line)
            else:
                container.timers.append(loop.call_later(at, self._log, container, line))
        if program.seconds != fake_program.FOREVER:
            reason = "Error" if program.exit_code else "Completed"
            container.timers.append(
                loop.call_later(program.seconds, self._finish, container, program.exit_code, reason)
            )

    def _log(self, container: Container, line: str) -> None:
        """Append a line to the container's log; an empty line only makes the file."""
        path = container.log_path
        if not (self.options.write_logs and path):
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "ab") as file:
            if line:
                file.write(format_record(time.time_ns(), "stdout", line))

    def _finish(self, container: Container, exit_code: int, reason: str) -> None:
        if container.state == pb.CONTAINER_EXITED:
            return
        for timer in container.timers:
            timer.cancel()
        container.timers.clear()
        container.state, container.finished_at = pb.CONTAINER_EXITED, time.time_ns()
        container.exit_code, container.reason = exit_code, reason
        self._emit(container.id, pb.CONTAINER_STOPPED_EVENT, container.sandbox)

    async def stop_container(self, container_id: str, timeout: int) -> None:
        container = self._containers.get(container_id)
        if container is None or container.state != pb.CONTAINER_RUNNING:
            return
        if container.program.obeys_term:
            await pause(self.options.stop_latency)
            self._finish(container, SIGTERM_CODE, "Error")
            return
        await asyncio.sleep(timeout)
        self._finish(container, SIGKILL_CODE, "Error")

    async def remove_container(self, container_id: str) -> None:
        container = self._containers.get(container_id)
        if container is None:
            return
        self._finish(container, SIGKILL_CODE, "Error")
        self._containers.pop(container_id, None)
        self._emit(container_id, pb.CONTAINER_DELETED_EVENT, container.sandbox)

    async def list_containers(self, labels: Mapping[str, str]) -> Sequence[pb.Container]:
        return [c.listed() for c in self._containers.values() if _matches(labels, c.config.labels)]

    async def container_status(self, container_id: str) -> pb.ContainerStatus:
        return self._container(container_id).status()

    async def update_container_resources(self, container_id: str, resources: pb.LinuxContainerResources) -> None:
        self._container(container_id).config.linux.resources.MergeFrom(resources)

    async def reopen_container_log(self, container_id: str) -> None:
        container = self._container(container_id)
        if container.state != pb.CONTAINER_RUNNING:
            raise RuntimeFault(f"container {container_id!r} is not running")
        self._log(container, "")

    # -- commands in containers

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout: int) -> ExecResult:
        container = self._container(container_id)
        if container.state != pb.CONTAINER_RUNNING:
            raise RuntimeFault(f"failed to exec in container: container is in {_state_name(container)} state")
        program = fake_program.parse(command)
        if program.seconds == fake_program.FOREVER:
            program.seconds = 0.0 if command[0].rsplit("/", 1)[-1] not in ("sleep", "sh") else timeout + 1.0
        if timeout and program.seconds > timeout:
            await asyncio.sleep(timeout)
            raise RuntimeDeadline(f"command {' '.join(command)!r} timed out")
        await pause(program.seconds)
        output = "".join(f"{line}\n" for _, line in program.output)
        return ExecResult(program.exit_code, output.encode())

    async def exec_url(self, request: pb.ExecRequest) -> str:
        raise RuntimeUnimplemented("the fake runtime has no streams: exec is not available")

    async def attach_url(self, request: pb.AttachRequest) -> str:
        raise RuntimeUnimplemented("the fake runtime has no streams: attach is not available")

    async def port_forward_url(self, sandbox_id: str, port: int) -> str:
        raise RuntimeUnimplemented("the fake runtime has no network: port-forward is not available")

    # -- stats

    async def list_container_stats(self, labels: Mapping[str, str]) -> Sequence[pb.ContainerStats]:
        now = time.time_ns()
        return [c.stats(now) for c in self._running() if _matches(labels, c.config.labels)]

    async def list_pod_sandbox_stats(self, labels: Mapping[str, str]) -> Sequence[pb.PodSandboxStats]:
        raise RuntimeUnimplemented("method ListPodSandboxStats not implemented")

    async def process_of(self, identity: str, *, sandbox: bool) -> int:
        return 0

    async def list_metric_descriptors(self) -> Sequence[pb.MetricDescriptor]:
        raise RuntimeUnimplemented("method ListMetricDescriptors not implemented")

    async def list_pod_sandbox_metrics(self) -> Sequence[pb.PodSandboxMetrics]:
        raise RuntimeUnimplemented("method ListPodSandboxMetrics not implemented")

    def _running(self) -> Iterator[Container]:
        return (c for c in self._containers.values() if c.state == pb.CONTAINER_RUNNING)


def _addresses(pod_cidr: str) -> Iterator[str]:
    """The addresses of a pod range, again and again; the first is the bridge's."""
    network = ipaddress.ip_network(pod_cidr.split(",")[0])
    while True:
        for offset in range(2, network.num_addresses - 1):
            yield str(network[offset])


def _state_name(container: Container) -> str:
    return pb.ContainerState.Name(container.state)
