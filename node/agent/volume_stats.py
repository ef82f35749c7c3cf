"""How full the volumes of a node's pods are, for the stats summary: read at most once a minute.

What a CSI driver mounts it tells itself; local volumes are their file system; of what the agent writes the files are
counted. Nothing is told of hostPath.
Source: kubelet ``server/stats/volume_stat_calculator.go``, ``pkg/volume/metrics_{du,statfs}.go``.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Final

from apimachinery.meta import Object, name_of, namespace_of
from node.agent import disk_use
from node.agent.paths import NodePaths
from node.agent.pod_state import uid_of
from node.agent.storage import BoundVolumes
from node.agent.times import rfc3339

_FRESH_SECONDS: Final = 60.0
_COUNTED: Final = {
    "configMap": "configmap",
    "downwardAPI": "downward-api",
    "emptyDir": "empty-dir",
    "projected": "projected",
    "secret": "secret",
}
"""The folders of what is counted, by the kinds of volumes."""
Stats = Mapping[str, list[Object]]
VolumeReader = Callable[[], Awaitable[Stats]]


class VolumeStats:
    """``pods`` gives the node's pods, ``drivers`` what drivers tell of volumes by the uids of their pods."""

    def __init__(
        self,
        pods: Callable[[], Iterable[Object]],
        paths: NodePaths,
        bound: BoundVolumes,
        drivers: VolumeReader,
    ) -> None:
        self._pods, self._paths, self._bound, self._drivers = pods, paths, bound, drivers
        self._read_at = float("-inf")
        self._known: Stats = {}

    async def by_pod(self) -> Stats:
        """What the summary says of volumes, by the pods' uids."""
        if time.monotonic() - self._read_at >= _FRESH_SECONDS:
            self._read_at = time.monotonic()
            told = await self._drivers()
            own = await asyncio.to_thread(lambda: {uid_of(p): list(self._of_pod(p)) for p in list(self._pods())})
            self._known = {uid: [*own.get(uid, ()), *told.get(uid, ())] for uid in {*own, *told}}
        return self._known

    def _of_pod(self, pod: Object) -> Iterator[Object]:
        for volume in pod["spec"].get("volumes") or ():
            found: Object | None = None
            kind = next((k for k in _COUNTED if volume.get(k) is not None), None)
            if kind is not None:
                found = counted(self._paths.volume(uid_of(pod), _COUNTED[kind], volume["name"]))
            elif claim := claim_of(pod, volume):
                found = self._local(pod, claim)
            if found is not None:
                yield {"time": rfc3339(time.time()), "name": volume["name"]} | found

    def _local(self, pod: Object, claim: str) -> Object | None:
        spec = (self._bound.known(pod, claim) or {}).get("spec") or {}
        if "local" not in spec or spec.get("volumeMode") == "Block":
            return None
        found = whole(spec["local"]["path"])
        return None if found is None else found | {"pvcRef": {"name": claim, "namespace": namespace_of(pod)}}


def claim_of(pod: Object, volume: Object) -> str:
    """The claim behind a pod's volume, "" for a volume of another kind."""
    named = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
    return f"{name_of(pod)}-{volume['name']}" if volume.get("ephemeral") is not None else str(named)


def whole(path: str) -> Object | None:
    """A whole file system; None if it is not there."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return {
        "availableBytes": found.f_bavail * found.f_frsize,
        "capacityBytes": found.f_blocks * found.f_frsize,
        "usedBytes": (found.f_blocks - found.f_bfree) * found.f_frsize,
        "inodesFree": found.f_ffree,
        "inodes": found.f_files,
        "inodesUsed": found.f_files - found.f_ffree,
    }


def counted(folder: str) -> Object | None:
    """A folder of a file system; None if it is not there."""
    found, use = whole(folder), disk_use.below(folder)
    return None if found is None else found | {"usedBytes": use.bytes, "inodesUsed": use.inodes + 1}
