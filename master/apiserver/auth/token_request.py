"""``serviceaccounts/token``: a signed token on request, bound to a pod, secret or node if asked.

A node agent gets tokens only for pods that run on it. Source: KEP-1205 (bound tokens), KEP-4193 (node in the token).
"""

import datetime
from typing import Any

from apimachinery import scheme
from apimachinery.errors import BadRequest, Cause, Conflict, Forbidden, Invalid, NotFound
from apimachinery.scheme import Kind

from ..registry.answers import Question
from ..registry.reader import Object, Reader
from .node_authorizer import node_name
from .service_account import BoundObject, TokenIssuer

DEFAULT_SECONDS = 3600
MIN_SECONDS = 600
MAX_SECONDS = 1 << 32
_BINDABLE = {"Pod": scheme.PODS, "Secret": scheme.SECRETS, "Node": scheme.NODES}


class TokenRequests:
    """Answers creates on serviceaccounts/token."""

    def __init__(self, reader: Reader, issuer: TokenIssuer, audiences: tuple[str, ...]) -> None:
        self._reader, self._issuer, self._audiences = reader, issuer, audiences

    async def __call__(self, question: Question) -> Object:
        spec: Object = question.body.get("spec") or {}
        seconds = _lifetime(spec)
        account = await self._get(scheme.SERVICE_ACCOUNTS, question.namespace, question.name)
        bound = await self._bound(question, spec.get("boundObjectRef"))
        audiences = spec.get("audiences") or list(self._audiences)
        token, expires = self._issuer.issue(account, audiences, seconds, bound)
        stamp = datetime.datetime.fromtimestamp(expires, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta = (question.body.get("metadata") or {}) | {"name": question.name, "namespace": question.namespace}
        return question.body | {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": meta,
            "spec": spec | {"audiences": audiences, "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": stamp},
        }

    async def _bound(self, question: Question, ref: Object | None) -> list[BoundObject]:
        node = node_name(question.user)
        if not ref:
            if node:
                raise _forbidden(question, "node requested token not bound to a pod")
            return []
        kind = _BINDABLE.get(ref.get("kind", ""))
        if kind is None:
            raise BadRequest(f"cannot bind token for serviceaccount to object of type {ref.get('kind', '')!r}")
        found = await self._get(kind, "" if kind is scheme.NODES else question.namespace, ref.get("name", ""))
        uid: str = found["metadata"]["uid"]
        if ref.get("uid") and ref["uid"] != uid:
            message = f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record ({uid})"
            raise Conflict(message, name=ref.get("name", ""), kind=kind.resource)
        bound = [BoundObject(kind.kind.lower(), found["metadata"]["name"], uid)]
        if kind is scheme.PODS:
            return bound + self._node_of(question, found)
        if node:
            raise _forbidden(question, "node requested token not bound to a pod")
        return bound

    def _node_of(self, question: Question, pod: Object) -> list[BoundObject]:
        spec: Object = pod.get("spec") or {}
        if (spec.get("serviceAccountName") or "default") != question.name:
            raise BadRequest(
                f"cannot bind token for serviceaccount {question.name!r} to pod running with different "
                f"serviceaccount name {spec.get('serviceAccountName', '')!r}"
            )
        node, asking = spec.get("nodeName", ""), node_name(question.user)
        if asking and asking != node:
            raise _forbidden(question, "node requested token bound to a pod scheduled on a different node")
        found = self._reader.get(scheme.NODES, "", node) if node else None
        # A node that is not registered (any more) still names the pod's place; it has no uid to check by.
        uid: str = found["metadata"]["uid"] if found else ""
        return [BoundObject("node", node, uid)] if node else []

    async def _get(self, kind: Kind, namespace: str, name: str) -> Object:
        found = self._reader.get(kind, namespace, name) or await self._reader.get_consistent(kind, namespace, name)
        if found is None:
            raise NotFound(f'{kind.group_resource} "{name}" not found', name=name, group=kind.group, kind=kind.resource)
        return found


def _lifetime(spec: Object) -> int:
    """Seconds. Raises Invalid outside of ten minutes to 136 years."""
    seconds: Any = spec.get("expirationSeconds", DEFAULT_SECONDS)
    if seconds < MIN_SECONDS:
        problem = "may not specify a duration less than 10 minutes"
    elif seconds > MAX_SECONDS:
        problem = "may not specify a duration larger than 2^32 seconds"
    else:
        return int(seconds)
    text = f"Invalid value: {seconds}: {problem}"
    cause = Cause("FieldValueInvalid", text, "spec.expirationSeconds")
    message = f'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: {text}'
    raise Invalid(message, group="authentication.k8s.io", kind="TokenRequest", causes=[cause])


def _forbidden(question: Question, why: str) -> Forbidden:
    return Forbidden(
        f'serviceaccounts "{question.name}" is forbidden: {why}', name=question.name, kind="serviceaccounts"
    )
