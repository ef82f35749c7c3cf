"""A real etcd, API server, controller manager and scheduler as processes, for tests. Each starts in about a second."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from apimachinery import pki
from apimachinery.config import ClusterAccess, kubeconfig, load_kubeconfig
from tests.ports import free_port
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
ADMIN_TOKEN = "admin-token"
USER_TOKEN = "user-token"


class Program:
    """A process with its log; ``stop`` is gentle, ``kill`` is not. As a context it runs from end to end."""

    def __init__(self, command: list[str], log: Path, ready: Callable[[], object] = lambda: True) -> None:
        self.command, self.log, self.ready = command, log, ready
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it is ready; one that does not get ready is gone when this fails."""
        self.launch()
        try:
            eventually(self.is_ready)
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        with self.log.open("ab") as out:
            env = os.environ | {"PYTHONPATH": str(ROOT)}
            self.process = subprocess.Popen(self.command, stdout=out, stderr=out, env=env, start_new_session=True)

    def is_ready(self) -> bool:
        """Raises RuntimeError, with its log, when it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"{' '.join(self.command[:3])} ended:\n{self.log.read_text()}")
        return bool(self.ready())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        try:
            code = self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = None
        return code

    def kill(self) -> None:
        self.stop(signal.SIGKILL)


class Etcd(Program):
    """Empty at first; without flushing to the disk."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        peer = f"http://127.0.0.1:{free_port()}"
        command = ["etcd", "--data-dir", str(directory / "data"), "--log-level", "error", "--unsafe-no-fsync"]
        command += ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        super().__init__([*command, "--initial-cluster", f"default={peer}"], directory / "etcd.log", self._answers)

    def stop(self, number: int = signal.SIGKILL) -> int:
        return super().stop(number)

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/health", timeout=1) as reply:
            return bool(json.load(reply)["health"] == "true")

    def ctl(self, *arguments: str) -> str:
        env = os.environ | {"ETCDCTL_API": "3"}
        command = ["etcdctl", "--endpoints", self.url, *arguments]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


@dataclass
class Reply:
    code: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class ApiServerProgram:
    """One API server. ``request`` talks to it as curl would."""

    directory: Path
    etcd: str
    flags: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.url = f"https://127.0.0.1:{self.port}"
        self.directory.mkdir(parents=True, exist_ok=True)
        ca = pki.ensure_ca(self.directory)
        pair = ca.ensure_server(self.directory / "apiserver", "kube-apiserver", dns=["localhost"], ips=["127.0.0.1"])
        self.ca = ca
        self.kubeconfig = self.kubeconfig_of("admin", "kubernetes-admin", ["system:masters"])
        self.token_kubeconfig = self._write_kubeconfig("token", token=ADMIN_TOKEN)
        tokens = self.directory / "tokens.csv"
        tokens.write_text(f'{ADMIN_TOKEN},admin,1,"system:masters"\n{USER_TOKEN},alice,2,"developers"\n')
        self.ca_file = str(ca.path)
        self._tls = ssl.create_default_context(cafile=self.ca_file)
        command = [sys.executable, "-m", "master.apiserver", "--etcd-servers", self.etcd]
        command += ["--secure-port", str(self.port), "--bind-address", "127.0.0.1"]
        command += ["--grpc-port", str(free_port()), "--grpc-token-port", str(free_port())]
        command += ["--tls-cert-file", str(pair.certificate_path), "--tls-private-key-file", str(pair.key_path)]
        command += ["--client-ca-file", self.ca_file, "--token-auth-file", str(tokens), *self.flags]
        command += self._front_proxy()
        self.program = Program(command, self.directory / "apiserver.log", self._is_ready)

    def start(self) -> None:
        self.program.start()

    def is_ready(self) -> bool:
        return self.program.is_ready()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.program.stop()

    def _front_proxy(self) -> list[str]:
        """What aggregated API servers know this one by, and how it knows other front proxies."""
        self.front_proxy_ca = pki.ensure_ca(self.directory, "front-proxy-ca", "front-proxy-ca")
        self.front_proxy = self.front_proxy_ca.ensure_client(self.directory / "front-proxy", "front-proxy-client")
        flags = [f"--requestheader-client-ca-file={self.front_proxy_ca.path}"]
        flags += ["--requestheader-allowed-names=front-proxy-client"]
        flags += [f"--proxy-client-cert-file={self.front_proxy.certificate_path}"]
        return [*flags, f"--proxy-client-key-file={self.front_proxy.key_path}"]

    def kubeconfig_of(self, name: str, user: str, groups: Sequence[str] = ()) -> str:
        """The path of ``name``.conf: this server, and a certificate of that user."""
        pair = self.ca.ensure_client(self.directory / name, user, groups)
        return self._write_kubeconfig(name, pair.certificate_pem, pair.key_pem)

    def _write_kubeconfig(self, name: str, certificate: bytes = b"", key: bytes = b"", token: str = "") -> str:
        path = self.directory / f"{name}.conf"
        path.write_text(yaml.safe_dump(kubeconfig(self.url, self.ca.pem, certificate, key, token=token)))
        return str(path)

    def _is_ready(self) -> bool:
        return self.request("GET", "/readyz").code == 200

    def request(
        self, method: str, path: str, body: Any = None, *, token: str = ADMIN_TOKEN, headers: Any = None
    ) -> Reply:
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data, {**sent, **(headers or {})}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=15, context=self._tls) as reply:
                return Reply(reply.status, dict(reply.headers), reply.read().decode())
        except urllib.error.HTTPError as error:
            return Reply(error.code, dict(error.headers), error.read().decode())

    def kubectl(self, *arguments: str, program: str = str(BIN / "kubectl"), stdin: str = "", check: bool = True) -> str:
        """The program's output; raises AssertionError when it fails, or adds what it says without ``check``."""
        command = [program, "--kubeconfig", self.kubeconfig, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=90)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)}: {done.stderr}{done.stdout}")
        return done.stdout + ("" if check else done.stderr)


class ControlPlane:
    """etcd, an API server with the account tokens' key, and what ``start_*`` adds to ``programs`` by name."""

    def __init__(self, directory: Path) -> None:
        self.etcd = Etcd(directory)
        pki.ensure_key(directory / "sa.key")
        key = str(directory / "sa.key")
        flags = ("--service-account-signing-key-file", key, "--service-account-key-file", key)
        issuer = "https://kubernetes.default.svc.cluster.local"
        self.server = ApiServerProgram(directory, self.etcd.url, (*flags, "--service-account-issuer", issuer))
        self.kubectl, self.directory = self.server.kubectl, directory
        self.programs: dict[str, Program] = {}
        self.health_ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.etcd.start()
        try:
            self.server.start()
        except BaseException:
            self.etcd.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for program in (*self.programs.values(), self.server.program, self.etcd):
            program.stop()

    def access(self, name: str = "admin") -> ClusterAccess:
        return load_kubeconfig(str(self.directory / f"{name}.conf"))

    def start_controller_manager(self, *flags: str, name: str = "controller-manager") -> None:
        """Its identity ends with its health port, which a second one of the same name has again."""
        port = self.health_ports.setdefault(name, free_port())
        kubeconfig = self.server.kubeconfig_of("controller-manager", "system:kube-controller-manager")
        self._start(name, "master.controller_manager", kubeconfig, f"--healthz-port={port}", *flags)

    def start_scheduler(self, *flags: str, name: str = "scheduler") -> None:
        kubeconfig = self.server.kubeconfig_of("scheduler", "system:kube-scheduler")
        self._start(name, "master.scheduler", kubeconfig, *flags)

    def _start(self, name: str, module: str, kubeconfig: str, *flags: str) -> None:
        command = [sys.executable, "-m", module, "--kubeconfig", kubeconfig, *flags]
        self.programs[name] = Program(command, self.directory / f"{name}.log")
        self.programs[name].start()


def have_etcd() -> bool:
    return shutil.which("etcd") is not None
