"""The runtime's side of CNI (specification 1.1, sections 2 to 4): attach sandboxes by the configured plugins.

Guarantees: plugins of an attachment run one at a time, in order (DEL in reverse), each with the result of the one
before; a failed ADD is undone before it is reported; DEL uses the configuration and arguments of its ADD, may be
repeated and needs no namespace; what ADD did survives a restart of the process. It cannot see what others do to a
sandbox's interfaces: ``check`` does.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakValueDictionary

from apimachinery.logging import get_logger
from cni import conflist, invoke
from cni.cache import Attached, Cache
from cni.conflist import Folder, NetworkList
from cni.spec import INVALID_CONFIG, IO_FAILURE, CniError, Object, Request

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AddResult:
    """``ips``: the sandbox's addresses without prefix, the primary one first. ``raw``: the last plugin's result."""

    ips: list[str]
    raw: Object = field(default_factory=dict)


class CniNetwork:
    """The network of sandboxes, by the first configuration in ``conf_dir`` (changes there hold for the next ADD)."""

    def __init__(self, conf_dir: str, bin_dirs: Sequence[str], cache_dir: str) -> None:
        self._folder, self._bin_dirs, self._cache = Folder(conf_dir), tuple(bin_dirs), Cache(cache_dir)
        # At most one command at a time for one attachment; an entry lives as long as someone holds or awaits it.
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        # Held while plugins collect: no attachment begins that they were not told of.
        self._gate = asyncio.Lock()

    async def add(
        self, container_id: str, netns: str, ifname: str, args: Mapping[str, str], capabilities: Mapping[str, Any]
    ) -> AddResult:
        """Attach the sandbox whose network namespace is at path ``netns``. Raises CniError; then nothing is left."""
        network = self._folder.current()
        wanted = Attached(container_id, ifname, netns, network.raw, args, capabilities, None)
        async with self._alone(container_id, ifname):
            async with self._gate:
                self._save(wanted)  # before anything is done: a crash in between still leads to a full DEL
            try:
                result = await self._add(network, wanted)
                self._save(replace(wanted, result=result))
            except BaseException:
                await self._undo(wanted)
                raise
        return AddResult(_addresses(result), result)

    async def delete(
        self, container_id: str, netns: str, ifname: str, args: Mapping[str, str], capabilities: Mapping[str, Any]
    ) -> None:
        """Detach; all is well when it was never attached or ``netns`` is gone. Raises CniError: try again."""
        async with self._alone(container_id, ifname):
            attached = self._cache.load(container_id, ifname)
            if attached is None:
                network = self._current()
                if network is None:
                    return  # with neither a record nor a network, nothing was ever done
                attached = Attached(container_id, ifname, netns, network.raw, args, capabilities, None)
            await self._delete(attached)

    async def check(
        self, container_id: str, netns: str, ifname: str, args: Mapping[str, str], capabilities: Mapping[str, Any]
    ) -> None:
        """Raises CniError when the attachment is not as ADD left it. Needs configuration version 0.4 or newer."""
        attached = self._cache.load(container_id, ifname)
        if attached is None or attached.result is None:
            raise CniError(INVALID_CONFIG, "the sandbox is not attached", container_id)
        network = conflist.parse(attached.config)
        if network.raw.get("disableCheck") or not network.supports("0.4.0"):
            return
        for plugin in network.plugins:
            await self._call(network, plugin, "CHECK", attached, attached.result)

    async def status(self) -> str:
        """ "" when an ADD can be expected to succeed, else why not."""
        try:
            network = self._folder.current()
            for plugin in network.plugins:
                invoke.find(plugin["type"], self._bin_dirs)
                if network.supports("1.1.0"):
                    await self._call(network, plugin, "STATUS", None, None)
        except CniError as error:
            return str(error)
        return ""

    async def gc(self, valid: Collection[tuple[str, str]]) -> None:
        """Free all that attachments other than ``valid`` (container ID, interface name) hold. Raises CniError."""
        for attached in self._cache.all():
            if (attached.container_id, attached.ifname) not in valid:
                async with self._alone(attached.container_id, attached.ifname):
                    await self._delete(attached)
        network = self._current()
        if network is None or not network.supports("1.1.0") or network.raw.get("disableGC"):
            return
        async with self._gate:
            begun = {(each.container_id, each.ifname) for each in self._cache.all()}
            pairs = sorted(begun.union(valid))
            entries = [{"containerID": container_id, "ifname": ifname} for container_id, ifname in pairs]
            for plugin in network.plugins:
                marked = {**plugin, "cni.dev/valid-attachments": entries, "cni.dev/attachments": entries}
                await self._call(network, marked, "GC", None, None)

    def _current(self) -> NetworkList | None:
        try:
            return self._folder.current()
        except CniError:
            return None

    def _save(self, attached: Attached) -> None:
        try:
            self._cache.save(attached)
        except OSError as error:
            raise CniError(IO_FAILURE, "the attachment cannot be recorded", str(error)) from error

    async def _add(self, network: NetworkList, wanted: Attached) -> Object:
        result: Object | None = None
        for plugin in network.plugins:
            result = await self._call(network, plugin, "ADD", wanted, result)
            if result is None:
                raise CniError(INVALID_CONFIG, f"CNI plugin {plugin['type']} gave no result")
        return result or {}

    async def _delete(self, attached: Attached) -> None:
        network = conflist.parse(attached.config)
        previous = attached.result if network.supports("0.4.0") else None
        for plugin in reversed(network.plugins):
            await self._call(network, plugin, "DEL", attached, previous)
        self._cache.drop(attached.container_id, attached.ifname)

    async def _undo(self, wanted: Attached) -> None:
        """After a failed ADD. If this fails too, the cache entry stays, and DEL or GC will try again."""
        try:
            await asyncio.shield(self._delete(wanted))
        except CniError as error:
            _log.warning("Failed attachment could not be undone", container=wanted.container_id, error=str(error))

    async def _call(
        self, network: NetworkList, plugin: Object, command: str, attached: Attached | None, previous: Object | None
    ) -> Object | None:
        config = {**plugin, "name": network.name, "cniVersion": network.version}
        if previous is not None:
            config["prevResult"] = previous
        path = ":".join(self._bin_dirs)
        if attached is None:
            return await invoke.call(plugin["type"], Request(command, config, path=path), self._bin_dirs)
        offered = {key for key, on in (plugin.get("capabilities") or {}).items() if on}
        runtime = {key: value for key, value in attached.capabilities.items() if key in offered}
        if runtime:
            config["runtimeConfig"] = runtime
        request = Request(
            command, config, attached.container_id, attached.netns, attached.ifname, dict(attached.args), path
        )
        return await invoke.call(plugin["type"], request, self._bin_dirs)

    @asynccontextmanager
    async def _alone(self, container_id: str, ifname: str) -> AsyncIterator[None]:
        key = container_id, ifname
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            yield


def _addresses(result: Object) -> list[str]:
    return [str(entry["address"]).partition("/")[0] for entry in result.get("ips") or ()]
