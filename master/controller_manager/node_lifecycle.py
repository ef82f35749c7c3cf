"""Notices nodes that are silent or dead, says so in their conditions and taints, and marks their pods not ready.

A node is silent when neither its Lease nor its status has changed for the grace period, judged by how long this
process has seen them unchanged, never by comparing clocks. It is dead earlier, when its agent stops answering health
calls and its Lease is not renewed after that either. Zones' eviction rates are left out: eviction follows the pods'
tolerations, and stops altogether while no node at all is ready.
"""

import asyncio
from dataclasses import dataclass

from apimachinery import pods as pod_facts
from apimachinery.agents import AgentChannels, agent_address
from apimachinery.client.api import STRATEGIC_MERGE_PATCH, Write
from apimachinery.client.informer import EventType
from apimachinery.errors import ApiError, NotFound
from apimachinery.lifecycle import Tasks
from apimachinery.meta import Key, Object, condition_is_true, format_time, get_condition, is_deleting, key_of, name_of
from apimachinery.scheme import LEASES, NODES, PODS
from master.controller_manager import node_conditions as conditions
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.node_health import AgentHealth

LEASE_NAMESPACE = "kube-node-lease"
BY_NODE = "node-of-pod"
_ADDRESSES_SECONDS = 1.0


@dataclass(slots=True)
class Heartbeat:
    """The last sign of life: what it was, and when (monotonic seconds) it was first seen."""

    sign: tuple[object, ...]
    seen: float


class NodeLifecycleController(ManagedController):
    """Keys are ("", node)."""

    name = "node-lifecycle-controller"
    component = "node-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._grace = context.options.node_monitor_grace_period
        self._nodes = context.informers.informer(NODES)
        self._leases = context.informers.informer(LEASES, namespace=LEASE_NAMESPACE)
        self._pods = context.informers.informer(PODS)
        self._pods.add_index(BY_NODE, lambda p: [pod_facts.node_name(p)])
        self._heartbeats: dict[str, Heartbeat] = {}
        self._ready: set[str] = set()
        self._channels = AgentChannels(context.access)
        self._health = AgentHealth(self._channels, self.clock.monotonic, self._agent_changed)
        self._nodes.add_handler(self._node_changed)
        self._leases.add_handler(lambda _, old, new: self._sign_of_life(name_of(new or old or {})))

    async def run(self) -> None:
        """Reconcile and probe agents until cancelled."""
        try:
            async with Tasks() as tasks:
                tasks.start("reconcile", super().run())
                tasks.start("agents", self._follow_addresses())
                await tasks.wait()
        finally:
            await self._health.close()

    async def reconcile(self, key: Key) -> float | None:
        name = key[1]
        node = self._nodes.store.get(*key)
        if node is None:
            self._heartbeats.pop(name, None)
            return None
        self._sign_of_life(name)
        silent_in = self._silent_in(node)
        if silent_in <= 0:
            node = await self._mark_silent(node)
        await self._taint(node)
        if conditions.ready_status(node) != "True":
            await self._mark_pods(node)
        return silent_in if silent_in > 0 else None

    # --- signs of life

    def _node_changed(self, event: EventType, old: Object | None, new: Object | None) -> None:
        name, before = name_of(new or old or {}), len(self._ready)
        if new is not None and conditions.ready_status(new) == "True":
            self._ready.add(name)
        else:
            self._ready.discard(name)
        self.queue.add(("", name))
        if before != len(self._ready) and min(before, len(self._ready)) <= 1:
            for node in self._nodes.store.list():  # whether any other node is ready decides about their pods
                self.queue.add(("", name_of(node)))

    def _sign_of_life(self, name: str) -> None:
        """Remember when the node's Lease or status was last seen to change."""
        lease, node = self._leases.store.get(LEASE_NAMESPACE, name), self._nodes.store.get("", name)
        if node is None:
            return
        posted = (get_condition(node, "Ready") or {}).get("lastHeartbeatTime")  # kept when the node is marked silent
        sign = ((lease or {}).get("spec", {}).get("renewTime"), posted)
        known = self._heartbeats.get(name)
        if known is None or sign != known.sign:
            self._heartbeats[name] = Heartbeat(sign, self.clock.monotonic())

    def _silent_in(self, node: Object) -> float:
        """Seconds until the node counts as silent if nothing is heard of it; 0 or less: it is."""
        seen = self._heartbeats[name_of(node)].seen
        down = self._health.down_since(agent_address(node))
        if down is not None and seen <= down:
            return 0.0
        return seen + self._grace - self.clock.monotonic()

    def _agent_changed(self, address: str) -> None:
        for node in self._nodes.store.list():
            if agent_address(node) == address:
                self.queue.add(("", name_of(node)))

    async def _follow_addresses(self) -> None:
        while True:
            await self._health.watch({agent_address(node) for node in self._nodes.store.list()} - {""})
            await asyncio.sleep(_ADDRESSES_SECONDS)

    # --- acting

    async def _mark_silent(self, node: Object) -> Object:
        wanted = conditions.silent_conditions(node, self.clock.now())
        if wanted is None:
            return node
        name = name_of(node)
        self.events.event(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        version = node["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "status": {"conditions": wanted}}
        return await self.client.patch(NODES, name, "", patch, subresource="status")

    async def _taint(self, node: Object) -> None:
        evict = bool(self._ready - {name_of(node)}) or len(self._nodes.store) == 1
        wanted = conditions.wanted_taints(node, self.clock.now(), evict=evict)
        if wanted is not None:
            version = node["metadata"]["resourceVersion"]
            patch = {"metadata": {"resourceVersion": version}, "spec": {"taints": wanted or None}}
            await self.client.patch(NODES, name_of(node), "", patch)

    async def _mark_pods(self, node: Object) -> None:
        """Pods of a node that is not ready take no traffic, whatever they last said."""
        ready = [p for p in self._pods.store.by_index(BY_NODE, name_of(node)) if condition_is_true(p, "Ready")]
        writes = [self._not_ready(pod) for pod in ready]
        for pod, result in zip(ready, await self.client.write(writes), strict=True):
            if isinstance(result, NotFound):
                continue
            if isinstance(result, ApiError):
                raise result
            if not is_deleting(pod):
                self.events.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    def _not_ready(self, pod: Object) -> Write:
        namespace, name = key_of(pod)
        condition = {"type": "Ready", "status": "False", "lastTransitionTime": format_time(self.clock.now())}
        patch = {"status": {"conditions": [condition]}}
        return Write.patch(PODS, name, namespace, patch, subresource="status", patch_type=STRATEGIC_MERGE_PATCH)
