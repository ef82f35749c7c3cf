"""What the binder has to do for one claim or one volume: pure decisions. See ``persistentvolume_binder``."""

from collections.abc import Iterable
from dataclasses import dataclass

from apimachinery.meta import Object, annotations_of, name_of, uid_of
from apimachinery.persistent_volumes import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    NO_PROVISIONER,
    best_match,
    class_of,
    is_for,
    waits_for_consumer,
    why_unfit,
)


@dataclass(frozen=True, slots=True)
class ClaimPlan:
    """Exactly one of: ``bind`` to a volume; ask ``provisioner`` for one; ``lost``; or wait. ``reason``/``message`` tell
    the user about it in an event."""

    bind: Object | None = None
    provisioner: str = ""
    lost: bool = False
    reason: str = ""
    message: str = ""


_NOTHING_FITS = "no persistent volumes available for this claim and no storage class is set"
_LOST = "Data on the volume is lost!"


def plan_claim(
    claim: Object, storage_class: Object | None, candidates: Iterable[Object], named: Object | None
) -> ClaimPlan:
    """``candidates``: volumes of the claim's class or kept for it. ``named``: the volume of ``spec.volumeName``."""
    if BIND_COMPLETED in annotations_of(claim):
        return _bound(claim, named)
    if claim["spec"].get("volumeName"):
        return _wants(claim, named)
    delayed = waits_for_consumer(claim, storage_class)
    volume = best_match(claim, candidates, kept_only=delayed)
    if volume is not None:
        return ClaimPlan(bind=volume)
    if delayed:
        return ClaimPlan(
            reason="WaitForFirstConsumer", message="waiting for first consumer to be created before binding"
        )
    return _provision(claim, storage_class)


def _provision(claim: Object, storage_class: Object | None) -> ClaimPlan:
    name = class_of(claim)
    if not name:
        return ClaimPlan(reason="FailedBinding", message=_NOTHING_FITS)
    if storage_class is None:
        message = f'storageclass.storage.k8s.io "{name}" not found'
        return ClaimPlan(reason="ProvisioningFailed", message=message)
    provisioner = storage_class["provisioner"]
    if provisioner == NO_PROVISIONER:
        return ClaimPlan(reason="FailedBinding", message="no volume plugin matched name: kubernetes.io/no-provisioner")
    message = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    return ClaimPlan(provisioner=provisioner, reason="ExternalProvisioning", message=message)


def _bound(claim: Object, named: Object | None) -> ClaimPlan:
    if not claim["spec"].get("volumeName"):
        message = f"Bound claim has lost reference to PersistentVolume. {_LOST}"
        return ClaimPlan(lost=True, reason="ClaimLost", message=message)
    if named is None:
        return ClaimPlan(lost=True, reason="ClaimLost", message=f"Bound claim has lost its PersistentVolume. {_LOST}")
    if named["spec"].get("claimRef") and not is_for(named, claim):
        message = "Two claims are bound to the same volume, this one is bound incorrectly"
        return ClaimPlan(lost=True, reason="ClaimMisbound", message=message)
    return ClaimPlan(bind=named)


def _wants(claim: Object, named: Object | None) -> ClaimPlan:
    """The user, or a binder before us, has chosen the volume."""
    if named is None:
        return ClaimPlan()
    if named["spec"].get("claimRef"):
        if is_for(named, claim):
            return ClaimPlan(bind=named)
        message = f'volume "{name_of(named)}" already bound to a different claim.'
        return ClaimPlan(reason="FailedBinding", message=message)
    why = why_unfit(named, claim)
    if why:
        message = f'Cannot bind to requested volume "{name_of(named)}": {why}'
        return ClaimPlan(reason="VolumeMismatch", message=message)
    return ClaimPlan(bind=named)


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """The ``phase`` to show; ``unbind``: give up the claim that took another volume; ``ask``: sync this claim."""

    phase: str
    unbind: bool = False
    ask: bool = False


def plan_volume(volume: Object, claim: Object | None) -> VolumePlan:
    """``claim``: what ``claimRef`` names, as the API server has it."""
    ref = volume["spec"].get("claimRef")
    if not ref or not ref.get("uid"):
        return VolumePlan("Available", ask=bool(ref))
    if claim is None or uid_of(claim) != ref["uid"]:
        failed = (volume.get("status") or {}).get("phase") == "Failed"
        return VolumePlan("Failed" if failed else "Released")
    bound_to = claim["spec"].get("volumeName")
    if not bound_to:
        return VolumePlan(_phase(volume), ask=True)
    if bound_to == name_of(volume):
        return VolumePlan("Bound")
    if BOUND_BY_CONTROLLER in annotations_of(volume):
        return VolumePlan("Available", unbind=True)
    return VolumePlan("Released")


def _phase(volume: Object) -> str:
    return str((volume.get("status") or {}).get("phase") or "Pending")
