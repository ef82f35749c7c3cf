"""The status that a pod gets, and the patch that reports it."""

from dataclasses import replace
from typing import Any

import pytest

from node.agent.cri_configs import ContainerParts, container_config, volume_mount
from node.agent.downward import ConfigError
from node.agent.node_status import is_since
from node.agent.observe import container_view
from node.agent.pod_state import ContainerView, PodRuntime, ProbeResults, SandboxView, State, Waiting
from node.agent.status import StatusInputs, Verdict, make_status
from node.agent.status_writer import status_patch
from protos.cri.runtime.v1 import api_pb2 as pb

Object = dict[str, Any]
BOX = SandboxView("s0", 0, True, ips=("10.0.0.1",))


def view(name: str, state: State = State.RUNNING, code: int = 0, attempt: int = 0) -> ContainerView:
    return ContainerView(f"{name}-{attempt}", name, "s0", attempt, state, 100, 100, 110, code)


def inputs(*containers: ContainerView, policy: str = "Always", inits: tuple[str, ...] = ()) -> StatusInputs:
    spec = {
        "restartPolicy": policy,
        "containers": [{"name": "a", "image": "img"}],
        "initContainers": [{"name": n} for n in inits],
    }
    pod = {"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec}
    newest_first = tuple(sorted(containers, key=lambda c: -c.attempt))
    return StatusInputs(
        pod=pod,
        runtime=PodRuntime((BOX,), newest_first),
        probes=ProbeResults(),
        waiting={},
        now=200.0,
        start_time=90.0,
        host_ips=("1.1.1.1",),
        previous={},
    )


def conditions(status: Object) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status["conditions"]}


def test_running_and_ready() -> None:
    status = make_status(inputs(view("a")))
    assert status["phase"] == "Running"
    assert status["podIP"] == "10.0.0.1"
    assert set(conditions(status).values()) == {"True"}
    (container,) = status["containerStatuses"]
    assert (container["ready"], container["started"], container["restartCount"]) == (True, True, 0)


def test_before_anything_runs() -> None:
    status = make_status(inputs())
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    status = make_status(inputs(inits=("i",)))
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    (initialized,) = [c for c in status["conditions"] if c["type"] == "Initialized"]
    assert initialized["message"] == "containers with incomplete status: [i]"


def test_what_is_deleted_before_it_ran_has_failed() -> None:
    assert make_status(replace(inputs(), terminating=True))["phase"] == "Failed"
    assert make_status(replace(inputs(view("i"), inits=("i",)), terminating=True))["phase"] == "Pending"
    assert make_status(replace(inputs(view("a", State.EXITED, 0)), terminating=True))["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Always", 1, "Running"), ("OnFailure", 1, "Running"), ("OnFailure", 0, "Succeeded"), ("Never", 2, "Failed")],
)
def test_phase_after_the_end(policy: str, code: int, phase: str) -> None:
    assert make_status(inputs(view("a", State.EXITED, code), policy=policy))["phase"] == phase


def test_back_off_shows_the_end_as_last_state() -> None:
    given = replace(inputs(view("a", State.EXITED, 3)), waiting={"a": Waiting("CrashLoopBackOff", "later")})
    status = make_status(given)
    (container,) = status["containerStatuses"]
    assert container["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "later"}}
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert status["phase"] == "Running"


def test_restarted_container_keeps_how_the_one_before_ended() -> None:
    status = make_status(inputs(view("a", State.EXITED, 3), view("a", attempt=1)))
    (container,) = status["containerStatuses"]
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert container["restartCount"] == 1


def test_unready_probe_makes_the_pod_unready_and_times_move_only_then() -> None:
    first = make_status(inputs(view("a")))
    later = replace(inputs(view("a")), now=500.0, previous=first, probes=ProbeResults(unready=frozenset({"a-0"})))
    status = make_status(later)
    assert conditions(status)["Ready"] == "False"
    assert conditions(status)["ContainersReady"] == "False"
    by_type = {c["type"]: c["lastTransitionTime"] for c in status["conditions"]}
    assert by_type["Ready"] != by_type["Initialized"] == first["conditions"][0]["lastTransitionTime"]


def test_verdict_wins() -> None:
    status = make_status(replace(inputs(), verdict=Verdict("Failed", "OutOfcpu", "no room")))
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "OutOfcpu", "no room")


def test_failed_init_of_a_pod_that_never_restarts() -> None:
    assert make_status(inputs(view("i", State.EXITED, 1), policy="Never", inits=("i",)))["phase"] == "Failed"


def test_patch_says_only_what_changed_and_clears_what_went() -> None:
    old = {
        "phase": "Pending",
        "reason": "Old",
        "podIPs": [{"ip": "1"}],
        "conditions": [{"type": "Ready", "status": "False", "reason": "X"}, {"type": "Foreign", "status": "True"}],
    }
    new = {"phase": "Running", "podIPs": [{"ip": "2"}], "conditions": [{"type": "Ready", "status": "True"}]}
    assert status_patch(old, new) == {
        "phase": "Running",
        "reason": None,
        "podIPs": [{"ip": "2"}, {"$patch": "replace"}],
        "conditions": [{"type": "Ready", "status": "True", "reason": None}],
    }


def test_the_user_and_what_is_read_only_to_the_bottom_are_told_as_the_runtime_tells_them() -> None:
    linux = pb.LinuxContainerUser(uid=1000, gid=3000, supplemental_groups=[3000, 4000])
    mount = pb.Mount(container_path="/deep", readonly=True, recursive_read_only=True)
    told = pb.ContainerStatus(
        id="a-0",
        metadata=pb.ContainerMetadata(name="a"),
        state=pb.CONTAINER_RUNNING,
        user=pb.ContainerUser(linux=linux),
        mounts=[mount],
    )
    given = inputs(container_view(told, "s0"))
    mounts = [{"name": "v", "mountPath": path, "readOnly": True} for path in ("/deep", "/flat")]
    given.pod["spec"]["containers"][0]["volumeMounts"] = mounts
    (container,) = make_status(given)["containerStatuses"]
    assert container["user"] == {"linux": {"uid": 1000, "gid": 3000, "supplementalGroups": [3000, 4000]}}
    assert [m["recursiveReadOnly"] for m in container["volumeMounts"]] == ["Enabled", "Disabled"]


@pytest.mark.parametrize(
    ("wanted", "able", "mounted"),
    [("IfPossible", True, True), ("IfPossible", False, False), ("Enabled", True, True), ("Disabled", True, False)],
)
def test_mounts_are_recursively_read_only_where_the_runtime_can(wanted: str, able: bool, mounted: bool) -> None:
    mount = {"name": "v", "mountPath": "/m", "readOnly": True, "recursiveReadOnly": wanted}
    assert volume_mount(mount, "/host", False, able).recursive_read_only is mounted


@pytest.mark.parametrize(
    ("name", "version", "able"),
    [
        ("containerd", "1.6.20~ds1", False),
        ("containerd", "v2.0.4", False),
        ("containerd", "v2.1.0", True),
        ("docker", "20.10.24", True),
    ],
)
def test_old_runtimes_are_known(name: str, version: str, able: bool) -> None:
    assert is_since(pb.VersionResponse(runtime_name=name, runtime_version=version), containerd=(2, 1)) is able


@pytest.mark.parametrize("able", [True, False])
def test_a_signal_that_the_runtime_cannot_stop_with_is_refused(able: bool) -> None:
    spec = {"name": "c", "image": "i", "lifecycle": {"stopSignal": "SIGUSR1"}}
    pod = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [spec]}}
    parts = ContainerParts(0, {}, (), None, 0, stop_signals=able)
    if able:
        assert container_config(pod, spec, parts).stop_signal == pb.SIGUSR1
    else:
        with pytest.raises(ConfigError, match="stopSignal SIGUSR1 is not supported by the runtime"):
            container_config(pod, spec, parts)


def test_a_mount_that_must_be_recursively_read_only_and_cannot_is_refused() -> None:
    mount = {"name": "v", "mountPath": "/m", "readOnly": True, "recursiveReadOnly": "Enabled"}
    with pytest.raises(ConfigError, match='volume "v" requested recursive read-only mode, but it is not supported'):
        volume_mount(mount, "/host", False, False)
