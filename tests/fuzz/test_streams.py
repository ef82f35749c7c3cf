"""Exec, attach and port-forward with frames that were mutated on the way: sessions end, and nothing of them stays."""

import asyncio
import contextlib
import random
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from apimachinery.spdy.frames import Data, FrameEncoder, GoAway, Headers, Ping, RstStream, SynReply, SynStream
from tests.control_plane import ADMIN_TOKEN
from tests.effort import EFFORT
from tests.integration.streaming_cluster import StreamingCluster, streaming_cluster, tls

pytestmark = pytest.mark.asyncio(loop_scope="module")
EXEC = "/api/v1/namespaces/a/pods/p/exec?command=cat&stdin=1&stdout=1&stderr=1&tty=1&container=c"
FORWARD = "/api/v1/namespaces/a/pods/p/portforward?ports=80"
WEBSOCKETS = [
    (EXEC, "v5.channel.k8s.io"),
    (EXEC, "v4.channel.k8s.io"),
    (EXEC, "base64.channel.k8s.io"),
    (FORWARD, "SPDY/3.1+portforward.k8s.io"),
]
SPDY = [(EXEC, "v4.channel.k8s.io"), (FORWARD, "portforward.k8s.io")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamingCluster]:
    directory: Path = tmp_path_factory.mktemp("streams")
    async with streaming_cluster(directory) as running:
        yield running


async def upgraded(
    cluster: StreamingCluster, path: str, headers: dict[str, str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    port = int(cluster.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls(cluster.ca), server_hostname="localhost")
    lines = [
        f"{'POST' if 'SPDY' in headers['Upgrade'] else 'GET'} {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {ADMIN_TOKEN}",
        "Connection: Upgrade",
    ]
    lines += [f"{k}: {v}" for k, v in headers.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    async with asyncio.timeout(15):
        return reader, writer, await reader.readuntil(b"\r\n\r\n")


async def attacked(cluster: StreamingCluster, path: str, headers: dict[str, str], data: bytes) -> bool:
    """Send the data, then go away; meanwhile everything that comes is read. Whether there was a session."""
    reader, writer, head = await upgraded(cluster, path, headers)
    if b" 400 " in head:
        print(await reader.read(1000))
    begun = b" 101 " in head.split(b"\r\n")[0]
    if begun:
        with contextlib.suppress(OSError, TimeoutError):
            writer.write(data)
            async with asyncio.timeout(0.05):
                while await reader.read(65536):
                    pass
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await writer.wait_closed()
    return begun


def websocket_frame(rng: random.Random) -> bytes:
    payload = rng.choice(
        [
            b"",
            b"\0hello",
            b'\x04{"Width":80,"Height":24}',
            b'\x04{"Width":-1,"Height":1e99}',
            b"\x04[]",
            b"\xff\0",
            b"\x09x",
            b"0aGVsbG8=",
            b"4!!!",
            b"\xff",
            rng.randbytes(20),
            b"x" * 70_000,
        ]
    )
    opcode = rng.choice([0, 1, 2, 2, 2, 3, 8, 9, 10, 15])
    first = rng.choice([0x80, 0x80, 0x80, 0, 0xC0, 0xF0]) | opcode
    size = len(payload) if rng.randrange(8) else rng.choice([0, 125, 126, 65_536, 2**31, 2**63])
    mask = rng.randbytes(4)
    length = (
        bytes([0x80 | size])
        if size < 126
        else bytes([0x80 | 126]) + struct.pack(">H", size)
        if size < 65_536
        else bytes([0x80 | 127]) + struct.pack(">Q", size)
    )
    if rng.randrange(12) == 0:
        return bytes([first]) + bytes([length[0] & 0x7F]) + length[1:] + payload
    return bytes([first]) + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def spdy_frames(rng: random.Random) -> bytes:
    encoder = FrameEncoder()
    kinds = ["error", "stdin", "stdout", "resize", "data", "x", ""]
    frames = [
        SynStream(
            rng.choice([1, 3, 5, 0, 2**31 - 1]),
            {"streamtype": rng.choice(kinds), "port": rng.choice(["80", "0", "x", "99999"]), "requestid": "0"},
            rng.random() < 0.3,
        )
        for _ in range(3)
    ]
    others = [
        SynReply(1, {}, False),
        Headers(1, {"a": "b"}, False),
        Data(1, b"x" * rng.choice([0, 9, 70_000]), rng.random() < 0.3),
        Data(9, b"x", False),
        RstStream(3, 5),
        Ping(7),
        GoAway(1, 0),
    ]
    data = bytearray(b"".join(encoder.encode(f) for f in [*frames, *rng.sample(others, 3)]))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = rng.choice(
                    [
                        b"\xff\xff\xff\xff",
                        b"\x80\x03\x00\x09\0\0\0\x08" + b"\x7f\xff\xff\xff" * 2,
                        b"\x80\x03\0\x04\0\xff\xff\xff",
                        rng.randbytes(9),
                    ]
                )
        if not data:
            break
    return bytes(data)


async def tasks(cluster: StreamingCluster) -> int:
    found = re.search(r"^kubeto_tasks (\d+)", (await cluster.api.get("/metrics")).text, re.MULTILINE)
    assert found
    return int(found[1])


async def settled(cluster: StreamingCluster, before: int) -> None:
    async with asyncio.timeout(20):
        while await tasks(cluster) > before + 4:
            await asyncio.sleep(0.1)
    assert (await cluster.api.get("/api/v1/namespaces/a/pods/p")).status_code == 200


async def test_websocket_frames(cluster: StreamingCluster) -> None:
    rng, before = random.Random(EFFORT), await tasks(cluster)
    for number in range(60 * EFFORT):
        path, protocol = WEBSOCKETS[number % len(WEBSOCKETS)]
        headers = {
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol": protocol,
        }
        data = b"".join(websocket_frame(rng) for _ in range(rng.randrange(1, 5)))
        assert await attacked(cluster, path, headers, data), (path, protocol)
    await settled(cluster, before)


async def test_spdy_frames(cluster: StreamingCluster) -> None:
    rng, before = random.Random(EFFORT), await tasks(cluster)
    for number in range(60 * EFFORT):
        path, protocol = SPDY[number % len(SPDY)]
        assert await attacked(
            cluster, path, {"Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": protocol}, spdy_frames(rng)
        )
    await settled(cluster, before)
    code, out, _ = await cluster.kubectl("exec", "-n", "a", "p", "--", "echo", "hello")
    assert code == 0 and "hello" in out
