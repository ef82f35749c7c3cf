"""Exec, attach and port-forward of kubeto-cri-docker, by SPDY and by WebSocket."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
import pytest
import websockets
from websockets.typing import Subprotocol

from apimachinery.spdy import upgrade
from protos.cri.runtime.v1 import api_pb2 as cri
from tests.docker_runtime import Cri

pytestmark = [pytest.mark.docker, pytest.mark.root]
SERVER = "while true; do printf 'pong' | nc -l -p 8080; done"


@dataclass
class Pod:
    cri: Cri
    sandbox: str
    container: str

    async def exec_sync(self, request: cri.ExecSyncRequest) -> cri.ExecSyncResponse:
        return await self.cri.runtime.ExecSync(request)

    async def exec_url(self, *command: str, stdin: bool = False, tty: bool = False) -> str:
        request = cri.ExecRequest(
            container_id=self.container, cmd=command, stdin=stdin, stdout=True, stderr=not tty, tty=tty
        )
        return (await self.cri.runtime.Exec(request)).url

    async def attach_url(self, container: str) -> str:
        request = cri.AttachRequest(container_id=container, stdin=True, stdout=True, stderr=True)
        return (await self.cri.runtime.Attach(request)).url

    async def forward_url(self, port: int) -> str:
        request = cri.PortForwardRequest(pod_sandbox_id=self.sandbox, port=[port])
        return (await self.cri.runtime.PortForward(request)).url


@pytest.fixture
async def pod(cri_docker: Cri) -> AsyncIterator[Pod]:
    sandbox = await cri_docker.run_pod(cri_docker.pod())
    container = await cri_docker.run(sandbox, cri_docker.container(["/bin/sh", "-c", SERVER]))
    yield Pod(cri_docker, sandbox, container)
    await cri_docker.remove_pod(sandbox)


async def over_spdy(url: str, stdin: bytes | None = None, tty: bool = False) -> tuple[dict[str, bytes], object]:
    """(what came on each stream, the status)."""
    connection, protocol = await upgrade.connect(url, ["v4.channel.k8s.io", "v1.channel.k8s.io"])
    assert protocol == "v4.channel.k8s.io"
    async with asyncio.timeout(15), connection:
        error = await connection.open_stream({"streamtype": "error"})
        names = ["stdout"] if tty else ["stdout", "stderr"]
        streams = {name: await connection.open_stream({"streamtype": name}) for name in names}
        if tty:
            resize = await connection.open_stream({"streamtype": "resize"})
            await resize.write(b'{"Width":91,"Height":37}')
        if stdin is not None:
            writer = await connection.open_stream({"streamtype": "stdin"})
            await writer.write(stdin)
            await writer.close_write()
        texts = await asyncio.gather(*(stream.read_all() for stream in streams.values()))
        return dict(zip(streams, texts, strict=True)), orjson.loads(await error.read_all())


async def over_websocket(url: str, stdin: bytes | None = None) -> tuple[dict[int, bytes], object]:
    v5 = Subprotocol("v5.channel.k8s.io")
    async with asyncio.timeout(15), websockets.connect(url.replace("http", "ws", 1), subprotocols=[v5]) as socket:
        assert socket.subprotocol == v5
        if stdin is not None:
            await socket.send(b"\0" + stdin)
            await socket.send(bytes([255, 0]))
        got: dict[int, bytes] = {1: b"", 2: b"", 3: b""}
        async for message in socket:
            assert isinstance(message, bytes)
            got[message[0]] += message[1:]
        return got, orjson.loads(got[3])


async def test_exec_over_spdy_keeps_streams_apart_and_tells_the_exit_code(pod: Pod) -> None:
    streams, status = await over_spdy(await pod.exec_url("/bin/sh", "-c", "echo out; echo err >&2; exit 3"))
    assert streams == {"stdout": b"out\n", "stderr": b"err\n"}
    assert isinstance(status, dict) and status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_stdin_is_half_closed(pod: Pod) -> None:
    payload = b"x" * 300_000
    streams, status = await over_spdy(await pod.exec_url("/bin/wc", "-c", stdin=True), stdin=payload)
    assert streams["stdout"].strip() == b"300000"
    assert status == {"metadata": {}, "status": "Success"}


async def test_exec_over_websocket(pod: Pod) -> None:
    got, status = await over_websocket(await pod.exec_url("/bin/cat", stdin=True), stdin=b"hello")
    assert got[1] == b"hello"
    assert status == {"metadata": {}, "status": "Success"}


async def test_a_terminal_has_the_size_of_its_client(pod: Pod) -> None:
    command = "for i in 1 2 3 4 5 6 7 8 9; do [ \"$(stty size)\" = '37 91' ] && break; sleep 0.1; done; stty size"
    streams, _ = await over_spdy(await pod.exec_url("/bin/sh", "-c", command, tty=True), tty=True)
    assert streams["stdout"].strip().endswith(b"37 91")


async def test_a_url_is_good_once(pod: Pod) -> None:
    url = await pod.exec_url("/bin/true")
    await over_websocket(url)
    with pytest.raises(websockets.InvalidStatus) as refused:
        await over_websocket(url)
    assert refused.value.response.status_code == 404


async def test_a_command_whose_client_left_is_killed(pod: Pod) -> None:
    url = await pod.exec_url("/bin/sleep", "4321")
    connection, _ = await upgrade.connect(url, ["v4.channel.k8s.io"])
    async with connection:
        for name in ("error", "stdout", "stderr"):
            await connection.open_stream({"streamtype": name})
        await until_listed(pod, "sleep 4321", True)
    await until_listed(pod, "sleep 4321", False)


async def test_a_synchronous_command_ends_with_its_caller(pod: Pod) -> None:
    request = cri.ExecSyncRequest(container_id=pod.container, cmd=["/bin/sleep", "5432"])
    call = asyncio.create_task(pod.exec_sync(request))
    await until_listed(pod, "sleep 5432", True)
    call.cancel()
    await until_listed(pod, "sleep 5432", False)


async def until_listed(pod: Pod, text: str, wanted: bool) -> None:
    async with asyncio.timeout(10):
        while (text in await pod.cri.exec(pod.container, "/bin/ps")) is not wanted:
            await asyncio.sleep(0.05)


async def test_attach_speaks_with_the_main_process(pod: Pod) -> None:
    config = pod.cri.container(["/bin/cat"], "attached", stdin=True, stdin_once=True)
    container = await pod.cri.run(pod.sandbox, config)
    streams, status = await over_spdy(await pod.attach_url(container), stdin=b"to you\n")
    assert streams["stdout"] == b"to you\n"
    assert status == {"metadata": {}, "status": "Success"}
    assert (await pod.cri.ended(container)).exit_code == 0


async def test_port_forward_over_spdy(pod: Pod) -> None:
    connection, _ = await upgrade.connect(await pod.forward_url(8080), ["portforward.k8s.io"])
    async with asyncio.timeout(15), connection:
        error = await connection.open_stream({"streamtype": "error", "port": "8080", "requestid": "0"}, fin=True)
        data = await connection.open_stream({"streamtype": "data", "port": "8080", "requestid": "0"})
        assert await data.read() == b"pong"
        await data.close_write()
        assert await error.read_all() == b""


async def test_port_forward_to_nobody_says_so(pod: Pod) -> None:
    connection, _ = await upgrade.connect(await pod.forward_url(9), ["portforward.k8s.io"])
    async with asyncio.timeout(15), connection:
        error = await connection.open_stream({"streamtype": "error", "port": "9", "requestid": "0"}, fin=True)
        await connection.open_stream({"streamtype": "data", "port": "9", "requestid": "0"})
        assert b"refused" in await error.read_all()


async def test_port_forward_over_websocket(pod: Pod) -> None:
    url = (await pod.forward_url(8080)).replace("http", "ws", 1)
    v4 = Subprotocol("v4.channel.k8s.io")
    async with asyncio.timeout(15), websockets.connect(url, subprotocols=[v4]) as socket:
        port = (8080).to_bytes(2, "little")
        assert [await socket.recv(), await socket.recv()] == [b"\0" + port, b"\1" + port]
        assert await socket.recv() == b"\0pong"
