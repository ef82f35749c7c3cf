"""What an update may change of a stored pod.

Source: ``ValidatePodUpdate`` in ``k8s.io/kubernetes/pkg/apis/core/validation/validation.go``.
"""

from typing import Any

from apimachinery import patch
from apimachinery.errors import Cause

from .causes import Causes, forbidden, immutable, invalid

Object = dict[str, Any]

_MUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_spec_update(spec: Object, old: Object) -> Causes:
    """What a main update may change of a stored pod's spec."""
    counts = [len(s.get(g) or ()) for s in (spec, old) for g in ("containers", "initContainers")]
    if counts[:2] != counts[2:]:
        return [forbidden("spec.containers", "pod updates may not add or remove containers")]
    causes = _deadline_update(spec, old) + _tolerations_update(spec, old)
    if _comparable(spec, old) != _comparable(old, old):
        causes.append(forbidden("spec", _MUTABLE))
    return causes


def _comparable(spec: Object, old: Object) -> Object:
    """The spec with everything that may change set to what ``old`` has."""
    out: Object = patch.copy(spec)
    for group in ("containers", "initContainers"):
        for container, before in zip(out.get(group) or (), old.get(group) or (), strict=True):
            container["image"] = before.get("image")
    for key in ("activeDeadlineSeconds", "tolerations", *_gated(old)):
        out.pop(key, None)
    if out.get("terminationGracePeriodSeconds") == 1 and (old.get("terminationGracePeriodSeconds") or 0) < 0:
        out["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    return {k: v for k, v in out.items() if v not in (None, "", [], {})}


def _gated(old: Object) -> tuple[str, ...]:
    """A pod that waits behind scheduling gates may still be told where to go, and the gates be lifted."""
    return ("schedulingGates", "nodeSelector", "affinity") if old.get("schedulingGates") else ()


def _deadline_update(spec: Object, old: Object) -> Causes:
    new, before = spec.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")
    if new == before or before is None:
        return []
    if new is None:
        return [invalid("spec.activeDeadlineSeconds", new, "must not update from a positive integer to nil value")]
    if new > before:
        detail = "must be less than or equal to previous value"
        return [invalid("spec.activeDeadlineSeconds", new, detail)]
    return []


def _tolerations_update(spec: Object, old: Object) -> Causes:
    now = spec.get("tolerations") or []
    changed = [t for t in old.get("tolerations") or () if t not in now]
    keys = [{k: v for k, v in t.items() if k != "tolerationSeconds"} for t in now]
    if any({k: v for k, v in t.items() if k != "tolerationSeconds"} not in keys for t in changed):
        return [forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]
    return []


def validate_ephemeral_update(spec: Object, old: Object) -> Causes:
    """The ephemeralcontainers subresource may only add."""
    now = {c.get("name"): c for c in spec.get("ephemeralContainers") or ()}
    causes: list[Cause] = []
    for container in old.get("ephemeralContainers") or ():
        name = container.get("name", "")
        if name not in now:
            causes.append(
                forbidden("spec.ephemeralContainers", f'existing ephemeral containers "{name}" may not be removed')
            )
        elif now[name] != container:
            causes.append(immutable("spec.ephemeralContainers", name))
    return causes
