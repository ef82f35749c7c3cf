"""sig-network, -node, -storage, -scheduling and -apps: what upstream's tests want of the API alone, beyond lifecycles.

Each test is named after upstream's.
"""

from typing import Any

import pytest

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import JSON_PATCH, MERGE, STRATEGIC, Object, Resource, refusal, resource
from tests.waiting import eventually

CONTAINER = {"name": "c", "image": "i"}
POD = {"containers": [CONTAINER]}


# ConfigMaps and Secrets


@pytest.mark.parametrize(("kind", "value"), [("configmaps", "value"), ("secrets", "dmFsdWU=")])
def test_should_fail_to_create_with_empty_key(plane: ApiServerProgram, space: str, kind: str, value: str) -> None:
    objects = resource(plane, kind, namespace=space)
    refused = refusal(lambda: objects.create({"metadata": {"name": "x"}, "data": {"": value}}))
    assert (refused.code, refused.reason) == (422, "Invalid")
    assert refused.status["details"]["causes"][0]["field"] == "data[]"


@pytest.mark.parametrize(("kind", "value"), [("configmaps", "value"), ("secrets", "dmFsdWU=")])
def test_should_be_immutable_if_immutable_field_is_set(
    plane: ApiServerProgram, space: str, kind: str, value: str
) -> None:
    objects = resource(plane, kind, namespace=space)
    made = objects.create({"metadata": {"name": "immutable"}, "data": {"a": value}})
    made["data"]["b"] = value
    made = objects.update(made)
    made["immutable"] = True
    made = objects.update(made)
    for change in ({"immutable": False}, {"immutable": None}, {"data": {"c": value}}):
        assert refusal(lambda change=change: objects.patch("immutable", change)).code == 422
    assert objects.patch("immutable", {"metadata": {"labels": {"a": "b"}}})["metadata"]["labels"] == {"a": "b"}


# Services


def service(plane: ApiServerProgram, space: str, name: str, **spec: Any) -> tuple[Resource, Object]:
    services = resource(plane, "services", namespace=space)
    body = {"ports": [{"port": 80, "protocol": "TCP", "name": "http"}], **spec}
    return services, services.create({"metadata": {"name": name}, "spec": body})


def test_should_be_able_to_change_the_type_from_externalname_to_clusterip(plane: ApiServerProgram, space: str) -> None:
    services, made = service(plane, space, "s", type="ExternalName", externalName="foo.example.com", ports=None)
    assert "clusterIP" not in made["spec"]
    made["spec"] |= {
        "type": "ClusterIP",
        "externalName": "",
        "ports": [{"port": 80, "name": "http", "protocol": "TCP"}],
    }
    assert services.update(made)["spec"]["clusterIP"].startswith("10.96.")


def test_should_be_able_to_change_the_type_from_externalname_to_nodeport(plane: ApiServerProgram, space: str) -> None:
    services, made = service(plane, space, "s", type="ExternalName", externalName="foo.example.com", ports=None)
    made["spec"] |= {"type": "NodePort", "externalName": "", "ports": [{"port": 80, "name": "http", "protocol": "TCP"}]}
    changed = services.update(made)["spec"]
    assert (bool(changed["clusterIP"]), 30000 <= changed["ports"][0]["nodePort"] <= 32767) == (True, True)


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_should_be_able_to_change_the_type_to_externalname(plane: ApiServerProgram, space: str, kind: str) -> None:
    services, made = service(plane, space, "s", type=kind)
    made["spec"] |= {"type": "ExternalName", "externalName": "foo.example.com", "clusterIP": "", "clusterIPs": None}
    for port in made["spec"]["ports"]:
        port.pop("nodePort", None)
    changed = services.update(made)["spec"]
    assert (changed["type"], changed.get("clusterIP"), changed["ports"][0].get("nodePort")) == (
        "ExternalName",
        None,
        None,
    )


def test_should_have_session_affinity_switched(plane: ApiServerProgram, space: str) -> None:
    services, made = service(plane, space, "s", sessionAffinity="ClientIP")
    assert made["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"] == 10800
    off = services.patch("s", {"spec": {"sessionAffinity": "None", "sessionAffinityConfig": None}})
    assert "sessionAffinityConfig" not in off["spec"]


def test_should_complete_a_service_status_lifecycle(plane: ApiServerProgram, space: str) -> None:
    services, made = service(plane, space, "s", type="LoadBalancer", loadBalancerClass="example.com/internal-vip")
    watch = services.watch(resourceVersion=made["metadata"]["resourceVersion"])
    balancer = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    services.patch("s", {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": balancer}, MERGE, "status")
    assert services.get("s", "status")["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]

    def update() -> Object:
        shown = services.get("s")
        condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "m"}
        shown["status"]["conditions"] = [condition | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]
        return services.update(shown, "status")

    assert eventually(update)["status"]["conditions"][0]["type"] == "StatusUpdate"
    services.patch("s", {"metadata": {"labels": {"test-service": "patched"}}}, STRATEGIC)
    services.delete("s")
    watch.until(lambda kind, obj: kind == "DELETED" and obj["metadata"]["labels"] == {"test-service": "patched"})


def test_should_have_endpoints_and_endpointslices_pointing_to_api_server(plane: ApiServerProgram) -> None:
    assert resource(plane, "services", namespace="default").get("kubernetes")["spec"]["clusterIP"]
    (subset,) = resource(plane, "endpoints", namespace="default").get("kubernetes")["subsets"]
    slices = resource(plane, "endpointslices", "discovery.k8s.io", "default")
    (slice_,) = slices.listing(labelSelector="kubernetes.io/service-name=kubernetes")["items"]
    assert [a["ip"] for a in subset["addresses"]] == [e["addresses"][0] for e in slice_["endpoints"]]
    assert [(p["name"], p["port"]) for p in subset["ports"]] == [(p["name"], p["port"]) for p in slice_["ports"]]


def test_should_mirror_a_custom_endpoints_resource_through_create_update_and_delete(
    plane: ApiServerProgram, space: str
) -> None:
    service(plane, space, "custom")
    endpoints = resource(plane, "endpoints", namespace=space)
    slices = resource(plane, "endpointslices", "discovery.k8s.io", space)
    made = endpoints.create({"metadata": {"name": "custom"}, "subsets": [
        {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80, "name": "http", "protocol": "TCP"}]}]})  # fmt: skip

    def mirrored() -> list[list[str]]:
        found = slices.listing(labelSelector="kubernetes.io/service-name=custom")["items"]
        return [e["addresses"] for s in found for e in s.get("endpoints") or ()]

    eventually(lambda: mirrored() == [["10.1.2.3"]])
    made["subsets"][0]["addresses"] = [{"ip": "10.2.3.4"}]
    endpoints.update(made)
    eventually(lambda: mirrored() == [["10.2.3.4"]])
    endpoints.delete("custom")
    eventually(lambda: mirrored() == [])


# Scheduling and node


def test_should_create_a_limitrange_with_defaults_and_ensure_pod_has_those_defaults_applied(
    plane: ApiServerProgram, space: str
) -> None:
    ranges, pods = resource(plane, "limitranges", namespace=space), resource(plane, "pods", namespace=space)
    most, usual = {"cpu": "500m", "memory": "500Mi"}, {"cpu": "100m", "memory": "200Mi"}
    least = {"cpu": "50m", "memory": "100Mi"}
    limit = {"type": "Container", "min": least, "max": most, "default": most, "defaultRequest": usual}
    ranges.create({"metadata": {"name": "limit-range"}, "spec": {"limits": [limit]}})

    def pod(name: str, **resources: Object) -> Object:
        return {"metadata": {"name": name}, "spec": {"containers": [{**CONTAINER, "resources": resources}]}}

    made = eventually(lambda: _limited(pods.create(pod("no-resources"), dryRun="All")))
    assert made == {"limits": limit["default"], "requests": limit["defaultRequest"]}
    partial = pods.create(pod("partial", limits={"cpu": "300m"}))["spec"]["containers"][0]["resources"]
    assert partial == {"limits": {"cpu": "300m", "memory": "500Mi"}, "requests": {"cpu": "300m", "memory": "200Mi"}}
    for bad in ({"requests": {"cpu": "10m"}}, {"requests": {"cpu": "600m"}, "limits": {"cpu": "600m"}}):
        assert refusal(lambda bad=bad: pods.create(pod("bad", **bad))).code == 403


def _limited(pod: Object) -> Object:
    found: Object = pod["spec"]["containers"][0].get("resources") or {}
    return found


def test_verify_priorityclass_value_is_immutable(plane: ApiServerProgram, space: str) -> None:
    classes, name = resource(plane, "priorityclasses", "scheduling.k8s.io"), f"p-{space}"
    classes.create({"metadata": {"name": name}, "value": 1, "description": "d"})
    assert classes.patch(name, {"description": "new"})["description"] == "new"
    refused = refusal(lambda: classes.patch(name, [{"op": "replace", "path": "/value", "value": 2}], JSON_PATCH))
    assert (refused.code, "may not be changed in an update" in refused.message) == (422, True)
    pods = resource(plane, "pods", namespace=space)
    made = pods.create({"metadata": {"name": "p"}, "spec": POD | {"priorityClassName": name}})["spec"]
    assert (made["priority"], made["preemptionPolicy"]) == (1, "PreemptLowerPriority")
    unknown = refusal(lambda: pods.create({"metadata": {"name": "q"}, "spec": POD | {"priorityClassName": "none"}}))
    assert (unknown.code, "no PriorityClass with name none was found" in unknown.message) == (403, True)
    classes.delete(name)


def test_should_reject_a_pod_requesting_a_non_existent_runtimeclass(plane: ApiServerProgram, space: str) -> None:
    pods, classes = resource(plane, "pods", namespace=space), resource(plane, "runtimeclasses", "node.k8s.io")
    wanted = {"metadata": {"name": "p"}, "spec": POD | {"runtimeClassName": f"rc-{space}"}}
    assert refusal(lambda: pods.create(wanted)).code == 403
    assert refusal(lambda: pods.create(wanted, dryRun="All")).code == 403
    overhead = {"podFixed": {"cpu": "10m", "memory": "1Mi"}}
    classes.create({"metadata": {"name": f"rc-{space}"}, "handler": "test", "overhead": overhead})
    made = eventually(lambda: pods.create(wanted))
    assert made["spec"]["overhead"] == overhead["podFixed"]
    classes.delete(f"rc-{space}")


def test_should_reject_invalid_sysctls(plane: ApiServerProgram, space: str) -> None:
    names = ("foo-", "kernel.shmmax", "safe-and-unsafe", "bar..")
    context = {"sysctls": [{"name": n, "value": "bar"} for n in names]}
    pods = resource(plane, "pods", namespace=space)
    refused = refusal(lambda: pods.create({"metadata": {"name": "p"}, "spec": POD | {"securityContext": context}}))
    fields = [c["field"] for c in refused.status["details"]["causes"]]
    assert fields == ["spec.securityContext.sysctls[0].name", "spec.securityContext.sysctls[3].name"]
    assert "kernel.shmmax" not in refused.message and "safe-and-unsafe" not in refused.message


def test_should_ensure_pod_qos_class_and_generation(plane: ApiServerProgram, space: str) -> None:
    pods = resource(plane, "pods", namespace=space)
    both = {"cpu": "100m", "memory": "100Mi"}
    spec = {"containers": [{**CONTAINER, "resources": {"requests": both, "limits": both}}]}
    made = pods.create({"metadata": {"name": "p", "generation": 99}, "spec": spec})
    assert (made["status"]["qosClass"], made["metadata"]["generation"]) == ("Guaranteed", 1)
    assert pods.patch("p", {"metadata": {"annotations": {"a": "b"}}})["metadata"]["generation"] == 1
    assert pods.patch("p", {"spec": {"activeDeadlineSeconds": 30}})["metadata"]["generation"] == 2
    debugger = {"spec": {"ephemeralContainers": [{"name": "debugger", "image": "i"}]}}
    assert pods.patch("p", debugger, STRATEGIC, "ephemeralcontainers")["metadata"]["generation"] == 3
    refused = refusal(lambda: pods.patch("p", {"spec": {"activeDeadlineSeconds": 60}}))
    assert refused.code == 422


# Disruption


def test_evictions_should_be_blocked_until_a_pdb_allows_it(plane: ApiServerProgram, space: str) -> None:
    budgets, pods = resource(plane, "poddisruptionbudgets", "policy", space), resource(plane, "pods", namespace=space)
    budgets.create(
        {"metadata": {"name": "foo"}, "spec": {"selector": {"matchLabels": {"foo": "bar"}}, "minAvailable": 2}}
    )
    pods.create({"metadata": {"name": "p", "labels": {"foo": "bar"}}, "spec": POD})
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    pods.patch("p", ready, STRATEGIC, "status")
    eventually(lambda: budgets.get("foo")["status"].get("currentHealthy") == 1)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": space}}
    refused = refusal(lambda: pods.create(eviction, "eviction", "p"))
    assert (refused.code, refused.reason) == (429, "TooManyRequests")
    assert refused.status["details"]["causes"][0]["reason"] == "DisruptionBudget"
    budgets.patch("foo", {"spec": {"minAvailable": 0}})
    eventually(lambda: budgets.get("foo")["status"]["disruptionsAllowed"] == 1)
    assert pods.create(eviction, "eviction", "p")["status"] == "Success"
    eventually(lambda: pods.gone("p"))


def test_an_evicted_pod_tells_that_it_is(plane: ApiServerProgram, space: str) -> None:
    pods = resource(plane, "pods", namespace=space)
    pods.create({"metadata": {"name": "p", "finalizers": ["example.com/keep"]}, "spec": POD})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": space}}

    def evict(options: Object) -> Object:
        return pods.create({**eviction, "deleteOptions": options}, "eviction", "p")

    evict({"dryRun": ["All"]})
    assert "conditions" not in pods.get("p")["status"]
    stale = {"preconditions": {"resourceVersion": "1"}, "gracePeriodSeconds": 0}
    assert refusal(lambda: evict(stale)).code == 409
    held = {"preconditions": {"resourceVersion": pods.get("p")["metadata"]["resourceVersion"]}, "gracePeriodSeconds": 0}
    assert evict(held)["status"] == "Success"
    left = pods.get("p")
    (told,) = left["status"]["conditions"]
    assert "deletionTimestamp" in left["metadata"]
    assert (told["type"], told["status"], told["reason"]) == ("DisruptionTarget", "True", "EvictionByEvictionAPI")
    assert told["message"] == "Eviction API: evicting"
    pods.patch("p", {"metadata": {"finalizers": None}})
    eventually(lambda: pods.gone("p"))


# Apps


@pytest.mark.parametrize(
    ("kind", "group"),
    [("deployments", "apps"), ("replicasets", "apps"), ("statefulsets", "apps"), ("replicationcontrollers", "")],
)
def test_should_have_a_working_scale_subresource(plane: ApiServerProgram, space: str, kind: str, group: str) -> None:
    objects = resource(plane, kind, group, space)
    labels = {"name": "x"}
    selector: Object = {"matchLabels": labels} if group else labels
    template = {"metadata": {"labels": labels}, "spec": POD}
    objects.create({"metadata": {"name": "w"}, "spec": {"replicas": 1, "selector": selector, "template": template}})
    scale = objects.get("w", "scale")
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 1}, "name=x")
    scale["metadata"]["resourceVersion"] = ""
    scale["spec"]["replicas"] = 2
    assert objects.update(scale, "scale")["spec"] == {"replicas": 2}
    assert objects.get("w")["spec"]["replicas"] == 2
    assert objects.patch("w", {"spec": {"replicas": 4}}, STRATEGIC, "scale")["spec"] == {"replicas": 4}
    objects.delete("w", propagationPolicy="Background")


def test_should_surface_a_failure_condition_on_a_common_issue_like_exceeded_quota(
    plane: ApiServerProgram, space: str
) -> None:
    quotas = resource(plane, "resourcequotas", namespace=space)
    quotas.create({"metadata": {"name": "condition-test"}, "spec": {"hard": {"pods": "2"}}})
    eventually(lambda: quotas.get("condition-test")["status"].get("hard") == {"pods": "2"})
    controllers = resource(plane, "replicationcontrollers", namespace=space)
    template = {"metadata": {"labels": {"name": "condition-test"}}, "spec": POD}
    controllers.create({"metadata": {"name": "condition-test"}, "spec": {"replicas": 3, "template": template}})

    def failed() -> bool:
        return "ReplicaFailure" in [
            c["type"] for c in controllers.get("condition-test")["status"].get("conditions") or ()
        ]

    eventually(failed)
    controllers.patch("condition-test", {"spec": {"replicas": 2}})
    eventually(lambda: not failed())


def test_should_adopt_matching_orphans_and_release_non_matching_pods(plane: ApiServerProgram, space: str) -> None:
    pods, sets = resource(plane, "pods", namespace=space), resource(plane, "replicasets", "apps", space)
    pods.create({"metadata": {"name": "pod-adoption-release", "labels": {"name": "x"}}, "spec": POD})
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"name": "x"}},
        "template": {"metadata": {"labels": {"name": "x"}}, "spec": POD},
    }
    made = sets.create({"metadata": {"name": "pod-adoption-release"}, "spec": spec})["metadata"]

    def owners() -> list[str]:
        return [o["uid"] for o in pods.get("pod-adoption-release")["metadata"].get("ownerReferences") or ()]

    eventually(lambda: owners() == [made["uid"]])
    pods.patch("pod-adoption-release", {"metadata": {"labels": {"name": "not-matching"}}})
    eventually(lambda: owners() == [])
