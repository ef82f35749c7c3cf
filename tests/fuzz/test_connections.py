"""Clients that break the rules of TLS and HTTP, or keep them as slowly as they can."""

import os
import random
import socket
import ssl
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fuzz.test_bodies import JSON, MAPS
from tests.fuzz.victim import Victim
from tests.fuzz.wire import Wire, message

ADMIN = b"Authorization: Bearer admin-token\r\n"
GET = b"GET /api/v1/namespaces/default/configmaps?limit=1 HTTP/1.1\r\nHost: x\r\n" + ADMIN
POST = (
    b"POST /api/v1/namespaces/default/configmaps?dryRun=All HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    + ADMIN
)
WATCH = b"GET /api/v1/namespaces/default/configmaps?watch=1 HTTP/1.1\r\nHost: x\r\n" + ADMIN + b"\r\n"
BODY = b'{"metadata":{"name":"!"}}'
"""Refused with 422, whatever is there."""


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks)
    return POST + b"Transfer-Encoding: chunked\r\n\r\n" + framed + end


RIGHT = {
    "chunks": chunked(BODY[:5], BODY[5:]),
    "one byte a chunk": chunked(*(BODY[i : i + 1] for i in range(len(BODY)))),
    "trailers": chunked(BODY, end=b"0\r\nX: y\r\n\r\n"),
    "chunk extensions": POST + b"Transfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "empty lines first": b"\r\n\r\n" + GET + b"\r\n",
}
WRONG = {
    "no request": b"\0" * 100,
    "random": os.urandom(5_000) + b"\r\n\r\n",
    "http/0.9": b"GET /api\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http/9.9": b"GET / HTTP/9.9\r\n\r\n",
    "tls in tls": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 500,
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 25\r\n\r\n" + BODY,
    "length and chunks": POST + b"Content-Length: 25\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "length of no number": POST + b"Content-Length: x\r\n\r\n",
    "huge length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "signed length": POST + b"Content-Length: +25\r\n\r\n" + BODY,
    "chunk size of no number": POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "huge chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
    "negative chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n",
    "unknown encoding": POST + b"Transfer-Encoding: x\r\n\r\n",
    "encodings": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "obsolete fold": GET + b"X: a\r\n b\r\n\r\n",
    "header without colon": GET + b"nonsense\r\n\r\n",
    "space before colon": GET + b"X : y\r\n\r\n",
    "nul in a header": GET + b"X: a\0b\r\n\r\n",
    "nul in a name": GET + b"X\0: a\r\n\r\n",
    "bare newlines": GET.replace(b"\r\n", b"\n") + b"\n",
    "bare returns": GET.replace(b"\r\n", b"\r") + b"\r",
    "control bytes in the path": b"GET /\x01\x02 HTTP/1.1\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\n" + ADMIN + b"\r\n",
    "no host": b"GET /api HTTP/1.1\r\n" + ADMIN + b"\r\n",
    "h2c": GET + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "spdy where there is none": GET + b"Upgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n",
    "websocket where there is none": GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_odd_but_right(victim: Victim, name: str) -> None:
    wire = victim.connect()
    for _ in range(2):
        wire.send(RIGHT[name])
        answer = wire.answer()
        assert answer is not None and answer.code in (200, 422), answer
    wire.close()


def test_what_is_no_http(victim: Victim) -> None:
    """Refused or closed, soon; and where the connection goes on, so does the framing."""
    for name, data in WRONG.items():
        wire = victim.connect()
        wire.send(data)
        wire.socket.settimeout(0.5)
        try:
            answer = wire.answer()
            assert answer is None or answer.code < 500, (name, answer)
        except AssertionError as hung:
            assert "nothing more" in str(hung), (name, hung)  # it still waits for what was announced
        wire.close()


def test_heads_without_end(victim: Victim) -> None:
    """Each kind of flood is cut off after a megabyte or so, and nothing of it is kept."""
    floods = {
        "many headers": lambda i: b"X-%d: y\r\n" % i * 100,
        "one long value": lambda i: b"X: " * (i == 0) + b"y" * 1_000,
        "one long name": lambda i: b"y" * 1_000,
        "a long path": lambda i: b"GET /" * (i == 0) + b"a" * 1_000,
        "chunk extensions": lambda i: (POST[4:] + b"Transfer-Encoding: chunked\r\n\r\n5;") * (i == 0) + b"x" * 1_000,
        "trailers": lambda i: (chunked(BODY, end=b"0\r\n")[4:]) * (i == 0) + b"X-%d: y\r\n" % i * 100,
        "tiny chunks": lambda i: (POST[4:] + b"Transfer-Encoding: chunked\r\n\r\n") * (i == 0) + b"1;%b\r\n \r\n" % (b"e" * 90) * 10,
    }  # fmt: skip
    for name, make in floods.items():
        wire = victim.connect()
        start = b"" if name == "a long path" else POST[:4] if make(0).startswith(POST[4:9]) else GET
        assert flooded(wire, start, make), name
        wire.close()


def flooded(wire: Wire, start: bytes, make: Callable[[int], bytes]) -> bool:
    """Whether the server closes before 8 MiB."""
    try:
        wire.socket.sendall(start)
        for i in range(16_000):
            wire.socket.sendall(make(i))
            if i % 256 == 255 and readable(wire):
                return wire.answer() is None or True
    except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
        return True
    return False


def readable(wire: Wire) -> bool:
    wire.socket.settimeout(0.0)
    try:
        return wire.socket.recv(1) is not None
    except (ssl.SSLWantReadError, BlockingIOError):
        return False
    except (ConnectionError, ssl.SSLError):
        return True
    finally:
        wire.socket.settimeout(20)


def test_pipelined_requests_are_answered_in_order(victim: Victim) -> None:
    wire = victim.connect()
    methods = ["GET", "POST", "HEAD", "GET"] * 100
    paths = {"GET": f"{MAPS}?limit=1", "POST": f"{MAPS}?dryRun=All", "HEAD": f"{MAPS}?limit=1"}
    wire.send(
        b"".join(message(m, paths[m], BODY if m == "POST" else b"", JSON if m == "POST" else ()) for m in methods)
    )
    codes = [answer.code for m in methods if (answer := wire.answer(m))]
    assert codes == [422 if m == "POST" else 200 for m in methods]
    wire.close()


def test_many_slow_clients_hold_up_nobody(victim: Victim) -> None:
    """Half a request each: in TLS, in the head, in the body; and watches and lists that nobody reads."""
    rng = random.Random(1)
    plain = [socket.create_connection(("127.0.0.1", victim.server.port)) for _ in range(60)]
    for one in plain[:20]:
        one.sendall(b"\x16\x03\x01\x02\0\x01\0")  # the beginning of a hello
    for one in plain[20:40]:
        one.sendall(b"GET / HTTP/1.1\r\n\r\n")
    wires = [victim.connect() for _ in range(60)]
    for index, wire in enumerate(wires):
        whole = (GET + b"\r\n", POST + b"Content-Length: 25\r\n\r\n" + BODY, WATCH)[index % 3]
        wire.send(whole if whole is WATCH else whole[: rng.randrange(5, len(whole) - 1)])
    began = [victim.call("GET", MAPS).code for _ in range(50)]
    assert set(began) == {200}
    for one in plain:
        one.close()
    for wire in wires:
        wire.close()


def test_clients_that_vanish(victim: Victim) -> None:
    """In the middle of anything, with a FIN, a half-close or a reset: no task and no descriptor stays."""
    attacks = [GET + b"\r\n", GET[:40], WATCH, POST + b"Content-Length: 25\r\n\r\n" + BODY[:9], RIGHT["chunks"][:-9], GET + b"\r\n" + POST[:30],
               b"GET /api/v1/nodes/x/proxy/ HTTP/1.1\r\nHost: x\r\n" + ADMIN + b"\r\n", b"GET /openapi/v2 HTTP/1.1\r\nHost: x\r\n" + ADMIN + b"\r\n"]  # fmt: skip

    def vanish(number: int) -> None:
        wire = victim.connect()
        wire.send(attacks[number % len(attacks)])
        match number % 3:
            case 0:
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case 1:
                wire.socket.shutdown(socket.SHUT_WR)
        wire.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(vanish, range(240)))
    assert victim.call("GET", MAPS).code == 200


def test_a_half_closed_client_gets_its_answer(victim: Victim) -> None:
    """curl and others close their side once all is said."""
    wire = victim.connect()
    wire.send(GET + b"Connection: close\r\n\r\n")
    answer = wire.answer()
    assert answer is not None and answer.code == 200
    wire.close()


def test_expect_continue(victim: Victim) -> None:
    wire = victim.connect()
    wire.send(POST + b"Content-Length: 25\r\nExpect: 100-continue\r\n\r\n")
    wire.send(BODY)
    answer = wire.answer()
    assert answer is not None and answer.code == 422
    wire.close()


def test_an_answered_request_whose_body_goes_on(victim: Victim) -> None:
    """The answer comes at once; the rest is taken in, up to a point, so that the client can read it."""
    wire = victim.connect()
    wire.send(POST.replace(b"admin-token", b"nobody") + b"Content-Length: 9000000\r\n\r\n")
    answer = wire.answer()
    assert answer is not None and answer.code == 401
    for _ in range(9_000):
        try:
            wire.socket.sendall(b"x" * 1_000)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            break
    else:
        pytest.fail("nine megabytes were taken in for nothing")
    wire.close()


def test_aborted_handshakes(victim: Victim) -> None:
    hello = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = hello.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        talk.do_handshake()
    first = outgoing.read()
    rng = random.Random(2)
    for number in range(120):
        plain = socket.create_connection(("127.0.0.1", victim.server.port))
        data = bytearray(first)
        for _ in range(number % 4):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            plain.sendall(bytes(data[: rng.randrange(1, len(data) + 1)] if number % 2 else data))
            if number % 3 == 0:
                plain.settimeout(0.05)
                plain.recv(100)
        except OSError:
            pass
        plain.close()
    assert victim.call("GET", MAPS).code == 200
