"""``/metrics/cadvisor``: what a node's containers use, under cAdvisor's names and labels.

A runtime that has the CRI's metrics (KEP-2371) tells them; of another, the agent reads its processes' cgroups. The
CRI's values are whole numbers, so the time of CPUs, of which every dashboard makes rates, is taken from the stats.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from prometheus_client.core import Metric

from apimachinery.metrics import exposition
from node.agent import container_metrics
from node.agent.host import Machine
from node.agent.pod_state import Object
from node.cgroups.series import LABELS, descriptors
from node.cri.runtime import Runtime, RuntimeUnimplemented
from protos.cri.runtime.v1 import api_pb2 as pb

_CPU: Final = "container_cpu_usage_seconds_total"
_ABOUT: Final = "As the container runtime's stats tell it."
_Key = tuple[str, str, str]
"""Namespace, pod, container."""


async def text(runtime: Runtime, summary: Object, machine: Machine) -> bytes:
    """``summary`` is the node's. Raises RuntimeFault."""
    try:
        described: Sequence[pb.MetricDescriptor] = await runtime.list_metric_descriptors()
        pods: Sequence[pb.PodSandboxMetrics] = await runtime.list_pod_sandbox_metrics()
    except RuntimeUnimplemented:
        described, pods = descriptors(), await container_metrics.pods(runtime)
    families = from_runtime(described, pods, _cpu_seconds(summary))
    return exposition([*_of_machine(summary, machine, families), *families.values()])


def from_runtime(
    described: Iterable[pb.MetricDescriptor], pods: Iterable[pb.PodSandboxMetrics], cpu: dict[_Key, float]
) -> dict[str, Metric]:
    """Metric families by name. ``cpu``: seconds, in the place of the runtime's."""
    about = {d.name: d for d in described}
    families: dict[str, Metric] = {}
    for metric in _metrics(pods):
        keys, name = tuple(about[metric.name].label_keys), metric.name
        family = families.get(name) or _family(families, name, about[name].help, metric.metric_type == pb.COUNTER)
        labels = dict(zip(keys, metric.label_values, strict=True))
        value: float = metric.value.value
        if name == _CPU:
            value = cpu.get((labels["namespace"], labels["pod"], labels["container"]), value)
        family.add_sample(name, labels, value)
    return families


def _metrics(pods: Iterable[pb.PodSandboxMetrics]) -> Iterator[pb.Metric]:
    for pod in pods:
        yield from pod.metrics
        for container in pod.container_metrics:
            yield from container.metrics


def _family(families: dict[str, Metric], name: str, about: str, counter: bool) -> Metric:
    """The library ends every counter's name with _total; some of cAdvisor's do not."""
    kind = "gauge" if not counter else "counter" if name.endswith("_total") else "unknown"
    made = families[name] = Metric(name.removesuffix("_total") if kind == "counter" else name, about, kind)
    return made


def _of_machine(summary: Object, machine: Machine, families: dict[str, Metric]) -> Iterator[Metric]:
    """The machine's own, and the root of all containers: cAdvisor's id "/"."""
    for name, about, value in (
        ("machine_cpu_cores", "Number of logical CPU cores.", machine.cpus),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", machine.memory),
    ):
        family = Metric(name, about, "gauge")
        family.add_sample(name, {}, value)
        yield family
    root, memory = dict.fromkeys(LABELS, "") | {"id": "/"}, summary["node"]["memory"]
    used: list[tuple[str, float, dict[str, str]]] = [
        (_CPU, _seconds(summary["node"]) or 0.0, {"cpu": "total"}),
        ("container_memory_working_set_bytes", memory["workingSetBytes"], {}),
        ("container_memory_usage_bytes", memory["usageBytes"], {}),
    ]
    for name, seen, more in used:
        family = families.get(name) or _family(families, name, _ABOUT, name.endswith("_total"))
        family.add_sample(name, root | more, seen)


def _containers(summary: Object) -> Iterator[tuple[_Key, Object]]:
    for pod in summary["pods"]:
        for container in pod["containers"]:
            yield (pod["podRef"]["namespace"], pod["podRef"]["name"], container["name"]), container


def _cpu_seconds(summary: Object) -> dict[_Key, float]:
    return {who: seconds for who, container in _containers(summary) if (seconds := _seconds(container)) is not None}


def _seconds(stats: Object) -> float | None:
    used = (stats.get("cpu") or {}).get("usageCoreNanoSeconds")
    return None if used is None else used / 1e9
