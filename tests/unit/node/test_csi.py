"""CSI on one node, with a driver that serves on real sockets and an API server in memory."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from apimachinery.client.events import EventRecorder
from apimachinery.csi import CSI_DRIVERS, CSI_NODES, VOLUME_ATTACHMENTS, attachment_name, unique_name
from apimachinery.meta import Object
from apimachinery.scheme import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Kind
from node.agent.csi import volumes
from node.agent.csi.plugins import PluginWatcher
from node.agent.csi.requests import Wanted, agent_applies_group, capability, of_inline, of_volume, unlabelled
from node.agent.csi.service import Csi
from node.agent.metrics import AgentMetrics
from node.agent.settings import AgentSettings, NodeFacts
from node.agent.tokens import Token, TokenManager
from node.agent.volumes.volume import MountFailed, VolumeContext
from protos.csi.v1 import csi_pb2 as pb
from tests import fakes
from tests.fakes.csi_driver import Capability, CsiDriver
from tests.waiting import until

DRIVER = "folder.csi.test"
Mode = pb.VolumeCapability.AccessMode


def volume(**csi: Any) -> Object:
    source = {"driver": DRIVER, "volumeHandle": "v1", **csi}
    spec = {"csi": source, "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}}
    return {"metadata": {"name": "pv1"}, "spec": spec}


def pod(uid: str) -> Object:
    return {"metadata": {"name": uid, "namespace": "default", "uid": uid}, "spec": {}}


class World:
    """One node: its folder, its API server, its driver."""

    def __init__(self, root: Path) -> None:
        self.root, self.cluster = root, fakes.FakeCluster()
        self.client = fakes.client(self.cluster)
        self.cluster.create(NODES, {"metadata": {"name": "n1"}})
        claim = {"metadata": {"name": "c", "namespace": "default"}, "spec": {}}
        self.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim, "default")
        (root / "state" / "volumes" / "v1").mkdir(parents=True)
        self.driver = CsiDriver(DRIVER, "n1", root / "state", root=False)
        self.csi = self.agent()

    def agent(self) -> Csi:
        """As an agent that starts has it."""
        self.facts = NodeFacts()
        tokens, recorder = TokenManager(self.client), EventRecorder(self.client, "kubelet", "n1")
        settings = AgentSettings("n1", str(self.root))
        self.metrics = AgentMetrics()
        storage = self.metrics.storage
        return Csi(self.client, settings, self.facts, tokens, recorder, lambda: self.node, self.report, storage)

    @property
    def node(self) -> Object:
        return self.cluster.get(NODES, "", "n1")

    def report(self) -> None:
        self.facts.volumes_reported = self.facts.volumes_in_use

    def about(self, **spec: Any) -> None:
        self.cluster.create(CSI_DRIVERS, {"metadata": {"name": DRIVER}, "spec": spec})

    def show(self, kind: Kind, name: str, status: Object, namespace: str = "") -> None:
        found = self.cluster.get(kind, namespace, name)
        self.cluster.update(kind, found | {"status": status}, subresource="status")

    def context(self, uid: str, group: int | None = None) -> VolumeContext:
        return cast(VolumeContext, SimpleNamespace(pod=pod(uid), fs_group=group))

    def counted(self, operation: str, status: str = "success") -> float:
        labels = {"operation_name": operation, "status": status, "migrated": "false"}
        about = labels | {"volume_plugin": f"kubernetes.io/csi:{DRIVER}"}
        return self.metrics.registry.get_sample_value("storage_operation_duration_seconds_count", about) or 0

    async def register(self) -> None:
        await self.driver.serve(self.root / "csi.sock", self.root / "plugins_registry")
        self.driver.told.clear()
        watcher = PluginWatcher(str(self.root / "plugins_registry"), self.csi)
        await watcher.look()
        await until(lambda: self.driver.told)

    async def mount(self, uid: str, **csi: Any) -> str:
        return await self.csi.volumes.mount(of_volume(volume(**csi), "c", False), self.context(uid))

    def records(self) -> list[str]:
        return sorted(str(p.relative_to(self.root)) for p in self.root.rglob("vol_data.json"))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory() as folder:  # the path of a socket has to be short
        made = World(Path(folder))
        yield made
        await made.csi.close()
        await made.driver.close()


async def test_a_driver_registers_and_is_published(world: World) -> None:
    world.driver.limit = 7
    await world.register()
    assert world.driver.told[0].plugin_registered
    found = world.cluster.get(CSI_NODES, "", "n1")
    key = f"topology.{DRIVER}/node"
    entry = {"name": DRIVER, "nodeID": "id-n1", "topologyKeys": [key], "allocatable": {"count": 7}}
    assert found["spec"]["drivers"] == [entry]
    assert world.node["metadata"]["labels"][key] == "n1"
    assert json.loads(world.node["metadata"]["annotations"]["csi.volume.kubernetes.io/nodeid"]) == {DRIVER: "id-n1"}
    world.cluster.delete(NODES, "", "n1")
    world.cluster.create(NODES, {"metadata": {"name": "n1"}})
    publisher = asyncio.create_task(world.csi._keep_published())
    world.csi.node_changed(world.node)
    await until(lambda: world.node["metadata"].get("labels", {}).get(key))
    uid = world.node["metadata"]["uid"]
    await until(lambda: world.cluster.get(CSI_NODES, "", "n1")["metadata"]["ownerReferences"][0]["uid"] == uid)
    await until(lambda: world.cluster.get(CSI_NODES, "", "n1")["spec"]["drivers"] == [entry])
    await world.csi.deregister(DRIVER)
    await until(lambda: not world.cluster.get(CSI_NODES, "", "n1")["spec"]["drivers"])
    publisher.cancel()
    assert world.cluster.get(CSI_NODES, "", "n1")["spec"]["drivers"] == []
    with pytest.raises(MountFailed, match=r"MountDevice failed.*not found in the list of registered CSI drivers"):
        await world.mount("p1")


async def test_a_plugin_that_cannot_be_used_is_told_why(world: World) -> None:
    world.driver.version = "0.3.0"
    await world.register()
    assert not world.driver.told[0].plugin_registered
    assert "not version 1" in world.driver.told[0].error


async def test_a_volume_is_staged_once_and_unstaged_after_the_last_pod(world: World) -> None:
    world.about(attachRequired=False, podInfoOnMount=True)
    await world.register()
    sweeper = asyncio.create_task(world.csi.volumes.run())
    path = await world.mount("p1")
    assert path.endswith("/pods/p1/volumes/kubernetes.io~csi/pv1/mount") and os.path.isdir(path)
    assert await world.mount("p1") == path
    await world.mount("p2")
    assert len(world.driver.calls("NodeStageVolume")) == 2  # idempotent by the specification
    assert len(world.driver.calls("NodePublishVolume")) == 2
    told = world.driver.calls("NodePublishVolume")[0].volume_context
    assert told["csi.storage.k8s.io/pod.name"] == "p1" and told["csi.storage.k8s.io/ephemeral"] == "false"
    await world.csi.volumes.release("p1")
    await world.csi.volumes.release("p1")
    assert len(world.records()) == 2 and not world.driver.calls("NodeUnstageVolume")
    await world.csi.volumes.release("p2")
    await until(lambda: not world.records())
    assert len(world.driver.calls("NodeUnstageVolume")) == 1
    sweeper.cancel()


async def test_a_mount_waits_until_the_volume_is_attached_and_its_use_is_known(world: World) -> None:
    await world.register()
    waiting = asyncio.create_task(world.mount("p1"))
    name = unique_name(DRIVER, "v1")
    await until(lambda: name in world.facts.volumes_reported)
    made = {"metadata": {"name": attachment_name(DRIVER, "v1", "n1")}, "spec": {"nodeName": "n1"}}
    world.cluster.create(VOLUME_ATTACHMENTS, made)
    world.show(VOLUME_ATTACHMENTS, made["metadata"]["name"], {"attached": True, "attachmentMetadata": {"lun": "3"}})
    world.show(NODES, "n1", {"volumesAttached": [{"name": name}]})
    await waiting
    assert world.driver.calls("NodeStageVolume")[0].publish_context == {"lun": "3"}
    await world.csi.volumes.release("p1")
    world.csi = world.agent()
    assert world.facts.volumes_in_use == {name}  # still staged
    await world.register()
    sweeper = asyncio.create_task(world.csi.volumes.run())
    await until(lambda: not world.facts.volumes_in_use)
    sweeper.cancel()


async def test_what_a_killed_agent_began_is_finished_or_undone_by_the_next(world: World) -> None:
    world.about(attachRequired=False)
    await world.register()
    (world.root / "state/faults").write_text('{"NodePublishVolume": "hang"}')
    killed = asyncio.create_task(world.mount("p1"))
    await until(lambda: world.driver.calls("NodePublishVolume"))
    killed.cancel()
    (world.root / "state/faults").unlink()
    world.csi = world.agent()
    await world.register()
    sweeper = asyncio.create_task(world.csi.volumes.run())
    await world.csi.volumes.release("p1")
    await until(lambda: not world.records())
    assert len(world.driver.calls("NodeUnpublishVolume")) == len(world.driver.calls("NodeUnstageVolume")) == 1
    sweeper.cancel()


async def test_an_inline_volume_needs_a_driver_that_offers_it(world: World) -> None:
    await world.register()
    wanted = of_inline(pod("p1"), {"name": "scratch", "csi": {"driver": DRIVER}})
    with pytest.raises(MountFailed, match=r'volume mode "Ephemeral" not supported.*no CSIDriver object'):
        await world.csi.volumes.mount(wanted, world.context("p1"))
    world.about(volumeLifecycleModes=["Ephemeral"])
    await world.csi.volumes.mount(wanted, world.context("p1"))
    assert world.driver.calls("NodePublishVolume")[0].volume_id.startswith("csi-")
    assert not world.driver.calls("NodeStageVolume")


async def test_a_grown_volume_is_grown_on_the_node(world: World) -> None:
    world.about(attachRequired=False)
    await world.register()
    condition = {"type": "FileSystemResizePending", "status": "True"}
    world.show(PERSISTENT_VOLUME_CLAIMS, "c", {"conditions": [condition]}, "default")
    world.cluster.create(PERSISTENT_VOLUMES, volume())
    await world.mount("p1")
    assert world.driver.calls("NodeExpandVolume")[0].capacity_range.required_bytes == 2 * 1024**3
    status = world.cluster.get(PERSISTENT_VOLUME_CLAIMS, "default", "c")["status"]
    assert status["capacity"] == {"storage": "2Gi"} and not status.get("conditions")
    assert world.csi.volumes.again_at("p1") is not None


async def test_a_block_volume_is_published_as_a_device(world: World) -> None:
    world.about(attachRequired=False)
    await world.register()
    sweeper = asyncio.create_task(world.csi.volumes.run())
    source = volume(fsType="ext4")
    source["spec"] |= {"volumeMode": "Block", "mountOptions": ["noatime"]}
    wanted = of_volume(source, "c", False)
    path = await world.csi.volumes.mount(wanted, world.context("p1"))
    assert path.endswith("/pods/p1/volumeDevices/kubernetes.io~csi/pv1/dev") and os.path.exists(path)
    for call in (*world.driver.calls("NodeStageVolume"), *world.driver.calls("NodePublishVolume")):
        assert call.volume_capability.HasField("block")
    assert not agent_applies_group(wanted, {"spec": {"fsGroupPolicy": "File"}}, ())
    world.csi = world.agent()
    await world.register()
    sweeper.cancel()
    sweeper = asyncio.create_task(world.csi.volumes.run())
    await world.csi.volumes.release("p1")
    await until(lambda: not world.records())
    assert not os.path.exists(path) and len(world.driver.calls("NodeUnstageVolume")) == 1
    (world.root / "state/faults").write_text('{"NodeStageVolume": "INTERNAL"}')
    with pytest.raises(MountFailed, match=r"MapVolume.SetUpDevice failed") as failed:
        await world.csi.volumes.mount(wanted, world.context("p2"))
    assert failed.value.reason == "FailedMapVolume"
    sweeper.cancel()


@pytest.mark.parametrize(
    ("mode", "able", "wanted"),
    [
        ("ReadWriteOnce", (), Mode.SINGLE_NODE_WRITER),
        ("ReadWriteOnce", (Capability.SINGLE_NODE_MULTI_WRITER,), Mode.SINGLE_NODE_MULTI_WRITER),
        ("ReadWriteOncePod", (Capability.SINGLE_NODE_MULTI_WRITER,), Mode.SINGLE_NODE_SINGLE_WRITER),
        ("ReadOnlyMany", (), Mode.MULTI_NODE_READER_ONLY),
        ("ReadWriteMany", (), Mode.MULTI_NODE_MULTI_WRITER),
    ],
)
def test_access_modes_are_told_as_precisely_as_the_driver_knows_them(mode: str, able: Any, wanted: int) -> None:
    made = capability(Wanted("v", DRIVER, "h", access_modes=(mode,)), able, 5)
    assert made.access_mode.mode == wanted and made.mount.volume_mount_group == "5"


def test_who_applies_fs_group() -> None:
    plain, typed = Wanted("v", DRIVER, "h"), Wanted("v", DRIVER, "h", fs_type="ext4")
    assert not agent_applies_group(plain, None, ()) and agent_applies_group(typed, None, ())
    assert agent_applies_group(plain, {"spec": {"fsGroupPolicy": "File"}}, ())
    assert not agent_applies_group(typed, {"spec": {"fsGroupPolicy": "None"}}, ())
    assert not agent_applies_group(typed, None, (Capability.VOLUME_MOUNT_GROUP,))


async def test_a_driver_that_wants_it_publishes_again_and_nothing_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "_AGAIN_SECONDS", 0.0)
    world.about(attachRequired=False, requiresRepublish=True)
    await world.register()
    for _ in range(3):
        await world.mount("p1")
    assert len(world.driver.calls("NodeStageVolume")) == 1
    assert len(world.driver.calls("NodePublishVolume")) == 3


async def test_each_time_a_volume_is_published_again_its_driver_has_a_fresh_token(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "_AGAIN_SECONDS", 0.0)
    made: list[tuple[str, int]] = []

    async def request(_: TokenManager, pod: Object, audience: str, seconds: int) -> Token:
        made.append((audience, seconds))
        return Token(f"token-{len(made)}", 4000.0, 0.0)

    monkeypatch.setattr(TokenManager, "request", request)
    world.about(
        attachRequired=False, requiresRepublish=True, tokenRequests=[{"audience": "a", "expirationSeconds": 700}]
    )
    await world.register()
    await world.mount("p1")
    await world.mount("p1")
    contexts = [call.volume_context for call in world.driver.calls("NodePublishVolume")]
    told = [json.loads(context["csi.storage.k8s.io/serviceAccount.tokens"])["a"] for context in contexts]
    assert told == [{"token": f"token-{n}", "expirationTimestamp": "1970-01-01T01:06:40Z"} for n in (1, 2)]
    assert made == [("a", 700)] * 2


async def test_a_volume_that_is_not_published_again_stays_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "_AGAIN_SECONDS", 0.0)
    world.about(attachRequired=False, requiresRepublish=True)
    await world.register()
    path = await world.mount("p1")
    world.driver.state.joinpath("faults").write_text(json.dumps({"NodePublishVolume": "INTERNAL"}))
    with pytest.raises(MountFailed, match="as the test wants it"):
        await world.mount("p1")
    assert os.path.isdir(path) and not world.driver.calls("NodeUnpublishVolume")
    assert (world.counted("volume_mount"), world.counted("volume_mount", "fail-unknown")) == (1, 1)
    await world.csi.volumes.release("p1")
    assert world.counted("volume_unmount") == 1


async def test_a_driver_that_can_gives_the_group_itself(world: World) -> None:
    world.driver.able = (Capability.STAGE_UNSTAGE_VOLUME, Capability.VOLUME_MOUNT_GROUP)
    world.about(attachRequired=False, fsGroupPolicy="File")
    await world.register()
    path = await world.csi.volumes.mount(of_volume(volume(), "c", False), world.context("p1", 4321))
    for verb in ("NodeStageVolume", "NodePublishVolume"):
        assert [call.volume_capability.mount.volume_mount_group for call in world.driver.calls(verb)] == ["4321"]
    assert os.stat(path).st_gid != 4321


@pytest.mark.parametrize(
    ("selinux", "mode", "options", "refused"),
    [
        (True, "ReadWriteOncePod", {"level": "s0:c1"}, True),
        (False, "ReadWriteOncePod", {"level": "s0:c1"}, False),
        (True, "ReadWriteOnce", {"level": "s0:c1"}, False),
        (True, "ReadWriteOncePod", None, False),
    ],
)
def test_a_mount_with_a_label_is_refused_where_labels_count(
    selinux: bool, mode: str, options: Object | None, refused: bool
) -> None:
    labelled = {"spec": {"securityContext": {"seLinuxOptions": options}}}
    wanted, about = Wanted("v", DRIVER, "h", access_modes=(mode,)), {"spec": {"seLinuxMount": True}}
    assert bool(unlabelled(wanted, about, labelled, selinux)) is refused
