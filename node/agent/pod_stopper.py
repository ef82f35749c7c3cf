"""Stops containers and sandboxes gracefully: preStop, TERM, grace period, KILL; sidecars last.

Source: kubelet ``kuberuntime_container.go`` killContainer; KEP-753 for the order.
"""

import asyncio
import time
from typing import Final

from apimachinery.logging import get_logger
from node.agent.cri_configs import grace_period
from node.agent.hooks import HookFailed, run_hook
from node.agent.node_services import NodeServices
from node.agent.pod_actions import Kill, stop_order
from node.agent.pod_state import ContainerView, Object, PodRuntime, init_containers, pod_key, regular_containers
from node.cri.runtime import RuntimeFault

_log = get_logger(__name__)
_LEAST_AFTER_HOOK_SECONDS: Final = 2


class PodStopper:
    """Stops what runs of one pod. Every call may be cancelled and made again."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services

    def grace(self, pod: Object) -> int:
        return grace_period(pod)

    async def stop(self, pod: Object, runtime: PodRuntime, grace: int) -> None:
        """Stop all containers within ``grace`` seconds, wave by wave, then the sandboxes.

        A sandbox that died of itself is stopped too: only that takes its network back.
        """
        until = time.monotonic() + grace
        for wave in stop_order(pod, runtime.running):
            left = max(0, round(until - time.monotonic()))
            async with asyncio.TaskGroup() as group:
                for container in wave:
                    message = f"Stopping container {container.name}"
                    group.create_task(self._stop(pod, container, runtime, left, message))
        for sandbox in runtime.sandboxes:
            await self._services.runtime.stop_pod_sandbox(sandbox.id)

    async def kill(self, pod: Object, kill: Kill, runtime: PodRuntime) -> None:
        """Stop one container because of its probe or its changed spec."""
        grace, spec = grace_period(pod), _spec(pod, kill.container.name)
        own = (spec.get(f"{kill.probe}Probe") or {}).get("terminationGracePeriodSeconds") if kill.probe else None
        await self._stop(pod, kill.container, runtime, grace if own is None else int(own), kill.message)

    async def _stop(self, pod: Object, container: ContainerView, runtime: PodRuntime, grace: int, message: str) -> None:
        self._services.event(pod, "Normal", "Killing", message, container.name)
        left = grace
        hook = (_spec(pod, container.name).get("lifecycle") or {}).get("preStop")
        if hook and grace > 0:
            spent = await self._pre_stop(pod, container, runtime, hook, grace)
            left = max(_LEAST_AFTER_HOOK_SECONDS, round(grace - spent))
        await self._services.runtime.stop_container(container.id, left)

    async def _pre_stop(
        self, pod: Object, container: ContainerView, runtime: PodRuntime, hook: Object, grace: int
    ) -> float:
        """Run the hook within the grace period; the seconds it took. Its failure stops nothing."""
        started, spec = time.monotonic(), _spec(pod, container.name)
        ips = runtime.sandbox.ips if runtime.sandbox else ()
        try:
            async with asyncio.timeout(grace):
                await run_hook(self._services.runtime, hook, spec, container.id, next(iter(ips), "127.0.0.1"), grace)
        except (HookFailed, RuntimeFault, TimeoutError) as error:
            text = str(error) or f"did not end within {grace}s"
            _log.info("PreStop hook failed", pod=pod_key(pod), container=container.name, error=text)
            self._services.event(pod, "Warning", "FailedPreStopHook", "PreStopHook failed", container.name)
        return time.monotonic() - started


def _spec(pod: Object, name: str) -> Object:
    for spec in (*regular_containers(pod), *init_containers(pod)):
        if spec["name"] == name:
            return dict(spec)
    return {}
