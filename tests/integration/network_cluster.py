"""Two nodes with pods in network namespaces on a bridge of their own, and a stand-in for the outside world.

Nothing here touches the machine's own network: even the bridge is in a namespace.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apimachinery.netlink import in_namespace
from cni.executor import AddResult, CniNetwork
from tests.integration.netns import inside, namespace, sh
from tests.waiting import eventually

Object = dict[str, Any]
Conflist = Callable[[str, str], Object]
"""From podCIDR and data folder to a CNI configuration."""
ROOT = Path(__file__).parents[2]
OUTSIDE = "172.30.0.1"
NODE_MODULE = "tests.integration.network_node"

ECHO = """
import socket, sys, threading
name, port = sys.argv[1], int(sys.argv[2])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("", port))
tcp = socket.create_server(("", port))
def datagrams():
    while True:
        _, peer = udp.recvfrom(99)
        udp.sendto(f"{name} {peer[0]}".encode(), peer)
threading.Thread(target=datagrams, daemon=True).start()
print("listening", flush=True)
while True:
    connection, peer = tcp.accept()
    connection.sendall(f"{name} {peer[0]}".encode())
    connection.close()
"""
ASK = """
import socket, sys
protocol, address, port, source = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind); s.settimeout(float(sys.argv[5]))
if source: s.bind(("", source))
try:
    s.connect((address, port))
    if protocol == "udp": s.send(b"?")
    print(s.recv(99).decode())
except OSError as e:
    print("error", type(e).__name__)
"""


@dataclass
class Pod:
    name: str
    """Of its network namespace as well."""
    ip: str
    node: str


@dataclass
class Node:
    name: str
    ip: str
    cidr: str
    process: "subprocess.Popen[str]"
    network: CniNetwork


@dataclass
class Cluster:
    stack: ExitStack
    directory: Path
    outside: str
    nodes: dict[str, Node] = field(default_factory=dict)
    objects: dict[tuple[str, ...], Object] = field(default_factory=dict)

    def put(self, obj: Object, verb: str = "put") -> None:
        for node in self.nodes.values():
            tell(node.process, {verb: obj})

    def delete(self, obj: Object) -> None:
        self.put(obj, "delete")

    def pod(self, node_name: str) -> Pod:
        name, node = self.stack.enter_context(namespace()), self.nodes[node_name]

        def attach() -> AddResult:
            with in_namespace(f"/run/netns/{node_name}"):
                return asyncio.run(node.network.add(name, f"/run/netns/{name}", "eth0", {}, {}))

        with ThreadPoolExecutor(1) as fresh:  # threads inherit the namespace of the one that starts them, for life
            added = fresh.submit(attach).result()
        return Pod(name, added.ips[0], node_name)

    def serve(self, pod: Pod, port: int = 8080) -> None:
        """TCP and UDP on ``port``, answering ``<pod name> <client address>``."""
        command = ["ip", "netns", "exec", pod.name, sys.executable, "-c", ECHO, pod.name, str(port)]
        server = self.stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        self.stack.callback(server.kill)
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"


def tell(process: "subprocess.Popen[str]", command: Object) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(command) + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ok\n"


def ask(where: str, address: str, port: int, protocol: str = "tcp", source: int = 0, seconds: float = 2.0) -> str:
    """What the server at ``address`` answers to a client in namespace ``where``, or ``error NAME``."""
    return inside(where, sys.executable, "-c", ASK, protocol, address, str(port), str(source), str(seconds)).strip()


def ours(cidr: str, data_dir: str) -> Object:
    plugin = {"type": "kubeto", "subnet": cidr, "dataDir": data_dir}
    return {"cniVersion": "1.1.0", "name": "kubeto", "plugins": [plugin]}


def reference(cidr: str, data_dir: str) -> Object:
    ipam = {"type": "host-local", "dataDir": data_dir, "subnet": cidr, "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "cbr0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
    return {"cniVersion": "1.0.0", "name": "reference", "plugins": [bridge]}


@contextmanager
def cluster(directory: Path, conflist: Conflist = ours) -> Iterator[Cluster]:
    with ExitStack() as stack:
        outside = stack.enter_context(namespace())
        sh("ip", "-n", outside, "link", "add", "kw0", "type", "bridge")
        sh("ip", "-n", outside, "addr", "add", f"{OUTSIDE}/24", "dev", "kw0")
        sh("ip", "-n", outside, "link", "set", "kw0", "up")
        made = Cluster(stack, directory, outside)
        for number in (1, 2):
            node = _node(made, number, conflist)
            made.nodes[node.name] = node
        for node in made.nodes.values():
            made.put(_node_object(node))
        for node in made.nodes.values():
            eventually(lambda name=node.name: "10.96.0.0/16" in sh("ip", "-n", name, "route"))
            eventually(lambda name=node.name: "kubeto-proxy" in inside(name, "nft", "list", "tables"))
        yield made


def _node(made: Cluster, number: int, conflist: Conflist) -> Node:
    name, ip, cidr = made.stack.enter_context(namespace()), f"172.30.0.{number + 1}", f"10.244.{number}.0/24"
    sh("ip", "-n", made.outside, "link", "add", f"kw{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
    sh("ip", "-n", made.outside, "link", "set", f"kw{number}", "up", "master", "kw0")
    sh("ip", "-n", name, "addr", "add", f"{ip}/24", "dev", "eth0")
    sh("ip", "-n", name, "link", "set", "eth0", "up")
    sh("ip", "-n", name, "route", "add", "default", "via", OUTSIDE)
    conf_dir = made.directory / name
    conf_dir.mkdir()
    (conf_dir / "resolv.conf").write_text(f"nameserver {OUTSIDE}\n")
    pipe = subprocess.PIPE
    command = [
        "ip",
        "netns",
        "exec",
        name,
        sys.executable,
        "-m",
        "tests.integration.network_node",
        name,
        str(conf_dir / "resolv.conf"),
    ]
    process = made.stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT))
    made.stack.callback(process.kill)
    conf = conflist(cidr, str(conf_dir / "ipam"))
    (conf_dir / "10-test.conflist").write_text(json.dumps(conf))
    return Node(name, ip, cidr, process, CniNetwork(str(conf_dir), ["/usr/lib/cni"], str(conf_dir / "cache")))


def _node_object(node: Node) -> Object:
    addresses = [{"type": "InternalIP", "address": node.ip}]
    meta = {"name": node.name}
    return {"kind": "Node", "metadata": meta, "spec": {"podCIDR": node.cidr}, "status": {"addresses": addresses}}


def service(name: str, ip: str, **spec: Any) -> Object:
    ports = [{"name": p, "protocol": p.upper(), "port": 80} for p in ("tcp", "udp")]
    meta = {"namespace": "default", "name": name}
    return {"kind": "Service", "metadata": meta, "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": ports, **spec}}


def endpoints(service_name: str, *pods: Pod, ready: bool = True) -> Object:
    meta = {"namespace": "default", "name": service_name, "labels": {"kubernetes.io/service-name": service_name}}
    ports = [{"name": p, "protocol": p.upper(), "port": 8080} for p in ("tcp", "udp")]
    entries = [{"addresses": [p.ip], "nodeName": p.node, "conditions": {"ready": ready}} for p in pods]
    return {"kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4", "ports": ports, "endpoints": entries}
