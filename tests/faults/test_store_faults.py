"""The API server while etcd is away, slow, full, compacted or full of nonsense."""

import base64
import concurrent.futures
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.control_plane import ApiServerProgram, Etcd, Reply
from tests.effort import EFFORT, thorough
from tests.faults import recorder, stores
from tests.faults.recorder import Recorder
from tests.integration.test_api_rest import config_map
from tests.waiting import eventually

AWAY = 60 if EFFORT > 1 else 0
"""Seconds that the store is gone, beyond what it takes to refuse what is asked at once."""
MAPS = "/api/v1/namespaces/default/configmaps"
BUCKET = "/registry/configmaps"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    running = Etcd(tmp_path_factory.mktemp("store"))
    running.command += ["--quota-backend-bytes", str(32 << 20)]
    with running:
        yield running


@pytest.fixture(scope="module")
def line(store: Etcd) -> Iterator[stores.SlowLine]:
    with stores.SlowLine(store.port) as slow:
        yield slow


@pytest.fixture(scope="module")
def server(line: stores.SlowLine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProgram]:
    with ApiServerProgram(tmp_path_factory.mktemp("server"), line.url) as running:
        yield running


def retriable(reply: Reply) -> None:
    """An error that says whose fault it is and when to come again."""
    assert reply.code in (503, 504), reply
    assert reply.json["kind"] == "Status" and reply.json["details"]["retryAfterSeconds"] >= 1, reply
    assert int(reply.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "how", ["killed", pytest.param("stopped", marks=thorough), pytest.param("cut off", marks=thorough)]
)
def test_the_store_is_away(server: ApiServerProgram, store: Etcd, line: stores.SlowLine, how: str) -> None:
    """What needs it is refused, what does not is answered; after it nothing is lost and nothing comes twice."""
    watching = Recorder([server], "/api/v1/configmaps")
    process = psutil.Process(server.program.process.pid)  # type: ignore[union-attr]
    name = how.replace(" ", "-")
    assert server.request("POST", MAPS, config_map(f"{name}-before")).code == 201
    before = process.memory_info().rss
    match how:
        case "killed":
            store.kill()
        case "stopped":
            stores.pause(store)
        case "cut off":
            line.target = 1
            line.cut()
    try:
        with concurrent.futures.ThreadPoolExecutor(48) as pool:
            writes = [pool.submit(server.request, "POST", MAPS, config_map(f"{name}-{i}")) for i in range(6)]
            reads = [pool.submit(server.request, "GET", f"{MAPS}?limit=5") for _ in range(6)]
            assert server.request("GET", f"{MAPS}/{name}-before?resourceVersion=0").code == 200, "the cache answers"
            assert server.request("GET", "/apis").code == 200
            until, number = time.monotonic() + AWAY, 6
            while time.monotonic() < until:
                writes.append(pool.submit(server.request, "POST", MAPS, config_map(f"{name}-{number}")))
                number += 1
                time.sleep(0.5)
            for answer in (*writes, *reads):
                retriable(answer.result())
        assert server.request("GET", "/readyz").code == 500
        assert "etcd" in server.request("GET", "/readyz?verbose").text
        assert process.memory_info().rss - before < 10 << 20
    finally:
        match how:
            case "killed":
                store.start()
            case "stopped":
                stores.go_on(store)
            case "cut off":
                line.target = store.port
    eventually(lambda: server.request("POST", MAPS, config_map(f"{name}-after")).code in (201, 409))
    eventually(lambda: server.request("GET", "/readyz").code == 200)
    eventually(lambda: any(key == f"default/{name}-after" for _, key, _ in watching.events))
    watching.stop()
    recorder.check(watching, recorder.history(store.url, BUCKET))
    told = server.request("GET", MAPS).json["items"]
    keys = store.ctl("get", "--prefix", f"{BUCKET}/default/", "--keys-only").split()
    assert sorted(i["metadata"]["name"] for i in told) == sorted(k.rpartition("/")[2] for k in keys)


def test_a_slow_store_makes_slow_answers_and_no_errors(server: ApiServerProgram, line: stores.SlowLine) -> None:
    line.delay = 0.15
    try:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            writes = [pool.submit(server.request, "POST", MAPS, config_map(f"slow-{i}")) for i in range(16)]
            reads = [pool.submit(server.request, "GET", f"{MAPS}?limit=1") for _ in range(16)]
            began = time.monotonic()
            assert server.request("GET", f"{MAPS}?resourceVersion=0&limit=1").code == 200
            assert time.monotonic() - began < 1, "what does not need the store does not wait for it"
            assert {w.result().code for w in writes} == {201}
            assert {r.result().code for r in reads} == {200}
    finally:
        line.delay = 0.0


NONSENSE = ["garbage", "", "{", "[]", "null", "5", '{"kind":"ConfigMap"}', '{"metadata":5}', '{"metadata":{"name":"x","labels":5}}',
            '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"', "[" * 5_000, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}']  # fmt: skip


def test_nonsense_in_the_store_breaks_only_what_it_is_in(server: ApiServerProgram, store: Etcd) -> None:
    """Reads that would have to show it say so; what was good stays; and it is mended by who broke it."""
    assert server.request("POST", MAPS, config_map("good")).code == 201
    assert server.request("POST", MAPS, config_map("bad")).code == 201
    for value in NONSENSE[:: 1 if EFFORT > 1 else 4]:
        stores.put(store, f"{BUCKET}/default/bad", value)
        broken = eventually(lambda: (r := server.request("GET", f"{MAPS}/bad")).code == 500 and r)
        assert broken.json["reason"] == "InternalError" and "unable to decode" in broken.json["message"], broken
        assert server.request("GET", MAPS).code == 500, "a list without it would tell that it is gone"
        assert server.request("GET", f"{MAPS}/good").code == 200
        assert server.request("GET", "/api/v1/secrets").code == 200
        patched = server.request(
            "PATCH", f"{MAPS}/bad", b'{"data":{"a":"b"}}', headers={"Content-Type": "application/merge-patch+json"}
        )
        assert (patched.code, patched.json["reason"]) == (500, "InternalError")
        assert server.request("DELETE", f"{MAPS}/bad").code == 500
    stores.put(store, f"{BUCKET}/default/new", "garbage")
    stores.put(store, "/registry/pods/\udcff\udcfe".encode(errors="surrogateescape").decode("latin-1"), "garbage")
    stores.put(store, "/registry/kubeto/compaction/next", "garbage")
    stores.put(store, "/registry/what/is/this/key", "garbage")
    assert eventually(lambda: server.request("GET", f"{MAPS}/new").code == 500)
    assert server.request("POST", MAPS, config_map("new")).code == 409
    store.ctl("del", f"{BUCKET}/default/new")
    store.ctl("del", f"{BUCKET}/default/bad")
    assert eventually(lambda: server.request("GET", MAPS).code == 200)
    assert server.request("GET", f"{MAPS}/bad").code == 404
    assert server.request("GET", "/readyz").code == 200


def test_a_server_starts_on_nonsense(store: Etcd, tmp_path: Path) -> None:
    for index, value in enumerate(NONSENSE[:: 1 if EFFORT > 1 else 3]):
        stores.put(store, f"/odd/configmaps/default/odd-{index}", value)
        stores.put(store, f"/odd/clusterroles/odd-{index}", value)
    stores.put(store, "/odd/kubeto/compaction/next", "garbage")
    with ApiServerProgram(tmp_path, store.url, ("--etcd-prefix=/odd",)) as running:
        assert running.request("GET", MAPS).code == 500
        assert running.request("GET", "/api/v1/namespaces").code == 200


def test_what_etcd_does_not_take(server: ApiServerProgram) -> None:
    large = {"metadata": {"name": "large"}, "binaryData": {"x": base64.b64encode(b"x" * 1_600_000).decode()}}
    refused = server.request(
        "POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "l"}, "data": large["binaryData"]}
    )
    assert refused.code in (413, 422)
    event = {
        "metadata": {"name": "l"},
        "involvedObject": {"namespace": "default"},
        "message": "x",
        "reason": "x" * 1_600_000,
    }
    pod = {
        "metadata": {"name": "l", "annotations": {}},
        "spec": {"containers": [{"name": "c", "image": "i", "command": ["x" * 1_700_000]}]},
    }
    server.request("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    for path, body in (("pods", pod), ("events", event)):
        answer = server.request("POST", f"/api/v1/namespaces/default/{path}", body)
        assert answer.code in (413, 422), (path, answer.text[:500])
    assert server.request("GET", "/readyz").code == 200


def test_compacted_behind_its_back(server: ApiServerProgram, store: Etcd, line: stores.SlowLine) -> None:
    """Cut off while others write and compact: it lists again, and its watches go on with what differs."""
    made = server.request("POST", MAPS, config_map("kept", a="1")).json
    assert server.request("POST", MAPS, config_map("doomed")).code == 201
    watching = Recorder([server], "/api/v1/configmaps")
    line.target = 1
    line.cut()
    value = json.loads(store.ctl("get", f"{BUCKET}/default/kept", "--print-value-only"))
    for number in range(5):
        stores.put(store, f"{BUCKET}/default/kept", json.dumps(value | {"data": {"a": str(number)}}))
    store.ctl("del", f"{BUCKET}/default/doomed")
    stores.put(
        store, f"{BUCKET}/default/fresh", json.dumps(value | {"metadata": {**value["metadata"], "name": "fresh"}})
    )
    revision = json.loads(store.ctl("get", "x", "-w", "json"))["header"]["revision"]
    store.ctl("compact", str(revision))
    line.target = store.port
    assert eventually(lambda: server.request("GET", f"{MAPS}/kept").json.get("data") == {"a": "4"})
    seen = eventually(lambda: len(watching.events) == 3 and watching.events)
    watching.stop()
    assert sorted((t, k) for t, k, _ in seen) == [
        ("ADDED", "default/fresh"),
        ("DELETED", "default/doomed"),
        ("MODIFIED", "default/kept"),
    ]
    old = server.request(
        "GET", f"{MAPS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}&timeoutSeconds=2"
    )
    assert json.loads(old.text.splitlines()[0])["object"]["code"] == 410
    exact = server.request(
        "GET", f"{MAPS}?resourceVersion={made['metadata']['resourceVersion']}&resourceVersionMatch=Exact"
    )
    assert (exact.code, exact.json["reason"]) == (410, "Expired")


def test_out_of_space(server: ApiServerProgram, store: Etcd) -> None:
    """Writes are refused until there is space again; reads go on."""
    filler = {"metadata": {"name": "filler"}, "data": {"x": "x" * 900_000}}
    assert server.request("POST", MAPS, filler).code == 201

    def full() -> Reply | None:
        answer = server.request(
            "PUT", f"{MAPS}/filler", {**filler, "data": {"x": "x" * 900_000 + str(time.monotonic())}}
        )
        return answer if answer.code != 200 else None

    refused = eventually(full)
    retriable(refused)
    assert "space exceeded" in refused.json["message"]
    assert "NOSPACE" in store.ctl("alarm", "list")
    assert server.request("GET", f"{MAPS}/filler").code == 200
    assert server.request("GET", "/readyz").code == 200
    revision = json.loads(store.ctl("get", "x", "-w", "json"))["header"]["revision"]
    store.ctl("compact", str(revision))
    store.ctl("defrag")
    store.ctl("alarm", "disarm")
    assert server.request("DELETE", f"{MAPS}/filler").code == 200


@thorough
def test_signals(server: ApiServerProgram) -> None:
    """A server that was stopped for a while goes on; what was asked meanwhile is answered."""
    stores.pause(server.program)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(server.request, "POST", MAPS, config_map(f"paused-{i}")) for i in range(4)]
        time.sleep(1)
        stores.go_on(server.program)
        assert {a.result().code for a in answers} == {201}
    assert server.program.stop(signal.SIGTERM) == 0
    server.start()
