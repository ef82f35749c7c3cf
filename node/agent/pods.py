"""The pods of one node: gives each its worker, checks that the node can take it, and clears away what nobody owns.

Handlers only wake workers. Orphans (sandboxes and folders of pods that the API server does not have) are looked for
only after the pods have been listed once, for before that every pod looks like one.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, Literal

from apimachinery.client.events import EventRecorder
from apimachinery.logging import get_logger
from node.agent import admission, host, shutdown
from node.agent.events import RuntimeWatch
from node.agent.eviction_plan import refused_under_pressure
from node.agent.images import pod_reference
from node.agent.node_services import NodeServices
from node.agent.pod_state import POD_UID, Object, is_mirror, pod_key, uid_of
from node.agent.pod_worker import PodWorker
from node.agent.status import Verdict
from node.agent.volumes.volume import VolumeError
from node.cri.runtime import RuntimeFault

_log = get_logger(__name__)
_HOUSEKEEPING_SECONDS: Final = 10.0
_ORPHAN_GRACE_SECONDS: Final = 10


class Pods:
    """All workers of one node."""

    def __init__(self, services: NodeServices, on_mirror: Callable[[Object, bool], None] | None = None) -> None:
        """``on_mirror`` is told of changed mirror pods, and whether they are gone."""
        self._on_mirror = on_mirror
        self._services = services
        self._workers: dict[str, PodWorker] = {}
        self._recorder: EventRecorder = services.recorder

    def __len__(self) -> int:
        return len(self._workers)

    def on_pod(self, event: Literal["ADDED", "MODIFIED", "DELETED"], old: Object | None, new: Object | None) -> None:
        """The informer's handler, for pods bound to this node."""
        about = new or old or {}
        if is_mirror(about):
            if self._on_mirror is not None:
                self._on_mirror(about, event == "DELETED")
        elif event == "DELETED" or new is None:
            self.drop(uid_of(about))
        else:
            self.put(new)

    def put(self, pod: Object) -> None:
        """Run a pod, or go on with it as it is now."""
        worker = self._workers.get(uid_of(pod))
        if worker is not None:
            worker.update(pod)
        else:
            self._add(pod)

    def drop(self, uid: str) -> None:
        """Stop a pod that nobody wants any more."""
        worker = self._workers.get(uid)
        if worker is not None:
            worker.remove()

    def _add(self, pod: Object) -> None:
        worker = PodWorker(self._services, pod, self._others)
        fresh = not (pod.get("status") or {}).get("startTime") and not worker.ending
        self._workers[worker.uid] = worker
        verdict = self._check(worker) if fresh else None
        if verdict is None:
            worker.wake()
            return
        _log.info("Pod rejected", pod=pod_key(pod), reason=verdict.reason)
        self._recorder.event(pod_reference(pod), "Warning", verdict.reason, verdict.message)
        worker.end(replace(verdict, message=f"Pod was rejected: {verdict.message}"))

    def _check(self, worker: PodWorker) -> Verdict | None:
        facts = self._services.facts
        if facts.shutting_down:
            return shutdown.REFUSED
        refused = refused_under_pressure(worker.pod, facts.pressure)
        spec = worker.pod["spec"]
        refused = refused or admission.check_groups(spec, facts.strict_groups)
        refused = refused or admission.check_apparmor(worker.pod, host.has_apparmor())
        refused = refused or admission.check_sysctls(spec, self._services.settings.unsafe_sysctls)
        return refused or admission.check(worker.pod, self._others(worker.uid), facts.allocatable)

    def active(self) -> list[Object]:
        return [w.admitted for w in self._workers.values() if w.active and not w.ending]

    def unfinished(self) -> list[Object]:
        """Those that run, the ones that are being deleted too."""
        return [w.pod for w in self._workers.values() if w.active]

    def at_rest(self, uid: str) -> bool:
        """Whether nothing of a pod runs any more, and the API server knows."""
        return self.stopped(uid) and not self._services.writer.pending(uid)

    def stopped(self, uid: str) -> bool:
        """Whether nothing of a pod runs any more."""
        worker = self._workers.get(uid)
        return worker is None or worker.stopped

    async def remove_dead(self) -> None:
        """Remove the dead containers of pods that have ended."""
        for worker in list(self._workers.values()):
            await worker.remove_dead()

    def end(self, uid: str, verdict: Verdict) -> None:
        """The node takes a pod away."""
        if uid in self._workers:
            self._workers[uid].end(verdict)

    def wake(self, uid: str) -> None:
        """Something of a pod changed outside the API server."""
        worker = self._workers.get(uid)
        if worker is not None:
            worker.wake()

    def reconcile(self) -> None:
        """The node is well again: say so of its pods."""
        for worker in self._workers.values():
            worker.reconcile()

    def forget(self, uid: str) -> None:
        self._workers.pop(uid, None)
        for worker in self._workers.values():
            worker.room_was_made()

    def _others(self, uid: str) -> list[Object]:
        """The active pods but one, with the resources that they hold."""
        return [w.admitted for w in self._workers.values() if w.active and w.uid != uid]

    def get(self, namespace: str, name: str, uid: str = "") -> Object | None:
        """A pod of this node by name."""
        for worker in self._workers.values():
            meta = worker.pod["metadata"]
            if meta["name"] == name and meta.get("namespace") == namespace and uid in ("", worker.uid, meta["uid"]):
                return worker.pod
        return None

    def list(self) -> list[Object]:
        return [w.pod for w in self._workers.values()]

    def probe_totals(self) -> Iterator[tuple[Object, Mapping[tuple[str, str, str], int]]]:
        """Each pod with how often its probes had which result, by container, probe and result."""
        return ((w.pod, w.probes.totals) for w in self._workers.values())

    async def close(self) -> None:
        await asyncio.gather(*(w.close() for w in self._workers.values()))

    # -- orphans

    async def housekeeping(self, watch: RuntimeWatch) -> None:
        """Clear away what nobody owns, again and again. Start it when the pods have been listed."""
        suspects: set[str] = set()
        while True:
            try:
                suspects = await self._clean_orphans(watch, suspects)
            except (RuntimeFault, OSError) as error:
                _log.warning("Housekeeping failed, trying again", error=str(error))
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)

    async def _clean_orphans(self, watch: RuntimeWatch, suspects: set[str]) -> set[str]:
        """Remove what was an orphan the last time too (an event may still be on its way); the orphans of now."""
        held = {uid for uid, _ in (await watch.snapshot()).values()}
        held |= await asyncio.to_thread(_names_in, self._services.paths.pods)
        logs = await asyncio.to_thread(_names_in, self._services.paths.logs)
        held |= {name.rpartition("_")[2] for name in logs}
        orphans = held - self._workers.keys()
        first_time = not suspects
        await asyncio.gather(*(self._remove(uid) for uid in (orphans if first_time else orphans & suspects)))
        return orphans

    async def _remove(self, uid: str) -> None:
        _log.info("Removing what is left of a pod that is gone", uid=uid)
        try:
            await self._remove_containers(uid)
            await self._services.preparer.remove(uid)
        except (RuntimeFault, VolumeError, OSError) as error:  # a driver may be away: no reason to let others wait
            _log.warning("Something stays of a pod that is gone, trying again", uid=uid, error=str(error))

    async def _remove_containers(self, uid: str) -> None:
        runtime, labels = self._services.runtime, {POD_UID: uid}
        containers = await runtime.list_containers(labels)
        await asyncio.gather(*(runtime.stop_container(c.id, _ORPHAN_GRACE_SECONDS) for c in containers))
        for sandbox in await runtime.list_pod_sandboxes(labels):
            await runtime.stop_pod_sandbox(sandbox.id)
            await runtime.remove_pod_sandbox(sandbox.id)
        for container in containers:
            await runtime.remove_container(container.id)


def _names_in(folder: str) -> set[str]:
    return set(os.listdir(folder)) if os.path.isdir(folder) else set()
