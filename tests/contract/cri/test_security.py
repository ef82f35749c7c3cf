"""Specs "Security Context" of the public CRI validation suite, and what this machine cannot do: refused by name."""

import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.contract.cri.kit import Container, Kit, refused
from tests.waiting import eventually

UNCONFINED = cri.SecurityProfile(profile_type=cri.SecurityProfile.Unconfined)
NO_HOSTNAME = '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sethostname"],"action":"SCMP_ACT_ERRNO"}]}'
NO_CHMOD = '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chmod","fchmodat"],"action":"SCMP_ACT_ERRNO"}]}'
BRIDGE = ("brctl", "addbr", "foobar")


def namespaced(kit: Kit, command: tuple[str, ...] = (), image: str = "web:latest", **modes: Any) -> Container:
    """A container whose namespaces, and its pod's, are of these modes."""
    security = {"namespace_options": cri.NamespaceOption(**modes)}
    return kit.pod(security=security).run(command, image=image, security=security)


def secured(kit: Kit, command: tuple[str, ...] = ("sleep", "60"), **security: Any) -> Container:
    return kit.shared().run(command, security=security)


def test_host_pid(kit: Kit) -> None:
    container = namespaced(kit, pid=cri.NODE)
    assert f"{os.getpid()}\n" in container.output("sh", "-c", "cd /proc; for p in [0-9]*; do echo $p; done")


def test_pod_pid(kit: Kit) -> None:
    assert "httpd" not in namespaced(kit, pid=cri.POD).output("cat", "/proc/1/cmdline")


def test_the_first_process_of_a_shared_namespace_reaps_orphans_and_ends_when_told_to(kit: Kit) -> None:
    security = {"namespace_options": cri.NamespaceOption(pid=cri.POD)}
    pod = kit.pod(security=security)
    container = pod.run(("sleep", "1000"), security=security)
    container.output("sh", "-c", "(sleep 0 &); (sleep 0 &)")
    states = "cd /proc; for p in [0-9]*; do awk '{print $3}' $p/stat; done"
    assert eventually(lambda: "Z" not in container.output("sh", "-c", states))
    try:
        container.exec("kill", "-TERM", "1")
    except grpc.RpcError as error:  # the command goes with all others
        assert error.code() != grpc.StatusCode.DEADLINE_EXCEEDED
    assert container.ended().exit_code == 137


def test_container_pid(kit: Kit) -> None:
    assert "httpd" in namespaced(kit, pid=cri.CONTAINER).output("cat", "/proc/1/cmdline")


def test_target_pid(kit: Kit) -> None:
    security = {"namespace_options": cri.NamespaceOption(pid=cri.CONTAINER)}
    pod = kit.pod(security=security)
    target = pod.run(("sleep", "1000"), security=security)
    options = cri.NamespaceOption(pid=cri.TARGET, target_id=target.id)
    assert "1000" in pod.run(security={"namespace_options": options}).output("cat", "/proc/1/cmdline")


@pytest.mark.parametrize("host", [True, False])
def test_host_ipc(kit: Kit, host: bool) -> None:
    made = subprocess.run(["ipcmk", "-M", "1048576"], check=True, capture_output=True, text=True).stdout
    segment = made.split()[-1]
    try:
        seen = namespaced(kit, ipc=cri.NODE if host else cri.POD).output("cat", "/proc/sysvipc/shm")
        assert (segment in [row.split()[1] for row in seen.splitlines()]) is host
    finally:
        subprocess.run(["ipcrm", "-m", segment], check=True)


@pytest.mark.parametrize("host", [True, False])
def test_host_network(kit: Kit, host: bool) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        container = namespaced(kit, network=cri.NODE if host else cri.POD)
        assert (f":{server.getsockname()[1]} " in container.output("netstat", "-ln")) is host


def test_supplemental_groups(kit: Kit) -> None:
    assert {"1234", "5678"} <= set(secured(kit, supplemental_groups=[1234, 5678]).output("id", "-G").split())


def test_run_as_user(kit: Kit) -> None:
    container = secured(kit, run_as_user=cri.Int64Value(value=1001))
    assert container.output("id", "-u") == "1001\n"


def test_run_as_user_name(kit: Kit) -> None:
    assert secured(kit, run_as_username="nobody").output("id", "-nu") == "nobody\n"


def test_run_as_group(kit: Kit) -> None:
    user = {"run_as_user": cri.Int64Value(value=1001), "run_as_group": cri.Int64Value(value=1002)}
    assert kit.shared().logged("echo $(id -u):$(id -g)", security=user) == [("stdout", "1001:1002")]


def test_run_as_group_without_run_as_user_is_refused(kit: Kit) -> None:
    with refused():
        kit.shared().create(security={"run_as_group": cri.Int64Value(value=1002)})


@pytest.mark.parametrize("readonly", [False, True])
def test_read_only_rootfs(kit: Kit, readonly: bool) -> None:
    command = "touch /test.go && [ -f /test.go ] && echo Found"
    wanted = ("stderr", "touch: /test.go: Read-only file system") if readonly else ("stdout", "Found")
    assert kit.shared().logged(command, security={"readonly_rootfs": readonly}) == [wanted]


@pytest.mark.parametrize("privileged", [True, False])
def test_privileged(kit: Kit, privileged: bool) -> None:
    container = kit.pod(security={"privileged": privileged}).run(security={"privileged": privileged})
    assert (container.exec(*BRIDGE).exit_code == 0) is privileged


def test_adding_capability(kit: Kit) -> None:
    added = cri.Capability(add_capabilities=["NET_ADMIN"])
    assert secured(kit, capabilities=added).output(*BRIDGE) == ""
    assert secured(kit).complaint(*BRIDGE)


def test_dropping_capability(kit: Kit) -> None:
    dropped = cri.Capability(drop_capabilities=["NET_RAW"])
    assert "ermi" in secured(kit, capabilities=dropped).complaint("arping", "-c1", "127.0.0.1")


@pytest.mark.parametrize("add", [True, False])
def test_all_capabilities(kit: Kit, add: bool) -> None:
    asked = cri.Capability(add_capabilities=["ALL"]) if add else cri.Capability(drop_capabilities=["ALL"])
    bounding = secured(kit, capabilities=asked).output("sh", "-c", "grep CapBnd /proc/self/status").split()[1]
    assert (int(bounding, 16) > 0xA80425FB) if add else (int(bounding, 16) == 0)


def test_masked_paths(kit: Kit) -> None:
    container = secured(kit, masked_paths=["/etc/group"])
    assert container.output("cat", "/etc/group") == ""


def test_readonly_paths(kit: Kit) -> None:
    container = secured(kit, readonly_paths=["/tmp"])
    assert container.complaint("touch", "/tmp/test") == "touch: /tmp/test: Read-only file system\n"


def test_nothing_is_masked_unasked(kit: Kit) -> None:
    """``procMount: Unmasked``: the kubelet tells what to mask otherwise."""
    assert secured(kit).exec("grep", "-c", " /proc/", "/proc/mounts").stdout == b"0\n"


@pytest.mark.parametrize("strict", [False, True])
def test_supplemental_groups_policy(kit: Kit, strict: bool) -> None:
    """Merge adds the groups that the image's /etc/group has for the user; Strict does not."""
    supported = kit.runtime.Status(cri.StatusRequest()).features.supplemental_groups_policy
    kit.needs(supported, "has no SupplementalGroupsPolicy")
    security = {
        "run_as_user": cri.Int64Value(value=1000),
        "supplemental_groups": [1234],
        "supplemental_groups_policy": cri.Strict if strict else cri.Merge,
    }
    container = kit.shared().run(["sh", "-c", "id -G; sleep 1000"], image="predefined-group:latest", security=security)
    wanted = [1000, 1234] if strict else [1000, 1234, 50000]
    text = " ".join(map(str, wanted))
    user = container.status().user.linux
    assert (user.uid, user.gid, sorted(user.supplemental_groups)) == (1000, 1000, wanted)
    assert eventually(lambda: container.log()) == [("stdout", text)]
    assert container.output("id", "-G") == text + "\n"


@pytest.fixture
def profiles(kit: Kit) -> dict[str, cri.SecurityProfile]:
    found = {}
    for name, rules in {"hostname": NO_HOSTNAME, "chmod": NO_CHMOD}.items():
        (kit.folder / name).write_text(rules)
        kind = cri.SecurityProfile.Localhost
        found[name] = cri.SecurityProfile(profile_type=kind, localhost_ref=str(kit.folder / name))
    return found


@pytest.mark.parametrize(
    ("profile", "mode"),
    [(UNCONFINED, "0"), (cri.SecurityProfile(), "2"), (None, "0")],
    ids=["unconfined", "default", "nil"],
)
def test_seccomp_mode(kit: Kit, profile: cri.SecurityProfile | None, mode: str) -> None:
    security = {"seccomp": profile} if profile is not None else {}
    container = kit.pod(security=security).run(security=security)
    assert container.output("grep", "Seccomp:", "/proc/self/status").split()[1] == mode


def test_seccomp_localhost_profile(kit: Kit, profiles: dict[str, cri.SecurityProfile]) -> None:
    container = secured(kit, seccomp=profiles["chmod"])
    assert "Operation not permitted" in container.complaint("chmod", "400", "/")


@pytest.mark.parametrize("blocked", [False, True])
def test_seccomp_and_setting_hostname_with_sys_admin(
    kit: Kit, profiles: dict[str, cri.SecurityProfile], blocked: bool
) -> None:
    profile = profiles["hostname"] if blocked else UNCONFINED
    container = secured(kit, seccomp=profile, capabilities=cri.Capability(add_capabilities=["SYS_ADMIN"]))
    assert (container.exec("hostname", "ANewHostName").exit_code != 0) is blocked


def test_seccomp_profile_is_ignored_when_privileged(kit: Kit, profiles: dict[str, cri.SecurityProfile]) -> None:
    pod = kit.pod(security={"privileged": True})
    container = pod.run(security={"privileged": True, "seccomp": profiles["hostname"]})
    assert container.output("hostname", "ANewHostName") == ""


@pytest.mark.parametrize("denied", [True, False])
def test_no_new_privs(kit: Kit, denied: bool) -> None:
    security = {"no_new_privs": denied, "run_as_user": cri.Int64Value(value=1000)}
    container = kit.shared().run((), image="nonewprivs:latest", security=security)
    assert (container.ended().exit_code != 0) is denied
    assert denied or container.log() == [("stdout", "Effective uid: 0")]


@pytest.mark.parametrize(
    ("security", "word"),
    [
        ({"userns_options": cri.UserNamespace(mode=cri.POD)}, "user namespaces"),
        ({"userns_options": cri.UserNamespace(mode=cri.CONTAINER)}, "user namespaces"),
    ],
)
def test_user_namespaces_are_refused_by_name(kit: Kit, security: dict[str, Any], word: str) -> None:
    kit.needs(kit.target.name != "containerd", "knows nothing of user namespaces")
    told = kit.runtime.Status(cri.StatusRequest()).runtime_handlers
    assert not any(handler.features.user_namespaces for handler in told)
    with refused(grpc.StatusCode.INVALID_ARGUMENT) as failed:
        kit.pod(security={"namespace_options": cri.NamespaceOption(**security)})
    assert word in str(failed.value)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"security": {"apparmor_profile": "localhost/x"}}, "AppArmor"),
        ({"resources": {"hugepage_limits": [cri.HugepageLimit(page_size="2MB", limit=1 << 21)]}}, "hugepage"),
        ({"CDI_devices": [cri.CDIDevice(name="a.b/c=d")]}, "CDI"),
        ({"security": {"seccomp": cri.SecurityProfile(profile_type=2, localhost_ref="/no/such")}}, "/no/such"),
        (
            {"mounts": [cri.Mount(host_path="/tmp", container_path="/t", uidMappings=[cri.IDMapping(length=1)])]},
            "id-mapped",
        ),
    ],
    ids=["apparmor", "hugepages", "cdi", "seccomp-file", "idmap"],
)
def test_what_this_machine_cannot_do_is_refused_by_name(kit: Kit, fields: dict[str, Any], word: str) -> None:
    kit.needs(kit.target.name != "containerd", "ignores some of these")
    with refused(grpc.StatusCode.INVALID_ARGUMENT) as failed:
        kit.shared().create(**fields)
    assert word in str(failed.value)


@pytest.fixture
def limited(kit: Kit) -> Iterator[Container]:
    resources = {"oom_score_adj": -997, "memory_limit_in_bytes": 64 << 20, "cpu_shares": 512}
    yield kit.shared().run(resources=resources)


def test_oom_score_is_clamped_and_told(kit: Kit, limited: Container) -> None:
    score = int(limited.output("cat", "/proc/self/oom_score_adj"))
    told = limited.status().resources.linux
    assert score in (0, -997)
    kit.needs(kit.target.name != "containerd", "tells the score it was asked for")
    assert told.oom_score_adj == score and told.memory_limit_in_bytes == 64 << 20


def test_update_container_resources(kit: Kit, limited: Container) -> None:
    linux = cri.LinuxContainerResources(memory_limit_in_bytes=96 << 20, cpu_quota=70000, cpu_period=100000)
    kit.runtime.UpdateContainerResources(cri.UpdateContainerResourcesRequest(container_id=limited.id, linux=linux))
    told = limited.status().resources.linux
    assert (told.memory_limit_in_bytes, told.cpu_quota, told.cpu_shares) == (96 << 20, 70000, 512)
