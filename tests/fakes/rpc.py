"""The client's Rpc on a FakeCluster, instead of on a network."""

import asyncio
from collections.abc import AsyncIterator, Callable

import orjson

from apimachinery import errors
from apimachinery.meta import Object
from apimachinery.scheme import PODS, Kind
from protos.kubeto.v1 import apiserver_pb2 as pb
from tests.fakes.cluster import Change, FakeCluster
from tests.fakes.selection import Selected


def kind_of(cluster: FakeCluster, resource: pb.Resource) -> Kind:
    kind = cluster.scheme.by_resource(resource.group, resource.version, resource.resource)
    if kind is None:
        raise errors.NotFound("the server could not find the requested resource")
    return kind


class FakeRpc:
    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    async def get(self, request: pb.GetRequest) -> pb.ObjectReply:
        await asyncio.sleep(0)
        ref = request.ref
        return pb.ObjectReply(
            json=orjson.dumps(self._cluster.get(kind_of(self._cluster, ref.resource), ref.namespace, ref.name))
        )

    async def list(self, request: pb.ListRequest) -> pb.ListReply:
        await asyncio.sleep(0)
        selected = Selected(request.selection)
        kind = kind_of(self._cluster, request.selection.resource)
        found = [o for o in self._cluster.all(kind, request.selection.namespace) if selected(o)]
        start = int(request.continue_token or 0)
        page = found[start : start + request.limit] if request.limit else found
        more = str(start + len(page)) if start + len(page) < len(found) else ""
        return pb.ListReply(
            items=[orjson.dumps(o) for o in page], resource_version=str(self._cluster.version), continue_token=more
        )

    async def write(self, request: pb.WriteRequest) -> pb.WriteReply:
        await asyncio.sleep(0)
        return pb.WriteReply(results=[self._result(w) for w in request.writes])

    def _result(self, write: pb.Write) -> pb.WriteResult:
        try:
            return pb.WriteResult(object=orjson.dumps(self._write(write)))
        except errors.ApiError as error:
            return pb.WriteResult(error=orjson.dumps(error.to_status()))

    def _write(self, write: pb.Write) -> Object:
        ref, cluster = write.ref, self._cluster
        kind, body = kind_of(self._cluster, ref.resource), orjson.loads(write.body)
        if write.verb == pb.Write.CREATE:
            if ref.subresource == "eviction":
                return cluster.delete(PODS, ref.namespace, ref.name, body.get("deleteOptions"))
            if ref.subresource == "binding":
                return cluster.bind(ref.namespace, ref.name, body["target"]["name"])
            return cluster.create(kind, body, ref.namespace)
        if write.verb == pb.Write.UPDATE:
            return cluster.update(kind, body, ref.subresource)
        if write.verb == pb.Write.PATCH:
            return cluster.patch(kind, ref.namespace, ref.name, body, write.patch_type, ref.subresource)
        return cluster.delete(kind, ref.namespace, ref.name, body)

    async def bind(self, request: pb.BindRequest) -> pb.BindReply:
        await asyncio.sleep(0)
        return pb.BindReply(errors=[self._bind_one(b) for b in request.bindings])

    def _bind_one(self, binding: pb.Binding) -> bytes:
        try:
            self._cluster.bind(binding.namespace, binding.pod, binding.node, binding.pod_uid)
        except errors.ApiError as error:
            return orjson.dumps(error.to_status())
        return b""

    async def watch(self, requests: AsyncIterator[pb.WatchRequest]) -> AsyncIterator[pb.WatchReply]:
        stream = _Stream(self._cluster)
        reader = asyncio.create_task(stream.read(requests))
        try:
            async for reply in stream.replies():
                yield reply
        finally:
            stream.close()
            reader.cancel()

    async def close(self) -> None:
        self._cluster.break_streams()


class _Stream:
    """One client's watches: replies in the order of the changes."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self._watches: dict[int, Callable[[Change], pb.WatchEvent | None]] = {}
        self._queue: asyncio.Queue[pb.WatchReply | None] = asyncio.Queue()
        cluster.on_change.append(self._changed)
        cluster.on_break.append(self._break)

    def close(self) -> None:
        self._cluster.on_change.remove(self._changed)
        self._cluster.on_break.remove(self._break)

    def _break(self) -> None:
        self._watches.clear()
        self._queue.put_nowait(None)

    async def replies(self) -> AsyncIterator[pb.WatchReply]:
        while (reply := await self._queue.get()) is not None:
            yield reply
        raise errors.ServiceUnavailable("the stream was cut")

    async def read(self, requests: AsyncIterator[pb.WatchRequest]) -> None:
        async for request in requests:
            if request.WhichOneof("action") == "close":
                self._watches.pop(request.id, None)
            else:
                self._open(request)

    def _open(self, request: pb.WatchRequest) -> None:
        cluster, id_ = self._cluster, request.id
        try:
            kind = kind_of(cluster, request.open.resource)
            cluster.intercept("watch", kind, "", None)
            selected = Selected(request.open)
            if request.resource_version:
                events = self._since(int(request.resource_version), id_, kind, selected)
            else:
                events = [_event(id_, pb.WatchEvent.ADDED, o) for o in cluster.all(kind) if selected(o)]
                events.append(pb.WatchEvent(id=id_, type=pb.WatchEvent.SYNCED, resource_version=cluster.version))
        except errors.ApiError as error:
            events = [pb.WatchEvent(id=id_, type=pb.WatchEvent.ERROR, json=orjson.dumps(error.to_status()))]
        else:
            self._watches[id_] = lambda change: _select(id_, kind, selected, change)
        if events:
            self._queue.put_nowait(pb.WatchReply(events=events))

    def _since(self, version: int, id_: int, kind: Kind, selected: Selected) -> list[pb.WatchEvent]:
        if version < self._cluster.compacted:
            raise errors.Expired(f"too old resource version: {version} ({self._cluster.compacted})")
        changes = [c for c in self._cluster.log if c.version > version]
        return [e for c in changes if (e := _select(id_, kind, selected, c)) is not None]

    def _changed(self, change: Change) -> None:
        events = [e for watch in self._watches.values() if (e := watch(change)) is not None]
        if events:
            self._queue.put_nowait(pb.WatchReply(events=events))


def _event(id_: int, type_: "pb.WatchEvent.Type.ValueType", obj: Object) -> pb.WatchEvent:
    version = int(obj["metadata"]["resourceVersion"])
    return pb.WatchEvent(id=id_, type=type_, json=orjson.dumps(obj), resource_version=version)


def _select(id_: int, kind: Kind, selected: Selected, change: Change) -> pb.WatchEvent | None:
    """The event that a watch sees: entering a selector is ADDED, leaving it is DELETED."""
    if change.kind != kind:
        return None
    before = change.old is not None and selected(change.old)
    after = change.new is not None and selected(change.new)
    if after and change.new is not None:
        return _event(id_, pb.WatchEvent.MODIFIED if before else pb.WatchEvent.ADDED, change.new)
    if before and change.old is not None:
        last = change.old if change.new is None else change.new
        last = {**last, "metadata": {**last["metadata"], "resourceVersion": str(change.version)}}
        return _event(id_, pb.WatchEvent.DELETED, last)
    return None
