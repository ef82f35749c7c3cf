"""SPDY: whatever the interleaving and however the bytes are cut, every stream gets exactly what was sent on it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery.spdy import Connection, ConnectionClosed, ProtocolError, Role, Stream, StreamReset, frames, upgrade
from apimachinery.spdy.stream import BUFFER_BYTES

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
HEADERS = st.dictionaries(NAMES, st.text(max_size=30), max_size=4)
IDS = st.integers(1, 2**31 - 1)
FRAMES = st.one_of(
    st.builds(frames.SynStream, IDS, HEADERS, st.booleans()),
    st.builds(frames.SynReply, IDS, HEADERS, st.booleans()),
    st.builds(frames.Headers, IDS, HEADERS, st.booleans()),
    st.builds(frames.Data, IDS, st.binary(min_size=1, max_size=200), st.booleans()),
    st.builds(frames.RstStream, IDS, st.integers(1, 11)),
    st.builds(frames.Ping, IDS),
    st.builds(frames.GoAway, IDS, st.integers(0, 2)),
)


def joined(items: list[frames.Frame]) -> list[frames.Frame]:
    """With neighbouring pieces of data on one stream put together."""
    out: list[frames.Frame] = []
    for item in items:
        last = out[-1] if out else None
        both = isinstance(item, frames.Data) and isinstance(last, frames.Data)
        if both and last.stream_id == item.stream_id and not last.fin:
            out[-1] = frames.Data(item.stream_id, last.data + item.data, item.fin)
            continue
        out.append(item)
    return out


@given(st.lists(FRAMES, max_size=12), st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_frames_survive_any_cutting(sent: list[frames.Frame], cuts: list[int]) -> None:
    encoder, decoder = frames.FrameEncoder(), frames.FrameDecoder()
    wire = b"".join(encoder.encode(frame) for frame in sent)
    got: list[frames.Frame] = []
    at = 0
    while at < len(wire):
        size = cuts[at % len(cuts)]
        got += decoder.feed(wire[at : at + size])
        at += size
    assert joined(got) == joined(sent)


@given(st.binary(min_size=1, max_size=300))
def test_rubbish_is_an_error_or_nothing_but_never_a_crash(data: bytes) -> None:
    try:
        list(frames.FrameDecoder().feed(data))
    except ProtocolError:
        return


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Connection, Connection]]:
    ours, theirs = socket.socketpair()
    client = Connection(*await asyncio.open_connection(sock=ours), Role.CLIENT)
    server = Connection(*await asyncio.open_connection(sock=theirs), Role.SERVER)
    async with client, server:
        yield client, server


CHUNKS = st.lists(st.integers(0, 70_000), max_size=4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), CHUNKS), min_size=1, max_size=6))
async def test_interleaved_streams_from_both_sides(plan: list[tuple[bool, list[int]]]) -> None:
    async def echo(side: Connection) -> None:
        async with asyncio.TaskGroup() as tasks:
            while (stream := await side.accept()) is not None:
                tasks.create_task(echo_one(stream))

    async def echo_one(stream: Stream) -> None:
        while data := await stream.read(5000):
            await stream.write(data)
        await stream.close_write()

    async def talk(side: Connection, number: int, chunks: list[int]) -> None:
        stream = await side.open_stream({"Number": str(number)})
        expected = b"".join(bytes([number % 256]) * size for size in chunks)
        reading = asyncio.create_task(stream.read_all())
        for size in chunks:
            await stream.write(bytes([number % 256]) * size)
        await stream.close_write()
        assert await reading == expected

    async with asyncio.timeout(30), pair() as (client, server):
        echoes = [asyncio.create_task(echo(side)) for side in (client, server)]
        sides = {True: client, False: server}
        await asyncio.gather(*(talk(sides[who], n, chunks) for n, (who, chunks) in enumerate(plan)))
        await client.close()
        await asyncio.gather(*echoes)


async def test_an_unread_stream_stops_its_sender() -> None:
    async with asyncio.timeout(20), pair() as (client, server):
        stream = await opened(client, server)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await stream[0].write(bytes(32 * 1024))
                sent += 32 * 1024

        task = asyncio.create_task(flood())
        previous = -1
        while sent != previous or sent < BUFFER_BYTES:
            previous = sent
            await asyncio.sleep(0.05)
        task.cancel()
        assert sent < 16 * BUFFER_BYTES
        await stream[1].reset()
        await client.ping()


async def opened(client: Connection, server: Connection) -> tuple[Stream, Stream]:
    accepting = asyncio.create_task(server.accept())
    mine = await client.open_stream({"streamType": "data"})
    theirs = await accepting
    assert theirs is not None and theirs.headers == {"streamtype": "data"}
    return mine, theirs


async def test_half_close_reset_and_loss() -> None:
    async with asyncio.timeout(10), pair() as (client, server):
        mine, theirs = await opened(client, server)
        await mine.close_write()
        assert await theirs.read() == b""
        await theirs.write(b"still")
        assert await mine.read() == b"still"
        await theirs.reset()
        with pytest.raises(StreamReset):
            await mine.read()
        other, _ = await opened(client, server)
        await server.close()
        with pytest.raises(ConnectionClosed):
            await other.read()
        assert await client.accept() is None


async def test_upgrade_over_http() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await upgrade.read_head(reader)
        assert upgrade.is_upgrade(head)
        protocol = upgrade.choose(head.values(upgrade.PROTOCOL_HEADER), ["v4.channel.k8s.io"])
        if protocol is None:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            writer.close()
            return
        async with upgrade.accept(reader, writer, protocol) as connection:
            stream = await connection.accept()
            assert stream is not None
            await stream.write(b"hi")
            await stream.close_write()
            await connection.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/exec?a=b"
    async with asyncio.timeout(10):
        connection, protocol = await upgrade.connect(url, ["v5.channel.k8s.io", "v4.channel.k8s.io"])
        assert protocol == "v4.channel.k8s.io"
        async with connection:
            assert await (await connection.open_stream({})).read_all() == b"hi"
        with pytest.raises(upgrade.UpgradeRefused, match="403: no"):
            await upgrade.connect(url, ["v1.channel.k8s.io"])
    listener.close()
