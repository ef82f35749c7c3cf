"""A process-mode cluster for tests, started by the same command that a user types, and kubectl on it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ports import take_block

BIN = Path(sys.executable).parent
RUNTIME = os.environ.get("KUBETO_TEST_RUNTIME", "docker")
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class LocalCluster:
    """A running cluster; ``directory`` is its folder, ``start`` the arguments of ``kubeto`` that started it."""

    directory: Path
    name: str
    start: list[str]
    kubectl_program: str = os.environ.get("KUBETO_TEST_KUBECTL", str(BIN / "kubectl"))

    @property
    def kubeconfig(self) -> str:
        return str(self.directory / "admin.conf")

    def run(self, *command: str, input: str | None = None, check: bool = True, timeout: float = 60) -> str:
        """Run a program with this cluster's kubeconfig; returns what it printed."""
        done = subprocess.run(
            command, input=input, capture_output=True, text=True, errors="replace", timeout=timeout, check=False,
            env={**os.environ, "KUBECONFIG": self.kubeconfig}, cwd=ROOT,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout if check else f"{done.stdout}{done.stderr}"

    def kubectl(self, *arguments: str, **options: Any) -> str:
        return self.run(self.kubectl_program, *arguments, **options)

    def kubeto(self, *arguments: str, **options: Any) -> str:
        return self.run(str(BIN / "kubeto"), *arguments, **options)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, manifest: str, *arguments: str) -> str:
        return self.kubectl("apply", "-f", "-", *arguments, input=manifest)

    def pids(self) -> dict[str, int]:
        """The live processes by component name."""
        return {p.stem: int(p.read_text()) for p in (self.directory / "run").glob("*.pid")}


@contextmanager
def local_cluster(directory: Path, *options: str) -> Iterator[LocalCluster]:
    """Start a cluster of its own name, ports and network, and take everything away afterwards."""
    block = take_block()
    name, port = f"kt{block.number}", block.ports[0]
    place = ["--dir", str(directory)]
    start = ["up", "--mode=process", f"--name={name}", f"--port={port}", f"--etcd-port={port + 20}"]
    start += [f"--node-network=172.31.{block.number}.0/24", *place, *options]
    cluster = LocalCluster(directory, name, start)
    try:
        cluster.kubeto(*start, timeout=120)
        yield cluster
    finally:
        cluster.run(str(BIN / "kubeto"), "down", "--clean", *place, timeout=120)
