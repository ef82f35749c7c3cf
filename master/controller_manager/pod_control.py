"""Creating and deleting the pods of a controller, with upstream's events and its slow start.

Source: ``pkg/controller/controller_utils.go`` (RealPodControl, slowStartBatch).
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from apimachinery.client.api import ApiClient, Write
from apimachinery.client.events import EventRecorder
from apimachinery.errors import ApiError, NotFound
from apimachinery.meta import Key, Object, key_of, name_of, namespace_of, owner_reference
from apimachinery.patch import copy
from apimachinery.scheme import PODS, Kind
from master.controller_manager.expectations import Expectations

_T = TypeVar("_T")


def pod_from_template(template: Object, owner: Object, owner_kind: Kind) -> Object:
    """A new pod of ``owner``: the template's metadata and spec, a generated name and the controller reference."""
    template = copy(template)
    wanted = template.get("metadata") or {}
    metadata = {k: wanted[k] for k in ("labels", "annotations", "finalizers") if wanted.get(k)}
    metadata |= {
        "generateName": f"{name_of(owner)}-",
        "namespace": namespace_of(owner),
        "ownerReferences": [owner_reference(owner, owner_kind)],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec") or {}}


def slow_start(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Batches of 1, 2, 4, ...: if none can succeed (a quota, say), few are tried."""
    done, size = 0, 1
    while done < len(items):
        yield items[done : done + size]
        done += size
        size *= 2


def in_ending_namespace(error: ApiError) -> bool:
    """Whether a create was refused because its namespace is being deleted: nothing to tell, nothing to retry."""
    return any(cause.reason == "NamespaceTerminating" for cause in error.causes)


class PodControl:
    """What it creates and deletes is expected in ``expectations`` under the owner's key."""

    def __init__(self, client: ApiClient, events: EventRecorder, expectations: Expectations[Key]) -> None:
        self._client = client
        self._events = events
        self._expectations = expectations

    async def create(self, owner: Object, pods: Sequence[Object]) -> ApiError | None:
        """Create pods, stopping after the first batch with a failure. Returns the first failure."""
        for batch in slow_start(pods):
            results = await self._client.write([Write.create(PODS, pod) for pod in batch])
            failure = self._created(owner, results)
            if failure is not None:
                return failure
        return None

    def _created(self, owner: Object, results: Sequence[Object | ApiError]) -> ApiError | None:
        failure = None
        for result in results:
            if not isinstance(result, ApiError):
                self._expectations.wrote(key_of(owner), result)
                self._events.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {name_of(result)}")
                continue
            failure = failure or result
            if not in_ending_namespace(result):
                self._events.event(owner, "Warning", "FailedCreate", f"Error creating: {result.message}")
        return failure

    async def delete(self, owner: Object, pods: Sequence[Object]) -> ApiError | None:
        """Delete pods (by uid). One that is gone already counts as deleted. Returns the first failure."""
        if not pods:
            return None
        writes = [Write.delete(PODS, name_of(p), namespace_of(p), uid=p["metadata"]["uid"]) for p in pods]
        failure = None
        for pod, result in zip(pods, await self._client.write(writes), strict=True):
            if isinstance(result, ApiError) and not isinstance(result, NotFound):
                failure = failure or result
                self._events.event(owner, "Warning", "FailedDelete", f"Error deleting: {result.message}")
                continue
            self._expectations.deleted(key_of(owner), pod)
            if not isinstance(result, ApiError):
                self._events.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        return failure
