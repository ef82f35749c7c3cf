"""kubeto-cri-docker on an engine that takes calls and does not answer."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from node.cri_docker import events
from node.cri_docker.attachments import Attachments
from node.cri_docker.cache import Cache
from node.cri_docker.engine import Engine
from node.cri_docker.records import ContainerRecord
from protos.cri.runtime.v1 import api_pb2 as cri
from tests.docker_runtime import Shim, connected, engine_is_here
from tests.fakes.engine_proxy import engine_proxy


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    if not engine_is_here():
        pytest.skip("needs root, Docker and the test images")
    shim = Shim(tmp_path)
    shim.prepare()
    yield shim
    shim.docker_host = Shim.docker_host
    shim.clean_up()


@pytest.mark.docker
@pytest.mark.root
async def test_a_pod_whose_call_hangs_holds_up_no_other(shim: Shim, tmp_path: Path) -> None:
    held: list[str] = []

    def hold_the_first_create(call: str) -> bool | None:
        if call != "POST /containers/create" or held:
            return True
        held.append(call)
        return None

    async with asyncio.timeout(60), engine_proxy(tmp_path, hold_the_first_create) as address:
        shim.docker_host = address
        shim.start()
        async with connected(shim) as client:
            config = client.pod("hangs")
            request = cri.RunPodSandboxRequest(config=config)
            hanging = asyncio.ensure_future(client.runtime.RunPodSandbox(request, timeout=3))
            while not held:
                await asyncio.sleep(0.01)
            others = await asyncio.gather(*(client.run_pod(client.pod(f"goes-{i}")) for i in range(3)))
            container = await client.run(others[0], client.container(["/bin/sleep", "1000"]))
            assert not hanging.done()
            listed = await client.runtime.ListPodSandbox(cri.ListPodSandboxRequest())
            assert {item.id for item in listed.items} == set(others)
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await hanging
            assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            assert (await client.status(container)).state == cri.CONTAINER_RUNNING
        shim.kill(signal.SIGKILL)
        shim.start()
        async with connected(shim) as client:  # what the lost call has made is found and taken up
            sandbox = await client.run_pod(config)
            for identity in (*others, sandbox):
                await client.remove_pod(identity)


async def test_an_engine_that_only_falls_silent_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "RELIST_SECONDS", 0.05)
    monkeypatch.setattr(events, "RELIST_ANSWER_SECONDS", 0.05)
    lists = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal lists
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"/containers/json" in head and (lists := lists + 1) > 1:
                await asyncio.Event().wait()
            body = b"" if b"/events" in head else b"Content-Length: 2\r\n\r\n[]"
            writer.write(b"HTTP/1.1 200 OK\r\n" + (body or b"Transfer-Encoding: chunked\r\n\r\n"))

    async def nothing(_: ContainerRecord) -> None: ...

    async with await asyncio.start_unix_server(accept, tmp_path / "docker.sock"), asyncio.timeout(10):
        engine = Engine(f"unix://{tmp_path}/docker.sock")
        attachments = Attachments(tmp_path / "state")
        cache = Cache(engine, "node", attachments, image_name=str, on_change=nothing)
        following = events.Events(engine, cache, "node", lambda: None)
        task = asyncio.create_task(following.run())
        await following.attempted.wait()
        assert cache.away == ""
        while not cache.away:
            await asyncio.sleep(0.01)
        assert "did not answer" in cache.away
        task.cancel()
        engine.close()
