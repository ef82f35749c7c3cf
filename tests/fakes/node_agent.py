"""A ``NodeAgent`` that runs nothing: exec echoes, logs are made up, ports are connected on loopback."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import orjson

from apimachinery.rpc import SERVER_OPTIONS
from protos.kubeto.v1 import node_pb2 as pb
from protos.kubeto.v1.node_pb2_grpc import NodeAgentServicer, add_NodeAgentServicer_to_server


class FakeNodeAgent(NodeAgentServicer):
    """``exec`` of ``["echo", ...]`` writes its words, ``["cat"]`` its stdin, ``["exit", "N"]`` ends with N,
    ``["sleep"]`` never ends."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []
        self.asked: list[pb.LogsRequest] = []
        # Set when a log of pod "two" begins to be followed, and when nobody follows it any more.
        self.followed, self.abandoned = asyncio.Event(), asyncio.Event()

    async def serve(self, port: int, key: bytes, certificate: bytes, ca: bytes) -> grpc.aio.Server:
        server = grpc.aio.server(options=SERVER_OPTIONS)
        add_NodeAgentServicer_to_server(self, server)
        credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
        server.add_secure_port(f"127.0.0.1:{port}", credentials)
        await server.start()
        return server

    async def Logs(self, request: pb.LogsRequest, context: Any) -> AsyncIterator[pb.LogsReply]:  # noqa: N802
        self.asked.append(request)
        if request.previous:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "previous terminated container not found")
        for line in (b"one\n", b"two\n"):
            yield pb.LogsReply(data=line)
        if request.pod == "two":
            await self._endless()

    async def _endless(self) -> None:
        self.followed.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.abandoned.set()

    async def Exec(self, requests: AsyncIterator[pb.TerminalInput], context: Any) -> Any:  # noqa: N802
        opening = (await anext(requests)).open
        yield pb.TerminalOutput(opened=True)
        command, code = list(opening.command), 0
        if command[0] == "echo":
            yield pb.TerminalOutput(stdout=" ".join(command[1:]).encode() + b"\n")
            yield pb.TerminalOutput(stderr=b"done\n")
        elif command[0] == "cat":
            async for message in requests:
                if message.WhichOneof("input") == "stdin":
                    yield pb.TerminalOutput(stdout=message.stdin)
                elif message.WhichOneof("input") == "resize":
                    self.sizes.append((message.resize.width, message.resize.height))
                elif message.WhichOneof("input") == "close_stdin":
                    break
        elif command[0] == "sleep":
            await self._endless()
        elif command[0] == "exit":
            code = int(command[1])
        yield pb.TerminalOutput(status=orjson.dumps(exit_status(code)))

    async def Attach(self, requests: AsyncIterator[pb.TerminalInput], context: Any) -> Any:  # noqa: N802
        await anext(requests)
        yield pb.TerminalOutput(opened=True)
        yield pb.TerminalOutput(stdout=b"attached\n")
        yield pb.TerminalOutput(status=orjson.dumps(exit_status(0)))

    async def PortForward(self, requests: AsyncIterator[pb.PortForwardData], context: Any) -> Any:  # noqa: N802
        port = (await anext(requests)).open.port
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            yield pb.PortForwardData(error=f"failed to connect to localhost:{port}: {error}")
            return
        yield pb.PortForwardData(opened=True)
        feeding = asyncio.create_task(_feed(requests, writer))
        while data := await reader.read(65536):
            yield pb.PortForwardData(payload=data)
        yield pb.PortForwardData(close=True)
        feeding.cancel()
        writer.close()

    async def Stats(self, request: pb.StatsRequest, context: Any) -> pb.StatsReply:  # noqa: N802
        return pb.StatsReply(json=orjson.dumps(summary(request.node)))


async def _feed(requests: AsyncIterator[pb.PortForwardData], writer: asyncio.StreamWriter) -> None:
    async for message in requests:
        if message.WhichOneof("data") == "payload":
            writer.write(message.payload)
            await writer.drain()
        elif message.WhichOneof("data") == "close":
            writer.write_eof()


def exit_status(code: int) -> dict[str, Any]:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def summary(node: str) -> dict[str, Any]:
    """stats.k8s.io/v1alpha1 Summary of a node with pod a/p."""
    usage = {"time": "2026-01-01T00:00:00Z", "usageNanoCores": 250_000_000}
    memory = {"time": "2026-01-01T00:00:00Z", "workingSetBytes": 64 * 1024 * 1024}
    pod = {"podRef": {"name": "p", "namespace": "a"}, "containers": [{"name": "c", "cpu": usage, "memory": memory}]}
    return {"node": {"nodeName": node, "cpu": usage, "memory": memory}, "pods": [pod]}
