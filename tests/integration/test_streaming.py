"""Logs, exec, attach and port-forward from the real kubectl, over WebSocket and SPDY, to a node's gRPC agent."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import websockets

from tests.control_plane import ADMIN_TOKEN, BIN
from tests.integration.streaming_cluster import StreamingCluster, streaming_cluster, tls
from tests.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streaming")


@pytest.fixture(scope="module", params=["websocket", "spdy"])
def transport(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "spdy":
            for name, value in SPDY.items():
                patch.setenv(name, value)
        yield request.param


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(directory: Path) -> AsyncIterator[StreamingCluster]:
    async with streaming_cluster(directory) as running:
        yield running


async def test_logs(cluster: StreamingCluster) -> None:
    code, out, err = await cluster.kubectl("logs", "-n", "a", "p", "--tail=5", "--timestamps", "-f")
    assert (code, out) == (0, "one\ntwo\n"), err
    asked = cluster.agent.asked[-1]
    assert (asked.tail_lines, asked.timestamps, asked.follow, asked.container) == (5, True, True, "c")
    code, _, err = await cluster.kubectl("logs", "-n", "a", "p", "--previous")
    assert code == 1 and "previous terminated container not found" in err
    code, _, err = await cluster.kubectl("logs", "-n", "a", "two", "-c", "z")
    assert code == 1 and "container z is not valid for pod two" in err
    answer = await cluster.api.get("/api/v1/namespaces/a/pods/two/log")
    assert answer.status_code == 400
    assert "a container name must be specified for pod two, choose one of: [x y]" in answer.json()["message"]


async def test_log_websocket_has_no_channel_byte(cluster: StreamingCluster) -> None:
    async with connect(cluster, "/api/v1/namespaces/a/pods/p/log", ["binary.k8s.io"]) as socket:
        assert [message async for message in socket] == [b"one\n", b"two\n"]


async def test_exec(cluster: StreamingCluster, transport: str) -> None:
    code, out, err = await cluster.kubectl("exec", "-n", "a", "p", "--", "echo", "hello", "world")
    assert (code, out, err) == (0, "hello world\n", "done\n")
    code, _, err = await cluster.kubectl("exec", "-n", "a", "p", "--", "exit", "7")
    assert code == 7 and "exit code 7" in err


async def test_exec_stdin(cluster: StreamingCluster, transport: str) -> None:
    data = os.urandom(300_000).hex().encode()
    code, out, err = await cluster.kubectl("exec", "-i", "-n", "a", "p", "--", "cat", input=data)
    assert code == 0 and out.encode() == data, err


async def test_exec_refusals(cluster: StreamingCluster, transport: str) -> None:
    code, _, err = await cluster.kubectl("exec", "-n", "a", "p", "-c", "nope", "--", "echo")
    assert code == 1 and "container nope is not valid for pod p" in err
    cluster.server.kubeconfig_of("nobody", "nobody", ["nothing"])
    code, _, err = await cluster.kubectl("exec", "-n", "a", "p", "--", "echo", user="nobody")
    assert code == 1 and "forbidden" in err.lower()


async def test_attach(cluster: StreamingCluster, transport: str) -> None:
    code, out, err = await cluster.kubectl("attach", "-n", "a", "p", "-c", "c")
    assert code == 0 and "attached" in out, err


async def test_the_oldest_protocol_gets_no_status(cluster: StreamingCluster) -> None:
    path = "/api/v1/namespaces/a/pods/p/exec?command=echo&command=x&stdout=1&stderr=1"
    async with connect(cluster, path, ["channel.k8s.io"]) as socket:
        messages = [message async for message in socket]
    assert b"\x01x\n" in messages and not [m for m in messages if m[:1] == b"\x03"]


async def test_v5_closes_stdin_and_resizes(cluster: StreamingCluster) -> None:
    path = "/api/v1/namespaces/a/pods/p/exec?command=cat&stdin=1&stdout=1&tty=1"
    async with connect(cluster, path, ["v5.channel.k8s.io"]) as socket:
        await socket.send(b'\x04{"Width":80,"Height":24}')
        await socket.send(b"\x00hi")
        await socket.send(b"\xff\x00")
        messages = [message async for message in socket]
    assert b"\x01hi" in messages and messages[-1].startswith(b"\x03") and b"Success" in messages[-1]
    assert cluster.agent.sizes[-1] == (80, 24)


@pytest.mark.parametrize("arguments", [("logs", "-f", "two", "-c", "x"), ("exec", "p", "--", "sleep")])
async def test_what_nobody_waits_for_ends(cluster: StreamingCluster, arguments: tuple[str, ...]) -> None:
    agent = cluster.agent
    agent.followed.clear()
    agent.abandoned.clear()
    environment = {**os.environ, "KUBECONFIG": cluster.server.kubeconfig}
    kubectl = (str(BIN / "kubectl"), "-n", "a", *arguments)
    running = await asyncio.create_subprocess_exec(*kubectl, stdout=asyncio.subprocess.DEVNULL, env=environment)
    async with asyncio.timeout(20):
        await agent.followed.wait()
        running.kill()
        await running.wait()
        await agent.abandoned.wait()


@contextlib.asynccontextmanager
async def forwarding(cluster: StreamingCluster, local: int, remote: int) -> AsyncIterator[None]:
    command = (str(BIN / "kubectl"), "port-forward", "-n", "a", "pod/p", f"{local}:{remote}")
    environment = {**os.environ, "KUBECONFIG": cluster.server.kubeconfig}
    running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    try:
        assert running.stdout is not None
        async with asyncio.timeout(20):
            assert b"Forwarding from" in await running.stdout.readline()
        yield
    finally:
        running.terminate()
        await running.communicate()


async def test_port_forward(cluster: StreamingCluster, transport: str) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(shout, "127.0.0.1", 0)
    remote, local = listener.sockets[0].getsockname()[1], free_port()

    async def ask(text: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        writer.write(text)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    async with asyncio.timeout(30), forwarding(cluster, local, remote):
        texts = [bytes([97 + n]) * 100_000 for n in range(5)]
        assert await asyncio.gather(*map(ask, texts)) == [t.upper() for t in texts]
    listener.close()


async def test_port_forward_by_channels(cluster: StreamingCluster) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    path = f"/api/v1/namespaces/a/pods/p/portforward?ports={port}"
    async with connect(cluster, path, ["v4.channel.k8s.io"]) as socket:
        messages = [message async for message in socket]
    assert messages == [b"\x00" + port.to_bytes(2, "little"), b"\x01" + port.to_bytes(2, "little"), b"\x00hello"]
    listener.close()


def connect(cluster: StreamingCluster, path: str, protocols: list[str]) -> Any:
    return websockets.connect(
        cluster.url.replace("https", "wss") + path,
        ssl=tls(cluster.ca),
        subprotocols=protocols,
        additional_headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
    )
