"""What an agent measures of itself, under the kubelet's names; one set a process.

Source: kubelet ``metrics/metrics.go``, ``kuberuntime/instrumented_services.go``.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry, Counter, Histogram

from apimachinery.metrics import new_registry
from node.agent.pod_state import Object
from node.cri.runtime import Runtime, RuntimeFault

# Upstream's: lists take a millisecond, a start half a second, pulls of images minutes.
_OPERATION_BUCKETS: Final = tuple(0.005 * 2.5**n for n in range(14))
_STEP_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_START_BUCKETS: Final = (0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600)
_STORAGE_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600)
_OPERATIONS: Final = {
    "version": "version",
    "status": "status",
    "update_pod_cidr": "update_runtime_config",
    "run_pod_sandbox": "run_podsandbox",
    "stop_pod_sandbox": "stop_podsandbox",
    "remove_pod_sandbox": "remove_podsandbox",
    "pod_sandbox_status": "podsandbox_status",
    "list_pod_sandboxes": "list_podsandbox",
    "create_container": "create_container",
    "start_container": "start_container",
    "stop_container": "stop_container",
    "remove_container": "remove_container",
    "list_containers": "list_containers",
    "container_status": "container_status",
    "process_of": "container_status",
    "update_container_resources": "update_container",
    "reopen_container_log": "reopen_container_log",
    "exec_sync": "exec_sync",
    "exec_url": "exec",
    "attach_url": "attach",
    "port_forward_url": "port_forward",
    "list_container_stats": "list_container_stats",
    "list_pod_sandbox_stats": "list_podsandbox_stats",
    "list_metric_descriptors": "list_metric_descriptors",
    "list_pod_sandbox_metrics": "list_podsandbox_metrics",
    "list_images": "list_images",
    "image_status": "image_status",
    "pull_image": "pull_image",
    "remove_image": "remove_image",
    "image_fs_info": "image_fs_info",
}
"""Calls of a ``Runtime`` by the kubelet's names for them."""


class StorageOperations:
    """How long what is done with volumes takes, by plugin. Source: ``pkg/volume/util/metrics.go``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "storage_operation_duration_seconds", "Storage operation duration",
            ["volume_plugin", "operation_name", "status", "migrated"], registry=registry, buckets=_STORAGE_BUCKETS,
        )  # fmt: skip

    @contextmanager
    def measured(self, plugin: str, operation: str) -> Iterator[None]:
        """``operation`` is upstream's name: volume_mount, volume_unmount, unmount_device..."""
        began, status = time.monotonic(), "fail-unknown"
        try:
            yield
            status = "success"
        finally:
            self._seconds.labels(plugin, operation, status, "false").observe(time.monotonic() - began)


class AgentMetrics:
    def __init__(self) -> None:
        self.registry = registry = new_registry()
        self.storage = StorageOperations(registry)
        labels = ["operation_type"]
        self._operations = Counter(
            "kubelet_runtime_operations", "Cumulative number of runtime operations.", labels, registry=registry
        )
        self._errors = Counter(
            "kubelet_runtime_operations_errors", "Runtime operations that failed.", labels, registry=registry
        )
        self._seconds = Histogram(
            "kubelet_runtime_operations_duration_seconds", "Duration in seconds of runtime operations.", labels,
            registry=registry, buckets=_OPERATION_BUCKETS,
        )  # fmt: skip
        self._step_seconds = Histogram(
            "kubelet_pod_worker_duration_seconds", "Duration in seconds to sync a single pod.", labels,
            registry=registry, buckets=_STEP_BUCKETS,
        )  # fmt: skip
        self._start_seconds = Histogram(
            "kubelet_pod_start_duration_seconds",
            "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
            registry=registry, buckets=_START_BUCKETS,
        )  # fmt: skip
        self._relist_seconds = Histogram(
            "kubelet_pleg_relist_duration_seconds", "Duration in seconds for relisting pods in PLEG.",
            registry=registry, buckets=_STEP_BUCKETS,
        )  # fmt: skip

    def runtime(self, runtime: Runtime) -> Runtime:
        """The same runtime, each of its calls counted and timed."""
        return cast(Runtime, _Measured(runtime, self._measured))

    def step(self, step: Callable[[], Awaitable[float | None]], kind: Callable[[], str]) -> Any:
        """The same step of a pod's worker, timed as the kind of work that it was."""

        async def timed() -> float | None:
            began = time.monotonic()
            try:
                return await step()
            finally:
                self._step_seconds.labels(kind()).observe(time.monotonic() - began)

        return timed

    def status_changed(self, before: Object, after: Object, seen_at: float) -> None:
        """A pod's status was ``before``; ``seen_at`` (seconds since 1970) is when the agent first saw the pod."""
        if after.get("phase") == "Running" and before.get("phase") == "Pending":
            self._start_seconds.observe(max(time.time() - seen_at, 0.0))

    def relisted(self, seconds: float) -> None:
        self._relist_seconds.observe(seconds)

    def _measured(self, operation: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        count, seconds = self._operations.labels(operation), self._seconds.labels(operation)

        async def measured(*args: Any, **kwargs: Any) -> Any:
            began = time.monotonic()
            try:
                return await call(*args, **kwargs)
            except RuntimeFault:
                self._errors.labels(operation).inc()
                raise
            finally:
                count.inc()
                seconds.observe(time.monotonic() - began)

        return measured


class _Measured:
    def __init__(
        self, runtime: Runtime, measured: Callable[[str, Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]
    ) -> None:
        self.events = runtime.events
        for name, operation in _OPERATIONS.items():
            setattr(self, name, measured(operation, getattr(runtime, name)))
