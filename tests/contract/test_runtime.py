"""What the agent relies on of every container runtime."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.cri.logs import parse_record
from node.cri.runtime import Runtime, RuntimeDeadline, RuntimeFault, RuntimeUnimplemented
from protos.cri.runtime.v1 import api_pb2 as pb

IMAGE = "kubeto/busybox:1"


@dataclass
class Box:
    runtime: Runtime
    config: pb.PodSandboxConfig
    id: str

    async def run(self, name: str, command: Sequence[str]) -> str:
        config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name),
            image=pb.ImageSpec(image=IMAGE),
            command=list(command),
            labels={"io.kubernetes.pod.uid": self.config.metadata.uid, "io.kubernetes.container.name": name},
            annotations={"a": "b"},
            log_path=f"{name}/0.log",
        )
        Path(self.config.log_directory, name).mkdir(exist_ok=True)
        container = await self.runtime.create_container(self.id, config, self.config)
        await self.runtime.start_container(container)
        return container

    async def ended(self, container: str) -> pb.ContainerStatus:
        async with asyncio.timeout(15):
            while True:
                status = await self.runtime.container_status(container)
                if status.state == pb.CONTAINER_EXITED:
                    return status
                await asyncio.sleep(0.02)


@pytest.fixture
async def box(runtime: Runtime, log_directory: str) -> AsyncIterator[Box]:
    uid = str(uuid.uuid4())
    config = pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name="contract", namespace="default", uid=uid),
        hostname="contract",
        log_directory=log_directory,
        labels={"io.kubernetes.pod.uid": uid},
        annotations={"note": "kept exactly"},
        linux=pb.LinuxPodSandboxConfig(),
    )
    sandbox = await runtime.run_pod_sandbox(config)
    yield Box(runtime, config, sandbox)
    await runtime.stop_pod_sandbox(sandbox)
    await runtime.remove_pod_sandbox(sandbox)


async def test_sandbox_is_ready_with_an_address_and_what_it_was_given(box: Box) -> None:
    status = await box.runtime.pod_sandbox_status(box.id)
    assert status.state == pb.SANDBOX_READY
    assert status.network.ip
    assert dict(status.labels) == dict(box.config.labels)
    assert dict(status.annotations) == dict(box.config.annotations)
    assert [s.id for s in await box.runtime.list_pod_sandboxes(dict(box.config.labels))] == [box.id]


async def test_container_ends_with_its_exit_code(box: Box) -> None:
    container = await box.run("ends", ["sh", "-c", "exit 7"])
    status = await box.ended(container)
    assert status.exit_code == 7
    # A runtime may note the start of what is over at once a little after its end.
    assert status.finished_at > status.created_at > 0
    assert status.started_at > status.created_at
    assert status.image_ref


async def test_log_is_in_the_cri_format(box: Box) -> None:
    container = await box.run("talks", ["sh", "-c", "echo one; echo two"])
    await box.ended(container)
    path = Path((await box.runtime.container_status(container)).log_path)
    async with asyncio.timeout(5):
        while path.read_bytes().count(b"\n") < 2:
            await asyncio.sleep(0.02)
    records = [parse_record(line) for line in path.read_bytes().splitlines(keepends=True)]
    assert [r and r.content for r in records] == [b"one\n", b"two\n"]


async def test_stop_and_remove_may_be_repeated(box: Box) -> None:
    container = await box.run("stops", ["sleep", "1000"])
    for _ in range(2):
        await box.runtime.stop_container(container, 0)
    assert (await box.ended(container)).exit_code in (137, 143)
    for _ in range(2):
        await box.runtime.remove_container(container)
    assert not [c for c in await box.runtime.list_containers(dict(box.config.labels)) if c.id == container]


async def test_exec_sync_gives_output_and_code_and_keeps_its_deadline(box: Box) -> None:
    container = await box.run("execs", ["sleep", "1000"])
    result = await box.runtime.exec_sync(container, ["sh", "-c", "echo hi; exit 3"], 5)
    assert (result.exit_code, result.stdout) == (3, b"hi\n")
    with pytest.raises(RuntimeDeadline):
        await box.runtime.exec_sync(container, ["sleep", "30"], 1)


async def test_stopping_the_sandbox_stops_its_containers(box: Box) -> None:
    container = await box.run("inside", ["sleep", "1000"])
    await box.runtime.stop_pod_sandbox(box.id)
    assert (await box.ended(container)).exit_code != 0
    assert (await box.runtime.pod_sandbox_status(box.id)).state == pb.SANDBOX_NOTREADY


async def test_events_tell_of_a_start_and_an_end(box: Box) -> None:
    seen: list[tuple[str, int]] = []

    async def listen() -> None:
        async for event in box.runtime.events():
            seen.append((event.container_id, event.container_event_type))

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.1)
    if listener.done() and isinstance(listener.exception(), RuntimeUnimplemented):
        pytest.skip("this runtime has no events")
    container = await box.run("seen", ["true"])
    async with asyncio.timeout(10):
        while (container, pb.CONTAINER_STOPPED_EVENT) not in seen:
            await asyncio.sleep(0.02)
    assert (container, pb.CONTAINER_STARTED_EVENT) in seen
    listener.cancel()


async def test_image_is_known_and_a_missing_one_is_not(runtime: Runtime) -> None:
    image = await runtime.image_status(IMAGE)
    assert image is not None
    assert image.id


async def test_what_is_not_there_is_a_fault(runtime: Runtime) -> None:
    with pytest.raises(RuntimeFault):
        await runtime.container_status("0" * 64)
    await runtime.stop_container("0" * 64, 0)
    await runtime.remove_pod_sandbox("0" * 64)
