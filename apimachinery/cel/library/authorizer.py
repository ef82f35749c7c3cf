"""Authorization checks: ``authorizer.group('apps').resource('deployments').check('create').allowed()``.

The API server binds the variable ``authorizer`` to an Authorizer whose ``ask`` answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from ..errors import EvaluationError
from ..overloads import function, opaque
from ..values import Opaque
from .formats import DNS_LABEL, DNS_SUBDOMAIN

CHECK_COST = 350_000
"""What upstream charges for one check: an authorizer may be far away."""

_TYPE = "kubernetes.authorization"


@dataclass(frozen=True, slots=True)
class Question:
    """May ``service_account`` (namespace, name), or else the request's user, do ``verb``?"""

    service_account: tuple[str, str] | None = None
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    verb: str = ""


Ask = Callable[[Question], tuple[bool, str]]
"""Answers a question with whether it is allowed, and why."""


@opaque
@dataclass(frozen=True, slots=True)
class Authorizer(Opaque):
    ask: Ask
    service_account: tuple[str, str] | None = None

    cel_type: ClassVar[str] = f"{_TYPE}.Authorizer"


@dataclass(frozen=True, slots=True)
class _Check(Opaque):
    ask: Ask
    question: Question


@opaque
@dataclass(frozen=True, slots=True)
class PathCheck(_Check):
    cel_type: ClassVar[str] = f"{_TYPE}.PathCheck"


@opaque
@dataclass(frozen=True, slots=True)
class GroupCheck(_Check):
    cel_type: ClassVar[str] = f"{_TYPE}.GroupCheck"


@opaque
@dataclass(frozen=True, slots=True)
class ResourceCheck(_Check):
    cel_type: ClassVar[str] = f"{_TYPE}.ResourceCheck"


@opaque
@dataclass(frozen=True, slots=True)
class Decision(Opaque):
    allowed: bool
    reason: str

    cel_type: ClassVar[str] = f"{_TYPE}.Decision"


def _named(value: str, what: str) -> str:
    if not value.strip():
        raise EvaluationError(f"{what} must not be empty")
    return value


@function(f"({_TYPE}.Authorizer).path(string) -> {_TYPE}.PathCheck")
def path(authorizer: Authorizer, where: str) -> PathCheck:
    return PathCheck(authorizer.ask, Question(authorizer.service_account, path=_named(where, "path")))


@function(f"({_TYPE}.Authorizer).group(string) -> {_TYPE}.GroupCheck")
def group(authorizer: Authorizer, name: str) -> GroupCheck:
    return GroupCheck(authorizer.ask, Question(authorizer.service_account, group=name))


@function(f"({_TYPE}.Authorizer).serviceAccount(string, string) -> {_TYPE}.Authorizer")
def service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if DNS_SUBDOMAIN(name):
        raise EvaluationError(f"Invalid service account name: {', '.join(DNS_SUBDOMAIN(name))}")
    if DNS_LABEL(namespace):
        raise EvaluationError(f"Invalid service account namespace: {', '.join(DNS_LABEL(namespace))}")
    return Authorizer(authorizer.ask, (namespace, name))


@function(f"({_TYPE}.GroupCheck).resource(string) -> {_TYPE}.ResourceCheck")
def resource(check: GroupCheck, name: str) -> ResourceCheck:
    return ResourceCheck(check.ask, replace(check.question, resource=_named(name, "resource")))


@function(f"({_TYPE}.ResourceCheck).subresource(string) -> {_TYPE}.ResourceCheck")
def subresource(check: ResourceCheck, name: str) -> ResourceCheck:
    return ResourceCheck(check.ask, replace(check.question, subresource=name))


@function(f"({_TYPE}.ResourceCheck).namespace(string) -> {_TYPE}.ResourceCheck")
def namespace(check: ResourceCheck, name: str) -> ResourceCheck:
    return ResourceCheck(check.ask, replace(check.question, namespace=name))


@function(f"({_TYPE}.ResourceCheck).name(string) -> {_TYPE}.ResourceCheck")
def name_of(check: ResourceCheck, name: str) -> ResourceCheck:
    return ResourceCheck(check.ask, replace(check.question, name=name))


@function(
    f"({_TYPE}.ResourceCheck).fieldSelector(string) -> {_TYPE}.ResourceCheck",
    f"({_TYPE}.ResourceCheck).labelSelector(string) -> {_TYPE}.ResourceCheck",
)
def selector(check: ResourceCheck, text: str) -> ResourceCheck:
    """No authorizer here looks at selectors, so they change no answer."""
    return check


@function(
    f"({_TYPE}.PathCheck).check(string) -> {_TYPE}.Decision",
    f"({_TYPE}.ResourceCheck).check(string) -> {_TYPE}.Decision",
    cost=lambda check, verb: CHECK_COST,
)
def check_verb(check: _Check, verb: str) -> Decision:
    return Decision(*check.ask(replace(check.question, verb=verb)))


@function(f"({_TYPE}.Decision).allowed() -> bool")
def allowed(decision: Decision) -> bool:
    return decision.allowed


@function(f"({_TYPE}.Decision).reason() -> string")
def reason(decision: Decision) -> str:
    return decision.reason


@function(f"({_TYPE}.Decision).errored() -> bool")
def errored(decision: Decision) -> bool:
    """Never: the authorizers answer from caches."""
    return False


@function(f"({_TYPE}.Decision).error() -> string")
def error(decision: Decision) -> str:
    return ""
