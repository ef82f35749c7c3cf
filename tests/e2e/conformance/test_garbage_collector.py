"""sig-api-machinery, garbage collection: upstream's tests that start no pod. Each is named after upstream's."""

from typing import Any

import yaml

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import MERGE, Object, Resource, resource
from tests.waiting import eventually

DEPLOYMENT = """
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "my-dep", %s "labels": {"app": "nginx"}},
 "spec": {%s "selector": {"matchLabels": {"app": "nginx"}}, "template": {"metadata": {"labels": {"app": "nginx"}},
 "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]}}}}"""


def workload(space: str, plane: ApiServerProgram, **spec: Any) -> tuple[Resource, Resource]:
    controllers, pods = (
        resource(plane, "replicationcontrollers", namespace=space),
        resource(plane, "pods", namespace=space),
    )
    pod = {
        "metadata": {"labels": {"name": "simpletest"}},
        "spec": {"containers": [{"name": "nginx", "image": "nginx"}]},
    }
    body = {"replicas": 3, "selector": {"name": "simpletest"}, "template": pod, **spec}
    controllers.create({"metadata": {"name": "simpletest.rc"}, "spec": body})
    eventually(lambda: len(pods.names()) == 3)
    eventually(lambda: controllers.get("simpletest.rc")["status"]["replicas"] == 3)
    return controllers, pods


def test_should_delete_pods_created_by_rc_when_not_orphaning(plane: ApiServerProgram, space: str) -> None:
    controllers, pods = workload(space, plane)
    controllers.delete("simpletest.rc", propagationPolicy="Background")
    eventually(lambda: not pods.names())


def test_should_orphan_pods_created_by_rc_if_delete_options_say_so(plane: ApiServerProgram, space: str) -> None:
    controllers, pods = workload(space, plane)
    controllers.delete("simpletest.rc", propagationPolicy="Orphan")
    eventually(lambda: controllers.gone("simpletest.rc"))
    left = pods.listing()["items"]
    assert [p["metadata"].get("ownerReferences") for p in left] == [None] * 3


def test_should_keep_the_rc_around_until_all_its_pods_are_deleted_if_the_delete_options_says_so(
    plane: ApiServerProgram, space: str
) -> None:
    controllers, pods = workload(space, plane)
    for name in pods.names():
        pods.patch(name, {"metadata": {"finalizers": ["example.com/hold"]}}, MERGE)
    controllers.delete("simpletest.rc", propagationPolicy="Foreground")
    eventually(lambda: all("deletionTimestamp" in p["metadata"] for p in pods.listing()["items"]))
    held = controllers.get("simpletest.rc")["metadata"]
    assert (held["finalizers"], "deletionTimestamp" in held) == (["foregroundDeletion"], True)
    for name in pods.names():
        pods.patch(name, {"metadata": {"finalizers": None}}, MERGE)
    eventually(lambda: controllers.gone("simpletest.rc"))


def test_should_delete_rs_created_by_deployment_when_not_orphaning(plane: ApiServerProgram, space: str) -> None:
    deployments, sets = resource(plane, "deployments", "apps", space), resource(plane, "replicasets", "apps", space)
    for policy in ("Background", "Orphan"):
        deployments.create(yaml.safe_load(DEPLOYMENT % ("", "")))
        eventually(lambda: len(sets.names()) == 1)
        deployments.delete("my-dep", propagationPolicy=policy)
        eventually(lambda: deployments.gone("my-dep"))
        if policy == "Background":
            eventually(lambda: not sets.names())
    (orphan,) = eventually(lambda: [s for s in sets.listing()["items"] if "ownerReferences" not in s["metadata"]])
    assert orphan["spec"]["replicas"] == 1


def owned(name: str, *owners: Object, block: bool = False) -> Object:
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"],
         "blockOwnerDeletion": block}
        for o in owners
    ]  # fmt: skip
    return {"metadata": {"name": name, "ownerReferences": references}}


def test_should_not_delete_dependents_that_have_both_valid_owner_and_owner_that_is_waiting_for_dependents_to_be_deleted(
    plane: ApiServerProgram, space: str
) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    dying, staying = maps.create({"metadata": {"name": "dying"}}), maps.create({"metadata": {"name": "staying"}})
    maps.create(owned("both", dying, staying, block=True))
    maps.create(owned("one", dying, block=True))
    maps.delete("dying", propagationPolicy="Foreground")
    eventually(lambda: maps.gone("dying") and maps.gone("one"))
    assert [o["name"] for o in maps.get("both")["metadata"]["ownerReferences"]] == ["staying"]


def test_should_not_be_blocked_by_dependency_circle(plane: ApiServerProgram, space: str) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    made = [maps.create({"metadata": {"name": f"pod{n}"}}) for n in range(3)]
    for number, obj in enumerate(made):
        owner = owned("x", made[number - 1], block=True)["metadata"]["ownerReferences"]
        maps.patch(obj["metadata"]["name"], {"metadata": {"ownerReferences": owner}}, MERGE)
    maps.delete("pod0", propagationPolicy="Foreground")
    eventually(lambda: not [n for n in maps.names() if n.startswith("pod")])
