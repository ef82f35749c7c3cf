"""The client of the API server that every process of Kubeto uses.

One channel, one watch stream, JSON-shaped objects. Every call raises an error of ``apimachinery.errors``:
ServiceUnavailable or Timeout when the server cannot be reached, which is worth trying again, and what the
server answered otherwise. A server that is restarted is found again without help.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import orjson

from apimachinery import errors
from apimachinery.client.connection import Connection
from apimachinery.client.types import (
    APPLY_PATCH,
    ERROR,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    Binding,
    ObjectList,
    Rpc,
    WatchEvent,
    Write,
    object_ref,
    resource_message,
)
from apimachinery.client.watch import RESTARTED, Subscription, WatchStream
from apimachinery.config import ClusterAccess
from apimachinery.meta import Object
from apimachinery.scheme import Kind
from protos.kubeto.v1 import apiserver_pb2 as pb

__all__ = [
    "APPLY_PATCH",
    "JSON_PATCH",
    "MERGE_PATCH",
    "STRATEGIC_MERGE_PATCH",
    "ApiClient",
    "Binding",
    "ObjectList",
    "WatchEvent",
    "Write",
]

Result = Object | errors.ApiError
Results = list[Result]
BindResults = list[errors.ApiError | None]


class ApiClient:
    """Reads, writes and watches objects. Make it with ``connect``; ``close`` it at the end."""

    def __init__(self, rpc: Rpc, *, user_agent: str) -> None:
        self._rpc = rpc
        self._field_manager = user_agent.partition("/")[0]
        self._watches = WatchStream(rpc)

    @classmethod
    async def connect(cls, access: ClusterAccess, *, user_agent: str) -> "ApiClient":
        """Wait, with back-off, until the API server answers. Raises ConfigError, Unauthorized or Forbidden."""
        return cls(await Connection.open(access, user_agent), user_agent=user_agent)

    async def close(self) -> None:
        await self._watches.close()
        await self._rpc.close()

    async def get(
        self, kind: Kind, name: str, namespace: str = "", *, subresource: str = "", resource_version: str = ""
    ) -> Object:
        """One object, or a subresource of it. ``resource_version="0"`` takes what the server's cache has."""
        ref = object_ref(kind, name, namespace, subresource)
        reply = await self._rpc.get(pb.GetRequest(ref=ref, resource_version=resource_version))
        return _object(reply.json)

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> ObjectList:
        """Objects of a namespace (``""`` = all). With a ``limit``, go on with ``continue_token`` until it is empty."""
        selection = _selection(kind, namespace, label_selector, field_selector)
        reply = await self._rpc.list(
            pb.ListRequest(
                selection=selection, resource_version=resource_version, limit=limit, continue_token=continue_token
            )
        )
        return ObjectList([_object(item) for item in reply.items], reply.resource_version, reply.continue_token)

    async def create(
        self, kind: Kind, obj: Object, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Object:
        """Create ``obj``; or, with ``name`` and ``subresource``, post to that (token, eviction, binding)."""
        return await self._one(Write.create(kind, obj, namespace=namespace, name=name, subresource=subresource))

    async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
        """Replace an object. If it carries a resourceVersion that is no longer the newest: Conflict."""
        return await self._one(Write.update(kind, obj, subresource=subresource))

    async def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        patch: Any,
        *,
        subresource: str = "",
        patch_type: str = MERGE_PATCH,
        force: bool = False,
    ) -> Object:
        write = Write.patch(kind, name, namespace, patch, subresource=subresource, patch_type=patch_type, force=force)
        return await self._one(write)

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
    ) -> Object:
        """Delete an object: returns it as it was left (with deletionTimestamp), or a Status if it is gone."""
        write = Write.delete(
            kind,
            name,
            namespace,
            uid=uid,
            resource_version=resource_version,
            grace_period_seconds=grace_period_seconds,
            propagation_policy=propagation_policy,
        )
        return await self._one(write)

    async def _one(self, write: Write) -> Object:
        (result,) = await self.write([write])
        if isinstance(result, errors.ApiError):
            raise result
        return result

    async def write(self, writes: Sequence[Write]) -> Results:
        """Independent writes in one round trip, in order. A failed one is an error in its place."""
        if not writes:
            return []
        for write in writes:
            write.message.field_manager = write.message.field_manager or self._field_manager
        reply = await self._rpc.write(pb.WriteRequest(writes=[w.message for w in writes]))
        return [_result(r) for r in reply.results]

    async def bind(self, bindings: Sequence[Binding]) -> BindResults:
        """Put pods on nodes in one round trip: one answer a binding, None where it is bound."""
        if not bindings:
            return []
        messages = [pb.Binding(namespace=b.namespace, pod=b.pod, pod_uid=b.pod_uid, node=b.node) for b in bindings]
        reply = await self._rpc.bind(pb.BindRequest(bindings=messages))
        return [errors.from_status(orjson.loads(e)) if e else None for e in reply.errors]

    async def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """Events until the caller stops. Without a version: what exists as ADDED, then SYNCED, then changes.

        Breaks of the connection are bridged. If that happens before SYNCED, the ADDED events come again.
        Raises Expired when the server no longer has the version, and what else the server ends a watch with.
        """
        events: asyncio.Queue[WatchEvent] = asyncio.Queue()
        watch = self.subscribe(
            kind,
            events.put_nowait,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
        )
        try:
            while True:
                event = await events.get()
                if event.type == ERROR:
                    raise errors.from_status(event.object or {})
                if event.type != RESTARTED:
                    yield event
        finally:
            self.unsubscribe(watch)

    def subscribe(
        self,
        kind: Kind,
        deliver: Callable[[WatchEvent], None],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> Subscription:
        """``watch`` by callback, for holders of state such as informers: RESTARTED and ERROR are delivered too."""
        selection = _selection(kind, namespace, label_selector, field_selector)
        return self._watches.open(selection, resource_version, deliver)

    def unsubscribe(self, watch: Subscription) -> None:
        self._watches.close_watch(watch)


def _selection(kind: Kind, namespace: str, label_selector: str, field_selector: str) -> pb.Selection:
    return pb.Selection(
        resource=resource_message(kind),
        namespace=namespace if kind.namespaced else "",
        label_selector=label_selector,
        field_selector=field_selector,
    )


def _object(body: bytes) -> Object:
    obj: Object = orjson.loads(body)
    return obj


def _result(result: pb.WriteResult) -> Result:
    if result.WhichOneof("result") == "error":
        return errors.from_status(orjson.loads(result.error))
    return _object(result.object)
