"""The process that a local cluster's Python processes are forked from, so that what they share is imported once.

``python -m cli.up.zygote FD [SCRIPT ...]``: ``FD`` is a stream socket to the supervisor. Each line on it is an
``Order`` in JSON and is answered by one line: ``{"pid": n}``, or ``{"error": why}`` with nothing started. What every
component imports is imported before the first order; the console scripts named SCRIPT, which several components run,
are imported when first ordered; any other in its own process, so that no component carries another's modules.

Guarantees: the zygote has one thread and has never started gRPC or an event loop when it forks; a child
writes its pid file, under the command line that the order gives it, before it runs anything, so that a child whose
answer got lost is found all the same. It ends when the supervisor's end of the socket closes; its children go on.
"""

import functools
import gc
import importlib
import importlib.metadata
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any, Self, cast

import setproctitle

from apimachinery.netlink import wire
from cli.up.pid_files import write_pid

# A process can name itself anew only within the room of its first command line and environment.
TITLE_ROOM = {"KUBETO_TITLE_ROOM": " " * 16384}
# Imported by every component; nothing here starts a thread when it is imported.
_COMMON = (
    "apimachinery.client.api",
    "apimachinery.client.controller",
    "apimachinery.client.events",
    "apimachinery.client.informer",
    "apimachinery.client.leader",
    "apimachinery.lifecycle",
    "apimachinery.metrics",
    "apimachinery.pki",
    "argparse",
    "http.client",
    "protos.kubeto.v1.apiserver_pb2_grpc",
    "protos.kubeto.v1.node_pb2_grpc",
)


@dataclass(frozen=True, slots=True)
class Order:
    """One process to start. ``argv[0]`` is the path of a console script; ``netns`` the path of the network namespace
    it runs in, "" for the supervisor's; ``log`` the file that its output is appended to, "" for the supervisor's."""

    argv: list[str]
    pid_file: str
    env: dict[str, str] = field(default_factory=dict)
    netns: str = ""
    log: str = ""

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Self:
        return cls(**json.loads(line))

    @property
    def script(self) -> str:
        return os.path.basename(self.argv[0])


@functools.cache
def scripts() -> dict[str, importlib.metadata.EntryPoint]:
    """The console scripts of this project by name: what can be forked. Other programs are started by exec."""
    try:
        found = importlib.metadata.distribution("kubeto").entry_points
    except importlib.metadata.PackageNotFoundError:
        return {}
    return {entry.name: entry for entry in found.select(group="console_scripts")}


def serve(channel: socket.socket, shared: Collection[str]) -> Order | None:
    """Fork a child an order until the channel closes. Returns None then, and in each child the child's order."""
    known = scripts()
    with channel.makefile("rb") as orders:
        for line in orders:
            order = Order.decode(line)
            try:
                entry = known[order.script]
                if order.script in shared:
                    _import(entry)
                pid = _fork(order)
            except (OSError, ImportError, KeyError) as error:
                channel.sendall(_line({"error": f"{type(error).__name__}: {error}"}))
                continue
            if pid == 0:
                return order
            channel.sendall(_line({"pid": pid}))
    return None


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def _import(entry: importlib.metadata.EntryPoint) -> None:
    if entry.module not in sys.modules:
        importlib.import_module(entry.module)
        gc.freeze()  # what is never collected is never written to, and stays shared between the processes


def _fork(order: Order) -> int:
    if order.netns:
        os.stat(order.netns)  # while the supervisor can still be told
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise OSError(f"{threads} threads: only a process with one can be forked safely")
    return os.fork()


def become(order: Order) -> Callable[[], object]:
    """Turn this child into what ``order`` asks for; returns the script's function, not yet run."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order.netns:
        wire.enter(order.netns)
    _redirect(order.log)
    for name in TITLE_ROOM:
        os.environ.pop(name, None)
    os.environ.update(order.env)
    sys.argv = list(order.argv)
    # As the kernel shows a script that was started by exec: its interpreter, then its own arguments.
    setproctitle.setproctitle(" ".join([sys.executable, *order.argv]))
    setproctitle.setthreadtitle(order.script)
    write_pid(order.pid_file, os.getpid())
    gc.enable()
    main: Callable[[], object] = scripts()[order.script].load()
    return main


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if log:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.close(out)


def main(descriptor: int, shared: Collection[str]) -> int | str | None:
    """Be the zygote, and in a child the component: then the exit code of its main function."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps: the supervisor watches pids, not us
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setproctitle.setproctitle("kubeto-zygote")
    gc.disable()
    for module in _COMMON:
        importlib.import_module(module)
    gc.freeze()
    with socket.socket(fileno=descriptor) as channel:
        order = serve(channel, shared)
    return None if order is None else cast("int | str | None", become(order)())


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
