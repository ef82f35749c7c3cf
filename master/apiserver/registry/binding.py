"""Binding pods to nodes: many in one etcd transaction, each with its own outcome.

Source: ``BindingREST`` in ``k8s.io/kubernetes/pkg/registry/core/pod/storage/storage.go``.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apimachinery import scheme
from apimachinery.errors import ApiError, BadRequest
from apimachinery.meta import with_condition

from ..auth.user import User
from ..storage import codec
from ..storage.interface import Mismatch, Op, Put, Stored
from . import metadata, refusals
from .answers import Question, WriteOptions
from .pipeline import ATTEMPTS, Pipeline, Target, admission, found_there

Object = dict[str, Any]

TXN_OPS = 128
"""etcd's default limit of operations in a transaction."""


@dataclass(frozen=True, slots=True)
class Binding:
    """``uid`` is "" for whatever pod has the name."""

    namespace: str
    pod: str
    node: str
    uid: str = ""
    annotations: Object | None = None

    @property
    def target(self) -> Target:
        return Target(scheme.PODS, self.namespace, self.pod)

    def to_json(self) -> Object:
        meta = {"name": self.pod, "namespace": self.namespace, "uid": self.uid, "annotations": self.annotations}
        return {
            "kind": "Binding",
            "apiVersion": "v1",
            "metadata": {k: v for k, v in meta.items() if v},
            "target": {"kind": "Node", "name": self.node},
        }


async def bind(
    pipeline: Pipeline, user: User, bindings: Sequence[Binding], *, admitted: bool = False
) -> list[ApiError | None]:
    """The outcome of each binding, in order: None = bound. ``admitted``: admission has seen them already."""
    outcomes: list[ApiError | None] = [None] * len(bindings)
    todo = []
    for index, binding in enumerate(bindings):
        try:
            target = Target(scheme.PODS, binding.namespace, binding.pod, "binding")
            pipeline.authorize(user, "create", target)
            if not admitted:
                request = admission(user, "CREATE", target, binding.to_json(), None, WriteOptions())
                await pipeline.chain.mutate(request)
                await pipeline.chain.validate(request)
            todo.append(index)
        except ApiError as refused:
            outcomes[index] = refused
    batches = [todo[at : at + TXN_OPS] for at in range(0, len(todo), TXN_OPS)]
    await asyncio.gather(*(_bind_batch(pipeline, bindings, outcomes, batch) for batch in batches))
    return outcomes


async def _bind_batch(
    pipeline: Pipeline, bindings: Sequence[Binding], outcomes: list[ApiError | None], batch: list[int]
) -> None:
    """One transaction for all that can be bound; again, without or with fresh copies of those that others changed."""
    known: dict[str, Stored | None] = {}
    for _ in range(ATTEMPTS):
        ops: dict[int, Op] = {}
        for index in batch:
            try:
                ops[index] = await _plan(pipeline, bindings[index], known)
            except ApiError as refused:
                outcomes[index] = refused
        batch = list(ops)
        if not batch:
            return
        try:
            await pipeline.commit(list(ops.values()))
        except Mismatch as found:
            known.update(found.current)
        except ApiError as failed:
            for index in batch:
                outcomes[index] = failed
            return
        else:
            return
    for index in batch:
        outcomes[index] = refusals.conflict(scheme.PODS, bindings[index].pod)


async def _plan(pipeline: Pipeline, binding: Binding, known: dict[str, Stored | None]) -> Op:
    """The write that binds. Raises NotFound, Conflict, BadRequest."""
    key = pipeline.key(binding.target)
    if key in known:
        stored = known[key]
        held = found_there(stored) if stored else None
    else:
        held = pipeline.cached(binding.target) or await pipeline.read(key)
    if held is None:
        raise refusals.not_found(scheme.PODS, binding.pod)
    pod = codec.decode(held.data)
    assign(pod, binding)
    return Put(key, codec.encode(pod), held.revision)


def assign(pod: Object, binding: Binding) -> None:
    """Put a pod on its node, in place. Raises Conflict, BadRequest."""
    if not binding.node:
        raise BadRequest("target.name: Required value")
    meta, spec = pod["metadata"], pod["spec"]
    if binding.uid and binding.uid != meta["uid"]:
        why = f"Precondition failed: UID in precondition: {binding.uid}, UID in object meta: {meta['uid']}"
        raise refusals.conflict(scheme.PODS, binding.pod, why)
    if "deletionTimestamp" in meta:
        raise _refused(binding, f"pod {binding.pod} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise _refused(binding, f'pod {binding.pod} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise _refused(binding, f"pod {binding.pod} has non-empty .spec.schedulingGates")
    spec["nodeName"] = binding.node
    if binding.annotations:
        meta["annotations"] = {**(meta.get("annotations") or {}), **binding.annotations}
    status = pod.setdefault("status", {})
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": metadata.now()}
    status["conditions"] = with_condition(status.get("conditions"), scheduled)


def _refused(binding: Binding, why: str) -> ApiError:
    error = refusals.conflict(scheme.PODS, binding.pod, why)
    error.message = f'Operation cannot be fulfilled on pods/binding "{binding.pod}": {why}'
    return error


class BindingAnswer:
    """``pods/binding`` and ``bindings`` of the REST API."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def __call__(self, question: Question) -> Object:
        meta, target = question.body.get("metadata") or {}, question.body.get("target") or {}
        if target.get("kind") not in (None, "", "Node"):
            raise BadRequest('target.kind: Unsupported value: supported values: "Node"')
        pod = question.name or meta.get("name", "")
        binding = Binding(
            question.namespace, pod, target.get("name", ""), meta.get("uid") or "", meta.get("annotations")
        )
        if question.options.dry_run:
            held = self._pipeline.cached(binding.target) or await self._pipeline.read(
                self._pipeline.key(binding.target)
            )
            if held is None:
                raise refusals.not_found(scheme.PODS, pod)
            assign(codec.decode(held.data), binding)
        else:
            (refused,) = await bind(self._pipeline, question.user, [binding], admitted=True)
            if refused:
                raise refused
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
