"""What a node uses, in Prometheus' format: ``/metrics/resource`` and ``/metrics/cadvisor`` of ``nodes/proxy``. Pure.

Made from the summary that the agent answers. Names and labels are the kubelet's and cAdvisor's, of what the summary
has; what only cAdvisor measures is left out. Source: kubelet ``metrics/collectors/resource_metrics.go``.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from apimachinery.metrics import exposition

Object = dict[str, Any]
_POD, _CONTAINER = ("namespace", "pod"), ("namespace", "pod", "container")
_NANO = 1e-9


def resource_metrics(summary: Object) -> bytes:
    node = summary.get("node") or {}
    families = [
        _counter("node_cpu_usage_seconds", "Cumulative cpu time consumed by the node in core-seconds", ()),
        _gauge("node_memory_working_set_bytes", "Current working set of the node in bytes", ()),
    ]
    _put(families[0], (), _cpu(node))
    _put(families[1], (), _memory(node))
    families += _of_pods(summary) + _of_containers(summary, ())
    error = _gauge("resource_scrape_error", "1 if there was an error while getting metrics, 0 otherwise", ())
    error.add_metric((), 0)
    return exposition([*families, error])


def cadvisor_metrics(summary: Object, cores: int, memory: int) -> bytes:
    """``cores`` and ``memory`` (bytes) are those of the machine."""
    machine = [_gauge("machine_cpu_cores", "Number of logical CPU cores.", ())]
    machine.append(_gauge("machine_memory_bytes", "Amount of memory installed on the machine.", ()))
    for family, value in zip(machine, (cores, memory), strict=True):
        family.add_metric((), value)
    containers = (*_of_containers(summary, ("cpu",)), *_more_of_containers(summary))
    return exposition([*machine, *containers, *_networks(summary)])


def _of_pods(summary: Object) -> list[Metric]:
    cpu = _counter("pod_cpu_usage_seconds", "Cumulative cpu time consumed by the pod in core-seconds", _POD)
    memory = _gauge("pod_memory_working_set_bytes", "Current working set of the pod in bytes", _POD)
    for labels, pod in _pods(summary):
        _put(cpu, labels, _cpu(pod))
        _put(memory, labels, _memory(pod))
    return [cpu, memory]


def _of_containers(summary: Object, more: tuple[str, ...]) -> list[Metric]:
    about = "Cumulative cpu time consumed by the container in core-seconds"
    cpu = _counter("container_cpu_usage_seconds", about, (*_CONTAINER, *more))
    about = "Current working set of the container in bytes"
    memory = _gauge("container_memory_working_set_bytes", about, _CONTAINER)
    for labels, container in _containers(summary):
        _put(cpu, (*labels, *("total" for _ in more)), _cpu(container))
        _put(memory, labels, _memory(container))
    return [cpu, memory]


def _more_of_containers(summary: Object) -> list[Metric]:
    paths = {
        "container_memory_usage_bytes": ("memory", "usageBytes"),
        "container_memory_rss": ("memory", "rssBytes"),
        "container_fs_usage_bytes": ("rootfs", "usedBytes"),
    }
    families = {name: _gauge(name, "As the container runtime tells it.", _CONTAINER) for name in paths}
    for labels, container in _containers(summary):
        for name, (part, key) in paths.items():
            _put(families[name], labels, (container.get(part) or {}).get(key))
    return list(families.values())


def _networks(summary: Object) -> list[Metric]:
    keys = {"rxBytes": "receive_bytes", "txBytes": "transmit_bytes", "rxErrors": "receive_errors"}
    labels = (*_POD, "interface")
    families = {
        k: _counter(f"container_network_{n}", "Cumulative, of the pod's network.", labels) for k, n in keys.items()
    }
    for pod_labels, pod in _pods(summary):
        network = pod.get("network") or {}
        for key, family in families.items():
            _put(family, (*pod_labels, network.get("name", "eth0")), network.get(key))
    return list(families.values())


def _pods(summary: Object) -> Iterator[tuple[tuple[str, ...], Object]]:
    for pod in summary.get("pods") or ():
        yield (pod["podRef"]["namespace"], pod["podRef"]["name"]), pod


def _containers(summary: Object) -> Iterator[tuple[tuple[str, ...], Object]]:
    for labels, pod in _pods(summary):
        for container in pod.get("containers") or ():
            yield (*labels, container["name"]), container


def _cpu(stats: Object) -> float | None:
    used = (stats.get("cpu") or {}).get("usageCoreNanoSeconds")
    return None if used is None else used * _NANO


def _memory(stats: Object) -> float | None:
    return (stats.get("memory") or {}).get("workingSetBytes")


def _counter(name: str, about: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(name, about, labels=labels)


def _gauge(name: str, about: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, labels=labels)


def _put(family: Any, labels: tuple[str, ...], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)
