"""Looks at what the runtime holds of one pod and makes the plain view that decisions are made from.

A container that has ended does not change any more, nor does the address of a sandbox: both are asked for once.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from node.agent.pod_state import (
    CONTAINER_HASH,
    CONTAINER_NAME,
    POD_UID,
    RESTART_COUNT,
    TERMINATION_PATH,
    TERMINATION_POLICY,
    ContainerView,
    Object,
    PodRuntime,
    SandboxView,
    State,
)
from node.cri.logs import parse_record
from node.cri.runtime import Runtime, RuntimeNotFound
from protos.cri.runtime.v1 import api_pb2 as pb

_STATES: Final[Mapping[int, State]] = {
    pb.CONTAINER_CREATED: State.CREATED,
    pb.CONTAINER_RUNNING: State.RUNNING,
    pb.CONTAINER_EXITED: State.EXITED,
    pb.CONTAINER_UNKNOWN: State.UNKNOWN,
}
MAX_MESSAGE_BYTES: Final = 4096
FALLBACK_LINES: Final = 80
FALLBACK_BYTES: Final = 2048


class PodObserver:
    """The eye on one pod; remembers what cannot change."""

    def __init__(self, runtime: Runtime, uid: str) -> None:
        self._runtime = runtime
        self._labels = {POD_UID: uid}
        self._ended: dict[str, ContainerView] = {}
        self._ready: dict[str, SandboxView] = {}

    async def observe(self) -> PodRuntime:
        """Raises RuntimeFault when the runtime does not answer."""
        sandboxes, containers = await asyncio.gather(
            self._runtime.list_pod_sandboxes(self._labels), self._runtime.list_containers(self._labels)
        )
        boxes = [await self._sandbox(s) for s in sandboxes]
        views = [v for v in [await self._container(c) for c in containers] if v is not None]
        self._ended = {v.id: v for v in views if v.state is State.EXITED}
        self._ready = {b.id: b for b in boxes if b.ready and (b.ips or b.host_network)}
        return PodRuntime(
            tuple(sorted(boxes, key=lambda s: (s.created_at, s.attempt), reverse=True)),
            tuple(sorted(views, key=lambda c: (c.created_at, c.attempt), reverse=True)),
        )

    async def _sandbox(self, listed: pb.PodSandbox) -> SandboxView:
        known = self._ready.get(listed.id)
        ready = listed.state == pb.SANDBOX_READY
        if known is not None and ready:
            return known
        view = SandboxView(
            listed.id, listed.metadata.attempt, ready, listed.created_at / 1e9, handler=listed.runtime_handler
        )
        if not ready:
            return view
        try:
            status = await self._runtime.pod_sandbox_status(listed.id)
        except RuntimeNotFound:
            return replace(view, ready=False)
        more = [ip.ip for ip in status.network.additional_ips]
        ips = tuple(ip for ip in (status.network.ip, *more) if ip)
        host = status.linux.namespaces.options.network == pb.NODE
        ready = status.state == pb.SANDBOX_READY
        return replace(view, ready=ready, ips=ips, host_network=host)

    async def _container(self, listed: pb.Container) -> ContainerView | None:
        known = self._ended.get(listed.id)
        if known is not None:
            return known
        try:
            status = await self._runtime.container_status(listed.id)
        except RuntimeNotFound:
            return None
        view = container_view(status, listed.pod_sandbox_id)
        if view.state is State.EXITED:
            message = await asyncio.to_thread(termination_message, status)
            if message:
                view = container_view(status, listed.pod_sandbox_id, message)
        return view


def container_view(status: pb.ContainerStatus, sandbox_id: str, message: str = "") -> ContainerView:
    annotations = status.annotations
    cgroup = status.resources.linux
    image = status.image.user_specified_image or status.image.image
    return ContainerView(
        id=status.id,
        name=status.labels.get(CONTAINER_NAME) or status.metadata.name,
        sandbox_id=sandbox_id,
        attempt=int(annotations.get(RESTART_COUNT) or status.metadata.attempt),
        state=_STATES.get(status.state, State.UNKNOWN),
        created_at=status.created_at / 1e9,
        started_at=status.started_at / 1e9,
        finished_at=status.finished_at / 1e9,
        exit_code=status.exit_code,
        reason=status.reason,
        message=message or status.message,
        image="" if image.startswith("sha256:") else image,
        image_id=status.image_id or status.image_ref,
        hash=annotations.get(CONTAINER_HASH, ""),
        log_path=status.log_path,
        resources={"quota": cgroup.cpu_quota, "shares": cgroup.cpu_shares, "memory": cgroup.memory_limit_in_bytes},
        user=_user(status.user),
        recursive=frozenset(m.container_path for m in status.mounts if m.recursive_read_only),
    )


def _user(told: pb.ContainerUser) -> Object | None:
    if not told.HasField("linux"):
        return None
    user: Object = {"uid": told.linux.uid, "gid": told.linux.gid}
    if told.linux.supplemental_groups:
        user["supplementalGroups"] = list(told.linux.supplemental_groups)
    return {"linux": user}


def termination_message(status: pb.ContainerStatus) -> str:
    """What a container left at its terminationMessagePath; or, by policy after an error, the end of its log."""
    path = status.annotations.get(TERMINATION_PATH, "")
    for mount in status.mounts:
        if path and mount.container_path == path:
            text = _tail(mount.host_path, MAX_MESSAGE_BYTES)
            if text:
                return text
    policy = status.annotations.get(TERMINATION_POLICY)
    if policy == "FallbackToLogsOnError" and status.exit_code != 0:
        return _log_tail(status.log_path)
    return ""


def _tail(path: str, limit: int) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""


def _log_tail(path: str) -> str:
    lines = _tail(path, FALLBACK_BYTES * 4).encode().splitlines(keepends=True)[-FALLBACK_LINES:]
    records = [parse_record(line) for line in lines]
    content = b"".join(r.content for r in records if r is not None)
    return content[-FALLBACK_BYTES:].decode("utf-8", "replace")
