"""Pod sandboxes: run, stop, remove.

A sandbox is a pause container that owns the pod's namespaces. Its verbs are safe to repeat and to break off: its
name follows from the pod, its network's progress is kept (``attachments``), and a run that fails takes back what
it did.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from apimachinery.lifecycle import guard
from apimachinery.logging import get_logger
from node.cri_docker import namespaces, naming, network, specs
from node.cri_docker.attachments import ADDING, ATTACHED, RELEASED, Attachment, Attachments
from node.cri_docker.cache import Cache
from node.cri_docker.engine import Engine, EngineError
from node.cri_docker.images import Images
from node.cri_docker.limits import engine_root
from node.cri_docker.network import SandboxNetwork
from node.cri_docker.records import SandboxRecord
from node.cri_docker.refusal import AlreadyExists, CriError, NotFound, WrongState
from node.cri_docker.security import EngineLimits
from node.cri_docker.specs import SandboxShape
from protos.cri.runtime.v1 import api_pb2 as cri

_UNSHARE_SECONDS = 10.0
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Host:
    """What all verbs share."""

    engine: Engine
    cache: Cache
    images: Images
    limits: Callable[[], EngineLimits]

    def root(self) -> str:
        return engine_root(self.engine.peer_pid())


class NoNamespace(WrongState):
    """A pause process has ended, or goes on without a network namespace of its own."""


class Sandboxes:
    def __init__(self, host: Host, shape: SandboxShape, net: SandboxNetwork, attachments: Attachments) -> None:
        self._host, self._shape, self._net, self._attachments = host, shape, net, attachments
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
                if error.not_found and attempt == 0:
                    await self._host.images.pull(self._shape.image, None)
                elif not error.conflict or attempt == 2:
                    raise
                elif sandbox_id := await self._same_running(name, config):
                    return sandbox_id, True
        raise AssertionError("the loop returns or raises")

    async def _same_running(self, name: str, config: cri.PodSandboxConfig) -> str:
        """Resolve a name conflict: the same sandbox's id, or "" after an unfinished one was removed."""
        try:
            inspect = await self._host.engine.get(f"/containers/{name}/json")
        except EngineError as error:
            if error.not_found:
                return ""
            raise
        existing = await self._host.cache.refresh(inspect["Id"])
        if not isinstance(existing, SandboxRecord):
            raise AlreadyExists(f"the name {name} is taken by container {inspect['Id'][:12]} of somebody else")
        if existing.ready and existing.config == config:
            return existing.id
        if existing.ready:
            raise AlreadyExists(f"sandbox {name} runs already, with another configuration: {existing.id}")
        await self.remove(existing.id)
        return ""

    async def _start(self, sandbox_id: str, config: cri.PodSandboxConfig) -> None:
        host_network = config.linux.security_context.namespace_options.network == cri.NODE
        args = tuple(network.cni_args(sandbox_id, config.metadata).items())
        attachment = Attachment(ADDING, host_network=host_network, args=args)
        self._attachments.put(sandbox_id, attachment)
        await self._host.engine.post(f"/containers/{sandbox_id}/start")
        record = await self._refreshed(sandbox_id)
        ips: Sequence[str] = ()
        if not host_network:
            await self._own_network(record)
            added = await self._net.add(
                sandbox_id, record.netns, network.INTERFACE, dict(args), network.capabilities(config)
            )
            ips = added.ips
        self._write_files(record, ips)
        self._attachments.put(sandbox_id, replace(attachment, phase=ATTACHED, ips=tuple(ips)))
        await self._refreshed(sandbox_id)

    async def _refreshed(self, sandbox_id: str) -> SandboxRecord:
        record = await self._host.cache.refresh(sandbox_id)
        if not isinstance(record, SandboxRecord) or record.state != cri.CONTAINER_RUNNING:
            raise NoNamespace(f"sandbox {sandbox_id} did not stay alive: the pause image must run for ever")
        return record

    async def _own_network(self, record: SandboxRecord) -> None:
        """Wait until a pause process that makes its own namespace has done so, and bring ``lo`` up.

        Invariant: no plugin is ever pointed at the machine's own namespace, where it would take the machine's eth0.
        """
        try:
            async with asyncio.timeout(_UNSHARE_SECONDS):
                while not self._is_own(record.netns):
                    await asyncio.sleep(0.002)
            await namespaces.enter(record.netns, namespaces.NETWORK, network.raise_loopback)
        except (OSError, TimeoutError) as error:
            raise NoNamespace(f"sandbox {record.id} has no network namespace of its own: {error!r}") from error

    def _is_own(self, netns: str) -> bool:
        """Whether a namespace is neither the engine's nor this process's. OSError when it is gone."""
        found = os.stat(netns)
        for other in ("/proc/self/ns/net", f"/proc/{self._host.engine.peer_pid()}/ns/net"):
            with suppress(PermissionError):  # of init: then no sandbox begins in its namespace either
                if os.path.samestat(found, os.stat(other)):
                    return False
        return True

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
        """Its container goes in any case; a network that cannot be given back now is left to ``collect``."""
        try:
            record = self._host.cache.sandbox(sandbox_id)
            await self._release(record)
            self._attachments.drop(sandbox_id)
        except NotFound:
            log.debug("Sandbox was never seen", sandbox=sandbox_id)
        except Exception as second:  # of the engine or of the network, whose errors are its own
            raise CriError(f"{error}; and its network could not be given back: {second}") from error
        finally:
            await self._delete(sandbox_id)

    async def stop(self, identity: str) -> None:
        """End all its processes and give its network back. A sandbox that is gone is stopped."""
        try:
            record = self._host.cache.sandbox(identity)
        except NotFound:
            return
        running = [r for r in self._host.cache.containers(record.id) if r.running]
        results = await asyncio.gather(
            *(self._kill(container.id) for container in running), self._release(record), return_exceptions=True
        )
        if record.state == cri.CONTAINER_RUNNING:
            await self._kill(record.id)
        else:
            await self._host.cache.refresh(record.id)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def remove(self, identity: str) -> None:
        """Stop it and remove it with all its containers. One that is gone is removed."""
        self._host.cache.require()
        try:
            record = self._host.cache.sandbox(identity)
        except NotFound:
            if identity in self._attachments.all():  # created, never seen
                await self._delete(identity)
                self._attachments.drop(identity)
            return
        await self.stop(record.id)
        await asyncio.gather(*(self._delete(c.id) for c in self._host.cache.containers(record.id)))
        await self._delete(record.id)
        self._attachments.drop(record.id)

    async def collect(self) -> None:
        """Give back networks of sandboxes that no longer exist, however they went."""
        lost = [i for i in self._attachments.all() if self._host.cache.state_of(i) is None]
        for sandbox_id in lost:
            await guard("release a lost sandbox", partial(self._collect_one, sandbox_id))
        for record in self._host.cache.sandboxes():
            if record.ready and record.network and record.network.ips:
                await guard("look for a sandbox's interface", partial(self._end_if_cut_off, record))
        kept = [(i, network.INTERFACE) for i, a in self._attachments.all().items() if a.phase != RELEASED]
        await self._net.gc(kept)

    async def _end_if_cut_off(self, record: SandboxRecord) -> None:
        """End a sandbox that has lost its interface: its peer went with the node's own network namespace, as when the
        node's container is restarted. The agent then sees a sandbox that is not ready and makes another."""
        if not await namespaces.enter(record.netns, namespaces.NETWORK, network.has_interface):
            log.warning("Sandbox has lost its network, ending it", sandbox=record.id, pod=record.config.metadata.name)
            await self._kill(record.id)

    async def _collect_one(self, sandbox_id: str) -> None:
        attachment = self._attachments.get(sandbox_id)
        if attachment and attachment.phase != RELEASED:
            log.info("Releasing the network of a lost sandbox", sandbox=sandbox_id)
            await self._give_back(sandbox_id, "", attachment)
        self._attachments.drop(sandbox_id)

    async def _release(self, record: SandboxRecord) -> None:
        attachment = self._attachments.get(record.id)
        if attachment and attachment.phase != RELEASED:
            try:
                netns = record.netns if record.netns and self._is_own(record.netns) else ""
            except OSError:
                netns = ""  # the pause process has just ended, and with it the namespace
            await self._give_back(record.id, netns, attachment, record.config)

    async def _give_back(
        self, sandbox_id: str, netns: str, attachment: Attachment, config: cri.PodSandboxConfig | None = None
    ) -> None:
        if not attachment.host_network:
            capabilities = network.capabilities(config) if config else {}
            await self._net.delete(sandbox_id, netns, network.INTERFACE, dict(attachment.args), capabilities)
        self._attachments.put(sandbox_id, replace(attachment, phase=RELEASED, ips=()))

    async def _kill(self, container_id: str) -> None:
        try:
            await self._host.engine.post(f"/containers/{container_id}/kill", signal="KILL")
        except EngineError as error:
            if not (error.not_found or error.conflict):  # gone, or not running
                raise
        await self._host.cache.refresh(container_id)

    async def _delete(self, container_id: str) -> None:
        await delete_container(self._host, container_id)


async def delete_container(host: Host, container_id: str) -> None:
    """Remove a container whatever its state; one that is gone, or going, is success."""
    try:
        await host.engine.delete(f"/containers/{container_id}", force=True, v=True)
    except EngineError as error:
        if not error.not_found and "already in progress" not in error.message:
            raise
    await host.cache.forget(container_id)
