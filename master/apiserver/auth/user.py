"""Who makes a request. Every authenticator produces this, every authorizer and admission plugin reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ANONYMOUS_NAME = "system:anonymous"
AUTHENTICATED_GROUP = "system:authenticated"
UNAUTHENTICATED_GROUP = "system:unauthenticated"
MASTERS_GROUP = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated identity, as ``authentication.k8s.io/v1`` UserInfo has it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)


LOOPBACK = User("system:apiserver", groups=(MASTERS_GROUP, AUTHENTICATED_GROUP))
"""The API server itself: its own bootstrap writes go through the pipeline under this name."""
