"""One contract for sandbox networks, held by our plugin (in a thread and as a program) and by the reference plugins."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apimachinery.netlink import Netlink, in_namespace
from cni.executor import CniNetwork
from cni.spec import CniError
from tests.integration.netns import inside, namespace, sh
from tests.waiting import eventually

pytestmark = pytest.mark.root
BIN_DIRS = ("/usr/lib/cni",)
SUBNET = "10.244.1.0/24"


def ours(directory: Path) -> dict[str, Any]:
    plugin = {"type": "kubeto", "bridge": "cbr0", "subnet": SUBNET, "dataDir": str(directory / "ipam")}
    return {"cniVersion": "1.1.0", "name": "kubeto", "plugins": [{**plugin, "capabilities": {"portMappings": True}}]}


def program(directory: Path) -> dict[str, Any]:
    conf = ours(directory)
    conf["plugins"][0]["type"] = "kubeto-cni"
    return conf


def reference(directory: Path) -> dict[str, Any]:
    ipam = {"type": "host-local", "dataDir": str(directory / "ipam"), "ranges": [[{"subnet": SUBNET}]]}
    ipam["routes"] = [{"dst": "0.0.0.0/0"}]
    bridge = {"type": "bridge", "bridge": "cbr0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "debian", "plugins": [bridge, portmap, {"type": "loopback"}]}


@dataclass
class Node:
    name: str
    network: CniNetwork
    conf_dir: Path
    data: Path
    stack: ExitStack

    def sandbox(self) -> tuple[str, str]:
        """Container ID and namespace path of a new sandbox."""
        name = self.stack.enter_context(namespace())
        return name, f"/run/netns/{name}"

    def links(self) -> set[str]:
        with Netlink(f"/run/netns/{self.name}") as netlink:
            return {link.name for link in netlink.links() if link.name.startswith("veth")}

    def taken(self) -> list[str]:
        return [f.name for f in self.data.rglob("10.*") if f.is_file()]


@pytest.fixture(params=[ours, program, reference], ids=["in-thread", "program", "reference"])
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    conf_dir = tmp_path / "net.d"
    conf_dir.mkdir()
    (conf_dir / "10-test.conflist").write_text(json.dumps(request.param(tmp_path)))
    with ExitStack() as stack:
        name = stack.enter_context(namespace())
        inside(name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        stack.enter_context(in_namespace(f"/run/netns/{name}"))
        bin_dirs = (*BIN_DIRS, str(own_program(tmp_path)))
        network = CniNetwork(str(conf_dir), bin_dirs, str(tmp_path / "cache"))
        yield Node(name, network, conf_dir, tmp_path / "ipam", stack)


def own_program(directory: Path) -> Path:
    root = Path(__file__).parents[2]
    folder = directory / "bin"
    folder.mkdir(exist_ok=True)
    script = folder / "kubeto-cni"
    script.write_text(f"#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m cni\n")
    script.chmod(0o755)
    return folder


def reachable(sandbox: str, address: str) -> bool:
    return "1 packets received" in inside(sandbox, "busybox", "ping", "-c1", "-W2", address, check=False)


async def test_pods_get_addresses_and_reach_each_other_and_the_gateway(node: Node) -> None:
    (a, a_path), (b, b_path) = node.sandbox(), node.sandbox()
    first = await node.network.add(a, a_path, "eth0", {"IgnoreUnknown": "1"}, {})
    second = await node.network.add(b, b_path, "eth0", {}, {})
    assert first.ips != second.ips
    assert all(ip.startswith("10.244.1.") for ip in first.ips + second.ips)
    assert reachable(a, second.ips[0])
    assert reachable(b, first.ips[0])
    assert reachable(a, "10.244.1.1")
    await node.network.check(a, a_path, "eth0", {}, {})
    assert await node.network.status() == ""


async def test_delete_may_be_repeated_and_leaves_nothing(node: Node) -> None:
    a, path = node.sandbox()
    await node.network.add(a, path, "eth0", {}, {})
    assert node.links()
    assert node.taken()
    for _ in range(2):
        await node.network.delete(a, path, "eth0", {}, {})
        assert not node.links()
        assert not node.taken()


async def test_delete_needs_neither_the_namespace_nor_the_configuration(node: Node) -> None:
    a, path = node.sandbox()
    await node.network.add(a, path, "eth0", {}, {})
    sh("ip", "netns", "del", a)
    for file in node.conf_dir.iterdir():
        file.write_text("{}")
    assert "10-test.conflist" in await node.network.status()
    await node.network.delete(a, path, "eth0", {}, {})
    eventually(lambda: not node.links())  # the reference plugin leaves the link to the kernel's clean-up
    assert not node.taken()


async def test_check_sees_a_lost_link(node: Node) -> None:
    a, path = node.sandbox()
    await node.network.add(a, path, "eth0", {}, {})
    inside(a, "ip", "link", "set", "eth0", "down")
    inside(a, "ip", "addr", "flush", "dev", "eth0")
    with pytest.raises(CniError):
        await node.network.check(a, path, "eth0", {}, {})


async def test_gc_frees_what_is_not_valid(node: Node) -> None:
    (a, a_path), (b, b_path) = node.sandbox(), node.sandbox()
    await node.network.add(a, a_path, "eth0", {}, {})
    kept = await node.network.add(b, b_path, "eth0", {}, {})
    await node.network.gc({(b, "eth0")})
    assert len(node.links()) == 1
    assert len(node.taken()) == 1
    assert kept.ips[0] in node.taken()[0]


async def test_a_host_port_leads_to_the_pod_until_it_is_deleted(node: Node, tmp_path: Path) -> None:
    (pod, pod_path), (client, client_path) = node.sandbox(), node.sandbox()
    mapping = {"portMappings": [{"hostPort": 28080, "containerPort": 8080, "protocol": "tcp"}]}
    await node.network.add(pod, pod_path, "eth0", {}, mapping)
    await node.network.add(client, client_path, "eth0", {}, {})
    with serving(pod, tmp_path):
        assert fetch(client, "http://10.244.1.1:28080/hello") == "hello from the pod"
        assert fetch(pod, "http://10.244.1.1:28080/hello") == "hello from the pod"
        assert fetch(node.name, "http://10.244.1.1:28080/hello") == "hello from the pod"
        assert fetch(node.name, "http://127.0.0.1:28080/hello") == "hello from the pod"
        await node.network.delete(pod, pod_path, "eth0", {}, mapping)
        assert fetch(client, "http://10.244.1.1:28080/hello") == ""


async def test_a_failed_add_leaves_nothing(node: Node) -> None:
    (a, a_path), (b, b_path) = node.sandbox(), node.sandbox()
    await node.network.add(a, a_path, "eth0", {}, {})
    wrong = {"portMappings": [{"hostPort": 28080, "containerPort": 8080, "protocol": "icmp"}]}
    with pytest.raises(CniError):
        await node.network.add(b, b_path, "eth0", {}, wrong)
    assert len(node.links()) == 1
    assert len(node.taken()) == 1


@contextmanager
def serving(sandbox: str, directory: Path) -> Iterator[None]:
    (directory / "hello").write_text("hello from the pod")
    command = ["ip", "netns", "exec", sandbox, "busybox", "httpd", "-f", "-p", "8080", "-h", str(directory)]
    with subprocess.Popen(command) as server:
        try:
            eventually(lambda: fetch(sandbox, "http://127.0.0.1:8080/hello") != "")
            yield
        finally:
            server.terminate()


def fetch(sandbox: str, url: str) -> str:
    return inside(sandbox, "curl", "-s", "-m", "2", url, check=False)
