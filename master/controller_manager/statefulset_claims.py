"""The claims of a StatefulSet's pods: what they are made of, and who owns them. Pure.

``persistentVolumeClaimRetentionPolicy`` is carried out by the garbage collector alone: a claim that has to go with the
set is owned by the set, one that has to go with a pod that was scaled away by that pod.
Source: ``isClaimOwnerUpToDate``, ``updateClaimOwnerRefForSetAndPod`` and ``PodClaimIsStale`` of
``pkg/controller/statefulset``.
"""

from apimachinery.meta import Object, is_deleting, name_of, owner_reference, owner_references, uid_of
from apimachinery.scheme import PODS, STATEFUL_SETS, Kind


def templates_of(owner: Object) -> list[Object]:
    return owner["spec"].get("volumeClaimTemplates") or []


def claim_name(template: Object, pod_name: str) -> str:
    return f"{template['metadata']['name']}-{pod_name}"


def is_claim_of(owner: Object, claim: Object) -> bool:
    """By its name: that of a template, the set's and a number."""
    head, _, number = name_of(claim).rpartition("-")
    return number.isdigit() and head in {claim_name(t, name_of(owner)) for t in templates_of(owner)}


def claims_for(owner: Object, pod_name: str) -> list[Object]:
    """The new PersistentVolumeClaims of a pod that the set wants."""
    labels = (owner["spec"].get("selector") or {}).get("matchLabels") or {}
    owners = [owner_reference(owner, STATEFUL_SETS)] if _deletes(owner, "whenDeleted") else []
    claims = []
    for template in templates_of(owner):
        metadata = template["metadata"]
        kept = {k: metadata[k] for k in ("annotations",) if metadata.get(k)}
        kept |= {"name": claim_name(template, pod_name), "namespace": owner["metadata"]["namespace"]}
        kept["labels"] = {**(metadata.get("labels") or {}), **labels}
        if owners:
            kept["ownerReferences"] = owners
        kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        claims.append({**kind, "metadata": kept, "spec": template["spec"]})
    return claims


def references(owner: Object, pod: Object, wanted: bool, claim: Object) -> list[Object] | None:
    """The owner references that a claim of ``pod`` has to get; None if it keeps its own.

    ``wanted``: the pod's number is within the set's replicas. A claim that names an earlier set or pod of the same name
    is left alone: it is about to be collected. One that has another controller gets none of ours.
    """
    ours: list[Object] = []
    others: list[Object] = []
    for reference in owner_references(claim):
        mine = next((o for o, k in ((owner, STATEFUL_SETS), (pod, PODS)) if _names(reference, k, name_of(o))), None)
        if mine is not None and reference["uid"] != uid_of(mine):
            return None
        (others if mine is None else ours).append(reference)
    right = [] if any(r.get("controller") for r in others) else _holders(owner, pod, wanted)
    if [(r["uid"], bool(r.get("controller"))) for r in ours] == [(r["uid"], True) for r in right]:
        return None
    return [*others, *right]


def hinders(owner: Object, pod_name: str, claim: Object) -> bool:
    """Whether a new pod has to wait until this claim is gone: it goes already, or will with an earlier pod."""
    if is_deleting(claim):
        return True
    return _deletes(owner, "whenScaled") and any(_names(r, PODS, pod_name) for r in owner_references(claim))


def _holders(owner: Object, pod: Object, wanted: bool) -> list[Object]:
    if not wanted and _deletes(owner, "whenScaled"):
        return [owner_reference(pod, PODS)]
    return [owner_reference(owner, STATEFUL_SETS)] if _deletes(owner, "whenDeleted") else []


def _deletes(owner: Object, when: str) -> bool:
    return (owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}).get(when) == "Delete"


def _names(reference: Object, kind: Kind, name: str) -> bool:
    return (reference["apiVersion"], reference["kind"], reference["name"]) == (kind.api_version, kind.kind, name)
