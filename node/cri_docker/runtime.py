"""The runtime put together: one engine, one cache, the verbs on them, and the order in which they come to life."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apimachinery.backoff import Backoff
from apimachinery.lifecycle import Tasks, guard
from apimachinery.logging import get_logger
from node.cri_docker import network
from node.cri_docker.attachments import Attachments
from node.cri_docker.cache import Cache
from node.cri_docker.containers import Containers
from node.cri_docker.engine import Engine, EngineUnavailable
from node.cri_docker.events import Events
from node.cri_docker.execs import Execs
from node.cri_docker.host import Host
from node.cri_docker.image_mounts import ImageMounts
from node.cri_docker.images import Images
from node.cri_docker.kernel_log import KernelLog
from node.cri_docker.limits import engine_root, read_limits
from node.cri_docker.logs import Logs
from node.cri_docker.network import SandboxNetwork
from node.cri_docker.options import Options
from node.cri_docker.records import SandboxRecord
from node.cri_docker.sandbox_networks import SandboxNetworks
from node.cri_docker.sandboxes import Sandboxes
from node.cri_docker.security import EngineLimits
from node.cri_docker.specs import SandboxShape
from node.cri_docker.stats import Stats
from protos.cri.runtime.v1 import api_pb2 as cri

_FIRST_COLLECT_SECONDS, _COLLECT_SECONDS = 0.5, 60.0
log = get_logger(__name__)


class Runtime:
    """All that the gRPC services speak to. ``run`` keeps it true to the engine."""

    def __init__(self, options: Options, make_network: Callable[..., SandboxNetwork]) -> None:
        state = Path(options.state_dir)
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.options = options
        self.engine = Engine(options.docker_host)
        self.images = Images(self.engine, options.docker_host, options.sandbox_image)
        self.attachments = Attachments(state / "sandboxes")
        self.logs = Logs(lambda: engine_root(self.engine.peer_pid()), state / "logs")
        self._kernel_log = KernelLog()
        self.cache = Cache(
            self.engine,
            options.node_name,
            self.attachments,
            image_name=self.images.name_of,
            on_change=self.logs.follow,
            killed_for_memory=self._kernel_log.killed,
        )
        self.network = make_network(options.cni_conf_dir, options.cni_bin_dirs, str(state / "cni"))
        self._limits: EngineLimits | None = None
        host = Host(self.engine, self.cache, self.images, self.limits)
        node_network = options.host_network_container
        shape = SandboxShape(options.node_name, options.sandbox_image, node_network, socket.gethostname())
        self.sandboxes = Sandboxes(host, shape, SandboxNetworks(host, self.network, self.attachments))
        self.image_mounts = ImageMounts(self.engine, self.images, state / "images")
        self.containers = Containers(host, options.node_name, self.logs, self.image_mounts, self._pod_mounts)
        self.execs = Execs(self.engine, self.cache)
        self.stats = Stats(host)
        self._events = Events(self.engine, self.cache, options.node_name, self.images.invalidate)
        self._resolv_folder = state / "resolv"
        self._synced = asyncio.Event()
        self.cache.on_lost, self.cache.on_gone = self._synced.set, self.logs.forget

    def limits(self) -> EngineLimits:
        self.cache.require()
        if self._limits is None:
            raise EngineUnavailable("the engine has not been asked yet")
        return self._limits

    async def wait_attempted(self) -> None:
        """Until the engine was found, or found missing: whoever asks then gets a true answer."""
        await self._events.attempted.wait()

    async def run(self) -> None:
        """Until cancelled."""
        self._events.before_sync = self._learn
        self._events.on_synced.append(self._synced.set)
        async with Tasks() as tasks:
            tasks.start("engine events", self._events.run())
            tasks.start("collector", self._collect())
            await tasks.wait()

    async def _learn(self) -> None:
        """The engine may have been exchanged for another since it was last here."""
        self._limits = await read_limits(self.engine)
        if self._limits.min_oom_score > -1000 or not self._limits.can_privileged:
            log.debug("Engine is limited", min_oom_score=self._limits.min_oom_score)

    async def _collect(self) -> None:
        """Give back what dead sandboxes hold: after each (re)start of the engine, when one is lost, and regularly.

        Often at first: after a restart of its node the old network namespace, and with it what a sandbox has lost, goes
        only once the kernel gets to it.
        """
        pause = Backoff(initial=_FIRST_COLLECT_SECONDS, maximum=_COLLECT_SECONDS)
        while True:
            await self._synced.wait()
            self._synced.clear()
            await guard("collect networks", self.sandboxes.collect)
            await guard("collect image mounts", self.collect_image_mounts)
            self._collect_resolv_files()
            try:
                async with asyncio.timeout(pause.next()):
                    await self._synced.wait()
                pause.reset()
            except TimeoutError:
                if not self.cache.away:
                    self._synced.set()

    def _collect_resolv_files(self) -> None:
        for path in self._resolv_folder.glob("*"):
            if self.cache.state_of(path.name) is None:
                path.unlink(missing_ok=True)

    async def collect_image_mounts(self) -> None:
        """Unmount images that no container has as a volume."""
        mounts = (mount for record in self.cache.containers() for mount in record.config.mounts)
        used = {found.id for m in mounts if m.image.image and (found := await self.images.find(m.image.image))}
        await self.image_mounts.collect(used)

    def _pod_mounts(self, pod: SandboxRecord, config: cri.ContainerConfig) -> list[dict[str, Any]]:
        """resolv.conf of a pod in the node's network: what the engine would mount belongs to the node."""
        own_file = pod.host_network and self.options.host_network_container and pod.config.HasField("dns_config")
        if not own_file or any(m.container_path == "/etc/resolv.conf" for m in config.mounts):
            return []
        self._resolv_folder.mkdir(exist_ok=True)
        path = self._resolv_folder / pod.id
        path.write_text(network.resolv_conf(pod.config.dns_config))
        return [{"Type": "bind", "Source": str(path), "Target": "/etc/resolv.conf", "ReadOnly": False}]

    def close(self) -> None:
        self.cache.end_subscriptions()
        self.logs.close()
        self._kernel_log.close()
        self.images.close()
        self.engine.close()
