"""Eviction: a delete that asks the pod's disruption budget first.

Source: ``k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go``.
"""

from dataclasses import replace
from typing import Any

from apimachinery import pods, scheme
from apimachinery.errors import ApiError, Cause, Conflict, Forbidden, InternalError, TooManyRequests
from apimachinery.meta import with_condition
from apimachinery.patch import copy
from apimachinery.selectors import from_object

from ..auth.node_authorizer import node_name
from ..auth.user import LOOPBACK
from . import metadata
from .answers import Question, WriteOptions
from .deletion import DeleteOptions, check_preconditions
from .pipeline import ATTEMPTS, Target
from .store import Registry

Object = dict[str, Any]

BUDGETS = scheme.kind_of("poddisruptionbudgets", "policy")
_MAX_DISRUPTED = 2000
_EVICTED = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "EvictionByEvictionAPI",
    "message": "Eviction API: evicting",
}


class EvictionAnswer:
    """``pods/eviction``."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def __call__(self, question: Question) -> Object:
        target = Target(scheme.PODS, question.namespace, question.name)
        options = DeleteOptions.from_json(question.body.get("deleteOptions") or {})
        write = WriteOptions(dry_run=question.options.dry_run or options.dry_run, warnings=question.options.warnings)
        pod = (await self._registry.reads.entry(scheme.PODS, question.namespace, question.name)).object
        asking = node_name(question.user)
        if asking and pods.node_name(pod) != asking:
            raise Forbidden(f'pods "{question.name}" is forbidden: node "{asking}" can only evict its own pods')
        if not _needs_no_budget(pod):
            await self._spend(pod, write)
        if not write.dry_run:
            options = await self._tell_why(target, options)
        await self._registry.delete(LOOPBACK, target, options, write)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    async def _tell_why(self, target: Target, options: DeleteOptions) -> DeleteOptions:
        """Write into the pod's status that it is evicted: Jobs' failure policies ask. Raises Conflict, NotFound."""

        def told(pod: Object) -> Object:
            check_preconditions(target.kind, pod, options)
            status = pod.setdefault("status", {})
            condition = {**_EVICTED, "lastTransitionTime": metadata.now()}
            status["conditions"] = with_condition(status.get("conditions"), condition)
            return pod

        written = await self._registry.patch(LOOPBACK, replace(target, subresource="status"), told, WriteOptions())
        if not options.resource_version:
            return options
        return replace(options, resource_version=written.object["metadata"]["resourceVersion"])

    async def _spend(self, pod: Object, write: WriteOptions) -> None:
        """Take one disruption from the pod's budget. Raises TooManyRequests if it has none left."""
        for _ in range(ATTEMPTS):
            budget = self._budget_of(pod)
            if budget is None or (not pods.is_ready(pod) and _unready_may_go(budget)):
                return
            spent = copy(budget)
            _take_one(spent, pod)
            if write.dry_run:
                return
            meta = spent["metadata"]
            target = Target(BUDGETS, meta["namespace"], meta["name"], "status")
            try:
                await self._registry.update(LOOPBACK, target, spent, WriteOptions())
            except Conflict:
                await self._registry.reads.reach("")  # the disruption controller was faster: look again
            else:
                return
        raise TooManyRequests("the disruption budget changes too fast", retry_after_seconds=1)

    def _budget_of(self, pod: Object) -> Object | None:
        meta = pod["metadata"]
        found = [
            b
            for b in self._registry.reads.list(BUDGETS, meta["namespace"])
            if from_object(b["spec"].get("selector")).matches(meta.get("labels"))
        ]
        if len(found) > 1:
            raise InternalError(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        return found[0] if found else None


def _needs_no_budget(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Pending", "Succeeded", "Failed") or "deletionTimestamp" in pod["metadata"]


def _unready_may_go(budget: Object) -> bool:
    """A pod that is not ready may go without being counted, if enough others are healthy or its budget says so."""
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    return bool(status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0)


def _take_one(budget: Object, pod: Object) -> None:
    """Raises TooManyRequests."""
    status, name = budget.setdefault("status", {}), budget["metadata"]["name"]
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _refuse(name, f"The disruption budget {name} is still being processed by the server.", 10)
    if len(status.get("disruptedPods") or {}) > _MAX_DISRUPTED:
        raise _refuse(name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller", 0)
    if status.get("disruptionsAllowed", 0) <= 0:
        healthy, needed = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        raise _refuse(name, f"The disruption budget {name} needs {needed} healthy pods and has {healthy} currently", 0)
    status["disruptionsAllowed"] -= 1
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod["metadata"]["name"]: metadata.now()}


def _refuse(budget: str, why: str, retry_after: int) -> ApiError:
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return TooManyRequests(message, causes=[Cause("DisruptionBudget", why)], retry_after_seconds=retry_after)
