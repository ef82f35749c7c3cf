"""An API server that is told to stop: what is under way ends well, and nobody sees a connection reset."""

import http.client
import json
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control_plane import ADMIN_TOKEN, ApiServerProgram, Etcd
from tests.effort import EFFORT
from tests.faults.stores import SlowLine
from tests.integration.test_api_rest import Watching, config_map

MAPS = "/api/v1/namespaces/default/configmaps"
HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": "application/json"}


@pytest.fixture
def line(etcd: Etcd) -> Iterator[SlowLine]:
    with SlowLine(etcd.port) as slow:
        yield slow


@pytest.fixture
def server(line: SlowLine, tmp_path: Path) -> Iterator[ApiServerProgram]:
    flags = ("--etcd-prefix=/drained", "--shutdown-delay-duration=500ms")
    with ApiServerProgram(tmp_path, line.url, flags) as running:
        yield running


def connection(server: ApiServerProgram) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=server.ca_file)
    made = http.client.HTTPSConnection(f"127.0.0.1:{server.port}", timeout=15, context=context)
    made.connect()
    return made


def test_requests_under_way_are_answered(server: ApiServerProgram, line: SlowLine) -> None:
    """Slow writes that the stop meets half way are done and told; watches end with their last chunk."""
    watching = Watching(server, f"{MAPS}?watch=1&resourceVersion=0&timeoutSeconds=60")
    idle = [connection(server) for _ in range(3)]
    busy = [connection(server) for _ in range(6)]
    for number, one in enumerate(busy):  # each has served already: they are kept alive
        one.request("GET", f"{MAPS}/none", headers=HEADERS)
        assert one.getresponse().read()
        assert number >= 0
    line.delay = 0.2
    for number, one in enumerate(busy):
        one.request("POST", MAPS, json.dumps(config_map(f"late-{number}")), HEADERS)
    stopping = threading.Thread(target=server.program.stop, args=(signal.SIGTERM,))
    stopping.start()
    codes = [one.getresponse().status for one in busy]
    assert codes == [201] * len(busy)
    stopping.join(15)
    watching.thread.join(5)
    assert not watching.thread.is_alive()
    for one in (*idle, *busy):
        assert gently_closed(one)


def gently_closed(one: http.client.HTTPSConnection) -> bool:
    """An end of file, not a reset."""
    if one.sock is None:  # it read so in the answer, and has closed its own side
        return True
    one.sock.settimeout(5)
    while one.sock.recv(1000):
        pass
    return True


def test_it_says_that_it_stops_before_it_does(server: ApiServerProgram) -> None:
    process: Any = server.program.process
    process.send_signal(signal.SIGTERM)
    seen = set()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            ready = server.request("GET", "/readyz")
            other = server.request("GET", f"{MAPS}/none")
        except OSError:
            break
        seen.add((ready.code, other.code))
    assert (500, 404) in seen, "unready, but serving"
    assert process.wait(10) == 0
    assert "Task ended" not in server.program.log.read_text()


def test_killed_between_writes(etcd: Etcd, tmp_path: Path) -> None:
    """Whatever was answered with success is there afterwards."""
    with ApiServerProgram(tmp_path, etcd.url, ("--etcd-prefix=/killed",)) as server:
        sure, there = _written_between_kills(server)
    assert sure <= there and len(sure) > 5


def _written_between_kills(server: ApiServerProgram) -> tuple[set[str], set[str]]:
    """What was answered with success, and what is there in the end."""
    sure: set[str] = set()
    for life in range(1 + EFFORT):
        done = threading.Event()

        def write(life: int = life, done: threading.Event = done) -> None:
            for number in range(10_000):
                if done.is_set():
                    return
                try:
                    if server.request("POST", MAPS, config_map(f"k{life}-{number}")).code == 201:
                        sure.add(f"k{life}-{number}")
                except (OSError, http.client.HTTPException):
                    return

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.3)
        server.program.kill()
        done.set()
        writer.join(20)
        server.start()
    return sure, {i["metadata"]["name"] for i in server.request("GET", MAPS).json["items"]}
