"""What the runtime holds of one pod, in the terms that decisions and statuses are made of.

Plain values without behaviour of their own, so that ``pod_actions`` and ``status`` stay pure. Times are seconds since
1970; 0 means it has not happened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

Object = dict[str, Any]

POD_NAME: Final = "io.kubernetes.pod.name"
POD_NAMESPACE: Final = "io.kubernetes.pod.namespace"
POD_UID: Final = "io.kubernetes.pod.uid"
CONTAINER_NAME: Final = "io.kubernetes.container.name"
CONTAINER_HASH: Final = "io.kubernetes.container.hash"
RESTART_COUNT: Final = "io.kubernetes.container.restartCount"
TERMINATION_PATH: Final = "io.kubernetes.container.terminationMessagePath"
TERMINATION_POLICY: Final = "io.kubernetes.container.terminationMessagePolicy"
MIRROR_HASH: Final = "kubernetes.io/config.mirror"
GRACE_PERIOD: Final = "io.kubernetes.pod.terminationGracePeriod"


class State(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container that the runtime knows, alive or dead. ``attempt`` is the restart count it was made with."""

    id: str
    name: str
    sandbox_id: str
    attempt: int
    state: State
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_id: str = ""
    hash: str = ""
    log_path: str = ""
    resources: Mapping[str, int] = field(default_factory=dict)
    user: Object | None = None  # as the status tells it; None when the runtime says nothing of it
    recursive: frozenset[str] = frozenset()  # the paths that are mounted recursively read-only

    @property
    def running(self) -> bool:
        return self.state is State.RUNNING


@dataclass(frozen=True, slots=True)
class SandboxView:
    """One sandbox of the pod. ``ips`` is empty on the host's network or when it is not ready."""

    id: str
    attempt: int
    ready: bool
    created_at: float = 0.0
    ips: tuple[str, ...] = ()
    host_network: bool = False
    handler: str = ""


@dataclass(frozen=True, slots=True)
class PodRuntime:
    """Everything the runtime holds of one pod; sandboxes and containers newest first."""

    sandboxes: tuple[SandboxView, ...] = ()
    containers: tuple[ContainerView, ...] = ()

    @property
    def sandbox(self) -> SandboxView | None:
        """The newest sandbox."""
        return self.sandboxes[0] if self.sandboxes else None

    def latest(self, name: str, sandbox_id: str = "") -> ContainerView | None:
        """The newest container of a name, in any sandbox or in one."""
        for container in self.containers:
            if container.name == name and sandbox_id in ("", container.sandbox_id):
                return container
        return None

    def previous(self, name: str) -> ContainerView | None:
        """The one before the newest of a name."""
        same = [c for c in self.containers if c.name == name]
        return same[1] if len(same) > 1 else None

    @property
    def running(self) -> list[ContainerView]:
        return [c for c in self.containers if c.state in (State.RUNNING, State.UNKNOWN)]


@dataclass(frozen=True, slots=True)
class ProbeResults:
    """What the probes say of a pod's containers, by container id. A container that is not named passes by default.

    ``unready`` and ``not_started`` have a probe that has not succeeded (yet); ``failed`` have failed a probe past its
    threshold: ``liveness`` or ``startup``, whichever it was.
    """

    unready: frozenset[str] = frozenset()
    not_started: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container is not running, as ``state.waiting`` tells it."""

    reason: str
    message: str = ""


def init_containers(pod: Object) -> Sequence[Object]:
    return pod["spec"].get("initContainers") or ()


def regular_containers(pod: Object) -> Sequence[Object]:
    return pod["spec"].get("containers") or ()


def ephemeral_containers(pod: Object) -> Sequence[Object]:
    return pod["spec"].get("ephemeralContainers") or ()


def is_sidecar(container: Object) -> bool:
    """A restartable init container. Source: KEP-753."""
    return bool(container.get("restartPolicy") == "Always")


def restart_policy(pod: Object) -> str:
    return str(pod["spec"].get("restartPolicy") or "Always")


def restarts(pod: Object, spec: Object, exit_code: int) -> bool:
    """Whether a container that ended so runs again: by its rules, else its policy, else its pod's (KEP-5307)."""
    for rule in spec.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (exit_code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return True  # the only action there is
    policy = spec.get("restartPolicy") or restart_policy(pod)
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def pod_key(pod: Object) -> str:
    meta = pod["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"


def uid_of(pod: Object) -> str:
    """The uid that the runtime knows the pod by: of a static pod's mirror, the static pod's."""
    meta = pod["metadata"]
    return str((meta.get("annotations") or {}).get(MIRROR_HASH) or meta.get("uid", ""))


def is_mirror(pod: Object) -> bool:
    """Whether the pod stands for a static pod: it is not to be run for its own sake."""
    return MIRROR_HASH in (pod["metadata"].get("annotations") or {})
