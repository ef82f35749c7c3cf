"""Keeps a process-mode cluster's processes running: starts them, restarts one that ends, stops them all.

It is a process of its own (``python -m cli.up.supervisor DIR``), so that the cluster outlives the shell that
typed ``kubeto up``. What it starts is forked from a zygote, a child of its own (see ``zygote``). It owns nothing but
pids: when it is killed the components go on, and its successor finds them by their pid files and watches them again.

Guarantees: at most one live process a component; a component that ends is started again after a back-off of
0.2 s doubling to 10 s, which is forgotten after a minute of running. It cannot see whether a process is
healthy, only whether it lives.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from cli.up.components import Component, load_components
from cli.up.config import ClusterConfig, load
from cli.up.launcher import Launcher
from cli.up.namespaces import NodeNamespace, owner_pid
from cli.up.pid_files import read_pid, write_pid
from cli.up.zygote import Order

_FIRST_DELAY, _LONGEST_DELAY, _STEADY_AFTER = 0.2, 10.0, 60.0
_TERMINATE_WITHIN = 10.0
_namespace_locks: dict[int, threading.Lock] = {}


def is_alive(pid: int, argv: Sequence[str]) -> bool:
    """Whether ``pid`` is a live process whose command line ends with ``argv``.

    The whole of it counts: pids are used again soon on a busy machine, and the same program may serve another cluster.
    What leads to the program (an interpreter, ``nsenter``) may stand before it.
    """
    try:
        shown = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").rstrip()
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return False
    return state != "Z" and f" {shown}".endswith(f" {' '.join(argv)}")


def supervisor_argv(config: ClusterConfig) -> list[str]:
    """What a cluster's supervisor is started with, after the interpreter."""
    return ["-m", "cli.up.supervisor", str(config.root)]


def supervisor_pid(config: ClusterConfig) -> int:
    """The pid of the cluster's live supervisor, or 0."""
    pid = read_pid(config.run / "supervisor.pid")
    return pid if pid and is_alive(pid, supervisor_argv(config)) else 0


async def wait_for_exit(pid: int) -> None:
    """Return when the process is gone, whether or not it is our child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it has ended: this only reaps it


def _ensure(namespace: NodeNamespace) -> str:
    """A node's processes share its namespace: one at a time sees to it, else each would undo the other's."""
    with _namespace_locks.setdefault(namespace.index, threading.Lock()):
        return namespace.ensure()


class Keeper:
    """Keeps one component running. ``pid`` is that of its live process, or 0."""

    def __init__(
        self, component: Component, config: ClusterConfig, launcher: Launcher, *, log_to_files: bool = True
    ) -> None:
        self.component, self._launcher = component, launcher
        self.namespace = NodeNamespace(config, component.node) if component.node >= 0 else None
        self.pid_file = config.run / f"{component.name}.pid"
        self.log_file = str(config.logs / f"{component.name}.log") if log_to_files else ""
        self.pid = 0

    def adopt(self) -> bool:
        """Take over the process that an earlier supervisor left, if there is one."""
        left = read_pid(self.pid_file)
        self.pid = left if left and is_alive(left, self.component.argv) else 0
        return bool(self.pid)

    async def start(self, netns: str) -> None:
        """Adopt the process that is there already, or start one in the namespace at ``netns``."""
        if not self.adopt():
            c = self.component
            self.pid = await self._launcher.start(Order(c.argv, str(self.pid_file), c.env, netns, self.log_file))

    async def keep(self) -> None:
        delay = _FIRST_DELAY
        while True:
            started = time.monotonic()
            try:
                await self._run_once()
            except (OSError, subprocess.CalledProcessError) as error:
                # The engine is away, the disk is full, the namespace has just gone: worth waiting for.
                print(f"{self.component.name}: {error} {getattr(error, 'stderr', None) or ''}", flush=True)
                await self.stop()
            delay = _FIRST_DELAY if time.monotonic() - started > _STEADY_AFTER else min(delay * 2, _LONGEST_DELAY)
            print(f"{self.component.name} ended; it is started again in {delay:.1f} s", flush=True)
            await asyncio.sleep(delay)

    async def _run_once(self) -> None:
        """One life of the process: until it ends, or until the owner of its network namespace does."""
        netns = await asyncio.to_thread(_ensure, self.namespace) if self.namespace else ""
        await self.start(netns)
        ends = [asyncio.create_task(wait_for_exit(pid)) for pid in (self.pid, owner_pid(netns)) if pid]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
        if not ends[0].done():
            await self.stop()
        self.pid = 0

    async def end(self) -> None:
        """Stop for good, in the component's own orderly way first."""
        if self.pid and self.component.before_stop:
            try:
                await asyncio.to_thread(
                    subprocess.run, self.component.before_stop, check=True, timeout=_TERMINATE_WITHIN
                )
            except subprocess.SubprocessError as error:
                print(f"{self.component.name}: no orderly end: {error}", flush=True)
        await self.stop()

    async def stop(self) -> None:
        if not self.pid:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wait_for_exit(self.pid), _TERMINATE_WITHIN)
                break
        self.pid = 0
        self.pid_file.unlink(missing_ok=True)


async def stop_all(keepers: list[Keeper]) -> None:
    """Stop their processes, in the order that the components tell."""
    for order in sorted({k.component.stop_after for k in keepers}, reverse=True):
        await asyncio.gather(*(k.end() for k in keepers if k.component.stop_after == order))


def left_behind(config: ClusterConfig) -> list[Keeper]:
    """Keepers of the live processes of a supervisor that is gone."""
    try:
        components = load_components(config.components)
    except FileNotFoundError:
        return []
    launcher = Launcher(())
    return [keeper for keeper in (Keeper(c, config, launcher) for c in components) if keeper.adopt()]


async def supervise(config: ClusterConfig, components: list[Component], *, log_to_files: bool = True) -> None:
    """Keep components running until SIGTERM or SIGINT, then stop them in order."""
    for folder in (config.run, config.logs):
        folder.mkdir(parents=True, exist_ok=True)
    launcher = Launcher(c.argv[0] for c in components)
    keepers = [Keeper(c, config, launcher, log_to_files=log_to_files) for c in components]
    asked = asyncio.Event()

    def stop(number: int) -> None:
        print(f"asked to stop by signal {number}", flush=True)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    tasks = [asyncio.create_task(k.keep(), name=k.component.name) for k in keepers]
    for task in tasks:
        task.add_done_callback(lambda _: asked.set())  # a keeper ends only by a fault of its own
    await asked.wait()
    failed = [task for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await stop_all(keepers)
    await launcher.close()
    for task in failed:
        task.result()


def main(directory: Path) -> None:
    """Supervise the process-mode cluster whose folder this is."""
    config = load(directory)
    if config is None:
        sys.exit(f"{directory} holds no cluster")
    with (config.run / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"the cluster in {directory} has a supervisor already")
        write_pid(config.run / "supervisor.pid", os.getpid())
        asyncio.run(supervise(config, load_components(config.components)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
