"""The errors of this runtime's own: each knows the gRPC status it becomes."""

from typing import ClassVar

import grpc


class CriError(Exception):
    """A verb failed. Subclasses say how."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN


class Refused(CriError):
    """What was asked for makes no sense, or cannot be done on this engine."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(CriError):
    code = grpc.StatusCode.NOT_FOUND


class WrongState(CriError):
    """Sensible in another state: exec in a container that does not run, a container for a stopped sandbox."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class AlreadyExists(CriError):
    code = grpc.StatusCode.ALREADY_EXISTS


class Unavailable(CriError):
    code = grpc.StatusCode.UNAVAILABLE


class NotStarted(CriError):
    """A command that could not even be started: it has no exit code."""


class TooSlow(CriError):
    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Denied(CriError):
    code = grpc.StatusCode.PERMISSION_DENIED
