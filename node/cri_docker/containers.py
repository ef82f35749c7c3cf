"""Containers: create, start, stop, remove, update. Every verb may be repeated."""

import os
from collections.abc import Callable
from pathlib import Path

from apimachinery.logging import get_logger
from node.cgroups.cgroup import cgroup_of
from node.cri_docker import naming, resources, security, specs, users
from node.cri_docker.engine import EngineError
from node.cri_docker.host import Host
from node.cri_docker.image_mounts import ImageMounts
from node.cri_docker.logs import Logs
from node.cri_docker.records import ContainerRecord, SandboxRecord
from node.cri_docker.refusal import AlreadyExists, CriError, NotFound, Refused, WrongState
from protos.cri.runtime.v1 import api_pb2 as cri

_START_SECONDS = 120.0
_STOP_MARGIN_SECONDS = 30.0
log = get_logger(__name__)


class Containers:
    def __init__(self, host: Host, node: str, logs: Logs, image_mounts: ImageMounts, pod_mounts: "PodMounts") -> None:
        self._host, self._node, self._logs = host, node, logs
        self._image_mounts, self._pod_mounts = image_mounts, pod_mounts

    async def create(self, sandbox_id: str, config: cri.ContainerConfig) -> str:
        """Create a container in a ready sandbox; its id, or that of the same one created before.

        Raises NotFound (sandbox, image), WrongState (sandbox not ready), Refused.
        """
        pod = self._host.cache.sandbox(sandbox_id)
        if not pod.ready:
            raise WrongState(f"sandbox {sandbox_id} is not ready")
        self._make_sources(config)
        folders = await self._image_mounts.ensure(config.mounts)
        body = specs.container(config, pod, self._node, self._host.limits(), read_seccomp_profile, folders)
        body["HostConfig"]["Mounts"] += self._pod_mounts(pod, config)
        if users.is_strict(config.linux.security_context):
            body["User"] = await self._strict_user(config)
        name = naming.container_name(config.metadata, pod.config.metadata)
        for _ in range(2):
            try:
                created = await self._host.engine.post("/containers/create", body, name=name)
                await self._host.cache.refresh(created["Id"])
                return str(created["Id"])
            except EngineError as error:
                if not error.conflict:
                    raise self._why_not_created(error, config) from error
                if container_id := await self._same(name, pod, config):
                    return container_id
        raise AlreadyExists(f"the name {name} is taken again and again")

    async def _strict_user(self, config: cri.ContainerConfig) -> str:
        """The user with its primary group, so that the engine adds no other."""
        image = await self._host.images.find(config.image.image)
        if image is None:
            raise NotFound(f"image {config.image.image!r} is not here")
        default = str(image.uid.value) if image.HasField("uid") else image.username
        layers = await self._host.images.layers(image.id)
        root = self._host.root()
        wanted = security.user(config.linux.security_context) or default
        return users.with_group(wanted, (root + layer for layer in layers))

    def _why_not_created(self, error: EngineError, config: cri.ContainerConfig) -> CriError:
        if error.not_found:
            return NotFound(f"image {config.image.image!r} is not here: {error.message}")
        return Refused(error.message) if error.status == 400 else CriError(error.message)

    async def _same(self, name: str, pod: SandboxRecord, config: cri.ContainerConfig) -> str:
        """Resolve a name conflict: the id of the very same container, or "" after a leftover was removed."""
        holder = await self._host.cache.holder(name, ContainerRecord)
        if holder is None:
            return ""
        existing, labels = holder
        wanted = naming.container_labels(self._node, pod.id, config, pod.config)
        if labels.get(naming.CONFIG) == wanted[naming.CONFIG] and existing.sandbox_id == pod.id:
            return existing.id
        if existing.running:
            raise AlreadyExists(f"container {name} runs already, with another configuration: {existing.id}")
        await self.remove(existing.id)
        return ""

    def _make_sources(self, config: cri.ContainerConfig) -> None:
        """A host path that is not there becomes a folder, as in containerd."""
        for mount in config.mounts:
            if mount.host_path and not os.path.exists(self._host.root() + mount.host_path):
                os.makedirs(self._host.root() + mount.host_path, mode=0o755, exist_ok=True)

    async def start(self, identity: str) -> None:
        """Start a created container; one that runs already is success."""
        record = self._host.cache.container(identity)
        if record.running:
            return
        if record.state != cri.CONTAINER_CREATED:
            raise WrongState(f"container {record.id} has run already")
        try:
            await self._host.engine.post(f"/containers/{record.id}/start", timeout=_START_SECONDS)
        except EngineError as error:
            await self._host.cache.refresh(record.id)
            raise CriError(f"container {record.id} could not be started: {error.message}") from error
        started = await self._host.cache.refresh(record.id)
        if isinstance(started, ContainerRecord) and started.running:
            self._write_unified(started, record.config.linux.resources)

    async def stop(self, identity: str, grace_seconds: int) -> None:
        """Its stop signal, then after the grace period SIGKILL. One that is gone or has ended is stopped."""
        try:
            record = self._host.cache.container(identity)
        except NotFound:
            return
        if not record.running:
            return
        timeout = grace_seconds + _STOP_MARGIN_SECONDS
        self._host.cache.note_end(record.id)
        try:
            if grace_seconds <= 0:
                await self._host.engine.post(f"/containers/{record.id}/kill", signal="KILL")
            else:
                await self._host.engine.post(f"/containers/{record.id}/stop", timeout=timeout, t=grace_seconds)
        except EngineError as error:
            if not (error.not_found or error.conflict):
                raise
        await self._host.cache.refresh(record.id)

    async def remove(self, identity: str) -> None:
        """Remove it, killing it first if it runs. One that is gone is removed."""
        try:
            record = self._host.cache.container(identity)
        except NotFound:
            return
        if record.running:
            await self.stop(record.id, 0)
        await self._host.delete(record.id)

    async def update(self, identity: str, linux: cri.LinuxContainerResources) -> None:
        """Change a container's resources, live. Raises NotFound, Refused."""
        record = self._host.cache.container(identity)
        try:
            await self._host.engine.post(f"/containers/{record.id}/update", resources.update(linux))
        except EngineError as error:
            raise CriError(error.message) from error
        updated = await self._host.cache.refresh(record.id)
        if isinstance(updated, ContainerRecord) and updated.running:
            self._write_unified(updated, linux)

    def reopen_log(self, identity: str) -> None:
        """The log file has been renamed: go on in a new one. Raises NotFound, WrongState."""
        record = self._host.cache.container(identity)
        if not record.running:
            raise WrongState(f"container {record.id} is not running")
        try:
            self._logs.reopen(record)
        except OSError as error:
            raise CriError(f"log of container {record.id} cannot be opened anew: {error}") from error

    def _write_unified(self, record: ContainerRecord, linux: cri.LinuxContainerResources) -> None:
        files = resources.unified_files(linux)
        if not files or not self._host.limits().cgroup_v2:
            return
        cgroup = cgroup_of(record.pid, self._host.engine.peer_pid(), self._host.root())
        for name, value in files.items():
            try:
                (Path(cgroup.path("")) / name).write_text(value)
            except OSError as error:
                log.warning("cgroup setting was not taken", container=record.id, setting=name, error=error)


PodMounts = Callable[[SandboxRecord, cri.ContainerConfig], list[dict[str, object]]]
"""More mounts for every container of a pod."""


def read_seccomp_profile(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise Refused(f"seccomp profile {path!r}: {error.strerror}") from error
