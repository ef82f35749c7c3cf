"""``pods/eviction``: a delete that respects PodDisruptionBudgets.

A budget is charged before the pod is deleted, by a write that fails if somebody else has charged it meanwhile.

Source: ``k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go``
"""

from typing import Protocol

from apimachinery import meta, pods, scheme, selectors
from apimachinery.errors import BadRequest, Cause, Conflict, Forbidden, InternalError, NotFound, TooManyRequests
from apimachinery.scheme import Kind

from ..auth.node_authorizer import node_name
from ..registry.answers import Question
from ..registry.deletion import DeleteOptions
from ..registry.reader import Object, Reader

POD_DISRUPTION_BUDGETS = scheme.kind_of("poddisruptionbudgets", "policy")
_MAX_DISRUPTED = 2000
_ATTEMPTS = 5


class Writer(Protocol):
    """Writes as the API server itself. Raises ApiError; Conflict when the object has changed."""

    async def update(self, kind: Kind, obj: Object, subresource: str = "") -> Object: ...

    async def delete(self, kind: Kind, namespace: str, name: str, options: DeleteOptions) -> Object: ...


class Evictions:
    """Answers creates on pods/eviction. The user was authorized for that; the writes are the server's own."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader, self._writer = reader, writer

    async def __call__(self, question: Question) -> Object:
        namespace, name = question.namespace, question.name
        named = (question.body.get("metadata") or {}).get("name", name)
        if named != name:
            raise BadRequest(f"name in URL does not match name in Eviction object: {named!r} and {name!r}")
        pod = await self._reader.get_consistent(scheme.PODS, namespace, name)
        if pod is None:
            raise NotFound(f'pods "{name}" not found', name=name, kind="pods")
        asking = node_name(question.user)
        if asking and pods.node_name(pod) != asking:
            raise Forbidden(f'pods "{name}" is forbidden: node {asking!r} can only evict its own pods', kind="pods")
        options = question.body.get("deleteOptions") or {}
        delete = DeleteOptions.from_json(options | ({"dryRun": ["All"]} if question.options.dry_run else {}))
        if counts(pod):
            await self._charge(pod, dry_run=delete.dry_run)
        await self._writer.delete(scheme.PODS, namespace, name, delete)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    async def _charge(self, pod: Object, *, dry_run: bool) -> None:
        for _ in range(_ATTEMPTS):
            budget = self._budget(pod)
            if budget is None:
                return
            charged = charge(budget, pod)
            if charged is None or dry_run:
                return
            try:
                await self._writer.update(POD_DISRUPTION_BUDGETS, charged, "status")
            except Conflict:
                continue
            return
        raise TooManyRequests("the disruption budget changes too quickly: try again", retry_after_seconds=1)

    def _budget(self, pod: Object) -> Object | None:
        """The budget that covers ``pod``; InternalError for several, as upstream."""
        labels, namespace = meta.labels_of(pod), meta.namespace_of(pod)
        found = [
            b
            for b in self._reader.list(POD_DISRUPTION_BUDGETS, namespace)
            if selectors.from_object((b.get("spec") or {}).get("selector")).matches(labels)
        ]
        if len(found) > 1:
            raise InternalError(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        return found[0] if found else None


def counts(pod: Object) -> bool:
    """Whether evicting the pod disrupts anything: not if it has ended, never began, or is going anyway."""
    return not pods.is_finished(pod) and pods.phase(pod) != "Pending" and not meta.is_deleting(pod)


def charge(budget: Object, pod: Object) -> Object | None:
    """The budget with this eviction taken off its status; None if a pod that is not ready may go without.

    Raises TooManyRequests, with the DisruptionBudget cause, where the budget has nothing left.
    """
    name, spec, status = meta.name_of(budget), budget.get("spec") or {}, budget.get("status") or {}
    if not pods.is_ready(pod) and _unready_may_go(spec, status):
        return None
    if int(status.get("observedGeneration") or 0) < int(budget["metadata"].get("generation") or 0):
        raise _refused(name, f"The disruption budget {name} is still being processed by the server.", 10)
    allowed, disrupted = int(status.get("disruptionsAllowed") or 0), status.get("disruptedPods") or {}
    if allowed <= 0:
        needed, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        why = f"The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
        raise _refused(name, why)
    if len(disrupted) > _MAX_DISRUPTED:
        raise _refused(name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller")
    charged = {"disruptionsAllowed": allowed - 1, "disruptedPods": disrupted | {meta.name_of(pod): meta.now_time()}}
    return budget | {"status": status | charged}


def _unready_may_go(spec: Object, status: Object) -> bool:
    if spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    healthy, desired = int(status.get("currentHealthy") or 0), int(status.get("desiredHealthy") or 0)
    return healthy >= desired > 0


def _refused(name: str, message: str, retry_after_seconds: int = 0) -> TooManyRequests:
    return TooManyRequests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        name=name,
        causes=[Cause("DisruptionBudget", message)],
        retry_after_seconds=retry_after_seconds,
    )
