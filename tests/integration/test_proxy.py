"""The proxy subresources, metrics and explanations, through a real API server to backends on loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import websockets

from tests.control_plane import ADMIN_TOKEN
from tests.integration.streaming_cluster import StreamingCluster, streaming_cluster, tls

pytestmark = pytest.mark.asyncio(loop_scope="module")
BASE = "/api/v1/namespaces/a"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamingCluster]:
    directory: Path = tmp_path_factory.mktemp("proxy")
    async with streaming_cluster(directory) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend() -> AsyncIterator[int]:
    """Answers with what it was asked; /page with HTML, /away with a redirect to itself."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            text = head.decode("latin-1")
            method, target, _ = text.split(" ", 2)
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in text.split("\r\n")[1:])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            extra, kind, status = "", "text/plain", "200 OK"
            if target.startswith("/page"):
                kind, answer = "text/html", b'<a href="/x">x</a> <img src=\'/y.png\'> <a href="http://other/z">z</a>'
            elif target.startswith("/away"):
                status, extra, answer = "302 Found", "Location: /there?a=b\r\n", b""
            else:
                credentials = headers.get("authorization", "none")
                answer = f"{method} {target} {credentials} {body.decode()}".encode()
            length = f"Content-Length: {len(answer)}\r\n"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{extra}{length}\r\n".encode())
            writer.write(b"" if method == "HEAD" else answer)
            await writer.drain()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    listener = await asyncio.start_server(guarded, "0.0.0.0", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_verb_arrives_without_credentials(cluster: StreamingCluster, backend: int, method: str) -> None:
    answer = await cluster.api.request(method, f"{BASE}/pods/p:{backend}/proxy/some/pa%2Fth?q=1", content=b"body")
    assert (answer.status_code, answer.text) == (200, f"{method} /some/pa%2Fth?q=1 none body")


async def test_a_path_without_slash_is_redirected(cluster: StreamingCluster, backend: int) -> None:
    url = f"{BASE}/pods/p:{backend}/proxy"
    answer = await cluster.api.get(url + "?a=b")
    assert (answer.status_code, answer.headers["location"]) == (301, f"{url}/?a=b")
    assert (await cluster.api.get(url + "/")).text.startswith("GET / none")
    assert (await cluster.api.post(url)).status_code == 200


async def test_links_and_redirects_stay_behind_the_proxy(cluster: StreamingCluster, backend: int) -> None:
    url = f"{BASE}/pods/p:{backend}/proxy"
    page = await cluster.api.get(url + "/page")
    assert page.text == f'<a href="{url}/x">x</a> <img src=\'{url}/y.png\'> <a href="http://other/z">z</a>'
    assert int(page.headers["content-length"]) == len(page.content)
    assert (await cluster.api.get(url + "/away")).headers["location"] == f"{url}/there?a=b"


async def test_services_by_port_name(cluster: StreamingCluster, backend: int) -> None:
    ports = [{"name": "web", "port": 80}, {"name": "other", "port": 81}]
    await cluster.post(f"{BASE}/services", {"metadata": {"name": "s"}, "spec": {"ports": ports}})
    answer = await cluster.api.get(f"{BASE}/services/s:web/proxy/")
    assert answer.status_code == 503 and "no endpoints available" in answer.json()["message"]
    piece = {
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [own_address()], "conditions": {"ready": True}}],
        "ports": [{"name": "web", "port": backend}],
    }
    await cluster.post("/apis/discovery.k8s.io/v1/namespaces/a/endpointslices", piece)
    for name in ("s:web", "http:s:web", "s:80"):
        assert (await cluster.api.get(f"{BASE}/services/{name}/proxy/x")).text == "GET /x none "
    answers = await asyncio.gather(*(cluster.api.get(f"{BASE}/services/s:web/proxy/{n}") for n in range(32)))
    assert [a.text for a in answers] == [f"GET /{n} none " for n in range(32)]
    refused = await cluster.api.get(f"{BASE}/services/s/proxy/")
    assert refused.status_code == 503 and "no service port" in refused.json()["message"]


async def test_sixteen_at_once_in_twenty_rounds(cluster: StreamingCluster, backend: int) -> None:
    for _ in range(20):
        urls = [f"{BASE}/{'services/s:web' if n % 2 else f'pods/http:p:{backend}'}/proxy/{n}" for n in range(16)]
        answers = await asyncio.gather(*(cluster.api.get(url) for url in urls))
        assert [a.text for a in answers] == [f"GET /{n} none " for n in range(16)]


async def test_large_bodies_stream_both_ways_in_bounded_memory(cluster: StreamingCluster) -> None:
    size = 48 * 1024 * 1024

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            received = len(await reader.readexactly(1))
            while received < size:
                received += len(await reader.read(65536))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%8d" % received)
        else:
            kind = b"text/html" if b"/page" in head else b"application/octet-stream"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nConnection: close\r\n\r\n" % kind)
            for _ in range(size // 65536):
                writer.write(bytes(65536))
                await writer.drain()
        writer.close()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield bytes(65536)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"{BASE}/pods/p:{server.sockets[0].getsockname()[1]}/proxy"
        before = cluster.memory()
        headers = {"Content-Length": str(size)}
        assert (await cluster.api.post(f"{url}/up", content=body(), headers=headers)).text == str(size)
        most = cluster.memory()
        for path in ("file", "page"):
            received = 0
            async with cluster.api.stream("GET", f"{url}/{path}") as answer:
                async for chunk in answer.aiter_raw():
                    received += len(chunk)
                    most = max(most, cluster.memory())
            assert received == size
        assert most - before < size / 2


async def test_nobody_listens(cluster: StreamingCluster) -> None:
    answer = await cluster.api.get(f"{BASE}/pods/p:1/proxy/")
    assert answer.status_code == 503 and "error trying to reach service" in answer.json()["message"]
    assert (await cluster.api.get(f"{BASE}/pods/gone/proxy/")).status_code == 404


async def test_websockets_pass(cluster: StreamingCluster) -> None:
    async def echo(socket: websockets.ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with websockets.serve(echo, "127.0.0.1", 0, subprotocols=[websockets.Subprotocol("chat")]) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        url = f"{cluster.url.replace('https', 'wss')}{BASE}/pods/p:{port}/proxy/ws"
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with websockets.connect(
            url, ssl=tls(cluster.ca), additional_headers=headers, subprotocols=[websockets.Subprotocol("chat")]
        ) as socket:
            for message in ("text", b"bytes"):
                await socket.send(message)
                assert await socket.recv() == message
            assert socket.subprotocol == "chat"


async def test_top_and_node_stats(cluster: StreamingCluster) -> None:
    code, out, err = await cluster.kubectl("top", "node")
    assert code == 0 and "250m" in out and "64Mi" in out, err
    code, out, err = await cluster.kubectl("top", "pod", "-n", "a", "--containers")
    assert code == 0 and out.splitlines()[1].split() == ["p", "c", "250m", "64Mi"], err
    summary = (await cluster.api.get("/api/v1/nodes/n1/proxy/stats/summary")).json()
    assert summary["node"]["nodeName"] == "n1"
    refused = await cluster.api.get("/api/v1/nodes/n1/proxy/configz")
    assert refused.status_code == 501 and "/stats/summary" in refused.json()["message"]
    missing = await cluster.api.get("/apis/metrics.k8s.io/v1beta1/nodes/nope")
    assert missing.status_code == 404


async def test_explain_without_a_scheduler(cluster: StreamingCluster) -> None:
    answer: httpx.Response = await cluster.api.get("/kubeto/v1/namespaces/a/pods/p/explain")
    assert answer.status_code == 503 and "no scheduler leads" in answer.json()["message"]


async def test_a_pod_is_reached_straight_where_there_is_a_route(cluster: StreamingCluster) -> None:
    address = own_address()
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        peer = str(writer.get_extra_info("peername")[0]).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(peer), peer))
        await writer.drain()

    listener = await asyncio.start_server(answer, address, 0)
    port = listener.sockets[0].getsockname()[1]
    await running_pod(cluster, "near", address)
    assert (await cluster.api.get(f"{BASE}/pods/near:{port}/proxy/")).text == address
    listener.close()


async def test_no_loopback_without_a_node(cluster: StreamingCluster, backend: int) -> None:
    """A pod that shares its node's network is reached straight, and its status may say anything."""
    await running_pod(cluster, "liar", "127.0.0.8", hostNetwork=True)
    answer = await cluster.api.get(f"{BASE}/pods/liar:{backend}/proxy/")
    assert answer.status_code == 503 and "address not allowed" in answer.json()["message"]


def own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


async def running_pod(cluster: StreamingCluster, name: str, ip: str, **spec: bool) -> None:
    body = {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}], **spec}
    await cluster.post(f"{BASE}/pods", {"metadata": {"name": name}, "spec": body})
    status = {"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}}
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = await cluster.api.patch(f"{BASE}/pods/{name}/status", json=status, headers=headers)
    assert answer.status_code == 200, answer.text


async def test_a_pod_that_only_its_node_can_reach(cluster: StreamingCluster, backend: int) -> None:
    """Nobody listens on the pod's address here; the node's agent finds the backend on the pod's loopback."""
    await running_pod(cluster, "far", "127.0.0.9")
    answers = await asyncio.gather(
        *(cluster.api.post(f"{BASE}/pods/far:{backend}/proxy/{n}", content="b" * 99_999) for n in range(8))
    )
    assert [a.text for a in answers] == [f"POST /{n} none {'b' * 99_999}" for n in range(8)]
    refused = await cluster.api.get(f"{BASE}/pods/far:1/proxy/")
    assert refused.status_code == 503 and "error trying to reach service" in refused.json()["message"]
