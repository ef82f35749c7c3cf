"""Makes ready what a container needs before the runtime can create it: volumes, files, environment, configuration.

``PodPreparer`` does it for real. ``BarePreparer`` is for hollow nodes, whose containers have nothing behind them: it
makes the configuration alone.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Protocol

from node.agent import env_files, pod_cgroups
from node.agent.cri_configs import DEFAULT_TERMINATION_PATH, ContainerParts, container_config, volume_mount
from node.agent.csi.volumes import CsiVolumes
from node.agent.downward import ConfigError, PodFacts
from node.agent.environment import ObjectSource, make_environment
from node.agent.expansion import expand, undefined
from node.agent.metrics import StorageOperations
from node.agent.names import host_network_hosts_file, hosts_file, sandbox_hostname
from node.agent.paths import NodePaths
from node.agent.pod_actions import Start
from node.agent.pod_state import Object, PodRuntime, uid_of
from node.agent.settings import AgentSettings, NodeFacts
from node.agent.tokens import TokenManager
from node.agent.volumes import manager, sub_path
from node.agent.volumes.volume import VolumeContext, VolumeError, VolumeSource
from protos.cri.runtime.v1 import api_pb2 as pb

Volumes = Mapping[str, str]


class Preparer(Protocol):
    def cgroup(self, pod: Object) -> str:
        """The parent of the pod's containers' cgroups; "" = whatever the runtime takes."""
        ...

    async def make_cgroup(self, pod: Object) -> None:
        """Make it, or bring its limits up to date. Raises OSError."""
        ...

    async def volumes(self, pod: Object, runtime: PodRuntime) -> Volumes:
        """Volume name -> host path; brings contents up to date. Raises VolumeError."""
        ...

    async def container(
        self, pod: Object, start: Start, runtime: PodRuntime, volumes: Volumes, image: pb.Image | None
    ) -> pb.ContainerConfig:
        """Raises ConfigError or VolumeError."""
        ...

    def again_at(self, uid: str) -> float | None:
        """When to bring the pod's volumes up to date though nothing changed, in seconds since 1970."""
        ...

    async def release(self, uid: str) -> None:
        """Give back to their drivers the volumes of a pod that runs no more. Idempotent. Raises VolumeError."""
        ...

    async def remove(self, uid: str) -> None:
        """Take away what was made for a pod. Idempotent. Raises VolumeError, OSError."""
        ...


class BarePreparer:
    """No volumes and no environment; log files only if the runtime writes any."""

    def __init__(self, paths: NodePaths) -> None:
        self._paths = paths

    def cgroup(self, pod: Object) -> str:
        return ""

    async def make_cgroup(self, pod: Object) -> None:
        return

    async def volumes(self, pod: Object, runtime: PodRuntime) -> Volumes:
        return {}

    async def container(
        self, pod: Object, start: Start, runtime: PodRuntime, volumes: Volumes, image: pb.Image | None
    ) -> pb.ContainerConfig:
        return container_config(pod, start.spec, ContainerParts(start.attempt, {}, (), image, 0))

    def again_at(self, uid: str) -> float | None:
        return None

    async def release(self, uid: str) -> None:
        """There is nothing to give back."""

    async def remove(self, uid: str) -> None:
        if os.path.isdir(self._paths.logs):
            await asyncio.to_thread(manager.remove_logs, self._paths, uid)


class PodPreparer:
    """Volumes, /etc/hosts, termination log and environment on a real node."""

    def __init__(
        self,
        settings: AgentSettings,
        facts: NodeFacts,
        source: ObjectSource,
        tokens: TokenManager,
        bound: VolumeSource,
        csi: CsiVolumes,
        services: Callable[[], Iterable[Object]],
        storage: StorageOperations,
        *,
        cgroups: bool,
    ) -> None:
        """``cgroups``: whether the runtime's containers have any."""
        self._cgroups = cgroups
        self._settings, self._facts = settings, facts
        self._paths = NodePaths(settings.root_dir)
        self._source, self._tokens, self._bound = source, tokens, bound
        self._csi, self._services, self._storage = csi, services, storage

    def _pod_facts(self, pod: Object, runtime: PodRuntime) -> PodFacts:
        sandbox = runtime.sandbox
        ips = sandbox.ips if sandbox is not None else ()
        if pod["spec"].get("hostNetwork"):
            ips = self._facts.host_ips
        return PodFacts(pod, ips, self._facts.host_ips, self._facts.allocatable)

    def cgroup(self, pod: Object) -> str:
        return pod_cgroups.parent(pod) if self._cgroups else ""

    async def make_cgroup(self, pod: Object) -> None:
        if self.cgroup(pod):
            await asyncio.to_thread(pod_cgroups.ensure, pod)

    async def volumes(self, pod: Object, runtime: PodRuntime) -> Volumes:
        facts = self._pod_facts(pod, runtime)
        context = VolumeContext(facts, self._source, self._tokens, self._bound, self._paths, self._csi, self._storage)
        return await manager.prepare(context)

    async def container(
        self, pod: Object, start: Start, runtime: PodRuntime, volumes: Volumes, image: pb.Image | None
    ) -> pb.ContainerConfig:
        facts, spec = self._pod_facts(pod, runtime), start.spec
        environment = await make_environment(
            facts, spec, self._source, self._services(), partial(env_files.value, volumes)
        )
        environment.setdefault("HOSTNAME", _hostname(pod, self._settings))
        recursive = runtime.sandbox is not None and runtime.sandbox.handler in self._facts.recursive_read_only
        mounts = await asyncio.to_thread(self._mounts, pod, start, facts, volumes, environment, recursive)
        devices = list(_devices(pod, spec, volumes))
        await asyncio.to_thread(self._make_log_folder, pod, spec["name"])
        target = runtime.latest(spec["targetContainerName"]) if spec.get("targetContainerName") else None
        parts = ContainerParts(
            start.attempt,
            environment,
            mounts,
            image,
            self._facts.memory_capacity,
            target.id if target else "",
            devices,
            self._facts.stop_signals,
        )
        return container_config(pod, spec, parts)

    def again_at(self, uid: str) -> float | None:
        moments = (self._tokens.renew_at(uid), self._csi.again_at(uid))
        return min((m for m in moments if m is not None), default=None)

    async def release(self, uid: str) -> None:
        await self._csi.release(uid)

    async def remove(self, uid: str) -> None:
        self._bound.forget(uid)
        await asyncio.to_thread(pod_cgroups.remove, uid)
        await self._csi.release(uid)
        await manager.remove(self._paths, uid)

    def _make_log_folder(self, pod: Object, name: str) -> None:
        meta = pod["metadata"]
        folder = self._paths.pod_logs(meta.get("namespace", ""), meta["name"], uid_of(pod))
        os.makedirs(os.path.join(folder, name), exist_ok=True)

    def _mounts(
        self,
        pod: Object,
        start: Start,
        facts: PodFacts,
        volumes: Volumes,
        environment: Mapping[str, str],
        recursive: bool,
    ) -> list[pb.Mount]:
        spec = start.spec
        fixed = {v["name"] for v in pod["spec"].get("volumes") or () if manager.is_read_only(v)}
        mounts, images = [], manager.images(pod)
        for index, mount in enumerate(spec.get("volumeMounts") or ()):
            if mount["name"] in images:
                if not self._facts.image_volumes:
                    raise ConfigError(f'volume "{mount["name"]}": images as volumes are not supported by the runtime')
                mounts.append(_image_mount(mount, images[mount["name"]], environment))
                continue
            path = volumes.get(mount["name"])
            if path is None:
                raise ConfigError(f'cannot find volume "{mount["name"]}" to mount into container "{spec["name"]}"')
            inside = _sub_path(mount, environment)
            if inside:
                target = self._paths.subpath(uid_of(pod), mount["name"], spec["name"], index)
                try:
                    path = sub_path.bind(path, inside, target)
                except (OSError, VolumeError) as error:
                    message = f'failed to prepare subPath for volumeMount "{mount["name"]}" of container'
                    raise ConfigError(f'{message} "{spec["name"]}": {error}') from error
            mounts.append(volume_mount(mount, path, mount["name"] in fixed, recursive))
        mounts += self._own_files(pod, start, facts)
        return mounts

    def _own_files(self, pod: Object, start: Start, facts: PodFacts) -> list[pb.Mount]:
        """/etc/hosts, unless the container mounts its own, and the file for the termination message."""
        spec, uid = start.spec, uid_of(pod)
        taken = {m["mountPath"].rstrip("/") for m in spec.get("volumeMounts") or ()}
        out = []
        if "/etc/hosts" not in taken:
            path = self._paths.hosts_file(uid)
            _write_hosts(path, pod, facts, self._settings.cluster_domain)
            out.append(pb.Mount(container_path="/etc/hosts", host_path=path))
        message_path = spec.get("terminationMessagePath") or DEFAULT_TERMINATION_PATH
        folder = self._paths.container(uid, spec["name"])
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, str(start.attempt))
        with open(path, "wb"):
            os.chmod(path, 0o666)  # noqa: S103 - whatever user the container runs as may write it
        out.append(pb.Mount(container_path=message_path, host_path=path))
        return out


def _write_hosts(path: str, pod: Object, facts: PodFacts, cluster_domain: str) -> None:
    if pod["spec"].get("hostNetwork"):
        with open("/etc/hosts", encoding="utf-8") as file:
            text = host_network_hosts_file(pod, file.read())
    else:
        text = hosts_file(pod, facts.pod_ips, cluster_domain)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o644)


def _devices(pod: Object, spec: Object, volumes: Volumes) -> Iterator[pb.Device]:
    """The block volumes of a container."""
    fixed = {v["name"] for v in pod["spec"].get("volumes") or () if manager.is_read_only(v)}
    for device in spec.get("volumeDevices") or ():
        name, inside = device["name"], device["devicePath"]
        if name not in volumes:
            raise ConfigError(f'cannot find volume "{name}" to pass into container "{spec["name"]}"')
        yield pb.Device(host_path=volumes[name], container_path=inside, permissions="mr" if name in fixed else "mrw")


def _image_mount(mount: Object, source: Object, environment: Mapping[str, str]) -> pb.Mount:
    inside, image = _sub_path(mount, environment), pb.ImageSpec(image=source["reference"])
    return pb.Mount(container_path=mount["mountPath"], image=image, image_sub_path=inside, readonly=True)


def _sub_path(mount: Object, environment: Mapping[str, str]) -> str:
    expression = mount.get("subPathExpr")
    if not expression:
        return str(mount.get("subPath") or "")
    missing = undefined(expression, environment)
    if missing:
        raise ConfigError(f"missing value for {missing[0]!r}")
    expanded = expand(expression, environment)
    if os.path.isabs(expanded):
        raise ConfigError(f"error SubPath `{expanded}` must not be an absolute path")
    if ".." in expanded.split("/"):
        raise ConfigError(f"unable to provision SubPath `{expanded}`: must not contain '..'")
    return expanded


def _hostname(pod: Object, settings: AgentSettings) -> str:
    return sandbox_hostname(pod, settings.cluster_domain) or settings.node_name
