"""Contents of volumes: what a reader of the folder sees."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from apimachinery.metrics import exposition
from node.agent.metrics import AgentMetrics
from node.agent.node_metrics import volume_families
from node.agent.paths import NodePaths
from node.agent.storage import BoundVolumes
from node.agent.volume_stats import VolumeStats
from node.agent.volumes import atomic_writer, persistent, sub_path
from node.agent.volumes.projection import safe_path
from node.agent.volumes.volume import File, VolumeContext, VolumeError
from node.cri.fake import FakeRuntime
from node.cri.runtime import Runtime, RuntimeFault


def files(**contents: str) -> dict[str, File]:
    return {name.replace("__", "/"): File(text.encode(), 0o640) for name, text in contents.items()}


def read(folder: Path) -> dict[str, str]:
    return {
        n: (folder / n).read_text() for n in os.listdir(folder) if not n.startswith("..") and (folder / n).is_file()
    }


def test_payload_is_swapped_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    assert atomic_writer.write(str(folder), files(a="1", b="2"))
    first = os.readlink(folder / "..data")
    assert read(folder) == {"a": "1", "b": "2"}
    assert (folder / "a").stat().st_mode & 0o777 == 0o640
    assert not atomic_writer.write(str(folder), files(a="1", b="2"))
    assert atomic_writer.write(str(folder), files(a="1", c="3"))
    assert read(folder) == {"a": "1", "c": "3"}
    assert not (folder / first).exists()


def test_nested_paths_and_empty_payload(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    atomic_writer.write(str(folder), files(deep__er__x="1"))
    assert (folder / "deep/er/x").read_text() == "1"
    atomic_writer.write(str(folder), {})
    assert [n for n in os.listdir(folder) if not n.startswith("..")] == []


def of_claim(mode: str, source: dict[str, Any], used: str) -> tuple[dict[str, Any], VolumeContext]:
    """A pod's volume, and the pod that has it under ``used``, with what the claim is bound to."""
    found = {"metadata": {"name": "pv"}, "spec": {"volumeMode": mode, **source}}
    container = {"name": "c", used: [{"name": "v"}]}
    bound = SimpleNamespace(volume=AsyncMock(return_value=found))
    pod, storage = {"spec": {"containers": [container]}}, AgentMetrics().storage
    context = SimpleNamespace(pod=pod, bound=bound, fs_group=None, storage=storage)
    return {"name": "v", "persistentVolumeClaim": {"claimName": "c"}}, cast(VolumeContext, context)


@pytest.mark.parametrize(
    ("mode", "path", "used", "told"),
    [
        ("Block", "/dev/null", "volumeMounts", "volume v has volumeMode Block, but is specified in volumeMounts"),
        ("Filesystem", "/tmp", "volumeDevices", "volume v has volumeMode Filesystem, but is specified in volumeDevice"),
        ("Block", "/dev/null", "volumeDevices", "MapVolume.MapPodDevice failed.* /dev/null is not a block device"),
        ("Block", "/dev/no-such", "volumeDevices", "MapVolume.MapPodDevice failed.*No such file"),
    ],
)
async def test_a_claim_is_used_as_its_mode_says(mode: str, path: str, used: str, told: str) -> None:
    with pytest.raises(VolumeError, match=told):
        await persistent.prepare_claim(*of_claim(mode, {"local": {"path": path}}, used))


async def test_what_can_be_no_device_is_refused_by_name() -> None:
    with pytest.raises(VolumeError, match="no Block volumes of its type, use csi or local"):
        await persistent.prepare_claim(*of_claim("Block", {"hostPath": {"path": "/dev/null"}}, "volumeDevices"))


@pytest.mark.parametrize("path", ["/abs", "../up", "a/../../b", "..hidden", ""])
def test_paths_that_lead_out_are_refused(path: str) -> None:
    with pytest.raises(VolumeError):
        safe_path(path)


@pytest.mark.parametrize("path", ["/etc", "../x", "link", "link/x"])
def test_sub_path_cannot_leave_its_volume(tmp_path: Path, path: str) -> None:
    volume = tmp_path / "v"
    volume.mkdir()
    (tmp_path / "secret").mkdir()
    (volume / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(VolumeError):
        sub_path.bind(str(volume), path, str(tmp_path / "target"))


async def test_how_full_volumes_are(tmp_path: Path) -> None:
    paths = NodePaths(str(tmp_path))
    files = Path(paths.volume("u", "empty-dir", "files"))
    (files / "sub").mkdir(parents=True)
    (files / "sub" / "x").write_bytes(b"x" * 10000)
    volumes = [
        {"name": "files", "emptyDir": {}},
        {"name": "own", "ephemeral": {}},
        {"name": "far", "persistentVolumeClaim": {"claimName": "far"}},
        {"name": "here", "hostPath": {"path": "/"}},
    ]
    pod = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"volumes": volumes}}
    local = {"spec": {"local": {"path": str(tmp_path)}}}
    bound = SimpleNamespace(known=lambda pod, claim: local if claim == "p-own" else None)
    driver = {"name": "far", "usedBytes": 3, "pvcRef": {"name": "far", "namespace": "n"}}
    asked: list[None] = []

    async def drivers() -> dict[str, list[Any]]:
        asked.append(None)
        return {"u": [driver]}

    stats = VolumeStats(lambda: [pod], paths, cast(BoundVolumes, bound), drivers)
    found = (await stats.by_pod())["u"]
    assert await stats.by_pod() == {"u": found} and len(asked) == 1
    assert [(v["name"], v.get("pvcRef", {}).get("name")) for v in found] == [
        ("files", None), ("own", "p-own"), ("far", "far")
    ]  # fmt: skip
    disk = os.statvfs(tmp_path)
    assert 10000 <= found[0]["usedBytes"] < 20000 and found[0]["inodesUsed"] == 3
    assert found[0]["capacityBytes"] == found[1]["capacityBytes"] == disk.f_blocks * disk.f_frsize
    assert found[1]["inodesUsed"] == found[1]["inodes"] - found[1]["inodesFree"]


def test_volume_metrics_tell_of_each_claim_once() -> None:
    claim = {"usedBytes": 3, "capacityBytes": 9, "pvcRef": {"name": "c", "namespace": "n"}}
    text = exposition(volume_families([[claim, {"name": "no-claim"}], [claim]])).decode()
    labels = '{namespace="n",persistentvolumeclaim="c"}'
    assert f"kubelet_volume_stats_used_bytes{labels} 3.0\n" in text
    assert f"kubelet_volume_stats_inodes_free{labels} 0.0\n" in text and text.count("\nkubelet_") == 6


async def test_the_agent_measures_runtime_calls_and_pod_starts() -> None:
    metrics = AgentMetrics()
    runtime = metrics.runtime(FakeRuntime())
    assert all(hasattr(runtime, name) for name in vars(Runtime) if not name.startswith("_"))
    await runtime.list_containers({})
    with pytest.raises(RuntimeFault):
        await runtime.container_status("nobody")
    metrics.status_changed({"phase": "Pending"}, {"phase": "Running"}, time.time() - 3.5)
    value = metrics.registry.get_sample_value
    assert value("kubelet_runtime_operations_total", {"operation_type": "list_containers"}) == 1
    assert value("kubelet_runtime_operations_errors_total", {"operation_type": "container_status"}) == 1
    assert value("kubelet_pod_start_duration_seconds_bucket", {"le": "3.0"}) == 0
    assert value("kubelet_pod_start_duration_seconds_bucket", {"le": "4.0"}) == 1
