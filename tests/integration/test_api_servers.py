"""Several API servers on one etcd: whichever one is asked, the answer is the same; none is missed when it dies."""

import contextlib
import itertools
import json
import os
import random
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.control_plane import ApiServerProgram, Etcd, Reply
from tests.waiting import eventually

Object = dict[str, Any]
PATH = "/api/v1/namespaces/default"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
SERVERS = 3


@pytest.fixture(scope="module")
def servers(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three that share a CA, a signing key (that of the CA serves) and tokens: they live in one directory."""
    directory, prefix = tmp_path_factory.mktemp("servers"), f"/{uuid.uuid4()}"
    flags = ("--etcd-prefix", prefix)
    running = [ApiServerProgram(directory, etcd.url, flags) for _ in range(SERVERS)]
    with contextlib.ExitStack() as stack:
        for server in running:
            stack.enter_context(server)
        running[0].request("POST", f"{PATH}/serviceaccounts", {"metadata": {"name": "default"}})
        yield running


def ports_of(server: ApiServerProgram) -> set[int]:
    slices = server.request("GET", SLICES).json["items"]
    return {p["port"] for s in slices for p in s["ports"] if s["metadata"]["name"].startswith("kubernetes")}


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_each_has_a_lease_and_the_service_leads_to_all(servers: list[ApiServerProgram]) -> None:
    leases = servers[0].request(
        "GET",
        "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?labelSelector=apiserver.kubernetes.io%2Fidentity",
    )
    assert len(leases.json["items"]) == SERVERS
    eventually(lambda: ports_of(servers[1]) == {s.port for s in servers})
    subsets = servers[2].request("GET", f"{PATH}/endpoints/kubernetes").json["subsets"]
    assert {p["port"] for s in subsets for p in s["ports"]} == {s.port for s in servers}


def test_what_was_written_at_one_is_read_at_the_next(servers: list[ApiServerProgram]) -> None:
    turn = itertools.cycle(servers)
    next(turn).request("POST", f"{PATH}/configmaps", config_map("counted", n="0"))
    for number in range(1, 60):
        found = next(turn).request("GET", f"{PATH}/configmaps/counted").json
        assert found["data"]["n"] == str(number - 1)
        found["data"]["n"] = str(number)
        written = next(turn).request("PUT", f"{PATH}/configmaps/counted", found)
        assert written.code == 200
        version = written.json["metadata"]["resourceVersion"]
        listed = next(turn).request("GET", f"{PATH}/configmaps?resourceVersion={version}").json
        assert int(listed["metadata"]["resourceVersion"]) >= int(version)
        assert next(c for c in listed["items"] if c["metadata"]["name"] == "counted")["data"]["n"] == str(number)


def test_addresses_node_ports_and_quotas_are_given_once(servers: list[ApiServerProgram]) -> None:
    namespace = servers[0].request("POST", "/api/v1/namespaces", {"metadata": {"generateName": "q-"}}).json
    name = namespace["metadata"]["name"]
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "10"}}}
    assert servers[0].request("POST", f"/api/v1/namespaces/{name}/resourcequotas", quota).code == 201
    for server in servers:
        eventually(lambda s=server: s.request("GET", f"/api/v1/namespaces/{name}/resourcequotas/q").code == 200)
    with ThreadPoolExecutor(12) as pool:

        def create(number: int) -> Reply:
            path = f"/api/v1/namespaces/{name}/configmaps"
            return servers[number % SERVERS].request("POST", path, config_map(f"c{number}"))

        codes = [r.code for r in pool.map(create, range(48))]
        spec = {"type": "NodePort", "ports": [{"port": 80}], "selector": {"a": "b"}}

        def expose(number: int) -> Reply:
            body = {"metadata": {"name": f"s{number}"}, "spec": spec}
            return servers[number % SERVERS].request("POST", f"/api/v1/namespaces/{name}/services", body)

        made = [r.json["spec"] for r in pool.map(expose, range(30))]
        one = {"metadata": {"generateName": "one-"}, "spec": {**spec, "ports": [{"port": 80, "nodePort": 30011}]}}
        same = list(pool.map(lambda s: s.request("POST", f"/api/v1/namespaces/{name}/services", one).code, servers * 2))
    assert sorted(codes) == [201] * 10 + [403] * 38
    assert len({s["clusterIP"] for s in made}) == 30
    assert len({s["ports"][0]["nodePort"] for s in made}) == 30
    assert sorted(same) == [201] + [422] * 5


def test_no_update_is_lost_while_servers_are_killed(servers: list[ApiServerProgram]) -> None:
    """Eight clients count up one object through all servers in turn; a server is killed and started again meanwhile."""
    servers[0].request("POST", f"{PATH}/configmaps", config_map("total", n="0"))

    def count(client: int) -> int:
        done, deadline = 0, time.monotonic() + 6
        for server in itertools.cycle(servers[client % SERVERS :] + servers[: client % SERVERS]):
            if time.monotonic() > deadline:
                return done
            mark = str(uuid.uuid4())
            try:
                found = server.request("GET", f"{PATH}/configmaps/total").json
                found["data"] |= {"n": str(int(found["data"]["n"]) + 1), f"by{client}": mark}
            except (OSError, json.JSONDecodeError, KeyError):
                continue
            try:
                done += server.request("PUT", f"{PATH}/configmaps/total", found).code == 200
            except OSError:  # the answer is lost: only the object tells
                done += _mark(servers, client) == mark
        raise AssertionError("a cycle has no end")

    with ThreadPoolExecutor(8) as pool:
        counts = pool.map(count, range(8))
        for _ in range(2):
            time.sleep(1)
            victim = random.choice(servers)
            victim.program.kill()
            victim.program.start()
        total = sum(counts)
    eventually(lambda: all(s.is_ready() for s in servers))
    found = {s.request("GET", f"{PATH}/configmaps/total").json["data"]["n"] for s in servers}
    assert found == {str(total)}


def _mark(servers: list[ApiServerProgram], client: int) -> str:
    """The client's last write that happened."""

    def read() -> Object | None:
        for server in servers:
            try:
                reply = server.request("GET", f"{PATH}/configmaps/total")
            except OSError:
                continue
            if reply.code == 200:
                return reply.json["data"]  # type: ignore[no-any-return]
        return None

    return str(eventually(read).get(f"by{client}"))


def test_a_server_that_ends_is_led_to_no_more(servers: list[ApiServerProgram]) -> None:
    servers[2].program.stop()
    assert ports_of(servers[0]) == {s.port for s in servers[:2]}
    servers[2].start()
    eventually(lambda: ports_of(servers[1]) == {s.port for s in servers})


def test_workers_share_a_port_and_one_that_is_killed_comes_back(etcd: Etcd, tmp_path: Path) -> None:
    with ApiServerProgram(tmp_path, etcd.url, ("--etcd-prefix", f"/{uuid.uuid4()}", "--workers", "2")) as server:
        last = _count_while_a_worker_is_killed(server)
        assert server.program.stop(signal.SIGTERM) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in last)


def _count_while_a_worker_is_killed(server: ApiServerProgram) -> list[int]:
    """The workers at the end."""
    process = server.program.process
    assert process

    def workers() -> list[int]:
        return [int(p) for p in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]

    eventually(lambda: server.program.log.read_text().count("Ready") == 2)
    first = workers()
    server.request("POST", f"{PATH}/configmaps", config_map("counted", n="0"))
    os.kill(first[0], signal.SIGKILL)
    for number in range(40):  # each request is a connection of its own: none may fail
        found = server.request("GET", f"{PATH}/configmaps/counted").json
        assert found["data"]["n"] == str(number)
        found["data"]["n"] = str(number + 1)
        assert server.request("PUT", f"{PATH}/configmaps/counted", found).code == 200
    eventually(lambda: server.program.log.read_text().count("Ready") == 3)
    assert first[0] not in workers() and len(workers()) == 2
    return workers()
