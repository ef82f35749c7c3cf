"""One request on its way into the audit log, and the events that come of it."""

import datetime
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import yaml

from apimachinery import protobuf
from apimachinery.errors import ApiError
from apimachinery.memo import Memo

from ..auth.authorizer import Authorizer, RequestAttributes
from ..auth.reviews import user_info
from ..auth.user import User
from .policy import Level, Policy, Verdict

Object = dict[str, Any]
_WRITES = ("create", "update", "patch")
_GZIP = b"\x1f\x8b"
Emit = Callable[["Event"], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from. ``impersonator``: who it really was, where it acts as another."""

    audit_id: str
    uri: str
    addresses: tuple[str, ...] = ()
    agent: str = ""
    impersonator: User | None = None


@dataclass(slots=True)
class Event:
    """What a sink gets: ready but for the bodies, which its thread decodes. ``size`` is about its bytes."""

    document: Object
    verdict: Verdict
    request: tuple[str, bytes] = ("", b"")
    response: bytes = b""

    @property
    def size(self) -> int:
        return 1000 + len(self.request[1]) + len(self.response)

    def finished(self) -> bytes:
        """The event as one line of JSON."""
        document, level = dict(self.document), self.verdict.level  # other sinks have the same event
        sent = _decoded(*self.request)
        if isinstance(sent, dict) and "objectRef" in document:
            document["objectRef"] = _completed(document["objectRef"], sent.get("metadata"))
        for key, body, from_ in (
            ("requestObject", sent, Level.request),
            ("responseObject", _decoded("", self.response), Level.request_response),
        ):
            if level >= from_ and body is not None:
                document[key] = _without_managers(body) if self.verdict.omit_managed_fields else body
        return orjson.dumps(document)


class Record:
    """A request that is recorded. ``annotations`` may be added to until it is complete."""

    __slots__ = ("_about", "_authorizer", "_base", "_emit", "_verdict", "annotations", "media", "sent")

    def __init__(
        self, about: RequestAttributes, origin: Origin, verdict: Verdict, authorizer: Authorizer, emit: Emit
    ) -> None:
        self._about, self._verdict, self._authorizer, self._emit = about, verdict, authorizer, emit
        self._base = _base(about, origin, verdict)
        self.annotations: dict[str, str] = {}
        self.media, self.sent = "", b""
        self._stage("RequestReceived")

    @property
    def wants_response(self) -> bool:
        """Whether the response's body is recorded."""
        return self._verdict.level >= Level.request_response

    def started(self, code: int) -> None:
        """A response that lasts has begun."""
        self._stage("ResponseStarted", responseStatus={"metadata": {}, "code": code})

    def complete(self, code: int, error: ApiError | None = None, response: bytes = b"") -> None:
        status: Object = {"metadata": {}, "code": code}
        if error is not None:
            told = error.to_status()
            keys = ("status", "reason") if self._quotes(code) else ("status", "message", "reason", "details")
            status |= {key: told[key] for key in keys if key in told}
        decision = self._authorizer.authorize(self._about)
        annotations = {
            "authorization.k8s.io/decision": "allow" if decision.allowed else "forbid",
            "authorization.k8s.io/reason": decision.reason,
            **{k: v for k, v in self.annotations.items() if self._may_tell(k)},
        }
        self._stage("ResponseComplete", response, responseStatus=status, annotations=annotations)

    def _quotes(self, code: int) -> bool:
        """Whether a refusal may have a part of a body in it that is not to be recorded."""
        return self._verdict.level < Level.request and self._about.verb in _WRITES and code in (400, 422)

    def _may_tell(self, annotation: str) -> bool:
        """What a webhook has patched is part of the request's body, and only told where that is."""
        return self._verdict.level >= Level.request or not annotation.startswith("patch.webhook.admission.k8s.io/")

    def _stage(self, stage: str, response: bytes = b"", **more: Any) -> None:
        if stage in self._verdict.omitted:
            return
        document = {**self._base, "stage": stage, "stageTimestamp": _now(), **more}
        complete = stage == "ResponseComplete"
        self._emit(Event(document, self._verdict, (self.media, self.sent) if complete else ("", b""), response))


@dataclass(slots=True)
class Auditor:
    """``emit`` hands an event to the sinks and returns at once."""

    policy: Policy
    authorizer: Authorizer
    emit: Emit
    _known: Memo[tuple[Any, ...], Verdict] = field(default_factory=lambda: Memo(8192))

    def begin(self, about: RequestAttributes, origin: Callable[[], Origin]) -> Record | None:
        """A record of the request, if the policy wants one."""
        a = about
        who = (a.user.name, a.user.groups)
        key = (*who, a.verb, a.group, a.resource, a.subresource, a.namespace, a.name, a.path)
        verdict = self._known.get(key)
        if verdict is None:
            verdict = self._known.keep(key, self.policy.verdict(about))
        return Record(about, origin(), verdict, self.authorizer, self.emit) if verdict.level else None


def _base(about: RequestAttributes, origin: Origin, verdict: Verdict) -> Object:
    """What all events of a request have."""
    user = about.user
    document: Object = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": verdict.level.text,
        "auditID": origin.audit_id,
        "requestURI": origin.uri,
        "verb": about.verb,
        "user": user_info(origin.impersonator or user),
        "sourceIPs": list(origin.addresses),
        "userAgent": origin.agent,
        "requestReceivedTimestamp": _now(),
    }
    if origin.impersonator is not None:
        document["impersonatedUser"] = user_info(user)
    if about.resource:
        ref = {
            "resource": about.resource,
            "namespace": about.namespace,
            "name": about.name,
            "apiGroup": about.group,
            "apiVersion": about.version,
            "subresource": about.subresource,
        }
        document["objectRef"] = {key: value for key, value in ref.items() if value}
    return document


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _decoded(media: str, body: bytes) -> Any:
    """A body as JSON-shaped; None if it is empty or nothing that can be decoded."""
    if not body:
        return None
    try:
        if media == protobuf.CONTENT_TYPE:
            return protobuf.decode(body)
        if body.startswith(_GZIP):
            body = gzip.decompress(body)
        return yaml.safe_load(body) if "yaml" in media else orjson.loads(body)
    except (ApiError, ValueError, OSError, EOFError, yaml.YAMLError):
        return None


def _completed(ref: Object, metadata: object) -> Object:
    """With what a create's path does not tell of its object."""
    if not isinstance(metadata, dict):
        return ref
    return {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion") if metadata.get(key)} | ref


def _without_managers(body: Any) -> Any:
    """The object, or the list's items, without managedFields."""
    if not isinstance(body, Mapping):
        return body
    body = dict(body)
    if isinstance(body.get("metadata"), dict):
        body["metadata"] = {k: v for k, v in body["metadata"].items() if k != "managedFields"}
    if isinstance(body.get("items"), list):
        body["items"] = [_without_managers(item) for item in body["items"]]
    return body
