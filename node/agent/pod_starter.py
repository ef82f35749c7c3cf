"""Carries out a plan's starting half: sandbox, kills that precede a restart, containers with their images and hooks.

What goes wrong becomes a waiting reason and an event in upstream's words, and a time to try again; it never stops the
other containers of the pod. Source: kubelet ``kuberuntime_manager.go`` SyncPod, ``kuberuntime_container.go``
startContainer.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from apimachinery.errors import ApiError
from apimachinery.logging import get_logger
from node.agent.admission import STRICT_GROUPS, wants_strict_groups
from node.agent.cri_configs import sandbox_config
from node.agent.downward import ConfigError
from node.agent.hooks import HookFailed, run_hook
from node.agent.images import ImageError
from node.agent.names import pod_resolver
from node.agent.node_services import NodeServices
from node.agent.pod_actions import Inputs, Plan, Start, backoff_key
from node.agent.pod_state import Object, PodRuntime, SandboxView, Waiting, pod_key
from node.agent.pod_stopper import PodStopper
from node.agent.preparer import Volumes
from node.agent.resize import Resizer
from node.agent.restart_backoff import RestartBackoff
from node.agent.step_loop import finish_first
from node.agent.volumes.manager import images
from node.agent.volumes.volume import VolumeError
from node.cri.runtime import RuntimeFault
from protos.cri.runtime.v1 import api_pb2 as pb

_log = get_logger(__name__)
_RETRY_SECONDS: Final = 5.0
_SANDBOX_RETRY_SECONDS: Final = 2.0
_VOLUME_RETRY_SECONDS: Final = 1.0
_NETWORK_RETRY_SECONDS: Final = 0.5


@dataclass(slots=True)
class Outcome:
    """``go_on``: plan again at once, for something has moved. ``retry_at`` is in seconds since 1970."""

    go_on: bool = False
    retry_at: float | None = None
    waiting: dict[str, Waiting] = field(default_factory=dict)

    def retry(self, when: float) -> None:
        self.retry_at = when if self.retry_at is None else min(self.retry_at, when)


class _StartFailed(Exception):
    def __init__(self, reason: str, message: str, retry_at: float) -> None:
        super().__init__(message)
        self.waiting, self.retry_at = Waiting(reason, message), retry_at


class PodStarter:
    """Starts what plans say, for one pod."""

    def __init__(self, services: NodeServices, backoff: RestartBackoff, resizer: Resizer) -> None:
        self._services, self._backoff, self._resizer = services, backoff, resizer
        self._stopper = PodStopper(services)

    async def carry_out(self, pod: Object, plan: Plan, runtime: PodRuntime, inputs: Inputs) -> Outcome:
        """Raises RuntimeFault when the runtime does not answer at all."""
        outcome = Outcome()
        if plan.kill_pod:
            await self._stopper.stop(pod, runtime, self._stopper.grace(pod))
            outcome.go_on = plan.new_sandbox is None  # what comes of a new sandbox, its making tells
        if plan.new_sandbox is not None:
            await self._new_sandbox(pod, plan.new_sandbox, runtime, outcome)
            return outcome
        for kill in plan.kills:
            await self._stopper.kill(pod, kill, runtime)
            outcome.go_on = True
        if plan.starts:
            await self._start_all(pod, plan, runtime, inputs, outcome)
        return outcome

    # -- sandbox

    def sandbox_config(self, pod: Object, attempt: int) -> pb.PodSandboxConfig:
        settings, facts = self._services.settings, self._services.facts
        resolver = pod_resolver(pod, facts.resolver, settings.cluster_dns, settings.cluster_domain)
        parent = self._services.preparer.cgroup(pod)
        return sandbox_config(pod, attempt, self._services.paths, resolver, settings.cluster_domain, parent)

    async def _new_sandbox(self, pod: Object, attempt: int, runtime: PodRuntime, outcome: Outcome) -> None:
        if not (self._services.facts.network_ready or pod["spec"].get("hostNetwork")):
            self._event(pod, "Warning", "NetworkNotReady", "network is not ready: container runtime network not ready")
            outcome.retry(time.time() + _NETWORK_RETRY_SECONDS)
            return
        try:
            await self._services.preparer.make_cgroup(pod)
        except OSError as error:
            message = f"unable to ensure pod container exists: {error}"
            self._event(pod, "Warning", "FailedCreatePodContainer", message)
            outcome.retry(time.time() + _SANDBOX_RETRY_SECONDS)
            return
        if await self._volumes(pod, runtime, outcome) is None:
            return
        if runtime.sandbox is not None:
            self._event(pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        config = self.sandbox_config(pod, attempt)
        name = pod["spec"].get("runtimeClassName")
        try:
            if pod["spec"].get("hostUsers") is False:
                raise RuntimeFault("user namespaces (hostUsers: false) are not supported on this node")
            if wants_strict_groups(pod["spec"]) and not self._services.facts.strict_groups:
                raise RuntimeFault(STRICT_GROUPS)  # it was taken in before the runtime said what it can do
            handler = await self._services.runtime_handler(name) if name else ""
            await finish_first(self._services.runtime.run_pod_sandbox(config, handler))
        except (RuntimeFault, ApiError) as fault:
            message = f"Failed to create pod sandbox: {fault}"
            self._event(pod, "Warning", "FailedCreatePodSandBox", message)
            outcome.retry(time.time() + _SANDBOX_RETRY_SECONDS)
            return
        for old in runtime.sandboxes:
            if not _has_dead(runtime, old):
                await self._services.runtime.remove_pod_sandbox(old.id)
        outcome.go_on = True

    async def _volumes(self, pod: Object, runtime: PodRuntime, outcome: Outcome) -> Volumes | None:
        """The pod's volumes, ready; None when they are not, and then the event says why."""
        try:
            return await self._services.preparer.volumes(pod, runtime)
        except (VolumeError, ApiError) as error:
            message = error.event if isinstance(error, VolumeError) else f"MountVolume.SetUp failed: {error}"
            self._event(pod, "Warning", error.reason if isinstance(error, VolumeError) else "FailedMount", message)
            outcome.retry(time.time() + _VOLUME_RETRY_SECONDS)
            return None

    # -- containers

    def tell_of_back_off(self, pod: Object, plan: Plan, before: Mapping[str, Waiting]) -> None:
        """An event for each container that has to wait since this plan."""
        meta = pod["metadata"]
        about = f"{meta['name']}_{meta.get('namespace', '')}({meta.get('uid', '')})"
        for name, waiting in plan.waiting.items():
            if before.get(name) != waiting:
                message = f"Back-off restarting failed container {name} in pod {about}"
                self._event(pod, "Warning", "BackOff", message, name)

    async def _start_all(self, pod: Object, plan: Plan, runtime: PodRuntime, inputs: Inputs, outcome: Outcome) -> None:
        volumes = await self._volumes(pod, runtime, outcome)
        if volumes is None or runtime.sandbox is None:
            return
        config = self.sandbox_config(pod, runtime.sandbox.attempt)
        for start in plan.starts:
            name = start.spec["name"]
            if start.attempt > 0:
                self._backoff.record(backoff_key(inputs, name), start.ended, time.time())
            try:
                await self._start(pod, start, runtime, volumes, config)
            except (ImageError, _StartFailed) as error:
                outcome.waiting[name] = error.waiting
                outcome.retry(error.retry_at)
                continue
            outcome.go_on = True

    async def _start(
        self, pod: Object, start: Start, runtime: PodRuntime, volumes: Volumes, sandbox: pb.PodSandboxConfig
    ) -> None:
        """Pull, create, start, postStart. Raises ImageError or _StartFailed."""
        assert runtime.sandbox is not None  # noqa: S101 - a plan starts containers only in a sandbox
        image = await self._services.images.ensure(pod, start.spec, sandbox)
        await self._mounted_images(pod, start.spec, sandbox)
        name = start.spec["name"]
        try:
            config = await self._services.preparer.container(pod, start, runtime, volumes, image)
        except (ConfigError, VolumeError, ApiError) as error:
            self._event(pod, "Warning", "Failed", f"Error: {error}", name)
            raise _StartFailed("CreateContainerConfigError", str(error), time.time() + _RETRY_SECONDS) from error
        container_id = await self._create(pod, runtime.sandbox.id, config, sandbox)
        self._resizer.created(pod, start.spec)
        self._event(pod, "Normal", "Created", "Container created", name)
        try:
            await finish_first(self._services.runtime.start_container(container_id))
        except RuntimeFault as fault:
            self._event(pod, "Warning", "Failed", f"Error: {fault.detail}", name)
            raise _StartFailed("RunContainerError", fault.detail, time.time() + _RETRY_SECONDS) from fault
        self._event(pod, "Normal", "Started", "Container started", name)
        await self._post_start(pod, start, container_id, runtime.sandbox)

    async def _mounted_images(self, pod: Object, spec: Object, sandbox: pb.PodSandboxConfig) -> None:
        """Pull the images that the container mounts as volumes. Raises ImageError."""
        known = images(pod)
        for mount in spec.get("volumeMounts") or ():
            if source := known.get(mount["name"]):
                wanted = {"image": source["reference"], "imagePullPolicy": source.get("pullPolicy")}
                await self._services.images.ensure(pod, wanted, sandbox)

    async def _create(
        self, pod: Object, sandbox_id: str, config: pb.ContainerConfig, sandbox: pb.PodSandboxConfig
    ) -> str:
        try:
            return await finish_first(self._services.runtime.create_container(sandbox_id, config, sandbox))
        except RuntimeFault as fault:
            self._event(pod, "Warning", "Failed", f"Error: {fault.detail}", config.metadata.name)
            raise _StartFailed("CreateContainerError", fault.detail, time.time() + _RETRY_SECONDS) from fault

    async def _post_start(self, pod: Object, start: Start, container_id: str, sandbox: SandboxView) -> None:
        hook = (start.spec.get("lifecycle") or {}).get("postStart")
        if not hook:
            return
        try:
            await run_hook(self._services.runtime, hook, start.spec, container_id, next(iter(sandbox.ips), "127.0.0.1"))
        except HookFailed as error:
            _log.info("PostStart hook failed", pod=pod_key(pod), container=start.spec["name"], error=str(error))
            self._event(pod, "Warning", "FailedPostStartHook", "PostStartHook failed", start.spec["name"])
            await self._services.runtime.stop_container(container_id, self._stopper.grace(pod))

    def _event(self, pod: Object, kind: str, reason: str, message: str, container: str = "") -> None:
        self._services.event(pod, kind, reason, message, container)


def _has_dead(runtime: PodRuntime, sandbox: SandboxView) -> bool:
    """Whether a sandbox that is not ready holds containers whose logs and last state are still shown."""
    return any(c.sandbox_id == sandbox.id for c in runtime.containers)
