"""What the fake runtime remembers of a sandbox and of a container, and their CRI messages."""

import asyncio
import os
import uuid
from dataclasses import dataclass, field

from node.cri.fake_program import Program
from protos.cri.runtime.v1 import api_pb2 as pb


@dataclass(slots=True)
class Sandbox:
    id: str
    config: pb.PodSandboxConfig
    ip: str
    created_at: int
    ready: bool = True

    @property
    def state(self) -> pb.PodSandboxState:
        return pb.SANDBOX_READY if self.ready else pb.SANDBOX_NOTREADY

    def listed(self) -> pb.PodSandbox:
        return pb.PodSandbox(
            id=self.id,
            metadata=self.config.metadata,
            state=self.state,
            created_at=self.created_at,
            labels=self.config.labels,
            annotations=self.config.annotations,
        )

    def status(self) -> pb.PodSandboxStatus:
        options = self.config.linux.security_context.namespace_options
        return pb.PodSandboxStatus(
            id=self.id,
            metadata=self.config.metadata,
            state=self.state,
            created_at=self.created_at,
            network=pb.PodSandboxNetworkStatus(ip=self.ip if self.ready else ""),
            linux=pb.LinuxPodSandboxStatus(namespaces=pb.Namespace(options=options)),
            labels=self.config.labels,
            annotations=self.config.annotations,
        )


@dataclass(slots=True)
class Container:
    id: str
    sandbox: Sandbox
    config: pb.ContainerConfig
    program: Program
    created_at: int
    state: pb.ContainerState = pb.CONTAINER_CREATED
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    @property
    def log_path(self) -> str:
        """Where the log goes; "" when the pod keeps none."""
        directory, path = self.sandbox.config.log_directory, self.config.log_path
        return os.path.join(directory, path) if directory and path else ""

    def listed(self) -> pb.Container:
        image = digest(self.config.image.image)
        return pb.Container(
            id=self.id,
            pod_sandbox_id=self.sandbox.id,
            metadata=self.config.metadata,
            image=self.config.image,
            image_ref=image,
            image_id=image,
            state=self.state,
            created_at=self.created_at,
            labels=self.config.labels,
            annotations=self.config.annotations,
        )

    def status(self) -> pb.ContainerStatus:
        image = digest(self.config.image.image)
        return pb.ContainerStatus(
            id=self.id,
            metadata=self.config.metadata,
            state=self.state,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            exit_code=self.exit_code,
            image=self.config.image,
            image_ref=image,
            image_id=image,
            reason=self.reason,
            labels=self.config.labels,
            annotations=self.config.annotations,
            mounts=self.config.mounts,
            log_path=self.log_path,
            resources=pb.ContainerResources(linux=self.config.linux.resources),
        )

    def stats(self, now: int) -> pb.ContainerStats:
        """What a container that does nothing uses."""
        about = pb.ContainerAttributes(
            id=self.id, metadata=self.config.metadata, labels=self.config.labels, annotations=self.config.annotations
        )
        zero = pb.UInt64Value(value=0)
        return pb.ContainerStats(
            attributes=about,
            cpu=pb.CpuUsage(timestamp=now, usage_core_nano_seconds=zero, usage_nano_cores=zero),
            memory=pb.MemoryUsage(timestamp=now, working_set_bytes=zero, usage_bytes=zero),
        )


def digest(image: str) -> str:
    """The made-up id of an image name, always the same."""
    return "sha256:" + uuid.uuid5(uuid.NAMESPACE_OID, image).hex * 2
