"""Specs "Runtime info", "PodSandbox", "Idempotence" (of sandboxes) and "Networking"."""

import socket
import urllib.request
import uuid

import grpc
import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.contract.cri.kit import Kit, on_fake, refused
from tests.waiting import eventually


@on_fake
def test_version(kit: Kit) -> None:
    version = kit.runtime.Version(cri.VersionRequest(version="0.1.0"))
    assert version.version and version.runtime_name and version.runtime_version
    assert version.runtime_api_version.startswith("v1")


@on_fake
def test_runtime_conditions(kit: Kit) -> None:
    told = kit.runtime.Status(cri.StatusRequest()).status.conditions
    assert {"RuntimeReady", "NetworkReady"} <= {condition.type for condition in told if condition.status}


@on_fake
def test_running_pod_sandbox(kit: Kit) -> None:
    pod = kit.pod()
    assert pod.status().state == cri.SANDBOX_READY and pod.id in listed(kit)


@on_fake
def test_stopping_pod_sandbox(kit: Kit) -> None:
    pod = kit.pod()
    for _ in range(2):
        pod.stop()
        assert pod.status().state == cri.SANDBOX_NOTREADY


@on_fake
def test_removing_pod_sandbox(kit: Kit) -> None:
    pod = kit.pod()
    container = pod.run()
    pod.stop()
    pod.remove()
    assert pod.id not in listed(kit) and not container.listed(id=container.id)
    with refused(grpc.StatusCode.NOT_FOUND):
        pod.status()


@on_fake
def test_idempotence_of_sandboxes_not_found(kit: Kit) -> None:
    kit.fails_on("containerd", "1.6 answers NOT_FOUND")
    unknown = str(uuid.uuid4())
    kit.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=unknown))
    kit.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=unknown))


@on_fake
def test_preserving_pod_sandbox_attributes(kit: Kit) -> None:
    labels, annotations = {"foo": "bar", "io.kubernetes.pod.name": "x"}, {"abc": "def", "long": "ü" * 3000}
    pod = kit.pod(labels=labels, annotations=annotations)
    answer = kit.runtime.ListPodSandbox(cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(id=pod.id)))
    for seen in (pod.status(), *answer.items):
        assert seen.metadata == pod.config.metadata
        assert (dict(seen.labels), dict(seen.annotations)) == (labels, annotations)
    assert len(answer.items) == 1


@on_fake
def test_listing_filters(kit: Kit) -> None:
    pod, stopped = kit.pod(labels={"a": "b"}), kit.pod()
    stopped.stop()
    ready = cri.PodSandboxStateValue(state=cri.SANDBOX_READY)
    assert pod.id in listed(kit, state=ready) and stopped.id not in listed(kit, state=ready)
    assert listed(kit, label_selector={"a": "b"}) == [pod.id]
    assert listed(kit, id="no-such-id") == [] and listed(kit, id=stopped.id) == [stopped.id]


@pytest.mark.parametrize(
    ("name", "value"),
    [("kernel.shm_rmid_forced", "1"), ("fs.mqueue.msg_max", "100"), ("net.ipv4.ip_local_port_range", "2000\t3000")],
)
def test_sysctls(kit: Kit, name: str, value: str) -> None:
    container = kit.pod(linux=cri.LinuxPodSandboxConfig(sysctls={name: value.replace("\t", " ")})).run()
    assert container.output("cat", f"/proc/sys/{name.replace('.', '/')}").strip() == value


def test_dns_config(kit: Kit) -> None:
    dns = cri.DNSConfig(servers=["10.10.10.10"], searches=["google.com"], options=["ndots:8"])
    lines = kit.pod(dns_config=dns).run().output("cat", "/etc/resolv.conf").splitlines()
    assert {"nameserver 10.10.10.10", "search google.com", "options ndots:8"} <= set(lines)


@pytest.mark.parametrize("name", ["test-hostname", ""])
def test_set_hostname(kit: Kit, name: str) -> None:
    """Without one, it is the node's."""
    assert kit.pod(hostname=name).run().output("hostname") == (name or socket.gethostname()) + "\n"


def test_port_mapping_with_only_container_port(kit: Kit) -> None:
    pod = kit.pod(port_mappings=[cri.PortMapping(container_port=80)])
    pod.run((), image="web:latest")
    assert fetch(f"http://{pod.status().network.ip}:80/")


def test_port_mapping_with_host_port_and_container_port(kit: Kit) -> None:
    pod = kit.pod(port_mappings=[cri.PortMapping(container_port=80, host_port=21712)])
    pod.run((), image="web:latest")
    assert fetch("http://127.0.0.1:21712/")


def test_pod_stats(kit: Kit) -> None:
    kit.fails_on("containerd", "1.6 finds no cgroup of the sandbox")
    pod = kit.pod(labels={"s": "t"})
    container = pod.run()
    request = cri.ListPodSandboxStatsRequest(filter=cri.PodSandboxStatsFilter(label_selector={"s": "t"}))
    one = kit.runtime.PodSandboxStats(cri.PodSandboxStatsRequest(pod_sandbox_id=pod.id)).stats
    for stats in (one, *kit.runtime.ListPodSandboxStats(request).stats):
        assert (stats.attributes.id, stats.attributes.metadata) == (pod.id, pod.config.metadata)
        assert [c.attributes.id for c in stats.linux.containers] == [container.id]
        assert stats.linux.cpu.timestamp and stats.linux.memory.working_set_bytes.value
        assert stats.linux.network.default_interface.name == "eth0"
        assert stats.linux.process.process_count.value >= 2


def test_a_sandbox_is_not_run_twice(kit: Kit) -> None:
    kit.needs(kit.target.name != "containerd", "refuses the repetition instead")
    pod = kit.pod()
    again = kit.runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=pod.config))
    assert again.pod_sandbox_id == pod.id


def test_an_unknown_runtime_handler_is_refused(kit: Kit) -> None:
    config = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(name="crih", uid=str(uuid.uuid4()), namespace="crih"))
    with refused() as failed:
        kit.runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=config, runtime_handler="none-such"))
    assert "none-such" in str(failed.value)


def listed(kit: Kit, **wanted: object) -> list[str]:
    request = cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(**wanted))  # type: ignore[arg-type]
    return [item.id for item in kit.runtime.ListPodSandbox(request).items]


def fetch(url: str) -> bool:
    """Whether a web server answers there in time."""

    def answer() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return b"here" in response.read()
        except OSError:
            return False

    return eventually(answer)
