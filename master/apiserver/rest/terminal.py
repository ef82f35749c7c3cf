"""Exec and attach: a node agent's stream on one side, a client's channels on the other.

What differs between WebSocket and SPDY is behind ``TerminalSide``; bytes flow here.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import orjson

from apimachinery.errors import BadRequest, InternalError, from_status
from protos.kubeto.v1 import node_pb2 as pb

from .node_agents import agent_error
from .pod_target import PodTarget
from .query import Query

SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}

Call = Any
"""A gRPC stream-stream call; grpc's stubs have no common type for one with these messages."""


@dataclass(frozen=True, slots=True)
class TerminalOptions:
    """PodExecOptions and PodAttachOptions."""

    container: str
    command: tuple[str, ...]
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    @classmethod
    def parse(cls, query: Query, *, exec_: bool) -> "TerminalOptions":
        """Raises BadRequest for a combination that means nothing."""
        options = cls(
            container=query.text("container"),
            command=query.texts("command"),
            stdin=query.flag("stdin"),
            stdout=query.flag("stdout", default=not exec_),
            stderr=query.flag("stderr", default=not exec_),
            tty=query.flag("tty"),
        )
        if exec_ and not options.command:
            raise BadRequest("you must specify at least 1 of stdin, stdout, stderr and a command for the container")
        if not (options.stdin or options.stdout or options.stderr):
            raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
        return options

    def open(self, target: PodTarget) -> pb.TerminalInput:
        opening = pb.TerminalOpen(
            node=target.node,
            namespace=target.namespace,
            pod=target.pod,
            pod_uid=target.uid,
            container=target.container,
            command=self.command,
            stdin=self.stdin,
            stdout=self.stdout,
            stderr=self.stderr and not self.tty,
            tty=self.tty,
        )
        return pb.TerminalInput(open=opening)


class TerminalSide(Protocol):
    """The client: what it sends, and where its output goes."""

    def inputs(self) -> AsyncIterator[pb.TerminalInput]:
        """Ends when the client has gone away; a client that only ends its stdin says so by ``close_stdin``."""
        ...

    async def output(self, stderr: bool, data: bytes) -> None: ...

    async def finish(self, status: dict[str, Any]) -> None:
        """Report how it ended, and close."""
        ...


async def start(call: Call, opening: pb.TerminalInput, node: str) -> None:
    """Send the opening and wait until the command runs. Raises ApiError: nothing was sent to the client yet."""
    try:
        await call.write(opening)
        first = await call.read()
    except grpc.aio.AioRpcError as error:
        raise agent_error(error, node) from error
    output = first.WhichOneof("output") if isinstance(first, pb.TerminalOutput) else None
    if output == "opened":
        return
    call.cancel()
    if output == "status":
        raise from_status(orjson.loads(first.status))
    raise InternalError(f'the agent of node "{node}" answered with {output!r} where it should have opened')


async def bridge(call: Call, side: TerminalSide, node: str) -> None:
    """Carry bytes both ways until the command has ended or the client has gone."""
    feeding = asyncio.create_task(_feed(call, side), name="terminal-input")
    carrying = asyncio.create_task(_carry(call, side, node), name="terminal-output")
    try:
        await asyncio.wait((feeding, carrying), return_when=asyncio.FIRST_COMPLETED)
        if carrying.done():
            await side.finish(carrying.result())
    finally:
        for task in (feeding, carrying):
            task.cancel()
        call.cancel()
        await asyncio.gather(feeding, carrying, return_exceptions=True)


async def _feed(call: Call, side: TerminalSide) -> None:
    # When the command has ended the call takes no more; the output side tells the client how.
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        async for message in side.inputs():
            await call.write(message)
        return
    await asyncio.Event().wait()


async def _carry(call: Call, side: TerminalSide, node: str) -> dict[str, Any]:
    """The Status that the agent ends with."""
    try:
        while isinstance(message := await call.read(), pb.TerminalOutput):
            match message.WhichOneof("output"):
                case "stdout":
                    await side.output(False, message.stdout)
                case "stderr":
                    await side.output(True, message.stderr)
                case "status":
                    return dict(orjson.loads(message.status)) if message.status else SUCCESS
    except grpc.aio.AioRpcError as error:
        return agent_error(error, node).to_status()
    return InternalError(f'the agent of node "{node}" ended the stream without a status').to_status()
