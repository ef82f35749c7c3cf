"""What a node publishes of its drivers: the CSINode object, and an annotation and topology labels of the Node.

Source: ``pkg/volume/csi/nodeinfomanager``.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Final

from apimachinery.client.api import ApiClient
from apimachinery.csi import CSI_NODES
from apimachinery.errors import AlreadyExists, Conflict, NotFound
from apimachinery.meta import Object, annotations_of, labels_of, name_of, owner_reference, owner_references, uid_of
from apimachinery.scheme import NODES
from node.agent.csi.plugins import PluginRefused
from protos.csi.v1 import csi_pb2 as pb

_NODE_IDS: Final = "csi.volume.kubernetes.io/nodeid"
_ATTEMPTS: Final = 5


class CsiNode:
    """``node`` gives the Node object as it is now."""

    def __init__(self, client: ApiClient, node: Callable[[], Object]) -> None:
        self._client, self._node = client, node
        self._writing = asyncio.Lock()

    async def ensure(self) -> Object:
        """The CSINode object, made if it is not there. Raises ApiError; NotFound while the Node is not registered."""
        name = name_of(self._node())
        node = await self._client.get(NODES, name)
        with contextlib.suppress(NotFound):
            found = await self._client.get(CSI_NODES, name)
            if any(ref["uid"] == uid_of(node) for ref in owner_references(found)):
                return found
            await self._client.delete(CSI_NODES, name, uid=uid_of(found))  # an earlier Node's: it would be collected
        owner = owner_reference(node, NODES, controller=False)
        meta = {"name": name, "ownerReferences": [owner]}
        made = {"apiVersion": CSI_NODES.api_version, "kind": CSI_NODES.kind, "metadata": meta, "spec": {"drivers": []}}
        try:
            return await self._client.create(CSI_NODES, made)
        except AlreadyExists:
            return await self._client.get(CSI_NODES, name)

    async def install(self, driver: str, info: pb.NodeGetInfoResponse) -> None:
        """Publish a driver. Raises ApiError, and PluginRefused where a label says otherwise."""
        async with self._writing:
            node = await self._client.get(NODES, name_of(self._node()))
            labels = dict(info.accessible_topology.segments)
            for key, value in labels.items():
                if labels_of(node).get(key, value) != value:
                    raise PluginRefused(f"detected topology value collision: driver reported {key!r}:{value!r}")
            await self._mark(node, driver, info.node_id, labels)
            await self._change(lambda drivers: [*_without(drivers, driver), entry(driver, info)])

    async def uninstall(self, driver: str) -> None:
        """Take a driver back; the labels stay, for volumes may depend on them. Raises ApiError."""
        async with self._writing:
            await self._change(lambda drivers: _without(drivers, driver))
            await self._mark(await self._client.get(NODES, name_of(self._node())), driver, None, {})

    async def _change(self, change: Callable[[list[Object]], list[Object]]) -> None:
        for attempt in range(_ATTEMPTS):
            found = await self.ensure()
            drivers = found["spec"].get("drivers") or []
            wanted = change(drivers)
            if wanted == drivers:
                return
            try:
                await self._client.update(CSI_NODES, found | {"spec": {"drivers": wanted}})
                return
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise

    async def _mark(self, node: Object, driver: str, node_id: str | None, labels: dict[str, str]) -> None:
        ids = json.loads(annotations_of(node).get(_NODE_IDS) or "{}")
        wanted = {k: v for k, v in {**ids, driver: node_id}.items() if v is not None}
        if wanted == ids and labels.items() <= labels_of(node).items():
            return
        text = json.dumps(wanted, separators=(",", ":")) if wanted else None
        meta = {"annotations": {_NODE_IDS: text}, "labels": labels}
        await self._client.patch(NODES, name_of(node), "", {"metadata": meta})


def entry(driver: str, info: pb.NodeGetInfoResponse) -> Object:
    """A driver in ``CSINode.spec.drivers``. Pure."""
    made: Object = {"name": driver, "nodeID": info.node_id}
    if info.accessible_topology.segments:
        made["topologyKeys"] = sorted(info.accessible_topology.segments)
    if info.max_volumes_per_node > 0:
        made["allocatable"] = {"count": min(info.max_volumes_per_node, 2**31 - 1)}
    return made


def _without(drivers: list[Object], name: str) -> list[Object]:
    return [d for d in drivers if d["name"] != name]
