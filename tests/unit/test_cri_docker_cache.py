"""What the cache makes of a death whose cause the engine tells late."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from node.cri_docker import cache as cache_module
from node.cri_docker import naming
from node.cri_docker.attachments import Attachments
from node.cri_docker.cache import Cache
from node.cri_docker.engine import Engine
from node.cri_docker.records import KILLED, ContainerRecord
from protos.cri.runtime.v1 import api_pb2 as cri

ID = "c0"
STAMP = "2026-01-01T00:00:00Z"
RUNNING = {"Status": "running", "Running": True, "Pid": 0, "OOMKilled": False, "ExitCode": 0, "Error": ""}
DEAD = RUNNING | {"Status": "exited", "Running": False, "ExitCode": KILLED}
TIMES = {"StartedAt": STAMP, "FinishedAt": STAMP}


class OneContainer:
    """An engine that has one container, in the state that the test says."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = RUNNING

    async def get(self, path: str) -> dict[str, Any]:
        assert path == f"/containers/{ID}/json"
        config = cri.ContainerConfig(metadata=cri.ContainerMetadata(name="c"))
        labels = naming.container_labels("node", "s0", config, cri.PodSandboxConfig())
        return {
            "Id": ID, "Name": "/c", "Created": STAMP, "Image": "sha256:1", "LogPath": "", "ResolvConfPath": "",
            "HostsPath": "", "HostConfig": {}, "State": self.state | TIMES, "Config": {"Labels": labels},
        }  # fmt: skip


async def running(folder: Path, killed_for_memory: str = "") -> tuple[Cache, OneContainer]:
    async def nothing(_: ContainerRecord) -> None: ...

    engine, attachments = OneContainer(), Attachments(folder)
    told = killed_for_memory.__eq__
    cache = Cache(cast(Engine, engine), "node", attachments, image_name=str, on_change=nothing, killed_for_memory=told)
    await cache.refresh(ID)
    engine.state = DEAD
    return cache, engine


async def reason(cache: Cache) -> str:
    async with asyncio.timeout(10):
        record = await cache.refresh(ID)
    assert isinstance(record, ContainerRecord)
    return record.reason


async def test_a_kill_for_memory_that_is_told_after_the_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_OOM_SECONDS", 60)
    cache, _ = await running(tmp_path)
    asyncio.get_running_loop().call_later(0.1, cache.note_oom, ID)
    assert await reason(cache) == "OOMKilled"
    assert await reason(cache) == "OOMKilled", "it stays"


async def test_a_kill_for_memory_that_only_the_kernel_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_OOM_SECONDS", 60)
    cache, _ = await running(tmp_path, killed_for_memory=ID)
    assert await reason(cache) == "OOMKilled"


async def test_a_kill_that_nothing_explains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_OOM_SECONDS", 0.05)
    cache, _ = await running(tmp_path)
    assert await reason(cache) == "Error"


async def test_a_kill_of_our_own_is_not_wondered_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_OOM_SECONDS", 60)
    cache, _ = await running(tmp_path)
    cache.note_end(ID)
    assert await reason(cache) == "Error"
