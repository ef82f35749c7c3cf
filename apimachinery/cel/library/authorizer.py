"""Authorization checks: ``authorizer.group('apps').resource('deployments').check('create').allowed()``.

The API server binds the variable ``authorizer`` to an Authorizer whose ``ask`` answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..errors import EvaluationError
from ..overloads import declare, declare_all, opaque
from ..values import Opaque
from .formats import DNS_LABEL, DNS_SUBDOMAIN

_CHECK_WORK = 500
"""Steps: the authorizer answers in the same process."""
_A = "kubernetes.authorization"


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

    cel_type: ClassVar[str] = f"{_A}.Authorizer"


@dataclass(frozen=True, slots=True)
class Check(Opaque):
    """A question that is not complete yet."""

    ask: Ask
    question: Question


@opaque
class PathCheck(Check):
    cel_type: ClassVar[str] = f"{_A}.PathCheck"


@opaque
class GroupCheck(Check):
    cel_type: ClassVar[str] = f"{_A}.GroupCheck"


@opaque
class ResourceCheck(Check):
    cel_type: ClassVar[str] = f"{_A}.ResourceCheck"


@opaque
@dataclass(frozen=True, slots=True)
class Decision(Opaque):
    allowed: bool
    reason: str

    cel_type: ClassVar[str] = f"{_A}.Decision"


def _named(value: str, what: str) -> str:
    if not value.strip():
        raise EvaluationError(f"{what} must not be empty")
    return value


def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if DNS_SUBDOMAIN(name):
        raise EvaluationError(f"Invalid service account name: {', '.join(DNS_SUBDOMAIN(name))}")
    if DNS_LABEL(namespace):
        raise EvaluationError(f"Invalid service account namespace: {', '.join(DNS_LABEL(namespace))}")
    return Authorizer(authorizer.ask, (namespace, name))


def _narrow(check: Check, **fields: Any) -> ResourceCheck:
    return ResourceCheck(check.ask, replace(check.question, **fields))


_R = f"{_A}.ResourceCheck"
declare_all(
    {
        f"({_A}.Authorizer).path(string) -> {_A}.PathCheck": lambda a, path: PathCheck(
            a.ask, Question(a.service_account, path=_named(path, "path"))
        ),
        f"({_A}.Authorizer).group(string) -> {_A}.GroupCheck": lambda a, group: GroupCheck(
            a.ask, Question(a.service_account, group=group)
        ),
        f"({_A}.Authorizer).serviceAccount(string, string) -> {_A}.Authorizer": _service_account,
        f"({_A}.GroupCheck).resource(string) -> {_R}": lambda c, name: _narrow(c, resource=_named(name, "resource")),
        f"({_R}).subresource(string) -> {_R}": lambda c, name: _narrow(c, subresource=name),
        f"({_R}).namespace(string) -> {_R}": lambda c, name: _narrow(c, namespace=name),
        f"({_R}).name(string) -> {_R}": lambda c, name: _narrow(c, name=name),
        # No authorizer here looks at selectors, so they change no answer.
        f"({_R}).fieldSelector(string) -> {_R}": lambda c, text: c,
        f"({_R}).labelSelector(string) -> {_R}": lambda c, text: c,
        f"({_A}.Decision).allowed() -> bool": lambda d: d.allowed,
        f"({_A}.Decision).reason() -> string": lambda d: d.reason,
        # The authorizers answer from caches: there are no errors.
        f"({_A}.Decision).errored() -> bool": lambda d: False,
        f"({_A}.Decision).error() -> string": lambda d: "",
    }
)
declare(
    f"({_A}.PathCheck).check(string) -> {_A}.Decision",
    f"({_R}).check(string) -> {_A}.Decision",
    call=lambda c, verb: Decision(*c.ask(replace(c.question, verb=verb))),
    work=lambda c, verb: _CHECK_WORK,
)
