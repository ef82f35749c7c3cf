"""Reports pod statuses: in batches, only what changed, and never an older one over a newer.

One batch is under way at a time and each pod has at most one entry that waits, always its newest: so order cannot be
lost. A patch names the pod's uid, so that a pod of the same name that came after is not touched. Conditions are
merged by type, so that those of others stay. What cannot be written because the API server is away is written when it
is back. Source: kubelet ``status/status_manager.go``.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from apimachinery.backoff import Backoff
from apimachinery.client.api import STRATEGIC_MERGE_PATCH, ApiClient, Write
from apimachinery.errors import ApiError, Conflict, NotFound, ServiceUnavailable, Timeout, TooManyRequests
from apimachinery.logging import get_logger
from apimachinery.meta import version_of
from apimachinery.scheme import PODS
from node.agent.conditions import PASSING
from node.agent.pod_state import Object, pod_key, uid_of

_log = get_logger(__name__)
BATCH: Final = 200
_REPLACED: Final = ("podIPs", "hostIPs")  # merged by ip by default, so an old address would stay
_AGAIN: Final = (ServiceUnavailable, Timeout, TooManyRequests)


@dataclass(slots=True)
class _Entry:
    """The newest status of a pod that has not been written, and who waits for it. ``delete`` ends the pod after it."""

    pod: Object
    status: Object
    delete: bool = False
    done: asyncio.Future[None] | None = field(default=None)


class StatusWriter:
    """Writes the statuses of all pods of a process."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._waiting: dict[str, _Entry] = {}
        self._written: dict[str, Object] = {}
        self._flying: set[str] = set()  # in the batch under way, whose news may come before its answer
        self._news: dict[str, Object] = {}
        self._versions: dict[str, int] = {}  # resource version of what was written: older news are of before it
        self._wake = asyncio.Event()

    def put(self, pod: Object, status: Object) -> None:
        """Report ``status`` soon, unless it is what was reported last."""
        uid = uid_of(pod)
        entry = self._waiting.get(uid)
        if entry is not None:
            entry.pod, entry.status = pod, status
            return
        if self._base(pod) == status:
            return
        self._waiting[uid] = _Entry(pod, status)
        self._wake.set()

    async def finish(self, pod: Object, status: Object) -> None:
        """Report the final status and then delete the pod for good. Returns when the API server has done both."""
        entry = self._waiting.setdefault(uid_of(pod), _Entry(pod, status))
        entry.pod, entry.status, entry.delete = pod, status, True
        entry.done = asyncio.get_running_loop().create_future()
        self._wake.set()
        await asyncio.shield(entry.done)

    def pending(self, uid: str) -> bool:
        """Whether something of a pod has still to be written."""
        return uid in self._waiting or uid in self._flying

    def reconcile(self, pod: Object) -> None:
        """Report again if someone has since overruled a condition of the node's (Ready of a node thought dead)."""
        uid = uid_of(pod)
        written = self._written.get(uid)
        if uid in self._flying:
            self._news[uid] = pod  # its own echo or another's opinion: the answer will tell
            return
        if written is None or uid in self._waiting:
            return
        if version_of(pod) <= self._versions.get(uid, 0):
            return
        stored = {c["type"]: c.get("status") for c in (pod.get("status") or {}).get("conditions") or ()}
        if any(stored.get(c["type"]) != c["status"] for c in written.get("conditions") or ()):
            self._written[uid] = pod["status"]
            self._waiting[uid] = _Entry(pod, written)
            self._wake.set()

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._written.pop(uid, None)
        self._versions.pop(uid, None)
        entry = self._waiting.pop(uid, None)
        if entry is not None and entry.done is not None and not entry.done.done():
            entry.done.set_result(None)

    def _base(self, pod: Object) -> Object:
        """What the API server is known to have."""
        return self._written.get(uid_of(pod)) or pod.get("status") or {}

    async def run(self) -> None:
        """Write until cancelled."""
        backoff = Backoff(initial=0.2, maximum=5.0)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                if await self._flush():
                    backoff.reset()
                else:
                    await asyncio.sleep(backoff.next())

    async def _flush(self) -> bool:
        """Write one batch; False when the API server did not take all of it now."""
        uids = list(self._waiting)[:BATCH]
        batch = {uid: self._waiting.pop(uid) for uid in uids}
        writes = [write for entry in batch.values() for write in self._writes(entry)]
        self._flying = set(batch)
        try:
            results = iter(await self._client.write(writes))
        except ApiError as error:
            _log.debug("Statuses not written", pods=len(batch), error=error.message)
            for uid, entry in batch.items():
                self._again(uid, entry)
            return False
        finally:
            self._flying = set()
        taken = [
            self._take(uid, entry, [next(results) for _ in range(2 if entry.delete else 1)])
            for uid, entry in batch.items()
        ]
        news, self._news = self._news, {}
        for pod in news.values():
            self.reconcile(pod)
        return all(taken)

    def _writes(self, entry: _Entry) -> list[Write]:
        meta = entry.pod["metadata"]
        name, namespace, uid = meta["name"], meta.get("namespace", ""), meta["uid"]
        body = {"metadata": {"uid": uid}, "status": status_patch(self._base(entry.pod), entry.status)}
        writes = [Write.patch(PODS, name, namespace, body, subresource="status", patch_type=STRATEGIC_MERGE_PATCH)]
        if entry.delete:
            writes.append(Write.delete(PODS, name, namespace, uid=uid, grace_period_seconds=0))
        return writes

    def _take(self, uid: str, entry: _Entry, results: list[Object | ApiError]) -> bool:
        errors = [r for r in results if isinstance(r, ApiError)]
        if any(isinstance(e, _AGAIN) for e in errors):
            self._again(uid, entry)
            return False
        for error in errors:
            if not isinstance(error, NotFound | Conflict):
                _log.warning("Pod status refused", pod=pod_key(entry.pod), error=error.message)
        if not errors:
            self._written[uid] = entry.status
            self._versions[uid] = max(version_of(r) for r in results if not isinstance(r, ApiError))
        if entry.done is not None and not entry.done.done():
            entry.done.set_result(None)
        return True

    def _again(self, uid: str, entry: _Entry) -> None:
        newer = self._waiting.get(uid)
        if newer is None:
            self._waiting[uid] = entry
        else:
            newer.delete, newer.done = newer.delete or entry.delete, newer.done or entry.done
        self._wake.set()


def status_patch(old: Mapping[str, Any], new: Object) -> Object:
    """The strategic-merge patch that makes ``old`` say what ``new`` says, and leaves others' conditions alone."""
    patch: Object = {key: None for key in old if key in _OWNED and key not in new}
    for key, value in new.items():
        if value == old.get(key):
            continue
        if key == "conditions":
            known = {c["type"]: c for c in old.get("conditions") or ()}
            patch[key] = [dict.fromkeys(known.get(c["type"], ())) | c for c in value if known.get(c["type"]) != c]
            ended = (known.keys() & PASSING) - {c["type"] for c in value}
            patch[key] += [{"type": kind, "$patch": "delete"} for kind in sorted(ended)]
        elif key in _REPLACED:
            patch[key] = [*value, {"$patch": "replace"}]
        else:
            patch[key] = value
    return patch


_OWNED: Final = frozenset(
    {
        "allocatedResources",
        "containerStatuses",
        "ephemeralContainerStatuses",
        "initContainerStatuses",
        "message",
        "phase",
        "podIP",
        "podIPs",
        "reason",
        "resources",
    }
)
