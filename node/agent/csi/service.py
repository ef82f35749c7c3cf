"""CSI on one node: its drivers register here, its volumes are mounted with them."""

import asyncio
import os
from collections.abc import Callable
from typing import Final

from apimachinery.backoff import Backoff
from apimachinery.client.api import ApiClient
from apimachinery.client.events import EventRecorder
from apimachinery.errors import ApiError
from apimachinery.lifecycle import Tasks
from apimachinery.logging import get_logger
from apimachinery.meta import Object, uid_of
from node.agent.csi.credentials import Credentials
from node.agent.csi.csi_node import CsiNode
from node.agent.csi.drivers import Driver, DriverError, Drivers
from node.agent.csi.expansion import Expander
from node.agent.csi.plugins import PluginRefused, PluginWatcher
from node.agent.csi.volumes import CsiVolumes
from node.agent.metrics import StorageOperations
from node.agent.paths import NodePaths
from node.agent.settings import AgentSettings, NodeFacts
from node.agent.tokens import TokenManager
from protos.csi.v1 import csi_pb2 as csi
from protos.pluginregistration.v1 import api_pb2 as pb

_log = get_logger(__name__)
_INFO_SECONDS: Final = 10.0


class Csi:
    """A ``PluginHandler`` for plugins of type CSIPlugin, and the node's ``volumes``."""

    def __init__(
        self,
        client: ApiClient,
        settings: AgentSettings,
        facts: NodeFacts,
        tokens: TokenManager,
        recorder: EventRecorder,
        node: Callable[[], Object],
        in_use_changed: Callable[[], None],
        storage: StorageOperations,
    ) -> None:
        paths, self._drivers = NodePaths(settings.root_dir), Drivers()
        self._name = settings.node_name
        self._infos: dict[str, csi.NodeGetInfoResponse] = {}
        self._withdrawn: set[str] = set()
        self._owner = ""  # the uid of the Node for which all is published
        self._publish = asyncio.Event()
        self._csi_node = CsiNode(client, node)
        self._watcher = PluginWatcher(paths.plugin_sockets, self)
        expander = Expander(client, recorder)
        self.volumes = CsiVolumes(
            client, self._drivers, Credentials(client, tokens), facts, node, settings.root_dir, expander,
            in_use_changed, storage,
        )  # fmt: skip

    def start(self, tasks: Tasks) -> None:
        tasks.start(f"csi-node-{self._name}", self._keep_published())
        tasks.start(f"plugins-{self._name}", self._watcher.run())
        tasks.start(f"csi-volumes-{self._name}", self.volumes.run())

    def node_changed(self, node: Object) -> None:
        """A Node that was made anew has lost its CSINode with what was in it."""
        if uid_of(node) != self._owner:
            self._owner = uid_of(node)
            self._publish.set()

    async def _keep_published(self) -> None:
        backoff = Backoff(initial=0.5, maximum=30.0)
        while True:
            await self._publish.wait()
            self._publish.clear()
            try:
                await self._csi_node.ensure()
                for name in list(self._withdrawn):
                    await self._csi_node.uninstall(name)
                    self._withdrawn.discard(name)
                for name, info in list(self._infos.items()):
                    await self._csi_node.install(name, info)
                backoff.reset()
            except (ApiError, PluginRefused) as error:
                _log.warning("CSINode not written, trying again", node=self._name, error=str(error))
                await asyncio.sleep(backoff.next())
                self._publish.set()

    async def register(self, info: pb.PluginInfo, socket: str) -> None:
        if info.type != "CSIPlugin":
            raise PluginRefused(f"plugins of type {info.type} are not supported, only CSIPlugin")
        if not any(v.removeprefix("v").split(".")[0] == "1" for v in info.supported_versions):
            versions = ", ".join(info.supported_versions)
            raise PluginRefused(f"driver {info.name} supports versions {versions} of CSI, not version 1")
        driver = Driver(info.name, os.path.abspath(info.endpoint or socket))
        try:
            found = await driver.call("NodeGetInfo", csi.NodeGetInfoRequest(), _INFO_SECONDS)
            if not found.node_id:
                raise PluginRefused(f"driver {info.name} gives no node id")
            await self._csi_node.install(info.name, found)
        except (ApiError, DriverError, PluginRefused):
            await driver.close()
            raise
        self._infos[info.name] = found
        self._withdrawn.discard(info.name)
        await self._drivers.put(driver)
        self.volumes.sweep()

    async def deregister(self, name: str) -> None:
        await self._drivers.remove(name)
        self._infos.pop(name, None)
        self._withdrawn.add(name)
        self._publish.set()

    async def close(self) -> None:
        self.volumes.close()
        await self._drivers.close()
