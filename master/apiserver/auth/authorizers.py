"""The authorizers of ``--authorization-mode`` put together: the first that allows decides."""

from collections.abc import Sequence

from ..registry.reader import Reader
from .authorizer import Authorizer, Decision, RequestAttributes
from .node_authorizer import NodeAuthorizer
from .rbac import RbacAuthorizer
from .user import MASTERS_GROUP

MODES = ("Node", "RBAC", "AlwaysAllow", "AlwaysDeny")
_ALLOWED = Decision(True)


class Union:
    """``system:masters`` may do everything, whatever the modes are: it is the way back in."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def authorize(self, a: RequestAttributes) -> Decision:
        if MASTERS_GROUP in a.user.groups:
            return _ALLOWED
        reasons = []
        for authorizer in self._authorizers:
            decision = authorizer.authorize(a)
            if decision.allowed:
                return decision
            reasons.append(decision.reason)
        return Decision(False, ", ".join(r for r in reasons if r))


class AlwaysAllow:
    def authorize(self, a: RequestAttributes) -> Decision:
        return _ALLOWED


class AlwaysDeny:
    def authorize(self, a: RequestAttributes) -> Decision:
        return Decision(False, "everything is forbidden")


def for_modes(modes: Sequence[str], reader: Reader, rbac: RbacAuthorizer) -> Authorizer:
    """Raises ValueError for a mode that does not exist here (ABAC and Webhook are upstream's and not built)."""
    known: dict[str, Authorizer] = {
        "RBAC": rbac,
        "Node": NodeAuthorizer(reader),
        "AlwaysAllow": AlwaysAllow(),
        "AlwaysDeny": AlwaysDeny(),
    }
    unknown = [m for m in modes if m not in known]
    if unknown:
        raise ValueError(f"--authorization-mode: {', '.join(unknown)} not supported; choose from {', '.join(MODES)}")
    return Union([known[m] for m in modes])
