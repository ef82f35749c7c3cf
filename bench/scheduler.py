"""How many decisions a second the scheduler makes without an API server.

    python -m bench.scheduler [nodes] [pods]

For plain pods, for the pods of a Deployment with a Service (default spreading), for hard topology spread and for
anti-affinity. The figure includes parsing the pods, the decision and placing it in the snapshot.
"""

import sys
import time
from typing import Any

from apimachinery.meta import key_of
from master.scheduler.engine import Engine
from master.scheduler.profile import DEFAULT_PROFILE
from master.scheduler.shape import ShapeCache
from master.scheduler.snapshot import Snapshot

Object = dict[str, Any]


def node(number: int) -> Object:
    name = f"node-{number}"
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{number % 3}"}
    allocatable = {"cpu": "32", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    return {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": {"allocatable": allocatable}}


def pod(number: int, **spec: Any) -> Object:
    container = {"name": "c", "image": "app:1", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}
    metadata = {"name": f"pod-{number}", "namespace": "default", "uid": str(number), "labels": {"app": "bench"}}
    return {"metadata": metadata, "spec": {"containers": [container], **spec}}


def spread(topology_key: str) -> Object:
    constraint = {"topologyKey": topology_key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    return {"topologySpreadConstraints": [constraint | {"labelSelector": {"matchLabels": {"app": "bench"}}}]}


def anti_affinity(topology_key: str) -> Object:
    term = {"topologyKey": topology_key, "labelSelector": {"matchLabels": {"app": "bench"}}}
    return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


def run(title: str, nodes: int, pods: list[Object], *, service: bool = False) -> None:
    snapshot = Snapshot()
    for number in range(nodes):
        snapshot.set_node(node(number))
    if service:
        snapshot.peers.set_service("default", "bench", {"app": "bench"})
    engine, shapes, placed = Engine(snapshot, DEFAULT_PROFILE), ShapeCache(), 0
    start = time.perf_counter()
    for obj in pods:
        key, shape = key_of(obj), shapes.of(obj)
        decision = engine.decide(key, shape)
        if decision.node:
            snapshot.place(key, shape, decision.node)
            placed += 1
    seconds = time.perf_counter() - start
    print(f"{title:<28}{placed:>6} of {len(pods)} placed on {nodes} nodes  {len(pods) / seconds:>8.0f} decisions/s")


def main() -> None:
    nodes, pods = (int(a) for a in (*sys.argv[1:3], *("1000", "3000")[len(sys.argv) - 1 :]))
    run("plain", nodes, [pod(n) for n in range(pods)])
    run("of a Service", nodes, [pod(n) for n in range(pods)], service=True)
    run("zone spread", nodes, [pod(n, **spread("topology.kubernetes.io/zone")) for n in range(pods)])
    run("host spread", nodes, [pod(n, **spread("kubernetes.io/hostname")) for n in range(pods)])
    run("host anti-affinity", nodes, [pod(n, **anti_affinity("kubernetes.io/hostname")) for n in range(nodes)])


if __name__ == "__main__":
    main()
