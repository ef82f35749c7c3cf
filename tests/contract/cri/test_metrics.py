"""Specs "PodSandbox: runtime should support metrics operations"."""

import grpc
import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.contract.cri.kit import Kit, refused

# What a runtime may leave out, or have no value for: no block device is behind an overlay, pressure is cgroup v2's.
OPTIONAL = (
    "container_hugetlb",
    "container_pressure",
    "container_ulimits",
    "container_blkio",
    "container_fs_reads",
    "container_fs_writes",
)
EXPECTED = """
blkio_device_usage_total cpu_cfs_periods_total cpu_cfs_throttled_periods_total cpu_cfs_throttled_seconds_total
cpu_system_seconds_total cpu_usage_seconds_total cpu_user_seconds_total file_descriptors fs_inodes_free
fs_inodes_total fs_limit_bytes fs_reads_bytes_total fs_reads_total fs_usage_bytes fs_writes_bytes_total
fs_writes_total last_seen memory_cache memory_failcnt memory_failures_total memory_kernel_usage memory_mapped_file
memory_max_usage_bytes memory_rss memory_swap memory_usage_bytes memory_working_set_bytes
network_receive_bytes_total network_receive_errors_total network_receive_packets_dropped_total
network_receive_packets_total network_transmit_bytes_total network_transmit_errors_total
network_transmit_packets_dropped_total network_transmit_packets_total oom_events_total processes sockets
spec_cpu_period spec_cpu_quota spec_cpu_shares spec_memory_limit_bytes spec_memory_reservation_limit_bytes
spec_memory_swap_limit_bytes start_time_seconds threads threads_max
"""


@pytest.fixture
def labels(kit: Kit) -> dict[str, list[str]]:
    """Metric -> the names of its labels."""
    kit.needs(kit.target.name != "containerd", "has no metrics in 1.6")
    told = kit.runtime.ListMetricDescriptors(cri.ListMetricDescriptorsRequest()).descriptors
    assert all(descriptor.help and descriptor.label_keys for descriptor in told)
    return {descriptor.name: list(descriptor.label_keys) for descriptor in told}


def test_metric_descriptors(labels: dict[str, list[str]]) -> None:
    assert {f"container_{name}" for name in EXPECTED.split()} <= labels.keys()


def test_pod_sandbox_metrics(kit: Kit, labels: dict[str, list[str]]) -> None:
    pod = kit.pod()
    limits = {
        "cpu_period": 100000,
        "cpu_quota": 20000,
        "cpu_shares": 1024,
        "memory_limit_in_bytes": 64 << 20,
        "memory_swap_limit_in_bytes": 64 << 20,
    }
    container = pod.run(resources=limits)
    container.output("sh", "-c", "mkdir -p /d && for i in $(seq 10); do echo hi >> /d/$i; done; sync")
    answer = kit.runtime.ListPodSandboxMetrics(cri.ListPodSandboxMetricsRequest()).pod_metrics
    mine = next(found for found in answer if found.pod_sandbox_id == pod.id)
    assert [found.container_id for found in mine.container_metrics] == [container.id]
    seen = {metric.name: metric for metric in (*mine.metrics, *mine.container_metrics[0].metrics)}
    assert {name for name in labels if not name.startswith(OPTIONAL)} <= seen.keys()
    assert all(len(metric.label_values) == len(labels[name]) for name, metric in seen.items())
    assert seen["container_spec_memory_limit_bytes"].value.value == 64 << 20
    assert 0 < seen["container_memory_working_set_bytes"].value.value < 64 << 20
    assert seen["container_processes"].value.value >= 1


def test_update_pod_sandbox_resources(kit: Kit) -> None:
    kit.needs(kit.target.name != "containerd", "has no UpdatePodSandboxResources in 1.6")
    update = kit.runtime.UpdatePodSandboxResources
    update(cri.UpdatePodSandboxResourcesRequest(pod_sandbox_id=kit.pod().id))
    with refused(grpc.StatusCode.NOT_FOUND):
        update(cri.UpdatePodSandboxResourcesRequest(pod_sandbox_id="0" * 64))


def test_a_checkpoint_is_refused_by_name(kit: Kit) -> None:
    with refused(grpc.StatusCode.UNIMPLEMENTED) as failed:
        kit.runtime.CheckpointContainer(cri.CheckpointContainerRequest(container_id="0" * 64))
    assert "CheckpointContainer" in str(failed.value)
