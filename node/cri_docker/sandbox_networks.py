"""The networks of all sandboxes: how each is asked for, noted, and given back, whatever dies in between.

What was asked for is noted before it is asked for (``attachments``), so that nothing a dead process has left behind
is forgotten.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from apimachinery.lifecycle import guard
from apimachinery.logging import get_logger
from node import namespaces
from node.cri_docker import network
from node.cri_docker.attachments import ADDING, ATTACHED, RELEASED, Attachment, Attachments
from node.cri_docker.host import Host
from node.cri_docker.network import SandboxNetwork
from node.cri_docker.records import SandboxRecord
from node.cri_docker.refusal import NotFound, WrongState
from protos.cri.runtime.v1 import api_pb2 as cri

_UNSHARE_SECONDS = 10.0
log = get_logger(__name__)


class NoNamespace(WrongState):
    """A pause process has ended, or goes on without a network namespace of its own."""


class SandboxNetworks:
    def __init__(self, host: Host, net: SandboxNetwork, attachments: Attachments) -> None:
        self._host, self._net, self._attachments = host, net, attachments
        self._making: set[str] = set()
        """Between ``begin`` and what ends it: maybe not seen yet, but not lost."""

    def begin(self, sandbox_id: str, config: cri.PodSandboxConfig) -> Attachment:
        """Note that a sandbox is about to be given its network."""
        host_network = config.linux.security_context.namespace_options.network == cri.NODE
        args = tuple(network.cni_args(sandbox_id, config.metadata).items())
        attachment = Attachment(ADDING, host_network=host_network, args=args)
        self._making.add(sandbox_id)
        self._attachments.put(sandbox_id, attachment)
        return attachment

    async def attach(self, record: SandboxRecord, begun: Attachment) -> Sequence[str]:
        """Give a running sandbox its network; its addresses. Raises NoNamespace, and what the network raises."""
        if begun.host_network:
            return ()
        await self._own_network(record)
        capabilities = network.capabilities(record.config)
        added = await self._net.add(record.id, record.netns, network.INTERFACE, dict(begun.args), capabilities)
        return added.ips

    def done(self, sandbox_id: str, begun: Attachment, ips: Sequence[str]) -> None:
        """All is in place: from now on the sandbox is ready."""
        self._attachments.put(sandbox_id, replace(begun, phase=ATTACHED, ips=tuple(ips)))
        self._making.discard(sandbox_id)

    def knows(self, sandbox_id: str) -> bool:
        return self._attachments.get(sandbox_id) is not None

    def forget(self, sandbox_id: str) -> None:
        self._attachments.drop(sandbox_id)

    async def release_unseen(self, sandbox_id: str) -> None:
        """As ``release``, then forget it, for a sandbox that may never have been seen."""
        self._making.discard(sandbox_id)
        try:
            await self.release(self._host.cache.sandbox(sandbox_id))
        except NotFound:
            log.debug("Sandbox was never seen", sandbox=sandbox_id)
            return
        self.forget(sandbox_id)

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

    async def collect(self) -> list[SandboxRecord]:
        """Give back networks of sandboxes that no longer exist. The sandboxes that have lost their interface."""
        known = self._attachments.all().keys() - self._making
        for sandbox_id in known:
            if self._host.cache.state_of(sandbox_id) is None:
                await guard("release a lost sandbox", partial(self._collect_one, sandbox_id))
        kept = [(i, network.INTERFACE) for i, a in self._attachments.all().items() if a.phase != RELEASED]
        await self._net.gc(kept)
        attached = [r for r in self._host.cache.sandboxes() if r.ready and r.network and r.network.ips]
        return [record for record in attached if await self._is_cut_off(record)]

    async def _is_cut_off(self, record: SandboxRecord) -> bool:
        try:
            return not await namespaces.enter(record.netns, namespaces.NETWORK, network.has_interface)
        except OSError:
            return False  # it has just ended

    async def _collect_one(self, sandbox_id: str) -> None:
        attachment = self._attachments.get(sandbox_id)
        if attachment and attachment.phase != RELEASED:
            log.info("Releasing the network of a lost sandbox", sandbox=sandbox_id)
            await self._give_back(sandbox_id, "", attachment)
        self._attachments.drop(sandbox_id)

    async def release(self, record: SandboxRecord) -> None:
        """Give its network back; once is enough."""
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
