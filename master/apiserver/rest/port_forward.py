"""Port-forward: pairs of client streams (data, error), each carried by one gRPC stream to the pod's node.

Two forms: SPDY streams with headers ``port`` and ``requestID`` (kubectl, old and new), and the WebSocket channel
protocol of v4, two channels a port (Python clients).

Source: ``k8s.io/kubelet/pkg/cri/streaming/portforward/{httpstream,websocket}.go``.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import grpc

from apimachinery.errors import ApiError, BadRequest
from apimachinery.spdy import Connection, SpdyError, Stream
from protos.kubeto.v1 import node_pb2 as pb

from .node_agents import agent_error
from .pod_target import PodTarget
from .websocket import Channels

PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = f"SPDY/3.1+{PROTOCOL}"
CHANNEL_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")
_MAX_PENDING = 100

Dial = Callable[[], Any]
"""Opens a PortForward call to the node's agent."""


class ForwardSide(Protocol):
    """One forwarded connection as the client has it."""

    def inputs(self) -> AsyncIterator[bytes]:
        """What the client sends; ends when it has closed its side."""
        ...

    async def output(self, data: bytes) -> None: ...

    async def fail(self, message: str) -> None: ...

    async def end(self) -> None:
        """The pod has closed its side."""
        ...


async def forward(dial: Dial, target: PodTarget, port: int, side: ForwardSide) -> None:
    """Carry one connection until the pod's side has ended. What goes wrong is told to the client."""
    call = dial()
    opening = pb.PortForwardOpen(
        node=target.node, namespace=target.namespace, pod=target.pod, pod_uid=target.uid, port=port
    )
    feeding: asyncio.Task[None] | None = None
    try:
        await call.write(pb.PortForwardData(open=opening))
        feeding = asyncio.create_task(_feed(call, side), name="port-forward-input")
        while isinstance(message := await call.read(), pb.PortForwardData):
            match message.WhichOneof("data"):
                case "payload":
                    await side.output(message.payload)
                case "error":
                    await side.fail(message.error)
                    break
                case "close":
                    break
    except grpc.aio.AioRpcError as error:
        await side.fail(f"error forwarding port {port} to pod {target.pod}: {agent_error(error, target.node)}")
    except (SpdyError, OSError):
        # The client has gone; its own end knows.
        return
    finally:
        if feeding is not None:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        call.cancel()
        with contextlib.suppress(SpdyError, OSError):
            await side.end()


async def _feed(call: Any, side: ForwardSide) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, SpdyError):
        async for data in side.inputs():
            await call.write(pb.PortForwardData(payload=data))
        await call.write(pb.PortForwardData(close=True))


class SpdyForward:
    """A ``ForwardSide`` over a pair of SPDY streams."""

    def __init__(self, data: Stream, error: Stream) -> None:
        self._data, self._error = data, error

    async def inputs(self) -> AsyncIterator[bytes]:
        while data := await self._data.read():
            yield data

    async def output(self, data: bytes) -> None:
        await self._data.write(data)

    async def fail(self, message: str) -> None:
        with contextlib.suppress(SpdyError):
            await self._error.write(message.encode())

    async def end(self) -> None:
        await self._data.close_write()
        await self._error.close_write()


async def serve_spdy(connection: Connection, dial: Dial, target: PodTarget) -> None:
    """Pair up the client's streams and forward each pair, until the connection ends."""
    waiting: dict[str, dict[str, Stream]] = {}
    async with connection, asyncio.TaskGroup() as tasks:
        running: set[asyncio.Task[None]] = set()
        while (stream := await connection.accept()) is not None:
            headers = stream.headers
            request = headers.get("requestid", headers.get("port", ""))
            pair = waiting.setdefault(request, {})
            pair[headers.get("streamtype", "")] = stream
            if len(waiting) > _MAX_PENDING:
                await stream.reset()
                waiting.pop(request)
            elif {"data", "error"} <= pair.keys():
                del waiting[request]
                task = tasks.create_task(_serve_pair(pair, dial, target))
                running.add(task)
                task.add_done_callback(running.discard)
        for task in running:
            task.cancel()


async def _serve_pair(pair: dict[str, Stream], dial: Dial, target: PodTarget) -> None:
    side = SpdyForward(pair["data"], pair["error"])
    text = pair["data"].headers.get("port", "")
    try:
        await forward(dial, target, parse_port(text), side)
    except ApiError as error:
        await side.fail(error.message)
        await side.end()


class ChannelForward:
    """A ``ForwardSide`` over channels 2n (data) and 2n+1 (error) of a WebSocket."""

    def __init__(self, channels: Channels, number: int, port: int) -> None:
        self._channels, self._number, self.port = channels, number, port
        # None ends it. Bounded: a slow pod holds up the reading of the whole WebSocket, as upstream.
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=16)

    async def greet(self) -> None:
        """Both channels begin with the port, two bytes, little end first."""
        for channel in (2 * self._number, 2 * self._number + 1):
            await self._channels.write(channel, self.port.to_bytes(2, "little"))

    async def inputs(self) -> AsyncIterator[bytes]:
        while (data := await self.queue.get()) is not None:
            yield data

    async def output(self, data: bytes) -> None:
        await self._channels.write(2 * self._number, data)

    async def fail(self, message: str) -> None:
        with contextlib.suppress(OSError):
            await self._channels.write(2 * self._number + 1, message.encode())

    async def end(self) -> None:
        """Channels cannot be ended one by one: the WebSocket is closed when all have ended."""


async def serve_channels(channels: Channels, ports: list[int], dial: Dial, target: PodTarget) -> None:
    sides = [ChannelForward(channels, number, port) for number, port in enumerate(ports)]
    for side in sides:
        await side.greet()
    forwards = asyncio.gather(*(forward(dial, target, side.port, side) for side in sides))
    reading = asyncio.create_task(_distribute(channels, sides), name="port-forward-channels")
    try:
        await asyncio.wait((forwards, reading), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (forwards, reading):
            task.cancel()
        await asyncio.gather(forwards, reading, return_exceptions=True)
    with contextlib.suppress(OSError):
        await channels.close()


async def _distribute(channels: Channels, sides: list[ChannelForward]) -> None:
    async for channel, data in channels.read():
        if channel % 2 == 0 and channel // 2 < len(sides) and data:
            await sides[channel // 2].queue.put(data)


def parse_port(text: str) -> int:
    """Raises BadRequest."""
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise BadRequest(f"unable to parse {text!r} as a port: it must be between 1 and 65535")
    return int(text)
