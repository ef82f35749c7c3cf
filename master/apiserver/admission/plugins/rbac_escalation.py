"""RBAC's own rule: nobody grants what he does not have, unless he may ``escalate`` roles or ``bind`` this one.

Upstream checks this in the RBAC storage; here it is a plugin, for it needs the user and both objects.
"""

from collections.abc import Iterable, Sequence

from apimachinery.scheme import Kind

from ...auth.authorizer import Authorizer, RequestAttributes
from ...auth.rbac import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GROUP, ROLE_BINDINGS, ROLES, RbacAuthorizer, aggregated
from ...auth.rbac_rules import Rule, rules_of, uncovered
from ...auth.user import MASTERS_GROUP
from ...registry.reader import Object, Reader
from ..chain import AdmissionRequest, Plugin
from ..refusal import forbidden

_ROLE_KINDS = (ROLES, CLUSTER_ROLES)
_BINDING_KINDS = (ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS)
_SHOWN = 5


class RbacEscalation(Plugin):
    name = "RbacEscalation"

    def __init__(self, reader: Reader, authorizer: Authorizer, rbac: RbacAuthorizer) -> None:
        self._reader, self._authorizer, self._rbac = reader, authorizer, rbac

    def handles(self, request: AdmissionRequest) -> bool:
        return (
            request.kind.group == GROUP
            and request.operation in ("CREATE", "UPDATE")
            and MASTERS_GROUP not in request.user.groups
        )

    async def validate(self, request: AdmissionRequest) -> None:
        if request.object is None:
            return
        if request.kind in _ROLE_KINDS:
            self._check_role(request, request.object)
        elif request.kind in _BINDING_KINDS:
            self._check_binding(request, request.object)

    def _check_role(self, request: AdmissionRequest, role: Object) -> None:
        if request.old is not None and _grants(request.old) == _grants(role):
            return
        if self._may(request, "escalate", request.kind, request.namespace, request.name):
            return
        rules = aggregated(role, self._reader.list(CLUSTER_ROLES)) if role.get("aggregationRule") else rules_of(role)
        self._require(request, rules)

    def _check_binding(self, request: AdmissionRequest, binding: Object) -> None:
        old, ref = request.old, binding.get("roleRef") or {}
        if old is not None and (old.get("roleRef"), old.get("subjects")) == (ref, binding.get("subjects")):
            return
        kind = ROLES if ref.get("kind") == "Role" else CLUSTER_ROLES
        if self._may(request, "bind", kind, request.namespace, ref.get("name", "")):
            return
        rules = self._rbac.role_rules(request.namespace, ref)
        if rules is None:
            raise forbidden(request, f'{kind.group_resource} "{ref.get("name", "")}" not found')
        self._require(request, rules)

    def _may(self, request: AdmissionRequest, verb: str, kind: Kind, namespace: str, name: str) -> bool:
        attributes = RequestAttributes(request.user, verb, GROUP, "v1", kind.resource, "", namespace, name)
        return self._authorizer.authorize(attributes).allowed

    def _require(self, request: AdmissionRequest, rules: Iterable[Rule]) -> None:
        missing = uncovered(rules, self._rbac.rules_for(request.user, request.namespace))
        if missing:
            who = f"user {request.user.name!r} (groups={list(request.user.groups)!r})"
            raise forbidden(
                request, f"{who} is attempting to grant RBAC permissions not currently held:\n{_shown(missing)}"
            )


def _grants(role: Object) -> tuple[object, object]:
    return role.get("rules"), role.get("aggregationRule")


def _shown(missing: Sequence[Rule]) -> str:
    lines = [str(rule.to_json()) for rule in missing[:_SHOWN]]
    return "\n".join(lines + ([f"and {len(missing) - _SHOWN} more"] if len(missing) > _SHOWN else []))
