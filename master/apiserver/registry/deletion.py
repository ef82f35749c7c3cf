"""What a delete does to an object, as pure functions.

Source: ``BeforeDelete`` in ``k8s.io/apiserver/pkg/registry/rest/delete.go`` and
``updateForGracefulDeletionAndFinalizers`` in ``.../registry/generic/registry/store.go``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apimachinery.errors import BadRequest, Cause, Invalid
from apimachinery.scheme import Kind

from . import refusals
from .strategy import Strategy

Object = dict[str, Any]
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
_POLICIES = ("Background", "Foreground", "Orphan")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    grace_period_seconds: int | None = None
    propagation_policy: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "DeleteOptions":
        """Raises Invalid or BadRequest, with upstream's words."""
        policy = body.get("propagationPolicy") or ""
        orphan = body.get("orphanDependents")
        if orphan is not None:
            if policy:
                raise _invalid("propagationPolicy", "orphanDependents and deletionPropagation cannot be both set")
            policy = "Orphan" if orphan else "Background"
        if policy not in ("", *_POLICIES):
            raise _invalid(
                "propagationPolicy", 'Unsupported value: supported values: "Background", "Foreground", "Orphan"'
            )
        grace = body.get("gracePeriodSeconds")
        if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
            raise BadRequest("gracePeriodSeconds must be an integer")
        wanted = body.get("preconditions") or {}
        dry_run = dry_run_of(body.get("dryRun") or ())
        return cls(grace, policy, wanted.get("uid") or "", wanted.get("resourceVersion") or "", dry_run)

    def to_json(self) -> Object:
        """The options that say anything, as ``metav1.DeleteOptions``."""
        wanted = {"uid": self.uid, "resourceVersion": self.resource_version}
        told: Object = {"gracePeriodSeconds": self.grace_period_seconds, "propagationPolicy": self.propagation_policy}
        told["preconditions"] = {k: v for k, v in wanted.items() if v}
        return {k: v for k, v in told.items() if v not in (None, "", {})}


def dry_run_of(values: Any) -> bool:
    """Whether ``dryRun`` is asked for. Raises Invalid for anything but ``All``."""
    wrong = [v for v in values if v != "All"]
    if wrong:
        raise _invalid("dryRun", f'Unsupported value: "{wrong[0]}": supported values: "All"')
    return bool(values)


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f' "" is invalid: {field}: {message}', causes=[Cause("FieldValueInvalid", message, field)])


@dataclass(frozen=True, slots=True)
class Outcome:
    """``remove``: take the object away. Else ``obj`` is its new state, or None if nothing changes."""

    remove: bool
    obj: Object | None = None


def check_preconditions(kind: Kind, obj: Object, options: DeleteOptions) -> None:
    """Raises Conflict."""
    metadata = obj["metadata"]
    for field, wanted, have in (
        ("UID", options.uid, metadata.get("uid", "")),
        ("ResourceVersion", options.resource_version, metadata.get("resourceVersion", "")),
    ):
        if wanted and wanted != have:
            why = f"Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {have}"
            raise refusals.conflict(kind, metadata["name"], why)


def plan(strategy: Strategy, obj: Object, options: DeleteOptions, now: datetime) -> Outcome:
    """Decide. ``obj`` is the caller's own copy; the outcome may be built from it."""
    metadata = obj["metadata"]
    before = metadata.get("finalizers") or []
    finalizers = _finalizers(before, options.propagation_policy, strategy.default_propagation)
    if finalizers:
        metadata["finalizers"] = finalizers
    elif before:
        del metadata["finalizers"]
    changed = finalizers != before
    if "deletionTimestamp" in metadata:
        shortened = _shorten(metadata, options)
        if shortened is None:
            return Outcome(False, obj if changed else None)
        changed = changed or shortened
    else:
        grace = strategy.grace_period(obj, options.grace_period_seconds)
        _mark(metadata, max(grace, 0), now)
        strategy.mark_deleted(obj)
        changed = True
    if not metadata.get("deletionGracePeriodSeconds") and not strategy.holders(obj):
        return Outcome(True, obj)
    return Outcome(False, obj if changed else None)


def _mark(metadata: Object, grace: int, now: datetime) -> None:
    metadata["deletionTimestamp"] = _time(now + timedelta(seconds=grace))
    metadata["deletionGracePeriodSeconds"] = grace
    if metadata.get("generation") and grace:
        metadata["generation"] += 1


def _shorten(metadata: Object, options: DeleteOptions) -> bool | None:
    """Of an object already being deleted: whether the period was shortened; None = it is pending, leave it."""
    existing = metadata.get("deletionGracePeriodSeconds")
    if existing is None:
        return False
    wanted = options.grace_period_seconds
    if wanted is None or wanted >= existing:
        return None if existing else False
    until = datetime.fromisoformat(metadata["deletionTimestamp"].replace("Z", "+00:00"))
    metadata["deletionTimestamp"] = _time(until - timedelta(seconds=existing - max(wanted, 0)))
    metadata["deletionGracePeriodSeconds"] = max(wanted, 0)
    return True


def _finalizers(existing: list[str], policy: str, default: str) -> list[str]:
    if not policy and (ORPHAN in existing or FOREGROUND in existing):
        return existing
    kept = [f for f in existing if f not in (ORPHAN, FOREGROUND)]
    match policy or default:
        case "Orphan":
            return [*kept, ORPHAN]
        case "Foreground":
            return [*kept, FOREGROUND]
    return kept


def removable(strategy: Strategy, obj: Object) -> bool:
    """Whether an update has taken away the last thing that held a deleted object."""
    metadata = obj["metadata"]
    gone = "deletionTimestamp" in metadata and not metadata.get("deletionGracePeriodSeconds")
    return gone and not strategy.holders(obj)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
