"""Contents of volumes: what a reader of the folder sees."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from node.agent.volumes import atomic_writer, persistent, sub_path
from node.agent.volumes.projection import safe_path
from node.agent.volumes.volume import File, VolumeContext, VolumeError


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
    context = SimpleNamespace(pod={"spec": {"containers": [container]}}, bound=bound, fs_group=None)
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
