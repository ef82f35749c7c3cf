"""What the validation specs are written in: pods, containers in them, and what is seen of them."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.contract.cri.targets import Target
from tests.waiting import eventually

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
TOP = ("sh", "-c", "top -b > /dev/null")
IMAGE = "busybox:1"
_SECONDS = 30


def on_fake(spec: F) -> F:
    """A spec that the in-memory fake keeps, too."""
    spec.on_fake = True  # type: ignore[attr-defined]
    return spec


@dataclass
class Kit:
    target: Target
    folder: Path
    pods: "list[Pod]" = field(default_factory=list)
    containers: "list[Container]" = field(default_factory=list)

    @property
    def runtime(self) -> Any:
        return self.target.runtime

    @property
    def images(self) -> Any:
        return self.target.images

    def needs(self, feature: bool, why: str) -> None:
        if not feature:
            pytest.skip(f"{self.target.name}: {why}")

    def fails_on(self, target: str, why: str) -> None:
        """A fault of a peer that is known, and none of ours."""
        if self.target.name == target:
            pytest.xfail(why)

    def pod(self, *, security: dict[str, Any] | None = None, **fields: Any) -> "Pod":
        """A ready sandbox with a log directory. ``security``: of its LinuxSandboxSecurityContext."""
        uid = str(uuid.uuid4())
        (self.folder / uid).mkdir()
        metadata = cri.PodSandboxMetadata(name=f"crih-{uid[:8]}", uid=uid, namespace="crih", attempt=2)
        fields.setdefault("linux", cri.LinuxPodSandboxConfig())
        config = cri.PodSandboxConfig(metadata=metadata, log_directory=str(self.folder / uid), **fields)
        if security:
            config.linux.security_context.CopyFrom(cri.LinuxSandboxSecurityContext(**security))
        made = Pod(self, config, self.runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=config)).pod_sandbox_id)
        self.pods.append(made)
        return made

    def shared(self) -> "Pod":
        """A plain pod for all specs that do nothing to it but run containers in it."""
        if not self.target.shared:
            self.target.shared.append(self.pod())
            self.pods.pop()
        pod: Pod = self.target.shared[0]
        return replace(pod, kit=self)

    def clean_up(self) -> None:
        for container in self.containers:
            container.remove()
        left = {item.id for item in self.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items}
        for pod in self.pods:
            if pod.id in left:
                pod.stop()
                pod.remove()

    def pull(self, name: str) -> str:
        """Pull one of the registry's images (``HOST/name`` is taken as it is); what the runtime calls it."""
        reference = name if name.startswith("localhost") else self.target.image(name)
        return str(self.images.PullImage(cri.PullImageRequest(image=cri.ImageSpec(image=reference))).image_ref)

    def image(self, reference: str) -> cri.Image | None:
        answer = self.images.ImageStatus(cri.ImageStatusRequest(image=cri.ImageSpec(image=reference)))
        return answer.image if answer.HasField("image") and answer.image.id else None

    def present(self, name: str) -> str:
        """The reference of an image of the registry's that the runtime has now."""
        reference = self.target.image(name)
        if self.target.registry and self.image(reference) is None:
            self.pull(name)
        return reference

    def remove_image(self, reference: str) -> None:
        if image := self.image(reference):
            self.images.RemoveImage(cri.RemoveImageRequest(image=cri.ImageSpec(image=image.id)))


@dataclass
class Pod:
    kit: Kit
    config: cri.PodSandboxConfig
    id: str

    def stop(self) -> None:
        self.kit.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=self.id))

    def remove(self) -> None:
        self.kit.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=self.id))

    def status(self) -> cri.PodSandboxStatus:
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=self.id)
        return self.kit.runtime.PodSandboxStatus(request).status

    def create(
        self,
        command: Sequence[str] = TOP,
        *,
        image: str = IMAGE,
        security: dict[str, Any] | None = None,
        resources: dict[str, Any] | None = None,
        **fields: Any,
    ) -> "Container":
        name = f"c-{uuid.uuid4().hex[:8]}"
        spec = cri.ImageSpec(image=image if image.startswith("sha256:") else self.kit.present(image))
        fields.setdefault("metadata", cri.ContainerMetadata(name=name, attempt=2))
        config = cri.ContainerConfig(image=spec, command=command, log_path=f"{name}.log", **fields)
        if security is not None:
            config.linux.security_context.CopyFrom(cri.LinuxContainerSecurityContext(**security))
        if resources is not None:
            config.linux.resources.CopyFrom(cri.LinuxContainerResources(**resources))
        request = cri.CreateContainerRequest(pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        made = Container(self.kit, config, self.kit.runtime.CreateContainer(request).container_id)
        if self.kit.target.shared and self.kit.target.shared[0].id == self.id:
            self.kit.containers.append(made)
        return made

    def run(self, command: Sequence[str] = TOP, **fields: Any) -> "Container":
        made = self.create(command, **fields)
        made.start()
        return made

    def logged(self, command: str, **fields: Any) -> list[tuple[str, str]]:
        """(stream, line) of what a shell command printed, to its end."""
        made = self.run(["sh", "-c", command] if command else (), **fields)
        made.ended()
        return made.log()


@dataclass
class Container:
    kit: Kit
    config: cri.ContainerConfig
    id: str

    def start(self) -> None:
        self.kit.runtime.StartContainer(cri.StartContainerRequest(container_id=self.id))

    def stop(self, timeout: int = 0) -> None:
        self.kit.runtime.StopContainer(cri.StopContainerRequest(container_id=self.id, timeout=timeout))

    def remove(self) -> None:
        self.kit.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=self.id))

    def status(self) -> cri.ContainerStatus:
        return self.kit.runtime.ContainerStatus(cri.ContainerStatusRequest(container_id=self.id)).status

    def ended(self) -> cri.ContainerStatus:
        return eventually(lambda: s if (s := self.status()).state == cri.CONTAINER_EXITED else None)

    def listed(self, **wanted: Any) -> bool:
        answer = self.kit.runtime.ListContainers(cri.ListContainersRequest(filter=cri.ContainerFilter(**wanted)))
        return self.id in [c.id for c in answer.containers]

    def stats(self, **wanted: Any) -> bool:
        """Whether the stats that match tell of it."""
        request = cri.ListContainerStatsRequest(filter=cri.ContainerStatsFilter(**wanted) if wanted else None)
        return self.id in [s.attributes.id for s in self.kit.runtime.ListContainerStats(request).stats]

    def exec(self, *command: str, timeout: int = _SECONDS) -> cri.ExecSyncResponse:
        return self.kit.runtime.ExecSync(cri.ExecSyncRequest(container_id=self.id, cmd=command, timeout=timeout))

    def output(self, *command: str) -> str:
        """Of a command that succeeds and complains of nothing."""
        result = self.exec(*command)
        assert (result.exit_code, result.stderr) == (0, b""), result
        return str(result.stdout.decode())

    def complaint(self, *command: str) -> str:
        """Of a command that fails."""
        result = self.exec(*command)
        assert result.exit_code, result
        return str(result.stderr.decode())

    def log(self, path: str = "") -> list[tuple[str, str]]:
        """(stream, line) of the log, which has to be in the CRI's format."""
        found = []
        for line in Path(path or self.status().log_path).read_text().splitlines():
            stamp, stream, tag, content = line.split(" ", 3)
            assert stamp[10] == "T" and tag in "PF", line
            found.append((stream, content))
        return found


def refused(code: grpc.StatusCode | None = None) -> Any:
    """As ``pytest.raises``: a gRPC error, of this code if one is given."""
    return pytest.raises(grpc.RpcError, check=lambda error: code is None or error.code() == code)
