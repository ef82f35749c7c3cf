"""The review APIs: questions to authentication and authorization, answered and never stored.

Source: the API reference of authentication.k8s.io/v1 and authorization.k8s.io/v1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from apimachinery.errors import BadRequest, Cause, Invalid

from ..registry.answers import Answers, Question
from .authenticator import Authenticators
from .authorizer import Authorizer, RequestAttributes
from .rbac import RbacAuthorizer
from .rbac_rules import Rule
from .user import User

Object = dict[str, Any]
_AUTHENTICATION, _AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"


class Reviews:
    """``answers`` maps each kind of review to what answers it."""

    def __init__(self, authenticators: Authenticators, authorizer: Authorizer, rbac: RbacAuthorizer) -> None:
        self._authenticators, self._authorizer, self._rbac = authenticators, authorizer, rbac

    def answers(self) -> Answers:
        return {
            (_AUTHENTICATION, "tokenreviews", ""): self._token,
            (_AUTHENTICATION, "selfsubjectreviews", ""): self._self,
            (_AUTHORIZATION, "subjectaccessreviews", ""): self._subject_access,
            (_AUTHORIZATION, "localsubjectaccessreviews", ""): self._local_access,
            (_AUTHORIZATION, "selfsubjectaccessreviews", ""): self._self_access,
            (_AUTHORIZATION, "selfsubjectrulesreviews", ""): self._self_rules,
        }

    async def _token(self, question: Question) -> Object:
        spec = question.body.get("spec") or {}
        if not spec.get("token"):
            raise BadRequest("token is required for TokenReview in authentication")
        wanted = spec.get("audiences") or ()
        verdict = await self._authenticators.review_token(spec["token"], wanted)
        if verdict is None:
            status: Object = {"authenticated": False, "error": "invalid bearer token", "user": {}}
        else:
            status = {"authenticated": True, "user": user_info(verdict.user), "audiences": list(verdict.audiences)}
        return question.body | {"status": status}

    async def _self(self, question: Question) -> Object:
        return question.body | {"status": {"userInfo": user_info(question.user)}}

    async def _subject_access(self, question: Question) -> Object:
        return self._access(question, _subject(question.body.get("spec") or {}))

    async def _local_access(self, question: Question) -> Object:
        spec = question.body.get("spec") or {}
        namespace = (spec.get("resourceAttributes") or {}).get("namespace", "")
        if namespace != question.namespace:
            raise _invalid(question, "spec.resourceAttributes.namespace", f"must match {question.namespace}", namespace)
        return self._access(question, _subject(spec))

    async def _self_access(self, question: Question) -> Object:
        return self._access(question, question.user)

    def _access(self, question: Question, user: User | None) -> Object:
        spec = question.body.get("spec") or {}
        if bool(spec.get("resourceAttributes")) == bool(spec.get("nonResourceAttributes")):
            message = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            raise _invalid(question, "spec.resourceAttributes", message, spec.get("resourceAttributes"))
        if user is None:
            raise _invalid(question, "spec.user", "at least one of user or group must be specified", "")
        decision = self._authorizer.authorize(attributes(user, spec))
        status: Object = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        return question.body | {"status": status}

    async def _self_rules(self, question: Question) -> Object:
        namespace = (question.body.get("spec") or {}).get("namespace", "")
        if not namespace:
            raise BadRequest("no namespace on request")
        rules = self._rbac.rules_for(question.user, namespace)
        return question.body | {"status": rules_status(rules)}


def attributes(user: User, spec: Mapping[str, Any]) -> RequestAttributes:
    """What an access review's spec asks of the authorizer."""
    if path := spec.get("nonResourceAttributes"):
        return RequestAttributes(user, path.get("verb", ""), path=path.get("path", ""))
    wanted = spec.get("resourceAttributes") or {}
    keys = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
    return RequestAttributes(user, *(wanted.get(key, "") for key in keys))


def user_info(user: User) -> Object:
    """The user as authentication.k8s.io/v1 UserInfo."""
    info: Object = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    info = {key: value for key, value in info.items() if value}
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


def rules_status(rules: Sequence[Rule]) -> Object:
    """SubjectRulesReviewStatus: resource rules and path rules apart."""
    found = [rule.to_json() for rule in rules]
    return {
        "resourceRules": [rule for rule in found if "nonResourceURLs" not in rule],
        "nonResourceRules": [rule for rule in found if "nonResourceURLs" in rule],
        "incomplete": False,
    }


def _subject(spec: Mapping[str, Any]) -> User | None:
    """The user that a review is about; None if it names neither user nor groups."""
    groups = tuple(spec.get("groups") or ())
    if not spec.get("user") and not groups:
        return None
    extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return User(spec.get("user", ""), spec.get("uid", ""), groups, extra)


def _invalid(question: Question, field: str, message: str, value: object) -> Invalid:
    kind = question.kind
    text = f"Invalid value: {value!r}: {message}" if isinstance(value, str) else f"Invalid value: {message}"
    return Invalid(
        f'{kind.kind}.{kind.group} "" is invalid: {field}: {text}',
        group=kind.group,
        kind=kind.kind,
        causes=[Cause("FieldValueInvalid", text, field)],
    )
