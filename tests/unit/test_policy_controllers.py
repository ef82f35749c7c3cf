"""Quotas' usage, disruption budgets' room, and aggregated roles, as their controllers write them."""

from typing import Any

import pytest

from apimachinery.scheme import PODS, REPLICA_SETS
from master.controller_manager.clusterrole_aggregation import CLUSTER_ROLES
from master.controller_manager.disruption import BUDGETS, Count, counted
from master.controller_manager.resource_quota import RESOURCE_QUOTAS
from tests.fakes import FakeCluster
from tests.fakes.manager import running
from tests.waiting import until

NS = {"namespace": "a"}


def pod(name: str, *, owner: dict[str, Any] | None = None, ready: bool = True) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, **NS, "labels": {"app": "web"}}
    if owner:
        uid, owner_name = owner["metadata"]["uid"], owner["metadata"]["name"]
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner_name, "uid": uid, "controller": True}
        meta["ownerReferences"] = [reference]
    containers = [{"name": "c", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": "Running", "conditions": conditions}
    return {"metadata": meta, "spec": {"containers": containers}, "status": status}


def put_pod(cluster: FakeCluster, obj: dict[str, Any]) -> None:
    created = cluster.create(PODS, obj)
    cluster.update(PODS, {**created, "status": obj["status"]}, "status")


async def test_quota_status_follows_what_is_there() -> None:
    cluster = FakeCluster()
    hard = {"pods": "5", "requests.cpu": "2", "requests.memory": "1Gi", "count/replicasets.apps": "3"}
    cluster.create(RESOURCE_QUOTAS, {"metadata": {"name": "q", **NS}, "spec": {"hard": hard}})

    def used() -> Any:
        return (cluster.get(RESOURCE_QUOTAS, "a", "q").get("status") or {}).get("used")

    async with running(cluster, "resourcequota-controller"):
        zero = {"pods": "0", "requests.cpu": "0", "requests.memory": "0", "count/replicasets.apps": "0"}
        await until(lambda: used() == zero)
        put_pod(cluster, pod("one"))
        put_pod(cluster, pod("two"))
        cluster.create(REPLICA_SETS, {"metadata": {"name": "r", **NS}, "spec": {}})
        two = {"pods": "2", "requests.cpu": "500m", "requests.memory": "128Mi", "count/replicasets.apps": "1"}
        await until(lambda: used() == two)
        cluster.delete(PODS, "a", "one", {"gracePeriodSeconds": 0})
        await until(lambda: used()["pods"] == "1")


async def test_a_budget_says_how_many_may_go() -> None:
    cluster = FakeCluster()
    owner = cluster.create(REPLICA_SETS, {"metadata": {"name": "r", **NS}, "spec": {"replicas": 3}})
    spec = {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": 1}
    cluster.create(BUDGETS, {"metadata": {"name": "b", **NS}, "spec": spec})

    def status() -> Any:
        return cluster.get(BUDGETS, "a", "b").get("status") or {}

    async with running(cluster, "disruption-controller"):
        for name in ("one", "two"):
            put_pod(cluster, pod(name, owner=owner))
        await until(lambda: (status().get("currentHealthy"), status().get("expectedPods")) == (2, 3))
        assert (status()["desiredHealthy"], status()["disruptionsAllowed"]) == (2, 0)
        put_pod(cluster, pod("three", owner=owner))
        await until(lambda: status()["disruptionsAllowed"] == 1)
        generation = cluster.get(BUDGETS, "a", "b")["metadata"]["generation"]
        assert status()["observedGeneration"] == generation and status()["conditions"][0]["status"] == "True"


@pytest.mark.parametrize(
    ("spec", "existing", "scale", "healthy", "allowed"),
    [
        ({"minAvailable": 2}, 3, 3, 3, 1),
        ({"minAvailable": "50%"}, 2, 3, 2, 0),
        ({"minAvailable": "50%"}, 3, 3, 3, 1),
        ({"maxUnavailable": "30%"}, 4, 4, 4, 2),
        ({"maxUnavailable": 1}, 0, 0, 0, 0),
        ({}, 1, 1, 1, 0),
    ],
)
def test_budget_numbers(spec: dict[str, Any], existing: int, scale: int, healthy: int, allowed: int) -> None:
    assert counted(spec, existing, scale, healthy).allowed == allowed
    assert Count(0, 0, 0).allowed == 0


async def test_aggregated_roles_are_written_out() -> None:
    cluster = FakeCluster()
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    select = {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]}
    cluster.create(CLUSTER_ROLES, {"metadata": {"name": "all"}, "aggregationRule": select, "rules": []})
    async with running(cluster, "clusterrole-aggregation-controller"):
        cluster.create(CLUSTER_ROLES, {"metadata": {"name": "part", "labels": {"to": "all"}}, "rules": [rule]})
        await until(lambda: cluster.get(CLUSTER_ROLES, "", "all")["rules"] == [rule])
        cluster.delete(CLUSTER_ROLES, "", "part")
        await until(lambda: not cluster.get(CLUSTER_ROLES, "", "all")["rules"])
