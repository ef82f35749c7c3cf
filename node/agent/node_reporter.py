"""Registers the node and keeps its status true: at once when something changes, else every 5 minutes.

Patches only what the agent owns: what others put on capacity, conditions or labels stays. The node counts as ready
when its runtime and the runtime's network are, which for our own network needs the pod range that the controller
manager assigns.
"""

import asyncio
import os
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from apimachinery import quantity
from apimachinery.backoff import Backoff
from apimachinery.client.api import STRATEGIC_MERGE_PATCH, ApiClient
from apimachinery.client.informer import Informer
from apimachinery.errors import AlreadyExists, ApiError, NotFound
from apimachinery.logging import get_logger
from apimachinery.scheme import NODES
from node.agent import cni_conf
from node.agent.host import HostReader
from node.agent.node_status import (
    NodeView,
    aggregate,
    capacity,
    changes,
    extended_resources,
    is_since,
    new_node,
    node_labels,
    node_status,
    runtime_problems,
)
from node.agent.pod_state import Object
from node.agent.settings import AgentSettings, NodeFacts
from node.agent.times import rfc3339
from node.cri.runtime import Runtime, RuntimeFault
from protos.cri.runtime.v1 import api_pb2 as pb

_log = get_logger(__name__)
_NOT_READY_INTERVAL: Final = 0.2
_RUNTIME_SECONDS: Final = 10.0
_ECHO_SECONDS: Final = 1.0  # after which what was written has come back through the watch


class NodeReporter:
    """The reporter of one node. ``nodes`` is an informer that holds (at least) this node."""

    def __init__(
        self,
        client: ApiClient,
        runtime: Runtime,
        settings: AgentSettings,
        facts: NodeFacts,
        host: HostReader,
        nodes: Informer,
        *,
        became_ready: Callable[[], None],
        tell: Callable[[str, str, str], None],
        write_cni: bool = True,
    ) -> None:
        self._client, self._runtime, self._settings = client, runtime, settings
        self._facts, self._host, self._nodes = facts, host, nodes
        self._write_cni, self._became_ready, self._tell = write_cni, became_ready, tell
        self._reported: Object = {}
        self._reported_at = 0.0
        self._pod_cidr = ""
        self._wake = asyncio.Event()

    def node_changed(self) -> None:
        _log.debug("Node changed", node=self._settings.node_name, gone=self._is_gone())
        self._wake.set()

    async def run(self) -> None:
        """Register, then report until cancelled."""
        backoff = Backoff(initial=0.2, maximum=5.0)
        registered = False
        self._tell("Normal", "Starting", "Starting kubelet.")
        while True:
            self._wake.clear()  # before looking: what changes from here on is looked at again
            try:
                registered = (registered and not self._is_gone()) or await self._register()
                await self._report()
                backoff.reset()
                delay = self._settings.status_interval if self._facts.network_ready else _NOT_READY_INTERVAL
            except (ApiError, RuntimeFault, OSError) as error:
                _log.warning("Node not reported, trying again", node=self._settings.node_name, error=str(error))
                registered = registered and not isinstance(error, NotFound)
                delay = backoff.next()
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _register(self) -> bool:
        """Create the Node, or bring the labels of the one that is there up to date."""
        self._facts.labels = node_labels(self._settings, self._host.machine)
        status = node_status(await self._view())
        try:
            created = await self._client.create(NODES, new_node(self._settings, self._host.machine, _beating(status)))
            self._facts.allocatable = _allocatable(created, self._settings, self._host)
        except AlreadyExists:
            labels = {"metadata": {"labels": self._facts.labels}}
            await self._client.patch(NODES, self._settings.node_name, "", labels)
        self._reported = {}
        _log.info("Node registered", node=self._settings.node_name)
        return True

    async def _report(self) -> None:
        await self._apply_pod_cidr()
        view = await self._view()
        status, now = node_status(view), time.time()
        ready = not view.not_ready
        if ready != self._facts.network_ready:
            _log.info("Node readiness changed", node=self._settings.node_name, ready=ready, why=view.not_ready or None)
        self._facts.network_ready = ready
        fresh = now - self._reported_at < self._settings.status_report_interval
        if fresh and status == self._reported and not self._overruled(ready, now):
            return
        changed = _changed(self._reported, status) | {"conditions": _beating(status)["conditions"]}
        patched = await self._client.patch(
            NODES,
            self._settings.node_name,
            "",
            {"status": changed},
            subresource="status",
            patch_type=STRATEGIC_MERGE_PATCH,
        )
        for change in changes(self._reported, status):
            self._tell("Normal", change, f"Node {self._settings.node_name} status is now: {change}")
        self._reported, self._reported_at = status, now
        self._facts.volumes_reported = view.volumes_in_use
        if ready:
            self._became_ready()
        self._facts.allocatable = _allocatable(patched, self._settings, self._host)

    async def _view(self) -> NodeView:
        """Look at machine and runtime. A runtime that does not answer makes the node not ready."""
        version, images = pb.VersionResponse(runtime_name=self._facts.runtime_name), []
        told: pb.StatusResponse | None = None
        try:
            async with asyncio.timeout(_RUNTIME_SECONDS):
                version = await self._runtime.version()
                told = await self._runtime.status()
                problems = runtime_problems(told)
                images = list(await self._runtime.list_images())
            self._facts.runtime_name = version.runtime_name
            self._take_abilities(version, told)
        except RuntimeFault as fault:
            problems = [f"container runtime is down: {fault}"]
        except TimeoutError:
            problems = [f"container runtime is down: no answer within {_RUNTIME_SECONDS:.0f} s"]
        if self._facts.shutting_down:
            problems.append("node is shutting down")
        self._facts.memory_capacity = int(capacity(self._settings, self._host.machine, self._host.load())["memory"])
        stored = self._stored().get("status") or {}
        return NodeView(
            self._settings,
            self._host.machine,
            self._host.load(),
            version,
            told,
            images,
            aggregate(problems),
            time.time(),
            self._reported or stored,
            self._facts.pressure,
            self._facts.volumes_in_use,
            extended_resources(stored),
        )

    def _take_abilities(self, version: pb.VersionResponse, told: pb.StatusResponse) -> None:
        self._facts.image_volumes = is_since(version, containerd=(2, 1))
        self._facts.stop_signals = is_since(version, containerd=(2, 2))
        self._facts.strict_groups = told.features.supplemental_groups_policy
        able = (h.name for h in told.runtime_handlers if h.features.recursive_read_only_mounts)
        self._facts.recursive_read_only = frozenset(able)

    def _stored(self) -> Object:
        return self._nodes.store.get("", self._settings.node_name) or {}

    def _is_gone(self) -> bool:
        """Whether the Node was deleted although the agent is here (its own creation may not have been seen yet)."""
        seen = time.time() - self._reported_at > _ECHO_SECONDS
        return seen and self._nodes.synced and not self._stored()

    def _overruled(self, ready: bool, now: float) -> bool:
        """Whether someone else (the node lifecycle controller, for a silent node) says otherwise than was reported."""
        conditions = (self._stored().get("status") or {}).get("conditions") or ()
        stored = next((c.get("status") for c in conditions if c.get("type") == "Ready"), None)
        return now - self._reported_at > _ECHO_SECONDS and stored is not None and (stored == "True") != ready

    async def _apply_pod_cidr(self) -> None:
        """When the node's pod range is known: tell the runtime, and write the CNI configuration if none is there."""
        pod_cidr = (self._stored().get("spec") or {}).get("podCIDR") or ""
        if not pod_cidr or pod_cidr == self._pod_cidr:
            return
        if self._write_cni:
            folder, data_dir = self._settings.cni_conf_dir, os.path.join(self._settings.root_dir, "ipam")
            written = await asyncio.to_thread(cni_conf.write, folder, pod_cidr, data_dir)
            _log.info("Pod range assigned", node=self._settings.node_name, pod_cidr=pod_cidr, cni_conf=written or None)
        await self._runtime.update_pod_cidr(pod_cidr)
        self._pod_cidr = pod_cidr


def _beating(status: Object) -> Object:
    now = rfc3339(time.time())
    return status | {"conditions": [c | {"lastHeartbeatTime": now} for c in status["conditions"]]}


def _changed(old: Object, new: Object) -> Object:
    return {key: value for key, value in new.items() if old.get(key) != value}


def _allocatable(node: Object, settings: AgentSettings, host: HostReader) -> dict[str, Decimal]:
    """What the API server has, with what others added; what is there, until it has anything."""
    given = (node.get("status") or {}).get("allocatable")
    if not given:
        return capacity(settings, host.machine, host.load())
    return {name: quantity.parse(amount) for name, amount in given.items()}
