"""What the API server does when etcd or it itself dies, and when there are two of it."""

import concurrent.futures
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control_plane import ApiServerProgram, Etcd
from tests.integration.test_api_rest import Watching, config_map
from tests.waiting import eventually

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path) as running:
        yield running


def test_a_watch_outlives_etcd(own_etcd: Etcd, tmp_path: Path) -> None:
    with ApiServerProgram(tmp_path / "a", own_etcd.url) as server:
        watch = Watching(server, f"{MAPS}?watch=1&resourceVersion=0&timeoutSeconds=60")
        server.request("POST", MAPS, config_map("before"))
        own_etcd.kill()
        refused = server.request("POST", MAPS, config_map("during"))
        assert (refused.code, refused.json["reason"]) == (503, "ServiceUnavailable")
        assert server.request("GET", f"{MAPS}/before?resourceVersion=0").code == 200
        assert server.request("GET", "/livez/etcd").code == 500
        own_etcd.start()
        eventually(lambda: server.request("POST", MAPS, config_map("after")).code == 201)
        eventually(lambda: ("ADDED", "after") in watch.seen())
        assert watch.seen().count(("ADDED", "before")) == 1
        assert server.request("GET", f"{MAPS}/after").code == 200


def test_it_stops_soon_with_watches_open(own_etcd: Etcd, tmp_path: Path) -> None:
    with ApiServerProgram(tmp_path / "a", own_etcd.url) as server:
        watch = Watching(server, f"{MAPS}?watch=1&resourceVersion=0&timeoutSeconds=60")
        began = time.monotonic()
        assert server.program.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10
    watch.thread.join(5)
    assert not watch.thread.is_alive()


def test_two_servers_are_one_api(own_etcd: Etcd, tmp_path: Path) -> None:
    one, other = servers = [ApiServerProgram(tmp_path / name, own_etcd.url) for name in ("a", "b")]
    with one, other:
        for index in range(20):
            one.request("POST", MAPS, config_map(f"c{index}"))
            assert other.request("GET", f"{MAPS}/c{index}").code == 200, "a read is never older than a finished write"
        services = "/api/v1/namespaces/default/services"

        def service(index: int) -> str:
            body = {"metadata": {"name": f"s{index}"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
            spec = servers[index % 2].request("POST", services, body).json["spec"]
            return f"{spec['clusterIP']} {spec['ports'][0]['nodePort']}"

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            claimed = [c.split() for c in pool.map(service, range(30))]
        assert len({ip for ip, _ in claimed}) == len({port for _, port in claimed}) == 30


def test_a_dead_etcd_server_is_passed_over(own_etcd: Etcd, tmp_path: Path) -> None:
    with ApiServerProgram(tmp_path / "a", f"http://127.0.0.1:1,{own_etcd.url}") as server:
        assert server.request("POST", MAPS, config_map("x")).code == 201
        assert server.request("GET", f"{MAPS}/x").code == 200


def test_compaction_runs_and_the_past_is_gone(own_etcd: Etcd, tmp_path: Path) -> None:
    with ApiServerProgram(tmp_path / "a", own_etcd.url, flags=("--etcd-compaction-interval=300ms",)) as server:
        for index in range(4):
            server.request("POST", MAPS, config_map(f"c{index}"))
        token = server.request("GET", f"{MAPS}?limit=2").json["metadata"]["continue"]
        expired = eventually(lambda: (r := server.request("GET", f"{MAPS}?limit=2&continue={token}")).code == 410 and r)
        fresh = expired.json["metadata"]["continue"]
        rest = server.request("GET", f"{MAPS}?continue={fresh}").json["items"]
        assert [i["metadata"]["name"] for i in rest] == ["c2", "c3"]
