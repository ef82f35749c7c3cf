"""Pod sandboxes: run, stop, remove.

A sandbox is a pause container that owns the pod's namespaces. Its verbs are safe to repeat and to break off: its
name follows from the pod, its network's progress is kept (``attachments``), and a run that fails takes back what
it did.
"""

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from apimachinery.lifecycle import guard
from apimachinery.logging import get_logger
from node.cri_docker import naming, network, specs
from node.cri_docker.engine import EngineError
from node.cri_docker.host import Host
from node.cri_docker.records import SandboxRecord
from node.cri_docker.refusal import AlreadyExists, CriError, NotFound
from node.cri_docker.sandbox_networks import NoNamespace, SandboxNetworks
from node.cri_docker.specs import SandboxShape
from protos.cri.runtime.v1 import api_pb2 as cri

log = get_logger(__name__)


class Sandboxes:
    def __init__(self, host: Host, shape: SandboxShape, networks: SandboxNetworks) -> None:
        self._host, self._shape, self._networks = host, shape, networks
        self._names: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._unshare: Sequence[str] | None = None

    async def run(self, config: cri.PodSandboxConfig, handler: str) -> str:
        """Start a sandbox and return its id; that of the one already there if it is the same, running and whole.

        Raises AlreadyExists for another running sandbox of this name. Whatever fails is undone.
        """
        self._host.cache.require()
        name = naming.sandbox_name(config.metadata)
        async with self._names.setdefault(name, asyncio.Lock()):
            made = ""
            self._host.cache.hide(name)
            try:
                sandbox_id, existed = await self._run_either_way(name, config, handler)
                made = "" if existed else sandbox_id
            finally:
                self._host.cache.reveal(name, made)
            return sandbox_id

    async def _run_either_way(self, name: str, config: cri.PodSandboxConfig, handler: str) -> tuple[str, bool]:
        """(id, was it there already)."""
        try:
            return await self._run(name, config, handler)
        except NoNamespace as error:
            if not self._unshare:
                raise
            log.warning("The pause image cannot make network namespaces, the engine has to", error=error)
            self._unshare = ()
            return await self._run(name, config, handler)

    async def _run(self, name: str, config: cri.PodSandboxConfig, handler: str) -> tuple[str, bool]:
        shape = replace(self._shape, unshare=await self._unshare_command())
        body = specs.sandbox(config, handler, shape, self._host.limits())
        sandbox_id, existed = await self._create(name, config, body)
        if not existed:
            try:
                await self._start(sandbox_id, config)
            except BaseException as error:
                await self._undo(sandbox_id, error)
                raise
        return sandbox_id, existed

    async def _create(self, name: str, config: cri.PodSandboxConfig, body: dict[str, object]) -> tuple[str, bool]:
        """(id, was it there already)."""
        for attempt in range(3):
            try:
                created = await self._host.engine.post("/containers/create", body, name=name)
                return created["Id"], False
            except EngineError as error:
                if error.not_found and "image" in error.message.lower() and attempt == 0:
                    await self._host.images.pull(self._shape.image, None)
                elif not error.conflict or attempt == 2:
                    raise
                elif sandbox_id := await self._same_running(name, config):
                    return sandbox_id, True
        raise AssertionError("the loop returns or raises")

    async def _same_running(self, name: str, config: cri.PodSandboxConfig) -> str:
        """Resolve a name conflict: the same sandbox's id, or "" after an unfinished one was removed."""
        holder = await self._host.cache.holder(name, SandboxRecord)
        if holder is None:
            return ""
        existing, _ = holder
        if existing.ready and existing.config == config:
            return existing.id
        if existing.ready:
            raise AlreadyExists(f"sandbox {name} runs already, with another configuration: {existing.id}")
        await self.remove(existing.id)
        return ""

    async def _start(self, sandbox_id: str, config: cri.PodSandboxConfig) -> None:
        attachment = self._networks.begin(sandbox_id, config)
        await self._host.engine.post(f"/containers/{sandbox_id}/start")
        record = await self._refreshed(sandbox_id)
        ips = await self._networks.attach(record, attachment)
        self._write_files(record, ips)
        self._networks.done(sandbox_id, attachment, ips)
        await self._refreshed(sandbox_id)

    async def _refreshed(self, sandbox_id: str) -> SandboxRecord:
        record = await self._host.cache.refresh(sandbox_id)
        if not isinstance(record, SandboxRecord) or record.state != cri.CONTAINER_RUNNING:
            raise NoNamespace(f"sandbox {sandbox_id} did not stay alive: the pause image must run for ever")
        return record

    async def _unshare_command(self) -> Sequence[str]:
        """For a pause image made of busybox, whose ``unshare`` does what the engine does slowly; else ()."""
        if self._unshare is not None:
            return self._unshare
        try:
            os.stat(f"/proc/{self._host.engine.peer_pid()}/ns/net")
            image = await self._host.engine.get(f"/images/{self._shape.image}/json")
        except PermissionError:  # an engine started by init's socket: its namespace could not be told from a pod's
            return ()
        except EngineError as error:
            if error.not_found:
                return ()
            raise
        config = image.get("Config") or {}
        command = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
        able = bool(command) and os.path.basename(command[0]) == "busybox"
        self._unshare = (command[0], "unshare", "-n", *command) if able else ()
        return self._unshare

    def _write_files(self, record: SandboxRecord, ips: Sequence[str]) -> None:
        """Overwrite in place what the engine wrote: every container of the pod has these files mounted."""
        if record.host_network and self._shape.host_network_container:
            return  # they are the node's own
        root = self._host.root()
        if record.config.HasField("dns_config"):
            Path(root + record.resolv_conf).write_text(network.resolv_conf(record.config.dns_config))
        if not record.host_network:
            Path(root + record.hosts).write_text(network.hosts_file(record.config.hostname, ips))

    async def _undo(self, sandbox_id: str, error: BaseException) -> None:
        """Take all back. A network that cannot be given back now is left to ``collect``. Raises CriError, which tells
        of both errors, when something was not undone."""
        failed: list[str] = []
        for step in (self._networks.release_unseen, self._host.delete):
            try:
                await step(sandbox_id)
            except Exception as second:  # of the engine or of the network, whose errors are its own
                failed.append(str(second))
        if failed:
            raise CriError(f"{error}; and it could not be undone: {'; '.join(failed)}") from error

    async def stop(self, identity: str) -> None:
        """End all its processes and give its network back. A sandbox that is gone is stopped."""
        try:
            record = self._host.cache.sandbox(identity)
        except NotFound:
            return
        running = [r for r in self._host.cache.containers(record.id) if r.running]
        results = await asyncio.gather(
            *(self._host.kill(container.id) for container in running),
            self._networks.release(record),
            return_exceptions=True,
        )
        if record.state == cri.CONTAINER_RUNNING:
            await self._host.kill(record.id)
        _raise_first(results)

    async def remove(self, identity: str) -> None:
        """Stop it and remove it with all its containers. One that is gone is removed."""
        cache = self._host.cache
        cache.require()
        left = [identity] if self._networks.knows(identity) else []  # created, never seen
        try:
            left = [identity := cache.sandbox(identity).id]
            await self.stop(identity)
        except NotFound:
            pass  # or removed, but not yet all its containers
        left += [container.id for container in cache.containers(identity)] if identity else []
        _raise_first(await asyncio.gather(*map(self._host.delete, left), return_exceptions=True))
        self._networks.forget(identity)

    async def collect(self) -> None:
        """Give back networks of sandboxes that no longer exist, however they went; end those that lost theirs.

        A sandbox's interface goes with its peer, in the node's own network namespace: as when the node's container is
        restarted. The agent then sees a sandbox that is not ready and makes another.
        """
        for record in await self._networks.collect():
            log.warning("Sandbox has lost its network, ending it", sandbox=record.id, pod=record.config.metadata.name)
            await guard("end a sandbox without its network", partial(self._host.kill, record.id))


def _raise_first(results: Iterable[object]) -> None:
    for result in results:
        if isinstance(result, BaseException):
            raise result
