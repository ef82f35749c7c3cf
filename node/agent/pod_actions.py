"""What to do next for one pod: desired spec, what the runtime holds, what the probes say and the time -> a plan.

Pure and level-based: the same inputs give the same plan, and a plan that was carried out half is made again from what
is there then. ``pod_worker`` carries it out. Source: kubelet ``computePodActions`` and
``computeInitContainerActions``; KEP-753 for restartable init containers (sidecars).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from node.agent.pod_state import (
    ContainerView,
    Object,
    PodRuntime,
    ProbeResults,
    SandboxView,
    State,
    Waiting,
    ephemeral_containers,
    init_containers,
    is_sidecar,
    regular_containers,
    restart_policy,
    restarts,
)
from node.agent.restart_backoff import RestartBackoff


@dataclass(frozen=True, slots=True)
class Start:
    """Create and start a container. ``ended`` is when its predecessor ended, 0 when it has none."""

    spec: Object
    attempt: int
    kind: str  # "container", "init" or "ephemeral"
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Kill:
    """Stop one container gracefully, saying why. ``probe`` names the failed probe: its own grace period then counts."""

    container: ContainerView
    reason: str
    message: str
    probe: str = ""


@dataclass(slots=True)
class Plan:
    """What to do, in this order: kill everything, make a sandbox, kill single containers, start containers.

    ``wake_at`` is when to plan again though nothing changes (a back-off that ends). ``waiting`` is why
    containers that are not running do not run. ``failed_init`` names the init container that fails the pod.
    """

    kill_pod: bool = False
    new_sandbox: int | None = None  # the attempt number
    kills: list[Kill] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    wake_at: float | None = None
    failed_init: str = ""

    @property
    def acts(self) -> bool:
        return self.kill_pod or self.new_sandbox is not None or bool(self.kills or self.starts)

    def wake(self, when: float) -> None:
        self.wake_at = when if self.wake_at is None else min(self.wake_at, when)


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a plan is made from. ``hashes`` are those of the containers' specs; ``now`` is seconds since 1970."""

    pod: Object
    runtime: PodRuntime
    probes: ProbeResults
    backoff: RestartBackoff
    hashes: Mapping[str, str]
    now: float
    resized: frozenset[str] = frozenset()  # containers that get their new resources by a restart


def plan(inputs: Inputs) -> Plan:
    """The plan of a pod that shall run (one that shall end is simply killed)."""
    out = Plan()
    sandbox = inputs.runtime.sandbox
    if sandbox is None or not sandbox.ready:
        _plan_sandbox(inputs, out)
        return out
    if not _plan_inits(inputs, out, sandbox.id):
        return out
    for spec in ephemeral_containers(inputs.pod):
        if inputs.runtime.latest(spec["name"]) is None:
            out.starts.append(Start(spec, 0, "ephemeral"))
    for spec in regular_containers(inputs.pod):
        _plan_regular(inputs, out, spec, sandbox.id)
    return out


def _plan_sandbox(inputs: Inputs, out: Plan) -> None:
    """No sandbox is ready: make one, unless the pod has run and may not run again.

    First all of the old goes down, the dead sandbox too: it has its address and its host ports until it is stopped.
    """
    runtime, policy = inputs.runtime, restart_policy(inputs.pod)
    attempt = runtime.sandbox.attempt + 1 if runtime.sandbox else 0
    out.kill_pod = bool(runtime.running)
    ruled = any(c.get("restartPolicyRules") or c.get("restartPolicy") for c in regular_containers(inputs.pod))
    if attempt and policy == "Never" and runtime.containers and not ruled:
        return
    if runtime.containers and not any(_should_run(inputs, spec) for spec in regular_containers(inputs.pod)):
        return
    out.kill_pod = bool(runtime.sandboxes or runtime.running)
    out.new_sandbox = attempt


def _should_run(inputs: Inputs, spec: Object) -> bool:
    """Whether a container that is not running has to run, by the pod's restart policy."""
    last = inputs.runtime.latest(spec["name"])
    if last is None or last.state is not State.EXITED:
        return True
    return restarts(inputs.pod, spec, last.exit_code)


# -- init containers and sidecars


def _plan_inits(inputs: Inputs, out: Plan, sandbox_id: str) -> bool:
    """Plan for the init containers; whether the regular ones may run."""
    names = {c["name"] for c in regular_containers(inputs.pod)}
    initialized = any(c.name in names and c.sandbox_id == sandbox_id for c in inputs.runtime.containers)
    for spec in init_containers(inputs.pod):
        last = inputs.runtime.latest(spec["name"], sandbox_id)
        if is_sidecar(spec):
            done = _plan_sidecar(inputs, out, spec, last) or initialized
        elif initialized:
            done = True
        else:
            done = _plan_init(inputs, out, spec, last)
        if not done:
            return False
    return True


def _plan_sidecar(inputs: Inputs, out: Plan, spec: Object, last: ContainerView | None) -> bool:
    """Keep a sidecar running; whether what comes after it may go on."""
    if last is None or not last.running:
        _restart(inputs, out, spec, last, "init")
        return False
    if _must_end(inputs, out, spec, last):
        return False
    return last.id not in inputs.probes.not_started


def _plan_init(inputs: Inputs, out: Plan, spec: Object, last: ContainerView | None) -> bool:
    """Run an init container to its end; whether it has succeeded."""
    if last is None or last.state in (State.CREATED, State.UNKNOWN):
        _restart(inputs, out, spec, last, "init")
        return False
    if last.running:
        return False
    if last.exit_code == 0:
        return True
    if not restarts(inputs.pod, spec, last.exit_code):
        out.kill_pod, out.failed_init = bool(inputs.runtime.running), str(spec["name"])
        return False
    _restart(inputs, out, spec, last, "init")
    return False


# -- regular containers


def _plan_regular(inputs: Inputs, out: Plan, spec: Object, sandbox_id: str) -> None:
    last = inputs.runtime.latest(spec["name"])
    if last is not None and last.running and last.sandbox_id == sandbox_id:
        _must_end(inputs, out, spec, last)
    elif last is None or last.sandbox_id != sandbox_id or last.state is not State.EXITED or _should_run(inputs, spec):
        if last is not None and not _should_run(inputs, spec):
            return
        _restart(inputs, out, spec, last, "container")


def _must_end(inputs: Inputs, out: Plan, spec: Object, last: ContainerView) -> bool:
    """Plan to end a running container whose spec changed or whose probe failed; it starts again when it has ended."""
    name = spec["name"]
    if last.hash and last.hash != inputs.hashes.get(name, last.hash):
        message = f"Container {name} definition changed, will be restarted"
        out.kills.append(Kill(last, "Killing", message))
    elif name in inputs.resized:
        out.kills.append(Kill(last, "Killing", f"Container {name} resize requires restart"))
    elif last.id in inputs.probes.failed and _may_restart(inputs.pod, spec):
        probe = inputs.probes.failed[last.id]
        out.kills.append(Kill(last, "Killing", f"Container {name} failed {probe} probe, will be restarted", probe))
    elif last.id in inputs.probes.failed:
        probe = inputs.probes.failed[last.id]
        out.kills.append(Kill(last, "Killing", f"Container {name} failed {probe} probe", probe))
    else:
        return False
    return True


def _may_restart(pod: Object, spec: Object) -> bool:
    policy = spec.get("restartPolicy") or restart_policy(pod)
    return policy != "Never" or bool(spec.get("restartPolicyRules"))


def _restart(inputs: Inputs, out: Plan, spec: Object, last: ContainerView | None, kind: str) -> None:
    """Start a container, now or when its back-off has passed."""
    name = str(spec["name"])
    last = last or inputs.runtime.latest(name)
    if last is None:
        out.starts.append(Start(spec, _counted(inputs.pod, name), kind))
        return
    ended = last.finished_at if last.state is State.EXITED else last.created_at
    key = backoff_key(inputs, name)
    until = inputs.backoff.until(key, ended)
    if until <= inputs.now:
        out.starts.append(Start(spec, last.attempt + 1, kind, ended))
        return
    seconds = inputs.backoff.delay(key)
    meta = inputs.pod["metadata"]
    about = f"{meta['name']}_{meta.get('namespace', '')}({meta.get('uid', '')})"
    message = f"back-off {_duration(seconds)} restarting failed container={name} pod={about}"
    out.waiting[name] = Waiting("CrashLoopBackOff", message)
    out.wake(until)


def backoff_key(inputs: Inputs, name: str) -> str:
    """A changed container starts without the back-off of the old one."""
    return f"{name}/{inputs.hashes.get(name, '')}"


def _counted(pod: Object, name: str) -> int:
    """The restart count to go on from when the runtime has forgotten the container but the API server has not."""
    status = pod.get("status") or {}
    lists: Sequence[Sequence[Object]] = (
        status.get("containerStatuses") or (),
        status.get("initContainerStatuses") or (),
    )
    for known in (s for statuses in lists for s in statuses):
        if known.get("name") == name and known.get("containerID"):
            return int(known.get("restartCount") or 0) + 1
    return 0


def _duration(seconds: float) -> str:
    """``10s``, ``1m20s``: as Go prints a duration."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


# -- the end


def finished(pod: Object, runtime: PodRuntime, failed_init: str = "") -> bool:
    """Whether the pod has run to its end and may not run again: its sandbox and sidecars can go."""
    if failed_init:
        return True
    for spec in regular_containers(pod):
        last = runtime.latest(spec["name"])
        if last is None or last.state is not State.EXITED or restarts(pod, spec, last.exit_code):
            return False
    return True


def stop_order(pod: Object, running: Sequence[ContainerView]) -> list[list[ContainerView]]:
    """Waves of a graceful stop: all but sidecars together, then the sidecars, last started first. Source: KEP-753."""
    sidecars = [c["name"] for c in init_containers(pod) if is_sidecar(c)]
    first = [c for c in running if c.name not in sidecars]
    waves = [[c for c in running if c.name == name] for name in reversed(sidecars)]
    return [wave for wave in [first, *waves] if wave]


def dead_to_remove(runtime: PodRuntime) -> list[ContainerView]:
    """Dead containers that nothing needs: of each name all but the newest that ended before the present one.

    One that was made and never started, because whoever made it was killed, is of no use once it has a successor.
    """
    seen: dict[str, int] = {}
    out: list[ContainerView] = []
    for container in runtime.containers:
        stillborn = container.state is State.CREATED and container.name in seen
        if not stillborn:
            seen[container.name] = seen.get(container.name, 0) + 1
        if stillborn or (seen[container.name] > 2 and container.state is State.EXITED):
            out.append(container)
    return out


def sandboxes_to_remove(runtime: PodRuntime, removed: Sequence[ContainerView]) -> list[SandboxView]:
    """Dead sandboxes that have a successor and no container left, once those ``removed`` are gone."""
    gone = {container.id for container in removed}
    held = {container.sandbox_id for container in runtime.containers if container.id not in gone}
    return [sandbox for sandbox in runtime.sandboxes[1:] if not sandbox.ready and sandbox.id not in held]
