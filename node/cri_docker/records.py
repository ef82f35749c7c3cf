"""What the engine knows of a sandbox or container (``inspect``), as the CRI tells it. Pure.

Times are nanoseconds since the epoch. A container whose start failed stays "created" for the engine; for the
CRI it has exited, or a kubelet would wait for it for ever.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from node.cri_docker import naming
from node.cri_docker.attachments import ATTACHED, Attachment
from protos.cri.runtime.v1 import api_pb2 as cri

Inspect = Mapping[str, Any]
KILLED = 137
_RUNNING = frozenset({"running", "paused", "restarting"})


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    id: str
    name: str
    config: cri.PodSandboxConfig
    handler: str
    state: cri.ContainerState
    created_at: int
    pid: int
    host_network: bool
    resolv_conf: str
    hosts: str
    network: Attachment | None = None

    @property
    def ready(self) -> bool:
        attached = self.network is not None and self.network.phase == ATTACHED
        return self.state == cri.CONTAINER_RUNNING and attached

    @property
    def cri_state(self) -> cri.PodSandboxState:
        return cri.SANDBOX_READY if self.ready else cri.SANDBOX_NOTREADY

    @property
    def netns(self) -> str:
        return f"/proc/{self.pid}/ns/net" if self.pid else ""

    def summary(self) -> cri.PodSandbox:
        return cri.PodSandbox(**identity_of(self), **self._state(), runtime_handler=self.handler)

    def status(self) -> cri.PodSandboxStatus:
        status = cri.PodSandboxStatus(**identity_of(self), **self._state(), runtime_handler=self.handler)
        status.linux.namespaces.options.CopyFrom(self.config.linux.security_context.namespace_options)
        if self.network and self.network.ips and self.ready:
            status.network.ip = self.network.ips[0]
            status.network.additional_ips.extend(cri.PodIP(ip=ip) for ip in self.network.ips[1:])
        return status

    def _state(self) -> dict[str, Any]:
        return {"state": self.cri_state, "created_at": self.created_at}


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    id: str
    name: str
    sandbox_id: str
    config: cri.ContainerConfig
    state: cri.ContainerState
    created_at: int
    started_at: int
    finished_at: int
    exit_code: int
    reason: str
    message: str
    pid: int
    image_id: str
    log_path: str
    """The CRI log's full path; "" where none is wanted."""
    engine_log: str
    """The engine's own json-file log."""
    host_config: Mapping[str, Any] = field(default_factory=dict)
    upper_dir: str = ""
    user: cri.LinuxContainerUser | None = None
    """Of the first process, once one was seen."""

    @property
    def running(self) -> bool:
        return self.state == cri.CONTAINER_RUNNING

    @property
    def cri_state(self) -> cri.ContainerState:
        return self.state

    def summary(self, image_name: Callable[[str], str]) -> cri.Container:
        return cri.Container(**identity_of(self), **self._state(image_name), pod_sandbox_id=self.sandbox_id)

    def status(self, image_name: Callable[[str], str]) -> cri.ContainerStatus:
        status = cri.ContainerStatus(
            **identity_of(self),
            **self._state(image_name),
            started_at=self.started_at,
            finished_at=self.finished_at,
            exit_code=self.exit_code,
            reason=self.reason,
            message=self.message,
            mounts=self.config.mounts,
            log_path=self.log_path,
            stop_signal=self.config.stop_signal,
        )
        status.resources.linux.CopyFrom(resources_of(self.host_config))
        if user := self.user or _asked_user(self.config.linux.security_context):
            status.user.linux.CopyFrom(user)
        return status

    def _state(self, image_name: Callable[[str], str]) -> dict[str, Any]:
        return {
            "state": self.state,
            "created_at": self.created_at,
            "image": self._image(image_name),
            "image_ref": self.image_id,
            "image_id": self.image_id,
        }

    def _image(self, image_name: Callable[[str], str]) -> cri.ImageSpec:
        asked = self.config.image
        name = asked.user_specified_image or asked.image
        if name.startswith("sha256:") or name == self.image_id:
            name = image_name(self.image_id) or name
        return cri.ImageSpec(image=name, user_specified_image=asked.user_specified_image, image_ref=self.image_id)


Record = SandboxRecord | ContainerRecord
R = TypeVar("R", SandboxRecord, ContainerRecord)


def identity_of(record: Record) -> dict[str, Any]:
    """What every message about a sandbox or container begins with."""
    c = record.config
    return {"id": record.id, "metadata": c.metadata, "labels": c.labels, "annotations": c.annotations}


def selected(records: Iterable[R], wanted: Any) -> Iterator[R]:
    """Those that one of the CRI's filters wants: by id (a prefix suffices), labels, state, sandbox, as far as it has
    these fields."""
    fields = wanted.DESCRIPTOR.fields_by_name
    sandbox = wanted.pod_sandbox_id if "pod_sandbox_id" in fields else ""
    state = wanted.state.state if "state" in fields and wanted.HasField("state") else None
    labels = list(wanted.label_selector.items())
    for record in records:
        within = record.sandbox_id if isinstance(record, ContainerRecord) else ""
        if not record.id.startswith(wanted.id) or not within.startswith(sandbox):
            continue
        if state in (None, record.cri_state) and all(record.config.labels.get(name) == v for name, v in labels):
            yield record


def sandbox_record(inspect: Inspect, network: Attachment | None) -> SandboxRecord:
    labels = inspect["Config"]["Labels"]
    config = naming.sandbox_config(labels)
    namespaces = config.linux.security_context.namespace_options
    return SandboxRecord(
        id=inspect["Id"],
        name=inspect["Name"].lstrip("/"),
        config=config,
        handler=labels.get(naming.HANDLER, ""),
        state=_state(inspect["State"]),
        created_at=nanoseconds(inspect["Created"]),
        pid=inspect["State"]["Pid"],
        host_network=namespaces.network == cri.NODE,
        resolv_conf=inspect["ResolvConfPath"],
        hosts=inspect["HostsPath"],
        network=network,
    )


def container_record(inspect: Inspect, oom: bool = False) -> ContainerRecord:
    """``oom``: the engine told of a kill for want of memory, which its own state may have missed."""
    state, labels = inspect["State"], inspect["Config"]["Labels"]
    created, started = nanoseconds(inspect["Created"]), nanoseconds(state["StartedAt"])
    cri_state = _state(state)
    exited = cri_state == cri.CONTAINER_EXITED
    return ContainerRecord(
        id=inspect["Id"],
        name=inspect["Name"].lstrip("/"),
        sandbox_id=labels[naming.SANDBOX],
        config=naming.container_config(labels),
        state=cri_state,
        created_at=created,
        started_at=started,
        # The engine notes a start after it happened: a process that ended at once has "finished" before.
        finished_at=max(nanoseconds(state["FinishedAt"]), started, created) if exited else 0,
        exit_code=state["ExitCode"] if exited else 0,
        reason=_reason(state, oom) if exited else "",
        message=state["Error"] if exited else "",
        pid=state["Pid"],
        image_id=inspect["Image"],
        log_path=labels.get(naming.LOG, ""),
        engine_log=inspect["LogPath"],
        host_config=inspect["HostConfig"],
        upper_dir=((inspect.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir", ""),
    )


def resources_of(host: Mapping[str, Any]) -> cri.LinuxContainerResources:
    """What the engine has been told to give a container."""
    return cri.LinuxContainerResources(
        cpu_period=host.get("CpuPeriod") or 0,
        cpu_quota=host.get("CpuQuota") or 0,
        cpu_shares=host.get("CpuShares") or 0,
        memory_limit_in_bytes=host.get("Memory") or 0,
        memory_swap_limit_in_bytes=max(host.get("MemorySwap") or 0, 0),
        oom_score_adj=host.get("OomScoreAdj") or 0,
        cpuset_cpus=host.get("CpusetCpus") or "",
        cpuset_mems=host.get("CpusetMems") or "",
    )


def nanoseconds(stamp: str) -> int:
    """RFC 3339 with up to nine digits of fraction -> ns since the epoch; 0 for Go's zero time."""
    if stamp.startswith("0001-"):
        return 0
    whole, _, rest = stamp.partition(".")
    if not rest:
        return int(datetime.fromisoformat(whole).timestamp()) * 1_000_000_000
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    seconds = int(datetime.fromisoformat(whole + (rest[len(digits) :] or "Z")).timestamp())
    return seconds * 1_000_000_000 + int(digits.ljust(9, "0")[:9])


def _state(state: Mapping[str, Any]) -> cri.ContainerState:
    if state["Status"] in _RUNNING:
        return cri.CONTAINER_RUNNING
    if state["Status"] == "created" and not state["Error"]:
        return cri.CONTAINER_CREATED
    return cri.CONTAINER_EXITED


def _reason(state: Mapping[str, Any], oom: bool) -> str:
    if state["Status"] == "created":
        return "StartError"
    if state["OOMKilled"] or (oom and state["ExitCode"] == KILLED):
        return "OOMKilled"
    return "Error" if state["ExitCode"] else "Completed"


def _asked_user(security: cri.LinuxContainerSecurityContext) -> cri.LinuxContainerUser | None:
    """Before there is a process, where the configuration alone tells it; a name in the image's passwd does not."""
    if not security.HasField("run_as_user"):
        return None
    uid, gid = security.run_as_user.value, security.run_as_group.value
    return cri.LinuxContainerUser(uid=uid, gid=gid, supplemental_groups=sorted({*security.supplemental_groups, gid}))
