"""What kubeto-cri-docker makes of a container's configuration, seen from inside the container."""

import asyncio
import io
import os
import subprocess
import tarfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.docker_runtime import IMAGE, Cri, log_lines

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


async def test_user_and_groups(cri_docker: Cri, sandbox: str) -> None:
    user = {"run_as_user": cri.Int64Value(value=1000), "run_as_group": cri.Int64Value(value=2000)}
    assert await output(cri_docker, sandbox, "id -u; id -G", **user, supplemental_groups=[3000]) == "1000\n2000 3000\n"


async def test_capabilities_and_privileges(cri_docker: Cri, sandbox: str) -> None:
    show = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | cut -f2"
    plain = (await output(cri_docker, sandbox, show)).split()
    assert plain[1:] == ["0", "0"]  # no profile at all means unconfined
    dropped = cri.Capability(drop_capabilities=["ALL"], add_capabilities=["NET_BIND_SERVICE"])
    profile = cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault)
    tight = await output(cri_docker, sandbox, show, capabilities=dropped, no_new_privs=True, seccomp=profile)
    assert tight.split() == ["0000000000000400", "1", "2"]
    more = cri.Capability(add_capabilities=["ALL"])
    assert int((await output(cri_docker, sandbox, show, capabilities=more)).split()[0], 16) > int(plain[0], 16)


async def test_privileged_containers_can_do_what_this_machine_allows(cri_docker: Cri, sandbox: str) -> None:
    command = (
        "mkdir /t && mount -t tmpfs t /t && echo mounted; ls /dev | wc -l; ip addr add 10.0.0.1/32 dev lo && echo added"
    )
    mounted, devices, added = (await output(cri_docker, sandbox, command, privileged=True)).split()
    assert (mounted, added) == ("mounted", "added") and int(devices) > 30


async def test_a_localhost_seccomp_profile_holds(cri_docker: Cri, sandbox: str, tmp_path: Path) -> None:
    rule = '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chmod","fchmodat"],"action":"SCMP_ACT_ERRNO"}]}'
    (tmp_path / "p.json").write_text(rule)
    profile = cri.SecurityProfile(profile_type=cri.SecurityProfile.Localhost, localhost_ref=str(tmp_path / "p.json"))
    text = await output(cri_docker, sandbox, "chmod 777 /tmp 2>/dev/null || chmod 777 /bin || echo no", seccomp=profile)
    assert "no\n" in text


async def test_paths_are_hidden_and_read_only(cri_docker: Cri, sandbox: str) -> None:
    command = (
        "wc -c < /proc/cpuinfo; touch /x 2>/dev/null || echo read-only; "
        "echo 1 2>/dev/null > /proc/sys/vm/swappiness || echo no"
    )
    options = {"masked_paths": ["/proc/cpuinfo"], "readonly_paths": ["/proc/sys"], "readonly_rootfs": True}
    assert await output(cri_docker, sandbox, command, **options) == "0\nread-only\nno\n"


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


async def test_an_image_is_mounted_as_a_volume(cri_docker: Cri, sandbox: str) -> None:
    mount = cri.Mount(container_path="/image", image=cri.ImageSpec(image=IMAGE), image_sub_path="bin", readonly=True)
    config = cri_docker.container(["/bin/sh", "-c", "ls /image | head -1; touch /image/x || echo no"], mounts=[mount])
    status = await cri_docker.ended(await cri_docker.run(sandbox, config))
    text = "".join(content for _, _, content in log_lines(status.log_path))
    assert text.splitlines()[0] and "no\n" in text
    assert status.mounts[0].image.image_ref == status.image_id


async def test_an_oom_kill_is_told(cri_docker: Cri, sandbox: str) -> None:
    config = cri_docker.container(["/bin/sh", "-c", "dd if=/dev/zero of=/dev/null bs=50M"])
    config.linux.resources.memory_limit_in_bytes = 15 << 20
    status = await cri_docker.ended(await cri_docker.run(sandbox, config))
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_a_start_that_fails_is_an_exit(cri_docker: Cri, sandbox: str) -> None:
    config = cri_docker.container(["/no/such/program"])
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await cri_docker.run(sandbox, config)
    assert "/no/such/program" in str(failed.value.details())
    container = (await all_containers(cri_docker))[-1]
    status = await cri_docker.status(container.id)
    assert (status.state, status.reason) == (cri.CONTAINER_EXITED, "StartError")
    assert status.exit_code in (127, 128)


async def test_a_shared_process_namespace_has_the_sandbox_as_its_init(cri_docker: Cri) -> None:
    config = cri_docker.pod()
    config.linux.security_context.namespace_options.pid = cri.POD
    sandbox = await cri_docker.run_pod(config)
    wanted = cri_docker.container(["/bin/sleep", "1000"])
    wanted.linux.security_context.namespace_options.pid = cri.POD
    container = await cri_docker.run(sandbox, wanted)
    assert "docker-init" in await cri_docker.exec(container, "/bin/cat", "/proc/1/cmdline")
    target = cri_docker.container(["/bin/sleep", "1000"], "target")
    target.linux.security_context.namespace_options.pid = cri.TARGET
    target.linux.security_context.namespace_options.target_id = container
    assert "docker-init" in await cri_docker.exec(await cri_docker.run(sandbox, target), "/bin/ps")
    await cri_docker.remove_pod(sandbox)


async def test_a_host_network_pod_is_in_the_hosts_network(cri_docker: Cri) -> None:
    config = cri_docker.pod()
    config.linux.security_context.namespace_options.network = cri.NODE
    sandbox = await cri_docker.run_pod(config)
    wanted = cri_docker.container(["/bin/sleep", "1000"])
    wanted.linux.security_context.namespace_options.network = cri.NODE
    container = await cri_docker.run(sandbox, wanted)
    assert (await cri_docker.exec(container, "readlink", "/proc/self/ns/net")).strip() == os.readlink(
        "/proc/self/ns/net"
    )
    await cri_docker.remove_pod(sandbox)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (cri.ContainerConfig(CDI_devices=[cri.CDIDevice(name="x/y=z")]), "CDI"),
        (
            cri.ContainerConfig(mounts=[cri.Mount(host_path="/", container_path="/h", recursive_read_only=True)]),
            "recursive",
        ),
    ],
)
async def test_what_is_not_supported_is_refused_by_name(
    cri_docker: Cri, sandbox: str, change: cri.ContainerConfig, word: str
) -> None:
    config = cri_docker.container(["/bin/true"])
    config.MergeFrom(change)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await cri_docker.run(sandbox, config)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and word in str(refused.value.details())


async def test_images_are_listed_by_every_name(cri_docker: Cri) -> None:
    for name in (IMAGE, f"docker.io/{IMAGE}"):
        image = (await cri_docker.images.ImageStatus(cri.ImageStatusRequest(image=cri.ImageSpec(image=name)))).image
        assert image.id.startswith("sha256:") and IMAGE in image.repo_tags
    by_id = cri.ImageStatusRequest(image=cri.ImageSpec(image=image.id))
    assert (await cri_docker.images.ImageStatus(by_id)).image == image
    absent = cri.ImageSpec(image="no-such-image:1")
    assert not (await cri_docker.images.ImageStatus(cri.ImageStatusRequest(image=absent))).HasField("image")
    await cri_docker.images.RemoveImage(cri.RemoveImageRequest(image=absent))


async def test_an_image_goes_with_all_its_names_however_often_that_is_asked(cri_docker: Cri) -> None:
    names = [f"kd-{uuid.uuid4().hex[:8]}:{tag}" for tag in "ab"]
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("marker"))
    imported = subprocess.run(
        ["docker", "import", "-", names[0]], input=tar.getvalue(), check=True, capture_output=True
    )
    identity = imported.stdout.decode().strip()
    subprocess.run(["docker", "tag", *names], check=True)
    async with asyncio.timeout(10):
        while len((await image_named(cri_docker, identity)).repo_tags) < 2:
            await asyncio.sleep(0.02)
    request = cri.RemoveImageRequest(image=cri.ImageSpec(image=names[0]))
    await asyncio.gather(*(cri_docker.images.RemoveImage(request) for _ in range(4)))
    for reference in (*names, identity):
        assert (await image_named(cri_docker, reference)).id == ""


async def image_named(client: Cri, reference: str) -> cri.Image:
    request = cri.ImageStatusRequest(image=cri.ImageSpec(image=reference))
    return (await client.images.ImageStatus(request)).image


async def test_a_registry_that_is_not_there_is_unavailable(cri_docker: Cri) -> None:
    request = cri.PullImageRequest(image=cri.ImageSpec(image="127.0.0.1:27999/nothing:1"))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await cri_docker.images.PullImage(request)
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "127.0.0.1:27999/nothing:1" in str(failed.value.details())


async def test_the_image_file_system_is_measured(cri_docker: Cri) -> None:
    answer = await cri_docker.images.ImageFsInfo(cri.ImageFsInfoRequest())
    assert answer.image_filesystems[0].used_bytes.value > 1 << 20
    assert Path(answer.image_filesystems[0].fs_id.mountpoint).is_dir()


@pytest.mark.parametrize(
    ("propagation", "inwards", "outwards"),
    [
        (cri.PROPAGATION_PRIVATE, False, False),
        (cri.PROPAGATION_HOST_TO_CONTAINER, True, False),
        (cri.PROPAGATION_BIDIRECTIONAL, True, True),
    ],
)
async def test_mounts_propagate_as_asked(
    cri_docker: Cri, sandbox: str, tmp_path: Path, propagation: cri.MountPropagation, inwards: bool, outwards: bool
) -> None:
    shared = tmp_path / "shared"
    (shared / "in").mkdir(parents=True)
    (shared / "out").mkdir()
    (tmp_path / "flag").mkdir()
    (tmp_path / "flag" / "file").touch()
    try:
        mount("--bind", str(shared), str(shared))
        mount("--make-rshared", str(shared))
        config = secured(cri_docker, "sleep 1000", privileged=True)
        config.mounts.add(container_path="/shared", host_path=str(shared), propagation=propagation)
        container = await cri_docker.run(sandbox, config)
        assert (await cri_docker.status(container)).mounts[0].propagation == propagation
        mount("--bind", str(tmp_path / "flag"), str(shared / "in"))
        assert bool(await cri_docker.exec(container, "/bin/ls", "/shared/in")) is inwards
        await cri_docker.exec(container, "/bin/mount", "-o", "bind", "/bin", "/shared/out")
        assert bool(os.listdir(shared / "out")) is outwards
    finally:
        subprocess.run(["umount", "-R", str(shared)], capture_output=True, check=False)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
