"""The REST API as curl sees it: a token, and what each kind of refusal looks like."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.local_cluster import LocalCluster

pytestmark = [pytest.mark.docker, pytest.mark.root]


@dataclass
class Curl:
    """curl with a token. ``server`` and ``ca`` are the cluster's."""

    server: str
    ca: str
    token: str

    def __call__(self, path: str, *options: str, token: str | None = None) -> tuple[int, Any]:
        """Status code and decoded body."""
        given = self.token if token is None else token
        auth = ["-H", f"Authorization: Bearer {given}"] if given else []
        command = ["curl", "-sS", "--max-time", "10", "--cacert", self.ca, *auth, "-w", "\n%{http_code}", *options]
        done = subprocess.run([*command, self.server + path], capture_output=True, text=True, check=True)
        body, code = done.stdout.rsplit("\n", 1)
        return int(code), json.loads(body)

    def post(self, path: str, document: dict[str, Any]) -> tuple[int, Any]:
        return self(path, "-H", "Content-Type: application/json", "-d", json.dumps(document))


@pytest.fixture(scope="module")
def curl(cluster: LocalCluster) -> Iterator[Curl]:
    """A service account that may do everything with config maps and nothing else."""
    server = cluster.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
    cluster.kubectl("create", "serviceaccount", "tester")
    cluster.kubectl("create", "role", "maps", "--verb=*", "--resource=configmaps")
    cluster.kubectl("create", "rolebinding", "maps", "--role=maps", "--serviceaccount=default:tester")
    token = cluster.kubectl("create", "token", "tester").strip()
    yield Curl(server, str(cluster.directory / "pki" / "ca.crt"), token)
    cluster.kubectl("delete", "rolebinding/maps", "role/maps", "serviceaccount/tester")


MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_create_list_and_conflict(curl: Curl) -> None:
    code, made = curl.post(MAPS, config_map("one", a="1"))
    assert (code, made["data"]) == (201, {"a": "1"})
    code, listed = curl(MAPS)
    assert code == 200 and listed["kind"] == "ConfigMapList"
    assert "one" in [i["metadata"]["name"] for i in listed["items"]]
    code, status = curl.post(MAPS, config_map("one"))
    assert (code, status["reason"]) == (409, "AlreadyExists")
    assert status["message"] == 'configmaps "one" already exists'
    assert curl(f"{MAPS}/one", "-X", "DELETE")[0] == 200


def test_watch_tells_of_a_change(curl: Curl) -> None:
    version = curl(MAPS)[1]["metadata"]["resourceVersion"]
    assert curl.post(MAPS, config_map("watched"))[0] == 201
    command = ["curl", "-sSN", "--max-time", "10", "--cacert", curl.ca, "-H", f"Authorization: Bearer {curl.token}"]
    url = f"{curl.server}{MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=2"
    lines = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout.splitlines()
    events = [(e["type"], e["object"]["metadata"]["name"]) for e in map(json.loads, lines)]
    assert ("ADDED", "watched") in events
    assert curl(f"{MAPS}/watched", "-X", "DELETE")[0] == 200


@pytest.mark.parametrize(
    ("path", "token", "code", "reason"),
    [
        (MAPS, "not-a-token", 401, "Unauthorized"),
        ("/api/v1/namespaces/default/secrets", None, 403, "Forbidden"),
        (f"{MAPS}/absent", None, 404, "NotFound"),
    ],
)
def test_refusals_are_statuses(curl: Curl, path: str, token: str | None, code: int, reason: str) -> None:
    answered, status = curl(path, token=token)
    assert (answered, status["kind"], status["status"], status["reason"]) == (code, "Status", "Failure", reason)
    assert status["code"] == code and status["message"]


def test_the_forbidden_message_names_user_and_resource(curl: Curl) -> None:
    message = curl("/api/v1/namespaces/default/secrets")[1]["message"]
    user = "system:serviceaccount:default:tester"
    assert f'User "{user}" cannot list resource "secrets" in API group "" in the namespace "default"' in message


def test_an_invalid_object_names_the_field(curl: Curl) -> None:
    code, status = curl.post(MAPS, config_map("Not_A_Name"))
    assert (code, status["reason"]) == (422, "Invalid")
    assert [c["field"] for c in status["details"]["causes"]] == ["metadata.name"]


def test_a_stale_update_conflicts(curl: Curl) -> None:
    made = curl.post(MAPS, config_map("stale"))[1]
    put = ["-X", "PUT", "-H", "Content-Type: application/json", "-d"]
    assert curl(f"{MAPS}/stale", *put, json.dumps({**made, "data": {"a": "1"}}))[0] == 200
    code, status = curl(f"{MAPS}/stale", *put, json.dumps({**made, "data": {"a": "2"}}))
    assert (code, status["reason"]) == (409, "Conflict")
    assert "the object has been modified" in status["message"]
    assert curl(f"{MAPS}/stale", "-X", "DELETE")[0] == 200
