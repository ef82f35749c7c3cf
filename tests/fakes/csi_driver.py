"""A CSI driver for tests: folders of one state folder, bind-mounted, on as many nodes as share it.

A block volume is a file ``disk`` in its folder behind a loop device, which is bound where it is published.

``python -m tests.fakes.csi_driver --socket S --registry R --name N --node NODE --state DIR`` serves the Node service
and registers as node-driver-registrar does. It logs its calls to ``DIR/calls`` and does what ``DIR/faults`` (JSON: RPC
name -> ``hang``, or the name of a gRPC status) says. Without root it makes folders instead of mounts.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from node.agent import mounts
from protos.csi.v1 import csi_pb2 as csi
from protos.csi.v1 import csi_pb2_grpc as csi_rpc
from protos.pluginregistration.v1 import api_pb2 as reg
from protos.pluginregistration.v1 import api_pb2_grpc as reg_rpc

_DISK_BYTES = 1 << 20
Capability = csi.NodeServiceCapability.RPC
ALL = (
    Capability.STAGE_UNSTAGE_VOLUME,
    Capability.EXPAND_VOLUME,
    Capability.GET_VOLUME_STATS,
    Capability.SINGLE_NODE_MULTI_WRITER,
)


class CsiDriver(csi_rpc.NodeServicer, reg_rpc.RegistrationServicer):
    def __init__(self, name: str, node: str, state: Path, *, able: tuple[int, ...] = ALL, root: bool = True) -> None:
        self.name, self.node, self.state, self.able, self.root = name, node, state, able, root
        self.socket, self.version, self.limit = "", "1.0.0", 0
        self.requests: list[Any] = []
        self.told: list[reg.RegistrationStatus] = []
        self._servers: list[aio.Server] = []
        (state / "volumes").mkdir(parents=True, exist_ok=True)

    async def serve(self, socket: Path, registry: Path) -> None:
        """On its own socket, then on the one by which the agent finds it."""
        self.socket = str(socket)
        for path, add in (
            (socket, csi_rpc.add_NodeServicer_to_server),
            (registry / f"{self.name}.sock", reg_rpc.add_RegistrationServicer_to_server),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            server = aio.server()
            add(self, server)
            server.add_insecure_port(f"unix://{path}")
            await server.start()
            self._servers.append(server)

    async def close(self) -> None:
        for server in self._servers:
            await server.stop(None)

    def calls(self, verb: str) -> list[Any]:
        return [r for r in self.requests if type(r).__name__ == f"{verb}Request"]

    async def _enter(self, request: Any, context: Any) -> None:
        verb = type(request).__name__.removesuffix("Request")
        self.requests.append(request)
        with (self.state / "calls").open("a") as file:
            file.write(f"{self.node} {verb} {getattr(request, 'volume_id', '')}\n")
        with contextlib.suppress(FileNotFoundError):
            fault = json.loads((self.state / "faults").read_text()).get(verb)
            if fault == "hang":
                await asyncio.Event().wait()
            if fault:
                await context.abort(grpc.StatusCode[fault], "as the test wants it")

    # -- registration

    async def GetInfo(self, request: Any, context: Any) -> reg.PluginInfo:  # noqa: N802
        kind = {"type": "CSIPlugin", "name": self.name, "endpoint": self.socket}
        return reg.PluginInfo(**kind, supported_versions=[self.version])

    async def NotifyRegistrationStatus(self, request: Any, context: Any) -> reg.RegistrationStatusResponse:  # noqa: N802
        self.told.append(request)
        return reg.RegistrationStatusResponse()

    # -- the node service

    async def NodeGetInfo(self, request: Any, context: Any) -> csi.NodeGetInfoResponse:  # noqa: N802
        await self._enter(request, context)
        where = csi.Topology(segments={f"topology.{self.name}/node": self.node})
        return csi.NodeGetInfoResponse(
            node_id=f"id-{self.node}", max_volumes_per_node=self.limit, accessible_topology=where
        )

    async def NodeGetCapabilities(self, request: Any, context: Any) -> csi.NodeGetCapabilitiesResponse:  # noqa: N802
        await self._enter(request, context)
        able = [csi.NodeServiceCapability(rpc=Capability(type=t)) for t in self.able]
        return csi.NodeGetCapabilitiesResponse(capabilities=able)

    async def NodeStageVolume(self, request: Any, context: Any) -> csi.NodeStageVolumeResponse:  # noqa: N802
        await self._enter(request, context)
        source = self.state / "volumes" / request.volume_id
        if not source.is_dir():
            await context.abort(grpc.StatusCode.NOT_FOUND, f"volume {request.volume_id} does not exist")
        if request.volume_capability.HasField("block"):
            self._loop(source)
        else:
            self._bind(source, request.staging_target_path)
        return csi.NodeStageVolumeResponse()

    async def NodeUnstageVolume(self, request: Any, context: Any) -> csi.NodeUnstageVolumeResponse:  # noqa: N802
        await self._enter(request, context)
        self._unbind(request.staging_target_path)
        for device in self._loops(self.state / "volumes" / request.volume_id):
            subprocess.run(["losetup", "--detach", device], check=True)
        return csi.NodeUnstageVolumeResponse()

    async def NodePublishVolume(self, request: Any, context: Any) -> csi.NodePublishVolumeResponse:  # noqa: N802
        await self._enter(request, context)
        source = Path(request.staging_target_path) if request.staging_target_path else self._inline(request.volume_id)
        if request.volume_capability.HasField("block"):
            Path(request.target_path).touch()
            source = Path(self._loop(self.state / "volumes" / request.volume_id))
        self._bind(source, request.target_path)
        return csi.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(self, request: Any, context: Any) -> csi.NodeUnpublishVolumeResponse:  # noqa: N802
        await self._enter(request, context)
        self._unbind(request.target_path)
        with contextlib.suppress(FileNotFoundError):
            (os.rmdir if os.path.isdir(request.target_path) else os.unlink)(request.target_path)
        return csi.NodeUnpublishVolumeResponse()

    async def NodeExpandVolume(self, request: Any, context: Any) -> csi.NodeExpandVolumeResponse:  # noqa: N802
        await self._enter(request, context)
        return csi.NodeExpandVolumeResponse(capacity_bytes=request.capacity_range.required_bytes)

    async def NodeGetVolumeStats(self, request: Any, context: Any) -> csi.NodeGetVolumeStatsResponse:  # noqa: N802
        await self._enter(request, context)
        usage = csi.VolumeUsage(available=70, total=100, used=30, unit=csi.VolumeUsage.BYTES)
        return csi.NodeGetVolumeStatsResponse(usage=[usage])

    def _inline(self, handle: str) -> Path:
        path = self.state / "volumes" / handle
        path.mkdir(exist_ok=True)
        return path

    def _loop(self, folder: Path) -> str:
        """The device of a volume's disk, made if it is not there."""
        disk = folder / "disk"
        if not disk.exists():
            disk.write_bytes(bytes(_DISK_BYTES))
        if not self.root:
            return str(disk)
        if found := self._loops(folder):
            return found[0]
        made = subprocess.run(["losetup", "--find", "--show", disk], check=True, capture_output=True, text=True)
        return made.stdout.strip()

    def _loops(self, folder: Path) -> list[str]:
        if not self.root or not (folder / "disk").exists():
            return []
        command = ["losetup", "--associated", folder / "disk", "--noheadings", "--output", "NAME"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    def _bind(self, source: Path, target: str) -> None:
        if not os.path.exists(target):
            os.makedirs(target)
        if self.root and not _is_mounted(target):
            mounts.bind(str(source), target)

    def _unbind(self, target: str) -> None:
        while self.root and _is_mounted(target):
            mounts.unmount(target)


def _is_mounted(target: str) -> bool:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return any(line.split()[4] == os.path.realpath(target) for line in file)


async def _main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("socket", "registry", "state"):
        parser.add_argument(f"--{flag}", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--node", required=True)
    args = parser.parse_args()
    driver = CsiDriver(args.name, args.node, args.state)
    await driver.serve(args.socket, args.registry)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
