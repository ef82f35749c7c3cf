"""The frames of HTTP/2 under calls to etcd: whatever way they are cut, and whatever order calls end in."""

import asyncio
from typing import Any

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.apiserver.storage.calls import CallFailed, ConnectionLost
from master.apiserver.storage.http2 import Connection

_HEADERS, _DATA, _RESET, _SETTINGS, _WINDOW, _END_STREAM, _END_HEADERS = 1, 0, 3, 4, 8, 1, 4


class Wire:
    """In the place of a transport: what was written, and whether it was cut."""

    def __init__(self) -> None:
        self.sent, self.cut = b"", False

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        self.cut = True

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """All that was sent after the preface: kind, flags, stream and body."""
        rest, found = self.sent.partition(b"SM\r\n\r\n")[2], []
        while rest:
            size = int.from_bytes(rest[:3], "big")
            found.append((rest[3], rest[4], int.from_bytes(rest[5:9], "big"), rest[9 : 9 + size]))
            rest = rest[9 + size :]
        return found


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def headers(*fields: tuple[str, str]) -> bytes:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields)


def response(stream: int, messages: list[bytes], status: str = "0") -> bytes:
    body = b"".join(b"\0" + len(m).to_bytes(4, "big") + m for m in messages)
    parts = [body[at : at + 7] for at in range(0, len(body), 7)]
    told = headers((":status", "200"), ("content-type", "application/grpc"))
    end = headers(("grpc-status", status), ("grpc-message", "no%20luck"))
    return b"".join(
        (
            frame(_HEADERS, _END_HEADERS, stream, told),
            *(frame(_DATA, 0, stream, part) for part in parts),
            frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, end),
        )
    )


def connection() -> tuple[Connection, Wire]:
    made, wire = Connection("etcd:2379", tls=False), Wire()
    made.connection_made(wire)  # type: ignore[arg-type]
    return made, wire


def run(main: Any) -> None:
    asyncio.run(main)


@given(st.lists(st.lists(st.binary(max_size=30), max_size=3), min_size=1, max_size=3), st.data())
def test_answers_arrive_however_they_are_cut(answers: list[list[bytes]], data: st.DataObject) -> None:
    async def main() -> None:
        made, _ = connection()
        calls = [await made.call(b"/s/M", b"request") for _ in answers]
        stream = b"".join(response(c.id, messages) for c, messages in zip(calls, answers, strict=True))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=9)))
        for low, high in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            made.data_received(stream[low:high])
        for call, messages in zip(calls, answers, strict=True):
            assert [await call.receive() for _ in messages] == messages
            assert await call.receive() is None
        made.close()

    run(main())


@given(st.binary(min_size=1, max_size=400), st.lists(st.integers(1, 90), min_size=1))
def test_no_more_is_sent_than_the_server_has_room_for(message: bytes, grants: list[int]) -> None:
    async def main() -> None:
        made, wire = connection()
        settings = (4).to_bytes(2, "big") + (0).to_bytes(4, "big")  # no room in new streams
        made.data_received(frame(_SETTINGS, 0, 0, settings))
        calling = asyncio.create_task(made.call(b"/s/M", message))
        room = 0
        while not calling.done():
            await asyncio.sleep(0)
            assert sum(len(body) for kind, _, _, body in wire.frames() if kind == _DATA) <= room
            grant = grants[room % len(grants)]
            room += grant
            made.data_received(frame(_WINDOW, 0, 1, grant.to_bytes(4, "big")))
            await asyncio.sleep(0)
        sent = [f for f in wire.frames() if f[0] == _DATA]
        assert b"".join(body for *_, body in sent) == b"\0" + len(message).to_bytes(4, "big") + message
        assert [flags for _, flags, _, _ in sent] == [0] * (len(sent) - 1) + [_END_STREAM]
        made.close()

    run(main())


def test_how_calls_fail() -> None:
    async def main() -> None:
        made, wire = connection()
        refused, reset, cancelled, lost = [await made.call(b"/s/M", b"") for _ in range(4)]
        made.data_received(response(refused.id, [], "5") + frame(_RESET, 0, reset.id, bytes(4)))
        made.cancel(cancelled)
        assert wire.frames()[-1][0] == _RESET
        made.connection_lost(None)
        with pytest.raises(CallFailed, match="no luck") as caught:
            await refused.receive()
        assert caught.value.code == 5
        for call in (reset, lost):
            with pytest.raises(ConnectionLost):
                await call.receive()
        with pytest.raises(ConnectionLost):
            await made.call(b"/s/M", b"")
        assert wire.cut

    run(main())
