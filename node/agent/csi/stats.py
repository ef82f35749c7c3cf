"""How full the mounted volumes are, as their drivers tell it (NodeGetVolumeStats), for the stats summary.

Asked for at most once a minute; a driver that does not answer in time is passed over. Source: kubelet
``server/stats/volume_stat_calculator.go``.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from apimachinery.logging import get_logger
from apimachinery.meta import Object, name_of, namespace_of, uid_of
from node.agent.csi.drivers import Capability, DriverError
from node.agent.csi.requests import Call
from node.agent.times import rfc3339
from protos.csi.v1 import csi_pb2 as pb

_log = get_logger(__name__)
_FRESH_SECONDS: Final = 60.0
_CALL_SECONDS: Final = 2.0
_KEYS: Final = {
    pb.VolumeUsage.BYTES: ("availableBytes", "capacityBytes", "usedBytes"),
    pb.VolumeUsage.INODES: ("inodesFree", "inodes", "inodesUsed"),
}


class VolumeStats:
    """``mounted`` gives the volumes of the node that are mounted now."""

    def __init__(self, mounted: Callable[[], Iterable[Call]]) -> None:
        self._mounted = mounted
        self._read_at = float("-inf")
        self._known: dict[str, list[Object]] = {}

    async def by_pod(self) -> Mapping[str, list[Object]]:
        """What the summary says of volumes, by the pods' uids."""
        if time.monotonic() - self._read_at >= _FRESH_SECONDS:
            self._read_at = time.monotonic()
            calls = [c for c in self._mounted() if Capability.GET_VOLUME_STATS in c.able]
            found = await asyncio.gather(*(_ask(call) for call in calls))
            self._known = {}
            for call, stats in zip(calls, found, strict=True):
                if stats is not None:
                    self._known.setdefault(uid_of(call.pod), []).append(stats)
        return self._known


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
        out["name"] = next(v["name"] for v in pod["spec"]["volumes"] if claim in _claims(pod, v))
    for usage in reply.usage:
        if usage.unit in _KEYS:
            out |= zip(_KEYS[usage.unit], (usage.available, usage.total, usage.used), strict=True)
    return out


def _claims(pod: Object, volume: Object) -> tuple[str, str]:
    named = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
    return named, f"{name_of(pod)}-{volume['name']}" if volume.get("ephemeral") else ""
