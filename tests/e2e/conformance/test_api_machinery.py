"""sig-api-machinery: upstream's tests that start no pod and need no custom resource, webhook or policy.

Each test is named after upstream's.
"""

import subprocess
import threading
from typing import Any

import pytest
import yaml

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import APPLY, MERGE, Object, Refused, Resource, discovered, resource
from tests.waiting import eventually

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
GROUPS = [
    "admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "apiextensions.k8s.io/v1/customresourcedefinitions",
    "apiregistration.k8s.io/v1/apiservices",
    "apps/v1/deployments",
    "authentication.k8s.io/v1/tokenreviews",
    "authorization.k8s.io/v1/selfsubjectaccessreviews",
    "autoscaling/v1/horizontalpodautoscalers",
    "autoscaling/v2/horizontalpodautoscalers",
    "batch/v1/jobs",
    "certificates.k8s.io/v1/certificatesigningrequests",
    "coordination.k8s.io/v1/leases",
    "discovery.k8s.io/v1/endpointslices",
    "events.k8s.io/v1/events",
    "networking.k8s.io/v1/ingresses",
    "node.k8s.io/v1/runtimeclasses",
    "policy/v1/poddisruptionbudgets",
    "scheduling.k8s.io/v1/priorityclasses",
    "storage.k8s.io/v1/csinodes",
]
DEPLOYMENT = """
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "my-dep", %s "labels": {"app": "nginx"}},
 "spec": {%s "selector": {"matchLabels": {"app": "nginx"}}, "template": {"metadata": {"labels": {"app": "nginx"}},
 "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]}}}}"""


def refusal(call: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


# Discovery


def test_should_support_raw_aggregated_discovery_endpoint_accept_headers(plane: ApiServerProgram) -> None:
    reply = plane.request("GET", "/apis", headers={"Accept": AGGREGATED})
    assert "as=APIGroupDiscoveryList" in reply.headers["content-type"]
    found = {
        f"{group['metadata']['name']}/{version['version']}/{r['resource']}"
        for group in reply.json["items"]
        for version in group["versions"]
        for r in version["resources"]
    }
    assert set(GROUPS) <= found
    core = plane.request("GET", "/api", headers={"Accept": AGGREGATED}).json["items"]
    assert "namespaces" in [r["resource"] for r in core[0]["versions"][0]["resources"]]


def test_should_validate_preferred_version_for_each_api_group(plane: ApiServerProgram) -> None:
    for group in plane.request("GET", "/apis").json["groups"]:
        for path in (f"/apis/{group['name']}", f"/apis/{group['name']}/"):
            got = plane.request("GET", path).json
            assert got["preferredVersion"] in got["versions"]
            assert got["preferredVersion"] == group["preferredVersion"]


def test_should_locate_all_expected_resources_in_discovery(plane: ApiServerProgram) -> None:
    for line in GROUPS:
        group, version, name = line.split("/")
        kinds = plane.request("GET", f"/apis/{group}/{version}").json["resources"]
        assert name in [k["name"] for k in kinds]


def test_should_find_the_server_version(plane: ApiServerProgram) -> None:
    found = plane.request("GET", "/version").json
    assert (found["major"], found["minor"], found["gitVersion"][:6]) == ("1", "36", "v1.36.")


# Table transformation


def test_should_return_a_406_for_a_backend_which_does_not_implement_metadata(plane: ApiServerProgram) -> None:
    body = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert plane.request("POST", path, body, headers={"Accept": TABLE}).code == 406


def test_should_return_chunks_of_table_results_for_list_calls(plane: ApiServerProgram, space: str) -> None:
    templates = resource(plane, "podtemplates", namespace=space)
    spec = {"containers": [{"name": "test", "image": "test2"}]}
    for number in range(20):
        templates.create({"metadata": {"name": f"template-{number:04}"}, "template": {"spec": spec}})
    page = templates.listing(TABLE, limit=2)
    assert [row["cells"][0] for row in page["rows"]] == ["template-0000", "template-0001"]
    assert page["metadata"]["resourceVersion"]
    rest = templates.listing(TABLE, **{"continue": page["metadata"]["continue"]})
    assert (rest["rows"][0]["cells"][0], len(rest["rows"])) == ("template-0002", 18)
    assert all(len(row["cells"]) == len(page["columnDefinitions"]) for row in page["rows"])


# Chunking


def test_should_return_chunks_of_results_for_list_calls(plane: ApiServerProgram, space: str) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    for number in range(60):
        maps.create({"metadata": {"name": f"template-{number:04}"}})
    every = maps.names()
    found: list[str] = []
    token, version = "", ""
    while True:
        page = maps.listing(limit=17, **{"continue": token})
        meta = page["metadata"]
        found += [i["metadata"]["name"] for i in page["items"]]
        version = version or meta["resourceVersion"]
        assert meta["resourceVersion"] == version
        token = meta.get("continue", "")
        assert meta.get("remainingItemCount", 0) == len(every) - len(found)
        if not token:
            break
    assert found == every
    assert "remainingItemCount" not in meta


def test_should_continue_listing_from_the_last_key_if_the_original_version_has_been_compacted_away(
    plane: ApiServerProgram, space: str
) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    for number in range(20):
        maps.create({"metadata": {"name": f"template-{number:04}"}})
    first = maps.listing(limit=7)["metadata"]
    last = maps.create({"metadata": {"name": "after"}})["metadata"]["resourceVersion"]
    compact = ["etcdctl", f"--endpoints={plane.etcd}", "compaction", last]
    subprocess.run(compact, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin", "ETCDCTL_API": "3"})
    # Until the server has noticed, it may answer from what it still has.
    refused = refusal(lambda: maps.listing(limit=7, **{"continue": first["continue"]}))
    assert (refused.code, refused.reason) == (410, "Expired")
    fresh = refused.status["metadata"]["continue"]
    page = maps.listing(limit=7, **{"continue": fresh})
    assert page["items"][0]["metadata"]["name"] > "template-0005"
    assert int(page["metadata"]["resourceVersion"]) > int(first["resourceVersion"])


# Field validation


def strict(plane: ApiServerProgram, space: str, body: str) -> str:
    path = f"/apis/apps/v1/namespaces/{space}/deployments?fieldManager=field_validation_mgr&fieldValidation=Strict"
    reply = plane.request("POST", path, body.encode())
    assert reply.code == 400, reply.text
    return str(reply.json["message"])


def test_should_detect_unknown_and_duplicate_fields_of_a_typed_object(plane: ApiServerProgram, space: str) -> None:
    told = strict(plane, space, DEPLOYMENT % ("", '"unknownField": "foo", "replicas": 2, "replicas": 3,'))
    assert 'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"' in told


def test_should_detect_unknown_metadata_fields_of_a_typed_object(plane: ApiServerProgram, space: str) -> None:
    told = strict(plane, space, DEPLOYMENT % ('"unknownMeta": "foo",', ""))
    assert 'strict decoding error: unknown field "metadata.unknownMeta"' in told


def test_should_warn_of_unknown_fields_unless_told_otherwise(plane: ApiServerProgram, space: str) -> None:
    path = f"/apis/apps/v1/namespaces/{space}/deployments"
    reply = plane.request("POST", path, (DEPLOYMENT % ("", '"unknownField": "foo",')).encode())
    assert (reply.code, reply.headers["warning"]) == (201, '299 - "unknown field \\"spec.unknownField\\""')
    quiet = plane.request(
        "POST",
        f"{path}?fieldValidation=Ignore&dryRun=All",
        (DEPLOYMENT % ("", '"x": 1,')).replace("my-dep", "b").encode(),
    )
    assert (quiet.code, quiet.headers.get("warning")) == (201, None)


# Server-side apply


def test_should_create_an_applied_object_if_it_does_not_already_exist(plane: ApiServerProgram, space: str) -> None:
    deployments = resource(plane, "deployments", "apps", space)
    body = DEPLOYMENT % ("", "")
    made = deployments.patch("my-dep", body.encode(), APPLY, fieldManager="apply_test")
    assert [m["operation"] for m in made["metadata"]["managedFields"]] == ["Apply"]
    assert made["metadata"]["uid"]


def test_should_work_for_subresources_and_ignore_conflict_errors_if_force_apply_is_used(
    plane: ApiServerProgram, space: str
) -> None:
    deployments = resource(plane, "deployments", "apps", space)
    body = yaml.safe_load(DEPLOYMENT % ("", '"replicas": 0,'))
    deployments.patch("my-dep", body, APPLY, fieldManager="apply_test")
    condition = {"type": "MyStatus", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"apiVersion": "apps/v1", "kind": "Deployment", "status": {"conditions": [condition]}}
    shown = deployments.patch("my-dep", status, APPLY, "status", fieldManager="apply_test_2")
    assert "MyStatus" in [c["type"] for c in shown["status"]["conditions"]]
    assert {m["manager"]: m.get("subresource") for m in shown["metadata"]["managedFields"]}["apply_test_2"] == "status"
    body["spec"]["replicas"] = 3
    other = refusal(lambda: deployments.patch("my-dep", body, APPLY, fieldManager="other"))
    assert (other.code, other.reason) == (409, "Conflict")
    assert 'conflict with "apply_test": .spec.replicas' in other.message
    assert deployments.patch("my-dep", body, APPLY, fieldManager="other", force=True)["spec"]["replicas"] == 3


# Watchers


def config_map(name: str, label: str, **data: str) -> Object:
    return {"metadata": {"name": name, "labels": {"watch-this-configmap": label}}, "data": data}


def test_should_observe_add_update_and_delete_watch_notifications_on_configmaps(
    plane: ApiServerProgram, space: str
) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    watches = {
        selector: maps.watch(labelSelector=f"watch-this-configmap{selector}")
        for selector in (
            "=multiple-watchers-A",
            "=multiple-watchers-B",
            " in (multiple-watchers-A,multiple-watchers-B)",
        )
    }
    only_a, only_b, both = watches.values()
    for name, label, one in (("a", "multiple-watchers-A", only_a), ("b", "multiple-watchers-B", only_b)):
        maps.create(config_map(name, label))
        maps.patch(name, {"data": {"mutation": "1"}}, MERGE)
        maps.patch(name, {"data": {"mutation": "2"}}, MERGE)
        maps.delete(name)
        for watch in (one, both):
            seen = [watch.next() for _ in range(4)]
            assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
            assert [obj.get("data", {}).get("mutation") for _, obj in seen] == [None, "1", "2", "2"]
            versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in seen]
            assert versions == sorted(set(versions))


def test_should_be_able_to_start_watching_from_a_specific_resource_version(plane: ApiServerProgram, space: str) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    maps.create(config_map("c", "x"))
    first = maps.patch("c", {"data": {"mutation": "1"}}, MERGE)
    maps.patch("c", {"data": {"mutation": "2"}}, MERGE)
    maps.delete("c")
    watch = maps.watch(resourceVersion=first["metadata"]["resourceVersion"])
    assert [(k, o["data"]["mutation"]) for k, o in (watch.next(), watch.next())] == [
        ("MODIFIED", "2"),
        ("DELETED", "2"),
    ]


def test_should_observe_an_object_deletion_if_it_stops_meeting_the_requirements_of_the_selector(
    plane: ApiServerProgram, space: str
) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    watch = maps.watch(labelSelector="watch-this-configmap=label-changed-and-restored")
    maps.create(config_map("c", "label-changed-and-restored"))
    for label in ("wrong", "wrong", "label-changed-and-restored"):
        maps.patch("c", {"metadata": {"labels": {"watch-this-configmap": label}}, "data": {label: "x"}}, MERGE)
    maps.delete("c")
    assert [watch.next()[0] for _ in range(4)] == ["ADDED", "DELETED", "ADDED", "DELETED"]


def test_should_receive_events_on_concurrent_watches_in_same_order(plane: ApiServerProgram, space: str) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    version = maps.listing()["metadata"]["resourceVersion"]
    watches = [maps.watch(resourceVersion=version) for _ in range(8)]

    def produce() -> None:
        for number in range(10):
            maps.create({"metadata": {"name": f"m{number}"}})
            maps.patch(f"m{number}", {"data": {"a": "b"}}, MERGE)
            maps.delete(f"m{number}")

    producer = threading.Thread(target=produce)
    producer.start()
    seen = [[watch.next()[1]["metadata"]["resourceVersion"] for _ in range(30)] for watch in watches]
    producer.join()
    assert all(order == seen[0] for order in seen)


def test_should_be_requested_by_informers_when_watchlist_is_enabled(plane: ApiServerProgram, space: str) -> None:
    """A streaming list: what exists, then a bookmark that says so, then changes."""
    secrets = resource(plane, "secrets", namespace=space)
    for number in range(3):
        secrets.create({"metadata": {"name": f"s{number}"}})
    streaming = {"sendInitialEvents": True, "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": True}
    watch = secrets.watch(**streaming)
    assert [watch.next()[0] for _ in range(3)] == ["ADDED"] * 3
    kind, bookmark = watch.next()
    assert (kind, bookmark["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})
    secrets.delete("s1")
    assert watch.next()[0] == "DELETED"


# Namespaces


def test_should_apply_changes_to_a_namespace_status(plane: ApiServerProgram, space: str) -> None:
    namespaces = resource(plane, "namespaces")
    assert namespaces.get(space, "status")["status"]["phase"] == "Active"
    condition = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "m"}
    patched = namespaces.patch(space, {"status": {"conditions": [condition]}}, MERGE, "status")
    assert [c["type"] for c in patched["status"]["conditions"]] == ["StatusPatch"]
    patched["status"]["conditions"].append({**condition, "type": "StatusUpdate"})
    updated = namespaces.update(patched, "status")
    assert [c["type"] for c in updated["status"]["conditions"]] == ["StatusPatch", "StatusUpdate"]


def test_should_apply_a_finalizer_to_a_namespace(plane: ApiServerProgram) -> None:
    namespaces = resource(plane, "namespaces")
    made = namespaces.create({"metadata": {"generateName": "conf-finalizer-"}})
    name = made["metadata"]["name"]
    made["spec"]["finalizers"].append("e2e.example.com/fakeFinalizer")
    finalized = namespaces.update(made, "finalize")
    assert finalized["spec"]["finalizers"] == ["kubernetes", "e2e.example.com/fakeFinalizer"]
    namespaces.delete(name)
    eventually(lambda: namespaces.get(name)["spec"]["finalizers"] == ["e2e.example.com/fakeFinalizer"])
    stuck = namespaces.get(name)
    stuck["spec"]["finalizers"] = []
    namespaces.update(stuck, "finalize")
    eventually(lambda: namespaces.gone(name))


def test_should_ensure_that_all_services_are_removed_when_a_namespace_is_deleted(plane: ApiServerProgram) -> None:
    namespaces = resource(plane, "namespaces")
    namespaces.create({"metadata": {"name": "nsdeletetest"}})
    services = resource(plane, "services", namespace="nsdeletetest")
    services.create({"metadata": {"name": "test-service"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}})
    namespaces.delete("nsdeletetest")
    late = refusal(lambda: services.create({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}))
    assert (late.code, late.reason) in ((403, "Forbidden"), (404, "NotFound"))
    eventually(lambda: namespaces.gone("nsdeletetest"))
    namespaces.create({"metadata": {"name": "nsdeletetest"}})
    assert services.names() == []


def test_should_delete_a_collection_of_namespaces_by_label(plane: ApiServerProgram) -> None:
    """Upstream's "should always delete fast": a namespace has no deletecollection."""
    kinds = plane.request("GET", "/api/v1").json["resources"]
    verbs = next(k["verbs"] for k in kinds if k["name"] == "namespaces")
    assert "deletecollection" not in verbs


# Garbage collector


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


# Resource quota


def used(quotas: Resource, name: str, **expected: str) -> bool:
    status = quotas.get(name)["status"]
    found: bool = status.get("used", {}) == {
        **status.get("used", {}),
        **{k.replace("__", "."): v for k, v in expected.items()},
    }
    return found


def quota(plane: ApiServerProgram, space: str, hard: Object, **spec: Any) -> Resource:
    quotas = resource(plane, "resourcequotas", namespace=space)
    quotas.create({"metadata": {"name": "test-quota"}, "spec": {"hard": hard, **spec}})
    eventually(lambda: quotas.get("test-quota")["status"].get("hard") == hard)
    return quotas


def test_should_create_a_resourcequota_and_capture_the_life_of_a_service(plane: ApiServerProgram, space: str) -> None:
    quotas = quota(plane, space, {"services": "2", "services.nodeports": "1", "services.loadbalancers": "1"})
    services = resource(plane, "services", namespace=space)
    port = {"ports": [{"port": 80}]}
    services.create({"metadata": {"name": "cluster-ip"}, "spec": port})
    eventually(lambda: used(quotas, "test-quota", services="1"))
    services.create({"metadata": {"name": "node-port"}, "spec": port | {"type": "NodePort"}})
    refused = refusal(lambda: services.create({"metadata": {"name": "third"}, "spec": port | {"type": "LoadBalancer"}}))
    assert (refused.code, "exceeded quota: test-quota" in refused.message) == (403, True)
    eventually(lambda: quotas.get("test-quota")["status"]["used"] == {
        "services": "2", "services.nodeports": "1", "services.loadbalancers": "0"})  # fmt: skip
    services.delete("node-port")
    eventually(lambda: used(quotas, "test-quota", services="1"))


@pytest.mark.parametrize(
    ("counted", "name", "group", "body"),
    [
        ("secrets", "secrets", "", {}),
        ("configmaps", "configmaps", "", {}),
        ("replicationcontrollers", "replicationcontrollers", "", {"spec": {
            "replicas": 0, "selector": {"a": "b"},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
        ("count/replicasets.apps", "replicasets", "apps", {"spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
        ("persistentvolumeclaims", "persistentvolumeclaims", "", {"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    ],
)  # fmt: skip
def test_should_create_a_resourcequota_and_capture_the_life_of(
    plane: ApiServerProgram, space: str, counted: str, name: str, group: str, body: Object
) -> None:
    objects = resource(plane, name, group, space)
    if name == "configmaps":
        eventually(lambda: "kube-root-ca.crt" in objects.names())
    before = len(objects.names())
    quotas = quota(plane, space, {counted: str(before + 1)})
    eventually(lambda: used(quotas, "test-quota", **{counted: str(before)}))
    objects.create({"metadata": {"name": "test"}, **body})
    eventually(lambda: used(quotas, "test-quota", **{counted: str(before + 1)}))
    assert refusal(lambda: objects.create({"metadata": {"name": "more"}, **body})).code == 403
    objects.delete("test")
    eventually(lambda: used(quotas, "test-quota", **{counted: str(before)}))


def test_should_create_a_resourcequota_and_capture_the_life_of_a_pod(plane: ApiServerProgram, space: str) -> None:
    hard = {"pods": "2", "cpu": "1", "memory": "500Mi", "requests.example.com/dongle": "3", "ephemeral-storage": "50Gi"}
    quotas, pods = quota(plane, space, hard), resource(plane, "pods", namespace=space)

    def pod(name: str, **requests: str) -> Object:
        named = {k.replace("_", "-"): v for k, v in requests.items()} | {"example.com/dongle": "2"}
        limits = {"example.com/dongle": "2"}
        container = {"name": "pause", "image": "pause", "resources": {"requests": named, "limits": limits}}
        return {"metadata": {"name": name}, "spec": {"containers": [container]}}

    pods.create(pod("test-pod", cpu="500m", memory="252Mi", ephemeral_storage="30Gi"))
    eventually(lambda: used(quotas, "test-quota", pods="1", cpu="500m", memory="252Mi"))
    assert used(quotas, "test-quota", **{"requests.example.com/dongle": "2", "ephemeral-storage": "30Gi"})
    assert refusal(lambda: pods.create(pod("big", cpu="600m", memory="1Mi", ephemeral_storage="1"))).code == 403
    unnamed = refusal(lambda: pods.create(pod("none", memory="1Mi", ephemeral_storage="1")))
    assert "must specify cpu" in unnamed.message
    resized = {"spec": {"containers": [{"name": "pause", "resources": {"requests": {"cpu": "1m"}}}]}}
    assert refusal(lambda: pods.patch("test-pod", resized, "application/strategic-merge-patch+json")).code == 422
    pods.delete("test-pod", gracePeriodSeconds=0)
    eventually(lambda: used(quotas, "test-quota", pods="0", cpu="0"))


@pytest.mark.parametrize(
    ("scopes", "fits", "other"),
    [
        (["Terminating"], {"activeDeadlineSeconds": 3600}, {}),
        (["NotTerminating"], {}, {"activeDeadlineSeconds": 3600}),
        (["BestEffort"], {}, {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}]}),
        (
            ["NotBestEffort"],
            {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}]},
            {},
        ),
    ],
    ids=lambda v: v[0] if isinstance(v, list) else "",
)
def test_should_verify_resourcequota_with_scopes(
    plane: ApiServerProgram, space: str, scopes: list[str], fits: Object, other: Object
) -> None:
    quotas, pods = quota(plane, space, {"pods": "5"}, scopes=scopes), resource(plane, "pods", namespace=space)
    plain = {"containers": [{"name": "c", "image": "i"}]}
    pods.create({"metadata": {"name": "other"}, "spec": plain | other})
    pods.create({"metadata": {"name": "fits"}, "spec": plain | fits})
    eventually(lambda: used(quotas, "test-quota", pods="1"))


def test_should_be_able_to_update_and_delete_resourcequota(plane: ApiServerProgram, space: str) -> None:
    quotas = quota(plane, space, {"cpu": "1", "memory": "500Mi"})
    got = quotas.get("test-quota")
    got["spec"]["hard"] = {"cpu": "2", "memory": "1Gi"}
    assert quotas.update(got)["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
    quotas.delete("test-quota")
    assert quotas.gone("test-quota")


def test_served_kinds_have_singular_names_and_verbs(plane: ApiServerProgram) -> None:
    for kind in plane.request("GET", "/api/v1").json["resources"]:
        assert kind["verbs"], kind
        assert bool(kind["singularName"]) != ("/" in kind["name"])
    assert "pods/ephemeralcontainers" in set(discovered(plane, resource(plane, "pods").kind))
