"""Makes nodes and pods for the scheduler's tests."""

from typing import Any

from apimachinery.meta import key_of
from master.scheduler.engine import Engine
from master.scheduler.profile import DEFAULT_PROFILE
from master.scheduler.shape import Key, PodShape, parse
from master.scheduler.snapshot import Snapshot

Object = dict[str, Any]


def node(
    name: str,
    *,
    labels: Object | None = None,
    taints: list[Object] | None = None,
    unschedulable: bool = False,
    **amounts: str,
) -> Object:
    allocatable = {"cpu": "4", "memory": "8Gi", "pods": "110"} | amounts
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | (labels or {})},
        "spec": {"taints": taints or [], "unschedulable": unschedulable},
        "status": {"allocatable": allocatable},
    }


def pod(
    name: str, *, labels: Object | None = None, namespace: str = "default", node_name: str = "", **spec: Any
) -> Object:
    """``cpu``/``memory`` are the requests of its container, ``host_port`` its port; all else goes into the spec."""
    requests = {k: spec.pop(k) for k in ("cpu", "memory", "example.com/gpu") if k in spec}
    container: Object = {"name": "c", "image": "app", "resources": {"requests": requests}}
    if "host_port" in spec:
        container["ports"] = [{"containerPort": 80, "hostPort": spec.pop("host_port"), "protocol": "TCP"}]
    if node_name:
        spec["nodeName"] = node_name
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "labels": labels or {}},
        "spec": {"containers": [container], "schedulerName": "default-scheduler"} | spec,
    }


def cluster(*nodes: Object) -> Engine:
    snapshot = Snapshot()
    for obj in nodes:
        snapshot.set_node(obj)
    return Engine(snapshot, DEFAULT_PROFILE)


def put(engine: Engine, node_name: str, *pods: Object) -> None:
    for obj in pods:
        engine.snapshot.place(key_of(obj), parse(obj), node_name, obj)


def schedule(engine: Engine, obj: Object) -> str:
    """Decide and place; the node, or the message."""
    key, shape = key_of(obj), parse(obj)
    decision = engine.decide(key, shape)
    if decision.node:
        engine.snapshot.place(key, shape, decision.node)
    return decision.node or decision.message


def key_and_shape(obj: Object) -> tuple[Key, PodShape]:
    return key_of(obj), parse(obj)


def term(topology_key: str = "kubernetes.io/hostname", **labels: str) -> Object:
    return {"topologyKey": topology_key, "labelSelector": {"matchLabels": labels}}


def required_affinity(*terms: Object) -> Object:
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def required_anti_affinity(*terms: Object) -> Object:
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}
