"""Commands in running containers: to the end (ExecSync), or as a stream for ``streaming``.

The engine cannot kill what it executes, but it tells the process's id on the host: a command that takes too long
is killed by that, with what it has started.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from node.cri_docker.cache import Cache
from node.cri_docker.engine import Connection, Engine, EngineError
from node.cri_docker.refusal import NotStarted, TooSlow, WrongState
from protos.cri.runtime.v1 import api_pb2 as cri

STDIN, STDOUT, STDERR = 0, 1, 2
_LOOK_SECONDS = 1.0  # between two looks whether a silent command's container still runs
NO_DETACH_KEYS = "ctrl-@,ctrl-_,ctrl-@,ctrl-_,ctrl-@,ctrl-_"
"""The engine's own, ctrl-p ctrl-q, would eat a shell's ctrl-p."""
OUTPUT_LIMIT = 16 * 1024 * 1024 - 64 * 1024
"""Both streams together have to fit into one message of 16 MiB."""


class Execs:
    def __init__(self, engine: Engine, cache: Cache) -> None:
        self._engine, self._cache = engine, cache

    async def sync(self, identity: str, command: Sequence[str], timeout: int) -> cri.ExecSyncResponse:
        """Run a command to its end; ``timeout`` seconds, 0 for no limit.

        Output over 16 MiB is cut. Raises NotFound, WrongState, NotStarted, and TooSlow after having killed the command.
        """
        exec_id = await self.create(identity, command)
        connection = await self.start(exec_id)
        out: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
        try:
            async with asyncio.timeout(timeout or None):
                await self._collect(connection, out, self._cache.container(identity).id)
        except TimeoutError:
            await self.kill(exec_id)
            raise TooSlow(f"command {list(command)} timed out: it did not end within {timeout} s") from None
        except asyncio.CancelledError:
            await asyncio.shield(self.kill(exec_id))
            raise
        finally:
            connection.close()
        state = await self._ended(exec_id)
        output, errors, code = b"".join(out[STDOUT]), b"".join(out[STDERR]), int(state["ExitCode"] or 0)
        if code and not state["Pid"]:  # the engine has made up the code, and wrote its reason as the command's output
            reason = output.decode("utf-8", "replace").strip()
            raise NotStarted(f'failed to exec in container: failed to start exec "{exec_id}": {reason}')
        return cri.ExecSyncResponse(stdout=output, stderr=errors, exit_code=code)

    async def _collect(self, connection: Connection, out: dict[int, list[bytes]], container: str) -> None:
        """The output to its end. The engine does not end it for what went with another container's pid namespace."""
        collecting = asyncio.ensure_future(_collect(connection, out))
        ended = False
        try:
            while not (await asyncio.wait({collecting}, timeout=_LOOK_SECONDS))[0]:
                if ended:
                    raise WrongState(f"container {container} ended while the command ran")
                ended = self._cache.state_of(container) != cri.CONTAINER_RUNNING
            await collecting
        finally:
            collecting.cancel()

    async def create(self, identity: str, command: Sequence[str], *, stdin: bool = False, tty: bool = False) -> str:
        record = self._cache.container(identity)
        if not record.running:
            raise WrongState(f"container {record.id} is not running")
        body = {
            "Cmd": list(command),
            "AttachStdin": stdin,
            "AttachStdout": True,
            "AttachStderr": not tty,
            "Tty": tty,
            "DetachKeys": NO_DETACH_KEYS,
        }
        try:
            created = await self._engine.post(f"/containers/{record.id}/exec", body)
        except EngineError as error:
            if error.conflict:
                raise WrongState(f"container {record.id}: {error.message}") from error
            raise
        return str(created["Id"])

    async def start(self, exec_id: str, *, tty: bool = False) -> Connection:
        return await self._engine.hijack(f"/exec/{exec_id}/start", {"Detach": False, "Tty": tty})

    async def exit_code(self, exec_id: str) -> int:
        """Of a command whose output has ended."""
        return int((await self._ended(exec_id))["ExitCode"] or 0)

    async def _ended(self, exec_id: str) -> dict[str, Any]:
        """The state of a command whose output has ended; its process may take a moment more."""
        delay = 0.002
        while True:
            state: dict[str, Any] = await self._engine.get(f"/exec/{exec_id}/json")
            if not state["Running"]:
                return state
            await asyncio.sleep(delay)
            delay = min(delay * 2, 0.5)

    async def kill(self, exec_id: str) -> None:
        """End a command and its descendants."""
        state = await self._engine.get(f"/exec/{exec_id}/json")
        if state["Running"] and state["Pid"]:
            for pid in reversed(_tree(state["Pid"])):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    async def resize(self, exec_id: str, width: int, height: int) -> None:
        await self._engine.post(f"/exec/{exec_id}/resize", w=width, h=height)


async def frames(connection: Connection) -> AsyncIterator[tuple[int, bytes]]:
    """(stream, data) of a multiplexed stream of the engine's, to its end."""
    reader = connection.reader
    while True:
        try:
            header = await reader.readexactly(8)
            left = int.from_bytes(header[4:], "big")
            while left:
                data = await reader.read(min(left, 1 << 16))
                if not data:
                    return
                left -= len(data)
                yield header[0], data
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return


async def _collect(connection: Connection, out: dict[int, list[bytes]]) -> None:
    left = OUTPUT_LIMIT
    async for stream, data in frames(connection):
        if stream in out and left > 0:
            out[stream].append(data[:left])
            left -= len(data)


def _tree(pid: int) -> list[int]:
    """A process and all its descendants, parents first."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                found.extend(int(child) for child in task.read_text().split())
    return found
