"""What an authorizer is asked and answers. Synchronous on purpose: it decides from caches, on the hot path."""

from dataclasses import dataclass
from typing import Protocol

from .user import User


@dataclass(slots=True)
class RequestAttributes:
    """One request as authorization sees it. A non-resource request has ``path`` set and ``resource`` empty.

    Never changed, but not frozen: that would take thrice as long to make, and several are made for every request.
    """

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """``reason`` is appended to the Forbidden message where a refusal can say why."""

    allowed: bool
    reason: str = ""


class Authorizer(Protocol):
    def authorize(self, a: RequestAttributes) -> Decision: ...
