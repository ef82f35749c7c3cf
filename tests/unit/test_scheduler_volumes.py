"""What volumes demand of nodes: the drivers' limits and free space, and claims for one pod alone."""

from typing import Any

from apimachinery.persistent_volumes import BIND_COMPLETED
from tests.scheduling import cluster, node, pod, put, schedule

DRIVER = "d.test"


def mounting(name: str, claim: str, **spec: Any) -> dict[str, Any]:
    return pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": claim}}], **spec)


def bind(engine: Any, claim: str, mode: str = "ReadWriteMany") -> None:
    about = {"name": claim, "namespace": "default", "annotations": {BIND_COMPLETED: "yes"}}
    spec = {"volumeName": claim, "accessModes": [mode]}
    engine.snapshot.claims[("default", claim)] = {"metadata": about, "spec": spec}
    source = {"driver": DRIVER, "volumeHandle": claim}
    engine.snapshot.volumes[("", claim)] = {"metadata": {"name": claim}, "spec": {"csi": source}}


def test_a_node_takes_no_more_volumes_than_its_driver_says() -> None:
    engine = cluster(node("n1"))
    drivers = [{"name": DRIVER, "nodeID": "n1", "allocatable": {"count": 2}}]
    engine.snapshot.csi_nodes[("", "n1")] = {"metadata": {"name": "n1"}, "spec": {"drivers": drivers}}
    for claim in ("a", "b", "c"):
        bind(engine, claim)
    assert [schedule(engine, mounting(f"p{n}", c)) for n, c in enumerate("aab")] == ["n1"] * 3
    assert schedule(engine, mounting("p", "c")).startswith("0/1 nodes are available: 1 node(s) exceed max volume count")
    assert schedule(engine, mounting("q", "b")) == "n1"


def test_a_claim_for_one_pod_alone_is_not_shared() -> None:
    engine = cluster(node("n1"), node("n2"))
    bind(engine, "a", "ReadWriteOncePod")
    put(engine, "n1", mounting("p", "a"))
    assert "2 node has pod using PersistentVolumeClaim with the same name" in schedule(engine, mounting("q", "a"))


def test_a_volume_is_made_where_its_driver_has_space() -> None:
    engine = cluster(node("n1"), node("n2"))
    snapshot = engine.snapshot
    snapshot.csi_drivers[("", DRIVER)] = {"metadata": {"name": DRIVER}, "spec": {"storageCapacity": True}}
    mode = {"provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer"}
    snapshot.storage_classes[("", "csi")] = {"metadata": {"name": "csi"}, **mode}
    spec = {"storageClassName": "csi", "resources": {"requests": {"storage": "5Gi"}}}
    snapshot.claims[("default", "c")] = {"metadata": {"name": "c", "namespace": "default"}, "spec": spec}
    for name, free in (("n1", "4Gi"), ("n2", "5Gi")):
        where = {"matchLabels": {"kubernetes.io/hostname": name}}
        about = {"storageClassName": "csi", "nodeTopology": where, "capacity": free}
        snapshot.csi_capacities[("kube-system", name)] = {"metadata": {"name": name}, **about}
    assert schedule(engine, mounting("p", "c")) == "n2"
    snapshot.csi_capacities[("kube-system", "n2")]["maximumVolumeSize"] = "1Gi"
    snapshot.tick()
    assert "2 node(s) did not have enough free storage" in schedule(engine, mounting("q", "c"))
