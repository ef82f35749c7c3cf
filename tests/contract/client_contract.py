"""What a client may rely on, of the in-memory cluster and of the real API server alike.

Subclasses give the fixture ``client``; each test works in a namespace of its own.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from apimachinery import errors
from apimachinery.client.api import JSON_PATCH, ApiClient, Binding, WatchEvent, Write
from apimachinery.client.informer import InformerFactory
from apimachinery.meta import Object, new_uid, version_of
from apimachinery.scheme import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS, Kind
from tests.waiting import until


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **spec: object) -> Object:
    containers = [{"name": "c", "image": "kubeto/pause:2"}]
    metadata = {"name": name, "labels": {"app": "x"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}


def deployment(name: str) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


async def next_event(events: AsyncIterator[WatchEvent], *types: str) -> WatchEvent:
    async with asyncio.timeout(10):
        async for event in events:
            if event.type in types:
                return event
    raise AssertionError("the watch ended")


class ClientContract:
    @pytest.fixture
    async def ns(self, client: ApiClient) -> str:
        name = f"t-{new_uid()[:8]}"
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await client.create(SERVICE_ACCOUNTS, account, namespace=name)
        return name

    async def test_created_objects_are_stamped_and_unique(self, client: ApiClient, ns: str) -> None:
        made = await client.create(CONFIG_MAPS, config_map("a", k="v"), namespace=ns)
        assert made["metadata"]["uid"] and version_of(made) > 0 and made["metadata"]["creationTimestamp"]
        assert (await client.get(CONFIG_MAPS, "a", ns))["data"] == {"k": "v"}
        with pytest.raises(errors.AlreadyExists):
            await client.create(CONFIG_MAPS, config_map("a"), namespace=ns)
        with pytest.raises(errors.NotFound):
            await client.get(CONFIG_MAPS, "b", ns)

    async def test_a_stale_update_conflicts_and_an_unconditional_one_does_not(self, client: ApiClient, ns: str) -> None:
        first = await client.create(CONFIG_MAPS, config_map("a", k="1"), namespace=ns)
        second = await client.update(CONFIG_MAPS, {**first, "data": {"k": "2"}})
        assert version_of(second) > version_of(first)
        with pytest.raises(errors.Conflict):
            await client.update(CONFIG_MAPS, {**first, "data": {"k": "3"}})
        metadata = {"name": "a", "namespace": ns}
        free = await client.update(CONFIG_MAPS, {**first, "metadata": metadata, "data": {"k": "3"}})
        assert free["data"] == {"k": "3"} and free["metadata"]["uid"] == first["metadata"]["uid"]
        unchanged = await client.update(CONFIG_MAPS, free)
        assert version_of(unchanged) == version_of(free)

    async def test_patches(self, client: ApiClient, ns: str) -> None:
        await client.create(CONFIG_MAPS, config_map("a", k="1", gone="x"), namespace=ns)
        merged = await client.patch(CONFIG_MAPS, "a", ns, {"data": {"k": "2", "gone": None}})
        assert merged["data"] == {"k": "2"}
        operation = {"op": "replace", "path": "/data/k", "value": "3"}
        assert (await client.patch(CONFIG_MAPS, "a", ns, [operation], patch_type=JSON_PATCH))["data"] == {"k": "3"}
        with pytest.raises(errors.Conflict):
            await client.patch(CONFIG_MAPS, "a", ns, {"metadata": {"uid": new_uid()}, "data": {"k": "4"}})

    async def test_status_and_spec_are_apart(self, client: ApiClient, ns: str) -> None:
        made = await client.create(DEPLOYMENTS, deployment("d"), namespace=ns)
        assert made["metadata"]["generation"] == 1
        status = {**made, "status": {"replicas": 5}, "spec": {**made["spec"], "replicas": 9}}
        after = await client.update(DEPLOYMENTS, status, subresource="status")
        assert (after["status"]["replicas"], after["spec"]["replicas"], after["metadata"]["generation"]) == (5, 1, 1)
        spec = {**after, "status": {"replicas": 7}, "spec": {**after["spec"], "replicas": 2}}
        last = await client.update(DEPLOYMENTS, spec)
        assert (last["status"]["replicas"], last["spec"]["replicas"], last["metadata"]["generation"]) == (5, 2, 2)

    async def test_a_batch_of_writes_is_independent(self, client: ApiClient, ns: str) -> None:
        writes = [
            Write.create(CONFIG_MAPS, config_map("a"), namespace=ns),
            Write.create(CONFIG_MAPS, config_map("a"), namespace=ns),
            Write.create(CONFIG_MAPS, config_map("b"), namespace=ns),
        ]
        first, second, third = await client.write(writes)
        assert isinstance(first, dict) and isinstance(third, dict)
        assert isinstance(second, errors.AlreadyExists)

    async def test_finalizers_hold_an_object(self, client: ApiClient, ns: str) -> None:
        held = config_map("a")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await client.create(CONFIG_MAPS, held, namespace=ns)
        deleted = await client.delete(CONFIG_MAPS, "a", ns)
        assert deleted["metadata"]["deletionTimestamp"]
        await client.patch(CONFIG_MAPS, "a", ns, {"metadata": {"finalizers": None}})
        with pytest.raises(errors.NotFound):
            await client.get(CONFIG_MAPS, "a", ns)

    async def test_delete_checks_preconditions_and_propagates(self, client: ApiClient, ns: str) -> None:
        await client.create(DEPLOYMENTS, deployment("d"), namespace=ns)
        with pytest.raises(errors.Conflict):
            await client.delete(DEPLOYMENTS, "d", ns, uid=new_uid())
        await client.delete(DEPLOYMENTS, "d", ns, propagation_policy="Foreground")
        assert (await client.get(DEPLOYMENTS, "d", ns))["metadata"]["finalizers"] == ["foregroundDeletion"]

    async def test_pods_that_run_are_deleted_gracefully(self, client: ApiClient, ns: str) -> None:
        await client.create(PODS, pod("p", terminationGracePeriodSeconds=7), namespace=ns)
        (refused,) = await client.bind([Binding(ns, "p", "n", new_uid())])
        assert isinstance(refused, errors.Conflict)
        assert await client.bind([Binding(ns, "p", "n")]) == [None]
        (again,) = await client.bind([Binding(ns, "p", "m")])
        assert isinstance(again, errors.Conflict)
        deleted = await client.delete(PODS, "p", ns)
        assert deleted["metadata"]["deletionGracePeriodSeconds"] == 7
        assert (await client.get(PODS, "p", ns))["spec"]["nodeName"] == "n"
        await client.delete(PODS, "p", ns, grace_period_seconds=0)
        with pytest.raises(errors.NotFound):
            await client.get(PODS, "p", ns)
        await client.create(PODS, pod("unscheduled"), namespace=ns)
        await client.delete(PODS, "unscheduled", ns)
        with pytest.raises(errors.NotFound):
            await client.get(PODS, "unscheduled", ns)

    async def test_lists_select_and_page(self, client: ApiClient, ns: str) -> None:
        for name in "abc":
            obj = config_map(name)
            obj["metadata"]["labels"] = {"even": str(name == "b").lower()}
            await client.create(CONFIG_MAPS, obj, namespace=ns)
        found = await client.list(CONFIG_MAPS, ns, label_selector="even=false")
        assert [o["metadata"]["name"] for o in found.items] == ["a", "c"]
        found = await client.list(CONFIG_MAPS, ns, field_selector="metadata.name=b")
        assert [o["metadata"]["name"] for o in found.items] == ["b"]
        page = await client.list(CONFIG_MAPS, ns, limit=2)
        rest = await client.list(CONFIG_MAPS, ns, limit=2, continue_token=page.continue_token)
        assert [o["metadata"]["name"] for o in page.items + rest.items] == ["a", "b", "c"] and not rest.continue_token

    async def test_a_watch_tells_what_is_and_then_what_changes(self, client: ApiClient, ns: str) -> None:
        await client.create(CONFIG_MAPS, config_map("a"), namespace=ns)
        events = client.watch(CONFIG_MAPS, ns)
        first = await next_event(events, "ADDED", "SYNCED")
        assert first.type == "ADDED" and first.object and first.object["metadata"]["name"] == "a"
        synced = await next_event(events, "SYNCED")
        await client.patch(CONFIG_MAPS, "a", ns, {"data": {"k": "v"}})
        changed = await next_event(events, "MODIFIED")
        assert changed.object and changed.object["data"] == {"k": "v"}
        await client.delete(CONFIG_MAPS, "a", ns)
        gone = await next_event(events, "DELETED")
        assert gone.object and version_of(gone.object) == int(gone.resource_version) > int(changed.resource_version)
        again = client.watch(CONFIG_MAPS, ns, resource_version=synced.resource_version)
        assert [(await next_event(again, "ADDED", "MODIFIED", "DELETED")).type for _ in "12"] == ["MODIFIED", "DELETED"]

    async def test_crossing_a_selector_is_added_and_deleted(self, client: ApiClient, ns: str) -> None:
        events = client.watch(CONFIG_MAPS, ns, label_selector="in=yes")
        await next_event(events, "SYNCED")
        await client.create(CONFIG_MAPS, config_map("a"), namespace=ns)
        await client.patch(CONFIG_MAPS, "a", ns, {"metadata": {"labels": {"in": "yes"}}})
        assert (await next_event(events, "ADDED", "MODIFIED", "DELETED")).type == "ADDED"
        await client.patch(CONFIG_MAPS, "a", ns, {"metadata": {"labels": {"in": "no"}}})
        assert (await next_event(events, "ADDED", "MODIFIED", "DELETED")).type == "DELETED"

    async def test_an_informer_holds_what_the_server_holds(self, client: ApiClient, ns: str) -> None:
        await client.create(CONFIG_MAPS, config_map("a"), namespace=ns)
        factory = InformerFactory(client)
        informer = factory.informer(CONFIG_MAPS, namespace=ns)
        informer.add_index("letter", lambda o: list((o.get("data") or {}).values()))
        running = asyncio.create_task(factory.run())
        await factory.wait_synced()
        assert informer.store.get(ns, "a")
        seen: list[str] = []
        informer.add_handler(lambda event, old, new: seen.append(f"{event} {(new or old or {})['metadata']['name']}"))
        await client.create(CONFIG_MAPS, config_map("b", k="x"), namespace=ns)
        await client.delete(CONFIG_MAPS, "b", ns)
        await until(lambda: seen == ["ADDED a", "ADDED b", "DELETED b"])
        assert informer.store.by_index("letter", "x") == []
        running.cancel()

    async def test_a_watch_of_what_does_not_exist_is_refused(self, client: ApiClient) -> None:
        with pytest.raises(errors.NotFound):
            await next_event(client.watch(Kind("no.such.group", "v1", "Thing", "things")), "SYNCED")

    async def test_namespaces_end_by_finalizing(self, client: ApiClient, ns: str) -> None:
        deleted = await client.delete(NAMESPACES, ns)
        assert deleted["status"]["phase"] == "Terminating"
        current = await client.get(NAMESPACES, ns)
        await client.update(NAMESPACES, {**current, "spec": {"finalizers": []}}, subresource="finalize")
        with pytest.raises(errors.NotFound):
            await client.get(NAMESPACES, ns)

    async def test_cluster_scoped_kinds_have_no_namespace(self, client: ApiClient) -> None:
        name = f"node-{new_uid()[:8]}"
        made = await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        assert "namespace" not in made["metadata"]
        await client.delete(NODES, name)
