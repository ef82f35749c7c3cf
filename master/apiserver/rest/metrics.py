"""What the API server counts, under upstream's names.

Buckets: requests take fractions of a millisecond to seconds here, watches up to an hour.
"""

import asyncio
from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..storage.cache import WatchCache
from .request import Request

_ABOUT = ("verb", "group", "version", "resource", "subresource", "scope", "component")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

_requests = Counter("apiserver_request", "Requests by what they asked for and how they ended.", (*_ABOUT, "code"))
_durations = Histogram("apiserver_request_duration_seconds", "Time to the whole response.", _ABOUT, buckets=_SECONDS)
_watches = Gauge("apiserver_longrunning_requests", "Watches and connections under way.", _ABOUT)

_VERBS = {"GET": "GET", "HEAD": "GET", "POST": "POST", "PUT": "PUT", "PATCH": "PATCH", "DELETE": "DELETE"}


class RequestMetrics:
    """Children are looked up once for each combination, for that is most of their cost."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], tuple[Counter, Histogram]] = {}

    def observe(self, request: Request, seconds: float) -> None:
        target = request.target
        if target is None:
            return
        key = (request.method, request.watching, target.kind, bool(target.name), target.subresource, request.status)
        children = self._made.get(key)
        if children is None:
            about = _about(request)
            counter = _requests.labels(*about, str(request.status))
            children = self._made[key] = (counter, _durations.labels(*about))
        children[0].inc()
        if not request.watching:
            children[1].observe(seconds)


def open_watches(request: Request) -> Gauge:
    """The gauge of watches such as this one."""
    return _watches.labels(*_about(request))


def _about(request: Request) -> tuple[str, ...]:
    target = request.target
    assert target is not None, "asked of resource requests only"  # noqa: S101 - the caller's invariant
    kind = target.kind
    verb = "WATCH" if request.watching else _VERBS.get(request.method, "OTHER")
    scope = "resource" if target.name else ("namespace" if target.namespace else "cluster")
    if not target.name and verb in ("GET", "DELETE"):
        verb = {"GET": "LIST", "DELETE": "DELETECOLLECTION"}[verb]
    return verb, kind.group, kind.version, kind.resource, target.subresource, scope, "apiserver"


class StorageMetrics(Collector):
    """Read from the cache when somebody looks."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache
        self._loop = asyncio.get_running_loop()

    def collect(self) -> Iterator[Metric]:
        objects = GaugeMetricFamily("apiserver_storage_objects", "Objects in the store.", labels=["resource"])
        watchers = GaugeMetricFamily("apiserver_registered_watchers", "Open watches.", labels=["resource"])
        for name, bucket in self._cache.buckets.items():
            resource = ".".join(reversed(name.strip("/").split("/")))
            objects.add_metric([resource], len(bucket.entries))
            watchers.add_metric([resource], bucket.watchers)
        revision = GaugeMetricFamily("kubeto_watch_cache_revision", "etcd's revision that the cache has reached.")
        revision.add_metric([], self._cache.revision)
        tasks = GaugeMetricFamily("kubeto_tasks", "Tasks under way: requests, watches, connections and our own loops.")
        tasks.add_metric([], len(asyncio.all_tasks(self._loop)))
        yield from (objects, watchers, revision, tasks)


def register(collector: Collector) -> None:
    """Show a collector's among the process's metrics."""
    REGISTRY.register(collector)
