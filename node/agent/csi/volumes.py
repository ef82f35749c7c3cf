"""Mounts the volumes of CSI drivers for pods, and takes them away: attached, staged once a node, published once a pod.

Each step is recorded on disk before its driver is called (``records``), and every call may be repeated, so an agent
that was killed at any point goes on. What a driver does not answer holds up only the pods with that very volume.
Source: ``pkg/volume/csi/{csi_attacher,csi_mounter}.go``, kubelet ``volumemanager/reconciler``.
"""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakValueDictionary

from apimachinery.client.api import ApiClient
from apimachinery.csi import CSI_DRIVERS, VOLUME_ATTACHMENTS, attach_required, attachment_name, unique_name
from apimachinery.errors import ApiError, NotFound
from apimachinery.logging import get_logger
from apimachinery.meta import Object, is_deleting, name_of, uid_of
from apimachinery.scheme import NODES
from node.agent.csi.credentials import Credentials
from node.agent.csi.drivers import Capability, DriverError, Drivers
from node.agent.csi.expansion import Expander
from node.agent.csi.records import Record, Records
from node.agent.csi.requests import (
    PERSISTENT,
    Call,
    Wanted,
    agent_applies_group,
    pod_info,
    unlabelled,
    unoffered,
)
from node.agent.host import has_selinux
from node.agent.metrics import StorageOperations
from node.agent.settings import NodeFacts
from node.agent.volumes.persistent import give_group
from node.agent.volumes.volume import MountFailed, VolumeContext, VolumeError
from protos.csi.v1 import csi_pb2 as pb

_log = get_logger(__name__)
_ATTACH_SECONDS: Final = 110.0
_LOOK_SECONDS: Final = 0.2
_AGAIN_SECONDS: Final = 60.0
"""After which a volume is published again, where its driver wants that, or looked at for a new size."""
_SWEEP_SECONDS: Final = 30.0
_SET_UP = "MountVolume.SetUp"
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Mounted:
    call: Call
    again: float | None = None  # seconds since 1970


class CsiVolumes:
    """Those of one node. ``node`` gives the Node object as it is now, ``in_use_changed`` has it reported anew."""

    def __init__(
        self,
        client: ApiClient,
        drivers: Drivers,
        credentials: Credentials,
        facts: NodeFacts,
        node: Callable[[], Object],
        root: str,
        expander: Expander,
        in_use_changed: Callable[[], None],
        storage: StorageOperations,
    ) -> None:
        self._client, self._drivers, self._credentials, self._facts = client, drivers, credentials, facts
        self._node, self._records, self._expander = node, Records(root), expander
        self._in_use_changed, self._storage = in_use_changed, storage
        self._mounted: dict[_Key, _Mounted] = {}
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._unstaging: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._sweep = asyncio.Event()
        facts.volumes_in_use = self._records.in_use()

    # -- a pod's volume

    async def mount(self, wanted: Wanted, context: VolumeContext) -> str:
        """Where the volume is on the host, mounted or a device; at once if it is already. Raises VolumeError."""
        key, now = (uid_of(context.pod), wanted.name), time.time()
        known = self._mounted.get(key)
        if known is not None and (known.again is None or now < known.again):
            return known.call.record.mount
        try:
            call = await self._prepare(wanted, context)
            with self._measured(wanted.driver, "map_volume" if wanted.block else "volume_mount"):
                await self._mount(call, context, first=known is None)
        except ApiError as error:
            raise MountFailed(_SET_UP, wanted.name, error.message) from error
        repeats = call.setting("requiresRepublish") or (wanted.claim and Capability.EXPAND_VOLUME in call.able)
        self._mounted[key] = _Mounted(call, now + _AGAIN_SECONDS if repeats else None)
        return call.record.mount

    async def _mount(self, call: Call, context: VolumeContext, *, first: bool) -> None:
        if first or call.setting("requiresRepublish"):
            await self._write(call.record)
            given = {}
            if call.record.attachment:
                with self._measured(call.wanted.driver, "verify_controller_attached_volume"):
                    given = await self._attached(call.wanted, call.record)
            async with self._lock(call.record):
                if first and call.record.staged:
                    await self._stage(call, given)
                await self._publish(call, given)
        if first and agent_applies_group(call.wanted, call.about, call.able):
            await give_group(call.record.mount, context)
        if Capability.EXPAND_VOLUME in call.able:
            await self._expander.expand(call, self._credentials.secret)

    async def _prepare(self, wanted: Wanted, context: VolumeContext) -> Call:
        about = await self._about(wanted.driver)
        if why := unoffered(wanted, about) or unlabelled(wanted, about, context.pod, has_selinux()):
            raise MountFailed(_SET_UP, wanted.name, why)
        try:
            driver = self._drivers.get(wanted.driver)
            able = await driver.capabilities()
        except DriverError as error:
            raise MountFailed(wanted.steps[0], wanted.name, error) from error
        attached = wanted.lifecycle == PERSISTENT and attach_required(about)
        staged = wanted.lifecycle == PERSISTENT and Capability.STAGE_UNSTAGE_VOLUME in able
        stage_folder = self._records.stage_folder(wanted.driver, wanted.handle)
        record = Record(
            folder=self._records.pod_folder(uid_of(context.pod), wanted.name, block=wanted.block),
            driver=wanted.driver,
            handle=wanted.handle,
            attachment=attachment_name(wanted.driver, wanted.handle, name_of(self._node())) if attached else "",
            lifecycle=wanted.lifecycle,
            staged=os.path.join(stage_folder, "globalmount") if staged else "",
            block=wanted.block,
        )
        return Call(wanted, context.pod, driver, able, about, context.fs_group, record)

    def _measured(self, driver: str, operation: str) -> AbstractContextManager[None]:
        return self._storage.measured(f"kubernetes.io/csi:{driver}", operation)

    async def _about(self, driver: str) -> Object | None:
        try:
            return await self._client.get(CSI_DRIVERS, driver)
        except NotFound:
            return None

    def _lock(self, record: Record) -> asyncio.Lock:
        return self._locks.setdefault(record.volume, asyncio.Lock())

    async def _write(self, record: Record) -> None:
        try:
            await asyncio.to_thread(self._records.write, record)
        except OSError as error:
            raise VolumeError(f"failed to save volume info data: {error}") from error
        await self._tell_in_use()

    async def _tell_in_use(self) -> None:
        found = await asyncio.to_thread(self._records.in_use)
        if found != self._facts.volumes_in_use:
            self._facts.volumes_in_use = found
            self._in_use_changed()

    async def _attached(self, wanted: Wanted, record: Record) -> dict[str, str]:
        """What the attacher tells of the volume, when it is attached and its use is known to those who detach."""
        name = unique_name(wanted.driver, wanted.handle)
        try:
            async with asyncio.timeout(_ATTACH_SECONDS):
                while not (name in self._facts.volumes_reported and await self._is_attached(name)):
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError as error:
            why = f"timed out waiting for external-attacher of {wanted.driver} CSI driver to attach {wanted.handle}"
            raise MountFailed("AttachVolume.Attach", wanted.name, why) from error
        attachment = await self._client.get(VOLUME_ATTACHMENTS, record.attachment)
        status = attachment.get("status") or {}
        if not status.get("attached") or is_deleting(attachment):
            raise MountFailed("AttachVolume.Attach", wanted.name, "volume attachment is being deleted")
        return status.get("attachmentMetadata") or {}

    async def _is_attached(self, name: str) -> bool:
        """By the API server itself: a cache may show what is being detached."""
        if not _shows(self._node(), name):
            return False
        return _shows(await self._client.get(NODES, name_of(self._node())), name)

    async def _stage(self, call: Call, given: dict[str, str]) -> None:
        wanted, record = call.wanted, call.record
        request = pb.NodeStageVolumeRequest(
            volume_id=wanted.handle,
            publish_context=given,
            staging_target_path=record.staged,
            volume_capability=call.capability,
            secrets=await self._credentials.secret(wanted.stage_secret),
            volume_context=wanted.attributes,
        )
        try:
            await asyncio.to_thread(self._records.write, replace(record, folder=os.path.dirname(record.staged)))
            await asyncio.to_thread(os.makedirs, record.staged, mode=0o750, exist_ok=True)
            await call.driver.call("NodeStageVolume", request)
        except (DriverError, OSError) as error:
            raise MountFailed(wanted.steps[0], wanted.name, error) from error

    async def _publish(self, call: Call, given: dict[str, str]) -> None:
        wanted, record = call.wanted, call.record
        told, secrets = dict(wanted.attributes), await self._credentials.secret(wanted.publish_secret)
        if call.setting("podInfoOnMount"):
            told |= pod_info(call.pod, wanted)
        requests = call.setting("tokenRequests")
        tokens = await self._credentials.tokens(call.pod, requests if isinstance(requests, list) else [])
        if call.setting("serviceAccountTokenInSecrets"):
            secrets |= tokens
        else:
            told |= tokens
        request = pb.NodePublishVolumeRequest(
            volume_id=wanted.handle,
            publish_context=given,
            staging_target_path=record.staged,
            target_path=record.mount,
            volume_capability=call.capability,
            readonly=wanted.read_only,
            secrets=secrets,
            volume_context=told,
        )
        try:
            await call.driver.call("NodePublishVolume", request)
        except DriverError as error:
            raise MountFailed(wanted.steps[1], wanted.name, error) from error

    def again_at(self, uid: str) -> float | None:
        """When a volume of the pod has to be looked at again, in seconds since 1970."""
        moments = (m.again for (pod, _), m in self._mounted.items() if pod == uid)
        return min((m for m in moments if m is not None), default=None)

    def mounted(self) -> list[Call]:
        return [m.call for m in self._mounted.values()]

    # -- taking away

    async def release(self, uid: str) -> None:
        """Unpublish all that a pod had; what nobody uses any more is then unstaged. Raises VolumeError, OSError."""
        for key in [k for k in self._mounted if k[0] == uid]:
            del self._mounted[key]
        records = await asyncio.to_thread(self._records.of_pod, uid)
        if not records:
            return
        await asyncio.gather(*(self._unpublish(record) for record in records))
        await self._tell_in_use()
        self.sweep()

    def sweep(self) -> None:
        """Something may be to be unstaged, or can be now."""
        self._sweep.set()

    async def _unpublish(self, record: Record) -> None:
        request = pb.NodeUnpublishVolumeRequest(volume_id=record.handle, target_path=record.mount)
        operation = "unmap_volume" if record.block else "volume_unmount"
        async with self._lock(record):
            with self._measured(record.driver, operation):
                await self._drivers.get(record.driver).call("NodeUnpublishVolume", request)
            await asyncio.to_thread(self._records.remove, record)

    async def run(self) -> None:
        """Unstage what no pod uses, until cancelled."""
        while True:
            for record in await asyncio.to_thread(self._records.unused_stages):
                if record.volume not in self._unstaging:
                    task = asyncio.create_task(self._unstage(record), name=f"unstage-{record.handle}")
                    self._unstaging[record.volume] = task
            self._sweep.clear()
            try:
                async with asyncio.timeout(_SWEEP_SECONDS):
                    await self._sweep.wait()
            except TimeoutError:
                continue

    async def _unstage(self, record: Record) -> None:
        request = pb.NodeUnstageVolumeRequest(volume_id=record.handle, staging_target_path=record.staged)
        try:
            async with self._lock(record):
                if record in await asyncio.to_thread(self._records.unused_stages):
                    with self._measured(record.driver, "unmap_device" if record.block else "unmount_device"):
                        await self._drivers.get(record.driver).call("NodeUnstageVolume", request)
                    await asyncio.to_thread(self._records.remove, record)
            await self._tell_in_use()
        except (DriverError, OSError) as error:
            _log.warning("Volume not unstaged, trying again", volume=record.handle, error=str(error))
        finally:
            del self._unstaging[record.volume]

    def close(self) -> None:
        for task in self._unstaging.values():
            task.cancel()


def _shows(node: Object, name: str) -> bool:
    return any(volume["name"] == name for volume in (node.get("status") or {}).get("volumesAttached") or ())
