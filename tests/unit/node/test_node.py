"""A whole node in memory: API server's store, agent and runtime. End states are asserted, not calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from apimachinery.client.api import MERGE_PATCH, ApiClient
from apimachinery.client.informer import InformerFactory
from apimachinery.errors import NotFound, ServiceUnavailable
from apimachinery.meta import condition_is_true
from apimachinery.scheme import CORE_EVENTS, NODES, PODS
from node.agent import host, pressure
from node.agent.agent import NodeAgent, ProcessParts, run_nodes
from node.agent.host import HostReader
from node.agent.leases import LeaseRenewer
from node.agent.node_reporter import NodeReporter
from node.agent.settings import AgentSettings
from node.agent.status_writer import StatusWriter
from node.cri.fake import FakeRuntime
from node.cri.fake_images import FakeOptions
from protos.cri.runtime.v1 import api_pb2 as pb
from tests.fakes.cluster import FakeCluster
from tests.fakes.rpc import FakeRpc
from tests.waiting import until

Object = dict[str, Any]
NODE = "n1"


def pod(name: str, *command: str, **spec: Any) -> Object:
    container = {"name": "c", "image": "img", "imagePullPolicy": "IfNotPresent", "command": list(command)}
    full = {"nodeName": NODE, "restartPolicy": "Always", "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": full}


class World:
    """One cluster whose only node comes and goes."""

    def __init__(self, root: Path) -> None:
        self.cluster = FakeCluster()
        self.runtime = FakeRuntime(FakeOptions(missing_images=frozenset({"missing"})))
        self._root = root

    @asynccontextmanager
    async def node(self, **options: Any) -> AsyncIterator[NodeAgent]:
        client = ApiClient(FakeRpc(self.cluster), user_agent="test")
        informers = InformerFactory(client)
        settings = AgentSettings(NODE, str(self._root), ("10.1.1.1",), **options)
        parts = ProcessParts(
            client=client,
            writer=StatusWriter(client),
            leases=LeaseRenewer(client, 10.0, 40),
            host=HostReader(str(self._root)),
            nodes=informers.informer(NODES),
            pods=informers.informer(PODS, field_selector=f"spec.nodeName={NODE}"),
            services=list,
        )
        agent = NodeAgent(parts, self.runtime, settings, network=False)
        tasks = [asyncio.create_task(informers.run()), asyncio.create_task(run_nodes(parts, {NODE: agent}))]
        try:
            yield agent
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()

    def status(self, name: str) -> Object:
        return dict(self.cluster.get(PODS, "default", name).get("status") or {})

    def exists(self, name: str) -> bool:
        try:
            self.cluster.get(PODS, "default", name)
        except NotFound:
            return False
        return True


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def is_ready(world: World, name: str) -> bool:
    conditions = world.status(name).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def test_pod_runs_and_is_gone_without_a_trace(world: World) -> None:
    async with world.node() as agent:
        world.cluster.create(PODS, pod("web", "sleep", "1000"))
        await until(lambda: is_ready(world, "web"))
        assert world.status("web")["phase"] == "Running"
        world.cluster.delete(PODS, "default", "web", {})
        await until(lambda: not world.exists("web"))
        await until(lambda: len(agent.pods) == 0)
    assert not await world.runtime.list_pod_sandboxes({})
    assert not await world.runtime.list_containers({})


async def test_node_is_registered_and_ready(world: World) -> None:
    async with world.node():
        await until(lambda: condition_is_true(world.cluster.find(NODES, "", NODE) or {}, "Ready"))


async def test_a_pod_range_that_comes_while_the_node_is_looked_at_is_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, heard, changed = list[str](), asyncio.Event(), NodeReporter.node_changed

    def hear(reporter: NodeReporter) -> None:
        changed(reporter)
        if reporter._stored().get("spec", {}).get("podCIDR"):
            heard.set()

    class Runtime(FakeRuntime):
        async def version(self) -> pb.VersionResponse:
            """Between two looks at the Node in which nothing else changes."""
            spec = (world.cluster.find(NODES, "", NODE) or {}).get("spec") or {}
            if spec.get("unschedulable") and not heard.is_set():
                world.cluster.patch(NODES, "", NODE, {"spec": {"podCIDR": "10.9.0.0/24"}}, MERGE_PATCH)
                await heard.wait()
            return await super().version()

        async def update_pod_cidr(self, pod_cidr: str) -> None:
            taken.append(pod_cidr)

    monkeypatch.setattr(NodeReporter, "node_changed", hear)
    world.runtime = Runtime(FakeOptions())
    async with world.node(status_interval=1000.0):
        await until(lambda: condition_is_true(world.cluster.find(NODES, "", NODE) or {}, "Ready"))
        world.cluster.patch(NODES, "", NODE, {"spec": {"unschedulable": True}}, MERGE_PATCH)  # it is looked at again
        await until(lambda: taken == ["10.9.0.0/24"])


async def test_what_others_put_in_the_nodes_capacity_can_be_allocated(world: World) -> None:
    def foo(part: str) -> Any:
        return (world.cluster.get(NODES, "", NODE)["status"].get(part) or {}).get("example.com/foo")

    def give(amount: str | None) -> None:
        patch = {"status": {"capacity": {"example.com/foo": amount}}}
        world.cluster.patch(NODES, "", NODE, patch, MERGE_PATCH, "status")

    async with world.node():
        await until(lambda: world.cluster.find(NODES, "", NODE))
        give("3")
        await until(lambda: foo("allocatable") == "3")
        assert foo("capacity") == "3"
        give(None)
        await until(lambda: foo("allocatable") is None)


async def test_restarted_agent_adopts_what_runs(world: World) -> None:
    world.cluster.create(PODS, pod("web", "sleep", "1000"))
    async with world.node():
        await until(lambda: is_ready(world, "web"))
    (before,) = await world.runtime.list_containers({})
    async with world.node() as agent:
        await until(lambda: len(agent.pods) == 1)
        world.cluster.create(PODS, pod("other", "sleep", "1000"))
        await until(lambda: is_ready(world, "other"))
    assert before.id in {c.id for c in await world.runtime.list_containers({})}
    assert world.status("web")["containerStatuses"][0]["restartCount"] == 0


async def test_what_was_deleted_while_the_agent_was_away_is_cleared(world: World) -> None:
    world.cluster.create(PODS, pod("web", "sleep", "1000"))
    async with world.node():
        await until(lambda: is_ready(world, "web"))
    world.cluster.delete(PODS, "default", "web", {"gracePeriodSeconds": 0})
    async with world.node():
        await until(lambda: not world.runtime._sandboxes)


async def test_crashing_container_is_restarted_and_then_held_back(world: World) -> None:
    async with world.node():
        world.cluster.create(PODS, pod("crash", "false"))

        def held_back() -> bool:
            statuses = world.status("crash").get("containerStatuses") or [{}]
            return bool((statuses[0].get("state") or {}).get("waiting", {}).get("reason") == "CrashLoopBackOff")

        await until(held_back)
    (status,) = world.status("crash")["containerStatuses"]
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 1


async def test_finished_pod_stays_and_its_end_is_told(world: World) -> None:
    async with world.node():
        world.cluster.create(PODS, pod("job", "sh", "-c", "echo hi; exit 3", restartPolicy="Never"))
        await until(lambda: world.status("job").get("phase") == "Failed")
    (status,) = world.status("job")["containerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == 3


async def test_missing_image_is_told_and_holds_up_nothing_else(world: World) -> None:
    async with world.node():
        broken = pod("broken", "true")
        broken["spec"]["containers"].append({"name": "d", "image": "missing", "imagePullPolicy": "IfNotPresent"})
        broken["spec"]["containers"][0]["command"] = ["sleep", "1000"]
        world.cluster.create(PODS, broken)

        def told() -> bool:
            states = [s["state"] for s in world.status("broken").get("containerStatuses") or ()]
            reasons = [s.get("waiting", {}).get("reason") for s in states]
            return len(states) == 2 and "running" in states[0] and reasons[1] in ("ErrImagePull", "ImagePullBackOff")

        await until(told)


async def test_pod_that_does_not_fit_is_rejected(world: World) -> None:
    async with world.node():
        big = pod("big", "true")
        big["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1000"}}
        world.cluster.create(PODS, big)
        await until(lambda: world.status("big").get("phase") == "Failed")
    assert world.status("big")["reason"] == "OutOfcpu"


async def test_a_runtime_that_cannot_keep_groups_away_gets_no_pod_that_wants_it(world: World) -> None:
    strict = {"securityContext": {"supplementalGroupsPolicy": "Strict"}}
    async with world.node():
        await until(lambda: condition_is_true(world.cluster.find(NODES, "", NODE) or {}, "Ready"))
        told = world.cluster.get(NODES, "", NODE)["status"]
        world.cluster.create(PODS, pod("able", "sleep", "1000", **strict))
        await until(lambda: is_ready(world, "able"))
    assert told["features"] == {"supplementalGroupsPolicy": True}
    features = {"recursiveReadOnlyMounts": True, "userNamespaces": False}
    assert told["runtimeHandlers"] == [{"name": "", "features": features}]
    world.runtime = FakeRuntime(FakeOptions(strict_groups=False))
    async with world.node():
        await until(lambda: not world.cluster.get(NODES, "", NODE)["status"]["features"]["supplementalGroupsPolicy"])
        world.cluster.create(PODS, pod("unable", "sleep", "1000", **strict))
        await until(lambda: world.status("unable").get("phase") == "Failed")
        assert world.status("unable")["reason"] == "SupplementalGroupsPolicyNotSupported"
        assert "SupplementalGroupsPolicy=Strict is not supported in this node" in world.status("unable")["message"]


@pytest.mark.skipif(host.has_apparmor(), reason="this machine has AppArmor")
async def test_a_pod_that_wants_apparmor_needs_a_machine_that_has_it(world: World) -> None:
    async with world.node():
        await until(lambda: world.cluster.find(NODES, "", NODE))
        for kind in ("RuntimeDefault", "Unconfined"):
            context = {"appArmorProfile": {"type": kind}}
            world.cluster.create(PODS, pod(kind.lower(), "sleep", "1000", securityContext=context))
        await until(lambda: is_ready(world, "unconfined"))
        await until(lambda: world.status("runtimedefault").get("reason") == "AppArmor")


async def test_a_pod_that_is_gone_takes_no_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler may bind another the moment it sees the old one gone."""
    first, second = pod("first", "sleep", "1000"), pod("second", "sleep", "1000")
    for one in (first, second):
        one["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 8080}]
    delete = world.cluster.delete

    def delete_and_replace(*what: Any) -> Object:
        gone = delete(*what)
        if not world.exists("first"):
            world.cluster.create(PODS, second)
        return gone

    async with world.node():
        world.cluster.create(PODS, first)
        await until(lambda: is_ready(world, "first"))
        monkeypatch.setattr(world.cluster, "delete", delete_and_replace)
        world.cluster.delete(PODS, "default", "first", {})
        await until(lambda: world.exists("second") and world.status("second").get("phase") in ("Running", "Failed"))
    assert world.status("second")["phase"] == "Running", world.status("second")


async def test_shorter_grace_period_interrupts_a_longer_one(world: World) -> None:
    async with world.node():
        stubborn = pod("stubborn", "sh", "-c", "trap '' TERM; sleep 1000", terminationGracePeriodSeconds=600)
        world.cluster.create(PODS, stubborn)
        await until(lambda: is_ready(world, "stubborn"))
        world.cluster.delete(PODS, "default", "stubborn", {})
        await asyncio.sleep(0.05)
        assert world.exists("stubborn")
        world.cluster.delete(PODS, "default", "stubborn", {"gracePeriodSeconds": 1})
        await until(lambda: not world.exists("stubborn"))


async def test_status_is_written_when_the_api_server_is_back(world: World) -> None:
    async with world.node():
        world.cluster.create(PODS, pod("web", "sleep", "0.2"))
        await until(lambda: is_ready(world, "web"))

        def away(verb: str, *_: Any) -> None:
            if verb in ("patch", "PATCH"):
                raise ServiceUnavailable("away")

        world.cluster.intercept = away
        async with asyncio.timeout(20):
            while len(await world.runtime.list_containers({})) < 2:
                await asyncio.sleep(0.01)
        world.cluster.intercept = lambda *_: None
        await until(lambda: world.status("web")["containerStatuses"][0]["restartCount"] == 1)


async def test_node_insists_on_what_it_knows_of_its_pods(world: World) -> None:
    async with world.node():
        world.cluster.create(PODS, pod("web", "sleep", "1000"))
        await until(lambda: is_ready(world, "web"))
        doubted = world.cluster.get(PODS, "default", "web")
        for condition in doubted["status"]["conditions"]:
            condition["status"] = "False" if condition["type"] == "Ready" else condition["status"]
        world.cluster.update(PODS, doubted, "status")
        assert not is_ready(world, "web")
        await until(lambda: is_ready(world, "web"))


def resources(name: str, cpu: str, memory: str = "64Mi", policy: str = "NotRequired") -> Object:
    amounts = {"cpu": cpu, "memory": memory}
    made = pod(name, "sh", "-c", "sleep 1000")
    made["spec"]["containers"][0] |= {"resources": {"requests": amounts, "limits": amounts}}
    made["spec"]["containers"][0]["resizePolicy"] = [{"resourceName": "cpu", "restartPolicy": policy}]
    return made


def resize(world: World, name: str, cpu: str, memory: str = "64Mi") -> None:
    live, amounts = world.cluster.get(PODS, "default", name), {"cpu": cpu, "memory": memory}
    live["spec"]["containers"][0]["resources"] = {"requests": amounts, "limits": amounts}
    world.cluster.update(PODS, live)


def given(world: World, name: str) -> tuple[Any, Any, int]:
    """CPU limit in the status, CPU quota in the runtime, restarts."""
    status = world.status(name)["containerStatuses"][0]
    quotas = [c.config.linux.resources.cpu_quota for c in world.runtime._containers.values()]
    return status["resources"]["limits"]["cpu"], max(quotas), status["restartCount"]


def resize_conditions(world: World, name: str) -> list[tuple[str, str]]:
    conditions = world.status(name).get("conditions") or ()
    return [(c["type"], c.get("reason", "")) for c in conditions if c["type"].startswith("PodResize")]


async def test_a_running_container_gets_other_resources_in_place(world: World) -> None:
    async with world.node():
        world.cluster.create(PODS, resources("p", "100m"))
        await until(lambda: is_ready(world, "p") and given(world, "p") == ("100m", 10_000, 0))
        resize(world, "p", "200m")
        await until(lambda: given(world, "p") == ("200m", 20_000, 0))
    async with world.node():  # a restarted agent knows what it gave
        resize(world, "p", "100m")
        await until(lambda: given(world, "p") == ("100m", 10_000, 0))
        assert not resize_conditions(world, "p")


async def test_a_resize_that_needs_a_restart_restarts_that_container(world: World) -> None:
    async with world.node():
        world.cluster.create(PODS, resources("p", "100m", policy="RestartContainer"))
        await until(lambda: is_ready(world, "p"))
        resize(world, "p", "200m")
        await until(lambda: is_ready(world, "p") and given(world, "p") == ("200m", 20_000, 1))
        assert not resize_conditions(world, "p")


async def test_a_pod_that_is_bounded_as_a_whole_is_resized_as_a_whole(world: World) -> None:
    whole = pod("p", "sleep", "1000", resources={"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}})
    async with world.node() as agent:
        world.cluster.create(PODS, whole)
        await until(lambda: is_ready(world, "p"))
        cores = int(agent.local._pods._services.facts.allocatable["cpu"])
        world.cluster.create(PODS, pod("beside", "true", resources={"requests": {"cpu": str(cores)}}))
        await until(lambda: world.status("beside").get("reason") == "OutOfcpu")
        live = world.cluster.get(PODS, "default", "p")
        live["spec"]["resources"] = {"limits": {"cpu": "1"}, "requests": {"cpu": "200m"}}
        world.cluster.update(PODS, live)
        await until(lambda: world.status("p").get("resources") == live["spec"]["resources"])
        assert world.status("p")["allocatedResources"] == {"cpu": "200m"}
        (container,) = world.runtime._containers.values()
        assert container.config.linux.resources.cpu_quota == 100_000  # what it has no limit of its own for


async def test_a_resize_waits_for_room_and_an_impossible_one_is_told(world: World) -> None:
    async with world.node() as agent:
        cores = int(agent.local._pods._services.facts.allocatable["cpu"])
        world.cluster.create(PODS, resources("other", str(cores - 1)))
        world.cluster.create(PODS, resources("p", "500m"))
        await until(lambda: is_ready(world, "p") and is_ready(world, "other"))
        resize(world, "p", str(cores))
        await until(lambda: resize_conditions(world, "p") == [("PodResizePending", "Deferred")])
        assert given(world, "p")[0] == "500m"
        resize(world, "p", str(cores + 1))
        await until(lambda: resize_conditions(world, "p") == [("PodResizePending", "Infeasible")])
        resize(world, "p", str(cores))
        await until(lambda: resize_conditions(world, "p") == [("PodResizePending", "Deferred")])
        world.cluster.delete(PODS, "default", "other", {"gracePeriodSeconds": 0})
        await until(lambda: given(world, "p")[0] == str(cores) and not resize_conditions(world, "p"))


async def test_static_pods_run_and_are_mirrored(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: c, image: IMAGE}]\n"
    (folder / "web.yaml").write_text(manifest.replace("IMAGE", "one"))
    (folder / "broken.yaml").write_text("kind: Nothing")
    name = f"web-{NODE}"

    def image() -> str:
        running = [s for s in world.status(name).get("containerStatuses", ()) if "running" in s["state"]]
        return str(running[0]["image"]) if running else ""

    async with world.node(pod_manifest_path=str(folder)):
        await until(lambda: world.exists(name) and is_ready(world, name) and image() == "one")
        uid = world.cluster.get(PODS, "default", name)["metadata"]["uid"]
        containers = set(world.runtime._containers)
        world.cluster.delete(PODS, "default", name, {"gracePeriodSeconds": 0})
        await until(lambda: world.exists(name) and is_ready(world, name))
        assert world.cluster.get(PODS, "default", name)["metadata"]["uid"] != uid
        assert set(world.runtime._containers) == containers  # what runs was left alone
        (folder / "web.yaml").write_text(manifest.replace("IMAGE", "two"))
        await until(lambda: world.exists(name) and image() == "two")
    (folder / "web.yaml").unlink()
    async with world.node(pod_manifest_path=str(folder)):
        await until(lambda: not world.exists(name) and not world.runtime._containers)


async def test_a_node_that_stays_short_evicts_the_greedy_and_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.agent.eviction._INTERVAL_SECONDS", 0.01)
    soft = pressure.parse("", "memory.available<100%", "memory.available=300ms")
    async with world.node(eviction_thresholds=soft, eviction_max_grace=1):
        await until(lambda: condition_is_true(world.cluster.find(NODES, "", NODE) or {}, "MemoryPressure"))
        world.cluster.create(PODS, resources("asked", "100m"))
        world.cluster.create(PODS, pod("greedy", "sleep", "1000"))
        await until(lambda: world.status("greedy").get("reason") == "Evicted")
        assert world.status("greedy")["message"] == "Pod was rejected: The node had condition: [MemoryPressure]. "
        await until(lambda: world.status("asked").get("reason") == "Evicted")
        assert world.status("asked")["message"].startswith("The node was low on resource: memory. Threshold quantity: ")
    told = {(e["involvedObject"]["kind"], e["reason"]) for e in world.cluster.all(CORE_EVENTS)}
    assert {("Node", "EvictionThresholdMet"), ("Node", "NodeHasInsufficientMemory"), ("Pod", "Evicted")} <= told
