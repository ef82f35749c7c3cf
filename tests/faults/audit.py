"""What a process-mode cluster has on the machine, against what its API server declares.

``leaks`` compares both ways for every kind of thing that a pod makes: containers and sandboxes, veths and
addresses, host ports, service rules, mounts, log folders, pod folders. It is an inventory, so it is right only
once the cluster has come to rest: ask with ``eventually``.
"""

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from typing import Any

import grpc

from protos.cri.runtime.v1 import api_pb2 as cri
from protos.cri.runtime.v1.api_pb2_grpc import RuntimeServiceStub
from tests.e2e.local_cluster import LocalCluster

_LABELS = " ".join(
    f'{{{{.Label "{label}"}}}}' for label in ("io.kubeto.kind", "io.kubernetes.pod.uid", "io.kubernetes.container.name")
)


def command(*arguments: str) -> str:
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Machine:
    """What runs on one node, as the kernel and the engine tell it."""

    cluster: LocalCluster
    node: str

    @property
    def root(self) -> str:
        return str(self.cluster.directory / "data" / "nodes" / self.node)

    def containers(self) -> Counter[tuple[str, str, str]]:
        """How many by (pod uid, container name or POD, running or not)."""
        label = f"label=io.kubeto.node={self.cluster.name}-{self.node}"
        found: Counter[tuple[str, str, str]] = Counter()
        for line in command("docker", "ps", "-a", "--filter", label, "--format", _LABELS + " {{.State}}").splitlines():
            kind, uid, name, state = line.split(" ")
            found[uid, "POD" if kind == "sandbox" else name, "running" if state == "running" else "dead"] += 1
        return found

    def _inside(self, *arguments: str) -> str:
        pid = command("docker", "inspect", "--format={{.State.Pid}}", f"{self.cluster.name}-{self.node}").strip()
        return command("nsenter", f"--net=/proc/{pid}/ns/net", *arguments)

    def records(self, networked: int) -> list[tuple[str, object, object]]:
        """What the runtime itself remembers, and what it should; ``networked``: pods that are not on the host's."""
        sandboxes = sum(count for (_, name, _), count in self.containers().items() if name == "POD")
        return [
            ("records of sandboxes", len(self.folders("cri", "sandboxes")), sandboxes),
            ("CNI results", len(self.folders("cri", "cni", "results")), networked),
        ]

    def veths(self) -> int:
        links = json.loads(self._inside("ip", "-j", "link", "show", "type", "veth"))
        return sum(1 for link in links if link["ifname"] != "eth0")

    def addresses(self) -> list[str]:
        files = [f for _, _, names in os.walk(f"{self.root}/ipam") for f in names]
        return [f.partition(",")[0] for f in files if "," in f]

    def host_ports(self) -> list[int]:
        ruleset = json.loads(self._inside("nft", "-j", "list", "ruleset"))["nftables"]
        maps = [r["map"] for r in ruleset if r.get("map", {}).get("table") == "kubeto-hostports"]
        return sorted(e[0]["elem"]["val"]["concat"][-1] for m in maps for e in m.get("elem", []))

    def service_ips(self) -> set[str]:
        ruleset = json.loads(self._inside("nft", "-j", "list", "ruleset"))["nftables"]
        sets = [r["set"] for r in ruleset if r.get("set", {}).get("name") == "cluster-ips"]
        return {ip for s in sets for ip in s.get("elem", [])}

    def folders(self, *parts: str) -> set[str]:
        path = os.path.join(self.root, *parts)
        return set(os.listdir(path)) if os.path.isdir(path) else set()

    def mounts(self) -> list[str]:
        with open("/proc/self/mountinfo") as table:
            return [line.split()[4] for line in table if f" {self.root}/pods/" in line]


class OnContainerd(Machine):
    """A node whose runtime is a containerd of its own."""

    def containers(self) -> Counter[tuple[str, str, str]]:
        with grpc.insecure_channel(
            f"unix:{self._socket}", options=[("grpc.default_authority", "localhost")]
        ) as channel:
            runtime = RuntimeServiceStub(channel)
            sandboxes = runtime.ListPodSandbox(cri.ListPodSandboxRequest(), timeout=10).items
            containers = runtime.ListContainers(cri.ListContainersRequest(), timeout=10).containers
        found = Counter((s.metadata.uid, "POD", _word(s.state == cri.SANDBOX_READY)) for s in sandboxes)
        for c in containers:
            found[c.labels["io.kubernetes.pod.uid"], c.metadata.name, _word(c.state == cri.CONTAINER_RUNNING)] += 1
        return found

    @property
    def _socket(self) -> str:
        return str(self.cluster.directory / "run" / f"{self.node}.sock")

    def _inside(self, *arguments: str) -> str:
        return command("nsenter", f"--net=/run/netns/{self.cluster.name}-{self.node}", *arguments)

    def shims(self) -> list[int]:
        """The process ids of containerd's shims, one a sandbox.

        A containerd that is killed between starting a shim and noting it never finds it again (1.6 has no remedy):
        such a shim holds no process, and does not count.
        """
        found = subprocess.run(["pgrep", "-f", f"containerd-shim.*{self._socket}"], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split() if _has_children(pid)]

    def records(self, networked: int) -> list[tuple[str, object, object]]:
        ready = sum(n for (_, name, state), n in self.containers().items() if (name, state) == ("POD", "running"))
        return [("shims", len(self.shims()), ready)]


def _has_children(pid: str) -> bool:
    return subprocess.run(["pgrep", "-P", pid], capture_output=True).returncode == 0


def _word(running: bool) -> str:
    return "running" if running else "dead"


def machine(cluster: LocalCluster, node: str) -> Machine:
    there = (cluster.directory / "run" / f"containerd-{node}.pid").exists()
    return (OnContainerd if there else Machine)(cluster, node)


def leaks(cluster: LocalCluster) -> list[str]:
    """Each difference between what is declared and what is there, in words; empty when all is well."""
    pods = cluster.get("pods", "-A")["items"]
    services = cluster.get("services", "-A")["items"]
    nodes = [n["metadata"]["name"] for n in cluster.get("nodes")["items"]]
    return [problem for n in nodes for problem in _of_node(machine(cluster, n), pods, services)]


def _of_node(machine: Machine, pods: list[Any], services: list[Any]) -> list[str]:
    here = [p for p in pods if p["spec"].get("nodeName") == machine.node]
    uids = {p["metadata"]["uid"] for p in here}
    alive = [p for p in here if p["status"].get("phase") not in ("Succeeded", "Failed")]
    networked = [p for p in alive if not p["spec"].get("hostNetwork")]
    ports = [
        port["hostPort"]
        for p in alive
        for c in p["spec"]["containers"]
        for port in c.get("ports", ())
        if "hostPort" in port
    ]
    ips = {s["spec"]["clusterIP"] for s in services} - {"None", None}
    logs = {f"{p['metadata']['namespace']}_{p['metadata']['name']}_{p['metadata']['uid']}" for p in here}
    compared: list[tuple[str, object, object]] = [
        ("veths", machine.veths(), len(networked)),
        ("addresses", sorted(machine.addresses()), sorted(p["status"].get("podIP", "?") for p in networked)),
        ("host ports", machine.host_ports(), sorted(ports)),
        ("service addresses", machine.service_ips(), ips),
        ("pods' folders", machine.folders("pods"), uids),
        ("log folders", machine.folders("logs", "pods"), logs),
        *machine.records(len(networked)),
    ]
    problems = [f"{machine.node}: {what}: {found}, not {wanted}" for what, found, wanted in compared if found != wanted]
    problems += [
        f"{machine.node}: mount {m} of a pod that is gone" for m in machine.mounts() if not uids & set(m.split("/"))
    ]
    return problems + _containers(machine, alive, uids)


def _containers(machine: Machine, alive: list[Any], uids: set[str]) -> list[str]:
    found = machine.containers()
    problems = [f"{machine.node}: {key} of a pod that is gone" for key in found if key[0] not in uids]
    for pod in alive:
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        wanted = {c["name"] for c in pod["status"].get("containerStatuses", ()) if "running" in c["state"]} | {"POD"}
        for container in wanted:
            if found[uid, container, "running"] != 1:
                problems.append(f"{machine.node}: {name}: {found[uid, container, 'running']} running {container}")
        for (owner, container, state), count in found.items():
            if owner == uid and state == "running" and container not in wanted:
                problems.append(f"{machine.node}: {name}: {count} running {container}, undeclared")
            if owner == uid and state == "dead" and count > 2:
                problems.append(f"{machine.node}: {name}: {count} dead {container}")
    return problems
