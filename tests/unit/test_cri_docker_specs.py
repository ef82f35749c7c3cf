"""CRI configurations as the engine's, and the engine's answers as the CRI's."""

from typing import Any

import pytest

from node.cri_docker import naming, resources, security, specs
from node.cri_docker.attachments import ADDING, ATTACHED, RELEASED, Attachment, Attachments
from node.cri_docker.images import familiar
from node.cri_docker.limits import capabilities
from node.cri_docker.network import hosts_file, resolv_conf
from node.cri_docker.records import container_record, nanoseconds, sandbox_record
from node.cri_docker.refusal import Denied, NotFound, Refused, Unavailable, WrongState
from node.cri_docker.registry import translate
from node.cri_docker.security import EngineLimits
from protos.cri.runtime.v1 import api_pb2 as cri

LIMITS = EngineLimits(capabilities=frozenset({"CHOWN", "NET_ADMIN", "KILL"}), runtimes=("runc",))
UNPRIVILEGED = EngineLimits(
    capabilities=frozenset({"CHOWN", "NET_ADMIN"}), can_privileged=False, min_oom_score=0, devices=("/dev/fuse",)
)
SHAPE = specs.SandboxShape(
    "n1", "pause", unshare=("/bin/busybox", "unshare", "-n", "/bin/busybox", "sleep", "infinity")
)


def pod_config(**options: Any) -> cri.PodSandboxConfig:
    metadata = cri.PodSandboxMetadata(name="web", namespace="default", uid="u-1", attempt=2)
    config = cri.PodSandboxConfig(metadata=metadata, hostname="web", log_directory="/logs/web", **options)
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    return config


def container_config(**options: Any) -> cri.ContainerConfig:
    config = cri.ContainerConfig(metadata=cri.ContainerMetadata(name="c", attempt=1), log_path="c/1.log", **options)
    config.image.image = "busybox:1"
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    return config


def inspect_of(body: dict[str, Any], name: str, **state: Any) -> dict[str, Any]:
    known = {"Status": "running", "Pid": 42, "ExitCode": 0, "Error": "", "OOMKilled": False}
    times = {"StartedAt": "2026-01-02T03:04:05.5Z", "FinishedAt": "0001-01-01T00:00:00Z"}
    return {
        "Id": "a" * 64,
        "Name": "/" + name,
        "Created": "2026-01-02T03:04:05Z",
        "Image": "sha256:" + "b" * 64,
        "State": known | times | state,
        "Config": {"Labels": {**body["Labels"], "of-the-image": "x"}},
        "HostConfig": body["HostConfig"],
        "ResolvConfPath": "/r",
        "HostsPath": "/h",
        "LogPath": "/l",
    }


def sandbox(config: cri.PodSandboxConfig, **state: Any) -> Any:
    body = specs.sandbox(config, "", SHAPE, LIMITS)
    inspect = inspect_of(body, naming.sandbox_name(config.metadata), **state)
    return sandbox_record(inspect, Attachment(ATTACHED, ("10.0.0.2", "fd00::2")))


def container(config: cri.ContainerConfig, limits: EngineLimits = LIMITS, **mounts: str) -> dict[str, Any]:
    return specs.container(config, sandbox(pod_config()), "n1", limits, lambda path: f"<{path}>", mounts)


def test_a_sandbox_comes_back_as_it_was_asked_for() -> None:
    config = pod_config(labels={"app": "web", "empty": ""}, annotations={"note": "ü\n"})
    record = sandbox(config)
    assert record.config == config
    status = record.status()
    assert (dict(status.labels), dict(status.annotations)) == (dict(config.labels), dict(config.annotations))
    assert (status.state, status.network.ip) == (cri.SANDBOX_READY, "10.0.0.2")
    assert [extra.ip for extra in status.network.additional_ips] == ["fd00::2"]
    assert record.name == "k8s_POD_web_default_u-1_2"


def test_a_container_comes_back_without_its_environment_in_a_label() -> None:
    config = container_config(envs=[cri.KeyValue(key="SECRET", value="geheim")], labels={"a": "b"})
    body = container(config)
    assert body["Env"] == ["SECRET=geheim"] and not any("geheim" in text for text in body["Labels"].values())
    record = container_record(inspect_of(body, "c"))
    assert dict(record.config.labels) == {"a": "b"}
    assert record.log_path == "/logs/web/c/1.log"
    assert record.status(lambda _: "").image.image == "busybox:1"


def test_a_sandbox_makes_its_own_network_namespace_where_that_is_all_there_is_to_do() -> None:
    def mode(config: cri.PodSandboxConfig, shape: specs.SandboxShape = SHAPE) -> tuple[str, bool, list[str]]:
        body = specs.sandbox(config, "", shape, LIMITS)
        return body["HostConfig"]["NetworkMode"], "Entrypoint" in body, body["HostConfig"]["CapAdd"]

    assert mode(pod_config()) == ("host", True, ["SYS_ADMIN"])
    with_sysctl, shared, host = pod_config(), pod_config(), pod_config()
    with_sysctl.linux.sysctls["net.ipv4.ip_forward"] = "1"
    shared.linux.security_context.namespace_options.pid = cri.POD
    host.linux.security_context.namespace_options.network = cri.NODE
    assert mode(with_sysctl) == mode(shared) == ("none", False, [])
    assert mode(host) == ("host", False, [])
    owned = specs.SandboxShape("n1", "pause", "owner", unshare=SHAPE.unshare)
    assert mode(host, owned) == ("container:owner", False, [])


def test_an_unknown_runtime_handler_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="kata"):
        specs.sandbox(pod_config(), "kata", SHAPE, LIMITS)
    assert specs.sandbox(pod_config(), "runc", SHAPE, LIMITS)["HostConfig"]["Runtime"] == "runc"


@pytest.mark.parametrize(
    ("namespaces", "expected"),
    [
        (cri.NamespaceOption(pid=cri.POD), f"container:{'a' * 64}"),
        (cri.NamespaceOption(pid=cri.CONTAINER), ""),
        (cri.NamespaceOption(pid=cri.NODE), "host"),
        (cri.NamespaceOption(pid=cri.TARGET, target_id="t"), "container:t"),
    ],
)
def test_pid_modes(namespaces: cri.NamespaceOption, expected: str) -> None:
    config = container_config()
    config.linux.security_context.namespace_options.CopyFrom(namespaces)
    assert container(config)["HostConfig"]["PidMode"] == expected


def test_all_capabilities_are_those_the_engine_has() -> None:
    def capability(add: list[str], drop: list[str]) -> tuple[list[str], list[str]]:
        asked = cri.LinuxContainerSecurityContext(
            capabilities=cri.Capability(add_capabilities=add, drop_capabilities=drop)
        )
        out = security.host_config(asked, LIMITS, str)
        return out["CapAdd"], out["CapDrop"]

    assert capability(["ALL"], ["CAP_KILL"]) == (["CHOWN", "NET_ADMIN"], ["ALL"])
    assert capability(["net_raw"], ["ALL"]) == (["NET_RAW"], ["ALL"])
    assert capability(["NET_RAW"], ["MKNOD"]) == (["NET_RAW"], ["MKNOD"])


def test_privileged_is_built_from_parts_where_the_engine_cannot() -> None:
    asked = cri.LinuxContainerSecurityContext(privileged=True)
    assert security.host_config(asked, LIMITS, str)["Privileged"] is True
    parts = security.host_config(asked, UNPRIVILEGED, str)
    assert "Privileged" not in parts and parts["CapAdd"] == ["CHOWN", "NET_ADMIN"]
    assert (parts["MaskedPaths"], parts["ReadonlyPaths"]) == ([], [])
    assert [device["PathOnHost"] for device in parts["Devices"]] == ["/dev/fuse"]


@pytest.mark.parametrize(
    ("profile", "legacy", "option"),
    [
        (None, "", "seccomp=unconfined"),
        (cri.SecurityProfile(), "", None),
        (cri.SecurityProfile(profile_type=cri.SecurityProfile.Unconfined), "", "seccomp=unconfined"),
        (cri.SecurityProfile(profile_type=cri.SecurityProfile.Localhost, localhost_ref="/p"), "", "seccomp=</p>"),
        (None, "runtime/default", None),
        (None, "localhost//p", "seccomp=</p>"),
    ],
)
def test_seccomp(profile: cri.SecurityProfile | None, legacy: str, option: str | None) -> None:
    assert security.seccomp_option(profile, legacy, lambda path: f"<{path}>") == option


def test_a_group_needs_a_user() -> None:
    context = cri.LinuxContainerSecurityContext(run_as_group=cri.Int64Value(value=5))
    with pytest.raises(Refused):
        security.user(context)
    context.run_as_user.value = 0
    assert security.user(context) == "0:5"
    assert security.user(cri.LinuxContainerSecurityContext()) is None


def test_resources_clamp_the_score_and_give_no_swap_by_default() -> None:
    asked = cri.LinuxContainerResources(memory_limit_in_bytes=100, oom_score_adj=-997, unified={"pids.max": "7"})
    assert resources.host_config(asked, UNPRIVILEGED) == {
        "Memory": 100,
        "MemorySwap": 100,
        "PidsLimit": 7,
        "OomScoreAdj": 0,
    }
    assert resources.host_config(asked, LIMITS)["OomScoreAdj"] == -997
    with pytest.raises(Refused, match="hugepage"):
        resources.host_config(
            cri.LinuxContainerResources(hugepage_limits=[cri.HugepageLimit(page_size="2MB", limit=1)]), LIMITS
        )


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Status": "created"}, (cri.CONTAINER_CREATED, 0, "")),
        ({"Status": "paused"}, (cri.CONTAINER_RUNNING, 0, "")),
        ({"Status": "exited"}, (cri.CONTAINER_EXITED, 0, "Completed")),
        ({"Status": "exited", "ExitCode": 3}, (cri.CONTAINER_EXITED, 3, "Error")),
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, (cri.CONTAINER_EXITED, 137, "OOMKilled")),
        ({"Status": "created", "ExitCode": 127, "Error": "no file"}, (cri.CONTAINER_EXITED, 127, "StartError")),
    ],
)
def test_states(state: dict[str, Any], expected: tuple[int, int, str]) -> None:
    record = container_record(inspect_of(container(container_config()), "c", **state))
    assert (record.state, record.exit_code, record.reason) == expected
    assert (record.finished_at >= record.started_at > 0) or record.state != cri.CONTAINER_EXITED


def test_a_sandbox_without_its_network_is_not_ready() -> None:
    body = specs.sandbox(pod_config(), "", SHAPE, LIMITS)
    for phase in (ADDING, RELEASED):
        assert not sandbox_record(inspect_of(body, "s"), Attachment(phase)).ready
    assert not sandbox_record(inspect_of(body, "s", Status="exited"), Attachment(ATTACHED)).ready


def test_attachments_outlive_the_process(tmp_path: Any) -> None:
    kept = Attachment(ATTACHED, ("10.0.0.1",), args=(("K8S_POD_NAME", "p"),))
    first = Attachments(tmp_path / "a")
    first.put("x", kept)
    first.put("y", kept)
    first.drop("y")
    assert Attachments(tmp_path / "a").all() == {"x": kept}


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00.5Z", 500_000_000),
        ("1970-01-01T01:00:00.25+01:00", 250_000_000),
        ("0001-01-01T00:00:00Z", 0),
    ],
)
def test_nanoseconds(stamp: str, expected: int) -> None:
    assert nanoseconds(stamp) == expected


@pytest.mark.parametrize(
    ("reference", "short"),
    [
        ("busybox", "busybox:latest"),
        ("docker.io/library/busybox:1", "busybox:1"),
        ("docker.io/user/app", "user/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("localhost:5000/app:2@sha256:00", "localhost:5000/app@sha256:00"),
    ],
)
def test_familiar_names(reference: str, short: str) -> None:
    assert familiar(reference) == short


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("manifest for x:1 not found: manifest unknown", NotFound),
        ("pull access denied for x, repository does not exist", Denied),
        ("conflict: image is being used by running container 1", WrongState),
        ("Get https://r/v2/: dial tcp: i/o timeout", Unavailable),
        ("invalid reference format", Refused),
    ],
)
def test_registry_errors(words: str, kind: type[Exception]) -> None:
    assert isinstance(translate(words, "x"), kind)


def test_files_of_a_sandbox() -> None:
    dns = cri.DNSConfig(servers=["10.96.0.10"], searches=["a", "b"], options=["ndots:5"])
    assert resolv_conf(dns) == "search a b\nnameserver 10.96.0.10\noptions ndots:5\n"
    assert hosts_file("web", ["10.0.0.2"]).endswith("10.0.0.2\tweb\n")


def test_the_bounding_set_is_read() -> None:
    assert capabilities("Name:\tx\nCapBnd:\t0000000000001021\n") == {"CHOWN", "KILL", "NET_ADMIN"}


def test_stop_signals() -> None:
    assert specs.stop_signal(cri.SIGTERM) == "SIGTERM"
    assert specs.stop_signal(cri.SIGRTMINPLUS3) == "SIGRTMIN+3"
    assert specs.stop_signal(cri.SIGRTMAXMINUS2) == "SIGRTMAX-2"
    assert specs.stop_signal(cri.RUNTIME_DEFAULT) == ""
