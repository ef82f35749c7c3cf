"""The engine's HTTP client against a server that behaves as badly as an engine being restarted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from node.cri_docker.engine import Engine, EngineError, EngineUnavailable

Handler = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def engine_with(folder: Path, handler: Handler) -> AsyncIterator[Engine]:
    """An engine whose connections are each given to ``handler`` with their number."""
    count = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        try:
            await handler(count, reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_unix_server(accept, folder / "docker.sock"):
        engine = Engine(f"unix://{folder}/docker.sock")
        yield engine
        engine.close()


def answer(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def test_an_answer_in_chunks_and_one_connection_for_two_calls(tmp_path: Path) -> None:
    connections = []

    async def handler(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(number)
        while (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /v1.41/x?a=1&f=%7B%22k%22%3A%5B%22v%22%5D%7D "):
            writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n3;x=y\r\n:1}\r\n0\r\n\r\n')
            await writer.drain()

    async with engine_with(tmp_path, handler) as engine:
        for _ in range(2):
            assert await engine.get("/x", a=True, f={"k": ["v"]}, none=None) == {"a": 1}
    assert connections == [1]


async def test_a_dead_idle_connection_is_replaced(tmp_path: Path) -> None:
    async def handler(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"%d" % number))  # one answer, then the connection ends: an engine restarted

    async with engine_with(tmp_path, handler) as engine:
        assert [await engine.get("/x") for _ in range(3)] == [1, 2, 3]


async def test_errors_keep_the_engines_words(tmp_path: Path) -> None:
    async def handler(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer(b'{"message":"No such container: x"}', "404 Not Found"))

    async with engine_with(tmp_path, handler) as engine:
        with pytest.raises(EngineError, match="No such container: x") as error:
            await engine.get("/containers/x/json")
    assert error.value.not_found and not error.value.conflict


async def test_a_call_that_hangs_ends(tmp_path: Path) -> None:
    forever = asyncio.Event()

    async def handler(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await forever.wait()

    async with engine_with(tmp_path, handler) as engine:
        with pytest.raises(EngineUnavailable, match=r"within 0\.05 s"):
            await engine.call("GET", "/x", timeout=0.05)
        forever.set()


async def test_no_engine_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable):
        await Engine(f"unix://{tmp_path}/none.sock").get("/x")
    with pytest.raises(ValueError, match="only unix"):
        Engine("tcp://127.0.0.1:2375")


async def test_a_stream_tells_its_end(tmp_path: Path) -> None:
    async def handler(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n5\r\nc")

    async with engine_with(tmp_path, handler) as engine:
        got = []
        with pytest.raises(EngineUnavailable):
            async with engine.stream("/events") as chunks:
                async for chunk in chunks:
                    got.append(chunk)
        assert got == [b"ab"]
