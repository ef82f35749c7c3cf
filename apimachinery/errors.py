"""The one tree of API errors, and its two-way street to ``metav1.Status``.

Inside a process an error is an exception of this tree; on every wire (REST body, gRPC result, watch ERROR
event) it is a Status. ``from_status`` of ``to_status`` gives back an equal error. Codes and reasons are
those of ``k8s.io/apimachinery/pkg/api/errors``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why one field is wrong: ``field`` is a path such as ``spec.ports[0].port``."""

    reason: str
    message: str
    field: str = ""

    def to_json(self) -> dict[str, str]:
        out = {"reason": self.reason, "message": self.message, "field": self.field}
        return {key: value for key, value in out.items() if value}


class ApiError(Exception):
    """An error with a Kubernetes Status.

    ``kind`` in ``details`` is the resource (plural) as upstream's errors have it, except for Invalid, which
    carries the kind.
    """

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        group: str = "",
        kind: str = "",
        uid: str = "",
        causes: Iterable[Cause] = (),
        retry_after_seconds: int = 0,
        metadata: Mapping[str, Any] | None = None,
        code: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.name, self.group, self.kind, self.uid = name, group, kind, uid
        self.causes = tuple(causes)
        self.retry_after_seconds = retry_after_seconds
        self.metadata = dict(metadata or {})
        self.status_code = self.code if code is None else code
        self.status_reason = self.reason if reason is None else reason

    def to_status(self) -> Status:
        about = {"name": self.name, "group": self.group, "kind": self.kind, "uid": self.uid}
        details: dict[str, Any] = {key: value for key, value in about.items() if value}
        if self.causes:
            details["causes"] = [c.to_json() for c in self.causes]
        if self.retry_after_seconds:
            details["retryAfterSeconds"] = self.retry_after_seconds
        status: Status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "code": self.status_code,
        }
        if self.status_reason:
            status["reason"] = self.status_reason
        if details:
            status["details"] = details
        return status


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class Expired(ApiError):
    """The resource version or continue token is older than what is kept: list again."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class NotImplementedByServer(ApiError):
    """Upstream has this and Kubeto does not; the message names what."""

    code, reason = 501, "NotImplemented"


class ServiceUnavailable(ApiError):
    """The server, or the etcd or node behind it, does not answer now. Trying again is right."""

    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    code, reason = 504, "Timeout"


_BY_REASON: dict[str, type[ApiError]] = {c.reason: c for c in ApiError.__subclasses__()}
_BY_CODE: dict[int, type[ApiError]] = {c.code: c for c in reversed(ApiError.__subclasses__())} | {409: Conflict}


def from_status(status: Mapping[str, Any]) -> ApiError:
    """The error that a Status tells of. An unknown reason falls back on the code, then on ApiError."""
    details = status.get("details") or {}
    code = int(status.get("code") or 500)
    reason = str(status.get("reason") or "")
    cls = _BY_REASON.get(reason) or _BY_CODE.get(code) or ApiError
    return cls(
        str(status.get("message") or reason or f"HTTP {code}"),
        name=details.get("name", ""),
        group=details.get("group", ""),
        kind=details.get("kind", ""),
        uid=details.get("uid", ""),
        causes=[
            Cause(c.get("reason", ""), c.get("message", ""), c.get("field", "")) for c in details.get("causes") or ()
        ],
        retry_after_seconds=int(details.get("retryAfterSeconds") or 0),
        metadata=status.get("metadata"),
        code=code,
        reason=reason,
    )
