"""etcd as it is on bad days: three members whose leader dies, and a line to it that is slow or cut."""

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path
from types import TracebackType

from tests.control_plane import Etcd, Program
from tests.ports import free_port
from tests.waiting import eventually


class SlowLine:
    """A TCP proxy to etcd. Each piece of data is held up for ``delay`` seconds, both ways; ``cut`` drops all."""

    def __init__(self, target: int) -> None:
        self.target, self.delay = target, 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "SlowLine":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        for one in self._open:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(self.delay)
                target.sendall(data)
        except OSError:
            pass
        finally:
            source.close()
            target.close()


class Members:
    """An etcd of three. ``leader`` is the index of the one that leads."""

    def __init__(self, directory: Path) -> None:
        clients, peers = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
        self.urls = [f"http://127.0.0.1:{p}" for p in clients]
        cluster = ",".join(f"m{i}=http://127.0.0.1:{p}" for i, p in enumerate(peers))
        self.members: list[Program] = []
        for i, url in enumerate(self.urls):
            peer = f"http://127.0.0.1:{peers[i]}"
            command = ["etcd", "--name", f"m{i}", "--data-dir", str(directory / f"m{i}"), "--log-level", "error"]
            command += ["--listen-client-urls", url, "--advertise-client-urls", url, "--initial-cluster", cluster]
            command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--unsafe-no-fsync"]
            command += ["--heartbeat-interval", "100", "--election-timeout", "1000"]
            self.members.append(Program(command, directory / f"m{i}.log"))

    def start(self) -> None:
        for member in self.members:
            member.start()
        eventually(lambda: self.leader() is not None)

    def stop(self) -> None:
        for member in self.members:
            member.kill()

    def leader(self) -> int | None:
        for url in self.urls:
            try:
                ask = urllib.request.Request(f"{url}/v3/maintenance/status", b"{}", method="POST")
                with urllib.request.urlopen(ask, timeout=1) as reply:
                    status = json.load(reply)
            except OSError:
                continue
            if status.get("leader", "0") != "0":
                return self._by_id(status["leader"])
        return None

    def _by_id(self, wanted: str) -> int | None:
        for index, url in enumerate(self.urls):
            try:
                ask = urllib.request.Request(f"{url}/v3/maintenance/status", b"{}", method="POST")
                with urllib.request.urlopen(ask, timeout=1) as reply:
                    if json.load(reply)["header"]["member_id"] == wanted:
                        return index
            except OSError:
                continue
        return None


def pause(program: Program) -> None:
    assert program.process is not None
    os.kill(program.process.pid, signal.SIGSTOP)


def go_on(program: Program) -> None:
    assert program.process is not None
    os.kill(program.process.pid, signal.SIGCONT)


def put(etcd: Etcd, key: str, value: str) -> None:
    etcd.ctl("put", key, value)
