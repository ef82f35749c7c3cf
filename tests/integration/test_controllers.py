"""Controllers, API server, etcd and the real kubectl together; pods are bound and made ready by a stand-in."""

import asyncio
import contextlib
import json
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from apimachinery.errors import AlreadyExists, ServiceUnavailable
from apimachinery.scheme import NAMESPACES, SERVICE_ACCOUNTS
from tests.control_plane import ControlPlane
from tests.integration.hollow_nodes import HollowNodes, hollow_nodes
from tests.waiting import eventually

CONTROLLERS = "*,-node-lifecycle,-node-lifecycle-controller,-pod-garbage-collector-controller"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        running.start_controller_manager(f"--controllers={CONTROLLERS}", "--v=4")
        yield running


@pytest.fixture
async def nodes(plane: ControlPlane) -> AsyncIterator[HollowNodes]:
    async with hollow_nodes(plane.access(), "a", "b", "c") as running:
        yield running


class Cluster:
    """kubectl in a namespace of the test's own, without holding up the event loop."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace

    async def kubectl(self, *arguments: str, check: bool = True, stdin: str = "") -> str:
        place = () if "-n" in arguments else ("-n", self.namespace)
        return await asyncio.to_thread(self.plane.kubectl, *place, *arguments, check=check, stdin=stdin)

    async def get(self, *arguments: str) -> Any:
        return json.loads(await self.kubectl("get", *arguments, "-o", "json"))

    async def until(self, what: str, check: Callable[[Any], object], *arguments: str, seconds: float = 40) -> None:
        last: Any = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    last = await self.kubectl("get", *arguments, "-o", "json", check=False)
                    if last.startswith("{") and check(json.loads(last)):
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {seconds} s; last: {str(last)[:3000]}") from None


@pytest.fixture
async def cluster(plane: ControlPlane, nodes: HollowNodes, request: pytest.FixtureRequest) -> Cluster:
    name = re.sub("[^a-z0-9]+", "-", request.node.name)[:60].strip("-")
    cluster = Cluster(plane, name)
    await nodes.client.create(NAMESPACES, {"metadata": {"name": name}})
    with contextlib.suppress(AlreadyExists):
        await nodes.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, namespace=name)
    return cluster


def images(pods: Any) -> set[str]:
    return {p["spec"]["containers"][0]["image"] for p in pods["items"] if not p["metadata"].get("deletionTimestamp")}


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: v1}]}
"""


async def test_kubectl_rollout(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT % 4)
    assert "successfully rolled out" in await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    await cluster.kubectl("set", "image", "deployment/web", "*=v2")
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert images(await cluster.get("pods")) == {"v2"}
    history = await cluster.kubectl("rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    await cluster.kubectl("rollout", "undo", "deployment/web")
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert images(await cluster.get("pods")) == {"v1"}
    assert len((await cluster.get("replicasets"))["items"]) == 2
    await cluster.kubectl("rollout", "pause", "deployment/web")
    await cluster.kubectl("set", "image", "deployment/web", "*=v3")
    await cluster.kubectl("scale", "deployment/web", "--replicas=6")
    await cluster.until("scaled while paused", lambda d: d["status"].get("readyReplicas") == 6, "deployment", "web")
    assert images(await cluster.get("pods")) == {"v1"}
    await cluster.kubectl("rollout", "resume", "deployment/web")
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert images(await cluster.get("pods")) == {"v3"}
    before = {p["metadata"]["name"] for p in (await cluster.get("pods"))["items"]}
    await cluster.kubectl("rollout", "restart", "deployment/web")
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    await cluster.until("6 new pods", lambda found: len(found["items"]) == 6, "pods")
    assert not before & {p["metadata"]["name"] for p in (await cluster.get("pods"))["items"]}


async def test_a_rollout_survives_kill_9_of_both(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT % 20)
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    await cluster.kubectl("set", "image", "deployment/web", "*=v2")
    cluster.plane.programs["controller-manager"].kill()
    cluster.plane.start_controller_manager(f"--controllers={CONTROLLERS}", "--v=4")
    await cluster.until("half way", lambda d: d["status"].get("updatedReplicas", 0) >= 5, "deployment", "web")
    cluster.plane.server.program.kill()
    await asyncio.to_thread(cluster.plane.server.start)
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    await cluster.until("20 pods", lambda found: len(found["items"]) == 20 and images(found) == {"v2"}, "pods")


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
async def test_deleting_a_deployment(cluster: Cluster, cascade: str) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT % 3)
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    await cluster.kubectl("delete", "deployment", "web", f"--cascade={cascade}", "--timeout=60s")
    left = 1 if cascade == "orphan" else 0
    await cluster.until("sets", lambda found: len(found["items"]) == left, "replicasets")
    await cluster.until("pods", lambda found: len(found["items"]) == 3 * left, "pods")
    for one in (await cluster.get("replicasets"))["items"]:
        assert not one["metadata"].get("ownerReferences")


async def test_a_namespace_goes_with_all_that_is_in_it(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT % 10)
    await cluster.kubectl("apply", "-f", "-", stdin="{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}")
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    await cluster.kubectl("delete", "namespace", cluster.namespace, "--timeout=60s")
    assert "NotFound" in await cluster.kubectl("get", "namespace", cluster.namespace, check=False)
    assert (await cluster.get("pods"))["items"] == []


DAEMON_SET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: c, image: v1}]}
"""


async def test_daemon_set_rollout_and_undo(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DAEMON_SET)
    await cluster.kubectl("rollout", "status", "daemonset/agent", "--timeout=60s")
    assert len((await cluster.get("pods"))["items"]) == 3
    await cluster.kubectl("set", "image", "daemonset/agent", "*=v2")
    await cluster.kubectl("rollout", "status", "daemonset/agent", "--timeout=60s")
    assert images(await cluster.get("pods")) == {"v2"}
    await cluster.kubectl("rollout", "undo", "daemonset/agent")
    await cluster.kubectl("rollout", "status", "daemonset/agent", "--timeout=60s")
    assert images(await cluster.get("pods")) == {"v1"}


JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: work}
spec:
  completions: 7
  parallelism: 3
  completionMode: Indexed
  ttlSecondsAfterFinished: 3
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: done}]}
"""


async def test_a_job_completes_and_goes(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=JOB)
    await cluster.kubectl("wait", "--for=condition=complete", "job/work", "--timeout=30s")
    status = (await cluster.get("job", "work"))["status"]
    assert (status["succeeded"], status["completedIndexes"]) == (7, "0-6")
    await cluster.until("no pods", lambda found: not found["items"], "pods")
    await cluster.until("no jobs", lambda found: not found["items"], "jobs")


def holder(lease: Any) -> str:
    return str(lease["spec"]["holderIdentity"]).rpartition("_")[2]


async def test_a_second_controller_manager_takes_over(cluster: Cluster) -> None:
    """A process that is told to stop gives its lease up; one that is killed is waited for."""
    plane, lease = cluster.plane, ("lease", "kube-controller-manager", "-n", "kube-system")
    first = str(plane.health_ports["controller-manager"])
    await cluster.until("the first leads", lambda found: holder(found) == first, *lease)
    times = ("lease-duration=4s", "renew-deadline=3s", "retry-period=500ms")
    brief = [f"--leader-elect-{time}" for time in times]
    plane.start_controller_manager(f"--controllers={CONTROLLERS}", *brief, name="second")
    second = str(plane.health_ports["second"])
    await asyncio.to_thread(plane.programs["controller-manager"].stop)
    await cluster.until("the second leads", lambda found: holder(found) == second, *lease)
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT % 2)
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    plane.start_controller_manager(f"--controllers={CONTROLLERS}", "--v=4")
    plane.programs["second"].kill()
    await cluster.until("the first leads again", lambda found: holder(found) == first, *lease)
    await cluster.kubectl("scale", "deployment/web", "--replicas=3")
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=30s")


async def test_a_frozen_server_is_noticed_and_found_again(cluster: Cluster, nodes: HollowNodes) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT % 2)
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    server = cluster.plane.server.program.process
    assert server
    server.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(15):  # keepalive: noticed in seconds, though the connection never closes
            with pytest.raises(ServiceUnavailable):
                await nodes.client.get(NAMESPACES, "default")
    finally:
        server.send_signal(signal.SIGCONT)
    await cluster.kubectl("scale", "deployment/web", "--replicas=5")
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


STATEFUL_SET = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: v1}]}
"""


async def test_stateful_set_rollout_and_undo(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=STATEFUL_SET)
    await cluster.kubectl("rollout", "status", "statefulset/db", "--timeout=30s")
    assert [p["metadata"]["name"] for p in (await cluster.get("pods"))["items"]] == ["db-0", "db-1", "db-2"]
    await cluster.kubectl("set", "image", "statefulset/db", "*=v2")
    await cluster.kubectl("rollout", "status", "statefulset/db", "--timeout=30s")
    await cluster.kubectl("rollout", "undo", "statefulset/db")
    await cluster.kubectl("rollout", "status", "statefulset/db", "--timeout=30s")
    assert images(await cluster.get("pods")) == {"v1"}
    assert len((await cluster.get("controllerrevisions"))["items"]) == 2


async def test_work_goes_on_after_etcd_was_killed(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT % 5)
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    await cluster.kubectl("set", "image", "deployment/web", "*=v2")
    cluster.plane.etcd.kill()
    await asyncio.to_thread(cluster.plane.etcd.start)
    await asyncio.to_thread(eventually, cluster.plane.server.is_ready)
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    await cluster.until("5 pods", lambda found: len(found["items"]) == 5 and images(found) == {"v2"}, "pods")
