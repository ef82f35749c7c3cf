"""Which FlowSchema a request belongs to: the matching one of the lowest precedence. Pure.

Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#flowschema
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apimachinery.errors import InternalError

from ..auth.authorizer import RequestAttributes
from ..auth.service_account import PREFIX
from ..auth.user import User

Object = Mapping[str, Any]
ALL = "*"


@dataclass(frozen=True, slots=True)
class Schema:
    """A FlowSchema, ready to match. ``by`` is what tells its flows apart: ByUser, ByNamespace or ""."""

    name: str
    uid: str
    level: str
    precedence: int
    by: str
    rules: tuple[Object, ...]

    @classmethod
    def of(cls, obj: Object) -> "Schema":
        meta, spec = obj["metadata"], obj.get("spec") or {}
        return cls(
            meta["name"],
            meta.get("uid", ""),
            (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
            spec.get("matchingPrecedence", 1000),
            (spec.get("distinguisherMethod") or {}).get("type", ""),
            tuple(spec.get("rules") or ()),
        )

    def matches(self, a: RequestAttributes) -> bool:
        return any(_subjects(rule, a.user) and _request(rule, a) for rule in self.rules)

    def flow(self, a: RequestAttributes) -> str:
        """What distinguishes the request's flow from the schema's others."""
        if self.by == "ByUser":
            return a.user.name
        return a.namespace if self.by == "ByNamespace" else ""


def order(schemas: Iterable[Schema]) -> list[Schema]:
    """In the order in which they are asked; names decide between equal precedences."""
    return sorted(schemas, key=lambda s: (s.precedence, s.name))


def first(schemas: Iterable[Schema], a: RequestAttributes) -> Schema:
    """Raises InternalError if none matches: the catch-all schema is there to prevent that."""
    for schema in schemas:
        if schema.matches(a):
            return schema
    raise InternalError("no FlowSchema matches the request, not even catch-all")


def _subjects(rule: Object, user: User) -> bool:
    return any(_subject(subject, user) for subject in rule.get("subjects") or ())


def _subject(subject: Object, user: User) -> bool:
    match subject.get("kind"):
        case "User":
            return (subject.get("user") or {}).get("name") in (ALL, user.name)
        case "Group":
            name = (subject.get("group") or {}).get("name")
            return name == ALL or name in user.groups
        case "ServiceAccount":
            account = subject.get("serviceAccount") or {}
            namespace, _, name = user.name.removeprefix(PREFIX).partition(":")
            is_account = user.name.startswith(PREFIX) and namespace == account.get("namespace")
            return is_account and account.get("name") in (ALL, name)
    return False


def _request(rule: Object, a: RequestAttributes) -> bool:
    if not a.resource:
        return any(_path(part, a) for part in rule.get("nonResourceRules") or ())
    return any(_resource(part, a) for part in rule.get("resourceRules") or ())


def _resource(rule: Object, a: RequestAttributes) -> bool:
    wanted = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
    resources = rule.get("resources") or ()
    if a.namespace:
        namespaces = rule.get("namespaces") or ()
        here = ALL in namespaces or a.namespace in namespaces
    else:
        here = bool(rule.get("clusterScope"))
    return (
        here
        and _among(a.verb, rule.get("verbs"))
        and _among(a.group, rule.get("apiGroups"))
        and (_among(wanted, resources) or (bool(a.subresource) and f"*/{a.subresource}" in resources))
    )


def _path(rule: Object, a: RequestAttributes) -> bool:
    urls = rule.get("nonResourceURLs") or ()
    return _among(a.verb, rule.get("verbs")) and any(
        url in (ALL, a.path) or (url.endswith("/*") and a.path.startswith(url[:-1])) for url in urls
    )


def _among(value: str, values: Iterable[str] | None) -> bool:
    return values is not None and (value in values or ALL in values)
