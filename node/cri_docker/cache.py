"""What the engine holds for this node, in memory, kept true by the engine's events.

Lists and statuses are answered from here: the engine is asked about a container when something happened to it,
never when somebody looks. All knowledge enters through ``refresh`` (one inspect, serial for each id, so that an
older answer never overwrites a newer one) and leaves through ``forget``; CRI events follow from the difference
between the old and the new record, so a relist after lost events tells them too.

While the engine is away nothing is answered (``Unavailable``): stale answers would make a kubelet act on ghosts.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from time import time_ns
from typing import Any
from weakref import WeakValueDictionary

from node.cri_docker import naming, users
from node.cri_docker.attachments import RELEASED, Attachments
from node.cri_docker.engine import Engine, EngineError
from node.cri_docker.records import KILLED, ContainerRecord, R, Record, SandboxRecord, container_record, sandbox_record
from node.cri_docker.refusal import AlreadyExists, NotFound, Unavailable
from protos.cri.runtime.v1 import api_pb2 as cri

_SUBSCRIBER_BACKLOG = 1000
_OOM_SECONDS = 1.0
"""The engine may tell of a death before its cause: 0.3 s before, on a machine with more to do than cores."""


class Cache:
    def __init__(
        self,
        engine: Engine,
        node: str,
        attachments: Attachments,
        *,
        image_name: Callable[[str], str],
        on_change: Callable[[ContainerRecord], Awaitable[None]],
        killed_for_memory: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """``on_change`` runs before a container's new record is seen: an exit is told after its last log line.
        ``killed_for_memory`` tells what the kernel says of a container."""
        self._engine, self._node, self._attachments = engine, node, attachments
        self._image_name, self._on_change = image_name, on_change
        self._killed_for_memory = killed_for_memory
        self._sandboxes: dict[str, SandboxRecord] = {}
        self._containers: dict[str, ContainerRecord] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._hidden: set[str] = set()
        self._oom: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._ending: set[str] = set()
        self._subscribers: set[asyncio.Queue[cri.ContainerEventResponse | None]] = set()
        self.on_gone: Callable[[str], None] = lambda _: None
        """Called with the id of what has been removed, by whomever."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called when a sandbox has gone that still had its network: somebody else has removed it."""
        self.away = "the engine has not been asked yet"
        """Why nothing can be told now; "" when all is well."""

    def require(self) -> None:
        if self.away:
            raise Unavailable(f"the Docker engine is not available: {self.away}")

    def sandboxes(self) -> list[SandboxRecord]:
        self.require()
        return [record for record in self._sandboxes.values() if record.ready or record.name not in self._hidden]

    def containers(self, sandbox_id: str = "") -> list[ContainerRecord]:
        self.require()
        return [r for r in self._containers.values() if not sandbox_id or r.sandbox_id == sandbox_id]

    def sandbox(self, identity: str) -> SandboxRecord:
        """By id or by a prefix only one has. Raises NotFound."""
        self.require()
        return _find(self._sandboxes, identity, "sandbox")

    def container(self, identity: str) -> ContainerRecord:
        self.require()
        return _find(self._containers, identity, "container")

    def state_of(self, identity: str) -> int | None:
        """The state last seen of a sandbox or container, None for a stranger."""
        record = self._sandboxes.get(identity) or self._containers.get(identity)
        return record.state if record else None

    def ids(self) -> set[str]:
        return self._sandboxes.keys() | self._containers.keys()

    async def holder(self, name: str, kind: type[R]) -> tuple[R, dict[str, Any]] | None:
        """Whose an engine's name is: the record, and the labels that it was made with; None if it is free now.

        Raises AlreadyExists if it is not such a record's, EngineError."""
        try:
            inspect = await self._engine.get(f"/containers/{name}/json")
        except EngineError as error:
            if error.not_found:
                return None
            raise
        existing = await self.refresh(inspect["Id"])
        if not isinstance(existing, kind):
            raise AlreadyExists(f"the name {name} is taken by container {inspect['Id'][:12]} of somebody else")
        return existing, inspect["Config"]["Labels"]

    async def refresh(self, identity: str) -> Record | None:
        """Ask the engine about one id; None when it is gone or not this node's."""
        async with self._lock(identity):
            try:
                inspect = await self._engine.get(f"/containers/{identity}/json")
            except EngineError as error:
                if not error.not_found:
                    raise
                self._forget(identity)
                return None
            labels = inspect["Config"]["Labels"] or {}
            if labels.get(naming.NODE) != self._node or naming.CONFIG not in labels:
                return None
            if labels[naming.KIND] == naming.KIND_SANDBOX:
                sandbox = sandbox_record(inspect, self._attachments.get(identity))
                self._put(self._sandboxes, sandbox)
                return sandbox
            container = self._known_user(container_record(inspect, await self._was_oom(inspect)))
            await self._on_change(container)
            self._put(self._containers, container)
            return container

    def _known_user(self, new: ContainerRecord) -> ContainerRecord:
        """With the user of its first process: of what that was at first, for it may change."""
        old = self._containers.get(new.id)
        user = (old and old.user) or (users.identity(new.pid) if new.running else None)
        return replace(new, user=user) if user else new

    async def _was_oom(self, inspect: dict[str, Any]) -> bool:
        """Whether the kernel or the engine told, or the engine tells in time, of a kill for want of memory. Only a
        SIGKILL that came while we looked, and that no verb of ours sent, is worth asking and waiting for."""
        identity, state = inspect["Id"], inspect["State"]
        seen = self._containers.get(identity)
        unexplained = state["ExitCode"] == KILLED and not state["Running"] and not state["OOMKilled"]
        if unexplained and identity not in self._ending and seen and seen.state != cri.CONTAINER_EXITED:
            if self._killed_for_memory(identity):
                self._oom[identity].set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_OOM_SECONDS):
                    await self._oom[identity].wait()
        return identity in self._oom and self._oom[identity].is_set()

    async def forget(self, identity: str) -> None:
        """It has been removed."""
        async with self._lock(identity):
            self._forget(identity)

    def note_oom(self, identity: str) -> None:
        """The engine said that it, or a process in it, was killed for want of memory."""
        if identity in self._containers:
            self._oom[identity].set()

    def note_end(self, identity: str) -> None:
        """One of our verbs ends it now: that explains a SIGKILL."""
        self._ending.add(identity)

    def hide(self, name: str) -> None:
        """Not to be seen before it is ready: a sandbox that is being made. Its name is known before its id is."""
        self._hidden.add(name)

    def reveal(self, name: str, made: str = "") -> None:
        """``made``: the sandbox's id, whose events are then told."""
        self._hidden.discard(name)
        if record := self._sandboxes.get(made):
            self._tell_difference(None, record)

    async def events(self) -> AsyncIterator[cri.ContainerEventResponse]:
        """All that happens from now on. Ends when the reader is too slow: it must list and subscribe again."""
        queue: asyncio.Queue[cri.ContainerEventResponse | None] = asyncio.Queue(_SUBSCRIBER_BACKLOG)
        self._subscribers.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._subscribers.discard(queue)

    def end_subscriptions(self) -> None:
        for queue in self._subscribers:
            _end(queue)

    def _lock(self, identity: str) -> asyncio.Lock:
        """Lives as long as somebody holds or awaits it."""
        return self._locks.setdefault(identity, asyncio.Lock())

    def _put(self, records: dict[str, R], new: R) -> None:
        old = records.get(new.id)
        records[new.id] = new
        self._tell_difference(old, new)

    def _forget(self, identity: str) -> None:
        record: Record | None = self._sandboxes.pop(identity, None) or self._containers.pop(identity, None)
        if record:
            if record.state == cri.CONTAINER_RUNNING:
                self._tell(record, cri.CONTAINER_STOPPED_EVENT)
            self._tell(record, cri.CONTAINER_DELETED_EVENT)
        attachment = self._attachments.get(identity)
        if attachment and attachment.phase != RELEASED:
            self.on_lost()
        self._oom.pop(identity, None)
        self._ending.discard(identity)
        self.on_gone(identity)

    def _tell_difference(self, old: Record | None, new: Record) -> None:
        was = old.state if old else None
        if was is None:
            self._tell(new, cri.CONTAINER_CREATED_EVENT)
        if new.state != cri.CONTAINER_CREATED and was in (None, cri.CONTAINER_CREATED):
            self._tell(new, cri.CONTAINER_STARTED_EVENT)
        if new.state == cri.CONTAINER_EXITED and was != cri.CONTAINER_EXITED:
            self._tell(new, cri.CONTAINER_STOPPED_EVENT)

    def _tell(self, record: Record, kind: cri.ContainerEventType) -> None:
        if not self._subscribers or record.name in self._hidden:
            return
        event = cri.ContainerEventResponse(container_id=record.id, container_event_type=kind, created_at=time_ns())
        sandbox_id = record.id if isinstance(record, SandboxRecord) else record.sandbox_id
        if sandbox := self._sandboxes.get(sandbox_id):
            event.pod_sandbox_status.CopyFrom(sandbox.status())
        event.containers_statuses.extend(
            r.status(self._image_name) for r in self._containers.values() if r.sandbox_id == sandbox_id
        )
        for queue in self._subscribers:
            if queue.full():
                _end(queue)
            else:
                queue.put_nowait(event)


def _end(queue: "asyncio.Queue[cri.ContainerEventResponse | None]") -> None:
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)


def _find(records: dict[str, R], identity: str, what: str) -> R:
    if record := records.get(identity):
        return record
    matches = [record for key, record in records.items() if identity and key.startswith(identity)]
    if len(matches) != 1:
        raise NotFound(f"{what} {identity!r} {'is ambiguous' if matches else 'does not exist'}")
    return matches[0]
