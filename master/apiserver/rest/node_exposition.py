"""What a node uses, in Prometheus' format: ``/metrics/resource`` of ``nodes/proxy``. Pure.

Made from the summary that the agent answers. Source: kubelet ``metrics/collectors/resource_metrics.go``.
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
    families += _of_pods(summary) + _of_containers(summary)
    error = _gauge("resource_scrape_error", "1 if there was an error while getting metrics, 0 otherwise", ())
    error.add_metric((), 0)
    return exposition([*families, error])


def _of_pods(summary: Object) -> list[Metric]:
    cpu = _counter("pod_cpu_usage_seconds", "Cumulative cpu time consumed by the pod in core-seconds", _POD)
    memory = _gauge("pod_memory_working_set_bytes", "Current working set of the pod in bytes", _POD)
    for labels, pod in _pods(summary):
        _put(cpu, labels, _cpu(pod))
        _put(memory, labels, _memory(pod))
    return [cpu, memory]


def _of_containers(summary: Object) -> list[Metric]:
    about = "Cumulative cpu time consumed by the container in core-seconds"
    cpu = _counter("container_cpu_usage_seconds", about, _CONTAINER)
    about = "Current working set of the container in bytes"
    memory = _gauge("container_memory_working_set_bytes", about, _CONTAINER)
    for labels, container in _containers(summary):
        _put(cpu, labels, _cpu(container))
        _put(memory, labels, _memory(container))
    return [cpu, memory]


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
