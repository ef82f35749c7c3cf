"""Specs "Streaming", by SPDY as the suite does by itself and by WebSocket as it does with a flag."""

import asyncio
import contextlib
import urllib.parse
from collections.abc import Callable, Coroutine

import orjson
import pytest
import websockets
from websockets.typing import Subprotocol

from apimachinery.spdy import Stream, upgrade
from apimachinery.spdy.errors import StreamReset
from protos.cri.runtime.v1 import api_pb2 as cri
from tests.contract.cri.kit import Kit, Pod, refused
from tests.contract.cri.test_pod import fetch

Streamed = Callable[[str, bytes | None, bool], Coroutine[None, None, tuple[bytes, bytes, object]]]
_SECONDS = 20


async def over_spdy(url: str, stdin: bytes | None, tty: bool) -> tuple[bytes, bytes, object]:
    """(stdout, stderr, status)."""
    connection, _ = await upgrade.connect(url, ["v4.channel.k8s.io"])
    async with asyncio.timeout(_SECONDS), connection:
        error = await connection.open_stream({"streamtype": "error"})
        writer = await connection.open_stream({"streamtype": "stdin"}) if stdin is not None else None
        names = ["stdout"] if tty else ["stdout", "stderr"]
        streams = [await connection.open_stream({"streamtype": name}) for name in names]
        if tty:
            await connection.open_stream({"streamtype": "resize"})
        if writer and stdin:
            await writer.write(stdin)
        if writer and not tty:  # a terminal has no end but that of its command
            await writer.close_write()
        texts = [*await asyncio.gather(*map(read_all, streams)), b""]
        return texts[0], texts[1], orjson.loads(await read_all(error))


async def read_all(stream: Stream) -> bytes:
    """To its end, which is a reset on containerd: Go's clients take it for the same."""
    found = b""
    with contextlib.suppress(StreamReset):
        while part := await stream.read():
            found += part
    return found


async def over_websocket(url: str, stdin: bytes | None, tty: bool) -> tuple[bytes, bytes, object]:
    texts = {1: b"", 2: b"", 3: b""}
    v5 = Subprotocol("v5.channel.k8s.io")
    async with asyncio.timeout(_SECONDS), websockets.connect(url.replace("http", "ws", 1), subprotocols=[v5]) as opened:
        if stdin:
            await opened.send(b"\0" + stdin)
        if stdin is not None and not tty:
            await opened.send(b"\xff\0")
        async for message in opened:
            assert isinstance(message, bytes)
            texts[message[0]] += message[1:]
    return texts[1], texts[2], orjson.loads(texts[3])


@pytest.fixture(params=["spdy", "websocket"])
def stream(request: pytest.FixtureRequest, kit: Kit) -> Streamed:
    if request.param == "websocket":
        kit.needs(kit.target.name != "containerd", "has no WebSocket streams in 1.6")
        return over_websocket
    return over_spdy


@pytest.mark.parametrize("tty", [False, True])
async def test_exec(kit: Kit, stream: Streamed, tty: bool) -> None:
    container = kit.shared().run()
    command = ["echo", "-n", "hello"]
    request = cri.ExecRequest(container_id=container.id, cmd=command, stdout=True, stderr=not tty, tty=tty, stdin=tty)
    stdout, stderr, status = await stream(kit.runtime.Exec(request).url, b"" if tty else None, tty)
    assert (stdout, stderr) == (b"hello", b"")
    assert isinstance(status, dict) and status["status"] == "Success"


async def test_attach(kit: Kit, stream: Streamed) -> None:
    container = kit.shared().run(["/bin/sh"], stdin=True, stdin_once=True)
    request = cri.AttachRequest(container_id=container.id, stdin=True, stdout=True, stderr=True)
    stdout, stderr, status = await stream(kit.runtime.Attach(request).url, b"echo -n hello\n", False)
    assert (stdout, stderr) == (b"hello", b"")
    assert isinstance(status, dict) and status["status"] == "Success"
    container.ended()


@pytest.mark.parametrize("host", [False, True], ids=["own-network", "host-network"])
async def test_port_forward(kit: Kit, host: bool) -> None:
    pod, port = served(kit, host)
    forwarded = cri.PortForwardRequest(pod_sandbox_id=pod.id)
    connection, _ = await upgrade.connect(kit.runtime.PortForward(forwarded).url, ["portforward.k8s.io"])
    async with asyncio.timeout(_SECONDS), connection:
        error = await connection.open_stream({"streamtype": "error", "port": str(port), "requestid": "1"}, fin=True)
        data = await connection.open_stream({"streamtype": "data", "port": str(port), "requestid": "1"})
        await data.write(b"GET / HTTP/1.0\r\n\r\n")
        assert b"here" in await data.read_all()
        assert await error.read_all() == b""


@pytest.mark.parametrize("host", [False, True], ids=["own-network", "host-network"])
async def test_port_forward_over_websocket(kit: Kit, host: bool) -> None:
    kit.needs(kit.target.name != "containerd", "has no WebSocket streams in 1.6")
    pod, port = served(kit, host)
    url = kit.runtime.PortForward(cri.PortForwardRequest(pod_sandbox_id=pod.id, port=[port])).url
    v4, seen = Subprotocol("v4.channel.k8s.io"), b""
    async with asyncio.timeout(_SECONDS), websockets.connect(url.replace("http", "ws", 1), subprotocols=[v4]) as opened:
        await opened.send(b"\0GET / HTTP/1.0\r\n\r\n")
        while b"here" not in seen:
            message = await opened.recv()
            assert isinstance(message, bytes)
            seen += message[1:] if message[0] == 0 else b""


def served(kit: Kit, host: bool) -> tuple[Pod, int]:
    """A pod with a web server that answers, and its port."""
    security = {"namespace_options": cri.NamespaceOption(network=cri.NODE if host else cri.POD)}
    pod = kit.pod(security=security)
    pod.run((), image="web-hostnet:latest", security=security)
    assert fetch(f"http://{'127.0.0.1' if host else pod.status().network.ip}:12003/")
    return pod, 12003


def test_a_stream_of_what_does_not_run_is_refused(kit: Kit) -> None:
    with refused():
        kit.runtime.Exec(cri.ExecRequest(container_id="0" * 64, cmd=["true"], stdout=True))
    url = kit.runtime.PortForward(cri.PortForwardRequest(pod_sandbox_id=kit.pod().id)).url
    assert urllib.parse.urlsplit(url).hostname == "127.0.0.1"
