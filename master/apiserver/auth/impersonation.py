"""Impersonation: a user acts as another one, if authorization lets it ``impersonate`` every part of that identity.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
"""

from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from apimachinery.errors import BadRequest, Forbidden

from .authorizer import Authorizer, RequestAttributes
from .service_account import ALL_GROUP, PREFIX
from .user import ANONYMOUS_NAME, AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP, User

_AUTHENTICATION_GROUP = "authentication.k8s.io"
_HEADER = b"impersonate-"
_EXTRA = b"impersonate-extra-"


def impersonate(user: User, headers: Iterable[tuple[bytes, bytes]], authorizer: Authorizer) -> User:
    """The user that a request acts as: ``user`` itself when no Impersonate- header is there.

    ``headers`` are ASGI's: lower-case names. Raises Forbidden for what ``user`` may not impersonate, and
    BadRequest for groups, uid or extra without a user (which upstream takes for a fault of its own).
    """
    wanted = [(name, value.decode("latin-1")) for name, value in headers if name.startswith(_HEADER)]
    if not wanted:
        return user
    target = _target(wanted)
    for attributes in _checks(user, target):
        decision = authorizer.authorize(attributes)
        if not decision.allowed:
            raise _forbidden(attributes)
    return _completed(target)


def _target(wanted: list[tuple[bytes, str]]) -> User:
    values = dict(wanted)
    name = values.get(b"impersonate-user", "")
    if not name:
        raise BadRequest("requested impersonation headers without impersonating a user")
    extra: dict[str, tuple[str, ...]] = {}
    for header, value in wanted:
        if header.startswith(_EXTRA):
            key = unquote(header[len(_EXTRA) :].decode("latin-1")).lower()
            extra[key] = (*extra.get(key, ()), value)
    groups = tuple(v for h, v in wanted if h == b"impersonate-group")
    return User(name, values.get(b"impersonate-uid", ""), groups, extra)


def _checks(user: User, target: User) -> Iterator[RequestAttributes]:
    def check(
        resource: str, name: str, *, group: str = "", namespace: str = "", subresource: str = ""
    ) -> RequestAttributes:
        return RequestAttributes(user, "impersonate", group, "v1", resource, subresource, namespace, name)

    if account := _service_account(target.name):
        yield check("serviceaccounts", account[1], namespace=account[0])
    else:
        yield check("users", target.name)
    if target.uid:
        yield check("uids", target.uid, group=_AUTHENTICATION_GROUP)
    for group in target.groups:
        yield check("groups", group)
    for key, values in target.extra.items():
        for value in values:
            yield check("userextras", value, group=_AUTHENTICATION_GROUP, subresource=key)


def _service_account(name: str) -> tuple[str, str] | None:
    parts = name.removeprefix(PREFIX).split(":")
    return (parts[0], parts[1]) if name.startswith(PREFIX) and len(parts) == 2 else None


def _completed(target: User) -> User:
    """With the groups that authentication would have added."""
    groups = target.groups
    if not groups and (account := _service_account(target.name)):
        groups = (ALL_GROUP, f"{ALL_GROUP}:{account[0]}")
    known = {AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP}
    if not known.intersection(groups):
        groups = (*groups, UNAUTHENTICATED_GROUP if target.name == ANONYMOUS_NAME else AUTHENTICATED_GROUP)
    return User(target.name, target.uid, groups, target.extra)


def _forbidden(a: RequestAttributes) -> Forbidden:
    what = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
    where = f' in the namespace "{a.namespace}"' if a.namespace else " at the cluster scope"
    return Forbidden(
        f'{what}{"." + a.group if a.group else ""} "{a.name}" is forbidden: User "{a.user.name}" cannot impersonate '
        f'resource "{what}" in API group "{a.group}"{where}',
        name=a.name,
        group=a.group,
        kind=a.resource,
    )
