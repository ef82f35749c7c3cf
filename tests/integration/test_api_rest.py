"""The REST API as curl sees it, on a real etcd."""

import concurrent.futures
import contextlib
import copy
import json
import ssl
import threading
import urllib.request
from typing import Any

import pytest

from tests.control_plane import ADMIN_TOKEN, USER_TOKEN, ApiServerProgram, Etcd
from tests.waiting import eventually


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


class Watching:
    """A watch read by a thread of its own."""

    def __init__(self, server: ApiServerProgram, path: str) -> None:
        self.events: list[dict[str, Any]] = []
        context = ssl.create_default_context(cafile=server.ca_file)
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        self.reply = urllib.request.urlopen(
            urllib.request.Request(server.url + path, headers=headers), timeout=30, context=context
        )
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with contextlib.suppress(TimeoutError):  # the test has ended long ago
            for line in self.reply:
                self.events.append(json.loads(line))

    def seen(self) -> list[tuple[str, str]]:
        return [(e["type"], e["object"]["metadata"].get("name", "")) for e in self.events]


def test_discovery_tells_where_the_server_is(apiserver: ApiServerProgram) -> None:
    endpoint = apiserver.request("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").json
    (ip,), (port,) = endpoint["endpoints"][0]["addresses"], endpoint["ports"]
    assert apiserver.request("GET", "/api").json["serverAddressByClientCIDRs"] == [
        {"clientCIDR": "0.0.0.0/0", "serverAddress": f"{ip}:{port['port']}"}
    ]


def test_errors_are_statuses_in_upstreams_words(apiserver: ApiServerProgram, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    assert apiserver.request("GET", maps, token="nobody").json["reason"] == "Unauthorized"
    assert apiserver.request("GET", maps, token="").json["reason"] == "Forbidden"
    forbidden = apiserver.request("GET", maps, token=USER_TOKEN)
    assert forbidden.code == 403
    assert forbidden.json["message"] == (
        'configmaps is forbidden: User "alice" cannot list resource "configmaps" in API group "" '
        f'in the namespace "{namespace}"'
    )
    missing = apiserver.request("GET", f"{maps}/x")
    assert (missing.code, missing.json["message"]) == (404, 'configmaps "x" not found')
    assert apiserver.request("POST", maps, config_map("x")).code == 201
    again = apiserver.request("POST", maps, config_map("x"))
    assert (again.code, again.json["reason"]) == (409, "AlreadyExists")
    stale = config_map("x") | {"metadata": {"name": "x", "resourceVersion": "1"}}
    conflict = apiserver.request("PUT", f"{maps}/x", stale)
    assert conflict.code == 409
    assert "the object has been modified; please apply your changes to the latest version" in conflict.json["message"]
    invalid = apiserver.request("POST", maps, config_map("No_Good"))
    assert (invalid.code, invalid.json["details"]["causes"][0]["field"]) == (422, "metadata.name")
    assert apiserver.request("POST", maps, b"{").code == 400
    assert apiserver.request("POST", maps, b"x" * (3 * 1024 * 1024 + 1)).code == 413
    assert apiserver.request("POST", maps, b"x", headers={"Content-Type": "text/csv"}).code == 415
    assert apiserver.request("GET", maps, headers={"Accept": "image/png"}).code == 406
    assert apiserver.request("PATCH", maps).code == 405
    assert apiserver.request("POST", "/api/v1/configmaps", config_map("x")).code == 405
    assert apiserver.request("DELETE", "/api/v1/namespaces").code == 405
    assert apiserver.request("GET", "/apis/nothing/v1/here").code == 404
    assert apiserver.request("GET", maps).headers.get("audit-id")


def test_an_update_without_a_change_is_not_written(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = apiserver.request("POST", path, config_map("same", a="b")).json
    assert apiserver.request("PUT", f"{path}/same", made).json["metadata"] == made["metadata"]


def test_value_in_etcd_is_the_objects_json(apiserver: ApiServerProgram, etcd: Etcd, namespace: str) -> None:
    apiserver.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", config_map("kept", a="b"))
    stored = json.loads(etcd.ctl("get", "--print-value-only", f"/registry/configmaps/{namespace}/kept"))
    assert stored["data"] == {"a": "b"}
    assert "resourceVersion" not in stored["metadata"]


def test_status_and_main_writes_do_not_leak_into_each_other(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    made = apiserver.request("POST", path, pod("p") | {"status": {"phase": "Running"}}).json
    assert made["status"]["phase"] == "Pending"
    assert made["metadata"]["generation"] == 1
    change = {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Running"}, "spec": {"priority": 7}}
    merge = {"Content-Type": "application/merge-patch+json"}
    after = apiserver.request("PATCH", f"{path}/p/status", change, headers=merge).json
    assert (after["status"]["phase"], after["metadata"]["labels"]["a"]) == ("Running", "b")
    assert after["spec"]["priority"] == made["spec"]["priority"]
    back = apiserver.request("PUT", f"{path}/p", after | {"status": {"phase": "Failed"}}).json
    assert back["status"]["phase"] == "Running"


def test_finalizers_hold_an_object_until_the_last_is_gone(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    body = config_map("held")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    apiserver.request("POST", path, body)
    held = apiserver.request("DELETE", f"{path}/held").json
    assert held["metadata"]["deletionTimestamp"]
    merge = {"Content-Type": "application/merge-patch+json"}
    added = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    assert apiserver.request("PATCH", f"{path}/held", added, headers=merge).code == 422
    last = apiserver.request("PATCH", f"{path}/held", {"metadata": {"finalizers": None}}, headers=merge).json
    del held["metadata"]["finalizers"], held["metadata"]["managedFields"]  # the last manager has nothing left
    assert last == held
    assert apiserver.request("GET", f"{path}/held").code == 404


def test_what_holds_nothing_is_no_change(apiserver: ApiServerProgram, namespace: str) -> None:
    """As clients in Go write back what they read: without zeros, which others spell out."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    made = apiserver.request("POST", path, pod("p")).json
    told = copy.deepcopy(made)
    told["metadata"]["labels"] = {}
    told["spec"] |= {"hostNetwork": False, "nodeSelector": {}, "hostname": ""}
    told["spec"]["containers"][0] |= {"tty": False, "env": [], "resources": {"limits": {}}}
    same = apiserver.request("PUT", f"{path}/p", told)
    assert (same.code, same.json) == (200, made)


def test_an_applied_zero_is_owned_and_wins(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/d"
    spec = {
        "paused": False, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }  # fmt: skip
    wanted = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    apply, merge = ({"Content-Type": f"application/{form}"} for form in ("apply-patch+yaml", "merge-patch+json"))
    mine = f"{path}?fieldManager=mine"
    made = apiserver.request("PATCH", mine, wanted, headers=apply).json
    assert "paused" not in made["spec"]
    assert made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:paused"] == {}
    again = apiserver.request("PATCH", mine, wanted, headers=apply).json
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    theirs = f"{path}?fieldManager=theirs"
    assert apiserver.request("PATCH", theirs, {"spec": {"paused": True}}, headers=merge).json["spec"]["paused"]
    refused = apiserver.request("PATCH", mine, wanted, headers=apply)
    assert (refused.code, refused.json["details"]["causes"][0]["field"]) == (409, ".spec.paused")
    forced = apiserver.request("PATCH", f"{mine}&force=true", wanted, headers=apply).json
    assert "paused" not in forced["spec"]


def test_a_scheduled_pod_goes_when_its_node_says_so(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    apiserver.request("POST", path, pod("p"))
    bind = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert apiserver.request("POST", f"{path}/p/binding", bind).code == 201
    assert apiserver.request("POST", f"{path}/p/binding", bind).code == 409
    marked = apiserver.request("DELETE", f"{path}/p").json["metadata"]
    assert (marked["deletionGracePeriodSeconds"], marked["generation"]) == (30, 2)
    apiserver.request("DELETE", f"{path}/p", {"gracePeriodSeconds": 0})
    assert apiserver.request("GET", f"{path}/p").code == 404


def test_delete_preconditions_and_propagation(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    apiserver.request("POST", path, config_map("x"))
    wrong = apiserver.request("DELETE", f"{path}/x", {"preconditions": {"uid": "another"}})
    assert (wrong.code, "Precondition failed: UID" in wrong.json["message"]) == (409, True)
    kept = apiserver.request("DELETE", f"{path}/x?propagationPolicy=Foreground").json
    assert kept["metadata"]["finalizers"] == ["foregroundDeletion"]


def test_dry_run_stores_nothing(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    assert apiserver.request("POST", f"{path}?dryRun=All", config_map("x")).code == 201
    assert apiserver.request("GET", f"{path}/x").code == 404


def test_pages_are_of_one_version(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for index in range(7):
        apiserver.request("POST", path, config_map(f"c{index}"))
    first = apiserver.request("GET", f"{path}?limit=3").json
    assert first["metadata"]["remainingItemCount"] == 4
    apiserver.request("DELETE", f"{path}/c5")
    names, token = [i["metadata"]["name"] for i in first["items"]], first["metadata"]["continue"]
    while token:
        page = apiserver.request("GET", f"{path}?limit=3&continue={token}").json
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [i["metadata"]["name"] for i in page["items"]]
        token = page["metadata"].get("continue")
    assert names == [f"c{i}" for i in range(7)]


def test_a_compacted_token_expires_with_a_fresh_one(apiserver: ApiServerProgram, etcd: Etcd, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for index in range(4):
        apiserver.request("POST", path, config_map(f"c{index}"))
    token = apiserver.request("GET", f"{path}?limit=2").json["metadata"]["continue"]
    apiserver.request("DELETE", f"{path}/c3")
    revision = json.loads(etcd.ctl("get", "-w", "json", "x"))["header"]["revision"]
    etcd.ctl("compact", str(revision))
    gone = apiserver.request("GET", f"{path}?limit=2&continue={token}")
    assert (gone.code, gone.json["reason"]) == (410, "Expired")
    rest = apiserver.request("GET", f"{path}?limit=2&continue={gone.json['metadata']['continue']}").json
    assert [i["metadata"]["name"] for i in rest["items"]] == ["c2"]


def test_watch_tells_of_selection_not_of_existence(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    version = apiserver.request("GET", path).json["metadata"]["resourceVersion"]
    watch = Watching(apiserver, f"{path}?watch=1&labelSelector=in%3Dyes&resourceVersion={version}&timeoutSeconds=20")
    apiserver.request("POST", path, config_map("x"))
    merge = {"Content-Type": "application/merge-patch+json"}
    for value in ("yes", "no", "yes"):
        last = apiserver.request("PATCH", f"{path}/x", {"metadata": {"labels": {"in": value}}}, headers=merge).json
    apiserver.request("DELETE", f"{path}/x")
    eventually(lambda: len(watch.events) >= 4)
    assert [t for t, _ in watch.seen()] == ["ADDED", "DELETED", "ADDED", "DELETED"]
    final = watch.events[-1]["object"]["metadata"]
    assert int(final["resourceVersion"]) > int(last["metadata"]["resourceVersion"])
    assert final["uid"] == last["metadata"]["uid"]


def test_streaming_list_ends_with_the_annotated_bookmark(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    apiserver.request("POST", path, config_map("x"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    watch = Watching(apiserver, f"{path}?{query}&timeoutSeconds=20&fieldSelector=metadata.name%3Dx")
    eventually(lambda: len(watch.events) >= 2)
    assert watch.seen()[0] == ("ADDED", "x")
    bookmark = watch.events[1]
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    apiserver.request("DELETE", f"{path}/x")
    eventually(lambda: ("DELETED", "x") in watch.seen())


def test_many_writers_of_one_object_lose_nothing(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    apiserver.request("POST", path, config_map("x"))
    merge = {"Content-Type": "application/merge-patch+json"}

    def write(index: int) -> int:
        return apiserver.request("PATCH", f"{path}/x", {"data": {f"k{index}": "v"}}, headers=merge).code

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert set(pool.map(write, range(40))) == {200}
    assert len(apiserver.request("GET", f"{path}/x").json["data"]) == 40


def test_service_addresses_are_unique_and_given_back(apiserver: ApiServerProgram, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"

    def service(name: str, **spec: Any) -> dict[str, Any]:
        return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}, **spec}}

    first = apiserver.request("POST", path, service("a", type="NodePort")).json["spec"]
    assert first["clusterIPs"] == [first["clusterIP"]]
    taken = apiserver.request("POST", path, service("b", clusterIP=first["clusterIP"]))
    assert (taken.code, "provided IP is already allocated" in taken.text) == (422, True)
    port = {"port": 80, "nodePort": first["ports"][0]["nodePort"]}
    assert (
        "provided port is already allocated"
        in apiserver.request("POST", path, service("b", type="NodePort", ports=[port])).text
    )
    apiserver.request("DELETE", f"{path}/a")
    eventually(lambda: apiserver.request("POST", path, service("b", clusterIP=first["clusterIP"])).code == 201)
    addresses = [apiserver.request("POST", path, service(f"s{i}")).json["spec"]["clusterIP"] for i in range(20)]
    assert len(set(addresses)) == 20


@pytest.mark.parametrize("verbose", ["", "?verbose"])
def test_health_is_for_everybody(apiserver: ApiServerProgram, verbose: str) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        assert apiserver.request("GET", path + verbose, token="").code == 200
    assert apiserver.request("GET", "/version", token="").json["minor"] == "36"
    assert apiserver.request("GET", "/metrics", token="").code == 403


def test_services_have_addresses_of_every_service_cidr(apiserver: ApiServerProgram, namespace: str) -> None:
    services, cidrs = f"/api/v1/namespaces/{namespace}/services", "/apis/networking.k8s.io/v1/servicecidrs"
    wanted = {"metadata": {"name": "far"}, "spec": {"clusterIP": "203.0.113.10", "ports": [{"port": 80}]}}
    refused = apiserver.request("POST", services, wanted)
    assert refused.code == 422 and refused.json["details"]["causes"][0] == {
        "reason": "FieldValueInvalid",
        "field": "spec.clusterIPs",
        "message": 'Invalid value: ["203.0.113.10"]: failed to allocate IP 203.0.113.10: '
        "the provided network does not match the current range",
    }
    more = {"metadata": {"name": namespace}, "spec": {"cidrs": ["203.0.113.0/24"]}}
    assert apiserver.request("POST", cidrs, more).code == 201
    assert apiserver.request("POST", services, wanted).code == 201
    again = apiserver.request("POST", services, {**wanted, "metadata": {"name": "too"}})
    assert again.code == 422 and "provided IP is already allocated" in again.json["message"]
    address = apiserver.request("GET", "/apis/networking.k8s.io/v1/ipaddresses/203.0.113.10").json
    assert address["spec"]["parentRef"]["name"] == "far"
    apiserver.request("DELETE", f"{services}/far")
    assert apiserver.request("GET", "/apis/networking.k8s.io/v1/ipaddresses/203.0.113.10").code == 404
    assert apiserver.request("DELETE", f"{cidrs}/{namespace}").code == 200
    assert apiserver.request("POST", services, wanted).code == 422
