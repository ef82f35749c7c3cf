"""What kubeto-cri-docker keeps and gives back when it, or what it looks after, is killed."""

import asyncio
import os
import signal
import subprocess

import grpc
import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.docker_runtime import Cri, Shim, connected, log_lines

pytestmark = [pytest.mark.docker, pytest.mark.root]
SANDBOX_NETWORK = "cni"
COUNTER = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; sleep 1000"


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


async def wait_for_lines(path: str, count: int) -> None:
    async with asyncio.timeout(20):
        while not os.path.exists(path) or len(log_lines(path)) < count:
            await asyncio.sleep(0.02)


async def test_a_log_is_whole_and_never_doubled_over_kills(shim: Shim) -> None:
    async with connected(shim) as client:
        sandbox = await client.run_pod(client.pod())
        container = await client.run(sandbox, client.container(["/bin/sh", "-c", COUNTER]))
        path = (await client.status(container)).log_path
        await wait_for_lines(path, 1)
    shim.kill(signal.SIGKILL)
    with open(path, "ab") as file:
        file.write(b"2030-01-01T00:00:00Z stdout F torn by the ki")
    shim.start()
    async with connected(shim) as client:
        await wait_for_lines(path, 3000)
        shim.kill(signal.SIGKILL)
        shim.start()
    async with connected(shim) as client:
        await client.exec(container, "/bin/sh", "-c", "echo last > /proc/1/fd/1")
        await wait_for_lines(path, 3001)
        assert [text for _, _, text in log_lines(path)] == [f"line {i}\n" for i in range(3000)] + ["last\n"]
        await client.remove_pod(sandbox)


async def test_a_rotated_log_goes_on_in_a_new_file(shim: Shim, cri_docker: Cri) -> None:
    sandbox = await cri_docker.run_pod(cri_docker.pod())
    container = await cri_docker.run(sandbox, cri_docker.container(["/bin/sh", "-c", "echo a; sleep 1000"]))
    path = (await cri_docker.status(container)).log_path
    await wait_for_lines(path, 1)
    os.rename(path, path + ".1")
    await cri_docker.runtime.ReopenContainerLog(cri.ReopenContainerLogRequest(container_id=container))
    assert os.path.exists(path)
    shim.kill(signal.SIGKILL)
    shim.start()
    async with connected(shim) as client:
        await client.exec(container, "/bin/sh", "-c", "echo b > /proc/1/fd/1")
        await wait_for_lines(path, 1)
        assert (log_lines(path + ".1"), log_lines(path)) == ([("stdout", "F", "a\n")], [("stdout", "F", "b\n")])
        await client.remove_pod(sandbox)


async def test_a_long_line_comes_in_parts(cri_docker: Cri) -> None:
    sandbox = await cri_docker.run_pod(cri_docker.pod())
    command = "head -c 40000 /dev/zero | tr '\\0' x; echo; printf end"
    status = await cri_docker.ended(await cri_docker.run(sandbox, cri_docker.container(["/bin/sh", "-c", command])))
    lines = log_lines(status.log_path)
    assert [tag for _, tag, _ in lines] == ["P", "P", "F", "P"]
    assert "".join(text for _, _, text in lines) == "x" * 40000 + "\nend"
    await cri_docker.remove_pod(sandbox)


async def test_pods_outlive_the_shim_and_are_not_run_twice(shim: Shim) -> None:
    async with connected(shim) as client:
        config = client.pod()
        sandbox = await client.run_pod(config)
        before = (await client.runtime.PodSandboxStatus(cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox))).status
        container = await client.run(sandbox, client.container(["/bin/sleep", "1000"]))
    shim.kill(signal.SIGKILL)
    shim.start()
    async with connected(shim) as client:
        after = (await client.runtime.PodSandboxStatus(cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox))).status
        assert after == before and after.network.ip
        assert (await client.status(container)).state == cri.CONTAINER_RUNNING
        assert await client.run_pod(config) == sandbox
        assert len(docker("ps", "-q", "--filter", f"label=io.kubeto.node={shim.node}").split()) == 2
        await client.remove_pod(sandbox)
    assert shim.addresses() == set()


async def test_an_address_is_given_back_for_a_sandbox_removed_behind_our_back(shim: Shim) -> None:
    async with connected(shim) as client:
        sandbox = await client.run_pod(client.pod())
        assert len(shim.addresses()) == 1
    shim.kill(signal.SIGKILL)
    docker("rm", "-f", sandbox)
    shim.start()
    async with connected(shim):
        async with asyncio.timeout(10):
            while shim.addresses():
                await asyncio.sleep(0.05)


async def test_the_death_of_a_pause_process_is_told(cri_docker: Cri) -> None:
    sandbox = await cri_docker.run_pod(cri_docker.pod())
    events = cri_docker.runtime.GetContainerEvents(cri.GetEventsRequest())
    await asyncio.sleep(0.2)
    docker("kill", sandbox)
    async with asyncio.timeout(10):
        async for event in events:
            if event.container_event_type == cri.CONTAINER_STOPPED_EVENT:
                break
    assert event.container_id == sandbox
    assert event.pod_sandbox_status.state == cri.SANDBOX_NOTREADY
    await cri_docker.remove_pod(sandbox)


async def test_a_failed_network_leaves_nothing(shim: Shim, cri_docker: Cri) -> None:
    conflist = shim.folder / "net.d" / "10-kd.conflist"
    good = conflist.read_text()
    conflist.write_text(good.replace("10.27.9.0/24", "no-such-subnet"))
    try:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await cri_docker.run_pod(cri_docker.pod())
    finally:
        conflist.write_text(good)
    assert "no-such-subnet" in str(failed.value.details())
    assert docker("ps", "-aq", "--filter", f"label=io.kubeto.node={shim.node}") == ""
    assert shim.addresses() == set()


async def test_a_network_that_can_neither_be_given_nor_taken_back_is_told_twice(shim: Shim, cri_docker: Cri) -> None:
    conflist = shim.folder / "net.d" / "10-kd.conflist"
    good = conflist.read_text()
    conflist.write_text('{"cniVersion": "1.0.0", "name": "kd", "plugins": [{"type": "host-device"}]}')
    try:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await cri_docker.run_pod(cri_docker.pod())
    finally:
        conflist.write_text(good)
    first, _, second = str(failed.value.details()).partition("could not be undone")
    assert "specify" in first and "specify" in second
    assert docker("ps", "-aq", "--filter", f"label=io.kubeto.node={shim.node}") == ""
