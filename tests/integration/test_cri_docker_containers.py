"""What kubeto-cri-docker makes of a container's configuration, seen from inside the container."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.docker_runtime import IMAGE, Cri
from tests.ports import free_port

pytestmark = [pytest.mark.docker, pytest.mark.root]


@pytest.fixture
async def sandbox(cri_docker: Cri) -> AsyncIterator[str]:
    config = cri_docker.pod(
        hostname="box", dns_config=cri.DNSConfig(servers=["10.96.0.10"], searches=["a.b"], options=["ndots:5"])
    )
    config.linux.sysctls["kernel.shm_rmid_forced"] = "1"
    identity = await cri_docker.run_pod(config)
    yield identity
    await cri_docker.remove_pod(identity)


def secured(client: Cri, command: str, **security: object) -> cri.ContainerConfig:
    config = client.container(["/bin/sh", "-c", command])
    config.linux.security_context.MergeFrom(cri.LinuxContainerSecurityContext(**security))  # type: ignore[arg-type]
    return config


async def output(client: Cri, sandbox: str, command: str, **security: object) -> str:
    config = secured(client, command, **security)
    config.metadata.attempt = len(await all_containers(client))
    config.log_path = f"{config.metadata.attempt}.log"
    return await client.output(sandbox, config)


async def all_containers(client: Cri) -> list[cri.Container]:
    return list((await client.runtime.ListContainers(cri.ListContainersRequest())).containers)


async def test_a_container_sees_its_sandbox(cri_docker: Cri, sandbox: str) -> None:
    text = await output(cri_docker, sandbox, "hostname; cat /etc/resolv.conf /proc/sys/kernel/shm_rmid_forced; umask")
    assert text == "box\nsearch a.b\nnameserver 10.96.0.10\noptions ndots:5\n1\n0022\n"


async def test_privileged_containers_can_do_what_this_machine_allows(cri_docker: Cri, sandbox: str) -> None:
    command = (
        "mkdir /t && mount -t tmpfs t /t && echo mounted; ls /dev | wc -l; ip addr add 10.0.0.1/32 dev lo && echo added"
    )
    mounted, devices, added = (await output(cri_docker, sandbox, command, privileged=True)).split()
    assert (mounted, added) == ("mounted", "added") and int(devices) > 30


async def test_resources_are_set_told_and_changed(cri_docker: Cri, sandbox: str) -> None:
    config = cri_docker.container(["/bin/sleep", "1000"])
    config.linux.resources.MergeFrom(
        cri.LinuxContainerResources(
            cpu_period=100000, cpu_quota=50000, cpu_shares=512, memory_limit_in_bytes=64 << 20, oom_score_adj=-997
        )
    )
    container = await cri_docker.run(sandbox, config)
    told = (await cri_docker.status(container)).resources.linux
    assert (told.cpu_quota, told.cpu_shares, told.memory_limit_in_bytes) == (50000, 512, 64 << 20)
    assert told.memory_swap_limit_in_bytes == 64 << 20
    assert told.oom_score_adj == int(await cri_docker.exec(container, "/bin/cat", "/proc/1/oom_score_adj"))
    linux = cri.LinuxContainerResources(memory_limit_in_bytes=128 << 20, cpu_quota=70000)
    await cri_docker.runtime.UpdateContainerResources(
        cri.UpdateContainerResourcesRequest(container_id=container, linux=linux)
    )
    changed = (await cri_docker.status(container)).resources.linux
    assert (changed.cpu_quota, changed.cpu_shares, changed.memory_limit_in_bytes) == (70000, 512, 128 << 20)
    stats = await cri_docker.runtime.ContainerStats(cri.ContainerStatsRequest(container_id=container))
    assert 0 < stats.stats.memory.working_set_bytes.value < 128 << 20
    assert stats.stats.memory.available_bytes.value > 64 << 20


async def test_mounts_are_told_as_given_and_work(cri_docker: Cri, sandbox: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    mounts = [
        cri.Mount(container_path="/in", host_path=str(tmp_path), readonly=True),
        cri.Mount(container_path="/new", host_path=str(tmp_path / "made")),
    ]
    config = cri_docker.container(["/bin/sh", "-c", "cat /in/file; touch /in/x || touch /new/y"], mounts=mounts)
    container = await cri_docker.run(sandbox, config)
    assert (await cri_docker.ended(container)).exit_code == 0
    assert list((await cri_docker.status(container)).mounts) == mounts
    assert (tmp_path / "made" / "y").exists()


async def test_images_are_listed_by_every_name(cri_docker: Cri) -> None:
    for name in (IMAGE, f"docker.io/{IMAGE}"):
        image = (await cri_docker.images.ImageStatus(cri.ImageStatusRequest(image=cri.ImageSpec(image=name)))).image
        assert image.id.startswith("sha256:") and IMAGE in image.repo_tags
    by_id = cri.ImageStatusRequest(image=cri.ImageSpec(image=image.id))
    assert (await cri_docker.images.ImageStatus(by_id)).image == image
    absent = cri.ImageSpec(image="no-such-image:1")
    assert not (await cri_docker.images.ImageStatus(cri.ImageStatusRequest(image=absent))).HasField("image")
    await cri_docker.images.RemoveImage(cri.RemoveImageRequest(image=absent))


async def test_a_registry_that_is_not_there_is_unavailable(cri_docker: Cri) -> None:
    image = f"127.0.0.1:{free_port()}/nothing:1"
    request = cri.PullImageRequest(image=cri.ImageSpec(image=image))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await cri_docker.images.PullImage(request)
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    assert image in str(failed.value.details())
