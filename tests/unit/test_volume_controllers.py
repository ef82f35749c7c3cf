"""Claims find their volumes, keep them, lose them; nothing in use goes away."""

from typing import Any

from apimachinery.errors import Conflict
from apimachinery.meta import annotations_of
from apimachinery.persistent_volumes import (
    ATTRIBUTES_CLASS_FINALIZER,
    ATTRIBUTES_CLASSES,
    CLAIM_FINALIZER,
    STORAGE_CLASSES,
    STORAGE_PROVISIONER,
)
from apimachinery.scheme import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from apimachinery.scheme import PERSISTENT_VOLUMES as VOLUMES
from apimachinery.scheme import PODS, Kind
from tests.fakes import FakeCluster
from tests.fakes.manager import running
from tests.waiting import until

BINDER = "persistentvolume-binder-controller"


def volume(name: str, size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    base = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    return {"metadata": {"name": name}, "spec": {**base, "persistentVolumeReclaimPolicy": "Retain", **spec}}


def claim(name: str, size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, "storageClassName": ""}
    return {"metadata": {"name": name, "namespace": "a"}, "spec": {**base, **spec}}


def phase(obj: dict[str, Any]) -> Any:
    return (obj.get("status") or {}).get("phase")


def phases(cluster: FakeCluster, name: str, volume_name: str) -> tuple[Any, Any, Any]:
    found, of = cluster.get(CLAIMS, "a", name), cluster.get(VOLUMES, "", volume_name)
    return phase(found), found["spec"].get("volumeName"), phase(of)


async def test_a_claim_gets_the_smallest_volume_that_fits_and_it_is_released_with_it() -> None:
    cluster = FakeCluster()
    for name, size in (("big", "10Gi"), ("small", "500Mi"), ("right", "2Gi")):
        cluster.create(VOLUMES, volume(name, size))
    async with running(cluster, BINDER):
        await until(lambda: phase(cluster.get(VOLUMES, "", "right")) == "Available")
        cluster.create(CLAIMS, claim("c"))
        await until(lambda: phases(cluster, "c", "right") == ("Bound", "right", "Bound"))
        assert cluster.get(CLAIMS, "a", "c")["status"]["capacity"] == {"storage": "2Gi"}
        assert phase(cluster.get(VOLUMES, "", "big")) == "Available"
        cluster.delete(CLAIMS, "a", "c")
        await until(lambda: phase(cluster.get(VOLUMES, "", "right")) == "Released")


async def test_claims_never_share_a_volume() -> None:
    cluster = FakeCluster()
    for number in range(10):
        cluster.create(CLAIMS, claim(f"c{number}"))
        cluster.create(VOLUMES, volume(f"v{number}"))
    async with running(cluster, BINDER):
        await until(lambda: all(phase(c) == "Bound" for c in cluster.all(CLAIMS)))
    taken = [c["spec"]["volumeName"] for c in cluster.all(CLAIMS)]
    assert len(set(taken)) == 10
    assert {v["spec"]["claimRef"]["name"] for v in cluster.all(VOLUMES)} == {f"c{n}" for n in range(10)}


async def test_a_volume_is_released_by_a_claim_that_went_half_bound() -> None:
    def claims_cannot_be_written(verb: str, kind: Kind, name: str, body: Any) -> None:
        if (verb, kind) == ("update", CLAIMS):
            raise Conflict("changed meanwhile")

    cluster = FakeCluster()
    cluster.intercept = claims_cannot_be_written
    cluster.create(VOLUMES, volume("v"))
    cluster.create(CLAIMS, claim("c"))
    async with running(cluster, BINDER):
        await until(lambda: phase(cluster.get(VOLUMES, "", "v")) == "Bound")
        cluster.delete(CLAIMS, "a", "c")
        await until(lambda: phase(cluster.get(VOLUMES, "", "v")) == "Released")


async def test_a_volume_kept_for_a_claim_waits_for_it_and_a_lost_volume_is_told() -> None:
    cluster = FakeCluster()
    cluster.create(VOLUMES, volume("kept", claimRef={"namespace": "a", "name": "mine"}))
    cluster.create(CLAIMS, claim("other"))
    async with running(cluster, BINDER):
        await until(lambda: phases(cluster, "other", "kept") == ("Pending", None, "Available"))
        cluster.create(CLAIMS, claim("mine"))
        await until(lambda: phases(cluster, "mine", "kept") == ("Bound", "kept", "Bound"))
        cluster.delete(VOLUMES, "", "kept")
        await until(lambda: phase(cluster.get(CLAIMS, "a", "mine")) == "Lost")


async def test_a_delayed_claim_waits_for_its_pod_and_then_names_its_provisioner() -> None:
    cluster = FakeCluster()
    delayed = {"provisioner": "x.io/y", "volumeBindingMode": "WaitForFirstConsumer"}
    cluster.create(STORAGE_CLASSES, {"metadata": {"name": "slow"}, **delayed})
    cluster.create(VOLUMES, volume("v", storageClassName="slow"))
    cluster.create(CLAIMS, claim("c", "5Gi", storageClassName="slow"))
    async with running(cluster, BINDER):
        await until(lambda: phase(cluster.get(CLAIMS, "a", "c")) == "Pending")
        held = cluster.get(CLAIMS, "a", "c")
        assert STORAGE_PROVISIONER not in annotations_of(held)
        held["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": "n1"}
        cluster.update(CLAIMS, held)
        await until(lambda: annotations_of(cluster.get(CLAIMS, "a", "c")).get(STORAGE_PROVISIONER) == "x.io/y")


async def test_a_claim_stays_while_a_pod_uses_it() -> None:
    cluster = FakeCluster()
    cluster.create(CLAIMS, claim("c"))
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    spec = {"containers": [{"name": "c"}], "nodeName": "n", "volumes": volumes}
    cluster.create(PODS, {"metadata": {"name": "p", "namespace": "a"}, "spec": spec})
    async with running(cluster, "persistentvolumeclaim-protection-controller"):
        await until(lambda: CLAIM_FINALIZER in cluster.get(CLAIMS, "a", "c")["metadata"].get("finalizers", ()))
        cluster.delete(CLAIMS, "a", "c")
        assert cluster.get(CLAIMS, "a", "c")["metadata"]["deletionTimestamp"]
        cluster.delete(PODS, "a", "p", {"gracePeriodSeconds": 0})
        await until(lambda: not cluster.all(CLAIMS))


async def test_a_class_of_attributes_stays_while_a_claim_names_it() -> None:
    cluster = FakeCluster()
    for name in ("gold", "free"):
        cluster.create(ATTRIBUTES_CLASSES, {"metadata": {"name": name}, "driverName": "d"})
    cluster.create(CLAIMS, claim("c", volumeAttributesClassName="gold"))

    def finalizers(name: str) -> Any:
        return cluster.get(ATTRIBUTES_CLASSES, "", name)["metadata"].get("finalizers")

    async with running(cluster, "volumeattributesclass-protection-controller"):
        await until(lambda: finalizers("gold") == finalizers("free") == [ATTRIBUTES_CLASS_FINALIZER])
        cluster.delete(ATTRIBUTES_CLASSES, "", "gold")
        cluster.delete(ATTRIBUTES_CLASSES, "", "free")
        await until(lambda: [one["metadata"]["name"] for one in cluster.all(ATTRIBUTES_CLASSES)] == ["gold"])
        cluster.delete(CLAIMS, "a", "c")
        await until(lambda: not cluster.all(ATTRIBUTES_CLASSES))


async def test_an_ephemeral_volume_gets_a_claim_owned_by_its_pod() -> None:
    cluster = FakeCluster()
    template = {"metadata": {"labels": {"x": "y"}}, "spec": claim("c")["spec"]}
    volumes = [{"name": "data", "ephemeral": {"volumeClaimTemplate": template}}]
    pod = {"metadata": {"name": "p", "namespace": "a"}, "spec": {"containers": [{"name": "c"}], "volumes": volumes}}
    uid = cluster.create(PODS, pod)["metadata"]["uid"]
    async with running(cluster, "ephemeral-volume-controller"):
        await until(lambda: cluster.get(CLAIMS, "a", "p-data"))
    made = cluster.get(CLAIMS, "a", "p-data")["metadata"]
    assert made["ownerReferences"][0]["uid"] == uid and made["labels"] == {"x": "y"}
