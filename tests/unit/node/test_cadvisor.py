"""``/metrics/cadvisor`` of a runtime that has the CRI's metrics, and of one that has not."""

import os
from types import SimpleNamespace
from typing import cast

from prometheus_client.parser import text_string_to_metric_families as parsed

from node.agent.cadvisor import text
from node.agent.host import Machine
from node.cgroups.series import LABELS
from node.cri.fake import FakeRuntime
from node.cri.runtime import Runtime
from protos.cri.runtime.v1 import api_pb2 as pb

MACHINE = cast(Machine, SimpleNamespace(cpus=2, memory=4096))
USED = {"usageCoreNanoSeconds": 1_250_000_000}
SUMMARY = {
    "node": {"cpu": {"usageCoreNanoSeconds": 5 * 10**9}, "memory": {"workingSetBytes": 100, "usageBytes": 120}},
    "pods": [
        {
            "podRef": {"namespace": "a", "name": "p"},
            "network": {"name": "eth0", "rxBytes": 7, "txBytes": 8},
            "containers": [
                {
                    "name": "c",
                    "cpu": USED,
                    "memory": {"workingSetBytes": 20, "usageBytes": 25, "rssBytes": 15},
                    "rootfs": {"usedBytes": 9},
                }
            ],
        }
    ],
}


async def samples(runtime: Runtime) -> dict[tuple[str, ...], float]:
    """By name, id, container, pod, namespace, and the values of what further labels there are."""
    found = {}
    for family in parsed((await text(runtime, SUMMARY, MACHINE)).decode()):
        for s in family.samples:
            more = [value for label, value in sorted(s.labels.items()) if label not in LABELS]
            found[s.name, *(s.labels.get(k, "") for k in ("id", "container", "pod", "namespace")), *more] = s.value
    return found


class Told(FakeRuntime):
    async def list_metric_descriptors(self) -> list[pb.MetricDescriptor]:
        return [
            pb.MetricDescriptor(name="container_cpu_usage_seconds_total", label_keys=[*LABELS, "cpu"]),
            pb.MetricDescriptor(name="container_memory_failcnt", label_keys=LABELS),
            pb.MetricDescriptor(name="container_network_receive_bytes_total", label_keys=[*LABELS, "interface"]),
        ]

    async def list_pod_sandbox_metrics(self) -> list[pb.PodSandboxMetrics]:
        def metric(name: str, value: int, *labels: str) -> pb.Metric:
            labels = ("1", "n", "i", *labels)
            return pb.Metric(name=name, metric_type=pb.COUNTER, label_values=labels, value=pb.UInt64Value(value=value))

        own = [
            metric("container_cpu_usage_seconds_total", 1, "c", "p", "a", "total"),
            metric("container_memory_failcnt", 3, "c", "p", "a"),
        ]
        container = pb.ContainerMetrics(container_id="1", metrics=own)
        network = metric("container_network_receive_bytes_total", 9, "POD", "p", "a", "eth0")
        return [pb.PodSandboxMetrics(metrics=[network], container_metrics=[container])]


async def test_all_that_the_runtime_measures_is_told_and_cpu_time_to_the_fraction() -> None:
    found = await samples(Told())
    assert found["container_cpu_usage_seconds_total", "1", "c", "p", "a", "total"] == 1.25
    assert found["container_memory_failcnt", "1", "c", "p", "a"] == 3
    assert found["container_network_receive_bytes_total", "1", "POD", "p", "a", "eth0"] == 9
    assert found["machine_cpu_cores", "", "", "", ""] == 2 and found["machine_memory_bytes", "", "", "", ""] == 4096
    assert found["container_memory_working_set_bytes", "/", "", "", ""] == 100


class WithProcesses(FakeRuntime):
    """Its containers are the process of the test."""

    async def process_of(self, identity: str, *, sandbox: bool) -> int:
        return os.getpid()


async def test_of_a_runtime_without_metrics_the_cgroups_are_read() -> None:
    runtime = WithProcesses()
    meta = {"io.kubernetes.pod.name": "p", "io.kubernetes.pod.namespace": "a"}
    box = await runtime.run_pod_sandbox(pb.PodSandboxConfig(labels=meta))
    config = pb.ContainerConfig(metadata=pb.ContainerMetadata(name="c"), image=pb.ImageSpec(image="i"))
    container = await runtime.create_container(box, config, pb.PodSandboxConfig())
    await runtime.start_container(container)
    found = await samples(runtime)
    assert found["container_cpu_usage_seconds_total", container, "c", "p", "a", "total"] == 1.25
    assert found["container_memory_rss", container, "c", "p", "a"] > 0
    assert found["container_processes", container, "c", "p", "a"] > 0
    assert ("container_cpu_cfs_throttled_periods_total", container, "c", "p", "a") in found
    assert not any(name.startswith("container_network") for name, *_ in found), "it is on the node's network"
    assert found["container_cpu_usage_seconds_total", "/", "", "", "", "total"] == 5
