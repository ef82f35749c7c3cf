"""Finds plugins by their sockets in a folder, and registers them.

Each socket is asked what it is, the handler takes it or refuses it, and the plugin is told. A socket that is made anew
is another plugin; one that is gone takes its plugin along, unless another socket stands for the same plugin. One that
does not answer is asked again, and delays no other. Source: kubelet ``pluginmanager``.
"""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import grpc
from grpc import aio

from apimachinery.backoff import Backoff
from apimachinery.errors import ApiError
from apimachinery.logging import get_logger
from node.agent.csi.drivers import DriverError
from node.cri.client import OPTIONS
from protos.pluginregistration.v1 import api_pb2 as pb
from protos.pluginregistration.v1 import api_pb2_grpc as rpc

_log = get_logger(__name__)
_LOOK_SECONDS: Final = 1.0
_CALL_SECONDS: Final = 10.0
_Seen = tuple[int, int]  # inode and change time: a socket that is made anew differs


class PluginRefused(Exception):
    """The plugin is none that the agent can use. The message is for the plugin."""


class PluginHandler(Protocol):
    async def register(self, info: pb.PluginInfo, socket: str) -> None:
        """Raises PluginRefused, DriverError or ApiError."""
        ...

    async def deregister(self, name: str) -> None: ...


class PluginWatcher:
    """Watches one folder."""

    def __init__(self, folder: str, handler: PluginHandler) -> None:
        self._folder, self._handler = folder, handler
        self._tasks: dict[str, tuple[_Seen, asyncio.Task[None]]] = {}
        self._names: dict[str, str] = {}

    async def run(self) -> None:
        """Keep what is registered in step with the folder until cancelled."""
        os.makedirs(self._folder, exist_ok=True)
        try:
            while True:
                await self.look()
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for _, task in self._tasks.values():
                task.cancel()

    async def look(self) -> None:
        """Compare once with what is there."""
        found = _sockets(self._folder)
        for path, (seen, task) in list(self._tasks.items()):
            if found.get(path) != seen:
                task.cancel()
                del self._tasks[path]
                if path not in found:
                    await self._gone(path)
        for path in found.keys() - self._tasks.keys():
            task = asyncio.create_task(self._register(path), name=f"plugin-{os.path.basename(path)}")
            self._tasks[path] = (found[path], task)

    async def _gone(self, path: str) -> None:
        name = self._names.pop(path, "")
        if not name or name in self._names.values():
            return
        _log.info("Plugin is gone", plugin=name, socket=path)
        await self._handler.deregister(name)

    async def _register(self, path: str) -> None:
        backoff = Backoff(initial=0.5, maximum=30.0)
        while True:
            try:
                await self._try(path)
                return
            except (grpc.RpcError, ApiError, DriverError, PluginRefused, TimeoutError) as error:
                _log.warning("Plugin not registered, trying again", socket=path, error=_words(error))
            await asyncio.sleep(backoff.next())

    async def _try(self, path: str) -> None:
        async with _registration(path) as stub:
            info = await stub.GetInfo(pb.InfoRequest(), timeout=_CALL_SECONDS)
            try:
                await self._handler.register(info, path)
            except (ApiError, DriverError, PluginRefused) as error:
                status = pb.RegistrationStatus(plugin_registered=False, error=_words(error))
                await stub.NotifyRegistrationStatus(status, timeout=_CALL_SECONDS)
                raise
            self._names[path] = info.name
            _log.info("Plugin registered", plugin=info.name, socket=path)
            await stub.NotifyRegistrationStatus(pb.RegistrationStatus(plugin_registered=True), timeout=_CALL_SECONDS)


@asynccontextmanager
async def _registration(path: str) -> AsyncIterator["rpc.RegistrationAsyncStub"]:
    async with asyncio.timeout(3 * _CALL_SECONDS), aio.insecure_channel(f"unix://{path}", options=OPTIONS) as channel:
        yield rpc.RegistrationStub(channel)


def _words(error: Exception) -> str:
    if isinstance(error, aio.AioRpcError):
        return error.details() or error.code().name
    return str(error) or type(error).__name__


def _sockets(folder: str) -> dict[str, _Seen]:
    found: dict[str, _Seen] = {}
    for base, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for name in names:
            path = os.path.join(base, name)
            try:
                status = os.stat(path)
            except FileNotFoundError:
                continue
            if stat.S_ISSOCK(status.st_mode) and not name.startswith("."):
                found[path] = (status.st_ino, status.st_ctime_ns)
    return found
