"""Carries out a plan of slices, and knows when the informer has seen it.

The next plan must not be made from a store that lacks the last one's slices, or they would be created twice.
"""

from apimachinery.client.api import ApiClient, Write
from apimachinery.client.informer import Informer
from apimachinery.errors import ApiError, Conflict, NotFound
from apimachinery.meta import Key, version_of
from apimachinery.scheme import ENDPOINT_SLICES
from master.controller_manager.pod_control import in_ending_namespace
from master.controller_manager.slices import Plan

_CATCH_UP_SECONDS = 0.02


class SliceWriter:
    """``_written[key]`` is the resource version that the informer must have reached before ``key`` is planned again."""

    def __init__(self, client: ApiClient, informer: Informer) -> None:
        self._client, self._informer = client, informer
        self._written: dict[Key, int] = {}

    def behind(self, key: Key) -> float | None:
        """Seconds to wait until the informer may have caught up; None if it has."""
        if self._informer.version < self._written.get(key, 0):
            return _CATCH_UP_SECONDS
        self._written.pop(key, None)
        return None

    async def carry_out(self, key: Key, plan: Plan) -> None:
        """One round trip. Raises the first error that is not about something gone, or forbidden in a namespace that
        ends; one about something changed meanwhile comes last."""
        writes = [Write.create(ENDPOINT_SLICES, piece) for piece in plan.create]
        writes += [Write.update(ENDPOINT_SLICES, piece) for piece in plan.update]
        for piece in plan.delete:
            meta = piece["metadata"]
            writes.append(Write.delete(ENDPOINT_SLICES, meta["name"], meta["namespace"], uid=meta["uid"]))
        results = await self._client.write(writes)
        for result in results[: len(plan.create) + len(plan.update)]:
            if not isinstance(result, ApiError):
                self._written[key] = max(self._written.get(key, 0), version_of(result))
        for result in results:
            if isinstance(result, ApiError) and not isinstance(result, NotFound | Conflict):
                if in_ending_namespace(result):
                    return
                raise result
        for result in results:
            if isinstance(result, Conflict):
                raise result
