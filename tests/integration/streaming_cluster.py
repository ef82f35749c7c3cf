"""An etcd, an API server and one node whose agent is a fake: what the streaming tests run against."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import yaml

from apimachinery import pki
from apimachinery.config import kubeconfig
from tests.fakes.node_agent import FakeNodeAgent
from tests.ports import free_port

BIN = Path(sys.executable).parent


@dataclass
class StreamingCluster:
    directory: Path
    url: str
    ca: pki.CertificateAuthority
    agent: FakeNodeAgent
    api: httpx.AsyncClient
    server: asyncio.subprocess.Process

    def memory(self) -> int:
        """Bytes that the API server has in memory."""
        return int(psutil.Process(self.server.pid).memory_info().rss)

    async def run(self, *command: str, input: bytes = b"", user: str = "admin") -> tuple[int, str, str]:
        """Run a program with a kubeconfig of ``user``: exit code, stdout, stderr."""
        environment = {**os.environ, "KUBECONFIG": str(self.directory / f"{user}.conf")}
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

    def kubeconfig(self, user: str, groups: list[str]) -> None:
        pair = self.ca.ensure_client(self.directory / user, user, groups)
        config = kubeconfig(self.url, self.ca.pem, pair.certificate_pem, pair.key_pem)
        (self.directory / f"{user}.conf").write_text(yaml.safe_dump(config))


@contextlib.asynccontextmanager
async def streaming_cluster(directory: Path) -> AsyncIterator[StreamingCluster]:
    etcd_port, peer_port, port, grpc_port, token_port, agent_port = (free_port() for _ in range(6))
    etcd_url, url = f"http://127.0.0.1:{etcd_port}", f"https://127.0.0.1:{port}"
    ca = pki.ensure_ca(directory)
    server = ca.ensure_server(directory / "server", "kube-apiserver", ips=["127.0.0.1"], dns=["localhost"])
    kubelet = ca.ensure_client(directory / "kubelet", "kube-apiserver-kubelet-client", ["system:masters"])
    node = ca.ensure_server(directory / "node", "system:node:n1", dns=["n1", "kubeto-node"], groups=["system:nodes"])
    (directory / "tokens.csv").write_text("secret,root,0,system:masters\n")
    agent = FakeNodeAgent()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(
            process(
                "etcd", "--data-dir", str(directory / "etcd"), "--listen-client-urls", etcd_url,
                "--advertise-client-urls", etcd_url, "--listen-peer-urls", f"http://127.0.0.1:{peer_port}",
            )
        )  # fmt: skip
        program = await stack.enter_async_context(
            process(
                sys.executable, "-m", "master.apiserver", "--etcd-servers", etcd_url, "--bind-address", "127.0.0.1",
                "--secure-port", str(port), "--grpc-port", str(grpc_port), "--grpc-token-port", str(token_port),
                "--tls-cert-file", str(server.certificate_path), "--tls-private-key-file", str(server.key_path),
                "--client-ca-file", str(ca.path), "--token-auth-file", str(directory / "tokens.csv"),
                "--kubelet-client-certificate", str(kubelet.certificate_path),
                "--kubelet-client-key", str(kubelet.key_path), "--kubelet-certificate-authority", str(ca.path),
            )
        )  # fmt: skip
        grpc_server: grpc.aio.Server = await agent.serve(agent_port, node.key_pem, node.certificate_pem, ca.pem)
        stack.push_async_callback(grpc_server.stop, None)
        headers = {"Authorization": "Bearer secret"}
        api = httpx.AsyncClient(base_url=url, verify=tls(ca), headers=headers, timeout=20)
        await stack.enter_async_context(api)
        cluster = StreamingCluster(directory, url, ca, agent, api, program)
        cluster.kubeconfig("admin", ["system:masters"])
        await wait_ready(api)
        await populate(cluster, agent_port)
        yield cluster


@contextlib.asynccontextmanager
async def process(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    log = asyncio.subprocess.DEVNULL if not os.environ.get("KUBETO_TEST_LOGS") else None
    running = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        yield running
    finally:
        running.terminate()
        await running.wait()


def tls(ca: pki.CertificateAuthority) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(ca.path))


async def wait_ready(api: httpx.AsyncClient) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await api.get("/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.05)


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
