"""What the client hands in and out besides objects."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from apimachinery.meta import Object, name_of, namespace_of
from apimachinery.patch import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH
from apimachinery.scheme import Kind
from protos.kubeto.v1 import apiserver_pb2 as pb

__all__ = [
    "APPLY_PATCH",
    "JSON_PATCH",
    "MERGE_PATCH",
    "STRATEGIC_MERGE_PATCH",
    "Binding",
    "ObjectList",
    "Rpc",
    "WatchEvent",
    "Write",
    "object_ref",
    "resource_message",
]

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
BOOKMARK, SYNCED, ERROR = "BOOKMARK", "SYNCED", "ERROR"


@dataclass(frozen=True, slots=True)
class ObjectList:
    items: list[Object]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """``object`` is None for BOOKMARK and SYNCED; for ERROR it is a Status."""

    type: str
    object: Object | None
    resource_version: str


@dataclass(frozen=True, slots=True)
class Binding:
    """Put a pod on a node. With a ``pod_uid``, only the pod that has it."""

    namespace: str
    pod: str
    node: str
    pod_uid: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a batch. Make it with ``create``, ``update``, ``patch`` or ``delete``."""

    message: pb.Write

    @classmethod
    def create(cls, kind: Kind, obj: Object, *, namespace: str = "", name: str = "", subresource: str = "") -> "Write":
        """``name`` only with a ``subresource`` (token, eviction, binding): which object it is of."""
        ref = object_ref(kind, name, namespace or namespace_of(obj), subresource)
        return cls(pb.Write(verb=pb.Write.CREATE, ref=ref, body=orjson.dumps(obj)))

    @classmethod
    def update(cls, kind: Kind, obj: Object, *, subresource: str = "") -> "Write":
        ref = object_ref(kind, name_of(obj), namespace_of(obj), subresource)
        return cls(pb.Write(verb=pb.Write.UPDATE, ref=ref, body=orjson.dumps(obj)))

    @classmethod
    def patch(
        cls,
        kind: Kind,
        name: str,
        namespace: str,
        patch: Any,
        *,
        subresource: str = "",
        patch_type: str = MERGE_PATCH,
        force: bool = False,
    ) -> "Write":
        """``patch`` as JSON-shaped data; ``force`` only with APPLY_PATCH."""
        ref = object_ref(kind, name, namespace, subresource)
        body = orjson.dumps(patch)
        return cls(pb.Write(verb=pb.Write.PATCH, ref=ref, body=body, patch_type=patch_type, force=force))

    @classmethod
    def delete(
        cls,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
    ) -> "Write":
        """With a ``uid`` or ``resource_version``, only the object that has it (else Conflict)."""
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if uid or resource_version:
            options["preconditions"] = {k: v for k, v in preconditions.items() if v}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy:
            options["propagationPolicy"] = propagation_policy
        ref = object_ref(kind, name, namespace, "")
        return cls(pb.Write(verb=pb.Write.DELETE, ref=ref, body=orjson.dumps(options)))


def resource_message(kind: Kind) -> pb.Resource:
    return pb.Resource(group=kind.group, version=kind.version, resource=kind.resource)


def object_ref(kind: Kind, name: str, namespace: str, subresource: str) -> pb.ObjectRef:
    scope = namespace if kind.namespaced else ""
    return pb.ObjectRef(resource=resource_message(kind), namespace=scope, name=name, subresource=subresource)


class Rpc(Protocol):
    """What the client needs of a connection to ``kubeto.v1.ApiServer``. All raise ApiError.

    Owned by the client; ``connection.Connection`` is the real one, the tests' in-memory server the other.
    """

    async def get(self, request: pb.GetRequest) -> pb.ObjectReply: ...
    async def list(self, request: pb.ListRequest) -> pb.ListReply: ...
    async def write(self, request: pb.WriteRequest) -> pb.WriteReply: ...
    async def bind(self, request: pb.BindRequest) -> pb.BindReply: ...

    def watch(self, requests: AsyncIterator[pb.WatchRequest]) -> AsyncIterator[pb.WatchReply]:
        """One stream. Ends with ServiceUnavailable when the connection breaks."""
        ...

    async def close(self) -> None: ...
