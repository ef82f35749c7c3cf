"""Which names a definition gets, and the conditions that follow from it. Pure.

Source: ``k8s.io/apiextensions-apiserver/pkg/controller/status/naming_controller.go``, ``.../establish`` and
``.../apiapproval``.
"""

from collections.abc import Iterable
from typing import Any

from apimachinery.meta import condition_is_true
from apimachinery.patch import copy

from ..kinds.causes import quoted
from ..kinds.definitions import approved, is_protected, set_condition
from ..kinds.printing import at

Object = dict[str, Any]


def settled_status(definition: Object, others: Iterable[Object]) -> Object:
    """The status that a definition should have, given the other definitions of its group: who was first keeps a name.
    What is established stays so."""
    status: Object = copy(definition.get("status") or {})
    accepted, conflict = _accept(definition["spec"]["names"], status.get("acceptedNames") or {}, others)
    status["acceptedNames"] = accepted
    reason, message = conflict or ("NoConflicts", "no conflicts found")
    set_condition(status, "NamesAccepted", not conflict, reason, message)
    if not condition_is_true(definition, "Established"):
        if conflict:
            set_condition(status, "Established", False, "NotAccepted", "not all names are accepted")
        else:
            told = "the initial names have been accepted"
            set_condition(status, "Established", True, "InitialNamesAccepted", told)
    if is_protected(definition["spec"]["group"]):
        _set_approval(definition, status)
    return status


def _accept(asked: Object, have: Object, others: Iterable[Object]) -> tuple[Object, tuple[str, str] | None]:
    """The names, and why not all that were asked for."""
    theirs = [at(o, "status.acceptedNames", {}) for o in others]
    resources = {n for t in theirs for n in (t.get("plural"), t.get("singular"), *(t.get("shortNames") or ()))}
    kinds = {n for t in theirs for n in (t.get("kind"), t.get("listKind"))}
    accepted = dict(have)
    conflict = None
    for key, taken in (
        ("plural", resources),
        ("singular", resources),
        ("shortNames", resources),
        ("kind", kinds),
        ("listKind", kinds),
    ):
        wanted = asked.get(key) or []
        used = [n for n in ([wanted] if isinstance(wanted, str) else wanted) if n in taken]
        if used:
            conflict = (f"{key[0].upper()}{key[1:]}Conflict", _in_use(used))
        elif wanted:
            accepted[key] = wanted
        else:
            accepted.pop(key, None)
    if asked.get("categories"):
        accepted["categories"] = asked["categories"]
    else:
        accepted.pop("categories", None)
    return accepted, conflict


def _in_use(names: list[str]) -> str:
    told = [f"{quoted(n)} is already in use" for n in names]
    return told[0] if len(told) == 1 else f"[{', '.join(told)}]"


def _set_approval(definition: Object, status: Object) -> None:
    value = at(definition, "metadata.annotations", {}).get("api-approved.kubernetes.io", "")
    fine, wrong = approved(definition)
    if fine:
        set_condition(
            status, "KubernetesAPIApprovalPolicyConformant", True, "ApprovedAnnotation", f"approved in {value}"
        )
    elif wrong:
        reason = "InvalidAnnotation" if value else "MissingAnnotation"
        set_condition(status, "KubernetesAPIApprovalPolicyConformant", False, reason, wrong)
    else:
        told = f'not approved: "{value}"'
        set_condition(status, "KubernetesAPIApprovalPolicyConformant", False, "UnapprovedAnnotation", told)
