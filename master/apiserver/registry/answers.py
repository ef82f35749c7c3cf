"""What a create on something that is not stored calls: reviews, and subresources such as serviceaccounts/token.

The request has been authenticated, authorized, decoded and checked against the schema when an answer is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from apimachinery.scheme import Kind

from ..auth.user import User

Object = dict[str, Any]


@dataclass(slots=True)
class WriteOptions:
    """CreateOptions, UpdateOptions and PatchOptions in one; ``warnings`` collects what the client is told besides.

    ``duplicates`` are the paths of fields that the body had twice.
    """

    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = "Warn"
    force: bool = False
    applying: bool = False
    """The transform of a server-side apply: it has written managedFields itself."""
    duplicates: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    """What admission wants to have said of the request in the audit log."""
    told: Object = field(default_factory=dict)
    """DeleteOptions as admission sees them."""


@dataclass(frozen=True, slots=True)
class Question:
    """A create on ``kind``, or on its ``subresource`` of the object ``namespace``/``name``."""

    user: User
    kind: Kind
    subresource: str
    namespace: str
    name: str
    body: Object
    options: WriteOptions


class Answer(Protocol):
    async def __call__(self, question: Question) -> Object:
        """The object to answer with (201). Raises an ApiError to refuse."""
        ...


Answers = Mapping[tuple[str, str, str], Answer]
"""By group, resource and subresource, such as ``("authorization.k8s.io", "subjectaccessreviews", "")``."""
