"""Exec and attach over SPDY, for clients that cannot speak WebSocket: one stream a channel.

Source: ``k8s.io/kubelet/pkg/cri/streaming/remotecommand/httpstream.go``.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson

from apimachinery.errors import Timeout
from apimachinery.spdy import Connection, SpdyError, Stream
from protos.kubeto.v1 import node_pb2 as pb

from .terminal import TerminalOptions
from .websocket import parse_size

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
_STATUS_PROTOCOLS = PROTOCOLS[:2]
_RESIZE_PROTOCOLS = PROTOCOLS[:3]
_STREAMS_SECONDS = 30.0


class SpdyTerminal:
    """A ``TerminalSide`` over the streams that the client has opened."""

    def __init__(self, connection: Connection, protocol: str, streams: dict[str, Stream]) -> None:
        self._connection, self._protocol, self._streams = connection, protocol, streams

    @classmethod
    async def collect(cls, connection: Connection, protocol: str, options: TerminalOptions) -> "SpdyTerminal":
        """Wait for the streams that ``options`` announce. Raises Timeout."""
        wanted = {"error"} | {n for n in ("stdin", "stdout", "stderr") if getattr(options, n)}
        wanted -= {"stderr"} if options.tty else set()
        wanted |= {"resize"} if options.tty and protocol in _RESIZE_PROTOCOLS else set()
        streams: dict[str, Stream] = {}
        try:
            async with asyncio.timeout(_STREAMS_SECONDS):
                while not wanted <= streams.keys() and (stream := await connection.accept()) is not None:
                    streams[stream.headers.get("streamtype", "")] = stream
        except TimeoutError:
            raise Timeout("timed out waiting for client to create streams") from None
        return cls(connection, protocol, streams)

    async def inputs(self) -> AsyncIterator[pb.TerminalInput]:
        queue: asyncio.Queue[pb.TerminalInput | None] = asyncio.Queue(maxsize=4)
        async with asyncio.TaskGroup() as readers:
            tasks = [readers.create_task(self._read_stdin(queue)), readers.create_task(self._read_resize(queue))]
            tasks.append(readers.create_task(self._watch_end(queue)))
            while (message := await queue.get()) is not None:
                yield message
            for task in tasks:
                task.cancel()

    async def _watch_end(self, queue: asyncio.Queue[pb.TerminalInput | None]) -> None:
        await self._connection.wait_closed()
        await queue.put(None)

    async def _read_stdin(self, queue: asyncio.Queue[pb.TerminalInput | None]) -> None:
        if (stream := self._streams.get("stdin")) is None:
            return
        try:
            while data := await stream.read():
                await queue.put(pb.TerminalInput(stdin=data))
        except SpdyError:
            # Reset or lost: for the command it is the same as an end.
            pass
        await queue.put(pb.TerminalInput(close_stdin=True))

    async def _read_resize(self, queue: asyncio.Queue[pb.TerminalInput | None]) -> None:
        if (stream := self._streams.get("resize")) is None:
            return
        try:
            while data := await stream.read():
                for line in data.splitlines():
                    if (size := parse_size(line)) is not None:
                        await queue.put(pb.TerminalInput(resize=size))
        except SpdyError:
            return

    async def output(self, stderr: bool, data: bytes) -> None:
        if (stream := self._streams.get("stderr" if stderr else "stdout")) is not None:
            await stream.write(data)

    async def finish(self, status: dict[str, Any]) -> None:
        error = self._streams.get("error")
        for name in ("stdout", "stderr"):
            if name in self._streams:
                await self._streams[name].close_write()
        if error is None:
            return
        if self._protocol in _STATUS_PROTOCOLS:
            await error.write(orjson.dumps(status))
        elif status.get("status") != "Success":
            await error.write(str(status.get("message", "")).encode())
        await error.close_write()
