"""Thirty-two clients count on shared objects while API servers die and etcd's leader moves: no count is lost.

A write whose answer never came, or was 503 or 504, may have happened. Each client writes a mark of its own with each
count, so the final state and the history in etcd tell exactly which did.
"""

import asyncio
import concurrent.futures
import contextlib
import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from apimachinery import scheme
from apimachinery.client.api import ApiClient, Binding, Write
from apimachinery.config import load_kubeconfig
from apimachinery.errors import ApiError
from tests.control_plane import ApiServerProgram, Reply
from tests.effort import EFFORT, thorough
from tests.faults import recorder
from tests.faults.recorder import Recorder
from tests.faults.stores import Members
from tests.waiting import eventually

CLIENTS = 32
SECONDS = 3 + 2 * EFFORT
MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = {"Content-Type": "application/merge-patch+json"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}


T = TypeVar("T")


class Inside:
    """A client of each server's inside gRPC, for use from threads."""

    def __init__(self, servers: list[ApiServerProgram]) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        access = [load_kubeconfig(server.kubeconfig) for server in servers]
        self.clients = [self.run(ApiClient.connect(a, user_agent="inside-counter")) for a in access]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Raises ApiError."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        for client in self.clients:
            self.run(client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)


@dataclass
class World:
    store: Members
    servers: list[ApiServerProgram]
    inside: Inside
    turn: Iterator[int] = field(default_factory=itertools.count)

    def client(self) -> ApiClient:
        return self.inside.clients[next(self.turn) % len(self.servers)]

    def request(self, method: str, path: str, body: Any = None, headers: Any = None) -> Reply | None:
        """The answer of whichever server is next; None when it is not known whether anything happened."""
        server = self.servers[next(self.turn) % len(self.servers)]
        try:
            reply = server.request(method, path, body, headers=headers)
        except (OSError, http.client.HTTPException):
            return None
        return None if reply.code in (500, 503, 504) else reply


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        store = Members(tmp_path_factory.mktemp("members"))
        stack.callback(store.stop)
        store.start()
        urls = ",".join(store.urls)
        servers = [ApiServerProgram(tmp_path_factory.mktemp(n), urls, ("--etcd-compaction-interval=0",)) for n in "ab"]
        for server in servers:
            stack.enter_context(server)
        inside = Inside(servers)
        stack.callback(inside.close)
        yield World(store, servers, inside)


class Havoc:
    """Kills a server, then etcd's leader, then the other server, and starts each again, until told to stop."""

    def __init__(self, world: World) -> None:
        self.world, self.done = world, threading.Event()
        self.deaths = 0
        self.thread = threading.Thread(target=self._rage)
        self.thread.start()

    def close(self) -> None:
        """Everything runs again."""
        self.done.set()
        self.thread.join(60)

    def _rage(self) -> None:
        for number in itertools.count():
            if self.done.wait(0.8):
                return
            if number % 3 == 1:
                leader = self.world.store.leader()
                if leader is not None:
                    member = self.world.store.members[leader]
                    member.kill()
                    self.done.wait(1.2)
                    member.start()
            else:
                server = self.world.servers[number % 2]
                server.program.kill()
                server.start()
            self.deaths += 1


@dataclass
class Tally:
    """What one client knows of its own writes."""

    sure: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)


def by_put(world: World, name: str, mark: str) -> bool | None:
    """Read, add, write with the version read. True: written; False: somebody was faster; None: nobody knows."""
    read = world.request("GET", f"{MAPS}/{name}")
    if read is None or read.code != 200:
        return False
    obj = read.json
    obj["data"] = {"count": str(int(obj["data"]["count"]) + 1), "mark": mark}
    written = world.request("PUT", f"{MAPS}/{name}", obj)
    return None if written is None else written.code == 200


def by_json_patch(world: World, name: str, mark: str) -> bool | None:
    read = world.request("GET", f"{MAPS}/{name}?resourceVersion=0")
    if read is None or read.code != 200:
        return False
    count = read.json["data"]["count"]
    operations = [
        {"op": "test", "path": "/data/count", "value": count},
        {"op": "replace", "path": "/data/count", "value": str(int(count) + 1)},
        {"op": "replace", "path": "/data/mark", "value": mark},
    ]
    written = world.request("PATCH", f"{MAPS}/{name}", operations, JSON_PATCH)
    return None if written is None else written.code == 200


def by_apply(world: World, name: str, mark: str) -> bool | None:
    """Server-side apply that names the version it is based on."""
    read = world.request("GET", f"{MAPS}/{name}")
    if read is None or read.code != 200:
        return False
    count, version = int(read.json["data"]["count"]), read.json["metadata"]["resourceVersion"]
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": version},
              "data": {"count": str(count + 1), "mark": mark}}  # fmt: skip
    written = world.request("PATCH", f"{MAPS}/{name}?fieldManager=counter&force=true", wanted, APPLY)
    return None if written is None else written.code == 200


def by_inside(world: World, name: str, mark: str) -> bool | None:
    """Over gRPC; with it, a write that must not happen: its version is another one."""
    client = world.client()
    try:
        obj = world.inside.run(client.get(scheme.CONFIG_MAPS, name, "default"))
    except ApiError:
        return False
    obj["data"] = {"count": str(int(obj["data"]["count"]) + 1), "mark": mark}
    stale = obj | {"metadata": obj["metadata"] | {"resourceVersion": "1"}}
    try:
        outcomes = world.inside.run(client.write([Write.update(scheme.CONFIG_MAPS, o) for o in (stale, obj)]))
    except ApiError:
        return None
    assert isinstance(outcomes[0], ApiError), "a write with an old version happened"
    if isinstance(outcomes[1], ApiError):
        return None if outcomes[1].status_code in (500, 503, 504) else False
    return True


def test_no_count_is_lost(world: World) -> None:
    ways: list[Callable[[World, str, str], bool | None]] = [by_put, by_json_patch, by_apply, by_inside]
    names = [f"counter-{i}" for i in range(6)]
    for name in names:
        made = eventually(
            lambda n=name: world.request("POST", MAPS, {"metadata": {"name": n}, "data": {"count": "0", "mark": ""}})
        )  # type: ignore[misc]
        assert made.code == 201
    watching = Recorder(world.servers, "/api/v1/configmaps")
    end = time.monotonic() + SECONDS

    def count(client: int) -> Tally:
        rng, tally = random.Random(client), Tally()
        for number in itertools.count():
            if time.monotonic() > end:
                return tally
            mark = f"{client}-{number}"
            outcome = ways[client % len(ways)](world, rng.choice(names), mark)
            if outcome:
                tally.sure.add(mark)
            elif outcome is None:
                tally.unsure.add(mark)
        raise AssertionError

    with contextlib.closing(Havoc(world)) as havoc, concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        tallies = [f.result() for f in [pool.submit(count, c) for c in range(CLIENTS)]]
    assert havoc.deaths >= min(EFFORT, 3)
    finals = {
        n: eventually(lambda n=n: (r := world.request("GET", f"{MAPS}/{n}")) and r.code == 200 and r).json
        for n in names
    }  # type: ignore[misc]
    sure, unsure = set[str]().union(*(t.sure for t in tallies)), set[str]().union(*(t.unsure for t in tallies))
    assert len(sure) > 5 * len(names), "the test did not get to count"
    url = next(u for i, u in enumerate(world.store.urls) if world.store.members[i].process)
    marks = marks_in(url)
    assert len(marks) == len(set(marks)), "a write happened twice"
    assert sure <= set(marks), f"lost: {sure - set(marks)}"
    assert set(marks) - sure <= unsure, "a write that was refused happened"
    assert sum(int(f["data"]["count"]) for f in finals.values()) == len(marks), "a count was lost"
    eventually(lambda: watching.version >= max(int(f["metadata"]["resourceVersion"]) for f in finals.values()))
    watching.stop()
    recorder.check(watching, recorder.history(url, "/registry/configmaps"))
    assert watching.broken > 1


def test_who_is_behind_the_history_lists_again(world: World) -> None:
    """A server that has just started knows no older past: 410, as upstream's."""
    first, second = world.servers
    watching = Recorder([first], "/api/v1/configmaps")
    first.program.kill()
    eventually(lambda: watching.broken > 1)
    for name in ("gone", "kept", "late"):
        assert second.request("POST", MAPS, {"metadata": {"name": f"behind-{name}"}}).code == 201
    assert second.request("DELETE", f"{MAPS}/behind-gone").code == 200
    first.start()
    eventually(lambda: len(watching.pieces) == 2)
    assert second.request("DELETE", f"{MAPS}/behind-late").code == 200
    eventually(lambda: ("DELETED", "default/behind-late") in [event[:2] for event in watching.events])
    watching.stop()
    url = next(u for i, u in enumerate(world.store.urls) if world.store.members[i].process)
    recorder.check(watching, recorder.history(url, "/registry/configmaps"))
    assert "default/behind-kept" in watching.pieces[1].listed


def marks_in(url: str) -> list[str]:
    """The marks of all writes that happened, from etcd's history: each once for every revision that has a new one."""
    found, last = [], dict[str, str]()
    for event in recorder.etcd_watch(url, "/registry/configmaps"):
        if "counter-" in event["key"]:
            mark = json.loads(event["value"])["data"]["mark"]
            if mark and last.get(event["key"]) != mark:
                found.append(mark)
            last[event["key"]] = mark
    return found


@thorough
def test_nothing_is_allotted_twice(world: World) -> None:
    """Service addresses, node ports and quota, claimed on two servers at once while they die."""
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"count/secrets": "20"}}}
    services, secrets = "/api/v1/namespaces/default/services", "/api/v1/namespaces/default/secrets"
    eventually(
        lambda: (
            (r := world.request("POST", "/api/v1/namespaces/default/resourcequotas", quota)) and r.code in (201, 409)
        )
    )

    def claim(number: int) -> None:
        body = {"metadata": {"name": f"s{number}"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
        world.request("POST", services, body)
        if number % 3 == 0:
            world.request("DELETE", f"{services}/s{number}")
        world.request("POST", secrets, {"metadata": {"name": f"q{number}"}})

    with contextlib.closing(Havoc(world)), concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(claim, range(60 * EFFORT)))
    listed = eventually(lambda: (r := world.request("GET", services)) and r.code == 200 and r).json["items"]
    assert len(listed) > 10
    ips = [ip for s in listed for ip in s["spec"]["clusterIPs"]]
    ports = [p["nodePort"] for s in listed for p in s["spec"]["ports"] if "nodePort" in p]
    assert len(ips) == len(set(ips)) and len(ports) == len(set(ports))
    claimed = eventually(
        lambda: (r := world.request("GET", "/apis/networking.k8s.io/v1/ipaddresses")) and r.code == 200 and r
    )
    owned = {i["metadata"]["name"] for i in claimed.json["items"]}
    assert set(ips) == owned, "an address is held by nobody, or by two"
    held = eventually(lambda: (r := world.request("GET", secrets)) and r.code == 200 and r).json["items"]
    assert len(held) <= 20, "more than the quota allows"


@thorough
def test_batched_bindings_bind_once(world: World) -> None:
    """Several schedulers bind the same pods over REST and in batches: each pod gets one node, and keeps it."""
    pods = "/api/v1/namespaces/default/pods"
    eventually(
        lambda: (
            (
                r := world.request(
                    "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}}
                )
            )
            and r.code in (201, 409)
        )
    )
    names = [f"p{i}" for i in range(30)]
    for name in names:
        body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        eventually(lambda b=body: (r := world.request("POST", pods, b)) and r.code in (201, 409))  # type: ignore[misc]
    won: dict[str, str] = {}

    def win(name: str, node: str) -> None:
        assert won.setdefault(name, node) == node, "bound twice"

    def bind(scheduler: int) -> None:
        if scheduler % 2:
            bind_inside(scheduler)
            return
        for name in random.Random(scheduler).sample(names, len(names)):
            target = {"target": {"kind": "Node", "name": f"node-{scheduler}"}, "metadata": {"name": name}}
            reply = world.request("POST", f"{pods}/{name}/binding", target)
            if reply is not None and reply.code == 201:
                win(name, f"node-{scheduler}")

    def bind_inside(scheduler: int) -> None:
        order, node = random.Random(scheduler).sample(names, len(names)), f"node-{scheduler}"
        for at in range(0, len(order), 4):
            batch = order[at : at + 4]
            with contextlib.suppress(ApiError):  # it is not known what happened
                outcomes = world.inside.run(world.client().bind([Binding("default", name, node) for name in batch]))
                for name, outcome in zip(batch, outcomes, strict=True):
                    if outcome is None:
                        win(name, node)

    with contextlib.closing(Havoc(world)), concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(bind, range(8)))
    listed = eventually(lambda: (r := world.request("GET", pods)) and r.code == 200 and r).json["items"]
    placed = {p["metadata"]["name"]: p["spec"].get("nodeName", "") for p in listed}
    assert all(placed[name] == node for name, node in won.items())
    url = next(u for i, u in enumerate(world.store.urls) if world.store.members[i].process)
    nodes: dict[str, set[str]] = {}
    for event in recorder.etcd_watch(url, "/registry/pods"):
        nodes.setdefault(event["key"], set()).add(json.loads(event["value"])["spec"].get("nodeName", ""))
    assert all(len(seen - {""}) <= 1 for seen in nodes.values()), "a pod moved"
