"""The official Python client: typed and dynamic, watches, files, leader election, streams; and its asyncio sister."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import kubernetes_asyncio as aio
import pytest
import yaml
from kubernetes import client, config, dynamic, stream, utils, watch
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from tests.e2e.clients.conftest import deployment
from tests.e2e.local_cluster import LocalCluster
from tests.waiting import eventually


@pytest.fixture(scope="module")
def api(shared: LocalCluster) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(shared.kubeconfig) as made:
        yield made


def test_typed(api: client.ApiClient, space: str) -> None:
    apps = client.AppsV1Api(api)
    made = apps.create_namespaced_deployment(space, deployment("web", 2))
    assert made.spec.strategy.rolling_update.max_surge == "25%"
    seen = []
    events = watch.Watch()
    for event in events.stream(apps.list_namespaced_deployment, space, timeout_seconds=20):
        seen.append(event["type"])
        if event["object"].status.ready_replicas == 2:
            events.stop()
    assert seen[0] == "ADDED" and set(seen[1:]) <= {"MODIFIED"}
    scale = apps.read_namespaced_deployment_scale("web", space)
    scale.spec.replicas = 0
    apps.replace_namespaced_deployment_scale("web", space, scale)
    assert apps.read_namespaced_deployment("web", space).spec.replicas == 0
    with pytest.raises(client.ApiException) as refused:
        apps.patch_namespaced_deployment("web", space, {"spec": {"replicas": -1}})
    assert refused.value.status == 422
    apps.delete_namespaced_deployment("web", space, propagation_policy="Foreground")
    eventually(lambda: not client.CoreV1Api(api).list_namespaced_pod(space).items)


def test_every_list_of_a_stable_group(api: client.ApiClient) -> None:
    """What the server sends can be read back as the client's typed objects, for every kind that it knows."""
    served = {g.preferred_version.group_version for g in client.ApisApi(api).get_api_versions().groups} | {"v1"}
    stable = [n for n in dir(client) if n.endswith(("V1Api", "V2Api"))]
    newer = ("cluster_trust_bundle", "pod_certificate_request", "component_status", "storage_version", "taint_rule")
    asked = 0
    for name in stable:
        group = getattr(client, name)(api)
        for verb in (v for v in dir(group) if v.startswith("list_") and not v.endswith("_info")):
            if "namespaced" in verb or any(k in verb for k in newer) or "EventsV1" in name:
                continue  # kinds that v1.36 does not have; events of the old form have no eventTime, upstream too
            getattr(group, verb)()
            asked += 1
    assert asked > 50 and len(served) > 20


def test_dynamic(api: client.ApiClient, space: str) -> None:
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "one"}, "data": {"a": "1"}}
    maps.server_side_apply(body=body, namespace=space, field_manager="test")
    patched = maps.patch(
        name="one", namespace=space, body={"data": {"b": "2"}}, content_type="application/merge-patch+json"
    )
    assert patched.data.to_dict() == {"a": "1", "b": "2"}
    watcher = watch.Watch()
    version = patched.metadata.resourceVersion
    threading.Timer(0.2, lambda: maps.delete(name="one", namespace=space)).start()
    for event in maps.watch(namespace=space, resource_version=version, timeout=10, watcher=watcher):
        assert event["type"] == "DELETED"
        watcher.stop()
    assert "one" not in [m.metadata.name for m in maps.get(namespace=space).items]


def test_files_of_manifests(api: client.ApiClient, space: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    several = {"apiVersion": "v1", "kind": "List", "items": [service, deployment("web")]}
    utils.create_from_yaml(api, yaml_objects=yaml.safe_load_all(yaml.safe_dump(several)), namespace=space)
    with pytest.raises(utils.FailToCreateError, match="already exists"):
        utils.create_from_yaml(api, yaml_objects=[service], namespace=space)


def test_leader_election(api: client.ApiClient, space: str) -> None:
    """A leader holds its lease, renews it, and gives up when it can no longer."""
    client.Configuration.set_default(api.configuration)
    led, lost, core = threading.Event(), threading.Event(), client.CoordinationV1Api(api)
    lock = LeaseLock("leader", space, "me")
    settings = electionconfig.Config(
        lock, lease_duration=3, renew_deadline=2, retry_period=1, onstarted_leading=led.set, onstopped_leading=lost.set
    )
    threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True).start()
    assert led.wait(10)
    first = core.read_namespaced_lease("leader", space).spec
    assert first.holder_identity == "me"
    eventually(lambda: core.read_namespaced_lease("leader", space).spec.renew_time > first.renew_time)
    lock.update = lambda *_: False
    assert lost.wait(10)


def test_exec(cluster: LocalCluster) -> None:
    """On real containers: output, standard input, exit code."""
    with config.new_client_from_config(cluster.kubeconfig) as own:
        core = client.CoreV1Api(own)
        main = {"name": "main", "image": "kubeto/busybox:1", "command": ["sleep", "1000"]}
        pod = {"metadata": {"name": "py-exec"}, "spec": {"containers": [main], "terminationGracePeriodSeconds": 0}}
        eventually(lambda: core.read_namespaced_service_account("default", "default"))
        core.create_namespaced_pod("default", pod)
        eventually(lambda: core.read_namespaced_pod("py-exec", "default").status.phase == "Running")
        run: Any = core.connect_get_namespaced_pod_exec
        told = stream.stream(run, "py-exec", "default", command=["echo", "hello"], stdout=True, stderr=True)
        assert told == "hello\n"
        shell = stream.stream(
            run, "py-exec", "default", command=["sh"], stdin=True, stdout=True, stderr=True, _preload_content=False
        )
        shell.write_stdin("echo out; echo err >&2; exit 3\n")
        shell.run_forever(timeout=10)
        assert (shell.read_stdout(), shell.read_stderr(), shell.returncode) == ("out\n", "err\n", 3)
        core.delete_namespaced_pod("py-exec", "default")


async def test_asyncio(shared: LocalCluster, space: str) -> None:
    async with await aio.config.new_client_from_config(shared.kubeconfig) as api:
        core, apps = aio.client.CoreV1Api(api), aio.client.AppsV1Api(api)
        await apps.create_namespaced_deployment(space, deployment("web"))
        async with aio.watch.Watch().stream(core.list_namespaced_pod, space, timeout_seconds=20) as events:
            async for event in events:
                if event["object"].status.phase == "Running":
                    break
        many = [core.create_namespaced_config_map(space, {"metadata": {"name": f"m{i}"}}) for i in range(20)]
        await asyncio.gather(*many)
        page = await core.list_namespaced_config_map(space, limit=15)
        rest = await core.list_namespaced_config_map(space, limit=15, _continue=page.metadata._continue)
        assert (len(page.items), page.metadata.remaining_item_count, len(rest.items)) == (15, 6, 6)
        dynamic_ = await aio.dynamic.DynamicClient(api)
        secrets = await dynamic_.resources.get(api_version="v1", kind="Secret")
        made = await secrets.create(body={"metadata": {"name": "s"}, "stringData": {"k": "v"}}, namespace=space)
        assert made.data.k == "dg=="
        await core.delete_collection_namespaced_config_map(space, label_selector="!none")
        assert not (await core.list_namespaced_config_map(space, field_selector="metadata.name=m1")).items
