"""The ReplicaSets of a Deployment: which is the new one, what the others are, and their annotations.

Source: ``pkg/controller/deployment/util/deployment_util.go``. Revisions are exact integers of any length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apimachinery.meta import Object, annotations_of, is_deleting, name_of, namespace_of, owner_reference
from apimachinery.patch import copy
from apimachinery.scheme import DEPLOYMENTS, REPLICA_SETS
from master.controller_manager.replicaset import replicas_of
from master.controller_manager.rolling import fenceposts
from master.controller_manager.template_hash import POD_TEMPLATE_HASH, compute_hash, equal_templates

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MAXIMUM}
_DEFAULT_HISTORY = 10


@dataclass(frozen=True)
class Sets:
    """``old`` oldest first; ``new`` is the one with the Deployment's template, if there is one."""

    new: Object | None
    old: Sequence[Object]

    @property
    def all(self) -> list[Object]:
        return [*self.old, *([self.new] if self.new is not None else [])]


def split(deployment: Object, sets: Sequence[Object]) -> Sets:
    """Find the new set. Of several with the same template (it can happen) the oldest counts."""
    ordered = sorted(sets, key=lambda s: (s["metadata"].get("creationTimestamp") or "", name_of(s)))
    template = deployment["spec"]["template"]
    new = next((s for s in ordered if equal_templates(s["spec"]["template"], template)), None)
    return Sets(new, [s for s in ordered if s is not new])


def revision_of(obj: Object) -> int:
    """0 where there is none or it is not a number."""
    text = annotations_of(obj).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def next_revision(sets: Sets) -> int:
    return max((revision_of(s) for s in sets.old), default=0) + 1


def surge_and_unavailable(deployment: Object) -> tuple[int, int]:
    """In pods; (0, 0) unless the strategy is RollingUpdate. Unavailable is at most the number of replicas."""
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return 0, 0
    parameters = strategy.get("rollingUpdate") or {}
    wanted = replicas_of(deployment)
    surge, unavailable = fenceposts(parameters.get("maxSurge"), parameters.get("maxUnavailable"), wanted)
    return surge, min(unavailable, wanted)


def size_annotations(deployment: Object) -> dict[str, str]:
    wanted = replicas_of(deployment)
    surge, _ = surge_and_unavailable(deployment)
    return {DESIRED: str(wanted), MAXIMUM: str(wanted + surge)}


def new_set_annotations(deployment: Object, current: Object | None, revision: int) -> dict[str, str]:
    """The annotations of the new set: the Deployment's own, its revision, and the revisions it had before."""
    have = dict(annotations_of(current)) if current is not None else size_annotations(deployment)
    have |= {k: v for k, v in annotations_of(deployment).items() if k not in _NOT_COPIED}
    before = revision_of(current) if current is not None else 0
    if before < revision:
        if before:
            history = have.get(HISTORY, "").split(",") if have.get(HISTORY) else []
            if str(before) not in history:
                have[HISTORY] = ",".join([*history, str(before)])
        have[REVISION] = str(revision)
    return have


def new_set(deployment: Object, sets: Sets, size: int) -> Object:
    """The ReplicaSet for the Deployment's template."""
    spec: Any = deployment["spec"]
    template = copy(spec["template"])
    hash_ = compute_hash(spec["template"], int((deployment.get("status") or {}).get("collisionCount") or 0))
    labels = {**(template["metadata"].get("labels") or {}), POD_TEMPLATE_HASH: hash_}
    template["metadata"]["labels"] = labels
    selector = copy(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), POD_TEMPLATE_HASH: hash_}
    body = {"replicas": size, "selector": selector, "template": template}
    if spec.get("minReadySeconds"):
        body["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": f"{name_of(deployment)}-{hash_}",
            "namespace": namespace_of(deployment),
            "labels": labels,
            "annotations": new_set_annotations(deployment, None, next_revision(sets)),
            "ownerReferences": [owner_reference(deployment, DEPLOYMENTS)],
        },
        "spec": body,
    }


def superfluous(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """The old sets beyond ``revisionHistoryLimit`` that are empty, lowest revisions first."""
    limit = deployment["spec"].get("revisionHistoryLimit", _DEFAULT_HISTORY)
    living = [s for s in old if not is_deleting(s)]
    count = len(living) - int(_DEFAULT_HISTORY if limit is None else limit)
    if count <= 0:
        return []
    first = sorted(living, key=lambda s: (revision_of(s), s["metadata"].get("creationTimestamp") or ""))[:count]
    return [s for s in first if _is_empty(s)]


def _is_empty(one: Object) -> bool:
    status = one.get("status") or {}
    seen = int(status.get("observedGeneration") or 0) >= int(one["metadata"].get("generation") or 0)
    return replicas_of(one) == 0 and not status.get("replicas") and seen
