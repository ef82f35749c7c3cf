"""The next step of a StatefulSet, and its status. Pure.

Pods have fixed names and an order: a pod is started only when all before it are available, and pods go from the
last on, one at a time, unless the set is managed in parallel. Source: ``pkg/controller/statefulset``.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from apimachinery import pods as pod_facts
from apimachinery.meta import Object, is_deleting, labels_of, name_of
from apimachinery.scheme import STATEFUL_SETS
from master.controller_manager.controller_revisions import HASH_LABEL
from master.controller_manager.pod_control import pod_from_template
from master.controller_manager.replicaset import replicas_of
from master.controller_manager.rolling import scaled
from master.controller_manager.statefulset_claims import claim_name, templates_of

POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


@dataclass(frozen=True)
class Versions:
    """ControllerRevisions: ``current`` is what pods had before the rollout, ``update`` what the template says."""

    current: Object
    update: Object


@dataclass
class Step:
    """``create``: ordinals. ``ended``: pods to delete because they finished; they are made anew afterwards."""

    create: list[int] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    ended: list[Object] = field(default_factory=list)


def start_ordinal(owner: Object) -> int:
    return int((owner["spec"].get("ordinals") or {}).get("start") or 0)


def ordinal_of(owner: Object, pod: Object) -> int | None:
    """The number at the end of its name; None for a pod that has another name."""
    prefix, _, number = name_of(pod).rpartition("-")
    return int(number) if prefix == name_of(owner) and number.isdigit() else None


def revision_of(pod: Object) -> str:
    return labels_of(pod).get(HASH_LABEL, "")


def delay_of(owner: Object) -> int:
    return int(owner["spec"].get("minReadySeconds") or 0)


def partition_of(owner: Object) -> int:
    strategy = owner["spec"].get("updateStrategy") or {}
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)


def version_for(owner: Object, ordinal: int, versions: Versions) -> Object:
    """The revision of which a pod is made that does not exist: below the partition it is the current one."""
    strategy = owner["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return versions.update
    if strategy.get("rollingUpdate") is None:
        kept = int((owner.get("status") or {}).get("currentReplicas") or 0)
    else:
        kept = partition_of(owner)
    return versions.current if ordinal < start_ordinal(owner) + kept else versions.update


def new_pod(owner: Object, ordinal: int, revision: Object) -> Object:
    """The pod of an ordinal: its name, host name and volumes are the same each time."""
    pod = pod_from_template(revision["data"]["spec"]["template"], owner, STATEFUL_SETS)
    name = f"{name_of(owner)}-{ordinal}"
    metadata, spec = pod["metadata"], pod["spec"]
    del metadata["generateName"]
    metadata["name"] = name
    identity = {POD_NAME: name, POD_INDEX: str(ordinal), HASH_LABEL: name_of(revision)}
    metadata["labels"] = {**(metadata.get("labels") or {}), **identity}
    spec["hostname"] = name
    if owner["spec"].get("serviceName"):
        spec["subdomain"] = owner["spec"]["serviceName"]
    claims = {t["metadata"]["name"]: claim_name(t, name) for t in templates_of(owner)}
    own = [v for v in spec.get("volumes") or () if v["name"] not in claims]
    bound = [{"name": n, "persistentVolumeClaim": {"claimName": claim}} for n, claim in claims.items()]
    if own or bound:
        spec["volumes"] = [*own, *bound]
    return pod


def wanted_ordinals(owner: Object) -> range:
    first = start_ordinal(owner)
    return range(first, first + replicas_of(owner))


def is_one_by_one(owner: Object) -> bool:
    return bool(owner["spec"].get("podManagementPolicy", "OrderedReady") != "Parallel")


def plan(
    owner: Object, pods: Sequence[Object], versions: Versions, now: datetime, hindered: Container[int] = ()
) -> Step:
    """The next step: fill the gaps in order, remove what is too much, then update from the last on.

    ``hindered``: ordinals whose old claims must be gone before a pod is made; nothing is done beyond such a one.
    """
    wanted = wanted_ordinals(owner)
    have = {o: p for p in pods if (o := ordinal_of(owner, p)) is not None}
    one_by_one = is_one_by_one(owner)
    step = Step()
    if _fill(owner, wanted, have, hindered, step, one_by_one, now) or _shrink(
        owner, wanted, have, step, one_by_one, now
    ):
        return step
    if step.create or step.delete or step.ended:
        return step
    strategy = owner["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") == "RollingUpdate":
        step.delete += _outdated(owner, wanted, have, name_of(versions.update), now)
    return step


Pods = dict[int, Object]


def _is_settled(owner: Object, pod: Object, now: datetime) -> bool:
    return not is_deleting(pod) and pod_facts.is_available(pod, delay_of(owner), now)


def _fill(
    owner: Object, wanted: range, have: Pods, hindered: Container[int], step: Step, one_by_one: bool, now: datetime
) -> bool:
    """Whether later steps have to wait for a pod."""
    for ordinal in wanted:
        pod = have.get(ordinal)
        if pod is None:
            if ordinal in hindered:
                return True
            step.create.append(ordinal)
        elif pod_facts.is_finished(pod):
            if not is_deleting(pod):
                step.ended.append(pod)
        elif _is_settled(owner, pod, now):
            continue
        if one_by_one:
            return True
    return False


def _shrink(owner: Object, wanted: range, have: Pods, step: Step, one_by_one: bool, now: datetime) -> bool:
    """Remove pods outside ``wanted``, the highest first. Whether later steps have to wait."""
    condemned = sorted((o for o in have if o not in wanted), reverse=True)
    unhealthy = [o for o in sorted(have) if not _is_settled(owner, have[o], now)]
    for ordinal in condemned:
        pod = have[ordinal]
        if not is_deleting(pod):
            if one_by_one and unhealthy and unhealthy[0] != ordinal:
                return True  # an unhealthy pod before it must get well first, or go itself
            step.delete.append(pod)
        if one_by_one:
            return True
    return False


def _outdated(owner: Object, wanted: range, have: Pods, update: str, now: datetime) -> list[Object]:
    """The pods to replace now: from the last on, as many as may be unavailable, not below the partition."""
    rolling = (owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    allowed = max(1, scaled(rolling.get("maxUnavailable"), len(wanted), round_up=False, default=1))
    missing = sum(o not in have or not _is_settled(owner, have[o], now) for o in wanted)
    chosen: list[Object] = []
    for ordinal in reversed(wanted):
        if ordinal < wanted.start + partition_of(owner):
            break
        pod = have.get(ordinal)
        if pod is None or is_deleting(pod):
            continue
        if revision_of(pod) == update:
            continue
        settled = _is_settled(owner, pod, now)
        if settled and missing >= allowed:
            break
        missing += settled
        chosen.append(pod)
    return chosen


def next_status(owner: Object, pods: Sequence[Object], versions: Versions, now: datetime) -> Object:
    first = start_ordinal(owner)
    last = first + replicas_of(owner)
    mine = [p for p in pods if ordinal_of(owner, p) is not None and not pod_facts.is_finished(p)]
    living = [p for p in mine if not is_deleting(p)]
    status = {
        **(owner.get("status") or {}),
        "observedGeneration": owner["metadata"].get("generation", 0),
        "replicas": len(mine),
        "readyReplicas": sum(pod_facts.is_ready(p) for p in mine),
        "availableReplicas": sum(pod_facts.is_available(p, delay_of(owner), now) for p in mine),
        "currentReplicas": sum(revision_of(p) == name_of(versions.current) for p in living),
        "updatedReplicas": sum(revision_of(p) == name_of(versions.update) for p in living),
        "currentRevision": name_of(versions.current),
        "updateRevision": name_of(versions.update),
    }
    done = status["updatedReplicas"] == status["replicas"] == status["readyReplicas"] == last - first
    strategy = (owner["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate")
    if done and strategy == "RollingUpdate":
        status["currentReplicas"], status["currentRevision"] = status["updatedReplicas"], status["updateRevision"]
    return {k: v for k, v in status.items() if v or k not in {"readyReplicas", "currentReplicas", "updatedReplicas"}}
