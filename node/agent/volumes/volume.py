"""What a kind of volume offers to the agent, and what it gets."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from node.agent.downward import PodFacts
from node.agent.environment import ObjectSource
from node.agent.metrics import StorageOperations
from node.agent.paths import NodePaths
from node.agent.pod_state import Object, uid_of

if TYPE_CHECKING:
    from node.agent.csi.requests import Wanted


class VolumeError(Exception):
    """A volume cannot be set up now. ``reason`` is that of the event."""

    reason = "FailedMount"

    @property
    def event(self) -> str:
        """What the FailedMount event says."""
        return f"MountVolume.SetUp failed: {self}"


class MountFailed(VolumeError):
    """``step`` is upstream's name of what failed, such as ``MountVolume.MountDevice``."""

    def __init__(self, step: str, volume: str, why: object) -> None:
        super().__init__(f'{step} failed for volume "{volume}" : {why}')
        if step.startswith("MapVolume."):
            self.reason = "FailedMapVolume"

    @property
    def event(self) -> str:
        return str(self)


class UnsupportedVolume(VolumeError):
    """Kubeto has no such kind of volume."""


class TokenSource(Protocol):
    async def token(self, pod: Object, audience: str, expiration_seconds: int) -> str:
        """A token of the pod's service account, renewed in time. Raises ApiError."""
        ...


class VolumeSource(Protocol):
    async def volume(self, pod: Object, claim_name: str, *, owned: bool = False) -> Object:
        """The PersistentVolume that a claim is bound to. Raises VolumeError."""
        ...

    def forget(self, uid: str) -> None:
        """A pod is gone."""


class DriverVolumes(Protocol):
    async def mount(self, wanted: "Wanted", context: "VolumeContext") -> str:
        """Where a volume of a CSI driver is on the host, mounted or a device. Raises VolumeError, ApiError."""
        ...


@dataclass(frozen=True, slots=True)
class VolumeContext:
    """The pod a volume is for and where its content comes from."""

    facts: PodFacts
    source: ObjectSource
    tokens: TokenSource
    bound: VolumeSource
    paths: NodePaths
    csi: DriverVolumes
    storage: StorageOperations

    @property
    def pod(self) -> Object:
        return self.facts.pod

    @property
    def namespace(self) -> str:
        return str(self.pod["metadata"].get("namespace", ""))

    @property
    def fs_group(self) -> int | None:
        value = (self.pod["spec"].get("securityContext") or {}).get("fsGroup")
        return None if value is None else int(value)

    def folder(self, plugin: str, name: str) -> str:
        return self.paths.volume(uid_of(self.pod), plugin, name)


# Sets a volume up, or brings its content up to date; returns its path on the host. Safe to repeat.
Prepare = Callable[[Object, VolumeContext], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume that the agent writes. ``owner`` is a uid, None for root."""

    content: bytes
    mode: int
    owner: int | None = None


Payload = Mapping[str, File]
