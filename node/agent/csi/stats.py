"""How full the mounted volumes are, as their drivers tell it (NodeGetVolumeStats).

A driver that does not answer in time is passed over. Source: ``pkg/volume/csi/csi_metrics.go``.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Final

from apimachinery.logging import get_logger
from apimachinery.meta import Object, namespace_of, uid_of
from node.agent.csi.drivers import Capability, DriverError
from node.agent.csi.requests import Call
from node.agent.times import rfc3339
from node.agent.volume_stats import claim_of
from protos.csi.v1 import csi_pb2 as pb

_log = get_logger(__name__)
_CALL_SECONDS: Final = 2.0
_KEYS: Final = {
    pb.VolumeUsage.BYTES: ("availableBytes", "capacityBytes", "usedBytes"),
    pb.VolumeUsage.INODES: ("inodesFree", "inodes", "inodesUsed"),
}


async def by_pod(mounted: Iterable[Call]) -> Mapping[str, list[Object]]:
    """What drivers tell of their volumes, by the uids of the pods."""
    calls = [c for c in mounted if Capability.GET_VOLUME_STATS in c.able]
    known: dict[str, list[Object]] = {}
    for call, stats in zip(calls, await asyncio.gather(*(_ask(call) for call in calls)), strict=True):
        if stats is not None:
            known.setdefault(uid_of(call.pod), []).append(stats)
    return known


async def _ask(call: Call) -> Object | None:
    record = call.record
    request = pb.NodeGetVolumeStatsRequest(
        volume_id=record.handle, volume_path=record.mount, staging_target_path=record.staged
    )
    try:
        reply = await call.driver.call("NodeGetVolumeStats", request, _CALL_SECONDS)
    except DriverError as error:
        _log.debug("No stats of a volume", volume=record.handle, error=str(error))
        return None
    return described(call, reply)


def described(call: Call, reply: pb.NodeGetVolumeStatsResponse) -> Object:
    """A volume in the summary. Pure."""
    pod, claim = call.pod, call.wanted.claim
    out: Object = {"time": rfc3339(time.time()), "name": call.wanted.name}
    if claim:
        out["pvcRef"] = {"name": claim, "namespace": namespace_of(pod)}
        out["name"] = next(v["name"] for v in pod["spec"]["volumes"] if claim == claim_of(pod, v))
    for usage in reply.usage:
        if usage.unit in _KEYS:
            out |= zip(_KEYS[usage.unit], (usage.available, usage.total, usage.used), strict=True)
    return out
