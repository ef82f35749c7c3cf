"""An etcd, an API server and one node whose agent is a fake: what the streaming tests run against."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil

from apimachinery import pki
from tests.control_plane import ADMIN_TOKEN, BIN, ApiServerProgram, Etcd
from tests.fakes.node_agent import FakeNodeAgent
from tests.ports import free_port


@dataclass
class StreamingCluster:
    server: ApiServerProgram
    agent: FakeNodeAgent
    api: httpx.AsyncClient

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def ca(self) -> pki.CertificateAuthority:
        return self.server.ca

    def memory(self) -> int:
        """Bytes that the API server has in memory."""
        assert self.server.program.process
        return int(psutil.Process(self.server.program.process.pid).memory_info().rss)

    async def run(self, *command: str, input: bytes = b"", user: str = "admin") -> tuple[int, str, str]:
        """Run a program with a kubeconfig of ``user``: exit code, stdout, stderr."""
        environment = {**os.environ, "KUBECONFIG": str(self.server.directory / f"{user}.conf")}
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate(input)
        return process.returncode or 0, out.decode(), err.decode()

    async def kubectl(self, *arguments: str, **options: Any) -> tuple[int, str, str]:
        return await self.run(str(BIN / "kubectl"), *arguments, **options)

    async def post(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        answer = await self.api.post(path, json=obj)
        assert answer.status_code < 300, answer.text
        return dict(answer.json())


@contextlib.asynccontextmanager
async def streaming_cluster(directory: Path) -> AsyncIterator[StreamingCluster]:
    ca, port = pki.ensure_ca(directory), free_port()
    kubelet = ca.ensure_client(directory / "kubelet", "kube-apiserver-kubelet-client", ["system:masters"])
    node = ca.ensure_server(directory / "node", "system:node:n1", dns=["n1", "kubeto-node"], groups=["system:nodes"])
    flags = ("--kubelet-client-certificate", str(kubelet.certificate_path))
    flags += ("--kubelet-client-key", str(kubelet.key_path), "--kubelet-certificate-authority", str(ca.path))
    agent = FakeNodeAgent()
    async with contextlib.AsyncExitStack() as stack:
        etcd = stack.enter_context(Etcd(directory))
        server = stack.enter_context(ApiServerProgram(directory, etcd.url, flags))
        grpc_server: grpc.aio.Server = await agent.serve(port, node.key_pem, node.certificate_pem, ca.pem)
        stack.push_async_callback(grpc_server.stop, None)
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        api = httpx.AsyncClient(base_url=server.url, verify=tls(ca), headers=headers, timeout=20)
        await stack.enter_async_context(api)
        cluster = StreamingCluster(server, agent, api)
        await populate(cluster, port)
        yield cluster


def tls(ca: pki.CertificateAuthority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca.path))


async def populate(cluster: StreamingCluster, agent_port: int) -> None:
    """Namespace a with pod p of one container on node n1, and pod two of two containers."""
    await cluster.post("/api/v1/namespaces", {"metadata": {"name": "a"}})
    await cluster.post("/api/v1/namespaces/a/serviceaccounts", {"metadata": {"name": "default"}})
    await cluster.post("/api/v1/nodes", {"metadata": {"name": "n1"}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": agent_port}},
    }
    answer = await cluster.api.patch(
        "/api/v1/nodes/n1/status", json={"status": status}, headers={"Content-Type": "application/merge-patch+json"}
    )
    assert answer.status_code == 200, answer.text
    for name, containers in (("p", ["c"]), ("two", ["x", "y"])):
        spec = {"nodeName": "n1", "containers": [{"name": c, "image": "i"} for c in containers]}
        await cluster.post("/api/v1/namespaces/a/pods", {"metadata": {"name": name}, "spec": spec})
        ready = [{"type": t, "status": "True"} for t in ("Ready", "ContainersReady")]
        address = {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
        phase = {"status": {"phase": "Running", "conditions": ready, **address}}
        answer = await cluster.api.patch(
            f"/api/v1/namespaces/a/pods/{name}/status",
            json=phase,
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert answer.status_code == 200, answer.text
