"""The errors that requests are refused with, in upstream's words: tools and tests compare them.

Source: ``k8s.io/apimachinery/pkg/api/errors/errors.go``, ``k8s.io/apiserver/pkg/endpoints/handlers/responsewriters``.
"""

from collections.abc import Sequence

from apimachinery.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Cause,
    Conflict,
    Expired,
    Forbidden,
    InternalError,
    Invalid,
    NotFound,
    Timeout,
)
from apimachinery.scheme import Kind

from ..auth.authorizer import RequestAttributes

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def not_found(kind: Kind, name: str) -> NotFound:
    return NotFound(f'{kind.group_resource} "{name}" not found', name=name, group=kind.group, kind=kind.resource)


def already_exists(kind: Kind, name: str) -> AlreadyExists:
    message = f'{kind.group_resource} "{name}" already exists'
    return AlreadyExists(message, name=name, group=kind.group, kind=kind.resource)


def conflict(kind: Kind, name: str, why: str = MODIFIED) -> Conflict:
    message = f'Operation cannot be fulfilled on {kind.group_resource} "{name}": {why}'
    return Conflict(message, name=name, group=kind.group, kind=kind.resource)


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> Invalid:
    told = [f"{c.field}: {c.message}" if c.field else c.message for c in causes]
    about = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    message = f'{about} "{name}" is invalid: {told[0] if len(told) == 1 else "[" + ", ".join(told) + "]"}'
    return Invalid(message, name=name, group=kind.group, kind=kind.kind, causes=causes)


def forbidden(a: RequestAttributes, reason: str) -> Forbidden:
    user = f'User "{a.user.name}" cannot {a.verb}'
    if a.path:
        return Forbidden(f'forbidden: {user} path "{a.path}"{_because(reason)}')
    resource = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
    where = f'in the namespace "{a.namespace}"' if a.namespace else "at the cluster scope"
    about = f"{a.resource}.{a.group}" if a.group else a.resource
    named = f'{about} "{a.name}"' if a.name else about
    message = f'{named} is forbidden: {user} resource "{resource}" in API group "{a.group}" {where}{_because(reason)}'
    return Forbidden(message, name=a.name, group=a.group, kind=a.resource)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def unreadable(why: str) -> InternalError:
    """Something in the store is no object, and only who wrote it there can mend that."""
    return InternalError(f"Internal error occurred: {why}")


def watch_too_old(version: int, oldest: int) -> Expired:
    return Expired(f"too old resource version: {version} ({oldest})")


def list_too_old() -> Expired:
    return Expired("The resourceVersion for the provided list is too old.")


def continue_too_old(fresh_token: str) -> Expired:
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    return Expired(message, metadata={"continue": fresh_token})


def version_too_large(wanted: int, current: int) -> Timeout:
    cause = Cause("ResourceVersionTooLarge", "Too large resource version")
    message = f"Timeout: Too large resource version: {wanted}, current: {current}"
    return Timeout(message, causes=[cause], retry_after_seconds=1)


def bad_version(text: str) -> ApiError:
    return BadRequest(f'invalid resource version: "{text}"')
