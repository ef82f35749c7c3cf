"""``metrics.k8s.io/v1beta1``: what nodes and pods use now, asked of the agents. ``kubectl top`` reads it.

There is no metrics server: each request asks the agents concerned, and an answer is good for a few seconds. A node
whose agent does not answer is left out, as it would be there.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping

import orjson

from apimachinery import meta, pods, scheme
from apimachinery.errors import ApiError
from apimachinery.logging import get_logger
from apimachinery.scheme import Kind
from protos.kubeto.v1 import node_pb2 as pb

from ..registry.computed import Computed
from ..registry.reader import Object, Reader
from ..registry.selection import Selection
from .node_agents import NodeAgents, call

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
NODE_METRICS = Kind(GROUP, VERSION, "NodeMetrics", "nodes", False, verbs=("get", "list"))
POD_METRICS = Kind(GROUP, VERSION, "PodMetrics", "pods", verbs=("get", "list"))
KINDS = (NODE_METRICS, POD_METRICS)
FRESH_SECONDS = 5.0
_ASK_SECONDS = 5.0
_WINDOW = "10s"

_log = get_logger(__name__)


class NodeMetrics:
    """What serves both kinds."""

    def __init__(self, reader: Reader, agents: NodeAgents) -> None:
        self._reader, self._agents = reader, agents
        self._known: dict[str, tuple[float, Object]] = {}

    def computed(self) -> Mapping[tuple[str, str], Computed]:
        return {(GROUP, "nodes"): self._nodes, (GROUP, "pods"): self._pods}

    async def _nodes(self, selection: Selection) -> list[Object]:
        nodes = list(self._selected(scheme.NODES, selection))
        summaries = await self._summaries(meta.name_of(n) for n in nodes)
        return [node_metrics(n, summaries[meta.name_of(n)]) for n in nodes if meta.name_of(n) in summaries]

    async def _pods(self, selection: Selection) -> list[Object]:
        wanted = [p for p in self._selected(scheme.PODS, selection) if pods.node_name(p)]
        summaries = await self._summaries({pods.node_name(p) for p in wanted})
        found = {key: stats for summary in summaries.values() for key, stats in _pod_stats(summary)}
        return [pod_metrics(p, found[meta.key_of(p)]) for p in wanted if meta.key_of(p) in found]

    def _selected(self, kind: Kind, selection: Selection) -> Iterator[Object]:
        if name := selection.name:
            obj = self._reader.get(kind, selection.namespace, name)
            return iter((obj,) if obj else ())
        labels = selection.labels
        return (o for o in self._reader.list(kind, selection.namespace) if labels.matches(meta.labels_of(o)))

    async def _summaries(self, nodes: Iterable[str]) -> dict[str, Object]:
        names = list(nodes)
        answers = await asyncio.gather(*(self._summary(node) for node in names))
        return {node: answer for node, answer in zip(names, answers, strict=True) if answer is not None}

    async def _summary(self, node: str) -> Object | None:
        now = time.monotonic()
        known = self._known.get(node)
        if known is not None and known[0] > now:
            return known[1]
        try:
            request = pb.StatsRequest(node=node)
            reply = await call(self._agents.stub(node).Stats(request, timeout=_ASK_SECONDS), node)
        except ApiError as error:
            _log.info("No metrics of a node", node=node, error=error.message)
            return None
        summary: Object = orjson.loads(reply.json)
        self._known = {name: known for name, known in self._known.items() if known[0] > now}
        self._known[node] = (now + FRESH_SECONDS, summary)
        return summary


def node_metrics(node: Object, summary: Object) -> Object:
    stats = summary.get("node") or {}
    return _metrics(NODE_METRICS, node, stats) | {"usage": usage(stats)}


def pod_metrics(pod: Object, stats: Object) -> Object:
    containers = [{"name": c.get("name", ""), "usage": usage(c)} for c in stats.get("containers") or ()]
    return _metrics(POD_METRICS, pod, (stats.get("containers") or [{}])[0]) | {"containers": containers}


def _metrics(kind: Kind, of: Object, stats: Object) -> Object:
    keys = ("name", "namespace", "labels")
    about = {key: of["metadata"][key] for key in keys if of["metadata"].get(key)}
    stamp = (stats.get("cpu") or {}).get("time") or meta.now_time()
    return {
        "kind": kind.kind,
        "apiVersion": kind.api_version,
        "metadata": about | {"creationTimestamp": meta.now_time()},
        "timestamp": stamp,
        "window": _WINDOW,
    }


def usage(stats: Object) -> dict[str, str]:
    """A ResourceList of what a Summary says of a node or container."""
    cores = int((stats.get("cpu") or {}).get("usageNanoCores") or 0)
    memory = int((stats.get("memory") or {}).get("workingSetBytes") or 0)
    return {"cpu": f"{cores}n" if cores else "0", "memory": f"{memory // 1024}Ki" if memory else "0"}


def _pod_stats(summary: Object) -> Iterator[tuple[tuple[str, str], Object]]:
    for stats in summary.get("pods") or ():
        ref = stats.get("podRef") or {}
        yield (ref.get("namespace", ""), ref.get("name", "")), stats
