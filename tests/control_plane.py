"""A real etcd and a real API server as processes, for tests. Both start in well under a second."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from apimachinery import pki
from apimachinery.config import kubeconfig
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
ADMIN_TOKEN = "admin-token"
USER_TOKEN = "user-token"


def eventually(check: Any, within: float = 10.0) -> Any:
    """The first truthy answer of ``check``; fails with its last answer or error when there is none in time."""
    deadline, last = time.monotonic() + within, None
    while time.monotonic() < deadline:
        try:
            if last := check():
                return last
        except (AssertionError, OSError) as error:
            last = error
        time.sleep(0.02)
    raise AssertionError(f"not within {within} s: {last!r}")


class Program:
    """A process with its log; ``stop`` is gentle, ``kill`` is not."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.command, self.log = command, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            env = os.environ | {"PYTHONPATH": str(ROOT)}
            self.process = subprocess.Popen(self.command, stdout=out, stderr=out, env=env, start_new_session=True)

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
    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        peer = f"http://127.0.0.1:{free_port()}"
        command = ["etcd", "--data-dir", str(directory / "data"), "--log-level", "error", "--unsafe-no-fsync"]
        command += ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        super().__init__([*command, "--initial-cluster", f"default={peer}"], directory / "etcd.log")

    def start(self) -> None:
        super().start()
        eventually(self.answers)

    def answers(self) -> bool:
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
        admin = ca.ensure_client(self.directory / "admin", "kubernetes-admin", ["system:masters"])
        self.kubeconfig = self._write_kubeconfig("admin.conf", ca, certificate=admin)
        self.token_kubeconfig = self._write_kubeconfig("token.conf", ca, token=ADMIN_TOKEN)
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
        self.program = Program(command, self.directory / "apiserver.log")

    def _front_proxy(self) -> list[str]:
        """What aggregated API servers know this one by, and how it knows other front proxies."""
        self.front_proxy_ca = pki.ensure_ca(self.directory, "front-proxy-ca", "front-proxy-ca")
        self.front_proxy = self.front_proxy_ca.ensure_client(self.directory / "front-proxy", "front-proxy-client")
        flags = [f"--requestheader-client-ca-file={self.front_proxy_ca.path}"]
        flags += ["--requestheader-allowed-names=front-proxy-client"]
        flags += [f"--proxy-client-cert-file={self.front_proxy.certificate_path}"]
        return [*flags, f"--proxy-client-key-file={self.front_proxy.key_path}"]

    def _write_kubeconfig(self, name: str, ca: Any, certificate: Any = None, token: str = "") -> str:
        pems = (certificate.certificate_pem, certificate.key_pem) if certificate else (b"", b"")
        path = self.directory / name
        path.write_text(yaml.safe_dump(kubeconfig(self.url, ca.pem, *pems, token=token)))
        return str(path)

    def start(self) -> None:
        self.program.start()
        eventually(self.is_ready, within=20)

    def is_ready(self) -> bool:
        process = self.program.process
        if process is None or process.poll() is not None:
            raise RuntimeError(f"the API server ended:\n{self.program.log.read_text()}")
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

    def kubectl(self, *arguments: str, program: str = str(BIN / "kubectl"), stdin: str = "") -> str:
        """The program's output. Raises CalledProcessError."""
        command = [program, "--kubeconfig", self.kubeconfig, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise AssertionError(f"{arguments}: {done.stderr}{done.stdout}")
        return done.stdout


def have_etcd() -> bool:
    return shutil.which("etcd") is not None
