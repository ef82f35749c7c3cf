"""What every CRI method shares: it ends what it began, and its errors become gRPC statuses."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc

from apimachinery.logging import get_logger
from node.cri_docker.engine import EngineError
from node.cri_docker.refusal import CriError

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Service = TypeVar("Service")
_ENGINE_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    503: grpc.StatusCode.UNAVAILABLE,
}
log = get_logger(__name__)
_under_way: set[asyncio.Task[Any]] = set()


Method = Callable[[Service, Request, Any], Awaitable[Reply]]


def verb(method: Method[Service, Request, Reply]) -> Method[Service, Request, Reply]:
    """A caller that goes away does not stop the work half done: its repetition finds the result."""
    return _method(method, shielded=True)


def interruptible(method: Method[Service, Request, Reply]) -> Method[Service, Request, Reply]:
    """The work ends with its caller."""
    return _method(method, shielded=False)


def _method(method: Method[Service, Request, Reply], *, shielded: bool) -> Method[Service, Request, Reply]:
    @functools.wraps(method)
    async def call(self: Service, request: Request, context: Any) -> Reply:
        async def work() -> Reply:
            return await method(self, request, context)

        task = asyncio.get_running_loop().create_task(work(), name=method.__name__)
        _under_way.add(task)
        task.add_done_callback(_ended)
        try:
            return await (asyncio.shield(task) if shielded else task)
        except CriError as error:
            await context.abort(error.code, str(error))
        except EngineError as error:
            code = _ENGINE_STATUS.get(error.status, grpc.StatusCode.UNKNOWN)
            await context.abort(code, error.message)
        except Exception as error:  # the network's errors are its own; whatever else it is, the caller learns it
            await context.abort(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}")
        raise AssertionError("abort raises")

    return call


async def refuse(method: str, context: Any) -> NoReturn:
    """A method this runtime does not have."""
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not supported by the Docker runtime")
    raise AssertionError("abort raises")


async def drain() -> None:
    """Wait for the verbs under way."""
    if _under_way:
        await asyncio.wait(_under_way)


def _ended(task: "asyncio.Task[Any]") -> None:
    _under_way.discard(task)
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, CriError | EngineError):
        log.debug("Verb failed", verb=task.get_name(), error=error)
    else:
        log.error("Verb broke", verb=task.get_name(), error=repr(error))
