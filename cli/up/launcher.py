"""Starts a component: this project's own console scripts by forking the zygote, other programs by exec.

It never retries: an ``OSError`` says that nothing is known to have started, and whoever asks again first looks at the
component's pid file, which a forked child writes itself.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable

from cli.up import zygote
from cli.up.pid_files import write_pid
from cli.up.zygote import Order


class Launcher:
    """``scripts``: the paths of all console scripts that will be ordered, each as often as it will run."""

    def __init__(self, scripts: Iterable[str]) -> None:
        names = [os.path.basename(script) for script in scripts]
        self._shared = sorted({name for name in names if names.count(name) > 1})
        self._turn = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def start(self, order: Order) -> int:
        """Start the process and write its pid file; returns the pid. Raises OSError."""
        return await self._fork(order) if order.script in zygote.scripts() else _execute(order)

    async def _fork(self, order: Order) -> int:
        async with self._turn:
            reader, writer = await self._zygote()
            writer.write(order.encode())
            await writer.drain()
            line = await reader.readline()
            if not line:
                raise ConnectionResetError(f"the zygote ended before it answered for {order.script}")
        answer = json.loads(line)
        if "error" in answer:
            raise OSError(f"{order.script}: {answer['error']}")
        return int(answer["pid"])

    async def _zygote(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The channel to the zygote, after starting one where none lives."""
        if self._reader is not None and self._writer is not None and not self._reader.at_eof():
            return self._reader, self._writer
        await self.close()
        self._reader, self._writer = await asyncio.open_connection(sock=_start_zygote(self._shared))
        return self._reader, self._writer

    async def close(self) -> None:
        """End the zygote; what it started goes on."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None


def _start_zygote(shared: Iterable[str]) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", "cli.up.zygote", str(theirs.fileno()), *shared]
        environment = {**os.environ, **zygote.TITLE_ROOM}
        subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=environment)
    return ours


def _execute(order: Order) -> int:
    enter = ["nsenter", f"--net={order.netns}", "--"] if order.netns else []
    with open(order.log, "ab") if order.log else contextlib.nullcontext() as log:
        process = subprocess.Popen(
            [*enter, *order.argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **order.env},
            start_new_session=True,
        )
    write_pid(order.pid_file, process.pid)
    return process.pid
