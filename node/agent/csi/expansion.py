"""The node's part of growing a volume: after the external resizer, NodeExpandVolume, and the claim's new size.

Source: KEP-284, kubelet ``operationexecutor`` nodeExpandVolume.
"""

from collections.abc import Awaitable, Callable

from apimachinery import quantity
from apimachinery.client.api import ApiClient
from apimachinery.client.events import EventRecorder
from apimachinery.meta import Object, condition_is_true, namespace_of, version_of
from apimachinery.scheme import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from node.agent.csi.drivers import DriverError
from node.agent.csi.requests import Call
from node.agent.images import pod_reference
from node.agent.volumes.volume import MountFailed
from protos.csi.v1 import csi_pb2 as pb

SecretReader = Callable[[tuple[str, str] | None], Awaitable[dict[str, str]]]
_PENDING = "FileSystemResizePending"


class Expander:
    def __init__(self, client: ApiClient, recorder: EventRecorder) -> None:
        self._client, self._recorder = client, recorder

    async def expand(self, call: Call, secret: SecretReader) -> None:
        """If the claim waits for it. Raises VolumeError, ApiError."""
        wanted, record, pod = call.wanted, call.record, call.pod
        if not wanted.claim or wanted.read_only:
            return
        claim = await self._client.get(PERSISTENT_VOLUME_CLAIMS, wanted.claim, namespace_of(pod))
        if not condition_is_true(claim, _PENDING):
            return
        volume = await self._client.get(PERSISTENT_VOLUMES, wanted.name)
        size = volume["spec"]["capacity"]["storage"]
        request = pb.NodeExpandVolumeRequest(
            volume_id=wanted.handle,
            volume_path=record.mount,
            capacity_range=pb.CapacityRange(required_bytes=quantity.value(size)),
            staging_target_path=record.staged,
            volume_capability=call.capability,
            secrets=await secret(wanted.expand_secret),
        )
        try:
            await call.driver.call("NodeExpandVolume", request)
        except DriverError as error:
            self._recorder.event(pod_reference(pod), "Warning", "FileSystemResizeFailed", str(error))
            raise MountFailed("NodeExpandVolume", wanted.name, error) from error
        await self._tell(claim, size)
        message = f'MountVolume.NodeExpandVolume succeeded for volume "{wanted.name}"'
        self._recorder.event(pod_reference(pod), "Normal", "FileSystemResizeSuccessful", message)

    async def _tell(self, claim: Object, size: str) -> None:
        conditions = [c for c in claim["status"]["conditions"] if c["type"] not in (_PENDING, "Resizing")]
        status = {
            "capacity": {"storage": size},
            "conditions": conditions or None,
            "allocatedResourceStatuses": {"storage": None},
        }
        patch = {"metadata": {"resourceVersion": str(version_of(claim))}, "status": status}
        name, namespace = claim["metadata"]["name"], namespace_of(claim)
        await self._client.patch(PERSISTENT_VOLUME_CLAIMS, name, namespace, patch, subresource="status")
